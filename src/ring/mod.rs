//! Bytes in a queue: a bounded single-producer single-consumer ring of records; and beside it, for
//! what is too large for it, the account of an arena. Pure.
//!
//! One ring carries records one way between two processes (or two threads: a model, a test). It
//! knows atomics and copies and nothing of the operating system, so the same code runs under loom
//! and Miri on heap memory and between processes on shared memory.

mod atomic;
mod layout;
mod memory;
mod spsc;

mod chunks;
mod pages;
mod ledger;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
mod models_ledger;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, not(loom)))]
mod hostile;

pub(crate) use atomic::{AtomicU64, Ordering};
pub(crate) use chunks::{Chunk, GRAIN_LEN};
pub(crate) use layout::{CONTROL_WORDS, GRAIN, Place, WORD};
pub(crate) use ledger::{Done, LEASES, Ledger};
pub(crate) use memory::copy_out;
pub(crate) use pages::PAGE_LEN;
pub(crate) use spsc::{Claim, ClaimError, Consumer, Corrupt, Glance, Producer, Words};
