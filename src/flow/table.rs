//! The streams of one end of a link, by their numbers.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::inflow::Arrivals;
use super::outflow::Account;
use super::{Finish, STREAMS_MAX, StreamId};
use crate::sys::body::Body;
use crate::transport::receiver::LinkError;
use crate::wire::attached::Attached;
use crate::wire::codec;
use crate::wire::frame::{Head, Kind};

/// The streams of one end of a link. Its locks are taken by frames of streams alone.
#[derive(Default)]
pub(crate) struct Flows {
    ends: Mutex<HashMap<StreamId, End>>,
    starving: Arc<Starving>,
}

/// This side's end of a stream.
enum End {
    Reads(Arc<Arrivals>),
    Writes(Arc<Account>),
}

/// How many streams wait for a frame of the other end.
#[derive(Debug, Default)]
pub(crate) struct Starving(AtomicUsize);

impl Starving {
    /// One waits more.
    pub(super) fn begin(&self) {
        // Relaxed: a number that the same task reads, or one that was woken by what changed it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One waits less.
    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No more streams may be open on this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

/// What a stream's frame has come to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It was taken in; the task to wake.
    In(Option<Waker>),
    /// No such stream is open here.
    Unknown,
}

impl Flows {
    /// Who waits for frames of these streams counts himself there.
    pub(super) fn starving(&self) -> Arc<Starving> {
        Arc::clone(&self.starving)
    }

    /// Whether a stream waits for a frame of the other end.
    pub(crate) fn is_starving(&self) -> bool {
        self.starving.0.load(Ordering::Relaxed) > 0
    }

    /// How many streams are open.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Opens the reading end of a stream.
    ///
    /// # Errors
    /// [`Crowded`] when there are too many, or the number is taken.
    pub(super) fn read(&self, id: StreamId, arrivals: Arc<Arrivals>) -> Result<(), Crowded> {
        self.open(id, End::Reads(arrivals))
    }

    /// Opens the writing end of a stream.
    ///
    /// # Errors
    /// [`Crowded`] when there are too many, or the number is taken.
    pub(super) fn write(&self, id: StreamId, account: Arc<Account>) -> Result<(), Crowded> {
        self.open(id, End::Writes(account))
    }

    fn open(&self, id: StreamId, end: End) -> Result<(), Crowded> {
        let mut ends = self.lock();
        if ends.len() >= STREAMS_MAX || ends.contains_key(&id) {
            return Err(Crowded);
        }
        ends.insert(id, end);
        Ok(())
    }

    /// Forgets a stream.
    pub(super) fn remove(&self, id: StreamId) {
        self.lock().remove(&id);
    }

    /// Takes in the frame of a stream, with what came beside it.
    ///
    /// # Errors
    /// [`LinkError`] when the other end breaks the rules.
    pub(crate) fn take(
        &self,
        head: Head,
        body: &mut Body,
        attached: Attached,
    ) -> Result<Taken, LinkError> {
        let ends = self.lock();
        let Some(end) = ends.get(&head.call.bits()) else {
            return Ok(Taken::Unknown);
        };
        let waker = match (end, head.kind) {
            (End::Reads(arrivals), Kind::Items) => {
                let body = mem::replace(body, codec::spare_body());
                arrivals.items(head.method, body, attached)?
            }
            (End::Reads(arrivals), Kind::Finish) => {
                let how = Finish::parse(head.method).ok_or(LinkError::Items)?;
                arrivals.finish(how, mem::take(body).into_private())
            }
            (End::Writes(account), Kind::Credit) => account.credit(body)?,
            (End::Writes(account), Kind::Close) => account.close(),
            _ => return Err(LinkError::Unexpected),
        };
        Ok(Taken::In(waker))
    }

    /// Tells all that nothing comes any more: the link has ended, or the other end does not react.
    pub(crate) fn lose_all(&self) {
        let lost = mem::take(&mut *self.lock());
        for end in lost.into_values() {
            let waker = match end {
                End::Reads(arrivals) => arrivals.lose(),
                End::Writes(account) => account.lose(),
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Has the streams that are written here end where they are: their owner ends.
    pub(crate) fn stop_writing(&self) {
        let mut wakers = Vec::new();
        for end in self.lock().values() {
            if let End::Writes(account) = end {
                wakers.extend(account.close());
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, End>> {
        // No code of anybody else's runs under it.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows")
            .field("open", &self.lock().len())
            .finish_non_exhaustive()
    }
}
