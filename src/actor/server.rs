//! Runs one actor: its constructor, its calls in their order, its end.
//!
//! ```text
//!  frame ─> wanted? ─> not async ──> run where it was read
//!                  ├─> async, &mut self ─> alone, to its end
//!                  └─> async, &self ────> together with the `&self` calls that follow (shared.rs)
//! ```
//!
//! The borrow is the rule: a call of `&mut self` waits for those before it, and those after wait
//! for it. A method that is not async runs inside the poll that read its call: no future, no task,
//! no channel, no allocation.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use super::Actor;
use super::incoming::Incoming;
use super::panic::{caught, caught_now};
use super::port::{Event, Port};
use super::replies::{Answer, Late, Replies};
use super::shared;
use crate::transport::receiver::LinkError;
use crate::wire::codec::{self, Buffer};
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;
use crate::wire::interface::Method;
use crate::wire::report::PanicReport;

/// A call or tell that has come in.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) head: Head,
    pub(crate) body: Buffer,
}

impl Work {
    /// Its method; none: there is no such method, which is answered in any phase.
    #[inline]
    pub(crate) fn method<A: Actor>(&self) -> Option<&'static Method> {
        let methods = const { A::INTERFACE.methods };
        methods.get(usize::from(self.head.method))
    }

    /// Whether its method takes `&mut self`.
    #[inline]
    pub(crate) fn is_exclusive<A: Actor>(&self) -> bool {
        self.method::<A>().is_some_and(|method| method.exclusive)
    }

    /// Whether its method is async.
    #[inline]
    pub(crate) fn waits<A: Actor>(&self) -> bool {
        self.method::<A>().is_some_and(|method| method.waits)
    }
}

/// How an actor ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It was asked to, and did all that had come in.
    Stopped,
    /// Its constructor gave no actor; the caller has been told.
    Rejected,
    /// Its constructor, a method or its drop panicked; the caller has been told.
    Panicked,
    /// The caller broke the rules.
    Corrupt(LinkError),
}

/// Why the calls could not go on.
pub(crate) enum Failed {
    Panicked(CallId, PanicReport),
    Link(LinkError),
}

/// What the calls that were run at once left to do.
enum Next {
    /// A call whose method is async.
    Wait(Work),
    /// An answer that waits for room.
    Late(Late),
    /// No more calls will come.
    Stopped,
}

/// Runs an actor of type `A` over its link until it is asked to stop.
pub(crate) async fn serve<A: Actor>(mut port: Port, replies: Replies<'_>) -> End {
    let mut actor = match construct::<A>(&mut port, replies).await {
        Ok(actor) => actor,
        Err(end) => return end,
    };
    let end = match run(&mut actor, &mut port, replies).await {
        Ok(()) => End::Stopped,
        Err(Failed::Link(error)) => End::Corrupt(error),
        Err(Failed::Panicked(call, report)) => {
            if call != CallId::NONE {
                finish(replies.send_panic(call, &report), &port, replies).await;
            }
            End::Panicked
        }
    };
    match caught_now(|| drop(actor)) {
        Ok(()) => end,
        Err(_) => End::Panicked,
    }
}

/// Waits for the constructor's frame, runs it, and answers it.
async fn construct<A: Actor>(port: &mut Port, replies: Replies<'_>) -> Result<A, End> {
    let mut body = Buffer::new();
    let head = match poll_fn(|cx| port.poll_next(cx, replies.sender, &mut body)).await {
        Ok(Event::Frame(head)) => head,
        Ok(Event::Stopped) => return Err(End::Stopped),
        Err(error) => return Err(End::Corrupt(error)),
    };
    if head.kind != Kind::Construct {
        return Err(End::Corrupt(LinkError::Unexpected));
    }
    crate::sys::failpoint::at("child.construct.before");
    let (result, answer) = match caught(A::construct(head.method, &body)).await {
        Ok(Ok(actor)) => {
            crate::sys::failpoint::at("child.construct.after");
            (Ok(actor), replies.send(Kind::Reply, head.call, &()))
        }
        Ok(Err(rejected)) => (Err(End::Rejected), rejected.answer(head.call, replies)),
        Err(report) => (Err(End::Panicked), replies.send_panic(head.call, &report)),
    };
    finish(answer, port, replies).await;
    result
}

async fn run<A: Actor>(actor: &mut A, port: &mut Port, replies: Replies<'_>) -> Result<(), Failed> {
    let mut now = Work {
        head: Head::new(Kind::Call, 0, CallId::NONE),
        body: Buffer::new(),
    };
    let mut ready = None;
    loop {
        let next = match ready.take() {
            Some(next) => next,
            None => poll_fn(|cx| poll_calls(actor, port, replies, &mut now, cx)).await?,
        };
        match next {
            Next::Stopped => return Ok(()),
            Next::Late(late) => with_room(late.send(replies.sender), port, replies).await,
            Next::Wait(work) if work.is_exclusive::<A>() => {
                run_alone(actor, work, port, replies).await?;
            }
            Next::Wait(work) => {
                ready = match shared::run(actor, work, port, replies).await? {
                    shared::Next::Idle => None,
                    shared::Next::Exclusive(work) => exclusive_next(actor, work, replies)?,
                    shared::Next::Stopped => Some(Next::Stopped),
                };
            }
        }
    }
}

/// Runs the calls that have come, up to one that needs more than this poll.
#[inline]
fn poll_calls<A: Actor>(
    actor: &mut A,
    port: &mut Port,
    replies: Replies<'_>,
    now: &mut Work,
    cx: &mut Context<'_>,
) -> Poll<Result<Next, Failed>> {
    loop {
        now.head = match ready!(port.poll_next(cx, replies.sender, &mut now.body)) {
            Ok(Event::Frame(head)) => head,
            Ok(Event::Stopped) => return Poll::Ready(Ok(Next::Stopped)),
            Err(error) => return Poll::Ready(Err(Failed::Link(error))),
        };
        check(now.head.kind)?;
        if now.waits::<A>() {
            let body = std::mem::replace(&mut now.body, codec::spare());
            let head = now.head;
            return Poll::Ready(Ok(Next::Wait(Work { head, body })));
        }
        let answer = run_now(actor, now, replies)?;
        codec::trim(&mut now.body);
        if let Some(late) = answer.0 {
            return Poll::Ready(Ok(Next::Late(late)));
        }
    }
}

/// Only calls and tells may follow the constructor.
pub(crate) fn check(kind: Kind) -> Result<(), Failed> {
    match kind {
        Kind::Call | Kind::Tell => Ok(()),
        _ => Err(Failed::Link(LinkError::Unexpected)),
    }
}

/// Runs a method that is not async.
#[inline]
fn run_now<A: Actor>(actor: &mut A, work: &Work, replies: Replies<'_>) -> Result<Answer, Failed> {
    let call = Incoming::new(work, replies);
    let ran = if work.is_exclusive::<A>() {
        caught_now(|| actor.run_exclusive(call))
    } else {
        caught_now(|| actor.run_shared(call))
    };
    ran.map_err(|report| Failed::Panicked(work.head.call, report))
}

/// What a call of `&mut self` that came behind calls of `&self` needs.
fn exclusive_next<A: Actor>(
    actor: &mut A,
    work: Work,
    replies: Replies<'_>,
) -> Result<Option<Next>, Failed> {
    if work.waits::<A>() {
        return Ok(Some(Next::Wait(work)));
    }
    let answer = run_now(actor, &work, replies)?;
    codec::recycle(work.body);
    Ok(answer.0.map(Next::Late))
}

/// Runs an async call of `&mut self` to its end.
async fn run_alone<A: Actor>(
    actor: &mut A,
    work: Work,
    port: &Port,
    replies: Replies<'_>,
) -> Result<(), Failed> {
    let running = caught(actor.await_exclusive(Incoming::new(&work, replies)));
    let answer = with_room(running, port, replies)
        .await
        .map_err(|report| Failed::Panicked(work.head.call, report))?;
    finish(answer, port, replies).await;
    codec::recycle(work.body);
    Ok(())
}

/// Sends what is left of an answer.
async fn finish(answer: Answer, port: &Port, replies: Replies<'_>) {
    if let Some(late) = answer.0 {
        with_room(late.send(replies.sender), port, replies).await;
    }
}

/// Runs `future`, and hears meanwhile of room for answers that wait.
async fn with_room<F: Future>(future: F, port: &Port, replies: Replies<'_>) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            port.poll_room(cx, replies.sender);
        }
        polled
    })
    .await
}
