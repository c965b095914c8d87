//! How an answer becomes a call's result.

use std::task::{Context, Poll, ready};

use super::Caller;
use super::call::DecodeFailure;
use super::exchange::BeginError;
use super::failure::{CallError, Outcome};
use super::in_flight::Answer;
use crate::transport::spin::Vigil;
use crate::wire::codec::{self, DecodeError, EncodeError};
use crate::wire::frame::Kind;
use crate::wire::id::CallId;
use crate::wire::report::{PanicReport, Refusal};
use crate::wire::view::Reply;

impl Caller {
    /// The result of `call`, once it has come.
    #[inline]
    pub(crate) fn poll_result<T: Reply, E>(
        &self,
        cx: &Context<'_>,
        method: u16,
        failure: DecodeFailure<E>,
        (call, vigil): (CallId, &mut Vigil),
    ) -> Poll<Result<T, CallError<E>>> {
        let answer = ready!(self.exchange().poll_answer(cx, call, vigil));
        Poll::Ready(self.read_answer(method, failure, answer))
    }

    /// Why a call that waited for room was not begun.
    pub(super) fn not_begun<E>(&self, method: u16, error: BeginError) -> CallError<E> {
        let outcome = Outcome::NotRun;
        match error {
            BeginError::Late(after) => CallError::Timeout { after, outcome },
            BeginError::Unattached => CallError::Encode {
                method: self.method_name(method),
                source: EncodeError::Arrays,
            },
            BeginError::Full | BeginError::Ended => {
                CallError::ended(self.exchange().ended(), outcome)
            }
        }
    }

    #[inline]
    fn read_answer<T: Reply, E>(
        &self,
        method: u16,
        failure: DecodeFailure<E>,
        answer: Answer,
    ) -> Result<T, CallError<E>> {
        let (kind, body, attached) = match answer {
            Answer::Frame(kind, body, attached) => (kind, body, attached),
            Answer::Lost { was_read } => {
                let outcome = if was_read {
                    Outcome::MayHaveRun
                } else {
                    Outcome::NotRun
                };
                return Err(CallError::ended(self.exchange().ended(), outcome));
            }
            Answer::Late(after, outcome) => {
                return Err(CallError::Timeout { after, outcome });
            }
        };
        if kind == Kind::Reply {
            let read = attached.within(|| T::__read(body));
            return read.map_err(|source| self.unread(method, source));
        }
        let error = attached.within(|| self.read_failure(method, failure, kind, &body));
        codec::recycle(body);
        Err(error)
    }

    #[cold]
    fn read_failure<E>(
        &self,
        method: u16,
        failure: DecodeFailure<E>,
        kind: Kind,
        body: &[u8],
    ) -> CallError<E> {
        let read = match kind {
            Kind::Failure => failure(body).map(CallError::Actor),
            Kind::Panicked => codec::decode::<PanicReport>(body).map(CallError::Panicked),
            _ => codec::decode::<Refusal>(body).map(|refusal| self.refused(method, refusal)),
        };
        read.unwrap_or_else(|source| self.unread(method, source))
    }

    pub(super) fn refused<E>(&self, method: u16, refusal: Refusal) -> CallError<E> {
        let method = self.method_name(method);
        match refusal {
            Refusal::Unknown => CallError::UnknownMethod { method },
            Refusal::Arguments(reason) => CallError::Arguments { method, reason },
            Refusal::Result(reason) => CallError::Result { method, reason },
            Refusal::Start(reason) => CallError::Start { reason },
            Refusal::Full => CallError::Full { method },
            Refusal::Dropped => CallError::Dropped { method },
            Refusal::Crowded => CallError::TooManyStreams { method },
        }
    }

    #[cold]
    pub(super) fn unread<E>(&self, method: u16, source: DecodeError) -> CallError<E> {
        CallError::Decode {
            method: self.method_name(method),
            source,
        }
    }
}
