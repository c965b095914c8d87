//! What happens to an actor, told to whoever wants to know.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::being::Being;
use super::census::Life;
use super::output::Tails;
use crate::proxy::failure::Death;

/// Events that a monitor which is not asked keeps; of more, the oldest are counted only.
const EVENTS_MAX: usize = 64;

/// Something that happened to an actor, as its [`Monitor`] tells.
///
/// # Examples
/// ```
/// use callboard::{DownReason, LifeEvent};
///
/// fn describe(event: &LifeEvent) -> String {
///     match event {
///         LifeEvent::Up { process_id, .. } => format!("process {process_id} lives"),
///         LifeEvent::Down(DownReason::Stopped) => "stopped in order".into(),
///         LifeEvent::Down(DownReason::Died(death)) => format!("died: {death}"),
///         _ => "something else".into(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifeEvent {
    /// It lives: the first event of one that does, and again after each restart.
    #[non_exhaustive]
    Up {
        /// Its process.
        process_id: u32,
        /// How often it was started again.
        restarts: u64,
    },
    /// It has ended. Of an actor that is not [supervised](crate::supervision), this is the last.
    Down(DownReason),
    /// So many events came, and were not asked for in time.
    Missed(u64),
}

/// Why an actor is no more.
///
/// # Examples
/// ```
/// use callboard::DownReason;
///
/// fn is_fine(reason: &DownReason) -> bool {
///     matches!(reason, DownReason::Stopped)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// It was asked to end, and ended in order.
    #[error("the actor was stopped")]
    Stopped,
    /// Anything else.
    #[error("the actor died")]
    Died(#[source] Death),
}

/// The events of an actor's life, from [`Proxy::monitor`](crate::Proxy::monitor): a stream.
///
/// It keeps nobody alive, and ends when nothing more can happen.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::{DownReason, LifeEvent};
///
/// pub struct Mayfly;
///
/// #[actor]
/// impl Mayfly {
///     pub fn new() -> Self { Self }
///     pub fn fall(&self) { std::process::abort() }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let mayfly = Mayfly::spawn().await?;
///     let mut monitor = mayfly.monitor();
///     assert!(matches!(monitor.next().await, Some(LifeEvent::Up { .. })));
///     assert!(mayfly.fall().await.is_err());
///     assert!(matches!(monitor.down().await, Some(DownReason::Died(_))));
///     assert_eq!(monitor.next().await, None);
///     Ok(())
/// }
/// ```
#[must_use = "a monitor tells only who asks it"]
pub struct Monitor(Pin<Box<dyn Stream<Item = LifeEvent> + Send>>);

impl Monitor {
    fn new(events: impl Stream<Item = LifeEvent> + Send + 'static) -> Self {
        Self(Box::pin(events))
    }

    /// Of one actor, which lives once.
    pub(super) fn of_one(life: Life, tails: Tails) -> Self {
        let lives = life.being.exit().is_none();
        let up = lives.then(|| LifeEvent::Up {
            process_id: life.being.pid(),
            restarts: 0,
        });
        let up = stream::iter(up);
        if let Being::Itself(_) = life.being {
            // Nobody sees his own end.
            return Self::new(up);
        }
        let down = async move {
            let exit = life.exited().await;
            let death = || life.being.death(&life.exchange, &tails, exit);
            LifeEvent::Down(DownReason::new(life.exchange.was_stopped(exit), death))
        };
        Self::new(up.chain(stream::once(down)))
    }

    /// The next event; none: there will be none.
    ///
    /// # Cancel safety
    /// No event is lost.
    pub async fn next(&mut self) -> Option<LifeEvent> {
        self.0.next().await
    }

    /// The reason of the next end; none: there will be none.
    ///
    /// # Cancel safety
    /// An event that came before the end may be gone.
    pub async fn down(&mut self) -> Option<DownReason> {
        loop {
            if let LifeEvent::Down(reason) = self.next().await? {
                return Some(reason);
            }
        }
    }
}

impl Stream for Monitor {
    type Item = LifeEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LifeEvent>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl DownReason {
    pub(crate) fn new(stopped: bool, death: impl FnOnce() -> Death) -> Self {
        if stopped {
            Self::Stopped
        } else {
            Self::Died(death())
        }
    }
}

/// Tells the monitors of one actor what happens; when it is dropped, nothing more will.
#[derive(Debug)]
pub(crate) struct Teller(broadcast::Sender<LifeEvent>);

impl Teller {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(EVENTS_MAX))
    }

    pub(crate) fn tell(&self, event: LifeEvent) {
        // Nobody may be listening.
        let _ = self.0.send(event);
    }

    /// A monitor that first tells `now`, and then what comes.
    pub(crate) fn monitor(&self, now: LifeEvent) -> Monitor {
        let events = stream::unfold(self.0.subscribe(), async |mut events| {
            let event = match events.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(count)) => LifeEvent::Missed(count),
                Err(RecvError::Closed) => return None,
            };
            Some((event, events))
        });
        Monitor::new(stream::iter([now]).chain(events))
    }
}

/// A monitor of what is over.
pub(crate) fn over(last: LifeEvent) -> Monitor {
    Monitor::new(stream::iter([last]))
}
