//! Async calls of `&self` methods, which may run at the same time.
//!
//! The first one is kept where it is: if it does not wait, or nothing else comes meanwhile, nothing
//! is allocated. Others that really wait are kept in a set beside it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Actor;
use super::inbox::{Event, Inbox, Post};
use super::incoming::Incoming;
use super::own::{self, Job as Note};
use super::panic::{caught, caught_now};
use super::replies::{Answer, Late};
use super::server::{Failed, Work};
use crate::proxy::ambient::{within, within_async};
use crate::wire::codec;

/// The most `&self` calls that one actor runs at once; more wait in the mailbox.
const CONCURRENT_MAX: usize = 1024;

/// Why no more `&self` calls run.
pub(crate) enum Next {
    /// All have ended.
    Idle,
    /// They have ended, and this one comes next, alone.
    Exclusive(Work),
    /// They have ended, and no more will come.
    Stopped,
}

/// What is run beside others.
enum Job {
    Call(Work),
    /// The answer of a call that was run at once.
    Late(Work, Late),
}

/// Runs `work` and the `&self` calls that come in meanwhile, until none is left or one wants to be
/// alone.
///
/// # Errors
/// [`Failed`] when one of them panics or the caller breaks the rules; the others are dropped.
pub(crate) async fn run<A: Actor>(
    actor: &A,
    work: Work,
    inbox: &mut Inbox<'_>,
) -> Result<Next, Failed> {
    let post = inbox.post();
    let mut first = pin!(do_job(actor, Job::Call(work), post));
    let mut first_runs = true;
    // Made when a second call really comes while the first waits.
    let mut others = None;
    let mut now = Work::new();
    let mut next = Next::Idle;
    poll_fn(|cx| {
        loop {
            if first_runs && let Poll::Ready(done) = first.as_mut().poll(cx) {
                inbox.own.keep(done?);
                first_runs = false;
            }
            while let Poll::Ready(Some(done)) = poll_set(&mut others, cx) {
                inbox.own.keep(done?);
            }
            let running =
                usize::from(first_runs) + others.as_ref().map_or(0, FuturesUnordered::len);
            if running == 0 {
                return Poll::Ready(Ok(()));
            }
            if !matches!(next, Next::Idle) || running >= CONCURRENT_MAX {
                if inbox.is_stop_asked() {
                    inbox.stop_streams();
                }
                inbox.poll_meanwhile(cx);
                return Poll::Pending;
            }
            match ready!(own::poll_next(actor, inbox, cx, &mut now))? {
                Event::Stopped => {
                    next = Next::Stopped;
                    continue;
                }
                Event::Call => now.check().map_err(Failed::Link)?,
            }
            if now.is_exclusive::<A>() {
                next = Next::Exclusive(now.take());
            } else if let Some(job) = begin(actor, now.take(), inbox)? {
                others
                    .get_or_insert_with(FuturesUnordered::new)
                    .push(do_job(actor, job, post));
            }
        }
    })
    .await?;
    codec::recycle(now.body);
    Ok(next)
}

/// Runs a call at once, if its method is not async; gives what is left to do.
fn begin<A: Actor>(
    actor: &A,
    mut work: Work,
    inbox: &mut Inbox<'_>,
) -> Result<Option<Job>, Failed> {
    if work.waits::<A>() {
        return Ok(Some(Job::Call(work)));
    }
    let post = inbox.post();
    let call = Incoming::new(&work, post);
    let serving = work.serving::<A>(post.actor);
    let run = || within(serving, work.chain(), || actor.run_shared(call));
    let late = match caught_now(run) {
        Ok(Answer(late)) => late,
        Err(report) => return Err(Failed::panicked(work, report)),
    };
    inbox.own.heed::<A>(&mut work);
    if let Some(late) = late {
        return Ok(Some(Job::Late(work, late)));
    }
    codec::recycle(work.body);
    Ok(None)
}

/// Does one job to its end, and tells whose it was if it panics; gives what it left to do for the
/// actor's hooks.
async fn do_job<A: Actor>(
    actor: &A,
    job: Job,
    post: Post<'_>,
) -> Result<Option<Box<Note>>, Failed> {
    let (mut work, late) = match job {
        Job::Late(work, late) => (work, Some(late)),
        Job::Call(work) => {
            let call = Incoming::new(&work, post);
            let serving = work.serving::<A>(post.actor);
            match caught(within_async(
                serving,
                work.chain(),
                actor.await_shared(call),
            ))
            .await
            {
                Ok(Answer(late)) => (work, late),
                Err(report) => return Err(Failed::panicked(work, report)),
            }
        }
    };
    if let Some(late) = late {
        late.settle(work.line(), post.main).await;
    }
    let note = work.take_note();
    codec::recycle(work.body);
    Ok(note)
}

/// The next of the set that has ended; none when the set is empty.
fn poll_set<F: Future>(
    set: &mut Option<FuturesUnordered<F>>,
    cx: &mut Context<'_>,
) -> Poll<Option<F::Output>> {
    set.as_mut()
        .map_or(Poll::Ready(None), |set| set.poll_next_unpin(cx))
}
