//! Everything that an actor hears: its calls over one link or several, the wish that it stop.
//!
//! ```text
//!  main link (whoever started it) ──┐
//!  further links, as they come ─────┼─> poll_next ─> one call at a time, with the way back
//!  signals: stop, a new link ───────┘
//! ```
//!
//! Within a link calls come in their order; between links whoever has waited longest in the round
//! comes first. A further link that breaks the rules is dropped alone; the main link's end is the
//! actor's.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::task::{AbortHandle, JoinSet};

use super::cancel::Cancels;
use super::own::Own;
use super::port::Port;
use super::replies::Replies;
use super::server::Work;
use crate::transport::board::Board;
use crate::transport::receiver::LinkError;
use crate::transport::sender::Sender;
use crate::wire::chain::ActorKey;

/// After how many frames other tasks get a turn.
const TURN_MAX: u32 = 512;

/// What an actor is told beside its calls. Shared with whoever may tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals(Arc<SignalState>);

#[derive(Debug, Default)]
struct SignalState {
    stop: AtomicBool,
    /// Links have come or ended since the actor looked.
    news: AtomicBool,
    arrived: Mutex<Vec<Arrival>>,
    waker: AtomicWaker,
    cancels: Cancels,
    tasks: Mutex<JoinSet<()>>,
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
    sender: Sender,
    pub(super) board: Board,
    message_len_max: usize,
    /// Nobody calls over it any more.
    closed: AtomicBool,
}

impl Line {
    #[cfg_attr(not(test), expect(dead_code, reason = "own proxies are made of it"))]
    pub(crate) fn new(sender: Sender, board: Board, message_len_max: usize) -> Self {
        Self {
            sender,
            board,
            message_len_max,
            closed: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn replies(&self) -> Replies<'_> {
        Replies::new(&self.sender, self.message_len_max)
    }
}

impl Signals {
    /// Asks the actor to end once it has run what has come in. Once is enough.
    pub(crate) fn stop(&self) {
        // Release: pairs with the Acquire in `is_stop_asked`, though only the flag is published.
        self.0.stop.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Gives the actor a further link.
    #[cfg_attr(not(test), expect(dead_code, reason = "own proxies are made of it"))]
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

    /// Says that nobody calls over `line` any more.
    pub(crate) fn close(&self, line: &Line) {
        // Release: pairs with the Acquire in `Inbox::hear_news`.
        line.closed.store(true, Ordering::Release);
        self.tell();
    }

    /// Closes `line`, whose caller broke the rules.
    #[cold]
    fn break_off(&self, line: &Line, error: &LinkError) {
        tracing::error!(%error, "a caller broke the rules; its link is closed");
        self.close(line);
    }

    /// The running calls that want to know when they are cancelled.
    #[inline]
    pub(super) fn cancels(&self) -> &Cancels {
        &self.0.cancels
    }

    /// Starts a task of the actor's.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
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

    /// Drops the actor's tasks: it has ended.
    pub(crate) fn end_tasks(&self) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }

    fn tell(&self) {
        // Release: pairs with the Acquire in `has_news`; the lock orders what arrived.
        self.0.news.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    pub(super) fn is_stop_asked(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.0.news.load(Ordering::Acquire)
    }

    /// Has the task woken by what is told from now on. True: something was told already.
    pub(super) fn listen(&self, cx: &Context<'_>) -> bool {
        self.0.waker.register(cx.waker());
        self.is_stop_asked() || self.has_news()
    }
}

/// What came in.
pub(crate) enum Event {
    /// A call or tell that somebody still wants.
    Call,
    /// No more will come: stop was asked, and all that had come in was given out.
    Stopped,
}

/// Who serves, and the way back to whoever started it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    pub(crate) actor: ActorKey,
    pub(crate) main: Replies<'a>,
    /// That of the main link.
    pub(crate) board: &'a Board,
    pub(crate) signals: &'a Signals,
}

/// Where an actor's calls come in.
pub(crate) struct Inbox<'a> {
    main: Port,
    post: Post<'a>,
    lines: Vec<Arrival>,
    /// Whose turn it is, in a round of the main link and the others.
    next: usize,
    turn: u32,
    /// What the actor calls itself for.
    pub(super) own: Own,
}

impl<'a> Inbox<'a> {
    /// An inbox that hears the main link, which is that of `post`.
    pub(crate) fn new(main: Port, post: Post<'a>) -> Self {
        Self {
            main,
            post,
            lines: Vec::new(),
            next: 0,
            turn: 0,
            own: Own::default(),
        }
    }

    /// Whether the actor is to end.
    pub(super) fn is_stop_asked(&self) -> bool {
        self.post.signals.is_stop_asked()
    }

    /// Who serves, and the way back over the main link.
    #[inline]
    pub(crate) fn post(&self) -> Post<'a> {
        self.post
    }

    /// The way back over the main link.
    #[inline]
    pub(crate) fn main(&self) -> Replies<'a> {
        self.post.main
    }

    /// The next call, put into `work`, whose memory is used again.
    ///
    /// # Errors
    /// [`LinkError`] when the caller at the main link breaks the rules.
    #[inline]
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        work: &mut Work,
    ) -> Poll<Result<Event, LinkError>> {
        loop {
            if self.turn >= TURN_MAX {
                self.turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.turn += 1;
            if self.take(work)? {
                return Poll::Ready(Ok(Event::Call));
            }
            if self.post.signals.has_news() {
                self.hear_news();
                continue;
            }
            // Nobody is kept waiting for a place while we look or sleep.
            if self.post.signals.is_stop_asked() {
                return Poll::Ready(Ok(Event::Stopped));
            }
            if !self.look_again(cx) {
                self.turn = 0;
                return Poll::Pending;
            }
        }
    }

    /// Hears the bells while a handler runs: they bring room for answers that wait.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) {
        let signals = self.post.signals;
        self.main.poll_room(cx, self.post.main.sender, signals);
        for Arrival { port, line } in &self.lines {
            port.poll_room(cx, &line.sender, signals);
        }
    }

    #[inline]
    fn take(&mut self, work: &mut Work) -> Result<bool, LinkError> {
        if !self.lines.is_empty() {
            return self.take_in_turn(work);
        }
        let head = self.main.take(self.post.main.sender, &mut work.body)?;
        let Some(head) = head else {
            return Ok(false);
        };
        work.set(head, None).map(|()| true)
    }

    fn take_in_turn(&mut self, work: &mut Work) -> Result<bool, LinkError> {
        for _ in 0..=self.lines.len() {
            let at = self.next;
            self.next = (at + 1) % (self.lines.len() + 1);
            let Some(Arrival { port, line }) = self.lines.get_mut(at) else {
                let head = self.main.take(self.post.main.sender, &mut work.body)?;
                if let Some(head) = head {
                    return work.set(head, None).map(|()| true);
                }
                continue;
            };
            match port.take(&line.sender, &mut work.body) {
                Ok(Some(head)) => {
                    match work.set(head, Some(line)).and_then(|()| work.check()) {
                        Ok(()) => return Ok(true),
                        Err(error) => self.post.signals.break_off(line, &error),
                    }
                    work.clear();
                }
                Ok(None) => {}
                Err(error) => self.post.signals.break_off(line, &error),
            }
        }
        Ok(false)
    }

    /// Looks or goes to sleep. True: look into the rings again now. False: the task will be woken.
    #[inline]
    fn look_again(&mut self, cx: &mut Context<'_>) -> bool {
        for Arrival { port, line } in &mut self.lines {
            if port.look_again(cx, &line.sender, self.post.signals) {
                return true;
            }
        }
        self.main
            .look_again(cx, self.post.main.sender, self.post.signals)
    }

    /// Takes in new links, and drops those over which nothing comes any more.
    #[cold]
    fn hear_news(&mut self) {
        // AcqRel: what was told before the flag was raised is seen below, and what is told later
        // raises it again.
        self.post.signals.0.news.swap(false, Ordering::AcqRel);
        self.lines.retain(|arrival| {
            let is_over = arrival.line.closed.load(Ordering::Acquire) && arrival.port.is_empty();
            !is_over
        });
        if self
            .lines
            .iter()
            .any(|arrival| arrival.line.closed.load(Ordering::Relaxed))
        {
            // What was told over it before is still done.
            self.post.signals.0.news.store(true, Ordering::Relaxed);
        }
        self.next = 0;
        let mut arrived = self
            .post
            .signals
            .0
            .arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.lines.append(&mut arrived);
    }
}
