//! Keeps the house tidy: the rules of form that no compiler checks, as a test.
//!
//! A rule is a function from one file to its violations, and knows nothing of the other files. The
//! test at the end runs all rules over the tree. A folder that is not there is tidy.

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/made_up.rs"]
mod made_up;
#[path = "tidy/shown.rs"]
mod shown;

use std::fs;
use std::path::Path;

use code::code_of;

/// The rooms, bottom-up, each with the rooms it may use: those beneath it. `sys` and `ring` do not
/// know each other, so that the ring runs on heap memory under loom and Miri; `wire` needs no ring.
const HOUSE: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("ring", &[]),
    ("cpu", &["sys"]),
    ("wire", &["sys"]),
    ("transport", &["sys", "ring", "wire"]),
    ("flow", &["sys", "wire", "transport"]),
    ("proxy", &["sys", "ring", "wire", "transport", "flow"]),
    (
        "actor",
        &["sys", "ring", "wire", "transport", "flow", "proxy"],
    ),
    (
        "node",
        &[
            "sys",
            "cpu",
            "ring",
            "wire",
            "transport",
            "flow",
            "proxy",
            "actor",
        ],
    ),
    (
        "supervision",
        &["sys", "ring", "wire", "transport", "proxy", "actor", "node"],
    ),
    (
        "pool",
        &[
            "sys",
            "cpu",
            "ring",
            "wire",
            "transport",
            "proxy",
            "actor",
            "node",
            "supervision",
        ],
    ),
];

/// Rooms that may hold `unsafe`.
const UNSAFE_ROOMS: &[&str] = &["sys", "ring"];

/// A file of the tests that does what user code may do, and safe code cannot.
const UNSAFE_TEST: &str = "tests/common/fork.rs";

/// Where Rust files are looked for, from the root of the repository.
const FOLDERS: &[&str] = &["src", "macros/src", "tests", "benches", "examples", "fuzz"];

/// Folders in which tools put what they make.
const MADE: &[&str] = &["target", "corpus", "artifacts"];

const FILE_LINES_MAX: usize = 600;
const MOD_LINES_MAX: usize = 150;
const COLUMNS_MAX: usize = 100;

/// The clock that people set: its time may jump to anywhere.
const DAYTIME: &[&str] = &[
    "SystemTime",
    "UNIX_EPOCH",
    "CLOCK_REALTIME",
    "ClockId::Realtime",
];

/// What a pure file does not name, apart from tokio.
const OUTSIDE: &[&str] = &[
    "Instant::now",
    "SystemTime",
    ".await",
    "std::fs",
    "std::net",
    "std::process",
];

/// File names for what belongs beside the operation it is about.
const DRAWERS: &[&str] = &["error.rs", "config.rs", "utils.rs", "common.rs"];

/// Words for what is not done yet. Put together here, because this file is read as well.
const UNDONE: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO")];

/// Lints that make sense for a library only, so that `lib.rs` sets them and not the workspace: an
/// example prints, and nobody reads the documentation of a test's actor.
const LIBRARY_LINTS: &[&str] = &[
    "missing_docs",
    "missing_debug_implementations",
    "unnameable_types",
    "unreachable_pub",
    "clippy::exhaustive_enums",
    "clippy::exhaustive_structs",
    "clippy::missing_errors_doc",
    "clippy::missing_panics_doc",
    "clippy::must_use_candidate",
    "clippy::print_stderr",
    "clippy::print_stdout",
    "clippy::return_self_not_must_use",
];

type Rule = fn(&File) -> Vec<String>;

const RULES: &[Rule] = &[
    rooms, pure, clocks, orderings, atomics, unsafes, forbids, heads, sizes, leftovers, drawers,
    lints,
];

/// One Rust file.
struct File {
    /// From the root of the repository, with slashes.
    path: String,
    text: String,
    /// The text with a blank for each character of a comment or literal; lines stay where they are.
    code: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: code_of(text),
        }
    }

    /// The folder beneath `src/` in which the file lies.
    fn room(&self) -> Option<&str> {
        Some(self.path.strip_prefix("src/")?.split_once('/')?.0)
    }

    /// The lines of code with their numbers.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// A case of bad user code, written for what the compiler says about it.
    fn is_compile_failure(&self) -> bool {
        self.path.starts_with("tests/ui/")
    }

    fn violation(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The files above all rooms: they may name any of them.
const TOP: [&str; 5] = [
    "src/lib.rs",
    "src/bin/callboard.rs",
    "src/names.rs",
    "src/internals.rs",
    "src/fuzzing.rs",
];

/// A room names itself and the rooms beneath it, one per `use` line, and nothing of `lib.rs`.
fn rooms(file: &File) -> Vec<String> {
    let Some(room) = file.room().filter(|room| *room != "bin") else {
        let homeless = file.path.starts_with("src/")
            && !TOP.contains(&file.path.as_str())
            && !file.path.starts_with("src/bin/");
        return Vec::from_iter(homeless.then(|| file.violation(1, "lies in no room")));
    };
    let Some((_, beneath)) = HOUSE.iter().find(|(name, _)| *name == room) else {
        return vec![file.violation(1, &format!("`{room}` is not in the table of rooms"))];
    };
    let mut violations = Vec::new();
    for (number, line) in file.code_lines() {
        for named in named_from_root(line) {
            if named == "{" {
                let what = "takes several rooms in one `use crate::` line";
                violations.push(file.violation(number, what));
            } else if named != room && !beneath.contains(&named) {
                let what = format!("names `{named}`, which is not beneath `{room}`");
                violations.push(file.violation(number, &what));
            }
        }
    }
    violations
}

/// A file whose first sentence ends in `Pure.` neither waits nor asks the system for anything.
fn pure(file: &File) -> Vec<String> {
    let first: Vec<&str> = file
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!").map(str::trim))
        .take_while(|line| !line.is_empty())
        .collect();
    if !first.last().is_some_and(|line| line.ends_with("Pure.")) {
        return Vec::new();
    }
    let named = |line: &str| {
        let path = OUTSIDE.iter().any(|name| line.contains(name));
        let group = line.split_once("std::{").is_some_and(|(_, group)| {
            words(group).any(|word| ["fs", "net", "process"].contains(&word))
        });
        path || group || words(line).any(|word| word == "tokio")
    };
    file.code_lines()
        .filter(|(_, line)| named(line))
        .map(|(number, _)| file.violation(number, "says `Pure.` and is not"))
        .collect()
}

/// The library measures time by the clock that nobody sets, so that no bound of its ends early or
/// late when somebody sets the other one.
fn clocks(file: &File) -> Vec<String> {
    if !file.path.starts_with("src/") && !file.path.starts_with("macros/src/") {
        return Vec::new();
    }
    file.code_lines()
        .filter(|(_, line)| DAYTIME.iter().any(|name| line.contains(name)))
        .map(|(number, _)| file.violation(number, "asks for the time of day, which may jump"))
        .collect()
}

/// In the ring each strong ordering says what it publishes or receives.
fn orderings(file: &File) -> Vec<String> {
    if file.room() != Some("ring") {
        return Vec::new();
    }
    let strong = ["Acquire", "Release", "AcqRel", "SeqCst"];
    let text: Vec<&str> = file.text.lines().collect();
    let code: Vec<&str> = file.code.lines().collect();
    (0..code.len())
        .filter(|&index| words(code[index]).any(|word| strong.contains(&word)))
        .filter(|&index| !words(code[index]).any(|word| word == "use"))
        .filter(|&index| !is_reasoned(&text, &code, index))
        .map(|index| file.violation(index + 1, "strong ordering without `// ORDERING:`"))
        .collect()
}

/// Whether the line, or a comment above it within its statement or on top of that, has the reason.
fn is_reasoned(text: &[&str], code: &[&str], index: usize) -> bool {
    let reason = "// ORDERING:";
    let above = (0..index).rev().take_while(|&line| {
        let code = code[line].trim_end();
        !text[line].trim().is_empty() && !code.ends_with([';', '{', '}'])
    });
    text[index].contains(reason) || above.into_iter().any(|line| text[line].contains(reason))
}

/// In the ring atomics come from `ring::atomic`, so that what a model explores is what runs.
fn atomics(file: &File) -> Vec<String> {
    if file.room() != Some("ring") || file.path == "src/ring/atomic.rs" {
        return Vec::new();
    }
    file.code_lines()
        .filter(|(_, line)| line.contains("sync::atomic"))
        .map(|(number, _)| file.violation(number, "takes atomics from elsewhere than ring::atomic"))
        .collect()
}

/// Unsafe code lives in few rooms. What the macros write may hold an unsafe attribute, no block.
/// The comparison is no part of the house: some of what it compares with is raw memory.
fn unsafes(file: &File) -> Vec<String> {
    let beside = file.is_compile_failure()
        || file.path.starts_with("benches/comparison/")
        || file.path == UNSAFE_TEST;
    if beside || file.room().is_some_and(|room| UNSAFE_ROOMS.contains(&room)) {
        return Vec::new();
    }
    let attributes = file.path.starts_with("macros/");
    file.code_lines()
        .filter(|(_, line)| {
            let line = if attributes {
                line.replace("unsafe(", "(")
            } else {
                (*line).to_owned()
            };
            words(&line).any(|word| word == "unsafe")
        })
        .map(|(number, _)| file.violation(number, "`unsafe` outside sys and ring"))
        .collect()
}

/// The other rooms say so to the compiler.
fn forbids(file: &File) -> Vec<String> {
    let may = file
        .room()
        .is_none_or(|room| room == "bin" || UNSAFE_ROOMS.contains(&room));
    let head = file.path.split('/').count() == 3 && file.path.ends_with("/mod.rs");
    let lacks = !may && head && !file.code.contains("#![forbid(unsafe_code)]");
    Vec::from_iter(lacks.then(|| file.violation(1, "lacks `#![forbid(unsafe_code)]`")))
}

/// A file begins by saying what is in it.
fn heads(file: &File) -> Vec<String> {
    let mut lines = file.text.lines().skip_while(|line| line.starts_with("#!/"));
    let silent = !lines.next().is_some_and(|line| line.starts_with("//! "));
    let bad = silent && !file.is_compile_failure();
    Vec::from_iter(bad.then(|| file.violation(1, "does not begin with `//!`")))
}

/// Files, heads of rooms and lines stay short; a URL cannot be broken.
fn sizes(file: &File) -> Vec<String> {
    let head = file.path.ends_with("/mod.rs");
    let lines_max = if head { MOD_LINES_MAX } else { FILE_LINES_MAX };
    let lines = file.text.lines().count();
    let long = (lines > lines_max).then(|| {
        file.violation(
            lines,
            &format!("has {lines} lines, {lines_max} are allowed"),
        )
    });
    let wide = file.text.lines().enumerate().filter_map(|(index, line)| {
        let columns = line.chars().count();
        (columns > COLUMNS_MAX && !line.contains("://"))
            .then(|| file.violation(index + 1, &format!("has {columns} columns")))
    });
    long.into_iter().chain(wide).collect()
}

/// What is not done is an issue, not a comment and not a panic.
fn leftovers(file: &File) -> Vec<String> {
    let in_text = |line: &str| words(line).any(|word| UNDONE.contains(&word));
    let in_code = |line: &str| {
        ["todo!", "unimplemented!"]
            .iter()
            .any(|name| line.contains(name))
    };
    file.text
        .lines()
        .zip(file.code_lines())
        .filter(|(text, (_, code))| in_text(text) || in_code(code))
        .map(|(_, (number, _))| file.violation(number, "is not done"))
        .collect()
}

/// Errors and settings live beside the operation that raises or reads them.
fn drawers(file: &File) -> Vec<String> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let drawer = DRAWERS.contains(&name);
    Vec::from_iter(drawer.then(|| file.violation(1, "belongs beside its operation")))
}

/// The library sets the lints that only a library needs.
fn lints(file: &File) -> Vec<String> {
    if file.path != "src/lib.rs" {
        return Vec::new();
    }
    let sets = |lint: &str| {
        file.code.split("#![warn(").skip(1).any(|list| {
            let list = list.split_once(")]").map_or(list, |(list, _)| list);
            list.split(',').any(|named| named.trim() == lint)
        })
    };
    LIBRARY_LINTS
        .iter()
        .filter(|lint| !sets(lint))
        .map(|lint| file.violation(1, &format!("lacks `#![warn({lint})]`")))
        .collect()
}

/// What a line names right under the crate's root; `{` where a group follows.
fn named_from_root(line: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in line.match_indices(root) {
            let inside = line[..at].ends_with(is_word);
            let rest = &line[at + root.len()..];
            let name = if rest.starts_with('{') {
                "{"
            } else {
                words(rest).next().unwrap_or("")
            };
            // `super` is the root only in a room's head; no part of a room is called like a room.
            let is_root = root == "crate::" || HOUSE.iter().any(|(room, _)| *room == name);
            if !inside && is_root {
                named.push(name);
            }
        }
    }
    named
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn collect(root: &Path, folder: &str, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries {
        let name = entry.expect("a folder can be read to its end").file_name();
        let name = name.to_str().expect("our file names are UTF-8");
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() && !MADE.contains(&name) {
            collect(root, &path, files);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(root.join(&path)).expect("our files are UTF-8");
            files.push(File::new(&path, &text));
        }
    }
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(root, folder, &mut files);
    }
    assert!(
        files.iter().any(|file| file.path == "tests/tidy.rs"),
        "this file was not found"
    );
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let broken = |file| RULES.iter().flat_map(move |rule| rule(file));
    let violations: Vec<String> = files.iter().flat_map(broken).collect();
    assert!(
        violations.is_empty(),
        "{} violations\n{}",
        violations.len(),
        violations.join("\n")
    );
}

#[test]
fn the_table_of_rooms_is_bottom_up() {
    for (index, (room, beneath)) in HOUSE.iter().enumerate() {
        for used in *beneath {
            let known = HOUSE[..index].iter().any(|(lower, _)| lower == used);
            assert!(
                known,
                "{room} uses {used}, which does not stand above it in the table"
            );
        }
    }
}
