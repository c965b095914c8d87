//! A cgroup that says which cores there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One beneath the root of its hierarchy, which a test has made for itself.
pub struct CoreGroup(PathBuf);

impl CoreGroup {
    /// One with the cores of this list, called after `test`; none where that may not be made.
    pub fn new(test: &str, cores: &str) -> Option<Self> {
        let name = format!("callboard-{test}-{}", std::process::id());
        let unified = Path::new("/sys/fs/cgroup");
        let own = Path::new("/sys/fs/cgroup/cpuset");
        let root = if own.join("cgroup.procs").exists() {
            own
        } else {
            fs::write(unified.join("cgroup.subtree_control"), "+cpuset").ok()?;
            unified
        };
        let group = root.join(name);
        fs::create_dir(&group).ok()?;
        let group = Self(group);
        // The older hierarchy takes no process before it knows its memory.
        let nodes = fs::read_to_string(root.join("cpuset.mems"));
        if let Ok(nodes) = nodes {
            fs::write(group.0.join("cpuset.mems"), nodes.trim()).ok()?;
        }
        group.set(cores).ok()?;
        Some(group)
    }

    /// From now on these are the cores that there are.
    pub fn set(&self, cores: &str) -> io::Result<()> {
        fs::write(self.0.join("cpuset.cpus"), cores)
    }

    /// Takes a process in, with all its threads.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
    }
}

/// Whoever was in it must have ended.
impl Drop for CoreGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
