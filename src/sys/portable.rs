//! A connected socket that can be taken from one runtime to another.
//!
//! Each runtime waits for its sockets by an epoll of its own. A socket is attached to one of them,
//! or to none for a moment; whoever takes it on attaches it to the runtime in which that one runs.
//! What is there to be read by then is reported anew, so nothing is missed between the two.
//!
//! Sending raises no signal when the peer is gone, whatever the program does about SIGPIPE.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::socket::send_now;

/// A connected socket that does not block.
#[derive(Debug)]
pub(crate) struct Portable(Place);

#[derive(Debug)]
enum Place {
    Attached(AsyncFd<Arc<OwnedFd>>),
    Loose(Arc<OwnedFd>),
}

impl Portable {
    /// Attaches `socket` here.
    ///
    /// # Errors
    ///
    /// The system's: the socket cannot be watched, or the runtime is shutting down.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O driver.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let mut portable = Self(Place::Loose(Arc::new(socket)));
        portable.attach()?;
        Ok(portable)
    }

    /// Attaches it to the runtime in which this is called, if it is attached to none.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new); it is attached to none then, and may be to another one.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new); it is as it was then.
    pub(crate) fn attach(&mut self) -> io::Result<()> {
        let Place::Loose(socket) = &self.0 else {
            return Ok(());
        };
        let (socket, interest) = (Arc::clone(socket), Interest::READABLE | Interest::WRITABLE);
        // SAFETY: the `OwnedFd` is open, and nobody has it but in an `Arc`, of which the `AsyncFd`
        // keeps one, so it stays open and the same description until the `AsyncFd` is dropped; it
        // always answers `as_raw_fd` with its one descriptor.
        let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
        self.0 = Place::Attached(registered.map_err(|error| error.into_parts().1)?);
        Ok(())
    }

    /// Takes it out of its runtime, from any thread. Until it is attached again nobody is woken by
    /// it.
    pub(crate) fn detach(&mut self) {
        if let Place::Attached(attached) = &self.0 {
            self.0 = Place::Loose(Arc::clone(attached.get_ref()));
        }
    }

    /// Whether something could be read, the end included.
    pub(crate) fn has_input(&self) -> bool {
        let socket = self.descriptor();
        let mut asked = [PollFd::new(&socket, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Who cannot ask had better look.
        !poll(&mut asked, Some(&now)).is_ok_and(|found| found == 0)
    }

    /// Sends what there is room for.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; the system's.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        send_now(self.descriptor(), bytes)
    }

    /// The socket.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Place::Attached(attached) => attached.get_ref().as_fd(),
            Place::Loose(socket) => socket.as_fd(),
        }
    }
}

fn recv_now(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    let received = rustix::io::retry_on_intr(|| recv(socket, &mut *bytes, RecvFlags::DONTWAIT));
    let (len, _) = received?;
    Ok(len)
}

impl AsyncRead for Portable {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever attaches it looks again.
        let Place::Attached(attached) = &self.0 else {
            return Poll::Pending;
        };
        loop {
            let mut ready = ready!(attached.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match recv_now(attached.get_ref().as_fd(), room) {
                Ok(len) => {
                    // All was taken that was there; what comes later is another event, which the
                    // guard tells from this one. So nobody asks in vain.
                    if 0 < len && len < room.len() {
                        ready.clear_ready();
                    }
                    buf.advance(len);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Portable {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attached = match &self.0 {
            Place::Attached(attached) => attached,
            Place::Loose(socket) => {
                return match send_now(socket.as_fd(), buf) {
                    // Whoever attaches it tries again.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                    sent => Poll::Ready(sent),
                };
            }
        };
        loop {
            let mut ready = ready!(attached.poll_write_ready(cx))?;
            match send_now(attached.get_ref().as_fd(), buf) {
                // The socket was thought to have room; now it says when it has.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(self.descriptor(), Shutdown::Write)?))
    }
}
