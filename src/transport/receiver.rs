//! The receiving half of a link: frames come in whole and in order, copied into private memory.
//!
//! It holds no lock and waits for nothing: whoever owns it polls it, until there is an error: then
//! the peer has broken the rules, and what comes later means nothing.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::arena::Shelf;
use super::board::Memory;
#[cfg(fuzzing)]
use super::board::{Geometry, Side};
use super::porter::{Heard, LIST_LEN_MAX, Porter};
use super::relay::Relay;
use crate::ring::{Consumer, Corrupt};
use crate::sys::body::{self, Body};
use crate::sys::large_pages;
use crate::wire::attached::Attached;
use crate::wire::chain::CHAIN_LEN_MAX;
use crate::wire::codec::Buffer;
use crate::wire::frame::{FrameError, HEAD_LEN_MAX, Head, Kind, LISTED};

/// The peer broke the rules of the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LinkError {
    /// The ring's words are impossible.
    #[error(transparent)]
    Ring(#[from] Corrupt),
    /// A frame is none.
    #[error("the peer sent {0}")]
    Frame(#[from] FrameError),
    /// Chunks without a beginning, beyond their end, or mixed with other frames.
    #[error("the peer sent pieces that do not fit together")]
    Chunks,
    /// A frame that this end never gets.
    #[error("the peer sent a frame of the wrong direction")]
    Unexpected,
    /// Items of a stream that do not fit together.
    #[error("the peer sent items of a stream that are none")]
    Items,
    /// Items of a stream that nobody has asked for yet.
    #[error("the peer sent more items of a stream than it was asked for")]
    Credit,
    /// A frame of the stream beneath the link is none, or comes at the wrong time.
    #[error("the peer sent over the stream {0}")]
    Stream(&'static str),
    /// The stream has ended and the peer lives on.
    #[error("the peer closed the stream")]
    Closed,
    /// Memory beside the frames that is not what it should be.
    #[error("the peer sent {0}")]
    Blob(&'static str),
    /// A payload that lies in no arena, or not in it.
    #[error("the peer sent a message that lies nowhere")]
    Arena,
    /// A payload longer than was agreed.
    #[error("the peer announced a message of {len} bytes, and {limit} is the most")]
    TooLarge {
        /// The announced length.
        len: u64,
        /// The limit.
        limit: u64,
    },
}

/// How many pieces one look takes in: a peer that sends nothing else gets no more than its turn.
const RECORDS_MAX: usize = 1024;

/// Room is taken for so many times what has come of a payload in pieces.
const AMPLE: usize = 8;

/// A header and its payload, in private memory.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) head: Head,
    pub(crate) body: Buffer,
}

/// The receiving half of a link.
#[derive(Debug)]
pub(crate) struct Receiver {
    consumer: Consumer<Memory>,
    /// Where large payloads lie.
    shelf: Option<Shelf>,
    partial: Option<Frame>,
    /// Between the pieces of a payload others may come, whole.
    is_interleaved: bool,
    message_len_max: u64,
    /// Who carries the frames here, if the peer does not see this memory.
    relay: Option<Arc<dyn Relay>>,
    /// How far it knows that we have read.
    noted: u64,
    /// Who brings the memory beside the frames, if it can travel at all.
    porter: Option<Arc<Porter>>,
    /// What the next frame has with it that says so.
    listed: Attached,
    /// What the frame has with it that comes in pieces.
    kept: Attached,
    /// What the last frame had with it.
    attached: Attached,
    /// The peer has let memory go: there may be room for more.
    has_room: bool,
    /// Pieces have come since the last question.
    has_moved: bool,
    /// Memory was taken in since the peer was asked whether it waits for room: the way beside the
    /// ring may have been what was full.
    has_taken: bool,
}

impl Receiver {
    pub(super) fn new(
        consumer: Consumer<Memory>,
        shelf: Option<Shelf>,
        message_len_max: u64,
    ) -> Self {
        Self {
            consumer,
            shelf,
            partial: None,
            is_interleaved: false,
            message_len_max,
            relay: None,
            noted: 0,
            porter: None,
            listed: Attached::default(),
            kept: Attached::default(),
            attached: Attached::default(),
            has_room: false,
            has_moved: false,
            has_taken: false,
        }
    }

    /// One that reads the requests of a link, without anything else of it.
    #[cfg(fuzzing)]
    pub(crate) fn of(memory: Memory, geometry: Geometry, message_len_max: u64) -> Self {
        let shelf = Shelf::new(memory.clone(), geometry.arena_of(Side::Caller));
        let consumer = Consumer::new(memory, geometry.requests());
        Self::new(consumer, shelf, message_len_max)
    }

    /// Memory comes beside the frames by way of `porter`.
    pub(super) fn attach(&mut self, porter: Arc<Porter>) {
        self.is_interleaved = porter.is_remote();
        self.porter = Some(porter);
    }

    /// What the last frame had with it.
    #[inline]
    pub(crate) fn take_attached(&mut self) -> Attached {
        std::mem::take(&mut self.attached)
    }

    /// Whether the peer has let memory go since the last question, for which somebody may wait.
    #[inline]
    pub(crate) fn take_room(&mut self) -> bool {
        std::mem::take(&mut self.has_room)
    }

    /// Whether pieces of a payload have come since the last question: who looks has found
    /// something, though no whole frame yet.
    #[inline]
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Whether something is due to be said about memory.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.porter.as_ref().is_some_and(|porter| porter.is_due())
    }

    /// Whether something is due to be said or told about memory.
    #[inline]
    pub(crate) fn has_to_say(&self) -> bool {
        self.has_room || self.is_due()
    }

    /// Whether the peer may say something though no call waits for it.
    pub(crate) fn listens(&self) -> bool {
        self.porter.as_ref().is_some_and(|porter| porter.listens())
    }

    /// The frames come by way of `relay`, and the peer does not see what is read.
    pub(super) fn heed(&mut self, relay: Arc<dyn Relay>) {
        self.relay = Some(relay);
    }

    /// The peer is of another family: nothing that it can write is read where it lies.
    pub(crate) fn distrust(&mut self) {
        if let Some(shelf) = &mut self.shelf {
            shelf.distrust();
        }
    }

    /// Takes the next frame, putting its payload into `body`, whose memory is used again.
    ///
    /// # Errors
    /// [`LinkError`] when the peer breaks the rules; the link is then of no more use.
    ///
    /// None may also mean that pieces have come and no whole frame yet: `take_moved` tells, and
    /// `doze` whether there is more.
    #[inline]
    pub(crate) fn try_recv(&mut self, body: &mut Body) -> Result<Option<Head>, LinkError> {
        // The short way, which nearly all take: a header of one word, and all of the payload. On
        // the other one headers, which are large, are moved about: a third of a hot call's time.
        if self.relay.is_none() && self.partial.is_none() {
            let Some(record) = self.consumer.read()? else {
                return Ok(None);
            };
            let mut call = [0; 8];
            let len = record.len().checked_sub(call.len());
            let read = || {
                record.copy_to(0, &mut call);
                u64::from_le_bytes(call)
            };
            if let Some(len) = len
                && let Some(head) = Head::plain(record.tag(), read)
            {
                body.fill(len, |own| record.copy_to(size_of_val(&call), own));
                record.release();
                return Ok(Some(head));
            }
        }
        self.try_recv_more(body)
    }

    /// The same, if there is no such frame: it may be as short, with one memory beside it.
    #[inline(never)]
    fn try_recv_more(&mut self, body: &mut Body) -> Result<Option<Head>, LinkError> {
        if self.relay.is_none() && self.partial.is_none() {
            let Some(record) = self.consumer.read()? else {
                return Ok(None);
            };
            let mut words = [0; 16];
            let len = record.len().checked_sub(words.len());
            let read = || {
                record.copy_to(0, &mut words);
                let (words, _) = words.as_chunks();
                [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
            };
            if let Some(len) = len
                && let Some((head, memory)) = Head::plain_attached(record.tag(), read)
            {
                body.fill(len, |own| record.copy_to(size_of_val(&words), own));
                record.release();
                self.attached = self.take_beside(memory)?;
                return Ok(Some(head));
            }
        }
        self.try_recv_any(body)
    }

    /// The same, whatever comes.
    #[inline(never)]
    fn try_recv_any(&mut self, body: &mut Body) -> Result<Option<Head>, LinkError> {
        for _ in 0..RECORDS_MAX {
            let Some(record) = self.consumer.read()? else {
                return match self.relay.as_ref().and_then(|relay| relay.fault()) {
                    Some(fault) => Err(fault),
                    None => Ok(None),
                };
            };
            let head_len = Head::len_of(record.tag());
            if record.len() < head_len {
                return Err(FrameError::Short(record.len()).into());
            }
            let mut head_bytes = [0; HEAD_LEN_MAX];
            record.copy_to(0, &mut head_bytes[..head_len]);
            let head_bytes = &head_bytes[..head_len];
            let mut head = Head::decode(record.tag(), head_bytes)?;
            let memory = Head::memory(record.tag(), head_bytes);
            if let Some(relay) = &self.relay {
                relay.note_read(record.end() - self.noted);
                self.noted = record.end();
                head.deadline = head.deadline.map(|deadline| relay.local_time(deadline));
            }
            let len = record.len() - head_len;
            if head.kind == Kind::Beside {
                let mut list = [0; LIST_LEN_MAX];
                let list = list
                    .get_mut(..len)
                    .ok_or(LinkError::Blob("a list that is too long"))?;
                record.copy_to(head_len, list);
                record.release();
                self.hear_beside(&head, list)?;
                continue;
            }
            if head.place.is_some() && self.partial.is_none() {
                body.fill(len, |own| record.copy_to(head_len, own));
                record.release();
                return self.fetch(head, memory, body).map(Some);
            }
            let is_between = self.is_interleaved && head.kind != Kind::Abort;
            let is_piece = head.kind == Kind::Chunk || head.total.is_some();
            if is_piece || (self.partial.is_some() && !is_between) {
                let frame = piece_of(self.partial.take(), head, len, self.message_len_max)?;
                let Some(mut frame) = frame else {
                    record.release();
                    self.kept = Attached::default();
                    continue;
                };
                frame.append(len, |piece| record.copy_to_new(head_len, piece));
                record.release();
                let begins = head.total.is_some() && head.attached;
                if let Some(head) = self.take_piece(frame, begins.then_some(memory), body)? {
                    return Ok(Some(head));
                }
                // Its writer may wait for just this room, and goes on while the rest is read.
                if self.consumer.owes_room() {
                    return Ok(None);
                }
                continue;
            }
            if head.kind == Kind::Abort {
                record.release();
                continue;
            }
            body.fill(len, |own| record.copy_to(head_len, own));
            record.release();
            if head.attached {
                self.attached = self.take_beside(memory)?;
            }
            return Ok(Some(head));
        }
        Ok(None)
    }

    /// Takes in a frame of which a piece has come, with the memory beside its first one; gives its
    /// header, if it is whole now.
    fn take_piece(
        &mut self,
        mut frame: Frame,
        memory: Option<u64>,
        body: &mut Body,
    ) -> Result<Option<Head>, LinkError> {
        if let Some(memory) = memory {
            self.kept = self.take_beside(memory)?;
        }
        self.has_moved = true;
        if !frame.is_whole() {
            self.partial = Some(frame);
            return Ok(None);
        }
        frame.head.total = None;
        *body = frame.body.into();
        self.attached = std::mem::take(&mut self.kept);
        Ok(Some(frame.head))
    }

    /// Takes in what is said about the memory beside the frames.
    #[cold]
    fn hear_beside(&mut self, head: &Head, list: &[u8]) -> Result<(), LinkError> {
        let porter = self.porter.as_ref().ok_or(LinkError::Unexpected)?;
        match porter.hear(head, list)? {
            Heard::Attached(attached) => {
                self.listed = attached;
                self.has_taken = true;
            }
            Heard::Room => self.has_room = true,
            Heard::Nothing => {}
        }
        Ok(())
    }

    /// What is beside the frame that comes now: what its header names, or what was listed.
    #[inline]
    fn take_beside(&mut self, memory: u64) -> Result<Attached, LinkError> {
        if memory == LISTED {
            return self.take_listed();
        }
        let porter = self.porter.as_ref().ok_or(LinkError::Unexpected)?;
        let (attached, is_news) = porter.take_named(memory)?;
        self.has_taken |= is_news;
        Ok(attached)
    }

    /// What was listed for the frame that comes now.
    #[cold]
    fn take_listed(&mut self) -> Result<Attached, LinkError> {
        let listed = std::mem::take(&mut self.listed);
        if listed.is_empty() {
            return Err(LinkError::Blob("a frame whose memory it has not listed"));
        }
        Ok(listed)
    }

    /// Announces that the owner is about to wait for its bell. False: look again.
    pub(crate) fn doze(&mut self) -> bool {
        self.consumer.doze()
    }

    /// Whether nothing has come in.
    pub(crate) fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }

    /// Whether the peer waits for room that was made since the last question, and must be rung.
    pub(crate) fn freed(&mut self) -> bool {
        self.has_taken = false;
        self.consumer.freed()
    }

    /// Whether so much room was made that the peer should hear of it now.
    #[inline]
    pub(crate) fn owes_room(&self) -> bool {
        self.has_taken || self.consumer.owes_room()
    }

    /// Takes a payload that lies in the arena; of the frame itself `body` has the chain.
    #[inline(never)]
    fn fetch(&mut self, mut head: Head, memory: u64, body: &mut Body) -> Result<Head, LinkError> {
        let (Some(place), Some(len)) = (head.place.take(), head.total.take()) else {
            return Err(LinkError::Arena);
        };
        let is_fit = body.len() as u64 == head.chain_len && body.len() <= CHAIN_LEN_MAX;
        if !is_fit || matches!(head.kind, Kind::Chunk | Kind::Abort) {
            return Err(LinkError::Arena);
        }
        if len > self.message_len_max {
            return Err(LinkError::TooLarge {
                len,
                limit: self.message_len_max,
            });
        }
        if head.attached {
            self.attached = self.take_beside(memory)?;
        }
        let shelf = self.shelf.as_ref().ok_or(LinkError::Arena)?;
        shelf.take(place, len, body).map(|()| head)
    }
}

/// The frame that a piece of `len` bytes belongs to, of which `partial` has come. None: the rest of
/// it will not come.
fn piece_of(
    partial: Option<Frame>,
    head: Head,
    len: usize,
    message_len_max: u64,
) -> Result<Option<Frame>, LinkError> {
    if head.place.is_some() {
        return Err(LinkError::Chunks);
    }
    let frame = match (partial, head.kind, head.total) {
        (Some(_), Kind::Abort, None) => return Ok(None),
        (None, kind, Some(total)) if kind != Kind::Chunk => {
            let chain_len = head.chain_len.min(CHAIN_LEN_MAX as u64);
            let announced = total.saturating_sub(chain_len);
            if announced > message_len_max {
                return Err(LinkError::TooLarge {
                    len: announced,
                    limit: message_len_max,
                });
            }
            let body = Buffer::new();
            Frame { head, body }
        }
        (Some(partial), Kind::Chunk, None) if len > 0 => partial,
        _ => return Err(LinkError::Chunks),
    };
    if len as u64 > frame.lacking() {
        return Err(LinkError::Chunks);
    }
    Ok(Some(frame))
}

impl Frame {
    /// How many bytes of a payload in pieces are still to come.
    fn lacking(&self) -> u64 {
        let total = self.head.total.unwrap_or_default();
        total.saturating_sub(self.body.len() as u64)
    }

    fn is_whole(&self) -> bool {
        self.lacking() == 0
    }

    /// Appends a piece of `len` bytes, no more than are lacking, which `write` writes.
    fn append(&mut self, len: usize, write: impl FnOnce(&mut [MaybeUninit<u8>]) -> &mut [u8]) {
        let at = self.body.len();
        if at + len > self.body.capacity() {
            // What was announced is only a word: room is taken for some times what has come.
            let whole = usize::try_from(self.head.total.unwrap_or_default()).unwrap_or(usize::MAX);
            let ample = ((at + len).saturating_mul(AMPLE)).min(whole);
            self.body.reserve_exact(ample - at);
            large_pages::ask(&mut self.body);
        }
        body::append(&mut self.body, len, write);
    }
}
