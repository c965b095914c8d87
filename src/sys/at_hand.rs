//! A value that a thread has at hand while something runs. Pure.
//!
//! ```text
//!  within(&value, run) ── run ──> .. ──> look(|value| ..)
//! ```
//!
//! It stands in this room because the thread's variable cannot say in safe Rust how long a borrow
//! lasts that is put there; to put the value itself there would cost its owner a count each time.

use std::cell::Cell;
use std::ptr::NonNull;

/// The place of such a value: a thread's variable.
pub(crate) struct AtHand<T>(Cell<Option<NonNull<T>>>);

impl<T> AtHand<T> {
    /// Nothing is at hand.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Runs `run` with `value` at hand; what was before is there again afterwards.
    #[inline]
    pub(crate) fn within<R>(&self, value: &T, run: impl FnOnce() -> R) -> R {
        struct Before<'a, T> {
            place: &'a AtHand<T>,
            before: Option<NonNull<T>>,
        }
        impl<T> Drop for Before<'_, T> {
            #[inline]
            fn drop(&mut self) {
                self.place.0.set(self.before);
            }
        }
        let before = self.0.replace(Some(NonNull::from(value)));
        let _before = Before {
            place: self,
            before,
        };
        run()
    }

    /// Looks at what is at hand, if something is.
    #[inline]
    pub(crate) fn look<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        let value = self.0.get();
        // SAFETY: it is there only while `within`, which borrows it, runs further up on this very
        // thread: a `Cell` is seen by one thread, and cannot be moved while it is borrowed. That
        // call takes it away when it ends, also by a panic, which is not before `look` returns.
        look(value.map(|value| unsafe { value.as_ref() }))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// What is at hand is what the innermost run was given, and nothing when none runs; a panic
    /// leaves nothing behind.
    #[test]
    fn runs_nest() {
        let place = AtHand::new();
        let seen = || place.look(|value: Option<&String>| value.cloned());
        let (one, two) = (String::from("one"), String::from("two"));
        assert_eq!(seen(), None);
        place.within(&one, || {
            assert_eq!(seen().as_ref(), Some(&one));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                place.within(&two, || {
                    assert_eq!(seen().as_ref(), Some(&two));
                    panic!("in the midst");
                });
            }));
            assert!(panicked.is_err());
            assert_eq!(seen().as_ref(), Some(&one));
        });
        assert_eq!(seen(), None);
    }
}
