//! The actors that this program knows, gathered by the linker.
//!
//! `#[actor]` adds an entry for each type. A child finds its type here by name.

use std::fmt;

use crate::actor::Actor;
use crate::node::greet::{Seat, Served};
use crate::wire::interface::Interface;

/// One type of actor: what it offers, and how it is run.
#[doc(hidden)]
pub struct ActorType {
    interface: Interface,
    run: fn(Seat) -> Served,
}

impl ActorType {
    /// The entry of `A`.
    #[must_use]
    pub const fn of<A: Actor>() -> Self {
        Self {
            interface: A::INTERFACE,
            run: super::greet::run::<A>,
        }
    }

    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Runs an actor of this type to its end.
    pub(crate) fn run(&self, seat: Seat) -> Served {
        (self.run)(seat)
    }
}

impl fmt::Debug for ActorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorType")
            .field(&self.interface.full_name())
            .finish()
    }
}

/// Every actor type of this program.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static ACTORS: [ActorType];

/// The type called `name`, unless there is none, or more than one.
pub(crate) fn find(name: &str) -> Option<&'static ActorType> {
    let mut found = ACTORS
        .iter()
        .filter(|actor| actor.interface.full_name() == name);
    let first = found.next()?;
    if found.next().is_some() {
        tracing::error!(name, "two actor types have one name");
        return None;
    }
    Some(first)
}
