//! The ring on heap memory, between honest peers.
//!
//! These and the tests in `hostile.rs` run under Miri too, with fewer turns, and so do those of sys
//! that ask the system for nothing: `MIRIFLAGS=-Zmiri-disable-weak-memory-emulation cargo +nightly
//! miri test --lib -- ring sys::checked sys::counted`. Without the flag Miri of 2026-05 stops with
//! an error of its own at an atomic word whose bytes a copy wrote in part; it finds data races all
//! the same, and stale values are for `models.rs`.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::layout::{GRAIN, record_size};
use super::{
    AtomicU64, CONTROL_WORDS, ClaimError, Consumer, Corrupt, Glance, Place, Producer, WORD, Words,
};

/// The memory of one ring.
#[derive(Clone, Debug)]
pub(super) struct Memory(pub(super) Arc<[AtomicU64]>);

impl Words for Memory {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

pub(super) type Writer = Producer<Memory>;
pub(super) type Reader = Consumer<Memory>;

/// A ring with both of its ends.
pub(super) struct Ring {
    pub(super) memory: Memory,
    pub(super) place: Place,
    pub(super) writer: Writer,
    pub(super) reader: Reader,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        let place = Place::new(0, CONTROL_WORDS, capacity);
        let memory = Memory((0..place.end()).map(|_| AtomicU64::new(0)).collect());
        let writer = Producer::new(memory.clone(), place);
        let reader = Consumer::new(memory.clone(), place);
        Self {
            memory,
            place,
            writer,
            reader,
        }
    }
}

/// Runs of a property: few under Miri, which is some thousand times slower.
pub(super) fn cases(count: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { 2 } else { count };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The bytes of record `tag`: every byte tells the record and its place in it.
pub(super) fn bytes(tag: u32, len: usize) -> Vec<u8> {
    let seed = u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len as u64)
        .map(|index| (seed.wrapping_mul(index + 1) >> 56) as u8)
        .collect()
}

/// Commits record `tag` of `len` bytes, in two pieces.
pub(super) fn write(writer: &mut Writer, tag: u32, len: usize) -> Result<u64, ClaimError> {
    let mut claim = writer.claim(len)?;
    let bytes = bytes(tag, len);
    let (front, back) = bytes.split_at(len / 3);
    claim.write(front);
    claim.write(back);
    Ok(claim.commit(tag))
}

/// The same, after a look for room, which says what becomes of it.
fn look_and_write(writer: &mut Writer, tag: u32, len: usize) -> Result<u64, ClaimError> {
    let is_promising = writer.vacancy(len).is_promising();
    let written = write(writer, tag, len);
    assert_eq!(is_promising, written.is_ok());
    written
}

/// Takes the next record: its tag and its bytes, copied in two pieces.
pub(super) fn read(reader: &mut Reader) -> Result<Option<(u32, Vec<u8>)>, Corrupt> {
    let Some(record) = reader.read()? else {
        return Ok(None);
    };
    let half = record.len() / 2;
    let mut copy = vec![0; half];
    record.copy_to(0, &mut copy);
    let mut room = vec![MaybeUninit::uninit(); record.len() - half];
    copy.extend_from_slice(record.copy_to_new(half, &mut room));
    let tag = record.tag();
    record.release();
    Ok(Some((tag, copy)))
}

/// What one side does next in the property below.
#[derive(Clone, Debug)]
enum Step {
    Write { len: usize },
    Abandon { len: usize, written: usize },
    CommitLess { len: usize, written: usize },
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = || prop_oneof![0..24_usize, 0..300_usize];
    let part = || (len(), 0..=1000_usize).prop_map(|(len, part)| (len, len * part / 1000));
    let step = prop_oneof![
        6 => len().prop_map(|len| Step::Write { len }),
        1 => part().prop_map(|(len, written)| Step::Abandon { len, written }),
        1 => part().prop_map(|(len, written)| Step::CommitLess { len, written }),
        6 => Just(Step::Read),
    ];
    vec(step, 1..if cfg!(miri) { 40 } else { 400 })
}

proptest! {
    #![proptest_config(cases(200))]

    /// Whatever is written arrives once, whole and in order, next to a queue that knows it must; a
    /// ring that says Full is nearly full, and so says a look for room; positions count exactly
    /// what lies between.
    #[test]
    fn records_arrive_like_from_a_queue(size in 6..12_u32, steps in steps()) {
        let mut ring = Ring::new(1 << size);
        let max = ring.place.record_len_max();
        let mut model = VecDeque::new();
        for (tag, step) in (0..).zip(steps) {
            let before = ring.writer.position();
            match step {
                Step::Read => {
                    prop_assert_eq!(read(&mut ring.reader).unwrap(), model.pop_front());
                }
                Step::Write { len } | Step::Abandon { len, .. } | Step::CommitLess { len, .. }
                    if len > max =>
                {
                    let error = write(&mut ring.writer, tag, len).unwrap_err();
                    prop_assert_eq!(error, ClaimError::TooLong { max });
                    prop_assert_eq!(ring.writer.position(), before);
                }
                Step::Write { len } => match look_and_write(&mut ring.writer, tag, len) {
                    Ok(position) => {
                        prop_assert!(position >= before + record_size(len) as u64);
                        prop_assert_eq!(position, ring.writer.position());
                        model.push_back((tag, bytes(tag, len)));
                    }
                    Err(error) => {
                        prop_assert_eq!(error, ClaimError::Full);
                        let used = ring.writer.position() - ring.writer.released();
                        let needed = 2 * record_size(len) as u64;
                        prop_assert!(used + needed > ring.place.capacity(), "full at {}", used);
                    }
                },
                Step::Abandon { len, written } => if let Ok(mut claim) = ring.writer.claim(len) {
                    claim.write(&bytes(!tag, written));
                },
                Step::CommitLess { len, written } => if let Ok(mut claim) = ring.writer.claim(len) {
                    claim.write(&bytes(tag, written));
                    claim.commit(tag);
                    model.push_back((tag, bytes(tag, written)));
                },
            }
            prop_assert!(ring.writer.released() <= ring.writer.position());
            prop_assert!(model.is_empty() || !ring.reader.is_empty());
        }
        while let Some(expected) = model.pop_front() {
            prop_assert_eq!(read(&mut ring.reader).unwrap(), Some(expected));
        }
        prop_assert_eq!(read(&mut ring.reader).unwrap(), None);
        prop_assert_eq!(ring.writer.released(), ring.writer.position());
    }
}

/// The largest record fits at every place of an empty ring: a writer never waits for ever.
#[test]
fn the_largest_record_fits_everywhere() {
    for size in 6..if cfg!(miri) { 8 } else { 11 } {
        for offset in 0..(1 << size) / GRAIN {
            let mut ring = Ring::new(1 << size);
            for _ in 0..offset {
                write(&mut ring.writer, 1, WORD).unwrap();
                read(&mut ring.reader).unwrap().unwrap();
            }
            let max = ring.place.record_len_max();
            write(&mut ring.writer, 2, max).unwrap();
            assert_eq!(read(&mut ring.reader).unwrap(), Some((2, bytes(2, max))));
        }
    }
}

/// A full ring refuses, keeps what it has, and takes one more when one was read.
#[test]
fn a_full_ring_loses_nothing() {
    let mut ring = Ring::new(256);
    let fit = (0..)
        .take_while(|&tag| write(&mut ring.writer, tag, WORD).is_ok())
        .count();
    assert_eq!(fit, 256 / GRAIN - 1, "one grain stays free");
    for tag in 0..100 {
        assert_eq!(
            read(&mut ring.reader).unwrap(),
            Some((tag, bytes(tag, WORD)))
        );
        write(&mut ring.writer, tag + 15, WORD).unwrap();
        assert_eq!(write(&mut ring.writer, 0, WORD), Err(ClaimError::Full));
    }
}

/// Too long is told apart from full, and takes nothing.
#[test]
fn a_record_longer_than_a_quarter_is_too_long() {
    let mut ring = Ring::new(256);
    assert_eq!(
        write(&mut ring.writer, 0, 57),
        Err(ClaimError::TooLong { max: 56 })
    );
    assert_eq!(
        ring.writer.claim(usize::MAX).err(),
        Some(ClaimError::TooLong { max: 56 })
    );
    assert_eq!(ring.writer.position(), 0);
    assert!(write(&mut ring.writer, 0, 56).is_ok());
}

/// A claim dropped without a commit is never seen, and neither are its bytes behind a later record.
#[test]
fn an_abandoned_claim_is_invisible() {
    let mut ring = Ring::new(256);
    ring.writer.claim(56).unwrap().write(&[0xff; 56]);
    assert_eq!(read(&mut ring.reader).unwrap(), None);
    write(&mut ring.writer, 7, 3).unwrap();
    assert_eq!(read(&mut ring.reader).unwrap(), Some((7, bytes(7, 3))));
    assert_eq!(read(&mut ring.reader).unwrap(), None);
    assert!(ring.reader.doze());
}

/// A padding alone keeps a reader awake for one look, not for ever, and hands back its room.
#[test]
fn a_padding_alone_wakes_once() {
    let mut ring = Ring::new(128);
    for tag in 0..7 {
        write(&mut ring.writer, tag, WORD).unwrap();
        read(&mut ring.reader).unwrap().unwrap();
    }
    assert!(ring.writer.claim(24).is_ok());
    assert_eq!(ring.writer.position(), 128);
    assert!(!ring.reader.doze());
    assert_eq!(read(&mut ring.reader).unwrap(), None);
    assert_eq!(ring.writer.released(), 128);
    assert!(ring.reader.doze());
}

/// A record that is looked at and not released is there again.
#[test]
fn an_unreleased_record_stays() {
    let mut ring = Ring::new(64);
    write(&mut ring.writer, 5, 8).unwrap();
    assert_eq!(ring.reader.read().unwrap().unwrap().tag(), 5);
    assert_eq!(ring.writer.released(), 0);
    assert_eq!(read(&mut ring.reader).unwrap(), Some((5, bytes(5, 8))));
}

/// Whoever sleeps is rung once; whoever does not is not.
#[test]
fn flags_ring_once() {
    let mut ring = Ring::new(64);
    assert!(!ring.writer.announce());
    assert!(ring.reader.doze());
    write(&mut ring.writer, 1, 8).unwrap();
    assert!(ring.writer.announce());
    assert!(!ring.writer.announce());
    assert!(!ring.reader.doze(), "something is there");
    assert!(!ring.writer.announce(), "the reader took its doze back");
    ring.writer.want_room();
    assert!(!ring.reader.freed(), "nothing was released");
    read(&mut ring.reader).unwrap().unwrap();
    assert!(ring.reader.freed());
    assert!(!ring.reader.freed());
}

/// The glance follows the reading end.
#[test]
fn a_glance_sees_what_is_there() {
    let mut ring = Ring::new(64);
    let glance = Glance::new(ring.memory.clone(), ring.place);
    for tag in 0..9 {
        assert!(!glance.is_promising());
        write(&mut ring.writer, tag, 8).unwrap();
        assert!(glance.is_promising());
        read(&mut ring.reader).unwrap().unwrap();
    }
}

/// A record longer than what it holds is refused even where the sum of the two would wrap.
#[test]
#[should_panic(expected = "a record holds what its word says")]
fn a_copy_from_behind_the_record_panics() {
    let mut ring = Ring::new(64);
    write(&mut ring.writer, 1, 8).unwrap();
    ring.reader
        .read()
        .unwrap()
        .unwrap()
        .copy_to(usize::MAX - 3, &mut [0; 8]);
}

/// A claim takes no more than was claimed.
#[test]
#[should_panic(expected = "a claim holds what was claimed")]
fn a_write_beyond_the_claim_panics() {
    let mut ring = Ring::new(64);
    let mut claim = ring.writer.claim(4).unwrap();
    claim.write(&[0; 3]);
    claim.write(&[0; 2]);
}

/// How long a wake-up may take before it counts as lost.
const LOST: Duration = Duration::from_secs(60);

/// Waits until this thread is rung; parking keeps one ring, as an eventfd does.
fn park(who: &str) {
    let start = Instant::now();
    thread::park_timeout(LOST);
    assert!(start.elapsed() < LOST, "a wake-up of the {who} was lost");
}

/// Lengths that are neither all alike nor all aligned.
pub(super) fn len_of(tag: u32, max: usize) -> usize {
    (tag.wrapping_mul(2_654_435_761) >> 8) as usize % (max + 1)
}

/// Writes `count` records; asleep while the ring is full if there is a reader to ring, or yielding.
fn write_all(writer: &mut Writer, count: u32, max: usize, reader: Option<&Thread>) {
    for tag in 0..count {
        let len = len_of(tag, max);
        let mut asked = false;
        while let Err(error) = write(writer, tag, len) {
            assert_eq!(error, ClaimError::Full);
            let Some(reader) = reader else {
                thread::yield_now();
                continue;
            };
            if asked {
                park("writer");
                asked = false;
                continue;
            }
            if writer.announce() {
                reader.unpark();
            }
            writer.want_room();
            asked = true;
        }
        // Announced late now and then, as a batch is.
        if let Some(reader) = reader
            && (tag % 5 == 0 || tag == count - 1)
            && writer.announce()
        {
            reader.unpark();
        }
    }
}

/// Reads and checks `count` records; asleep while the ring is empty if there is a writer to ring.
fn read_all(reader: &mut Reader, count: u32, max: usize, writer: Option<&Thread>) {
    let mut tag = 0;
    while tag < count {
        while let Some((found, copy)) = read(reader).expect("an honest writer") {
            assert_eq!(found, tag);
            assert_eq!(copy, bytes(tag, len_of(tag, max)));
            tag += 1;
            if reader.owes_room()
                && reader.freed()
                && let Some(writer) = writer
            {
                writer.unpark();
            }
        }
        let Some(writer) = writer else {
            thread::yield_now();
            continue;
        };
        if reader.freed() {
            writer.unpark();
        }
        if tag < count && reader.doze() {
            park("reader");
            reader.wake();
        }
    }
}

/// Two threads that never sleep.
#[test]
fn two_threads_that_yield() {
    let count = if cfg!(miri) { 200 } else { 200_000 };
    let Ring {
        mut writer,
        mut reader,
        ..
    } = Ring::new(1024);
    let writing = thread::spawn(move || write_all(&mut writer, count, 60, None));
    read_all(&mut reader, count, 60, None);
    writing.join().unwrap();
}

/// Two threads that sleep whenever they can and are always rung.
#[test]
fn two_threads_that_sleep() {
    let plan = [(64, 5000, 8), (256, 10_000, 56), (4096, 200_000, 60)];
    for (capacity, count, max) in plan {
        let count = if cfg!(miri) { 100 } else { count };
        let Ring {
            mut writer,
            mut reader,
            ..
        } = Ring::new(capacity);
        let reading = thread::current();
        let writing = thread::spawn(move || write_all(&mut writer, count, max, Some(&reading)));
        read_all(&mut reader, count, max, Some(writing.thread()));
        writing.join().unwrap();
    }
}
