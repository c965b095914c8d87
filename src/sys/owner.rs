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
            start_time: start_time("self")?,
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

    /// Whether this process is known to be gone. Of one in another namespace, or where /proc
    /// cannot be read, nothing is known.
    pub(crate) fn is_dead(self) -> bool {
        let visible = Self::current().is_ok_and(|current| current.namespace == self.namespace);
        visible && start_time(&self.pid.to_string()).ok() != Some(self.start_time)
    }
}

/// Digits only; `str::parse` would let a plus sign pass.
fn decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Field 22 of the process's `stat`, counted from behind its name, which may hold anything.
fn start_time(process: &str) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    stat.rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in its stat"))
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
            (start_time("thread-self"), start_time("self"))
        });
        let (thread, process) = shifted.join().unwrap();
        assert!(thread.unwrap() >= process.unwrap());
    }
}
