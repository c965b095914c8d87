//! What an actor lives as: a process of its own, or a task of this one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::census::Life;
use super::forward::HandOnError;
use super::leash::Leash;
use super::monitor::Monitor;
use super::output::Tails;
use super::remote::tie::Tie;
use super::ward::Ward;
use crate::actor::signals::Signals;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Death;
use crate::sys::process::Exit;
use crate::transport::link_kind::LinkKind;
use crate::wire::passport::Passport;

/// A started actor in the hands of those who use it; dropping it does nothing to the actor.
#[derive(Clone, Debug)]
pub(crate) enum Being {
    /// Started by [`Spawn`](super::spawn::Spawn).
    Process(Ward),
    /// Started by [`Local`](super::local::Local).
    Task(Leash),
    /// The actor that holds it, which sees no end of its own.
    Itself(Signals),
    /// Started by another program, and [connected](crate::Connect) to.
    Remote(Tie),
    /// Several that are called as one.
    Many(Arc<dyn Group>),
}

/// Several actors that live and end together; see [`Being`].
pub(crate) trait Group: fmt::Debug + Send + Sync {
    /// The number of the process of one of them.
    fn pid(&self) -> u32;
    /// How they ended, if all have: as the first that did not end in order.
    fn exit(&self) -> Option<Exit>;
    /// Waits for the end of all.
    fn exited(&self) -> Pin<Box<dyn Future<Output = Exit> + Send>>;
    /// Waits until somebody who does not own them has asked for their end, or that has come.
    fn asked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let exited = self.exited();
        Box::pin(async move {
            exited.await;
        })
    }
    /// Asks all to end, each within its own grace.
    fn stop(&self);
    /// Ends all now, for good.
    fn kill(&self);
    /// Ends all now, whoever may follow.
    fn strike(&self) {
        self.kill();
    }
    /// Whether one of them had no time left to end by itself.
    fn is_overdue(&self) -> bool;
    /// What is known about the end of the one that ended by `exit`.
    fn death(&self, exit: Exit) -> Death;
    /// Whether there is somebody to call just now.
    fn is_alive(&self) -> bool {
        self.exit().is_none()
    }
    /// Whether somebody else than the proxies keeps it alive.
    fn is_kept(&self) -> bool {
        false
    }
    /// What happens to it, if it tells more than its end.
    fn monitor(&self) -> Option<Monitor> {
        None
    }
    /// Of an actor that is known here by its proxy's way, and not by who started it: how it is
    /// reached now.
    fn present(&self) -> Option<Life> {
        None
    }
    /// Whether it belongs to another process, which decides about its end.
    fn is_foreign(&self) -> bool {
        false
    }
    /// What a link to it goes over, if that is not said when the proxy is made.
    fn link(&self) -> Option<LinkKind> {
        None
    }
    /// What of its proxy travels in a message.
    ///
    /// # Errors
    /// [`HandOnError::Several`], unless it is one.
    fn passport(&self) -> Result<Passport, HandOnError> {
        Err(HandOnError::Several)
    }
}

impl Being {
    /// The number of the process in which it lives.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Process(ward) => ward.pid(),
            Self::Task(_) | Self::Itself(_) => std::process::id(),
            Self::Remote(tie) => tie.pid(),
            Self::Many(group) => group.pid(),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self {
            Self::Process(ward) => ward.exit(),
            Self::Task(leash) => leash.exit(),
            Self::Itself(_) => None,
            Self::Remote(tie) => tie.exit(),
            Self::Many(group) => group.exit(),
        }
    }

    /// Whether it lives.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Self::Many(group) => group.is_alive(),
            _ => self.exit().is_none(),
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
            Self::Remote(tie) => tie.exited().await,
            Self::Many(group) => group.exited().await,
        }
    }

    /// Waits until somebody who does not own it has asked for its end, or that has come.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn asked(&self) {
        match self {
            Self::Process(ward) => ward.asked().await,
            Self::Task(leash) => leash.asked().await,
            // Only its owner calls it, or whoever has it from its owner.
            Self::Remote(tie) => drop(tie.exited().await),
            Self::Many(group) => group.asked().await,
            Self::Itself(_) => {}
        }
    }

    /// Whether somebody who does not own it has asked for its end.
    pub(crate) fn was_asked(&self) -> bool {
        match self {
            Self::Process(ward) => ward.was_asked(),
            Self::Task(leash) => leash.was_asked(),
            Self::Itself(_) | Self::Remote(_) | Self::Many(_) => false,
        }
    }

    /// Asks it to end, and ends it after `grace`; asked again, only a shorter grace counts. Of one
    /// that belongs to another program only the connection ends, when all is out that was sent.
    pub(crate) fn stop(&self, grace: Duration) {
        match self {
            Self::Process(ward) => ward.stop(grace),
            Self::Task(leash) => leash.stop(grace),
            Self::Itself(signals) => signals.stop(),
            Self::Remote(tie) => tie.hang_up(),
            Self::Many(group) => group.stop(),
        }
    }

    /// Ends it now; of one that belongs to another program, the connection.
    pub(crate) fn kill(&self) {
        match self {
            Self::Process(ward) => ward.kill(),
            Self::Task(leash) => leash.kill(),
            Self::Itself(signals) => signals.stop(),
            Self::Remote(tie) => tie.cut(),
            Self::Many(group) => group.kill(),
        }
    }

    /// Ends its present life now: if somebody is to follow who dies, somebody follows.
    pub(crate) fn strike(&self) {
        match self {
            Self::Many(group) => group.strike(),
            _ => self.kill(),
        }
    }

    /// Whether it belongs to another process, which decides about its end.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Process(_) | Self::Task(_) | Self::Itself(_) => false,
            Self::Remote(_) => true,
            Self::Many(group) => group.is_foreign(),
        }
    }

    /// What a link to it goes over, if that is not said when the proxy is made.
    pub(crate) fn link(&self) -> Option<LinkKind> {
        match self {
            Self::Many(group) => group.link(),
            _ => None,
        }
    }

    /// Whether it ended because it had no time left to end by itself.
    pub(crate) fn is_overdue(&self) -> bool {
        match self {
            Self::Process(ward) => ward.is_overdue(),
            Self::Task(leash) => leash.is_overdue(),
            Self::Itself(_) | Self::Remote(_) => false,
            Self::Many(group) => group.is_overdue(),
        }
    }

    /// Whether it lives on when nobody has a proxy any more.
    pub(crate) fn is_kept(&self) -> bool {
        match self {
            Self::Process(_) | Self::Task(_) | Self::Remote(_) => false,
            // An actor's own proxies keep nobody alive.
            Self::Itself(_) => true,
            Self::Many(group) => group.is_kept(),
        }
    }

    /// All that is known about its end by `exit`.
    pub(crate) fn death(&self, exchange: &Exchange, tails: &Tails, exit: Exit) -> Death {
        match self {
            Self::Process(ward) => super::ending::death(exchange, tails, (ward.pid(), exit)),
            Self::Task(leash) => leash.death(exit),
            Self::Itself(_) => Death::new(self.pid(), exit, None, None),
            Self::Remote(tie) => tie.death(exit),
            Self::Many(group) => group.death(exit),
        }
    }
}
