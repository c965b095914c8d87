//! The task that waits for a link's bell, so that no caller depends on another one being polled.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::exchange::{Exchange, Turn};
use super::failure::Ended;
use crate::transport::bell::Ear;
use crate::transport::spin::Vigil;

/// How often a peer that owes answers is looked at.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// After how many looks in a row at a stopped peer the calls in flight are given up: the bound of
/// `Unreachable` is this many periods.
const STOPPED_MAX: u32 = 3;

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
        self.exchange.driver().register(cx.waker());
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
