//! Who has which chunk of an arena: the writer's own record, and one word of each lease in which
//! the reader says that it is done. Pure.
//!
//! ```text
//!  writer   take ─> write ─> (the ring tells of it) ............ collect ─> free again
//!  reader                          read where it lies ─> Done: word + 1 ──^
//! ```
//!
//! Chunks come back in any order, without a system call, and the words can never be full: each
//! lease has its own, which counts how often it came back. Only the reader writes them, and what
//! they say is an allegation: the writer knows which leases are out, and a word that says anything
//! but "still there" or "back once" is a lie. A reader that dies takes nothing with it but its
//! mapping: the record is here.

use std::ops::Range;

use super::atomic::Ordering;
use super::chunks::{Chunk, Chunks};
use super::pages::Pages;
use super::spsc::{Corrupt, Words};

/// How many chunks of one arena are out at most.
pub(crate) const LEASES: usize = if cfg!(loom) { 2 } else { 128 };

/// The writer's record of one arena.
#[derive(Debug)]
pub(crate) struct Ledger<W> {
    words: W,
    /// The word of the first lease.
    at: usize,
    chunks: Chunks,
    pages: Pages,
    leases: Vec<Lease>,
    /// The leases that are out.
    out: Vec<u16>,
    /// Those that are not; the one that came back last is the last.
    home: Vec<u16>,
}

#[derive(Clone, Debug, Default)]
struct Lease {
    /// How often it came back, as last checked. Private: the peer cannot change it.
    seen: u64,
    chunk: Option<Chunk>,
}

impl<W: Words> Ledger<W> {
    /// The record of an arena of `len` bytes, of which nothing is out and nothing has memory, with
    /// its words from word `at` on.
    ///
    /// # Panics
    /// When the words end before, or the length is none of an arena.
    pub(crate) fn new(words: W, at: usize, len: usize) -> Self {
        assert!(
            at + LEASES <= words.words().len(),
            "the words of the leases lie within the words"
        );
        let leases = vec![Lease::default(); LEASES];
        // At most a few hundred.
        let home = (0..LEASES)
            .rev()
            .map(|lease| u16::try_from(lease).unwrap_or(u16::MAX));
        Self {
            words,
            at,
            chunks: Chunks::new(len),
            pages: Pages::new(len),
            leases,
            out: Vec::with_capacity(LEASES),
            home: home.collect(),
        }
    }

    /// Takes a chunk of at least `len` bytes under a lease of its own; none: no chunk or no lease
    /// is left.
    ///
    /// # Errors
    /// [`Corrupt`] when the reader says that it gave back what it did not have.
    pub(crate) fn take(&mut self, len: usize) -> Result<Option<(u16, Chunk)>, Corrupt> {
        let Some(&lease) = self.home.last() else {
            return Ok(None);
        };
        let index = usize::from(lease);
        // What an honest reader wrote there was received by `collect`; of a dishonest one's word
        // nothing is believed.
        let alleged = self.words.words()[self.at + index].load(Ordering::Relaxed);
        if alleged != self.leases[index].seen {
            return Err(Corrupt("gave back a chunk that it did not have"));
        }
        let Some(chunk) = self.chunks.take(len) else {
            return Ok(None);
        };
        self.home.pop();
        self.out.push(lease);
        self.leases[index].chunk = Some(chunk);
        Ok(Some((lease, chunk)))
    }

    /// Puts a chunk of at least `len` bytes in the place of the lease's, which it gives: to be
    /// [freed](Self::free) when it is copied. None: there is no such chunk.
    pub(crate) fn grow(&mut self, lease: u16, len: usize) -> Option<Chunk> {
        let record = self.leases.get_mut(usize::from(lease))?;
        let larger = self.chunks.take(len)?;
        record.chunk.replace(larger)
    }

    /// The chunk of a lease that is out.
    pub(crate) fn chunk(&self, lease: u16) -> Option<Chunk> {
        self.leases.get(usize::from(lease))?.chunk
    }

    /// Frees a chunk that [`grow`](Self::grow) has given.
    pub(crate) fn free(&mut self, chunk: Chunk) {
        self.chunks.free(chunk);
    }

    /// Ends a lease that the reader was never told of.
    pub(crate) fn give_up(&mut self, lease: u16) {
        if let Some(at) = self.out.iter().position(|out| *out == lease) {
            self.come_home(at);
        }
    }

    /// Frees what has come back of the leases that the reader was told of, which `was_told` says.
    ///
    /// # Errors
    /// [`Corrupt`] when a word says what no honest reader says.
    pub(crate) fn collect(&mut self, was_told: impl Fn(u16) -> bool) -> Result<(), Corrupt> {
        // The oldest first, so that the one that is likely still in the caches is used first.
        let mut at = 0;
        while let Some(&lease) = self.out.get(at) {
            let index = usize::from(lease);
            let seen = self.leases[index].seen;
            // ORDERING: receives the Release in `Done`, so that the chunk is written again only
            // after its reader has read it.
            let alleged = self.words.words()[self.at + index].load(Ordering::Acquire);
            match alleged.wrapping_sub(seen) {
                0 => at += 1,
                1 if was_told(lease) => {
                    self.leases[index].seen = alleged;
                    self.come_home(at);
                }
                _ => return Err(Corrupt("gave back a chunk that it did not have")),
            }
        }
        Ok(())
    }

    /// Whether any lease is out.
    #[cfg(test)]
    pub(crate) fn is_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Which pages have memory.
    pub(crate) fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// A part of a free chunk that has memory, while more than `keep` bytes of the arena have it:
    /// what is to be used last.
    pub(crate) fn surplus(&self, keep: usize) -> Option<Range<usize>> {
        if self.pages.len() <= keep {
            return None;
        }
        let mut runs = self.chunks.idle().map(|chunk| {
            let end = chunk.offset() + chunk.len();
            self.pages.last_run(chunk.offset()..end)
        });
        runs.find_map(|run| run)
    }

    fn come_home(&mut self, at: usize) {
        let lease = self.out.remove(at);
        if let Some(chunk) = self.leases[usize::from(lease)].chunk.take() {
            self.chunks.free(chunk);
        }
        self.home.push(lease);
    }
}

/// The reader's end of one lease: dropped, it says that the chunk is no longer read.
#[derive(Debug)]
pub(crate) struct Done<W: Words> {
    words: W,
    word: usize,
}

impl<W: Words> Done<W> {
    /// The end of the lease whose word this is.
    ///
    /// # Panics
    /// When there is no such word: who reads the lease's number checks it.
    pub(crate) fn new(words: W, word: usize) -> Self {
        assert!(word < words.words().len(), "a lease has a word");
        Self { words, word }
    }
}

impl<W: Words> Drop for Done<W> {
    fn drop(&mut self) {
        // ORDERING: what was read of the chunk comes before; pairs with the Acquire in
        // `Ledger::collect`. An addition and not a store, because only the word itself knows how
        // often the lease was back.
        self.words.words()[self.word].fetch_add(1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::AtomicU64;
    use super::super::chunks::GRAIN_LEN;
    use super::super::pages::PAGE_LEN;
    use super::*;

    const LEN: usize = 64 * GRAIN_LEN;
    const AT: usize = 3;

    #[derive(Clone, Debug)]
    struct Memory(Arc<Vec<AtomicU64>>);

    impl Words for Memory {
        fn words(&self) -> &[AtomicU64] {
            &self.0
        }
    }

    fn new_ledger() -> (Memory, Ledger<Memory>) {
        let words = (0..AT + LEASES).map(|_| AtomicU64::new(0)).collect();
        let memory = Memory(Arc::new(words));
        (memory.clone(), Ledger::new(memory, AT, LEN))
    }

    fn done(memory: &Memory, lease: u16) -> Done<Memory> {
        Done::new(memory.clone(), AT + usize::from(lease))
    }

    /// Chunks come back in any order, what was not told of stays, and the last one is used first.
    #[test]
    fn chunks_come_back_in_any_order() {
        let (memory, mut ledger) = new_ledger();
        let taken: Vec<_> = (0..4).map(|_| ledger.take(1).unwrap().unwrap()).collect();
        let ends: Vec<_> = taken
            .iter()
            .map(|(lease, _)| done(&memory, *lease))
            .collect();
        let mut kept = Vec::new();
        for (at, end) in ends.into_iter().enumerate() {
            if at % 2 == 1 {
                drop(end);
                ledger.collect(|_| true).unwrap();
                assert_eq!(ledger.take(1).unwrap(), Some(taken[at]));
                ledger.give_up(taken[at].0);
            } else {
                kept.push(end);
            }
        }
        assert!(ledger.is_out());
        assert_eq!(ledger.chunk(taken[0].0), Some(taken[0].1));
        assert_eq!(ledger.chunk(taken[1].0), None);
    }

    /// Leases have an end; a chunk that grew is the lease's, and the old one is free again.
    #[test]
    fn leases_are_bounded_and_chunks_grow() {
        let (_, mut ledger) = new_ledger();
        let (lease, chunk) = ledger.take(1).unwrap().unwrap();
        let old = ledger.grow(lease, 2 * GRAIN_LEN).unwrap();
        assert_eq!(old, chunk);
        let larger = ledger.chunk(lease).unwrap();
        assert!(larger.len() == 2 * GRAIN_LEN && larger != chunk);
        ledger.free(old);
        assert_eq!(ledger.grow(lease, LEN), None, "the whole is not free");
        ledger.give_up(lease);
        assert!(!ledger.is_out());
        let whole = ledger.take(LEN).unwrap().unwrap();
        assert_eq!(ledger.take(1).unwrap(), None);
        ledger.give_up(whole.0);
        let all = (0..64).filter_map(|_| ledger.take(1).unwrap());
        assert_eq!(all.count(), 64);
        assert_eq!(ledger.take(1).unwrap(), None);
    }

    /// Any other value of any word is found, of leases that are out and of those that are not.
    #[test]
    fn lies_about_leases_are_found() {
        for lie in [2, 3, 1 << 31, 1 << 63, u64::MAX] {
            let (memory, mut ledger) = new_ledger();
            let (lease, _) = ledger.take(1).unwrap().unwrap();
            memory.0[AT + usize::from(lease)].store(lie, Ordering::Relaxed);
            assert!(ledger.collect(|_| true).is_err(), "{lie:#x}");
        }
        let (memory, mut ledger) = new_ledger();
        let (lease, _) = ledger.take(1).unwrap().unwrap();
        memory.0[AT + usize::from(lease)].store(1, Ordering::Relaxed);
        assert!(ledger.collect(|_| false).is_err(), "it was told of nothing");
        let (memory, mut ledger) = new_ledger();
        let (lease, _) = ledger.take(1).unwrap().unwrap();
        ledger.give_up(lease);
        memory.0[AT + usize::from(lease)].fetch_add(1, Ordering::Relaxed);
        assert!(ledger.take(1).is_err(), "it had nothing to give back");
    }

    /// Only what is free is given back to the system, what is to be used last first, and no more
    /// than is asked for.
    #[test]
    fn memory_of_free_chunks_is_surplus() {
        let (_, mut ledger) = new_ledger();
        let (first, chunk) = ledger.take(1).unwrap().unwrap();
        let (second, other) = ledger.take(4 * PAGE_LEN).unwrap().unwrap();
        for chunk in [chunk, other] {
            let end = chunk.offset() + 4 * PAGE_LEN;
            ledger.pages().note(chunk.offset()..end, true);
        }
        assert_eq!(ledger.surplus(0), None, "nothing is free");
        ledger.give_up(second);
        let run = other.offset()..other.offset() + 4 * PAGE_LEN;
        assert_eq!(ledger.surplus(0), Some(run.clone()));
        assert_eq!(ledger.surplus(8 * PAGE_LEN), None, "so much may stay");
        ledger.pages().note(run, false);
        assert_eq!(ledger.surplus(0), None);
        assert_eq!(ledger.chunk(first), Some(chunk));
    }

    proptest! {
        /// Whatever is taken, told, read and given up: no two leases that are out have bytes in
        /// common, and in the end all is there again.
        #[test]
        fn no_two_leases_overlap(steps in vec((0..4_u8, 0..LEN / 2, 0..64_usize), 1..300)) {
            let (memory, mut ledger) = new_ledger();
            let mut out: Vec<(u16, Option<Done<Memory>>)> = Vec::new();
            for (what, len, at) in steps {
                match what {
                    0 | 1 => {
                        if let Some((lease, _)) = ledger.take(len).unwrap() {
                            out.push((lease, (what == 0).then(|| done(&memory, lease))));
                        }
                    }
                    _ if out.is_empty() => {}
                    2 => match out.swap_remove(at % out.len()) {
                        (_, Some(end)) => drop(end),
                        (lease, None) => ledger.give_up(lease),
                    },
                    _ => {
                        let lease = out[at % out.len()].0;
                        if let Some(old) = ledger.grow(lease, len) {
                            ledger.free(old);
                        }
                    }
                }
                ledger.collect(|_| true).unwrap();
                let chunks = out.iter().map(|(lease, _)| ledger.chunk(*lease).unwrap());
                let mut chunks: Vec<_> = chunks.collect();
                chunks.sort_by_key(|chunk| chunk.offset());
                for two in chunks.windows(2) {
                    prop_assert!(two[0].offset() + two[0].len() <= two[1].offset());
                }
            }
            for (lease, end) in out {
                if end.is_none() {
                    ledger.give_up(lease);
                }
            }
            ledger.collect(|_| true).unwrap();
            prop_assert!(!ledger.is_out());
            prop_assert!(ledger.take(LEN).unwrap().is_some());
        }
    }
}
