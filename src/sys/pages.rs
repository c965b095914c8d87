//! Memory behind a descriptor: allocated, mapped, sealed, and known again when it comes back.
//!
//! ```text
//!  Pages::alloc ── seal ──> ours ── its descriptor ──> Descriptor::check ──> Pages elsewhere
//! ```
//!
//! It lies in a memfd, which has no name, is counted by the kernel, and is gone with its last
//! descriptor and mapping, however their processes end. Its seals keep its size: so no touch of it
//! is a bus error, whoever else has it. Who may write it is another seal's word ([`Access`]). What
//! comes from a peer is mapped only if it has the seals and the size that were announced.
//!
//! This file does not know what the bytes mean, nor how a descriptor travels.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl, posix_fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::sys::room;

/// A system may be set to add this one to every memfd (`vm.memfd_noexec`): it forbids to execute
/// the bytes, which nobody does.
const SEAL_EXEC: i32 = 0x20;

/// How long others may use pages that are to be sealed, and how soon it is tried again.
const SEALED_WITHIN: Duration = Duration::from_secs(2);
const SEALED_AGAIN: Duration = Duration::from_millis(1);

/// What those who have the descriptor may do with the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read it: nobody can change it any more.
    Read,
    /// Write it, too: it may change at any time.
    Write,
}

impl Access {
    /// The seals of such memory, all of them and no others.
    pub(super) fn seals(self) -> SealFlag {
        let size = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        match self {
            Self::Read => size | SealFlag::F_SEAL_WRITE,
            Self::Write => size,
        }
    }

    fn protection(self) -> ProtFlags {
        match self {
            Self::Read => ProtFlags::PROT_READ,
            Self::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        }
    }
}

/// Memory could not be had.
#[derive(Debug, thiserror::Error)]
#[error("not enough {what}")]
pub(super) struct AllocError {
    /// What has run out: `"memory"`, `"descriptors"` or `"mappings"`.
    pub(super) what: &'static str,
    /// What the system said.
    pub(super) source: io::Error,
}

impl AllocError {
    /// The error of a step for which the system had no room.
    fn of_step(step: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let what = match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => "descriptors",
            _ => step,
        };
        Self { what, source }
    }

    /// The error of a mapping.
    pub(super) fn of_mapping(source: impl Into<io::Error>) -> Self {
        Self::of_step("mappings", source)
    }
}

/// Pages of this process's address space, given back when dropped.
pub(super) struct Mapping {
    /// Dangling if there are no bytes.
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to no thread; it may be used and unmapped by any.
unsafe impl Send for Mapping {}
// SAFETY: through a shared one nothing is read or written here; see `Sealed::bytes` and
// `Shared::atoms` for what may be.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn new(fd: BorrowedFd<'_>, len: usize, access: Access) -> io::Result<Self> {
        let Some(whole) = NonZeroUsize::new(len) else {
            // Where numbers of any size may begin.
            let base = NonNull::<u128>::dangling().cast();
            return Ok(Self { base, len });
        };
        let (protection, flags) = (access.protection(), MapFlags::MAP_SHARED);
        // SAFETY: no address is asked for, so the system takes one at which nothing lies.
        let mapped = unsafe { mmap(None, whole, protection, flags, fd, 0) };
        let base = mapped?.cast();
        Ok(Self { base, len })
    }

    /// The first byte, at the beginning of a page.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: `base` came from `mmap` with this length; whoever refers into it borrows the
        // owner of this mapping, which is being dropped; only this drop unmaps it, once.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.len) } {
            tracing::debug!(%error, "memory not unmapped");
        }
    }
}

/// Memory of `len` bytes, all of them there and zero, that is not sealed yet.
///
/// # Errors
/// [`AllocError`], and nothing is left.
pub(super) fn alloc(len: usize) -> Result<(OwnedFd, Mapping), AllocError> {
    let no_memory = |error| AllocError::of_step("memory", error);
    room::check(len).map_err(no_memory)?;
    let fd = create().map_err(no_memory)?;
    allocate(fd.as_fd(), len).map_err(no_memory)?;
    let mapping = Mapping::new(fd.as_fd(), len, Access::Write).map_err(AllocError::of_mapping)?;
    Ok((fd, mapping))
}

/// Memory of `len` bytes that is sealed to be written, of which the first `there` have pages.
///
/// # Errors
/// The system's, and nothing is left.
pub(super) fn alloc_part(len: usize, there: usize) -> io::Result<(OwnedFd, Mapping)> {
    room::check(there)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(c"callboard-link", flags)?;
    allocate(fd.as_fd(), there)?;
    let end = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    ftruncate(&fd, end)?;
    seal(fd.as_fd(), Access::Write)?;
    let mapping = Mapping::new(fd.as_fd(), len, Access::Write)?;
    Ok((fd, mapping))
}

/// Memory of no bytes yet, that is not sealed.
///
/// # Errors
/// The system's: no descriptors, no memory.
pub(super) fn create() -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(memfd_create(c"callboard-blob", flags)?)
}

/// Puts a page behind every byte.
fn allocate(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let end = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    ftruncate(fd, end)?;
    loop {
        match posix_fallocate(fd, 0, end) {
            // The system gives up on any signal, and takes back what it had allocated.
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Gives memory the seals of its access. What is to be read only must not be mapped to be written.
///
/// The system refuses it as long as a page has another user, after having waited for him for some
/// 150 ms (`memfd_wait_for_pins`): that may be itself, which moves or reclaims pages, or a process
/// that was forked and has not run its program yet. They let go, so it is asked again.
///
/// # Errors
/// The system's: it has no seals, or the memory stays in use.
pub(super) fn seal(fd: BorrowedFd<'_>, access: Access) -> io::Result<()> {
    seal_within(fd, access, SEALED_WITHIN)
}

fn seal_within(fd: BorrowedFd<'_>, access: Access, within: Duration) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match fcntl(fd, FcntlArg::F_ADD_SEALS(access.seals())) {
            Err(Errno::EBUSY) if began.elapsed() < within => thread::sleep(SEALED_AGAIN),
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Which memory a descriptor means: equal for two of one memory, in whatever process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: (u32, u32),
    inode: u64,
    /// When it was allocated: numbers of inodes may recur, but not within a nanosecond. A system
    /// that does not keep that (Linux before 5.17) says when it was changed last: of memory that is
    /// still written this is another identity each time, and a mapping more.
    made_at: (i64, u32),
    len: usize,
}

impl Identity {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let found = statx(fd, c"", AtFlags::EMPTY_PATH, asked)?;
        let is_kept = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let made_at = if is_kept {
            found.stx_btime
        } else {
            found.stx_ctime
        };
        Ok(Self {
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            made_at: (made_at.tv_sec, made_at.tv_nsec),
            len: usize::try_from(found.stx_size).map_err(|_| Errno::EOVERFLOW)?,
        })
    }
}

/// By the numbers that differ: the others seldom do.
impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.inode ^ u64::from(self.made_at.1) << 32);
    }
}

/// What is known of memory, by its identity. There is little of it, and the system gives the
/// numbers: nobody can choose them so that they collide to any effect.
pub(crate) type ByIdentity<V> = HashMap<Identity, V, BuildHasherDefault<Spread>>;

/// Spreads one number over all bits.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, i: u64) {
        // The golden ratio of 2^64: an odd number without a pattern.
        self.0 = (self.0.rotate_left(32) ^ i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A descriptor that is not the memory that was announced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescriptorError {
    /// It is something else: the peer broke the rules.
    #[error("{0}")]
    Wrong(&'static str),
    /// It cannot be used here.
    #[error("{0}")]
    Resources(#[source] io::Error),
}

/// A descriptor that was found to be memory with its seals, and not mapped.
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: OwnedFd,
    access: Access,
    identity: Identity,
}

impl Descriptor {
    /// Looks at what a peer has sent as memory of `len` bytes with this access. Nothing is mapped.
    ///
    /// # Errors
    /// [`DescriptorError`], and the descriptor is closed.
    pub(crate) fn check(fd: OwnedFd, len: u64, access: Access) -> Result<Self, DescriptorError> {
        // Of pipes, directories and files on disks this is an error; of files in a tmpfs, others.
        let found = fcntl(&fd, FcntlArg::F_GET_SEALS)
            .map_err(|_| DescriptorError::Wrong("a descriptor that has no seals"))?;
        if found & !SEAL_EXEC != access.seals().bits() {
            return Err(DescriptorError::Wrong("memory with other seals"));
        }
        let identity = Identity::of(fd.as_fd()).map_err(DescriptorError::Resources)?;
        if u64::try_from(identity.len) != Ok(len) {
            return Err(DescriptorError::Wrong("memory of another size"));
        }
        Ok(Self {
            fd,
            access,
            identity,
        })
    }

    /// Which memory it means.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// What may be done with it.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Maps it, and keeps nothing else.
    ///
    /// # Errors
    /// The system's: no room for a mapping.
    pub(super) fn map_only(self) -> io::Result<Mapping> {
        Mapping::new(self.fd.as_fd(), self.identity.len, self.access)
    }

    /// Maps it.
    ///
    /// # Errors
    /// The system's: no room for a mapping.
    pub(super) fn map(self) -> io::Result<Pages> {
        let mapping = Mapping::new(self.fd.as_fd(), self.identity.len, self.access)?;
        Ok(Pages {
            fd: self.fd,
            mapping,
            identity: self.identity,
        })
    }
}

/// Memory with its seals, mapped.
pub(crate) struct Pages {
    fd: OwnedFd,
    mapping: Mapping,
    identity: Identity,
}

impl Pages {
    /// Memory that was sealed just now.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(fd: OwnedFd, mapping: Mapping) -> io::Result<Self> {
        let identity = Identity::of(fd.as_fd())?;
        Ok(Self {
            fd,
            mapping,
            identity,
        })
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.mapping.len
    }

    /// Which memory it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The descriptor, to be passed on.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that somebody else still writes is sealed when he lets go; if he does not, that is an
    /// error, and not waited for without end.
    #[test]
    fn who_uses_it_is_waited_for() {
        let (fd, theirs) = alloc(4096).unwrap();
        let within = 2 * SEALED_AGAIN;
        let busy = seal_within(fd.as_fd(), Access::Read, within).unwrap_err();
        assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
        let letting_go = thread::spawn(move || {
            thread::sleep(10 * SEALED_AGAIN);
            drop(theirs);
        });
        seal(fd.as_fd(), Access::Read).unwrap();
        letting_go.join().unwrap();
        Descriptor::check(fd, 4096, Access::Read).unwrap();
    }
}
