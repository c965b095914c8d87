//! The floor of a hot call: a message in shared memory, and both sides look at its first word
//! until it changes.
//!
//! ```text
//!   word 0         1 .. 7             | 8 ..       (1 KiB: 1 .. 127)
//!   sequence       the payload        |
//!   one cache line                    | further lines
//! ```
//!
//! A message of 64 B is one line each way; its first eight bytes are the sequence.

use std::fs::File;
use std::hint;
use std::os::fd::AsRawFd;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapMut, MmapOptions};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::blocking;
use crate::meter::Meter;
use crate::stage::{Stage, ready};
use crate::subject::{Case, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

/// Bytes of each direction. The page between them keeps the prefetcher out of the other side.
const DIRECTION_LEN: usize = 8192;

pub struct Spin;

impl Subject for Spin {
    fn name(&self) -> &'static str {
        "spin"
    }

    fn standing(&self) -> Standing {
        Standing::Floor
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        matches!(case, Case::Hot | Case::HotKib).then_some(Waiting::Polls)
    }

    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
        // Without `MFD_CLOEXEC`, so that the second process finds it under the same number.
        let file = File::from(memfd_create("comparison-spin", MFdFlags::empty())?);
        file.set_len((2 * DIRECTION_LEN).try_into()?)?;
        let number = file.as_raw_fd().to_string();
        let memory = Memory::map(&file)?;
        let second = stage.second(self, case, &[number])?;
        meter.watch(second.pid());
        let (requests, replies) = memory.directions(case);
        let mut payload = vec![7; requests.len()];
        let mut sequence = 0;
        blocking(meter.round_trips(async || {
            sequence += 1;
            payload[0] = sequence;
            write(requests, &payload);
            read(replies, sequence, &mut payload);
            Ok(())
        }))
    }

    fn serve(&self, case: Case, arguments: &[String]) -> Outcome {
        let number = arguments
            .first()
            .ok_or("the number of the memory is missing")?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{number}"))?;
        let memory = Memory::map(&file)?;
        let (requests, replies) = memory.directions(case);
        let mut payload = vec![0; requests.len()];
        ready()?;
        for sequence in 1.. {
            read(requests, sequence, &mut payload);
            write(replies, &payload);
        }
        Ok(())
    }
}

/// Puts the payload after the first word, then shows it by its first word.
fn write(line: &[AtomicU64], payload: &[u64]) {
    for (word, value) in line.iter().zip(payload).skip(1) {
        word.store(*value, Ordering::Relaxed);
    }
    line[0].store(payload[0], Ordering::Release);
}

/// Looks until the message with this sequence is there, then copies it out.
fn read(line: &[AtomicU64], sequence: u64, payload: &mut [u64]) {
    while line[0].load(Ordering::Acquire) != sequence {
        hint::spin_loop();
    }
    for (word, value) in line.iter().zip(payload.iter_mut()).skip(1) {
        *value = word.load(Ordering::Relaxed);
    }
    payload[0] = sequence;
}

/// Both directions, mapped.
struct Memory {
    map: MmapMut,
}

impl Memory {
    fn map(file: &File) -> Outcome<Self> {
        // SAFETY: the file is a memfd of ours that nobody shortens, and both sides touch the
        // mapping through atomics only (`words`).
        let map = unsafe { MmapOptions::new().len(2 * DIRECTION_LEN).map_mut(file) }?;
        Ok(Self { map })
    }

    /// Requests and replies, each as long as the message of the case.
    fn directions(&self, case: Case) -> (&[AtomicU64], &[AtomicU64]) {
        let len = if case == Case::HotKib { LARGE } else { SMALL } / size_of::<u64>();
        let words = self.words();
        let half = words.len() / 2;
        (&words[..len], &words[half..half + len])
    }

    fn words(&self) -> &[AtomicU64] {
        let len = self.map.len() / size_of::<AtomicU64>();
        // SAFETY: a mapping starts at a page and so is aligned; it is `len` words long, all bytes
        // are valid words, and it lives as long as `self`. No reference to its bytes exists.
        unsafe { slice::from_raw_parts(self.map.as_ptr().cast(), len) }
    }
}
