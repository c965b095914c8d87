//! Calls of `&self` methods, which may run at the same time.
//!
//! The first one is kept where it is: if it does not wait, or nothing else comes meanwhile, nothing
//! is allocated. Others that really wait are kept in a set beside it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Actor;
use super::incoming::{Incoming, Replies};
use super::panic::caught;
use super::port::{Event, Port};
use super::server::{Failed, Work};
use crate::transport::sender::Sender;
use crate::wire::id::CallId;
use crate::wire::report::PanicReport;

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

/// Runs `work` and the `&self` calls that come in meanwhile, until none is left or one wants to be
/// alone.
///
/// # Errors
/// [`Failed`] when one of them panics or the caller breaks the rules; the others are dropped.
pub(crate) async fn run<A: Actor>(
    actor: &A,
    work: Work,
    port: &mut Port,
    (sender, message_len_max): (&Sender, usize),
) -> Result<Next, Failed> {
    let replies = Replies::new(sender, message_len_max);
    let begin = |work: Work| {
        let call = Incoming::new(work.head, work.body, replies);
        guarded(call.id(), actor.run_shared(call))
    };
    let mut first = pin!(begin(work));
    let mut first_runs = true;
    // Made when a second call really comes while the first waits.
    let mut others = None;
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
                port.poll_room(cx, sender);
                return Poll::Pending;
            }
            match port.poll_next(cx, sender) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::Link(error))),
                Poll::Ready(Ok(Event::Stopped)) => next = Next::Stopped,
                Poll::Ready(Ok(Event::Frame(head, body))) => {
                    let work = Work { head, body };
                    if work.is_exclusive::<A>() {
                        next = Next::Exclusive(work);
                    } else {
                        others
                            .get_or_insert_with(FuturesUnordered::new)
                            .push(begin(work));
                    }
                }
            }
        }
    })
    .await?;
    Ok(next)
}

/// Runs one call and tells whose it was if it panics.
async fn guarded(call: CallId, run: impl Future<Output = ()>) -> Result<(), Failed> {
    caught(run)
        .await
        .map_err(|report: PanicReport| Failed::Panicked(call, report))
}

/// The next of the set that has ended; none when the set is empty.
fn poll_set<F: Future>(
    set: &mut Option<FuturesUnordered<F>>,
    cx: &mut Context<'_>,
) -> Poll<Option<F::Output>> {
    set.as_mut()
        .map_or(Poll::Ready(None), |set| set.poll_next_unpin(cx))
}
