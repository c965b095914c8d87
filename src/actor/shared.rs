//! Async calls of `&self` methods, which may run at the same time.
//!
//! The first one is kept where it is: if it does not wait, or nothing else comes meanwhile, nothing
//! is allocated. Others that really wait are kept in a set beside it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Actor;
use super::inbox::{Event, Inbox, Post};
use super::incoming::Incoming;
use super::panic::{caught, caught_now};
use super::replies::{Answer, Late};
use super::server::{Failed, Work};
use crate::proxy::ambient::{within, within_async};
use crate::wire::codec;

/// The most `&self` calls that one actor runs at once; more wait in the ring.
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
                done?;
                first_runs = false;
            }
            while let Poll::Ready(Some(done)) = poll_set(&mut others, cx) {
                done?;
            }
            let running =
                usize::from(first_runs) + others.as_ref().map_or(0, FuturesUnordered::len);
            if running == 0 {
                return Poll::Ready(Ok(()));
            }
            if !matches!(next, Next::Idle) || running >= CONCURRENT_MAX {
                inbox.poll_room(cx);
                return Poll::Pending;
            }
            match inbox.poll_next(cx, &mut now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::Link(error))),
                Poll::Ready(Ok(Event::Stopped)) => {
                    next = Next::Stopped;
                    continue;
                }
                Poll::Ready(Ok(Event::Call)) => now.check().map_err(Failed::Link)?,
            }
            if now.is_exclusive::<A>() {
                next = Next::Exclusive(now.take());
            } else if let Some(job) = begin(actor, now.take(), post)? {
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
fn begin<A: Actor>(actor: &A, work: Work, post: Post<'_>) -> Result<Option<Job>, Failed> {
    if work.waits::<A>() {
        return Ok(Some(Job::Call(work)));
    }
    let call = Incoming::new(&work, post);
    let serving = work.serving::<A>(post.actor);
    match caught_now(|| within(serving, work.chain(), || actor.run_shared(call))) {
        Ok(Answer(Some(late))) => Ok(Some(Job::Late(work, late))),
        Ok(Answer(None)) => {
            codec::recycle(work.body);
            Ok(None)
        }
        Err(report) => Err(Failed::panicked(work, report)),
    }
}

/// Does one job to its end, and tells whose it was if it panics.
async fn do_job<A: Actor>(actor: &A, job: Job, post: Post<'_>) -> Result<(), Failed> {
    let (work, late) = match job {
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
        late.send(work.replies(post.main).sender).await;
    }
    codec::recycle(work.body);
    Ok(())
}

/// The next of the set that has ended; none when the set is empty.
fn poll_set<F: Future>(
    set: &mut Option<FuturesUnordered<F>>,
    cx: &mut Context<'_>,
) -> Poll<Option<F::Output>> {
    set.as_mut()
        .map_or(Poll::Ready(None), |set| set.poll_next_unpin(cx))
}
