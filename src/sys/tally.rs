//! A tally: what one process counts, for another to read, also when the first one is dead.
//!
//! It is an eventfd: the kernel keeps the sum. Counting costs one `write` and wakes nobody; what
//! was counted before a death is there after it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// A sum that only grows. One process counts, the other one reads.
#[derive(Debug)]
pub(crate) struct Tally {
    counter: OwnedFd,
    /// What was read so far: a read takes the kernel's sum away.
    read: AtomicU64,
}

impl Tally {
    /// A sum of nothing.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor is free.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self::from_fd(eventfd(0, flags)?))
    }

    /// A sum that came over a lifeline.
    pub(crate) const fn from_fd(counter: OwnedFd) -> Self {
        Self {
            counter,
            read: AtomicU64::new(0),
        }
    }

    /// A second descriptor of it, for the peer.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor is free.
    pub(crate) fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.counter.try_clone()
    }

    /// Counts `more`. One `write`, never blocks.
    pub(crate) fn add(&self, more: u64) {
        // It fails when the sum leaves 64 bits, which no honest count of bytes does, or when a peer
        // has sent something else in place of an eventfd: nobody can be told then.
        let _ = rustix::io::write(&self.counter, &more.to_ne_bytes());
    }

    /// All that was counted, as the peer says.
    pub(crate) fn sum(&self) -> u64 {
        let mut more = [0; 8];
        let more = match rustix::io::read(&self.counter, &mut more) {
            Ok(8) => u64::from_ne_bytes(more),
            // Nothing since the last look.
            _ => 0,
        };
        // Relaxed: a number by itself. A peer that counts beyond all bounds harms its own sum only.
        let before = self.read.fetch_add(more, Ordering::Relaxed);
        before.saturating_add(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was counted through one descriptor is read through another, and stays.
    #[test]
    fn sums_are_kept() {
        let ours = Tally::new().unwrap();
        let theirs = Tally::from_fd(ours.try_clone_fd().unwrap());
        assert_eq!(ours.sum(), 0);
        theirs.add(5);
        theirs.add(1 << 40);
        assert_eq!(ours.sum(), (1 << 40) + 5);
        theirs.add(7);
        drop(theirs);
        assert_eq!(ours.sum(), (1 << 40) + 12);
        assert_eq!(ours.sum(), (1 << 40) + 12);
    }

    /// A count that leaves all bounds blocks nobody.
    #[test]
    fn lies_are_bounded() {
        let tally = Tally::new().unwrap();
        tally.add(u64::MAX - 1);
        tally.add(5);
        assert_eq!(tally.sum(), u64::MAX - 1);
        tally.add(9);
        assert!(tally.sum() > 0);
    }
}
