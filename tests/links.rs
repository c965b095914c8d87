//! Links over a socket: asked for, or because shared memory cannot be had; with the same semantics.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::future::IntoFuture as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{LinkKind, SpawnError};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use common::{
    Holdings, LONG, SOON, Scratch, again_args, alone, eventually, gone, is_role, may_unshare,
    must_pass, signal, skipped, within,
};

/// The program that an exec in between is to run.
const PROGRAM: &str = "CALLBOARD_TEST_PROGRAM";

/// Does what links are for.
pub struct Guest {
    seen: Vec<u64>,
}

#[actor]
impl Guest {
    pub fn new() -> Self {
        Self { seen: Vec::new() }
    }

    pub fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    pub fn len_of(&self, bytes: Vec<u8>) -> usize {
        bytes.len()
    }

    pub fn see(&mut self, value: u64) -> u64 {
        self.seen.push(value);
        value
    }

    pub fn seen(&self) -> Vec<u64> {
        self.seen.clone()
    }

    /// Leaves a line in a file, after a while.
    pub fn note(&mut self, path: String, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
        let mut lines = fs::read_to_string(&path).unwrap_or_default();
        lines.push_str("x\n");
        fs::write(path, lines).expect("the folder is there");
    }

    /// Blocks the whole actor, once it has said so.
    pub fn block(&mut self, path: String, ms: u64) {
        fs::write(path, b"begun").expect("the folder is there");
        std::thread::sleep(Duration::from_millis(ms));
    }

    /// The same, until there is such a file.
    pub fn block_until(&mut self, path: String, go: String) {
        fs::write(path, b"begun").expect("the folder is there");
        while !fs::exists(&go).expect("the folder is there") {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn panic(&mut self, text: String) {
        panic!("{text}")
    }

    pub fn abort(&mut self, text: String) {
        // The panic is told to nobody but by last words.
        let _ = std::panic::catch_unwind(|| panic!("{text}"));
        std::process::abort()
    }

    pub fn user(&self) -> u32 {
        nix::unistd::getuid().as_raw()
    }
}

/// What every link does, with an actor that is up.
async fn is_of_use(guest: &GuestProxy) -> callboard::Result<()> {
    for value in 0..200 {
        assert_eq!(guest.see(value).await?, value);
    }
    for value in 200..3000 {
        guest.see(value).tell().await?;
    }
    assert!(guest.seen().await?.into_iter().eq(0..3000));
    let pending: Vec<_> = (0..3000).map(|value| guest.see(value).start()).collect();
    for (value, pending) in pending.into_iter().enumerate() {
        assert_eq!(within(LONG, pending).await?, value as u64);
    }
    for len in [0, 1, 20_000, 131_072, 3 << 20] {
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        let back = within(LONG, guest.echo(bytes.clone()).into_future()).await?;
        assert!(back == bytes, "{len} bytes");
    }
    cancels_and_deadlines(guest).await
}

/// What is cancelled or too late before it begins does not run, also while the actor is blocked.
async fn cancels_and_deadlines(guest: &GuestProxy) -> callboard::Result<()> {
    let scratch = Scratch::new();
    // The actor may be another user's.
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777))?;
    let before = guest.seen().await?.len();
    let running = guest.block_until(scratch.path("begun"), scratch.path("go"));
    let running = running.start();
    eventually(LONG, "it runs", || scratch.0.join("begun").exists()).await;
    let dropped: Vec<_> = (0..50).map(|value| guest.see(value).start()).collect();
    let kept = guest.see(7000).start();
    drop(dropped);
    let late = guest.see(7001).timeout(Duration::from_millis(10)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    fs::write(scratch.path("go"), b"")?;
    running.await?;
    assert_eq!(kept.await?, 7000);
    assert_eq!(guest.seen().await?[before..], [7000]);
    Ok(())
}

/// A socket that was asked for: the whole life of an actor, and nothing is left of it.
#[callboard::test]
async fn a_socket_is_as_good() -> callboard::Result<()> {
    if !alone("a_socket_is_as_good") {
        return Ok(());
    }
    let guest = Guest::spawn().link(LinkKind::Socket).await?;
    assert_eq!(guest.link(), LinkKind::Socket);
    guest.shutdown().await?;
    let before = Holdings::settled().await;
    for _ in 0..3 {
        let guest = Guest::spawn().link(LinkKind::Socket).await?;
        is_of_use(&guest).await?;
        guest.shutdown().await?;
        let after = guest.see(1).await.expect_err("it has ended");
        assert_eq!(after.outcome(), Outcome::NotRun);
        drop(guest);
        before.back().await;
    }
    Ok(())
}

/// Who holds the proxy of a dead actor holds nothing that is open for it, however that ended, and
/// is still told all of it.
#[callboard::test]
async fn proxies_of_dead_actors_hold_nothing() -> callboard::Result<()> {
    if !alone("proxies_of_dead_actors_hold_nothing") {
        return Ok(());
    }
    let spawn = || Guest::spawn().link(LinkKind::Socket);
    spawn().await?.shutdown().await?;
    let before = Holdings::settled().await;
    let (stopped, killed, panicked) = (spawn().await?, spawn().await?, spawn().await?);
    stopped.shutdown().await?;
    killed.kill().await;
    within(SOON, panicked.panic("as said".into()).into_future())
        .await
        .unwrap_err();
    within(SOON, panicked.exited()).await;
    before.back().await;
    for guest in [stopped, killed] {
        let after = guest.see(1).await.expect_err("it has ended");
        assert_eq!(after.outcome(), Outcome::NotRun);
    }
    match panicked.see(1).await {
        Err(CallError::Died { death, outcome }) => {
            assert_eq!(death.report().unwrap().message(), "as said");
            assert_eq!(outcome, Outcome::NotRun);
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// A message that is many times as long as all buffers on its way, and one that is too long.
#[callboard::test]
async fn messages_may_be_long() -> callboard::Result<()> {
    let guest = Guest::spawn().link(LinkKind::Socket).await?;
    let sent = guest.len_of(vec![7; 64 << 20]).timeout(LONG);
    assert_eq!(sent.await?, 64 << 20);
    let refused = guest.len_of(vec![7; 256 << 20]).await;
    assert_eq!(refused.expect_err("too long").outcome(), Outcome::NotRun);
    guest.shutdown().await
}

/// Shared memory is what a link goes over where nobody says anything; asked for, it is that or an
/// error.
#[callboard::test]
async fn shared_memory_is_the_default() -> callboard::Result<()> {
    let guest = Guest::spawn().await?;
    assert_eq!(guest.link(), LinkKind::SharedMemory);
    guest.shutdown().await?;
    let guest = Guest::spawn().link(LinkKind::SharedMemory).await?;
    assert_eq!(guest.link(), LinkKind::SharedMemory);
    guest.shutdown().await
}

/// What was sent is done before a stop, also if it is more than all buffers hold, and also when the
/// last proxy just goes.
#[callboard::test]
async fn a_stop_comes_behind_what_was_sent() -> callboard::Result<()> {
    let scratch = Scratch::new();
    for last_proxy in [false, true] {
        let path = scratch.path(if last_proxy { "drop" } else { "shutdown" });
        let guest = Guest::spawn().link(LinkKind::Socket).await?;
        for _ in 0..30 {
            guest.note(path.clone(), 3).tell().await?;
        }
        for number in 0..1000 {
            guest.see(number).tell().await?;
        }
        guest.note(path.clone(), 0).tell().await?;
        if last_proxy {
            let pid = guest.process_id();
            drop(guest);
            gone(pid).await;
        } else {
            guest.shutdown().await?;
        }
        assert_eq!(fs::read_to_string(path)?.lines().count(), 31);
    }
    Ok(())
}

/// Killed: what the actor had read may have run, and nothing else, wherever it was on its way.
#[callboard::test]
async fn what_was_not_read_did_not_run() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let guest = Guest::spawn().link(LinkKind::Socket).await?;
    let running = guest.block(scratch.path("begun"), 60_000).start();
    let ballast = vec![0; 1000];
    let behind: Vec<_> = (0..900)
        .map(|_| guest.echo(ballast.clone()).start())
        .collect();
    eventually(LONG, "it runs", || scratch.0.join("begun").exists()).await;
    signal(guest.process_id(), Signal::SIGKILL);
    let outcome = |error: CallError| {
        assert!(matches!(error, CallError::Died { .. }), "{error:?}");
        error.outcome()
    };
    let running = within(SOON, running).await.expect_err("it was killed");
    assert_eq!(outcome(running), Outcome::MayHaveRun);
    for call in behind {
        let error = within(SOON, call).await.expect_err("it was killed");
        assert_eq!(outcome(error), Outcome::NotRun);
    }
    Ok(())
}

/// A panic is an error of its call; what a process says before it aborts is heard.
#[callboard::test]
async fn last_words_are_heard() -> callboard::Result<()> {
    let guest = Guest::spawn().link(LinkKind::Socket).await?;
    match within(SOON, guest.panic("as said".into()).into_future()).await {
        Err(CallError::Panicked(report)) => assert_eq!(report.message(), "as said"),
        other => panic!("{other:?}"),
    }
    let guest = Guest::spawn().link(LinkKind::Socket).await?;
    match within(SOON, guest.abort("no memory".into()).into_future()).await {
        Err(CallError::Died { death, .. }) => {
            assert_eq!(death.report().unwrap().message(), "no memory");
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// A parent that is killed takes its actors with it.
#[callboard::test]
async fn a_parent_may_be_killed() -> callboard::Result<()> {
    const TEST: &str = "a_parent_may_be_killed";
    if is_role("parent") {
        let path = std::env::var("CALLBOARD_TEST_NOTE")?;
        let guest = Guest::spawn().link(LinkKind::Socket).await?;
        fs::write(&path, guest.process_id().to_string())?;
        loop {
            guest.echo(vec![1; 300_000]).await?;
        }
    }
    let scratch = Scratch::new();
    for round in 0..4 {
        let note = scratch.path(&format!("pid-{round}"));
        let mut parent = common::again(TEST, "parent")
            .env("CALLBOARD_TEST_NOTE", &note)
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let pid = || fs::read_to_string(&note).ok()?.parse::<u32>().ok();
        eventually(LONG, "it has an actor", || pid().is_some()).await;
        sleep(Duration::from_millis(7 * round)).await;
        parent.kill()?;
        parent.wait()?;
        gone(pid().expect("it was there")).await;
    }
    Ok(())
}

/// Runs this test again behind `script`, which is to execute what it is given; none: it may not.
fn behind(script: &str, test: &str, role: &str) -> bool {
    if !may_unshare(&["-m", "true"]) {
        skipped("another /dev/shm needs the right to mount");
        return false;
    }
    let exe = std::env::current_exe().expect("there is one");
    let script = format!("{script} && exec \"$0\" \"$@\"");
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-m", "sh", "-c", &script])
        .arg(exe)
        .args(again_args(test))
        .env("CALLBOARD_TEST_ROLE", role);
    must_pass(&mut unshare);
    true
}

/// Keeps what is said at `info`.
struct Said(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Said {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = String::new();
        event.record(
            &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                let _ = write!(line, "{field}={value:?} ");
            },
        );
        self.0.lock().expect("nobody panics here").push(line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Where the parent has no shared memory: a link over a socket, which is said once; and an error
/// where nothing else is wanted.
async fn without_shared_memory() -> callboard::Result<()> {
    let said = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Said(Arc::clone(&said)))?;
    let guest = Guest::spawn().await?;
    assert_eq!(guest.link(), LinkKind::Socket);
    let lines = std::mem::take(&mut *said.lock().expect("nobody panics here"));
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    for part in ["Guest", "shared memory segment", "over a socket", "slower"] {
        assert!(line.contains(part), "{line}");
    }
    is_of_use(&guest).await?;
    guest.shutdown().await?;
    match Guest::spawn().link(LinkKind::SharedMemory).await {
        Err(SpawnError::Resources { what, .. }) => assert_eq!(what, "shared memory"),
        other => panic!("{other:?}"),
    }
    let guest = Guest::spawn().await?;
    let call = guest.block("/dev/null".into(), 60_000).start();
    signal(guest.process_id(), Signal::SIGKILL);
    assert!(matches!(
        within(SOON, call).await,
        Err(CallError::Died { .. })
    ));
    let own = format!("callboard-{}-", std::process::id());
    let names = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let left = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(&own));
    assert_eq!(left.count(), 0, "something is left in /dev/shm");
    Ok(())
}

/// A machine without /dev/shm, with one that may not be written to, with hardly any room in it, and
/// with none.
#[callboard::test]
async fn no_room_in_shared_memory() -> callboard::Result<()> {
    if is_role("without") {
        return without_shared_memory().await;
    }
    let no_folder = "d=$(mktemp -d) && mount -t tmpfs tmpfs $d && mkdir $d/pts && \
        for name in null zero random urandom tty; do \
        touch $d/$name && mount --bind /dev/$name $d/$name; done && \
        mount --rbind $d /dev";
    let read_only = "mount -t tmpfs -o ro tmpfs /dev/shm";
    let cramped = "mount -t tmpfs -o size=64k tmpfs /dev/shm";
    let full = "mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs /dev/shm";
    for script in [no_folder, read_only, cramped, full] {
        if !behind(script, "no_room_in_shared_memory", "without") {
            break;
        }
    }
    Ok(())
}

/// An actor's process that cannot see its parent's segment says so, and gets a socket.
#[callboard::test]
async fn a_child_may_refuse_shared_memory() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let script = scratch.path("elsewhere");
    let lines = "#!/bin/sh\nexec unshare -m sh -c \
        'mount -t tmpfs tmpfs /dev/shm && exec \"$CALLBOARD_TEST_PROGRAM\"'\n";
    may_refuse(&scratch, &script, lines).await
}

/// Makes `script` the program of an actor whose process has no part in its parent's memory.
async fn may_refuse(scratch: &Scratch, script: &str, lines: &str) -> callboard::Result<()> {
    // Written by another process, so that none of ours has it open while one is started.
    fs::write(scratch.path("lines"), lines)?;
    let write = format!(
        "cat {} > {script} && chmod 755 {script}",
        scratch.path("lines")
    );
    assert!(Command::new("sh").args(["-c", &write]).status()?.success());
    let may = Command::new("unshare").args(["-m", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        skipped("another /dev/shm needs the right to mount");
        return Ok(());
    }
    refuses(script).await
}

/// The program `exe` refuses shared memory, and its actors are of use all the same.
async fn refuses(exe: &str) -> callboard::Result<()> {
    let program = std::env::current_exe()?;
    let spawn = || Guest::spawn().exe(exe).env(PROGRAM, &program);
    let guest = spawn().await?;
    assert_eq!(guest.link(), LinkKind::Socket);
    is_of_use(&guest).await?;
    guest.shutdown().await?;
    match spawn().link(LinkKind::SharedMemory).await {
        Err(SpawnError::Refused { reason }) => assert!(reason.contains("memory"), "{reason}"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Where the system forbids to share mappings: in the actor's process, and in both.
#[callboard::test]
async fn mappings_may_be_forbidden() -> callboard::Result<()> {
    const TEST: &str = "mappings_may_be_forbidden";
    if is_role("both") {
        return without_shared_memory().await;
    }
    let scratch = Scratch::new();
    let forbid = scratch.path("forbid");
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/links/forbid_shared_maps.c"
    );
    let compiled = Command::new("cc")
        .args(["-O1", "-o", &forbid, source])
        .output();
    if !compiled.is_ok_and(|output| output.status.success()) {
        skipped("a filter of system calls needs a C compiler");
        return Ok(());
    }
    refuses(&forbid).await?;
    let mut both = Command::new(&forbid);
    both.args(again_args(TEST))
        .env(PROGRAM, std::env::current_exe()?)
        .env("CALLBOARD_TEST_ROLE", "both");
    must_pass(&mut both);
    Ok(())
}

/// An actor of another user, whose process may not open what its parent has made.
#[callboard::test]
async fn actors_may_be_of_another_user() -> callboard::Result<()> {
    const NOBODY: u32 = 65534;
    let scratch = Scratch::new();
    let other = Command::new("setpriv")
        .args(["--reuid=65534", "true"])
        .output();
    if !other.is_ok_and(|output| output.status.success()) {
        skipped("a process of another user needs the right to start it");
        return Ok(());
    }
    let program = scratch.path("program");
    let open = format!(
        "cp \"$0\" {program} && chmod 755 {} {program}",
        scratch.path("")
    );
    let copied = Command::new("sh")
        .args(["-c", &open])
        .arg(std::env::current_exe()?)
        .status()?;
    assert!(copied.success());
    let script = scratch.path("other");
    let lines = format!(
        "#!/bin/sh\nexec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {program}\n"
    );
    fs::write(scratch.path("lines"), lines)?;
    let write = format!(
        "cat {} > {script} && chmod 755 {script}",
        scratch.path("lines")
    );
    assert!(Command::new("sh").args(["-c", &write]).status()?.success());
    let guest = Guest::spawn().exe(&script).await?;
    assert_eq!(
        (guest.link(), guest.user().await?),
        (LinkKind::Socket, NOBODY)
    );
    is_of_use(&guest).await?;
    guest.shutdown().await
}
