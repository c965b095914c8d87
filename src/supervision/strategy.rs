//! Who is started again with whom. Pure.

use std::ops::Range;

/// Which actors of a [`Supervisor`](super::Supervisor) are started again when one of them has to
/// be (the names are those of Erlang/OTP).
///
/// # Examples
/// ```
/// use callboard::supervision::Strategy;
///
/// assert_eq!(Strategy::default(), Strategy::OneForOne);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// That one: they do not depend on each other. The default.
    #[default]
    OneForOne,
    /// All: none is worth anything without the others.
    OneForAll,
    /// That one and those that were started after it, which depend on it.
    RestForOne,
}

impl Strategy {
    /// The places of those that are started again with the one at `at`, of `count`.
    pub(super) fn affected(self, at: usize, count: usize) -> Range<usize> {
        match self {
            Self::OneForOne => at..at + 1,
            Self::OneForAll => 0..count,
            Self::RestForOne => at..count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first, one in the midst, and the last.
    #[test]
    fn who_is_affected() {
        for (strategy, expected) in [
            (Strategy::OneForOne, [0..1, 1..2, 2..3]),
            (Strategy::OneForAll, [0..3, 0..3, 0..3]),
            (Strategy::RestForOne, [0..3, 1..3, 2..3]),
        ] {
            assert_eq!([0, 1, 2].map(|at| strategy.affected(at, 3)), expected);
        }
    }
}
