//! The machine's monotonic clock as a number: all processes of one machine read the same one.
//!
//! `std::time::Instant` cannot travel; this can.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine's start.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

/// The time `after` from now.
pub(crate) fn after(after: Duration) -> u64 {
    now().saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock goes forward, and an endless wait is no overflow.
    #[test]
    fn time_passes() {
        let then = now();
        assert!(now() >= then);
        assert!(after(Duration::from_secs(1)) > then + 900_000_000);
        assert_eq!(after(Duration::MAX), u64::MAX);
    }
}
