//! The ledger under loom: a chunk is written again only after its reader has read it.
//!
//! | ordering | story |
//! |---|---|
//! | Release in `Done`, Acquire in `collect` | `a_chunk_is_used_again_after_its_reader` |
//!
//! The way of the news is a flag here, whose own orderings are those of the ring's records.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use super::ledger::{Done, LEASES, Ledger};
use super::memory::{copy_in, copy_out};
use super::{AtomicU64, Ordering, WORD, Words};

/// One word of the arena's data, the news of each lease, and the words of the leases.
const DATA: usize = 0;
const NEWS: usize = 1;
const AT: usize = NEWS + 2;

#[derive(Clone)]
struct Memory(Arc<Vec<AtomicU64>>);

impl Words for Memory {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

fn memory() -> Memory {
    let words = (0..AT + LEASES).map(|_| AtomicU64::new(0)).collect();
    Memory(Arc::new(words))
}

/// An arena of one grain: there is one chunk for all messages.
const LEN: usize = super::chunks::GRAIN_LEN;

/// Writes `value` into the chunk once it can be had, and tells of it.
fn write(ledger: &mut Ledger<Memory>, memory: &Memory, value: u64) {
    let (lease, _) = loop {
        ledger.collect(|_| true).expect("an honest reader");
        match ledger.take(LEN).expect("an honest reader") {
            Some(taken) => break taken,
            None => thread::yield_now(),
        }
    };
    copy_in(memory.words(), DATA * WORD, &value.to_ne_bytes());
    let news = (u64::from(lease) << 32) | value;
    // ORDERING: stands for the Release in `Producer::publish`.
    memory.words()[NEWS + value as usize % 2].store(news, Ordering::Release);
}

/// Waits for the news of `value`, and reads it where it lies.
fn read(memory: &Memory, value: u64) {
    let lease = loop {
        // ORDERING: stands for the Acquire in `Consumer::peek`.
        let news = memory.words()[NEWS + value as usize % 2].load(Ordering::Acquire);
        if news & u64::from(u32::MAX) == value {
            break (news >> 32) as usize;
        }
        thread::yield_now();
    };
    let end = Done::new(memory.clone(), AT + lease);
    let mut bytes = [0; WORD];
    copy_out(memory.words(), DATA * WORD, &mut bytes);
    drop(end);
    assert_eq!(u64::from_ne_bytes(bytes), value, "nobody wrote meanwhile");
}

/// Three messages through one chunk: each is read before the next one is written.
#[test]
fn a_chunk_is_used_again_after_its_reader() {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let memory = memory();
        let mut ledger = Ledger::new(memory.clone(), AT, LEN);
        let readers = memory.clone();
        let reading = thread::spawn(move || {
            for value in 1..=3 {
                read(&readers, value);
            }
        });
        for value in 1..=3 {
            write(&mut ledger, &memory, value);
        }
        reading.join().unwrap();
        ledger.collect(|_| true).unwrap();
        assert!(!ledger.is_out(), "all came back");
    });
}
