//! U60, U64, F51, F52: what can go wrong with blobs and arrays: no room at any step, no `/dev/shm`,
//! processes that are killed on either side. Each is an error of whoever asked, and leaves nothing.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use callboard::prelude::*;
use callboard::{Array, ArrayError, Blob, BlobError, LinkKind};
use nix::sys::signal::Signal;

use common::{
    LONG, MemoryGroup, again, again_args, eventually, file_of, gone, is_role, may_unshare,
    must_pass, signal, skipped, within,
};

/// Makes blobs, and keeps and reads those of others.
pub struct Holder {
    kept: Vec<Blob>,
}

#[actor]
impl Holder {
    pub fn new() -> Self {
        Self { kept: Vec::new() }
    }

    /// Makes a blob and keeps it, too.
    pub fn make(&mut self, len: usize) -> Blob {
        let mut builder = Blob::alloc(len).expect("there is memory");
        builder.as_mut_slice().fill(7);
        let made = builder.seal().expect("it can be sealed");
        self.kept.push(made.clone());
        made
    }

    pub fn keep(&mut self, blob: Blob) {
        self.kept.push(blob);
    }

    /// Reads all that it has, for ever.
    pub fn read(&self) -> u64 {
        let read = || self.kept.iter().flat_map(|blob| blob.iter());
        loop {
            assert!(read().all(|byte| *byte == 7), "nobody can change them");
        }
    }

    pub fn sum(&self, blob: Blob) -> u64 {
        blob.iter().copied().map(u64::from).sum()
    }
}

/// What a failed step says has run out.
fn what(error: &BlobError) -> &'static str {
    match error {
        BlobError::Resources { what, .. } => what,
        BlobError::Seal(_) => "seals",
        _ => "something else",
    }
}

/// The same of an array.
fn what_of_array(error: &ArrayError) -> &'static str {
    match error {
        ArrayError::Resources { what, .. } => what,
        ArrayError::Seal(_) => "seals",
        _ => "something else",
    }
}

/// How many descriptors this process has.
fn descriptors() -> usize {
    let entries = fs::read_dir("/proc/self/fd").expect("there is proc");
    entries.count()
}

/// The system calls that make a blob, the error that each of them gives once, and what that is told
/// to be. The first mapping is written, the second one read.
const STEPS: [(&str, &str, &str); 9] = [
    ("memfd_create", "ENOMEM:when=1", "memory"),
    ("memfd_create", "EMFILE:when=1", "descriptors"),
    ("ftruncate", "ENOSPC:when=1", "memory"),
    ("fallocate", "ENOSPC:when=1", "memory"),
    ("fallocate", "ENOMEM:when=1", "memory"),
    ("mmap", "ENOMEM:when=1", "mappings"),
    ("fcntl", "EPERM:when=1", "seals"),
    ("mmap", "ENOMEM:when=2", "mappings"),
    ("fallocate", "EINTR:when=1", "nothing"),
];

/// Makes a blob or an array, of which one step fails; the next one is well, and nothing was left.
fn makes(of: &str) {
    let make = || match of {
        "blob" => {
            let made = Blob::alloc(5000).and_then(callboard::BlobBuilder::seal);
            made.map(|blob| blob.len()).map_err(|error| what(&error))
        }
        _ => {
            let made = Array::<u8>::new(5000);
            made.map(|array| array.len())
                .map_err(|error| what_of_array(&error))
        }
    };
    let expected = std::env::var("EXPECTED").expect("it was told");
    let before = descriptors();
    let first = make();
    assert_eq!(first.err().unwrap_or("nothing"), expected);
    assert_eq!(descriptors(), before, "nothing is open");
    assert_eq!(make(), Ok(5000));
    assert_eq!(descriptors(), before);
}

/// Each step on the way to a blob or an array may find no room: that is an error which names what
/// has run out, nothing is left, and the next one is well.
#[test]
fn every_step_may_find_no_room() {
    let test = "every_step_may_find_no_room";
    for of in ["blob", "array"] {
        if is_role(of) {
            return makes(of);
        }
    }
    let mut tried = Command::new("strace");
    tried
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    if !tried.status().is_ok_and(|status| status.success()) {
        skipped("strace is not here, or may not trace");
        return;
    }
    let program = std::env::current_exe().expect("it has a path");
    for (step, (call, error, expected)) in STEPS.into_iter().enumerate() {
        for of in ["blob", "array"] {
            // An array is mapped once.
            if of == "array" && error.ends_with("when=2") {
                continue;
            }
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null"]);
            // Other files are mapped and asked about as well.
            if step > 1 {
                strace.args(["-P", "/memfd:callboard-blob"]);
            }
            let inject = format!("inject={call}:error={error}");
            let role = again(test, of);
            let role = role
                .get_envs()
                .filter_map(|(name, role)| Some((name, role?)));
            strace
                .args(["-e", &inject])
                .arg(&program)
                .args(again_args(test))
                .envs(role)
                .env("EXPECTED", expected);
            must_pass(&mut strace);
        }
    }
}

/// A process that may use little memory is told so when it asks for more, and lives on: for blobs
/// and arrays of more than a little, that is, which the system would kill it for.
#[callboard::test]
async fn limits_of_memory_are_told() -> callboard::Result<()> {
    const LIMIT: u64 = 192 << 20;
    let test = "limits_of_memory_are_told";
    if is_role("small") {
        let large = 2 * usize::try_from(LIMIT)?;
        let error = Blob::builder(large).await.expect_err("it is too much");
        assert_eq!(what(&error), "memory");
        let error = Array::<u64>::new(large / 8).expect_err("it is too much");
        assert_eq!(what_of_array(&error), "memory");
        let holder = Holder::spawn().await?;
        assert_eq!(holder.make(1 << 20).await?.len(), 1 << 20);
        return holder.shutdown().await;
    }
    let Some(group) = MemoryGroup::new("blobs", LIMIT) else {
        skipped("a limit of memory needs the right to make a cgroup");
        return Ok(());
    };
    let mut small = group.again();
    small
        .args(again_args(test))
        .env("CALLBOARD_TEST_ROLE", "small");
    must_pass(&mut small);
    Ok(())
}

/// Blobs and arrays need no room in `/dev/shm`: they travel where that is full.
#[callboard::test]
async fn a_full_shm_is_none_of_theirs() -> callboard::Result<()> {
    let test = "a_full_shm_is_none_of_theirs";
    if is_role("full") {
        let holder = Holder::spawn().await?;
        assert_eq!(holder.link(), LinkKind::Socket);
        let made = holder.make(8 << 20).await?;
        assert_eq!(holder.sum(made.slice(..1000)).await?, 7000);
        let large = Array::<u8>::new(8 << 20)?;
        large.set(0, 1)?;
        return holder.shutdown().await;
    }
    if !may_unshare(&["-m", "true"]) {
        skipped("another /dev/shm needs the right to mount");
        return Ok(());
    }
    let script = "mount -t tmpfs -o size=64k none /dev/shm \
        && head -c 65536 /dev/zero > /dev/shm/full && exec \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .args(again_args(test))
        .env("CALLBOARD_TEST_ROLE", "full");
    must_pass(&mut unshare);
    Ok(())
}

/// Whether any process has this file of a blob in its memory.
fn is_anywhere(file: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("there is proc").flatten();
    processes.into_iter().any(|process| {
        let maps = fs::read_to_string(process.path().join("maps")).unwrap_or_default();
        let mut lines = maps.lines().filter(|line| line.contains("callboard-blob"));
        lines.any(|line| line.split_whitespace().nth(4) == Some(file))
    })
}

/// Whoever is killed, the reader in the midst of its reading, the writer, or both: those who are
/// left read on, and with the last one the memory is gone.
#[callboard::test]
async fn readers_and_writers_are_killed() -> callboard::Result<()> {
    for (reader_dies, writer_dies) in [(true, false), (false, true), (true, true)] {
        let (writer, reader) = (Holder::spawn().await?, Holder::spawn().await?);
        let made = writer.make(1 << 20).await?;
        let file = file_of(&made).to_string();
        reader.keep(made.clone()).await?;
        drop(made);
        let reading = reader.read().start();
        assert!(is_anywhere(&file));
        for (holder, dies) in [(&writer, writer_dies), (&reader, reader_dies)] {
            if dies {
                signal(holder.process_id(), Signal::SIGKILL);
                gone(holder.process_id()).await;
            }
        }
        if reader_dies && writer_dies {
            // This process has heard of it as well, and forgets it with its links.
            eventually(LONG, "nobody has it", || !is_anywhere(&file)).await;
        } else {
            assert!(is_anywhere(&file));
        }
        if reader_dies {
            assert!(within(LONG, reading).await.is_err());
        } else {
            assert!(!reading.is_ready(), "it reads on");
            reader.kill().await;
        }
        if !writer_dies {
            writer.shutdown().await?;
        }
        eventually(LONG, "nobody has it", || !is_anywhere(&file)).await;
    }
    Ok(())
}
