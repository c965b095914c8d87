//! Failpoints: named lines at which a test can kill or stop the process.
//!
//! `CALLBOARD_FAILPOINT="callee.recv.before=KILL@3"` raises SIGKILL when the process passes the
//! point `callee.recv.before` for the third time; without `@3`, the first time. The signals are
//! KILL, STOP, SEGV and ABRT. The variable is read once. Without the feature `failpoints` nothing
//! of this is compiled, and [`at`] is an empty inline function.

#[cfg(feature = "failpoints")]
pub(crate) use self::armed::at;

/// Marks a point; does nothing, as the feature `failpoints` is off.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn at(_point: &str) {}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::{Mutex, OnceLock, PoisonError};

    use crate::sys::process;

    /// What the environment asks for.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Failpoint {
        pub(super) point: String,
        pub(super) signal: i32,
        /// Passages until it strikes, this one included.
        pub(super) passages: u32,
    }

    impl Failpoint {
        /// Reads `point=SIGNAL[@passage]`.
        pub(super) fn parse(text: &str) -> Option<Self> {
            let (point, action) = text.split_once('=')?;
            let (signal, passages) = action.split_once('@').unwrap_or((action, "1"));
            let signal = match signal {
                "KILL" => libc::SIGKILL,
                "STOP" => libc::SIGSTOP,
                "SEGV" => libc::SIGSEGV,
                "ABRT" => libc::SIGABRT,
                _ => return None,
            };
            let passages = passages.parse().ok().filter(|&passages| passages > 0)?;
            Some(Self {
                point: point.to_owned(),
                signal,
                passages,
            })
        }

        /// Counts a passage, and says whether it is the one.
        pub(super) fn pass(&mut self, point: &str) -> bool {
            if point != self.point || self.passages == 0 {
                return false;
            }
            self.passages -= 1;
            self.passages == 0
        }
    }

    /// Marks a point; the process may end or stop here, if its environment asks for it.
    pub(crate) fn at(point: &str) {
        static ARMED: OnceLock<Option<Mutex<Failpoint>>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| {
            let text = std::env::var("CALLBOARD_FAILPOINT").ok()?;
            let failpoint = Failpoint::parse(&text);
            assert!(
                failpoint.is_some(),
                "CALLBOARD_FAILPOINT={text} is not point=SIGNAL@passage"
            );
            failpoint.map(Mutex::new)
        });
        let Some(failpoint) = armed else { return };
        let mut failpoint = failpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = failpoint.pass(point).then_some(failpoint.signal);
        drop(failpoint);
        if let Some(signal) = signal {
            process::raise(signal).expect("the four signals exist");
        }
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::armed::{Failpoint, at};
    use crate::sys::again;
    use crate::sys::process::{self, Exit};
    use crate::sys::socket::Lifeline;

    #[test]
    fn settings_are_read_strictly() {
        // What cannot be meant is refused.
        let read = Failpoint::parse("a.b=STOP@3").unwrap();
        assert_eq!(
            (read.point.as_str(), read.signal, read.passages),
            ("a.b", libc::SIGSTOP, 3)
        );
        assert_eq!(Failpoint::parse("a=KILL").unwrap().passages, 1);
        for text in ["", "a", "a=TERM", "a=KILL@", "a=KILL@0", "a=KILL@x"] {
            assert_eq!(Failpoint::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_asked_passage_kills() {
        // Two passages of the point and any of others are survived, the third is not.
        const TEST: &str = "the_asked_passage_kills";
        if let Some(passages) = again::role() {
            (0..passages.parse().unwrap()).for_each(|_| at("here"));
            at("elsewhere");
            process::exit_now(0);
        }
        let killed = Exit::Signal {
            number: libc::SIGKILL,
            core_dumped: false,
        };
        for (passages, exit) in [("2", Exit::Code(0)), ("3", killed)] {
            let (_ours, theirs) = Lifeline::pair().unwrap();
            let mut launch = process::tests::plain("/proc/self/exe", theirs);
            launch.args = again::args(module_path!(), TEST);
            launch.env = again::env(passages);
            launch
                .env
                .push(("CALLBOARD_FAILPOINT".into(), "here=KILL@3".into()));
            let mut child = process::launch(launch).unwrap();
            assert_eq!(process::tests::reap(&mut child), exit);
        }
    }
}
