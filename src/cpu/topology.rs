//! What CPUs this machine has, how they lie together, and which of them are ours.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use super::pin::allowed_to;
use super::set::{Core, CpuSet};
use crate::sys::cpu as system;
use crate::sys::group;

/// Where the kernel tells.
const ROOT: &str = "/sys/devices/system";

/// The machine's CPUs as the kernel tells of them, and which of them this process may use.
///
/// Printed, it is a tree from NUMA nodes down to hardware threads.
///
/// # Examples
/// ```
/// let topology = callboard::cpu::topology()?;
/// println!("{topology}");
/// assert!(!topology.allowed().is_empty());
/// # Ok::<(), callboard::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Topology {
    cpus: BTreeMap<u32, Cpu>,
    allowed: CpuSet,
    permitted: CpuSet,
    isolated: CpuSet,
    quota: Option<f64>,
}

/// One CPU of the machine: a hardware thread, and where it lies.
///
/// # Examples
/// ```
/// let topology = callboard::cpu::topology()?;
/// for cpu in topology.cpus() {
///     println!("{:?} on core {} of package {}", cpu.core, cpu.siblings, cpu.package);
/// }
/// # Ok::<(), callboard::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cpu {
    /// Its number.
    pub core: Core,
    /// The hardware threads of its physical core, itself among them.
    pub siblings: CpuSet,
    /// Those with which it shares its last-level cache, itself among them.
    pub llc: CpuSet,
    /// The size of that cache, if the kernel tells.
    pub llc_bytes: Option<u64>,
    /// The socket it is in.
    pub package: u32,
    /// The NUMA node whose memory is near.
    pub node: u32,
}

/// What CPUs there are could not be found out.
#[derive(Debug, thiserror::Error)]
#[error("which CPUs this process may use cannot be found out")]
pub struct TopologyError(#[from] io::Error);

impl Topology {
    /// Reads it; see [`topology`](super::topology()).
    pub(super) fn read() -> Result<Self, TopologyError> {
        let allowed = allowed_to(std::process::id())?;
        let permitted = numbered(system::permitted()?);
        Ok(Self {
            quota: group::quota(),
            ..Self::at(Path::new(ROOT), &allowed, &permitted)
        })
    }

    /// The one that is told beneath `root`. What is not told there (a container may hide it) is
    /// taken for one package, one node, one cache and one core for each CPU.
    fn at(root: &Path, allowed: &CpuSet, permitted: &CpuSet) -> Self {
        let online = list(&root.join("cpu/online")).unwrap_or_else(|| permitted.clone());
        let nodes = nodes(&root.join("node"));
        let cpus = online
            .iter()
            .map(|core| (core.0, Cpu::at(root, core, &online, &nodes)))
            .collect();
        Self {
            cpus,
            allowed: allowed.common(&online),
            permitted: permitted.common(&online),
            isolated: list(&root.join("cpu/isolated")).unwrap_or_default(),
            quota: None,
        }
    }

    /// All CPUs that run, the lowest number first.
    ///
    /// # Examples
    /// ```
    /// let topology = callboard::cpu::topology()?;
    /// assert!(topology.cpus().len() >= topology.allowed().len());
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn cpus(&self) -> impl ExactSizeIterator<Item = &Cpu> {
        self.cpus.values()
    }

    /// Those on which this process runs: its affinity mask (of its first thread), which `taskset`,
    /// a container or a parent may have narrowed.
    ///
    /// # Examples
    /// ```
    /// println!("at home on {}", callboard::cpu::topology()?.allowed());
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn allowed(&self) -> &CpuSet {
        &self.allowed
    }

    /// Those on which it could run if it asked: what its cgroup's cpuset leaves.
    ///
    /// # Examples
    /// ```
    /// let topology = callboard::cpu::topology()?;
    /// assert!(topology.allowed().iter().all(|core| topology.permitted().contains(core)));
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn permitted(&self) -> &CpuSet {
        &self.permitted
    }

    /// Those that the kernel keeps other work away from (`isolcpus=`).
    ///
    /// # Examples
    /// ```
    /// let topology = callboard::cpu::topology()?;
    /// if topology.isolated().is_empty() {
    ///     println!("this machine was not started with isolcpus=");
    /// }
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn isolated(&self) -> &CpuSet {
        &self.isolated
    }

    /// The time of how many CPUs this process may have, with all that shares its cgroups: what a
    /// container is given (`cpu.max`). None: that of all on which it runs.
    ///
    /// # Examples
    /// ```
    /// let topology = callboard::cpu::topology()?;
    /// let cpus = topology.allowed().len() as f64;
    /// println!("as much as {} CPUs do", topology.quota().unwrap_or(cpus).min(cpus));
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn quota(&self) -> Option<f64> {
        self.quota
    }

    /// The NUMA node that all of these are on, if there is more than one in this machine.
    pub(crate) fn home(&self, cpus: &CpuSet) -> Option<u32> {
        let mut nodes = cpus.iter().map(|core| self.cpu(core).map(|cpu| cpu.node));
        let first = nodes.next()??;
        let is_one = nodes.all(|node| node == Some(first));
        (is_one && self.count(|cpu| cpu.node) > 1).then_some(first)
    }

    pub(super) fn online(&self) -> CpuSet {
        self.cpus().map(|cpu| cpu.core).collect()
    }

    pub(super) fn cpu(&self, core: Core) -> Option<&Cpu> {
        self.cpus.get(&core.0)
    }

    /// The CPUs of a node; none: there is no such node.
    pub(super) fn node(&self, node: u32) -> Option<CpuSet> {
        let cpus: CpuSet = self
            .cpus()
            .filter(|cpu| cpu.node == node)
            .map(|cpu| cpu.core)
            .collect();
        (!cpus.is_empty()).then_some(cpus)
    }

    /// How many different ones there are of something.
    fn count<T: Ord>(&self, of: impl Fn(&Cpu) -> T) -> usize {
        let all: std::collections::BTreeSet<T> = self.cpus().map(of).collect();
        all.len()
    }
}

impl Cpu {
    fn at(root: &Path, core: Core, online: &CpuSet, nodes: &BTreeMap<u32, CpuSet>) -> Self {
        let folder = root.join(format!("cpu/cpu{}", core.0));
        let topology = folder.join("topology");
        let siblings = list(&topology.join("core_cpus_list"))
            .or_else(|| list(&topology.join("thread_siblings_list")))
            .map(|cpus| cpus.common(online))
            .filter(|cpus| cpus.contains(core))
            .unwrap_or_else(|| core.into());
        let (llc, llc_bytes) = last_level(&folder.join("cache"))
            .map(|(cpus, bytes)| (cpus.common(online), bytes))
            .filter(|(cpus, _)| cpus.contains(core))
            .unwrap_or_else(|| (online.clone(), None));
        let near = nodes.iter().find(|(_, cpus)| cpus.contains(core));
        Self {
            core,
            siblings,
            llc,
            llc_bytes,
            package: number(&topology.join("physical_package_id")).unwrap_or(0),
            node: near.map_or(0, |(node, _)| *node),
        }
    }
}

/// The CPUs that share the data cache of the highest level, and its size.
fn last_level(caches: &Path) -> Option<(CpuSet, Option<u64>)> {
    let (_, cache) = fs::read_dir(caches)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let holds_data = text(&path.join("type"))? != "Instruction";
            holds_data.then_some((number(&path.join("level"))?, path))
        })
        .max()?;
    let bytes = text(&cache.join("size")).and_then(|size| {
        let kib: u64 = size.strip_suffix('K')?.parse().ok()?;
        kib.checked_mul(1024)
    });
    Some((list(&cache.join("shared_cpu_list"))?, bytes))
}

/// The NUMA nodes that have CPUs.
fn nodes(folder: &Path) -> BTreeMap<u32, CpuSet> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let node = name.to_str()?.strip_prefix("node")?.parse().ok()?;
            Some((node, list(&entry.path().join("cpulist"))?))
        })
        .collect()
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &Path) -> Option<u32> {
    text(path)?.parse().ok()
}

fn list(path: &Path) -> Option<CpuSet> {
    text(path)?.parse().ok()
}

pub(super) fn numbered(cpus: Vec<u32>) -> CpuSet {
    cpus.into_iter().map(Core).collect()
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: usize, what: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {what}{plural}")
        };
        write!(
            f,
            "{} on {} in {}, {}; this process: {}",
            count(self.cpus.len(), "CPU"),
            count(self.count(|cpu| cpu.siblings.clone()), "core"),
            count(self.count(|cpu| cpu.package), "package"),
            count(self.count(|cpu| cpu.node), "NUMA node"),
            self.allowed,
        )?;
        if let Some(quota) = self.quota {
            write!(f, ", with the time of {quota}")?;
        }
        let mut last = None;
        for cpu in self.in_order() {
            let place = (cpu.node, cpu.package, &cpu.llc, &cpu.siblings);
            let (node, package, llc, siblings) = place;
            let changed = |depth: usize| match last {
                None => true,
                Some((a, b, c, _)) => {
                    (node, package, llc) != (a, b, c)
                        && match depth {
                            0 => node != a,
                            1 => (node, package) != (a, b),
                            _ => true,
                        }
                }
            };
            if changed(0) {
                write!(f, "\nnode {node}")?;
            }
            if changed(1) {
                write!(f, "\n  package {package}")?;
            }
            if changed(2) {
                let size = cpu
                    .llc_bytes
                    .map(|bytes| format!(" of {} KiB", bytes / 1024));
                write!(f, "\n    cache{} for {llc}", size.unwrap_or_default())?;
            }
            if last.is_none_or(|(.., before)| before != siblings) {
                let mine = self.allowed.common(siblings);
                let note = if mine == *siblings {
                    String::new()
                } else if mine.is_empty() {
                    " (not for this process)".to_owned()
                } else {
                    format!(" (of these {mine})")
                };
                write!(f, "\n      core: {siblings}{note}")?;
            }
            last = Some(place);
        }
        Ok(())
    }
}

impl Topology {
    /// Those that lie together one after the other.
    fn in_order(&self) -> Vec<&Cpu> {
        let mut cpus: Vec<_> = self.cpus().collect();
        cpus.sort_by_key(|cpu| (cpu.node, cpu.package, &cpu.llc, &cpu.siblings, cpu.core));
        cpus
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder such as the kernel's, removed when dropped.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str) -> Self {
            let folder = format!("callboard-topology-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(folder))
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Two nodes of a package each, with two caches of two cores of two threads: CPU `n` and
    /// `n + 8` are one core.
    pub(crate) fn two_nodes(name: &str, allowed: &str, permitted: &str) -> Topology {
        let machine = Machine::new(name);
        machine.write("cpu/online", "0-15");
        machine.write("cpu/isolated", "6-7,14-15");
        machine.write("node/node0/cpulist", "0-3,8-11");
        machine.write("node/node1/cpulist", "4-7,12-15");
        machine.write("node/possible", "0-1");
        for cpu in 0..16 {
            let (core, place) = (cpu % 8, format!("cpu/cpu{cpu}"));
            let pair = core / 2 * 2;
            let write = |file: &str, text: &str| machine.write(&format!("{place}/{file}"), text);
            write("topology/core_cpus_list", &format!("{core},{}", core + 8));
            write("topology/physical_package_id", &(core / 4).to_string());
            write("cache/index0/level", "1");
            write("cache/index0/type", "Data");
            write("cache/index0/shared_cpu_list", &cpu.to_string());
            write("cache/index1/level", "9");
            write("cache/index1/type", "Instruction");
            write("cache/index3/level", "3");
            write("cache/index3/type", "Unified");
            write("cache/index3/size", "32768K");
            let shared = format!("{pair}-{},{}-{}", pair + 1, pair + 8, pair + 9);
            write("cache/index3/shared_cpu_list", &shared);
        }
        let set = |text: &str| text.parse().unwrap();
        Topology::at(&machine.0, &set(allowed), &set(permitted))
    }

    /// What the kernel tells is read: cores, caches, packages and nodes.
    #[test]
    fn machines_are_read() {
        let topology = two_nodes("read", "0-15", "0-15");
        let cpu = topology.cpu(Core(13)).unwrap();
        assert_eq!(cpu.siblings.to_string(), "5,13");
        assert_eq!(cpu.llc.to_string(), "4-5,12-13");
        assert_eq!(
            (cpu.llc_bytes, cpu.package, cpu.node),
            (Some(32 << 20), 1, 1)
        );
        assert_eq!(topology.node(0).unwrap().to_string(), "0-3,8-11");
        assert_eq!(topology.node(2), None);
        assert_eq!(topology.isolated().to_string(), "6-7,14-15");
    }

    /// Who runs on one node of several is at home there; of a single one nothing is to be chosen.
    #[test]
    fn homes_are_nodes() {
        let topology = two_nodes("homes", "0-15", "0-15");
        let home = |cpus: &str| topology.home(&cpus.parse().unwrap());
        assert_eq!(home("5"), Some(1));
        assert_eq!(home("0-3,8"), Some(0));
        assert_eq!(home("3-4"), None);
        assert_eq!(home("0,99"), None);
        assert_eq!(topology.home(&CpuSet::default()), None);
        let mut small = topology;
        small.cpus.retain(|_, cpu| cpu.node == 1);
        assert_eq!(small.home(&"5".parse().unwrap()), None);
    }

    /// Of what a quota leaves, no more places are taken than it has time for.
    #[test]
    fn quotas_are_kept() {
        let mut topology = two_nodes("quota", "0-15", "0-15");
        let places = |topology: &Topology| {
            let cores = super::super::Cores::physical().within_quota();
            cores.on(topology).unwrap().len()
        };
        assert_eq!(places(&topology), 8);
        for (quota, count) in [(0.2, 1), (1.0, 1), (1.5, 2), (3.0, 3), (64.0, 8)] {
            topology.quota = Some(quota);
            assert_eq!(places(&topology), count, "{quota}");
        }
        let text = topology.to_string();
        assert!(
            text.contains("this process: 0-15, with the time of 64\n"),
            "{text}"
        );
    }

    /// A machine prints as a tree, each thing once, with what is not ours.
    #[test]
    fn machines_print_as_trees() {
        let text = two_nodes("print", "0-1,8", "0-15").to_string();
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("16 CPUs on 8 cores in 2 packages, 2 NUMA nodes; this process: 0-1,8")
        );
        assert_eq!(lines.next(), Some("node 0"));
        assert_eq!(lines.next(), Some("  package 0"));
        assert_eq!(lines.next(), Some("    cache of 32768 KiB for 0-1,8-9"));
        assert_eq!(lines.next(), Some("      core: 0,8"));
        assert_eq!(lines.next(), Some("      core: 1,9 (of these 1)"));
        assert_eq!(lines.next(), Some("    cache of 32768 KiB for 2-3,10-11"));
        assert_eq!(
            lines.next(),
            Some("      core: 2,10 (not for this process)")
        );
        assert_eq!(text.lines().count(), 1 + 2 + 2 + 4 + 8);
    }

    /// Where the kernel tells nothing, each CPU is a core of one machine.
    #[test]
    fn machines_that_hide_are_flat() {
        let allowed: CpuSet = "1-2".parse().unwrap();
        let nowhere = Path::new("/nowhere");
        let topology = Topology::at(nowhere, &allowed, &allowed);
        let cpu = topology.cpu(Core(2)).unwrap();
        assert_eq!(
            (cpu.siblings.to_string(), &cpu.llc),
            ("2".to_owned(), &allowed)
        );
        assert_eq!((cpu.package, cpu.node, cpu.llc_bytes), (0, 0, None));
        assert!(topology.isolated().is_empty());
    }
}
