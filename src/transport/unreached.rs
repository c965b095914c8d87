//! Why an actor cannot be reached. Pure.

use std::fmt;
use std::io;

/// What an error of a stream says that will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection could not be made again")]
pub(crate) struct GivenUp;

/// Why an actor cannot be reached that may live.
///
/// # Examples
/// ```
/// use callboard::{CallError, Unreached};
///
/// fn is_gone_from_the_network(error: &CallError) -> bool {
///     matches!(error, CallError::Unreachable { why: Unreached::Silent | Unreached::Reset, .. })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreached {
    /// Its process exists and does not react: it is stopped, as by SIGSTOP.
    Still,
    /// The runtime of this process has ended that served the link.
    NoRuntime,
    /// Nothing has come over the network for ten seconds, or nothing was taken: its machine or the
    /// way to it is gone, or its process is stopped.
    Silent,
    /// The other side has closed the connection without a word: its process has ended, or its
    /// machine shuts down.
    Closed,
    /// The connection was reset, by the other side or on the way.
    Reset,
    /// What came over the connection was not what the other side had sent, and was not used.
    Tampered,
    /// This process has ended the connection, as by [`kill`](crate::Proxy::kill).
    Cut,
    /// The proxy came in a message, and no way leads to its actor: it is another program's or
    /// another machine's, and does not [listen](crate::Spawn::listen).
    NoWay,
    /// The proxy came in a message, and a link to its actor could not be made: descriptors or
    /// memory have run out, in this process or in the actor's.
    NoRoom,
    /// The proxy came in a message, and nobody answers where its actor listened.
    Unanswered,
    /// The proxy came in a message, and its actor takes no more callers just now.
    Busy,
    /// The connection was lost and could not be made again as often as it was
    /// [tried](crate::Reconnect).
    GivenUp,
}

impl Unreached {
    /// What an error of the stream means.
    pub(crate) fn of(error: &io::Error) -> Self {
        if error.get_ref().is_some_and(|why| why.is::<GivenUp>()) {
            return Self::GivenUp;
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::InvalidData => Self::Tampered,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Reset,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Still => "its process is stopped",
            Self::NoRuntime => "the runtime of this process that served it has ended",
            Self::Silent => "the network has been silent for ten seconds",
            Self::Closed => "the other side has closed the connection",
            Self::Reset => "the connection was reset",
            Self::Tampered => "what came was changed on the way",
            Self::Cut => "this process has ended the connection",
            Self::NoWay => "it does not listen for other programs",
            Self::NoRoom => "there is no room for a link to it",
            Self::Unanswered => "nobody answers where it listened",
            Self::Busy => "it takes no more callers just now",
            Self::GivenUp => "the connection was lost, and could not be made again",
        })
    }
}
