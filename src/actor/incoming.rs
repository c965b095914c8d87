//! One call as the generated code sees it: arguments out, result in.

use std::fmt;

use crate::transport::sender::Sender;
use crate::wire::codec::{self, Buffer, EncodeError, Message};
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;
use crate::wire::report::{PanicReport, Refusal};

/// A call that has come in.
#[doc(hidden)]
pub struct Incoming<'a> {
    head: Head,
    body: Buffer,
    replies: Replies<'a>,
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(head: Head, body: Buffer, replies: Replies<'a>) -> Self {
        Self {
            head,
            body,
            replies,
        }
    }

    pub(crate) fn id(&self) -> CallId {
        self.head.call
    }

    /// The method's number.
    #[must_use]
    pub fn method(&self) -> u16 {
        self.head.method
    }

    /// The arguments. None: they were no archive of `Args`, and the caller has been told.
    pub async fn open<Args: Message>(&self) -> Option<Args> {
        match codec::decode(&self.body) {
            Ok(args) => Some(args),
            Err(error) => {
                tracing::warn!(
                    error = describe(&error),
                    "a call's arguments were unreadable"
                );
                self.refuse(Refusal::Arguments(describe(&error))).await;
                None
            }
        }
    }

    /// Answers with the method's result.
    #[inline]
    pub async fn reply<T: Message>(self, value: &T) {
        self.answer(Kind::Reply, value).await;
    }

    /// Answers with the method's result, or its own error. Of a tell, the error is logged.
    pub async fn reply_result<T: Message, E: Message>(self, result: &Result<T, E>) {
        match result {
            Ok(value) => self.answer(Kind::Reply, value).await,
            Err(error) => {
                if self.head.kind == Kind::Tell {
                    let error = std::any::type_name::<E>();
                    tracing::warn!(error, "a method that was told returned its error");
                }
                self.answer(Kind::Failure, error).await;
            }
        }
    }

    /// Answers that there is no such method.
    pub async fn unknown(self) {
        self.refuse(Refusal::Unknown).await;
    }

    async fn refuse(&self, refusal: Refusal) {
        if self.head.kind != Kind::Tell {
            self.replies
                .send(Kind::Refused, self.head.call, &refusal)
                .await;
        }
    }

    #[inline]
    async fn answer<M: Message>(&self, kind: Kind, message: &M) {
        if self.head.kind != Kind::Tell {
            crate::sys::failpoint::at("callee.reply.before");
            self.replies.send(kind, self.head.call, message).await;
            crate::sys::failpoint::at("callee.reply.after");
        }
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        codec::recycle(std::mem::take(&mut self.body));
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// The way back to the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replies<'a> {
    sender: &'a Sender,
    message_len_max: usize,
}

impl<'a> Replies<'a> {
    pub(crate) fn new(sender: &'a Sender, message_len_max: usize) -> Self {
        Self {
            sender,
            message_len_max,
        }
    }

    /// Sends an answer; what cannot be sent becomes a refusal that says so.
    #[inline]
    pub(crate) async fn send<M: Message>(self, kind: Kind, call: CallId, message: &M) {
        let head = Head::new(kind, 0, call);
        let sent = codec::encode(message, self.message_len_max, |bytes| {
            match self.sender.try_send(&head, bytes) {
                Ok(_) => None,
                // It waits for room with a copy of its own: the encoder's memory is the thread's.
                Err(_) => Some(codec::copy(bytes)),
            }
        });
        match sent {
            Ok(None) => {}
            Ok(Some(copy)) => {
                // A link that has ended needs no answer.
                let _ = self.sender.send(&head, &copy).await;
                codec::recycle(copy);
            }
            Err(error) => self.send_refusal(call, &error).await,
        }
    }

    /// Tells the caller that the method panicked.
    pub(crate) async fn send_panic(self, call: CallId, report: &PanicReport) {
        self.send(Kind::Panicked, call, report).await;
    }

    #[cold]
    async fn send_refusal(self, call: CallId, error: &EncodeError) {
        let refusal = Refusal::Result(describe(error));
        if let Ok(copy) = codec::encode(&refusal, self.message_len_max, codec::copy) {
            // A link that has ended needs no answer.
            let _ = self
                .sender
                .send(&Head::new(Kind::Refused, 0, call), &copy)
                .await;
        }
    }
}

/// Why a constructor gave no actor, as it travels.
#[doc(hidden)]
#[derive(Debug)]
pub struct Rejected {
    pub(crate) kind: Kind,
    pub(crate) body: Buffer,
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

    fn arguments(reason: String) -> Self {
        Self::of(Kind::Refused, &Refusal::Arguments(reason))
    }

    fn of<M: Message>(kind: Kind, message: &M) -> Self {
        match codec::encode(message, usize::MAX, codec::copy) {
            Ok(body) => Self { kind, body },
            Err(error) => {
                let refusal = Refusal::Result(describe(&error));
                let body = codec::encode(&refusal, usize::MAX, codec::copy).unwrap_or_default();
                Self {
                    kind: Kind::Refused,
                    body,
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

/// An error and its causes in one line, for the other process.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
