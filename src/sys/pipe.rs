//! A pipe whose reading end never waits: how the output of another process is taken in.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The end that is read here.
#[derive(Debug)]
pub(crate) struct Reader(PipeReader);

/// What a read that does not wait finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So many bytes.
    Bytes(usize),
    /// Nothing at this moment.
    Nothing,
    /// Nothing ever again: every writer has closed its end.
    End,
}

/// A new pipe: our end, and the one for the writer, which waits while the pipe is full.
///
/// # Errors
///
/// The system's: no descriptor, no memory.
pub(crate) fn pipe() -> io::Result<(Reader, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((Reader(reader), writer.into()))
}

impl Reader {
    /// Reads what is there, at most as much as `bytes` takes.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> Found {
        loop {
            return match (&self.0).read(bytes) {
                Ok(0) => Found::End,
                Ok(count) => Found::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Found::Nothing,
                // No other error is known of a pipe; what cannot be read has ended for us.
                Err(_) => Found::End,
            };
        }
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A read takes what there is, says when there is nothing, and when there never will be.
    #[test]
    fn reads_do_not_wait() {
        let (reader, writer) = pipe().unwrap();
        let mut bytes = [0; 4];
        assert_eq!(reader.read(&mut bytes), Found::Nothing);
        let mut writer = std::fs::File::from(writer);
        writer.write_all(b"hello").unwrap();
        assert_eq!(reader.read(&mut bytes), Found::Bytes(4));
        assert_eq!(&bytes, b"hell");
        assert_eq!(reader.read(&mut bytes), Found::Bytes(1));
        drop(writer);
        assert_eq!(reader.read(&mut bytes), Found::End);
    }
}
