//! A limited number of places among the processes of one family, which nobody has to give back.
//!
//! The places are the bytes of a file without a name. To take one is to lock its byte through an
//! opening of the file that goes on to the process whose place it is; the system gives the lock
//! up when that process is gone, however it ended. The file goes down the family with each place,
//! so that a child takes places for its own children out of the same number.
//!
//! This file does not know what the processes do.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// The places of a family.
#[derive(Debug)]
pub(crate) struct Places {
    /// Any opening of the file.
    file: File,
    count: u64,
}

/// One of them: an opening of the file that holds a lock. Free when its last copy is closed.
#[derive(Debug)]
pub(crate) struct Place(OwnedFd);

/// There is none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many there are.
    pub(crate) count: u64,
}

impl Places {
    /// The places of a new family.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor, no memory.
    pub(crate) fn new(count: u64) -> io::Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"callboard-places", flags)?);
        file.set_len(count)?;
        let sealed = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
        fcntl(&file, FcntlArg::F_ADD_SEALS(sealed | SealFlag::F_SEAL_SEAL))?;
        Ok(Self { file, count })
    }

    /// The places of the family in which this one was taken.
    ///
    /// # Errors
    ///
    /// The system's; `InvalidData` if it is no place.
    pub(crate) fn of(place: OwnedFd) -> io::Result<Self> {
        let file = File::from(place);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let count = metadata.len();
        Ok(Self { file, count })
    }

    /// Takes one, if one is free.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor.
    pub(crate) fn take(&self) -> io::Result<Result<Place, Taken>> {
        // A lock belongs to an opening, and a copy of a descriptor is none.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let opened = File::options().read(true).write(true).open(path)?;
        // Each process begins elsewhere and goes on from there: the first try is mostly free.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let begin = u64::from(std::process::id()).wrapping_mul(61);
        let begin = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        for at in 0..self.count {
            let byte = begin.wrapping_add(at) % self.count;
            let lock = libc::flock {
                l_type: WRITE,
                l_whence: FROM_START,
                l_start: i64::try_from(byte).unwrap_or(i64::MAX),
                l_len: 1,
                l_pid: 0,
            };
            match fcntl(&opened, FcntlArg::F_OFD_SETLK(&lock)) {
                Ok(_) => return Ok(Ok(Place(opened.into()))),
                Err(Errno::EAGAIN | Errno::EACCES) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Err(Taken { count: self.count }))
    }
}

/// The lock that only one opening can have.
#[expect(clippy::cast_possible_truncation, reason = "1")]
const WRITE: i16 = libc::F_WRLCK as i16;
/// Where bytes are counted from.
#[expect(clippy::cast_possible_truncation, reason = "0")]
const FROM_START: i16 = libc::SEEK_SET as i16;

impl From<Place> for OwnedFd {
    fn from(place: Place) -> Self {
        place.0
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// A place that is free, or is about to be: what another test starts meanwhile has copies of
    /// all descriptors, until it becomes another program.
    fn awaited(places: &Places) -> Place {
        let hangs_at = Instant::now() + Duration::from_secs(20);
        loop {
            match places.take().unwrap() {
                Ok(place) => return place,
                Err(taken) => assert!(Instant::now() < hangs_at, "{taken:?} for 20 s"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// As many as there are can be had, and each again once it was let go; a family is one however
    /// one came to it.
    #[test]
    fn places_are_limited() {
        let places = Places::new(5).unwrap();
        let mut taken: Vec<Place> = (0..5).map(|_| awaited(&places)).collect();
        assert_eq!(places.take().unwrap().unwrap_err(), Taken { count: 5 });
        let copy = taken[2].0.try_clone().unwrap();
        let below = Places::of(copy).unwrap();
        assert_eq!(below.take().unwrap().unwrap_err(), Taken { count: 5 });
        drop(taken.pop());
        taken.push(awaited(&below));
        assert!(places.take().unwrap().is_err());
        // The copy above still holds the third one.
        drop(taken);
        let again: Vec<_> = (0..4).map(|_| awaited(&places)).collect();
        assert!(places.take().unwrap().is_err());
        drop((again, below));
        let all: Vec<_> = (0..5).map(|_| awaited(&places)).collect();
        assert_eq!(all.len(), 5);
    }

    /// A place is free when the process that has it is gone, also if that was killed.
    #[test]
    fn the_dead_have_no_place() {
        let places = Places::new(1).unwrap();
        for _ in 0..3 {
            let place = awaited(&places);
            let mut child = Command::new("sleep")
                .arg("1000")
                .stdin(Stdio::from(OwnedFd::from(place)))
                .spawn()
                .unwrap();
            assert!(places.take().unwrap().is_err(), "the child has it");
            child.kill().unwrap();
            child.wait().unwrap();
            drop(awaited(&places));
        }
    }

    /// What is no place is refused.
    #[test]
    fn other_descriptors_are_refused() {
        for path in ["/dev/null", "/tmp", "/proc/self/mem"] {
            let other = File::open(path).unwrap();
            assert!(Places::of(other.into()).is_err(), "{path}");
        }
    }
}
