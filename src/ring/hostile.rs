//! The ring between an honest side and one that writes anything anywhere at any time.
//!
//! Shown here: nothing panics, a lie ends the link with `Corrupt`, a read moves on or ends, and a
//! writer overwrites only what the reader itself said to be read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::layout::{GRAIN, Word, record_size};
use super::tests::{Reader, Ring, bytes, cases, len_of, read, write};
use super::{AtomicU64, CONTROL_WORDS, ClaimError, Corrupt, Glance, Ordering, WORD};

/// The capacity of the rings here, and the words of one with its control blocks.
const CAPACITY: usize = 256;
const WORDS: usize = CONTROL_WORDS + CAPACITY / WORD;

/// Values at the borders of everything that a word can mean to a ring of [`CAPACITY`] bytes.
const INTERESTING: [u64; 30] = [
    0,
    1,
    2,
    8,
    9,
    15,
    16,
    17,
    56,
    57,
    58,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    257,
    4096,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    1 << 32,
    (1 << 32) + 1,
    (7 << 32) + 9,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 15,
    u64::MAX - 1,
    u64::MAX,
];

impl Ring {
    /// What a hostile peer writes at `offset` of the data.
    fn scribble(&self, offset: usize, word: u64) {
        self.memory.0[self.place.word(offset)].store(word, Ordering::Relaxed);
    }

    /// What a hostile reader alleges to have read.
    fn allege_head(&self, head: u64) {
        self.memory.0[self.place.head()].store(head, Ordering::Relaxed);
    }

    fn data(&self) -> Vec<u64> {
        let data = &self.memory.0[self.place.word(0)..];
        data.iter()
            .map(|word| word.load(Ordering::Relaxed))
            .collect()
    }

    /// Lets `count` records of one grain pass.
    fn pass(&mut self, count: u32) {
        for tag in 0..count {
            write(&mut self.writer, tag, WORD).expect("the ring is empty");
            read(&mut self.reader)
                .expect("no lies yet")
                .expect("one was written");
        }
    }
}

/// Takes at most `limit` records, as a link does in one turn. A peer may refill as fast as we read,
/// or leave a circle of records without an end, and then die: a turn and the draining of a dead
/// peer's ring are bounded by what was read, never by the ring being empty.
fn read_turn(reader: &mut Reader, limit: usize) -> Result<usize, Corrupt> {
    for count in 0..limit {
        if read(reader)?.is_none() {
            return Ok(count);
        }
    }
    Ok(limit)
}

/// Some turns on a ring somebody scribbles on. `Corrupt` ends them, as it ends a link.
fn live_on(ring: &mut Ring) -> Result<(), Corrupt> {
    for tag in 0..40 {
        if let Err(ClaimError::Corrupt(corrupt)) = write(&mut ring.writer, tag, len_of(tag, 56)) {
            return Err(corrupt);
        }
        ring.writer.announce();
        ring.writer.want_room();
        if tag % 3 == 0 {
            read_turn(&mut ring.reader, 20)?;
        }
        ring.reader.owes_room();
        ring.reader.freed();
        ring.reader.doze();
        ring.reader.wake();
    }
    Ok(())
}

/// Each word of the segment with each interesting value, before any turn and after some.
#[test]
fn any_word_may_lie() {
    // Under Miri: the head, the flags and few words of the data, a quarter of the rest.
    let (every_index, every) = if cfg!(miri) { (16, 4) } else { (1, 1) };
    for index in (0..WORDS).step_by(every_index) {
        for value in INTERESTING.into_iter().step_by(every) {
            for turns in [9, 0, 1, 30].into_iter().step_by(every) {
                let mut ring = Ring::new(CAPACITY);
                ring.pass(turns);
                ring.memory.0[index].store(value, Ordering::Relaxed);
                let _ = live_on(&mut ring);
            }
        }
    }
}

/// A head behind the last one, ahead of what was written, or beyond all measure is a lie; nothing
/// is written on its word, and a later claim says so again.
#[test]
fn an_impossible_head_is_corrupt() {
    for turns in [5, 40] {
        let mut ring = Ring::new(CAPACITY);
        ring.pass(turns);
        while write(&mut ring.writer, 1, WORD).is_ok() {}
        let (released, tail) = (ring.writer.released(), ring.writer.position());
        let before = ring.data();
        for head in [
            0,
            1,
            released - 1,
            released - 16,
            tail + 1,
            tail + 16,
            1 << 63,
            u64::MAX,
        ] {
            ring.allege_head(head);
            for _ in 0..2 {
                let error = write(&mut ring.writer, 2, WORD).unwrap_err();
                assert!(
                    matches!(error, ClaimError::Corrupt(_)),
                    "head {head}: {error}"
                );
            }
            assert_eq!(
                (ring.writer.position(), ring.data()),
                (tail, before.clone())
            );
        }
        ring.allege_head(tail);
        write(&mut ring.writer, 3, WORD).unwrap();
    }
}

/// Words that no honest writer commits, at the beginning, in the middle and in the last grain.
#[test]
fn an_impossible_word_is_corrupt() {
    for turns in [0, 3, 15] {
        let offset = turns as usize * GRAIN;
        let to_end = CAPACITY - offset;
        let longer = if to_end < 64 { to_end - WORD + 1 } else { 57 };
        for word in [
            Word::record(longer, 0),
            Word::record(200, 0),
            Word::record(u32::MAX as usize - 2, 7),
            // A zero length mark with a tag.
            1 << 32,
            u64::from(u32::MAX) << 32,
        ] {
            let mut ring = Ring::new(CAPACITY);
            ring.pass(turns);
            ring.scribble(offset, word);
            assert!(!ring.reader.is_empty(), "a lie is something");
            assert!(!ring.reader.doze());
            for _ in 0..2 {
                assert!(ring.reader.read().is_err(), "{word:x} at {offset}");
            }
            assert_eq!(
                ring.writer.released(),
                offset as u64,
                "a lie releases nothing"
            );
        }
    }
}

/// A padding fills the end of the data, once: none at the beginning, none behind another.
#[test]
fn paddings_do_not_repeat() {
    let mut ring = Ring::new(CAPACITY);
    ring.scribble(0, Word::padding());
    assert_eq!(
        read(&mut ring.reader),
        Err(Corrupt("padding at the beginning"))
    );

    let mut ring = Ring::new(CAPACITY);
    ring.pass(1);
    ring.scribble(GRAIN, Word::padding());
    ring.scribble(0, Word::padding());
    assert_eq!(
        read(&mut ring.reader),
        Err(Corrupt("padding behind padding"))
    );
    assert!(read(&mut ring.reader).is_err());
}

/// A circle of records without an end keeps a reader busy for as long as its turn allows and no
/// longer, and each read takes its bytes.
#[test]
fn a_circle_of_records_ends_with_the_turn() {
    let mut ring = Ring::new(CAPACITY);
    for offset in (0..CAPACITY).step_by(GRAIN) {
        ring.scribble(offset, Word::record(0, 9));
    }
    assert_eq!(read_turn(&mut ring.reader, 1024), Ok(1024));
    assert_eq!(ring.writer.released(), 1024 * GRAIN as u64);
}

/// How many turns a story has at most: few under Miri.
fn turns(count: usize) -> usize {
    if cfg!(miri) { 30 } else { count }
}

/// Words that look like something more often than random ones do.
fn noise() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        proptest::sample::select(&INTERESTING[..]),
        (0..58_usize, any::<u32>()).prop_map(|(len, tag)| Word::record(len, tag)),
        Just(Word::padding()),
    ]
}

proptest! {
    #![proptest_config(cases(300))]

    /// Noise all over the segment from the start: both ends live on or say `Corrupt`.
    #[test]
    fn noise_from_the_start(words in vec(noise(), WORDS), head in 0..CAPACITY as u64) {
        let mut ring = Ring::new(CAPACITY);
        for (word, value) in ring.memory.0.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        ring.allege_head(head);
        let _ = live_on(&mut ring);
    }

    /// Noise between any two turns: each read moves on within the ring, or ends the turn or link.
    #[test]
    fn noise_between_reads(noise in vec((0..WORDS, noise()), 1..turns(200))) {
        let mut ring = Ring::new(CAPACITY);
        let glance = Glance::new(ring.memory.clone(), ring.place);
        for (tag, &(index, value)) in (0..).zip(&noise) {
            // The head stays true, for it tells this test how far the reader is.
            if index != ring.place.head() {
                ring.memory.0[index].store(value, Ordering::Relaxed);
            }
            let _ = write(&mut ring.writer, tag, len_of(tag, 56));
            let before = ring.writer.released();
            let result = read(&mut ring.reader);
            let moved = ring.writer.released() - before;
            prop_assert!(moved < 2 * ring.place.capacity());
            if let Ok(Some((_, copy))) = result {
                prop_assert!(copy.len() <= ring.place.record_len_max());
                prop_assert!(moved >= record_size(copy.len()) as u64);
            }
            ring.reader.doze();
            glance.is_promising();
        }
    }

    /// Whatever heads a reader alleges, the writer overwrites only what was said to be read.
    #[test]
    fn only_released_room_is_written(
        heads in vec((prop_oneof![any::<u64>(), 0..2000_u64], 0..57_usize), 1..turns(120))
    ) {
        let mut ring = Ring::new(CAPACITY);
        // The records that nobody said to be read: where each begins, its word, its bytes.
        let mut unread = VecDeque::new();
        let mut said = 0;
        for (tag, &(head, len)) in (1..).zip(&heads) {
            let tail = ring.writer.position();
            // Half of the heads are near the truth, or no story would get far.
            let near = said + head % (tail - said + 24);
            let head = if tag % 2 == 0 { near } else { head };
            ring.allege_head(head);
            if (said..=tail).contains(&head) {
                said = head;
            }
            if let Ok(position) = write(&mut ring.writer, tag, len) {
                let start = position - record_size(len) as u64;
                unread.push_back((start, Word::record(len, tag), bytes(tag, len)));
            }
            unread.retain(|&(start, ..)| start >= said);
            let data = ring.data();
            for (start, word, bytes) in &unread {
                let at = ring.place.offset(*start) / WORD;
                prop_assert_eq!(data[at], *word);
                let found = data[at + 1..].iter().flat_map(|word| word.to_ne_bytes());
                prop_assert!(found.take(bytes.len()).eq(bytes.iter().copied()));
            }
        }
    }
}

/// Another thread scribbles without pause while both ends work. Under Miri this is a data race, as
/// it is meant to be; between processes it is only bytes that change.
#[test]
#[cfg_attr(miri, ignore = "a data race by intention")]
fn noise_while_reading() {
    let over = Arc::new(AtomicU64::new(0));
    let mut ring = Ring::new(CAPACITY);
    let (memory, until) = (ring.memory.clone(), Arc::clone(&over));
    let scribbling = thread::spawn(move || {
        let mut state = 1_u64;
        while until.load(Ordering::Relaxed) == 0 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let value = [0, state >> 58, Word::padding(), state][(state >> 40) as usize % 4];
            memory.0[(state >> 33) as usize % memory.0.len()].store(value, Ordering::Relaxed);
        }
    });
    let mut lies = 0;
    for _ in 0..5000 {
        lies += u32::from(live_on(&mut ring).is_err());
    }
    over.store(1, Ordering::Relaxed);
    scribbling.join().unwrap();
    assert!(lies > 0, "somebody did scribble");
}
