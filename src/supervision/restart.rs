//! When and how often what has ended is started again. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// The pause before the second start of a burst, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whether and how often an actor that has ended is started again.
///
/// The first start in a while comes at once, each further one after a pause of 50 ms that doubles,
/// up to 5 s.
///
/// # Examples
/// ```
/// use callboard::supervision::Restart;
/// use std::time::Duration;
///
/// let restart = Restart::on_failure().max(3).within(Duration::from_secs(10));
/// assert_ne!(restart, Restart::never());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Restart {
    when: When,
    max: usize,
    within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum When {
    Never,
    OnFailure,
    Always,
}

impl Restart {
    const fn new(when: When) -> Self {
        Self {
            when,
            max: 5,
            within: Duration::from_secs(10),
        }
    }

    /// What has ended stays so.
    ///
    /// # Examples
    /// ```
    /// # use callboard::supervision::Restart;
    /// let restart = Restart::never();
    /// # drop(restart);
    /// ```
    #[must_use]
    pub const fn never() -> Self {
        Self::new(When::Never)
    }

    /// Started again if it died, and not if it was stopped in order. At most 5 times within 10 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::supervision::Restart;
    /// assert_eq!(Restart::default(), Restart::on_failure());
    /// ```
    #[must_use]
    pub const fn on_failure() -> Self {
        Self::new(When::OnFailure)
    }

    /// Started again however it ended, unless it was stopped by who started it, or all end. At most
    /// 5 times within 10 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::supervision::Restart;
    /// assert_ne!(Restart::always(), Restart::on_failure());
    /// ```
    #[must_use]
    pub const fn always() -> Self {
        Self::new(When::Always)
    }

    /// At most so many starts within the time that [`within`](Self::within) says; who would need
    /// one more is given up.
    ///
    /// # Examples
    /// ```
    /// # use callboard::supervision::Restart;
    /// assert_ne!(Restart::on_failure().max(1), Restart::on_failure());
    /// ```
    #[must_use]
    pub const fn max(mut self, starts: usize) -> Self {
        self.max = starts;
        self
    }

    /// The time in which [`max`](Self::max) starts are not too many.
    ///
    /// # Examples
    /// ```
    /// # use callboard::supervision::Restart;
    /// let patient = Restart::on_failure().max(100).within(std::time::Duration::from_secs(3600));
    /// # drop(patient);
    /// ```
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Whether who has ended, having `failed` or not, is to be started again.
    pub(crate) fn wants(self, failed: bool) -> bool {
        match self.when {
            When::Never => false,
            When::OnFailure => failed,
            When::Always => true,
        }
    }

    /// How often, as this one says, and whatever the reason.
    pub(crate) fn limit(self) -> (usize, Duration) {
        (self.max, self.within)
    }
}

/// [`Restart::on_failure`].
impl Default for Restart {
    fn default() -> Self {
        Self::on_failure()
    }
}

/// The starts of one seat, or of several, as far as they count.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Each as the time since the same moment.
    starts: VecDeque<Duration>,
}

impl History {
    /// Counts a start at `now`, unless it were one too many: after which pause it may be. All times
    /// are since one moment.
    pub(crate) fn admit(&mut self, restart: Restart, now: Duration) -> Option<Duration> {
        while let Some(first) = self.starts.front()
            && now.saturating_sub(*first) > restart.within
        {
            self.starts.pop_front();
        }
        if self.starts.len() >= restart.max {
            return None;
        }
        let pause = match u32::try_from(self.starts.len()) {
            Ok(0) => Duration::ZERO,
            Ok(before) => PAUSE_MIN * 2_u32.saturating_pow((before - 1).min(16)),
            Err(_) => PAUSE_MAX,
        };
        self.starts.push_back(now);
        Some(pause.min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one that has ended at `now`, having `failed` or not: after which pause it is started.
    fn pause(
        history: &mut History,
        restart: Restart,
        failed: bool,
        now: Duration,
    ) -> Option<Duration> {
        restart
            .wants(failed)
            .then(|| history.admit(restart, now))
            .flatten()
    }

    /// Starts are granted up to the limit, each after a longer pause, and again when time has
    /// passed.
    #[test]
    fn restarts_are_limited() {
        let restart = Restart::on_failure().max(3);
        let mut history = History::default();
        let mut at = |seconds| history.admit(restart, Duration::from_secs(seconds));
        assert_eq!(at(0), Some(Duration::ZERO));
        assert_eq!(at(1), Some(PAUSE_MIN));
        assert_eq!(at(2), Some(PAUSE_MIN * 2));
        assert_eq!(at(3), None);
        assert_eq!(at(12), Some(PAUSE_MIN));
        assert_eq!(at(100), Some(Duration::ZERO));
    }

    /// An end in order is no failure.
    #[test]
    fn ends_in_order_are_restarted_only_always() {
        let now = Duration::from_secs(7);
        for (restart, failed, expected) in [
            (Restart::never(), true, None),
            (Restart::on_failure(), false, None),
            (Restart::on_failure(), true, Some(Duration::ZERO)),
            (Restart::always(), false, Some(Duration::ZERO)),
            (Restart::always().max(0), true, None),
        ] {
            let pause = pause(&mut History::default(), restart, failed, now);
            assert_eq!(pause, expected, "{restart:?}, {failed}");
        }
    }

    /// Pauses grow to a limit.
    #[test]
    fn pauses_are_bounded() {
        let restart = Restart::always().max(1000);
        let mut history = History::default();
        let now = Duration::from_secs(7);
        let pauses: Vec<_> = (0..100)
            .filter_map(|_| history.admit(restart, now))
            .collect();
        assert_eq!((pauses.len(), pauses.last()), (100, Some(&PAUSE_MAX)));
    }
}
