//! What the warden's epoll says, in the number that comes with it. Pure.

/// What epoll says about whom.
pub(super) enum Token {
    Bell,
    Ended(u64),
    Spoke(u64),
    /// Into its tail of this number, 0 or 1.
    Wrote(u64, u64),
}

impl Token {
    pub(super) const BELL: u64 = u64::MAX;

    pub(super) const fn of(number: u64) -> Self {
        let id = number / 4;
        match (number, number % 4) {
            (Self::BELL, _) => Self::Bell,
            (_, 0) => Self::Ended(id),
            (_, 1) => Self::Spoke(id),
            (_, more) => Self::Wrote(id, more - 2),
        }
    }

    pub(super) const fn number(&self) -> u64 {
        match *self {
            Self::Bell => Self::BELL,
            Self::Ended(id) => id * 4,
            Self::Spoke(id) => id * 4 + 1,
            Self::Wrote(id, tail) => id * 4 + 2 + tail,
        }
    }
}
