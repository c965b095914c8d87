//! Arrays: numbers in shared memory that several processes read and write at the same time. Pure.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::atomic::{Ordering, fence};

use rkyv::rancor::{Fallible, Source};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::attached::attach;
use super::beside::{ArchivedPart, Part};
use super::codec::{self, DecodeError};
use super::holding::{Hold, Memory};
use crate::sys::shared::{ArrayError, Atoms, Element, Shared};

/// A fixed number of numbers in shared memory, read and written by several processes at once.
///
/// An array is a value like any other: an argument, a result, a part of a message. What travels is
/// the right to read and write: everybody to whom it was passed, and to whom they have passed it
/// on, sees and changes the same numbers, without a call. A clone and a [slice](Array::slice) are
/// the same memory. It is given back when the last one of it is dropped, in whatever process, or
/// its process has ended.
///
/// # What others may do meanwhile
/// - Each number is read and written whole: it is one that somebody has written, never half of one
///   and half of another. There is no data race, also not with a process that is killed.
/// - Who reads a number also sees what its writer had written by earlier calls, in this array and
///   in others: so a number may say that others are ready.
/// - [`swap`](Array::swap), [`compare_exchange`](Array::compare_exchange) and
///   [`update`](Array::update) read and write in one step: no change by others is lost.
/// - Several numbers at once ([`get_range`](Array::get_range), [`set_range`](Array::set_range), ..)
///   are read or written one by one, in any order: while somebody else writes them, some may be old
///   and some new. Where they must fit each other, give one actor the writing, or divide the array
///   among them by [`slice`](Array::slice).
///
/// All whom it was passed to may write any number. Large data that nobody is to change is a
/// [`Blob`](crate::Blob).
///
/// An index beyond the end is an [error](OutOfRange) and not a panic: it may have come in with a
/// call, and would end the actor.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::Array;
///
/// pub struct Counter;
///
/// #[actor]
/// impl Counter {
///     pub fn new() -> Self { Self }
///     /// Counts the letters of a text.
///     pub fn count(&self, text: &str, counts: Array<u64>) -> Result<(), callboard::OutOfRange> {
///         for letter in text.bytes().filter(u8::is_ascii_lowercase) {
///             counts.update(usize::from(letter - b'a'), |count| count + 1)?;
///         }
///         Ok(())
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let (one, two) = (Counter::spawn().await?, Counter::spawn().await?);
///     let counts = Array::new(26)?;
///     one.count("callboard", counts.clone()).await?;
///     two.count("an actor", counts.clone()).await?;
///     assert_eq!(counts.get_range(..3)?, [4, 1, 2]);
///     one.shutdown().await?;
///     two.shutdown().await
/// }
/// ```
pub struct Array<T: Element> {
    atoms: Atoms<T>,
    hold: Hold,
    /// Where in its memory it lies, in numbers.
    place: Range<usize>,
}

/// A place that is not within an [`Array`]. It may be a method's error.
///
/// # Examples
/// ```
/// # use callboard::Array;
/// let error = Array::<u8>::new(3)?.set(3, 1).unwrap_err();
/// assert_eq!(error.to_string(), "3..4 is no part of an array of 3");
/// # callboard::Result::<()>::Ok(())
/// ```
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{begin}..{end} is no part of an array of {len}")]
#[rkyv(attr(non_exhaustive))]
#[non_exhaustive]
pub struct OutOfRange {
    /// The first of the numbers that were meant.
    pub begin: usize,
    /// The one behind the last of them.
    pub end: usize,
    /// How many there are.
    pub len: usize,
}

/// The memory does not hold an array.
#[derive(Debug, thiserror::Error)]
enum NoArray {
    #[error("its memory may not be written")]
    Sealed,
    #[error("they do not lie as such numbers do")]
    OtherNumbers,
}

impl<T: Element> Array<T> {
    /// So many zeros.
    ///
    /// # Errors
    /// [`ArrayError`] when the memory cannot be had; there is no error later.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// assert_eq!(Array::<f32>::new(3)?.to_vec(), [0.0; 3]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn new(len: usize) -> Result<Self, ArrayError> {
        let memory = Shared::alloc(len.saturating_mul(size_of::<T>()))?;
        Ok(Self::part(Memory::enter(memory).hold(), 0..len))
    }

    /// An array of a copy of these numbers.
    ///
    /// # Errors
    /// [`ArrayError`] when the memory cannot be had.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// assert_eq!(Array::copy_from(&[1_i64, -2])?.get(1)?, -2);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn copy_from(numbers: &[T]) -> Result<Self, ArrayError> {
        let array = Self::new(numbers.len())?;
        array.write(numbers);
        Ok(array)
    }

    /// What lies there in the memory of `hold`; `place` counts numbers.
    fn found(hold: Hold, place: Range<usize>) -> Result<Self, NoArray> {
        let shared = hold.shared().ok_or(NoArray::Sealed)?;
        let atoms = Atoms::new(shared, place.start, place.len());
        let atoms = atoms.ok_or(NoArray::OtherNumbers)?;
        Ok(Self { atoms, hold, place })
    }

    /// Numbers that lie there for certain.
    fn part(hold: Hold, place: Range<usize>) -> Self {
        Self::found(hold, place).expect("the memory was made for them")
    }

    /// How many numbers there are; that does not change.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// assert_eq!(Array::<u16>::new(7)?.len(), 7);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.place.len()
    }

    /// Whether there are none.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// assert!(Array::<u16>::new(0)?.is_empty());
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number there.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::copy_from(&[1.5, 2.5])?;
    /// assert_eq!(array.get(1)?, 2.5);
    /// assert!(array.get(2).is_err());
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[inline]
    pub fn get(&self, index: usize) -> Result<T, OutOfRange> {
        // ORDERING: pairs with the Release of who has set it, `set` or one of the exchanges.
        Ok(T::__load(self.atom(index)?, Ordering::Acquire))
    }

    /// Puts a number there.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::new(2)?;
    /// array.set(0, 7_u8)?;
    /// assert_eq!(array.to_vec(), [7, 0]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<(), OutOfRange> {
        // ORDERING: publishes what was written before it to the Acquire of `get` or an exchange.
        T::__store(self.atom(index)?, value, Ordering::Release);
        Ok(())
    }

    /// Puts a number there, and gives the one that was there, in one step.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::copy_from(&[1, 2])?;
    /// assert_eq!(array.swap(1, 9)?, 2);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[inline]
    pub fn swap(&self, index: usize, value: T) -> Result<T, OutOfRange> {
        Ok(T::__swap(self.atom(index)?, value))
    }

    /// Puts `new` there if `current` is there, in one step: `Ok` with what was there then, else
    /// `Err` with what is there. Bits are compared: a NaN is itself, and `-0.0` is not `0.0`.
    ///
    /// # Errors
    /// [`OutOfRange`]; the inner one says that something else was there.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::copy_from(&[1, 2])?;
    /// assert_eq!(array.compare_exchange(0, 1, 5)?, Ok(1));
    /// assert_eq!(array.compare_exchange(0, 1, 7)?, Err(5));
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[inline]
    pub fn compare_exchange(
        &self,
        index: usize,
        current: T,
        new: T,
    ) -> Result<Result<T, T>, OutOfRange> {
        Ok(T::__exchange(self.atom(index)?, current, new))
    }

    /// Puts there what `change` makes of what is there, and gives what was there. No change by
    /// others is lost: if there was one in between, `change` runs again.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::copy_from(&[0.5, 2.0])?;
    /// assert_eq!(array.update(1, |number| number * 1.5)?, 2.0);
    /// assert_eq!(array.get(1)?, 3.0);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[inline]
    pub fn update(&self, index: usize, mut change: impl FnMut(T) -> T) -> Result<T, OutOfRange> {
        let atom = self.atom(index)?;
        // ORDERING: what `change` is given is read as `get` reads it.
        let mut there = T::__load(atom, Ordering::Acquire);
        loop {
            match T::__exchange(atom, there, change(there)) {
                Ok(before) => return Ok(before),
                Err(other) => there = other,
            }
        }
    }

    /// The numbers of a range.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::copy_from(&[1, 2, 3, 4])?;
    /// assert_eq!(array.get_range(1..3)?, [2, 3]);
    /// assert!(array.get_range(3..5).is_err());
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn get_range(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, OutOfRange> {
        let range = self.range(range)?;
        Ok(read::<T>(&self.atoms.numbers()[range]))
    }

    /// Copies the numbers from `begin` on into `numbers`, as many as these are.
    ///
    /// # Errors
    /// [`OutOfRange`], and `numbers` is as it was.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let mut two = [0; 2];
    /// Array::copy_from(&[1, 2, 3, 4])?.copy_to(1, &mut two)?;
    /// assert_eq!(two, [2, 3]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn copy_to(&self, begin: usize, numbers: &mut [T]) -> Result<(), OutOfRange> {
        let range = self.range(begin..begin.saturating_add(numbers.len()))?;
        let atoms = &self.atoms.numbers()[range];
        for (number, atom) in numbers.iter_mut().zip(atoms) {
            *number = T::__load(atom, Ordering::Relaxed);
        }
        // ORDERING: pairs with the Release of who has set any of them.
        fence(Ordering::Acquire);
        Ok(())
    }

    /// Puts these numbers there, from `begin` on.
    ///
    /// # Errors
    /// [`OutOfRange`], and nothing was written.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::new(4)?;
    /// array.set_range(1, &[5, 6])?;
    /// assert_eq!(array.to_vec(), [0, 5, 6, 0]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn set_range(&self, begin: usize, numbers: &[T]) -> Result<(), OutOfRange> {
        let end = begin.saturating_add(numbers.len());
        self.slice(begin..end)?.write(numbers);
        Ok(())
    }

    /// Puts this number everywhere.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::new(4)?;
    /// array.slice(2..)?.fill(-1);
    /// assert_eq!(array.to_vec(), [0, 0, -1, -1]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn fill(&self, value: T) {
        // ORDERING: publishes what was written before to the Acquire of who reads any of them.
        fence(Ordering::Release);
        for atom in self.atoms.numbers() {
            T::__store(atom, value, Ordering::Relaxed);
        }
    }

    /// All numbers.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// assert_eq!(Array::copy_from(&[1_u8, 2])?.to_vec(), [1, 2]);
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        read::<T>(self.atoms.numbers())
    }

    /// A part of it, as an array of the same memory; the range counts numbers. So each of several
    /// actors can be given its own.
    ///
    /// # Errors
    /// [`OutOfRange`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let whole = Array::copy_from(&[1, 2, 3, 4])?;
    /// let half = whole.slice(2..)?;
    /// half.set(0, 9)?;
    /// assert_eq!((half.len(), whole.get(2)?), (2, 9));
    /// # callboard::Result::<()>::Ok(())
    /// ```
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, OutOfRange> {
        let range = self.range(range)?;
        let place = self.place.start + range.start..self.place.start + range.end;
        Ok(Self::part(self.hold.clone(), place))
    }

    /// Whether both are of one memory, in whatever processes it came about.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Array;
    /// let array = Array::<u8>::new(4)?;
    /// assert!(array.shares_memory(&array.slice(1..)?));
    /// assert!(!array.shares_memory(&Array::new(4)?));
    /// # callboard::Result::<()>::Ok(())
    /// ```
    #[must_use]
    pub fn shares_memory(&self, other: &Self) -> bool {
        self.hold.identity() == other.hold.identity()
    }

    #[inline]
    fn atom(&self, index: usize) -> Result<&T::Atom, OutOfRange> {
        let atom = self.atoms.numbers().get(index);
        atom.ok_or_else(|| self.beyond(index..index.saturating_add(1)))
    }

    /// Where a range begins and ends, which is within it.
    fn range(&self, range: impl RangeBounds<usize>) -> Result<Range<usize>, OutOfRange> {
        let begin = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&at) => at.saturating_add(1),
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len(),
        };
        let is_within = begin <= end && end <= self.len();
        is_within
            .then_some(begin..end)
            .ok_or_else(|| self.beyond(begin..end))
    }

    #[cold]
    fn beyond(&self, range: Range<usize>) -> OutOfRange {
        OutOfRange {
            begin: range.start,
            end: range.end,
            len: self.len(),
        }
    }

    /// Puts as many numbers as these there, from the first on.
    fn write(&self, numbers: &[T]) {
        // ORDERING: publishes what was written before to the Acquire of who reads any of them.
        fence(Ordering::Release);
        for (atom, number) in self.atoms.numbers().iter().zip(numbers) {
            T::__store(atom, *number, Ordering::Relaxed);
        }
    }
}

fn read<T: Element>(atoms: &[T::Atom]) -> Vec<T> {
    let load = |atom| T::__load(atom, Ordering::Relaxed);
    let numbers = atoms.iter().map(load).collect();
    // ORDERING: pairs with the Release of who has set any of them.
    fence(Ordering::Acquire);
    numbers
}

// === impl Array ===

/// The same memory.
impl<T: Element> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            atoms: self.atoms.clone(),
            hold: self.hold.clone(),
            place: self.place.clone(),
        }
    }
}

/// The type and the length, not what is in it.
impl<T: Element> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array")
            .field("type", &std::any::type_name::<T>())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T: Element> Archive for Array<T> {
    type Archived = ArchivedPart;
    type Resolver = u32;

    fn resolve(&self, resolver: u32, out: Place<ArchivedPart>) {
        let size = size_of::<T>();
        let bytes = self.place.start * size..self.place.end * size;
        Part::write(resolver, &bytes, out);
    }
}

impl<T, S> Serialize<S> for Array<T>
where
    T: Element,
    S: Fallible<Error: Source> + ?Sized,
{
    fn serialize(&self, _: &mut S) -> Result<u32, S::Error> {
        // All of it, wherever its numbers lie: arrays are not carried in parts.
        let all = 0..self.hold.pages().len();
        attach(&self.hold, &all).map_err(S::Error::new)
    }
}

impl<T, D> Deserialize<Array<T>, D> for ArchivedPart
where
    T: Element,
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize(&self, _: &mut D) -> Result<Array<T>, D::Error> {
        let (hold, bytes) = self.find().map_err(D::Error::new)?;
        let refused = |why| -> DecodeError { codec::refused::<Array<T>>(bytes.len(), why) };
        let size = size_of::<T>();
        if !bytes.start.is_multiple_of(size) || !bytes.end.is_multiple_of(size) {
            return Err(D::Error::new(refused(NoArray::OtherNumbers)));
        }
        let place = bytes.start / size..bytes.end / size;
        Array::found(hold, place).map_err(|why| D::Error::new(refused(why)))
    }
}

#[cfg(test)]
#[path = "array_tests.rs"]
mod tests;
