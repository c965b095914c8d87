//! Why an actor did not start.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use super::limits;
use super::warden::StartError;
use crate::cpu::PinError;
use crate::proxy::failure::{CallError, Death};
use crate::sys::memory::SegmentError;
use crate::sys::places::Taken;
use crate::wire::codec::EncodeError;
use crate::wire::hello::{GreetRefusal, HelloError};
use crate::wire::interface::Interface;
use crate::wire::report::PanicReport;

/// An actor could not be started. `E` is its constructor's own error, if it has one. Nothing is
/// left of the attempt: no process, no memory, no descriptor.
///
/// # Examples
/// ```
/// use callboard::SpawnError;
///
/// fn explain(error: &SpawnError<std::io::ErrorKind>) -> String {
///     match error {
///         SpawnError::Constructor(own) => format!("the constructor said: {own}"),
///         SpawnError::Panicked(report) => format!("the constructor panicked: {report}"),
///         other => format!("{other}"),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError<E = Infallible> {
    /// The constructor returned its error.
    #[error("the actor's constructor returned an error")]
    Constructor(#[source] E),
    /// The actor's hook `#[on_start]` returned an error.
    #[error("the actor did not start: {reason}")]
    Start {
        /// What the error said of itself and its causes.
        reason: String,
    },
    /// The actor's hook `#[on_enter]` failed: the scope did not begin.
    #[error("the actor's scope did not begin: {reason}")]
    Enter {
        /// What the error said of itself and its causes.
        reason: String,
    },
    /// The constructor panicked, or the hook `#[on_start]`.
    #[error("the actor's constructor panicked with {0}")]
    Panicked(PanicReport),
    /// The process died before the constructor had returned.
    #[error("the actor's process died while it started")]
    Died(#[source] Death),
    /// This process was itself started as an actor, and `callboard::init` was not called in it.
    #[error(
        "this process was started as an actor and did not become one; \
         use #[callboard::main], or call callboard::init() first in main"
    )]
    NotInitialised,
    /// As many actors live already as may, in this program and all that it has started
    /// ([`limit_actors`](crate::limit_actors)).
    #[error("{limit} actors live already in this program, and no more may")]
    TooMany {
        /// How many may.
        limit: usize,
    },
    /// The system has too little of something.
    ///
    /// An actor holds 272 KiB of shared memory, and here five descriptors; one more for each of its
    /// streams that is kept. How many this process may have open is raised as far as the system
    /// lets it, and no further than 65536, when half of those at hand are in use.
    #[error("there is not enough {what} for the actor")]
    Resources {
        /// What is missing.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be kept on the CPUs that [`Spawn::pin`](crate::Spawn::pin) names.
    #[error("the actor cannot be kept on its CPUs")]
    Pin(#[source] PinError),
    /// The system does not let it be [limited](crate::Limits) so.
    #[error("the actor's limit of {what} cannot be set")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot [listen](crate::Spawn::listen) as it is to.
    #[error("the actor cannot listen: {reason}")]
    Listen {
        /// Where, and why not.
        reason: String,
    },
    /// The program could not be started.
    #[error("the actor's program could not be started")]
    Exec(#[source] io::Error),
    /// The process did not say in time that it is an actor.
    #[error(
        "the actor's process did not greet within {within:?}; \
         does its program call callboard::init() first in main?"
    )]
    Silent {
        /// The time it had.
        within: Duration,
    },
    /// The process speaks another protocol.
    #[error("the actor's process cannot be talked to")]
    Hello(#[from] HelloError),
    /// The program has no actor of this name, or several. Of a generic actor it has the types that
    /// [`register!`](crate::register) names.
    #[error("the program has no actor `{name}`{}", advice(name))]
    UnknownActor {
        /// The name on the wire.
        name: String,
    },
    /// The process could not serve.
    #[error("the actor's process cannot serve: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The constructor's arguments or result could not travel.
    #[error("the constructor could not be called")]
    Call(#[source] Box<CallError>),
    /// What the process needs to know could not be written down.
    #[error("the actor's settings could not be sent")]
    Settings(#[source] EncodeError),
}

/// What to do about a generic actor that is not known.
fn advice(name: &str) -> &'static str {
    if name.contains('<') {
        "; callboard::register! makes it known"
    } else {
        ""
    }
}

impl<E> SpawnError<E> {
    pub(super) fn silent(within: Duration) -> Self {
        Self::Silent { within }
    }

    pub(super) fn too_many(taken: Taken) -> Self {
        Self::TooMany {
            limit: usize::try_from(taken.count).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn segment(error: SegmentError) -> Self {
        Self::Resources {
            what: "shared memory",
            source: error.source,
        }
    }

    pub(super) fn descriptors(source: io::Error) -> Self {
        let what = match source.raw_os_error() {
            // What a link over a socket needs beside them.
            Some(libc::EAGAIN) => "room for threads",
            _ => "room for descriptors",
        };
        Self::Resources { what, source }
    }

    pub(super) fn start(error: StartError) -> Self {
        match error {
            StartError::Warden(source) => Self::Resources {
                what: "room for threads",
                source,
            },
            StartError::Hello(source) | StartError::Watch(source) => Self::descriptors(source),
            StartError::Launch(source) => match source.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => Self::descriptors(source),
                Some(libc::EAGAIN) => Self::Resources {
                    what: "room for processes",
                    source,
                },
                Some(libc::ENOMEM) => Self::Resources {
                    what: "memory",
                    source,
                },
                _ => Self::Exec(source),
            },
        }
    }

    pub(super) fn refused(refusal: GreetRefusal, interface: &Interface) -> Self {
        match refusal {
            GreetRefusal::UnknownActor => {
                let name = interface.full_name().into_owned();
                Self::UnknownActor { name }
            }
            GreetRefusal::Thread(number) => Self::Resources {
                what: "room for threads",
                source: io::Error::from_raw_os_error(number),
            },
            GreetRefusal::Bound(bound, number) => Self::Limit {
                what: limits::name(bound),
                source: io::Error::from_raw_os_error(number),
            },
            GreetRefusal::Listen { address, reason } => Self::Listen {
                reason: format!("{address}: {reason}"),
            },
            GreetRefusal::Segment(reason) | GreetRefusal::System(reason) => {
                Self::Refused { reason }
            }
        }
    }

    /// The error of a start whose constructor's call failed.
    pub(super) fn constructor(error: CallError<E>) -> Self {
        match error {
            CallError::Actor(own) => Self::Constructor(own),
            CallError::Start { reason } => Self::Start { reason },
            CallError::Panicked(report) => Self::Panicked(report),
            CallError::Died { death, .. } => Self::Died(death),
            other => Self::Call(Box::new(other.without_own())),
        }
    }
}
