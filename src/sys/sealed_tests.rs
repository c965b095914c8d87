//! Tests of sealed memory and its builder.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt as _;

use bytes::BufMut as _;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::*;
use crate::sys::again;

fn sealed(bytes: &[u8]) -> Sealed {
    let mut builder = BlobBuilder::alloc(bytes.len()).unwrap();
    builder.as_mut_slice().copy_from_slice(bytes);
    builder.into_sealed().unwrap()
}

fn copied(fd: BorrowedFd<'_>) -> OwnedFd {
    fd.try_clone_to_owned().unwrap()
}

fn check(fd: OwnedFd, len: u64) -> Result<Descriptor, DescriptorError> {
    Descriptor::check(fd, len, Access::Read)
}

fn seals() -> SealFlag {
    Access::Read.seals()
}

/// Whoever has the descriptor sees the same bytes, and can change neither them nor the size nor the
/// seals.
#[test]
fn sealed_memory_stays_as_it_is() {
    let ours = sealed(b"as it was");
    let found = check(copied(ours.pages().as_fd()), 9).unwrap();
    assert_eq!(found.identity(), ours.pages().identity());
    let theirs = Sealed::map(found).unwrap();
    assert_eq!(
        (theirs.bytes(), theirs.pages().len()),
        (&b"as it was"[..], 9)
    );
    let file = File::from(copied(ours.pages().as_fd()));
    for tried in [
        file.write_at(b"x", 0).map(drop),
        file.set_len(3),
        file.set_len(90_000),
    ] {
        assert_eq!(tried.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
    let more = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE);
    assert_eq!(fcntl(&file, more), Err(Errno::EPERM));
    assert!(Mapping::new(file.as_fd(), 9, Access::Write).is_err());
    drop((ours, file));
    assert_eq!(theirs.bytes(), b"as it was", "the last one keeps it");
    assert_ne!(
        sealed(b"as it was").pages().identity(),
        theirs.pages().identity()
    );
}

/// Nothing but sealed memory of the announced size is mapped: not with fewer seals or more, not a
/// pipe, a folder or a file.
#[test]
fn other_descriptors_are_refused() {
    let whole = sealed(&[7; 5000]);
    for len in [0, 4999, 5001, u64::MAX] {
        let refused = check(copied(whole.pages().as_fd()), len);
        assert!(matches!(refused, Err(DescriptorError::Wrong(_))), "{len}");
    }
    let memory = |seals: SealFlag| {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(c"other", flags).unwrap();
        ftruncate(&fd, 100).unwrap();
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        fd
    };
    let (reader, _writer) = io::pipe().unwrap();
    let others = [
        memory(SealFlag::empty()),
        memory(seals() - SealFlag::F_SEAL_WRITE),
        memory(seals() - SealFlag::F_SEAL_SHRINK),
        memory(seals() - SealFlag::F_SEAL_SEAL),
        memory(seals() | SealFlag::F_SEAL_FUTURE_WRITE),
        memfd_create(c"no seals", MFdFlags::MFD_CLOEXEC).unwrap(),
        reader.into(),
        File::open("/proc/self").unwrap().into(),
        File::open("/proc/self/exe").unwrap().into(),
        File::open("/dev/null").unwrap().into(),
    ];
    for (number, other) in others.into_iter().enumerate() {
        let refused = check(other, 100);
        assert!(
            matches!(refused, Err(DescriptorError::Wrong(_))),
            "{number}"
        );
    }
    assert!(check(memory(seals()), 100).is_ok());
}

/// It can be written as a slice and by appending, which ends at its end; what is not written is
/// zero.
#[test]
fn builders_are_filled() {
    let mut builder = BlobBuilder::alloc(10).unwrap();
    assert!(builder.len() == 10 && !builder.is_empty() && builder.as_slice() == [0; 10]);
    builder.put_slice(b"abc");
    builder.put_u16(0x6465);
    assert_eq!((builder.filled_len(), builder.remaining_mut()), (5, 5));
    builder.as_mut_slice()[9] = b'z';
    assert_eq!(builder.into_sealed().unwrap().bytes(), b"abcde\0\0\0\0z");
    let mut numbers = BlobBuilder::alloc(10).unwrap();
    numbers.as_mut_numbers::<u32>().copy_from_slice(&[7, 8]);
    assert_eq!(numbers.as_mut_numbers::<u64>().len(), 1);
    assert_eq!(as_numbers::<u32>(&numbers.as_slice()[..8]).unwrap(), [7, 8]);
    let mut empty = BlobBuilder::alloc(0).unwrap();
    assert!(empty.as_mut_numbers::<u128>().is_empty());
    assert!(empty.is_empty());
    let empty = empty.into_sealed().unwrap();
    assert_eq!(empty.bytes(), b"");
    let found = check(copied(empty.pages().as_fd()), 0).unwrap();
    assert_eq!(Sealed::map(found).unwrap().pages().len(), 0);
}

/// Without memory, descriptors or mappings there is an error that says so, and nothing is left.
#[test]
fn what_has_run_out_is_told() {
    let what = |len| match BlobBuilder::alloc(len) {
        Err(BlobError::Resources { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(1 << 50), "memory");
    assert_eq!(what(usize::MAX), "memory");
    let test = "what_has_run_out_is_told";
    if !again::alone(module_path!(), test) {
        return;
    }
    let mut files = Vec::new();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    assert_eq!(what(100), "descriptors");
    files.clear();
    BlobBuilder::alloc(100).unwrap();
    let space = nix::sys::resource::Resource::RLIMIT_AS;
    nix::sys::resource::setrlimit(space, 1 << 20, 1 << 20).unwrap();
    assert_eq!(what(8 << 20), "mappings");
}

/// A value is found once and read where it lies, wherever its window goes.
#[test]
fn windows_outlive_moves() {
    let memory = Arc::new(sealed(&[9, 1, 2, 3, 4]));
    let found = Window::new(Arc::clone(&memory), |memory| {
        let bytes = memory.bytes();
        bytes.last_chunk::<4>().ok_or(bytes.len())
    });
    let found = found.unwrap();
    let place = found.value().as_ptr();
    // Others may own the same, and nothing else.
    let other = Arc::new(sealed(&[9, 1, 2, 3, 4]));
    assert!(found.kept_by(other, |other| Some(other)).is_none());
    assert!(found.kept_by(Arc::new(()), |()| None).is_none());
    let found = found.kept_by(Arc::new((memory, 7)), |(memory, _)| Some(memory));
    let found = found.unwrap();
    let moved = std::thread::spawn(move || vec![found]).join();
    let moved = moved.unwrap();
    assert_eq!(*moved[0].value(), [1, 2, 3, 4]);
    assert_eq!(moved[0].value().as_ptr(), place);
}

/// Numbers are seen in bytes only where they lie as numbers do, and give their bytes back.
#[test]
fn numbers_are_seen_in_bytes() {
    let memory = sealed(as_bytes(&[1.5_f32, -2.0, f32::INFINITY]));
    let bytes = memory.bytes();
    assert_eq!(
        as_numbers::<f32>(bytes).unwrap(),
        [1.5, -2.0, f32::INFINITY]
    );
    assert!(as_numbers::<f32>(&bytes[1..9]).is_none(), "not aligned");
    assert!(as_numbers::<f32>(&bytes[..10]).is_none(), "not whole");
    assert_eq!(as_numbers::<u64>(&bytes[..0]).unwrap().len(), 0);
    assert_eq!(as_bytes(as_numbers::<u8>(bytes).unwrap()), bytes);
}
