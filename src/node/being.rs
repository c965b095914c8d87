//! What an actor lives as: a process of its own, or a task of this one.

use std::time::Duration;

use super::leash::Leash;
use super::output::Tails;
use super::ward::Ward;
use crate::actor::signals::Signals;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Death;
use crate::sys::process::Exit;

/// A started actor in the hands of those who use it; dropping it does nothing to the actor.
#[derive(Clone, Debug)]
pub(crate) enum Being {
    /// Started by [`Spawn`](super::spawn::Spawn).
    Process(Ward),
    /// Started by [`Local`](super::local::Local).
    Task(Leash),
    /// The actor that holds it, which sees no end of its own.
    Itself(Signals),
}

impl Being {
    /// The number of the process in which it lives.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Process(ward) => ward.pid(),
            Self::Task(_) | Self::Itself(_) => std::process::id(),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self {
            Self::Process(ward) => ward.exit(),
            Self::Task(leash) => leash.exit(),
            Self::Itself(_) => None,
        }
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    /// Nothing is lost; the end is told to each who asks.
    pub(crate) async fn exited(&self) -> Exit {
        match self {
            Self::Process(ward) => ward.exited().await,
            Self::Task(leash) => leash.exited().await,
            // It is asked to end, or lives: nobody waits for his own end.
            Self::Itself(_) => Exit::Code(0),
        }
    }

    /// Asks it to end, and ends it after `grace`; asked again, only a shorter grace counts.
    pub(crate) fn stop(&self, grace: Duration) {
        match self {
            Self::Process(ward) => ward.stop(grace),
            Self::Task(leash) => leash.stop(grace),
            Self::Itself(signals) => signals.stop(),
        }
    }

    /// Ends it now.
    pub(crate) fn kill(&self) {
        match self {
            Self::Process(ward) => ward.kill(),
            Self::Task(leash) => leash.kill(),
            Self::Itself(signals) => signals.stop(),
        }
    }

    /// Whether it ended because it had no time left to end by itself.
    pub(crate) fn is_overdue(&self) -> bool {
        match self {
            Self::Process(ward) => ward.is_overdue(),
            Self::Task(leash) => leash.is_overdue(),
            Self::Itself(_) => false,
        }
    }

    /// All that is known about its end by `exit`.
    pub(crate) fn death(&self, exchange: &Exchange, tails: &Tails, exit: Exit) -> Death {
        match self {
            Self::Process(ward) => super::handle::death(exchange, tails, (ward.pid(), exit)),
            Self::Task(leash) => leash.death(exit),
            Self::Itself(_) => Death::new(self.pid(), exit, None, None),
        }
    }
}
