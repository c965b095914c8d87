//! Whether an actor's process still does what it is told to: asked now and then. Pure.
//!
//! Only its own runtime answers: neither a process that is stopped does so, nor one in which a
//! method keeps the thread.

use std::time::Duration;

/// How often a process is asked by default, and how many questions may remain without an answer.
const PERIOD: Duration = Duration::from_secs(1);
const MISSES: u32 = 3;

/// Shorter periods would keep both processes busy with nothing else.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// How an actor that hangs is found: its process is asked in each period, and killed when it has
/// not answered for so many.
///
/// Its runtime answers, beside its methods. So one that is stopped (SIGSTOP) hangs, and one whose
/// method keeps the thread for longer than all those periods: a loop, a lock, a read that waits. A
/// method that awaits does not hang, however long it takes. What takes long by itself is done by
/// `spawn_blocking`, or is given more time here.
///
/// Who is killed so has died: its callers get [`Died`](crate::CallError::Died), monitors hear of
/// [`Exit::Hung`](crate::Exit::Hung), and a [supervisor](crate::supervision) or a
/// [pool](crate::pool) starts it again.
///
/// The first question comes one period after the constructor, which may take its time; none comes
/// after the actor was asked to end, where its grace counts. A question that is missed because this
/// process did not run is none. On a machine with more work than cores, an answer may take as
/// long as the others' turns: what is too short kills the healthy.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::{Exit, Heartbeat};
/// use std::time::Duration;
///
/// pub struct Sleeper;
///
/// #[actor]
/// impl Sleeper {
///     pub fn new() -> Self { Self }
///     pub fn oversleep(&self) { std::thread::sleep(Duration::from_secs(3600)) }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let heartbeat = Heartbeat::every(Duration::from_millis(100)).misses(5);
///     let sleeper = Sleeper::spawn().heartbeat(heartbeat).await?;
///     let Err(CallError::Died { death, .. }) = sleeper.oversleep().await else {
///         panic!("it sleeps for an hour");
///     };
///     assert_eq!(death.exit(), Exit::Hung);
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    period: Duration,
    misses: u32,
}

impl Heartbeat {
    /// Asks once in each period, of a millisecond at least; three misses are too many.
    ///
    /// # Examples
    /// ```
    /// use callboard::Heartbeat;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Heartbeat::default(), Heartbeat::every(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn every(period: Duration) -> Self {
        Self {
            period: period.max(PERIOD_MIN),
            misses: MISSES,
        }
    }

    /// After so many periods without an answer it is killed, one at least.
    ///
    /// # Examples
    /// ```
    /// use callboard::Heartbeat;
    ///
    /// let patient = Heartbeat::default().misses(60);
    /// assert_eq!(Heartbeat::default().misses(3), Heartbeat::default());
    /// # drop(patient);
    /// ```
    #[must_use]
    pub fn misses(mut self, count: u32) -> Self {
        self.misses = count.max(1);
        self
    }

    fn period(self) -> Duration {
        self.period
    }
}

/// One question in a second, and three misses.
impl Default for Heartbeat {
    fn default() -> Self {
        Self::every(PERIOD)
    }
}

/// [`Heartbeat::every`].
impl From<Duration> for Heartbeat {
    fn from(period: Duration) -> Self {
        Self::every(period)
    }
}

/// The questions and answers of one process.
#[derive(Debug)]
pub(super) struct Pulse {
    heartbeat: Heartbeat,
    is_owed: bool,
    missed: u32,
}

/// What a period's end asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// A question.
    Ask,
    /// Patience: the last one has no answer yet.
    Wait,
    /// It hangs.
    Hung,
}

impl Pulse {
    pub(super) fn new(heartbeat: Heartbeat) -> Self {
        Self {
            heartbeat,
            is_owed: false,
            missed: 0,
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.heartbeat.period()
    }

    /// It has answered.
    pub(super) fn answered(&mut self) {
        self.is_owed = false;
    }

    /// A period is over.
    pub(super) fn beat(&mut self) -> Beat {
        if !self.is_owed {
            self.is_owed = true;
            self.missed = 0;
            return Beat::Ask;
        }
        self.missed += 1;
        if self.missed < self.heartbeat.misses {
            Beat::Wait
        } else {
            Beat::Hung
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who answers is asked again, at any time within the bound; who does not hangs after so many
    /// periods. One question at a time is under way.
    #[test]
    fn misses_are_counted() {
        let mut pulse = Pulse::new(Heartbeat::default().misses(3));
        for late in [0, 1, 2, 0] {
            assert_eq!(pulse.beat(), Beat::Ask);
            for _ in 0..late {
                assert_eq!(pulse.beat(), Beat::Wait);
            }
            pulse.answered();
        }
        assert_eq!(
            [(); 4].map(|()| pulse.beat()),
            [Beat::Ask, Beat::Wait, Beat::Wait, Beat::Hung]
        );
        let mut strict = Pulse::new(Heartbeat::default().misses(0));
        assert_eq!([strict.beat(), strict.beat()], [Beat::Ask, Beat::Hung]);
    }

    /// No period keeps a processor busy.
    #[test]
    fn periods_have_a_least() {
        assert_eq!(Heartbeat::every(Duration::ZERO).period(), PERIOD_MIN);
    }
}
