//! Whether and how often a connection that was lost is made again. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The shortest and the longest pause before a connection is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often it is tried in a row: some 70 s with these pauses, and with those that it takes.
const TRIES_MAX: u32 = 20;

/// Whether and how often a connection to an actor is made again that was lost:
/// [`Connecting::reconnect`](crate::Connecting::reconnect).
///
/// Before each try is a pause, at random between half of it and all of it, so that a thousand
/// clients of a server that was started again do not all come at once. It is 50 ms at first,
/// doubles with each try, and is at most 5 s. After 20 tries in a row it is given up. A connection
/// that has lasted as long as the longest pause ends a row.
///
/// # Examples
/// ```
/// use callboard::Reconnect;
/// use std::time::Duration;
///
/// let patient = Reconnect::on_loss().max(1000);
/// let quick = Reconnect::on_loss().max(5).pauses(Duration::ZERO..=Duration::from_millis(100));
/// assert_ne!(patient, quick);
/// ```
///
/// A server that is killed and started again, and a client that goes on:
/// ```
/// use callboard::prelude::*;
/// use callboard::{AuthKey, Reconnect};
///
/// pub struct Bell { rings: u64 }
///
/// #[actor]
/// impl Bell {
///     pub fn new() -> Self { Self { rings: 0 } }
///     pub fn ring(&mut self) -> u64 { self.rings += 1; self.rings }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let key = AuthKey::random()?;
///     let bell = Bell::spawn().listen("tcp://127.0.0.1:0").authkey(&key).await?;
///     let address = bell.address().expect("it listens").clone();
///     let remote = Bell::connect(&address, &key).reconnect(Reconnect::on_loss()).await?;
///     let mut monitor = remote.monitor();
///     assert_eq!(remote.ring().await?, 1);
///
///     bell.kill().await;
///     monitor.down().await;
///     let waits = remote.ring().start();
///     let _next = Bell::spawn().listen(&address).authkey(&key).await?;
///     assert_eq!(waits.await?, 1, "it is another bell");
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reconnect {
    after_end: bool,
    tries_max: u32,
    pause_min: Duration,
    pause_max: Duration,
}

impl Reconnect {
    const fn new(after_end: bool) -> Self {
        Self {
            after_end,
            tries_max: TRIES_MAX,
            pause_min: PAUSE_MIN,
            pause_max: PAUSE_MAX,
        }
    }

    /// When the connection was lost: the network failed, or the actor died. Not when the actor has
    /// ended in order.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Reconnect;
    /// assert_eq!(Reconnect::default(), Reconnect::on_loss());
    /// ```
    #[must_use]
    pub const fn on_loss() -> Self {
        Self::new(false)
    }

    /// Also when the actor has ended in order: for a service whose actor is replaced by a newer one
    /// at the same address.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Reconnect;
    /// assert_ne!(Reconnect::always(), Reconnect::on_loss());
    /// ```
    #[must_use]
    pub const fn always() -> Self {
        Self::new(true)
    }

    /// How often it is tried in a row before it is given up. Default: 20 times.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Reconnect;
    /// assert_ne!(Reconnect::on_loss().max(3), Reconnect::on_loss());
    /// ```
    #[must_use]
    pub const fn max(mut self, tries: u32) -> Self {
        self.tries_max = tries;
        self
    }

    /// The pause before the first try, which doubles with each further one up to the second of
    /// these. Default: 50 ms to 5 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Reconnect;
    /// # use std::time::Duration;
    /// let calm = Reconnect::on_loss().pauses(Duration::from_secs(1)..=Duration::from_secs(60));
    /// # assert_ne!(calm, Reconnect::on_loss());
    /// ```
    #[must_use]
    pub const fn pauses(mut self, pauses: RangeInclusive<Duration>) -> Self {
        self.pause_min = *pauses.start();
        self.pause_max = *pauses.end();
        self
    }

    /// Whether it is to be made again, the actor having `ended` in order or not.
    pub(super) fn wants(self, ended: bool) -> bool {
        self.after_end || !ended
    }

    /// The pause before the next try after so many `tries` in a row, where `chance` is any number;
    /// none: it is given up.
    pub(super) fn pause(self, tries: u32, chance: u64) -> Option<Duration> {
        if tries >= self.tries_max {
            return None;
        }
        let longest = self.pause_min.saturating_mul(2_u32.saturating_pow(tries));
        let half = longest.min(self.pause_max) / 2;
        // A 1024th is fine enough.
        let share = u32::try_from(chance % 1025).unwrap_or_default();
        Some(half.saturating_add(half.saturating_mul(share) / 1024))
    }

    /// Whether a connection that has lasted so long ends a row of tries.
    pub(super) fn is_settled(self, lasted: Duration) -> bool {
        lasted >= self.pause_max
    }
}

/// [`Reconnect::on_loss`].
impl Default for Reconnect {
    fn default() -> Self {
        Self::on_loss()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses double up to the longest one, each is between its half and itself, and after the last
    /// try it is given up.
    #[test]
    fn pauses_grow_to_a_limit() {
        let reconnect = Reconnect::on_loss();
        for tries in 0..TRIES_MAX {
            let longest = PAUSE_MIN.saturating_mul(1 << tries.min(16)).min(PAUSE_MAX);
            for chance in [0, 1, 1024, 1025, u64::MAX] {
                let pause = reconnect.pause(tries, chance).unwrap();
                assert!((longest / 2..=longest).contains(&pause), "{pause:?}");
            }
            let ends = (reconnect.pause(tries, 0), reconnect.pause(tries, 1024));
            assert_eq!(ends, (Some(longest / 2), Some(longest)));
        }
        assert_eq!(reconnect.pause(TRIES_MAX, 0), None);
        assert_eq!(Reconnect::on_loss().max(0).pause(0, 7), None);
        let huge = Reconnect::on_loss().max(u32::MAX);
        assert!(
            huge.pause(u32::MAX - 1, 7)
                .is_some_and(|pause| pause <= PAUSE_MAX)
        );
        let odd = Reconnect::on_loss().pauses(Duration::MAX..=Duration::MAX);
        assert!(odd.pause(3, 1024).is_some());
    }

    /// An end in order is a loss only for who says so; short connections are part of a row.
    #[test]
    fn what_counts_as_a_loss() {
        assert!(Reconnect::on_loss().wants(false) && !Reconnect::on_loss().wants(true));
        assert!(Reconnect::always().wants(false) && Reconnect::always().wants(true));
        assert!(!Reconnect::on_loss().is_settled(PAUSE_MAX / 2));
        assert!(Reconnect::on_loss().is_settled(PAUSE_MAX));
    }
}
