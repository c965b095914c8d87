//! Which memory of blobs and arrays this process has, and whether anybody here still uses it.
//!
//! ```text
//!  blobs ── Hold ──> Memory <── links that know it: the peer may name it again
//!            └─ with the last blob here: tells the links to whose peers it was shown
//! ```
//!
//! A blob that comes, is looked at and is dropped costs counts, and no allocation. Memory that
//! comes in twice, by whatever ways, is mapped once: a table knows what is there. It holds nothing
//! itself.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::sys::counted::{Counted, Unused, Used};
use crate::sys::pages::{Access, ByIdentity, Descriptor, DescriptorError, Identity, Pages};
use crate::sys::sealed::{Sealed, Window};
use crate::sys::shared::Shared;

/// How many values of one memory are remembered to have been checked.
const CHECKED_MAX: usize = 8;

/// Memory of blobs or of an array, as this process has it.
pub(crate) type Memory = Counted<Content>;

/// That somebody here uses memory: each blob has one of these.
pub(crate) type Hold = Used<Content>;

/// What is known of memory.
pub(crate) struct Content {
    mapped: Mapped,
    /// What was found in it: windows, by their type and place.
    checked: Mutex<Vec<Found>>,
    /// To whom it was shown by those who use it.
    shown: Mutex<Vec<Weak<dyn Showing>>>,
    /// Whether it was, for the last user.
    is_shown: AtomicBool,
    /// Counts it, for as long as it is here.
    _toll: Option<Toll>,
}

/// Dropped with the memory that it counts.
pub(crate) type Toll = Box<dyn Any + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// What may be done with the memory.
#[derive(Debug)]
pub(crate) enum Mapped {
    /// Blobs lie in it: it is read.
    Sealed(Arc<Sealed>),
    /// An array: it is written, too.
    Shared(Arc<Shared>),
}

impl From<Sealed> for Mapped {
    fn from(sealed: Sealed) -> Self {
        Self::Sealed(Arc::new(sealed))
    }
}

impl From<Shared> for Mapped {
    fn from(shared: Shared) -> Self {
        Self::Shared(Arc::new(shared))
    }
}

/// A window that the memory keeps: it does not use it.
pub(crate) type Remembered<V> = Window<V, Arc<Sealed>>;

/// A window by its type and place.
type Found = (TypeId, Range<usize>, Box<dyn Any + Send + Sync>);

/// Who has shown memory to a peer, and is told when nobody here uses it any more.
pub(crate) trait Showing: Send + Sync {
    /// Nobody here uses `memory` any more. Called wherever a blob is dropped: it takes no lock
    /// under which one may be dropped.
    fn forget(&self, memory: Identity);
}

/// All memory of this process.
#[derive(Default)]
struct All {
    by_identity: ByIdentity<Weak<Memory>>,
    /// That of blobs by the address of its first byte.
    by_place: BTreeMap<usize, Identity>,
}

static ALL: Mutex<Option<All>> = Mutex::new(None);

/// Nothing of the user's runs under these locks, and each change under them is whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Takes in memory that was made or mapped just now; gives what was there already, if it is
    /// the same.
    pub(crate) fn enter(mapped: impl Into<Mapped>) -> Arc<Self> {
        Self::enter_with(mapped, None)
    }

    /// The same, with what is dropped together with it.
    pub(crate) fn enter_with(mapped: impl Into<Mapped>, toll: Option<Toll>) -> Arc<Self> {
        let memory = Self::new(Content {
            mapped: mapped.into(),
            checked: Mutex::default(),
            shown: Mutex::default(),
            is_shown: AtomicBool::new(false),
            _toll: toll,
        });
        let identity = memory.identity();
        let mut all = lock(&ALL);
        let all = all.get_or_insert_default();
        if let Some(there) = all.by_identity.get(&identity).and_then(Weak::upgrade) {
            return there;
        }
        all.by_identity.insert(identity, Arc::downgrade(&memory));
        if let Some(place) = memory.place() {
            all.by_place.insert(place, identity);
        }
        memory
    }

    /// The memory of a descriptor that has come in: mapped, unless it is here already.
    ///
    /// # Errors
    /// No room for another mapping.
    pub(crate) fn of(descriptor: Descriptor) -> Result<Arc<Self>, DescriptorError> {
        let there = {
            let all = lock(&ALL);
            all.as_ref().and_then(|all| {
                let there = all.by_identity.get(&descriptor.identity())?;
                there.upgrade()
            })
        };
        match (there, descriptor.access()) {
            (Some(there), _) => Ok(there),
            (None, Access::Read) => Ok(Self::enter(Sealed::map(descriptor)?)),
            (None, Access::Write) => Ok(Self::enter(Shared::map(descriptor)?)),
        }
    }

    /// The memory in which these bytes lie, and where; none: they are of no blob.
    pub(crate) fn around(bytes: &[u8]) -> Option<(Arc<Self>, usize)> {
        let begin = bytes.as_ptr().addr();
        let found = {
            let all = lock(&ALL);
            let all = all.as_ref()?;
            let (_, identity) = all.by_place.range(..=begin).next_back()?;
            all.by_identity.get(identity)?.upgrade()?
        };
        let offset = begin - found.place()?;
        let is_within = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= found.pages().len());
        is_within.then_some((found, offset))
    }

    /// A part in the use of it.
    #[inline]
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        Hold::of(self)
    }
}

impl Content {
    /// The memory as it is passed on.
    pub(crate) fn pages(&self) -> &Pages {
        match &self.mapped {
            Mapped::Sealed(sealed) => sealed.pages(),
            Mapped::Shared(shared) => shared.pages(),
        }
    }

    /// The memory itself, if blobs lie in it.
    pub(crate) fn sealed(&self) -> Option<&Arc<Sealed>> {
        match &self.mapped {
            Mapped::Sealed(sealed) => Some(sealed),
            Mapped::Shared(_) => None,
        }
    }

    /// The memory itself, if it is an array's.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        match &self.mapped {
            Mapped::Sealed(_) => None,
            Mapped::Shared(shared) => Some(shared),
        }
    }

    /// What those who have it may do with it.
    pub(crate) fn access(&self) -> Access {
        match self.mapped {
            Mapped::Sealed(_) => Access::Read,
            Mapped::Shared(_) => Access::Write,
        }
    }

    /// Which it is.
    pub(crate) fn identity(&self) -> Identity {
        self.pages().identity()
    }

    /// Has `showing` told when nobody here uses the memory any more, as long as who says so does.
    pub(crate) fn note_shown(&self, showing: Weak<dyn Showing>) {
        let mut shown = lock(&self.shown);
        // Of links that are gone nothing is kept, and of the others each once.
        shown.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&showing));
        shown.push(showing);
        // Relaxed: who is the last to use it comes after this one, by the count of users.
        self.is_shown.store(true, Ordering::Relaxed);
    }

    /// The value of type `V` that lies at `range` of its `sealed` memory: found before, or by
    /// `find`, once.
    ///
    /// # Errors
    /// That of `find`.
    pub(crate) fn checked<V: ?Sized + Sync, E>(
        &self,
        sealed: &Arc<Sealed>,
        range: Range<usize>,
        find: impl FnOnce(&[u8]) -> Result<&V, E>,
    ) -> Result<Remembered<V>, E> {
        let type_id = TypeId::of::<Remembered<V>>();
        let is_this = |kind: &TypeId, place: &Range<usize>| (*kind, place) == (type_id, &range);
        let known = lock(&self.checked)
            .iter()
            .find_map(|(kind, place, window)| {
                let window = window.downcast_ref::<Remembered<V>>();
                window.filter(|_| is_this(kind, place)).cloned()
            });
        if let Some(known) = known {
            return Ok(known);
        }
        let place = range.clone();
        let window = Window::new(Arc::clone(sealed), |sealed| find(&sealed.bytes()[place]))?;
        let mut checked = lock(&self.checked);
        if checked.len() == CHECKED_MAX {
            checked.remove(0);
        }
        checked.push((type_id, range.clone(), Box::new(window.clone())));
        Ok(window)
    }

    fn place(&self) -> Option<usize> {
        let sealed = self.sealed()?;
        Some(sealed.bytes().as_ptr().addr())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let identity = self.identity();
        let mut all = lock(&ALL);
        let Some(all) = all.as_mut() else { return };
        // The same memory may have come in again after the last one of this let it go.
        let is_gone = |there: &Weak<Memory>| there.strong_count() == 0;
        if all.by_identity.get(&identity).is_some_and(is_gone) {
            all.by_identity.remove(&identity);
        }
        if let Some(place) = self.place()
            && all.by_place.get(&place) == Some(&identity)
        {
            all.by_place.remove(&place);
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("mapped", &self.mapped)
            .finish_non_exhaustive()
    }
}

impl Unused for Content {
    #[inline]
    fn unused(&self) {
        if self.is_shown.load(Ordering::Relaxed) {
            self.tell();
        }
    }
}

impl Content {
    /// Tells those who have shown it that nobody here uses it any more.
    #[cold]
    fn tell(&self) {
        let told = {
            let mut shown = lock(&self.shown);
            self.is_shown.store(false, Ordering::Relaxed);
            std::mem::take(&mut *shown)
        };
        for showing in told.iter().filter_map(Weak::upgrade) {
            showing.forget(self.identity());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sealed::BlobBuilder;

    fn memory(bytes: &[u8]) -> Arc<Memory> {
        let mut builder = BlobBuilder::alloc(bytes.len()).unwrap();
        builder.as_mut_slice().copy_from_slice(bytes);
        Memory::enter(builder.into_sealed().unwrap())
    }

    fn bytes_of(memory: &Memory) -> &[u8] {
        memory.sealed().unwrap().bytes()
    }

    fn again(memory: &Memory) -> Descriptor {
        let pages = memory.pages();
        let fd = pages.as_fd().try_clone_to_owned().unwrap();
        Descriptor::check(fd, pages.len() as u64, memory.access()).unwrap()
    }

    /// Memory that comes in again is not mapped again while it is here, is found by its bytes, and
    /// leaves nothing in the tables.
    #[test]
    fn memory_is_mapped_once() {
        let first = memory(b"some bytes");
        let second = Memory::of(again(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let other = memory(b"some bytes");
        assert!(!Arc::ptr_eq(&first, &other));
        let (found, offset) = Memory::around(&bytes_of(&second)[5..7]).unwrap();
        assert!(Arc::ptr_eq(&first, &found) && offset == 5);
        assert!(Memory::around(b"elsewhere").is_none());
        let (descriptor, identity, place) =
            (again(&first), first.identity(), first.place().unwrap());
        drop((first, second, found));
        let all = |have: &dyn Fn(&All) -> bool| lock(&ALL).as_ref().is_some_and(have);
        assert!(!all(&|all| all.by_identity.contains_key(&identity)));
        assert!(!all(&|all| all.by_place.get(&place) == Some(&identity)));
        let anew = Memory::of(descriptor).unwrap();
        assert_eq!(
            (bytes_of(&anew), anew.identity()),
            (&b"some bytes"[..], identity)
        );
    }

    /// What was checked is not checked again, within bounds.
    #[test]
    fn values_are_checked_once() {
        let memory = memory(&[1; 100]);
        let mut count = 0;
        let mut look = |range: Range<usize>| {
            let found = memory.checked(memory.sealed().unwrap(), range, |bytes| {
                count += 1;
                bytes.first().ok_or(())
            });
            assert_eq!(*found.unwrap().value(), 1);
            count
        };
        assert_eq!(
            [look(0..9), look(0..9), look(0..8), look(0..9)],
            [1, 1, 2, 2]
        );
        for end in 10..30 {
            look(0..end);
        }
        assert_eq!((look(0..9), look(0..29)), (23, 23));
        let nothing =
            memory.checked::<u8, _>(memory.sealed().unwrap(), 3..3, |b| b.first().ok_or(()));
        assert!(nothing.is_err());
    }

    /// An array's memory comes in again as the same, is not taken for a blob's, and is not found by
    /// bytes.
    #[test]
    fn arrays_are_no_blobs() {
        let first = Memory::enter(Shared::alloc(100).unwrap());
        assert!(first.sealed().is_none() && first.shared().is_some() && first.place().is_none());
        let second = Memory::of(again(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let (descriptor, identity) = (again(&first), first.identity());
        drop((first, second));
        let anew = Memory::of(descriptor).unwrap();
        assert!(anew.identity() == identity && anew.access() == Access::Write);
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<Identity>>);

    impl Showing for Told {
        fn forget(&self, memory: Identity) {
            lock(&self.0).push(memory);
        }
    }

    /// All who use memory share one hold; its end is told to those who have shown it, once.
    #[test]
    fn the_last_use_is_told() {
        let (memory, told) = (memory(b"x"), Arc::new(Told::default()));
        let showing: Arc<dyn Showing> = told.clone();
        let (one, two) = (memory.hold(), memory.hold());
        assert!(one.is_same(&two));
        one.note_shown(Arc::downgrade(&showing));
        drop(one);
        assert!(lock(&told.0).is_empty());
        drop(two);
        assert_eq!(*lock(&told.0), [memory.identity()]);
        drop(memory.hold());
        assert_eq!(lock(&told.0).len(), 1, "a new one was shown to nobody");
    }
}
