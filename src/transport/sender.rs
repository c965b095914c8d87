//! The sending half of a link: frames go out whole, in order, and wait for room.
//!
//! ```text
//! try_send ── room ──> the ring, and the peer's doorbell if it sleeps
//!    └─ none ─> send: queue for the turn (first come, first served), then wait for room
//! ```
//!
//! What it does not know: what a frame means. A payload beyond [`Sender::inline_len_max`] goes in
//! chunks; the turn is kept meanwhile, so nothing comes between them, and if the future is dropped
//! half-way the peer is told to forget them.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use tokio::sync::Notify;

use super::board::Memory;
use crate::ring::{ClaimError, Corrupt, Producer};
use crate::sys::doorbell::Doorbell;
use crate::wire::frame::{HEAD_LEN_MAX, Head, Kind};
use crate::wire::id::CallId;

/// Why a frame was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// There is no room now.
    #[error("the link is full")]
    Full,
    /// The link has ended.
    #[error("the link has ended")]
    Closed,
    /// The peer broke the rules.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// The sending half of a link, shared by everyone in this process who sends over it.
#[derive(Debug)]
pub(crate) struct Sender {
    /// On cache lines of its own: threads that send meet here.
    outbox: CachePadded<Mutex<Outbox>>,
    /// How many wait in [`Sender::send`]; nobody overtakes them.
    waiting: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
    room: Notify,
    inline_len_max: usize,
}

#[derive(Debug)]
struct Outbox {
    producer: Producer<Memory>,
    /// The peer's bell.
    bell: Doorbell,
    closed: bool,
    /// Chunks were begun that will never be finished, and the peer has not been told.
    abort_due: bool,
}

impl Sender {
    /// Sends through `producer` and rings `bell`. One frame carries at most an eighth of the ring.
    pub(crate) fn new(producer: Producer<Memory>, ring_capacity: usize, bell: Doorbell) -> Self {
        Self {
            outbox: CachePadded::new(Mutex::new(Outbox {
                producer,
                bell,
                closed: false,
                abort_due: false,
            })),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            inline_len_max: ring_capacity / 8 - HEAD_LEN_MAX,
        }
    }

    /// The longest payload that one frame carries.
    #[cfg(test)]
    pub(crate) fn inline_len_max(&self) -> usize {
        self.inline_len_max
    }

    /// Sends a frame now, and gives the position behind it.
    ///
    /// # Errors
    /// [`SendError::Full`] when it would have to wait: no room, others wait already, or it needs
    /// chunks.
    #[inline]
    pub(crate) fn try_send(&self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        if body.len() > self.inline_len_max {
            return Err(SendError::Full);
        }
        let mut outbox = self.lock();
        // Looked at under the lock, where those who wait announce themselves.
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return Err(SendError::Full);
        }
        outbox.write(head, body)
    }

    /// Sends a frame, when its turn and room have come, and gives the position behind it.
    ///
    /// # Errors
    /// [`SendError`], never `Full`.
    ///
    /// # Cancel safety
    /// Dropped before it is done, nothing was sent, or the peer forgets the part that was.
    pub(crate) async fn send(&self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        match self.try_send(head, body) {
            Err(SendError::Full) => {}
            settled => return settled,
        }
        let _queued = Queued::new(self);
        let _turn = self.turn.lock().await;
        if body.len() <= self.inline_len_max {
            self.write_when_room(head, body).await
        } else {
            self.write_chunks(head, body).await
        }
    }

    /// Wakes those who wait for room: the bell has rung.
    pub(crate) fn room_freed(&self) {
        if self.is_waited_on() {
            self.room.notify_waiters();
        }
    }

    /// Whether somebody waits to send.
    pub(crate) fn is_waited_on(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Rings the peer for room that it waits for.
    pub(crate) fn ring(&self) {
        self.lock().bell.ring();
    }

    /// How far the peer has read, as it says.
    pub(crate) fn released(&self) -> u64 {
        self.lock().producer.released()
    }

    /// Ends the link's sending half; who waits gets an error.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_waiters();
    }

    async fn write_chunks(&self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        let first = Head {
            total: Some(body.len() as u64),
            ..*head
        };
        let chunk = Head::new(Kind::Chunk, 0, CallId::NONE);
        let mut pieces = body.chunks(self.inline_len_max);
        let mut unfinished = Unfinished { sender: Some(self) };
        let mut position = self
            .write_when_room(&first, pieces.next().unwrap_or_default())
            .await?;
        for piece in pieces {
            position = self.write_when_room(&chunk, piece).await?;
        }
        unfinished.sender = None;
        Ok(position)
    }

    async fn write_when_room(&self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        loop {
            let mut notified = pin!(self.room.notified());
            notified.as_mut().enable();
            let written = {
                let mut outbox = self.lock();
                match outbox.write(head, body) {
                    Err(SendError::Full) => {
                        outbox.producer.want_room();
                        outbox.write(head, body)
                    }
                    settled => settled,
                }
            };
            match written {
                Err(SendError::Full) => {
                    // The peer may have nobody who looks: all its calls were dropped.
                    self.ring();
                    notified.await;
                }
                settled => return settled,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Nothing of the user's runs under this lock, and a claim that was not committed left no
        // trace.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    #[inline]
    fn write(&mut self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.abort_due {
            self.commit(&Head::new(Kind::Abort, 0, CallId::NONE), &[])?;
            self.abort_due = false;
        }
        let position = self.commit(head, body)?;
        if self.producer.announce() {
            self.bell.ring();
        }
        Ok(position)
    }

    #[inline]
    fn commit(&mut self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        let (tag, head_bytes) = head.encode();
        let head_bytes = head_bytes.as_slice();
        let mut claim = match self.producer.claim(head_bytes.len() + body.len()) {
            Ok(claim) => claim,
            Err(ClaimError::Full) => return Err(SendError::Full),
            Err(ClaimError::Corrupt(corrupt)) => return Err(corrupt.into()),
            Err(ClaimError::TooLong { max }) => {
                unreachable!("a frame is at most half of a record's {max} bytes")
            }
        };
        claim.write(head_bytes);
        crate::sys::failpoint::at("send.claimed");
        claim.write(body);
        Ok(claim.commit(tag))
    }
}

/// Counts one who waits; the count changes under the lock, so that a fast sender sees it.
struct Queued<'a>(&'a Sender);

impl<'a> Queued<'a> {
    fn new(sender: &'a Sender) -> Self {
        let _locked = sender.lock();
        sender.waiting.fetch_add(1, Ordering::Relaxed);
        Self(sender)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the peer to forget chunks whose rest will not come.
struct Unfinished<'a> {
    sender: Option<&'a Sender>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender {
            // The next frame carries the news; until then the peer holds what it has, within its
            // limit.
            sender.lock().abort_due = true;
        }
    }
}
