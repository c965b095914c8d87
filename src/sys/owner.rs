//! Who made a segment, as its name tells.
//!
//! The form is `callboard-<pid>-<start time>-<pid namespace>-<128 random bits>`: a pid alone
//! recurs, and means another process in another namespace that shares /dev/shm.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

/// What every name begins with.
const NAME_PREFIX: &str = "callboard";

/// The process that a name speaks of; the start time tells it from a later one of the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    /// In clock ticks since the machine's start.
    start_time: u64,
    /// The pid namespace's number, zero where it cannot be read.
    namespace: u64,
}

impl Owner {
    /// This process. Remembered, for looking it up costs as much as the rest of making a segment
    /// but its pages; after a fork it is looked up anew.
    ///
    /// # Errors
    ///
    /// The system's: there is no /proc.
    pub(crate) fn current() -> io::Result<Self> {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        match CURRENT.get() {
            Some(current) if current.pid == std::process::id() => Ok(*current),
            _ => Self::look_up().inspect(|current| {
                // A fork's is not remembered: the place is taken by that of the process before.
                let _ = CURRENT.set(*current);
            }),
        }
    }

    fn look_up() -> io::Result<Self> {
        let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |link| link.ino());
        Ok(Self {
            pid: std::process::id(),
            start_time: Stat::of("self")?.start_time,
            namespace,
        })
    }

    /// Who made `name`; `None` if it is not of our form.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        if parts.next() != Some(NAME_PREFIX) {
            return None;
        }
        let owner = Self {
            pid: decimal(parts.next()?)?.try_into().ok()?,
            start_time: decimal(parts.next()?)?,
            namespace: decimal(parts.next()?)?,
        };
        let random = parts.next()?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let well_formed = random.len() == 32 && random.bytes().all(is_hex);
        (well_formed && parts.next().is_none()).then_some(owner)
    }

    /// A new name of this owner.
    pub(crate) fn name(self, random: u128) -> String {
        let Self {
            pid,
            start_time,
            namespace,
        } = self;
        format!("{NAME_PREFIX}-{pid}-{start_time}-{namespace}-{random:032x}")
    }

    /// Whether this process is known to be gone, be it that nobody has reaped it. Of one in another
    /// namespace, or where /proc cannot be read, nothing is known.
    pub(crate) fn is_dead(self) -> bool {
        let visible = Self::current().is_ok_and(|current| current.namespace == self.namespace);
        let lives = |stat: Stat| stat.start_time == self.start_time && !stat.has_ended;
        visible && !Stat::of(&self.pid.to_string()).is_ok_and(lives)
    }
}

/// Digits only; `str::parse` would let a plus sign pass.
fn decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// What the kernel says of a process.
struct Stat {
    start_time: u64,
    /// All of it, and not its first thread alone.
    has_ended: bool,
}

impl Stat {
    /// Fields 3, 20 and 22 of its `stat`, counted from behind its name, which may hold anything
    /// (`proc_pid_stat(5)`).
    fn of(process: &str) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        Self::parse(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in its stat"))
    }

    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let threads: u64 = fields.nth(16)?.parse().ok()?;
        let start_time = fields.nth(1)?.parse().ok()?;
        let has_ended = ["Z", "X"].contains(&state) && threads <= 1;
        Some(Self {
            start_time,
            has_ended,
        })
    }
}

/// 128 bits that nobody can guess.
///
/// # Errors
///
/// The system's: there is no /dev/urandom.
pub(crate) fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn a_name_tells_its_owner() {
        // To and from a name; this process is alive, one with its pid and another start is not.
        let owner = Owner::current().unwrap();
        let name = owner.name(random().unwrap());
        assert_eq!(Owner::of(&name), Some(owner));
        assert_ne!(name, owner.name(random().unwrap()));
        assert!(!owner.is_dead());
        let start_time = owner.start_time + 1;
        let later = Owner {
            start_time,
            ..owner
        };
        assert!(later.is_dead());
        let namespace = owner.namespace + 1;
        assert!(!Owner { namespace, ..later }.is_dead());
    }

    #[test]
    fn a_process_name_cannot_shift_the_fields() {
        // The start time is read behind the last parenthesis.
        let shifted = std::thread::spawn(|| {
            crate::sys::process::set_title(") 1 2 3 (");
            let of = |process| Stat::of(process).unwrap().start_time;
            (of("thread-self"), of("self"))
        });
        let (thread, process) = shifted.join().unwrap();
        assert!(thread >= process);
    }

    #[test]
    fn who_is_not_reaped_is_dead() {
        // A process that has ended leaves nothing but its number, as long as nobody asks how.
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let owner = Owner {
            pid,
            start_time: Stat::of(&pid.to_string()).unwrap().start_time,
            ..Owner::current().unwrap()
        };
        assert!(!owner.is_dead());
        drop(child.stdin.take());
        let id = Id::Pid(Pid::from_raw(pid.cast_signed()));
        waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        assert!(owner.is_dead());
        child.wait().unwrap();
        assert!(owner.is_dead());
    }

    #[test]
    fn who_lives_without_its_first_thread_lives() {
        let stat = |state: &str, threads: u32| {
            format!("7 (a) b) {state} 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 42 0 0")
        };
        for (state, threads, has_ended) in [
            ("S", 1, false),
            ("Z", 1, true),
            ("Z", 2, false),
            ("X", 1, true),
        ] {
            let found = Stat::parse(&stat(state, threads)).unwrap();
            assert_eq!((found.start_time, found.has_ended), (42, has_ended));
        }
        assert!(Stat::parse("7 (a) S 1").is_none());
    }
}
