//! U11, F37, F49, F52, F61, F62, F75: what is rarely done to an actor: forks, signals, limits, torn
//! memory, long checks.

mod common;

use std::fs::{self, OpenOptions};
use std::future::IntoFuture as _;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Exit, LinkKind, ShutdownError};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Barrier;

use common::{
    LONG, MemoryGroup, SOON, Scratch, again_args, eventually, fork, gone, is_gone, is_role, signal,
    skipped, within,
};

/// Writes down what it does, and has rare things done to it.
pub struct Clerk {
    log: String,
    count: u64,
    copies: Vec<i32>,
}

#[actor]
impl Clerk {
    pub fn new(log: String) -> Self {
        Self {
            log,
            count: 0,
            copies: Vec::new(),
        }
    }

    #[on_stop]
    fn stopped(&mut self) {
        self.write("stop".into());
    }

    pub fn write(&mut self, line: String) {
        let mut file = OpenOptions::new();
        let file = file.create(true).append(true).open(&self.log);
        writeln!(file.expect("a file"), "{line}").expect("it can be written");
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    /// Is busy, and lets nobody run, from the first file's being there to the second's.
    pub fn hold(&mut self, begun: String, go: String) {
        fs::write(begun, "").expect("the folder is there");
        while !fs::exists(&go).expect("the folder is there") {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Forks. The copy leaves at once, or goes on as if it were the actor.
    pub fn fork(&mut self, leaves: bool) -> u64 {
        self.count += 1;
        setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("less is always allowed");
        self.copies.extend(fork(leaves.then_some(7)));
        self.count
    }

    /// How the copies ended: an exit code, or minus a signal.
    pub fn copies(&mut self) -> Vec<i32> {
        let copies = std::mem::take(&mut self.copies).into_iter();
        let ends = copies.map(|copy| match waitpid(Pid::from_raw(copy), None) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => -(signal as i32),
            other => panic!("{other:?}"),
        });
        ends.collect()
    }

    pub fn count_lines(&self, lines: &Archived<Vec<String>>) -> usize {
        lines.len()
    }

    /// The processor time that its thread has used.
    pub fn used(&self) -> Duration {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(used).expect("time goes forward")
    }
}

/// A process that user code forks has no part in the link: the actor's callers get one answer each,
/// also if the copy goes on as if it were the actor, and the actor's end is its own.
#[callboard::test]
async fn copies_of_an_actor_do_not_speak_for_it() -> callboard::Result<()> {
    for socket in [false, true] {
        let scratch = Scratch::new();
        let spawn = Clerk::spawn(scratch.path("log"));
        let spawn = if socket {
            spawn.link(LinkKind::Socket)
        } else {
            spawn
        };
        let clerk = spawn.await?;
        assert_eq!(within(LONG, clerk.fork(true)).await?, 1);
        assert_eq!(within(LONG, clerk.copies()).await?, [7]);
        let calls: Vec<_> = (2..=6).map(|_| clerk.fork(false).start()).collect();
        for (count, call) in (2..).zip(calls) {
            assert_eq!(within(LONG, call).await?, count);
        }
        clerk.fork(false).tell().await?;
        let ends = within(LONG, clerk.copies()).await?;
        assert_eq!(ends, [-libc::SIGSEGV; 6]);
        for value in 0..1000 {
            assert_eq!(within(LONG, clerk.echo(value)).await?, value);
        }
        within(LONG, clerk.shutdown()).await?;
        assert_eq!(scratch.read("log"), "stop\n");
    }
    Ok(())
}

/// What a shell says of SIGTERM.
const TERMINATED: Exit = Exit::Code(128 + libc::SIGTERM);

/// SIGTERM, sent to an actor's own process, ends it in order: what it has begun and taken in is
/// done, its hook runs, and those who have a proxy are told how it ended.
#[callboard::test]
async fn a_terminated_actor_ends_in_order() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let (begun, go) = (scratch.path("begun"), scratch.path("go"));
    let clerk = Clerk::spawn(scratch.path("log")).await?;
    let running = clerk.hold(begun.clone(), go.clone()).start();
    clerk.write("behind".into()).tell().await?;
    eventually(LONG, "it is busy", || fs::exists(&begun).is_ok_and(|is| is)).await;
    signal(clerk.process_id(), Signal::SIGTERM);
    fs::write(go, "")?;
    within(LONG, running).await?;
    assert_eq!(within(LONG, clerk.exited()).await, TERMINATED);
    assert_eq!(scratch.read("log"), "behind\nstop\n");
    let error = within(LONG, clerk.echo(1)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotRun, "{error:?}");
    match clerk.stop().await {
        Err(ShutdownError::Died(death)) => assert_eq!(death.exit(), TERMINATED),
        other => panic!("{other:?}"),
    }

    let idle = Clerk::spawn(scratch.path("idle")).link(LinkKind::Socket);
    let idle = idle.await?;
    signal(idle.process_id(), Signal::SIGTERM);
    assert_eq!(within(LONG, idle.exited()).await, TERMINATED);
    assert_eq!(scratch.read("idle"), "stop\n");
    Ok(())
}

/// One that does not end by itself then ends when its grace is over, or at once when it is told
/// again; no hook runs. A parent's wish before that counts for the exit code.
#[callboard::test]
async fn a_terminated_actor_has_its_grace() -> callboard::Result<()> {
    let scratch = Scratch::new();
    for (round, grace) in [Duration::from_millis(100), LONG * 60]
        .into_iter()
        .enumerate()
    {
        let begun = scratch.path(&format!("begun-{round}"));
        let clerk = Clerk::spawn(scratch.path("log")).grace(grace).await?;
        let held = clerk.hold(begun.clone(), scratch.path("never")).start();
        eventually(LONG, "it is busy", || fs::exists(&begun).is_ok_and(|is| is)).await;
        let pid = clerk.process_id();
        signal(pid, Signal::SIGTERM);
        if grace > LONG {
            // One that comes before another was taken is none.
            eventually(LONG, "it ends", || {
                if is_gone(pid) {
                    return true;
                }
                let _ = nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
                false
            })
            .await;
        }
        assert_eq!(within(LONG, clerk.exited()).await, TERMINATED);
        assert!(within(LONG, held).await.is_err());
    }
    assert_eq!(scratch.read("log"), "");
    Ok(())
}

/// A program that was started to ignore SIGTERM does, in its actors too.
#[callboard::test]
async fn an_ignored_signal_stays_ignored() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let script = scratch.path("deaf");
    let lines = "#!/bin/sh\\ntrap \"\" TERM\\nexec \"$CALLBOARD_TEST_PROGRAM\"\\n";
    let write = format!("printf '{lines}' > {script} && chmod +x {script}");
    assert!(Command::new("sh").args(["-c", &write]).status()?.success());
    let spawn = Clerk::spawn(scratch.path("log")).exe(&script);
    let clerk = spawn.env("CALLBOARD_TEST_PROGRAM", std::env::current_exe()?);
    let clerk = clerk.await?;
    signal(clerk.process_id(), Signal::SIGTERM);
    assert_eq!(within(LONG, clerk.echo(1)).await?, 1);
    within(LONG, clerk.shutdown()).await
}

static LEFT: OnceLock<CrossProxy> = OnceLock::new();
static RIGHT: OnceLock<CrossProxy> = OnceLock::new();
static BOTH: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

/// One of two that call each other. They find each other in statics.
pub struct Cross {
    is_left: bool,
}

#[actor]
impl Cross {
    pub fn new(is_left: bool) -> Self {
        Self { is_left }
    }

    fn other(&self) -> &'static CrossProxy {
        let other = if self.is_left { &RIGHT } else { &LEFT };
        other.get().expect("both are there")
    }

    /// Calls the other one when both are busy, and lets nobody run meanwhile.
    pub async fn cross(&mut self) -> bool {
        BOTH.wait().await;
        self.other().is_left().await.is_ok()
    }

    /// The same, and others may run.
    pub async fn cross_shared(&self) -> bool {
        BOTH.wait().await;
        self.other().is_left().await.is_ok()
    }

    pub fn is_left(&self) -> bool {
        self.is_left
    }
}

/// Two actors call each other at the same time, each for a caller of its own: no call's chain is a
/// circle, and so both wait for their bounds, and live on; where others may run, both are served.
#[callboard::test]
async fn actors_that_call_each_other_at_once_have_their_bounds() -> callboard::Result<()> {
    let (left, right) = (Cross::local(true).await?, Cross::local(false).await?);
    assert!(LEFT.set(left.clone()).is_ok() && RIGHT.set(right.clone()).is_ok());
    let bound = Duration::from_millis(300);
    let (one, other) = within(LONG, async {
        tokio::join!(left.cross().timeout(bound), right.cross().timeout(bound))
    })
    .await;
    for ended in [one, other] {
        // What the call waits for ends with its time, and may say so before it.
        assert!(
            matches!(ended, Ok(false) | Err(CallError::Timeout { .. })),
            "{ended:?}"
        );
    }
    assert!(within(LONG, left.is_left().into_future()).await?);
    assert!(!within(LONG, right.is_left().into_future()).await?);
    let both = async { tokio::join!(left.cross_shared(), right.cross_shared()) };
    let (one, other) = within(LONG, both).await;
    assert!(one? && other?);
    // Statics are never dropped: the two are ended by hand.
    left.shutdown().await?;
    right.shutdown().await
}

/// Under a limit of memory that has no room for all links, a start is an error that says so, or the
/// system ends a process of those under the limit; nobody else is touched, and nothing is left.
#[callboard::test]
async fn links_under_a_limit_of_memory() -> callboard::Result<()> {
    const TEST: &str = "links_under_a_limit_of_memory";
    if is_role("cramped") {
        return in_little_memory().await;
    }
    let Some(group) = MemoryGroup::new("links", 32 << 20) else {
        skipped("a limit of memory needs a cgroup that may be written");
        return Ok(());
    };
    let scratch = Scratch::new();
    let survivor = Clerk::spawn(scratch.path("log")).await?;
    let mut command = group.again();
    command.args(again_args(TEST)).stdout(Stdio::null());
    command.env("CALLBOARD_TEST_ROLE", "cramped");
    let mut cramped = command.env("PIDS", scratch.path("pids")).spawn()?;
    let parent = cramped.id();
    let mut status = None;
    eventually(LONG, "it ends", || {
        assert!(cramped.try_wait().is_ok_and(|ended| {
            status = ended;
            true
        }));
        status.is_some()
    })
    .await;
    let status = status.expect("it has ended");
    assert!(
        status.success() || status.signal() == Some(libc::SIGKILL),
        "{status}"
    );
    let pids = scratch.read("pids");
    assert!(pids.lines().count() > 0, "{pids}");
    for pid in pids.lines() {
        gone(pid.parse()?).await;
    }
    assert_eq!(within(LONG, survivor.echo(1)).await?, 1);
    survivor.shutdown().await?;
    // A parent that was killed may have left a name, which the next one's first start sweeps away.
    let prefix = format!("callboard-{parent}-");
    let own = Command::new("/proc/self/exe")
        .args(again_args("an_ignored_signal_stays_ignored"))
        .output()?;
    assert!(own.status.success());
    let names = fs::read_dir("/dev/shm")?.flatten();
    let mut left = names.filter(|name| name.file_name().to_string_lossy().starts_with(&prefix));
    assert!(left.next().is_none());
    Ok(())
}

/// Starts more than there is room for.
async fn in_little_memory() -> callboard::Result<()> {
    let mut pids = OpenOptions::new();
    let mut pids = pids
        .create(true)
        .append(true)
        .open(std::env::var("PIDS")?)?;
    let mut clerks = Vec::new();
    for _ in 0..64 {
        match within(LONG, Clerk::spawn("/dev/null".into()).into_future()).await {
            Ok(clerk) => {
                writeln!(pids, "{}", clerk.process_id())?;
                clerks.push(clerk);
            }
            Err(SpawnError::Resources { .. } | SpawnError::Died(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    for clerk in clerks {
        match within(LONG, clerk.echo(5)).await {
            Ok(value) => assert_eq!(value, 5),
            Err(CallError::Died { death, .. }) => {
                let is_killed = matches!(
                    death.exit(),
                    Exit::OutOfMemory | Exit::Signal { number: 9, .. }
                );
                assert!(is_killed, "{death}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// An archive of as many strings as fit into it takes time in proportion to its length to check, no
/// matter how small they are; and nobody but its actor waits for that.
#[callboard::test]
async fn many_tiny_strings_cost_what_their_bytes_do() -> callboard::Result<()> {
    const FEW: usize = 128 << 10;
    const TIMES: u32 = 16;
    let (clerk, other) = (
        Clerk::spawn("/dev/null".into()).await?,
        Clerk::spawn("/dev/null".into()).await?,
    );
    let mut costs = Vec::new();
    for count in [FEW, FEW * TIMES as usize] {
        // Eight bytes each.
        let lines = vec!["x".to_owned(); count];
        let mut least = Duration::MAX;
        for round in 0..2 {
            let before = within(LONG, clerk.used()).await?;
            let checked = clerk.count_lines(&lines).timeout(LONG).start();
            assert_eq!(within(LONG, other.echo(round)).await?, round);
            assert_eq!(within(LONG, checked).await?, count);
            least = least.min(within(LONG, clerk.used()).await? - before);
        }
        costs.push(least);
    }
    // Caches and buffers of their own make long ones somewhat dearer, not by a power.
    assert!(costs[1] < costs[0] * TIMES * 4, "{costs:?}");
    clerk.shutdown().await?;
    other.shutdown().await
}

/// Calls through memory that is emptied meanwhile.
const CALLS: u64 = 8;

/// Has an actor of its own, and may tear the memory that they share.
pub struct Tearing {
    leaf: ClerkProxy,
    /// What its link lies in.
    memory: Option<fs::File>,
}

#[actor]
impl Tearing {
    pub async fn new() -> Self {
        let before = links();
        let leaf = Clerk::spawn("/dev/null".into()).await;
        let leaf = leaf.expect("there is room for one");
        let mut new = links();
        new.retain(|path| !before.contains(path));
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        let memory = new.first().map(|path| open(path).expect("it is ours"));
        Self { leaf, memory }
    }

    /// The process of its own actor; none: their link has no memory that can be torn.
    pub fn leaf(&self) -> Option<u32> {
        self.memory.as_ref().map(|_| self.leaf.process_id())
    }

    /// Takes the memory away from under both, and calls.
    pub async fn cut(&mut self) -> u64 {
        let memory = self.memory.as_ref().expect("it was asked for");
        setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("less is always allowed");
        memory.set_len(0).expect("only seals forbid it");
        self.leaf.echo(1).await.unwrap_or_default()
    }

    /// Empties it again and again, and calls meanwhile: how many calls have ended, each with its
    /// own answer or an error of the link.
    pub async fn empty(&mut self) -> u64 {
        let memory = self.memory.as_ref().expect("it was asked for");
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let len = memory.metadata().expect("it is open").len().cast_signed();
        for value in 0..CALLS {
            let call = self.leaf.echo(value).timeout(Duration::from_millis(200));
            let call = call.start();
            fallocate(memory, hole, 0, len).expect("only seals forbid it");
            match call.await {
                Ok(answer) => assert_eq!(answer, value),
                Err(CallError::Timeout { .. } | CallError::Corrupt { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        CALLS
    }
}

/// The paths under which the links that this process has open can be opened again.
fn links() -> Vec<std::path::PathBuf> {
    let open = fs::read_dir("/proc/self/fd").expect("there is a proc");
    let paths = open.flatten().map(|entry| entry.path());
    let links = paths.filter(|path| {
        let target = fs::read_link(path).unwrap_or_default();
        target.to_string_lossy().contains("/shm/callboard-")
    });
    links.collect()
}

/// Memory that one of its two processes takes away ends them, for that no seal can forbid; whoever
/// called them is told, others live on, and nothing is left.
#[callboard::test]
async fn memory_that_is_cut_ends_those_who_share_it() -> callboard::Result<()> {
    let survivor = Clerk::spawn("/dev/null".into()).await?;
    let tearing = Tearing::spawn().await?;
    let Some(leaf) = tearing.leaf().await? else {
        skipped("without shared memory there is nothing to cut");
        return Ok(());
    };
    match within(SOON, tearing.cut().into_future()).await {
        Err(CallError::Died { death, outcome }) => {
            let is_bus_error = matches!(death.exit(), Exit::Signal { number: 7, .. });
            assert!(is_bus_error, "{death}");
            assert_eq!(outcome, Outcome::MayHaveRun);
        }
        other => panic!("{other:?}"),
    }
    gone(leaf).await;
    assert_eq!(survivor.echo(1).await?, 1);
    survivor.shutdown().await
}

/// Memory that is emptied again and again makes calls fail within their bounds, and harms nobody:
/// no answer is another's, and both processes live on.
#[callboard::test]
async fn memory_that_is_emptied_harms_nobody() -> callboard::Result<()> {
    let tearing = Tearing::spawn().await?;
    let Some(leaf) = tearing.leaf().await? else {
        skipped("without shared memory there is nothing to empty");
        return Ok(());
    };
    let empty = tearing.empty().timeout(LONG).into_future();
    assert_eq!(within(LONG, empty).await?, CALLS);
    assert!(tearing.is_alive());
    within(LONG, tearing.kill()).await;
    gone(leaf).await;
    Ok(())
}
