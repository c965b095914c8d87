//! The sending half of a link: frames go out whole, in order, and wait for room.
//!
//! ```text
//! try_send ── room ──> the ring, and the peer's doorbell if it sleeps
//!    └─ none ─> send: queue for the turn (first come, first served), then wait for room
//! ```
//!
//! What it does not know: what a frame means. A payload beyond [`Sender::inline_len_max`] that is
//! in no arena goes in chunks; the turn is kept meanwhile, so nothing comes between them, and if
//! the future is dropped half-way the peer is told to forget them.
//!
//! To another machine much takes long. There chunks have a turn of their own, and take no room that
//! is nearly used up: frames that fit into one record go between them. And blobs are [conveyed]
//! before their frame asks for its turn. So a frame is overtaken until the last of it is sent.
//!
//! [conveyed]: Porter::convey

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use crossbeam_utils::CachePadded;
use tokio::sync::Notify;

use self::turns::Pace;
use super::arena::{Arena, Draft};
use super::bell::Bell;
use super::board::{Board, Memory, Side};
use super::direct::{Addressee, Reader};
use super::idle::Idle;
use super::porter::{Known, LIST_LEN_MAX, Porter, Word};
use super::receiver::Receiver;
use super::sleeper::Bed;
use super::spin::Spin;
use crate::ring::{Claim, ClaimError, Corrupt, Producer};
use crate::wire::attached::Attached;
use crate::wire::frame::{HEAD_LEN_MAX, Head, Kind, LISTED};
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
    /// Memory cannot go with it: the peer is on another machine.
    #[error("no memory can be sent over this link")]
    Unattached,
    /// The content of its blobs has to go before it.
    #[error("the content of its blobs is not there")]
    Unconveyed,
    /// The peer broke the rules.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// The sending half of a link, shared by everyone in this process who sends over it.
///
/// Its lock guards a `T` of its owner's too, for owners that do something else with each frame: one
/// lock is taken where two would be.
#[derive(Debug)]
pub(crate) struct Sender<T = ()> {
    /// On cache lines of its own: threads that send meet here.
    locked: CachePadded<Mutex<Locked<T>>>,
    /// Whether somebody waits, for those who have no lock.
    is_waited_on: AtomicBool,
    turn: tokio::sync::Mutex<()>,
    /// The turn of those who send chunks that others may overtake.
    slow_turn: tokio::sync::Mutex<()>,
    room: Notify,
    inline_len_max: usize,
    /// Who takes the frames at once, in place of the ring.
    addressee: Option<Arc<dyn Addressee>>,
    /// Where payloads are written that are longer.
    arena: Option<Arena>,
}

/// What is guarded by a sender's lock.
#[derive(Debug)]
pub(crate) struct Locked<T> {
    pub(crate) outbox: Outbox,
    /// The owner's.
    pub(crate) state: T,
}

/// Where frames leave. Whoever has it locks nothing else that sends.
#[derive(Debug)]
pub(crate) struct Outbox {
    producer: Producer<Memory>,
    /// The peer's bell.
    bell: Bell,
    /// The peer's task, if it is in this process and wants no bell for what it would find itself.
    reader: Option<Reader>,
    closed: bool,
    /// How many wait in `send_with`; nobody overtakes them.
    waiting: usize,
    /// How many of those wait whom others may overtake.
    overtaken: usize,
    /// Chunks were begun that will never be finished, and the peer has not been told.
    abort_due: bool,
    inline_len_max: usize,
    /// Who carries the memory beside the frames, if it can travel at all.
    porter: Option<Arc<Porter>>,
    /// What it was asked for last.
    known: Known,
    arena: Option<Arena>,
    /// How it is looked for room before anybody sleeps.
    spin: Spin,
    /// Where looking is compared with the peer's.
    here: (Board, Side),
}

impl Sender {
    /// Sends through `producer` and rings `bell`, at one side of a link, frames of at most so many
    /// bytes.
    pub(super) fn new(
        producer: Producer<Memory>,
        frame_len_max: usize,
        bell: Bell,
        arena: Option<Arena>,
        here: (Board, Side),
    ) -> Self {
        let inline_len_max = frame_len_max - HEAD_LEN_MAX;
        let outbox = Outbox {
            producer,
            bell,
            reader: None,
            closed: false,
            waiting: 0,
            overtaken: 0,
            abort_due: false,
            inline_len_max,
            porter: None,
            known: Known::default(),
            arena,
            spin: Spin::new(Idle::Park),
            here,
        };
        Self::guarding(outbox, ())
    }

    /// Hands each frame to `addressee` from now on, which is in this process.
    pub(crate) fn deliver_to(&mut self, addressee: Arc<dyn Addressee>) {
        self.addressee = Some(addressee);
    }
}

impl<T> Sender<T> {
    /// The same sender, guarding `state` too.
    pub(crate) fn with<U>(self, state: U) -> Sender<U> {
        let locked = self.locked.into_inner().into_inner();
        let Locked { outbox, .. } = locked.unwrap_or_else(PoisonError::into_inner);
        Sender::guarding(outbox, state)
    }

    fn guarding(outbox: Outbox, state: T) -> Self {
        Self {
            inline_len_max: outbox.inline_len_max,
            arena: outbox.arena.clone(),
            locked: CachePadded::new(Mutex::new(Locked { outbox, state })),
            is_waited_on: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(()),
            slow_turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            addressee: None,
        }
    }

    /// The longest payload that one frame carries.
    #[inline]
    pub(crate) fn inline_len_max(&self) -> usize {
        self.inline_len_max
    }

    /// Room for a payload that is longer, if there is an arena. Its frame is sent like any other.
    #[inline]
    pub(crate) fn draft(&self) -> Option<Draft<'_>> {
        self.arena.as_ref().map(Arena::draft)
    }

    /// The arena, if there is one.
    pub(crate) fn arena(&self) -> Option<&Arena> {
        self.arena.as_ref()
    }

    /// Sends a frame now, and gives the position behind it, where it went into a ring.
    ///
    /// # Errors
    /// As [`try_send_with`](Self::try_send_with).
    #[cfg(test)]
    pub(crate) fn try_send(&self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        self.try_send_with(head, body, &Attached::default())
    }

    /// The same with memory beside it.
    ///
    /// # Errors
    /// [`SendError::Full`] when it would have to wait: no room, others wait already, it needs
    /// chunks, or the peer has got too much memory.
    #[inline]
    pub(crate) fn try_send_with(
        &self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
    ) -> Result<u64, SendError> {
        if let Some(addressee) = &self.addressee {
            addressee.take_in(head, body, attached);
            return Ok(0);
        }
        self.lock().outbox.try_send_with(head, body, attached)
    }

    /// Has the task, which is about to doze in `bed`, woken by what the other end sends, if that is
    /// in this process.
    #[inline]
    pub(crate) fn listen(&self, bed: &mut Bed, cx: &Context<'_>) {
        if let Some(addressee) = &self.addressee {
            bed.lie_elsewhere(cx, |waker| addressee.wake_by_calls(waker));
        }
    }

    /// Whether what the other end sends next is known to wake this one's task; it is not where the
    /// other end is elsewhere.
    #[inline]
    pub(crate) fn is_promised(&self) -> bool {
        let addressee = self.addressee.as_ref();
        addressee.is_some_and(|addressee| addressee.has_promised())
    }

    /// Whether this end, whose task listens, may wait until the other one has it woken. False:
    /// something has come in by `receiver`.
    #[inline]
    pub(crate) fn lets_doze(&self, receiver: &mut Receiver) -> bool {
        match &self.addressee {
            Some(addressee) => addressee.lets_doze(),
            None => receiver.doze(),
        }
    }

    /// Waits for room in this way from now on; before, it sleeps at once.
    pub(crate) fn wait_as(&self, idle: Idle) {
        let outbox = &mut self.lock().outbox;
        // Somebody carries the records, and its room says nothing of the peer.
        if !matches!(outbox.bell, Bell::Relay(_)) {
            outbox.spin = Spin::new(idle);
        }
    }

    /// Memory travels beside the frames by way of `porter`.
    pub(super) fn attach(&self, porter: Arc<Porter>) {
        self.lock().outbox.porter = Some(porter);
    }

    /// Says what is due about the memory beside the frames; see [`Outbox::say_due`].
    pub(crate) fn say_due(&self) {
        self.lock().outbox.say_due();
    }

    /// Wakes those who wait for room: the bell has rung.
    pub(crate) fn room_freed(&self) {
        if self.is_waited_on() {
            self.room.notify_waiters();
        }
    }

    /// Whether somebody waits to send.
    pub(crate) fn is_waited_on(&self) -> bool {
        self.is_waited_on.load(Ordering::Relaxed)
    }

    /// Rings the peer for room that it waits for.
    pub(crate) fn ring(&self) {
        if let Some(addressee) = &self.addressee {
            return addressee.tell_of_room();
        }
        self.lock().outbox.ring();
    }

    /// Ends the link's sending half; who waits gets an error.
    pub(crate) fn close(&self) {
        self.lock().outbox.close();
        self.wake_all();
    }

    /// Wakes all who wait, the link's sending half having been closed.
    pub(crate) fn wake_all(&self) {
        self.room.notify_waiters();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked<T>> {
        // Nothing of the user's runs under this lock but wakers, which do not panic in any runtime,
        // and a claim that was not committed left no trace.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Sends a frame with the memory beside it now, and gives the position behind it.
    ///
    /// # Errors
    /// As [`Sender::try_send_with`].
    #[inline]
    pub(crate) fn try_send_with(
        &mut self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
    ) -> Result<u64, SendError> {
        if !attached.is_empty() {
            self.check_attached(attached)?;
        }
        if body.len() > self.inline_len_max {
            self.check_arena()?;
            return Err(SendError::Full);
        }
        if self.waiting > 0 {
            return Err(SendError::Full);
        }
        match self.write_with(head, body, attached) {
            // Who waits for room has it conveyed.
            Err(SendError::Unconveyed) => Err(SendError::Full),
            settled => settled,
        }
    }

    #[cold]
    fn check_attached(&self, attached: &Attached) -> Result<(), SendError> {
        let porter = self.porter.as_ref().ok_or(SendError::Unattached)?;
        if porter.refuses(attached) {
            return Err(SendError::Unattached);
        }
        Ok(())
    }

    /// How many wait so.
    fn waiting_at(&mut self, pace: Pace) -> &mut usize {
        match pace {
            Pace::Prompt => &mut self.waiting,
            Pace::Slow => &mut self.overtaken,
        }
    }

    /// Whether the peer is on another machine.
    fn is_remote(&self) -> bool {
        self.porter
            .as_ref()
            .is_some_and(|porter| porter.is_remote())
    }

    /// Writes what may not fill the ring only while half of that is free: so there is room for
    /// others.
    fn write_at(
        &mut self,
        pace: Pace,
        head: &Head,
        body: &[u8],
        attached: &Attached,
    ) -> Result<u64, SendError> {
        let used = self
            .producer
            .position()
            .saturating_sub(self.producer.released());
        // A frame takes at most an eighth of the ring, see `Geometry::frame_len_max`.
        if pace == Pace::Slow && !self.closed && used > 3 * self.inline_len_max as u64 {
            return Err(SendError::Full);
        }
        self.write_with(head, body, attached)
    }

    /// Says what is due about the memory beside the frames, as far as there is room. True: the peer
    /// will answer it.
    #[inline]
    pub(crate) fn say_due(&mut self) -> bool {
        let is_due = self.porter.as_ref().is_some_and(|porter| porter.is_due());
        is_due && self.say_all_due()
    }

    #[cold]
    fn say_all_due(&mut self) -> bool {
        let Some(porter) = self.porter.clone() else {
            return false;
        };
        while let Some(head) = porter.next_due() {
            match self.write(&head, &[]) {
                Ok(_) => porter.done(),
                Err(SendError::Full) => {
                    // Its bell brings us here again.
                    self.producer.want_room();
                    if self.write(&head, &[]).is_err() {
                        break;
                    }
                    porter.done();
                }
                Err(_) => break,
            }
        }
        true
    }

    /// A payload that is too long and in no arena may be that because the peer has lied about it.
    #[cold]
    fn check_arena(&self) -> Result<(), Corrupt> {
        let fault = self.arena.as_ref().and_then(Arena::fault);
        fault.map_or(Ok(()), Err)
    }

    /// Sends what no honest end sends.
    #[cfg(test)]
    pub(super) fn lie(&mut self, head: &Head, body: &[u8]) {
        self.arena = None;
        self.commit(head, body).expect("there is room");
    }

    /// Rings the peer for room that it waits for.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// How far the peer has read, as it says.
    pub(crate) fn released(&self) -> u64 {
        match &self.bell {
            Bell::Door(_) | Bell::Chime(_) => self.producer.released(),
            Bell::Relay(relay) => relay.read_at_most(),
        }
    }

    /// Lets the memory go that was shown to the peer and taken from it: nothing comes any more.
    pub(crate) fn let_go(&self) {
        if let Some(porter) = &self.porter {
            porter.let_go();
        }
    }

    /// Sends nothing any more. Those who wait are still to be [woken](Sender::wake_all).
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.reader = None;
    }

    /// Wakes this task for what is written while it dozes, and gives the one that it takes the
    /// place of. Its bell rings for all else.
    pub(crate) fn wake_by_writing(&mut self, reader: Reader) -> Option<Reader> {
        if self.closed {
            return Some(reader);
        }
        self.reader.replace(reader)
    }

    /// Promises the peer's task, if it has read all that was written, to wake it for what comes
    /// next. Whether it has.
    #[inline]
    pub(crate) fn promise(&self) -> bool {
        let is_read = self.producer.position() == self.producer.released();
        if is_read && let Some(reader) = &self.reader {
            reader.promise();
        }
        is_read
    }

    #[inline]
    fn write_with(
        &mut self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
    ) -> Result<u64, SendError> {
        if attached.is_empty() {
            self.write(head, body)
        } else {
            self.write_attached(head, body, attached)
        }
    }

    /// Sends a frame that names the memory beside it; several are listed before it. If there is no
    /// room for the frame, another list takes the place of this one.
    #[inline(never)]
    fn write_attached(
        &mut self,
        head: &Head,
        body: &[u8],
        attached: &Attached,
    ) -> Result<u64, SendError> {
        self.settle()?;
        let porter = self.porter.as_ref().ok_or(SendError::Unattached)?;
        let memory = match porter.name(attached, &mut self.known)? {
            Some(memory) => memory,
            None => {
                let mut list = [0; LIST_LEN_MAX];
                let len = porter.list(attached, &mut list)?;
                self.commit(&Word::Attach.head(0), &list[..len])?;
                LISTED
            }
        };
        let attached = true;
        let head = Head { attached, ..*head };
        let (tag, mut head_bytes) = head.encode();
        head_bytes.set_memory(memory);
        match self.commit_as(&head, (tag, head_bytes.as_slice()), body) {
            Ok(position) => {
                self.call();
                Ok(position)
            }
            Err(error) => {
                if let Some(porter) = &self.porter {
                    porter.take_back(memory);
                }
                Err(error)
            }
        }
    }

    #[inline]
    fn write(&mut self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        self.settle()?;
        let position = self.commit(head, body)?;
        self.call();
        Ok(position)
    }

    /// Says what is to be said before the next frame.
    #[inline]
    fn settle(&mut self) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.abort_due {
            self.commit(&Head::new(Kind::Abort, 0, CallId::NONE), &[])?;
            self.abort_due = false;
        }
        Ok(())
    }

    /// Has the reader look.
    #[inline]
    fn call(&self) {
        match &self.reader {
            Some(reader) => reader.call(),
            None if self.producer.announce() => self.bell.ring(),
            None => {}
        }
    }

    #[inline]
    fn commit(&mut self, head: &Head, body: &[u8]) -> Result<u64, SendError> {
        if let Some(tag) = head.plain_tag() {
            let call = head.call.bits().to_le_bytes();
            return put(&mut self.producer, &call, body).map(|claim| claim.commit(tag));
        }
        let (tag, head_bytes) = head.encode();
        self.commit_as(head, (tag, head_bytes.as_slice()), body)
    }

    /// The same, where it is known how the header is written.
    #[inline]
    fn commit_as(
        &mut self,
        head: &Head,
        (tag, head_bytes): (u32, &[u8]),
        body: &[u8],
    ) -> Result<u64, SendError> {
        let claim = put(&mut self.producer, head_bytes, body)?;
        if let (Some(place), Some(arena)) = (head.place, &self.arena) {
            arena.tell(place);
            crate::sys::failpoint::at("send.placed");
        }
        Ok(claim.commit(tag))
    }
}

/// Writes a frame where the peer will read it once it is committed.
#[inline]
fn put<'a>(
    producer: &'a mut Producer<Memory>,
    head: &[u8],
    body: &[u8],
) -> Result<Claim<'a, Memory>, SendError> {
    let mut claim = match producer.claim(head.len() + body.len()) {
        Ok(claim) => claim,
        Err(ClaimError::Full) => return Err(SendError::Full),
        Err(ClaimError::Corrupt(corrupt)) => return Err(corrupt.into()),
        Err(ClaimError::TooLong { max }) => {
            unreachable!("a frame is at most half of a record's {max} bytes")
        }
    };
    claim.write(head);
    crate::sys::failpoint::at("send.claimed");
    claim.write(body);
    Ok(claim)
}

#[path = "turns.rs"]
mod turns;
