//! Which sealed memory this process has, and whether anybody here still uses it.
//!
//! ```text
//!  blobs ──> Hold ──> Memory <── links that know it: the peer may name it again
//!             └─ dropped with the last blob here: tells the links to whose peers it was shown
//! ```
//!
//! Memory that comes in twice, by whatever ways, is mapped once: a table knows what is there. It
//! holds nothing itself.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::sys::sealed::{Descriptor, Identity, Sealed, SealedError, Window};

/// How many values of one memory are remembered to have been checked.
const CHECKED_MAX: usize = 8;

/// Sealed memory, as this process has it.
pub(crate) struct Memory {
    sealed: Arc<Sealed>,
    /// While anybody uses it.
    hold: Mutex<Weak<Hold>>,
    /// What was found in it: windows, by their type and place.
    checked: Mutex<Vec<Found>>,
}

/// A window by its type and place.
type Found = (TypeId, Range<usize>, Box<dyn Any + Send + Sync>);

/// That somebody here uses memory: each blob has a part in one of these.
pub(crate) struct Hold {
    memory: Arc<Memory>,
    /// To whom it was shown.
    shown: Mutex<Vec<Weak<dyn Showing>>>,
}

/// Who has shown memory to a peer, and is told when nobody here uses it any more.
pub(crate) trait Showing: Send + Sync {
    /// Nobody here uses `memory` any more. Called wherever a blob is dropped: it takes no lock
    /// under which one may be dropped.
    fn forget(&self, memory: Identity);
}

/// All memory of this process.
#[derive(Default)]
struct All {
    by_identity: HashMap<Identity, Weak<Memory>>,
    /// By the address of its first byte.
    by_place: BTreeMap<usize, Identity>,
}

static ALL: Mutex<Option<All>> = Mutex::new(None);

/// Nothing of the user's runs under these locks, and each change under them is whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Takes in memory that was sealed or mapped just now; gives what was there already, if it is
    /// the same.
    pub(crate) fn enter(sealed: Sealed) -> Arc<Self> {
        let identity = sealed.identity();
        let memory = Arc::new(Self {
            sealed: Arc::new(sealed),
            hold: Mutex::default(),
            checked: Mutex::default(),
        });
        let mut all = lock(&ALL);
        let all = all.get_or_insert_default();
        if let Some(there) = all.by_identity.get(&identity).and_then(Weak::upgrade) {
            return there;
        }
        all.by_identity.insert(identity, Arc::downgrade(&memory));
        all.by_place.insert(memory.place(), identity);
        memory
    }

    /// The memory of a descriptor that has come in: mapped, unless it is here already.
    ///
    /// # Errors
    /// No room for another mapping.
    pub(crate) fn of(descriptor: Descriptor) -> Result<Arc<Self>, SealedError> {
        let there = {
            let all = lock(&ALL);
            all.as_ref().and_then(|all| {
                let there = all.by_identity.get(&descriptor.identity())?;
                there.upgrade()
            })
        };
        match there {
            Some(there) => Ok(there),
            None => Ok(Self::enter(descriptor.map()?)),
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
        let offset = begin - found.place();
        let is_within = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= found.sealed.len());
        is_within.then_some((found, offset))
    }

    /// The memory itself.
    pub(crate) fn sealed(&self) -> &Arc<Sealed> {
        &self.sealed
    }

    /// Which it is.
    pub(crate) fn identity(&self) -> Identity {
        self.sealed.identity()
    }

    /// A part in the use of it.
    pub(crate) fn hold(self: &Arc<Self>) -> Arc<Hold> {
        let mut hold = lock(&self.hold);
        if let Some(hold) = hold.upgrade() {
            return hold;
        }
        let new = Arc::new(Hold {
            memory: Arc::clone(self),
            shown: Mutex::default(),
        });
        *hold = Arc::downgrade(&new);
        new
    }

    /// The value of type `V` that lies at `range`: found before, or by `find`, once.
    ///
    /// # Errors
    /// That of `find`.
    pub(crate) fn checked<V: ?Sized + Sync, E>(
        &self,
        range: Range<usize>,
        find: impl FnOnce(&[u8]) -> Result<&V, E>,
    ) -> Result<Window<V>, E> {
        let type_id = TypeId::of::<Window<V>>();
        let is_this = |kind: &TypeId, place: &Range<usize>| (*kind, place) == (type_id, &range);
        let known = lock(&self.checked)
            .iter()
            .find_map(|(kind, place, window)| {
                let window = window.downcast_ref::<Window<V>>();
                window.filter(|_| is_this(kind, place)).cloned()
            });
        if let Some(known) = known {
            return Ok(known);
        }
        let place = range.clone();
        let window = Window::new(Arc::clone(&self.sealed), |bytes| find(&bytes[place]))?;
        let mut checked = lock(&self.checked);
        if checked.len() == CHECKED_MAX {
            checked.remove(0);
        }
        checked.push((type_id, range.clone(), Box::new(window.clone())));
        Ok(window)
    }

    fn place(&self) -> usize {
        self.sealed.bytes().as_ptr().addr()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let identity = self.identity();
        let mut all = lock(&ALL);
        let Some(all) = all.as_mut() else { return };
        // The same memory may have come in again after the last one of this let it go.
        let is_this = |there: &Weak<Self>| std::ptr::eq(there.as_ptr(), self);
        if all.by_identity.get(&identity).is_some_and(is_this) {
            all.by_identity.remove(&identity);
        }
        if all.by_place.get(&self.place()) == Some(&identity) {
            all.by_place.remove(&self.place());
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

impl Hold {
    /// What is used.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Has `showing` told when nobody here uses the memory any more.
    pub(crate) fn note_shown(&self, showing: Weak<dyn Showing>) {
        let mut shown = lock(&self.shown);
        // Of links that are gone nothing is kept.
        shown.retain(|showing| showing.strong_count() > 0);
        shown.push(showing);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let shown = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner);
        for showing in shown.drain(..) {
            if let Some(showing) = showing.upgrade() {
                showing.forget(self.memory.identity());
            }
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
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

    fn again(memory: &Memory) -> Descriptor {
        let fd = memory.sealed().as_fd().try_clone_to_owned().unwrap();
        Descriptor::check(fd, memory.sealed().len() as u64).unwrap()
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
        let (found, offset) = Memory::around(&second.sealed().bytes()[5..7]).unwrap();
        assert!(Arc::ptr_eq(&first, &found) && offset == 5);
        assert!(Memory::around(b"elsewhere").is_none());
        let (descriptor, identity, place) = (again(&first), first.identity(), first.place());
        drop((first, second, found));
        let all = |have: &dyn Fn(&All) -> bool| lock(&ALL).as_ref().is_some_and(have);
        assert!(!all(&|all| all.by_identity.contains_key(&identity)));
        assert!(!all(&|all| all.by_place.get(&place) == Some(&identity)));
        let anew = Memory::of(descriptor).unwrap();
        assert_eq!(
            (anew.sealed().bytes(), anew.identity()),
            (&b"some bytes"[..], identity)
        );
    }

    /// What was checked is not checked again, within bounds.
    #[test]
    fn values_are_checked_once() {
        let memory = memory(&[1; 100]);
        let mut count = 0;
        let mut look = |range: Range<usize>| {
            let found = memory.checked(range, |bytes| {
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
        assert!(
            memory
                .checked::<u8, _>(3..3, |bytes| bytes.first().ok_or(()))
                .is_err()
        );
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
        assert!(Arc::ptr_eq(&one, &two));
        one.note_shown(Arc::downgrade(&showing));
        drop(one);
        assert!(lock(&told.0).is_empty());
        drop(two);
        assert_eq!(*lock(&told.0), [memory.identity()]);
        drop(memory.hold());
        assert_eq!(lock(&told.0).len(), 1, "a new one was shown to nobody");
    }
}
