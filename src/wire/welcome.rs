//! The two packets by which an actor and a remote caller agree, over a stream that is sealed. Pure.
//!
//! ```text
//! actor  -> caller   Welcome   who I am, what I offer, how our link is to be
//! caller -> actor    Join      who I am; frames follow at once
//! ```
//!
//! They have the head of those in [`hello`](super::hello): versions are compared before anything
//! is decoded.

use rkyv::{Archive, Deserialize, Serialize};

use super::hello::Tables;

/// The longest [`Join`] in bytes.
pub(crate) const JOIN_LEN_MAX: usize = 1024;

/// What an actor tells a caller who has its key.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// What it offers.
    pub(crate) tables: Tables,
    /// The machine on which it lives.
    pub(crate) machine: u64,
    /// Its process there.
    pub(crate) pid: u32,
    /// Its key among all of that machine.
    pub(crate) key: u64,
    /// The capacity of each ring in bytes.
    pub(crate) ring_capacity: u64,
    /// How many calls the caller may keep in flight.
    pub(crate) slots: u64,
    /// The longest message in bytes.
    pub(crate) message_len_max: u64,
}

/// What a caller tells an actor.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    /// The machine on which it lives.
    pub(crate) machine: u64,
    /// What the clock says there.
    pub(crate) now: u64,
}

impl Join {
    /// What is to be added to its times on the machine `here`, whose clock says `now`. It errs by
    /// as long as the packet was on its way, so that nothing is too late that is not.
    pub(crate) fn skew(&self, here: u64, now: u64) -> i64 {
        if self.machine == here && here != 0 {
            return 0;
        }
        i64::try_from(i128::from(now) - i128::from(self.now)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On one machine there is one clock; between two the difference counts, whichever is ahead.
    #[test]
    fn clocks_are_compared() {
        let join = |machine, now| Join { machine, now };
        assert_eq!(join(7, 1_000).skew(7, 5_000), 0);
        assert_eq!(join(7, 1_000).skew(8, 5_000), 4_000);
        assert_eq!(join(7, 5_000).skew(8, 1_000), -4_000);
        assert_eq!(join(0, 1_000).skew(0, 5_000), 4_000, "nobody knows");
        assert_eq!(join(7, 0).skew(8, u64::MAX), i64::MAX);
        assert_eq!(
            join(7, u64::MAX).skew(8, 0),
            i64::MAX,
            "as if there were no bound"
        );
    }
}
