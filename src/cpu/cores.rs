//! Which CPUs to take, said by what they are. Pure.

use super::set::{Core, CpuListError, CpuSet};
use super::topology::{Topology, TopologyError};

/// Places to run on, said by what they are and looked up when they are needed.
///
/// A choice is a list of *places*, each of which is a set of CPUs: pinned to the choice, a process
/// or thread runs on all of its places; a pool has one actor on each.
///
/// Choices by kind (all but [`list`](Self::list) and [`Core`]) keep to the CPUs that this process
/// runs on; those by number may name any that its cgroup permits.
///
/// # Examples
/// ```
/// use callboard::cpu::{Core, Cores};
///
/// let cores = Cores::physical();
/// println!("{} physical cores", cores.places()?.len());
/// // All but the first CPU, which is left to others.
/// match Cores::all().excluding(Core(0)).places() {
///     Ok(places) => println!("{} to run on", places.len()),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), callboard::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cores {
    choice: Choice,
    without: Vec<Self>,
    at_most: Option<usize>,
    within_quota: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Choice {
    All,
    Physical,
    PerLlc,
    Node(u32),
    Isolated,
    List(String),
    Set(CpuSet),
}

impl Cores {
    const fn new(choice: Choice) -> Self {
        Self {
            choice,
            without: Vec::new(),
            at_most: None,
            within_quota: false,
        }
    }

    /// Each CPU (hardware thread).
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::Cores;
    /// let threads = std::thread::available_parallelism()?.get();
    /// assert!(Cores::all().places()?.len() >= threads);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub const fn all() -> Self {
        Self::new(Choice::All)
    }

    /// One hardware thread of each physical core, so that no two places share one.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::Cores;
    /// assert!(Cores::physical().places()?.iter().all(|place| place.len() == 1));
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub const fn physical() -> Self {
        Self::new(Choice::Physical)
    }

    /// A place for each last-level cache: all CPUs that share it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::Cores;
    /// for place in Cores::per_llc().places()? {
    ///     println!("one cache for {place}");
    /// }
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub const fn per_llc() -> Self {
        Self::new(Choice::PerLlc)
    }

    /// Each CPU of a NUMA node.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Cores, CoresError};
    /// let error = Cores::node(4096).places().unwrap_err();
    /// assert!(matches!(error, CoresError::NoNode { node: 4096, .. }));
    /// ```
    #[must_use]
    pub const fn node(node: u32) -> Self {
        Self::new(Choice::Node(node))
    }

    /// Each CPU that the kernel keeps other work away from (`isolcpus=`). They lie outside the
    /// mask that processes begin with, hence need not be among those that this process runs on.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::Cores;
    /// match Cores::isolated().places() {
    ///     Ok(places) => println!("{} isolated", places.len()),
    ///     Err(error) => println!("{error}"),
    /// }
    /// ```
    #[must_use]
    pub const fn isolated() -> Self {
        Self::new(Choice::Isolated)
    }

    /// Each of these, by number, in the kernel's notation: `0-3,8`. What is wrong with the list is
    /// said when the places are looked up.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Cores, CoresError};
    /// assert!(matches!(Cores::list("3-1").places(), Err(CoresError::List(_))));
    /// ```
    #[must_use]
    pub fn list(list: impl Into<String>) -> Self {
        Self::new(Choice::List(list.into()))
    }

    /// These without others: no place has any of them, and places that have no other go.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Core, Cores};
    /// // One for each core, but none on the CPUs that the network card interrupts.
    /// let cores = Cores::physical().excluding(Cores::list("0-1")).excluding(Core(7));
    /// # drop(cores);
    /// ```
    #[must_use]
    pub fn excluding(mut self, others: impl Into<Self>) -> Self {
        self.without.push(others.into());
        self
    }

    /// The first places only.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::Cores;
    /// assert_eq!(Cores::all().at_most(1).places()?.len(), 1);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub const fn at_most(mut self, places: usize) -> Self {
        self.at_most = Some(places);
        self
    }

    /// No more places than there is CPU time for, rounded up: in a container with a
    /// [quota](Topology::quota) of 1.5 CPUs, two. More would only wait for each other.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::Cores;
    /// let all = Cores::physical().places()?.len();
    /// assert!(Cores::physical().within_quota().places()?.len() <= all);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub const fn within_quota(mut self) -> Self {
        self.within_quota = true;
        self
    }

    /// Looks the places up on this machine. At least one.
    ///
    /// # Errors
    /// [`CoresError`] if there is none, or one that was named is not there or not ours.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::Cores;
    /// println!("{:?}", Cores::all().places()?);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn places(&self) -> Result<Vec<CpuSet>, CoresError> {
        self.on(&Topology::read()?)
    }

    /// All CPUs of all places.
    pub(crate) fn set(&self, machine: &Topology) -> Result<CpuSet, CoresError> {
        let mut set = CpuSet::default();
        for place in self.on(machine)? {
            set.add(&place);
        }
        Ok(set)
    }

    /// The same, on this machine.
    pub(super) fn on(&self, machine: &Topology) -> Result<Vec<CpuSet>, CoresError> {
        let mut places = self.choice.places(machine)?;
        for others in &self.without {
            // To leave out what is not there is no error.
            for other in others.choice.named(machine)? {
                places = places.iter().map(|place| place.without(&other)).collect();
            }
        }
        places.retain(|place| !place.is_empty());
        places.truncate(self.at_most.unwrap_or(usize::MAX));
        if let (true, Some(quota)) = (self.within_quota, machine.quota()) {
            let enough = |count: &u32| f64::from(*count) >= quota;
            let enough = (1..u32::MAX).take(places.len()).find(enough);
            places.truncate(enough.map_or(usize::MAX, |count| count as usize));
        }
        if places.is_empty() {
            return Err(CoresError::Empty);
        }
        Ok(places)
    }
}

impl Choice {
    fn places(&self, machine: &Topology) -> Result<Vec<CpuSet>, CoresError> {
        let places = self.named(machine)?;
        if matches!(self, Self::List(_) | Self::Set(_)) {
            let mut named = CpuSet::default();
            places.iter().for_each(|place| named.add(place));
            let online = machine.online();
            let cpus = named.without(&online);
            if !cpus.is_empty() {
                return Err(CoresError::Absent { cpus, online });
            }
            let permitted = machine.permitted().clone();
            let cpus = named.without(&permitted);
            if !cpus.is_empty() {
                return Err(CoresError::Forbidden { cpus, permitted });
            }
        }
        Ok(places)
    }

    /// The places, whether or not those that have numbers are there.
    fn named(&self, machine: &Topology) -> Result<Vec<CpuSet>, CoresError> {
        let ours = machine.allowed();
        let each = |set: &CpuSet| set.iter().map(CpuSet::from).collect();
        Ok(match self {
            Self::All => each(ours),
            Self::Physical => {
                let firsts = groups(machine, |cpu| &cpu.siblings);
                firsts
                    .iter()
                    .filter_map(CpuSet::first)
                    .map(CpuSet::from)
                    .collect()
            }
            Self::PerLlc => groups(machine, |cpu| &cpu.llc),
            Self::Node(node) => match machine.node(*node) {
                Some(cpus) => each(&cpus.common(ours)),
                None => return Err(CoresError::NoNode { node: *node }),
            },
            Self::Isolated => each(&machine.isolated().common(machine.permitted())),
            Self::List(list) => each(&list.parse()?),
            Self::Set(set) => each(set),
        })
    }
}

/// What is ours of each group that CPUs are in, in the order of their first.
fn groups(machine: &Topology, group: impl Fn(&super::topology::Cpu) -> &CpuSet) -> Vec<CpuSet> {
    let mut groups: Vec<CpuSet> = Vec::new();
    for cpu in machine
        .allowed()
        .iter()
        .filter_map(|core| machine.cpu(core))
    {
        let ours = group(cpu).common(machine.allowed());
        if !groups.contains(&ours) {
            groups.push(ours);
        }
    }
    groups
}

impl From<Core> for Cores {
    fn from(core: Core) -> Self {
        Self::from(CpuSet::from(core))
    }
}

impl From<CpuSet> for Cores {
    fn from(set: CpuSet) -> Self {
        Self::new(Choice::Set(set))
    }
}

/// There are no such places.
///
/// # Examples
/// ```
/// use callboard::cpu::{Core, Cores, CoresError};
///
/// let error = Cores::from(Core(1023)).places().unwrap_err();
/// assert!(matches!(error, CoresError::Absent { .. }), "{error}");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoresError {
    /// The list is none.
    #[error(transparent)]
    List(#[from] CpuListError),
    /// CPUs that do not run, or are not there.
    #[error("there is no CPU {cpus}; this machine runs {online}")]
    Absent {
        /// Those.
        cpus: CpuSet,
        /// Those that do.
        online: CpuSet,
    },
    /// CPUs that are kept from this process.
    #[error("CPU {cpus} may not be used by this process's cgroup, which has {permitted}")]
    Forbidden {
        /// Those.
        cpus: CpuSet,
        /// Those that are not.
        permitted: CpuSet,
    },
    /// No such NUMA node, or none with CPUs.
    #[error("there is no NUMA node {node} with CPUs")]
    NoNode {
        /// Its number.
        node: u32,
    },
    /// Nothing is left.
    #[error("no CPU is left to run on")]
    Empty,
    /// Nothing is known of this machine.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::two_nodes;
    use super::*;

    fn places(cores: &Cores, machine: &Topology) -> String {
        match cores.on(machine) {
            Ok(places) => places
                .iter()
                .map(CpuSet::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    /// Each kind of choice gives the places it says.
    #[test]
    fn choices_by_kind() {
        let machine = two_nodes("kinds", "0-15", "0-15");
        for (cores, expected) in [
            (Cores::physical(), "0 1 2 3 4 5 6 7"),
            (Cores::per_llc(), "0-1,8-9 2-3,10-11 4-5,12-13 6-7,14-15"),
            (Cores::node(1), "4 5 6 7 12 13 14 15"),
            (Cores::node(2), "there is no NUMA node 2 with CPUs"),
            (Cores::isolated(), "6 7 14 15"),
            (Cores::all().at_most(3), "0 1 2"),
            (Core(9).into(), "9"),
            (Cores::list("4-5,15"), "4 5 15"),
        ] {
            assert_eq!(places(&cores, &machine), expected, "{cores:?}");
        }
    }

    /// Choices by kind keep to the mask of the process, choices by number to its cgroup.
    #[test]
    fn choices_keep_to_what_is_ours() {
        let machine = two_nodes("ours", "2-4,10", "0-7,10");
        for (cores, expected) in [
            (Cores::all(), "2 3 4 10"),
            (Cores::physical(), "2 3 4"),
            (Cores::per_llc(), "2-3,10 4"),
            (Cores::node(1), "4"),
            (Cores::isolated(), "6 7"),
            (Cores::list("0,7"), "0 7"),
            (
                Cores::list("7-8"),
                "CPU 8 may not be used by this process's cgroup, which has 0-7,10",
            ),
            (
                Core(16).into(),
                "there is no CPU 16; this machine runs 0-15",
            ),
        ] {
            assert_eq!(places(&cores, &machine), expected, "{cores:?}");
        }
    }

    /// What is left out is in no place, and may be what is not there.
    #[test]
    fn choices_without_others() {
        let machine = two_nodes("without", "0-15", "0-15");
        let rest = Cores::per_llc()
            .excluding(Cores::node(0))
            .excluding(Core(12));
        assert_eq!(places(&rest, &machine), "4-5,13 6-7,14-15");
        let rest = Cores::physical().excluding(Cores::list("1-99"));
        assert_eq!(places(&rest, &machine), "0");
        let none = Cores::all().excluding(Cores::all());
        assert_eq!(places(&none, &machine), "no CPU is left to run on");
    }
}
