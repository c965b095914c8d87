//! Sockets between strangers: TCP, and Unix sockets with a name.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{AddressFamily, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host};

use super::address::Address;
use super::gate::Source;
use super::unix::Socket;
use crate::sys::endpoint::Endpoint;

/// After how long without a byte the kernel asks whether the peer's machine is there. (The peer's
/// process is asked more often, by the beat of the records.)
const KEPT_ALIVE_AFTER: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) enum Wire {
    Tcp(TcpStream),
    Unix(Socket),
}

impl Wire {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEPT_ALIVE_AFTER)?;
        Ok(Self::Tcp(stream))
    }

    /// Says something short to somebody who is sent away at once.
    pub(crate) fn say_now(&self, bytes: &[u8]) {
        // Who is gone need not hear it.
        let _ = match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(socket) => socket.try_write(bytes),
        };
    }
}

/// Connects to `address`: to each place that its name stands for, until one answers.
///
/// # Errors
/// The system's, of the last place.
///
/// # Cancel safety
/// Dropped, there is no connection.
pub(crate) async fn dial(address: &Address) -> io::Result<Wire> {
    if let Some(path) = address.path() {
        return Ok(Wire::Unix(Socket(UnixStream::connect(path).await?)));
    }
    let host = address.host().unwrap_or_default();
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for place in lookup_host((host, address.port().unwrap_or_default())).await? {
        match TcpStream::connect(reachable(place)).await {
            Ok(stream) => return Wire::tcp(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Where an actor is reached that listens everywhere: here.
fn reachable(place: SocketAddr) -> SocketAddr {
    let ip = match place.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, place.port())
}

/// A socket that listens, before there is a runtime.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: BoundSocket,
    address: Address,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener, Endpoint),
}

impl Bound {
    /// Listens at `address`: at the first place that its name stands for and that is to be had.
    /// Looking the name up may block.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn listen(address: &Address) -> io::Result<Self> {
        if let Some(path) = address.path() {
            let (listener, endpoint) = Endpoint::bind(path)?;
            return Ok(Self {
                socket: BoundSocket::Unix(listener, endpoint),
                address: address.clone(),
            });
        }
        let host = address.host().unwrap_or_default();
        let place = (host, address.port().unwrap_or_default());
        let places: Vec<_> = place.to_socket_addrs()?.collect();
        let listener = StdTcpListener::bind(places.as_slice())?;
        let port = listener.local_addr()?.port();
        Ok(Self {
            socket: BoundSocket::Tcp(listener),
            address: address.clone().or_port(Some(port)),
        })
    }

    /// A copy of its socket.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            BoundSocket::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            BoundSocket::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Where it listens: as it was asked to, with the port that the system gave.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The same, to be waited for, and the name that is removed when it ends. Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(self) -> io::Result<(Listener, Option<Endpoint>)> {
        Ok(match self.socket {
            BoundSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                (Listener::Tcp(TcpListener::from_std(listener)?), None)
            }
            BoundSocket::Unix(listener, endpoint) => {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                (Listener::Unix(listener), Some(endpoint))
            }
        })
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// A copy of one that another process had. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(match sockopt::socket_domain(&socket)? {
            AddressFamily::UNIX => Self::Unix(UnixListener::from_std(socket.into())?),
            _ => Self::Tcp(TcpListener::from_std(socket.into())?),
        })
    }

    /// The next connection, and whose it is.
    ///
    /// # Errors
    /// The system's; others may come all the same.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<(Wire, Source)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Wire::tcp(stream)?, peer.ip().into()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Wire::Unix(Socket(stream)), Source::Here))
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection send at once what is written, and ask whether a machine is there
    /// that says nothing.
    #[tokio::test]
    async fn sockets_are_quick_and_watchful() {
        let address = "tcp://127.0.0.1:0".parse().unwrap();
        let bound = Bound::listen(&address).unwrap();
        let address = bound.address().clone();
        let (listener, _) = bound.open().unwrap();
        let (dialled, accepted) = tokio::join!(dial(&address), listener.accept());
        for wire in [dialled.unwrap(), accepted.unwrap().0] {
            let Wire::Tcp(stream) = wire else {
                panic!("it is TCP");
            };
            assert!(stream.nodelay().unwrap());
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEPT_ALIVE_AFTER);
        }
    }
}
