//! The bytes of a message: in memory of their own, or where the peer has put them. Pure.
//!
//! It stands in this room because a value that lies within its bytes wherever they are
//! ([`checked`](super::checked)) cannot be said in safe Rust; it knows nothing of messages.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::slice;

use rkyv::util::AlignedVec;

/// Bytes that stay where they are and as they are as long as their owner lives, wherever that is
/// moved.
///
/// # Safety
/// Two calls of `bytes` give the same bytes at the same place, also after a move.
pub(crate) unsafe trait Still: fmt::Debug + Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// Bytes begin at a multiple of so many.
pub(crate) const ALIGNMENT: usize = 16;

/// The bytes of one message. Those of its own memory are there to be used again; those that lie
/// elsewhere are let go when they are no longer needed.
#[doc(hidden)]
#[derive(Default)]
pub struct Body {
    /// The bytes; beside those that lie elsewhere, what came with them.
    own: AlignedVec<ALIGNMENT>,
    elsewhere: Option<Box<dyn Still>>,
}

impl Body {
    /// No bytes.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            own: AlignedVec::new(),
            elsewhere: None,
        }
    }

    /// Makes it `len` bytes of its own memory, which are written by `fill`.
    #[inline]
    pub(crate) fn fill(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.let_go();
        self.own.resize(len, 0);
        fill(&mut self.own);
    }

    /// Makes it the bytes of `still`, beside the few of its own.
    pub(crate) fn put(&mut self, still: Box<dyn Still>) {
        self.elsewhere = Some(still);
    }

    /// Its own memory, to write into.
    pub(crate) fn own_mut(&mut self) -> &mut AlignedVec<ALIGNMENT> {
        self.let_go();
        &mut self.own
    }

    /// Cuts the last `len` bytes off, and shows them to `see` before: those that came beside it, if
    /// it lies elsewhere. None: it has not so many.
    pub(crate) fn cut<R>(&mut self, len: usize, see: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let rest = self.own.len().checked_sub(len)?;
        if self.elsewhere.is_some() && rest > 0 {
            return None;
        }
        let seen = see(&self.own[rest..]);
        self.own.resize(rest, 0);
        Some(seen)
    }

    /// Lets what lies elsewhere go.
    #[inline]
    pub(crate) fn let_go(&mut self) {
        if self.elsewhere.is_some() {
            self.elsewhere = None;
            self.own.clear();
        }
    }

    /// Forgets the bytes, and keeps the memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.let_go();
        self.own.clear();
    }

    /// The bytes in memory of their own, where they stay as they are.
    pub(crate) fn into_private(self) -> AlignedVec<ALIGNMENT> {
        let Some(still) = &self.elsewhere else {
            return self.own;
        };
        let mut own = AlignedVec::with_capacity(still.bytes().len());
        own.extend_from_slice(still.bytes());
        own
    }

    /// Its own memory, to be used again.
    #[inline]
    pub(crate) fn into_own(mut self) -> AlignedVec<ALIGNMENT> {
        self.let_go();
        self.own
    }
}

/// Appends `len` bytes, which are written to where nothing was before: `write` gives what it has
/// written.
///
/// # Panics
/// When that is not all of it.
pub(crate) fn append(
    bytes: &mut AlignedVec<ALIGNMENT>,
    len: usize,
    write: impl FnOnce(&mut [MaybeUninit<u8>]) -> &mut [u8],
) {
    bytes.reserve(len);
    let at = bytes.len();
    let begin = bytes.as_mut_ptr().wrapping_add(at);
    // SAFETY: so many bytes were reserved behind those that there are, which are the vector's
    // alone, and may hold anything.
    let room = unsafe { slice::from_raw_parts_mut(begin.cast::<MaybeUninit<u8>>(), len) };
    let written = write(room);
    assert!(
        std::ptr::eq(written.as_ptr(), begin) && written.len() == len,
        "all of it is written"
    );
    // SAFETY: they are initialised: safe code can have made a slice of them, which is what came
    // back, only by writing all.
    unsafe { bytes.set_len(at + len) };
}

impl Deref for Body {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.elsewhere {
            None => &self.own,
            Some(still) => still.bytes(),
        }
    }
}

impl From<AlignedVec<ALIGNMENT>> for Body {
    #[inline]
    fn from(own: AlignedVec<ALIGNMENT>) -> Self {
        let elsewhere = None;
        Self { own, elsewhere }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("len", &self.len())
            .field("lies_elsewhere", &self.elsewhere.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often it was let go.
    #[derive(Debug)]
    struct Counted(Arc<AtomicUsize>, Vec<u8>);

    // SAFETY: the bytes are on the heap, and nobody changes them.
    unsafe impl Still for Counted {
        fn bytes(&self) -> &[u8] {
            &self.1
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is appended is there, behind what was, and nothing is taken for written that was not.
    #[test]
    fn bytes_are_appended() {
        fn written(room: &mut [MaybeUninit<u8>], byte: u8) -> &mut [u8] {
            room.fill(MaybeUninit::new(byte));
            // SAFETY: all of it was just written, and is borrowed for as long.
            unsafe { slice::from_raw_parts_mut(room.as_mut_ptr().cast(), room.len()) }
        }
        let mut bytes = AlignedVec::new();
        for round in 0..100_u8 {
            append(&mut bytes, 3, |room| written(room, round));
        }
        assert_eq!(bytes.len(), 300);
        assert!((0..300).all(|at| usize::from(bytes[at]) == at / 3));
        let caught = std::panic::catch_unwind(move || append(&mut bytes, 3, |_| &mut []));
        assert!(caught.is_err());
    }

    /// A body shows its own bytes or those elsewhere, and lets the latter go once, whatever it
    /// becomes.
    #[test]
    fn bodies_let_go() {
        let gone = Arc::new(AtomicUsize::new(0));
        let elsewhere = |bytes: &[u8]| Box::new(Counted(Arc::clone(&gone), bytes.to_vec()));
        let mut body = Body::new();
        body.fill(3, |own| own.copy_from_slice(&[1, 2, 3]));
        assert_eq!(body.cut(4, <[u8]>::to_vec), None);
        assert_eq!(body.cut(1, <[u8]>::to_vec), Some(vec![3]));
        assert_eq!(*body, [1, 2]);
        body.put(elsewhere(b"there"));
        assert_eq!(*body, *b"there");
        assert_eq!(
            body.cut(1, <[u8]>::to_vec),
            None,
            "what came beside it is cut whole"
        );
        assert_eq!(body.cut(2, <[u8]>::to_vec), Some(vec![1, 2]));
        assert_eq!(*body, *b"there");
        body.fill(1, |own| own[0] = 9);
        assert_eq!((&*body, gone.load(Ordering::Relaxed)), (&[9][..], 1));
        body.put(elsewhere(b"again"));
        body.clear();
        assert!(body.is_empty());
        body.put(elsewhere(b"last"));
        assert!(body.into_own().is_empty());
        assert_eq!(gone.load(Ordering::Relaxed), 3);
    }
}
