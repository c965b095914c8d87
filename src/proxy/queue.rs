//! Waiting to begin a call: first come, first served.
//!
//! A call for which there is no slot or no room takes a ticket. While there are tickets, nobody
//! sends without one, so the calls of one caller go out in the order in which they were made.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};

use super::exchange::{BeginError, Exchange};
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;

/// A place in the queue; dropped, the next one moves up.
#[derive(Debug)]
pub(crate) struct Ticket {
    exchange: Arc<Exchange>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.exchange.lock().queue.remove(&self.number);
        self.exchange.queue_moved.notify_waiters();
    }
}

/// A slot whose call is not sent yet; dropped, it is cancelled.
struct Unsent<'a> {
    exchange: &'a Exchange,
    call: CallId,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if self.call != CallId::NONE {
            self.exchange.cancel(self.call);
        }
    }
}

impl Exchange {
    /// A place in the queue of those who wait: from now on nobody overtakes.
    pub(crate) fn queue_up(self: &Arc<Self>) -> Ticket {
        let mut core = self.lock();
        let number = core.next_ticket;
        core.next_ticket += 1;
        core.queue.insert(number);
        core.watched = true;
        drop(core);
        // Answers free slots: from now on somebody has to look for them.
        self.driver().wake();
        Ticket {
            exchange: Arc::clone(self),
            number,
        }
    }

    /// Sends a call or tell when its turn, a slot and room for it have come.
    ///
    /// # Errors
    /// That the link has ended, or the peer does not react.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the call was not sent, or it is cancelled.
    pub(crate) async fn begin(
        ticket: Ticket,
        head: Head,
        body: &[u8],
    ) -> Result<CallId, BeginError> {
        let given_up = pin!(ticket.exchange.given_up.notified());
        let begun = pin!(Self::begin_in_turn(&ticket, head, body));
        match select(begun, given_up).await {
            Either::Left((begun, _)) => begun,
            Either::Right(_) => Err(BeginError::Ended),
        }
    }

    async fn begin_in_turn(ticket: &Ticket, head: Head, body: &[u8]) -> Result<CallId, BeginError> {
        let exchange = &*ticket.exchange;
        let call = exchange.wait_for_turn(ticket, head.kind).await?;
        let mut unsent = Unsent { exchange, call };
        match exchange.sender.send(&Head { call, ..head }, body).await {
            Ok(position) => {
                exchange.lock().in_flight.sent(call, position);
                unsent.call = CallId::NONE;
                Ok(call)
            }
            Err(error) => Err(exchange.not_sent(&mut exchange.lock(), &error)),
        }
    }

    async fn wait_for_turn(&self, ticket: &Ticket, kind: Kind) -> Result<CallId, BeginError> {
        loop {
            let mut moved = pin!(self.queue_moved.notified());
            moved.as_mut().enable();
            {
                let mut core = self.lock();
                if self.ended().is_some() {
                    return Err(BeginError::Ended);
                }
                if core.queue.first() == Some(&ticket.number) {
                    if kind == Kind::Tell {
                        return Ok(CallId::NONE);
                    }
                    if let Some(call) = core.in_flight.insert() {
                        return Ok(call);
                    }
                }
            }
            moved.await;
        }
    }
}
