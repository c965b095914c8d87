//! Identifiers that travel. Pure.

use std::fmt;

/// The most calls of one link that may wait for their answers: the bits of a [`CallId`] that name
/// its slot.
pub(crate) const SLOTS_MAX: usize = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 12;

/// One call on one link: a slot of the caller's table and which of its uses this is.
///
/// The sequence number grows with every call of the link, so an answer that comes late never meets
/// a later call in the same slot. At 20 million calls a second its 52 bits last for seven years.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallId(u64);

impl CallId {
    /// The id of frames that want no answer.
    pub(crate) const NONE: Self = Self(0);

    /// The call with this sequence number, from 1 on, in this slot.
    pub(crate) fn new(sequence: u64, slot: usize) -> Self {
        debug_assert!(slot < SLOTS_MAX, "a slot of the table");
        Self((sequence << SLOT_BITS) | slot as u64)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn slot(self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "masked to twelve bits")]
        let slot = (self.0 & (SLOTS_MAX as u64 - 1)) as usize;
        slot
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({}:{})", self.0 >> SLOT_BITS, self.slot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two uses of one slot have different ids, and both name the slot.
    #[test]
    fn slots_are_told_apart_by_sequence() {
        let first = CallId::new(1, 7);
        let second = CallId::new(2, 7);
        assert_ne!(first, second);
        assert_eq!((first.slot(), second.slot()), (7, 7));
        assert_eq!(CallId::from_bits(second.bits()), second);
        assert_ne!(CallId::new(1, 0), CallId::NONE);
    }
}
