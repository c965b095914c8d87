//! Who carries a stream on: a task on the links' thread, or one in the owner's runtime.
//!
//! ```text
//!            much to carry, or the owner does not look for a while
//!   owner's task ─────────────────────────────────────────────> links' task
//!                <─────────────────────────────────────────────
//!            little to carry, and the owner waits
//! ```
//!
//! What the owner's own task reads wakes no other thread, which is most of what a small call takes.
//! But an owner that computes reads nothing, and sends no sign of life: so the links' thread keeps
//! the beat, looks now and then whether the owner's task does, and takes over from it if not. And
//! blobs, and many small frames at once, are better read and opened beside the owner than by it.
//!
//! A stream that is not portable is carried by the links' task alone.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::board::Side;
use super::carried::Carried;
use super::stream::Conduit;
use super::traffic::State;
use super::unreached::Unreached;
use crate::sys::clock;

/// How often it is looked whether the owner's task does, while something comes.
const TICK: Duration = Duration::from_millis(10);

/// How long little must have been on its way before the owner's task has its turn again, in
/// nanoseconds.
const CALM: u64 = 20_000_000;

/// Who carries on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The task on the links' thread.
    Links,
    /// The task in the owner's runtime.
    Owner,
}

/// Whose turn it is, and who may have one.
#[derive(Debug)]
pub(super) struct Turns {
    carrier: Carrier,
    /// The links' task's and the owner's, once they run.
    wakers: [Option<Waker>; 2],
    /// The owner's task has no turn before this.
    calm_from: u64,
    /// How long that is after the last time that there was much.
    calm: u64,
    /// How often the owner's task has looked.
    looks: u32,
    /// The links' task looks at that every [`TICK`].
    is_watched: bool,
    /// The stream has ended while the owner's task had its turn.
    has_ended: bool,
    /// The owner's task has no turn any more.
    stays: bool,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            carrier: Carrier::Links,
            wakers: [None, None],
            calm_from: 0,
            calm: CALM,
            looks: 0,
            is_watched: false,
            has_ended: false,
            stays: false,
        }
    }
}

impl Turns {
    pub(super) fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// The waker of the one who carries on, for somebody who writes in his place.
    pub(super) fn lend(&mut self) -> Option<(Carrier, Waker)> {
        let carrier = self.carrier;
        self.wakers[carrier as usize]
            .take()
            .map(|waker| (carrier, waker))
    }

    pub(super) fn give_back(&mut self, carrier: Carrier, waker: Waker) {
        self.wakers[carrier as usize] = Some(waker);
    }

    pub(super) fn wake(&self, carrier: Carrier) {
        if let Some(waker) = &self.wakers[carrier as usize] {
            waker.wake_by_ref();
        }
    }

    /// Takes all wakers: nobody has a turn any more.
    pub(super) fn end(&mut self) -> [Option<Waker>; 2] {
        std::mem::take(&mut self.wakers)
    }

    /// Whether there is an owner's task, and little has been on its way for a while.
    fn may_hand_over(&self) -> bool {
        let has_owner = self.wakers[Carrier::Owner as usize].is_some();
        has_owner && !self.stays && clock::now() >= self.calm_from
    }

    /// Has the owner's task take its turn whenever nothing is half-way.
    #[cfg(test)]
    pub(super) fn be_restless(&mut self) {
        self.calm = 0;
    }

    fn note(&mut self, carrier: Carrier, cx: &Context<'_>) {
        let waker = &mut self.wakers[carrier as usize];
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// Who wants something put out while a task carries: that has the lock for longer than others are
/// to wait for it.
#[derive(Debug, Default)]
pub(super) struct Kicks {
    is_carried: AtomicBool,
    is_kicked: AtomicBool,
}

impl Kicks {
    /// Whether a task carries that will put out what there is as soon as it lets go.
    pub(super) fn are_heeded(&self) -> bool {
        if !self.is_carried.load(Ordering::Relaxed) {
            return false;
        }
        // ORDERING: SeqCst on these two and on those of `Carrying`: either that one sees the kick,
        // or we see that nobody carries any more.
        self.is_kicked.store(true, Ordering::SeqCst);
        self.is_carried.load(Ordering::SeqCst)
    }
}

/// A task carries. Dropped, which is to be without the lock, it puts out what was kicked for.
pub(super) struct Carrying<'a, S: Carried>(&'a Conduit<S>);

impl<'a, S: Carried> Carrying<'a, S> {
    pub(super) fn new(conduit: &'a Conduit<S>) -> Self {
        // Relaxed: who does not see it waits for the lock.
        conduit.kicks.is_carried.store(true, Ordering::Relaxed);
        Self(conduit)
    }
}

impl<S: Carried> Drop for Carrying<'_, S> {
    fn drop(&mut self) {
        let Self(conduit) = self;
        // ORDERING: SeqCst on both, see `Kicks::are_heeded`.
        conduit.kicks.is_carried.store(false, Ordering::SeqCst);
        if conduit.kicks.is_kicked.swap(false, Ordering::SeqCst) {
            conduit.write_now(&mut conduit.lock());
        }
    }
}

/// How the links' task watches the owner's.
#[derive(Debug, Default)]
pub(super) struct Watch {
    tick: Option<Pin<Box<Sleep>>>,
    /// How often the owner's task had looked at the last tick.
    looks: u32,
}

impl<S: Carried> Conduit<S> {
    /// One turn of the links' task: ready when the stream has ended or cannot go on.
    pub(super) fn poll(&self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<()> {
        loop {
            let mut state = self.lock();
            state.turns.note(Carrier::Links, cx);
            if !has_beat(&mut state, cx) {
                return Poll::Ready(());
            }
            if state.turns.carrier == Carrier::Owner {
                if self.watch(&mut state, cx, watch).is_pending() {
                    return Poll::Pending;
                }
                self.take_over(&mut state);
            }
            watch.tick = None;
            let attached = match &mut state.stream {
                Some(stream) => stream.attach(),
                None => Ok(()),
            };
            if let Err(error) = attached {
                state.lost = Unreached::of(&error);
                return Poll::Ready(());
            }
            if state.turns.has_ended {
                return Poll::Ready(());
            }
            drop(state);
            if self.carry(cx, Carrier::Links).is_ready() {
                return Poll::Ready(());
            }
            let mut state = self.lock();
            // From its first moment on the owner's task is watched.
            if state.turns.carrier == Carrier::Owner {
                continue;
            }
            // A stream that has come just now has its first beat, too.
            if !has_beat(&mut state, cx) {
                return Poll::Ready(());
            }
            return Poll::Pending;
        }
    }

    /// Ready when the owner's task is not to have its turn any more.
    fn watch(&self, state: &mut State<S>, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<()> {
        // The beat may have been too much for the stream.
        let is_full = |stream: &mut S| Pin::new(stream).poll_flush(cx).is_pending();
        if state.stream.as_mut().is_some_and(is_full) {
            return Poll::Ready(());
        }
        let has_input = |state: &State<S>| state.stream.as_ref().is_some_and(Carried::has_input);
        if !state.turns.is_watched && has_input(state) {
            state.turns.is_watched = true;
        }
        while state.turns.is_watched {
            let tick = watch.tick.get_or_insert_with(|| {
                watch.looks = state.turns.looks;
                Box::pin(sleep(TICK))
            });
            if tick.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if watch.looks != state.turns.looks {
                watch.looks = state.turns.looks;
                tick.as_mut().reset(Instant::now() + TICK);
                continue;
            }
            // An actor that runs a method for long is to hear of cancels, whenever they come.
            let is_busy = state.pump.side() == Side::Server && !state.pump.is_owner_asleep();
            if is_busy || has_input(state) {
                return Poll::Ready(());
            }
            state.turns.is_watched = false;
        }
        watch.tick = None;
        Poll::Pending
    }

    /// One turn of the owner's task: ready when it will have none any more.
    fn poll_attending(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.stream.is_none() {
            return Poll::Ready(());
        }
        state.turns.note(Carrier::Owner, cx);
        if state.turns.carrier == Carrier::Links {
            return Poll::Pending;
        }
        state.turns.looks = state.turns.looks.wrapping_add(1);
        if !std::mem::replace(&mut state.turns.is_watched, true) {
            state.turns.wake(Carrier::Links);
        }
        let is_attached = match &mut state.stream {
            Some(stream) => stream.attach().is_ok(),
            None => false,
        };
        drop(state);
        if !is_attached {
            self.stay();
        } else if self.carry(cx, Carrier::Owner).is_ready() {
            let mut state = self.lock();
            state.turns.has_ended = true;
            self.take_over(&mut state);
            state.turns.wake(Carrier::Links);
        }
        Poll::Pending
    }

    /// Makes it the links' task's turn until the end.
    pub(super) fn stay(&self) {
        let mut state = self.lock();
        state.turns.stays = true;
        self.take_over(&mut state);
    }

    /// Makes it the links' task's turn, for a while at least.
    pub(super) fn take_over(&self, state: &mut State<S>) {
        state.turns.calm_from = clock::now() + state.turns.calm;
        if state.turns.carrier == Carrier::Owner {
            if let Some(stream) = &mut state.stream {
                stream.detach();
            }
            state.turns.carrier = Carrier::Links;
            state.turns.is_watched = false;
            state.turns.wake(Carrier::Links);
        }
    }
}

/// Makes it the owner's task's turn, if there is one, little is on its way and has been for a
/// while, and the owner `was_asleep` or not. Nobody looks any more for what is to go out.
pub(super) fn hand_over<S: Carried>(state: &mut State<S>, was_asleep: bool) {
    let is_asleep = was_asleep || state.pump.is_owner_asleep();
    let is_free = state.pump.side() == Side::Caller || is_asleep;
    let may = is_free && state.turns.carrier == Carrier::Links && state.turns.may_hand_over();
    if may && state.is_at_rest() && state.stream.as_mut().is_some_and(Carried::detach) {
        state.turns.carrier = Carrier::Owner;
        state.turns.is_watched = true;
        state.turns.wake(Carrier::Owner);
    }
}

/// Does what the clock asks for. False: the peer is gone without a word.
fn has_beat<S: Carried>(state: &mut State<S>, cx: &mut Context<'_>) -> bool {
    let Some(stream) = &mut state.stream else {
        return true;
    };
    let beaten = stream.poll_beat(cx);
    beaten
        .map_err(|error| state.lost = Unreached::of(&error))
        .is_ok()
}

/// The task of one end in its owner's runtime.
pub(super) async fn attend<S: Carried>(conduit: Arc<Conduit<S>>) {
    let _leaving = Leaving(&conduit);
    std::future::poll_fn(|cx| conduit.poll_attending(cx)).await;
}

/// The owner's task has no turn any more, also where its runtime ends before the stream.
struct Leaving<'a, S: Carried>(&'a Conduit<S>);

impl<S: Carried> Drop for Leaving<'_, S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.turns.wakers[Carrier::Owner as usize] = None;
        if state.turns.carrier == Carrier::Owner {
            self.0.take_over(&mut state);
        }
    }
}

#[cfg(test)]
#[path = "carrier_tests.rs"]
mod tests;
