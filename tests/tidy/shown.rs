//! What `tests/features.md` says is shown, and what the first lines of tests say they show.

use std::collections::HashSet;
use std::path::Path;

use super::{File, collect, is_word};

/// The table, from the root of the repository.
const TABLE: &str = "tests/features.md";

/// A reason for a row that nothing shows.
const REASONS: [&str; 2] = ["no meaning", "not yet"];

/// The rows of tables: the number of the line, the row's id and its last column.
fn rows(table: &str) -> Vec<(usize, &str, &str)> {
    let cells = |line| Vec::from_iter(str::split(line, '|').map(str::trim));
    let rows = table.lines().enumerate().filter_map(|(index, line)| {
        let cells = cells(line.strip_prefix('|')?.strip_suffix('|')?);
        let (id, shown) = (*cells.first()?, *cells.last()?);
        is_id(id).then_some((index + 1, id, shown))
    });
    rows.collect()
}

/// Whether a word is a row's id: a sample of the sources, a feature of theirs, or a fault.
fn is_id(word: &str) -> bool {
    if let Some((document, sample)) = word.split_once('-') {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        return document.len() == 3 && digits(document) && digits(sample);
    }
    let kind = word.trim_end_matches(|c: char| c.is_ascii_digit() || c == 'A' || c == 'B');
    let number = &word[kind.len()..];
    let number = number.strip_prefix('B').unwrap_or(number);
    let known = ["U", "P", "C", "K", "F"].contains(&kind);
    known && (1..=2).contains(&number.len()) && number.starts_with(|c: char| c.is_ascii_digit())
}

/// What a row names: the words in backquotes that are paths of ours.
fn named(shown: &str) -> impl Iterator<Item = &str> {
    let quoted = shown.split('`').skip(1).step_by(2);
    quoted.filter(|word| {
        word.split("::")
            .next()
            .is_some_and(|path| path.ends_with(".rs"))
    })
}

/// The ids at the head of a file, before the first colon of its first line, in full.
fn claimed(text: &str) -> Vec<String> {
    let Some(head) = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("//! "))
    else {
        return Vec::new();
    };
    let Some((list, _)) = head.split_once(':') else {
        return Vec::new();
    };
    let ids: Option<Vec<_>> = list.split(", ").map(in_full).collect();
    ids.unwrap_or_default().concat()
}

/// An id, or the ids from one to another: `K07-K09`.
fn in_full(word: &str) -> Option<Vec<String>> {
    if is_id(word) {
        return Some(vec![word.to_owned()]);
    }
    let (first, last) = word
        .split_once('-')
        .filter(|(one, other)| is_id(one) && is_id(other))?;
    let kind = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let from: u32 = first[kind.len()..].parse().ok()?;
    let to: u32 = last.strip_prefix(kind)?.parse().ok()?;
    let width = first.len() - kind.len();
    Some(
        (from..=to)
            .map(|number| format!("{kind}{number:0width$}"))
            .collect(),
    )
}

/// Whether a file has a test of that name: a function with the attribute, or one that `both!` makes
/// two tests of.
fn has_test(file: &File, name: &str) -> bool {
    let is_whole = |at: usize| !file.code[at + name.len()..].starts_with(is_word);
    let mut places = file.code.match_indices(name).map(|(at, _)| at);
    places.any(|at| {
        let before = &file.code[..at];
        let made = before
            .rfind("both! {")
            .is_some_and(|from| !before[from..].contains('}'));
        let is_test = before.strip_suffix("fn ").is_some_and(is_test);
        is_whole(at) && (is_test || (made && !before.ends_with(is_word)))
    })
}

/// Whether the attributes that end such a text make what follows a test, a property or a model.
fn is_test(before: &str) -> bool {
    let item = before
        .rfind(['}', ';'])
        .map_or(before, |end| &before[end..]);
    item.contains("test]") || item.contains("test(") || item.contains("proptest!")
}

/// What is wrong with the table, by itself and with these files.
fn violations(table: &str, files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut ids = HashSet::new();
    for (line, id, shown) in rows(table) {
        let mut wrong = |what: String| violations.push(format!("{TABLE}:{line}: {id} {what}"));
        if !ids.insert(id) {
            wrong("is there twice".into());
        }
        let mut names = named(shown).peekable();
        if names.peek().is_none() && !REASONS.iter().any(|reason| shown.starts_with(reason)) {
            wrong("names nothing, and no reason".into());
        }
        for name in names {
            let (path, test) = name.split_once("::").unzip();
            let path = path.unwrap_or(name);
            match files.iter().find(|file| file.path == path) {
                None => wrong(format!("names `{path}`, which is not there")),
                Some(file) if test.is_some_and(|test| !has_test(file, test)) => {
                    wrong(format!("names `{name}`, which is no test there"));
                }
                Some(_) => {}
            }
        }
    }
    for file in files {
        let claimed = claimed(&file.text);
        let unknown = claimed.iter().filter(|id| !ids.contains(id.as_str()));
        violations.extend(unknown.map(|id| format!("{}:1: {id} is no row of {TABLE}", file.path)));
    }
    violations
}

/// Every row names what is there, once, or says why not; no test claims a row that is not there.
#[test]
fn what_is_shown_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join(TABLE)).expect("there is a table");
    let mut files = Vec::new();
    for folder in ["src", "macros/src", "tests", "examples", "fuzz", "benches"] {
        collect(root, folder, &mut files);
    }
    assert!(
        rows(&table).len() > 100,
        "{TABLE} has {} rows",
        rows(&table).len()
    );
    let violations = violations(&table, &files);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// The rule fails on each thing that may be wrong.
#[test]
fn what_is_shown_fails_on_what_is_not() {
    let file = |text: &str| File::new("tests/x.rs", text);
    let test =
        "//! U01, K07-K09: x.\n#[callboard::test(x = 1)]\nasync fn shows() {}\nfn helps() {}";
    let rows = "| U01 | a | `tests/x.rs::shows` |\n| K07 | b | `tests/x.rs` |\n\
                | K08 | c | not yet: d |\n| K09 | e | no meaning: f |\n";
    let found = |more: &str| violations(&format!("{rows}{more}"), &[file(test)]).len();
    assert_eq!(found(""), 0);
    assert_eq!(found("| U01 | again | `tests/x.rs` |"), 1);
    assert_eq!(found("| U02 | no such file | `tests/y.rs` |"), 1);
    assert_eq!(found("| U02 | no such test | `tests/x.rs::show` |"), 1);
    assert_eq!(found("| U02 | no test | `tests/x.rs::helps` |"), 1);
    assert_eq!(found("| U02 | nothing | maybe |"), 1);
    let twice = file("common::both! {\n    shows;\n    hides (flavor = 1);\n}\nfn helps() {}\n");
    assert!(has_test(&twice, "shows") && has_test(&twice, "hides"));
    assert!(!has_test(&twice, "helps") && !has_test(&twice, "hide"));
    assert_eq!(
        violations("| U01 | a | `tests/x.rs` |", &[file(test)]).len(),
        3
    );
    assert_eq!(claimed("//! U30, 002-8: x."), ["U30", "002-8"]);
    assert_eq!(
        claimed("//! What calls cost, where it is counted: x."),
        [""; 0]
    );
    assert_eq!(claimed("//! UB5, U1A: x."), ["UB5", "U1A"]);
}
