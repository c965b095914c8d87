//! What becomes of an actor's standard output and standard error.
//!
//! A stream that is kept is a pipe, read by the warden as soon as something is in it, so that the
//! actor never waits for a reader; only its last bytes stay. Whoever looks at them reads on
//! first: what the actor has written before is there. The end of the process is the end of the
//! stream, also if a process that it has left behind still holds the other end.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use super::ward::lock;
use crate::sys::pipe::{Found, Reader, pipe};

/// Bytes that are read at once: what a pipe holds.
const READ_LEN: usize = 64 * 1024;

/// How often a pipe is emptied at the end of its process before the rest is given up: more than a
/// few times only if somebody else still writes.
const LAST_READS: usize = 64;

/// Where an actor's standard output or standard error goes.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Talker;
///
/// #[actor]
/// impl Talker {
///     pub fn new() -> Self { Self }
///     pub fn say(&self, what: String) {
///         println!("{what}");
///         eprintln!("I have said it");
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let talker = Talker::spawn().stdout(Output::Null).stderr(Output::Tail(1024)).await?;
///     talker.say("hello".into()).await?;
///     assert_eq!(talker.stderr_tail(), "I have said it\n");
///     assert_eq!(talker.stdout_tail(), "");
///     talker.shutdown().await
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Output {
    /// Where this process's own goes.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// Its last bytes are kept, so many of them: to be looked at while the actor runs
    /// ([`Proxy::stderr_tail`](crate::Proxy::stderr_tail)) and in the error that tells of its
    /// death ([`Death::stderr`](crate::Death::stderr)). However much it writes, the actor does not
    /// wait for anybody, and no more memory than that is used.
    Tail(usize),
}

/// Where a process that is started writes to, and what is kept of it here.
pub(super) struct Outputs {
    /// Its standard output and error, where they are not ours.
    pub(super) fds: [Option<OwnedFd>; 2],
    pub(super) tails: Tails,
}

impl Outputs {
    /// # Errors
    /// The system's.
    pub(super) fn open(stdout: Output, stderr: Output) -> io::Result<Self> {
        let (out, stdout) = stdout.open()?;
        let (err, stderr) = stderr.open()?;
        let tails = Tails { stdout, stderr };
        Ok(Self {
            fds: [out, err],
            tails,
        })
    }
}

/// A stream of which the last bytes are kept.
#[derive(Debug)]
pub(crate) struct Tail(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// Until the stream has ended, or the process.
    pipe: Option<Reader>,
    bytes: VecDeque<u8>,
    limit: usize,
}

/// The streams of one process that are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tails {
    pub(crate) stdout: Option<Arc<Tail>>,
    pub(crate) stderr: Option<Arc<Tail>>,
}

impl Output {
    /// The child's descriptor, if it is not to be ours, and the tail that is kept of it.
    pub(crate) fn open(self) -> io::Result<(Option<OwnedFd>, Option<Arc<Tail>>)> {
        match self {
            Self::Inherit => Ok((None, None)),
            Self::Null => {
                let null = File::options().write(true).open("/dev/null")?;
                Ok((Some(null.into()), None))
            }
            Self::Tail(limit) => {
                let (reader, writer) = pipe()?;
                Ok((Some(writer), Some(Arc::new(Tail::new(reader, limit)))))
            }
        }
    }
}

impl Tails {
    /// Those that there are, with a number for each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Tail>)> {
        let streams = [&self.stdout, &self.stderr];
        (0..)
            .zip(streams)
            .filter_map(|(at, tail)| Some((at, tail.as_ref()?)))
    }

    /// The one with this number.
    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Tail>> {
        self.iter()
            .find(|(at, _)| *at == number)
            .map(|(_, tail)| tail)
    }

    /// What standard error ended with, if that is kept.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.stderr.as_ref().map(|tail| tail.text())
    }
}

impl Tail {
    fn new(pipe: Reader, limit: usize) -> Self {
        Self(Mutex::new(Kept {
            pipe: Some(pipe),
            bytes: VecDeque::new(),
            limit,
        }))
    }

    /// Does something with the descriptor, if it is still open.
    pub(crate) fn with_fd<T>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        lock(&self.0).pipe.as_ref().map(|pipe| use_it(pipe.as_fd()))
    }

    /// The warden's: reads once; false if nothing more will come.
    pub(crate) fn read_on(&self) -> bool {
        lock(&self.0).read(&mut [0; READ_LEN]) != Found::End
    }

    /// The warden's: reads what is left and closes, whoever may still write.
    pub(crate) fn finish(&self) {
        let mut kept = lock(&self.0);
        kept.read_all();
        kept.pipe = None;
    }

    /// The last bytes up to now, as text; what is no UTF-8 is replaced.
    pub(crate) fn text(&self) -> String {
        let mut kept = lock(&self.0);
        kept.read_all();
        String::from_utf8_lossy(kept.bytes.make_contiguous()).into_owned()
    }
}

impl Kept {
    fn read_all(&mut self) {
        let mut room = vec![0; READ_LEN];
        for _ in 0..LAST_READS {
            if !matches!(self.read(&mut room), Found::Bytes(_)) {
                return;
            }
        }
    }

    fn read(&mut self, room: &mut [u8]) -> Found {
        let Some(pipe) = &self.pipe else {
            return Found::End;
        };
        let found = pipe.read(room);
        if let Found::Bytes(count) = found {
            self.keep(&room[..count]);
        }
        found
    }

    fn keep(&mut self, bytes: &[u8]) {
        let news = &bytes[bytes.len().saturating_sub(self.limit)..];
        let too_many = (self.bytes.len() + news.len()).saturating_sub(self.limit);
        self.bytes.drain(..too_many);
        self.bytes.extend(news);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn tail(limit: usize) -> (File, Arc<Tail>) {
        let (writer, tail) = Output::Tail(limit).open().unwrap();
        (File::from(writer.unwrap()), tail.unwrap())
    }

    /// Of what was written the last bytes stay, whatever the pieces were.
    #[test]
    fn the_last_bytes_stay() {
        for limit in [0, 1, 3, 10] {
            let (mut writer, tail) = tail(limit);
            let mut written = String::new();
            for piece in ["", "a", "bcd", "ef", "ghijklmnopqrst", "u"] {
                writer.write_all(piece.as_bytes()).unwrap();
                written += piece;
                let kept = &written[written.len().saturating_sub(limit)..];
                assert_eq!(tail.text(), kept);
            }
        }
    }

    /// A stream ends with its writer, or when it is finished although there is one.
    #[test]
    fn streams_end() {
        let (mut writer, tail) = tail(100);
        assert!(tail.read_on(), "nothing yet is not the end");
        writer.write_all(b"last").unwrap();
        drop(writer);
        assert!(tail.read_on());
        assert!(!tail.read_on());
        assert_eq!(tail.text(), "last");

        let (mut writer, tail) = self::tail(100);
        writer.write_all(b"more \xff").unwrap();
        tail.finish();
        assert!(tail.with_fd(|_| ()).is_none());
        assert!(writer.write_all(b"to nobody").is_err());
        assert_eq!(tail.text(), "more \u{fffd}");
    }
}
