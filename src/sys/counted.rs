//! A value whose users are counted apart from those who only keep it.
//!
//! ```text
//!  Used, Used, ..  ── users: 2 ──> the first takes a part in the Arc, the last gives it back
//!  Arc, Arc, Weak  ── strong, weak ──> the value itself
//! ```
//!
//! Who keeps a value hands it out to be used, and hears when nobody uses it any more, without an
//! allocation for each time: a user more or less is one count.
//!
//! It stands in this room because one count for many owners cannot be said in safe Rust.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::sealed::Stable;

/// More users than any process has; one that clones and forgets without end is stopped before the
/// count runs over, as [`Arc`] does it.
const USERS_MAX: usize = usize::MAX >> 1;

/// What hears that nobody uses it any more.
pub(crate) trait Unused {
    /// The last user has gone. Others may come at the same time: then this is called again, when
    /// these have gone.
    fn unused(&self);
}

/// A value, and how many use it. It lives in an [`Arc`].
pub(crate) struct Counted<T> {
    users: AtomicUsize,
    value: T,
}

impl<T> Counted<T> {
    /// A value that nobody uses yet.
    pub(crate) fn new(value: T) -> Arc<Self> {
        Arc::new(Self {
            users: AtomicUsize::new(0),
            value,
        })
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// A part in the use of a value, which is there as long as somebody uses it.
///
/// All users of a value together have one part in its [`Arc`]: each change of `users` from none to
/// one takes it, each from one to none gives it back.
pub(crate) struct Used<T: Unused>(NonNull<Counted<T>>);

impl<T: Unused> Used<T> {
    /// One user more of what is kept.
    #[inline]
    pub(crate) fn of(kept: &Arc<Counted<T>>) -> Self {
        let place = Arc::as_ptr(kept);
        if count_up(&kept.users) == 0 {
            // Given back by whoever is the last of those that come now. Until it is taken, `kept`
            // keeps the value for all of them.
            let part = Arc::into_raw(Arc::clone(kept));
            debug_assert!(std::ptr::eq(part, place), "it is one value");
        }
        Self(NonNull::new(place.cast_mut()).expect("an Arc lies somewhere"))
    }

    /// Whether both use the same value.
    #[inline]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Where the value lies: no other one lies there as long as this one is kept.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// A part in the value for who keeps it without using it.
    pub(crate) fn keep(&self) -> Arc<Counted<T>> {
        // SAFETY: the pointer is that of an `Arc`, as `into_raw` gave it for the part which the
        // users have together; this is one of them, so the value is there.
        unsafe { Arc::increment_strong_count(self.0.as_ptr()) };
        // SAFETY: the same pointer, and the part that was made above is this one's.
        unsafe { Arc::from_raw(self.0.as_ptr()) }
    }
}

/// One user more; gives how many there were.
#[inline]
fn count_up(users: &AtomicUsize) -> usize {
    // ORDERING: Relaxed; who comes has the value already, by another user or a part of his own.
    let before = users.fetch_add(1, Ordering::Relaxed);
    if before > USERS_MAX {
        std::process::abort();
    }
    before
}

impl<T: Unused> Deref for Used<T> {
    type Target = Counted<T>;

    #[inline]
    fn deref(&self) -> &Counted<T> {
        // SAFETY: the users' part in the `Arc` keeps the value where it is, and `self` is a user
        // as long as the borrow lasts. Nobody has a mutable reference to what an `Arc` holds.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Unused> Clone for Used<T> {
    #[inline]
    fn clone(&self) -> Self {
        // `self` is one, so it is never the first.
        count_up(&self.users);
        Self(self.0)
    }
}

impl<T: Unused> Drop for Used<T> {
    // Not inlined: what mostly has none is dropped in many places.
    #[inline(never)]
    fn drop(&mut self) {
        // ORDERING: AcqRel; what each user did with the value comes before this, and the last one
        // sees all of it: pairs with itself in the other users.
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }
}

impl<T: Unused> Used<T> {
    /// The last user has gone.
    #[inline]
    fn end(&self) {
        // The part that the first user took is still there.
        self.value.unused();
        // SAFETY: the pointer is the one that `Arc::into_raw` gave when the count went up from
        // none; it has gone down to none since, once for each such part. Nothing is touched later.
        unsafe { Arc::decrement_strong_count(self.0.as_ptr()) };
    }
}

impl<T: Unused + fmt::Debug> fmt::Debug for Used<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

// SAFETY: it gives shared references to the value, and its last owner may drop the value: as an
// `Arc` does, under the same conditions.
unsafe impl<T: Unused + Send + Sync> Send for Used<T> {}
// SAFETY: a shared one can be cloned, and so may be dropped elsewhere; else as above.
unsafe impl<T: Unused + Send + Sync> Sync for Used<T> {}

// SAFETY: the value lies in an `Arc`, which moving or cloning its users does not move; it is there
// as long as one of them is, and nobody has a mutable reference to it.
unsafe impl<T: Unused> Stable for Used<T> {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Told {
        times: AtomicUsize,
        is_dropped: Arc<AtomicBool>,
    }

    impl Unused for Told {
        fn unused(&self) {
            assert!(
                !self.is_dropped.load(Ordering::Relaxed),
                "it is still there"
            );
            self.times.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            self.is_dropped.store(true, Ordering::Relaxed);
        }
    }

    fn times(told: &Told) -> usize {
        told.times.load(Ordering::Relaxed)
    }

    /// The value hears of the end of its use each time, and not before the last user has gone; it
    /// is dropped when nobody uses nor keeps it.
    #[test]
    fn the_last_user_is_told_of() {
        let kept = Counted::new(Told::default());
        let is_dropped = Arc::clone(&kept.is_dropped);
        for round in 0..3 {
            let one = Used::of(&kept);
            let (two, three) = (Used::of(&kept), one.clone());
            assert!(one.is_same(&two) && Arc::ptr_eq(&three.keep(), &kept));
            assert_eq!(Arc::strong_count(&kept), 2, "all users have one part");
            drop((one, three));
            assert_eq!(times(&kept), round);
            drop(two);
            assert_eq!(times(&kept), round + 1);
        }
        let last = Used::of(&kept);
        let weak = Arc::downgrade(&kept);
        drop(kept);
        assert!(weak.upgrade().is_some() && times(&last) == 3);
        drop(last);
        assert!(is_dropped.load(Ordering::Relaxed) && weak.upgrade().is_none());
    }

    /// Users that come and go on several threads at once leave nothing, whoever is the last.
    #[test]
    fn users_come_and_go_at_once() {
        let rounds = if cfg!(miri) { 20 } else { 2000 };
        let kept = Counted::new(Told::default());
        let is_dropped = Arc::clone(&kept.is_dropped);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    for round in 0..rounds {
                        let one = Used::of(&kept);
                        let two = one.clone();
                        drop(one);
                        if round % 7 == 0 {
                            drop(two.keep());
                        }
                    }
                    let last = Used::of(&kept);
                    drop(kept);
                    last
                })
            })
            .collect();
        drop(kept);
        let mut users: Vec<_> = threads.into_iter().map(|one| one.join().unwrap()).collect();
        let last = users.pop().unwrap();
        drop(users);
        assert!(times(&last) <= 3 * rounds && last.users.load(Ordering::Relaxed) == 1);
        assert_eq!(Arc::strong_count(&last.keep()), 2);
        drop(last);
        assert!(is_dropped.load(Ordering::Relaxed));
    }
}
