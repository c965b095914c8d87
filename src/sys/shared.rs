//! Numbers in memory that several processes read and write at the same time.
//!
//! ```text
//!  Shared::alloc ──> [ number | number | .. ] <── its descriptor ── Shared elsewhere
//! ```
//!
//! Each number is an atomic, so whatever others write, there is no data race; and any bytes are a
//! number, so there is nothing to check. The memory keeps its size by its seals, which leave
//! writing free. What a peer can do beyond writing numbers is to take pages away (`fallocate` with
//! holes): they are zero then, and the next touch finds new ones.
//!
//! In one process all see the same memory as numbers of one size. Atomics of several sizes over the
//! same bytes have no meaning in Rust.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering,
};

use super::pages::{self, Access, AllocError, Descriptor, DescriptorError, Pages};
use super::sealed::Number;

/// An [`Array`](crate::Array) could not be made.
///
/// # Examples
/// ```
/// use callboard::{Array, ArrayError};
///
/// // More than any machine has.
/// let error = Array::<f64>::new(1 << 47).unwrap_err();
/// assert!(matches!(error, ArrayError::Resources { what: "memory", .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// The system has not got what it takes.
    #[error("not enough {what} for an array of {len} bytes")]
    #[non_exhaustive]
    Resources {
        /// What has run out: `"memory"`, `"descriptors"` or `"mappings"`.
        what: &'static str,
        /// How many bytes it would have.
        len: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused to fix its size.
    #[error("an array could not be sealed")]
    Seal(#[source] io::Error),
}

/// A [`Number`] that processors read and write at once: what an [`Array`](crate::Array) is made of.
///
/// Implemented for `u8` to `u64`, `i8` to `i64`, `f32` and `f64`.
///
/// # Safety
/// The atomic has the size of the number, lies where the number may, and any bytes are a value of
/// it.
///
/// # Examples
/// ```
/// use callboard::{Array, Element};
///
/// fn largest<E: Element + PartialOrd>(array: &Array<E>) -> Option<E> {
///     array.to_vec().into_iter().reduce(|a, b| if b > a { b } else { a })
/// }
/// assert_eq!(largest(&Array::copy_from(&[1.5, 3.0, 2.0])?), Some(3.0));
/// # callboard::Result::<()>::Ok(())
/// ```
pub unsafe trait Element: Number + Default {
    /// The atomic of its size.
    #[doc(hidden)]
    type Atom: Send + Sync + 'static;

    /// Its load.
    #[doc(hidden)]
    fn __load(atom: &Self::Atom, ordering: Ordering) -> Self;

    /// Its store.
    #[doc(hidden)]
    fn __store(atom: &Self::Atom, value: Self, ordering: Ordering);

    /// Its swap.
    #[doc(hidden)]
    fn __swap(atom: &Self::Atom, value: Self) -> Self;

    /// Its exchange of one value, by its bits; if there was another one, that.
    ///
    /// # Errors
    /// The other one.
    #[doc(hidden)]
    fn __exchange(atom: &Self::Atom, current: Self, new: Self) -> Result<Self, Self>;
}

macro_rules! elements {
    ($($number:ty: $atom:ty, $to:expr, $from:expr;)*) => {$(
        const _: () = assert!(
            size_of::<$number>() == size_of::<$atom>()
                && align_of::<$atom>() == size_of::<$atom>()
        );

        // SAFETY: sizes and alignments are asserted above, and an atomic takes any bytes, as the
        // integer in it does.
        unsafe impl Element for $number {
            type Atom = $atom;

            #[inline]
            fn __load(atom: &$atom, ordering: Ordering) -> Self {
                $from(atom.load(ordering))
            }

            #[inline]
            fn __store(atom: &$atom, value: Self, ordering: Ordering) {
                atom.store($to(value), ordering);
            }

            #[inline]
            fn __swap(atom: &$atom, value: Self) -> Self {
                $from(atom.swap($to(value), Ordering::AcqRel))
            }

            #[inline]
            fn __exchange(atom: &$atom, current: Self, new: Self) -> Result<Self, Self> {
                let (current, new) = ($to(current), $to(new));
                let (done, not) = (Ordering::AcqRel, Ordering::Acquire);
                let exchanged = atom.compare_exchange(current, new, done, not);
                exchanged.map($from).map_err($from)
            }
        }
    )*};
}

elements! {
    u8: AtomicU8, std::convert::identity, std::convert::identity;
    u16: AtomicU16, std::convert::identity, std::convert::identity;
    u32: AtomicU32, std::convert::identity, std::convert::identity;
    u64: AtomicU64, std::convert::identity, std::convert::identity;
    i8: AtomicI8, std::convert::identity, std::convert::identity;
    i16: AtomicI16, std::convert::identity, std::convert::identity;
    i32: AtomicI32, std::convert::identity, std::convert::identity;
    i64: AtomicI64, std::convert::identity, std::convert::identity;
    f32: AtomicU32, f32::to_bits, f32::from_bits;
    f64: AtomicU64, f64::to_bits, f64::from_bits;
}

/// Memory of fixed size that everybody with its descriptor reads and writes.
#[derive(Debug)]
pub(crate) struct Shared {
    pages: Pages,
    /// The size of the numbers as which this process sees it; zero before the first look.
    element_size: AtomicUsize,
}

impl Shared {
    /// Zeroed memory of `len` bytes, all of them there.
    ///
    /// # Errors
    /// [`ArrayError`], and nothing is left.
    pub(crate) fn alloc(len: usize) -> Result<Self, ArrayError> {
        let failed = |AllocError { what, source }| ArrayError::Resources { what, len, source };
        let (fd, mapping) = pages::alloc(len).map_err(failed)?;
        pages::seal(fd.as_fd(), Access::Write).map_err(ArrayError::Seal)?;
        let pages = Pages::new(fd, mapping);
        let pages = pages.map_err(|error| failed(AllocError::of_mapping(error)))?;
        Ok(Self::of(pages))
    }

    /// Maps what a peer has sent, which may be written.
    ///
    /// # Errors
    /// It may not, or there is no room for a mapping.
    pub(crate) fn map(descriptor: Descriptor) -> Result<Self, DescriptorError> {
        if descriptor.access() != Access::Write {
            return Err(DescriptorError::Wrong("memory that may not be written"));
        }
        let pages = descriptor.map().map_err(DescriptorError::Resources)?;
        Ok(Self::of(pages))
    }

    fn of(pages: Pages) -> Self {
        let element_size = AtomicUsize::new(0);
        Self {
            pages,
            element_size,
        }
    }

    /// The memory as it is passed on.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// All of it as numbers; none if they would not fill it, or it was seen as numbers of another
    /// size before.
    fn atoms<E: Element>(&self) -> Option<&[E::Atom]> {
        let mapping = self.pages.mapping();
        let size = size_of::<E>();
        if !mapping.len().is_multiple_of(size) {
            return None;
        }
        // Relaxed: the size publishes nothing but itself.
        let (relaxed, seen) = (Ordering::Relaxed, &self.element_size);
        if let Err(other) = seen.compare_exchange(0, size, relaxed, relaxed)
            && other != size
        {
            return None;
        }
        let (base, count) = (mapping.base().cast(), mapping.len() / size);
        // SAFETY: `base` is valid for so many numbers while the mapping lives, which `&self`
        // outlasts not, and begins a page, where any of them may lie. They are atomics, of which
        // any bytes are a value, and all who see this mapping see the same ones, as `element_size`
        // says; other processes' changes are what their interior mutability allows. The memory
        // keeps its size, by its seals.
        Some(unsafe { slice::from_raw_parts(base.as_ptr(), count) })
    }
}

/// The numbers of shared memory, or some of them, together with that.
pub(crate) struct Atoms<E: Element> {
    /// Lie in `memory`.
    numbers: NonNull<[E::Atom]>,
    memory: Arc<Shared>,
}

impl<E: Element> Atoms<E> {
    /// Those from `begin` on, so many; none if they are not there, or are numbers of another size.
    pub(crate) fn new(memory: &Arc<Shared>, begin: usize, count: usize) -> Option<Self> {
        let end = begin.checked_add(count)?;
        let numbers = NonNull::from(memory.atoms::<E>()?.get(begin..end)?);
        let memory = Arc::clone(memory);
        Some(Self { numbers, memory })
    }

    /// They themselves.
    #[inline]
    pub(crate) fn numbers(&self) -> &[E::Atom] {
        // SAFETY: they are a part of what `atoms` gave, which is valid while the mapping lives; it
        // does not move, and is kept by `memory`.
        unsafe { self.numbers.as_ref() }
    }
}

impl<E: Element> Clone for Atoms<E> {
    fn clone(&self) -> Self {
        Self {
            numbers: self.numbers,
            memory: Arc::clone(&self.memory),
        }
    }
}

// SAFETY: the memory may go to other threads, and of the numbers nothing but shared references to
// atomics is ever had.
unsafe impl<E: Element> Send for Atoms<E> {}
// SAFETY: a shared one gives nothing but shared references to atomics.
unsafe impl<E: Element> Sync for Atoms<E> {}

impl<E: Element> fmt::Debug for Atoms<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Atoms")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FallocateFlags, fallocate};
    use std::fs::File;
    use std::io::{Seek as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;
    use std::time::{Duration, Instant};

    use super::*;

    fn again(memory: &Shared, access: Access) -> Result<Descriptor, DescriptorError> {
        let fd = memory.pages().as_fd().try_clone_to_owned();
        let fd = fd.map_err(DescriptorError::Resources)?;
        Descriptor::check(fd, memory.pages().len() as u64, access)
    }

    /// Two mappings of one memory show each other's numbers; its size stays, and pages that are
    /// taken away are zero.
    #[test]
    fn numbers_are_everybodys() {
        let ours = Arc::new(Shared::alloc(8000).unwrap());
        let theirs = Arc::new(Shared::map(again(&ours, Access::Write).unwrap()).unwrap());
        assert_eq!(ours.pages().identity(), theirs.pages().identity());
        let here = Atoms::<f64>::new(&ours, 0, 1000).unwrap();
        let there = Atoms::<f64>::new(&theirs, 990, 10).unwrap();
        f64::__store(&here.numbers()[999], -1.5, Ordering::Release);
        assert_eq!(f64::__load(&there.numbers()[9], Ordering::Acquire), -1.5);
        assert_eq!(f64::__swap(&there.numbers()[9], 2.5), -1.5);
        let last = &here.numbers()[999];
        assert_eq!(f64::__exchange(last, 7.0, 8.0), Err(2.5));
        assert_eq!(f64::__exchange(last, 2.5, f64::NAN), Ok(2.5));
        assert!(f64::__exchange(last, f64::NAN, 3.5).is_ok(), "by its bits");
        let file = File::from(ours.pages().as_fd().try_clone_to_owned().unwrap());
        assert!(file.set_len(0).is_err() && file.set_len(9000).is_err());
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, hole, 0, 8000).unwrap();
        assert_eq!(f64::__load(last, Ordering::Acquire), 0.0);
        drop((ours, theirs));
        assert_eq!(f64::__load(&there.numbers()[9], Ordering::Acquire), 0.0);
    }

    /// Memory is known again that was written since, however the system stamps that.
    #[test]
    fn what_was_written_is_known_again() {
        let memory = Shared::alloc(8).unwrap();
        let mut file = File::from(memory.pages().as_fd().try_clone_to_owned().unwrap());
        let changed = |file: &File| {
            let found = file.metadata().unwrap();
            (found.ctime(), found.ctime_nsec())
        };
        let begun = Instant::now();
        let before = changed(&file);
        while changed(&file) == before {
            assert!(begun.elapsed() < Duration::from_secs(20), "no stamp");
            file.rewind().unwrap();
            file.write_all(&[7; 8]).unwrap();
        }
        let again = again(&memory, Access::Write).unwrap();
        assert_eq!(again.identity(), memory.pages().identity());
    }

    /// Memory is seen as numbers of one size, that fill it, and lie within it.
    #[test]
    fn numbers_have_one_size() {
        let memory = Arc::new(Shared::alloc(12).unwrap());
        assert!(
            Atoms::<f64>::new(&memory, 0, 1).is_none(),
            "they leave a rest"
        );
        assert!(Atoms::<f32>::new(&memory, 0, 3).is_some());
        assert!(Atoms::<u32>::new(&memory, 3, 0).is_some());
        for (begin, count) in [(0, 4), (4, 0), (2, 2), (usize::MAX, 2)] {
            assert!(Atoms::<i32>::new(&memory, begin, count).is_none());
        }
        assert!(
            Atoms::<u16>::new(&memory, 0, 1).is_none(),
            "of another size"
        );
        let nothing = Arc::new(Shared::alloc(0).unwrap());
        assert!(Atoms::<u64>::new(&nothing, 0, 0).is_some());
    }

    /// Memory that may be written is not taken for sealed memory, nor the other way.
    #[test]
    fn access_is_what_was_announced() {
        let memory = Shared::alloc(10).unwrap();
        assert!(matches!(
            again(&memory, Access::Read),
            Err(DescriptorError::Wrong("memory with other seals"))
        ));
        let found = again(&memory, Access::Write).unwrap();
        assert!(super::super::sealed::Sealed::map(found).is_err());
        let sealed = super::super::sealed::BlobBuilder::alloc(10).unwrap();
        let sealed = sealed.into_sealed().unwrap();
        let fd = sealed.pages().as_fd().try_clone_to_owned().unwrap();
        let found = Descriptor::check(fd, 10, Access::Read).unwrap();
        assert!(Shared::map(found).is_err());
    }
}
