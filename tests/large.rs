//! U60: large arguments and results lie in shared memory, where they are written once and read in
//! place; and what happens where there is no room, or somebody who holds some of it dies.

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, LinkKind, View};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use common::{
    Holdings, LONG, SOON, again_args, alone, eventually, is_role, may_unshare, must_pass, signal,
    skipped, within,
};

const MIB: usize = 1 << 20;

/// How much is sent where much is, each way: each byte costs a debug build its while.
const TRAFFIC: usize = if cfg!(debug_assertions) {
    64 * MIB
} else {
    1024 * MIB
};

/// Reads what it is lent, and gives what is viewed.
pub struct Reader {
    kept: Vec<u8>,
}

#[actor]
impl Reader {
    pub fn new() -> Self {
        Self { kept: Vec::new() }
    }

    /// Whether the argument lies in memory that two processes share, and its sum.
    pub fn see(&self, bytes: &[u8]) -> (bool, u64) {
        (is_shared(bytes.as_ptr()), sum(bytes))
    }

    pub fn see_texts(&self, texts: &Archived<Vec<String>>) -> (bool, usize) {
        let shared = is_shared(std::ptr::from_ref(texts).cast());
        (shared, texts.iter().map(|text| text.len()).sum())
    }

    pub fn len(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    /// Reads its argument for a while, and then once more.
    pub async fn hold(&self, bytes: &[u8], ms: u64) -> bool {
        let before = sum(bytes);
        sleep(Duration::from_millis(ms)).await;
        before == sum(bytes)
    }

    pub fn keep(&mut self, bytes: Vec<u8>) {
        self.kept = bytes;
    }

    pub fn give(&self) -> Vec<u8> {
        self.kept.clone()
    }

    pub fn make(&self, len: usize, byte: u8) -> Vec<u8> {
        vec![byte; len]
    }

    pub fn resident(&self) -> usize {
        resident()
    }
}

/// An actor that is a caller of one.
pub struct Chief;

#[actor]
impl Chief {
    pub fn new() -> Self {
        Self
    }

    /// Has an actor hold what it is lent, and sends it more meanwhile.
    pub async fn command(&self) -> Result<bool, String> {
        let reader = Reader::spawn().await.map_err(|error| error.to_string())?;
        let held = reader.hold(&vec![1; MIB], 50).start();
        let mut sum = 0;
        for _ in 0..5 {
            let len = reader.len(&vec![2; MIB]).await;
            sum += len.map_err(|error| error.to_string())?;
        }
        let held = held.await.map_err(|error| error.to_string())?;
        Ok(held && sum == 5 * MIB)
    }
}

/// Whether an address lies in memory that is shared with another process.
fn is_shared(at: *const u8) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("proc can be read");
    let line = maps.lines().find(|line| {
        let (from, rest) = line.split_once('-').expect("a range");
        let to = rest.split(' ').next().expect("a range has an end");
        let number = |text| usize::from_str_radix(text, 16).expect("a number");
        (number(from)..number(to)).contains(&at.addr())
    });
    line.is_some_and(|line| line.contains("rw-s") && line.contains("/dev/shm/callboard-"))
}

/// The lowest byte of a number.
fn byte_of(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(4096).fold(bytes.len() as u64, |sum, chunk| {
        sum.rotate_left(5) ^ chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>()
    })
}

/// How much memory this process has resident, in bytes, shared memory included.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("proc can be read");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
        << 10
}

/// Large arguments and results are read where they were written; small ones, those over a socket,
/// of another program, and where none is wanted, are copied: all are the same.
#[callboard::test]
async fn large_messages_are_read_in_place() -> callboard::Result<()> {
    let exe = std::env::current_exe()?;
    let kinds = [
        (Reader::spawn(), true),
        (Reader::spawn().arena(1 << 19), true),
        (Reader::spawn().arena(0), false),
        (Reader::spawn().exe(exe), false),
        (Reader::spawn().link(LinkKind::Socket), false),
    ];
    for (at, (spawn, in_place)) in kinds.into_iter().enumerate() {
        let reader = spawn.await?;
        for len in [10, 1000, 16_000, 16_400, 100_000, 300_000] {
            let bytes: Vec<u8> = (0..len)
                .map(|at: u32| (at * 7 + at / 250).to_le_bytes()[0])
                .collect();
            let expected = (in_place && len > 16_384, sum(&bytes));
            assert_eq!(
                within(LONG, reader.see(&bytes)).await?,
                expected,
                "{at} {len}"
            );
            within(LONG, reader.keep(bytes.clone())).await?;
            assert!(within(LONG, reader.give()).await? == bytes);
            let view = within(LONG, reader.give().view()).await?;
            assert!(view.as_slice() == bytes);
            assert_eq!(is_shared(view.as_ptr()), expected.0, "{at} {len}");
        }
        let texts: Vec<String> = (0..3000).map(|at| "text ".repeat(at % 20)).collect();
        let expected = (in_place, texts.iter().map(String::len).sum());
        assert_eq!(reader.see_texts(&texts).await?, expected);
        // Longer than half a mebibyte, which is all that one of them may take.
        let long = vec![3; MIB];
        let expected = (in_place && at == 0, sum(&long));
        assert_eq!(within(LONG, reader.see(&long)).await?, expected);
        reader.shutdown().await?;
    }
    Ok(())
}

/// What has no room in its arena comes in pieces, whole, however the two ends wait, and other tasks
/// of both have their turns meanwhile.
#[callboard::test]
async fn pieces_come_however_their_ends_wait() -> callboard::Result<()> {
    for idle in [Idle::Park, Idle::Adaptive, Idle::Busy] {
        let reader = Reader::spawn().arena(1 << 19).idle(idle).await?;
        // Also long enough for large pages.
        for len in [MIB, 3 * MIB + 1, 9 * MIB] {
            let bytes: Vec<u8> = (0..len).map(|at| byte_of(at / 1000 + at)).collect();
            let expected = (false, sum(&bytes));
            let (seen, held) = tokio::join!(reader.see(&bytes), reader.hold(&bytes, 1));
            assert_eq!((seen?, held?), (expected, true), "{idle:?} {len}");
            within(LONG, reader.keep(bytes.clone())).await?;
            let (one, other) = tokio::join!(reader.give(), reader.give());
            assert!(one? == bytes && other? == bytes, "{idle:?} {len}");
        }
        within(LONG, reader.shutdown()).await?;
    }
    Ok(())
}

/// Views that are kept, up to all that results may take and beyond, hold up nobody: what comes then
/// is copied; and what they kept is used again.
#[callboard::test]
async fn views_may_be_kept() -> callboard::Result<()> {
    let reader = Reader::spawn().arena(2 * MIB as u64).await?;
    let mut views: Vec<View<Vec<u8>>> = Vec::new();
    for byte in 0..12 {
        views.push(within(LONG, reader.make(MIB / 2, byte).view()).await?);
    }
    let shared = views.iter().filter(|view| is_shared(view.as_ptr()));
    assert!((2..=4).contains(&shared.count()), "of two mebibytes in all");
    for (byte, view) in (0..12).zip(&views) {
        assert!(view.len() == MIB / 2 && view.iter().all(|found| *found == byte));
    }
    views.truncate(1);
    let again = within(LONG, reader.make(MIB / 2, 99).view()).await?;
    assert!(is_shared(again.as_ptr()));
    reader.shutdown().await?;
    assert!(
        again.iter().all(|byte| *byte == 99),
        "it outlives its actor"
    );
    assert!(views[0].iter().all(|byte| *byte == 0));
    Ok(())
}

/// A caller whose arguments find no room waits, in its turn, and loses nothing; so it is with
/// arguments that the actor still holds, and with more at once than there are leases.
#[callboard::test]
async fn a_full_arena_makes_callers_wait() -> callboard::Result<()> {
    let reader = Reader::spawn().arena(MIB as u64).await?;
    let held: Vec<_> = (0..6)
        .map(|byte| reader.hold(&vec![byte; MIB / 4], 300).start())
        .collect();
    let large: Vec<_> = (0..40_u8)
        .map(|at| vec![at; 20_000 + 10_000 * usize::from(at)])
        .collect();
    let pending: Vec<_> = large
        .iter()
        .map(|bytes| reader.see(bytes).start())
        .collect();
    for (bytes, pending) in large.iter().zip(pending) {
        assert_eq!(within(LONG, pending).await?.1, sum(bytes));
    }
    for held in held {
        assert!(within(LONG, held).await?, "nobody wrote into what is held");
    }
    let many: Vec<_> = (0..300)
        .map(|at| reader.see(&vec![byte_of(at); 17_000]).start())
        .collect();
    for (at, pending) in many.into_iter().enumerate() {
        let expected = sum(&vec![byte_of(at); 17_000]);
        assert_eq!(within(LONG, pending).await?.1, expected);
    }
    reader.shutdown().await
}

/// After a gibibyte each way, both processes soon have no more memory than before, but for a
/// little.
#[callboard::test]
async fn memory_goes_back() -> callboard::Result<()> {
    if !alone("memory_goes_back") {
        return Ok(());
    }
    const MORE: usize = 16 * MIB;
    let reader = Reader::spawn().await?;
    let bytes = vec![7; 8 * MIB];
    within(LONG, reader.keep(bytes[..MIB].to_vec())).await?;
    let before = (resident(), reader.resident().await?);
    for _ in 0..TRAFFIC / bytes.len() {
        assert_eq!(within(LONG, reader.len(&bytes)).await?, bytes.len());
    }
    for _ in 0..TRAFFIC / (32 * MIB) {
        let views = (0..32).map(|_| reader.give().view().start());
        for view in views.collect::<Vec<_>>() {
            assert_eq!(within(LONG, view).await?.len(), MIB);
        }
    }
    let end = tokio::time::Instant::now() + LONG;
    loop {
        let now = (resident(), reader.resident().await?);
        if now.0 <= before.0 + MORE && now.1 <= before.1 + MORE {
            break;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "{before:?} became {now:?}"
        );
        sleep(Duration::from_millis(100)).await;
    }
    // And it is there again when it is wanted.
    assert_eq!(reader.see(&bytes).await?, (true, sum(&bytes)));
    reader.shutdown().await
}

/// Whoever dies with what it was given, or while it gives, leaves nothing behind: views stay, calls
/// end with their typed error, and the next actor is as good.
#[callboard::test]
async fn deaths_free_what_was_held() -> callboard::Result<()> {
    if !alone("deaths_free_what_was_held") {
        return Ok(());
    }
    Reader::spawn().await?.shutdown().await?;
    let before = Holdings::settled().await;
    let memory = resident();
    for round in 0..6 {
        let reader = Reader::spawn().await?;
        let pid = reader.process_id();
        let view = within(LONG, reader.make(4 * MIB, round).view()).await?;
        let held: Vec<_> = (0..4)
            .map(|_| reader.hold(&vec![round; 2 * MIB], 60_000).start())
            .collect();
        let flood: Vec<_> = (0..8).map(|_| reader.make(MIB, round).start()).collect();
        if round % 2 == 0 {
            // They are being read by then, and answers are on their way.
            within(LONG, reader.len(&[1; 10])).await?;
        }
        signal(pid, Signal::SIGKILL);
        for held in held {
            let error = within(SOON, held).await.unwrap_err();
            assert!(matches!(error, CallError::Died { .. }), "{error:?}");
        }
        for pending in flood {
            match within(SOON, pending).await {
                Ok(bytes) => assert!(bytes == vec![round; MIB], "an answer is whole"),
                Err(CallError::Died { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(is_shared(view.as_ptr()) && view.iter().all(|byte| *byte == round));
    }
    before.back().await;
    let what = "the memory of the dead is gone";
    eventually(SOON, what, || resident() < memory + 16 * MIB).await;
    Ok(())
}

/// Where `/dev/shm` is full, large messages go in pieces, and nothing meets a missing page.
#[callboard::test]
async fn a_full_dev_shm_is_no_end() -> callboard::Result<()> {
    const TEST: &str = "a_full_dev_shm_is_no_end";
    if is_role("cramped") {
        return in_cramped_memory().await;
    }
    if !may_unshare(&["-m", "sh", "-c", "mount -t tmpfs tmpfs /dev/shm"]) {
        skipped("a small /dev/shm needs the right to mount");
        return Ok(());
    }
    let script = "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .args(again_args(TEST))
        .env("CALLBOARD_TEST_ROLE", "cramped");
    must_pass(&mut unshare);
    Ok(())
}

/// Where it has room for one link and half a mebibyte.
async fn in_cramped_memory() -> callboard::Result<()> {
    let reader = Reader::spawn().link(LinkKind::SharedMemory).await?;
    let mut in_place = 0;
    for round in 0..5 {
        for len in [100_000, 300_000, 600_000, 2 * MIB] {
            let bytes = vec![round; len];
            let (is_shared, found) = within(LONG, reader.see(&bytes)).await?;
            assert_eq!(found, sum(&bytes));
            in_place += u32::from(is_shared);
            assert!(len < 600_000 || !is_shared, "there is no room for it");
            let view = within(LONG, reader.make(len, round).view()).await?;
            assert!(view.len() == len && view.iter().all(|byte| *byte == round));
        }
    }
    assert!(in_place > 0, "some room was there");
    // Full to the last page, by somebody else.
    let filler = "/dev/shm/filler";
    let full = fs::write(filler, vec![1; 2 * MIB]).expect_err("it is full");
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    for len in [100_000, 2 * MIB] {
        let bytes = vec![5; len];
        assert_eq!(within(LONG, reader.see(&bytes)).await?.1, sum(&bytes));
        assert!(within(LONG, reader.make(len, 6)).await? == vec![6; len]);
    }
    fs::remove_file(filler)?;
    let bytes = vec![5; 200_000];
    assert_eq!(within(LONG, reader.see(&bytes)).await?, (true, sum(&bytes)));
    reader.shutdown().await
}

/// Killed at the very step at which a large message is told of, the caller and the actor leave
/// nothing, and who lives on learns it.
#[cfg(feature = "failpoints")]
#[callboard::test]
async fn kills_while_a_large_message_is_sent() -> callboard::Result<()> {
    if !alone("kills_while_a_large_message_is_sent") {
        return Ok(());
    }
    const FAILPOINT: &str = "CALLBOARD_FAILPOINT";
    Reader::spawn().await?.shutdown().await?;
    let before = Holdings::settled().await;
    for passage in 1..=4 {
        let point = format!("send.placed=KILL@{passage}");
        let reader = Reader::spawn().env(FAILPOINT, &point).await?;
        for number in 1..=passage {
            let made = within(SOON, reader.make(MIB, 9).view()).await;
            match made {
                Ok(view) => assert!(number < passage && view.iter().all(|byte| *byte == 9)),
                Err(CallError::Died { .. }) => assert_eq!(number, passage),
                Err(error) => panic!("{error:?}"),
            }
        }
        drop(reader);
        let chief = Chief::spawn().env(FAILPOINT, &point).await?;
        let pid = chief.process_id();
        let died = within(SOON, chief.command()).await.unwrap_err();
        assert!(matches!(died, CallError::Died { .. }), "{died:?}");
        common::gone(pid).await;
        drop(chief);
        before.back().await;
    }
    let chief = Chief::spawn().await?;
    assert!(matches!(within(LONG, chief.command()).await, Ok(true)));
    chief.shutdown().await?;
    drop(chief);
    before.back().await;
    Ok(())
}
