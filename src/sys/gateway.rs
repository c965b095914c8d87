//! A gateway: a socket at which the processes of one family reach one that they did not start.
//!
//! ```text
//!  Gateway::open ── name ──> Gateway::enter      a lifeline between the two
//!       └ accept <── who has entered
//! ```
//!
//! Its name is abstract: it lies in no folder, and is gone with the last process that listens,
//! however that ended. It is no secret, and anybody may knock: what lets one in is known further
//! up. Who enters sees who opened the gateway, as the system knows it, before anything is said.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::random;
use super::socket::{Lifeline, Packet};

/// How many may wait to be let in.
const BACKLOG: i32 = 4096;

/// What all names begin with.
const PREFIX: &[u8] = b"callboard-";

/// The name of a gateway.
pub(crate) type Name = [u8; 16];

/// Who opened a gateway: the numbers of the process and of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opener {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

impl Opener {
    /// This process.
    pub(crate) fn here() -> Self {
        Self {
            pid: std::process::id(),
            uid: nix::unistd::geteuid().as_raw(),
        }
    }
}

fn address(name: &Name) -> io::Result<SocketAddrUnix> {
    let mut bytes = PREFIX.to_vec();
    bytes.extend(
        name.iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes()),
    );
    Ok(SocketAddrUnix::new_abstract_name(&bytes)?)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = AddressFamily::UNIX;
    Ok(rustix::net::socket_with(
        family,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Opens a gateway under a new name. It may be passed on: who has the descriptor listens.
///
/// # Errors
/// The system's: no descriptors are free.
pub(crate) fn open() -> io::Result<(OwnedFd, Name)> {
    let mut name = Name::default();
    random::fill(&mut name)?;
    let socket = socket()?;
    rustix::net::bind(&socket, &address(&name)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((socket, name))
}

/// The name of a gateway that was passed on.
///
/// # Errors
/// `InvalidData` when it is none; the system's.
pub(crate) fn name_of(socket: &OwnedFd) -> io::Result<Name> {
    let no_gateway = || io::Error::from(io::ErrorKind::InvalidData);
    let address = SocketAddrUnix::try_from(rustix::net::getsockname(socket)?)?;
    let bytes = address
        .abstract_name()
        .and_then(|name| name.strip_prefix(PREFIX));
    let digits = bytes.filter(|bytes| bytes.len() == 2 * size_of::<Name>());
    let text = std::str::from_utf8(digits.ok_or_else(no_gateway)?).map_err(|_| no_gateway())?;
    let name = u128::from_str_radix(text, 16).map_err(|_| no_gateway())?;
    Ok(name.to_be_bytes())
}

/// Who opened a gateway that was passed on.
///
/// # Errors
/// The system's.
pub(crate) fn opener_of(socket: &OwnedFd) -> io::Result<Opener> {
    // Of a socket that listens, these are those of who made it do so.
    let found = sockopt::socket_peercred(socket)?;
    Ok(Opener {
        pid: found.pid.as_raw_nonzero().get().cast_unsigned(),
        uid: found.uid.as_raw(),
    })
}

/// Enters the gateway of this name, if it is `opener`'s. Nothing waits.
///
/// # Errors
/// `ConnectionRefused` when nobody listens there, or somebody else; `WouldBlock` when too many wait
/// to be let in; the system's.
pub(crate) fn enter(name: &Name, opener: Opener) -> io::Result<Lifeline> {
    let socket = socket()?;
    let address = address(name)?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    if opener_of(&socket)? != opener {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(Lifeline::from(socket))
}

/// A gateway at which this process listens.
#[derive(Debug)]
pub(crate) struct Gateway(AsyncFd<OwnedFd>);

impl Gateway {
    /// What was [opened](open), here or elsewhere. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // SAFETY: the `OwnedFd` is open, moves into the `AsyncFd`, which never gives it out by
        // value or `&mut`, so it stays open and the same description until that is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// The next one who has entered.
    ///
    /// # Errors
    /// The system's; others may come all the same.
    ///
    /// # Cancel safety
    /// Nobody is lost.
    pub(crate) async fn accept(&self) -> io::Result<Lifeline> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |socket: &OwnedFd| match rustix::net::accept_with(socket, flags) {
            Err(Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            accepted => Ok(accepted?),
        };
        let accepted = self.0.async_io(Interest::READABLE, accept).await?;
        Ok(Lifeline::from(accepted))
    }
}

/// A lifeline whose packets are waited for.
#[derive(Debug)]
pub(crate) struct Listening(AsyncFd<Raw>);

/// What tokio asks for of a lifeline.
#[derive(Debug)]
struct Raw(Lifeline);

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Listening {
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn to(lifeline: Lifeline) -> io::Result<Self> {
        lifeline.set_nonblocking(true)?;
        let raw = Raw(lifeline);
        // SAFETY: the lifeline's `OwnedFd` is open, moves into the `AsyncFd`, which never gives it
        // out by value or `&mut`, so it stays open and the same description until that is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(raw, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Sends a packet, which does not wait.
    ///
    /// # Errors
    /// As [`Lifeline::send`].
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.get_ref().0.send(bytes, fds)
    }

    /// The next packet.
    ///
    /// # Errors
    /// As [`Lifeline::recv`].
    ///
    /// # Cancel safety
    /// No packet is lost.
    pub(crate) async fn recv(&self, buffer: &mut [u8]) -> io::Result<Packet> {
        let recv = |raw: &Raw| raw.0.recv(buffer);
        self.0.async_io(Interest::READABLE, recv).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    }

    /// Packets go to and fro; the end is heard; a name is gone with who listened.
    #[test]
    fn gateways_are_entered() {
        runtime().block_on(async {
            let (socket, name) = open().unwrap();
            let gateway = Gateway::of(socket).unwrap();
            let ours = enter(&name, Opener::here()).unwrap();
            let theirs = Listening::to(gateway.accept().await.unwrap()).unwrap();
            ours.send(b"one", &[ours.as_fd()]).unwrap();
            let mut buffer = [0; 8];
            let packet = theirs.recv(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..packet.len], packet.fds.len()), (&b"one"[..], 1));
            drop((packet, ours));
            assert_eq!(theirs.recv(&mut buffer).await.unwrap().len, 0);
            drop(gateway);
            let gone = enter(&name, Opener::here()).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    /// Who was let in by nobody is told so by the end, at whatever moment it looks; who was read
    /// hears of a plain end.
    #[test]
    fn the_end_tells_whether_anybody_read() {
        const ROUNDS: usize = 2000;

        let mut buffer = [0; 8];
        for round in 0..ROUNDS {
            let (socket, name) = open().unwrap();
            let ours = enter(&name, Opener::here()).unwrap();
            ours.set_nonblocking(true).unwrap();
            ours.send(b"enter", &[]).unwrap();
            let was_read = round % 2 == 0;
            let theirs = was_read.then(|| {
                let theirs = Lifeline::from(rustix::net::accept(&socket).unwrap());
                assert_eq!(theirs.recv(&mut buffer).unwrap().len, 5);
                theirs
            });
            let closing = std::thread::spawn(move || drop((socket, theirs)));
            let end = loop {
                match ours.recv(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    end => break end.unwrap(),
                }
            };
            assert_eq!((end.len, end.left_unread), (0, !was_read), "{round}");
            closing.join().unwrap();
        }
    }

    /// Somebody else's gateway is not entered, whoever has told its name.
    #[test]
    fn others_are_not_taken_for_it() {
        let (_socket, name) = open().unwrap();
        let other = Opener {
            pid: 1,
            ..Opener::here()
        };
        let refused = enter(&name, other).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
