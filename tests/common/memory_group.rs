//! A limit of memory for some processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A cgroup with a limit of memory, beneath our own; removed when dropped.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// One with so many bytes, called after `test`; none where that may not be made.
    pub fn new(test: &str, limit: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
            let (root, file) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                _ => return None,
            };
            let name = format!("callboard-{test}-{}", std::process::id());
            let group = Path::new(root).join(path).join(name);
            fs::create_dir(&group).ok()?;
            let group = Self(group);
            fs::write(group.0.join(file), limit.to_string()).ok()?;
            Some(group)
        })
    }

    /// A command that runs this program within the group.
    pub fn again(&self) -> Command {
        // The shell enters the group, and the program is what it turns into.
        let enter = "echo $$ > \"$GROUP/cgroup.procs\" && exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", enter])
            .arg(std::env::current_exe().expect("it has a path"))
            .env("GROUP", &self.0);
        command
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
