//! Blobs: large immutable data in shared memory, passed on at the price of a small message. Pure.

use std::fmt;
use std::io;
use std::ops::{Bound, Deref, Range, RangeBounds};

use bytes::Bytes;
use rkyv::rancor::{Fallible, Source};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::attached::attach;
use super::beside::{ArchivedPart, Part};
use super::codec::{self, DecodeError, Message};
use super::holding::{Hold, Memory};
use crate::sys::sealed::{BlobBuilder, BlobError, Number, Sealed, Window, as_bytes, as_numbers};

/// Immutable bytes, numbers or a value in shared memory, which travel without being copied.
///
/// A blob is a value like any other: an argument, a result, a part of a message or of a collection.
/// What travels is the right to read: the receiver reads the same pages, and so does everyone to
/// whom it passes the blob on. That costs the same for a KiB and for a GiB. Nobody can change them,
/// by the system's own word, so a reader trusts nobody.
///
/// - A clone and a [slice](Blob::slice) are the same memory and cost a count. A slice keeps the
///   whole memory.
/// - The memory is given back when the last blob of it is dropped, in whatever process, or its
///   process has ended, however it did. Each process that has it spends one descriptor and one
///   mapping on it, however many blobs of it there are.
/// - A peer that has got a blob need not be sent its descriptor again as long as the sender keeps a
///   blob of it: then passing it on makes no system call.
/// - At most 64 different memories go with one message, and 256 are known to a peer at once; beyond
///   the first bound is an [error](crate::EncodeError::Refused), beyond the second a call waits.
///
/// # Blob or message
/// Large arguments and results that are no blobs lie in pages that the link uses again and again:
/// they are copied there once, and their one receiver reads them where they lie. A blob has pages
/// of its own, which are sealed and given back to the system. So making one costs some 20 µs, and
/// 3 µs for each of its pages, and passing it on costs nothing that depends on its size. As
/// `benches/comparison` measures it:
/// - What is made anew for one receiver each time travels faster as an argument: a MiB takes 19 µs
///   like that, and 670 µs as a new blob.
/// - What is read by several, kept, passed on, or made in place (from a file, say) is a blob: one
///   that is there costs about as much as an argument of a KiB.
///
/// Numbers that several processes write are an [`Array`](crate::Array).
///
/// # Over a network
/// To another program or machine ([`Connect`](crate::Connect)) a blob goes in the same calls,
/// answers and streams. Its content is carried there, into sealed memory of the receiver, before
/// the frame that it belongs to: who has it can read all of it at once, and passes it on like any
/// other.
/// - What the other side has does not travel again: the same blob, a slice of it, one that goes
///   back to where it came from. It is known there as long as the sender keeps a blob of it.
/// - Pieces of 32 KiB go between other calls and answers and between those of other blobs, and no
///   more of them are on their way than it takes to be fast. Nobody waits behind a large one; see
///   [`Connecting`](crate::Connecting#order) for what that does to the order of calls.
/// - A slice of less than half of its memory goes alone; larger ones have the whole memory with
///   them.
/// - What finds no memory there is an error of the call, with the reason
///   ([`CallError::Arguments`](crate::CallError::Arguments), or
///   [`Decode`](crate::CallError::Decode) of an answer). So is what goes beyond the limit of what
///   came over one connection and is used at the same time: 4 GiB, if nothing else is said
///   [here](crate::Connecting::blob_limit) and [there](crate::Spawn::blob_limit). Nothing is
///   allocated before its bytes come.
/// - A call that is given up meanwhile is not run, and the rest is not sent. A connection that ends
///   in the midst ends the call, and nothing is left of what had come.
///
/// # Types
/// - `Blob` is `Blob<[u8]>`: bytes. `Blob<[f32]>`, and all other [numbers](Number), are slices of
///   these.
/// - `Blob<T>` of a [message](Message) is its archive, read in place.
///
/// It [dereferences](Deref) to what it holds, which is looked at once in each process: that numbers
/// lie where they should, that an archive is one.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::Blob;
///
/// pub struct Mean;
///
/// #[actor]
/// impl Mean {
///     pub fn new() -> Self { Self }
///     pub fn of(&self, samples: Blob<[f32]>) -> f32 {
///         samples.iter().sum::<f32>() / samples.len() as f32
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let mean = Mean::spawn().await?;
///     let samples = Blob::copy_from(&[1.0_f32, 2.0, 6.0])?;
///     assert_eq!(mean.of(samples.clone()).await?, 3.0);
///     assert_eq!(mean.of(samples.slice(..2)).await?, 1.5);
///     mean.shutdown().await
/// }
/// ```
pub struct Blob<T: BlobContent + ?Sized = [u8]> {
    /// It is in use as long as this is here.
    window: Window<T::View, Hold>,
    /// Where in its memory it lies, in bytes.
    place: Range<usize>,
}

/// What a [`Blob`] can hold: `[N]` of every [`Number`], and every [`Message`] as its archive.
///
/// Implemented for these and nothing else.
///
/// # Examples
/// ```
/// use callboard::{Blob, BlobContent};
///
/// fn passed_on<T: BlobContent + ?Sized>(blob: &Blob<T>) -> Blob<T> {
///     blob.clone()
/// }
/// assert_eq!(passed_on(&Blob::copy_from(b"abc")?)[..], *b"abc");
/// # callboard::Result::<()>::Ok(())
/// ```
pub trait BlobContent: 'static {
    /// What is read in place.
    type View: ?Sized + Sync + 'static;

    /// Whether looking at it takes long enough to remember that it was done.
    #[doc(hidden)]
    const IS_REMEMBERED: bool;

    /// Finds it in bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when they are none.
    #[doc(hidden)]
    fn __find(bytes: &[u8]) -> Result<&Self::View, DecodeError>;
}

#[diagnostic::do_not_recommend]
impl<N: Number> BlobContent for [N] {
    type View = Self;
    const IS_REMEMBERED: bool = false;

    fn __find(bytes: &[u8]) -> Result<&Self, DecodeError> {
        as_numbers(bytes).ok_or_else(|| codec::refused::<Vec<N>>(bytes.len(), NoNumbers))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Message> BlobContent for T
where
    T::Archived: Sync,
{
    type View = T::Archived;
    const IS_REMEMBERED: bool = true;

    fn __find(bytes: &[u8]) -> Result<&T::Archived, DecodeError> {
        codec::check::<T>(bytes)
    }
}

/// Bytes are no whole numbers where such may lie.
#[derive(Debug, thiserror::Error)]
#[error("they do not lie as such numbers do")]
struct NoNumbers;

/// The memory is an array's, which may change.
#[derive(Debug, thiserror::Error)]
#[error("its memory may be written")]
struct NotSealed;

/// The memory that blobs lie in.
fn bytes_of(memory: &Memory) -> Option<&Sealed> {
    memory.sealed().map(|sealed| &**sealed)
}

impl<T: BlobContent + ?Sized> Blob<T> {
    /// What lies there in the memory of `hold`.
    fn found(hold: Hold, place: Range<usize>) -> Result<Self, DecodeError> {
        let refused = || codec::refused::<&T>(place.len(), NotSealed);
        let window = if T::IS_REMEMBERED {
            let sealed = hold.sealed().ok_or_else(refused)?;
            let known = hold.checked(sealed, place.clone(), T::__find)?;
            known.kept_by(hold, bytes_of).ok_or_else(refused)?
        } else {
            Window::new(hold, |memory| {
                let sealed = memory.sealed().ok_or_else(refused)?;
                T::__find(&sealed.bytes()[place.clone()])
            })?
        };
        Ok(Self { window, place })
    }

    /// Its part in the use of its memory.
    fn hold(&self) -> &Hold {
        self.window.owner()
    }

    /// How many bytes of memory it shows.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// assert_eq!(Blob::copy_from(&[1_u32, 2])?.byte_len(), 8);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.place.len()
    }

    /// Whether both are of one memory, in whatever processes it came about.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let whole = Blob::copy_from(b"abcd")?;
    /// assert!(whole.shares_memory(&whole.slice(1..3)));
    /// assert!(!whole.shares_memory(&Blob::copy_from(b"abcd")?));
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn shares_memory<U: BlobContent + ?Sized>(&self, other: &Blob<U>) -> bool {
        self.hold().identity() == other.hold().identity()
    }

    /// The bytes that it shows, as a blob.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let bytes: Blob = Blob::copy_from(&[0x0102_u16])?.untyped();
    /// assert_eq!(bytes[..], 0x0102_u16.to_ne_bytes());
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn untyped(&self) -> Blob {
        Blob::part(self.hold().clone(), self.place.clone())
    }
}

impl Blob {
    /// The same as [`builder`](Self::builder), on this thread.
    ///
    /// # Errors
    /// [`BlobError::Resources`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let blob = Blob::alloc(100)?.seal()?;
    /// assert_eq!(blob[..], [0; 100]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn alloc(len: usize) -> Result<BlobBuilder, BlobError> {
        BlobBuilder::alloc(len)
    }

    /// A blob of these bytes: without a copy if they are [of a blob](Bytes::from), copied if not.
    ///
    /// # Errors
    /// [`BlobError`] when memory for the copy cannot be had.
    ///
    /// # Examples
    /// ```
    /// # use bytes::Bytes;
    /// # use callboard::Blob;
    /// let blob = Blob::copy_from(b"some bytes")?;
    /// let bytes = Bytes::from(blob.clone());
    /// assert!(Blob::from_bytes(&bytes.slice(5..))?.shares_memory(&blob));
    /// assert_eq!(Blob::from_bytes(&Bytes::from_static(b"others"))?[..], *b"others");
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, BlobError> {
        match Memory::around(bytes) {
            Some((memory, begin)) => Ok(Self::part(memory.hold(), begin..begin + bytes.len())),
            None => Self::copy_from(bytes),
        }
    }

    /// The same bytes as numbers or as the archive of a value.
    ///
    /// # Errors
    /// [`BlobError::Content`] when they are none: they do not begin or end where such numbers may,
    /// or are no such archive.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let bytes = Blob::copy_from(&[1.5_f32, 2.5])?.untyped();
    /// assert_eq!(bytes.typed::<[f32]>()?[..], [1.5, 2.5]);
    /// assert!(bytes.slice(1..5).typed::<[f32]>().is_err());
    /// assert!(bytes.typed::<String>().is_err());
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn typed<T: BlobContent + ?Sized>(&self) -> Result<Blob<T>, BlobError> {
        Blob::found(self.hold().clone(), self.place.clone()).map_err(content)
    }

    /// Bytes that lie there for certain.
    fn part(hold: Hold, place: Range<usize>) -> Self {
        Self::found(hold, place).expect("bytes lie anywhere")
    }
}

impl<N: Number> Blob<[N]> {
    /// A blob of a copy of these numbers.
    ///
    /// # Errors
    /// [`BlobError`] when the memory cannot be had.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// assert_eq!(Blob::copy_from(&[1_u64, 2, 3])?[1..], [2, 3]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn copy_from(numbers: &[N]) -> Result<Self, BlobError> {
        let bytes = as_bytes(numbers);
        let mut builder = Blob::alloc(bytes.len())?;
        builder.as_mut_slice().copy_from_slice(bytes);
        builder.seal()?.typed()
    }

    /// A part of it, as a blob of the same memory; the range counts numbers.
    ///
    /// # Panics
    /// If the range reaches beyond the end, or ends before it begins.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let numbers = Blob::copy_from(&[1_u16, 2, 3, 4])?;
    /// assert_eq!(numbers.slice(1..)[..], [2, 3, 4]);
    /// assert_eq!(numbers.slice(1..).slice(..=0)[..], [2]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let begin = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&at) => at + 1,
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len(),
        };
        let len = self.len();
        assert!(
            begin <= end && end <= len,
            "{begin}..{end} is no part of {len}"
        );
        let at = |index: usize| self.place.start + index * size_of::<N>();
        Self::found(self.hold().clone(), at(begin)..at(end)).expect("a part of numbers is numbers")
    }
}

impl<T: Message> Blob<T>
where
    T::Archived: Sync,
{
    /// A blob of this value's archive.
    ///
    /// # Errors
    /// [`BlobError::Content`] when it cannot be archived: its own archiving fails, or it has blobs
    /// in it; [`BlobError::Resources`] when the memory cannot be had.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let words = vec![String::from("one"), String::from("two")];
    /// let blob = Blob::archive(&words)?;
    /// assert_eq!(blob[1].as_str(), "two");
    /// assert_eq!(blob.deserialize()?, words);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn archive(value: &T) -> Result<Self, BlobError> {
        let copied = codec::encode(value, usize::MAX, Blob::copy_from);
        copied.map_err(content)??.typed()
    }

    /// A value of its own, copied out of the archive.
    ///
    /// # Errors
    /// [`DecodeError`] when the type's own deserialising fails.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// assert_eq!(Blob::archive(&Some(7_u8))?.deserialize()?, Some(7));
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn deserialize(&self) -> Result<T, DecodeError> {
        let failed = |cause| DecodeError::new::<T>(self.place.len(), &cause);
        codec::own::<T>(self.window.value()).map_err(failed)
    }
}

fn content(error: impl std::error::Error + Send + Sync + 'static) -> BlobError {
    BlobError::Content(Box::new(error))
}

impl BlobBuilder {
    /// Makes it a blob, which nobody can change any more.
    ///
    /// # Errors
    /// [`BlobError`]: no room for another mapping, or a system without seals.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let mut builder = Blob::alloc(3)?;
    /// builder.as_mut_slice().copy_from_slice(b"abc");
    /// assert_eq!(builder.seal()?[..], *b"abc");
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn seal(self) -> Result<Blob, BlobError> {
        let len = self.len();
        let memory = Memory::enter(self.into_sealed()?);
        Ok(Blob::part(memory.hold(), 0..len))
    }

    /// Appends what `reader` gives, until that ends or there is no more room; says how much it was.
    /// A file is such a reader.
    ///
    /// # Errors
    /// [`BlobError::Read`]; what was read before stays.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Blob;
    /// let mut file = std::fs::File::open("/proc/self/exe")?;
    /// let mut builder = Blob::alloc(4)?;
    /// assert_eq!(builder.fill_from(&mut file)?, 4);
    /// assert_eq!(builder.seal()?[1..], *b"ELF");
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn fill_from(&mut self, mut reader: impl io::Read) -> Result<usize, BlobError> {
        let before = self.filled_len();
        while self.filled_len() < self.len() {
            match reader.read(self.rest()) {
                Ok(0) => break,
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BlobError::Read(error)),
            }
        }
        Ok(self.filled_len() - before)
    }
}

// === impl Blob ===

impl<T: BlobContent + ?Sized> Deref for Blob<T> {
    type Target = T::View;

    #[inline]
    fn deref(&self) -> &T::View {
        self.window.value()
    }
}

impl<N: Number> AsRef<[N]> for Blob<[N]> {
    fn as_ref(&self) -> &[N] {
        self
    }
}

/// The same memory.
impl<T: BlobContent + ?Sized> Clone for Blob<T> {
    fn clone(&self) -> Self {
        Self {
            window: self.window.clone(),
            place: self.place.clone(),
        }
    }
}

/// The type and the length, not what is in it.
impl<T: BlobContent + ?Sized> fmt::Debug for Blob<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("type", &std::any::type_name::<T>())
            .field("byte_len", &self.byte_len())
            .finish_non_exhaustive()
    }
}

/// Without a copy: they keep the blob.
impl From<Blob> for Bytes {
    fn from(blob: Blob) -> Self {
        Self::from_owner(blob)
    }
}

impl<T: BlobContent + ?Sized> Archive for Blob<T> {
    type Archived = ArchivedPart;
    type Resolver = u32;

    fn resolve(&self, resolver: u32, out: Place<ArchivedPart>) {
        Part::write(resolver, &self.place, out);
    }
}

impl<T, S> Serialize<S> for Blob<T>
where
    T: BlobContent + ?Sized,
    S: Fallible<Error: Source> + ?Sized,
{
    fn serialize(&self, _: &mut S) -> Result<u32, S::Error> {
        attach(self.hold(), &self.place).map_err(S::Error::new)
    }
}

impl<T, D> Deserialize<Blob<T>, D> for ArchivedPart
where
    T: BlobContent + ?Sized,
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize(&self, _: &mut D) -> Result<Blob<T>, D::Error> {
        let (hold, place) = self.find().map_err(D::Error::new)?;
        Blob::found(hold, place).map_err(D::Error::new)
    }
}

#[cfg(test)]
#[path = "blob_tests.rs"]
pub(super) mod tests;
