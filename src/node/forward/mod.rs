//! Proxies as values: what travels of them, and how who gets one reaches the actor.
//!
//! ```text
//!  a proxy ── passport ──> far: a proxy without a link
//!                            └─ first use ─> here? its own link, or that of who started it
//!                                         ─> same family? entrance ──> resident: one more line
//!                                         ─> else an address, and a key from the credentials:
//!                                              same machine and user? entrance, else network
//! ```
//!
//! Nobody stands between the two: whoever handed the proxy on may be gone by then. A proxy that
//! came in a message owns nothing; the actor ends with those of the process that started it.

pub(crate) mod callback;
pub(crate) mod far;
mod link;
mod net;
pub(crate) mod part;
pub(crate) mod resident;
pub(crate) mod value;

use std::io;

use crate::sys::gateway::{Name, Opener};
use crate::transport::auth_key::{AuthKey, AuthKeyError};
use crate::wire::passport::{Entrance, Home};

/// A proxy cannot be handed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandOnError {
    /// It stands for several.
    #[error("a pool's proxy stands for several actors: hand on one of its members")]
    Several,
    /// It stands for a part that its actor, of another build, has not got.
    #[error("its actor has none of the methods of this part")]
    NoPart,
    /// Its actor has ended, or has not begun.
    #[error("its actor is not there")]
    Gone,
    /// A way in for those who get it cannot be made.
    #[error("no descriptors are free for a way to its actor")]
    Resources(#[from] io::Error),
    /// No key for that way either.
    #[error("there is no key for a way to its actor")]
    Key(#[from] AuthKeyError),
}

/// Where an actor lives whose family enters there, by one of `keys`, and has the key `own`; the
/// number of the program that it runs, 0 if that is not known.
fn home_at(
    (name, opener): (Name, Opener),
    keys: &[AuthKey],
    own: &AuthKey,
    program: u64,
    returns: bool,
) -> Home {
    Home {
        family: id_of(own),
        entrance: Entrance {
            name,
            opener: (opener.pid, opener.uid),
            program,
            locks: keys.iter().map(id_of).collect(),
        },
        returns,
    }
}

/// A number by which one who has `key` sees that it is this one.
fn id_of(key: &AuthKey) -> u64 {
    let proof = key.proof(b"which key");
    let [first, ..] = proof.bytes().as_chunks::<8>().0 else {
        return 0;
    };
    u64::from_le_bytes(*first)
}
