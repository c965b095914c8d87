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
use super::carried::Carried;
use super::gate::Source;
use crate::sys::endpoint::Endpoint;
use crate::sys::portable::Portable;

/// After how long without a byte the kernel asks whether the peer's machine is there. (The peer's
/// process is asked more often, by the beat of the records.)
const KEPT_ALIVE_AFTER: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire(Portable);

impl Wire {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEPT_ALIVE_AFTER)?;
        Ok(Self(Portable::new(stream.into_std()?.into())?))
    }

    fn unix(stream: UnixStream) -> io::Result<Self> {
        Ok(Self(Portable::new(stream.into_std()?.into())?))
    }

    /// One end of a connection that was made elsewhere.
    #[cfg(test)]
    pub(super) fn tcp_from(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::tcp(TcpStream::from_std(stream)?)
    }

    /// The same of a Unix socket.
    #[cfg(test)]
    pub(super) fn unix_from(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::unix(UnixStream::from_std(stream)?)
    }

    /// Says something short to somebody who is sent away at once.
    pub(crate) fn say_now(&self, bytes: &[u8]) {
        // Who is gone need not hear it.
        let _ = self.0.try_write(bytes);
    }
}

impl Carried for Wire {
    fn attach(&mut self) -> io::Result<()> {
        self.0.attach()
    }

    fn detach(&mut self) -> bool {
        self.0.detach();
        true
    }

    fn has_input(&self) -> bool {
        self.0.has_input()
    }

    fn cut(&self) {
        // One that cannot be reset, as between processes of one machine, is just closed.
        let _ = sockopt::set_socket_linger(self.0.descriptor(), Some(Duration::ZERO));
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
        return Wire::unix(UnixStream::connect(path).await?);
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
                Ok((Wire::unix(stream)?, Source::Here))
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
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
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
        for Wire(socket) in [dialled.unwrap(), accepted.unwrap().0] {
            let socket = socket.descriptor();
            assert!(sockopt::tcp_nodelay(socket).unwrap());
            assert!(sockopt::socket_keepalive(socket).unwrap());
            assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), KEPT_ALIVE_AFTER);
        }
    }
}
