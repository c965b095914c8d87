//! One call as the generated code sees it: arguments out, result in.

use std::fmt;
use std::future::Future;
use std::pin::pin;

use futures_util::future::{Either, select};
use rkyv::rancor::Error as Cause;

use super::context::Context;
use super::hooks::{MethodError, UnknownCall};
use super::inbox::Post;
use super::own::Job;
use super::replies::{Answer, Replies, describe};
use super::server::Work;
use crate::wire::attached::Attached;
use crate::wire::codec::{self, Buffer, DecodeError, Message};
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;
use crate::wire::interface::ASK;
use crate::wire::report::Refusal;

/// A call that has come in.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    work: &'a Work,
    post: Post<'a>,
}

impl<'a> Incoming<'a> {
    #[inline]
    pub(crate) fn new(work: &'a Work, post: Post<'a>) -> Self {
        Self { work, post }
    }

    /// What the method may know of its call.
    #[must_use]
    pub fn context(self) -> Context {
        Context::new(self.work, self.post)
    }

    /// What `run` gives, unless the call is cancelled before: then `run` is dropped where it waits.
    ///
    /// # Errors
    /// The call was cancelled, and needs no answer.
    pub async fn unless_cancelled<T>(self, run: impl Future<Output = T>) -> Result<T, Answer> {
        let board = self.work.board(self.post);
        let cancels = self.post.signals.cancels();
        let cancelled = pin!(cancels.watch(board, self.work.head.call));
        match select(pin!(run), cancelled).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => {
                crate::sys::failpoint::at("callee.cancelled");
                Err(Answer(None))
            }
        }
    }

    /// Another call of the same actor.
    pub(super) fn beside(self, work: &'a Work) -> Self {
        Self { work, ..self }
    }

    pub(super) fn work(&self) -> &'a Work {
        self.work
    }

    pub(super) fn post(&self) -> Post<'a> {
        self.post
    }

    /// The longest archive of one item.
    pub(super) fn message_len_max(self) -> usize {
        self.replies().message_len_max()
    }

    /// Leaves something to do for the actor's hooks.
    pub(super) fn note(self, job: Job) {
        self.work.note(job);
    }

    /// The method's number.
    #[inline]
    #[must_use]
    pub fn method(self) -> u16 {
        self.work.head.method
    }

    /// The arguments.
    ///
    /// # Errors
    /// They were no archive of `Args`, and the caller is told.
    #[inline]
    pub fn open<Args: Message>(self) -> Result<Args, Answer> {
        let opened = self.work.attached.within(|| codec::decode(&self.work.body));
        opened.map_err(|error| self.unreadable(&error))
    }

    /// The arguments of a method that borrows some of them: `take` finds those in the message,
    /// which lies still as long as the call runs, and copies the others out of it.
    ///
    /// # Errors
    /// They were no archive of `Args`, and the caller is told.
    #[inline]
    pub fn read<Args: Message, R>(
        self,
        take: impl FnOnce(&'a Args::Archived) -> Result<R, Cause>,
    ) -> Result<R, Answer> {
        let attached = &self.work.attached;
        let read = attached.within(|| codec::read::<Args, R>(&self.work.body, take));
        read.map_err(|error| self.unreadable(&error))
    }

    #[cold]
    pub(super) fn unreadable(self, error: &DecodeError) -> Answer {
        tracing::warn!(
            error = describe(error),
            "a call's arguments were unreadable"
        );
        self.refuse(&Refusal::Arguments(describe(error)))
    }

    /// Answers with the method's result.
    #[inline]
    pub fn reply<T: Message>(self, value: &T) -> Answer {
        self.answer(Kind::Reply, value)
    }

    /// Answers with the method's result, or its own error. Of a tell, the error is logged.
    #[inline]
    pub fn reply_result<T: Message, E: Message>(
        self,
        result: &Result<T, E>,
        text: fn(&E) -> String,
    ) -> Answer {
        match result {
            Ok(value) => self.answer(Kind::Reply, value),
            Err(error) => self.failed(error, text),
        }
    }

    /// The same for an actor that is told of errors which nobody else is told of.
    #[inline]
    pub fn reply_result_noted<T: Message, E: Message>(
        self,
        result: &Result<T, E>,
        text: fn(&E) -> String,
        method: &'static str,
    ) -> Answer {
        if let Err(error) = result
            && self.work.head.kind == Kind::Tell
        {
            let message = text(error);
            self.note(Job::Error(MethodError { method, message }));
        }
        self.reply_result(result, text)
    }

    #[cold]
    fn failed<E: Message>(self, error: &E, text: fn(&E) -> String) -> Answer {
        if self.work.head.kind == Kind::Tell {
            let error = text(error);
            tracing::warn!(error, "a method that was told returned its error");
        }
        self.answer(Kind::Failure, error)
    }

    /// Answers that there is no such method.
    pub fn unknown(self) -> Answer {
        if self.work.head.method == ASK {
            return self.ask();
        }
        self.refuse(&Refusal::Unknown)
    }

    /// Tells whoever owns the actor that a caller asks for its end.
    #[cold]
    pub(super) fn ask(self) -> Answer {
        self.post.signals.ask();
        if self.work.head.kind == Kind::Tell {
            return Answer(None);
        }
        self.replies().send(Kind::Reply, self.work.head.call, &())
    }

    /// The same for an actor that is told of it.
    pub fn unknown_noted(self) -> Answer {
        let Head { method, kind, .. } = self.work.head;
        if method == ASK {
            return self.ask();
        }
        self.note(Job::Unhandled(UnknownCall {
            number: method,
            told: kind == Kind::Tell,
        }));
        self.unknown()
    }

    #[cold]
    pub(super) fn refuse(self, refusal: &Refusal) -> Answer {
        if self.work.head.kind == Kind::Tell {
            return Answer(None);
        }
        self.replies()
            .send(Kind::Refused, self.work.head.call, refusal)
    }

    /// Sends what is left of an answer.
    pub(super) async fn finish(self, answer: Answer) {
        if let Some(late) = answer.0 {
            late.send(self.replies().sender).await;
        }
    }

    #[inline]
    fn replies(self) -> Replies<'a> {
        self.work.replies(self.post.main)
    }

    #[inline]
    pub(super) fn answer<M: Message>(self, kind: Kind, message: &M) -> Answer {
        if self.work.head.kind == Kind::Tell {
            return Answer(None);
        }
        crate::sys::failpoint::at("callee.reply.before");
        let answer = self.replies().send(kind, self.work.head.call, message);
        crate::sys::failpoint::at("callee.reply.after");
        answer
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("head", &self.work.head)
            .finish_non_exhaustive()
    }
}

/// Why a constructor gave no actor, as it travels.
#[doc(hidden)]
#[derive(Debug)]
pub struct Rejected {
    pub(crate) kind: Kind,
    pub(crate) body: Buffer,
    attached: Attached,
}

impl Rejected {
    /// There is no such constructor.
    #[must_use]
    pub fn unknown(_index: u16) -> Self {
        Self::of(Kind::Refused, &Refusal::Unknown)
    }

    /// The constructor returned its error.
    #[must_use]
    pub fn error<E: Message>(error: &E) -> Self {
        Self::of(Kind::Failure, error)
    }

    /// The actor's hook before the first call returned its error, which said this.
    pub(super) fn start(error: String) -> Self {
        Self::of(Kind::Refused, &Refusal::Start(error))
    }

    /// Sends it to whoever asked for the actor.
    pub(crate) fn answer(self, call: CallId, replies: Replies<'_>) -> Answer {
        replies.send_bytes(Head::new(self.kind, 0, call), &self.body, &self.attached)
    }

    fn arguments(reason: String) -> Self {
        Self::of(Kind::Refused, &Refusal::Arguments(reason))
    }

    fn of<M: Message>(kind: Kind, message: &M) -> Self {
        let encoded = codec::encode_with(message, usize::MAX, |body, attached| Self {
            kind,
            body: codec::copy(body),
            attached: attached.clone(),
        });
        match encoded {
            Ok(rejected) => rejected,
            Err(error) => {
                let refusal = Refusal::Result(describe(&error));
                let body = codec::encode(&refusal, usize::MAX, codec::copy).unwrap_or_default();
                Self {
                    kind: Kind::Refused,
                    body,
                    attached: Attached::default(),
                }
            }
        }
    }
}

/// The arguments of a constructor.
///
/// # Errors
/// [`Rejected`] when they are no archive of `Args`.
#[doc(hidden)]
pub fn decode_args<Args: Message>(body: &[u8]) -> Result<Args, Rejected> {
    codec::decode(body).map_err(|error| Rejected::arguments(describe(&error)))
}

/// The arguments of a constructor that borrows some of them; see [`Incoming::read`].
///
/// # Errors
/// [`Rejected`] when they are no archive of `Args`.
#[doc(hidden)]
pub fn read_args<'a, Args: Message, R>(
    body: &'a [u8],
    take: impl FnOnce(&'a Args::Archived) -> Result<R, Cause>,
) -> Result<R, Rejected> {
    let read = codec::read::<Args, R>(body, take);
    read.map_err(|error| Rejected::arguments(describe(&error)))
}
