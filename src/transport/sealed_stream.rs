//! A stream whose bytes travel sealed, and which ends when the peer is silent.
//!
//! ```text
//!  Conduit ── bytes ──> Sealed ── records ──> socket ──> Sealed ── bytes ──> Conduit
//!                         └─ an empty record every two seconds in which nothing else went
//! ```
//!
//! A peer whose machine vanished says nothing any more, not even that. Five such times in a row
//! without a byte, or with bytes that it does not take, are its end. They are counted and not
//! measured: a process that was itself asleep meanwhile blames nobody for it.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::carried::Carried;
use super::noise::{NoiseError, PLAIN_LEN_MAX, PREFIX_LEN, RECORD_LEN_MAX, Records, TAG_LEN};

/// How often a side that has nothing to say says so.
const BEAT: Duration = Duration::from_secs(2);

/// After how many beats without a byte the peer is given up: ten seconds.
const SILENT_MAX: u32 = 5;

/// A stream whose bytes travel in records.
pub(crate) struct Sealed<S> {
    stream: S,
    records: Records,
    /// What has come and was not opened: `input[begin..end]`.
    input: Box<[u8]>,
    begin: usize,
    end: usize,
    /// What was opened and not taken, from `taken` on.
    plain: Vec<u8>,
    taken: usize,
    /// What was sealed and not written, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// How many of the owner's bytes are in `output`.
    accepted: usize,
    pulse: Pulse,
}

/// Whether both sides are still there.
struct Pulse {
    /// Made once, and set again.
    clock: Pin<Box<Sleep>>,
    /// Since the last beat something came.
    has_heard: bool,
    /// Since the last beat the socket took something.
    has_said: bool,
    /// How many beats in a row nothing came.
    silent: u32,
    /// How many beats in a row something waited to go out and nothing did.
    stuck: u32,
}

impl<S> Sealed<S> {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(stream: S, records: Records) -> Self {
        Self {
            stream,
            records,
            input: vec![0; PREFIX_LEN + RECORD_LEN_MAX].into(),
            begin: 0,
            end: 0,
            plain: Vec::new(),
            taken: 0,
            output: Vec::new(),
            written: 0,
            accepted: 0,
            pulse: Pulse {
                clock: Box::pin(sleep(BEAT)),
                has_heard: false,
                has_said: false,
                silent: 0,
                stuck: 0,
            },
        }
    }

    /// The next record without its prefix, if it is there whole.
    ///
    /// # Errors
    /// When it is none.
    fn next_record(&self) -> io::Result<Option<(usize, usize)>> {
        let input = &self.input[self.begin..self.end];
        let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len < TAG_LEN {
            return Err(damaged(NoiseError::Refused));
        }
        let at = self.begin + PREFIX_LEN;
        Ok((rest.len() >= len).then_some((at, at + len)))
    }

    /// Opens the next record into `buf`, or as much of it as there is room for. False: more has to
    /// come.
    fn open_next(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let Some((at, end)) = self.next_record()? else {
            return Ok(false);
        };
        self.begin = end;
        let record = &self.input[at..end];
        let len = record.len() - TAG_LEN;
        if buf.remaining() >= len {
            let room = buf.initialize_unfilled_to(len);
            self.records.open(record, room).map_err(damaged)?;
            buf.advance(len);
            return Ok(true);
        }
        self.plain.resize(len, 0);
        self.taken = 0;
        let opened = self.records.open(record, &mut self.plain);
        if let Err(error) = opened {
            self.plain.clear();
            return Err(damaged(error));
        }
        self.hand_on(buf);
        Ok(true)
    }

    /// Gives what was opened before.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.plain[self.taken..];
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.taken += len;
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sealed<S> {
    /// Reads from the socket, once. False: nothing comes any more.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.begin > 0 {
            self.input.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        let mut room = ReadBuf::new(&mut self.input[self.end..]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        let len = room.filled().len();
        self.end += len;
        self.pulse.has_heard = true;
        match (len, self.end) {
            (0, 0) => Poll::Ready(Ok(false)),
            // In the midst of a record.
            (0, _) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(true)),
        }
    }

    /// Writes what was sealed.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.written += len,
            }
            self.pulse.has_said = true;
        }
        self.output.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Does what the clock asks for.
    ///
    /// # Errors
    /// The peer is gone without a word.
    fn keep_beat(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.pulse.clock.as_mut().poll(cx).is_ready() {
            self.pulse.clock.as_mut().reset(Instant::now() + BEAT);
            let is_waiting = self.written < self.output.len();
            if self.pulse.beat(is_waiting) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !self.pulse.has_said && !is_waiting {
                self.records.seal(&[], &mut self.output).map_err(damaged)?;
                if let Poll::Ready(written) = self.poll_output(cx) {
                    written?;
                }
            }
            self.pulse.has_said = false;
        }
        Ok(())
    }
}

impl Pulse {
    /// Another beat is over. True: the peer is gone.
    fn beat(&mut self, is_waiting: bool) -> bool {
        let heard = std::mem::take(&mut self.has_heard);
        self.silent = if heard { 0 } else { self.silent + 1 };
        self.stuck = if is_waiting && !self.has_said {
            self.stuck + 1
        } else {
            0
        };
        self.silent >= SILENT_MAX || self.stuck >= SILENT_MAX
    }
}

fn damaged(error: NoiseError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Sealed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            if !this.plain.is_empty() {
                this.hand_on(buf);
            } else if !this.open_next(buf)? && !ready!(this.poll_input(cx))? {
                return Poll::Ready(Ok(()));
            }
            // An empty record says only that the peer is there.
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sealed<S> {
    /// Says that bytes are written when they are on their way, and not when they are sealed: until
    /// then it must be asked again with the same bytes.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_output(cx))?;
            if this.accepted > 0 {
                let accepted = std::mem::take(&mut this.accepted);
                return Poll::Ready(Ok(accepted.min(buf.len())));
            }
            let len = buf.len().min(PLAIN_LEN_MAX);
            if len == 0 {
                return Poll::Ready(Ok(0));
            }
            let sealed = this.records.seal(&buf[..len], &mut this.output);
            sealed.map_err(damaged)?;
            this.accepted = len;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_output(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_output(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

/// Who wants to know that the peer is gone has to ask for the beat.
impl<S: Carried> Carried for Sealed<S> {
    fn attach(&mut self) -> io::Result<()> {
        self.stream.attach()
    }

    fn detach(&mut self) -> bool {
        self.stream.detach()
    }

    fn has_input(&self) -> bool {
        self.stream.has_input()
    }

    fn cut(&self) {
        self.stream.cut();
    }

    fn poll_beat(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.keep_beat(cx)
    }
}

impl<S> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::transport::auth_key::AuthKey;
    use crate::transport::noise::{Suite, pair};

    fn ends(room: usize) -> (Sealed<DuplexStream>, Sealed<DuplexStream>) {
        let (near, far) = duplex(room);
        let (client, server) = pair(&AuthKey::from([1; 32]), Suite::preferred());
        (Sealed::new(near, client), Sealed::new(far, server))
    }

    /// What is written is read, in order and whole, through the narrowest of streams and in pieces
    /// of any length.
    #[tokio::test]
    async fn bytes_round_trip() {
        for room in [1, 7, 509, 1 << 20] {
            let (mut client, mut server) = ends(room);
            let len = if room < 100 { 5_000 } else { 300_000 };
            let sent: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let bytes = sent.clone();
            let writing = tokio::spawn(async move {
                for piece in bytes.chunks(70_001) {
                    client.write_all(piece).await.unwrap();
                }
                client
            });
            let mut got = Vec::new();
            let mut piece = vec![0; 1013];
            while got.len() < len {
                let read = server.read(&mut piece).await.unwrap();
                assert_ne!(read, 0);
                got.extend_from_slice(&piece[..read]);
            }
            assert_eq!(got, sent);
            drop(writing.await.unwrap());
            assert_eq!(server.read(&mut piece).await.unwrap(), 0, "its end is one");
        }
    }

    /// Reads and keeps the beat, as whoever carries a stream on does.
    async fn hear(end: &mut Sealed<DuplexStream>, bytes: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            end.poll_beat(cx)?;
            let mut room = ReadBuf::new(bytes);
            ready!(Pin::new(&mut *end).poll_read(cx, &mut room))?;
            Poll::Ready(Ok(room.filled().len()))
        })
        .await
    }

    /// Two that have nothing to say stay connected for as long as both are there.
    #[tokio::test(start_paused = true)]
    async fn the_quiet_stay() {
        let (mut client, mut server) = ends(4096);
        let mut bytes = ([0; 16], [0; 16]);
        let hour = tokio::time::timeout(Duration::from_secs(3600), async {
            tokio::select! {
                read = hear(&mut client, &mut bytes.0) => read,
                read = hear(&mut server, &mut bytes.1) => read,
            }
        });
        assert!(hour.await.is_err(), "nothing ends it");
        client.write_all(b"still here").await.unwrap();
        let len = server.read(&mut bytes.1).await.unwrap();
        assert_eq!(&bytes.1[..len], b"still here");
    }

    /// A peer that says nothing at all is given up after five beats; and so is one that takes
    /// nothing.
    #[tokio::test(start_paused = true)]
    async fn the_silent_are_given_up() {
        let began = Instant::now();
        let (mut client, _server) = ends(4096);
        let error = hear(&mut client, &mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((SILENT_MAX * BEAT..SILENT_MAX * BEAT + BEAT).contains(&began.elapsed()));
        let (mut client, mut server) = ends(64);
        // It says something, and takes nothing.
        let talking = async {
            loop {
                let mut record = Vec::new();
                server.records.seal(&[], &mut record).unwrap();
                server.stream.write_all(&record).await.unwrap();
                sleep(BEAT / 4).await;
            }
        };
        let asking = async {
            let mut read = [0; 16];
            std::future::poll_fn(|cx| {
                let _ = Pin::new(&mut client).poll_write(cx, &[7; 1000]);
                client.poll_beat(cx)?;
                let mut room = ReadBuf::new(&mut read);
                Pin::new(&mut client).poll_read(cx, &mut room)
            })
            .await
        };
        let error = tokio::select! {
            () = talking => unreachable!("it talks for ever"),
            ended = asking => ended.unwrap_err(),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// What is no record, what was changed, and what ends in its midst are errors.
    #[tokio::test]
    async fn damage_is_an_error() {
        let mut good = Vec::new();
        let key = AuthKey::from([1; 32]);
        for case in 0..4 {
            let (near, far) = duplex(4096);
            let (mut client, server) = pair(&key, Suite::AesGcm);
            let (mut socket, mut server) = (near, Sealed::new(far, server));
            good.clear();
            client.seal(b"hello", &mut good).unwrap();
            match case {
                0 => good[1] = 15,
                1 => good[10] ^= 1,
                2 => drop(good.pop()),
                _ => good.truncate(1),
            }
            socket.write_all(&good).await.unwrap();
            drop(socket);
            let error = server.read(&mut [0; 16]).await.unwrap_err();
            let expected = if case < 2 {
                io::ErrorKind::InvalidData
            } else {
                io::ErrorKind::UnexpectedEof
            };
            assert_eq!(error.kind(), expected, "case {case}");
        }
    }
}
