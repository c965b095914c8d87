//! Who may knock: how often each source has failed of late. Pure.
//!
//! A source that fails ten times in a row is turned away unheard, and gets another try each second.
//! How many sources are remembered is bounded; who asks is a machine, of IPv6 a network.

use std::collections::HashMap;
use std::time::Duration;

use core::net::IpAddr;

/// How many failures a source has at once.
const BURST: u32 = 10;

/// How long until it has one more.
const REFILL: Duration = Duration::from_secs(1);

/// How often it is told of a source that it fails: whoever knocks does not fill the log.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How many sources are remembered: of more, those go first that have failed least.
const SOURCES_MAX: usize = 4096;

/// From where somebody knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A machine, or the network of one.
    Machine(u128),
    /// This machine, by a socket in its file system.
    Here,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Machine(u32::from(address).into()),
            // A machine has as many addresses as it likes within one /64.
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => Self::Machine(u32::from(address).into()),
                None => Self::Machine(u128::from(address) >> 64 << 64),
            },
        }
    }
}

/// Remembers who has failed. Times are since any moment that stays the same.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    failed: HashMap<Source, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    /// How many count.
    count: u32,
    /// Since when so many do.
    since: Duration,
    /// How many have not been told, and when that was done last.
    untold: u32,
    told_at: Option<Duration>,
}

impl Failures {
    /// What of it still counts.
    fn at(self, now: Duration) -> Self {
        let past = now.saturating_sub(self.since);
        let over = u32::try_from(past.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        let over = over.min(self.count);
        Self {
            count: self.count - over,
            since: self.since + REFILL * over,
            ..self
        }
    }

    /// Whether it was told of late.
    fn is_told(&self, now: Duration) -> bool {
        self.told_at
            .is_some_and(|at| now.saturating_sub(at) < TOLD_EVERY)
    }

    /// Whether there is nothing to be remembered of it.
    fn is_past(self, now: Duration) -> bool {
        self.at(now).count == 0 && !self.is_told(now)
    }
}

impl Gate {
    /// Whether it may try.
    pub(crate) fn admits(&self, source: Source, now: Duration) -> bool {
        let failed = self.failed.get(&source);
        failed.is_none_or(|failed| failed.at(now).count < BURST)
    }

    /// It has failed.
    pub(crate) fn note_failure(&mut self, source: Source, now: Duration) {
        let known = self.failed.get(&source).map(|failed| failed.at(now));
        if known.is_none() && self.failed.len() >= SOURCES_MAX {
            self.forget(now);
        }
        let known = known.unwrap_or(Failures {
            count: 0,
            since: now,
            untold: 0,
            told_at: None,
        });
        let failures = Failures {
            count: (known.count + 1).min(BURST),
            since: if known.count == 0 { now } else { known.since },
            untold: known.untold.saturating_add(1),
            ..known
        };
        self.failed.insert(source, failures);
    }

    /// How often it has failed since that was told last, if it is to be told now: once a minute.
    pub(crate) fn news(&mut self, source: Source, now: Duration) -> Option<u32> {
        let failed = self.failed.get_mut(&source)?;
        if failed.is_told(now) || failed.untold == 0 {
            return None;
        }
        failed.told_at = Some(now);
        Some(std::mem::take(&mut failed.untold))
    }

    /// Makes room: those go whose failures are over, or else whoever has failed least.
    fn forget(&mut self, now: Duration) {
        self.failed.retain(|_, failed| !failed.is_past(now));
        if self.failed.len() >= SOURCES_MAX {
            let least = self.failed.iter();
            let least = least.min_by_key(|(_, failed)| failed.at(now).count);
            if let Some(least) = least.map(|(source, _)| *source) {
                self.failed.remove(&least);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn source(number: u128) -> Source {
        Source::Machine(number)
    }

    /// Ten failures close the gate to that source alone; it opens once a second from then on.
    #[test]
    fn failures_close_the_gate() {
        let mut gate = Gate::default();
        for _ in 0..BURST {
            assert!(gate.admits(source(1), at(100.0)));
            gate.note_failure(source(1), at(100.0));
        }
        assert!(!gate.admits(source(1), at(100.0)));
        assert!(gate.admits(source(2), at(100.0)));
        assert!(!gate.admits(source(1), at(100.9)));
        assert!(gate.admits(source(1), at(101.0)));
        gate.note_failure(source(1), at(101.0));
        assert!(!gate.admits(source(1), at(101.9)));
        assert!(gate.admits(source(1), at(102.0)));
        assert!(gate.admits(source(1), at(500.0)));
    }

    /// However often a source fails, that is told once a minute, with how often it was.
    #[test]
    fn it_is_told_once_a_minute() {
        let mut gate = Gate::default();
        let mut told = Vec::new();
        for second in 0..150_u32 {
            gate.note_failure(source(1), at(second.into()));
            told.extend(gate.news(source(1), at(second.into())));
        }
        assert_eq!(told, [1, 60, 60]);
        gate.note_failure(source(2), at(150.0));
        assert_eq!(gate.news(source(2), at(150.0)), Some(1));
        assert_eq!(gate.news(source(3), at(150.0)), None);
    }

    /// Over any time, no more tries fail than one a second and a burst.
    #[test]
    fn the_rate_is_bounded() {
        let mut gate = Gate::default();
        let mut tries = 0;
        for step in 0..100_000 {
            let now = at(f64::from(step) / 1000.0);
            if gate.admits(source(1), now) {
                gate.note_failure(source(1), now);
                tries += 1;
            }
        }
        assert!((100..=100 + BURST).contains(&tries), "{tries}");
    }

    /// However many sources there are, few are remembered, and those that fail most.
    #[test]
    fn memory_is_bounded() {
        let mut gate = Gate::default();
        for _ in 0..BURST {
            gate.note_failure(source(u128::MAX), at(0.0));
        }
        for number in 0..SOURCES_MAX + 50 {
            gate.note_failure(source(number as u128), at(0.0));
            assert!(gate.failed.len() <= SOURCES_MAX);
        }
        assert!(!gate.admits(source(u128::MAX), at(0.5)));
        gate.note_failure(source(u128::MAX - 1), at(99.0));
        assert_eq!(gate.failed.len(), 1, "what is over is forgotten");
    }

    /// A machine is one source, whichever of its addresses it takes.
    #[test]
    fn sources_are_machines() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("10.0.0.7"), source("::ffff:10.0.0.7"));
        assert_ne!(source("10.0.0.7"), source("10.0.0.8"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}
