//! What an actor calls itself for: periodic methods whose time has come, calls that went wrong.
//!
//! It is handed out like a call that came in, and so runs by the rule of the borrow. An actor that
//! has neither never looks here.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::Actor;
use super::hooks::{MethodError, UnknownCall, calls_itself, has_notes};
use super::inbox::{Event, Inbox};
use super::panic::caught_now;
use super::server::{Failed, Work};
use crate::wire::report::PanicReport;

/// The shortest period: the clock that wakes us counts in these.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// Stands for a time that does not come, as for tokio.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A call that an actor makes to itself.
#[derive(Debug)]
pub(crate) enum Job {
    /// A periodic method.
    Tick {
        timer: u16,
        /// Lives as long as the method runs.
        _running: Arc<()>,
    },
    /// A method's error that nobody is told.
    Error(MethodError),
    /// A call of a method that there is not.
    Unhandled(UnknownCall),
}

/// What is still to be done.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// What calls that have run left: at most one of each, and so as many as can run at once or
    /// together.
    jobs: VecDeque<Box<Job>>,
    /// Once the first call was waited for.
    timers: Option<Timers>,
    /// The last thing given out was a tick: it is the others' turn.
    ticked: bool,
}

#[derive(Debug)]
struct Timers {
    sleep: Pin<Box<Sleep>>,
    next: Vec<Next>,
}

/// When a periodic method is to run.
#[derive(Debug)]
struct Next {
    at: Instant,
    /// Known to somebody else too while the method runs.
    running: Arc<()>,
}

impl Next {
    fn is_running(&self) -> bool {
        Arc::strong_count(&self.running) > 1
    }
}

impl Timers {
    fn start<A: Actor>(actor: &A) -> Self {
        let now = Instant::now();
        let next = (0..).zip(A::TIMERS).map(|(timer, _)| Next {
            at: after(now, actor.delay(timer)),
            running: Arc::new(()),
        });
        Self {
            sleep: Box::pin(sleep_until(now)),
            next: next.collect(),
        }
    }

    /// The periodic method that has waited longest; none: the task is woken when there is one.
    ///
    /// One that still runs is not begun again, and has its turn when it has ended.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<(u16, &mut Next)> {
        loop {
            let waiting = (0..).zip(&self.next).filter(|(_, next)| !next.is_running());
            let Some((timer, at)) = waiting
                .map(|(timer, next)| (timer, next.at))
                .min_by_key(|(_, at)| *at)
            else {
                return Poll::Pending;
            };
            if at <= Instant::now() {
                return Poll::Ready((timer, &mut self.next[usize::from(timer)]));
            }
            if self.sleep.deadline() != at {
                self.sleep.as_mut().reset(at);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + NEVER)
}

impl Own {
    /// Keeps what a call that has run left to do.
    #[inline]
    pub(super) fn heed<A: Actor>(&mut self, work: &mut Work) {
        if const { has_notes::<A>() } {
            self.keep(work.take_note());
        }
    }

    /// The same, where it has been taken from the call.
    #[inline]
    pub(super) fn keep(&mut self, note: Option<Box<Job>>) {
        self.jobs.extend(note);
    }

    /// The next of the calls that went wrong.
    pub(super) fn next_note(&mut self) -> Option<Work> {
        self.jobs.pop_front().map(Work::job_of)
    }

    /// Whether it is time for another periodic method; if not, the task is woken when it is.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let timers = self.timers.as_mut();
        timers.is_some_and(|timers| timers.poll_due(cx).is_ready())
    }

    /// Takes a periodic method whose time has come.
    ///
    /// # Errors
    /// What the expression for its period panicked with.
    fn take_tick<A: Actor>(
        &mut self,
        actor: &A,
        cx: &mut Context<'_>,
        work: &mut Work,
    ) -> Result<bool, PanicReport> {
        let timers = match &mut self.timers {
            Some(timers) => timers,
            none => none.insert(caught_now(|| Timers::start(actor))?),
        };
        let Poll::Ready((timer, next)) = timers.poll_due(cx) else {
            return Ok(false);
        };
        // From start to start: a late one is not made up for.
        let period = caught_now(|| actor.period(timer))?;
        next.at = after(Instant::now(), period.max(PERIOD_MIN));
        let running = Arc::clone(&next.running);
        *work = Work::job_of(Box::new(Job::Tick {
            timer,
            _running: running,
        }));
        self.ticked = true;
        Ok(true)
    }
}

/// What the actor is to do next, put into `work`: a call that came in, or one of its own.
///
/// Calls and periodic methods take turns, so that neither can keep the others from running.
///
/// # Errors
/// [`Failed`] when the caller at the main link breaks the rules, or a period panics.
#[inline]
pub(super) fn poll_next<A: Actor>(
    actor: &A,
    inbox: &mut Inbox<'_>,
    cx: &mut Context<'_>,
    work: &mut Work,
) -> Poll<Result<Event, Failed>> {
    if const { calls_itself::<A>() } {
        return poll_with_own(actor, inbox, cx, work);
    }
    inbox.poll_next(cx, work).map_err(Failed::Link)
}

fn poll_with_own<A: Actor>(
    actor: &A,
    inbox: &mut Inbox<'_>,
    cx: &mut Context<'_>,
    work: &mut Work,
) -> Poll<Result<Event, Failed>> {
    if let Some(note) = inbox.own.next_note() {
        *work = note;
        return Poll::Ready(Ok(Event::Call));
    }
    let ticks = const { !A::TIMERS.is_empty() } && !inbox.is_stop_asked();
    let waits = std::mem::take(&mut inbox.own.ticked);
    if ticks && !waits && take_tick(actor, inbox, cx, work)? {
        return Poll::Ready(Ok(Event::Call));
    }
    let polled = inbox.poll_next(cx, work).map_err(Failed::Link);
    if ticks && waits && polled.is_pending() && inbox.own.is_due(cx) {
        // Between two of them the runtime's other tasks have their turn: a local actor is not alone
        // on its thread.
        cx.waker().wake_by_ref();
    }
    polled
}

fn take_tick<A: Actor>(
    actor: &A,
    inbox: &mut Inbox<'_>,
    cx: &mut Context<'_>,
    work: &mut Work,
) -> Result<bool, Failed> {
    let taken = inbox.own.take_tick(actor, cx, work);
    taken.map_err(|report| Failed::panicked(Work::own(), report))
}
