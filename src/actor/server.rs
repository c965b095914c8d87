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
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll, ready};

use super::Actor;
use super::batch::{self, Beside};
use super::context::Context;
use super::hooks::{self, NotStarted};
use super::inbox::{Event, Inbox, Post};
use super::incoming::{Incoming, Rejected};
use super::own::{self, Job};
use super::panic::{caught, caught_now};
use super::replies::{Answer, Late, Replies};
use super::shared;
use super::signals::Line;
use crate::proxy::ambient::{Serving, within, within_async};
use crate::sys::body::Body;
use crate::transport::board::Board;
use crate::transport::receiver::LinkError;
use crate::wire::attached::Attached;
use crate::wire::chain::{ActorKey, Chain};
use crate::wire::codec;
use crate::wire::frame::{FrameError, Head, Kind};
use crate::wire::id::CallId;
use crate::wire::interface::{Method, OWN};
use crate::wire::report::PanicReport;

/// A call or tell that has come in.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// The memory that came with it.
    pub(super) attached: Attached,
    /// Over which further link; none: over the main one.
    line: Option<Arc<Line>>,
    /// Those who wait for it.
    chain: Option<Chain>,
    /// What it is instead, if it came from the actor itself.
    job: Option<Box<Job>>,
    /// What it left to do for the actor's hooks.
    note: OnceLock<Box<Job>>,
    /// Those that run together with it.
    pub(super) beside: Option<Box<Beside>>,
}

impl Work {
    /// Room for a call.
    pub(crate) fn new() -> Self {
        Self {
            head: Head::new(Kind::Call, 0, CallId::NONE),
            body: Body::new(),
            attached: Attached::default(),
            line: None,
            chain: None,
            job: None,
            note: OnceLock::new(),
            beside: None,
        }
    }

    /// A call that nobody has sent and nobody waits for.
    pub(crate) fn own() -> Self {
        let mut work = Self::new();
        work.head = Head::new(Kind::Tell, OWN, CallId::NONE);
        work
    }

    /// A call that the actor makes to itself.
    pub(crate) fn job_of(job: Box<Job>) -> Self {
        let mut work = Self::own();
        work.job = Some(job);
        work
    }

    /// What it is, if it came from the actor itself.
    #[inline]
    pub(crate) fn job(&self) -> Option<&Job> {
        self.job.as_deref()
    }

    /// Leaves something to do for the actor's hooks; of one call, the first counts.
    pub(crate) fn note(&self, job: Job) {
        let _ = self.note.set(Box::new(job));
    }

    /// What it left to do.
    #[inline]
    pub(crate) fn take_note(&mut self) -> Option<Box<Job>> {
        self.note.take()
    }

    /// Makes it the call of `head` that came over `line`, its body being there.
    ///
    /// # Errors
    /// [`LinkError`] when the chain at the body's end is none.
    #[inline]
    pub(crate) fn set(&mut self, head: Head, line: Option<&Arc<Line>>) -> Result<(), LinkError> {
        self.head = head;
        self.line = line.cloned();
        self.chain = None;
        if head.chain_len != 0 {
            self.take_chain()?;
        }
        Ok(())
    }

    #[cold]
    fn take_chain(&mut self) -> Result<(), LinkError> {
        let len = usize::try_from(self.head.chain_len).ok();
        let chain = len.and_then(|len| self.body.cut(len, Chain::read));
        self.chain = Some(chain.ok_or(FrameError::Chain)??);
        Ok(())
    }

    /// The board of the link that it came by.
    pub(super) fn board<'a>(&'a self, post: Post<'a>) -> &'a Board {
        match &self.line {
            None => post.board,
            Some(line) => &line.board,
        }
    }

    /// Those who wait for it, and for those that run together with it.
    #[inline]
    pub(super) fn chain(&self) -> Option<&Chain> {
        match &self.beside {
            None => self.chain.as_ref(),
            Some(beside) => beside.chain(),
        }
    }

    /// On whose behalf the method of the actor `me` runs.
    #[inline]
    pub(crate) fn serving<A: Actor>(&self, me: ActorKey) -> Serving {
        let deadline = match &self.beside {
            None => self.head.deadline,
            Some(beside) => beside.deadline(self.head.deadline),
        };
        Serving {
            actor: me,
            exclusive: self.is_exclusive::<A>(),
            deadline,
        }
    }

    /// Forgets a call that is done, and keeps its memory for the next one.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.body.let_go();
        codec::trim(self.body.own_mut());
        self.attached = Attached::default();
        self.line = None;
        self.chain = None;
    }

    /// Takes the call out, leaving room for another one.
    pub(crate) fn take(&mut self) -> Self {
        let body = std::mem::replace(&mut self.body, codec::spare_body());
        Self {
            head: self.head,
            body,
            attached: std::mem::take(&mut self.attached),
            line: self.line.take(),
            chain: self.chain.take(),
            job: self.job.take(),
            note: std::mem::take(&mut self.note),
            beside: self.beside.take(),
        }
    }

    /// The way back to its caller, where `main` is that over the main link.
    #[inline]
    pub(crate) fn replies<'a>(&'a self, main: Replies<'a>) -> Replies<'a> {
        match &self.line {
            None => main,
            Some(line) => line.replies(),
        }
    }

    /// The further link that it came over, if it did.
    pub(super) fn line(&self) -> Option<&Arc<Line>> {
        self.line.as_ref()
    }

    /// Only calls and tells may follow the constructor.
    ///
    /// # Errors
    /// [`LinkError`] when it is neither.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), LinkError> {
        match self.head.kind {
            Kind::Call | Kind::Tell => Ok(()),
            _ => Err(LinkError::Unexpected),
        }
    }

    /// Its method; none: there is no such method, which is answered in any phase.
    #[inline]
    pub(crate) fn method<A: Actor>(&self) -> Option<&'static Method> {
        const { &A::INTERFACE }.method(self.head.method)
    }

    /// Whether its method takes `&mut self`.
    #[inline]
    pub(crate) fn is_exclusive<A: Actor>(&self) -> bool {
        match self.method::<A>() {
            Some(method) => method.exclusive,
            None => hooks::is_exclusive::<A>(self),
        }
    }

    /// Whether its method is async.
    #[inline]
    pub(crate) fn waits<A: Actor>(&self) -> bool {
        match self.method::<A>() {
            Some(method) => method.waits,
            None => hooks::is_meant::<A>(self),
        }
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
    Panicked(PanicReport),
    /// The caller broke the rules.
    Corrupt(LinkError),
}

/// Why the calls could not go on.
pub(crate) enum Failed {
    Panicked(Box<Panicked>),
    Link(LinkError),
}

/// Which call panicked, and how.
pub(crate) struct Panicked {
    work: Work,
    report: PanicReport,
}

impl Failed {
    #[cold]
    pub(crate) fn panicked(work: Work, report: PanicReport) -> Self {
        Self::Panicked(Box::new(Panicked { work, report }))
    }
}

/// What the calls that were run at once left to do.
enum Next {
    /// A call whose method is async.
    Wait(Work),
    /// An answer that waits for room.
    Late(Work, Late),
    /// No more calls will come.
    Stopped,
}

/// Runs an actor of type `A` until it is asked to stop; `last` is done just before it is dropped.
pub(crate) async fn serve<A: Actor>(mut inbox: Inbox<'_>, last: impl AsyncFnOnce()) -> End {
    let mut actor = match construct::<A>(&mut inbox).await {
        Ok(actor) => actor,
        Err(end) => return end,
    };
    inbox.serve(const { &A::INTERFACE });
    inbox.post().signals.begin();
    let end = match run(&mut actor, &mut inbox).await {
        Ok(()) => match hooks::stop(&mut actor, inbox.post().signals.legacy()).await {
            Ok(()) => End::Stopped,
            Err(report) => End::Panicked(report),
        },
        Err(Failed::Link(error)) => End::Corrupt(error),
        Err(Failed::Panicked(panicked)) => {
            let Panicked { work, report } = *panicked;
            for work in batch::unanswered(&work) {
                if work.head.kind == Kind::Call {
                    let answer = work
                        .replies(inbox.main())
                        .send_panic(work.head.call, &report);
                    finish(answer, work, &mut inbox).await;
                }
            }
            meanwhile(inbox.paid(), &mut inbox).await;
            hooks::fail(&mut actor, &report, inbox.post().signals.legacy()).await;
            End::Panicked(report)
        }
    };
    inbox.post().signals.end_tasks();
    hooks::before_end(&end, last()).await;
    match (end, hooks::end(actor)) {
        // The first panic is the cause.
        (end, Ok(())) | (end @ End::Panicked(_), Err(_)) => end,
        (_, Err(report)) => End::Panicked(report),
    }
}

/// Waits for the constructor's frame, runs it, and answers it.
async fn construct<A: Actor>(inbox: &mut Inbox<'_>) -> Result<A, End> {
    let mut work = Work::new();
    match poll_fn(|cx| inbox.poll_next(cx, &mut work)).await {
        Ok(Event::Call) => {}
        Ok(Event::Stopped) => return Err(End::Stopped),
        Err(error) => return Err(End::Corrupt(error)),
    }
    let Head {
        kind, method, call, ..
    } = work.head;
    if kind != Kind::Construct {
        return Err(End::Corrupt(LinkError::Unexpected));
    }
    let replies = inbox.main();
    let context = Context::new(&work, inbox.post());
    crate::sys::failpoint::at("child.construct.before");
    let constructed = {
        let mut constructing = pin!(A::construct(method, &work.body, context));
        // Its arguments are read when it is polled first.
        let attached = &work.attached;
        caught(poll_fn(|cx| {
            attached.within(|| constructing.as_mut().poll(cx))
        }))
        .await
    };
    let (result, answer) = match constructed {
        Ok(Ok(actor)) => {
            crate::sys::failpoint::at("child.construct.after");
            begin(actor, call, inbox.post(), replies).await
        }
        Ok(Err(rejected)) => (Err(End::Rejected), rejected.answer(call, replies)),
        Err(report) => {
            let answer = replies.send_panic(call, &report);
            (Err(End::Panicked(report)), answer)
        }
    };
    finish(answer, &work, inbox).await;
    result
}

/// Runs the first hooks of a new actor, which is there only then, and answers for it.
async fn begin<A: Actor>(
    mut actor: A,
    call: CallId,
    post: Post<'_>,
    replies: Replies<'_>,
) -> (Result<A, End>, Answer) {
    let failed = match hooks::start(&mut actor, post.signals.legacy()).await {
        Ok(()) => return (Ok(actor), replies.send(Kind::Reply, call, &())),
        Err(failed) => failed,
    };
    // Before the answer, which ends this process.
    let dropped = hooks::end(actor);
    match failed {
        NotStarted::Error(error) => {
            let end = match dropped {
                Ok(()) => End::Rejected,
                Err(report) => End::Panicked(report),
            };
            (Err(end), Rejected::start(error).answer(call, replies))
        }
        NotStarted::Panicked(report) => {
            let answer = replies.send_panic(call, &report);
            (Err(End::Panicked(report)), answer)
        }
    }
}

async fn run<A: Actor>(actor: &mut A, inbox: &mut Inbox<'_>) -> Result<(), Failed> {
    let mut now = Work::new();
    let mut ready = None;
    loop {
        let next = match ready.take() {
            Some(next) => next,
            None => poll_fn(|cx| poll_calls(actor, inbox, &mut now, cx)).await?,
        };
        match next {
            Next::Stopped => match inbox.own.next_note() {
                // What went wrong before the end is told before it.
                Some(note) => run_alone(actor, note, inbox).await?,
                None if inbox.is_paid() => return Ok(()),
                // What came meanwhile comes before the end, too.
                None => meanwhile(inbox.paid(), inbox).await,
            },
            Next::Late(work, late) => finish(Answer(Some(late)), &work, inbox).await,
            Next::Wait(work) if work.is_exclusive::<A>() => run_alone(actor, work, inbox).await?,
            Next::Wait(work) => {
                ready = match shared::run(actor, work, inbox).await? {
                    shared::Next::Idle => None,
                    shared::Next::Exclusive(work)
                        if work.job().is_none() && inbox.overtakes(&work) =>
                    {
                        inbox.put_back(work);
                        None
                    }
                    shared::Next::Exclusive(work) => exclusive_next(actor, work, inbox)?,
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
    inbox: &mut Inbox<'_>,
    now: &mut Work,
    cx: &mut task::Context<'_>,
) -> Poll<Result<Next, Failed>> {
    loop {
        match ready!(own::poll_next(actor, inbox, cx, now))? {
            Event::Call => now.check().map_err(Failed::Link)?,
            Event::Stopped => return Poll::Ready(Ok(Next::Stopped)),
        }
        if now.waits::<A>() {
            return Poll::Ready(Ok(Next::Wait(now.take())));
        }
        let answer = match run_now(actor, now, inbox.post()) {
            Ok(answer) => answer,
            Err(report) => return Poll::Ready(Err(Failed::panicked(now.take(), report))),
        };
        inbox.own.heed::<A>(now);
        if let Some(late) = answer.0 {
            return Poll::Ready(Ok(Next::Late(now.take(), late)));
        }
        now.clear();
    }
}

/// Runs a method that is not async.
#[inline]
fn run_now<A: Actor>(actor: &mut A, work: &Work, post: Post<'_>) -> Result<Answer, PanicReport> {
    let call = Incoming::new(work, post);
    let serving = work.serving::<A>(post.actor);
    let exclusive = serving.exclusive;
    let run = || {
        if exclusive {
            actor.run_exclusive(call)
        } else {
            actor.run_shared(call)
        }
    };
    caught_now(|| within(serving, work.chain(), run))
}

/// What a call of `&mut self` that came behind calls of `&self` needs.
fn exclusive_next<A: Actor>(
    actor: &mut A,
    mut work: Work,
    inbox: &mut Inbox<'_>,
) -> Result<Option<Next>, Failed> {
    if work.waits::<A>() {
        return Ok(Some(Next::Wait(work)));
    }
    match run_now(actor, &work, inbox.post()) {
        Ok(Answer(late)) => {
            inbox.own.heed::<A>(&mut work);
            Ok(late.map(|late| Next::Late(work, late)))
        }
        Err(report) => Err(Failed::panicked(work, report)),
    }
}

/// Runs an async call of `&mut self` to its end.
async fn run_alone<A: Actor>(
    actor: &mut A,
    mut work: Work,
    inbox: &mut Inbox<'_>,
) -> Result<(), Failed> {
    if const { A::INTERFACE.has_batches() } {
        batch::collect::<A>(&mut work, inbox).await;
    }
    let call = Incoming::new(&work, inbox.post());
    let serving = work.serving::<A>(inbox.post().actor);
    let running = within_async(serving, work.chain(), actor.await_exclusive(call));
    match meanwhile(caught(running), inbox).await {
        Ok(answer) => {
            finish(answer, &work, inbox).await;
            inbox.own.heed::<A>(&mut work);
            if let Some(beside) = work.beside.take() {
                beside.end::<A>(&mut inbox.own);
            }
            codec::recycle(work.body);
            Ok(())
        }
        Err(report) => Err(Failed::panicked(work, report)),
    }
}

/// Sends what is left of the answer of `work`.
async fn finish(answer: Answer, work: &Work, inbox: &mut Inbox<'_>) {
    if let Some(late) = answer.0 {
        meanwhile(late.settle(work.line(), inbox.main()), inbox).await;
    }
}

/// Runs `future`, and takes in meanwhile what comes.
async fn meanwhile<F: Future>(future: F, inbox: &mut Inbox<'_>) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            inbox.poll_meanwhile(cx);
        }
        polled
    })
    .await
}
