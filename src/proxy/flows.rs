//! The streams of a link at its caller's end: their frames come in among the answers.

use std::sync::Arc;
use std::task::Waker;

use super::exchange::{Core, Exchange};
use crate::flow::large::Room;
use crate::flow::table::{Flows, Taken};
use crate::flow::{self, Finish, Sending, Way};
use crate::transport::sender::{Locked, SendError};
use crate::wire::attached::Attached;
use crate::wire::codec::Buffer;
use crate::wire::frame::{Head, Kind};

impl Core {
    /// Whether somebody sleeps until something comes.
    pub(super) fn is_awaited(&self) -> bool {
        self.in_flight.parked() > 0 || !self.queue.is_empty() || self.streams > 0
    }
}

impl Exchange {
    /// Takes in the frame of a stream that came through the ring, and gives the task to wake.
    #[cold]
    pub(super) fn accept_flow(&self, held: &mut Locked<Core>, head: &Head) -> Option<Waker> {
        let attached = if head.attached {
            held.state.receiver.take_attached()
        } else {
            Attached::default()
        };
        self.take_flow(held, head, attached)
    }

    /// The same with what came beside it.
    pub(super) fn take_flow(
        &self,
        held: &mut Locked<Core>,
        head: &Head,
        attached: Attached,
    ) -> Option<Waker> {
        let id = head.call.bits();
        let told = match self.flows.take(*head, &mut held.state.body, attached) {
            Ok(Taken::In(waker)) => return waker,
            Err(error) => {
                self.break_off(held, &error);
                return None;
            }
            // Its end here was told, or its call was given up when it began.
            Ok(Taken::Unknown) if head.kind == Kind::Items => flow::head(Kind::Close, 0, id),
            Ok(Taken::Unknown) if head.kind == Kind::Credit => {
                flow::head(Kind::Finish, Finish::Dropped as u16, id)
            }
            Ok(Taken::Unknown) => return None,
        };
        let unwanted = &mut held.state.unwanted;
        // Each is told at its next frame again.
        if unwanted.len() < flow::STREAMS_MAX && !unwanted.contains(&told) {
            unwanted.push(told);
        }
        None
    }

    /// Tells who still sends for streams that are over, as far as there is room.
    #[inline]
    pub(super) fn tell_unwanted(&self, held: &mut Locked<Core>) {
        if !held.state.unwanted.is_empty() {
            self.tell_all_unwanted(held);
        }
    }

    #[cold]
    fn tell_all_unwanted(&self, held: &mut Locked<Core>) {
        while let Some(head) = held.state.unwanted.last() {
            if held.outbox.try_send_with(head, &[], &Attached::default()) == Err(SendError::Full) {
                return;
            }
            held.state.unwanted.pop();
        }
    }
}

impl Way for Exchange {
    fn flows(&self) -> &Flows {
        &self.flows
    }

    fn room(&self) -> Option<Room> {
        Room::of(&self.sender)
    }

    fn try_send(&self, head: &Head, body: &[u8], attached: &Attached) -> Result<(), SendError> {
        let mut held = self.lock();
        let sent = held.outbox.try_send_with(head, body, attached).map(drop);
        if let Err(error @ SendError::Corrupt(_)) = &sent {
            self.not_sent(&mut held, error);
        }
        sent
    }

    fn send(self: Arc<Self>, head: Head, body: Buffer, attached: Attached) -> Sending {
        Box::pin(async move {
            let sent = self
                .sender
                .send_with(&head, &body, &attached)
                .await
                .map(drop);
            if let Err(error @ SendError::Corrupt(_)) = &sent {
                self.not_sent(&mut self.lock(), error);
            }
            sent
        })
    }

    fn listen(self: Arc<Self>) {
        let mut held = self.lock();
        held.state.streams += 1;
        let is_watched = std::mem::replace(&mut held.state.watched, true);
        drop(held);
        if !is_watched {
            self.watch();
        }
        self.lookout.wake();
    }

    fn unlisten(&self) {
        self.lock().state.streams -= 1;
    }

    fn hear(&self) {
        let mut held = self.lock();
        self.drain(&mut held, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::inflow::{Inflow, Next};
    use crate::flow::parcel::{Parcel, put_value};
    use crate::flow::{Window, head};
    use crate::proxy::failure::Ended;
    use crate::sys::body::Body;
    use crate::transport::Link;
    use crate::transport::board::Geometry;
    use crate::transport::idle::Idle;
    use crate::transport::loopback;

    /// A caller without a driver: the tests look.
    fn exchange() -> (Arc<Exchange>, Link) {
        let geometry = Geometry::new(1 << 16, 8).unwrap();
        let (near, far) = loopback::pair(geometry, 1 << 20);
        let (exchange, _ear) = Exchange::new(near, 8, Idle::Park);
        (exchange, far)
    }

    fn send_items(far: &Link, id: u64, count: u64) {
        let mut parcel = Parcel::new(64, None);
        for number in 0..count {
            put_value(&number, &mut parcel).unwrap();
        }
        let head = head(Kind::Items, parcel.count(), id);
        far.sender.try_send(&head, parcel.bytes()).unwrap();
    }

    /// A server that sends more than it was asked for loses its link, and the readers are told so
    /// behind what had come in order.
    #[tokio::test]
    async fn a_server_without_credit_is_corrupt() {
        let (exchange, far) = exchange();
        let way = Arc::clone(&exchange) as Arc<dyn Way>;
        let window = Window {
            items: 3,
            bytes: 4096,
        };
        let mut inflow = Inflow::open(way, 7, window, None).unwrap();
        send_items(&far, 7, 3);
        send_items(&far, 7, 1);
        exchange.hear();
        assert!(matches!(exchange.ended(), Some(Ended::Corrupt(_))));
        for _ in 0..3 {
            let next = std::future::poll_fn(|cx| inflow.poll_next(cx)).await;
            assert!(matches!(next, Next::Item), "{next:?}");
            inflow.take(|_, _| ()).unwrap();
        }
        let next = std::future::poll_fn(|cx| inflow.poll_next(cx)).await;
        assert!(matches!(next, Next::Lost), "{next:?}");
    }

    /// Who sends for a stream that nobody reads is told so, once for all of his frames.
    #[tokio::test]
    async fn streams_that_nobody_reads_are_closed() {
        let (exchange, mut far) = exchange();
        for _ in 0..3 {
            send_items(&far, 9, 2);
        }
        far.sender
            .try_send(&head(Kind::Credit, 0, 11), &[1; 16])
            .unwrap();
        exchange.hear();
        assert!(exchange.ended().is_none());
        let mut told = Vec::new();
        while let Some(head) = far.receiver.try_recv(&mut Body::new()).unwrap() {
            told.push((head.kind, head.call.bits(), head.method));
        }
        told.sort_by_key(|(_, id, _)| *id);
        let dropped = Finish::Dropped as u16;
        assert_eq!(told, [(Kind::Close, 9, 0), (Kind::Finish, 11, dropped)]);
    }
}
