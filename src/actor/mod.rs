//! The serving side: calls become method runs, values become replies.
//!
//! `#[actor]` implements [`Actor`] for the user's type; [`serve`](server::serve) runs it. This room
//! knows frames and archives, and not how a process starts or ends.

#![forbid(unsafe_code)]

mod cancel;
pub(crate) mod context;
pub(crate) mod inbox;
pub(crate) mod incoming;
pub(crate) mod panic;
pub(crate) mod port;
pub(crate) mod replies;
pub(crate) mod server;
pub(crate) mod shared;

#[cfg(test)]
mod pair;
#[cfg(test)]
mod pair_ends;
#[cfg(test)]
mod pair_tests;

use std::future::Future;

use context::Context;
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
}
