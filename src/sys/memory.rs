//! Shared memory segments: created with room that is really there, opened, unlinked, swept.
//!
//! A segment is named only from its creation until its peer has mapped it. Its name tells which
//! process made it (`owner`), so that a later runtime can remove what a crash in between has left
//! ([`sweep_dead_owners`]).
//!
//! Promises: the memory is zeroed, begins on a page, and once it is allocated every page of it
//! exists (`ENOSPC` is an error then and not a SIGBUS later). It may change at any time under the
//! hands of the peer, so nothing but atomics is ever handed out. A process that this one forks does
//! not have it: what goes on there as if it were this one ends, before it can speak in its name. A
//! peer of the same user could
//! still truncate the segment, and the next touch would be SIGBUS: segments go to processes of one
//! user only.
//!
//! This file does not know what lies in a segment.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::{
    MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap, shm_open, shm_unlink,
};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::geteuid;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::pages::{self, Access, Descriptor, DescriptorError, Mapping};
use crate::sys::owner::{Owner, random};

/// Where a segment begins: at a multiple of this.
pub(crate) const SEGMENT_ALIGN: usize = 4096;

/// Where the system shows the names.
const NAMES_DIR: &str = "/dev/shm";

/// Zeroed memory that this process and at most one other read and write through atomics.
pub(crate) struct Segment {
    /// The first byte; stays valid while `backing` lives.
    base: NonNull<AtomicU64>,
    /// Bytes, a multiple of eight.
    len: usize,
    backing: Backing,
}

/// What holds the memory of a segment.
enum Backing {
    /// Shared memory; `named` until the name is removed, which only its creator does.
    Shared { memory: Shmem, named: AtomicBool },
    /// Shared memory that never had a name; unmapped when this is dropped.
    Nameless(#[expect(dead_code, reason = "it is kept, and not looked at")] Mapping),
    /// A mapping of this process alone.
    Private,
}

// SAFETY: the segment owns its mapping, which no thread is tied to: `munmap` and `close` may be
// called by any of them. `Shmem` and `NonNull` are not Send only for their raw pointers.
unsafe impl Send for Segment {}
// SAFETY: through `&Segment` the memory is reached only as atomics, `named` is one, and `Shmem` is
// only asked for its name, which never changes.
unsafe impl Sync for Segment {}

/// A step of making or opening a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentStep {
    /// A new name with memory behind it.
    Create,
    /// Room for every byte.
    Allocate,
    /// The memory in our address space.
    Map,
    /// The memory behind a name that a peer told.
    Open,
    /// Owner, size and name as they must be.
    Mismatch,
}

impl fmt::Display for SegmentStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "cannot create a shared memory segment",
            Self::Allocate => "no room for a shared memory segment",
            Self::Map => "cannot map a shared memory segment",
            Self::Open => "cannot open a shared memory segment",
            Self::Mismatch => "not the shared memory segment that was announced",
        })
    }
}

/// A segment could not be made or opened; nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct SegmentError {
    /// The step that failed.
    pub(crate) what: SegmentStep,
    /// What the system said.
    pub(crate) source: io::Error,
}

impl SegmentStep {
    /// The error of this step.
    fn failed(self, source: impl Into<io::Error>) -> SegmentError {
        SegmentError {
            what: self,
            source: source.into(),
        }
    }

    /// The error of a step that found something else than it must.
    fn refused(self, why: &'static str) -> SegmentError {
        self.failed(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

impl Segment {
    /// A new shared segment of `len` bytes under a new name. Only its first page is there: nothing
    /// else may be touched before [`allocate`](Self::allocate).
    ///
    /// Two steps, because the pages take half as long as the system needs to start a process, and
    /// both can be done at the same time.
    ///
    /// # Errors
    ///
    /// `Create`, `Allocate` (`ENOSPC`: /dev/shm is full) or `Map`; the name is gone again.
    ///
    /// # Panics
    ///
    /// If `len` is zero or no multiple of eight: layouts are computed by us.
    pub(crate) fn create(len: usize) -> Result<Self, SegmentError> {
        assert_len(len);
        let name = Owner::current()
            .and_then(|owner| Ok(owner.name(random()?)))
            .map_err(|source| SegmentStep::Create.failed(source))?;
        let mut memory = ShmemConf::new()
            .os_id(&name)
            .size(len)
            .create()
            .map_err(failed)?;
        // The crate would unlink by name when dropped, even when the name has long been removed
        // and belongs to somebody else. From here on the name is ours to remove.
        memory.set_owner(false);
        let segment = Self::shared(memory, len, true)?;
        segment.allocate_to(SEGMENT_ALIGN.min(len))?;
        Ok(segment)
    }

    /// Puts a page behind each of the first `len` bytes of a segment whose name is still there.
    /// What lies behind them is an address and no memory, until it is
    /// [populated](Self::populate).
    ///
    /// # Errors
    ///
    /// `Allocate` (`ENOSPC`: /dev/shm is full).
    pub(crate) fn allocate(&self, len: usize) -> Result<(), SegmentError> {
        self.allocate_to(len.min(self.len))
    }

    fn allocate_to(&self, end: usize) -> Result<(), SegmentError> {
        let allocated = self.name().map_or(Ok(()), |name| allocate(name, end));
        allocated.map_err(|source| SegmentStep::Allocate.failed(source))
    }

    /// The segment that a peer of our user created as `name`.
    ///
    /// # Errors
    ///
    /// `Open` or `Map` from the system; `Mismatch` if the name is not of our form, or what lies
    /// behind it belongs to another user or has another size.
    pub(crate) fn open(name: &str, len: usize) -> Result<Self, SegmentError> {
        if Owner::of(name).is_none() {
            return Err(SegmentStep::Mismatch.refused("a name of another form"));
        }
        if len == 0 || !len.is_multiple_of(size_of::<AtomicU64>()) {
            return Err(SegmentStep::Mismatch.refused("not a whole number of words"));
        }
        // Looked at before it is mapped: once the owner is known to be our user, nobody else can
        // put another file in its place (/dev/shm is sticky).
        let found = shm_open(name, OFlag::O_RDWR | OFlag::O_NOFOLLOW, Mode::empty())
            .and_then(fstat)
            .map_err(|error| SegmentStep::Open.failed(error))?;
        if found.st_uid != geteuid().as_raw() {
            return Err(SegmentStep::Mismatch.refused("it belongs to another user"));
        }
        if usize::try_from(found.st_size) != Ok(len) {
            return Err(SegmentStep::Mismatch.refused("its size is another one"));
        }
        let memory = ShmemConf::new().os_id(name).open().map_err(failed)?;
        Self::shared(memory, len, false)
    }

    /// A segment that no other process can see: for links within this process, and for tests. Its
    /// pages come when they are touched, and so most of them never.
    ///
    /// Where there is no memory it ends as any allocation does then.
    ///
    /// # Panics
    ///
    /// If `len` is zero or no multiple of eight.
    pub(crate) fn private(len: usize) -> Self {
        assert_len(len);
        let whole = NonZeroUsize::new(len).expect("asserted above");
        let (access, flags) = (
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_PRIVATE,
        );
        // SAFETY: no address is asked for, so the system takes one at which nothing lies.
        let mapped = unsafe { mmap_anonymous(None, whole, access, flags) };
        let Ok(base) = mapped else {
            handle_alloc_error(Layout::array::<u8>(len).expect("the system was asked for it"))
        };
        keep_from_forks(base.cast(), len);
        Self {
            base: base.cast(),
            len,
            backing: Backing::Private,
        }
    }

    /// A new shared segment of `len` bytes that has no name, and the descriptor by which a peer
    /// has it, too. Its first `there` bytes have pages, as after [`allocate`](Self::allocate).
    ///
    /// # Errors
    ///
    /// `Allocate`: there is no memory; nothing is left.
    ///
    /// # Panics
    ///
    /// If `len` is zero or no multiple of eight.
    pub(crate) fn nameless(len: usize, there: usize) -> Result<(Self, OwnedFd), SegmentError> {
        assert_len(len);
        let made = pages::alloc_part(len, there);
        let (fd, mapping) = made.map_err(|source| SegmentStep::Allocate.failed(source))?;
        Ok((Self::over(mapping), fd))
    }

    /// The nameless segment of `len` bytes that a peer has passed on.
    ///
    /// # Errors
    ///
    /// `Mismatch` if it is something else, or of another size; `Map` from the system.
    pub(crate) fn passed(fd: OwnedFd, len: usize) -> Result<Self, SegmentError> {
        if len == 0 || !len.is_multiple_of(size_of::<AtomicU64>()) {
            return Err(SegmentStep::Mismatch.refused("not a whole number of words"));
        }
        let found = Descriptor::check(fd, len as u64, Access::Write);
        let mapping = found.and_then(|found| found.map_only().map_err(DescriptorError::Resources));
        let mapping = mapping.map_err(|error| match error {
            DescriptorError::Wrong(what) => SegmentStep::Mismatch.refused(what),
            DescriptorError::Resources(source) => SegmentStep::Map.failed(source),
        })?;
        Ok(Self::over(mapping))
    }

    fn over(mapping: Mapping) -> Self {
        let (base, len) = (mapping.base().cast(), mapping.len());
        keep_from_forks(base, len);
        Self {
            base,
            len,
            backing: Backing::Nameless(mapping),
        }
    }

    /// The name under which a peer opens it, or once did; others have none.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.backing {
            Backing::Shared { memory, .. } => Some(memory.get_os_id()),
            Backing::Nameless(_) | Backing::Private => None,
        }
    }

    /// Removes the name, if this segment has created it and it is still there; the memory stays.
    pub(crate) fn unlink(&self) {
        let Backing::Shared { memory, named } = &self.backing else {
            return;
        };
        // Relaxed: the flag publishes nothing, it only lets the name be removed once.
        if named.swap(false, Ordering::Relaxed)
            && let Err(error) = shm_unlink(memory.get_os_id())
        {
            tracing::debug!(name = memory.get_os_id(), %error, "segment name not removed");
        }
    }

    /// All of it, as words; what they hold may change at any time.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let count = self.len / size_of::<AtomicU64>();
        // SAFETY: `base` is aligned to a page and valid for `len` bytes until `backing` is dropped,
        // which the lifetime of `&self` outlasts not; any bytes are valid `AtomicU64`s, and other
        // processes' changes are what the interior mutability of atomics allows. `len` fits in
        // isize, for it was mapped.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), count) }
    }

    /// Takes a mapping over, and checks what the rest of this file relies on.
    fn shared(memory: Shmem, len: usize, named: bool) -> Result<Self, SegmentError> {
        let base = NonNull::new(memory.as_ptr());
        let mapped = memory.len();
        let backing = Backing::Shared {
            memory,
            named: AtomicBool::new(named),
        };
        // Dangling for the moment, so that a refusal below drops a whole segment, name and all.
        let mut segment = Self {
            base: NonNull::dangling(),
            len: 0,
            backing,
        };
        let Some(base) = base else {
            return Err(SegmentStep::Map.refused("it was mapped at address zero"));
        };
        if mapped != len || !base.addr().get().is_multiple_of(SEGMENT_ALIGN) {
            return Err(SegmentStep::Mismatch.refused("its size has changed"));
        }
        segment.base = base.cast();
        segment.len = len;
        keep_from_forks(segment.base, len);
        Ok(segment)
    }
}

/// Leaves a mapping out of the processes that this one forks.
fn keep_from_forks(base: NonNull<AtomicU64>, len: usize) {
    // SAFETY: it changes nothing here; in a forked process nothing refers to the mapping but what
    // was copied from this one, whose next touch of it is the end of that process.
    let kept = unsafe { madvise(base.cast(), len, MmapAdvise::MADV_DONTFORK) };
    if let Err(error) = kept {
        tracing::debug!(%error, "a forked process would have a segment");
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.unlink();
        if matches!(self.backing, Backing::Private) {
            // SAFETY: `base` came from `mmap_anonymous` with this length, nothing refers into it
            // any more, and only this drop, which runs once, unmaps it.
            if let Err(error) = unsafe { munmap(self.base.cast(), self.len) } {
                tracing::debug!(%error, "private segment not unmapped");
            }
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("name", &self.name())
            .field("len", &self.len)
            .finish()
    }
}

/// The longest segment that may be made: the system ends a process that makes a longer file than
/// its user allows.
pub(crate) fn segment_len_max() -> usize {
    let limit = getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Removes the names that dead processes of our user have left in /dev/shm.
///
/// Names from another pid namespace stay: whether their owners live cannot be seen from here.
pub(crate) fn sweep_dead_owners() {
    let Ok(entries) = fs::read_dir(NAMES_DIR) else {
        return;
    };
    let user = geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(owner) = Owner::of(name) else {
            continue;
        };
        let ours = entry
            .metadata()
            .is_ok_and(|found| found.is_file() && found.uid() == user);
        if ours && owner.is_dead() {
            let removed = shm_unlink(name).is_ok();
            tracing::debug!(name, removed, "swept the segment of a dead process");
        }
    }
}

/// Puts a page behind every byte, which `ftruncate` does not.
fn allocate(name: &str, len: usize) -> io::Result<()> {
    let end = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // A descriptor of our own: the crate does not show the one it has.
    let memory = shm_open(name, OFlag::O_RDWR, Mode::empty())?;
    loop {
        match posix_fallocate(&memory, 0, end) {
            // tmpfs gives up on any signal, and takes back what it had allocated.
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

fn assert_len(len: usize) {
    assert!(
        len > 0 && len.is_multiple_of(size_of::<AtomicU64>()),
        "{len} bytes are not words"
    );
}

/// Which step the crate's error belongs to, and the system's error in it.
fn failed(error: ShmemError) -> SegmentError {
    let os = |code: u32| io::Error::from_raw_os_error(code.cast_signed());
    match error {
        ShmemError::MapCreateFailed(code) | ShmemError::UnknownOsError(code) => {
            SegmentStep::Create.failed(os(code))
        }
        ShmemError::MapOpenFailed(code) => SegmentStep::Open.failed(os(code)),
        ShmemError::MappingIdExists => SegmentStep::Create.failed(Errno::EEXIST),
        other => SegmentStep::Map.failed(io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn exists(name: &str) -> bool {
        fs::exists(format!("{NAMES_DIR}/{name}")).unwrap()
    }

    /// How much of it is there, in units of 512 bytes.
    fn blocks(name: &str) -> u64 {
        fs::metadata(format!("{NAMES_DIR}/{name}"))
            .unwrap()
            .blocks()
    }

    fn refusal(result: Result<Segment, SegmentError>) -> SegmentStep {
        result.unwrap_err().what
    }

    #[test]
    fn both_ends_see_one_memory_and_no_name_is_left() {
        // Zeroed, page aligned, shared, alive after the name is gone, and gone with the last end.
        let ours = Segment::create(8192).unwrap();
        let name = ours.name().unwrap().to_owned();
        assert!(exists(&name) && Owner::of(&name).unwrap() == Owner::current().unwrap());
        assert_eq!(blocks(&name), 8, "of two pages the first");
        ours.allocate(8192).unwrap();
        assert_eq!(blocks(&name), 16);
        assert!(
            ours.words().len() == 1024
                && ours.words().as_ptr().addr().is_multiple_of(SEGMENT_ALIGN)
        );
        assert!(
            ours.words()
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == 0)
        );
        let theirs = Segment::open(&name, 8192).unwrap();
        theirs.unlink();
        assert!(exists(&name), "only the creator removes the name");
        ours.unlink();
        assert!(!exists(&name));
        theirs.words()[7].store(42, Ordering::Relaxed);
        assert_eq!(ours.words()[7].load(Ordering::Relaxed), 42);
        // A file that later bears the same name is not ours to remove.
        fs::write(format!("{NAMES_DIR}/{name}"), "").unwrap();
        ours.unlink();
        drop((ours, theirs));
        assert!(exists(&name));
        fs::remove_file(format!("{NAMES_DIR}/{name}")).unwrap();
    }

    /// What is passed on by descriptor is one memory, has no name, and is checked.
    #[test]
    fn nameless_segments_are_passed_on() {
        let (ours, fd) = Segment::nameless(8192, 4096).unwrap();
        assert!(ours.name().is_none() && ours.words().len() == 1024);
        let other = fd.try_clone().unwrap();
        assert_eq!(refusal(Segment::passed(other, 4096)), SegmentStep::Mismatch);
        let theirs = Segment::passed(fd, 8192).unwrap();
        theirs.words()[1023].store(42, Ordering::Relaxed);
        assert_eq!(ours.words()[1023].load(Ordering::Relaxed), 42);
        let file = fs::File::open("/dev/null").unwrap();
        let refused = refusal(Segment::passed(file.into(), 8192));
        assert_eq!(refused, SegmentStep::Mismatch);
    }

    #[test]
    fn dropping_the_creator_removes_the_name() {
        // Also if nobody ever opened it.
        let segment = Segment::create(4096).unwrap();
        let name = segment.name().unwrap().to_owned();
        drop(segment);
        assert!(!exists(&name));
    }

    #[test]
    fn a_segment_larger_than_the_room_is_an_error_and_leaves_nothing() {
        // ftruncate alone would succeed here, and the first touch would be SIGBUS.
        let room = nix::sys::statvfs::statvfs(NAMES_DIR).unwrap();
        let len = usize::try_from(room.blocks() * room.fragment_size()).unwrap() + SEGMENT_ALIGN;
        if room.blocks() == 0 {
            io::stderr()
                .write_all(b"skipped: /dev/shm has no limit here\n")
                .unwrap();
            return;
        }
        let segment = Segment::create(len).unwrap();
        let error = segment.allocate(len).unwrap_err();
        drop(segment);
        assert_eq!(error.what, SegmentStep::Allocate);
        assert_eq!(error.source.raw_os_error(), Some(Errno::ENOSPC as i32));
        let large = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|m| m.len() == len as u64);
        let left = fs::read_dir(NAMES_DIR).unwrap().flatten().find(large);
        assert!(left.is_none(), "{left:?}");
    }

    #[test]
    fn foreign_names_and_sizes_are_refused() {
        // A peer's word is checked before anything is mapped.
        let hex = "0123456789abcdef0123456789abcdef";
        for name in [
            String::new(),
            "callboard".to_owned(),
            format!("callboard-1-2-3-{hex}0"),
            format!("callboard-1-2-3-{}", hex.to_uppercase()),
            format!("callboard-+1-2-3-{hex}"),
            format!("callboard-1-2-3-{hex}-4"),
            format!("other-1-2-3-{hex}"),
            format!("../shm/callboard-1-2-3-{hex}"),
        ] {
            assert_eq!(
                refusal(Segment::open(&name, 4096)),
                SegmentStep::Mismatch,
                "{name}"
            );
        }
        let missing = format!("callboard-1-2-3-{hex}");
        assert_eq!(refusal(Segment::open(&missing, 4096)), SegmentStep::Open);
        let segment = Segment::create(4096).unwrap();
        for len in [0, 4, 2048, 8192] {
            let opened = Segment::open(segment.name().unwrap(), len);
            assert_eq!(refusal(opened), SegmentStep::Mismatch, "{len}");
        }
    }

    #[test]
    fn the_sweep_takes_only_what_dead_processes_of_this_namespace_left() {
        // Live owner, other namespace, reused pid and dead owner.
        let live = Segment::create(4096).unwrap();
        let current = Owner::current().unwrap().name(0);
        let parts: Vec<&str> = current.split('-').collect();
        let [_, pid, start_time, namespace, _] = parts[..] else {
            panic!("{current}")
        };
        let random = format!("{:032x}", random().unwrap());
        let reused = format!("callboard-{pid}-{start_time}0-{namespace}-{random}");
        let dead = format!("callboard-{}-{start_time}-{namespace}-{random}", u32::MAX);
        let elsewhere = format!("callboard-{}-{start_time}-{namespace}0-{random}", u32::MAX);
        for name in [&reused, &dead, &elsewhere] {
            fs::write(format!("{NAMES_DIR}/{name}"), "").unwrap();
        }
        sweep_dead_owners();
        assert!(exists(live.name().unwrap()) && exists(&elsewhere));
        assert!(!exists(&reused) && !exists(&dead));
        fs::remove_file(format!("{NAMES_DIR}/{elsewhere}")).unwrap();
    }

    #[test]
    fn private_segments_are_zeroed_and_nameless() {
        // The same shape as a shared one.
        let segment = Segment::private(64);
        segment.unlink();
        assert!(segment.name().is_none() && segment.words().len() == 8);
        assert!(
            segment
                .words()
                .as_ptr()
                .addr()
                .is_multiple_of(SEGMENT_ALIGN)
        );
        assert!(
            segment
                .words()
                .iter()
                .all(|word| word.swap(1, Ordering::Relaxed) == 0)
        );
    }
}
