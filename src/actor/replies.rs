//! The way back to the caller: results become frames.
//!
//! An answer goes out at once where there is room; else it is kept as [`Late`], for the server to
//! send when there is. So no method's code waits for its caller.

use std::error::Error;
use std::sync::Arc;

use crate::flow::large::Room;
use crate::flow::table::Flows;
use crate::flow::{Sending, Way};
use crate::transport::arena::Parcel;
use crate::transport::idle::Idle;
use crate::transport::sender::{SendError, Sender};
use crate::wire::attached::Attached;
use crate::wire::codec::{self, Buffer, EncodeError, Message, Script};
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;
use crate::wire::report::{PanicReport, Refusal};
use crate::wire::sink::{Spill, Written};

/// That a call was answered, or what is still to be sent for it.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "an answer may have to wait for room"]
pub struct Answer(pub(crate) Option<Late>);

/// A frame that waits for room. On the heap: every method that was run gives an [`Answer`], and
/// hardly any of them waits.
#[derive(Debug)]
pub(crate) struct Late(Box<Waiting>);

#[derive(Debug)]
struct Waiting {
    head: Head,
    body: Buffer,
    attached: Attached,
    /// Where its payload lies, if not in the body.
    parcel: Option<Parcel>,
}

impl Late {
    #[cold]
    fn new(head: Head, body: Buffer, attached: Attached, parcel: Option<Parcel>) -> Self {
        Self(Box::new(Waiting {
            head,
            body,
            attached,
            parcel,
        }))
    }

    /// How many bytes of it wait here.
    pub(super) fn len(&self) -> usize {
        self.0.body.len()
    }

    /// Sends it when there is room.
    #[cold]
    pub(crate) async fn send(self, sender: &Sender) {
        let waiting = *self.0;
        let (head, body, attached) = (&waiting.head, &waiting.body, &waiting.attached);
        // A link that has ended needs no answer.
        let _ = sender.send_with(head, body, attached).await;
        // Once it is sent, it is the caller's.
        drop(waiting.parcel);
        codec::recycle(waiting.body.into());
    }
}

/// The way back over one link, as streams use it: they may outlive the call.
#[derive(Debug)]
pub(crate) struct Back {
    sender: Sender,
    flows: Flows,
}

impl Back {
    /// By `sender`, which waits for room as its link's `idle` says.
    pub(crate) fn new(sender: Sender, idle: Idle) -> Self {
        sender.wait_as(idle);
        let flows = Flows::default();
        Self { sender, flows }
    }

    #[inline]
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }
}

impl Way for Back {
    fn flows(&self) -> &Flows {
        &self.flows
    }

    fn room(&self) -> Option<Room> {
        Room::of(&self.sender)
    }

    fn try_send(&self, head: &Head, body: &[u8], attached: &Attached) -> Result<(), SendError> {
        self.sender.try_send_with(head, body, attached).map(drop)
    }

    fn send(self: Arc<Self>, head: Head, body: Buffer, attached: Attached) -> Sending {
        Box::pin(async move {
            self.sender
                .send_with(&head, &body, &attached)
                .await
                .map(drop)
        })
    }

    /// The actor looks as long as it lives.
    fn listen(self: Arc<Self>) {}

    fn unlisten(&self) {}

    /// Only the actor itself looks.
    fn hear(&self) {}
}

/// The way back to the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replies<'a> {
    pub(crate) sender: &'a Sender,
    message_len_max: usize,
}

impl<'a> Replies<'a> {
    pub(crate) fn new(sender: &'a Sender, message_len_max: usize) -> Self {
        Self {
            sender,
            message_len_max,
        }
    }

    pub(crate) fn message_len_max(self) -> usize {
        self.message_len_max
    }

    /// Answers `call`; what cannot be sent becomes a refusal that says so.
    #[inline]
    pub(crate) fn send<M: Message>(self, kind: Kind, call: CallId, message: &M) -> Answer {
        let head = Head::new(kind, 0, call);
        let mut draft = self.sender.draft();
        let edge = self.sender.inline_len_max();
        let spill = draft.as_mut().map(|draft| (edge, draft as &mut dyn Spill));
        let limit = self.message_len_max;
        let written = codec::encode_by(message, limit, spill, |script, attached| {
            self.try_send_script(head, script, attached)
        });
        match written {
            Ok(Written::Here(Ok(answer))) => answer,
            Ok(Written::Here(Err(error))) => self.refuse(call, &error),
            Ok(Written::There(len, attached)) => {
                let parcel = draft.and_then(|draft| draft.seal(len));
                self.send_parcel(head, parcel, attached)
            }
            Err(error) => self.refuse(call, &error),
        }
    }

    /// Answers with what lies in the arena.
    #[inline(never)]
    fn send_parcel(self, head: Head, parcel: Option<Parcel>, attached: Attached) -> Answer {
        let head = parcel.as_ref().map_or(head, |parcel| parcel.address(head));
        match self.sender.try_send_with(&head, &[], &attached) {
            Ok(_) => Answer(None),
            Err(_) => Answer(Some(Late::new(head, codec::spare(), attached, parcel))),
        }
    }

    /// Answers that the method panicked.
    pub(crate) fn send_panic(self, call: CallId, report: &PanicReport) -> Answer {
        self.send(Kind::Panicked, call, report)
    }

    #[inline]
    pub(crate) fn send_bytes(self, head: Head, bytes: &[u8], attached: &Attached) -> Answer {
        let sent = self.sender.try_send_with(&head, bytes, attached);
        self.settle(head, &sent, || (codec::copy(bytes), attached.clone()))
            .unwrap_or_else(|error| self.refuse(head.call, &error))
    }

    /// # Errors
    /// [`EncodeError::Arrays`] when what goes with it cannot travel.
    #[inline]
    fn try_send_script(
        self,
        head: Head,
        script: Script<'_>,
        attached: &Attached,
    ) -> Result<Answer, EncodeError> {
        let sent = self.sender.try_send_with(&head, &script, attached);
        // It waits with memory of its own: the encoder's is the thread's.
        self.settle(head, &sent, || (script.keep(), attached.clone()))
    }

    /// What became of an answer; one for which there is no room waits as `keep` gives it.
    ///
    /// # Errors
    /// [`EncodeError::Arrays`] when what goes with it cannot travel.
    #[inline]
    fn settle(
        self,
        head: Head,
        sent: &Result<u64, SendError>,
        keep: impl FnOnce() -> (Buffer, Attached),
    ) -> Result<Answer, EncodeError> {
        match sent {
            Ok(_) => Ok(Answer(None)),
            Err(SendError::Unattached) => Err(EncodeError::Arrays),
            Err(_) => {
                let (body, attached) = keep();
                Ok(Answer(Some(Late::new(head, body, attached, None))))
            }
        }
    }

    #[cold]
    fn refuse(self, call: CallId, error: &EncodeError) -> Answer {
        let refusal = Refusal::Result(describe(error));
        let head = Head::new(Kind::Refused, 0, call);
        let sent = codec::encode_with(&refusal, usize::MAX, |bytes, attached| {
            self.send_bytes(head, bytes, attached)
        });
        sent.unwrap_or(Answer(None))
    }
}

/// An error and its causes in one line, for the other process.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
