//! How much content may be on its way, so that what is small does not wait behind it. Pure.
//!
//! Bytes that were sent and not taken in lie in the buffers of two kernels and of the network
//! between them, and whatever is sent later lies behind them: on a way with room for many, that is
//! long. So no more are sent than the way needs to be busy. How much that is shows in how long it
//! takes until they are taken in: if that is hardly longer than it ever was, there may be more; if
//! it is, there are too many.

use std::time::Duration;

/// The least that may be on its way. What comes after it waits for so much where the other side is
/// slow to take it in, as one is that gets each new page from its host: with 128 KiB, and word of
/// what was taken in after 32 KiB, the slowest hundredth of small calls took half as long again
/// beside a gigabyte, and that was no faster (`benches/network_blobs.rs`).
const WINDOW_MIN: u64 = 64 * 1024;

/// The most: a tenth of a second of a gigabyte each.
const WINDOW_MAX: u64 = 64 << 20;

/// How much longer than one and a half times the shortest time it may take: what threads of a busy
/// machine wait for their turns. With three times as much a small call waits for half a millisecond
/// beside a gigabyte, in place of a tenth, and that is hardly faster (`benches/network_blobs.rs`).
const SLACK: Duration = Duration::from_micros(100);

/// After how many bytes the other side says that they were taken in.
pub(crate) const TOLD_EVERY: u64 = 16 * 1024;

/// What of a way's content is sent and what was taken in.
#[derive(Debug)]
pub(crate) struct Throttle {
    window: u64,
    /// All that was sent, and of that what was taken in.
    sent: u64,
    taken: u64,
    /// What is measured: up to which byte, and when that was sent.
    probe: Option<(u64, Duration)>,
    /// The shortest time that was measured.
    shortest: Duration,
    /// The window was all used since the last measurement.
    is_full: bool,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            window: WINDOW_MIN,
            sent: 0,
            taken: 0,
            probe: None,
            shortest: Duration::MAX,
            is_full: false,
        }
    }
}

impl Throttle {
    /// Whether more may be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.sent - self.taken < self.window
    }

    /// So many bytes were sent at `now`.
    pub(crate) fn note_sent(&mut self, len: usize, now: Duration) {
        self.sent += len as u64;
        self.is_full |= !self.is_open();
        if self.probe.is_none() {
            self.probe = Some((self.sent, now));
        }
    }

    /// The other side says at `now` that it has taken in so many in all. False: it cannot have.
    pub(crate) fn note_taken(&mut self, taken: u64, now: Duration) -> bool {
        if taken < self.taken || taken > self.sent {
            return false;
        }
        self.taken = taken;
        if let Some((end, sent_at)) = self.probe
            && taken >= end
        {
            self.probe = None;
            self.learn(now.saturating_sub(sent_at));
        }
        true
    }

    /// Sets the window by how long it took.
    fn learn(&mut self, time: Duration) {
        self.shortest = self.shortest.min(time);
        let is_long = time > self.shortest.saturating_add(self.shortest / 2) + SLACK;
        if is_long {
            self.window = (self.window / 2).max(WINDOW_MIN);
        } else if std::mem::take(&mut self.is_full) {
            self.window = (self.window * 2).min(WINDOW_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way that takes so many bytes in a millisecond, and a time to go and come back.
    fn run(rate: u64, round_trip: Duration) -> (Throttle, u64) {
        let mut throttle = Throttle::default();
        let (mut queue, mut taken, mut most) = (std::collections::VecDeque::new(), 0, 0);
        for ms in 0..20_000 {
            let now = Duration::from_millis(ms);
            while throttle.is_open() {
                throttle.note_sent(32 * 1024, now);
            }
            let waiting = throttle.sent - taken;
            if ms > 10_000 {
                most = most.max(waiting);
            }
            taken += waiting.min(rate);
            queue.push_back((now + round_trip, taken));
            while queue.front().is_some_and(|(at, _)| *at <= now) {
                let (_, taken) = queue.pop_front().unwrap();
                assert!(throttle.note_taken(taken, now));
            }
        }
        assert!(taken > 15_000 * rate || rate > 60_000, "{taken}");
        (throttle, most)
    }

    /// A long way gets a large window and is busy; a short one keeps what waits small.
    #[test]
    fn the_window_fits_the_way() {
        let (far, _) = run(10_000, Duration::from_millis(200));
        assert!(far.window >= 2_000_000, "{far:?}");
        let (near, most) = run(10_000, Duration::from_millis(1));
        assert!(near.window <= 256 * 1024, "{near:?}");
        assert!(most <= 300 * 1024, "{most}");
    }

    /// What cannot have been taken in is noticed.
    #[test]
    fn lies_are_noticed() {
        let mut throttle = Throttle::default();
        let at = Duration::ZERO;
        throttle.note_sent(100, at);
        assert!(!throttle.note_taken(101, at));
        assert!(throttle.note_taken(60, at) && throttle.note_taken(60, at));
        assert!(!throttle.note_taken(59, at));
    }
}
