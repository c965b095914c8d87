//! How long to look before sleeping. Pure.
//!
//! Waking a sleeping process costs microseconds, some machines tens of them; looking costs a core.
//! Who waits therefore looks for a while first, if that has paid lately. The rules, with the
//! measurements behind them (two processes, two virtual cores):
//!
//! - A look that finds something within the budget pays: the budget grows.
//! - A budget spent for nothing does not: it is halved, down to none.
//! - None left: after a few sleeps that were not long, looking is tried again. Each disappointment
//!   doubles how many that takes, so that a crowd of busy processes on few cores ends up sleeping
//!   at once. The length of a sleep says little by itself: where cores halt, two wake-ups take
//!   longer than the budget.
//! - Another process ran on our core while we offered it, or the peer runs on it: nobody answers
//!   while we look. Other tasks of our thread took long when they had their turn: looking keeps
//!   them waiting, and what comes would have been found without it. The budget falls to nothing
//!   at once.

use std::time::Duration;

/// How a process waits for the next message of a link.
///
/// # Examples
/// ```
/// use callboard::prelude::*;
///
/// assert_eq!(Idle::default(), Idle::Adaptive);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Idle {
    /// Sleep at once. Uses the least CPU; each message to a sleeping process costs a wake-up.
    Park,
    /// Look for a short time that adapts to whether looking pays, then sleep. The default.
    #[default]
    Adaptive,
    /// Never sleep: look again and again. Takes a whole core per waiting side, and gives the
    /// steadiest latency if there are cores to spare. Other tasks of the runtime still get their
    /// turns.
    Busy,
}

impl Idle {
    /// The number that travels in the greeting.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Park => 0,
            Self::Adaptive => 1,
            Self::Busy => 2,
        }
    }

    /// The strategy of a number; an unknown one is the default.
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Park,
            2 => Self::Busy,
            _ => Self::Adaptive,
        }
    }
}

/// The longest time to look: about what one sleep and wake-up costs on a virtual machine whose
/// cores halt.
pub(crate) const BUDGET_MAX: Duration = Duration::from_micros(50);

/// Less than this is not worth a look at the clock.
const BUDGET_MIN: Duration = Duration::from_micros(2);

/// The most short sleeps that are waited for before looking is tried again.
const PATIENCE_MAX: u32 = 1024;

/// A sleep longer than this is no sign that messages come quickly one after another.
const SHORT: Duration = Duration::from_millis(1);

/// How a wait ended, told to [`Budget::learn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Found while looking.
    Found,
    /// Looked in vain, then slept.
    Missed,
    /// Another process took the core while we looked, or other tasks the thread.
    Crowded,
    /// Slept at once, and for this long.
    Slept(Duration),
}

/// How long to look, learnt from how the waits before ended.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// How long the next look may take.
    length: Duration,
    /// Short sleeps seen since looking was given up.
    short_sleeps: u32,
    /// How many of them it takes to try again.
    patience: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            length: BUDGET_MAX,
            short_sleeps: 0,
            patience: 2,
        }
    }
}

impl Budget {
    /// How long the next look may take; none: sleep at once.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Takes in how a wait ended.
    #[inline]
    pub(crate) fn learn(&mut self, wait: Wait) {
        match wait {
            Wait::Found => {
                if self.length < BUDGET_MAX {
                    self.length = (self.length * 2).min(BUDGET_MAX);
                } else if self.patience > 2 {
                    self.patience -= 1;
                }
            }
            Wait::Missed => {
                self.length /= 2;
                if self.length < BUDGET_MIN {
                    self.give_up();
                }
            }
            Wait::Crowded => self.give_up(),
            Wait::Slept(length) if length <= SHORT => {
                self.short_sleeps += 1;
                if self.short_sleeps >= self.patience {
                    self.length = BUDGET_MAX;
                    self.short_sleeps = 0;
                }
            }
            Wait::Slept(_) => {}
        }
    }

    fn give_up(&mut self) {
        self.length = Duration::ZERO;
        self.short_sleeps = 0;
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Wait = Wait::Slept(Duration::from_micros(60));
    const LONG: Wait = Wait::Slept(Duration::from_millis(2));

    /// Vain looks shorten the budget to nothing; short sleeps bring it back, long ones do not.
    #[test]
    fn budgets_fall_and_return() {
        let mut budget = Budget::default();
        for _ in 0..5 {
            budget.learn(Wait::Missed);
        }
        assert_eq!(budget.length(), Duration::ZERO);
        for _ in 0..100 {
            budget.learn(LONG);
        }
        assert_eq!(budget.length(), Duration::ZERO);
        for _ in 0..4 {
            budget.learn(SHORT);
        }
        assert_eq!(budget.length(), BUDGET_MAX);
    }

    /// In a crowd the tries become rare: at most one look in a thousand waits.
    #[test]
    fn crowds_sleep_at_once() {
        let mut budget = Budget::default();
        let mut looks = 0;
        for _ in 0..20_000 {
            if budget.length().is_zero() {
                budget.learn(SHORT);
            } else {
                looks += 1;
                budget.learn(Wait::Crowded);
            }
        }
        assert!(looks < 40, "{looks} looks");
    }

    /// A pair that is quick again gets its patience back, so that one busy moment is forgotten.
    #[test]
    fn good_times_are_remembered() {
        let mut budget = Budget::default();
        budget.learn(Wait::Crowded);
        let patience = budget.patience;
        while budget.length().is_zero() {
            budget.learn(SHORT);
        }
        for _ in 0..10 {
            budget.learn(Wait::Found);
        }
        assert!(budget.patience < patience);
    }
}
