//! U01, UB7, K01, F51, F64, F65: starts that fail: no program, a silent one, no room, given up.

mod common;

use std::fs;
use std::future::IntoFuture as _;
use std::mem::ManuallyDrop;
use std::process::Command;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Blob, Exit, LinkKind, SpawnError};
use nix::fcntl::posix_fallocate;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::statvfs::statvfs;
use tokio::time::{sleep, timeout};

use common::{
    Holdings, LONG, SOON, Scratch, again, again_args, alone, children_of, eventually, gone,
    is_role, may_unshare, must_pass, skipped, within,
};

/// Nothing special.
pub struct Plain;

#[actor]
impl Plain {
    pub fn new() -> Self {
        Self
    }

    /// A constructor that takes its time.
    pub async fn slow(ms: u64) -> Self {
        sleep(Duration::from_millis(ms)).await;
        Self
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    pub fn sum(&self, blob: Blob) -> u64 {
        blob.iter().copied().map(u64::from).sum()
    }

    pub fn exe(&self) -> String {
        fs::read_link("/proc/self/exe")
            .expect("there is one")
            .display()
            .to_string()
    }
}

/// The threads that live as long as the process are there after the first link of each kind.
async fn use_links() -> callboard::Result<()> {
    Plain::spawn().await?.shutdown().await?;
    let socket = Plain::spawn().link(LinkKind::Socket).await?;
    socket.shutdown().await
}

impl Scratch {
    /// A script; written by another process, so that none of ours has it open while one is started.
    fn script(&self, name: &str, lines: &str) -> String {
        let path = self.path(name);
        let write = format!("printf '#!/bin/sh\\n{lines}\\n' > {path} && chmod +x {path}");
        assert!(
            Command::new("sh")
                .args(["-c", &write])
                .status()
                .expect("there is a shell")
                .success()
        );
        path
    }
}

/// A program that is not there, is none, or may not be run.
#[callboard::test]
async fn programs_that_cannot_be_started() {
    let scratch = Scratch::new();
    fs::write(scratch.path("text"), "not a program").unwrap();
    for exe in [
        "/nonexistent",
        &scratch.path("text"),
        "/tmp",
        "/proc/self/exe/no",
    ] {
        match within(SOON, Plain::spawn().exe(exe).into_future()).await {
            Err(SpawnError::Exec(error)) => {
                assert!(error.raw_os_error().is_some(), "{exe}: {error}")
            }
            other => panic!("{exe}: {other:?}"),
        }
    }
    let nowhere = Plain::spawn().current_dir(scratch.path("nowhere"));
    assert!(matches!(
        within(SOON, nowhere.into_future()).await,
        Err(SpawnError::Exec(_))
    ));
    // A name that no argument of a program can be.
    assert!(
        within(SOON, Plain::spawn().name("a\0b").into_future())
            .await
            .is_err()
    );
}

/// Whether a process of the user's runs this script.
fn runs(script: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| {
        line.split(|byte| *byte == 0)
            .any(|arg| arg == script.as_bytes())
    })
}

/// A program that is no actor's: it ends, or says nothing in time and is killed.
#[callboard::test]
async fn programs_that_do_not_greet() {
    let scratch = Scratch::new();
    let ends = [
        ("/bin/true", 0),
        ("/bin/false", 1),
        (&scratch.script("seven", "exit 7"), 7),
    ];
    for (exe, code) in ends {
        match within(SOON, Plain::spawn().exe(exe).into_future()).await {
            Err(SpawnError::Died(death)) => assert_eq!(death.exit(), Exit::Code(code)),
            other => panic!("{exe}: {other:?}"),
        }
    }
    let bound = Duration::from_millis(100);
    for lines in ["", "exec 0<&-", "trap \"\" TERM HUP INT"] {
        let silent = scratch.script("silent", &format!("{lines}\\nsleep 1000"));
        let spawn = Plain::spawn().greet_within(bound);
        match within(SOON, spawn.exe(&silent).into_future()).await {
            Err(SpawnError::Silent { within }) => assert_eq!(within, bound),
            other => panic!("{other:?}"),
        }
        eventually(SOON, "it is gone", || !runs(&silent)).await;
    }
    // A program that says something else on the lifeline.
    let babbling = scratch.script("babbling", "echo hello >&0\\nsleep 1000");
    match within(SOON, Plain::spawn().exe(babbling).into_future()).await {
        Err(SpawnError::Hello(_) | SpawnError::Died(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// A constructor may take longer than the greeting.
#[callboard::test]
async fn constructors_may_take_their_time() -> callboard::Result<()> {
    let greets = Duration::from_secs(4);
    let plain = Plain::spawn_slow(4500).greet_within(greets).await?;
    assert_eq!(plain.echo(1).await?, 1);
    plain.shutdown().await
}

/// A start that nobody wants any more leaves nothing, whenever it is given up.
#[callboard::test]
async fn starts_may_be_given_up() -> callboard::Result<()> {
    if !alone("starts_may_be_given_up") {
        return Ok(());
    }
    use_links().await?;
    let before = Holdings::settled().await;
    drop(Plain::spawn());
    let mut finished = 0;
    for round in 0..60_u64 {
        let patience = Duration::from_micros(round * round * 4);
        finished += u32::from(
            timeout(patience, Plain::spawn().into_future())
                .await
                .is_ok(),
        );
        let endless = Plain::spawn_slow(100_000).into_future();
        assert!(timeout(patience, endless).await.is_err());
    }
    assert!(finished < 60, "some were given up");
    before.back().await;
    let plain = Plain::spawn().await?;
    assert_eq!(plain.echo(1).await?, 1);
    plain.shutdown().await
}

/// Says in a role how many descriptors are free, and where to leave a word about the start.
const FREE: &str = "CALLBOARD_TEST_FREE";

/// Without a free descriptor a start is an error that says so, at whichever step it runs out.
#[callboard::test]
async fn descriptors_run_out() -> callboard::Result<()> {
    if is_role("few") {
        let free = std::env::var(FREE)?;
        let (free, word) = free.split_once(' ').expect("a number and a path");
        return with_few_descriptors(free.parse()?, word).await;
    }
    let scratch = Scratch::new();
    let mut refused = 0;
    // Each in a process of its own, for a limit that cannot be raised is lowered for good.
    for free in 0..64 {
        let word = scratch.path("word");
        let mut few = again("descriptors_run_out", "few");
        must_pass(few.env(FREE, format!("{free} {word}")));
        match scratch.read("word").as_str() {
            "refused" => refused += 1,
            "started" => break,
            other => panic!("{free} free: {other}"),
        }
    }
    assert!((5..64).contains(&refused), "{refused}");
    Ok(())
}

async fn with_few_descriptors(free: u64, word: &str) -> callboard::Result<()> {
    use_links().await?;
    let survivor = Plain::spawn().await?;
    let before = Holdings::settled().await;
    let open = || fs::File::open("/dev/null");
    // Closed again, these leave room to look at what is left.
    let reserve = [open()?, open()?, open()?, open()?];
    // The lowest free number is the first that the limit forbids, plus what may be used.
    let first = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&open()?))?;
    setrlimit(Resource::RLIMIT_NOFILE, first + free, first + free)?;
    let result = within(LONG, Plain::spawn().into_future()).await;
    assert_eq!(survivor.echo(free).await?, free, "others are not touched");
    drop(reserve);
    match result {
        Ok(plain) => {
            fs::write(word, "started")?;
            plain.shutdown().await?;
        }
        Err(SpawnError::Resources { source, what }) => {
            fs::write(word, "refused")?;
            let number = source.raw_os_error();
            assert_eq!(number, Some(libc::EMFILE), "{what}: {source}");
        }
        Err(other) => panic!("{free} free: {other:?}"),
    }
    before.back().await;
    survivor.shutdown().await
}

/// Runs `test` again as `role`, where `/dev/shm` has a mebibyte.
fn must_pass_cramped(test: &str, role: &str) {
    let script = "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec \"$0\" \"$@\"";
    if !may_unshare(&["-m", "sh", "-c", "mount -t tmpfs tmpfs /dev/shm"]) {
        skipped("a small /dev/shm needs the right to mount");
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().expect("it has a path"))
        .args(again_args(test))
        .env("CALLBOARD_TEST_ROLE", role);
    must_pass(&mut unshare);
}

/// Without room in shared memory an actor is reached over a socket, or its start is an error that
/// says so where nothing else is wanted; and room is used again.
#[callboard::test]
async fn shared_memory_runs_out() -> callboard::Result<()> {
    if is_role("cramped") {
        return in_cramped_memory().await;
    }
    must_pass_cramped("shared_memory_runs_out", "cramped");
    Ok(())
}

/// Whichever page of a link is the first that finds no room: the start says so or goes another way,
/// what needs no such room goes on, and nothing is left.
#[callboard::test]
async fn any_page_may_find_no_room() -> callboard::Result<()> {
    if is_role("paged") {
        return page_by_page().await;
    }
    must_pass_cramped("any_page_may_find_no_room", "paged");
    Ok(())
}

/// Takes all room of `/dev/shm` but for so many pages, until it is dropped.
struct Ballast;

impl Ballast {
    const PATH: &str = "/dev/shm/ballast";

    fn new(free: u64) -> callboard::Result<Self> {
        let found = statvfs("/dev/shm")?;
        let len = (found.blocks_free() - free) * found.fragment_size();
        posix_fallocate(&fs::File::create(Self::PATH)?, 0, i64::try_from(len)?)?;
        assert_eq!(statvfs("/dev/shm")?.blocks_free(), free);
        Ok(Self)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(Self::PATH).expect("it was made");
    }
}

/// Where `/dev/shm` has no room, and then one page more at a time.
async fn page_by_page() -> callboard::Result<()> {
    use_links().await?;
    let survivor = Plain::spawn().await?;
    assert_eq!(survivor.link(), LinkKind::SharedMemory);
    let before = Holdings::settled().await;
    let mut refused = 0;
    loop {
        let ballast = Ballast::new(refused)?;
        let spawn = Plain::spawn().link(LinkKind::SharedMemory);
        match within(LONG, spawn.into_future()).await {
            Err(SpawnError::Resources { what, source }) => {
                let found = (what, source.raw_os_error());
                assert_eq!(found, ("shared memory", Some(libc::ENOSPC)));
            }
            Err(other) => panic!("{refused} pages: {other:?}"),
            Ok(plain) => {
                assert_eq!(plain.echo(refused).await?, refused);
                plain.shutdown().await?;
                break;
            }
        }
        if refused.is_multiple_of(16) {
            let plain = within(LONG, Plain::spawn().into_future()).await?;
            assert_eq!(plain.link(), LinkKind::Socket);
            let blob = Blob::copy_from(&[7_u8; 100_000])?;
            assert_eq!(plain.sum(blob).await?, 700_000);
            plain.shutdown().await?;
        }
        assert_eq!(survivor.echo(refused).await?, refused);
        drop(ballast);
        refused += 1;
    }
    // The pages of two rings, and of what stands beside them.
    assert!(refused > 64, "{refused}");
    before.back().await;
    survivor.shutdown().await
}

/// Where `/dev/shm` has room for three links.
async fn in_cramped_memory() -> callboard::Result<()> {
    use_links().await?;
    let before = Holdings::settled().await;
    for _ in 0..3 {
        let mut actors = Vec::new();
        let error = loop {
            let spawn = Plain::spawn().link(LinkKind::SharedMemory);
            match within(LONG, spawn.into_future()).await {
                Ok(plain) => actors.push(plain),
                Err(error) => break error,
            }
            assert!(actors.len() < 10, "there is an end to it");
        };
        match error {
            SpawnError::Resources { what, source } => {
                assert_eq!(
                    (what, source.raw_os_error()),
                    ("shared memory", Some(libc::ENOSPC))
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(!actors.is_empty());
        actors.push(Plain::spawn().await?);
        let kinds: Vec<_> = actors.iter().rev().map(Proxy::link).take(2).collect();
        assert_eq!(kinds, [LinkKind::Socket, LinkKind::SharedMemory]);
        // Everything that was promised is there: no write into a link meets a missing page.
        for plain in &actors {
            let pending: Vec<_> = (0..5000).map(|value| plain.echo(value).start()).collect();
            for (value, pending) in pending.into_iter().enumerate() {
                assert_eq!(within(LONG, pending).await?, value as u64);
            }
        }
        for plain in actors {
            plain.shutdown().await?;
        }
        before.back().await;
    }
    Ok(())
}

/// With any limit of its address space an actor's process starts, or its start is an error in time;
/// others are not touched, and nothing is left.
#[callboard::test]
async fn address_space_runs_out() -> callboard::Result<()> {
    const MIB: u64 = 1 << 20;
    if !alone("address_space_runs_out") {
        return Ok(());
    }
    let scratch = Scratch::new();
    let program = scratch.script(
        "limited",
        "ulimit -c 0\\nulimit -v $LIMIT\\nexec \"$PROGRAM\"",
    );
    let exe = std::env::current_exe()?;
    let spawn = |limit: u64| {
        let spawn = Plain::spawn().exe(&program).env("PROGRAM", &exe);
        spawn.env("LIMIT", (limit / 1024).to_string())
    };
    use_links().await?;
    let survivor = Plain::spawn().await?;
    let before = Holdings::settled().await;
    let mut refused = 0;
    for limit in (0..1024).map(|step| step * 2 * MIB) {
        match within(LONG, spawn(limit).into_future()).await {
            Ok(plain) => {
                assert_eq!(plain.echo(limit).await?, limit);
                plain.shutdown().await?;
                break;
            }
            Err(
                SpawnError::Died(_) | SpawnError::Refused { .. } | SpawnError::Resources { .. },
            ) => {
                refused += 1;
            }
            Err(other) => panic!("{limit} bytes: {other:?}"),
        }
        assert_eq!(survivor.echo(limit).await?, limit);
    }
    assert!((3..1000).contains(&refused), "{refused}");
    before.back().await;
    survivor.shutdown().await
}

/// The program's file may be removed or replaced while it runs: actors are still of the same build.
#[callboard::test]
async fn the_program_may_be_replaced() -> callboard::Result<()> {
    const TEST: &str = "the_program_may_be_replaced";
    if is_role("replaced") {
        let own = std::env::current_exe()?;
        fs::remove_file(&own)?;
        let plain = Plain::spawn().await?;
        assert_eq!(plain.echo(1).await?, 1);
        assert!(plain.exe().await?.ends_with("(deleted)"));
        plain.shutdown().await?;
        fs::copy("/bin/false", &own)?;
        let plain = Plain::spawn().await?;
        assert_eq!(plain.echo(2).await?, 2);
        return plain.shutdown().await;
    }
    let scratch = Scratch::new();
    let copy = scratch.path("program");
    // Copied by another process, so that none of ours has it open for writing.
    let copied = Command::new("cp")
        .arg(std::env::current_exe()?)
        .arg(&copy)
        .status()?;
    assert!(copied.success());
    must_pass(
        Command::new(&copy)
            .args(again_args(TEST))
            .env("CALLBOARD_TEST_ROLE", "replaced"),
    );

    // A copy is as good as the program itself.
    assert!(
        Command::new("cp")
            .arg(std::env::current_exe()?)
            .arg(&copy)
            .status()?
            .success()
    );
    let plain = Plain::spawn().exe(&copy).await?;
    assert_eq!(
        plain.exe().await?,
        fs::canonicalize(&copy)?.display().to_string()
    );
    plain.shutdown().await
}

/// A start whose parent is killed in the middle leaves nothing either.
#[callboard::test]
async fn the_parent_may_die_while_it_starts() -> callboard::Result<()> {
    const TEST: &str = "the_parent_may_die_while_it_starts";
    if is_role("starting") {
        let starts = (0..50).map(|_| tokio::spawn(Plain::spawn_slow(1).into_future()));
        let starts: Vec<_> = starts.collect();
        for start in starts {
            let _left = ManuallyDrop::new(start.await?);
        }
        sleep(LONG).await;
        return Ok(());
    }
    for round in 0..6 {
        let mut parent = again(TEST, "starting")
            .stdout(std::process::Stdio::null())
            .spawn()?;
        sleep(Duration::from_millis(15 * round)).await;
        let children = children_of(parent.id());
        parent.kill()?;
        parent.wait()?;
        for child in children {
            gone(child).await;
        }
    }
    Ok(())
}
