//! U61: what an actor's process may have: memory, descriptors, CPU time; and what becomes of one
//! that needs more.

mod common;

use std::fs::{self, File};
use std::future::IntoFuture as _;
use std::time::{Duration, Instant};

use callboard::prelude::*;
use callboard::{Exit, Limits, SpawnError};

use common::{
    Holdings, LONG, MemoryGroup, SOON, again, alone, eventually, gone, is_role, must_pass, skipped,
    within,
};

const MIB: u64 = 1 << 20;

/// Takes what it is told to.
pub struct Taker {
    kept: Vec<Vec<u8>>,
    files: Vec<File>,
}

#[actor]
impl Taker {
    pub fn new() -> Self {
        Self {
            kept: Vec::new(),
            files: Vec::new(),
        }
    }

    /// A constructor that needs memory.
    pub fn with(bytes: u64) -> Self {
        let mut taker = Self::new();
        taker.fill(bytes);
        taker
    }

    /// Takes and touches so much memory, piece by piece; gives how much it has.
    pub fn fill(&mut self, bytes: u64) -> usize {
        for _ in 0..bytes / MIB {
            self.kept.push(vec![1; 1 << 20]);
        }
        self.kept.len()
    }

    /// Takes so much at once, and deals with not getting it; gives how much it got.
    pub fn try_fill(&mut self, bytes: usize) -> usize {
        let mut kept = Vec::<u8>::new();
        let got = kept.try_reserve_exact(bytes).map_or(0, |()| bytes);
        self.kept.push(kept);
        got
    }

    /// Opens files until it may not; gives how many it got, and the error.
    pub fn open_many(&mut self) -> (usize, Option<i32>) {
        loop {
            match File::open("/dev/null") {
                Ok(file) => self.files.push(file),
                Err(error) => return (self.files.len(), error.raw_os_error()),
            }
        }
    }

    /// The nice value of each of its threads.
    pub fn nice(&self) -> Vec<i32> {
        let tasks = fs::read_dir("/proc/self/task").expect("it has threads");
        let nice = |path: std::path::PathBuf| -> i32 {
            let stat = fs::read_to_string(path.join("stat")).expect("it runs");
            let (_, fields) = stat.rsplit_once(')').expect("its name ends");
            let nice = fields.split_whitespace().nth(16).expect("there are more");
            nice.parse().expect("a number")
        };
        tasks
            .map(|task| nice(task.expect("a thread").path()))
            .collect()
    }

    /// Runs for so long; gives how much CPU time it had of it.
    pub fn spin(&self, long: Duration) -> Duration {
        let began = Instant::now();
        let before = cpu_time();
        while began.elapsed() < long {
            std::hint::spin_loop();
        }
        cpu_time() - before
    }

    /// The cgroups that it is in.
    pub fn groups(&self) -> String {
        fs::read_to_string("/proc/self/cgroup").expect("the kernel tells")
    }

    pub fn abort(&self) {
        std::process::abort()
    }

    pub fn echo(&self, number: u64) -> u64 {
        number
    }
}

/// What this process has used of the CPUs.
fn cpu_time() -> Duration {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)
        .expect("the system tells");
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    let all = micros(used.user_time()) + micros(used.system_time());
    Duration::from_micros(all.unsigned_abs())
}

fn exit_of<T: std::fmt::Debug>(ended: Result<T, CallError>) -> Exit {
    match ended {
        Err(CallError::Died { death, .. }) => death.exit(),
        other => panic!("{other:?}"),
    }
}

/// An actor that needs more memory than its heap may have ends for want of memory, and its parent
/// and siblings live on; one that deals with it lives, and one that aborts for another reason has
/// died of that.
#[callboard::test]
async fn heaps_end() -> callboard::Result<()> {
    let limited = || Taker::spawn().limits(Limits::new().heap(256 * MIB));
    let (taker, sibling) = (limited().await?, limited().await?);
    assert_eq!(within(LONG, taker.fill(32 * MIB)).await?, 32);
    let exit = exit_of(within(LONG, taker.fill(1024 * MIB)).await);
    assert_eq!(exit, Exit::OutOfMemory);
    assert_eq!(within(SOON, taker.exited()).await, Exit::OutOfMemory);
    gone(taker.process_id()).await;

    assert_eq!(within(LONG, sibling.try_fill(1 << 30)).await?, 0);
    assert_eq!(within(LONG, sibling.try_fill(32 << 20)).await?, 32 << 20);
    let other = limited().await?;
    assert!(matches!(
        exit_of(other.abort().await),
        Exit::Signal { number: 6, .. }
    ));
    // Unlimited, it is what it looks like.
    let free = Taker::spawn().await?;
    assert!(matches!(
        exit_of(free.abort().await),
        Exit::Signal { number: 6, .. }
    ));
    sibling.shutdown().await
}

/// A constructor that gets no memory is an error of the start that says so.
#[callboard::test]
async fn constructors_that_get_no_memory() {
    let start = Taker::spawn_with(1024 * MIB).limits(Limits::new().heap(128 * MIB));
    let Err(SpawnError::Died(death)) = within(LONG, start.into_future()).await.map(drop) else {
        panic!("there is no such memory");
    };
    assert_eq!(death.exit(), Exit::OutOfMemory);
    assert!(death.to_string().contains("no memory left"), "{death}");
}

/// Whether cgroups can be made here.
fn has_groups() -> bool {
    let can = MemoryGroup::new("limits-can", 64 << 20).is_some();
    if !can {
        skipped("a limit of memory for a cgroup needs one that may be written");
    }
    can
}

/// Where there are cgroups, a limit of memory is one: what is only reserved does not count, who
/// touches too much is killed, and nobody else; nothing is left of the group.
#[callboard::test]
async fn memory_has_an_end() -> callboard::Result<()> {
    if !has_groups() || !alone("memory_has_an_end") {
        return Ok(());
    }
    let limits = Limits::new().memory(64 * MIB);
    let sibling = Taker::spawn().limits(limits).await?;
    let holdings = Holdings::settled().await;
    for _ in 0..3 {
        let taker = Taker::spawn().limits(limits).await?;
        let mine = taker.groups().await?;
        let group = mine.lines().find_map(|line| line.split_once("callboard-"));
        let (_, name) = group.unwrap_or_else(|| panic!("{mine}"));
        assert!(is_there(name), "{name}");
        assert_eq!(within(LONG, taker.try_fill(1 << 30)).await?, 1 << 30);
        let exit = exit_of(within(LONG, taker.fill(512 * MIB)).await);
        assert_eq!(exit, Exit::OutOfMemory);
        gone(taker.process_id()).await;
        eventually(SOON, "the group is gone", || !is_there(name)).await;

        // A plain kill of one that is limited is no want of memory.
        let killed = Taker::spawn().limits(limits).await?;
        common::signal(killed.process_id(), nix::sys::signal::Signal::SIGKILL);
        let exit = within(SOON, killed.exited()).await;
        assert!(matches!(exit, Exit::Signal { number: 9, .. }), "{exit}");
        assert_eq!(within(SOON, sibling.echo(7)).await?, 7);
    }
    holdings.back().await;
    sibling.shutdown().await
}

/// Whether a group whose name ends so is there, in any hierarchy.
fn is_there(name: &str) -> bool {
    let found = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name"])
        .arg(format!("callboard-{name}"))
        .output()
        .expect("find is there");
    !found.stdout.is_empty()
}

/// Where no cgroup may be made, a limit of memory is one of the heap, and a share of the CPUs an
/// error of the start that says so.
#[callboard::test]
async fn without_cgroups() -> callboard::Result<()> {
    const TEST: &str = "without_cgroups";
    if is_role("hidden") {
        let start = Taker::spawn().limits(Limits::new().memory(256 * MIB));
        let taker = start.await?;
        assert_eq!(within(LONG, taker.try_fill(1 << 30)).await?, 0);
        let exit = exit_of(within(LONG, taker.fill(1024 * MIB)).await);
        assert_eq!(exit, Exit::OutOfMemory);
        let start = Taker::spawn().limits(Limits::new().cpu_share(0.5));
        let Err(SpawnError::Limit { what, source }) = start.await.map(drop) else {
            panic!("there are no groups");
        };
        assert_eq!(what, "CPU time");
        assert_eq!(source.kind(), std::io::ErrorKind::Unsupported);
        return Ok(());
    }
    let inner = again(TEST, "hidden");
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--mount", "--map-root-user", "sh", "-c"])
        .arg("mount -t tmpfs none /sys/fs/cgroup && exec \"$0\" \"$@\"")
        .arg(std::env::current_exe()?)
        .args(inner.get_args())
        .env("CALLBOARD_TEST_ROLE", "hidden");
    let may = std::process::Command::new("unshare")
        .args([
            "--mount",
            "--map-root-user",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/sys/fs/cgroup",
        ])
        .output();
    if may.is_ok_and(|output| output.status.success()) {
        must_pass(&mut command);
    } else {
        skipped("hiding cgroups needs a mount namespace");
    }
    Ok(())
}

/// Open files are counted: the next one is an error within the actor, which lives on, and so is a
/// call that needs none.
#[callboard::test]
async fn files_have_an_end() -> callboard::Result<()> {
    let limits = Limits::new().open_files(40);
    let taker = Taker::spawn().limits(limits).await?;
    let (count, error) = taker.open_many().await?;
    assert!((40..72).contains(&count), "{count}");
    assert_eq!(error, Some(libc::EMFILE));
    assert_eq!(taker.echo(3).await?, 3);
    taker.shutdown().await
}

/// All threads of an actor give way as they are told to.
#[callboard::test]
async fn actors_are_nice() -> callboard::Result<()> {
    let ours = Taker::spawn().await?;
    let usual = ours.nice().await?;
    let nice = Taker::spawn()
        .limits(Limits::new().nice(usual[0] + 3))
        .await?;
    let told = nice.nice().await?;
    assert!(told.len() > 1, "the lifeline's thread is there");
    assert!(told.iter().all(|nice| *nice == usual[0] + 3), "{told:?}");
    nice.shutdown().await?;
    ours.shutdown().await
}

/// A share of the CPUs is what an actor gets of them.
#[callboard::test]
async fn shares_are_kept() -> callboard::Result<()> {
    let taker = match Taker::spawn().limits(Limits::new().cpu_share(0.2)).await {
        Ok(taker) => taker,
        Err(SpawnError::Limit { source, .. }) => {
            skipped(&format!("a share of the CPUs needs a cgroup: {source}"));
            return Ok(());
        }
        Err(other) => return Err(other.into()),
    };
    // On a busy machine it gets less; more it gets nowhere. Some is had before it is counted.
    let had = within(LONG, taker.spin(Duration::from_secs(1))).await?;
    assert!(had < Duration::from_millis(500), "{had:?}");
    taker.shutdown().await
}

/// A limit that the system or reason refuses is an error of the start, which leaves nothing.
#[callboard::test]
async fn limits_that_cannot_be() -> callboard::Result<()> {
    if !alone("limits_that_cannot_be") {
        return Ok(());
    }
    Taker::spawn().await?.shutdown().await?;
    let holdings = Holdings::settled().await;
    for share in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let start = Taker::spawn().limits(Limits::new().cpu_share(share));
        let Err(SpawnError::Limit { source, .. }) = start.await.map(drop) else {
            panic!("{share}");
        };
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidInput);
    }
    // More descriptors than the kernel has for anybody (fs.nr_open).
    let start = Taker::spawn().limits(Limits::new().open_files(u64::MAX / 2));
    let Err(SpawnError::Limit { what, source }) = start.await.map(drop) else {
        panic!("nobody may have so many");
    };
    assert_eq!(
        (what, source.raw_os_error()),
        ("open files", Some(libc::EPERM))
    );
    holdings.back().await;
    Ok(())
}

/// What every start of a type may have stands in its attribute.
pub struct Frugal;

#[actor(limits = Limits::new().open_files(8))]
impl Frugal {
    pub fn new() -> Self {
        Self
    }

    pub fn limit(&self) -> u64 {
        use nix::sys::resource::{Resource, getrlimit};
        getrlimit(Resource::RLIMIT_NOFILE)
            .expect("the system tells")
            .1
    }
}

/// Limits of a type hold for its starts, unless one of them says otherwise.
#[callboard::test]
async fn types_have_limits() -> callboard::Result<()> {
    let frugal = Frugal::spawn().await?;
    assert_eq!(frugal.limit().await?, 8 + 32);
    let other = Frugal::spawn().limits(Limits::new().open_files(9)).await?;
    assert_eq!(other.limit().await?, 9 + 32);
    other.shutdown().await?;
    frugal.shutdown().await
}
