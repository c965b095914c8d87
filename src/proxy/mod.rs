//! The calling side: methods become calls, replies become values.
//!
//! A generated proxy holds a [`Caller`] and gives out [`Call`](call::Call)s. This room knows links
//! and archives, and not what an actor is: a caller needs numbers, bytes and a way to the other
//! end.

#![forbid(unsafe_code)]

pub(crate) mod ambient;
mod answer;
mod brought;
pub(crate) mod call;
mod caller;
pub(crate) mod clock;
mod closed;
pub(crate) mod driver;
pub(crate) mod exchange;
pub(crate) mod failure;
mod flows;
pub(crate) mod in_flight;
mod letter;
mod owned;
pub(crate) mod pending;
pub(crate) mod pending_stream;
mod queue;
pub(crate) mod retry;
pub(crate) mod streaming;
pub(crate) mod feeding;
pub(crate) mod target;
pub(crate) mod timer;

pub(crate) use caller::{Bound, Caller};
