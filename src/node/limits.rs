//! What an actor's process may have: said by its parent, kept by the system.

use std::io;
use std::sync::Arc;

use super::spawn_error::SpawnError;
use crate::sys::group::{self, Groups};
use crate::sys::limits;
use crate::wire::hello::{Bound, Bounds, GreetRefusal};

/// What an actor's process may have at most. What is not said, it may have as its parent does.
///
/// The process takes its limits upon itself before its constructor runs. What it starts inherits
/// them; actors that it starts share its cgroups, and count for it there.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::{Exit, Limits};
///
/// pub struct Guest;
///
/// #[actor(limits = Limits::new().heap(256 << 20).open_files(16).nice(5))]
/// impl Guest {
///     pub fn new() -> Self { Self }
///     pub fn fill(&self, bytes: usize) -> usize { vec![1_u8; bytes].len() }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let guest = Guest::spawn().await?;
///     assert_eq!(guest.fill(1 << 20).await?, 1 << 20);
///     let Err(CallError::Died { death, .. }) = guest.fill(1 << 30).await else {
///         panic!("there is no room for that");
///     };
///     assert_eq!(death.exit(), Exit::OutOfMemory);
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    memory: Option<u64>,
    heap: Option<u64>,
    open_files: Option<u64>,
    nice: Option<i32>,
    cpu_share: Option<f64>,
}

impl Limits {
    /// None.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(callboard::Limits::new(), callboard::Limits::default());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            memory: None,
            heap: None,
            open_files: None,
            nice: None,
            cpu_share: None,
        }
    }

    /// The memory that it may use, in bytes: where a cgroup can be made for it, what it and the
    /// programs that it starts have touched; blobs that it fills count, those that it is given and
    /// its link do not. Who needs more is killed: [`Exit::OutOfMemory`](crate::Exit::OutOfMemory).
    ///
    /// A cgroup can be made where this process may write to its own, as root or where systemd has
    /// delegated it (`Delegate=yes` with `DelegateSubgroup=`). Elsewhere this is
    /// [`heap`](Self::heap), unless that is said too, and a line at `info` tells so.
    ///
    /// # Examples
    /// ```
    /// let limits = callboard::Limits::new().memory(512 << 20);
    /// # drop(limits);
    /// ```
    #[must_use]
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// The private memory that it may reserve, in bytes: heap, statics and stacks of threads (2 MiB
    /// each, used or not), not what is shared with other processes (RLIMIT_DATA). An allocation
    /// beyond it fails; a program that does not deal with that, as Rust's collections do not, is
    /// ended: [`Exit::OutOfMemory`](crate::Exit::OutOfMemory).
    ///
    /// # Examples
    /// ```
    /// let limits = callboard::Limits::new().heap(512 << 20);
    /// # drop(limits);
    /// ```
    #[must_use]
    pub const fn heap(mut self, bytes: u64) -> Self {
        self.heap = Some(bytes);
        self
    }

    /// How many files, sockets and pipes it may have open at once, beside those that callboard
    /// needs there to serve calls, for which it has 32 more. Another one is an error of what opens
    /// it (EMFILE).
    ///
    /// # Examples
    /// ```
    /// let limits = callboard::Limits::new().open_files(64);
    /// # drop(limits);
    /// ```
    #[must_use]
    pub const fn open_files(mut self, count: u64) -> Self {
        self.open_files = Some(count);
        self
    }

    /// How much its threads give way to others that want to run: 19 is most, 0 is usual. Below what
    /// its parent has, down to -20, only who has the right to (CAP_SYS_NICE).
    ///
    /// # Examples
    /// ```
    /// let limits = callboard::Limits::new().nice(10);
    /// # drop(limits);
    /// ```
    #[must_use]
    pub const fn nice(mut self, nice: i32) -> Self {
        self.nice = Some(nice);
        self
    }

    /// How much CPU time it may have, all threads and programs that it starts together: 1.0 is one
    /// CPU all the time, 0.25 a quarter of one. Who has had that stands still until the next tenth
    /// of a second. It needs a cgroup, as [`memory`](Self::memory) tells, and the start is an error
    /// where there is none.
    ///
    /// # Examples
    /// ```
    /// let limits = callboard::Limits::new().cpu_share(0.25);
    /// # drop(limits);
    /// ```
    #[must_use]
    pub const fn cpu_share(mut self, cpus: f64) -> Self {
        self.cpu_share = Some(cpus);
        self
    }

    /// Makes what keeps them, as far as the process does not do so itself.
    pub(super) async fn prepare<E>(self) -> Result<Limited, SpawnError<E>> {
        let Self {
            memory, cpu_share, ..
        } = self;
        let limit = |source| SpawnError::Limit {
            what: "CPU time",
            source,
        };
        if cpu_share.is_some_and(|cpus| !(cpus > 0.0 && cpus.is_finite())) {
            let text = "a share of the CPUs is above zero";
            return Err(limit(io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        let mut groups = Groups::default();
        if memory.is_some() || cpu_share.is_some() {
            // Folders and files of the kernel's, which it may take its time for.
            let made = tokio::task::spawn_blocking(move || Groups::new(memory, cpu_share)).await;
            let made = made.unwrap_or_else(|ended| Err(io::Error::other(ended)));
            groups = made.map_err(limit)?;
        }
        Ok(Limited {
            has_heap: self.heap_within(&groups).is_some(),
            groups: Arc::new(groups),
        })
    }

    /// What the process sees to itself.
    pub(super) fn bounds(self, limited: &Limited) -> Bounds {
        Bounds {
            heap: self.heap_within(&limited.groups),
            files: self.open_files,
            nice: self.nice,
            doors: limited.groups.doors(),
        }
    }

    fn heap_within(self, groups: &Groups) -> Option<u64> {
        let instead = self.memory.filter(|_| !groups.limits_memory());
        self.heap.or(instead)
    }
}

/// What keeps one process within its limits.
#[derive(Clone, Debug)]
pub(crate) struct Limited {
    pub(super) groups: Arc<Groups>,
    has_heap: bool,
}

impl Limited {
    /// Whether its heap is limited.
    pub(super) fn has_heap(&self) -> bool {
        self.has_heap
    }
}

/// The process's own part: takes its limits upon itself, the groups first, for they are left by
/// nobody.
pub(super) fn keep(bounds: &Bounds) -> Result<(), GreetRefusal> {
    let refused = |bound| {
        move |error: io::Error| GreetRefusal::Bound(bound, error.raw_os_error().unwrap_or(0))
    };
    group::enter(&bounds.doors).map_err(refused(Bound::Groups))?;
    let nice = bounds.nice.map_or(Ok(()), limits::set_nice);
    nice.map_err(refused(Bound::Nice))?;
    let files = bounds.files.map_or(Ok(()), limits::limit_files);
    files.map_err(refused(Bound::Files))?;
    let heap = bounds.heap.map_or(Ok(()), limits::limit_heap);
    heap.map_err(refused(Bound::Heap))
}

/// What an error calls it.
pub(super) const fn name(bound: Bound) -> &'static str {
    match bound {
        Bound::Heap => "heap",
        Bound::Files => "open files",
        Bound::Nice => "priority",
        Bound::Groups => "memory or CPU time",
    }
}
