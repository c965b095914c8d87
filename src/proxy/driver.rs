//! The task that waits for a link's bell, so that no caller depends on another one being polled.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::exchange::Exchange;
use super::failure::Ended;
use crate::transport::bell::Ear;
use crate::transport::board::Side;
use crate::transport::spin::{Next, Vigil};
use crate::transport::unreached::Unreached;

/// Who looks for the answers of calls that sleep.
pub(super) struct Lookout {
    /// The [driver](drive), where there is one.
    task: AtomicWaker,
    /// Whoever answers, in the same process, brings the answers.
    is_needless: bool,
}

impl Lookout {
    /// A driver that is still to come.
    pub(super) fn driver() -> Self {
        Self {
            task: AtomicWaker::new(),
            is_needless: false,
        }
    }

    /// Nobody: the answers are brought.
    pub(super) fn none() -> Self {
        Self {
            is_needless: true,
            ..Self::driver()
        }
    }

    /// Has the task, which this is, woken when it is to look.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Has the task look.
    pub(super) fn wake(&self) {
        self.task.wake();
    }

    /// Whether nobody needs to look: the answers are brought.
    #[inline]
    pub(super) fn is_needless(&self) -> bool {
        self.is_needless
    }
}

/// Serves `exchange` until its link ends. Dropped before that, it ends the link.
pub(crate) fn drive(exchange: Arc<Exchange>, ear: Ear) -> impl Future<Output = ()> + Send {
    // Made here and not at the first poll, which never comes where the runtime ends before.
    let mut driver = Driver { exchange, ear };
    let mut vigil = Vigil::default();
    poll_fn(move |cx| driver.poll(cx, &mut vigil))
}

struct Driver {
    exchange: Arc<Exchange>,
    ear: Ear,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>, vigil: &mut Vigil) -> Poll<()> {
        self.exchange.register_driver(cx);
        loop {
            if self.exchange.is_over() {
                return Poll::Ready(());
            }
            let rung = match self.ear.poll_rung(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => false,
            };
            if rung {
                self.exchange.room_freed();
            }
            match self.exchange.turn(vigil) {
                Turn::Again => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::Idle if rung => {}
                Turn::Idle => return Poll::Pending,
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // After the link's own end this changes nothing: the first cause stays.
        self.exchange.end(Ended::Unreachable(Unreached::NoRuntime));
    }
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Let other tasks run, then come back.
    Again,
    /// Wait for the bell.
    Idle,
}

impl Exchange {
    /// One turn of the driver; see [`drive`].
    fn turn(self: &Arc<Self>, vigil: &mut Vigil) -> Turn {
        let mut held = self.lock();
        self.drain(&mut held, None);
        let is_answered = held.outbox.say_due();
        if !held.state.is_awaited() {
            // Memory that is used no more is let go by the peer, and told, though nobody calls.
            let listens = held.state.receiver.listens();
            if listens && !std::mem::replace(&mut held.state.watched, true) {
                drop(held);
                self.watch();
                return Turn::Again;
            }
            // Answers that nobody waits for any more are taken in too: the peer may wait for their
            // room.
            if !held.state.receiver.is_empty() {
                held.state.driver_awake = true;
                return Turn::Again;
            }
            if held.state.receiver.freed() {
                held.outbox.ring();
            }
            // An actor that ends may still answer what nobody waits for, and must find room for it.
            let hears = self.is_stopping() || is_answered;
            held.state.driver_awake = hears && !held.state.receiver.doze();
            if held.state.driver_awake {
                return Turn::Again;
            }
            return Turn::Idle;
        }
        // While senders wait for room, only the bell brings news of it.
        let plan = if self.sender.is_waited_on() {
            None
        } else {
            held.state.spin.plan()
        };
        if let Some(plan) = plan {
            held.state.driver_awake = true;
            drop(held);
            let next = plan.look(vigil, (&self.board, Side::Caller), || {
                self.glance.is_promising()
            });
            held = self.lock();
            held.state.spin.learn(vigil);
            if next != Next::Sleep {
                if next == Next::Look {
                    held.state.spin.found(vigil);
                    self.drain(&mut held, None);
                }
                return Turn::Again;
            }
        }
        if held.state.receiver.freed() {
            held.outbox.ring();
        }
        held.state.driver_awake = !held.state.receiver.doze();
        if held.state.driver_awake {
            Turn::Again
        } else {
            Turn::Idle
        }
    }

    /// Has the driver woken when it is to look.
    fn register_driver(&self, cx: &Context<'_>) {
        self.lookout.register(cx);
    }

    /// The bell has rung: there may be room again.
    fn room_freed(&self) {
        self.sender.room_freed();
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}
