//! The task that waits for a link's bell, so that no caller depends on another one being polled.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep};

use super::exchange::Exchange;
use super::failure::{Ended, Outcome};
use super::timer::usual_looks;
use crate::transport::bell::Ear;
use crate::transport::board::Side;
use crate::transport::spin::{Next, Vigil};

/// How often a peer that owes answers is looked at.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// After how many looks in a row at a stopped peer the calls in flight are given up: the bound of
/// `Unreachable` is this many periods.
const STOPPED_MAX: u32 = 3;

/// Who looks for the answers of calls that sleep.
pub(super) struct Lookout {
    /// The [driver](drive), or where the ringer looks the [clock](keep_time): a task.
    task: AtomicWaker,
    /// Whoever rings our bell, in the same process, takes the answers in.
    is_ringer: bool,
}

impl Lookout {
    /// A driver that is still to come.
    pub(super) fn driver() -> Self {
        Self {
            task: AtomicWaker::new(),
            is_ringer: false,
        }
    }

    /// Whoever rings.
    pub(super) fn ringer() -> Self {
        Self {
            is_ringer: true,
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

    #[inline]
    pub(super) fn is_ringer(&self) -> bool {
        self.is_ringer
    }
}

/// Looks at the clock for the calls on a link that needs no driver, until it ends.
pub(crate) fn keep_time(exchange: Arc<Exchange>) -> impl Future<Output = ()> + Send {
    // Made here for the reason that `drive` has.
    let mut watch = Watch::new();
    poll_fn(move |cx| {
        exchange.register_driver(cx);
        if exchange.is_over() {
            return Poll::Ready(());
        }
        watch.poll(cx, exchange.is_watched(), &exchange);
        Poll::Pending
    })
}

/// Serves `exchange` until its link ends. Dropped before that, it ends the link.
pub(crate) fn drive(exchange: Arc<Exchange>, ear: Ear) -> impl Future<Output = ()> + Send {
    // Made here and not at the first poll, which never comes where the runtime ends before.
    let driver = Driver { exchange, ear };
    let mut vigil = Vigil::default();
    let mut watch = Watch::new();
    poll_fn(move |cx| driver.poll(cx, &mut vigil, &mut watch))
}

struct Driver {
    exchange: Arc<Exchange>,
    ear: Ear,
}

impl Driver {
    fn poll(&self, cx: &mut Context<'_>, vigil: &mut Vigil, watch: &mut Watch) -> Poll<()> {
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
                    watch.poll(cx, true, &self.exchange);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::Idle { watched } => {
                    watch.poll(cx, watched, &self.exchange);
                    if !rung {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // After the link's own end this changes nothing: the first cause stays.
        self.exchange.end(Ended::NoRuntime);
    }
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Let other tasks run, then come back.
    Again,
    /// Wait for the bell, and if watched for the clock.
    Idle {
        /// Calls are in flight.
        watched: bool,
    },
}

impl Exchange {
    /// One turn of the driver; see [`drive`].
    fn turn(&self, vigil: &mut Vigil) -> Turn {
        let mut held = self.lock();
        self.drain(&mut held, None);
        let is_answered = held.outbox.say_due();
        if held.state.in_flight.parked() == 0 && held.state.queue.is_empty() {
            // Memory that is used no more is let go by the peer, and told, though nobody calls.
            held.state.watched |= held.state.receiver.listens();
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
            return Turn::Idle {
                watched: held.state.watched,
            };
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
            Turn::Idle {
                watched: held.state.watched,
            }
        }
    }

    /// Whether the clock is to be looked at.
    fn is_watched(&self) -> bool {
        self.lock().state.watched
    }

    /// Has the driver woken when it is to look.
    fn register_driver(&self, cx: &Context<'_>) {
        self.lookout.register(cx);
    }

    /// The bell has rung: there may be room again.
    fn room_freed(&self) {
        self.sender.room_freed();
    }

    /// Another look at the clock after `period`: ends what has waited for the usual time. Whether
    /// the driver shall go on watching.
    fn keep_watching(&self, period: Duration) -> bool {
        let mut held = self.lock();
        let core = &mut held.state;
        core.looks = core.looks.wrapping_add(1);
        if let Some(usual) = usual_looks(period) {
            let now = (core.looks, usual);
            let cancel = |call| {
                let is_withdrawn = self.board.withdraw(call);
                self.board.cancel(call);
                if is_withdrawn {
                    Outcome::NotRun
                } else {
                    Outcome::MayHaveRun
                }
            };
            let wakers = core.in_flight.lose_late(now, period, cancel);
            if !wakers.is_empty() {
                core.queue.wake_first();
            }
            if core.queue.lose_late(now, period) {
                self.late.notify_waiters();
            }
            wakers.into_iter().for_each(Waker::wake);
        }
        held.state.watched = held.state.in_flight.waiting() > 0 || !held.state.queue.is_empty();
        if !held.state.watched && held.state.receiver.listens() {
            // Nothing has been called for a while: what the peer lets go of is to be rung for.
            self.doze(&mut held);
        }
        held.state.watched
    }
}

/// Looks once a second, while calls are in flight, whether the peer is stopped and who waits too
/// long.
struct Watch {
    /// Made once, with the link, and set again: no call allocates it.
    clock: Pin<Box<Sleep>>,
    is_on: bool,
    stopped: u32,
}

impl Watch {
    fn new() -> Self {
        let clock = Box::pin(sleep(WATCH_PERIOD));
        Self {
            clock,
            is_on: false,
            stopped: 0,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, watched: bool, exchange: &Exchange) {
        if !watched && !self.is_on {
            return;
        }
        let clock = &mut self.clock;
        if !std::mem::replace(&mut self.is_on, true) {
            clock.as_mut().reset(Instant::now() + WATCH_PERIOD);
        }
        while clock.as_mut().poll(cx).is_ready() {
            if !exchange.keep_watching(WATCH_PERIOD) {
                self.is_on = false;
                self.stopped = 0;
                return;
            }
            self.stopped = if exchange.is_peer_stopped() {
                self.stopped + 1
            } else {
                0
            };
            if self.stopped >= STOPPED_MAX {
                exchange.give_up_waiting();
            }
            clock.as_mut().reset(Instant::now() + WATCH_PERIOD);
        }
    }
}
