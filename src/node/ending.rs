//! How an actor's end is told: to its callers, and to whoever asked for it.

use std::time::Duration;

use super::handle::{Handle, Owner};
use super::output::Tails;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::{CallError, Death, Ended};
use crate::sys::process::Exit;
use crate::wire::interface::ASK;
use crate::wire::report::PanicReport;

/// How a process's end is told to its callers. Runs on the warden's thread.
pub(crate) fn report_end(exchange: &Exchange, tails: &Tails, (pid, exit): (u32, Exit)) {
    let ended = if exchange.was_stopped(exit) {
        Ended::Stopped
    } else {
        Ended::Died(death(exchange, tails, (pid, exit)))
    };
    exchange.end(ended);
}

/// All that is known about the end of a process.
pub(crate) fn death(exchange: &Exchange, tails: &Tails, (pid, exit): (u32, Exit)) -> Death {
    let panicked = matches!(
        exit,
        Exit::Code(PANIC_CODE)
            | Exit::Signal {
                number: libc::SIGABRT,
                ..
            }
    );
    let words = if panicked {
        exchange.board.read_last_words()
    } else {
        None
    };
    let report = words.map(|words| parse_last_words(&words));
    Death::new(pid, exit, report, tails.last_error())
}

/// The exit code of a process whose actor panicked, as Rust's own.
pub(crate) const PANIC_CODE: i32 = 101;

/// A report as a dying process leaves it: plain bytes, for it may die of having no memory.
pub(crate) fn last_words(report: &PanicReport) -> Vec<u8> {
    let mut words = report.location().unwrap_or_default().as_bytes().to_vec();
    words.push(0);
    words.extend_from_slice(report.message().as_bytes());
    words
}

fn parse_last_words(words: &[u8]) -> PanicReport {
    let end = words.iter().position(|byte| *byte == 0).unwrap_or(0);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let location = (end > 0).then(|| text(&words[..end]));
    PanicReport::new(text(words.get(end + 1..).unwrap_or_default()), location)
}

/// An actor did not end as it was asked to.
///
/// # Examples
/// ```
/// fn was_killed(error: &callboard::ShutdownError) -> bool {
///     matches!(error, callboard::ShutdownError::Killed { .. })
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// It had not ended when its grace was over, and was killed.
    #[error("the actor did not end within {grace:?} and was killed")]
    Killed {
        /// The time it had.
        grace: Duration,
    },
    /// It died before or meanwhile.
    #[error("the actor died")]
    Died(#[source] Death),
    /// A [connected](crate::Connect) proxy could not ask for the actor's end.
    #[error("the actor's owner could not be asked to end it")]
    NotAsked(#[source] Box<CallError>),
    /// A [connected](crate::Connect) proxy has asked for the actor's end, and its hook
    /// `#[on_end_asked]` has said no.
    #[error("the actor does not end for who asked: {reason}")]
    Refused {
        /// What the hook's error said of itself and its causes.
        reason: String,
    },
    /// Its hook `#[on_exit]` returned an error at the end of a scope; then it ended in order.
    #[error("the actor's scope did not end well: {reason}")]
    Exit {
        /// What the error said of itself and its causes.
        reason: String,
    },
}

impl Handle {
    /// Ends the actor: what it was sent is done, then its process ends, or is killed after its
    /// grace.
    ///
    /// # Errors
    /// [`ShutdownError`] when it ended otherwise.
    ///
    /// # Cancel safety
    /// Dropped, the actor ends all the same.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        let life = &self.life().present();
        if life.being.is_foreign() {
            return self.ask().await;
        }
        life.ask_to_stop();
        match life.exited().await {
            Exit::Code(0) => Ok(()),
            _ if life.being.is_overdue() => Err(ShutdownError::Killed { grace: life.grace }),
            exit => {
                let Owner { tails, .. } = self.owner();
                let death = life.being.death(&life.exchange, tails, exit);
                Err(ShutdownError::Died(death))
            }
        }
    }

    /// Asks whoever owns the actor to end it.
    async fn ask(&self) -> Result<(), ShutdownError> {
        match self.call_fallible::<(), (), String>(ASK, ()).await {
            // It has ended in the meantime.
            Ok(()) | Err(CallError::Stopped { .. }) => Ok(()),
            Err(CallError::Actor(reason)) => Err(ShutdownError::Refused { reason }),
            Err(error) => Err(ShutdownError::NotAsked(Box::new(error.without_own()))),
        }
    }

    /// All that is known about its end by `exit`.
    pub(crate) fn death(&self, exit: Exit) -> Death {
        let Owner { life, tails, .. } = self.owner();
        life.being.death(&life.exchange, tails, exit)
    }
}
