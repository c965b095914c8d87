//! Memory whose bytes come piece by piece, from somewhere else, until it is sealed.
//!
//! It may be less than all of the memory that comes; the rest is never looked at, and has no pages.
//! Nothing is allocated before its bytes are there: who announces much and sends little takes
//! little. It is mapped only when it is whole, so nobody sees a part of it.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};

use super::pages::{self, Access};
use super::room;
use super::sealed::Sealed;

/// After how many bytes it is looked again whether the rest finds room.
const LOOK_EVERY: usize = 64 << 20;

/// Memory that is being filled.
#[derive(Debug)]
pub(crate) struct Filling {
    file: File,
    len: usize,
    /// How many bytes are still to come.
    missing: usize,
    filled: usize,
    /// Where it is looked for room again.
    look_at: usize,
}

impl Filling {
    /// Memory of `len` bytes, of which those at `place` are to come.
    ///
    /// # Errors
    /// The system's: there is not so much memory, or no descriptor.
    ///
    /// # Panics
    /// When there is no such place.
    pub(crate) fn begin(len: usize, place: Range<usize>) -> io::Result<Self> {
        assert!(
            place.start <= place.end && place.end <= len,
            "it lies there"
        );
        room::check(place.len())?;
        let mut file = File::from(pages::create()?);
        file.set_len(len as u64)?;
        file.seek(SeekFrom::Start(place.start as u64))?;
        Ok(Self {
            file,
            len,
            missing: place.len(),
            filled: 0,
            look_at: LOOK_EVERY,
        })
    }

    /// How many bytes are still to come.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Takes in the next bytes, of which there are no more than are missing.
    ///
    /// # Errors
    /// The system's: others have taken the memory meanwhile.
    ///
    /// # Panics
    /// When there are more.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.len() <= self.missing, "more bytes than are to come");
        if self.filled >= self.look_at {
            room::check(self.missing)?;
            self.look_at += LOOK_EVERY;
        }
        self.file.write_all(bytes)?;
        self.filled += bytes.len();
        self.missing -= bytes.len();
        Ok(())
    }

    /// Makes it what nobody can change any more, when all of it is there.
    ///
    /// # Errors
    /// The system's: no room for a mapping.
    ///
    /// # Panics
    /// When bytes are missing.
    pub(crate) fn seal(self) -> io::Result<Sealed> {
        assert_eq!(self.missing, 0, "it is sealed when it is whole");
        let fd = OwnedFd::from(self.file);
        pages::seal(fd.as_fd(), Access::Read)?;
        Sealed::of(fd, self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Pieces of any length become one memory, which is sealed like any other; none at all, too.
    #[test]
    fn pieces_become_memory() {
        let bytes: Vec<u8> = (0..=250).cycle().take(100_000).collect();
        let mut filling = Filling::begin(bytes.len(), 0..bytes.len()).unwrap();
        for piece in [&bytes[..1], &bytes[1..70_000], &[], &bytes[70_000..]] {
            filling.append(piece).unwrap();
        }
        assert_eq!(filling.missing(), 0);
        let sealed = filling.seal().unwrap();
        assert_eq!(sealed.bytes(), bytes);
        let mut file = File::from(sealed.pages().as_fd().try_clone_to_owned().unwrap());
        let denied = file.write_all(&[1]).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        let nothing = Filling::begin(0, 0..0).unwrap().seal().unwrap();
        assert!(nothing.bytes().is_empty());
    }

    /// What no machine has is an error before anything is taken; what is only announced takes no
    /// memory.
    #[test]
    fn announced_is_not_allocated() {
        Filling::begin(1 << 60, 0..1 << 60).unwrap_err();
        let announced = Filling::begin(64 << 20, 0..64 << 20).unwrap();
        assert_eq!(announced.file.metadata().unwrap().blocks(), 0);
    }

    /// A part has its pages and no others, wherever it lies.
    #[test]
    fn parts_take_what_they_are() {
        let place = 7_000_001..7_010_000;
        let mut filling = Filling::begin(1 << 30, place.clone()).unwrap();
        assert_eq!(filling.missing(), place.len());
        filling.append(&vec![7; place.len()]).unwrap();
        assert!(filling.file.metadata().unwrap().blocks() * 512 <= 8 * 4096);
        let sealed = filling.seal().unwrap();
        assert_eq!(sealed.bytes().len(), 1 << 30);
        assert!(sealed.bytes()[place.clone()].iter().all(|byte| *byte == 7));
        assert_eq!(sealed.bytes()[place.end], 0);
    }
}
