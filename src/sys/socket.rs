//! The lifeline: the socket between a process and the actor process that it has started.
//!
//! It carries few packets (hello, greeting, stop) and some descriptors, and stays open for life:
//! its end is the first sign of the peer's death. SOCK_SEQPACKET keeps the packets apart.
//!
//! A packet that does not fit is refused whole, and no descriptor that came with it stays open.
//! What the packets mean is known to `wire` and `node`.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg,
    send, sendmsg, socketpair,
};

/// The most descriptors in one packet.
const FDS_MAX: usize = 12;

/// One end of a socket pair that keeps packets apart.
#[derive(Debug)]
pub(crate) struct Lifeline(OwnedFd);

/// What `recv` found.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Bytes put into the buffer; zero when the peer is gone.
    pub(crate) len: usize,
    /// The descriptors that came along, closed on exec.
    pub(crate) fds: Vec<OwnedFd>,
    /// The peer is gone and has left packets of ours unread. The system tells so once; a
    /// [`next_len`](Lifeline::next_len) before this may have been told.
    pub(crate) left_unread: bool,
}

impl Lifeline {
    /// Both ends, closed on exec.
    ///
    /// # Errors
    ///
    /// The system's: no descriptors are free.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok((Self(ours), Self(theirs)))
    }

    /// Sends one packet, whole or not at all, with copies of `fds`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an empty packet, which would look like the end, and for more than eight
    /// descriptors; the system's: the peer is gone, the queue is full, the packet too long.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an empty packet",
            ));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many descriptors",
            ));
        }
        let bytes = [io::IoSlice::new(bytes)];
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &bytes, &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Takes the next packet; `len` is zero when the peer is gone and its packets are taken.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a packet that is longer than `buffer` or has lost descriptors on its way
    /// (too many, or none free here): it is gone, its descriptors are closed. `WouldBlock` when
    /// nothing is there in time.
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<Packet> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut left_unread = false;
        let received = loop {
            let mut parts = [io::IoSliceMut::new(buffer)];
            match recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                // A peer that died with packets of ours unread leaves this behind, once, in front
                // of the packets that it still had sent.
                Err(Errno::CONNRESET) => left_unread = true,
                result => break result?,
            }
        };
        if received.bytes == 0 {
            // The system looks for that before it looks for the end: it may have come in between.
            left_unread |= sockopt::socket_error(&self.0) == Ok(Err(Errno::CONNRESET));
        }
        // All of them are taken before anything is refused: what is dropped is closed.
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a truncated packet",
            ));
        }
        Ok(Packet {
            len: received.bytes,
            fds,
            left_unread,
        })
    }

    /// Waits for the next packet, and tells how long it is; zero when the peer is gone. A buffer
    /// for the longest possible one would cost a child a quarter of its own memory.
    ///
    /// # Errors
    ///
    /// The system's; `WouldBlock` when nothing is there in time.
    pub(crate) fn next_len(&self) -> io::Result<usize> {
        loop {
            // With TRUNC the system tells the whole length, and with PEEK the packet stays.
            match recv(&self.0, &mut [0; 0], RecvFlags::PEEK | RecvFlags::TRUNC) {
                Err(Errno::INTR | Errno::CONNRESET) => {}
                result => break Ok(result?.1),
            }
        }
    }

    /// Whether `send` and `recv` return at once instead of waiting.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, nonblocking)?)
    }

    /// How long a `recv` waits; `None` is for ever.
    ///
    /// # Errors
    ///
    /// The system's; a zero duration is `InvalidInput`.
    pub(crate) fn set_receive_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(
            &self.0,
            Timeout::Recv,
            timeout,
        )?)
    }

    /// How long a `send` waits for room before it fails.
    ///
    /// # Errors
    ///
    /// The system's; a zero duration is `InvalidInput`.
    pub(crate) fn set_send_timeout(&self, timeout: Duration) -> io::Result<()> {
        let (which, timeout) = (Timeout::Send, Some(timeout));
        Ok(sockopt::set_socket_timeout(&self.0, which, timeout)?)
    }

    /// The user who made the pair.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn peer_uid(&self) -> io::Result<u32> {
        Ok(sockopt::socket_peercred(&self.0)?.uid.as_raw())
    }

    /// The process that made the pair: for both ends the parent.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn peer_pid(&self) -> io::Result<u32> {
        Ok(sockopt::socket_peercred(&self.0)?
            .pid
            .as_raw_nonzero()
            .get()
            .cast_unsigned())
    }

    /// The descriptor, to be watched.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Last words: a packet that a process leaves behind, the last one only.
///
/// Whoever leaves it holds both ends, and takes an earlier one away before.
#[derive(Debug)]
pub(crate) struct LastWords {
    in_end: OwnedFd,
    out_end: OwnedFd,
}

impl LastWords {
    /// The longest packet; longer ones are cut.
    pub(crate) const LEN_MAX: usize = 4096;

    /// A place without words.
    ///
    /// # Errors
    ///
    /// The system's: no descriptors are free.
    pub(crate) fn new() -> io::Result<Self> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (in_end, out_end) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok(Self { in_end, out_end })
    }

    /// A place that came over a lifeline.
    pub(crate) fn from_fds([in_end, out_end]: [OwnedFd; 2]) -> Self {
        Self { in_end, out_end }
    }

    /// The same place, for the peer.
    ///
    /// # Errors
    ///
    /// The system's: no descriptors are free.
    pub(crate) fn try_clone_fds(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.in_end.try_clone()?, self.out_end.try_clone()?])
    }

    /// Leaves `words` in place of those that were left before.
    pub(crate) fn leave(&self, words: &[u8]) {
        self.take();
        let words = &words[..words.len().min(Self::LEN_MAX)];
        // Without room or peer there is nobody to be told: this process is dying.
        let _ = send_now(self.in_end.as_fd(), words);
    }

    /// The words that were left, if any; they are gone then.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut words = None;
        // Bounded: a peer could leave on and on.
        for _ in 0..64 {
            let mut bytes = vec![0; Self::LEN_MAX];
            let received = rustix::io::retry_on_intr(|| {
                recv(&self.out_end, &mut bytes[..], RecvFlags::DONTWAIT)
            });
            match received {
                Ok((len, _)) if len > 0 => {
                    bytes.truncate(len);
                    words = Some(bytes);
                }
                _ => break,
            }
        }
        words
    }
}

/// Sends bytes without waiting and without a signal when the peer is gone.
///
/// # Errors
///
/// `WouldBlock` when there is no room; the system's.
pub(crate) fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::io::retry_on_intr(|| send(socket, bytes, flags));
    Ok(sent?)
}

impl From<OwnedFd> for Lifeline {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Lifeline> for OwnedFd {
    fn from(lifeline: Lifeline) -> Self {
        lifeline.0
    }
}

/// The lifeline that this process was started with: its standard input, which is /dev/null after.
///
/// # Errors
///
/// `InvalidData` if standard input is no such socket (somebody else has set the mark), and it
/// stays as it was; the system's.
pub(crate) fn from_stdin() -> io::Result<Lifeline> {
    let stdin = io::stdin();
    let is_lifeline = sockopt::socket_domain(stdin.as_fd()) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(stdin.as_fd()) == Ok(SocketType::SEQPACKET);
    if !is_lifeline {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "standard input is no lifeline",
        ));
    }
    let null = File::open("/dev/null")?;
    // Closed on exec, and above the three standard ones.
    let lifeline = stdin.as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(null)?;
    Ok(Lifeline(lifeline))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;

    use super::*;
    use crate::sys::again;
    use crate::sys::process::{self, Exit};

    #[test]
    fn packets_arrive_whole_and_in_order_then_the_end() {
        // The end comes after the last packet, also for a peer that died with unread packets.
        let (ours, theirs) = Lifeline::pair().unwrap();
        ours.send(b"unread", &[]).unwrap();
        theirs.send(b"one", &[]).unwrap();
        theirs.send(b"three", &[]).unwrap();
        drop(theirs);
        let mut buffer = [0; 16];
        for expected in [&b"one"[..], b"three", b"", b""] {
            assert_eq!(ours.next_len().unwrap(), expected.len());
            let packet = ours.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..packet.len], expected);
        }
        assert_eq!(
            ours.send(b"late", &[]).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn descriptors_travel_closed_on_exec() {
        // A pipe's end is sent, closed here, and used through the copy.
        let (ours, theirs) = Lifeline::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        ours.send(b"x", &[writer.as_fd(), writer.as_fd()]).unwrap();
        drop(writer);
        let mut packet = theirs.recv(&mut [0; 8]).unwrap();
        assert_eq!((packet.len, packet.fds.len()), (1, 2));
        for fd in &packet.fds {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        rustix::io::write(packet.fds.pop().unwrap(), b"hi").unwrap();
        drop(packet);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_its_descriptors_are_closed() {
        // A long packet, too many descriptors, an empty packet.
        let (ours, theirs) = Lifeline::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        ours.send(b"too long", &[writer.as_fd()]).unwrap();
        let error = theirs.recv(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // More than we accept, as a foreign program may send them.
        let many = [writer.as_fd(); FDS_MAX + 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX + 4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        let bytes = [io::IoSlice::new(b"x")];
        sendmsg(ours.as_fd(), &bytes, &mut control, SendFlags::empty()).unwrap();
        let error = theirs.recv(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        for refused in [ours.send(b"x", &many), ours.send(b"", &[])] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        drop(writer);
        assert_eq!(
            reader.read(&mut [0; 1]).unwrap(),
            0,
            "no copy of the pipe is open"
        );
    }

    #[test]
    fn waiting_is_bounded_where_asked() {
        // Non-blocking, and with a timeout; and the peer is ourselves.
        let (ours, _theirs) = Lifeline::pair().unwrap();
        ours.set_receive_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        assert_eq!(
            ours.recv(&mut [0; 4]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        ours.set_receive_timeout(None).unwrap();
        ours.set_nonblocking(true).unwrap();
        assert_eq!(
            ours.recv(&mut [0; 4]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(ours.peer_pid().unwrap(), std::process::id());
        assert_eq!(ours.peer_uid().unwrap(), nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn the_last_of_all_words_stays() {
        // Left through one pair of descriptors, found through another, cut to the room there is.
        let ours = LastWords::new().unwrap();
        let theirs = LastWords::from_fds(ours.try_clone_fds().unwrap());
        assert_eq!(ours.take(), None);
        for round in 0..1000 {
            theirs.leave(format!("{round}").as_bytes());
        }
        assert_eq!(ours.take().unwrap(), b"999");
        assert_eq!(ours.take(), None);
        theirs.leave(&[7; 2 * LastWords::LEN_MAX]);
        drop(theirs);
        assert_eq!(ours.take().unwrap(), [7; LastWords::LEN_MAX]);
    }

    #[test]
    fn a_child_takes_the_lifeline_from_its_stdin() {
        // The child answers over it, and its standard input is /dev/null then.
        if again::role().as_deref() == Some("child") {
            let lifeline = from_stdin().unwrap();
            let stdin = fs::read_link("/proc/self/fd/0").unwrap();
            lifeline
                .send(stdin.to_str().unwrap().as_bytes(), &[])
                .unwrap();
            let refused = from_stdin().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
            process::exit_now(7);
        }
        let (ours, theirs) = Lifeline::pair().unwrap();
        let mut launch = process::tests::plain("/proc/self/exe", theirs);
        launch.args = again::args(module_path!(), "a_child_takes_the_lifeline_from_its_stdin");
        launch.env = again::env("child");
        let mut child = process::launch(launch).unwrap();
        let mut buffer = [0; 64];
        let packet = ours.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..packet.len], b"/dev/null");
        assert_eq!(ours.recv(&mut buffer).unwrap().len, 0);
        assert_eq!(process::tests::reap(&mut child), Exit::Code(7));
    }
}
