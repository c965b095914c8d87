//! iceoryx2's publish-subscribe with loans: each message is written into the shared memory from
//! which the other side reads it.
//!
//! The queue is as long as an arena of callboard's has leases, so that both have as much in flight,
//! and both write a message by one copy of memory that the sender has.

use std::hint;

use ::iceoryx2::prelude::*;

use super::blocking;
use super::iceoryx2::{LAST, MORE, SETTLED};
use crate::meter::{Flow, Meter};
use crate::stage::{Second, ready, say};
use crate::subject::{IN_PLACE, Outcome};

/// How many messages are in flight at most.
const DEPTH: usize = 128;

pub(super) fn publish(
    node: &Node<ipc::Service>,
    start: impl Fn() -> Outcome<Second>,
    meter: &mut Meter,
) -> Outcome {
    let service = node
        .service_builder(&"loans".try_into()?)
        .publish_subscribe::<[u8]>()
        .subscriber_max_buffer_size(DEPTH)
        .enable_safe_overflow(false)
        .open_or_create()?;
    let publisher = service
        .publisher_builder()
        .initial_max_slice_len(IN_PLACE)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()?;
    let mut second = start()?;
    meter.watch(second.pid());
    let (more, mut last) = (vec![MORE; IN_PLACE], vec![MORE; IN_PLACE]);
    last[0] = LAST;
    let send = |payload: &[u8]| -> Outcome {
        let loan = publisher.loan_slice_uninit(IN_PLACE)?;
        loan.write_from_slice(payload).send()?;
        Ok(())
    };
    let settle = async || {
        send(&last)?;
        second.expect(SETTLED)
    };
    blocking(meter.tells(Flow::Stream, async || send(&more), settle))
}

pub(super) fn subscribe(node: &Node<ipc::Service>) -> Outcome {
    let service = node
        .service_builder(&"loans".try_into()?)
        .publish_subscribe::<[u8]>()
        .open()?;
    let subscriber = service.subscriber_builder().buffer_size(DEPTH).create()?;
    ready()?;
    let mut taken = 0_u64;
    loop {
        while let Some(message) = subscriber.receive()? {
            taken = hint::black_box(taken.wrapping_add(u64::from(message[1])));
            if message[0] == LAST {
                say(SETTLED)?;
            }
        }
    }
}
