//! How often the system has killed a process for want of memory.
//!
//! A process that was killed so has died by a plain SIGKILL. What tells the two apart is a counter:
//! that of our cgroup, which our children are born into, or that of the whole machine where no
//! cgroup counts for us.
//!
//! This file does not know which process was killed.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted, by the word of every distribution.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";

/// The line with the count, in each of the files that there are.
const LINE: &str = "oom_kill ";

/// A counter of kills for want of memory, and how many of them are accounted for.
#[derive(Debug)]
pub(crate) struct OomKills {
    /// The file with the counter, if there is one.
    path: Option<PathBuf>,
    accounted: u64,
}

impl OomKills {
    /// The counter that is nearest to this process; what it counts from now on is news.
    pub(crate) fn nearest() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let path = candidates(&own)
            .into_iter()
            .find(|path| kills_in(path).is_some());
        let mut kills = Self { path, accounted: 0 };
        kills.forget();
        kills
    }

    /// What was counted until now is no news.
    pub(crate) fn forget(&mut self) {
        self.accounted = self.count();
    }

    /// Whether there was a kill that is not accounted for; it is then.
    pub(crate) fn take(&mut self) -> bool {
        let is_news = self.count() > self.accounted;
        self.accounted += u64::from(is_news);
        is_news
    }

    fn count(&self) -> u64 {
        let counted = self.path.as_deref().and_then(kills_in);
        // A file that cannot be read now tells no news.
        counted.unwrap_or(self.accounted)
    }
}

/// Files that may count for a process with these cgroups, the best first.
fn candidates(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        // In a container the path may be the host's, while its root is what is mounted.
        if controllers.is_empty() {
            let root = Path::new(CGROUPS);
            files.push(root.join(path).join("memory.events"));
            files.push(root.join("memory.events"));
        } else if controllers.split(',').any(|name| name == "memory") {
            let root = Path::new(CGROUPS).join("memory");
            files.push(root.join(path).join("memory.oom_control"));
            files.push(root.join("memory.oom_control"));
        }
    }
    files.push(PathBuf::from("/proc/vmstat"));
    files
}

/// The kills that are counted in a file of cgroups or of the machine.
pub(super) fn kills_in(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix(LINE))?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both kinds of cgroups are looked for where they are, and the machine's counter at last.
    #[test]
    fn the_nearest_counter_is_looked_for_first() {
        let text = |cgroups| {
            let paths = candidates(cgroups).into_iter();
            paths
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            text("0::/user.slice/a:b.scope\n"),
            [
                "/sys/fs/cgroup/user.slice/a:b.scope/memory.events",
                "/sys/fs/cgroup/memory.events",
                "/proc/vmstat"
            ]
        );
        assert_eq!(
            text("9:name=systemd:/\n4:cpu,memory:/group/x\n"),
            [
                "/sys/fs/cgroup/memory/group/x/memory.oom_control",
                "/sys/fs/cgroup/memory/memory.oom_control",
                "/proc/vmstat"
            ]
        );
        assert_eq!(text("nonsense\n\n1:2\n"), ["/proc/vmstat"]);
    }

    /// Each kill is news once, and only after the counter was looked at first.
    #[test]
    fn each_kill_is_told_once() {
        let path = std::env::temp_dir().join(format!("callboard-oom-{}", std::process::id()));
        let write = |count: u64| fs::write(&path, format!("oom 1\noom_kill {count}\n")).unwrap();
        write(3);
        let mut kills = OomKills {
            path: Some(path.clone()),
            accounted: 0,
        };
        kills.forget();
        assert!(!kills.take());
        write(5);
        assert!(kills.take() && kills.take() && !kills.take());
        fs::remove_file(&path).unwrap();
        assert!(!kills.take(), "a counter that is gone tells nothing");
        let here = OomKills::nearest();
        assert!(here.path.is_some(), "every kernel since 4.13 has one");
    }
}
