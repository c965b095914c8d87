//! Waiting to begin a call: first come, first served.
//!
//! A call for which there is no slot or no room takes a ticket. While there are tickets, nobody
//! sends without one, so the calls of one caller go out in the order in which they were made.
//!
//! To another machine what is large takes its time, and others do not wait for it: it [steps
//! aside](Ticket::step_aside) while its blobs go, and while it goes itself, in pieces. So there
//! calls go out in the order in which the last of them is sent.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::exchange::{BeginError, Core, Exchange};
use super::in_flight::Patience;
use crate::wire::attached::Attached;
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;

/// A place in the queue; dropped, the next one moves up.
#[derive(Debug)]
pub(crate) struct Ticket {
    exchange: Arc<Exchange>,
    number: u64,
    bounded: bool,
}

impl Ticket {
    /// Lets the others go on, who would have to wait for it.
    fn step_aside(&self) {
        let mut held = self.exchange.lock();
        if held.state.queue.waiting.remove(&self.number).is_some() {
            held.state.queue.wake_first();
        }
    }

    /// Waits behind those who have come meanwhile.
    fn queue_again(&mut self) {
        let mut held = self.exchange.lock();
        let patience = held.state.patience(self.bounded);
        self.number = held.state.queue.join(patience);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.step_aside();
    }
}

/// Those who wait to begin a call, in their order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By their tickets.
    waiting: BTreeMap<u64, Waiter>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiter {
    /// Its task, once that sleeps.
    waker: Option<Waker>,
    patience: Patience,
    /// It has waited for the usual time, which this is.
    late: Option<Duration>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Wakes the first: it is its turn, or a slot came free. Only it can do anything about it.
    pub(super) fn wake_first(&mut self) {
        if let Some(mut first) = self.waiting.first_entry()
            && let Some(waker) = first.get_mut().waker.take()
        {
            waker.wake();
        }
    }

    /// Wakes all: no call begins any more.
    pub(super) fn wake_all(&mut self) {
        let waiters = self.waiting.values_mut();
        let wakers = waiters.filter_map(|waiter| waiter.waker.take());
        wakers.for_each(Waker::wake);
    }

    /// Notes who has waited for the usual time, of so many looks of one `period`. Whether anybody.
    pub(super) fn lose_late(&mut self, (now, usual): (u32, u32), period: Duration) -> bool {
        let mut any = false;
        for waiter in self.waiting.values_mut() {
            if waiter.patience.is_over(now, usual) {
                waiter.late = Some(period * usual);
                any = true;
            }
        }
        any
    }

    fn join(&mut self, patience: Patience) -> u64 {
        let number = self.next_ticket;
        self.next_ticket += 1;
        let waiter = Waiter {
            waker: None,
            patience,
            late: None,
        };
        self.waiting.insert(number, waiter);
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
    /// A place in the queue of those who wait, for the usual time if it is `bounded`: from now on
    /// nobody overtakes.
    pub(crate) fn queue_up(self: &Arc<Self>, bounded: bool) -> Ticket {
        let mut held = self.lock();
        let patience = held.state.patience(bounded);
        let number = held.state.queue.join(patience);
        let is_watched = std::mem::replace(&mut held.state.watched, true);
        drop(held);
        if !is_watched {
            self.watch();
        }
        // Answers free slots: from now on somebody has to look for them.
        self.lookout.wake();
        Ticket {
            exchange: Arc::clone(self),
            number,
            bounded,
        }
    }

    /// Sends a call or tell when its turn, a slot and room for it have come.
    ///
    /// # Errors
    /// That the link has ended, the peer does not react, or the usual time has passed.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the call was not sent, or it is cancelled.
    pub(crate) async fn begin(
        mut ticket: Ticket,
        head: Head,
        payload: (&[u8], &Attached),
    ) -> Result<CallId, BeginError> {
        let exchange = Arc::clone(&ticket.exchange);
        let mut _conveyed = None;
        if exchange.sender.conveys(payload.1) {
            ticket.step_aside();
            let Ok(conveyed) = exchange.sender.convey(payload.1).await else {
                // The way has ended, and why will be told.
                exchange.told_over().await;
                return Err(BeginError::Ended);
            };
            _conveyed = conveyed;
            ticket.queue_again();
        }
        let given_up = pin!(ticket.exchange.given_up.notified());
        let late = pin!(ticket.exchange.is_late(&ticket));
        let begun = pin!(Self::begin_in_turn(&ticket, head, payload));
        match select(begun, select(given_up, late)).await {
            Either::Left((begun, _)) => begun,
            Either::Right((Either::Left(_), _)) => Err(BeginError::Ended),
            Either::Right((Either::Right((after, _)), _)) => Err(BeginError::Late(after)),
        }
    }

    /// Waits for the usual time, and tells how long that is.
    async fn is_late(&self, ticket: &Ticket) -> Duration {
        loop {
            let mut late = pin!(self.late.notified());
            late.as_mut().enable();
            let waiter = |queue: &Queue| queue.waiting.get(&ticket.number)?.late;
            if let Some(after) = waiter(&self.lock().state.queue) {
                return after;
            }
            late.await;
        }
    }

    async fn begin_in_turn(
        ticket: &Ticket,
        head: Head,
        (body, attached): (&[u8], &Attached),
    ) -> Result<CallId, BeginError> {
        let exchange = &*ticket.exchange;
        let call = exchange.wait_for_turn(ticket, head.kind).await?;
        let mut unsent = Unsent { exchange, call };
        if exchange.sender.is_slow(body.len()) {
            ticket.step_aside();
        }
        let head = Head { call, ..head };
        match exchange.sender.send_with(&head, body, attached).await {
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
            let patience = held.state.patience(ticket.bounded);
            let Core {
                queue, in_flight, ..
            } = &mut held.state;
            let first = queue.waiting.first_key_value().map(|(number, _)| *number);
            if first == Some(ticket.number) {
                if kind == Kind::Tell {
                    return Poll::Ready(Ok(CallId::NONE));
                }
                if let Some(call) = in_flight.insert(patience) {
                    return Poll::Ready(Ok(call));
                }
            }
            if let Some(waiter) = queue.waiting.get_mut(&ticket.number) {
                waiter.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
