//! Runs one actor: its constructor, its calls in their order, its end.
//!
//! ```text
//!  frame ─> wanted? ─> &mut self ─> alone, to its end
//!                  └─> &self ────> together with the `&self` calls that follow (shared.rs)
//! ```
//!
//! The borrow is the rule: a call of `&mut self` waits for those before it, and those after wait
//! for it. A call that ends without waiting runs inside the poll that read it: no task, no channel,
//! no allocation.

use std::future::{Future, poll_fn};
use std::pin::pin;

use super::Actor;
use super::incoming::{Incoming, Replies};
use super::panic::{caught, caught_now};
use super::port::{Event, Port};
use super::shared;
use crate::transport::receiver::LinkError;
use crate::transport::sender::Sender;
use crate::wire::codec::Buffer;
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;
use crate::wire::report::PanicReport;

/// A call or tell that has come in.
pub(crate) struct Work {
    pub(crate) head: Head,
    pub(crate) body: Buffer,
}

impl Work {
    /// Whether its method takes `&mut self`. A method that there is not is answered in any phase.
    pub(crate) fn is_exclusive<A: Actor>(&self) -> bool {
        let methods = const { A::INTERFACE.methods };
        methods
            .get(usize::from(self.head.method))
            .is_some_and(|method| method.exclusive)
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

/// Runs an actor of type `A` over its link until it is asked to stop.
pub(crate) async fn serve<A: Actor>(
    mut port: Port,
    sender: &Sender,
    message_len_max: usize,
) -> End {
    let replies = Replies::new(sender, message_len_max);
    let mut actor = match construct::<A>(&mut port, sender, replies).await {
        Ok(actor) => actor,
        Err(end) => return end,
    };
    let end = match run(&mut actor, &mut port, (sender, message_len_max)).await {
        Ok(()) => End::Stopped,
        Err(Failed::Link(error)) => End::Corrupt(error),
        Err(Failed::Panicked(call, report)) => {
            if call != CallId::NONE {
                replies.send_panic(call, &report).await;
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
async fn construct<A: Actor>(
    port: &mut Port,
    sender: &Sender,
    replies: Replies<'_>,
) -> Result<A, End> {
    let (head, body) = match poll_fn(|cx| port.poll_next(cx, sender)).await {
        Ok(Event::Frame(head, body)) => (head, body),
        Ok(Event::Stopped) => return Err(End::Stopped),
        Err(error) => return Err(End::Corrupt(error)),
    };
    if head.kind != Kind::Construct {
        return Err(End::Corrupt(LinkError::Unexpected));
    }
    crate::sys::failpoint::at("child.construct.before");
    match caught(A::construct(head.method, &body)).await {
        Ok(Ok(actor)) => {
            crate::sys::failpoint::at("child.construct.after");
            replies.send(Kind::Reply, head.call, &()).await;
            Ok(actor)
        }
        Ok(Err(rejected)) => {
            let head = Head::new(rejected.kind, 0, head.call);
            // A parent that has gone needs no answer.
            let _ = sender.send(&head, &rejected.body).await;
            Err(End::Rejected)
        }
        Err(report) => {
            replies.send_panic(head.call, &report).await;
            Err(End::Panicked)
        }
    }
}

async fn run<A: Actor>(
    actor: &mut A,
    port: &mut Port,
    (sender, message_len_max): (&Sender, usize),
) -> Result<(), Failed> {
    let mut ready = None;
    loop {
        let work = match ready.take() {
            Some(work) => work,
            None => match poll_fn(|cx| port.poll_next(cx, sender))
                .await
                .map_err(Failed::Link)?
            {
                Event::Frame(head, body) => Work { head, body },
                Event::Stopped => return Ok(()),
            },
        };
        if !matches!(work.head.kind, Kind::Call | Kind::Tell) {
            return Err(Failed::Link(LinkError::Unexpected));
        }
        if work.is_exclusive::<A>() {
            run_alone(actor, work, port, (sender, message_len_max)).await?;
        } else {
            match shared::run(actor, work, port, (sender, message_len_max)).await? {
                shared::Next::Idle => {}
                shared::Next::Exclusive(work) => ready = Some(work),
                shared::Next::Stopped => return Ok(()),
            }
        }
    }
}

/// Runs a `&mut self` call to its end.
async fn run_alone<A: Actor>(
    actor: &mut A,
    work: Work,
    port: &Port,
    (sender, message_len_max): (&Sender, usize),
) -> Result<(), Failed> {
    let call = Incoming::new(work.head, work.body, Replies::new(sender, message_len_max));
    let id = call.id();
    let mut running = pin!(caught(actor.run_exclusive(call)));
    let ran = poll_fn(|cx| {
        let polled = running.as_mut().poll(cx);
        if polled.is_pending() {
            port.poll_room(cx, sender);
        }
        polled
    });
    ran.await.map_err(|report| Failed::Panicked(id, report))
}
