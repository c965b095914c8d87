//! A value that lies in bytes of its own, found there once and read in place. Pure.
//!
//! It stands in this room because a value beside the bytes that it lies in cannot be said in safe
//! Rust; it knows nothing of archives.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use super::body::Body;

/// A value of type `A` within the bytes beside it.
///
/// ```text
///  bytes ──> [ ......... | root: A ]     never written again as long as they are here
///  root  ────────────────^
/// ```
pub(crate) struct Checked<A: 'static> {
    /// Lies in `bytes`, or lives for ever; valid until `bytes` is changed or given back.
    root: NonNull<A>,
    /// Not touched before the drop.
    bytes: Body,
    give_back: fn(Body),
}

impl<A> Checked<A> {
    /// Keeps `bytes` with the value that `find` finds in them; hands them to `give_back` when they
    /// are no longer needed.
    ///
    /// # Errors
    /// That of `find`.
    pub(crate) fn new<E>(
        bytes: Body,
        find: impl FnOnce(&[u8]) -> Result<&A, E>,
        give_back: fn(Body),
    ) -> Result<Self, E> {
        match find(&bytes).map(NonNull::from) {
            Ok(root) => Ok(Self {
                root,
                bytes,
                give_back,
            }),
            Err(error) => {
                give_back(bytes);
                Err(error)
            }
        }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl<A> Deref for Checked<A> {
    type Target = A;

    #[inline]
    fn deref(&self) -> &A {
        // SAFETY: `find` made this reference from a borrow of `bytes` whose lifetime it could not
        // know, so it is valid for any: as long as the bytes stay where they are and as they are.
        // They lie on the heap or are `Still`, where moving `self` leaves them, and nobody has
        // access to them before the drop.
        unsafe { self.root.as_ref() }
    }
}

impl<A> Drop for Checked<A> {
    fn drop(&mut self) {
        // From here on nobody can ask for the root.
        (self.give_back)(std::mem::take(&mut self.bytes));
    }
}

// SAFETY: the bytes may go to another thread, and of the value nothing but shared references is
// ever had, which may go there because it is `Sync`.
unsafe impl<A: Sync> Send for Checked<A> {}

// SAFETY: a shared one gives nothing but shared references to a value that is `Sync`.
unsafe impl<A: Sync> Sync for Checked<A> {}

impl<A> fmt::Debug for Checked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    type Four = Checked<[u8; 4]>;

    thread_local! {
        static GIVEN_BACK: Cell<usize> = const { Cell::new(0) };
    }

    fn count(_: Body) {
        GIVEN_BACK.set(GIVEN_BACK.get() + 1);
    }

    fn four(bytes: &[u8]) -> Result<Four, usize> {
        let mut own = Body::new();
        own.fill(bytes.len(), |own| own.copy_from_slice(bytes));
        Four::new(own, |bytes| bytes.last_chunk().ok_or(bytes.len()), count)
    }

    /// The value stays where it was found, wherever its owner is moved; the bytes are given back
    /// once, also when nothing is found.
    #[test]
    fn values_outlive_moves() {
        assert_eq!(four(&[1, 2, 3]).map(drop), Err(3));
        assert_eq!(GIVEN_BACK.get(), 1);
        let found = four(&[9, 1, 2, 3, 4]).unwrap();
        let place = (*found).as_ptr();
        let moved = std::thread::spawn(move || vec![found]).join().unwrap();
        assert_eq!((*moved[0], moved[0].len()), ([1, 2, 3, 4], 5));
        assert_eq!((*moved[0]).as_ptr(), place);
        drop(moved);
        assert_eq!(GIVEN_BACK.get(), 2);
    }
}
