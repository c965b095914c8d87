//! Whether there is so much memory, before it is asked for.
//!
//! The system does not refuse memory that it has not got: it kills a process, this one or another,
//! also in the middle of an allocation. So who allocates much looks first. Between the look and the
//! allocation others may take it, so what this says is no promise, only a refusal in time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Less than this is not looked for: the look would cost more than the allocation.
const LOOK_LEN_MIN: usize = 16 << 20;

/// An error if there are not `len` bytes to be had.
///
/// # Errors
/// `OutOfMemory`, with how many there are.
pub(crate) fn check(len: usize) -> io::Result<()> {
    if len < LOOK_LEN_MIN {
        return Ok(());
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = groups(&own);
    let groups = groups
        .iter()
        .filter_map(|(version, group)| version.left(group));
    // Where nothing is known the system has the last word.
    let Some(free) = machine().into_iter().chain(groups).min() else {
        return Ok(());
    };
    if len as u64 <= free {
        return Ok(());
    }
    let what = format!("{len} bytes of memory were asked for, and {free} are free");
    Err(io::Error::new(io::ErrorKind::OutOfMemory, what))
}

/// What the machine has left.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let free = kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0);
    Some(free.saturating_mul(1024))
}

/// The two forms in which the system shows groups and their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The files of the limit and of what is used, and the line of what can be dropped.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::One => [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            ],
            Self::Two => ["memory.max", "memory.current", "inactive_file "],
        }
    }

    /// What a group has left beneath its limit, if it has one: pages of files can be dropped.
    fn left(self, group: &Path) -> Option<u64> {
        let [limit, used, inactive] = self.names();
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let limit: u64 = read(limit)?.trim().parse().ok()?;
        let used: u64 = read(used)?.trim().parse().ok()?;
        let stat = read("memory.stat").unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| line.strip_prefix(inactive));
        let reclaimable = reclaimable
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(0);
        Some(limit.saturating_sub(used).saturating_add(reclaimable))
    }
}

/// The groups of a process with these cgroups that may have limits, from the nearest up.
fn groups(cgroups: &str) -> Vec<(Version, PathBuf)> {
    let found = cgroups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        let is_memory = controllers.split(',').any(|name| name == "memory");
        match controllers {
            "" => Some((Version::Two, Path::new("/sys/fs/cgroup"), path)),
            _ if is_memory => Some((Version::One, Path::new("/sys/fs/cgroup/memory"), path)),
            _ => None,
        }
    });
    // In a container the path may be the host's, while its root is what is mounted.
    found.map_or_else(Vec::new, |(version, root, path)| {
        let nearest = root.join(path);
        let beneath = |group: &&Path| group.starts_with(root);
        let groups = nearest.ancestors().take_while(beneath);
        groups.map(|group| (version, group.to_owned())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no machine has is refused with both numbers, and what every one has is not.
    #[test]
    fn too_much_is_refused() {
        check(LOOK_LEN_MIN).unwrap();
        let error = check(1 << 60).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains(&(1_u64 << 60).to_string()));
        assert!(machine().is_some_and(|free| free > 0));
    }

    /// Every group up to the root may have a limit, in either form; what is left beneath it is what
    /// counts.
    #[test]
    fn limits_of_groups_count() {
        let found = groups("0::/a.slice/b\n");
        let names = [
            "/sys/fs/cgroup/a.slice/b",
            "/sys/fs/cgroup/a.slice",
            "/sys/fs/cgroup",
        ];
        assert_eq!(found, names.map(|name| (Version::Two, PathBuf::from(name))));
        let found = groups("8:pids:/\n4:cpu,memory:/x\n0::/\n");
        let names = ["/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/memory"];
        assert_eq!(found, names.map(|name| (Version::One, PathBuf::from(name))));
        assert!(groups("8:pids:/x\nnonsense\n").is_empty());
        let group = std::env::temp_dir().join(format!("callboard-room-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        let write = |name: &str, text: &str| fs::write(group.join(name), text).unwrap();
        write("memory.max", "max\n");
        assert_eq!(Version::Two.left(&group), None);
        write("memory.max", "1000\n");
        write("memory.current", "700\n");
        write("memory.stat", "inactive_file 50\ntotal_inactive_file 60\n");
        assert_eq!(Version::Two.left(&group), Some(350));
        write("memory.limit_in_bytes", "2000\n");
        write("memory.usage_in_bytes", "700\n");
        assert_eq!(Version::One.left(&group), Some(1360));
        fs::remove_dir_all(&group).unwrap();
    }
}
