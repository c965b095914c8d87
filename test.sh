#!/usr/bin/env bash
# Checks everything that a change must keep true; what CI runs is this and nothing else.
#
#   ./test.sh                  all steps
#   ./test.sh fast             fmt, clippy, test
#   ./test.sh loom fuzz ..     the steps named
#
# A step that fails does not keep the others from running. A step whose tool cannot be had is
# skipped, and says so. Profiles are shared: clippy and doc check in dev, the tests build in dev,
# examples and benches in release; loom and the fuzzer need target folders of their own, because of
# their flags.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

ALL=(fmt clippy deny advisories test test_all doc examples benches loom fuzz leftovers)
FAST=(fmt clippy test)
SKIPPED=77
FUZZ_SECONDS=10
EXAMPLE_SECONDS=120

target=${CARGO_TARGET_DIR:-$PWD/target}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset CALLBOARD_ACTOR
# Many tests panic on purpose: with a backtrace each, what failed could not be found in the output.
export RUST_BACKTRACE=${CALLBOARD_TEST_BACKTRACE:-0}
[[ -z ${CI:-} ]] || export CARGO_INCREMENTAL=0

# --- what is needed -------------------------------------------------------------------------------

skip() {
    echo "skipped: $*"
    echo "$*" >"$scratch/reason"
    exit "$SKIPPED"
}

# Whatever hangs is ended after so many seconds.
limit() {
    timeout --kill-after=10 "$@"
}

need_component() { # component, the cargo command it brings
    cargo "$2" --version >/dev/null 2>&1 || rustup component add "$1"
}

need_cargo_tool() { # command, version
    cargo "$1" --version >/dev/null 2>&1 && return
    echo "installing cargo-$1 $2"
    env -u CARGO_TARGET_DIR -u RUSTFLAGS timeout 1200 \
        cargo install --quiet --locked "cargo-$1@$2" || skip "cargo-$1 cannot be installed"
}

need_debian() { # command, package; without it a test may have less to look at
    command -v "$1" >/dev/null && return
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "note: $1 is not installed (Debian package: $2)"
        return
    fi
    echo "installing $2"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2"; } \
        >"$scratch/apt" 2>&1 || echo "note: $2 cannot be installed"
}

# --- the steps ------------------------------------------------------------------------------------

step_fmt() {
    need_component rustfmt fmt
    cargo fmt --all --check
    # These are workspaces of their own.
    for manifest in fuzz/Cargo.toml benches/comparison/Cargo.toml; do
        [[ ! -f $manifest ]] || cargo fmt --manifest-path "$manifest" --check
    done
}

step_clippy() {
    need_component clippy clippy
    cargo clippy --workspace --all-targets --all-features -- -D warnings
}

step_deny() {
    need_cargo_tool deny 0.20.2
    cargo deny check licenses bans sources
}

step_advisories() {
    need_cargo_tool deny 0.20.2
    if limit 120 cargo deny fetch db >"$scratch/fetch" 2>&1; then
        cargo deny check advisories
    elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
        echo "note: the advisory database cannot be fetched; an older copy is used"
        cargo deny --offline check advisories
    else
        skip "the advisory database cannot be fetched"
    fi
}

step_test() {
    need_debian strace strace
    need_debian tc iproute2
    # The examples of the documentation are run once, with all features.
    limit 1500 cargo test --workspace --lib --bins --tests --no-fail-fast
}

# Clippy has checked all of it with all features. What they change runs again: the library, and the
# tests that name one or need one.
step_test_all() {
    local name tests=()
    {
        # A part of a test counts as that test; of what several share, cargo says that it is none.
        grep -rlE --include='*.rs' '\bfeature *= *"' tests | sed 's:^tests/\([^/.]*\).*:\1:'
        awk '/^\[/{section=$0} $1=="name"{name=$3} section=="[[test]]" && $1=="required-features"{
            gsub(/"/, "", name); print name}' Cargo.toml
    } | sort -u >"$scratch/named"
    [[ -s $scratch/named ]] || { echo "no test names a feature"; return 1; }
    while read -r name; do tests+=(--test "$name"); done <"$scratch/named"
    echo "with all features: ${tests[*]}"
    limit 1500 cargo test --workspace --all-features --no-fail-fast --lib --bins "${tests[@]}"
    limit 600 cargo test --workspace --all-features --no-fail-fast --doc
}

step_doc() {
    RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" \
        cargo doc --workspace --all-features --no-deps --document-private-items
}

step_examples() {
    cargo build --workspace --release --examples --message-format=json-render-diagnostics \
        >"$scratch/built"
    sed -n '/"kind":\["example"\]/s/.*"executable":"\([^"]*\)".*/\1/p' "$scratch/built" \
        | sort >"$scratch/examples"
    [[ -s $scratch/examples ]] || skip "there is no example"
    local example status failed=0
    while read -r example <&3; do
        echo "--- example $(basename "$example")"
        status=0
        limit "$EXAMPLE_SECONDS" "$example" 3<&- || status=$?
        if [[ $status != 0 ]]; then
            echo "example $(basename "$example") ended with status $status"
            failed=1
        fi
    done 3<"$scratch/examples"
    return "$failed"
}

# In release and not in the bench profile, to share what the examples have built; whether the
# benches work does not depend on it. Numbers are taken by plain `cargo bench`.
step_benches() {
    grep -q '^\[\[bench\]\]' Cargo.toml || skip "there is no bench"
    cargo bench --profile release --bench '*' --no-run
    limit 600 cargo bench --profile release --bench '*' -- --test
}

step_loom() {
    [[ -f src/ring/models.rs ]] || skip "there is no model"
    RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" CARGO_TARGET_DIR="$target/loom" \
        limit 1500 cargo test --lib --release models | tee "$scratch/loom"
    if ! grep -Eq '^test result: ok\. [1-9]' "$scratch/loom"; then
        echo "no model ran"
        return 1
    fi
}

step_fuzz() {
    [[ -f fuzz/Cargo.toml ]] || skip "there is no fuzz target"
    cargo +nightly --version >/dev/null 2>&1 \
        || limit 600 rustup toolchain install nightly --profile minimal \
        || skip "there is no nightly toolchain"
    need_debian c++ g++
    need_cargo_tool fuzz 0.13.2
    cargo +nightly fuzz list >"$scratch/targets"
    [[ -s $scratch/targets ]] || skip "there is no fuzz target"
    limit 1200 cargo +nightly fuzz build --target-dir "$target/fuzz"
    local name
    while read -r name <&3; do
        echo "--- fuzz $name, $FUZZ_SECONDS s"
        mkdir -p "$scratch/corpus/$name"
        limit $((FUZZ_SECONDS + 300)) cargo +nightly fuzz run --target-dir "$target/fuzz" \
            "$name" "$scratch/corpus/$name" -- \
            -max_total_time="$FUZZ_SECONDS" -verbosity=0 -print_final_stats=1 3<&-
    done 3<"$scratch/targets"
}

# Neither a process nor a segment may outlive its runtime. What was there before is not ours.
step_leftovers() {
    for _ in {1..20}; do
        left_behind >"$scratch/after"
        comm -13 "$scratch/before" "$scratch/after" >"$scratch/left"
        [[ -s $scratch/left ]] || return 0
        sleep 0.5
    done
    echo "left behind:"
    cat "$scratch/left"
    return 1
}

# The actor processes and named segments of this moment, one a line, sorted.
left_behind() {
    local process segment
    {
        for process in /proc/[0-9]*; do
            if grep -zq '^CALLBOARD_ACTOR=' "$process/environ" 2>/dev/null; then
                echo "process ${process#/proc/}: $(readlink "$process/exe" || echo '?')"
            fi
        done
        for segment in /dev/shm/callboard-*; do
            [[ ! -e $segment ]] || echo "segment $segment"
        done
    } | LC_ALL=C sort
}

# The lines of a failed step that say what failed, to be read below the summary: test runners print
# it in the midst of much else. First the names, each program's beneath it; then what compilers and
# runners call errors, with what they say about them; then the messages of the tests.
what_failed() {
    echo "--- $1"
    awk '/^ +Running |^ +Doc-tests /{file=$0}
        /^test .*(FAILED$|running for over)/{if (file) print file; file=""; print}' \
        "$scratch/output" | head -n 100
    awk '/^(error|Caused by:)/{lines=12} /^$|^ +(Running|Doc-tests) /{lines=0} lines-->0' \
        "$scratch/output" | head -n 100
    # What the runner repeats of each failed test, with the message of its panic.
    awk '/^ +Running |^ +Doc-tests /{file=$0}
        /^failures:$/{if (file) print file; file=""; inside=1}
        inside
        /^test result: FAILED/{inside=0}' \
        "$scratch/output" | tail -n 200
    echo "--- the end of $1"
    tail -n 20 "$scratch/output"
}

# --- running them ---------------------------------------------------------------------------------

passed=0 failed=0 skipped=0
summary=()

# Runs one step in a shell of its own. `set -e` holds only outside of conditions, hence the detour.
run_step() {
    local name=$1 start=$SECONDS status outcome
    printf '\n=== %s\n' "$name"
    rm -f "$scratch/reason"
    set +e
    (set -e; "step_$name") </dev/null 2>&1 | tee "$scratch/output"
    status=${PIPESTATUS[0]}
    set -e
    case $status in
        0) outcome=passed; passed=$((passed + 1)) ;;
        "$SKIPPED") outcome="skipped: $(cat "$scratch/reason")"; skipped=$((skipped + 1)) ;;
        124 | 137) outcome="FAILED: took too long"; failed=$((failed + 1)) ;;
        *) outcome="FAILED: status $status"; failed=$((failed + 1)) ;;
    esac
    [[ $outcome != FAILED* ]] || what_failed "$name" >>"$scratch/failures"
    summary+=("$(printf '%-12s %5d s  %s' "$name" $((SECONDS - start)) "$outcome")")
}

steps=("$@")
[[ $# -gt 0 ]] || steps=("${ALL[@]}")
[[ ${1:-} != fast ]] || steps=("${FAST[@]}" "${@:2}")
for name in "${steps[@]}"; do
    if [[ $(type -t "step_$name") != function ]]; then
        echo "no step is called $name; there are: ${ALL[*]}" >&2
        exit 2
    fi
done

left_behind >"$scratch/before"
for name in "${steps[@]}"; do
    run_step "$name"
done

if [[ -s $scratch/failures ]]; then
    printf '\n=== failures\n'
    cat "$scratch/failures"
fi
printf '\n=== summary\n'
printf '%s\n' "${summary[@]}"
echo "steps: $passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 ]]
