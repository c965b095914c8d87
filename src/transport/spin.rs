//! Looking for a while before sleeping: the impure side of [`Idle`].

use std::time::{Duration, Instant};

use super::board::{Board, Side};
use super::idle::{Budget, Idle, Wait};
use crate::sys::cpu;

/// Looks between two glances at the clock: a microsecond or two, depending on the processor's
/// pause.
const BURST: u32 = 128;

/// How long one poll looks before the runtime's other tasks get a turn.
const TURN: Duration = Duration::from_micros(5);

/// A yield of the core that takes this long let another process run.
const CROWDED: Duration = Duration::from_micros(15);

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

    /// Whether its task has slept since the call was sent; asked once.
    #[inline]
    pub(crate) fn take_parked(&mut self) -> bool {
        std::mem::take(&mut self.is_parked)
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
        match vigil.began {
            _ if vigil.is_shared => {}
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
                if self.idle == Idle::Adaptive && now.elapsed() > CROWDED {
                    return sleep(vigil, Wait::Crowded);
                }
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
