//! Waiting to begin a call: first come, first served.
//!
//! A call for which there is no slot or no room takes a ticket. While there are tickets, nobody
//! sends without one, so the calls of one caller go out in the order in which they were made.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures_util::future::{Either, select};

use super::exchange::{BeginError, Core, Exchange};
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
        let mut held = self.exchange.lock();
        held.state.queue.waiting.remove(&self.number);
        held.state.queue.wake_first();
    }
}

/// Those who wait to begin a call, in their order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By their tickets; each with its task, once that sleeps.
    waiting: BTreeMap<u64, Option<Waker>>,
    next_ticket: u64,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Wakes the first: it is its turn, or a slot came free. Only it can do anything about it.
    pub(super) fn wake_first(&mut self) {
        if let Some(mut first) = self.waiting.first_entry()
            && let Some(waker) = first.get_mut().take()
        {
            waker.wake();
        }
    }

    /// Wakes all: no call begins any more.
    pub(super) fn wake_all(&mut self) {
        let wakers = self.waiting.values_mut().filter_map(Option::take);
        wakers.for_each(Waker::wake);
    }

    fn join(&mut self) -> u64 {
        let number = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(number, None);
        number
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
        let mut held = self.lock();
        let number = held.state.queue.join();
        held.state.watched = true;
        drop(held);
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
                exchange.lock().state.in_flight.sent(call, position);
                unsent.call = CallId::NONE;
                Ok(call)
            }
            Err(error) => Err(exchange.not_sent(&mut exchange.lock(), &error)),
        }
    }

    async fn wait_for_turn(&self, ticket: &Ticket, kind: Kind) -> Result<CallId, BeginError> {
        poll_fn(|cx| {
            let mut held = self.lock();
            if self.ended().is_some() {
                return Poll::Ready(Err(BeginError::Ended));
            }
            let Core {
                queue, in_flight, ..
            } = &mut held.state;
            let first = queue.waiting.first_key_value().map(|(number, _)| *number);
            if first == Some(ticket.number) {
                if kind == Kind::Tell {
                    return Poll::Ready(Ok(CallId::NONE));
                }
                if let Some(call) = in_flight.insert() {
                    return Poll::Ready(Ok(call));
                }
            }
            if let Some(waker) = queue.waiting.get_mut(&ticket.number) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
