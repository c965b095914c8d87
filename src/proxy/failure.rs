//! How a call can fail, and what is then known about it. Pure.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::flow::STREAMS_MAX;
use crate::sys::process::Exit;
use crate::transport::address::Address;
use crate::transport::unreached::Unreached;
use crate::wire::chain::DEPTH_MAX;
use crate::wire::codec::{DecodeError, EncodeError};
use crate::wire::obituary::Obituary;
use crate::wire::report::PanicReport;

/// What is known about a call that failed.
///
/// # Examples
/// ```
/// use callboard::{CallError, Outcome};
///
/// fn may_try_again(error: &CallError) -> bool {
///     error.outcome() == Outcome::NotRun
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "there is no fourth outcome, and callers match on it"
)]
pub enum Outcome {
    /// The method certainly did not run.
    NotRun,
    /// The callee may have read the call; how far it came is not known.
    MayHaveRun,
    /// The method ran.
    Ran,
}

/// How an actor's process ended.
///
/// # Examples
/// ```
/// fn tell_user(death: &callboard::Death) -> String {
///     match (death.report(), death.stderr()) {
///         (Some(report), _) => format!("process {} panicked: {report}", death.pid()),
///         (None, Some(words)) => format!("process {}'s last words: {words}", death.pid()),
///         (None, None) => format!("process {} ended with {}", death.pid(), death.exit()),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death(Arc<Facts>);

/// Shared by all who are told, and apart from the errors of calls, to keep those small.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    pid: u32,
    exit: Exit,
    report: Option<PanicReport>,
    stderr: Option<String>,
    /// It was a task of this process.
    is_task: bool,
}

/// How much of a last line an error repeats, in characters.
const LAST_LINE_MAX: usize = 200;

impl Death {
    pub(crate) fn new(
        pid: u32,
        exit: Exit,
        report: Option<PanicReport>,
        stderr: Option<String>,
    ) -> Self {
        Self(Arc::new(Facts {
            pid,
            exit,
            report,
            stderr,
            is_task: false,
        }))
    }

    /// The end of an actor that was a task of this process, which lives on.
    pub(crate) fn of_task(pid: u32, exit: Exit, report: Option<PanicReport>) -> Self {
        Self(Arc::new(Facts {
            pid,
            exit,
            report,
            stderr: None,
            is_task: true,
        }))
    }

    /// The end of an actor that this process has not started, as it was told.
    pub(crate) fn told(obituary: Obituary) -> Self {
        Self(Arc::new(Facts {
            pid: obituary.pid,
            exit: obituary.exit(),
            report: obituary.report,
            stderr: None,
            // Of a process that is not this one.
            is_task: false,
        }))
    }

    /// What others are told of it who had a link to the actor. None: it is not known how it ended.
    pub(crate) fn obituary(&self) -> Option<Obituary> {
        Obituary::new(self.pid(), self.exit(), self.report())
    }

    /// The process's id while it lived. Of a [local](crate::Local) actor, which is a task, this
    /// process's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Its exit code, or the signal that killed it. A [local](crate::Local) actor has that of a
    /// process that ends in the same way.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The panic that ended it, if one did; also in a program that is built with
    /// `panic = "abort"`.
    #[must_use]
    pub fn report(&self) -> Option<&PanicReport> {
        self.0.report.as_ref()
    }

    /// What it had last written to its standard error, if that was kept
    /// ([`Output::Tail`](crate::Output::Tail)).
    #[must_use]
    pub fn stderr(&self) -> Option<&str> {
        self.0.stderr.as_deref()
    }

    /// The last line with something in it, if there is one.
    fn last_line(&self) -> Option<&str> {
        let lines = self.stderr()?.lines().map(str::trim_end);
        let last = lines.rev().find(|line| !line.is_empty())?;
        let end = last.char_indices().nth(LAST_LINE_MAX);
        Some(&last[..end.map_or(last.len(), |(at, _)| at)])
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_task {
            write!(f, "its task in this process ended with {}", self.exit())?;
        } else {
            write!(f, "process {} ended with {}", self.pid(), self.exit())?;
        }
        // A panic's text is the end of standard error, or says more than that.
        match (self.report(), self.last_line()) {
            (Some(report), _) => write!(f, " after a panic: {report}"),
            (None, Some(line)) => write!(f, ", its last words: {line:?}"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for Death {}

/// Why a link makes no more calls.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// The process is gone.
    Died(Death),
    /// It was asked to end.
    Stopped,
    /// It broke the rules of the link.
    Corrupt(String),
    /// It may live, and nothing goes to it or comes from it any more.
    Unreachable(Unreached),
    /// It may live, and this process has not got its key.
    Auth(AuthError),
}

/// This process has not got the key of an actor whose proxy came to it in a message.
///
/// # Examples
/// ```
/// use callboard::{AuthError, CallError};
///
/// fn address_to_connect_to(error: &CallError) -> Option<&callboard::Address> {
///     match error {
///         CallError::Auth { why: AuthError::NoKey { address }, .. } => Some(address),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// It has never [connected](crate::Connect) to this address, and was
    /// [told](crate::Credentials::add) no key for it.
    #[error("no key is known for {address}")]
    NoKey {
        /// Where the actor listens.
        address: Address,
    },
    /// It has a key for this address, and that is not the actor's.
    #[error("{address} has rejected the key that is known for it")]
    Rejected {
        /// Where the actor listens.
        address: Address,
    },
}

/// A call failed. `E` is the actor's own error, if the method has one.
///
/// It is an error itself, which `?` hands on, if `E` is one. A `String` is none: see
/// [`callboard::Error::of_call`](crate::Error::of_call).
///
/// # Examples
/// ```
/// use callboard::CallError;
///
/// fn explain(error: &CallError<std::num::ParseIntError>) -> String {
///     match error {
///         CallError::Actor(own) => format!("the method said: {own}"),
///         CallError::Died { death, .. } => format!("the actor is gone: {death}"),
///         other => format!("{other} ({:?})", other.outcome()),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E = Infallible> {
    /// The method ran and returned its own error.
    #[error("the actor returned an error")]
    Actor(#[source] E),
    /// The method panicked. What the panic left behind is ended with the actor.
    #[error("the method panicked with {0}")]
    Panicked(PanicReport),
    /// The actor's process is gone.
    #[error("the actor died")]
    Died {
        /// How it ended.
        #[source]
        death: Death,
        /// Whether the call ran.
        outcome: Outcome,
    },
    /// The actor was shut down.
    #[error("the actor was shut down")]
    Stopped {
        /// Whether the call ran.
        outcome: Outcome,
    },
    /// No answer came in time. A call that was not begun will not be.
    #[error("no answer within {after:?}")]
    Timeout {
        /// The time that was given.
        after: Duration,
        /// Whether the call ran.
        outcome: Outcome,
    },
    /// The actor may live, and cannot be reached.
    #[error("the actor cannot be reached: {why}")]
    Unreachable {
        /// Why not.
        why: Unreached,
        /// Whether the call ran.
        outcome: Outcome,
    },
    /// The proxy came in a message, and this process has not got the actor's key. Once it has, by
    /// [connecting](crate::Connect) or from its [credentials](crate::credentials()), the next call
    /// is made.
    #[error("the actor lets nobody in without its key")]
    Auth {
        /// Which key is missing.
        #[source]
        why: AuthError,
        /// Whether the call ran.
        outcome: Outcome,
    },
    /// The actor's process broke the rules of the link, which is closed.
    #[error("the link to the actor is closed: {reason}")]
    Corrupt {
        /// What it did.
        reason: String,
        /// Whether the call ran.
        outcome: Outcome,
    },
    /// The call would wait for itself: an actor cannot begin it before a method of its own has
    /// ended that waits for this call.
    ///
    /// Two actors that call each other at the same moment, each for a caller of its own, are no
    /// circle in either call's chain: where neither can begin, both wait as long as their bounds.
    #[error("{} would wait for each other", .chain.join(" -> "))]
    Cycle {
        /// Who waits for whom, by their names; the last is the first.
        chain: Vec<String>,
    },
    /// Too many actors wait for each other, one behind the other.
    #[error("more than {DEPTH_MAX} actors would wait, each for the next")]
    TooDeep,
    /// The actor's program has no such method.
    #[error("the actor's program has no method `{method}`")]
    UnknownMethod {
        /// The method's name.
        method: &'static str,
    },
    /// The actor's program was built with another signature of the method.
    #[error("the actor's program has another signature of `{method}`")]
    Schema {
        /// The method's name.
        method: &'static str,
    },
    /// The actor's mailbox was full, and is to fail calls then:
    /// [`Overflow::Fail`](crate::Overflow::Fail).
    #[error("the actor's mailbox had no room for `{method}`")]
    Full {
        /// The method's name.
        method: &'static str,
    },
    /// The actor's mailbox was full, and other calls were preferred to this one:
    /// [`Overflow::DropOldest`](crate::Overflow::DropOldest),
    /// [`Overflow::DropNewest`](crate::Overflow::DropNewest).
    #[error("the actor's full mailbox dropped `{method}`")]
    Dropped {
        /// The method's name.
        method: &'static str,
    },
    /// Too many streams are open between this process and the actor: the method was not run.
    #[error("more than {STREAMS_MAX} streams to and from one actor, with that of `{method}`")]
    TooManyStreams {
        /// The method's name.
        method: &'static str,
    },
    /// The arguments could not be sent.
    #[error("the arguments of `{method}` could not be sent")]
    Encode {
        /// The method's name.
        method: &'static str,
        /// Why.
        #[source]
        source: EncodeError,
    },
    /// The actor could not read the arguments.
    #[error("the actor could not read the arguments of `{method}`: {reason}")]
    Arguments {
        /// The method's name.
        method: &'static str,
        /// What it said.
        reason: String,
    },
    /// The method ran, and its result could not be sent.
    #[error("the result of `{method}` could not be sent: {reason}")]
    Result {
        /// The method's name.
        method: &'static str,
        /// What the actor said.
        reason: String,
    },
    /// The actor's hook `#[on_start]` returned an error. Whoever starts the actor is told, as
    /// [`SpawnError::Start`](crate::SpawnError::Start); no call of a method fails so.
    #[doc(hidden)]
    #[error("the actor did not start: {reason}")]
    Start {
        /// What the error said.
        reason: String,
    },
    /// The method ran, and its result could not be read.
    #[error("the result of `{method}` could not be read")]
    Decode {
        /// The method's name.
        method: &'static str,
        /// Why.
        #[source]
        source: DecodeError,
    },
}

impl<E> CallError<E> {
    /// What is known about whether the method ran.
    ///
    /// # Examples
    /// ```
    /// use callboard::{CallError, Outcome};
    ///
    /// let error: CallError = CallError::UnknownMethod { method: "add" };
    /// assert_eq!(error.outcome(), Outcome::NotRun);
    /// ```
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Actor(_)
            | Self::Panicked(_)
            | Self::Result { .. }
            | Self::Start { .. }
            | Self::Decode { .. } => Outcome::Ran,
            Self::UnknownMethod { .. }
            | Self::Schema { .. }
            | Self::Full { .. }
            | Self::Dropped { .. }
            | Self::Encode { .. }
            | Self::TooManyStreams { .. }
            | Self::Cycle { .. }
            | Self::TooDeep
            | Self::Arguments { .. } => Outcome::NotRun,
            Self::Died { outcome, .. }
            | Self::Stopped { outcome }
            | Self::Timeout { outcome, .. }
            | Self::Unreachable { outcome, .. }
            | Self::Auth { outcome, .. }
            | Self::Corrupt { outcome, .. } => *outcome,
        }
    }

    /// The same error for a call without an own one, which this is not.
    pub(crate) fn without_own(self) -> CallError {
        match self {
            Self::Actor(_) => unreachable!("an own error was dealt with before"),
            Self::Panicked(report) => CallError::Panicked(report),
            Self::Died { death, outcome } => CallError::Died { death, outcome },
            Self::Stopped { outcome } => CallError::Stopped { outcome },
            Self::Timeout { after, outcome } => CallError::Timeout { after, outcome },
            Self::Unreachable { why, outcome } => CallError::Unreachable { why, outcome },
            Self::Auth { why, outcome } => CallError::Auth { why, outcome },
            Self::Corrupt { reason, outcome } => CallError::Corrupt { reason, outcome },
            Self::Cycle { chain } => CallError::Cycle { chain },
            Self::TooDeep => CallError::TooDeep,
            Self::UnknownMethod { method } => CallError::UnknownMethod { method },
            Self::Schema { method } => CallError::Schema { method },
            Self::Full { method } => CallError::Full { method },
            Self::Dropped { method } => CallError::Dropped { method },
            Self::TooManyStreams { method } => CallError::TooManyStreams { method },
            Self::Encode { method, source } => CallError::Encode { method, source },
            Self::Arguments { method, reason } => CallError::Arguments { method, reason },
            Self::Result { method, reason } => CallError::Result { method, reason },
            Self::Start { reason } => CallError::Start { reason },
            Self::Decode { method, source } => CallError::Decode { method, source },
        }
    }

    /// The error of a call that the end of its link left without an answer; none: the peer is
    /// silent.
    pub(crate) fn ended(ended: Option<&Ended>, outcome: Outcome) -> Self {
        match ended {
            Some(Ended::Died(death)) => Self::Died {
                death: death.clone(),
                outcome,
            },
            Some(Ended::Stopped) => Self::Stopped { outcome },
            Some(Ended::Corrupt(reason)) => Self::Corrupt {
                reason: reason.clone(),
                outcome,
            },
            Some(Ended::Unreachable(why)) => Self::Unreachable { why: *why, outcome },
            Some(Ended::Auth(why)) => Self::Auth {
                why: why.clone(),
                outcome,
            },
            None => Self::Unreachable {
                why: Unreached::Still,
                outcome,
            },
        }
    }
}

/// Why a call was not made at once. It gives the call back, so that nothing is lost.
///
/// # Examples
/// ```
/// use callboard::TryCallError;
///
/// fn is_full<C>(error: &TryCallError<C>) -> bool {
///     matches!(error, TryCallError::Full(_))
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryCallError<C, E = Infallible> {
    /// The call would have to wait for room; here it is again.
    #[error("the actor's link is full")]
    Full(C),
    /// The call cannot be made.
    #[error(transparent)]
    Failed(CallError<E>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A death reads as one line: what is known best is said, and no more than fits.
    #[test]
    fn deaths_read_well() {
        let death = |report, stderr: Option<&str>| {
            let stderr = stderr.map(str::to_owned);
            Death::new(7, Exit::Code(3), report, stderr).to_string()
        };
        assert_eq!(death(None, None), "process 7 ended with exit code 3");
        assert_eq!(death(None, Some("\n \n")), death(None, None));
        assert_eq!(
            death(None, Some("first\nno \"luck\"\n\n")),
            r#"process 7 ended with exit code 3, its last words: "no \"luck\"""#
        );
        let long = death(None, Some(&"\u{e4}".repeat(1000)));
        assert_eq!(long.matches('\u{e4}').count(), LAST_LINE_MAX);
        let report = PanicReport::new("oh".into(), None);
        assert_eq!(
            death(Some(report), Some("noise")),
            "process 7 ended with exit code 3 after a panic: \"oh\""
        );
    }
}
