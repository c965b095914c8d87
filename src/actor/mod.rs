//! The serving side: calls become method runs, values become replies.
//!
//! `#[actor]` implements [`Actor`] for the user's type; [`serve`](server::serve) runs it. This room
//! knows frames and archives, and not how a process starts or ends.

#![forbid(unsafe_code)]

pub(crate) mod batch;
mod cancel;
pub(crate) mod context;
mod held;
pub(crate) mod hooks;
pub(crate) mod inbox;
pub(crate) mod incoming;
pub(crate) mod lanes;
pub(crate) mod legacy;
pub(crate) mod mailbox;
pub(crate) mod own;
mod owed;
pub(crate) mod panic;
pub(crate) mod port;
pub(crate) mod replies;
pub(crate) mod server;
pub(crate) mod shared;
pub(crate) mod signals;
pub(crate) mod streamed;
mod streams;
pub(crate) mod text;

#[cfg(test)]
mod pair;
#[cfg(test)]
mod pair_batch;
#[cfg(test)]
mod pair_ends;
#[cfg(test)]
mod pair_faces;
#[cfg(test)]
mod pair_mailbox;
#[cfg(test)]
mod pair_streams;
#[cfg(test)]
mod pair_tests;

use std::future::{Future, ready};
use std::time::Duration;

use context::Context;
use hooks::{Hook, Hooks, Timer};
use incoming::{Incoming, Rejected};
use replies::Answer;

use crate::wire::interface::Interface;

/// What `#[actor]` writes for a type. Not written by hand: its shape follows the macros.
#[doc(hidden)]
pub trait Actor: Sized + 'static {
    /// The type's proxy.
    type Proxy;

    /// Its constructors and methods, by their numbers.
    const INTERFACE: Interface;

    /// Its hooks.
    const HOOKS: Hooks = Hooks::NONE;

    /// Its periodic methods, by their numbers.
    const TIMERS: &'static [Timer] = &[];

    /// Runs constructor `index` with the archived arguments `body`.
    fn construct(
        index: u16,
        body: &[u8],
        context: Context,
    ) -> impl Future<Output = Result<Self, Rejected>>;

    /// Runs a method that takes `&self` and is not async.
    fn run_shared(&self, call: Incoming<'_>) -> Answer;

    /// Runs a method that takes `&mut self` and is not async.
    fn run_exclusive(&mut self, call: Incoming<'_>) -> Answer;

    /// Runs a method that takes `&self` and is async.
    fn await_shared(&self, call: Incoming<'_>) -> impl Future<Output = Answer>;

    /// Runs a method that takes `&mut self` and is async.
    fn await_exclusive(&mut self, call: Incoming<'_>) -> impl Future<Output = Answer>;

    /// Runs a hook or periodic method that may take `&mut self`; an error is given as its text.
    fn hook(&mut self, hook: Hook<'_>) -> impl Future<Output = Result<(), String>> {
        let _ = hook;
        ready(Ok(()))
    }

    /// The same for those that run beside `&self` calls.
    fn hook_shared(&self, hook: Hook<'_>) -> impl Future<Output = Result<(), String>> {
        let _ = hook;
        ready(Ok(()))
    }

    /// How long before periodic method `timer` runs for the first time.
    fn delay(&self, timer: u16) -> Duration {
        let _ = timer;
        Duration::ZERO
    }

    /// How long from its start to the next one.
    fn period(&self, timer: u16) -> Duration {
        let _ = timer;
        Duration::MAX
    }
}
