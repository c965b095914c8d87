//! Actors in processes of their own, called like methods.
//!
//! ```standalone_crate
//! use callboard::prelude::*;
//!
//! pub struct Counter { n: u64 }
//!
//! #[actor]
//! impl Counter {
//!     pub fn new(start: u64) -> Self { Self { n: start } }
//!     pub async fn add(&mut self, by: u64) -> u64 { self.n += by; self.n }
//!     pub fn get(&self) -> u64 { self.n }
//! }
//!
//! #[callboard::main]
//! async fn main() -> callboard::Result<()> {
//!     let counter = Counter::spawn(10).await?;     // a new process
//!     assert_eq!(counter.add(5).await?, 15);       // a call into it
//!     counter.shutdown().await
//! }
//! ```
//!
//! - [`actor`](macro@actor) turns an impl block into an actor and its proxy. [`main`](macro@main)
//!   or [`init`] lets a process become one, and so does [`test`](macro@test) in tests.
//! - [`actor_trait`](macro@actor_trait) is what several types of actors offer, and
//!   [`actor_part`](macro@actor_part) what one of them is made of.
//! - [`Spawn`] starts it, [`Spawn::scope`] for the length of a block; [`Proxy`] is what all proxies
//!   can do: [`stop`](Proxy::stop), [`kill`](Proxy::kill), look at it. [`shutdown_all`] ends all.
//! - [`Output`] is where it writes to.
//! - [`Call`] is what a method of a proxy returns: awaited, told, started or dropped. [`Pending`]
//!   is a call that runs.
//! - [`CallError`] says what went wrong, and [`Outcome`] whether the method ran.
//! - [`Message`] is what can travel; [`message`](macro@message) makes your own types so.
//! - [`Blob`] is large data that travels without being copied, and [`Array`] numbers that several
//!   processes write.
//! - [`Idle`] is how to wait. [`LinkKind`] is what a link goes over, if it is not shared memory.
//! - [`cpu`] shows the machine's cores; [`Spawn::pin`] keeps an actor on some.
//! - [`supervision`] starts those again that have died; [`Proxy::monitor`] tells of each end.
//! - [`pool`] has many actors that are called as one.
//! - [`blocking`] is all of it for programs without async.
//!
//! The README says what it is for and what not, what is guaranteed, and what it costs. How it is
//! built is told in `architecture`, the map of the house.
#![warn(
    missing_docs,
    missing_debug_implementations,
    unnameable_types,
    unreachable_pub,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::return_self_not_must_use
)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        reason = "tests know how large their numbers are"
    )
)]
// Under loom only the rings are built: their models need nothing else.
#![cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "only the models use the rings")
)]

#[cfg(not(loom))]
pub(crate) mod sys;

pub(crate) mod ring;
#[cfg(not(loom))]
pub(crate) mod wire;

#[cfg(not(loom))]
pub(crate) mod transport;

#[cfg(not(loom))]
pub(crate) mod flow;

#[cfg(not(loom))]
pub(crate) mod proxy;

#[cfg(not(loom))]
pub(crate) mod actor;

#[cfg(not(loom))]
pub(crate) mod node;

#[cfg(not(loom))]
pub mod cpu;

#[cfg(not(loom))]
pub mod supervision;

#[cfg(not(loom))]
pub mod pool;

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod internals;
#[cfg(not(loom))]
mod names;
#[cfg(not(loom))]
pub use names::*;
