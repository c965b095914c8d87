//! Parts of actors: values inside an actor whose methods are called through it.

use std::future::Future;

use super::handle::Handle;
use crate::actor::incoming::Incoming;
use crate::actor::replies::Answer;
use crate::wire::interface::Method;

/// What `#[actor_part]` writes for a type. Not written by hand: its shape follows the macros.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no part that an actor can have",
    label = "this has no methods that are called from outside",
    note = "`#[actor_part]` on its impl block makes it one"
)]
pub trait ActorPart: Sized + 'static {
    /// What calls it.
    type Proxy: PartProxy;

    /// Its methods and those of its own parts, by their places.
    const METHODS: &'static [Method];

    /// Runs a method that takes `&self` and is not async.
    fn run_shared(&self, place: u16, call: Incoming<'_>) -> Answer;

    /// Runs a method that takes `&mut self` and is not async.
    fn run_exclusive(&mut self, place: u16, call: Incoming<'_>) -> Answer;

    /// Runs a method that takes `&self` and is async.
    fn await_shared(&self, place: u16, call: Incoming<'_>) -> impl Future<Output = Answer>;

    /// Runs a method that takes `&mut self` and is async.
    fn await_exclusive(&mut self, place: u16, call: Incoming<'_>) -> impl Future<Output = Answer>;
}

/// What calls a part.
#[doc(hidden)]
pub trait PartProxy: Sized + 'static {
    /// Those of the part.
    const METHODS: &'static [Method];

    /// The one that calls by `handle`, whose methods are the part's.
    fn from_handle(handle: Handle) -> Self;
}
