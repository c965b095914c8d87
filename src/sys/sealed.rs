//! Sealed memory: pages that nobody can change any more, and everybody with their descriptor reads.
//!
//! ```text
//!  BlobBuilder: allocated, written ── seal ──> Sealed: read ── its descriptor ──> Sealed elsewhere
//! ```
//!
//! It lies in a memfd, which has no name, is counted by the kernel, and is gone with its last
//! descriptor and mapping, however their processes end. Four seals make it a promise: it cannot be
//! written, shortened, lengthened, nor have its seals changed. So references into it are sound
//! whoever else has it. What comes from a peer is mapped only if it has these seals and the size
//! that was announced.
//!
//! This file does not know what the bytes mean, nor how a descriptor travels.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl, posix_fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::sys::room;

/// A system may be set to add this one to every memfd (`vm.memfd_noexec`): it forbids to execute
/// the bytes, which nobody does.
const SEAL_EXEC: i32 = 0x20;

/// The seals of sealed memory, all of them and no others.
fn seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

/// A blob could not be made.
///
/// # Examples
/// ```
/// use callboard::{Blob, BlobError};
///
/// // More than any machine has.
/// let error = Blob::alloc(1 << 50).unwrap_err();
/// assert!(matches!(error, BlobError::Resources { what: "memory", .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The system has not got what it takes.
    #[error("not enough {what} for a blob of {len} bytes")]
    #[non_exhaustive]
    Resources {
        /// What has run out: `"memory"`, `"descriptors"` or `"mappings"`.
        what: &'static str,
        /// How many bytes were asked for.
        len: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What it was to be filled from could not be read.
    #[error("the source of a blob could not be read")]
    Read(#[source] io::Error),
    /// The system refused to seal it.
    #[error("a blob could not be sealed")]
    Seal(#[source] io::Error),
    /// What was to be archived in it could not be, or its bytes are no such value.
    #[error("a blob does not hold what it should")]
    Content(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BlobError {
    /// The error of a step for which the system had no room.
    fn of_step(step: &'static str, len: usize, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let what = match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => "descriptors",
            _ => step,
        };
        Self::Resources { what, len, source }
    }
}

/// Pages of this process's address space, given back when dropped.
struct Mapping {
    /// Dangling if there are no bytes.
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to no thread; it may be used and unmapped by any.
unsafe impl Send for Mapping {}
// SAFETY: through a shared one nothing is written; see `Sealed::bytes` for what may be read.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: usize, access: ProtFlags) -> io::Result<Self> {
        let Some(whole) = NonZeroUsize::new(len) else {
            // Where numbers of any size may begin.
            let base = NonNull::<u128>::dangling().cast();
            return Ok(Self { base, len });
        };
        // SAFETY: no address is asked for, so the system takes one at which nothing lies.
        let mapped = unsafe { mmap(None, whole, access, MapFlags::MAP_SHARED, fd, 0) };
        let base = mapped?.cast();
        Ok(Self { base, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: `base` came from `mmap` with this length; whoever refers into it borrows the
        // owner of this mapping, which is being dropped; only this drop unmaps it, once.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.len) } {
            tracing::debug!(%error, "memory not unmapped");
        }
    }
}

/// The memory of a blob that is being made: filled in place, then sealed.
///
/// It is as long as was asked for, and zero where nothing was written. All of its pages are there:
/// writing to it does not fail. It can be written as a slice, from a reader, and as a
/// [`BufMut`](bytes::BufMut); the last two go on where the one before ended.
///
/// # Examples
/// ```
/// use bytes::BufMut;
/// use callboard::Blob;
///
/// let mut blob = Blob::alloc(8)?;
/// blob.put_u32_le(7);
/// blob.as_mut_slice()[4] = 1;
/// let blob = blob.seal()?;
/// assert_eq!(blob[..], [7, 0, 0, 0, 1, 0, 0, 0]);
/// # callboard::Result::<()>::Ok(())
/// ```
pub struct BlobBuilder {
    fd: OwnedFd,
    /// Written through by this process only: the descriptor is nobody else's yet.
    mapping: Mapping,
    /// How far it was written by appending.
    filled: usize,
}

impl BlobBuilder {
    /// Memory of `len` bytes, all of them there.
    ///
    /// # Errors
    /// [`BlobError::Resources`].
    pub(crate) fn alloc(len: usize) -> Result<Self, BlobError> {
        let failed = |step| move |error: Errno| BlobError::of_step(step, len, error);
        let no_memory = |error| BlobError::of_step("memory", len, error);
        room::check(len).map_err(no_memory)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(c"callboard-blob", flags).map_err(failed("memory"))?;
        allocate(fd.as_fd(), len).map_err(no_memory)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let mapping = Mapping::new(fd.as_fd(), len, access);
        let mapping = mapping.map_err(|error| BlobError::of_step("mappings", len, error))?;
        Ok(Self {
            fd,
            mapping,
            filled: 0,
        })
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mapping.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes were appended by a reader or as a `BufMut`.
    #[must_use]
    pub fn filled_len(&self) -> usize {
        self.filled
    }

    /// All of it, as it is.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `base` is valid for `len` initialised bytes while the mapping lives, which
        // `&self` outlasts not; they are written through `&mut self` only, for no other process or
        // mapping has this memory before it is sealed.
        unsafe { slice::from_raw_parts(self.mapping.base.as_ptr(), self.mapping.len) }
    }

    /// All of it, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` is the only way to it meanwhile.
        unsafe { slice::from_raw_parts_mut(self.mapping.base.as_ptr(), self.mapping.len) }
    }

    /// What was not appended to yet.
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        let filled = self.filled;
        &mut self.as_mut_slice()[filled..]
    }

    /// So many more bytes of the rest were written.
    pub(crate) fn advance(&mut self, count: usize) {
        let left = self.len() - self.filled;
        assert!(
            count <= left,
            "{count} bytes were appended where {left} fit"
        );
        self.filled += count;
    }

    /// Makes it what nobody can change any more.
    ///
    /// # Errors
    /// [`BlobError`]: no room for another mapping, or the system has no seals.
    pub(crate) fn into_sealed(self) -> Result<Sealed, BlobError> {
        let Self { fd, mapping, .. } = self;
        let len = mapping.len;
        // While it is mapped to be written, the seal against writing is refused.
        drop(mapping);
        let sealed = fcntl(&fd, FcntlArg::F_ADD_SEALS(seals()));
        sealed.map_err(|error| BlobError::Seal(error.into()))?;
        Sealed::map(fd, len).map_err(|error| BlobError::of_step("mappings", len, error))
    }
}

// SAFETY: `chunk_mut` gives the bytes behind those that were appended, and `advance_mut` counts
// what was written of them.
unsafe impl bytes::BufMut for BlobBuilder {
    fn remaining_mut(&self) -> usize {
        self.len() - self.filled
    }

    unsafe fn advance_mut(&mut self, cnt: usize) {
        self.advance(cnt);
    }

    fn chunk_mut(&mut self) -> &mut bytes::buf::UninitSlice {
        bytes::buf::UninitSlice::new(self.rest())
    }
}

impl fmt::Debug for BlobBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobBuilder")
            .field("len", &self.len())
            .field("filled_len", &self.filled)
            .finish_non_exhaustive()
    }
}

/// Memory that nobody can change any more, mapped to be read.
pub(crate) struct Sealed {
    fd: OwnedFd,
    mapping: Mapping,
    identity: Identity,
}

/// Which memory a descriptor means: equal for two of one memory, in whatever process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    /// When it was allocated: numbers of inodes may recur, but not within a nanosecond.
    made_at: (i64, i64),
    len: usize,
}

/// A descriptor that is not the sealed memory that was announced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealedError {
    /// It is something else: the peer broke the rules.
    #[error("{0}")]
    Wrong(&'static str),
    /// It cannot be used here.
    #[error("{0}")]
    Resources(#[source] io::Error),
}

/// A descriptor that was found to be sealed memory, and not mapped.
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: OwnedFd,
    identity: Identity,
}

impl Descriptor {
    /// Looks at what a peer has sent as sealed memory of `len` bytes. Nothing is mapped.
    ///
    /// # Errors
    /// [`SealedError`], and the descriptor is closed.
    pub(crate) fn check(fd: OwnedFd, len: u64) -> Result<Self, SealedError> {
        let failed = |error: Errno| SealedError::Resources(error.into());
        // Of pipes, directories and files on disks this is an error; of files in a tmpfs, others.
        let found = fcntl(&fd, FcntlArg::F_GET_SEALS)
            .map_err(|_| SealedError::Wrong("a descriptor that has no seals"))?;
        if found & !SEAL_EXEC != seals().bits() {
            return Err(SealedError::Wrong("memory with other seals"));
        }
        let identity = Identity::of(fd.as_fd()).map_err(failed)?;
        if u64::try_from(identity.len) != Ok(len) {
            return Err(SealedError::Wrong("memory of another size"));
        }
        Ok(Self { fd, identity })
    }

    /// Which memory it means.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Maps it.
    ///
    /// # Errors
    /// The system's: no room for a mapping.
    pub(crate) fn map(self) -> Result<Sealed, SealedError> {
        let len = self.identity.len;
        Sealed::map(self.fd, len).map_err(SealedError::Resources)
    }
}

impl Identity {
    fn of(fd: BorrowedFd<'_>) -> nix::Result<Self> {
        let found = fstat(fd)?;
        Ok(Self {
            device: found.st_dev,
            inode: found.st_ino,
            made_at: (found.st_ctime, found.st_ctime_nsec),
            len: usize::try_from(found.st_size).map_err(|_| Errno::EOVERFLOW)?,
        })
    }
}

impl Sealed {
    /// Maps what has its seals.
    fn map(fd: OwnedFd, len: usize) -> io::Result<Self> {
        let mapping = Mapping::new(fd.as_fd(), len, ProtFlags::PROT_READ)?;
        let identity = Identity::of(fd.as_fd())?;
        Ok(Self {
            fd,
            mapping,
            identity,
        })
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `base` is valid for `len` bytes while the mapping lives, which `&self` outlasts
        // not. They are initialised, and never change: the seals were found or set before they were
        // mapped, and forbid every process to write, to punch holes, and to cut the memory, so that
        // no touch is a bus error either.
        unsafe { slice::from_raw_parts(self.mapping.base.as_ptr(), self.mapping.len) }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.mapping.len
    }

    /// Which memory it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The descriptor, to be passed on.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Something that lies in sealed memory, together with that.
///
/// ```text
///  memory ──> [ .... | value: V | .... ]     sealed: nobody writes it
///  value  ───────────^
/// ```
pub(crate) struct Window<V: ?Sized + 'static> {
    /// Lies in `memory`, or lives for ever.
    value: NonNull<V>,
    memory: Arc<Sealed>,
}

impl<V: ?Sized> Window<V> {
    /// Keeps `memory` with the value that `find` finds in it.
    ///
    /// # Errors
    /// That of `find`.
    pub(crate) fn new<E>(
        memory: Arc<Sealed>,
        find: impl FnOnce(&[u8]) -> Result<&V, E>,
    ) -> Result<Self, E> {
        let value = NonNull::from(find(memory.bytes())?);
        Ok(Self { value, memory })
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &V {
        // SAFETY: `find` made this reference from a borrow of the memory's bytes whose lifetime it
        // could not know, so it is valid for any: as long as the bytes stay where and as they are.
        // The mapping does not move, is kept by `memory`, and is sealed.
        unsafe { self.value.as_ref() }
    }
}

impl<V: ?Sized> Clone for Window<V> {
    fn clone(&self) -> Self {
        Self {
            value: self.value,
            memory: Arc::clone(&self.memory),
        }
    }
}

// SAFETY: the memory may go to other threads, and of the value nothing but shared references is
// ever had, which may go there because it is `Sync`.
unsafe impl<V: ?Sized + Sync> Send for Window<V> {}
// SAFETY: a shared one gives nothing but shared references to a value that is `Sync`.
unsafe impl<V: ?Sized + Sync> Sync for Window<V> {}

/// A number of fixed size, of which any bytes are one.
///
/// Implemented for `u8` to `u128`, `i8` to `i128`, `f32` and `f64`.
///
/// # Safety
/// The type has no padding, and any bytes are a value of it.
///
/// # Examples
/// ```
/// use callboard::{Blob, Number};
///
/// fn sum<N: Number + std::iter::Sum>(numbers: &Blob<[N]>) -> N {
///     numbers.iter().copied().sum()
/// }
/// assert_eq!(sum(&Blob::copy_from(&[0.5_f64, 1.5])?), 2.0);
/// # callboard::Result::<()>::Ok(())
/// ```
pub unsafe trait Number: Copy + Send + Sync + fmt::Debug + 'static {}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        // SAFETY: a primitive number has no padding, and each of its bit patterns is one.
        unsafe impl Number for $number {}
    )*};
}

numbers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

/// The bytes as numbers, if they begin where such a number may and end with a whole one.
pub(crate) fn as_numbers<N: Number>(bytes: &[u8]) -> Option<&[N]> {
    let start: *const N = bytes.as_ptr().cast();
    let fits = start.is_aligned() && bytes.len().is_multiple_of(size_of::<N>());
    // SAFETY: they begin at a multiple of the number's alignment and are so many whole ones, within
    // the borrow of `bytes`; any bytes are numbers, by the promise of the trait.
    fits.then(|| unsafe { slice::from_raw_parts(start, bytes.len() / size_of::<N>()) })
}

/// The bytes of numbers.
pub(crate) fn as_bytes<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: they are so many initialised bytes without padding, by the promise of the trait,
    // within the borrow of `numbers`; bytes lie anywhere.
    unsafe { slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Puts a page behind every byte.
fn allocate(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let end = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    ftruncate(fd, end)?;
    loop {
        match posix_fallocate(fd, 0, end) {
            // The system gives up on any signal, and takes back what it had allocated.
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;
