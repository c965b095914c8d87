//! U07: the `callboard` command, as people use it.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use callboard::AuthKey;

use common::Scratch;

fn callboard(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_callboard");
    let ran = Command::new(program).args(args).output();
    ran.expect("it is built")
}

fn said(output: &[u8]) -> &str {
    std::str::from_utf8(output).expect("it is text").trim_end()
}

/// A key is made in a file that its owner alone can read, and that an actor's program takes; its id
/// is printed, of this and of any file, and never the key. No other key is overwritten; what is no
/// key, or is exposed, is an error that says so.
#[test]
fn keys_are_made() {
    let scratch = Scratch::new();
    let path = scratch.path("authkey");
    let made = callboard(&["authkey", "new", &path]);
    assert!(made.status.success(), "{made:?}");
    let mode = fs::metadata(&path).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let key = AuthKey::from_file(&path).expect("it is a key");
    let line = format!("{path}: {}", key.id());
    assert_eq!(said(&made.stdout), line);
    let digits = scratch.read("authkey");
    assert!(!said(&made.stdout).contains(digits.trim_end()));

    let again = callboard(&["authkey", "new", &path]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again.stderr).contains("File exists"), "{again:?}");
    assert_eq!(scratch.read("authkey"), digits, "it is the same key");
    let id = callboard(&["authkey", "id", &path]);
    assert_eq!((said(&id.stdout), id.status.code()), (&*line, Some(0)));

    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
    let exposed = callboard(&["authkey", "id", &path]);
    assert_eq!(exposed.status.code(), Some(1));
    assert!(said(&exposed.stderr).contains("640"), "{exposed:?}");
    let absent = callboard(&["authkey", "id", &scratch.path("absent")]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(said(&absent.stderr).contains("No such file"), "{absent:?}");
}

/// Other arguments are told what there is.
#[test]
fn usage_is_told() {
    for args in [
        &[][..],
        &["authkey"],
        &["authkey", "new"],
        &["authkey", "old", "file"],
        &["new", "authkey", "file"],
        &["authkey", "new", "file", "more"],
    ] {
        let ran = callboard(args);
        assert_eq!(ran.status.code(), Some(2), "{args:?}");
        let usage = "usage: callboard authkey new|id FILE";
        assert_eq!(said(&ran.stderr), usage, "{args:?}");
    }
}
