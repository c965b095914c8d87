//! Looks at the blobs that processes have.

use std::fs;

use super::{LONG, eventually};

/// How many descriptors and mappings of blobs a process has.
pub fn blobs_of(pid: u32) -> (usize, usize) {
    let is_blob = |name: &str| name.contains("memfd:callboard-blob");
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    let fds = entries.flatten().filter(|entry| {
        let target = fs::read_link(entry.path());
        target.is_ok_and(|target| is_blob(&target.to_string_lossy()))
    });
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process is there");
    (
        fds.count(),
        maps.lines().filter(|line| is_blob(line)).count(),
    )
}

/// Waits until none of these processes has anything of a blob.
pub async fn no_blobs(pids: &[u32]) {
    eventually(LONG, "no blob is left", || {
        pids.iter().all(|pid| blobs_of(*pid) == (0, 0))
    })
    .await;
}
