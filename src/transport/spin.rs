//! Looking for a while before sleeping: the impure side of [`Idle`].

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::board::{Board, Side};
use super::idle::{Budget, Idle, Wait};
use crate::sys::cpu;

/// Looks between two glances at the clock: a microsecond or two, depending on the processor's
/// pause.
const BURST: u32 = 128;

/// How long one poll looks before the runtime's other tasks get a turn.
const TURN: Duration = Duration::from_micros(5);

/// A burst that takes this long was interrupted by another process; a turn of the thread's other
/// tasks that takes this long says that there is more to do there than to look.
const CROWDED: Duration = Duration::from_micros(15);

/// A yield of the core that takes this long let another process run.
const YIELDED: Duration = Duration::from_micros(5);

/// What to do after looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something seems to be there.
    Look,
    /// Nothing yet: let other tasks run, then come back.
    Again,
    /// Looking does not pay: sleep.
    Sleep,
}

/// One wait: from the first look in vain to the message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vigil {
    first: Option<Plan>,
    began: Option<Instant>,
    /// When the runtime's other tasks got their turn, in microseconds after `began`, and one.
    /// Small, for it is moved with every call.
    left: Option<NonZeroU32>,
    slept: bool,
    /// One of several waits at once: how long each took says nothing about looking.
    is_shared: bool,
    lesson: Option<Wait>,
    /// Its task sleeps already, and need not look before it is woken.
    is_parked: bool,
}

impl Vigil {
    /// A wait that may begin with a burst of looks, before anything is locked.
    pub(crate) fn new(first: Option<Plan>) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// The first burst of looks, once, if the wait may begin with one. True: something seems to be
    /// there.
    #[inline]
    pub(crate) fn first_burst(&mut self, found: impl FnMut() -> bool) -> bool {
        self.first.take().is_some() && Plan::burst(found)
    }

    /// Notes that its task sleeps since the call was sent.
    #[inline]
    pub(crate) fn park(&mut self) {
        self.is_parked = true;
    }

    /// Whether anybody has looked or slept.
    pub(crate) fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// Whether its task has slept since the call was sent; asked once.
    #[inline]
    pub(crate) fn take_parked(&mut self) -> bool {
        std::mem::take(&mut self.is_parked)
    }

    /// Whether the runtime's other tasks took so long that looking is no wait of its own: what
    /// comes is found without it, and it keeps them waiting. Asked once a turn.
    #[inline]
    fn was_away(&mut self, now: impl FnOnce() -> Instant) -> bool {
        let (Some(left), Some(began)) = (self.left.take(), self.began) else {
            return false;
        };
        now() - began > Duration::from_micros(left.get().into()) + CROWDED
    }

    /// Notes that the runtime's other tasks get their turn.
    fn leave(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let after = u32::try_from((now - began).as_micros()).unwrap_or(u32::MAX);
        self.left = NonZeroU32::new(after.saturating_add(1));
    }

    /// Notes that others wait too.
    #[inline]
    pub(crate) fn share(&mut self) {
        self.is_shared = true;
    }
}

/// How one end of a link waits, and what it learnt.
#[derive(Debug)]
pub(crate) struct Spin {
    idle: Idle,
    budget: Budget,
}

/// How to look, for one turn: a copy, so that nothing is locked meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    idle: Idle,
    length: Duration,
}

impl Spin {
    pub(crate) fn new(idle: Idle) -> Self {
        Self {
            idle,
            budget: Budget::default(),
        }
    }

    /// How to look in this turn; none: sleep at once.
    #[inline]
    pub(crate) fn plan(&self) -> Option<Plan> {
        let length = self.budget.length();
        let looks = match self.idle {
            Idle::Park => false,
            Idle::Busy => true,
            Idle::Adaptive => !length.is_zero(),
        };
        looks.then_some(Plan {
            idle: self.idle,
            length,
        })
    }

    /// Notes that the one who waits goes to sleep. Who never looks learns nothing from how long,
    /// and is spared the clock.
    #[inline]
    pub(crate) fn sleep(&self, vigil: &mut Vigil) {
        if self.idle != Idle::Park {
            vigil.began.get_or_insert_with(Instant::now);
            vigil.slept = true;
        }
    }

    /// Takes in what a look in vain has shown.
    #[inline]
    pub(crate) fn learn(&mut self, vigil: &mut Vigil) {
        if let Some(lesson) = vigil.lesson.take() {
            self.budget.learn(lesson);
        }
    }

    /// Notes how the wait ended.
    #[inline]
    pub(crate) fn found(&mut self, vigil: &mut Vigil) {
        // Who never looks learns nothing, and keeps no time.
        if self.idle == Idle::Park {
            return;
        }
        let was_away = vigil.was_away(Instant::now);
        match vigil.began {
            _ if vigil.is_shared => {}
            Some(_) if was_away => self.budget.learn(Wait::Crowded),
            Some(began) if vigil.slept => self.budget.learn(Wait::Slept(began.elapsed())),
            _ => self.budget.learn(Wait::Found),
        }
        *vigil = Vigil::default();
    }
}

impl Plan {
    /// A burst of looks without a glance at the clock: the wait of a hot call ends here.
    #[inline]
    pub(crate) fn burst(mut found: impl FnMut() -> bool) -> bool {
        for _ in 0..BURST {
            if found() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Looks for one turn of the wait `vigil`, on the `side` of the link that `board` belongs to.
    pub(crate) fn look(
        self,
        vigil: &mut Vigil,
        (board, side): (&Board, Side),
        mut found: impl FnMut() -> bool,
    ) -> Next {
        let turn_began = Instant::now();
        let began = *vigil.began.get_or_insert(turn_began);
        if vigil.was_away(|| turn_began) && self.idle == Idle::Adaptive {
            return sleep(vigil, Wait::Crowded);
        }
        let mut now = turn_began;
        loop {
            if Self::burst(&mut found) {
                return Next::Look;
            }
            // On one core nobody answers while we look.
            if self.idle == Idle::Adaptive && board.shares_core(side, cpu::current()) {
                return sleep(vigil, Wait::Crowded);
            }
            let before = now;
            now = Instant::now();
            if self.idle == Idle::Adaptive {
                // A burst that took long although nothing was found: somebody else had the core.
                if now - before > CROWDED {
                    return sleep(vigil, Wait::Crowded);
                }
                if now - began > self.length {
                    return sleep(vigil, Wait::Missed);
                }
            }
            if now - turn_began > TURN {
                cpu::yield_now();
                let left = Instant::now();
                if self.idle == Idle::Adaptive && left - now > YIELDED {
                    return sleep(vigil, Wait::Crowded);
                }
                vigil.leave(left);
                return Next::Again;
            }
        }
    }
}

fn sleep(vigil: &mut Vigil, lesson: Wait) -> Next {
    vigil.lesson = Some(lesson);
    vigil.slept = true;
    Next::Sleep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(left: Duration) -> Vigil {
        let mut vigil = Vigil::default();
        vigil.leave(
            Instant::now()
                .checked_sub(left)
                .expect("the clock is older"),
        );
        vigil
    }

    /// What came while other tasks had the thread was not found by looking, so that many links of
    /// one thread stop looking one after the other.
    #[test]
    fn looking_in_turns_is_given_up() {
        let mut spin = Spin::new(Idle::Adaptive);
        spin.found(&mut waiting(Duration::from_millis(1)));
        assert!(spin.plan().is_none());
    }

    /// A short turn of other tasks changes nothing; and who is always to look always does.
    #[test]
    fn short_turns_are_no_crowd() {
        let mut spin = Spin::new(Idle::Adaptive);
        spin.found(&mut Vigil::default());
        assert!(spin.plan().is_some());
        let mut spin = Spin::new(Idle::Busy);
        spin.found(&mut waiting(Duration::from_millis(1)));
        assert!(spin.plan().is_some());
    }
}
