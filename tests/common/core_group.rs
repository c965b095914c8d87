//! The cores that there are for some processes, as somebody from outside decides.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A cgroup with some of the cores; removed when dropped.
pub struct CoreGroup {
    dir: PathBuf,
    /// Where the controller is handed on only for it.
    handed_on: Option<PathBuf>,
}

impl CoreGroup {
    /// One with the cores of this list, called after `test`; none where that may not be made.
    pub fn new(test: &str, cores: &str) -> Option<Self> {
        let name = format!("callboard-{test}-{}", std::process::id());
        let unified = Path::new("/sys/fs/cgroup");
        let own = Path::new("/sys/fs/cgroup/cpuset");
        let group = if own.join("cgroup.procs").exists() {
            Self::of_version_one(own, &name)?
        } else {
            Self::of_version_two(unified, &name)?
        };
        group.set(cores).ok()?;
        Some(group)
    }

    /// The older hierarchy takes no process before it knows its memory.
    fn of_version_one(root: &Path, name: &str) -> Option<Self> {
        let nodes = fs::read_to_string(root.join("cpuset.mems")).ok()?;
        let group = Self::create(root.join(name), None)?;
        fs::write(group.dir.join("cpuset.mems"), nodes.trim()).ok()?;
        Some(group)
    }

    /// Memory is where the one above has it unless said otherwise. Where the root that is seen here
    /// has members and is none in truth (a container's), it becomes the domain of a threaded
    /// subtree by handing the CPUs on, and its groups are to be told that they are of it.
    fn of_version_two(root: &Path, name: &str) -> Option<Self> {
        let control = root.join("cgroup.subtree_control");
        let is_given = |text: &str| text.split_whitespace().any(|name| name == "cpuset");
        let handed_on = if is_given(&fs::read_to_string(&control).ok()?) {
            None
        } else {
            fs::write(&control, "+cpuset").ok()?;
            Some(control)
        };
        let group = Self::create(root.join(name), handed_on)?;
        let kind = group.dir.join("cgroup.type");
        if fs::read_to_string(&kind).is_ok_and(|kind| kind.trim() == "domain invalid") {
            fs::write(kind, "threaded").ok()?;
        }
        Some(group)
    }

    fn create(dir: PathBuf, handed_on: Option<PathBuf>) -> Option<Self> {
        fs::create_dir(&dir).ok()?;
        Some(Self { dir, handed_on })
    }

    /// From now on these are the cores that there are.
    pub fn set(&self, cores: &str) -> io::Result<()> {
        fs::write(self.dir.join("cpuset.cpus"), cores)
    }

    /// Takes a process in, with all its threads.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string())
    }
}

/// Whoever was in it must have ended.
impl Drop for CoreGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.dir);
        if let Some(control) = &self.handed_on {
            let _ = fs::write(control, "-cpuset");
        }
    }
}
