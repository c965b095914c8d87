//! F2-F7, F9, F10: processes that are killed or stopped at every step of their lives.
//!
//! A cell is a point (`role.step`, a named line of the library), a passage and a signal. Shown for
//! each: every start, call and shutdown ends within its bound, by a right result or a typed error;
//! no call has run twice, and none that is said not to have run has run; nothing is left of any
//! process. The points of a parent are passed by an actor that starts actors itself.
#![cfg(feature = "failpoints")]

mod common;
#[path = "kill_matrix/network.rs"]
mod network;
#[path = "kill_matrix/turns.rs"]
mod turns;

use std::fmt;
use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Exit, ShutdownError};
use nix::sys::resource::{Resource, setrlimit};
use tokio::task::JoinSet;

use common::{Holdings, Scratch, alone, eventually, is_gone, within};

/// The variable that arms a point.
const FAILPOINT: &str = "CALLBOARD_FAILPOINT";
/// The variable by which the processes of a cell are found, in whichever generation.
const CELL: &str = "CALLBOARD_TEST_CELL";

/// Far more than the library takes until it says that a stopped process does not react.
const SILENT: Duration = common::LONG;
/// What is not stopped greets, and ends, in far less than these.
const GREET_WITHIN: Duration = Duration::from_secs(6);
const GRACE: Duration = Duration::from_secs(5);

/// The calls of one life.
const CALLS: u64 = 14;

/// An actor each of whose calls leaves a byte in a file.
pub struct Victim {
    log: fs::File,
    count: u64,
}

#[actor]
impl Victim {
    pub fn new(log: String) -> Self {
        let log = fs::File::options().create(true).append(true).open(log);
        Self {
            log: log.expect("the folder is there"),
            count: 0,
        }
    }

    pub async fn bump(&mut self) -> u64 {
        self.log.write_all(b"x").expect("there is room for a byte");
        self.count += 1;
        self.count
    }
}

/// An actor that is a parent.
pub struct Chief {
    rounds: u32,
}

#[actor]
impl Chief {
    pub fn new(rounds: u32) -> Self {
        Self { rounds }
    }

    /// Starts an actor, uses it and ends it, in each round.
    pub async fn command(&self, log: String) -> Result<u64, String> {
        let mut sum = 0;
        for _ in 0..self.rounds {
            let victim = Victim::spawn(log.clone())
                .await
                .map_err(|error| error.to_string())?;
            for _ in 0..3 {
                sum += victim.bump().await.map_err(|error| error.to_string())?;
            }
            victim.shutdown().await.map_err(|error| error.to_string())?;
        }
        Ok(sum)
    }
}

/// What a cell of either matrix is: a process that is struck at a point.
trait Cellular: fmt::Debug {
    /// The point, at which passage of it, and how.
    fn strike(&self) -> (&'static str, u32, Struck);

    /// What arms the point.
    fn setting(&self) -> String {
        let (point, passage, struck) = self.strike();
        format!("{point}={}@{passage}", struck.name())
    }

    async fn bounded<F: Future>(&self, future: F) -> F::Output {
        let ended = tokio::time::timeout(SILENT, future).await;
        ended.unwrap_or_else(|_| panic!("{self:?} does not end"))
    }

    /// The owner of who was struck ends it.
    async fn bury(&self, actor: &impl Proxy) {
        let (_, _, struck) = self.strike();
        match self.bounded(actor.stop()).await {
            Err(ShutdownError::Killed { grace: GRACE }) => assert_eq!(struck, Struck::Stop),
            Err(ShutdownError::Died(death)) => {
                let right = struck != Struck::Stop && struck.ends_as(death.exit());
                assert!(right, "{self:?}: {death}");
            }
            other => panic!("{self:?} was not struck: {other:?}"),
        }
        assert!(is_gone(actor.process_id()) && !actor.is_alive());
    }
}

/// Runs cells, so many at a time, and those that are stopped at once, for they only take time.
async fn run_all<C, F>(cells: Vec<C>, width: usize, scratch: &Scratch, run: impl Fn(C, String) -> F)
where
    C: Cellular + Copy,
    F: Future<Output = ()> + Send + 'static,
{
    let is_stopped = |cell: &C| matches!(cell.strike(), (_, _, Struck::Stop));
    let (stopped, killed): (Vec<_>, Vec<_>) = cells.into_iter().partition(is_stopped);
    for (round, cells) in killed.chunks(width).chain([&stopped[..]]).enumerate() {
        let mut running = JoinSet::new();
        for (number, cell) in cells.iter().enumerate() {
            running.spawn(run(*cell, scratch.path(&format!("{round}-{number}"))));
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("no cell panics");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Struck {
    Kill,
    Stop,
    Abort,
    Fault,
}

impl Struck {
    const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::Abort, Self::Fault];

    /// Whether a call may end so where its actor, or the one it is made by, was struck like this.
    fn explains<E>(self, error: &CallError<E>) -> bool {
        match error {
            CallError::Died { death, .. } => self.ends_as(death.exit()),
            CallError::Unreachable { .. } => self == Self::Stop,
            _ => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Abort => "ABRT",
            Self::Fault => "SEGV",
        }
    }

    /// Whether a process that was struck ends like this.
    fn ends_as(self, exit: Exit) -> bool {
        let expected = match self {
            Self::Kill | Self::Stop => libc::SIGKILL,
            Self::Abort => libc::SIGABRT,
            Self::Fault => libc::SIGSEGV,
        };
        matches!(exit, Exit::Signal { number, .. } if number == expected)
    }
}

/// The stage in which a point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the child has greeted.
    Greeting,
    /// From there to the constructor's answer.
    Construction,
    /// In the call of this number, from 1 on.
    Call(u64),
    /// Behind the call of this number, which was answered.
    Answered(u64),
    Shutdown,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    point: &'static str,
    passage: u32,
    stage: Stage,
    struck: Struck,
    idle: Idle,
}

const CHILD_POINTS: [(&str, u32, Stage); 18] = [
    ("child.entered", 1, Stage::Greeting),
    ("child.hello.before", 1, Stage::Greeting),
    ("child.mapped", 1, Stage::Greeting),
    ("child.greeting.before", 1, Stage::Greeting),
    ("child.greeted", 1, Stage::Construction),
    ("callee.recv.after", 1, Stage::Construction),
    ("child.construct.before", 1, Stage::Construction),
    ("child.construct.after", 1, Stage::Construction),
    ("send.claimed", 1, Stage::Construction),
    ("callee.recv.after", 2, Stage::Call(1)),
    ("callee.recv.after", 10, Stage::Call(9)),
    ("callee.reply.before", 1, Stage::Call(1)),
    ("callee.reply.before", 10, Stage::Call(10)),
    ("send.claimed", 10, Stage::Call(9)),
    ("callee.reply.after", 1, Stage::Answered(1)),
    ("callee.reply.after", 10, Stage::Answered(10)),
    ("child.stop", 1, Stage::Shutdown),
    ("child.end", 1, Stage::Shutdown),
];

impl Cellular for Cell {
    fn strike(&self) -> (&'static str, u32, Struck) {
        (self.point, self.passage, self.struck)
    }
}

impl Cell {
    async fn run(self, log: String) {
        let Self { struck, idle, .. } = self;
        let spawn = Victim::spawn(log.clone())
            .env(FAILPOINT, self.setting())
            .greet_within(GREET_WITHIN)
            .grace(GRACE)
            .idle(idle);
        let victim = match self.bounded(spawn.into_future()).await {
            Ok(victim) => victim,
            Err(error) => return self.check_start(&error, &log),
        };
        assert!(
            !matches!(self.stage, Stage::Greeting | Stage::Construction),
            "{self:?}"
        );
        let effects = || fs::read(&log).map_or(0, |bytes| bytes.len() as u64);
        let mut done = 0;
        let failed = loop {
            if done == CALLS {
                break None;
            }
            match self.bounded(victim.bump().into_future()).await {
                Ok(count) => {
                    done += 1;
                    assert_eq!(count, done, "{self:?}");
                }
                Err(error) => break Some(error),
            }
        };
        match (&failed, self.stage) {
            (None, Stage::Shutdown) => assert_eq!(effects(), CALLS),
            (Some(error), Stage::Call(number)) => {
                assert_eq!(done, number - 1, "{self:?}: {error}");
                self.check_call(error, effects() - done);
            }
            (Some(error), Stage::Answered(number)) => {
                assert_eq!(done, number, "{self:?}: what was answered arrives; {error}");
                self.check_call(error, effects() - done);
            }
            (failed, _) => panic!("{self:?}: {failed:?}"),
        }
        if failed.is_some() {
            let before = effects();
            let next = self.bounded(victim.bump().into_future()).await;
            let next = next.expect_err("its actor was struck");
            self.check_call(&next, effects() - before);
        }
        let pid = victim.process_id();
        let error = self
            .bounded(victim.shutdown())
            .await
            .expect_err("it was struck");
        match error.as_error().downcast_ref() {
            Some(ShutdownError::Killed { grace: GRACE }) => assert_eq!(struck, Struck::Stop),
            Some(ShutdownError::Died(death)) => {
                assert!(
                    struck != Struck::Stop && struck.ends_as(death.exit()),
                    "{self:?}: {death}"
                );
            }
            _ => panic!("{self:?}: {error:?}"),
        }
        assert!(is_gone(pid) && !victim.is_alive());
    }

    fn check_start(&self, error: &SpawnError, log: &str) {
        assert!(
            !Path::new(log).exists() || self.stage == Stage::Construction,
            "{self:?}"
        );
        let right = match (self.stage, self.struck, error) {
            (Stage::Greeting, Struck::Stop, SpawnError::Silent { within }) => {
                *within == GREET_WITHIN
            }
            (Stage::Construction, Struck::Stop, SpawnError::Call(error)) => {
                matches!(**error, CallError::Unreachable { .. })
            }
            (Stage::Greeting | Stage::Construction, struck, SpawnError::Died(death)) => {
                struck != Struck::Stop && struck.ends_as(death.exit())
            }
            _ => false,
        };
        assert!(right, "{self:?}: {error:?}");
    }

    /// What is said of a call that failed and left so many effects.
    fn check_call(&self, error: &CallError, effects: u64) {
        assert!(self.struck.explains(error), "{self:?}: {error:?}");
        assert!(effects <= 1, "{self:?}: {effects} effects");
        assert!(
            effects == 0 || error.outcome() != Outcome::NotRun,
            "{self:?}: {error:?}"
        );
    }
}

/// Files of dead processes are of no use here, and would fill the disk.
fn without_cores() {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("less is always allowed");
}

/// Every point of a child, with every signal. Another actor lives on beside them.
#[callboard::test]
async fn children_may_be_struck_anywhere() -> callboard::Result<()> {
    if !alone("children_may_be_struck_anywhere") {
        return Ok(());
    }
    without_cores();
    let scratch = Scratch::new();
    let survivor = Victim::spawn(scratch.path("survivor")).await?;
    let before = Holdings::now();
    let mut cells = Vec::new();
    for (point, passage, stage) in CHILD_POINTS {
        for struck in Struck::ALL {
            let idle = [Idle::Adaptive, Idle::Park][cells.len() / 4 % 2];
            cells.push(Cell {
                point,
                passage,
                stage,
                struck,
                idle,
            });
        }
    }
    let (point, stage, struck) = ("callee.recv.after", Stage::Call(9), Struck::Stop);
    cells.push(Cell {
        point,
        passage: 10,
        stage,
        struck,
        idle: Idle::Busy,
    });
    // Those that are stopped only take time.
    let (stopped, killed): (Vec<_>, _) = cells
        .into_iter()
        .partition(|cell| cell.struck == Struck::Stop);
    for (round, cells) in killed.chunks(8).chain([&stopped[..]]).enumerate() {
        let mut running = JoinSet::new();
        for (number, cell) in cells.iter().enumerate() {
            running.spawn(cell.run(scratch.path(&format!("{round}-{number}"))));
        }
        while let Some(ended) = running.join_next().await {
            ended?;
        }
        within(SILENT, survivor.bump()).await?;
    }
    before.back().await;
    survivor.shutdown().await?;
    Ok(())
}

const PARENT_POINTS: [&str; 8] = [
    "parent.prepared",
    "warden.hello.after",
    "warden.launched",
    "parent.started",
    "parent.greeted",
    "parent.constructed",
    "parent.stop.after",
    "warden.reaped",
];

/// A parent that is struck; it takes everything of the next generation with it.
async fn strike_parent(point: &'static str, passage: u32, struck: Struck, log: String) {
    let cell = format!("{point}={}@{passage}", struck.name());
    let mark = format!("{}-{cell}", std::process::id());
    let spawn = Chief::spawn(2)
        .env(FAILPOINT, &cell)
        .env(CELL, &mark)
        .grace(GRACE);
    let chief = within(SILENT, spawn.into_future())
        .await
        .expect("its own start is not struck");
    let commanded = within(SILENT, chief.command(log.clone()).into_future()).await;
    let error = commanded.expect_err(&cell);
    assert!(struck.explains(&error), "{cell}: {error:?}");
    within(SILENT, chief.shutdown()).await.expect_err(&cell);
    eventually(common::SOON, &cell, || processes_of(&mark) == 0).await;
    let effects = fs::read(log).map_or(0, |bytes| bytes.len());
    assert!(effects <= 6, "{cell}: {effects}");
}

/// How many processes have `mark` in their environment.
fn processes_of(mark: &str) -> usize {
    let setting = format!("{CELL}={mark}\0");
    let environments = fs::read_dir("/proc").expect("there is a /proc").flatten();
    environments
        .filter_map(|process| fs::read(process.path().join("environ")).ok())
        .filter(|environ| String::from_utf8_lossy(environ).contains(&setting))
        .count()
}

/// The segments whose names lie in `/dev/shm`.
fn segment_names() -> Vec<String> {
    let names = fs::read_dir("/dev/shm")
        .expect("there is shared memory")
        .flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("callboard-"))
        .collect();
    names.sort();
    names
}

/// Every point of a parent, with every signal, at its first and second child.
#[callboard::test]
async fn parents_may_be_struck_anywhere() -> callboard::Result<()> {
    if !alone("parents_may_be_struck_anywhere") {
        return Ok(());
    }
    without_cores();
    let scratch = Scratch::new();
    let peaceful = Chief::spawn(2).await?;
    assert_eq!(peaceful.command(scratch.path("peace")).await.unwrap(), 12);
    let before = Holdings::now();
    let mut cells = Vec::new();
    for point in PARENT_POINTS {
        for struck in Struck::ALL {
            cells.extend([1, 2].map(|passage| (point, passage, struck)));
        }
    }
    let (stopped, killed): (Vec<_>, Vec<_>) = cells
        .into_iter()
        .partition(|(.., struck)| *struck == Struck::Stop);
    for (round, cells) in killed.chunks(8).chain([&stopped[..]]).enumerate() {
        let mut running = JoinSet::new();
        for (number, (point, passage, struck)) in cells.iter().copied().enumerate() {
            let log = scratch.path(&format!("{round}-{number}"));
            running.spawn(strike_parent(point, passage, struck, log));
        }
        while let Some(ended) = running.join_next().await {
            ended?;
        }
    }
    before.back().await;
    peaceful.shutdown().await?;
    // Of one that was killed between making a name and removing it the name is left, until the next
    // process that starts actors sweeps it away. What others leave meanwhile is not looked at.
    let mut left = segment_names();
    left.retain(|name| !is_of_a_living(name));
    let sweeper = Chief::spawn(2).await?;
    assert_eq!(sweeper.command(scratch.path("sweep")).await.unwrap(), 12);
    sweeper.shutdown().await?;
    let own = format!("callboard-{}-", std::process::id());
    left.retain(|name| segment_names().contains(name));
    assert!(left.is_empty(), "{left:?}");
    assert!(!segment_names().iter().any(|name| name.starts_with(&own)));
    Ok(())
}

/// Whether the process that a name speaks of lives, or nobody has asked how it ended, or it is of
/// another namespace, where that cannot be seen.
fn is_of_a_living(name: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let part = |at| name.split('-').nth(at).unwrap_or_default();
    let namespace = fs::metadata("/proc/self/ns/pid").map(|link| link.ino().to_string());
    namespace.is_ok_and(|namespace| namespace != part(3))
        || fs::exists(format!("/proc/{}", part(1))).is_ok_and(|is_there| is_there)
}
