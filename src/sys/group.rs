//! Cgroups of our own: what one process, with all that it starts, may have of memory and CPUs.
//!
//! Version 2 lets a group have members only where it hands nothing on, so a group is made in ours
//! where that hands the controller on, or else beside ours. One that hands the CPUs on and has
//! members all the same is the domain of a threaded subtree, and what is made in it must be told
//! that it is of that. In version 1 a group is made in ours, one for each controller. Where none
//! may be made there is none, and the caller knows another way.
//!
//! A group is called as segments are, so that those that a killed process leaves are known; they
//! are removed when the next one is made beside them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::oom::{CGROUPS, kills_in};
use super::owner::{self, Owner};

/// The period in which a share of the CPUs is had, in microseconds: the kernel's own default.
const PERIOD_US: u32 = 100_000;

/// The least of a period that the kernel takes.
const QUOTA_US_MIN: f64 = 1000.0;

/// How long it may take until those who were killed with a group's process have left it.
const LEAVING: (u32, Duration) = (200, Duration::from_millis(10));

/// The groups of one process; removed when dropped.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// One, or in version 1 one for each controller.
    dirs: Vec<PathBuf>,
    /// The one that limits memory.
    memory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Groups {
    /// Groups with these limits: bytes of memory, and CPUs. If there can be none for memory, they
    /// do [not have](Self::limits_memory) it.
    ///
    /// # Errors
    ///
    /// There can be none for CPUs.
    pub(crate) fn new(memory: Option<u64>, cpus: Option<f64>) -> io::Result<Self> {
        let ours = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::beneath(Path::new(CGROUPS), &ours, (memory, cpus))
    }

    fn beneath(
        root: &Path,
        ours: &str,
        (memory, cpus): (Option<u64>, Option<f64>),
    ) -> io::Result<Self> {
        let mut groups = Self::default();
        let name = Owner::current()?.name(owner::random()?);
        if let Some(cpus) = cpus {
            groups.limit_cpus(places(root, ours, "cpu"), &name, cpus)?;
        }
        if let Some(bytes) = memory
            && let Err(error) = groups.limit_memory(places(root, ours, "memory"), &name, bytes)
        {
            tracing::info!(%error, "no cgroup limits an actor's memory, so its heap is limited");
        }
        Ok(groups)
    }

    fn limit_cpus(&mut self, places: Places, name: &str, cpus: f64) -> io::Result<()> {
        let quota = (cpus * f64::from(PERIOD_US)).max(QUOTA_US_MIN).round();
        self.limit(places, name, |dir, version| match version {
            Version::Two => fs::write(dir.join("cpu.max"), format!("{quota} {PERIOD_US}")),
            Version::One => {
                fs::write(dir.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                fs::write(dir.join("cpu.cfs_quota_us"), quota.to_string())
            }
        })?;
        Ok(())
    }

    fn limit_memory(&mut self, places: Places, name: &str, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        let dir = self.limit(places, name, |dir, version| {
            // What may be swapped is no less there, and the helpers die with their actor. Not every
            // kernel knows these.
            match version {
                Version::Two => {
                    fs::write(dir.join("memory.max"), &bytes)?;
                    let _ = fs::write(dir.join("memory.swap.max"), "0");
                    let _ = fs::write(dir.join("memory.oom.group"), "1");
                }
                Version::One => {
                    fs::write(dir.join("memory.limit_in_bytes"), &bytes)?;
                    let _ = fs::write(dir.join("memory.memsw.limit_in_bytes"), &bytes);
                }
            }
            Ok(())
        })?;
        self.memory = Some(dir);
        Ok(())
    }

    /// Makes a group in the first place where `set` succeeds, or takes the one that is there.
    fn limit(
        &mut self,
        places: Places,
        name: &str,
        set: impl Fn(&Path, Version) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let mut reason = io::Error::new(io::ErrorKind::Unsupported, "there is no such cgroup");
        for (place, version) in places {
            let dir = place.join(name);
            let is_new = !self.dirs.contains(&dir);
            if is_new {
                sweep(&place);
            }
            let made = if is_new {
                create(&dir, version)
            } else {
                Ok(())
            };
            match made.and_then(|()| set(&dir, version)) {
                Ok(()) => {
                    if is_new {
                        self.dirs.push(dir.clone());
                    }
                    return Ok(dir);
                }
                Err(error) => reason = error,
            }
            if is_new {
                // Nobody is in it; it may not be there at all.
                let _ = fs::remove_dir(&dir);
            }
        }
        Err(reason)
    }

    /// Whether memory is limited by one of them.
    pub(crate) const fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// The files by which a process [enters](enter) them.
    pub(crate) fn doors(&self) -> Vec<String> {
        let door = |dir: &PathBuf| dir.join("cgroup.procs").to_str().map(str::to_owned);
        self.dirs.iter().filter_map(door).collect()
    }

    /// Whether somebody in them was killed for want of memory; none: they do not know.
    pub(crate) fn was_killed(&self) -> Option<bool> {
        let dir = self.memory.as_ref()?;
        let files = ["memory.events", "memory.oom_control"];
        let kills = files.iter().find_map(|file| kills_in(&dir.join(file)))?;
        Some(kills > 0)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for dir in self.dirs.drain(..) {
            // Who has left the process's own group of processes is still in this one.
            let _ = fs::write(dir.join("cgroup.kill"), "1");
            if !is_removed(&dir) {
                // The killed take a moment. If that is too short, the next sweep removes it.
                let late = thread::Builder::new().name("callboard-cgroup".to_owned());
                let _ = late.spawn(move || {
                    for _ in 0..LEAVING.0 {
                        thread::sleep(LEAVING.1);
                        if is_removed(&dir) {
                            return;
                        }
                    }
                    tracing::warn!(dir = %dir.display(), "a cgroup is still in use, and stays");
                });
            }
        }
    }
}

/// Makes a group that a process can enter.
fn create(dir: &Path, version: Version) -> io::Result<()> {
    fs::create_dir(dir)?;
    match version {
        Version::One => Ok(()),
        Version::Two => join_threaded(dir),
    }
}

/// Makes a new group of version 2 one of the threaded subtree that it is in, if it is in one: until
/// then nobody can enter it.
fn join_threaded(dir: &Path) -> io::Result<()> {
    let kind = dir.join("cgroup.type");
    // Not every kernel has it, and none has it in the root.
    match fs::read_to_string(&kind) {
        Ok(now) if now.trim() == "domain invalid" => fs::write(kind, "threaded"),
        _ => Ok(()),
    }
}

/// Where version 2 may be mounted: alone, or beside version 1.
const UNIFIED: [&str; 2] = ["", "unified"];

/// Lets this process, with all its threads, enter groups.
///
/// # Errors
///
/// The system's.
pub(crate) fn enter(doors: &[String]) -> io::Result<()> {
    // Zero is who writes it.
    doors.iter().try_for_each(|door| fs::write(door, "0"))
}

/// The time of how many CPUs this process may have, with all that shares its groups; none: of all.
pub(crate) fn quota() -> Option<f64> {
    let ours = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    quota_beneath(Path::new(CGROUPS), &ours)
}

/// The least that any of our groups and those around them gives.
fn quota_beneath(root: &Path, ours: &str) -> Option<f64> {
    let mut least: Option<f64> = None;
    for line in ours.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mounts: &[&str] = match controllers {
            "" => &UNIFIED,
            _ if controllers.split(',').any(|name| name == "cpu") => &[controllers, "cpu"],
            _ => continue,
        };
        for mounted in mounts.iter().map(|name| root.join(name)) {
            let own = mounted.join(path.trim_start_matches('/'));
            let around = own.ancestors().take_while(|dir| dir.starts_with(&mounted));
            let given = around.filter_map(quota_of).chain(least);
            least = given.reduce(f64::min);
        }
    }
    least
}

/// What one group gives, by itself.
fn quota_of(dir: &Path) -> Option<f64> {
    let read = |file: &str| fs::read_to_string(dir.join(file)).ok();
    let of = |quota: &str, period: &str| {
        let quota: f64 = quota.trim().parse().ok()?;
        let period: f64 = period.trim().parse().ok()?;
        // Version 1 says -1 where there is no limit, version 2 `max`.
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    };
    match read("cpu.max") {
        Some(both) => both
            .split_once(' ')
            .and_then(|(quota, period)| of(quota, period)),
        None => of(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?),
    }
}

/// Folders in which a group may be made, the best first.
type Places = Vec<(PathBuf, Version)>;

fn places(root: &Path, ours: &str, controller: &str) -> Places {
    let mut places = Vec::new();
    for line in ours.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            for own in UNIFIED.map(|mounted| root.join(mounted).join(path)) {
                let beside = own.parent().filter(|_| !path.is_empty());
                let hands_on = |dir: &&Path| {
                    let given = fs::read_to_string(dir.join("cgroup.subtree_control"));
                    given.is_ok_and(|given| given.split_whitespace().any(|name| name == controller))
                };
                let both = [Some(own.as_path()), beside].into_iter().flatten();
                let both = both.filter(hands_on);
                places.extend(both.map(|dir| (dir.to_owned(), Version::Two)));
            }
        } else if controllers.split(',').any(|name| name == controller) {
            // In a container the path may be the host's, while its root is what is mounted.
            for mounted in [controllers, controller].map(|name| root.join(name)) {
                places.push((mounted.join(path), Version::One));
                places.push((mounted, Version::One));
            }
        }
    }
    places.retain(|(dir, _)| dir.is_dir());
    places.dedup();
    places
}

/// Removes the groups of processes that are dead.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(Owner::of);
        if owner.is_some_and(Owner::is_dead) {
            is_removed(&entry.path());
        }
    }
}

/// Removes a group that nobody is in.
fn is_removed(dir: &Path) -> bool {
    let removed = fs::remove_dir(dir);
    removed.is_ok() || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder such as the kernel's, removed when dropped.
    struct Mounted(PathBuf);

    impl Mounted {
        fn new(name: &str) -> Self {
            let folder = format!("callboard-groups-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(folder))
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// The one group that was made in `place`.
        fn made(&self, place: &str) -> PathBuf {
            let entries = fs::read_dir(self.0.join(place)).unwrap().flatten();
            let mut made = entries.map(|entry| entry.path()).filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                Owner::of(name).is_some()
            });
            let first = made.next().unwrap();
            assert!(made.next().is_none());
            first
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read(dir: &Path, file: &str) -> String {
        fs::read_to_string(dir.join(file)).unwrap()
    }

    /// In version 2 one group has both limits, beside ours if ours hands nothing on; its counter is
    /// what tells of kills.
    #[test]
    fn one_group_of_version_two() {
        let mounted = Mounted::new("two");
        mounted.write("app.service/cgroup.subtree_control", "cpu memory pids\n");
        mounted.write("app.service/main/cgroup.subtree_control", "\n");
        let ours = "0::/app.service/main\n";
        let groups = Groups::beneath(&mounted.0, ours, (Some(1 << 20), Some(0.5))).unwrap();
        let dir = mounted.made("app.service");
        assert_eq!(read(&dir, "memory.max"), "1048576");
        assert_eq!(read(&dir, "cpu.max"), "50000 100000");
        assert_eq!(groups.doors(), [dir.join("cgroup.procs").to_str().unwrap()]);
        assert!(groups.limits_memory());
        assert_eq!(groups.was_killed(), None);
        fs::write(dir.join("memory.events"), "oom 1\noom_kill 0\n").unwrap();
        assert_eq!(groups.was_killed(), Some(false));
        fs::write(dir.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
        assert_eq!(groups.was_killed(), Some(true));
    }

    /// In version 1 each controller has a group of its own, in ours.
    #[test]
    fn a_group_for_each_controller_of_version_one() {
        let mounted = Mounted::new("one");
        mounted.write("memory/box/tasks", "");
        mounted.write("cpu,cpuacct/tasks", "");
        let ours = "4:memory:/box\n3:cpu,cpuacct:/gone\n0::/\n";
        let groups = Groups::beneath(&mounted.0, ours, (Some(4096), Some(0.001))).unwrap();
        let (memory, cpu) = (mounted.made("memory/box"), mounted.made("cpu,cpuacct"));
        assert_eq!(read(&memory, "memory.limit_in_bytes"), "4096");
        assert_eq!(read(&cpu, "cpu.cfs_quota_us"), "1000");
        assert_eq!(groups.doors().len(), 2);
    }

    /// Where none may be made, a limit of memory is another's to keep, and one of CPUs an error.
    #[test]
    fn where_there_are_none() {
        let mounted = Mounted::new("none");
        mounted.write("app/cgroup.subtree_control", "pids\n");
        let groups = Groups::beneath(&mounted.0, "0::/app\n", (Some(4096), None)).unwrap();
        assert!(!groups.limits_memory() && groups.doors().is_empty());
        let error = Groups::beneath(&mounted.0, "0::/app\n", (None, Some(1.0))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert_eq!(fs::read_dir(mounted.0.join("app")).unwrap().count(), 1);
    }

    /// The least quota of a group and those around it counts, in both versions.
    #[test]
    fn the_least_quota_counts() {
        let mounted = Mounted::new("quota");
        mounted.write("a/cpu.max", "150000 100000\n");
        mounted.write("a/b/cpu.max", "max 100000\n");
        mounted.write("a/b/c/cpu.max", "400000 100000\n");
        mounted.write("cpu,cpuacct/box/cpu.cfs_quota_us", "50000\n");
        mounted.write("cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
        mounted.write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        mounted.write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        let quota = |ours| quota_beneath(&mounted.0, ours);
        assert_eq!(quota("0::/a/b/c\n"), Some(1.5));
        assert_eq!(quota("0::/elsewhere\n"), None);
        assert_eq!(quota("3:cpu,cpuacct:/box\n"), Some(0.5));
        assert_eq!(quota("3:cpu,cpuacct:/\n1:memory:/x\n"), None);
        assert_eq!(quota("3:cpu,cpuacct:/box\n0::/a\n"), Some(0.5));
    }

    /// What machines of several kinds have written there, as far as it is read: a container of its
    /// own namespace, a service, a user's program, and a machine with both versions.
    #[test]
    fn machines_as_they_are() {
        let mounted = Mounted::new("recorded");
        // docker run --cpus 2, version 2: the container's own group is the root that it sees.
        mounted.write(
            "docker/cgroup.controllers",
            "cpuset cpu io memory hugetlb pids rdma\n",
        );
        mounted.write("docker/cgroup.subtree_control", "\n");
        mounted.write("docker/cgroup.type", "domain\n");
        mounted.write("docker/cpu.max", "200000 100000\n");
        let root = mounted.0.join("docker");
        assert_eq!(quota_beneath(&root, "0::/\n"), Some(2.0));
        assert!(places(&root, "0::/\n", "cpu").is_empty());
        // Kubernetes, version 1, without a namespace: paths are the host's, the mount is the pod's.
        mounted.write("pod/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
        mounted.write("pod/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        let root = mounted.0.join("pod");
        let ours = "11:cpu,cpuacct:/kubepods/burstable/pod7/c0ffee\n10:cpuset:/kubepods/x\n";
        assert_eq!(quota_beneath(&root, ours), Some(1.5));
        let found = places(&root, ours, "cpu");
        assert_eq!(found, [(root.join("cpu,cpuacct"), Version::One)]);
        // systemd-run --user --scope, version 2: what is delegated is handed on above the scope.
        let app = "session/user.slice/user-1000.slice/user@1000.service/app.slice";
        mounted.write(
            &format!("{app}/cgroup.subtree_control"),
            "cpu memory pids\n",
        );
        mounted.write(&format!("{app}/cpu.max"), "max 100000\n");
        mounted.write(&format!("{app}/run-r7.scope/cgroup.subtree_control"), "\n");
        mounted.write(&format!("{app}/run-r7.scope/cpu.max"), "max 100000\n");
        let root = mounted.0.join("session");
        let path = app.strip_prefix("session").unwrap();
        let ours = format!("0::{path}/run-r7.scope\n");
        assert_eq!(quota_beneath(&root, &ours), None);
        let found = places(&root, &ours, "memory");
        assert_eq!(found, [(mounted.0.join(app), Version::Two)]);
        assert!(places(&root, &ours, "cpuset").is_empty());
        // Both: version 2 lies in a folder of its own.
        mounted.write("both/unified/job/cgroup.subtree_control", "cpu\n");
        mounted.write("both/unified/job/cpu.max", "25000 50000\n");
        let root = mounted.0.join("both");
        assert_eq!(
            quota_beneath(&root, "1:name=systemd:/\n0::/job\n"),
            Some(0.5)
        );
        let found = places(&root, "1:name=systemd:/\n0::/job\n", "cpu");
        assert_eq!(found, [(root.join("unified/job"), Version::Two)]);
        // Its group was removed beneath it, or it lies outside of what can be seen here.
        for ours in ["0::/job (deleted)\n", "0::/../other\n"] {
            assert!(places(&root, ours, "memory").is_empty(), "{ours}");
            assert_eq!(quota_beneath(&root, ours), None, "{ours}");
        }
    }

    /// A new group whose domain is threaded is told so, and no other one is.
    #[test]
    fn threaded_subtrees_are_joined() {
        let mounted = Mounted::new("threaded");
        for (before, after) in [
            ("domain invalid\n", "threaded"),
            ("domain\n", "domain\n"),
            ("threaded\n", "threaded\n"),
        ] {
            mounted.write("new/cgroup.type", before);
            join_threaded(&mounted.0.join("new")).unwrap();
            assert_eq!(read(&mounted.0.join("new"), "cgroup.type"), after);
        }
        join_threaded(&mounted.0.join("absent")).unwrap();
    }

    /// What a dead process left is removed, and nothing else.
    #[test]
    fn the_groups_of_the_dead_are_removed() {
        let mounted = Mounted::new("dead");
        let dead = format!("callboard-4000000-1-{}-{:032x}", namespace(), 7);
        let alive = Owner::current().unwrap().name(7);
        for name in [&dead, &alive, "other"] {
            mounted.write(&format!("memory/{name}/x"), "");
            fs::remove_file(mounted.0.join(format!("memory/{name}/x"))).unwrap();
        }
        sweep(&mounted.0.join("memory"));
        let left = |name: &str| mounted.0.join("memory").join(name).is_dir();
        assert!(!left(&dead) && left(&alive) && left("other"));
    }

    fn namespace() -> String {
        let name = Owner::current().unwrap().name(0);
        name.split('-').nth(3).unwrap().to_owned()
    }
}
