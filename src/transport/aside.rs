//! What two processes of one machine tell each other beside a stream: at once, even by the dead.
//!
//! ```text
//!  caller ── cancels (a pipe of numbers) ──────────> server  heard before each call begins
//!         <─ tally (a sum that the kernel keeps) ──          how far it has read
//!         <─ last words (a packet) ────────────────          why it died
//! ```
//!
//! A stream alone is too slow for these: behind a cancel there are calls that must not begin, and
//! what a process had read when it died it can tell nobody any more.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys::numbers::{Hearer, Teller};
use crate::sys::socket::LastWords;
use crate::sys::tally::Tally;
use crate::wire::id::CallId;

/// How many descriptors the server is sent.
pub(crate) const FDS: usize = 4;

/// One side's ends.
#[derive(Debug)]
pub(crate) struct Aside {
    tally: Tally,
    cancels: Cancels,
    words: LastWords,
}

#[derive(Debug)]
enum Cancels {
    /// The caller's end.
    Told(Teller),
    /// The server's.
    Heard(Hearer),
}

impl Aside {
    /// The caller's side, and the server's descriptors.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(crate) fn pair() -> io::Result<(Self, [OwnedFd; FDS])> {
        let (tally, teller, words) = (Tally::new()?, Teller::new()?, LastWords::new()?);
        let [words_in, words_out] = words.try_clone_fds()?;
        let fds = [
            tally.try_clone_fd()?,
            teller.try_clone_reader()?,
            words_in,
            words_out,
        ];
        let cancels = Cancels::Told(teller);
        let aside = Self {
            tally,
            cancels,
            words,
        };
        Ok((aside, fds))
    }

    /// The server's side.
    pub(crate) fn from_fds([tally, cancels, words_in, words_out]: [OwnedFd; FDS]) -> Self {
        Self {
            tally: Tally::from_fd(tally),
            cancels: Cancels::Heard(Hearer::from_fd(cancels)),
            words: LastWords::from_fds([words_in, words_out]),
        }
    }

    /// Tells the server of a cancel, if there is room for it here.
    pub(crate) fn cancel(&self, call: CallId) {
        if let Cancels::Told(teller) = &self.cancels {
            teller.tell(call.bits());
        }
    }

    /// Hands over what was cancelled since the last time.
    pub(crate) fn hear_cancels(&self, cancel: &mut dyn FnMut(CallId)) {
        if let Cancels::Heard(hearer) = &self.cancels {
            hearer.hear(|number| cancel(CallId::from_bits(number)));
        }
    }

    /// The server's: it has read so many bytes more.
    pub(crate) fn note_read(&self, bytes: u64) {
        if let Cancels::Heard(_) = &self.cancels {
            self.tally.add(bytes);
        }
    }

    /// How much the server has read.
    pub(crate) fn read(&self) -> u64 {
        self.tally.sum()
    }

    /// Leaves words in place of earlier ones.
    pub(crate) fn leave_last_words(&self, words: &[u8]) {
        self.words.leave(words);
    }

    /// What was left, the first time that it is asked for.
    pub(crate) fn take_last_words(&self) -> Option<Vec<u8>> {
        self.words.take()
    }
}
