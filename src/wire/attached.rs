//! The memory that travels beside a message.
//!
//! The archive of a blob says only: the third of those beside this message, from here to there. Who
//! archives a message [collects](Collecting) what its blobs lie in; who reads one has what came
//! with it [at hand](Attached::within). Both are kept by the thread, for the traits of rkyv have no
//! place for it.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;

use super::holding::Hold;
use crate::sys::at_hand::AtHand;

/// The most memories beside one message.
pub(crate) const ATTACHED_MAX: usize = 64;

/// The memory beside one message; mostly none, and if there is some, mostly one. It is moved about
/// with all messages, and so is small.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached(Several);

#[derive(Clone, Debug, Default)]
enum Several {
    #[default]
    None,
    /// One that is here. The message is about all of it, or it is not known about what.
    One(Hold),
    /// At least one.
    Some(Arc<Vec<Part>>),
}

/// One of them.
#[derive(Debug)]
struct Part {
    beside: Beside,
    /// What the message is about of it, if it was collected.
    used: Option<Range<usize>>,
}

/// One memory beside a message.
#[derive(Clone, Debug)]
pub(crate) enum Beside {
    /// It is here.
    Here(Hold),
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

impl FromIterator<Beside> for Attached {
    fn from_iter<I: IntoIterator<Item = Beside>>(iter: I) -> Self {
        Self::of(iter.into_iter().map(|beside| Part { beside, used: None }))
    }
}

impl Attached {
    #[inline]
    fn of(mut parts: impl Iterator<Item = Part>) -> Self {
        Self(match (parts.next(), parts.next()) {
            (None, _) => Several::None,
            (Some(one), None) => one.alone(),
            (Some(one), two) => Several::Some(Arc::new(
                [one].into_iter().chain(two).chain(parts).collect(),
            )),
        })
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.0, Several::None)
    }

    /// The only one, if it is that and here.
    #[inline]
    pub(crate) fn only(&self) -> Option<(&Hold, Range<usize>)> {
        match &self.0 {
            Several::One(hold) => Some((hold, whole(hold))),
            Several::Some(parts) if parts.len() == 1 => parts[0].used(),
            Several::None | Several::Some(_) => None,
        }
    }

    /// Each of them that is here, in their order. None is missing of those that were collected.
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.used().map(|(hold, _)| hold)
    }

    /// The same, each with the part of it that the message is about.
    pub(crate) fn used(&self) -> impl Iterator<Item = (&Hold, Range<usize>)> {
        let (one, parts) = match &self.0 {
            Several::None => (None, &[][..]),
            Several::One(hold) => (Some((hold, whole(hold))), &[][..]),
            Several::Some(parts) => (None, parts.as_slice()),
        };
        one.into_iter().chain(parts.iter().filter_map(Part::used))
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

    #[inline(never)]
    fn at_hand<R>(&self, read: impl FnOnce() -> R) -> R {
        HERE.with(|here| here.within(self, read))
    }

    /// Those of the message that this thread reads.
    pub(crate) fn here() -> Self {
        HERE.with(|here| here.look(|here| here.cloned().unwrap_or_default()))
    }

    /// One of those of the message that this thread reads.
    pub(crate) fn at(index: u32) -> Option<Beside> {
        let index = usize::try_from(index).ok()?;
        let find = |here: &Self| match &here.0 {
            Several::One(hold) if index == 0 => Some(Beside::Here(hold.clone())),
            Several::None | Several::One(_) => None,
            Several::Some(parts) => Some(parts.get(index)?.beside.clone()),
        };
        HERE.with(|here| here.look(|here| here.and_then(find)))
    }
}

impl Part {
    fn used(&self) -> Option<(&Hold, Range<usize>)> {
        let Beside::Here(hold) = &self.beside else {
            return None;
        };
        let used = self.used.clone();
        Some((hold, used.unwrap_or_else(|| whole(hold))))
    }

    /// It, where there is no other.
    #[inline]
    fn alone(self) -> Several {
        match self {
            Self {
                beside: Beside::Here(hold),
                used,
            } if used.as_ref().is_none_or(|used| *used == whole(&hold)) => Several::One(hold),
            part => Several::Some(Arc::new(vec![part])),
        }
    }
}

fn whole(hold: &Hold) -> Range<usize> {
    0..hold.pages().len()
}

thread_local! {
    /// Beside the message that is read.
    static HERE: AtHand<Attached> = const { AtHand::new() };
    /// Beside the messages that are written, each with its depth: one that is being archived may
    /// archive another.
    static COLLECTED: RefCell<Vec<Collected>> = const { RefCell::new(Vec::new()) };
    /// How many messages are being written.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether anything was collected; looked at where nothing usually was.
    static IS_USED: Cell<bool> = const { Cell::new(false) };
}

/// A memory beside a message that is written.
#[derive(Debug)]
struct Collected {
    depth: u32,
    hold: Hold,
    /// What the message is about of it.
    used: Range<usize>,
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
            take()
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
fn take() -> Attached {
    let depth = DEPTH.get();
    COLLECTED.with_borrow_mut(|collected| {
        let first = collected.partition_point(|one| one.depth < depth);
        let part = |one: Collected| Part {
            beside: Beside::Here(one.hold),
            used: Some(one.used),
        };
        // Mostly there is one.
        let last = collected.pop_if(|one| one.depth >= depth);
        let taken = match last {
            Some(one) if collected.len() == first => Attached(part(one).alone()),
            last => Attached::of(collected.drain(first..).chain(last).map(part)),
        };
        IS_USED.set(!collected.is_empty());
        taken
    })
}

/// Has `hold`'s memory travel with the message that is being written, which is about this `place`
/// of it; gives its number there.
///
/// # Errors
/// [`AttachError`].
pub(crate) fn attach(hold: &Hold, place: &Range<usize>) -> Result<u32, AttachError> {
    let depth = DEPTH.get();
    if depth == 0 {
        return Err(AttachError::NoMessage);
    }
    COLLECTED.with_borrow_mut(|collected| {
        let first = collected.partition_point(|one| one.depth < depth);
        let own = &mut collected[first..];
        let known = own.iter().position(|one| one.hold.is_same(hold));
        let index = known.unwrap_or(own.len());
        if index >= ATTACHED_MAX {
            return Err(AttachError::TooMany);
        }
        if let Some(known) = own.get_mut(index) {
            let used = &mut known.used;
            *used = used.start.min(place.start)..used.end.max(place.end);
        } else {
            let (hold, used) = (hold.clone(), place.clone());
            collected.push(Collected { depth, hold, used });
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

    fn hold() -> Hold {
        let sealed = BlobBuilder::alloc(1).unwrap().into_sealed().unwrap();
        Memory::enter(sealed).hold()
    }

    fn is_same(attached: &Attached, holds: &[&Hold]) -> bool {
        attached.holds().count() == holds.len()
            && attached.holds().zip(holds).all(|(a, b)| a.is_same(b))
    }

    /// Each message collects its own, each memory once, also if one is written within another or
    /// is given up half-way.
    #[test]
    fn messages_collect_their_own() {
        let (one, two) = (hold(), hold());
        assert_eq!(attach(&one, &(0..1)), Err(AttachError::NoMessage));
        let outer = Collecting::begin();
        assert_eq!(
            [
                attach(&one, &(0..1)),
                attach(&two, &(0..1)),
                attach(&one, &(0..1))
            ],
            [Ok(0), Ok(1), Ok(0)]
        );
        let inner = Collecting::begin();
        assert_eq!(attach(&two, &(0..1)), Ok(0));
        drop(Collecting::begin());
        assert!(is_same(&inner.finish(), &[&two]));
        let given_up = Collecting::begin();
        assert_eq!(attach(&two, &(0..1)), Ok(0));
        drop(given_up);
        assert!(is_same(&outer.finish(), &[&one, &two]));
        assert!(Collecting::begin().finish().is_empty());
        let memory = one.keep();
        drop(one);
        assert_eq!(Arc::strong_count(&memory), 1, "nothing is used");
    }

    /// Of each memory it is known which part of it a message is about.
    #[test]
    fn messages_are_about_parts() {
        let sealed = BlobBuilder::alloc(100).unwrap().into_sealed().unwrap();
        let (large, small) = (Memory::enter(sealed).hold(), hold());
        let message = Collecting::begin();
        for place in [40..50, 45..60, 20..30] {
            assert_eq!(attach(&large, &place), Ok(0));
        }
        assert_eq!(attach(&small, &(0..1)), Ok(1));
        let attached = message.finish();
        let used: Vec<_> = attached.used().map(|(_, used)| used).collect();
        assert_eq!(used, [20..60, 0..1]);
        assert!(attached.only().is_none());
        let came = Attached::from_iter([Beside::Here(large.clone())]);
        assert!(came.used().all(|(_, used)| used == (0..100)));
        for place in [0..100, 7..9] {
            let message = Collecting::begin();
            assert_eq!(attach(&large, &place), Ok(0));
            let attached = message.finish();
            let (only, used) = attached.only().unwrap();
            assert!(only.is_same(&large) && used == place && attached.used().count() == 1);
        }
        let lost = Lost::new(&std::io::Error::other("no room"));
        let lost = Attached::from_iter([Beside::Lost(lost)]);
        assert!(!lost.is_empty() && lost.only().is_none() && lost.used().next().is_none());
    }

    /// More than the limit are refused, and the next message is fine.
    #[test]
    fn there_is_a_limit() {
        let holds: Vec<_> = (0..=ATTACHED_MAX).map(|_| hold()).collect();
        let many = Collecting::begin();
        let (last, first) = holds.split_last().unwrap();
        assert!(first.iter().all(|hold| attach(hold, &(0..1)).is_ok()));
        assert_eq!(attach(last, &(0..1)), Err(AttachError::TooMany));
        assert_eq!(attach(&first[7], &(0..1)), Ok(7));
        drop(many);
        let next = Collecting::begin();
        assert_eq!(attach(last, &(0..1)), Ok(0));
        assert!(is_same(&next.finish(), &[last]));
    }

    /// What came with a message is at hand while that is read, and what was before after it.
    #[test]
    fn what_came_is_at_hand() {
        let (one, two) = (hold(), hold());
        let here = |hold: &Hold| Beside::Here(hold.clone());
        let outer = Attached::from_iter([here(&one)]);
        let inner = Attached::from_iter([here(&two), here(&one)]);
        let is = |index, hold: &Hold| match Attached::at(index) {
            Some(Beside::Here(there)) => there.is_same(hold),
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
