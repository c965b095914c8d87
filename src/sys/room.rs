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
    let groups = groups(&own).into_iter().filter_map(|group| left(&group));
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

/// The groups of a process with these cgroups that may have limits, from the nearest up.
fn groups(cgroups: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"));
    // In a container the path may be the host's, while its root is what is mounted.
    path.map_or_else(Vec::new, |path| {
        let nearest = root.join(path);
        let beneath = |group: &&Path| group.starts_with(root);
        nearest
            .ancestors()
            .take_while(beneath)
            .map(Path::to_owned)
            .collect()
    })
}

/// What a group has left beneath its limit, if it has one: pages of files can be dropped.
fn left(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let inactive = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let reclaimable = inactive.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used).saturating_add(reclaimable))
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

    /// Every group up to the root may have a limit; what is left beneath it is what counts.
    #[test]
    fn limits_of_groups_count() {
        let found = groups("0::/a.slice/b\n");
        let names = [
            "/sys/fs/cgroup/a.slice/b",
            "/sys/fs/cgroup/a.slice",
            "/sys/fs/cgroup",
        ];
        assert_eq!(found, names.map(PathBuf::from));
        assert!(groups("4:memory:/x\n").is_empty());
        let group = std::env::temp_dir().join(format!("callboard-room-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        let write = |name: &str, text: &str| fs::write(group.join(name), text).unwrap();
        write("memory.max", "max\n");
        assert_eq!(left(&group), None);
        write("memory.max", "1000\n");
        write("memory.current", "700\n");
        write("memory.stat", "anon 600\ninactive_file 50\n");
        assert_eq!(left(&group), Some(350));
        fs::remove_dir_all(&group).unwrap();
    }
}
