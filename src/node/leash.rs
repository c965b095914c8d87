//! A leash: an actor that is a task of this process, in the hands of those who use it.
//!
//! ```text
//!  stop, kill ──> leash <── looks, at each poll ── the actor's task
//!  exited     <── leash <── tells, when it is gone ──┘
//! ```
//!
//! A task cannot be struck from outside: what it is told it hears when it is polled next, that is
//! when its method waits. One that never does can only be waited for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::exited::Exited;
use super::ward::lock;
use crate::actor::signals::Signals;
use crate::proxy::failure::Death;
use crate::sys::process::Exit;
use crate::wire::report::PanicReport;

/// A handle of an actor's task; dropping it does nothing to the task.
#[derive(Clone)]
pub(crate) struct Leash(Arc<Shared>);

struct Shared {
    /// What the actor hears between its calls.
    signals: Signals,
    /// Something was told that the task has to look at in `state`.
    told: AtomicBool,
    /// The task's, until it was told something.
    waker: AtomicWaker,
    state: Mutex<State>,
    exit: Exited,
    /// Somebody who does not own it has asked for its end.
    asked: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// When the grace is over.
    end_at: Option<Instant>,
    killed: bool,
    /// Whether it was dropped because its grace was over.
    overdue: bool,
    /// What it panicked with.
    report: Option<PanicReport>,
}

impl Leash {
    /// A leash for an actor that hears `signals`.
    pub(crate) fn new(signals: Signals) -> Self {
        Self(Arc::new(Shared {
            signals,
            told: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            state: Mutex::default(),
            exit: Exited::new(),
            asked: watch::Sender::new(false),
        }))
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.0.exit.get()
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    /// Nothing is lost; the end is told to each who asks.
    pub(crate) async fn exited(&self) -> Exit {
        self.0.exit.wait().await
    }

    /// The door's: a caller has asked for its end.
    pub(super) fn note_asked(&self) {
        self.0.asked.send_replace(true);
    }

    /// Waits until a caller has asked for its end, or that has come.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn asked(&self) {
        self.0.exit.or_asked(&self.0.asked).await;
    }

    /// Whether a caller has asked for its end.
    pub(crate) fn was_asked(&self) -> bool {
        *self.0.asked.borrow()
    }

    /// Asks it to stop, and drops it after `grace`; asked again, only a shorter grace counts.
    pub(crate) fn stop(&self, grace: Duration) {
        self.0.signals.stop();
        // A grace beyond the end of time is none.
        let Some(at) = Instant::now().checked_add(grace) else {
            return;
        };
        let mut state = self.state();
        if state.end_at.is_none_or(|earlier| at < earlier) {
            state.end_at = Some(at);
            drop(state);
            self.tell();
        }
    }

    /// Drops it when it is polled next.
    pub(crate) fn kill(&self) {
        self.state().killed = true;
        self.tell();
    }

    /// Whether it was dropped because it had no time left to end by itself.
    pub(crate) fn is_overdue(&self) -> bool {
        self.state().overdue
    }

    /// All that is known about its end by `exit`.
    pub(crate) fn death(&self, exit: Exit) -> Death {
        Death::of_task(std::process::id(), exit, self.state().report.clone())
    }

    /// The task's: what the actor panicked with.
    pub(crate) fn set_report(&self, report: PanicReport) {
        self.state().report = Some(report);
    }

    /// The task's: tells the end to each who waits for it.
    pub(crate) fn set_exit(&self, exit: Exit) {
        self.0.exit.tell(exit);
    }

    /// The task's: what the actor has started beside its methods ends with it.
    pub(crate) fn end_tasks(&self) {
        self.0.signals.end_tasks();
    }

    fn tell(&self) {
        // Release: pairs with the Acquire in `Watch::poll`.
        self.0.told.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl fmt::Debug for Leash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leash")
            .field("exit", &self.exit())
            .finish_non_exhaustive()
    }
}

/// The task's end of a leash.
pub(crate) struct Watch<'a> {
    leash: &'a Leash,
    /// Who is registered to be woken.
    waker: Option<Waker>,
    /// Runs while the actor ends.
    clock: Option<Pin<Box<Sleep>>>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(leash: &'a Leash) -> Self {
        Self {
            leash,
            waker: None,
            clock: None,
        }
    }

    /// Ready when the task is to be dropped. A poll that has nothing to hear costs a look.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_known = self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        let shared = &*self.leash.0;
        if !is_known {
            shared.waker.register(cx.waker());
            self.waker = Some(cx.waker().clone());
        }
        if shared.told.load(Ordering::Acquire) {
            self.hear(cx)
        } else {
            Poll::Pending
        }
    }

    #[cold]
    fn hear(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What woke us has taken the waker; from here on each poll looks at the state.
        self.leash.0.waker.register(cx.waker());
        let mut state = self.leash.state();
        if state.killed {
            return Poll::Ready(());
        }
        let Some(end_at) = state.end_at else {
            return Poll::Pending;
        };
        let clock = self
            .clock
            .get_or_insert_with(|| Box::pin(sleep_until(end_at)));
        if clock.deadline() != end_at {
            clock.as_mut().reset(end_at);
        }
        if clock.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        state.overdue = true;
        Poll::Ready(())
    }
}
