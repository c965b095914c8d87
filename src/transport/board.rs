//! The part of a segment that is no ring: its stamp, the cancel table and the last words.
//!
//! ```text
//! words    0..8           stamp: magic, length, ring capacity, slots
//!          8..10          on which core each side last looked: the caller, the server
//!         16..112         control blocks of the two rings
//!        112..112+slots   cancel table: per slot the latest call of it that nobody wants any more
//!        then slots       hold table: per slot the call of it that was read and is not begun
//!        then 512         last words: a length, then text
//!        then 2 * 128     leases: per chunk how often it came back; of requests, of replies
//!        then             data of the request ring, data of the reply ring
//!        then             the arenas of requests and of replies, if there are any: without
//!                         memory until it is asked for
//! ```
//!
//! A cancel does not queue behind calls: it is one store here, and the callee looks before it
//! begins a call. Last words are what a dying process leaves for its parent. All of it is the
//! peer's allegation.

use std::ops::Range;
use std::sync::Arc;

use super::relay::Relay;
use crate::ring::{AtomicU64, CONTROL_WORDS, GRAIN_LEN, LEASES, Ordering, Place, WORD, Words};
use crate::sys::memory::Segment;
use crate::wire::id::CallId;

const MAGIC: u64 = u64::from_le_bytes(*b"callbrd1");
const STAMP_WORDS: usize = 16;
const CORES_AT: usize = 8;
const CANCEL_AT: usize = STAMP_WORDS + 2 * CONTROL_WORDS;
const LAST_WORDS: usize = 512;
/// Words of a memory page: the rings' data begins on one.
const PAGE_WORDS: usize = 4096 / WORD;

/// Which end of a link this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Makes calls.
    Caller,
    /// Runs them.
    Server,
}

impl Side {
    /// The end at the other side.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Caller => Self::Server,
            Self::Server => Self::Caller,
        }
    }
}

/// A segment that both ends hold.
#[derive(Clone, Debug)]
pub(crate) struct Memory(pub(crate) Arc<Segment>);

impl Words for Memory {
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        self.0.words()
    }
}

/// The sizes of a link's segment: our own settings, never read from the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    ring_capacity: usize,
    slots: usize,
    /// Bytes of addresses of each arena; 0: there is none.
    arena_len: usize,
}

/// Where one arena lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    /// The first word of its leases.
    pub(crate) words: usize,
    /// The first byte of its data.
    pub(crate) data: usize,
    /// Bytes of addresses; 0: there is no arena.
    pub(crate) len: usize,
}

impl Ground {
    /// How many of the bytes have memory at most. There are twice as many addresses, so that chunks
    /// find a place whatever else there is.
    pub(crate) fn limit(&self) -> usize {
        self.len / 2
    }
}

/// The peer's sizes cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("impossible sizes: rings of {ring_capacity} bytes, {slots} slots, arenas of {arena} bytes")]
pub(crate) struct GeometryError {
    ring_capacity: u64,
    slots: u64,
    arena: u64,
}

impl Geometry {
    /// The least and the most bytes of a ring.
    pub(crate) const RING_CAPACITIES: std::ops::RangeInclusive<usize> = 4096..=1 << 30;

    /// Sizes of a link; each ring has `ring_capacity` bytes.
    ///
    /// # Errors
    /// [`GeometryError`] when the capacity is no power of two in [`Geometry::RING_CAPACITIES`] or
    /// there are no or too many slots.
    pub(crate) fn new(ring_capacity: u64, slots: u64) -> Result<Self, GeometryError> {
        let error = GeometryError {
            ring_capacity,
            slots,
            arena: 0,
        };
        let (Ok(capacity), Ok(count)) = (usize::try_from(ring_capacity), usize::try_from(slots))
        else {
            return Err(error);
        };
        let fits = Self::RING_CAPACITIES.contains(&capacity)
            && capacity.is_power_of_two()
            && (1..=crate::wire::id::SLOTS_MAX).contains(&count);
        if fits {
            Ok(Self {
                ring_capacity: capacity,
                slots: count,
                arena_len: 0,
            })
        } else {
            Err(error)
        }
    }

    /// The same with arenas, each of which takes up to `limit` bytes of memory. 0: without.
    ///
    /// # Errors
    /// [`GeometryError`] when the limit is beyond [`Geometry::ARENA_LIMIT_MAX`].
    pub(crate) fn with_arenas(self, limit: u64) -> Result<Self, GeometryError> {
        let error = GeometryError {
            ring_capacity: self.ring_capacity as u64,
            slots: self.slots as u64,
            arena: limit,
        };
        let limit = usize::try_from(limit).ok();
        let limit = limit
            .filter(|&limit| limit <= Self::ARENA_LIMIT_MAX)
            .ok_or(error)?;
        let arena_len = match limit {
            0 => 0,
            limit => 2 * limit.next_power_of_two().max(GRAIN_LEN),
        };
        Ok(Self { arena_len, ..self })
    }

    /// How much memory each arena takes at most; 0: there are none.
    pub(crate) fn arena_limit(&self) -> u64 {
        self.arena_of(Side::Caller).limit() as u64
    }

    /// The most memory of one arena.
    pub(crate) const ARENA_LIMIT_MAX: usize = 1 << 40;

    pub(crate) fn ring_capacity(&self) -> usize {
        self.ring_capacity
    }

    /// The most bytes of one frame with its header: an eighth of a ring, so that several have room.
    pub(crate) fn frame_len_max(&self) -> usize {
        self.ring_capacity / 8
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// The length of the segment in bytes.
    pub(crate) fn segment_len(&self) -> usize {
        self.rings_len() + 2 * self.arena_len
    }

    /// The length of the part of it that has memory from the beginning.
    pub(crate) fn rings_len(&self) -> usize {
        self.data_at() * WORD + 2 * self.ring_capacity
    }

    /// The arena of what `side` sends.
    pub(crate) fn arena_of(&self, side: Side) -> Ground {
        let at = match side {
            Side::Caller => 0,
            Side::Server => 1,
        };
        Ground {
            words: self.leases_at() + at * LEASES,
            data: self.rings_len() + at * self.arena_len,
            len: self.arena_len,
        }
    }

    /// The bytes of the ring and the arena that `side` writes to, and the other one reads.
    pub(crate) fn written_by(&self, side: Side) -> [Range<usize>; 2] {
        let rings = self.data_at() * WORD;
        let ring = match side {
            Side::Caller => rings..rings + self.ring_capacity,
            Side::Server => rings + self.ring_capacity..rings + 2 * self.ring_capacity,
        };
        let arena = self.arena_of(side);
        [ring, arena.data..arena.data + arena.len]
    }

    /// The ring that carries calls.
    pub(crate) fn requests(&self) -> Place {
        Place::new(STAMP_WORDS, self.data_at(), self.ring_capacity)
    }

    /// The ring that carries answers.
    pub(crate) fn replies(&self) -> Place {
        let data = self.data_at() + self.ring_capacity / WORD;
        Place::new(STAMP_WORDS + CONTROL_WORDS, data, self.ring_capacity)
    }

    fn hold_at(&self) -> usize {
        CANCEL_AT + self.slots
    }

    fn last_words_at(&self) -> usize {
        self.hold_at() + self.slots
    }

    fn leases_at(&self) -> usize {
        self.last_words_at() + LAST_WORDS
    }

    fn data_at(&self) -> usize {
        (self.leases_at() + 2 * LEASES).next_multiple_of(PAGE_WORDS)
    }
}

/// One end's view of what is beside the rings.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    memory: Memory,
    geometry: Geometry,
    /// Tells the peer what it does not see: the memory is this process's alone.
    relay: Option<Arc<dyn Relay>>,
}

impl Board {
    /// # Panics
    /// When the segment is shorter than the geometry says.
    pub(crate) fn new(memory: Memory, geometry: Geometry) -> Self {
        assert!(
            memory.words().len() * WORD >= geometry.segment_len(),
            "the segment holds its parts"
        );
        Self {
            memory,
            geometry,
            relay: None,
        }
    }

    /// The peer does not see the memory: what it shall know is told by `relay`.
    pub(super) fn heed(&mut self, relay: Arc<dyn Relay>) {
        self.relay = Some(relay);
    }

    /// What it lies in.
    #[cfg(test)]
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Marks a fresh segment as one of ours.
    pub(crate) fn stamp(&self) {
        for (word, value) in self.memory.words().iter().zip(self.expected_stamp()) {
            // The greeting over the socket orders this store and the peer's look.
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Whether the segment is what the peer said.
    pub(crate) fn is_stamped(&self) -> bool {
        let words = self
            .memory
            .words()
            .iter()
            .map(|word| word.load(Ordering::Relaxed));
        words
            .zip(self.expected_stamp())
            .all(|(found, expected)| found == expected)
    }

    fn expected_stamp(&self) -> [u64; 4] {
        let geometry = &self.geometry;
        [
            MAGIC,
            geometry.segment_len() as u64,
            geometry.ring_capacity as u64,
            geometry.slots as u64,
        ]
    }

    /// Tells the peer on which core this side runs, and says whether the peer last ran on it too.
    pub(crate) fn shares_core(&self, side: Side, core: u32) -> bool {
        let words = self.memory.words();
        let (ours, theirs) = match side {
            Side::Caller => (&words[CORES_AT], &words[CORES_AT + 1]),
            Side::Server => (&words[CORES_AT + 1], &words[CORES_AT]),
        };
        // Zero means that a side has not looked yet.
        let core = u64::from(core) + 1;
        if ours.load(Ordering::Relaxed) != core {
            ours.store(core, Ordering::Relaxed);
        }
        theirs.load(Ordering::Relaxed) == core
    }

    /// Says that nobody wants the answer of `call` any more.
    pub(crate) fn cancel(&self, call: CallId) {
        if let Some(entry) = self.cancel_entry(call) {
            entry.store(call.bits(), Ordering::Relaxed);
            if let Some(relay) = &self.relay {
                relay.cancel(call);
            }
        }
    }

    /// Whether `call` was cancelled. A later call of the same slot that was cancelled counts too:
    /// the slot was free again, so the earlier one is settled.
    #[inline]
    pub(crate) fn is_cancelled(&self, call: CallId) -> bool {
        if let Some(relay) = &self.relay {
            relay.hear_cancels(&mut |call| self.note_cancel(call));
        }
        self.cancel_entry(call)
            .is_some_and(|entry| entry.load(Ordering::Relaxed) >= call.bits())
    }

    /// Notes a cancel that did not come through the memory. The latest counts: they may come by two
    /// ways.
    pub(crate) fn note_cancel(&self, call: CallId) {
        if let Some(entry) = self.cancel_entry(call) {
            entry.fetch_max(call.bits(), Ordering::Relaxed);
        }
    }

    /// Nobody wants any answer any more: the caller is gone.
    pub(crate) fn cancel_all(&self) {
        for entry in &self.memory.words()[CANCEL_AT..][..self.geometry.slots] {
            entry.store(u64::MAX, Ordering::Relaxed);
        }
    }

    fn cancel_entry(&self, call: CallId) -> Option<&AtomicU64> {
        let slot = call.slot();
        (slot < self.geometry.slots).then(|| &self.memory.words()[CANCEL_AT + slot])
    }

    /// Says that this side has read `call` and not begun it.
    pub(crate) fn hold(&self, call: CallId) {
        if let Some(entry) = self.hold_entry(call) {
            // Whoever reads it has learned of this process's end from the kernel, and sees all; or
            // takes it back, which needs no more than this word.
            entry.store(call.bits(), Ordering::Relaxed);
        }
    }

    /// Begins `call`, which this side held; false: the caller has withdrawn it.
    pub(crate) fn begin(&self, call: CallId) -> bool {
        self.hold_entry(call)
            .is_none_or(|entry| take(entry, call.bits()))
    }

    /// Takes back `call`, if the other side has read it and not begun it: it never will.
    pub(crate) fn withdraw(&self, call: CallId) -> bool {
        self.hold_entry(call)
            .is_some_and(|entry| take(entry, call.bits()))
    }

    /// Whether the other side, which has ended, had read `call` and not begun it.
    pub(crate) fn is_held(&self, call: CallId) -> bool {
        self.hold_entry(call)
            .is_some_and(|entry| entry.load(Ordering::Relaxed) == call.bits())
    }

    fn hold_entry(&self, call: CallId) -> Option<&AtomicU64> {
        let (slot, at) = (call.slot(), self.geometry.hold_at());
        (slot < self.geometry.slots).then(|| &self.memory.words()[at + slot])
    }

    /// Leaves bytes for the parent to find after this process is gone; cut to what there is room
    /// for.
    pub(crate) fn leave_last_words(&self, bytes: &[u8]) {
        if let Some(relay) = &self.relay {
            return relay.leave_last_words(bytes);
        }
        self.keep_last_words(bytes);
    }

    fn keep_last_words(&self, bytes: &[u8]) {
        let room = self.last_words();
        let len = bytes.len().min((LAST_WORDS - 1) * WORD);
        for (word, chunk) in room[1..].iter().zip(bytes[..len].chunks(WORD)) {
            let mut le = [0; WORD];
            le[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(le), Ordering::Relaxed);
        }
        // ORDERING: publishes the text; pairs with the Acquire in `read_last_words`.
        room[0].store(len as u64, Ordering::Release);
    }

    /// What the dead peer left, if anything.
    pub(crate) fn read_last_words(&self) -> Option<Vec<u8>> {
        if let Some(words) = self
            .relay
            .as_ref()
            .and_then(|relay| relay.take_last_words())
        {
            // Asked again, the board has them.
            self.keep_last_words(&words);
        }
        let room = self.last_words();
        // ORDERING: receives what `leave_last_words` published.
        let len = usize::try_from(room[0].load(Ordering::Acquire)).ok()?;
        if len == 0 || len > (LAST_WORDS - 1) * WORD {
            return None;
        }
        let mut bytes = Vec::with_capacity(len + WORD);
        for word in &room[1..=len.div_ceil(WORD)] {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes.truncate(len);
        Some(bytes)
    }

    fn last_words(&self) -> &[AtomicU64] {
        let at = self.geometry.last_words_at();
        &self.memory.words()[at..at + LAST_WORDS]
    }
}

/// Takes a word away if it is still there: one of two sides does. Nothing else is said by it.
fn take(entry: &AtomicU64, bits: u64) -> bool {
    entry
        .compare_exchange(bits, 0, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that is held is begun or withdrawn, never both; one that is not held is begun.
    #[test]
    fn one_side_takes_what_is_held() {
        let board = board();
        let (first, second) = (CallId::new(5, 3), CallId::new(6, 3));
        assert!(!board.withdraw(first), "it was not read");
        board.hold(first);
        assert!(board.begin(first) && !board.withdraw(first));
        board.hold(first);
        assert!(board.withdraw(first) && !board.begin(first));
        board.hold(first);
        board.hold(second);
        assert!(!board.begin(first), "its slot is another call's");
        assert!(board.is_held(second) && board.begin(second));
        assert!(board.begin(CallId::new(5, 100)), "a slot without a word");
    }

    fn board() -> Board {
        let geometry = Geometry::new(4096, 8).unwrap();
        let segment = Segment::private(geometry.segment_len());
        Board::new(Memory(Arc::new(segment)), geometry)
    }

    /// A cancel reaches the call it names and earlier ones of the slot, and no later one.
    #[test]
    fn cancels_name_one_call() {
        let board = board();
        board.cancel(CallId::new(5, 3));
        assert!(board.is_cancelled(CallId::new(5, 3)));
        assert!(board.is_cancelled(CallId::new(4, 3)));
        assert!(!board.is_cancelled(CallId::new(6, 3)));
        assert!(!board.is_cancelled(CallId::new(5, 2)));
        assert!(
            !board.is_cancelled(CallId::new(5, 100)),
            "a slot that does not exist"
        );
    }

    /// Last words come back whole, or cut to the room there is; alleged lengths are checked.
    #[test]
    fn last_words_come_back() {
        let board = board();
        assert_eq!(board.read_last_words(), None);
        board.leave_last_words(b"so long");
        assert_eq!(board.read_last_words().unwrap(), b"so long");
        board.leave_last_words(&[7; 10_000]);
        assert_eq!(
            board.read_last_words().unwrap(),
            [7; (LAST_WORDS - 1) * WORD]
        );
        for lie in [u64::MAX, (LAST_WORDS * WORD) as u64] {
            board.last_words()[0].store(lie, Ordering::Relaxed);
            assert_eq!(board.read_last_words(), None);
        }
    }

    /// Two sides learn whether they run on one core, whatever the other's last word was.
    #[test]
    fn cores_are_compared() {
        let board = board();
        assert!(
            !board.shares_core(Side::Caller, 0),
            "the server has not looked yet"
        );
        assert!(board.shares_core(Side::Server, 0));
        assert!(!board.shares_core(Side::Caller, 1));
        assert!(!board.shares_core(Side::Server, 0));
    }

    /// A stamp is recognised, and sizes that cannot be are refused.
    #[test]
    fn stamps_and_sizes_are_checked() {
        let board = board();
        assert!(!board.is_stamped());
        board.stamp();
        assert!(board.is_stamped());
        for (capacity, slots) in [(0, 1), (4097, 1), (1 << 40, 1), (4096, 0), (4096, 1 << 20)] {
            assert!(
                Geometry::new(capacity, slots).is_err(),
                "{capacity} {slots}"
            );
        }
    }

    /// What one side writes lies behind all that both write, beside what the other one does, and
    /// within the segment.
    #[test]
    fn who_writes_where() {
        let geometry = Geometry::new(4096, 8).unwrap();
        let [calls, asked] = geometry.written_by(Side::Caller);
        let [answers, told] = geometry.written_by(Side::Server);
        assert_eq!(calls.start, geometry.data_at() * WORD);
        assert_eq!(
            (calls.end, answers.end),
            (answers.start, geometry.rings_len())
        );
        assert!(asked.start >= answers.end && told.start >= asked.end);
        assert!(told.end <= geometry.segment_len());
    }
}
