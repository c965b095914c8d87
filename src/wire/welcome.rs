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
use super::passport::Home;

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
    /// Where it lives, if there is room for who would enter there: for those to whom the caller
    /// hands its proxy on.
    pub(crate) home: Option<Home>,
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

/// Nanoseconds that a [`Join`] is on its way at most: by then whoever waits for it has given up.
const ON_ITS_WAY_MAX: u64 = 60 * 1_000_000_000;

impl Join {
    /// What is to be added to its times on the machine `here`, whose clock says `now`. It errs by
    /// as long as the packet was on its way, so that nothing is too late that is not.
    pub(crate) fn skew(&self, here: u64, now: u64) -> i64 {
        // Processes of one machine may have clocks of their own all the same (time namespaces).
        let is_one_clock = now
            .checked_sub(self.now)
            .is_some_and(|on_its_way| on_its_way < ON_ITS_WAY_MAX);
        if self.machine == here && here != 0 && is_one_clock {
            return 0;
        }
        let ahead = i128::from(now) - i128::from(self.now);
        let nearest = ahead.clamp(i64::MIN.into(), i64::MAX.into());
        i64::try_from(nearest).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On one machine there is one clock, unless it shows another time; between two the difference
    /// counts, whichever is ahead.
    #[test]
    fn clocks_are_compared() {
        let join = |machine, now| Join { machine, now };
        assert_eq!(join(7, 1_000).skew(7, 5_000), 0);
        let day = 24 * 3_600 * 1_000_000_000;
        assert_eq!(join(7, 1_000).skew(7, day), day.cast_signed() - 1_000);
        assert_eq!(join(7, day).skew(7, 1_000), 1_000 - day.cast_signed());
        assert_eq!(join(7, 1_000).skew(8, 5_000), 4_000);
        assert_eq!(join(7, 5_000).skew(8, 1_000), -4_000);
        assert_eq!(join(0, 1_000).skew(0, 5_000), 4_000, "nobody knows");
    }

    /// Clocks that are further apart than can be said are as far apart as can be said, in their
    /// direction; what is due in the peer's future is due in ours.
    #[test]
    fn clocks_may_show_anything() {
        let join = |now| Join { machine: 7, now };
        let most = u64::MAX / 2;
        for (theirs, ours, skew) in [
            (0, most, i64::MAX),
            (0, most + 1, i64::MAX),
            (0, u64::MAX, i64::MAX),
            (most, 0, -i64::MAX),
            (most + 1, 0, i64::MIN),
            (most + 2, 0, i64::MIN),
            (u64::MAX, 0, i64::MIN),
            (u64::MAX, u64::MAX, 0),
        ] {
            assert_eq!(join(theirs).skew(8, ours), skew, "{theirs} {ours}");
            let due = theirs.saturating_add(1);
            assert!(due.saturating_add_signed(skew) >= ours.min(most), "{due}");
        }
    }
}
