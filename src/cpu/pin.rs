//! Keeping threads and processes on CPUs, and seeing what the kernel made of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cores::{Cores, CoresError};
use super::set::CpuSet;
use super::topology::{Topology, numbered};
use crate::sys::cpu as system;

/// Keeps the calling thread on these CPUs; returns those that the kernel gave, which are the same.
///
/// Threads that it starts later begin on them too.
///
/// # Errors
/// [`PinError`]; the thread runs where it did then.
///
/// # Examples
/// ```
/// use callboard::cpu::{self, Cores};
///
/// let first = Cores::all().at_most(1);
/// let given = cpu::pin_thread(first)?;
/// assert_eq!(given.len(), 1);
/// # Ok::<(), callboard::Error>(())
/// ```
pub fn pin_thread(cores: impl Into<Cores>) -> Result<CpuSet, PinError> {
    pin(&looked_up(cores)?)
}

/// Keeps all threads of this process on these CPUs, and those that it starts later; returns what
/// the kernel gave to the first.
///
/// To pin an actor, say so where it is started ([`Spawn::pin`](crate::Spawn::pin)): its process
/// then begins on its CPUs, and so does its memory.
///
/// # Errors
/// [`PinError`]; some of the threads may be pinned then.
///
/// # Examples
/// ```
/// use callboard::cpu::{self, Cores};
///
/// let given = cpu::pin_process(Cores::all())?;
/// assert_eq!(&given, cpu::topology()?.allowed());
/// # Ok::<(), callboard::Error>(())
/// ```
pub fn pin_process(cores: impl Into<Cores>) -> Result<CpuSet, PinError> {
    let wanted = looked_up(cores)?;
    system::pin_process(&wanted.numbers())?;
    verified(wanted, allowed_to(std::process::id())?)
}

/// Places for the threads of a runtime or pool of threads, handed out in turn.
///
/// # Examples
/// ```
/// use callboard::cpu::{Cores, Pins};
///
/// let pins = Pins::new(Cores::physical())?;
/// let runtime = tokio::runtime::Builder::new_multi_thread()
///     .worker_threads(pins.len())
///     .on_thread_start(move || {
///         if let Err(error) = pins.pin_next() {
///             eprintln!("a thread runs anywhere: {error}");
///         }
///     })
///     .build()?;
/// let cores = runtime.block_on(async {
///     tokio::spawn(async { callboard::cpu::allowed() }).await
/// })??;
/// assert_eq!(cores.len(), 1);
/// # Ok::<(), callboard::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pins {
    places: Arc<[CpuSet]>,
    next: Arc<AtomicUsize>,
}

impl Pins {
    /// The places of `cores`.
    ///
    /// # Errors
    /// [`CoresError`] if there are none.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Cores, Pins};
    /// assert_eq!(Pins::new(Cores::all().at_most(1))?.len(), 1);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn new(cores: impl Into<Cores>) -> Result<Self, CoresError> {
        Ok(Self {
            places: cores.into().places()?.into(),
            next: Arc::default(),
        })
    }

    /// How many there are: as many threads as make sense.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Cores, Pins};
    /// println!("{} workers", Pins::new(Cores::physical())?.len());
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Keeps the calling thread on the next place, after the last on the first again.
    ///
    /// # Errors
    /// [`PinError`]; the thread runs where it did then.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Cores, Pins};
    /// let pins = Pins::new(Cores::all())?;
    /// let threads = (0..pins.len()).map(|_| {
    ///     let pins = pins.clone();
    ///     std::thread::spawn(move || pins.pin_next())
    /// });
    /// for thread in threads.collect::<Vec<_>>() {
    ///     println!("one on {}", thread.join().expect("it ends")?);
    /// }
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn pin_next(&self) -> Result<CpuSet, PinError> {
        // ORDERING: Relaxed; the numbers only have to differ, nothing is passed on with them.
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        pin(&self.places[turn % self.places.len()])
    }
}

/// The CPUs on which the calling thread may run.
///
/// # Errors
/// The system's, which are rare: more than 1024 CPUs.
///
/// # Examples
/// ```
/// println!("on any of {}", callboard::cpu::allowed()?);
/// # Ok::<(), callboard::Error>(())
/// ```
pub fn allowed() -> io::Result<CpuSet> {
    Ok(numbered(system::allowed(system::Who::Thread)?))
}

/// The CPUs on which the first thread of a process may run.
///
/// # Errors
/// The system's: no such process.
pub(crate) fn allowed_to(pid: u32) -> io::Result<CpuSet> {
    Ok(numbered(system::allowed(system::Who::Process(pid))?))
}

fn looked_up(cores: impl Into<Cores>) -> Result<CpuSet, CoresError> {
    cores.into().set(&Topology::read()?)
}

fn pin(wanted: &CpuSet) -> Result<CpuSet, PinError> {
    let before = allowed()?;
    system::pin_thread(&wanted.numbers())?;
    verified(wanted.clone(), allowed()?).inspect_err(|_| {
        // It was so before; if it cannot be so again, the error says what it is.
        let _ = system::pin_thread(&before.numbers());
    })
}

/// The kernel leaves out silently what it does not give.
pub(crate) fn verified(wanted: CpuSet, given: CpuSet) -> Result<CpuSet, PinError> {
    if wanted == given {
        Ok(given)
    } else {
        Err(PinError::Given { wanted, given })
    }
}

/// A thread or process could not be kept on CPUs.
///
/// # Examples
/// ```
/// use callboard::cpu::{self, Core, PinError};
///
/// let error = cpu::pin_thread(Core(1000)).unwrap_err();
/// assert!(matches!(error, PinError::Cores(_)), "{error}");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// There are no such CPUs.
    #[error(transparent)]
    Cores(#[from] CoresError),
    /// The kernel gave others: some have just been taken away.
    #[error("CPU {wanted} was asked for, and the kernel gave {given}")]
    Given {
        /// What was asked for.
        wanted: CpuSet,
        /// What was given.
        given: CpuSet,
    },
    /// The system refused.
    #[error("the system does not let this be pinned")]
    System(#[from] io::Error),
}
