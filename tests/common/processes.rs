//! Looking at processes from outside, and at what this one holds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::{SOON, eventually};

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
    /// Those of this process, at this moment.
    pub fn now() -> Self {
        let own = std::process::id();
        let prefix = format!("callboard-{own}-");
        let names = fs::read_dir("/dev/shm").expect("there is shared memory");
        let names = names.flatten().map(|entry| entry.file_name());
        Self {
            descriptors: numbers_in("/proc/self/fd").len(),
            threads: numbers_in("/proc/self/task").len(),
            children: children_of(own).len(),
            segments: names
                .filter(|name| name.to_string_lossy().starts_with(&prefix))
                .count(),
        }
    }

    /// Those of this process, once what is being cleared away is gone.
    pub async fn settled() -> Self {
        let mut before = Self::now();
        loop {
            sleep(Duration::from_millis(100)).await;
            let now = Self::now();
            if now == before {
                return now;
            }
            before = now;
        }
    }

    /// Waits until this process holds no more than before. It may hold less: what ended just before
    /// that look may still have been there.
    pub async fn back(&self) {
        let end = Instant::now() + SOON;
        let mut now = Self::now();
        while !now.is_within(self) && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
            now = Self::now();
        }
        assert!(
            now.is_within(self),
            "something is left: {now:?} of {self:?}"
        );
    }

    /// Whether none of it is more than there.
    pub fn is_within(&self, other: &Self) -> bool {
        self.descriptors <= other.descriptors
            && self.threads <= other.threads
            && self.children <= other.children
            && self.segments <= other.segments
    }
}

fn numbers_in(dir: impl AsRef<Path>) -> Vec<u32> {
    let entries = fs::read_dir(dir).expect("proc can be read").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The number of the file of this process whose pages these bytes are.
pub fn file_of(bytes: &[u8]) -> u64 {
    let place = bytes.as_ptr().addr() as u64;
    let maps = fs::read_to_string("/proc/self/maps").expect("there is proc");
    let found = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (begin, end) = fields.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let is_it = (hex(begin)?..hex(end)?).contains(&place);
        is_it.then(|| fields.nth(3)?.parse().ok()).flatten()
    });
    found.expect("the bytes are mapped")
}
