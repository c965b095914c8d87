//! A pipe of numbers: what one process tells another at any time, read whenever that one looks.
//!
//! Small writes share the pipe's pages, so that some eight thousand numbers fit, where a socket
//! has room for a few hundred. Neither end ever waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, ioctl_fionbio};

const NUMBER_LEN: usize = 8;

/// The end that tells. It holds the other end too: to write when the peer is dead is no signal.
#[derive(Debug)]
pub(crate) struct Teller {
    writer: OwnedFd,
    reader: OwnedFd,
}

/// The end that hears.
#[derive(Debug)]
pub(crate) struct Hearer(OwnedFd);

impl Teller {
    /// A pipe with nothing in it.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor is free.
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        ioctl_fionbio(&reader, true)?;
        ioctl_fionbio(&writer, true)?;
        Ok(Self { writer, reader })
    }

    /// The hearing end, for the peer.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor is free.
    pub(crate) fn try_clone_reader(&self) -> io::Result<OwnedFd> {
        self.reader.try_clone()
    }

    /// Tells a number; false if there is no room.
    pub(crate) fn tell(&self, number: u64) -> bool {
        rustix::io::write(&self.writer, &number.to_ne_bytes()).is_ok()
    }
}

impl Hearer {
    /// An end that came over a lifeline.
    pub(crate) const fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Hands what was told since the last time to `hear`.
    pub(crate) fn hear(&self, mut hear: impl FnMut(u64)) {
        let mut bytes = [0; 64 * NUMBER_LEN];
        // As many rounds as a full pipe needs: a peer that tells on and on is heard the next time.
        for _ in 0..256 {
            let len = match rustix::io::read(self.0.as_fd(), &mut bytes) {
                Ok(len) => len,
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            // Written whole, so read whole.
            for number in bytes[..len].as_chunks::<NUMBER_LEN>().0 {
                hear(u64::from_ne_bytes(*number));
            }
            if len < bytes.len() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(hearer: &Hearer) -> Vec<u64> {
        let mut numbers = Vec::new();
        hearer.hear(|number| numbers.push(number));
        numbers
    }

    /// Numbers come once and in order; without room the teller is told so, and with room again not.
    #[test]
    fn numbers_are_heard_in_order() {
        let teller = Teller::new().unwrap();
        let hearer = Hearer::from_fd(teller.try_clone_reader().unwrap());
        assert!(heard(&hearer).is_empty());
        let told = (0..).take_while(|number| teller.tell(*number)).count() as u64;
        assert!(told >= 4096, "{told}");
        assert!(heard(&hearer).into_iter().eq(0..told));
        assert!(teller.tell(7));
        assert_eq!(heard(&hearer), [7]);
        drop(hearer);
        assert!(teller.tell(8), "no signal, though nobody hears");
    }
}
