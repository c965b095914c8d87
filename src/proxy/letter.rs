//! A call that is written and waits to be sent.

use super::ambient::chained;
use super::exchange::{BeginError, Exchange};
use super::queue::Ticket;
use crate::transport::arena::{Draft, Parcel};
use crate::wire::attached::Attached;
use crate::wire::chain::Chain;
use crate::wire::codec::{self, Buffer, Script};
use crate::wire::frame::Head;
use crate::wire::id::CallId;

impl Exchange {
    /// Room for the arguments of a call that are too long for a frame, and how long that is.
    #[inline]
    pub(super) fn draft(&self) -> (usize, Option<Draft<'_>>) {
        (self.sender.inline_len_max(), self.sender.draft())
    }
}

/// A call that is written and not sent.
pub(super) struct Letter {
    head: Head,
    body: Buffer,
    /// What travels beside it.
    attached: Attached,
    /// Where its payload lies, if not in the body.
    parcel: Option<Parcel>,
}

impl Letter {
    /// One with bytes of its own.
    #[cold]
    pub(super) fn keep(head: Head, script: Script<'_>, attached: &Attached) -> Box<Self> {
        Box::new(Self {
            head,
            body: script.keep(),
            attached: attached.clone(),
            parcel: None,
        })
    }

    /// Keeps the payload that was to be sent with the letter, if there is one; else it was sent, or
    /// nobody waits, and its room is free again.
    pub(super) fn enclose(letter: &mut Option<Box<Self>>, parcel: Option<Parcel>) {
        if let Some(letter) = letter {
            letter.parcel = parcel;
        }
    }

    /// Sends it when its turn and room have come.
    ///
    /// # Errors
    /// As [`Exchange::begin`].
    pub(super) async fn begin(self: Box<Self>, ticket: Ticket) -> Result<CallId, BeginError> {
        let Self {
            head,
            body,
            attached,
            parcel,
        } = *self;
        let begun = Exchange::begin(ticket, head, (&body, &attached)).await;
        // Once it is sent, it is the actor's; before that, its room is free again.
        drop(parcel);
        begun
    }
}

/// Sends what lies in the arena: its frame carries the chain and nothing else.
#[inline(never)]
pub(super) fn send_parcel(
    head: Head,
    chain: Option<&Chain>,
    parcel: Option<&Parcel>,
    send: impl FnOnce(Head, Script<'_>),
) {
    let head = parcel.map_or(head, |parcel| parcel.address(head));
    match chain {
        None => send(head, Script::of(&mut Buffer::new())),
        Some(chain) => {
            let (head, mut body) = chained(head, codec::copy(&[]), chain);
            send(head, Script::of(&mut body));
        }
    }
}
