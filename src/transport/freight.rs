//! The content of blobs on its way over one stream, in both directions.
//!
//! ```text
//!  porter ── load ──> outgoing ── pieces in turn ──> stream ──> incoming ── whole ──> porter
//!                        │  Offer(number, length) ───>  ├ fits: filled piece by piece
//!                        │ <── Refused(number)          └ does not: thrown away as it comes
//!                        └─ Withdraw(number) ────────>  let go
//! ```
//!
//! Pieces go between the records of the link, one of each transfer in turn, so neither calls nor
//! other blobs wait for a large one. The frame that names a blob is sent only when its last piece
//! has gone: who reads the frame has the memory, or knows why not.
//!
//! Everything that comes in is the peer's allegation. What it announces takes no memory before its
//! bytes come, and never more than the limit with all that came before and is still used.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::porter::SHOWN_MAX;
use super::receiver::LinkError;
use super::relay::Relay;
use super::throttle::{TOLD_EVERY, Throttle};
use crate::sys::clock;
use crate::sys::filling::Filling;
use crate::wire::attached::Lost;
use crate::wire::holding::{Memory, lock};

/// The most bytes of one piece.
pub(crate) const PIECE_LEN_MAX: usize = 32 * 1024;

/// The most bytes of blobs that came over one link and are used at the same time.
pub(crate) const TAKEN_LEN_MAX: u64 = 4 << 30;

/// How much is kept to be said: of each memory that may be shown its beginning and its end, and as
/// much of the peer's.
const NOTES_MAX: usize = 4 * SHOWN_MAX;

/// What is said of a transfer beside its pieces, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// It begins. From who sends it.
    Offer(u64, Extent),
    /// It will not end. From who sends it.
    Withdraw(u64),
    /// Its bytes find no room. From who is to receive it.
    Refused(u64),
    /// So many bytes were taken in, of all transfers. From who receives them.
    Taken(u64),
}

/// What comes of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// How long all of it is.
    pub(crate) len: u64,
    /// The bytes of it that come, from this one on, before that one.
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

impl Extent {
    /// Its form on its way: three numbers.
    pub(super) const LEN: usize = 24;

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let words = [self.len, self.begin, self.end].map(u64::to_le_bytes);
        bytes.copy_from_slice(words.as_flattened());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| words.get(at).copied().map_or(0, u64::from_le_bytes);
        Self {
            len: word(0),
            begin: word(1),
            end: word(2),
        }
    }

    /// The place of the bytes that come, if there is one.
    fn place(self) -> Option<(usize, Range<usize>)> {
        let len = usize::try_from(self.len).ok()?;
        let (begin, end) = (
            usize::try_from(self.begin).ok()?,
            usize::try_from(self.end).ok()?,
        );
        (begin <= end && end <= len).then_some((len, begin..end))
    }
}

/// Content that has come: the memory, and whether all of it has.
pub(super) type Arrived = (Arc<Memory>, bool);

/// The content that is on its way over one stream.
pub(crate) struct Freight {
    state: Mutex<State>,
    /// A transfer has ended, one way or another, or the stream has.
    told: Notify,
    /// Who carries it, once there is somebody.
    relay: OnceLock<Weak<dyn Relay>>,
    /// How many bytes of the peer's are in use here, and the most that may be.
    taken: Arc<AtomicU64>,
    taken_max: u64,
}

#[derive(Default)]
struct State {
    /// To be said before the next pieces.
    notes: VecDeque<Note>,
    /// Whose pieces are to go out; the first one is next.
    outgoing: VecDeque<Outgoing>,
    throttle: Throttle,
    /// How many bytes have come, and how many the peer was told of.
    came: u64,
    told: u64,
    incoming: BTreeMap<u64, Incoming>,
    /// What is whole and was not asked for.
    arrived: BTreeMap<u64, Result<Arrived, Lost>>,
    /// The number that the peer gave last.
    last: u64,
    /// Nothing goes or comes any more.
    is_over: bool,
}

struct Outgoing {
    number: u64,
    memory: Arc<Memory>,
    /// What is still to be sent.
    rest: Range<usize>,
}

enum Incoming {
    Filling {
        filling: Filling,
        toll: Toll,
        is_whole: bool,
    },
    /// There was no room; so many bytes may still come.
    ThrownAway { missing: u64 },
}

/// Counts bytes for as long as they are in use.
struct Toll {
    taken: Arc<AtomicU64>,
    len: u64,
}

impl Drop for Toll {
    fn drop(&mut self) {
        // Relaxed: only the sum counts.
        self.taken.fetch_sub(self.len, Ordering::Relaxed);
    }
}

impl Freight {
    /// Of a stream over which `taken_max` bytes of the peer's may come that are in use at the same
    /// time.
    pub(crate) fn new(taken_max: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            told: Notify::new(),
            relay: OnceLock::new(),
            taken: Arc::default(),
            taken_max,
        })
    }

    /// Tells who carries it.
    pub(super) fn set_relay(&self, relay: Weak<dyn Relay>) {
        // Set once, where the stream is laid.
        let _ = self.relay.set(relay);
    }

    /// Told when a transfer has ended, or the stream.
    pub(super) fn told(&self) -> &Notify {
        &self.told
    }

    /// Has this `place` of `memory` carried to the peer as `number`, which is higher than any
    /// before. False: nothing goes any more.
    pub(super) fn load(&self, number: u64, memory: &Arc<Memory>, place: &Range<usize>) -> bool {
        let mut state = lock(&self.state);
        if state.is_over {
            return false;
        }
        let extent = Extent {
            len: memory.pages().len() as u64,
            begin: place.start as u64,
            end: place.end as u64,
        };
        state.notes.push_back(Note::Offer(number, extent));
        if !place.is_empty() {
            let (memory, rest) = (Arc::clone(memory), place.clone());
            state.outgoing.push_back(Outgoing {
                number,
                memory,
                rest,
            });
        }
        true
    }

    /// Has what was loaded put on its way.
    pub(super) fn kick(&self) {
        if let Some(relay) = self.relay.get().and_then(Weak::upgrade) {
            relay.stir();
        }
    }

    /// Whether pieces of this one are still to go out.
    pub(super) fn is_under_way(&self, number: u64) -> bool {
        let state = lock(&self.state);
        state.outgoing.iter().any(|out| out.number == number)
    }

    /// Whether nothing goes or comes any more.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).is_over
    }

    /// Sends no more of this one; false: all of it has gone.
    pub(super) fn withdraw(&self, number: u64) -> bool {
        let mut state = lock(&self.state);
        let place = state.outgoing.iter().position(|out| out.number == number);
        let found = place.and_then(|place| state.outgoing.remove(place));
        if found.is_some() {
            state.notes.push_back(Note::Withdraw(number));
        }
        drop(state);
        found.is_some()
    }

    /// Takes out what the peer calls `number`, which a frame has named: all of its bytes have come,
    /// or it is no more than an allegation.
    pub(super) fn unload(&self, number: u64) -> Option<Result<Arrived, Lost>> {
        let mut state = lock(&self.state);
        if let Some(Incoming::ThrownAway { .. }) = state.incoming.get(&number) {
            state.incoming.remove(&number);
        }
        state.arrived.remove(&number)
    }

    /// Whether the peer may forget `number`, which no frame has named: it was offered, and does not
    /// come any more.
    pub(super) fn is_past(&self, number: u64) -> bool {
        let mut state = lock(&self.state);
        if let Some(Incoming::Filling { .. }) = state.incoming.get(&number) {
            return false;
        }
        state.incoming.remove(&number);
        let gone = state.arrived.remove(&number);
        let is_past = number <= state.last;
        drop(state);
        drop(gone);
        is_past
    }

    /// The stream has ended: what is not whole never will be.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        let gone = (
            std::mem::take(&mut state.outgoing),
            std::mem::take(&mut state.incoming),
        );
        state.notes.clear();
        drop(state);
        drop(gone);
        self.told.notify_waiters();
    }

    /// What is to be said next.
    pub(super) fn next_note(&self) -> Option<Note> {
        lock(&self.state).notes.pop_front()
    }

    /// Gives the next piece to `put`, if there is one. What was noted must have been said before:
    /// it may be the offer.
    pub(super) fn put_piece(&self, put: impl FnOnce(u64, &[u8])) {
        let mut state = lock(&self.state);
        if !state.throttle.is_open() || !state.notes.is_empty() {
            return;
        }
        let Some(mut out) = state.outgoing.pop_front() else {
            return;
        };
        let memory = Arc::clone(&out.memory);
        // Only blobs are loaded.
        let bytes = memory.sealed().map_or(&[][..], |sealed| sealed.bytes());
        let len = out.rest.len().min(PIECE_LEN_MAX);
        let piece = bytes.get(out.rest.start..out.rest.start + len);
        put(out.number, piece.unwrap_or_default());
        state.throttle.note_sent(len, now());
        out.rest.start += len;
        let is_done = out.rest.is_empty();
        if !is_done {
            state.outgoing.push_back(out);
        }
        drop(state);
        if is_done {
            self.told.notify_waiters();
        }
    }

    /// Whether nothing is on its way, in either direction.
    pub(super) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.outgoing.is_empty() && state.incoming.is_empty()
    }

    /// Whether there are pieces that may go out.
    pub(super) fn has_pieces(&self) -> bool {
        let state = lock(&self.state);
        !state.outgoing.is_empty() && state.throttle.is_open()
    }

    /// What the peer says of a transfer.
    ///
    /// # Errors
    /// [`LinkError::Blob`] when it breaks the rules.
    pub(super) fn hear(&self, note: Note) -> Result<(), LinkError> {
        let mut state = lock(&self.state);
        match note {
            Note::Offer(number, extent) => {
                if number <= state.last || number > u64::MAX >> 1 {
                    return Err(LinkError::Blob("memory of a number twice"));
                }
                let is_heard = state.notes.len() < NOTES_MAX;
                if !is_heard || state.incoming.len() + state.arrived.len() >= SHOWN_MAX {
                    return Err(LinkError::Blob("more memory than it may"));
                }
                state.last = number;
                self.accept(&mut state, number, extent);
            }
            Note::Withdraw(number) => {
                let gone = state.incoming.remove(&number);
                // Of what was refused nothing is to be had.
                state.arrived.remove(&number);
                drop(state);
                if gone.is_none() {
                    return Err(LinkError::Blob("to have withdrawn what was not on its way"));
                }
                drop(gone);
            }
            Note::Refused(number) => {
                state.outgoing.retain(|out| out.number != number);
                drop(state);
                self.told.notify_waiters();
            }
            Note::Taken(sum) => {
                if !state.throttle.note_taken(sum, now()) {
                    return Err(LinkError::Blob("to have taken in what was not sent"));
                }
            }
        }
        Ok(())
    }

    /// Begins to take in what was offered, or says why not.
    fn accept(&self, state: &mut State, number: u64, extent: Extent) {
        let is_whole = extent.end.checked_sub(extent.begin) == Some(extent.len);
        match self.begin(extent) {
            Ok((filling, toll)) if filling.missing() == 0 => {
                let entered = enter(filling, toll).map(|memory| (memory, is_whole));
                state.arrived.insert(number, entered);
            }
            Ok((filling, toll)) => {
                let incoming = Incoming::Filling {
                    filling,
                    toll,
                    is_whole,
                };
                state.incoming.insert(number, incoming);
            }
            Err(error) => {
                let missing = extent.end.saturating_sub(extent.begin);
                refuse(state, number, missing, &error);
            }
        }
    }

    fn begin(&self, extent: Extent) -> io::Result<(Filling, Toll)> {
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "it has no such part");
        let (len, place) = extent.place().ok_or_else(none)?;
        let taken = Arc::clone(&self.taken);
        let cost = place.len() as u64;
        // Relaxed: only the sum counts.
        let before = taken.fetch_add(cost, Ordering::Relaxed);
        let toll = Toll { taken, len: cost };
        if before.saturating_add(cost) > self.taken_max {
            let limit = self.taken_max;
            let what = format!(
                "it has {cost} bytes, {before} are in use, and {limit} may come over one connection"
            );
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
        }
        Ok((Filling::begin(len, place)?, toll))
    }

    /// Takes in a piece of `number`.
    ///
    /// # Errors
    /// [`LinkError::Blob`] when it breaks the rules.
    pub(super) fn take_in(&self, number: u64, piece: &[u8]) -> Result<(), LinkError> {
        const FOREIGN: LinkError = LinkError::Blob("a piece of what was not offered");
        const LONGER: LinkError = LinkError::Blob("more bytes than it has offered");
        if piece.is_empty() || piece.len() > PIECE_LEN_MAX {
            return Err(LinkError::Blob("a piece of no length that there is"));
        }
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.came += piece.len() as u64;
        if state.came - state.told >= TOLD_EVERY {
            state.told = state.came;
            // The latest says all.
            state.notes.retain(|note| !matches!(note, Note::Taken(_)));
            state.notes.push_back(Note::Taken(state.came));
        }
        let failed = match state.incoming.get_mut(&number).ok_or(FOREIGN)? {
            Incoming::ThrownAway { missing } => {
                *missing = missing.checked_sub(piece.len() as u64).ok_or(LONGER)?;
                return Ok(());
            }
            Incoming::Filling { filling, .. } => {
                let left = filling.missing().checked_sub(piece.len()).ok_or(LONGER)?;
                match filling.append(piece) {
                    Ok(()) if left > 0 => return Ok(()),
                    Ok(()) => None,
                    Err(error) => Some((left as u64, error)),
                }
            }
        };
        let whole = state.incoming.remove(&number);
        if let Some((left, error)) = failed {
            refuse(state, number, left, &error);
            drop(guard);
            // What had come is let go.
            drop(whole);
        } else if let Some(Incoming::Filling {
            filling,
            toll,
            is_whole,
        }) = whole
        {
            let entered = enter(filling, toll).map(|memory| (memory, is_whole));
            state.arrived.insert(number, entered);
        }
        Ok(())
    }
}

fn now() -> Duration {
    Duration::from_nanos(clock::now())
}

fn refuse(state: &mut State, number: u64, missing: u64, error: &io::Error) {
    tracing::warn!(%error, "a blob that a peer has sent was refused");
    state.notes.push_back(Note::Refused(number));
    state.arrived.insert(number, Err(Lost::new(error)));
    if missing > 0 {
        let thrown_away = Incoming::ThrownAway { missing };
        state.incoming.insert(number, thrown_away);
    }
}

/// Makes memory of what has come whole; its bytes are counted for as long as it is there.
fn enter(filling: Filling, toll: Toll) -> Result<Arc<Memory>, Lost> {
    let sealed = filling.seal().map_err(|error| Lost::new(&error))?;
    Ok(Memory::enter_with(sealed, Some(Box::new(toll))))
}

impl fmt::Debug for Freight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Freight")
            .field("outgoing", &state.outgoing.len())
            .field("incoming", &state.incoming.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "freight_tests.rs"]
mod tests;
