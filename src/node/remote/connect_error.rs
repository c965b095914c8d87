//! Why no connection was made to an actor of another program.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use crate::node::faces::DowncastError;
use crate::proxy::failure::Death;
use crate::transport::address::{Address, ParseAddressError};
use crate::wire::hello::HelloError;

/// No connection was made.
///
/// # Examples
/// ```
/// use callboard::ConnectError;
///
/// fn is_worth_another_try(error: &ConnectError) -> bool {
///     use ConnectError::{Busy, Io, Timeout};
///
///     matches!(error, Io { .. } | Busy { .. } | Timeout { .. })
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] ParseAddressError),
    /// Nobody listens there, the name is unknown, the network is down, or the connection was lost
    /// before it was one.
    #[error("{address} cannot be reached")]
    Io {
        /// The address.
        address: Address,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was not done in time.
    #[error("{address} did not answer within {after:?}")]
    Timeout {
        /// The address.
        address: Address,
        /// The time it had.
        after: Duration,
    },
    /// The other side has another key, or something on the way has answered in its place: nothing
    /// but a connection that is made shows who it was.
    #[error("{address} has rejected the key: there is another one, or it is another's address")]
    Auth {
        /// The address.
        address: Address,
    },
    /// The other side takes no more callers just now, or none from this machine, from which ten
    /// have had the wrong key, or were too slow, or spoke something else; such a machine may try
    /// once a second.
    #[error("{address} takes no more callers just now")]
    Busy {
        /// The address.
        address: Address,
    },
    /// The other side speaks another protocol, or another version of it.
    #[error("{address} cannot be talked to")]
    Hello {
        /// The address.
        address: Address,
        /// Why not.
        #[source]
        source: HelloError,
    },
    /// The actor there has just died: its program tells so for some seconds, where it lives on.
    #[error("the actor at {address} has died")]
    Died {
        /// The address.
        address: Address,
        /// How it ended.
        #[source]
        death: Death,
    },
    /// The actor there is not what the proxy's type stands for.
    #[error(transparent)]
    Type(#[from] DowncastError),
    /// This process has no room for it: no thread, no descriptors.
    #[error("there is no room for a connection")]
    Resources(#[source] io::Error),
}

impl ConnectError {
    /// Whether there is sense in another try.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Timeout { .. }
            | Self::Busy { .. }
            | Self::Died { .. }
            | Self::Resources(_) => true,
            Self::Address(_) | Self::Auth { .. } | Self::Hello { .. } | Self::Type(_) => false,
        }
    }
}

impl From<Infallible> for ConnectError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
