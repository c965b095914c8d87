//! Who sleeps, and can be woken from anywhere: a waker that is hung up once and stays there.
//!
//! A task is woken by the same waker as long as it lives. A place that gives its waker away when it
//! is used has to be filled again before each sleep; this one is filled again only when another
//! task sleeps there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Where a waker hangs; shared with whoever may wake.
#[derive(Debug, Default)]
pub(crate) struct Sleeper(Mutex<Option<Waker>>);

impl Sleeper {
    /// Wakes who sleeps here. What was told before this, the sleeper sees when it looks.
    pub(crate) fn wake(&self) {
        // Under the lock, for a clone would cost as much as the lock. Wakers of tasks run nothing
        // of the task's.
        if let Some(waker) = &*self.lock() {
            waker.wake_by_ref();
        }
    }

    /// Takes the waker down: nobody sleeps here any more, and what it holds of a task is let go.
    pub(crate) fn leave(&self) {
        let waker = self.lock().take();
        drop(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sleeper's own end: it knows which waker hangs there.
#[derive(Debug, Default)]
pub(crate) struct Bed(Option<Waker>);

impl Bed {
    /// Has the task woken by `sleeper` from now on. Ask then, and not before, whether there is
    /// anything to do.
    #[inline]
    pub(crate) fn lie_down(&mut self, sleeper: &Sleeper, cx: &Context<'_>) {
        self.lie_elsewhere(cx, |waker| {
            let last = sleeper.lock().replace(waker.clone());
            drop(last);
        });
    }

    /// The same where the waker hangs elsewhere: `hang` is given one that is not there yet.
    #[inline]
    pub(crate) fn lie_elsewhere(&mut self, cx: &Context<'_>, hang: impl FnOnce(&Waker)) {
        let is_there = |waker: &Waker| waker.will_wake(cx.waker());
        if !self.0.as_ref().is_some_and(is_there) {
            hang(cx.waker());
            self.0 = Some(cx.waker().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A waker that was hung up once wakes again and again; another one takes its place, and the
    /// first is let go.
    #[test]
    fn wakers_stay_until_they_change() {
        let (sleeper, mut bed) = (Sleeper::default(), Bed::default());
        sleeper.wake();
        let counts = [Arc::<Count>::default(), Arc::<Count>::default()];
        let count = |at: usize| counts[at].0.load(Ordering::Relaxed);
        for (at, woken) in [(0, [2, 0]), (0, [4, 0]), (1, [4, 2])] {
            let waker = Waker::from(Arc::clone(&counts[at]));
            bed.lie_down(&sleeper, &Context::from_waker(&waker));
            sleeper.wake();
            sleeper.wake();
            assert_eq!([count(0), count(1)], woken);
        }
        assert_eq!(Arc::strong_count(&counts[0]), 1);
        sleeper.leave();
        sleeper.wake();
        assert_eq!(count(1), 2);
    }
}
