//! The ring under loom: all interleavings of small stories, all stale values that orderings allow.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test --lib --release models`. Each ordering in `spsc.rs`
//! has a story here that fails when the ordering becomes Relaxed:
//!
//! | ordering | story |
//! |---|---|
//! | Release in `publish`, Acquire in `peek` | `records_arrive_whole_across_the_wrap` |
//! | Release in `advance`, Acquire in `released` | `records_arrive_whole_across_the_wrap` |
//! | AcqRel in `announce` and in `doze` | `a_dozing_reader_is_rung_or_looks_again` |
//! | AcqRel in `want_room` and in `freed` | `a_writer_that_waits_for_room_is_rung` |
//! | the swap in `wake`, were it a store | `a_doze_taken_back_loses_nothing` |
//!
//! A lost record, a torn record and a room taken too early show as a failed assertion or as loom's
//! "Causality violation"; a lost wake-up shows as loom's "deadlock", for a [`Bell`] waits for ever.

use std::sync::Arc;

use loom::model::Builder;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::{AtomicU64, CONTROL_WORDS, ClaimError, Consumer, Place, Producer, WORD, Words};

/// The memory of one ring.
#[derive(Clone)]
struct Memory(Arc<Vec<AtomicU64>>);

impl Words for Memory {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

type Writer = Producer<Memory>;
type Reader = Consumer<Memory>;

/// Both ends of a new ring.
fn ring(capacity: usize) -> (Writer, Reader) {
    let place = Place::new(0, CONTROL_WORDS, capacity);
    let words = (0..place.end()).map(|_| AtomicU64::new(0)).collect();
    let memory = Memory(Arc::new(words));
    (
        Producer::new(memory.clone(), place),
        Consumer::new(memory, place),
    )
}

/// A doorbell: once rung it stays rung until it is heard, as an eventfd does.
#[derive(Clone)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    fn ring(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.0.0.lock().unwrap();
        while !*rung {
            rung = self.0.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// The bytes of record `tag` of `len` words: each word tells the record and its place in it.
fn bytes(tag: u32, len: usize) -> Vec<u8> {
    let word = |index| (1 << 63) | (u64::from(tag) << 8) | index;
    (0..len as u64)
        .flat_map(|index| word(index).to_ne_bytes())
        .collect()
}

/// Commits record `tag` of `len` words, if there is room.
fn try_write(writer: &mut Writer, tag: u32, len: usize) -> bool {
    match writer.claim(len * WORD) {
        Ok(mut claim) => {
            claim.write(&bytes(tag, len));
            claim.commit(tag);
            true
        }
        Err(ClaimError::Full) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Takes the next record, checks that it is whole, and gives its tag.
fn try_read(reader: &mut Reader) -> Option<u32> {
    let record = reader.read().expect("an honest writer")?;
    let mut copy = vec![0; record.len()];
    record.copy_to(0, &mut copy);
    let tag = record.tag();
    record.release();
    assert_eq!(copy, bytes(tag, copy.len() / WORD), "record {tag} is whole");
    Some(tag)
}

/// Commits record `tag`, waiting for room as a link does: announce, ask, look again, then sleep.
fn write_waiting(writer: &mut Writer, tag: u32, reader_bell: &Bell, own_bell: &Bell) {
    while !try_write(writer, tag, 1) {
        if writer.announce() {
            reader_bell.ring();
        }
        writer.want_room();
        if try_write(writer, tag, 1) {
            return;
        }
        own_bell.wait();
    }
}

/// Takes `count` records as a link does: read all, hand back the room, doze, look again, sleep.
fn read_waiting(
    reader: &mut Reader,
    count: usize,
    own_bell: &Bell,
    writer_bell: &Bell,
) -> Vec<u32> {
    let mut tags = Vec::new();
    loop {
        while let Some(tag) = try_read(reader) {
            tags.push(tag);
        }
        if reader.freed() {
            writer_bell.ring();
        }
        if tags.len() == count {
            return tags;
        }
        if reader.doze() {
            own_bell.wait();
            reader.wake();
        }
    }
}

/// Takes the next record, without ever sleeping.
fn read_yielding(reader: &mut Reader) -> u32 {
    loop {
        match try_read(reader) {
            Some(tag) => return tag,
            None => thread::yield_now(),
        }
    }
}

/// A check that follows at most `preemptions` involuntary switches: without a bound the longer
/// stories take hours, and each weakened ordering shows within two. L3 goes unbounded.
fn bounded(preemptions: usize) -> Builder {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder
}

/// L1: records of two sizes, a padding, an abandoned claim and the reuse of released room.
#[test]
fn records_arrive_whole_across_the_wrap() {
    bounded(4).check(|| {
        let (mut writer, mut reader) = ring(128);
        for (tag, len) in [(0, 3), (1, 3), (2, 3), (3, 1)] {
            assert!(try_write(&mut writer, tag, len), "the ring was empty");
        }
        let writing = thread::spawn(move || {
            // The first of these finds 16 bytes before the end and pads them.
            for (tag, len) in [(4, 3), (5, 3)] {
                while !try_write(&mut writer, tag, len) {
                    thread::yield_now();
                }
                if let Ok(mut claim) = writer.claim(WORD) {
                    claim.write(&bytes(99, 1));
                }
            }
        });
        for expected in 0..6 {
            assert_eq!(read_yielding(&mut reader), expected);
        }
        assert_eq!(
            try_read(&mut reader),
            None,
            "what was not committed is not seen"
        );
        writing.join().unwrap();
    });
}

/// L1, the smallest ring: three places for five records.
#[test]
fn the_smallest_ring_keeps_order() {
    bounded(4).check(|| {
        let (mut writer, mut reader) = ring(64);
        let writing = thread::spawn(move || {
            for tag in 0..5 {
                while !try_write(&mut writer, tag, 1) {
                    thread::yield_now();
                }
            }
        });
        for expected in 0..5 {
            assert_eq!(read_yielding(&mut reader), expected);
        }
        writing.join().unwrap();
    });
}

/// L2: one announcement for two commits, then another: whoever dozes is rung or looks again.
#[test]
fn a_dozing_reader_is_rung_or_looks_again() {
    bounded(5).check(|| {
        let (mut writer, mut reader) = ring(64);
        let bell = Bell::new();
        let reader_bell = bell.clone();
        let writing = thread::spawn(move || {
            for batch in [&[0, 1][..], &[2]] {
                for &tag in batch {
                    assert!(try_write(&mut writer, tag, 1), "three records fit");
                }
                if writer.announce() {
                    reader_bell.ring();
                }
            }
        });
        let silent = Bell::new();
        assert_eq!(read_waiting(&mut reader, 3, &bell, &silent), [0, 1, 2]);
        writing.join().unwrap();
    });
}

/// L2, an announcement taken back for another reason: the next one still holds.
#[test]
fn a_doze_taken_back_loses_nothing() {
    bounded(5).check(|| {
        let (mut writer, mut reader) = ring(64);
        let bell = Bell::new();
        let reader_bell = bell.clone();
        let writing = thread::spawn(move || {
            for tag in 0..2 {
                assert!(try_write(&mut writer, tag, 1), "three records fit");
                if writer.announce() {
                    reader_bell.ring();
                }
            }
        });
        if reader.doze() {
            reader.wake();
        }
        let silent = Bell::new();
        assert_eq!(read_waiting(&mut reader, 2, &bell, &silent), [0, 1]);
        writing.join().unwrap();
    });
}

/// L3: the reader empties a full ring and goes; the writer that waits for room is rung.
#[test]
fn a_writer_that_waits_for_room_is_rung() {
    loom::model(|| {
        let (mut writer, mut reader) = ring(64);
        for tag in 0..3 {
            assert!(try_write(&mut writer, tag, 1), "three records fit");
        }
        let (reader_bell, writer_bell) = (Bell::new(), Bell::new());
        let own_bell = writer_bell.clone();
        let writing = thread::spawn(move || {
            for tag in 3..5 {
                write_waiting(&mut writer, tag, &reader_bell, &own_bell);
            }
        });
        for expected in 0..3 {
            assert_eq!(try_read(&mut reader), Some(expected));
            if reader.freed() {
                writer_bell.ring();
            }
        }
        writing.join().unwrap();
        assert_eq!(
            [try_read(&mut reader), try_read(&mut reader)],
            [Some(3), Some(4)]
        );
    });
}

/// L3, a reader that tells of room only when it owes much: it owes before the ring is empty.
#[test]
fn a_reader_that_owes_room_tells_in_time() {
    loom::model(|| {
        let (mut writer, mut reader) = ring(128);
        for tag in 0..7 {
            assert!(try_write(&mut writer, tag, 1), "seven records fit");
        }
        let (reader_bell, writer_bell) = (Bell::new(), Bell::new());
        let own_bell = writer_bell.clone();
        let writing = thread::spawn(move || {
            write_waiting(&mut writer, 7, &reader_bell, &own_bell);
        });
        for expected in 0..7 {
            assert_eq!(try_read(&mut reader), Some(expected));
            if reader.owes_room() && reader.freed() {
                writer_bell.ring();
            }
        }
        writing.join().unwrap();
        assert_eq!(try_read(&mut reader), Some(7));
    });
}

/// L4: both ends sleep in turn, over one ring that is full at first.
#[test]
fn both_ends_sleep_and_wake() {
    bounded(2).check(|| {
        let (mut writer, mut reader) = ring(64);
        for tag in 0..3 {
            assert!(try_write(&mut writer, tag, 1), "three records fit");
        }
        let (reader_bell, writer_bell) = (Bell::new(), Bell::new());
        let bells = (reader_bell.clone(), writer_bell.clone());
        let writing = thread::spawn(move || {
            for tag in 3..7 {
                write_waiting(&mut writer, tag, &bells.0, &bells.1);
            }
            if writer.announce() {
                bells.0.ring();
            }
        });
        assert_eq!(
            read_waiting(&mut reader, 7, &reader_bell, &writer_bell),
            [0, 1, 2, 3, 4, 5, 6]
        );
        writing.join().unwrap();
    });
}

/// L5: two writers share one end behind a mutex; each keeps its order and the reader always hears.
#[test]
fn two_writers_behind_a_mutex() {
    bounded(3).check(|| {
        let (writer, mut reader) = ring(128);
        let writer = Arc::new(Mutex::new(writer));
        let bell = Bell::new();
        let writing = [0, 10].map(|first| {
            let (writer, bell) = (Arc::clone(&writer), bell.clone());
            thread::spawn(move || {
                for tag in first..first + 2 {
                    let mut writer = writer.lock().unwrap();
                    assert!(try_write(&mut writer, tag, 1), "four records fit");
                    let asleep = writer.announce();
                    drop(writer);
                    if asleep {
                        bell.ring();
                    }
                }
            })
        });
        let silent = Bell::new();
        let tags = read_waiting(&mut reader, 4, &bell, &silent);
        let of = |first: u32| {
            tags.iter()
                .copied()
                .filter(move |tag| tag / 10 == first / 10)
        };
        assert!(of(0).eq([0, 1]) && of(10).eq([10, 11]), "{tags:?}");
        for thread in writing {
            thread.join().unwrap();
        }
    });
}
