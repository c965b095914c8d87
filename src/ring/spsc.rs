//! The two ends of a ring: one writes records, the other reads them.
//!
//! ```text
//!   Producer                         Consumer
//!   claim(len) -> Claim              read() -> Record
//!     write(bytes)                     copy_to(at, bytes)
//!     commit(tag)                      release()
//!   announce()  -> ring the bell?    doze()   -> may it wait for the bell?
//!   want_room()                      freed()  -> ring the bell?
//! ```
//!
//! Promises: records arrive whole, once, in order; what is not committed is never seen, so a
//! producer that dies in the middle of a claim leaves nothing behind. Each side keeps its own
//! position in private memory. What the other side writes (a record's word, the head, the flags) is
//! loaded once, checked against our own capacity and only then used; a lie is [`Corrupt`], never a
//! panic.
//!
//! What it does not know: waiting, doorbells, what the bytes mean. All data may change at any time
//! under a hostile peer; nothing here holds a reference to it, and bytes are copied out before
//! anyone looks.

#[cfg(not(loom))]
use std::mem::MaybeUninit;

use super::atomic::{AtomicU64, Ordering};
use super::layout::{GRAIN, Place, WORD, Word, record_size};
use super::memory;

/// The words of a piece of memory that both ends see.
///
/// Two calls give the same words, and they live as long as the value does.
pub(crate) trait Words {
    fn words(&self) -> &[AtomicU64];
}

/// The peer wrote something that no honest peer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer broke the rules of the ring: {0}")]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// Why there is no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    /// The consumer has not released enough yet.
    #[error("the ring is full")]
    Full,
    /// No record of this ring is ever that long.
    #[error("a record carries at most {max} bytes")]
    TooLong {
        /// The most bytes of a record.
        max: usize,
    },
    /// The consumer alleges an impossible head.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer<W> {
    words: W,
    place: Place,
    /// Where the next record begins. Private: the peer cannot move it.
    tail: u64,
    /// The consumer's head as last checked; refreshed only when the ring looks full.
    head_seen: u64,
}

impl<W: Words> Producer<W> {
    /// The writing end of the ring at `place`, whose memory is still all zeros.
    ///
    /// # Panics
    /// When the words do not hold the whole ring.
    pub(crate) fn new(words: W, place: Place) -> Self {
        assert!(
            place.end() <= words.words().len(),
            "the ring lies within the words"
        );
        Self {
            words,
            place,
            tail: 0,
            head_seen: 0,
        }
    }

    /// Takes room for a record of `len` bytes.
    ///
    /// # Errors
    /// [`ClaimError::Full`] when there is no room now.
    pub(crate) fn claim(&mut self, len: usize) -> Result<Claim<'_, W>, ClaimError> {
        let max = self.place.record_len_max();
        if len > max {
            return Err(ClaimError::TooLong { max });
        }
        let (skip, needed) = self.needs(len);
        if self.free() < needed {
            self.look_at_head()?;
            if self.free() < needed {
                return Err(ClaimError::Full);
            }
        }
        if skip > 0 {
            self.publish(Word::padding(), skip);
        }
        Ok(Claim {
            len,
            written: 0,
            producer: self,
        })
    }

    /// How much room a record of `len` bytes takes now, and how much of that is padding before it.
    fn needs(&self, len: usize) -> (u64, u64) {
        let size = record_size(len) as u64;
        let to_end = self.place.capacity() - self.place.offset(self.tail) as u64;
        let skip = if size > to_end { to_end } else { 0 };
        // One grain stays free, because a commit clears the word behind its record.
        (skip, skip + size + GRAIN as u64)
    }

    /// The position behind the last committed record, in bytes since the ring's beginning.
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// How far the consumer says that it has read, in bytes since the ring's beginning.
    pub(crate) fn released(&self) -> u64 {
        // ORDERING: pairs with the Release in `Record::release`.
        self.words.words()[self.place.head()].load(Ordering::Acquire)
    }

    /// Says after one or several commits whether the consumer sleeps and must be rung.
    pub(crate) fn announce(&self) -> bool {
        // ORDERING: a read-modify-write on both sides. Either this one comes first, and the
        // consumer's swap in `doze` acquires our commits, or that one comes first and we see its 1.
        self.words.words()[self.place.asleep()].swap(0, Ordering::AcqRel) != 0
    }

    /// Whether the consumer sleeps, as far as can be seen without waking it.
    pub(crate) fn is_awaited(&self) -> bool {
        // ORDERING: Relaxed: a hint, on the strength of which nothing is read. `announce` is what
        // wakes.
        self.words.words()[self.place.asleep()].load(Ordering::Relaxed) != 0
    }

    /// Asks the consumer to ring when it releases room. Announce what was committed before, or both
    /// ends may sleep; then claim once more before waiting.
    pub(crate) fn want_room(&self) {
        // ORDERING: pairs with the swap in `Consumer::freed`, as `announce` with `doze`.
        self.words.words()[self.place.wanting()].swap(1, Ordering::AcqRel);
    }

    fn free(&self) -> u64 {
        self.place.capacity() - (self.tail - self.head_seen)
    }

    /// Takes over the consumer's head, once it has been found possible.
    fn look_at_head(&mut self) -> Result<(), Corrupt> {
        let head = self.released();
        if head < self.head_seen || head > self.tail {
            return Err(Corrupt("a head outside of what was written"));
        }
        self.head_seen = head;
        Ok(())
    }

    /// Commits the word of `size` bytes at the tail.
    fn publish(&mut self, word: u64, size: u64) {
        let next = self.tail + size;
        let words = self.words.words();
        let next_word = self.place.word(self.place.offset(next));
        // The consumer reads this word only after it has acquired the store below.
        words[next_word].store(0, Ordering::Relaxed);
        // ORDERING: publishes the record's bytes and the cleared word behind it; received by the
        // Acquire in `Consumer::peek`.
        words[self.place.word(self.place.offset(self.tail))].store(word, Ordering::Release);
        self.tail = next;
    }
}

impl<W: Words + Clone> Producer<W> {
    /// A look for room for a record of `len` bytes, as long as none is committed.
    pub(crate) fn vacancy(&self, len: usize) -> Vacancy<W> {
        let (_, needed) = self.needs(len);
        Vacancy {
            words: self.words.clone(),
            head: self.place.head(),
            enough: (self.tail + needed).saturating_sub(self.place.capacity()),
        }
    }
}

/// Room for one record. Dropped without a commit, it leaves no trace.
#[derive(Debug)]
pub(crate) struct Claim<'a, W> {
    producer: &'a mut Producer<W>,
    len: usize,
    written: usize,
}

impl<W: Words> Claim<'_, W> {
    /// Appends `bytes`. What is written is never read back.
    ///
    /// # Panics
    /// When more is written than was claimed.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.len - self.written,
            "a claim holds what was claimed"
        );
        let offset = self.producer.place.offset(self.producer.tail) + WORD + self.written;
        memory::copy_in(
            self.producer.words.words(),
            self.producer.place.byte(offset),
            bytes,
        );
        self.written += bytes.len();
    }

    /// Makes the record visible, with the bytes written so far, and gives the position behind it.
    pub(crate) fn commit(self, tag: u32) -> u64 {
        let size = record_size(self.written) as u64;
        self.producer.publish(Word::record(self.written, tag), size);
        self.producer.tail
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer<W> {
    words: W,
    place: Place,
    /// Where the next record begins. Private: the peer cannot move it.
    head: u64,
    /// What was released since the producer was last asked whether it waits for room.
    unasked: u64,
    /// Whether the sleep flag was raised and nobody was seen to lower it.
    dozing: bool,
}

impl<W: Words> Consumer<W> {
    /// The reading end of the ring at `place`, whose memory is still all zeros.
    ///
    /// # Panics
    /// When the words do not hold the whole ring.
    pub(crate) fn new(words: W, place: Place) -> Self {
        assert!(
            place.end() <= words.words().len(),
            "the ring lies within the words"
        );
        Self {
            words,
            place,
            head: 0,
            unasked: 0,
            dozing: false,
        }
    }

    /// The next record, if one is committed.
    ///
    /// A hostile producer, even a dead one, can leave records without an end: the caller bounds how
    /// many it takes in one turn, and takes at most the capacity from the ring of a peer that has
    /// died.
    ///
    /// # Errors
    /// [`Corrupt`] when the record could not lie in this ring.
    pub(crate) fn read(&mut self) -> Result<Option<Record<'_, W>>, Corrupt> {
        let mut word = self.peek();
        if word == Word::Padding {
            let offset = self.place.offset(self.head) as u64;
            if offset == 0 {
                return Err(Corrupt("padding at the beginning"));
            }
            self.advance(self.place.capacity() - offset);
            word = self.peek();
        }
        match word {
            Word::Empty => Ok(None),
            Word::Padding => Err(Corrupt("padding behind padding")),
            Word::Record { len, tag } => {
                let offset = self.place.offset(self.head);
                let to_end = self.place.capacity() - offset as u64;
                if len > self.place.record_len_max() || record_size(len) as u64 > to_end {
                    return Err(Corrupt("a record longer than its place"));
                }
                Ok(Some(Record {
                    len,
                    tag,
                    consumer: self,
                }))
            }
        }
    }

    /// Whether nothing is committed. A lie of the peer's counts as something.
    pub(crate) fn is_empty(&self) -> bool {
        self.peek() == Word::Empty
    }

    /// Announces that this end is about to wait for its doorbell. False: something came in, look
    /// again. Ask [`Self::freed`] before, or whenever [`Self::owes_room`] says so while reading, or
    /// both ends may sleep: a full ring owes room before it is empty.
    pub(crate) fn doze(&mut self) -> bool {
        // ORDERING: a read-modify-write on both sides, see `Producer::announce`. Acquires what the
        // producer committed before its swap, so that the look below sees it.
        self.words.words()[self.place.asleep()].swap(1, Ordering::AcqRel);
        self.dozing = true;
        if self.is_empty() {
            return true;
        }
        self.wake();
        false
    }

    /// Takes the announcement back, so that the producer need not ring for what is looked at
    /// anyway.
    pub(crate) fn wake(&mut self) {
        if std::mem::take(&mut self.dozing) {
            // Relaxed: nothing is read on the strength of it. A swap and not a store, because a
            // store would hide the producer's last `announce`, whose commits the next `doze` must
            // acquire.
            self.words.words()[self.place.asleep()].swap(0, Ordering::Relaxed);
        }
    }

    /// Says whether the producer waits for room that was released and must be rung.
    pub(crate) fn freed(&mut self) -> bool {
        if std::mem::take(&mut self.unasked) == 0 {
            return false;
        }
        // ORDERING: pairs with the swap in `Producer::want_room`, as `announce` with `doze`.
        self.words.words()[self.place.wanting()].swap(0, Ordering::AcqRel) != 0
    }

    /// Whether so much was released unasked that the producer should hear of it before the ring is
    /// empty.
    pub(crate) fn owes_room(&self) -> bool {
        self.unasked >= self.place.capacity() / 4
    }

    fn peek(&self) -> Word {
        let index = self.place.word(self.place.offset(self.head));
        // ORDERING: receives what the Release in `Producer::publish` publishes.
        Word::parse(self.words.words()[index].load(Ordering::Acquire))
    }

    fn advance(&mut self, size: u64) {
        self.head += size;
        self.unasked += size;
        // ORDERING: hands the released bytes back; pairs with the Acquire in `Producer::released`,
        // so that the producer overwrites them only after we copied them out.
        self.words.words()[self.place.head()].store(self.head, Ordering::Release);
    }
}

/// One committed record, not yet released. Its bytes may change under a hostile peer: copy, then
/// look.
#[derive(Debug)]
pub(crate) struct Record<'a, W> {
    consumer: &'a mut Consumer<W>,
    len: usize,
    tag: u32,
}

impl<W: Words> Record<'_, W> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn tag(&self) -> u32 {
        self.tag
    }

    /// The position behind it, in bytes since the ring's beginning.
    pub(crate) fn end(&self) -> u64 {
        self.consumer.head + record_size(self.len) as u64
    }

    /// Copies the bytes from `at` on into `bytes`.
    ///
    /// # Panics
    /// When the record is shorter than that.
    pub(crate) fn copy_to(&self, at: usize, bytes: &mut [u8]) {
        let place = self.place_of(at, bytes.len());
        memory::copy_out(self.consumer.words.words(), place, bytes);
    }

    /// The same to where nothing was written yet; gives what was written.
    ///
    /// # Panics
    /// When the record is shorter than that.
    #[cfg(not(loom))]
    pub(crate) fn copy_to_new<'b>(
        &self,
        at: usize,
        room: &'b mut [MaybeUninit<u8>],
    ) -> &'b mut [u8] {
        let place = self.place_of(at, room.len());
        memory::copy_to_new(self.consumer.words.words(), place, room)
    }

    /// Where in the words `len` of its bytes lie, from `at` on.
    #[inline]
    fn place_of(&self, at: usize, len: usize) -> usize {
        let behind = self.len.checked_sub(at);
        assert!(
            behind.is_some_and(|behind| len <= behind),
            "a record holds what its word says"
        );
        let consumer = &*self.consumer;
        let offset = consumer.place.offset(consumer.head) + WORD + at;
        consumer.place.byte(offset)
    }

    /// Gives the room back to the producer.
    pub(crate) fn release(self) {
        self.consumer.advance(record_size(self.len) as u64);
    }
}

/// A look into a ring that needs no access to its reading end: a hint for whoever spins.
#[derive(Debug, Clone)]
pub(crate) struct Glance<W> {
    words: W,
    place: Place,
}

impl<W: Words> Glance<W> {
    pub(crate) fn new(words: W, place: Place) -> Self {
        assert!(
            place.end() <= words.words().len(),
            "the ring lies within the words"
        );
        Self { words, place }
    }

    /// Whether the next record seems to be there. Only [`Consumer::read`] knows.
    pub(crate) fn is_promising(&self) -> bool {
        let words = self.words.words();
        // Our own published head: the peer could scribble on it, and then this look says nothing.
        let head = words[self.place.head()].load(Ordering::Relaxed);
        let index = self.place.word(self.place.offset(head));
        match Word::parse(words[index].load(Ordering::Relaxed)) {
            Word::Empty => false,
            Word::Padding => true,
            Word::Record { len, .. } => {
                // The record's second cache line travels while the first one is looked at.
                if record_size(len) > memory::LINE - (index * WORD) % memory::LINE {
                    memory::prefetch(words, index + memory::LINE / WORD);
                }
                true
            }
        }
    }
}

/// A look for room that needs no access to the writing end: a hint for whoever spins.
#[derive(Debug)]
pub(crate) struct Vacancy<W> {
    words: W,
    head: usize,
    /// How far the consumer must have released.
    enough: u64,
}

impl<W: Words> Vacancy<W> {
    /// Whether there seems to be room. Only [`Producer::claim`] knows.
    pub(crate) fn is_promising(&self) -> bool {
        // ORDERING: Relaxed: a hint; `Producer::released` acquires before anything is overwritten.
        self.words.words()[self.head].load(Ordering::Relaxed) >= self.enough
    }
}
