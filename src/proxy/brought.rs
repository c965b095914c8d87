//! The calling end of a link within one process: answers are brought to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::driver::Lookout;
use super::exchange::Exchange;
use crate::transport::Link;
use crate::transport::direct::{Addressee, Reader};
use crate::transport::idle::Idle;
use crate::wire::attached::Attached;
use crate::wire::frame::Head;

impl Exchange {
    /// Callers of a [loopback](crate::transport::loopback) link, whose far end brings the answers
    /// itself: there is no driver.
    pub(crate) fn local((near, far): (Link, &mut Link), slots: usize, idle: Idle) -> Arc<Self> {
        // Nobody rings for what is brought.
        let (exchange, _) = Self::over(near, slots, idle, Lookout::none());
        far.sender
            .deliver_to(Arc::clone(&exchange) as Arc<dyn Addressee>);
        exchange
    }

    /// Whether an answer seems to have come, for who has no lock.
    #[inline]
    pub(super) fn is_promising(&self) -> bool {
        if self.lookout.is_needless() {
            self.brought.load(Ordering::Relaxed)
        } else {
            self.glance.is_promising()
        }
    }
}

impl Addressee for Exchange {
    #[inline]
    fn take_in(&self, head: &Head, body: &[u8], attached: &Attached) {
        let mut held = self.lock();
        let own = held.state.body.own_mut();
        own.clear();
        own.extend_from_slice(body);
        let waker = if head.kind.is_flow() {
            self.take_flow(&mut held, head, attached.clone())
        } else {
            if !attached.is_empty() {
                held.state.in_flight.attach(head.call, attached.clone());
            }
            self.accept(&mut held, head)
        };
        self.tell_unwanted(&mut held);
        // It has this lock now, and would need it for this when it goes to sleep.
        held.outbox.promise();
        self.brought.store(true, Ordering::Relaxed);
        drop(held);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_by_calls(&self, waker: &Waker) {
        let reader = Reader {
            waker: waker.clone(),
            promise: self.promise.clone(),
        };
        let last = self.lock().outbox.wake_by_writing(reader);
        // Without the lock: what lets a task go may run what the task holds.
        drop(last);
    }

    #[inline]
    fn has_promised(&self) -> bool {
        self.promise.stands()
    }

    #[inline]
    fn lets_doze(&self) -> bool {
        self.promise.stands() || self.lock().outbox.promise()
    }

    fn tell_of_room(&self) {
        self.sender.room_freed();
    }
}
