//! Sealed memory: pages that nobody can change any more, and everybody with their descriptor reads.
//!
//! ```text
//!  BlobBuilder: allocated, written ── seal ──> Sealed: read ── its descriptor ──> Sealed elsewhere
//! ```
//!
//! Four seals make it a promise: it cannot be written, shortened, lengthened, nor have its seals
//! changed. So references into it are sound whoever else has it.
//!
//! This file does not know what the bytes mean.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use super::pages::{self, Access, AllocError, Descriptor, DescriptorError, Mapping, Pages};

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
    /// The system refused to seal it. Where it is using the pages itself, as to move them, it was
    /// asked again for two seconds.
    #[error("a blob could not be sealed")]
    Seal(#[source] io::Error),
    /// What was to be archived in it could not be, or its bytes are no such value.
    #[error("a blob does not hold what it should")]
    Content(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BlobError {
    /// That of memory for a blob of `len` bytes.
    fn of(AllocError { what, source }: AllocError, len: usize) -> Self {
        Self::Resources { what, len, source }
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
/// assert!(!blob.is_empty() && blob.filled_len() == 0);
/// blob.put_u32_le(7);
/// blob.as_mut_slice()[4] = 1;
/// assert_eq!((blob.len(), blob.filled_len(), blob.as_slice()[0]), (8, 4, 7));
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
        let (fd, mapping) = pages::alloc(len).map_err(|error| BlobError::of(error, len))?;
        Ok(Self {
            fd,
            mapping,
            filled: 0,
        })
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mapping.len()
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
        unsafe { slice::from_raw_parts(self.mapping.base().as_ptr(), self.mapping.len()) }
    }

    /// All of it, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` is the only way to it meanwhile.
        unsafe { slice::from_raw_parts_mut(self.mapping.base().as_ptr(), self.mapping.len()) }
    }

    /// All of it, to be written as numbers: as many whole ones as fit.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let mut builder = Blob::alloc(3 * size_of::<f32>())?;
    /// builder.as_mut_numbers::<f32>()[1] = 0.5;
    /// assert_eq!(builder.seal()?.typed::<[f32]>()?[..], [0.0, 0.5, 0.0]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn as_mut_numbers<N: Number>(&mut self) -> &mut [N] {
        let (base, count) = (self.mapping.base().cast(), self.len() / size_of::<N>());
        // SAFETY: `base` is valid for so many bytes while the mapping lives, and begins a page,
        // where any number may lie; any bytes are numbers, and numbers are bytes, by the promise
        // of the trait; `&mut self` is the only way to them meanwhile, as in `as_mut_slice`.
        unsafe { slice::from_raw_parts_mut(base.as_ptr(), count) }
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
        let len = mapping.len();
        // While it is mapped to be written, the seal against writing is refused.
        drop(mapping);
        pages::seal(fd.as_fd(), Access::Read).map_err(BlobError::Seal)?;
        let failed = |error| BlobError::of(AllocError::of_mapping(error), len);
        Sealed::of(fd, len).map_err(failed)
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
#[derive(Debug)]
pub(crate) struct Sealed(Pages);

impl Sealed {
    /// Maps memory of `len` bytes that was sealed just now.
    ///
    /// # Errors
    /// The system's: no room for a mapping.
    pub(super) fn of(fd: OwnedFd, len: usize) -> io::Result<Self> {
        let mapping = Mapping::new(fd.as_fd(), len, Access::Read)?;
        Ok(Self(Pages::new(fd, mapping)?))
    }

    /// Maps what a peer has sent, which may be read only.
    ///
    /// # Errors
    /// It may be written, or there is no room for a mapping.
    pub(crate) fn map(descriptor: Descriptor) -> Result<Self, DescriptorError> {
        if descriptor.access() != Access::Read {
            return Err(DescriptorError::Wrong("memory that may be written"));
        }
        let pages = descriptor.map().map_err(DescriptorError::Resources)?;
        Ok(Self(pages))
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        let mapping = self.0.mapping();
        // SAFETY: `base` is valid for `len` bytes while the mapping lives, which `&self` outlasts
        // not. They are initialised, and never change: the seals were found or set before they were
        // mapped, and forbid every process to write, to punch holes, and to cut the memory, so that
        // no touch is a bus error either.
        unsafe { slice::from_raw_parts(mapping.base().as_ptr(), mapping.len()) }
    }

    /// The memory as it is passed on.
    pub(crate) fn pages(&self) -> &Pages {
        &self.0
    }
}

/// An owner of a value that stays where it is.
///
/// # Safety
/// Each dereference gives the same value, also of a clone, and wherever the owner is moved. Nobody
/// has a mutable reference to it as long as one owner is there.
pub(crate) unsafe trait Stable: Deref {}

// SAFETY: the value lies on the heap and is there as long as one `Arc` of it is; a mutable
// reference has only who owns the last one.
unsafe impl<T> Stable for Arc<T> {}

/// Something that lies in a value, together with an owner of that.
///
/// ```text
///  owner ──> memory [ .... | value: V | .... ]     sealed: nobody writes it
///  value  ─────────────────^
/// ```
pub(crate) struct Window<V: ?Sized + 'static, K> {
    /// Lies in what `owner` owns, or lives for ever.
    value: NonNull<V>,
    owner: K,
}

impl<V: ?Sized, K: Stable> Window<V, K> {
    /// Keeps `owner` with the value that `find` finds in what it owns.
    ///
    /// # Errors
    /// That of `find`.
    #[inline]
    pub(crate) fn new<E>(
        owner: K,
        find: impl FnOnce(&K::Target) -> Result<&V, E>,
    ) -> Result<Self, E> {
        let value = NonNull::from(find(&owner)?);
        Ok(Self { value, owner })
    }

    /// The same value with another owner, if it owns the same: `find` finds that.
    pub(crate) fn kept_by<L: Stable>(
        &self,
        owner: L,
        find: impl FnOnce(&L::Target) -> Option<&K::Target>,
    ) -> Option<Window<V, L>>
    where
        K::Target: Sized,
    {
        // Both are there now, so one address is one value: our value was found by a borrow of it
        // that may last as long as it is borrowed, which from here on is the new owner's doing.
        let is_same = find(&owner).is_some_and(|there| std::ptr::eq(there, self.owner.deref()));
        let value = self.value;
        (size_of::<K::Target>() > 0 && is_same).then_some(Window { value, owner })
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &V {
        // SAFETY: `find` made this reference from a borrow of what `owner` owns whose lifetime it
        // could not know, so it is valid for any during which that is borrowed: as long as `owner`
        // is here, for it is `Stable`. What is borrowed from sealed memory does not change.
        unsafe { self.value.as_ref() }
    }

    /// Who owns what it lies in.
    #[inline]
    pub(crate) fn owner(&self) -> &K {
        &self.owner
    }
}

impl<V: ?Sized, K: Clone> Clone for Window<V, K> {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            value: self.value,
            owner: self.owner.clone(),
        }
    }
}

// SAFETY: the owner may go to other threads, and of the value nothing but shared references is
// ever had, which may go there because it is `Sync`.
unsafe impl<V: ?Sized + Sync, K: Send> Send for Window<V, K> {}
// SAFETY: a shared one gives nothing but shared references to an owner and a value that are `Sync`.
unsafe impl<V: ?Sized + Sync, K: Sync> Sync for Window<V, K> {}

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

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;
