//! Makes each rule fail on a made-up text: a rule that cannot fail holds nothing.

use super::{
    File, LIBRARY_LINTS, Rule, UNDONE, atomics, clocks, drawers, forbids, heads, leftovers, lints,
    orderings, pure, rooms, sizes, unsafes,
};

/// The lines at which a rule fails.
fn fails(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    let line = |violation: String| {
        let number = violation
            .strip_prefix(path)?
            .strip_prefix(':')?
            .split_once(':')?
            .0;
        number.parse().ok()
    };
    rule(&File::new(path, text))
        .into_iter()
        .map(|one| line(one).expect("path:line:"))
        .collect()
}

#[test]
fn rooms_fails_on_what_is_not_beneath() {
    let file = "src/proxy/call.rs";
    assert_eq!(
        fails(
            rooms,
            file,
            "use crate::wire::Frame;\nuse crate::proxy::Caller;"
        ),
        []
    );
    assert_eq!(
        fails(
            rooms,
            file,
            "use crate::wire::Frame;\nuse crate::actor::Mailbox;"
        ),
        [2]
    );
    assert_eq!(fails(rooms, file, "fn f() -> crate::Result<()> {}"), [1]);
    assert_eq!(fails(rooms, file, "let _ = $crate::node::X;"), [1]);
    assert_eq!(fails(rooms, file, "use super::super::node::X;"), [1]);
    assert_eq!(
        fails(rooms, file, "// see crate::node\nlet _ = \"crate::node\";"),
        []
    );
    assert_eq!(fails(rooms, file, "pub(crate) use other_crate::x::Y;"), []);
    assert_eq!(
        fails(rooms, "src/ring/spsc.rs", "use crate::sys::Segment;"),
        [1]
    );
    assert_eq!(
        fails(rooms, "src/sys/mod.rs", "use super::wire::Frame;"),
        [1]
    );
}

#[test]
fn rooms_fails_on_two_rooms_in_one_line() {
    assert_eq!(
        fails(
            rooms,
            "src/node/mod.rs",
            "use crate::{\n    wire::X,\n    sys::Y,\n};"
        ),
        [1]
    );
}

#[test]
fn rooms_fails_outside_the_house() {
    assert_eq!(fails(rooms, "src/attic/mod.rs", ""), [1]);
    assert_eq!(fails(rooms, "src/shed.rs", ""), [1]);
    assert_eq!(fails(rooms, "src/lib.rs", "use crate::node::X;"), []);
    assert_eq!(fails(rooms, "tests/calls.rs", "use crate::shed::X;"), []);
}

#[test]
fn clocks_fails_on_the_time_of_day() {
    let breaks = |path: &str, line: &str| fails(clocks, path, line);
    let times = [
        "let now = std::time::SystemTime::now();",
        "rustix::time::clock_gettime(ClockId::Realtime);",
        "libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now);",
    ];
    for line in times {
        assert_eq!(breaks("src/sys/clock.rs", line), [1], "{line}");
        assert_eq!(breaks("benches/call.rs", line), [], "{line}");
    }
    assert_eq!(
        breaks("src/sys/clock.rs", "Instant::now(); // SystemTime"),
        []
    );
}

#[test]
fn pure_fails_on_the_outside() {
    let breaks = |line: &str| fails(pure, "src/x.rs", &format!("//! A thing. Pure.\n\n{line}\n"));
    assert_eq!(breaks("use std::time::Duration; // no tokio"), []);
    let outside = [
        "use tokio::sync::oneshot;",
        "answer.await;",
        "let now = Instant::now();",
        "use std::time::SystemTime;",
        "use std::fs;",
        "std::process::id();",
        "use std::{fmt, net};",
    ];
    for line in outside {
        assert_eq!(breaks(line), [3], "{line}");
    }
    assert_eq!(
        fails(pure, "src/x.rs", "//! A thing. Pure.\nuse tokio::time;"),
        [2]
    );
    assert_eq!(
        fails(
            pure,
            "src/x.rs",
            "//! A long\n//! one. Pure.\n\nuse tokio::time;"
        ),
        [4]
    );
    assert_eq!(
        fails(pure, "src/x.rs", "//! A thing.\n\nuse tokio::time;"),
        []
    );
}

#[test]
fn orderings_fails_without_a_reason() {
    let file = "src/ring/spsc.rs";
    let reason = "    // ORDERING: hands over\n    // the bytes.\n";
    assert_eq!(
        fails(orderings, file, "fn f() {\n    x.load(Acquire);\n}"),
        [2]
    );
    assert_eq!(
        fails(
            orderings,
            file,
            "    // Why.\n    x.store(1, Ordering::Release);"
        ),
        [2]
    );
    assert_eq!(
        fails(
            orderings,
            file,
            &format!("{reason}    x.store(1, Release);")
        ),
        []
    );
    let two = format!("{reason}    x.store(1, Release);\n    y.store(1, SeqCst);");
    assert_eq!(fails(orderings, file, &two), [4]);
    let broken =
        format!("{reason}    x\n        .swap(\n            1,\n            AcqRel,\n        );");
    assert_eq!(fails(orderings, file, &broken), []);
    assert_eq!(
        fails(orderings, file, "fence(SeqCst); // ORDERING: all of it"),
        []
    );
    assert_eq!(
        fails(orderings, file, "use super::Ordering::{Acquire, Release};"),
        []
    );
    assert_eq!(fails(orderings, file, "x.load(Relaxed); // no Acquire"), []);
    assert_eq!(fails(orderings, "src/node/mod.rs", "x.load(Acquire);"), []);
}

#[test]
fn atomics_fails_on_other_atomics() {
    let line = "use std::sync::atomic::AtomicU64;";
    assert_eq!(fails(atomics, "src/ring/spsc.rs", line), [1]);
    assert_eq!(fails(atomics, "src/ring/atomic.rs", line), []);
    assert_eq!(fails(atomics, "src/sys/memory.rs", line), []);
}

#[test]
fn unsafes_fails_outside_its_rooms() {
    let line = "let x = unsafe { *y };";
    assert_eq!(fails(unsafes, "src/node/mod.rs", line), [1]);
    assert_eq!(
        fails(unsafes, "macros/src/expand.rs", "quote! { unsafe { x() } }"),
        [1]
    );
    assert_eq!(
        fails(
            unsafes,
            "macros/src/expand.rs",
            "#[unsafe(link_section = \"x\")]"
        ),
        []
    );
    assert_eq!(
        fails(unsafes, "tests/calls.rs", "#[unsafe(no_mangle)]"),
        [1]
    );
    assert_eq!(fails(unsafes, "src/sys/memory.rs", line), []);
    assert_eq!(fails(unsafes, "benches/comparison/src/spin.rs", line), []);
    assert_eq!(
        fails(
            unsafes,
            "src/node/mod.rs",
            "#![forbid(unsafe_code)] // not unsafe"
        ),
        []
    );
}

#[test]
fn forbids_fails_without_the_attribute() {
    assert_eq!(
        fails(forbids, "src/node/mod.rs", "//! Life and death.\n"),
        [1]
    );
    assert_eq!(
        fails(forbids, "src/node/mod.rs", "//! #![forbid(unsafe_code)]\n"),
        [1]
    );
    assert_eq!(
        fails(forbids, "src/node/mod.rs", "#![forbid(unsafe_code)]\n"),
        []
    );
    assert_eq!(fails(forbids, "src/sys/mod.rs", ""), []);
}

#[test]
fn heads_fails_without_a_first_sentence() {
    assert_eq!(fails(heads, "src/node/mod.rs", "use std::fs;\n"), [1]);
    assert_eq!(fails(heads, "src/node/mod.rs", ""), [1]);
    assert_eq!(
        fails(heads, "fuzz/x.rs", "#![no_main]\n//! A target.\n"),
        [1]
    );
    assert_eq!(
        fails(
            heads,
            "examples/x.rs",
            "#!/usr/bin/env run\n//! An example.\n"
        ),
        []
    );
    assert_eq!(fails(heads, "tests/ui/borrowed.rs", "fn main() {}\n"), []);
}

#[test]
fn sizes_fails_on_long_files_and_wide_lines() {
    assert_eq!(fails(sizes, "src/node/spawn.rs", &"\n".repeat(600)), []);
    assert_eq!(fails(sizes, "src/node/spawn.rs", &"\n".repeat(601)), [601]);
    assert_eq!(fails(sizes, "src/node/mod.rs", &"\n".repeat(151)), [151]);
    assert_eq!(fails(sizes, "src/x.rs", &"\u{e4}".repeat(100)), []);
    assert_eq!(fails(sizes, "src/x.rs", &"a".repeat(101)), [1]);
    assert_eq!(
        fails(
            sizes,
            "src/x.rs",
            &format!("// https://{}", "a".repeat(101))
        ),
        []
    );
}

#[test]
fn leftovers_fails_on_what_is_not_done() {
    for word in UNDONE {
        assert_eq!(
            fails(leftovers, "src/x.rs", &format!("//! X.\n// {word}: more")),
            [2]
        );
    }
    assert_eq!(
        fails(leftovers, "src/x.rs", "fn f() {\n    todo!()\n}"),
        [2]
    );
    assert_eq!(
        fails(leftovers, "src/x.rs", "fn f() { unimplemented!(\"f\") }"),
        [1]
    );
    assert_eq!(fails(leftovers, "src/x.rs", "let x = \"todo!\";"), []);
}

#[test]
fn drawers_fails_on_the_name() {
    assert_eq!(fails(drawers, "src/node/error.rs", ""), [1]);
    assert_eq!(fails(drawers, "macros/src/utils.rs", ""), [1]);
    assert_eq!(fails(drawers, "src/node/spawn.rs", ""), []);
}

#[test]
fn lints_fails_on_a_library_without_them() {
    let all = LIBRARY_LINTS.join(",\n    ");
    assert_eq!(
        fails(lints, "src/lib.rs", &format!("#![warn(\n    {all},\n)]\n")),
        []
    );
    assert_eq!(
        fails(lints, "src/lib.rs", &format!("// #![warn({all})]")).len(),
        12
    );
    let others = LIBRARY_LINTS[1..].join(", ");
    assert_eq!(
        fails(lints, "src/lib.rs", &format!("#![warn({others})]")),
        [1]
    );
}
