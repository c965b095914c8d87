//! The runtime of one process: starts actors, becomes one, keeps track of their lives.
//!
//! ```text
//!  parent: spawn ── warden (thread) ──> child: greet ── serve
//!            └ owner: the last proxy dropped ends the actor; census: nobody is left behind
//! ```

#![forbid(unsafe_code)]

pub(crate) mod blocking;
pub(crate) mod census;
pub(crate) mod family;
pub(crate) mod greet;
pub(crate) mod handle;
pub(crate) mod output;
pub(crate) mod registry;
pub(crate) mod runtime;
pub(crate) mod spawn;
pub(crate) mod spawn_error;
mod spawn_options;
pub(crate) mod scope;
mod signals;
mod ward;
mod warden;
