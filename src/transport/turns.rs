//! Sending that waits: for its turn, for room, for the blobs that go before it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::{SendError, Sender};
use crate::transport::porter::Conveyed;
use crate::transport::spin::{Next, Vigil};
use crate::wire::attached::Attached;
use crate::wire::frame::{HEAD_LEN_MAX, Head, Kind};
use crate::wire::id::CallId;

impl<T> Sender<T> {
    /// As [`send_with`](Self::send_with), with nothing beside it.
    #[cfg(test)]
    pub(crate) async fn send(&self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        self.send_with(head, body, &Attached::default()).await
    }

    /// Sends a frame with memory beside it, when its turn and room have come, and gives the
    /// position behind it.
    ///
    /// # Errors
    /// [`SendError`], never `Full`.
    ///
    /// # Cancel safety
    /// Dropped before it is done, nothing was sent, or the peer forgets the part that was.
    pub(crate) async fn send_with(
        &self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
    ) -> Result<u64, SendError> {
        loop {
            match self.try_send_with(head, body, attached) {
                Err(SendError::Full) => {}
                settled => return settled,
            }
            // The peer may let go meanwhile what it was to know by a number of its own.
            let _conveyed = self.convey(attached).await?;
            match self.send_in_turn(head, body, attached).await {
                Err(SendError::Unconveyed) => {}
                settled => return settled,
            }
        }
    }

    /// Has the content of blobs carried to another machine; what this gives is to be kept until
    /// their frame is sent.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub(crate) async fn convey(&self, attached: &Attached) -> Result<Option<Conveyed>, SendError> {
        if attached.is_empty() {
            return Ok(None);
        }
        let porter = self.lock().outbox.porter.clone();
        match porter {
            Some(porter) => porter.convey(attached).await,
            None => Ok(None),
        }
    }

    /// Whether the peer is on another machine.
    pub(crate) fn is_remote(&self) -> bool {
        self.lock().outbox.is_remote()
    }

    /// Whether others may overtake what is so long, until the last of it is sent.
    pub(crate) fn is_slow(&self, len: usize) -> bool {
        len > self.inline_len_max && self.lock().outbox.is_remote()
    }

    /// Whether these go before their frame, and take their time.
    pub(crate) fn conveys(&self, attached: &Attached) -> bool {
        !attached.is_empty() && self.lock().outbox.is_remote()
    }

    async fn send_in_turn(
        &self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
    ) -> Result<u64, SendError> {
        if self.is_slow(body.len()) {
            let _queued = Queued::new(self, Pace::Slow);
            let _turn = self.slow_turn.lock().await;
            return self.write_chunks(head, body, attached, Pace::Slow).await;
        }
        let _queued = Queued::new(self, Pace::Prompt);
        let _turn = self.turn.lock().await;
        if body.len() <= self.inline_len_max {
            self.write_when_room(head, body, attached, Pace::Prompt)
                .await
        } else {
            self.write_chunks(head, body, attached, Pace::Prompt).await
        }
    }

    async fn write_chunks(
        &self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
        pace: Pace,
    ) -> Result<u64, SendError> {
        let first = Head {
            total: Some(body.len() as u64),
            ..*head
        };
        let chunk = Head::new(Kind::Chunk, 0, CallId::NONE);
        let mut pieces = body.chunks(self.inline_len_max);
        let mut unfinished = Unfinished { sender: Some(self) };
        let mut position = self
            .write_when_room(&first, pieces.next().unwrap_or_default(), attached, pace)
            .await?;
        let alone = Attached::default();
        for piece in pieces {
            // As long as the peer makes room, nothing else here lets others have their turns.
            tokio::task::coop::consume_budget().await;
            position = self.write_when_room(&chunk, piece, &alone, pace).await?;
        }
        unfinished.sender = None;
        Ok(position)
    }

    async fn write_when_room(
        &self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
        pace: Pace,
    ) -> Result<u64, SendError> {
        let (mut vigil, mut is_seen) = (Vigil::default(), false);
        loop {
            let mut notified = pin!(self.room.notified());
            notified.as_mut().enable();
            let mut written = self.lock().outbox.write_at(pace, head, body, attached);
            if written == Err(SendError::Full) {
                // A peer that reads makes room sooner than one is woken. Where room was seen and
                // is not enough, something else is to be waited for.
                is_seen = !is_seen && self.look_for_room(&mut vigil, body.len()).await;
                if is_seen {
                    continue;
                }
                let outbox = &mut self.lock().outbox;
                outbox.producer.want_room();
                written = outbox.write_at(pace, head, body, attached);
            }
            if written != Err(SendError::Full) {
                if vigil.has_begun() {
                    self.lock().outbox.spin.found(&mut vigil);
                }
                return written;
            }
            self.lock().outbox.spin.sleep(&mut vigil);
            // The peer may have nobody who looks: all its calls were dropped.
            self.ring();
            notified.await;
        }
    }

    /// Looks for room for so many bytes, if that pays, while others have their turns. False: it is
    /// time to sleep.
    async fn look_for_room(&self, vigil: &mut Vigil, len: usize) -> bool {
        let (vacancy, (board, side)) = {
            let outbox = &self.lock().outbox;
            let vacancy = outbox.producer.vacancy(HEAD_LEN_MAX + len);
            (vacancy, outbox.here.clone())
        };
        poll_fn(|cx| {
            let plan = self.lock().outbox.spin.plan();
            let Some(plan) = plan else {
                return Poll::Ready(false);
            };
            let next = plan.look(vigil, (&board, side), || vacancy.is_promising());
            self.lock().outbox.spin.learn(vigil);
            match next {
                Next::Look => Poll::Ready(true),
                Next::Sleep => Poll::Ready(false),
                Next::Again => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Whether others may go before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nobody who comes later.
    Prompt,
    /// All that fits into one record.
    Slow,
}

/// Counts one who waits; the count changes under the lock, so that a fast sender sees it.
struct Queued<'a, T> {
    sender: &'a Sender<T>,
    pace: Pace,
}

impl<'a, T> Queued<'a, T> {
    fn new(sender: &'a Sender<T>, pace: Pace) -> Self {
        *sender.lock().outbox.waiting_at(pace) += 1;
        sender.is_waited_on.store(true, Ordering::Relaxed);
        Self { sender, pace }
    }
}

impl<T> Drop for Queued<'_, T> {
    fn drop(&mut self) {
        let outbox = &mut self.sender.lock().outbox;
        *outbox.waiting_at(self.pace) -= 1;
        let is_waited_on = outbox.waiting + outbox.overtaken > 0;
        self.sender
            .is_waited_on
            .store(is_waited_on, Ordering::Relaxed);
    }
}

/// Tells the peer to forget chunks whose rest will not come.
struct Unfinished<'a, T> {
    sender: Option<&'a Sender<T>>,
}

impl<T> Drop for Unfinished<'_, T> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender {
            // The next frame carries the news; until then the peer holds what it has, within its
            // limit.
            sender.lock().outbox.abort_due = true;
        }
    }
}
