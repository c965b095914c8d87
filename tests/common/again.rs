//! Running a test in a process of its own: alone, or with another part to play.

use std::process::Command;

/// The variable that tells a test which part it has in a process of its own.
const ROLE: &str = "CALLBOARD_TEST_ROLE";

/// A command that runs `test` of this program again, as `role`.
pub fn again(test: &str, role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(again_args(test)).env(ROLE, role);
    command
}

/// The same by way of another program, which is given this one and its arguments.
pub fn again_by(by: &[&str], test: &str, role: &str) -> Command {
    let (program, args) = by.split_first().expect("it has a name");
    let own = std::env::current_exe().expect("it has a path");
    let mut command = Command::new(program);
    command.args(args).arg(own).args(again_args(test));
    command.env(ROLE, role);
    command
}

/// A program by which another one runs whose processes are numbered as on another machine. None:
/// this user has no right to it.
pub fn apart() -> Option<&'static [&'static str]> {
    const APART: [&[&str]; 2] = [
        &["unshare", "--fork", "--pid", "--mount-proc"],
        &[
            "unshare",
            "--map-root-user",
            "--fork",
            "--pid",
            "--mount-proc",
        ],
    ];
    let may = |by: &&&[&str]| may_unshare(&[&by[1..], &["true"]].concat());
    APART.iter().find(may).copied()
}

/// Whether this user may run something by `unshare` with these arguments.
pub fn may_unshare(args: &[&str]) -> bool {
    let tried = Command::new("unshare").args(args).output();
    tried.is_ok_and(|output| output.status.success())
}

/// The arguments with which a test program runs just `test`.
pub fn again_args(test: &str) -> [&str; 4] {
    [test, "--exact", "--nocapture", "--test-threads=1"]
}

/// Whether this process was started for `role`.
pub fn is_role(role: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|found| found == role)
}

/// Runs `test` again in a process where no other test runs beside it; true within that process.
pub fn alone(test: &str) -> bool {
    if is_role("alone") {
        return true;
    }
    must_pass(&mut again(test, "alone"));
    false
}

/// Runs a test program that must pass one test.
pub fn must_pass(command: &mut Command) {
    let output = command.output().expect("the program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(passed, "{text}\n{errors}");
}
