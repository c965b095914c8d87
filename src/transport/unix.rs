//! A link over a Unix stream socket between two processes of one machine.
//!
//! It is what is left where shared memory cannot be had. The caller makes it, and sends the
//! server's descriptors over the lifeline.

use std::future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle};

use super::aside::{self, Aside};
use super::board::{Geometry, Side};
use super::carried::Carried;
use super::stream::{Laid, Pumping, lay};
use crate::sys::socket::send_now;

/// How many descriptors the server is sent.
pub(crate) const FDS: usize = 1 + aside::FDS;

/// One end of a socket, and what goes beside it.
#[derive(Debug)]
pub(crate) struct Plug {
    stream: StdStream,
    aside: Aside,
    side: Side,
}

impl Plug {
    /// The caller's end, and the server's descriptors.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(crate) fn pair() -> io::Result<(Self, Vec<OwnedFd>)> {
        let (stream, theirs) = StdStream::pair()?;
        let (aside, fds) = Aside::pair()?;
        let ours = Self {
            stream,
            aside,
            side: Side::Caller,
        };
        let theirs = std::iter::once(OwnedFd::from(theirs));
        Ok((ours, theirs.chain(fds).collect()))
    }

    /// The server's end, of the descriptors that it was sent.
    pub(crate) fn from_fds(fds: [OwnedFd; FDS]) -> Self {
        let [stream, aside @ ..] = fds;
        Self {
            stream: stream.into(),
            aside: Aside::from_fds(aside),
            side: Side::Server,
        }
    }

    /// Begins to carry records.
    ///
    /// # Errors
    /// The system's: no thread, no descriptors.
    pub(crate) fn lay(self, geometry: Geometry) -> io::Result<(Laid, Pumping)> {
        let pumps = pumps()?;
        self.lay_on(&pumps, geometry)
    }

    /// The same in a runtime that is there.
    pub(crate) fn lay_on(
        self,
        runtime: &Handle,
        geometry: Geometry,
    ) -> io::Result<(Laid, Pumping)> {
        let Self {
            stream,
            aside,
            side,
        } = self;
        stream.set_nonblocking(true)?;
        let entered = runtime.enter();
        let stream = Socket(UnixStream::from_std(stream)?);
        drop(entered);
        Ok(lay(stream, (geometry, side), Some(aside), runtime))
    }
}

/// Where the records of this process's sockets are carried: a runtime on a thread of its own, for
/// the life of the process. The users' runtimes may be busy, or end, before what they have sent is
/// out.
///
/// # Errors
/// The system's: no thread, no descriptors.
pub(crate) fn pumps() -> io::Result<Handle> {
    static PUMPS: Mutex<Option<Handle>> = Mutex::new(None);
    let mut pumps = PUMPS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*pumps {
        return Ok(handle.clone());
    }
    let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
    let handle = runtime.handle().clone();
    let on_thread = Arc::clone(&runtime);
    let started = thread::Builder::new()
        .name("callboard-links".to_owned())
        .spawn(move || on_thread.block_on(future::pending::<()>()));
    if let Err(error) = started {
        // We may be within another runtime, where dropping this one, which waits, is a panic.
        if let Some(runtime) = Arc::into_inner(runtime) {
            runtime.shutdown_background();
        }
        return Err(error);
    }
    *pumps = Some(handle.clone());
    Ok(handle)
}

/// A socket that raises no signal when the peer is gone, whatever the program does about SIGPIPE.
struct Socket(UnixStream);

impl Carried for Socket {}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.get_mut().0;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let send = || send_now(stream.as_fd(), buf);
            match stream.try_io(Interest::WRITABLE, send) {
                // The socket was thought to have room; now it says when it has.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
