//! Hears that nobody wants a running call any more.
//!
//! A cancel is a word in the link's board, and a ring. Whoever runs a call that wants to know of it
//! [watches](Cancels::watch); whoever hears the bell has the board looked at.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::transport::board::Board;
use crate::wire::id::CallId;

/// The running calls of an actor that want to know when they are cancelled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancels(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    calls: Mutex<Calls>,
    /// How many there are, for those who have no lock.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    watched: HashMap<u64, Call>,
}

#[derive(Debug)]
struct Call {
    board: Board,
    id: CallId,
    waker: Waker,
}

impl Cancels {
    /// Whether anybody watches: then the bell is not left unheard.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        // Relaxed: the actor's own task watches, or wakes it after.
        self.0.count.load(Ordering::Relaxed) > 0
    }

    /// Wakes those whose calls have been cancelled: the bell has rung.
    pub(crate) fn look(&self) {
        if self.is_watched() {
            let calls = self.lock();
            let cancelled = |call: &&Call| call.board.is_cancelled(call.id);
            let cancelled = calls.watched.values().filter(cancelled);
            cancelled.for_each(|call| call.waker.wake_by_ref());
        }
    }

    /// Ready when `call` of the link with this board is cancelled.
    pub(crate) async fn watch(&self, board: &Board, call: CallId) {
        let mut place = Place {
            cancels: self,
            number: None,
        };
        poll_fn(|cx| {
            if board.is_cancelled(call) {
                return Poll::Ready(());
            }
            place.enter(Call {
                board: board.clone(),
                id: call,
                waker: cx.waker().clone(),
            });
            // It may have been cancelled, and the bell heard, before the place was taken.
            if board.is_cancelled(call) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the watched.
struct Place<'a> {
    cancels: &'a Cancels,
    number: Option<u64>,
}

impl Place<'_> {
    fn enter(&mut self, call: Call) {
        let mut calls = self.cancels.lock();
        let number = *self.number.get_or_insert_with(|| {
            calls.next += 1;
            calls.next
        });
        calls.watched.insert(number, call);
        let count = calls.watched.len();
        self.cancels.0.count.store(count, Ordering::Relaxed);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut calls = self.cancels.lock();
            calls.watched.remove(&number);
            let count = calls.watched.len();
            self.cancels.0.count.store(count, Ordering::Relaxed);
        }
    }
}
