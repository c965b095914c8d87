//! The runtime of one process: starts actors, becomes one, keeps track of their lives.
//!
//! ```text
//!  parent: spawn ── warden (thread) ──> child: greet ── serve
//!            └ owner: the last proxy dropped ends the actor; census: nobody is left behind
//! ```
//!
//! Each actor's process is the program started anew, by `posix_spawn`: no page tables are copied,
//! whatever the parent holds; the child has an address space layout, descriptors, locks and threads
//! of its own. Forking from a process kept for that, before it has threads, would spare the dynamic
//! loader's half of a millisecond. It would cost that process for every program, whether it starts
//! actors or not; give all actors one layout, which a crash in one of them betrays; leave them with
//! the environment, folder and limits of the program's beginning; and make somebody else their
//! parent, to whose death they are bound. A start meets its goal without (benches/spawn.rs).

#![forbid(unsafe_code)]

pub(crate) mod being;
pub(crate) mod berth;
pub(crate) mod blocking;
pub(crate) mod census;
pub(crate) mod ending;
mod every_proxy;
pub(crate) mod exited;
pub(crate) mod faces;
pub(crate) mod family;
pub(crate) mod family_key;
mod filling;
pub(crate) mod forward;
pub(crate) mod handover;
pub(crate) mod heartbeat;
pub(crate) mod greet;
pub(crate) mod handle;
mod streams;
#[cfg(feature = "json")]
pub(crate) mod invoke;
mod itself;
mod leash;
pub(crate) mod leaving;
pub(crate) mod limits;
pub(crate) mod local;
pub(crate) mod monitor;
pub(crate) mod output;
pub(crate) mod part;
pub(crate) mod registry;
pub(crate) mod remote;
pub(crate) mod road;
pub(crate) mod runner;
pub(crate) mod runtime;
pub(crate) mod spawn;
pub(crate) mod spawn_error;
mod spawn_options;
mod starting;
mod token;
pub(crate) mod scope;
pub(crate) mod settings;
pub(crate) mod serve;
mod signals;
mod ward;
mod warden;
