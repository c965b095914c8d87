//! The way over a network to an actor whose proxy came in a message.
//!
//! The link is there at once, and its calls wait in it for the connection, which is made meanwhile.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::link::{Link, Whom};
use crate::node::being::Being;
use crate::node::remote::bond;
use crate::node::remote::connect::{ConnectError, Place};
use crate::node::remote::credentials::{self, Credential};
use crate::node::remote::door;
use crate::proxy::failure::{AuthError, Ended};
use crate::transport::address::Address;
use crate::transport::link_kind::LinkKind;
use crate::transport::unix::pumps;
use crate::transport::unreached::Unreached;
use crate::wire::welcome::Welcome;

/// The credential of the first of an actor's addresses for which there is one.
///
/// # Errors
/// There is none.
pub(super) fn credential_of(whom: &Whom<'_>) -> Result<Credential, Ended> {
    let known = whom.addresses.iter().find_map(credentials::find);
    known.ok_or_else(|| match whom.address() {
        Some(address) => Ended::Auth(AuthError::NoKey { address }),
        None => Ended::Unreachable(Unreached::NoWay),
    })
}

/// A link to an actor by `credential`.
///
/// # Errors
/// There is no room for it. What goes wrong later ends the link.
pub(super) fn connect(whom: &Whom<'_>, credential: Credential) -> Result<Link, Ended> {
    let Credential { key, at, .. } = credential;
    // What its door will say; if it says something else, it is not the actor.
    let welcome = Welcome {
        tables: whom.tables.as_ref().clone(),
        machine: whom.actor.machine(),
        pid: whom.pid,
        key: whom.actor.bits(),
        home: None,
        ring_capacity: door::RING_CAPACITY,
        slots: door::SLOTS,
        message_len_max: door::MESSAGE_LEN_MAX,
    };
    let no_room = |_: io::Error| Ended::Unreachable(Unreached::NoRoom);
    let pumps = pumps().map_err(no_room)?;
    let runtime = Handle::try_current().unwrap_or_else(|_| pumps.clone());
    let place = Place::new(at.clone(), key);
    let laid = bond::lay(&welcome, &place, &runtime, bond::alone());
    let (handle, way) = laid.map_err(|_| Ended::Unreachable(Unreached::NoRoom))?;
    let exchange = Arc::clone(handle.exchange());
    let (is_gone, has_ended) = (whom.is_gone(), whom.before.is_some());
    let (pid, returns) = (whom.pid, whom.returns);
    let being = handle.life().being.clone();
    pumps.spawn(async move {
        let ended = match place.enter().await {
            Ok((sealed, found)) if is_same(&welcome, &found) => {
                if let Being::Remote(tie) = being {
                    tie.find(&found);
                }
                // Nobody may be waiting any more.
                let _ = way.send(sealed);
                return;
            }
            // The address is another's by now.
            Ok(_) => is_gone,
            // Of those who live there one after the other, any may have been told of last.
            Err(ConnectError::Died { death, .. }) if returns || death.pid() == pid => {
                Ended::Died(death)
            }
            Err(ConnectError::Died { .. }) => is_gone,
            // Nobody listens there: nobody has followed.
            Err(ConnectError::Io { .. }) if has_ended => is_gone,
            Err(error) => ended_of(error, at),
        };
        // Nothing was sent: no call has run.
        exchange.end(ended);
        drop(way);
    });
    Ok(Link {
        caller: handle.caller().clone().of(Arc::clone(whom.tables)),
        kind: LinkKind::Network,
        life: None,
    })
}

fn is_same(expected: &Welcome, found: &Welcome) -> bool {
    let parts = |welcome: &Welcome| {
        let rings = (
            welcome.ring_capacity,
            welcome.slots,
            welcome.message_len_max,
        );
        (welcome.machine, welcome.key, rings)
    };
    parts(expected) == parts(found)
}

fn ended_of(error: ConnectError, address: Address) -> Ended {
    tracing::debug!(%error, %address, "no connection to an actor whose proxy came in a message");
    match error {
        ConnectError::Auth { .. } => Ended::Auth(AuthError::Rejected { address }),
        ConnectError::Busy { .. } => Ended::Unreachable(Unreached::Busy),
        ConnectError::Timeout { .. } => Ended::Unreachable(Unreached::Silent),
        ConnectError::Resources(_) => Ended::Unreachable(Unreached::NoRoom),
        ConnectError::Io { source, .. } => Ended::Unreachable(match source.kind() {
            io::ErrorKind::TimedOut => Unreached::Silent,
            _ => Unreached::Unanswered,
        }),
        other => Ended::Corrupt(other.to_string()),
    }
}
