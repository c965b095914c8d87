//! When a pool gets another member, and when one has nothing to do. Pure.

use std::time::Duration;

/// A pool whose members come and go with the work there is: at least `min`, at most `max`.
///
/// A member is started when so many calls are under way that more than [`queue`](Self::queue) of
/// them would wait for each member, and one is ended when for the time that [`idle`](Self::idle)
/// says there were never as many calls under way as members. It does what it was sent before; no
/// call is lost, and none notices.
///
/// # Examples
/// ```standalone_crate
/// use callboard::pool::{Elastic, Pool};
/// use callboard::prelude::*;
/// use std::time::Duration;
///
/// pub struct Renderer;
///
/// #[actor]
/// impl Renderer {
///     pub fn new() -> Self { Self }
///     pub async fn render(&mut self, page: u32) -> u32 {
///         std::thread::sleep(Duration::from_millis(20));
///         page
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let size = Elastic::between(1, 3).idle(Duration::from_secs(60));
///     let pool = Pool::spawn(size, |_| Renderer::spawn()).await?;
///     assert_eq!(pool.len(), 1);
///     pool.map(0..30, |renderer, page| renderer.render(page)).width(12).all().await?;
///     println!("{} members now", pool.len());
///     pool.shutdown().await
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elastic {
    pub(super) min: usize,
    pub(super) max: usize,
    queue: usize,
    idle: Duration,
}

/// What is to be done about a pool's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Stay,
    /// So many are to be started.
    Grow(usize),
    /// One is to be ended.
    Shrink,
}

impl Elastic {
    /// From `min` members, with which it starts, to `max`. A pool has at least one; a `max` below
    /// `min` counts as `min`.
    ///
    /// # Examples
    /// ```
    /// # use callboard::pool::Elastic;
    /// let size = Elastic::between(2, 8);
    /// # drop(size);
    /// ```
    #[must_use]
    pub const fn between(min: usize, max: usize) -> Self {
        Self {
            min,
            max: if max < min { min } else { max },
            queue: 1,
            idle: Duration::from_secs(10),
        }
    }

    /// So many calls may wait for each member, beside the one that it has, before there are more
    /// members. Default: 1.
    ///
    /// # Examples
    /// ```
    /// # use callboard::pool::Elastic;
    /// let patient = Elastic::between(1, 8).queue(16);
    /// # drop(patient);
    /// ```
    #[must_use]
    pub const fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// For so long a member is kept that there was nothing to do for. Default: 10 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::pool::Elastic;
    /// let quick = Elastic::between(1, 8).idle(std::time::Duration::from_secs(1));
    /// # drop(quick);
    /// ```
    #[must_use]
    pub const fn idle(mut self, time: Duration) -> Self {
        self.idle = time;
        self
    }

    /// How often it is looked whether members are idle, while there are some more than `min`.
    pub(super) fn period(self) -> Duration {
        (self.idle / 4).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }

    /// Whether so many calls under way are too many for so many members.
    #[inline]
    pub(super) const fn is_crowded(self, members: usize, calls: usize) -> bool {
        members < self.max && calls > members.saturating_mul(self.queue.saturating_add(1))
    }

    /// The size at `now`, when `calls` are under way, and at most `peak` were since the last time.
    pub(super) fn step(
        self,
        lull: &mut Lull,
        now: Duration,
        members: usize,
        (calls, peak): (usize, usize),
    ) -> Step {
        let most = calls.max(peak);
        if self.is_crowded(members, most) {
            let wanted = most.div_ceil(self.queue.saturating_add(1));
            lull.since = None;
            return Step::Grow(wanted.clamp(members + 1, self.max) - members);
        }
        if members <= self.min || most >= members {
            lull.since = None;
            return Step::Stay;
        }
        let since = *lull.since.get_or_insert(now);
        if now.saturating_sub(since) < self.idle {
            return Step::Stay;
        }
        // The next one has its own time.
        lull.since = Some(now);
        Step::Shrink
    }
}

/// Since when a pool has had a member too many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lull {
    since: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Members are started by the length of the queue, as many as it takes, and no more than may.
    #[test]
    fn queues_are_answered() {
        let size = Elastic::between(1, 8).queue(3);
        let step =
            |members, calls| size.step(&mut Lull::default(), SECOND, members, (calls, calls));
        assert_eq!(step(1, 4), Step::Stay);
        assert_eq!(step(1, 5), Step::Grow(1));
        assert_eq!(step(1, 9), Step::Grow(2));
        assert_eq!(step(1, 1000), Step::Grow(7));
        assert_eq!(step(8, 1000), Step::Stay);
    }

    /// A member goes when none was needed for all of the time; one busy moment begins it anew.
    #[test]
    fn lulls_are_waited_for() {
        let size = Elastic::between(1, 8).idle(SECOND);
        let mut lull = Lull::default();
        let mut step = |millis, members, peak| {
            size.step(&mut lull, Duration::from_millis(millis), members, (0, peak))
        };
        assert_eq!(step(0, 3, 1), Step::Stay);
        assert_eq!(step(900, 3, 3), Step::Stay);
        assert_eq!(step(1000, 3, 1), Step::Stay);
        assert_eq!(step(1900, 3, 2), Step::Stay);
        assert_eq!(step(2000, 3, 2), Step::Shrink);
        assert_eq!(step(2100, 2, 1), Step::Stay);
        assert_eq!(step(3000, 2, 1), Step::Shrink);
        assert_eq!(step(9000, 1, 0), Step::Stay);
    }

    proptest! {
        /// Whatever happens, the size stays within its bounds, and nobody goes who has to do.
        #[test]
        fn sizes_stay_within_their_bounds(
            (min, more) in (1..4_usize, 0..6_usize),
            queue in 0..4_usize,
            events in prop::collection::vec((0..40_usize, 0..5000_u64), 0..100),
        ) {
            let size = Elastic::between(min, min + more).queue(queue).idle(SECOND);
            let (mut members, mut now, mut lull) = (min, Duration::ZERO, Lull::default());
            for (calls, millis) in events {
                now += Duration::from_millis(millis);
                match size.step(&mut lull, now, members, (calls, calls)) {
                    Step::Stay => {}
                    Step::Grow(count) => members += count,
                    Step::Shrink => {
                        members -= 1;
                        prop_assert!(calls <= members);
                    }
                }
                prop_assert!((min..=min + more).contains(&members));
            }
        }
    }
}
