//! Actors of other programs: the door at which callers knock, and the way to such a door.
//!
//! ```text
//!  connect ── dial, knock ──> door: gate, admit ── Welcome ──> a proxy that owns nothing
//!                                     └─ Join: one more line of the actor's inbox
//! ```
//!
//! Both sides are carried on by the thread that carries all sockets of a process, so neither an
//! actor whose method blocks nor a caller's busy runtime keeps the other side waiting for a beat.

pub(crate) mod bond;
pub(crate) mod connect;
pub(crate) mod connect_error;
pub(crate) mod credentials;
pub(crate) mod door;
pub(crate) mod grave;
pub(crate) mod listen;
mod listen_local;
pub(crate) mod reconnect;
mod returning;
pub(crate) mod tie;
