//! Large pieces of a segment: pages put behind them, written where they lie, read where they lie,
//! and given back.
//!
//! Everything else of a segment is atomics that are copied out of before anybody looks. This is
//! not: whoever reads a piece in place trusts its writer not to change it meanwhile, as processes
//! of one family trust each other. A writer that breaks that trust makes its reader's references
//! mean something else under its hands, which may end the reader; so peers of no family get a copy.
//!
//! This file does not know who may write where: that is `transport/arena`.

use std::fmt;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use nix::sys::mman::{MmapAdvise, madvise};

use super::body::Still;
use super::memory::{SEGMENT_ALIGN, Segment};

impl Segment {
    /// Puts a page behind each byte of `range`, which begins and ends with a page.
    ///
    /// # Errors
    /// What the system said: /dev/shm is full, there is no memory, or this system cannot do it
    /// (Linux before 5.14). Some of the pages may be there then.
    ///
    /// # Panics
    /// When the range is not of whole pages within the segment.
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let (at, len) = self.pages(range);
        // SAFETY: the range lies in our mapping, and populating it changes no byte of it.
        let populated = unsafe { madvise(at.cast(), len, MmapAdvise::MADV_POPULATE_WRITE) };
        Ok(populated?)
    }

    /// Takes the pages of `range` away, of every process: what was there reads as zeros. Nothing in
    /// it may be touched until it is populated again.
    ///
    /// # Errors
    /// What the system said; the pages stay.
    ///
    /// # Panics
    /// When the range is not of whole pages within the segment.
    pub(crate) fn give_back(&self, range: Range<usize>) -> io::Result<()> {
        let (at, len) = self.pages(range);
        // SAFETY: the range lies in our mapping, which nobody holds a reference into but as
        // atomics: their value becomes zero, as any store could make it.
        let given = unsafe { madvise(at.cast(), len, MmapAdvise::MADV_REMOVE) };
        Ok(given?)
    }

    fn pages(&self, range: Range<usize>) -> (NonNull<u8>, usize) {
        let is_whole = |at: usize| at.is_multiple_of(SEGMENT_ALIGN);
        assert!(
            is_whole(range.start) && is_whole(range.end) && range.start < range.end,
            "pages are whole"
        );
        (self.at(&range), range.len())
    }

    /// Where `range` lies in this process.
    fn at(&self, range: &Range<usize>) -> NonNull<u8> {
        let words = self.words();
        assert!(
            range.start <= range.end && range.end <= size_of_val(words),
            "a piece lies inside its segment"
        );
        let base = NonNull::from(words).cast::<u8>();
        // SAFETY: the start was found to lie within the words, which are one mapping.
        unsafe { base.add(range.start) }
    }
}

/// A piece of a segment that this process writes, and nobody reads yet. What is written is not read
/// back but by [`read_back`](Self::read_back).
pub(crate) struct Span {
    at: NonNull<u8>,
    len: usize,
    /// Keeps the mapping.
    _segment: Arc<Segment>,
}

// SAFETY: the bytes belong to a mapping that no thread is tied to, which lives as long as the
// span's count of it.
unsafe impl Send for Span {}

impl Span {
    /// The bytes of `range`, all of them populated, which are this writer's alone until it tells of
    /// them.
    ///
    /// # Panics
    /// When the range lies outside of the segment.
    pub(crate) fn new(segment: &Arc<Segment>, range: Range<usize>) -> Self {
        Self {
            at: segment.at(&range),
            len: range.len(),
            _segment: Arc::clone(segment),
        }
    }

    /// All of it but the first `len` bytes.
    ///
    /// # Panics
    /// When there are fewer.
    pub(crate) fn behind(self, len: usize) -> Self {
        self.check(0, len);
        Self {
            // SAFETY: checked above: the place lies inside the span, or at its end.
            at: unsafe { self.at.add(len) },
            len: self.len - len,
            _segment: self._segment,
        }
    }

    /// How many bytes there is room for.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes `bytes` from byte `at` on.
    ///
    /// # Panics
    /// When they do not fit.
    #[inline]
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        self.check(at, bytes.len());
        // SAFETY: checked above: the place lies inside the span.
        let to = unsafe { self.at.add(at) };
        // SAFETY: `to` is valid for so many writes: checked above. The regions do not overlap:
        // `bytes` is memory that others may not write, of which a span is no part. Nothing in this
        // process reads the span meanwhile: it is the writer's alone.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Copies the first bytes out again, for a writer that goes on elsewhere. A peer can make them
    /// any bytes: what it then gets is its own.
    ///
    /// # Panics
    /// When there are fewer.
    pub(crate) fn read_back(&self, bytes: &mut [u8]) {
        self.check(0, bytes.len());
        // SAFETY: the span is valid for so many reads: checked above; `bytes` is a unique reference
        // to memory elsewhere.
        unsafe {
            self.at
                .copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len());
        }
    }

    /// Takes over the first `len` bytes of `other`, which lies elsewhere.
    ///
    /// # Panics
    /// When either is shorter.
    pub(crate) fn copy_from(&self, other: &Self, len: usize) {
        self.check(0, len);
        other.check(0, len);
        // SAFETY: both are valid for so many bytes: checked above. A copy that may overlap, because
        // only the owner of both knows that they do not.
        unsafe { self.at.copy_from(other.at, len) };
    }

    fn check(&self, at: usize, len: usize) {
        let end = at.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.len),
            "what is written stays inside its span"
        );
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// A piece of a segment that is read where it lies. Its end tells `D`, by dropping it.
pub(crate) struct InPlace<D> {
    at: NonNull<u8>,
    len: usize,
    /// Dropped before the mapping goes.
    _done: D,
    /// Keeps the mapping.
    _segment: Arc<Segment>,
}

// SAFETY: the bytes may be read by any thread, and the mapping is tied to none.
unsafe impl<D: Send> Send for InPlace<D> {}
// SAFETY: a shared one gives nothing but shared references to bytes.
unsafe impl<D: Sync> Sync for InPlace<D> {}

impl<D> InPlace<D> {
    /// The bytes of `range`, which its writer has told of and leaves alone until `done` is dropped.
    ///
    /// # Panics
    /// When the range lies outside of the segment.
    pub(crate) fn new(segment: &Arc<Segment>, range: Range<usize>, done: D) -> Self {
        Self {
            at: segment.at(&range),
            len: range.len(),
            _done: done,
            _segment: Arc::clone(segment),
        }
    }
}

// SAFETY: the bytes lie in a mapping, where moving the value leaves them.
unsafe impl<D: Send + Sync> Still for InPlace<D> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: the range was found to lie in the mapping, which `_segment` keeps. Its writer
        // does not change it before `_done` is dropped, which the lifetime of `&self` outlasts not:
        // of a writer in another process that is the trust which this file begins with.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<D> fmt::Debug for InPlace<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPlace")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PAGE: usize = SEGMENT_ALIGN;

    /// How much of this process's shared memory is resident, in bytes.
    fn resident() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssShmem:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() << 10
    }

    /// Pages come when they are asked for, hold what is written, and go again; what was there is
    /// zeros then.
    #[test]
    fn pages_come_and_go() {
        if !crate::sys::again::alone(module_path!(), "pages_come_and_go") {
            return;
        }
        const LEN: usize = 64 * PAGE;
        let segment = Arc::new(Segment::create(4 * LEN).unwrap());
        segment.unlink();
        let before = resident();
        segment.populate(LEN..2 * LEN).unwrap();
        assert!(resident() >= before + LEN);
        let span = Span::new(&segment, LEN..2 * LEN);
        span.write(PAGE - 2, &[7; 4]);
        let mut back = [0; PAGE];
        span.read_back(&mut back);
        assert_eq!(back[PAGE - 3..], [0, 7, 7]);
        let seen = InPlace::new(&segment, LEN + PAGE..LEN + PAGE + 3, ());
        assert_eq!(seen.bytes(), [7, 7, 0]);
        drop(seen);
        segment.give_back(LEN..2 * LEN).unwrap();
        assert!(resident() < before + LEN / 2);
        segment.populate(LEN..LEN + PAGE).unwrap();
        let seen = InPlace::new(&segment, LEN..LEN + PAGE, ());
        assert_eq!(seen.bytes(), [0; PAGE]);
    }

    /// What does not fit is refused before anything is written.
    #[test]
    #[should_panic(expected = "inside its span")]
    fn a_span_ends_where_it_ends() {
        let segment = Arc::new(Segment::private(2 * PAGE));
        Span::new(&segment, 0..PAGE).write(PAGE - 1, &[1, 2]);
    }
}
