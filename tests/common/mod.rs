//! What the tests of real processes share: looking at processes, and running a test in its own one.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep, timeout};

/// Far more than anything here takes; a test that hangs fails after it.
pub const LONG: Duration = Duration::from_secs(60);

/// What ends or is noticed soon is so within this time, also on a busy machine.
pub const SOON: Duration = Duration::from_secs(2);

/// Awaits what must not hang.
pub async fn within<F: Future>(limit: Duration, future: F) -> F::Output {
    match timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("not done within {limit:?}"),
    }
}

/// Waits until something is so.
pub async fn eventually(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("the process is there");
}

/// Fields of `/proc/PID/stat` after the name: the state is the first, the parent the second.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Whether a process has ended. One that nobody has reaped has.
pub fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| matches!(fields[0].as_str(), "Z" | "X"))
}

/// Whether a process stands still by a signal.
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

/// Waits until a process has ended.
pub async fn gone(pid: u32) {
    eventually(SOON, "the process is gone", || is_gone(pid)).await;
}

/// The processes that `parent` has started and not reaped.
pub fn children_of(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    numbers_in("/proc")
        .into_iter()
        .filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == parent))
        .collect()
}

/// What a process has open and has made: descriptors, threads, children, names in `/dev/shm`.
#[derive(Debug, PartialEq, Eq)]
pub struct Holdings {
    pub descriptors: usize,
    pub threads: usize,
    pub children: usize,
    pub segments: usize,
}

impl Holdings {
    /// Those of this process.
    pub fn now() -> Self {
        let own = std::process::id();
        let prefix = format!("callboard-{own}-");
        let names = fs::read_dir("/dev/shm").expect("there is shared memory");
        let names = names.flatten().map(|entry| entry.file_name());
        Self {
            descriptors: numbers_in("/proc/self/fd").len(),
            threads: numbers_in("/proc/self/task").len(),
            children: children_of(own).len(),
            segments: names.filter(|name| name.to_string_lossy().starts_with(&prefix)).count(),
        }
    }

    /// Waits until this process holds what it held before.
    pub async fn back(&self) {
        let end = Instant::now() + SOON;
        while Self::now() != *self && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(Self::now(), *self, "something is left");
    }
}

fn numbers_in(dir: impl AsRef<Path>) -> Vec<u32> {
    let entries = fs::read_dir(dir).expect("proc can be read").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The variable that tells a test which part it has in a process of its own.
const ROLE: &str = "CALLBOARD_TEST_ROLE";

/// A command that runs `test` of this program again, as `role`.
pub fn again(test: &str, role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(again_args(test)).env(ROLE, role);
    command
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

/// Says that a test shows nothing here, past the harness's capture.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// A folder for one test, removed with its content.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callboard-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("our names are text").to_owned()
    }

    /// What was written there, nothing if nothing was.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
