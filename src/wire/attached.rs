//! The memory that travels beside a message.
//!
//! The archive of a blob says only: the third of those beside this message, from here to there. Who
//! archives a message [collects](Collecting) what its blobs lie in; who reads one has what came
//! with it [at hand](Attached::within). Both are kept by the thread, for the traits of rkyv have no
//! place for it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::holding::Hold;

/// The most memories beside one message.
pub(crate) const ATTACHED_MAX: usize = 64;

/// The memory beside one message; mostly none. A clone is one count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached(Option<Arc<Vec<Beside>>>);

/// One memory beside a message.
#[derive(Clone, Debug)]
pub(crate) enum Beside {
    /// It is here.
    Here(Arc<Hold>),
    /// It came, and could not be kept.
    Lost(Lost),
}

/// Why memory that came could not be kept.
#[derive(Clone, Debug, thiserror::Error)]
#[error("there was no room for its memory here: {0}")]
pub(crate) struct Lost(Arc<str>);

impl Lost {
    /// The system said this.
    pub(crate) fn new(error: &std::io::Error) -> Self {
        Self(error.to_string().into())
    }
}

impl Attached {
    /// These.
    pub(crate) fn new(beside: Vec<Beside>) -> Self {
        Self((!beside.is_empty()).then(|| Arc::new(beside)))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Each of them that is here, in their order. None is missing of those that were collected.
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Arc<Hold>> {
        let all = self.0.as_deref().map_or(&[][..], Vec::as_slice).iter();
        all.filter_map(|beside| match beside {
            Beside::Here(hold) => Some(hold),
            Beside::Lost(_) => None,
        })
    }

    /// Runs `read`, which reads the message beside which these have come.
    #[inline]
    pub(crate) fn within<R>(&self, read: impl FnOnce() -> R) -> R {
        if self.is_empty() {
            read()
        } else {
            self.at_hand(read)
        }
    }

    #[cold]
    fn at_hand<R>(&self, read: impl FnOnce() -> R) -> R {
        struct Before(Attached);
        impl Drop for Before {
            fn drop(&mut self) {
                let before = std::mem::take(&mut self.0);
                drop(HERE.replace(before));
            }
        }
        let _before = Before(HERE.replace(self.clone()));
        read()
    }

    /// Those of the message that this thread reads.
    pub(crate) fn here() -> Self {
        HERE.with_borrow(Self::clone)
    }

    /// One of those of the message that this thread reads.
    pub(crate) fn at(index: u32) -> Option<Beside> {
        let index = usize::try_from(index).ok()?;
        HERE.with_borrow(|here| here.0.as_ref()?.get(index).cloned())
    }
}

thread_local! {
    /// Beside the message that is read.
    static HERE: RefCell<Attached> = const { RefCell::new(Attached(None)) };
    /// Beside the messages that are written, each with its depth: one that is being archived may
    /// archive another.
    static COLLECTED: RefCell<Vec<(u32, Arc<Hold>)>> = const { RefCell::new(Vec::new()) };
    /// How many messages are being written.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether anything was collected; looked at where nothing usually was.
    static IS_USED: Cell<bool> = const { Cell::new(false) };
}

/// Why a blob cannot travel with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttachError {
    #[error("a blob travels only in calls and their answers")]
    NoMessage,
    #[error("a message takes at most {ATTACHED_MAX} blobs with it")]
    TooMany,
}

/// A message that is being written.
#[derive(Debug)]
pub(crate) struct Collecting(());

impl Collecting {
    /// From here on blobs that are archived are of this message.
    #[inline]
    pub(crate) fn begin() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self(())
    }

    /// What its blobs lie in.
    #[inline]
    pub(crate) fn finish(self) -> Attached {
        if IS_USED.get() {
            Attached::new(take())
        } else {
            Attached::default()
        }
    }
}

impl Drop for Collecting {
    #[inline]
    fn drop(&mut self) {
        if IS_USED.get() {
            drop(take());
        }
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// What was collected for the innermost message.
#[cold]
fn take() -> Vec<Beside> {
    let depth = DEPTH.get();
    COLLECTED.with_borrow_mut(|collected| {
        let first = collected.partition_point(|(of, _)| *of < depth);
        let taken = collected.drain(first..);
        let taken = taken.map(|(_, hold)| Beside::Here(hold)).collect();
        IS_USED.set(!collected.is_empty());
        taken
    })
}

/// Has `hold`'s memory travel with the message that is being written; gives its number there.
///
/// # Errors
/// [`AttachError`].
pub(crate) fn attach(hold: &Arc<Hold>) -> Result<u32, AttachError> {
    let depth = DEPTH.get();
    if depth == 0 {
        return Err(AttachError::NoMessage);
    }
    COLLECTED.with_borrow_mut(|collected| {
        let first = collected.partition_point(|(of, _)| *of < depth);
        let own = &collected[first..];
        let known = own.iter().position(|(_, other)| Arc::ptr_eq(other, hold));
        let index = known.unwrap_or(own.len());
        if index >= ATTACHED_MAX {
            return Err(AttachError::TooMany);
        }
        if known.is_none() {
            collected.push((depth, Arc::clone(hold)));
            IS_USED.set(true);
        }
        u32::try_from(index).map_err(|_| AttachError::TooMany)
    })
}

#[cfg(test)]
mod tests {
    use super::super::holding::Memory;
    use super::*;
    use crate::sys::sealed::BlobBuilder;

    fn hold() -> Arc<Hold> {
        let sealed = BlobBuilder::alloc(1).unwrap().into_sealed().unwrap();
        Memory::enter(sealed).hold()
    }

    fn is_same(attached: &Attached, holds: &[&Arc<Hold>]) -> bool {
        attached.holds().count() == holds.len()
            && attached.holds().zip(holds).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// Each message collects its own, each memory once, also if one is written within another or
    /// is given up half-way.
    #[test]
    fn messages_collect_their_own() {
        let (one, two) = (hold(), hold());
        assert_eq!(attach(&one), Err(AttachError::NoMessage));
        let outer = Collecting::begin();
        assert_eq!(
            [attach(&one), attach(&two), attach(&one)],
            [Ok(0), Ok(1), Ok(0)]
        );
        let inner = Collecting::begin();
        assert_eq!(attach(&two), Ok(0));
        drop(Collecting::begin());
        assert!(is_same(&inner.finish(), &[&two]));
        let given_up = Collecting::begin();
        assert_eq!(attach(&two), Ok(0));
        drop(given_up);
        assert!(is_same(&outer.finish(), &[&one, &two]));
        assert!(Collecting::begin().finish().is_empty());
        assert_eq!(Arc::strong_count(&one), 1, "nothing is kept");
    }

    /// More than the limit are refused, and the next message is fine.
    #[test]
    fn there_is_a_limit() {
        let holds: Vec<_> = (0..=ATTACHED_MAX).map(|_| hold()).collect();
        let many = Collecting::begin();
        let (last, first) = holds.split_last().unwrap();
        assert!(first.iter().all(|hold| attach(hold).is_ok()));
        assert_eq!(attach(last), Err(AttachError::TooMany));
        assert_eq!(attach(&first[7]), Ok(7));
        drop(many);
        let next = Collecting::begin();
        assert_eq!(attach(last), Ok(0));
        assert!(is_same(&next.finish(), &[last]));
    }

    /// What came with a message is at hand while that is read, and what was before after it.
    #[test]
    fn what_came_is_at_hand() {
        let (one, two) = (hold(), hold());
        let here = |hold: &Arc<Hold>| Beside::Here(Arc::clone(hold));
        let outer = Attached::new(vec![here(&one)]);
        let inner = Attached::new(vec![here(&two), here(&one)]);
        let is = |index, hold: &Arc<Hold>| match Attached::at(index) {
            Some(Beside::Here(there)) => Arc::ptr_eq(&there, hold),
            _ => false,
        };
        outer.within(|| {
            assert!(is(0, &one) && Attached::at(1).is_none());
            inner.within(|| {
                assert!(is(0, &two) && is(1, &one) && Attached::here().holds().count() == 2)
            });
            assert!(is(0, &one) && Attached::at(1).is_none());
        });
        assert!(Attached::at(0).is_none() && Attached::here().is_empty());
        assert!(Attached::at(u32::MAX).is_none());
    }
}
