//! The wish of somebody outside that this process end: SIGTERM.
//!
//! Heard on a thread of one's own ([`Wait`]), and not by the runtime: a method that lets nobody run
//! does not keep the process from ending. The handler does what one may do: it notes, and rings.
//! Handlers that are installed later, as tokio's, call this one as well.

use std::ffi::c_int;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys::doorbell::Doorbell;
use crate::sys::process::{exit_now, ignores};
use crate::sys::socket::Lifeline;

/// The exit code of a process that has ended by this wish: what a shell says of the signal.
pub(crate) const TERMINATED_CODE: i32 = 128 + libc::SIGTERM;

/// Rung by the handler.
static BELL: OnceLock<Doorbell> = OnceLock::new();

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn asked(_: c_int) {
    // Relaxed: it counts, and publishes nothing.
    if ASKED.swap(true, Ordering::Relaxed) {
        // Whoever asks twice is in a hurry.
        exit_now(TERMINATED_CODE);
    }
    if let Some(bell) = BELL.get() {
        bell.ring();
    }
}

/// Waits for what a parent says and for the wish.
#[derive(Debug)]
pub(crate) struct Wait {
    bell: Option<&'static Doorbell>,
}

/// What came of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The parent says something, or is gone.
    Parent,
    /// The process is to end; told once.
    Wish,
    /// The time is over.
    Late,
}

impl Wait {
    /// Begins to hear the wish, unless this process ignores the signal: then it was told to.
    ///
    /// # Errors
    /// The system's: no descriptor is free.
    pub(crate) fn begin() -> io::Result<Self> {
        if ignores(libc::SIGTERM) {
            return Ok(Self { bell: None });
        }
        let new = Doorbell::new()?;
        let bell = BELL.get_or_init(|| new);
        let action = SigAction::new(
            SigHandler::Handler(asked),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler reads and writes atomics, writes to a descriptor that is never
        // closed by a raw system call, which leaves `errno` alone, or ends the process: all of it
        // may be done at any moment.
        unsafe { sigaction(Signal::SIGTERM, &action) }?;
        Ok(Self { bell: Some(bell) })
    }

    /// The next of these; once the time is over, always that.
    pub(crate) fn next(&mut self, parent: &Lifeline, until: Option<Instant>) -> Heard {
        let mut watched = vec![PollFd::from_borrowed_fd(parent.as_fd(), PollFlags::IN)];
        if let Some(bell) = self.bell {
            let bell = bell.as_fd();
            watched.push(PollFd::from_borrowed_fd(bell, PollFlags::IN));
        }
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Heard::Late;
            }
            // What is longer than a system can say is no bound.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            // Another error is what receiving from the parent will say better.
            match poll(&mut watched, left.as_ref()) {
                Err(Errno::INTR) => continue,
                Err(_) => return Heard::Parent,
                Ok(_) => {}
            }
            let is_asked = watched
                .get(1)
                .is_some_and(|bell| !bell.revents().is_empty());
            if is_asked {
                self.bell = None;
                return Heard::Wish;
            }
            if left.is_none() || !watched[0].revents().is_empty() {
                return Heard::Parent;
            }
        }
    }
}
