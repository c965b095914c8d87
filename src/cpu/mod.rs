//! Cores: which there are, how they lie together, and how to keep work on them.
//!
//! [`topology()`] shows the machine as this process may use it. [`Cores`] says which of it to take;
//! [`Spawn::pin`](crate::Spawn::pin) starts an actor there, [`pin_thread`] and [`pin_process`] keep
//! what runs already, and [`Pins`] the threads of a runtime.
//!
//! What is pinned sizes itself: `std::thread::available_parallelism`, and with it the runtimes of
//! tokio and rayon, count only the CPUs that a process may run on. Build them after pinning.
//!
//! # Examples
//! ```
//! use callboard::cpu::{self, Cores};
//!
//! println!("{}", cpu::topology()?);
//! let physical = Cores::physical().places()?;
//! println!("a pool with an actor on each core has {}", physical.len());
//! # Ok::<(), callboard::Error>(())
//! ```
#![forbid(unsafe_code)]

mod cores;
mod pin;
mod set;
mod topology;

pub(crate) use pin::{allowed_to, verified};

pub use cores::{Cores, CoresError};
pub use pin::{PinError, Pins, allowed, pin_process, pin_thread};
pub use set::{Core, CpuListError, CpuSet};
pub use topology::{Cpu, Topology, TopologyError};

/// The machine's CPUs, and which of them this process may use, as they are now.
///
/// # Errors
/// [`TopologyError`] if the system does not say which CPUs are this process's. What the kernel
/// tells of caches and nodes may be hidden in a container; then each CPU counts as a core.
///
/// # Examples
/// ```
/// println!("{}", callboard::cpu::topology()?);
/// # Ok::<(), callboard::Error>(())
/// ```
pub fn topology() -> Result<Topology, TopologyError> {
    Topology::read()
}
