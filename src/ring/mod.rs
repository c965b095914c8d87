//! Bytes in a queue: a bounded single-producer single-consumer ring of records. Pure.
//!
//! One ring carries records one way between two processes (or two threads: a model, a test). It
//! knows atomics and copies and nothing of the operating system, so the same code runs under loom
//! and Miri on heap memory and between processes on shared memory.

mod atomic;
mod layout;
mod memory;
mod spsc;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, not(loom)))]
mod hostile;

pub(crate) use atomic::{AtomicU64, Ordering};
pub(crate) use layout::{CONTROL_WORDS, GRAIN, Place, WORD};
pub(crate) use spsc::{ClaimError, Consumer, Corrupt, Glance, Producer, Words};
