//! How blobs are allocated and filled where others must not wait meanwhile.

use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{self, Read as _};
use std::path::Path;
use std::pin::Pin;
use std::task::ready;

use tokio::io::{AsyncRead, ReadBuf};

use crate::sys::sealed::{BlobBuilder, BlobError};
use crate::wire::blob::Blob;

/// More bytes than these are allocated on a thread where it may take its time.
const QUICK_LEN_MAX: usize = 256 * 1024;

impl Blob {
    /// Memory of `len` bytes for a blob, zero until it is written.
    ///
    /// The system is made to find all of it now: there is no error later. More than a little is
    /// allocated on a thread for blocking work.
    ///
    /// # Errors
    /// [`BlobError::Resources`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped before it is done, nothing is left.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// # async fn example() -> callboard::Result<()> {
    /// let mut frame = Blob::builder(1920 * 1080 * 3).await?;
    /// frame.as_mut_slice().fill(7);
    /// let frame: Blob = frame.seal()?;
    /// assert_eq!(frame[1000], 7);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    pub async fn builder(len: usize) -> Result<BlobBuilder, BlobError> {
        if len <= QUICK_LEN_MAX {
            return Self::alloc(len);
        }
        apart(len, move || Self::alloc(len)).await
    }

    /// A blob of what the file at `path` holds, read into its pages by a thread for blocking work.
    ///
    /// That is one copy, out of the system's cache, and the last: everybody to whom the blob goes
    /// reads those pages. A part of a large file is had by [`BlobBuilder::fill_from`]. A file that
    /// becomes shorter meanwhile gives what it had left.
    ///
    /// # Errors
    /// [`BlobError::Read`] when it cannot be read, or is no file; [`BlobError::Resources`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped before it is done, nothing is left once the thread has read to the end.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// # async fn example() -> callboard::Result<()> {
    /// let program = Blob::from_file("/proc/self/exe").await?;
    /// assert_eq!(program[1..4], *b"ELF");
    /// assert!(Blob::from_file("/proc/self").await.is_err());
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    pub async fn from_file(path: impl AsRef<Path>) -> Result<Self, BlobError> {
        let path = path.as_ref().to_owned();
        apart(0, move || read(&path)).await
    }
}

/// Does what takes its time where nobody waits for the thread.
async fn apart<T: Send + 'static>(
    len: usize,
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        let (what, source) = ("threads", io::Error::other(error));
        Err(BlobError::Resources { what, len, source })
    })
}

fn read(path: &Path) -> Result<Blob, BlobError> {
    // A pipe would have its opening wait for a writer.
    let found = fs::metadata(path).map_err(BlobError::Read)?;
    if !found.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(BlobError::Read(io::Error::new(kind, "it is no file")));
    }
    let mut file = File::open(path).map_err(BlobError::Read)?;
    let len = usize::try_from(found.len()).unwrap_or(usize::MAX);
    if len == 0 {
        // Some files of the system's have a content and no length.
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(BlobError::Read)?;
        return Blob::copy_from(&content);
    }
    let mut builder = Blob::alloc(len)?;
    let filled = builder.fill_from(&mut file)?;
    Ok(builder.seal()?.slice(..filled))
}

impl BlobBuilder {
    /// Appends what `reader` gives, until that ends or there is no more room; says how much it was.
    ///
    /// # Errors
    /// [`BlobError::Read`]; what was read before stays.
    ///
    /// # Cancel safety
    /// What was read is here, as [`filled_len`](Self::filled_len) says; a further call goes on
    /// behind it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// # async fn example() -> callboard::Result<()> {
    /// let mut builder = Blob::alloc(10)?;
    /// assert_eq!(builder.fill_from_async(&b"abc"[..]).await?, 3);
    /// assert_eq!(builder.seal()?[..4], *b"abc\0");
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    pub async fn fill_from_async(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
    ) -> Result<usize, BlobError> {
        let before = self.filled_len();
        while self.filled_len() < self.len() {
            let count = poll_fn(|cx| {
                let mut rest = ReadBuf::new(self.rest());
                let read = ready!(Pin::new(&mut reader).poll_read(cx, &mut rest));
                read.map(|()| rest.filled().len()).into()
            });
            match count.await {
                Ok(0) => break,
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BlobError::Read(error)),
            }
        }
        Ok(self.filled_len() - before)
    }
}
