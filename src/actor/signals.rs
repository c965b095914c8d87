//! What an actor is told beside its calls: that it stop, that a link has come or gone; and what
//! belongs to it as long as it lives, its tasks and its proxy of itself.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Context;

use tokio::task::{AbortHandle, JoinSet};

use super::cancel::Cancels;
use super::legacy::Legacy;
use super::owed::Owed;
use super::port::Port;
use super::replies::{Back, Replies};
use crate::flow::Way;
use crate::transport::board::Board;
use crate::transport::idle::Idle;
use crate::transport::receiver::LinkError;
use crate::transport::sender::Sender;
use crate::transport::sleeper::{Bed, Sleeper};

/// What an actor is told beside its calls. Shared with whoever may tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals(Arc<SignalState>);

#[derive(Debug, Default)]
struct SignalState {
    stop: AtomicBool,
    /// Links have come or ended since the actor looked.
    news: AtomicBool,
    arrived: Mutex<Vec<Arrival>>,
    sleeper: Sleeper,
    cancels: Cancels,
    tasks: Mutex<JoinSet<()>>,
    itself: Mutex<Itself>,
    on_begin: Then,
    on_ask: Then,
    legacy: OnceLock<Legacy>,
}

/// What is to be done then, once.
#[derive(Default)]
struct Then(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Then {
    fn set(&self, then: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(then));
    }

    fn run(&self) {
        let mut then = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let then = then.take();
        if let Some(then) = then {
            then();
        }
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Then").finish_non_exhaustive()
    }
}

/// What an actor has of its own proxy, once it has asked for it.
#[derive(Default)]
struct Itself {
    /// The proxy, whose type is known further up.
    proxy: Option<Box<dyn Any + Send>>,
    /// Ends the link of the proxy.
    end: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Itself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_made = self.proxy.is_some();
        f.debug_struct("Itself").field("is_made", &is_made).finish()
    }
}

/// A further link of an actor.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) port: Port,
    pub(crate) line: Arc<Line>,
}

/// The way back over a further link.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) back: Arc<Back>,
    pub(super) board: Board,
    message_len_max: usize,
    /// Nobody calls over it any more.
    closed: AtomicBool,
    /// The answers that are on their way beside what the actor does.
    pub(super) owed: Owed,
}

impl Line {
    pub(crate) fn new(
        (sender, idle): (Sender, Idle),
        board: Board,
        message_len_max: usize,
    ) -> Self {
        Self {
            back: Arc::new(Back::new(sender, idle)),
            board,
            message_len_max,
            closed: AtomicBool::new(false),
            owed: Owed::default(),
        }
    }

    #[inline]
    pub(super) fn replies(&self) -> Replies<'_> {
        Replies::new(self.sender(), self.message_len_max)
    }

    #[inline]
    pub(super) fn sender(&self) -> &Sender {
        self.back.sender()
    }

    /// Whether nobody calls over it any more.
    pub(super) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `Signals::close`.
        self.closed.load(Ordering::Acquire)
    }
}

impl Signals {
    /// Asks the actor to end once it has run what has come in. Once is enough.
    pub(crate) fn stop(&self) {
        // Release: pairs with the Acquire in `is_stop_asked`, though only the flag is published.
        self.0.stop.store(true, Ordering::Release);
        self.0.sleeper.wake();
    }

    /// Has `then` run once the actor is there, before its first call.
    pub(crate) fn on_begin(&self, then: impl FnOnce() + Send + 'static) {
        self.0.on_begin.set(then);
    }

    /// The actor is there.
    pub(super) fn begin(&self) {
        self.0.on_begin.run();
    }

    /// Has `then` run when a caller that does not own the actor asks for its end.
    pub(crate) fn on_ask(&self, then: impl FnOnce() + Send + 'static) {
        self.0.on_ask.set(then);
    }

    /// A caller has asked so; the first time counts.
    pub(super) fn ask(&self) {
        self.0.on_ask.run();
    }

    /// Says what the actor's last life has left, and where this one leaves what it leaves. Once.
    pub(crate) fn inherit(&self, legacy: Legacy) {
        let _ = self.0.legacy.set(legacy);
    }

    /// None: nobody starts the actor again.
    pub(super) fn legacy(&self) -> Option<&Legacy> {
        self.0.legacy.get()
    }

    /// Gives the actor a further link.
    pub(crate) fn arrive(&self, arrival: Arrival) {
        let mut arrived = self
            .0
            .arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        arrived.push(arrival);
        drop(arrived);
        self.tell();
    }

    /// Says that nobody calls over `line` any more: what was told is still done, and calls are as
    /// good as cancelled.
    pub(crate) fn close(&self, line: &Line) {
        line.board.cancel_all();
        self.cancels().look();
        // Release: pairs with the Acquire in `is_closed`.
        line.closed.store(true, Ordering::Release);
        // No answer waits for room that nobody makes.
        line.sender().close();
        self.tell();
    }

    /// Closes `line`, whose caller broke the rules.
    #[cold]
    pub(super) fn break_off(&self, line: &Line, error: &LinkError) {
        tracing::error!(%error, "a caller broke the rules; its link is closed");
        line.back.flows().lose_all();
        self.close(line);
    }

    /// The running calls that want to know when they are cancelled.
    #[inline]
    pub(super) fn cancels(&self) -> &Cancels {
        &self.0.cancels
    }

    /// Starts a task of the actor's.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended, so that there are never more than run.
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!("a task of an actor panicked");
            }
        }
        tasks.spawn(task)
    }

    /// The actor's own proxy, made with what ends its link if there is none yet.
    pub(crate) fn own_or<P: Clone + Send + 'static>(
        &self,
        make: impl FnOnce() -> (P, Box<dyn FnOnce() + Send>),
    ) -> P {
        let mut own = self.0.itself.lock().unwrap_or_else(PoisonError::into_inner);
        let made = own
            .proxy
            .as_ref()
            .and_then(|proxy| proxy.downcast_ref::<P>());
        if let Some(proxy) = made {
            return proxy.clone();
        }
        let (proxy, end) = make();
        own.proxy = Some(Box::new(proxy.clone()));
        own.end = Some(end);
        proxy
    }

    /// Drops the actor's tasks and its own proxy: it has ended.
    pub(crate) fn end_tasks(&self) {
        let own =
            std::mem::take(&mut *self.0.itself.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(end) = own.end {
            end();
        }
        drop(own.proxy);
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
        self.0.sleeper.leave();
    }

    /// Lowers the flag that says that there is news, and gives the links that have come.
    pub(super) fn take_news(&self, lines: &mut Vec<Arrival>) {
        // AcqRel: what was told before the flag was raised is seen now, and what is told later
        // raises it again.
        self.0.news.swap(false, Ordering::AcqRel);
        let mut arrived = self
            .0
            .arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lines.append(&mut arrived);
    }

    /// Has the actor look again: it has not done all that the news asks for.
    pub(super) fn keep_news(&self) {
        // Relaxed: who looks is who has raised it.
        self.0.news.store(true, Ordering::Relaxed);
    }

    /// Has the actor look at its links once more.
    pub(crate) fn tell(&self) {
        // Release: pairs with the Acquire in `has_news`; the lock orders what arrived.
        self.0.news.store(true, Ordering::Release);
        self.0.sleeper.wake();
    }

    pub(super) fn is_stop_asked(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.0.news.load(Ordering::Acquire)
    }

    /// Has the actor's task, which sleeps in `bed`, woken by what is told from now on.
    #[inline]
    pub(super) fn listen(&self, bed: &mut Bed, cx: &Context<'_>) {
        bed.lie_down(&self.0.sleeper, cx);
    }

    /// Whether something was told that was not heard.
    #[inline]
    pub(super) fn has_told(&self) -> bool {
        self.is_stop_asked() || self.has_news()
    }
}
