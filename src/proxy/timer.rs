//! The bounds of calls: of one, by a timer of its own, and the usual one of all others.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// The bound of a call, which begins to run when it is first polled.
#[derive(Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether `after` has passed; without one it never does.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, after: Option<Duration>) -> Poll<Duration> {
        let Some(after) = after else {
            return Poll::Pending;
        };
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        sleep.as_mut().poll(cx).map(|()| after)
    }
}

/// The bound of a call that has none of its own, in milliseconds; zero: there is none.
static USUAL_MS: AtomicU64 = AtomicU64::new(30_000);

/// Sets how long a call of this process waits that has no bound of its own and none of its proxy's;
/// 30 s at first, and `None` for ever.
///
/// Of such a call the clock is looked at once a second, so that it costs nothing: it ends up to two
/// seconds later. Where that matters, use [`Call::timeout`](crate::Call::timeout). Calls that wait
/// already are meant too. The processes of actors have settings of their own.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// callboard::set_default_timeout(Some(Duration::from_secs(120)));
/// ```
pub fn set_default_timeout(after: Option<Duration>) {
    let most = u128::from(u64::MAX);
    let ms = after.map_or(0, |after| after.as_millis().clamp(1, most));
    let ms = u64::try_from(ms).unwrap_or(u64::MAX);
    // Relaxed: nothing else is published by it.
    USUAL_MS.store(ms, Ordering::Relaxed);
}

/// The usual time in looks at the clock, one each `period`.
pub(super) fn usual_looks(period: Duration) -> Option<u32> {
    let ms = u128::from(USUAL_MS.load(Ordering::Relaxed));
    let looks = ms.div_ceil(period.as_millis().max(1));
    (looks > 0).then(|| u32::try_from(looks).unwrap_or(u32::MAX))
}
