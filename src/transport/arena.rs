//! Large payloads beside the rings: written where they are read, told of in a frame, given back in
//! any order.
//!
//! ```text
//!  writer   Draft ── seal ──> Parcel ── its frame is committed: the peer has it
//!             └─ dropped ─────────┴─ dropped before that: the chunk is free again
//!  reader   Shelf::take ──> the payload where it lies ── dropped: one addition, no system call
//! ```
//!
//! There are as many addresses as the settings say, and memory only behind those that were written:
//! pages are asked for, never touched on trust, so that a full `/dev/shm` is no bus error. Where
//! there is no page, chunk or lease, the payload goes in pieces through the ring, as it does where
//! there is no arena: the sender waits for room and does not fail, and a peer that keeps all that
//! it was given holds up nobody. Idle for a while, the arena gives back what it does not need.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::board::{Ground, Memory};
use super::receiver::LinkError;
use crate::ring::{Chunk, Corrupt, Done, LEASES, Ledger, PAGE_LEN, copy_out};
use crate::sys::body::Body;
use crate::sys::span::{InPlace, Span};
use crate::wire::frame::{Head, Place};
use crate::wire::sink::Spill;

/// An archive's root comes last and is short: with this much more room it never needs more.
const SLACK: usize = 512;

/// How many times as long as what is seen of it a payload is taken to become at most.
const GUESS: usize = 16;

/// How much memory an arena keeps that is not used.
const KEPT_LEN: usize = 1 << 20;

/// After how long without use it gives back more than that.
const IDLE: Duration = Duration::from_secs(1);

/// The longest time between two looks at an arena of which a reader keeps much.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The arena of one direction, as its writer has it. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Arena(Arc<Inner>);

struct Inner {
    memory: Memory,
    ground: Ground,
    /// Which leases the peer was told of. Set while a frame is sent, under another lock.
    told: [AtomicBool; LEASES],
    /// How long the last payload was: the next one may be as long.
    guess: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger<Memory>,
    /// What the peer did that no honest one does.
    fault: Option<Corrupt>,
    /// How many chunks were ever taken.
    taken: u64,
    /// There is a task that looks whether it is idle.
    is_watched: bool,
}

impl Arena {
    /// The arena in `ground`, of which nothing was used yet. None: there is no room for one.
    pub(crate) fn new(memory: Memory, ground: Ground) -> Option<Self> {
        if ground.len == 0 {
            return None;
        }
        let ledger = Ledger::new(memory.clone(), ground.words, ground.len);
        let state = State {
            ledger,
            fault: None,
            taken: 0,
            is_watched: false,
        };
        Some(Self(Arc::new(Inner {
            memory,
            ground,
            told: [const { AtomicBool::new(false) }; LEASES],
            guess: AtomicUsize::new(0),
            state: Mutex::new(state),
        })))
    }

    /// A payload that is about to be written. It costs nothing before it needs room.
    #[inline]
    pub(crate) fn draft(&self) -> Draft<'_> {
        Draft {
            arena: self,
            taken: None,
            backed: 0,
        }
    }

    /// The peer has been told of the payload at `place`; said just before it can know.
    pub(super) fn tell(&self, place: Place) {
        // Relaxed: whoever sees the lease back has acquired what the peer did after it was told.
        self.0.told[usize::from(place.lease)].store(true, Ordering::Relaxed);
    }

    /// How many bytes have memory.
    #[cfg(test)]
    pub(super) fn backed(&self) -> usize {
        self.0.lock().ledger.pages().len()
    }

    /// What the peer did that no honest one does.
    pub(super) fn fault(&self) -> Option<Corrupt> {
        self.0.lock().fault
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk for at least `len` bytes, of `better` if there is one.
    fn take(&self, len: usize, better: usize) -> Option<(u16, Chunk)> {
        let mut state = self.lock();
        self.collect(&mut state)?;
        let State { ledger, fault, .. } = &mut *state;
        let taken = match ledger.take(better.max(len)) {
            Ok(None) if better > len => ledger.take(len),
            taken => taken,
        };
        let taken = match taken {
            Ok(taken) => taken?,
            Err(corrupt) => {
                *fault = Some(corrupt);
                return None;
            }
        };
        state.taken += 1;
        self.told[usize::from(taken.0)].store(false, Ordering::Relaxed);
        Some(taken)
    }

    /// Takes in what came back. None: the peer lies, and nothing is to be had any more.
    fn collect(&self, state: &mut State) -> Option<()> {
        if state.fault.is_some() {
            return None;
        }
        let was_told = |lease: u16| self.told[usize::from(lease)].load(Ordering::Relaxed);
        state.fault = state.ledger.collect(was_told).err();
        state.fault.is_none().then_some(())
    }

    /// Sees to it that the first `len` bytes of `chunk` have memory, and says how many have.
    fn back(self: &Arc<Self>, chunk: Chunk, len: usize) -> Option<usize> {
        let begin = chunk.offset();
        let range = begin..begin + len.next_multiple_of(PAGE_LEN).min(chunk.len());
        let mut state = self.lock();
        if let Some(lacking) = state.ledger.pages().lacking(range) {
            let rest = self.ground.limit().checked_sub(lacking.len())?;
            self.shrink(&mut state, rest);
            if state.ledger.pages().len() > rest {
                return None;
            }
            // The pages are in a chunk of ours, where nobody else asks for them.
            state.ledger.pages().note(lacking.clone(), true);
            drop(state);
            if let Err(error) = self.memory.0.populate(self.in_segment(&lacking)) {
                tracing::debug!(%error, "no memory for a large message: it goes in pieces");
                // Some may be there.
                let _ = self.memory.0.give_back(self.in_segment(&lacking));
                self.lock().ledger.pages().note(lacking, false);
                return None;
            }
            state = self.lock();
            self.watch(&mut state);
        }
        let end = state.ledger.pages().end_from(begin, begin + chunk.len());
        Some(end - begin)
    }

    /// Gives memory of free chunks back until the arena has no more than `keep` bytes.
    fn shrink(&self, state: &mut State, keep: usize) {
        while let Some(run) = state.ledger.surplus(keep) {
            let over = state.ledger.pages().len() - keep;
            let from = run
                .start
                .max(run.end.saturating_sub(over.next_multiple_of(PAGE_LEN)));
            if let Err(error) = self.memory.0.give_back(self.in_segment(&(from..run.end))) {
                tracing::debug!(%error, "memory of large messages was not given back");
                return;
            }
            state.ledger.pages().note(from..run.end, false);
        }
    }

    fn in_segment(&self, range: &Range<usize>) -> Range<usize> {
        self.ground.data + range.start..self.ground.data + range.end
    }

    fn span(&self, chunk: Chunk, len: usize) -> Span {
        let at = chunk.offset();
        Span::new(&self.memory.0, self.in_segment(&(at..at + len)))
    }

    /// Has somebody look whether the arena is idle, if it has more than it may keep.
    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.is_watched || state.ledger.pages().len() <= KEPT_LEN {
            return;
        }
        // Without a runtime here, the next message that is sent from one sees to it.
        if let Ok(runtime) = Handle::try_current() {
            state.is_watched = true;
            runtime.spawn(tidy(Arc::downgrade(self), Vigilance(Arc::downgrade(self))));
        }
    }

    /// Gives back what an idle arena does not need. True: there is no more to be done.
    fn tidy(&self, taken_before: &mut u64) -> bool {
        let mut state = self.lock();
        // A peer that lies gets its link ended by whoever sends next.
        let _ = self.collect(&mut state);
        if state.taken == *taken_before {
            self.shrink(&mut state, KEPT_LEN);
        }
        *taken_before = state.taken;
        let is_done = state.ledger.pages().len() <= KEPT_LEN;
        state.is_watched = !is_done;
        is_done
    }
}

/// Looks after an arena until it is small.
async fn tidy(arena: Weak<Inner>, _watching: Vigilance) {
    let (mut taken, mut pause) = (u64::MAX, IDLE);
    loop {
        tokio::time::sleep(pause).await;
        let Some(arena) = arena.upgrade() else { return };
        let before = taken;
        if arena.tidy(&mut taken) {
            return;
        }
        // What a reader keeps for long is looked for more and more seldom.
        pause = if before == taken {
            (2 * pause).min(IDLE_MAX)
        } else {
            IDLE
        };
    }
}

/// The task may be dropped with its runtime: then another one is to look.
struct Vigilance(Weak<Inner>);

impl Drop for Vigilance {
    fn drop(&mut self) {
        if let Some(arena) = self.0.upgrade() {
            arena.lock().is_watched = false;
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("len", &self.0.ground.len)
            .finish_non_exhaustive()
    }
}

/// A payload that is being written. Dropped before it is sealed, it leaves no trace.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    arena: &'a Arena,
    taken: Option<(Parcel, Chunk)>,
    /// How many bytes of the chunk have memory.
    backed: usize,
}

impl Draft<'_> {
    /// Ends the writing, the payload having so many bytes. None: nothing was written here.
    pub(crate) fn seal(self, len: usize) -> Option<Parcel> {
        let (mut parcel, chunk) = self.taken?;
        self.arena.0.guess.store(len, Ordering::Relaxed);
        parcel.page = u32::try_from(chunk.offset() / PAGE_LEN).ok()?;
        parcel.len = len;
        Some(parcel)
    }

    fn begin(&mut self, len: usize) -> Option<Span> {
        let inner = &self.arena.0;
        let guess = inner.guess.load(Ordering::Relaxed) + SLACK;
        let (lease, chunk) = inner.take(len, guess.min(len.saturating_mul(GUESS)))?;
        let parcel = Parcel {
            arena: self.arena.clone(),
            lease,
            page: 0,
            len: 0,
        };
        self.taken = Some((parcel, chunk));
        let backed = inner.back(chunk, len)?;
        self.backed = backed;
        Some(inner.span(chunk, backed))
    }

    /// Writes where there is room already.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        if let Some((_, chunk)) = &self.taken {
            self.arena.0.span(*chunk, self.backed).write(at, bytes);
        }
    }
}

impl Spill for Draft<'_> {
    #[cold]
    fn extend(&mut self, used: usize, len: usize) -> Option<Span> {
        let len = len.checked_add(SLACK)?;
        let Some((parcel, chunk)) = &mut self.taken else {
            let span = self.begin(len);
            if span.is_none() {
                self.taken = None;
            }
            return span;
        };
        let inner = &self.arena.0;
        // Twice as much each time, so that it is asked for seldom.
        let ample = len.max(2 * used);
        if len <= chunk.len() {
            self.backed = inner.back(*chunk, ample.min(chunk.len()))?;
            return Some(inner.span(*chunk, self.backed));
        }
        let (old, larger) = {
            let mut state = inner.lock();
            inner.collect(&mut state)?;
            let old = state.ledger.grow(parcel.lease, ample)?;
            (old, state.ledger.chunk(parcel.lease)?)
        };
        *chunk = larger;
        let span = inner.back(larger, ample).map(|backed| {
            self.backed = backed;
            let span = inner.span(larger, backed);
            span.copy_from(&inner.span(old, used), used);
            span
        });
        inner.lock().ledger.free(old);
        span
    }
}

/// A payload that is written, and goes where its frame goes. Dropped before that, it is forgotten.
#[derive(Debug)]
pub(crate) struct Parcel {
    arena: Arena,
    lease: u16,
    page: u32,
    len: usize,
}

impl Parcel {
    /// The header of its frame.
    pub(crate) fn address(&self, head: Head) -> Head {
        let (lease, page) = (self.lease, self.page);
        Head {
            total: Some(self.len as u64),
            place: Some(Place { lease, page }),
            ..head
        }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let inner = &self.arena.0;
        // Relaxed: it is set by whoever has the parcel and sends it.
        if !inner.told[usize::from(self.lease)].load(Ordering::Relaxed) {
            inner.lock().ledger.give_up(self.lease);
        }
    }
}

/// The arena of one direction, as its reader has it.
#[derive(Debug)]
pub(super) struct Shelf {
    memory: Memory,
    ground: Ground,
    /// The peer is of another family: what it wrote is copied before anybody looks.
    is_foreign: bool,
}

impl Shelf {
    /// None: there is no arena.
    pub(super) fn new(memory: Memory, ground: Ground) -> Option<Self> {
        (ground.len > 0).then_some(Self {
            memory,
            ground,
            is_foreign: false,
        })
    }

    /// What is read is copied first.
    pub(super) fn distrust(&mut self) {
        self.is_foreign = true;
    }

    /// Puts the payload of a frame into `body`, in which the frame's own bytes are, the chain.
    ///
    /// # Errors
    /// [`LinkError::Arena`] when it cannot lie there.
    pub(super) fn take(&self, place: Place, len: u64, body: &mut Body) -> Result<(), LinkError> {
        let at = place.page as usize * PAGE_LEN;
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| at.checked_add(len));
        let end = end.filter(|&end| end <= self.ground.len && end > at);
        let (Some(end), true) = (end, usize::from(place.lease) < LEASES) else {
            return Err(LinkError::Arena);
        };
        let range = self.ground.data + at..self.ground.data + end;
        let word = self.ground.words + usize::from(place.lease);
        let done = Done::new(self.memory.clone(), word);
        if self.is_foreign {
            let chain = body.to_vec();
            body.fill(range.len() + chain.len(), |own| {
                let (payload, rest) = own.split_at_mut(range.len());
                copy_out(self.memory.0.words(), range.start, payload);
                rest.copy_from_slice(&chain);
            });
            drop(done);
        } else {
            body.put(Box::new(InPlace::new(&self.memory.0, range, done)));
        }
        Ok(())
    }
}
