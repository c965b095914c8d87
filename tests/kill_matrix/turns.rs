//! The cells of hooks, cancels, scopes, kills, the end of all, and of links over a socket.

use std::cell::RefCell;
use std::fs;
use std::future::{IntoFuture as _, pending};
use std::io::Write as _;

use callboard::LinkKind;
use callboard::prelude::*;

use super::common::{self, Holdings, Scratch, alone, eventually, within};
use super::{
    CELL, Cellular, FAILPOINT, GRACE, GREET_WITHIN, SILENT, Struck, Victim, processes_of, run_all,
    without_cores,
};

/// Arms nothing, and hides from an actor's children what its parent has armed.
const NOTHING: &str = "nothing=KILL";

/// The calls that leave an effect in the life of a patient.
const BUMPS: u64 = 8;

/// An actor with hooks, and with a method that is given up.
pub struct Patient {
    log: RefCell<fs::File>,
    count: u64,
}

#[actor]
impl Patient {
    pub fn new(log: String) -> Self {
        let log = fs::File::options().create(true).append(true).open(log);
        Self {
            log: RefCell::new(log.expect("the folder is there")),
            count: 0,
        }
    }

    #[on_start]
    async fn started(&mut self) {
        tokio::task::yield_now().await;
    }

    #[on_stop]
    async fn stopped(&mut self) {
        tokio::task::yield_now().await;
    }

    pub async fn bump(&mut self) -> u64 {
        let mut log = self.log.borrow_mut();
        log.write_all(b"x").expect("there is room for a byte");
        self.count += 1;
        self.count
    }

    #[cancellable]
    pub async fn forever(&self) {
        pending().await
    }

    /// What is sent before it has begun when it has answered.
    pub fn look(&self) {}
}

/// An actor that takes its actors through every turn.
pub struct Head;

#[actor]
impl Head {
    pub fn new() -> Self {
        Self
    }

    /// A scope, a local actor, a cancel, a kill, and the end of all.
    pub async fn command(&self, log: String, link: LinkName) -> Result<u64, String> {
        let command = async {
            let start = || {
                let spawn = Patient::spawn(log.clone()).env(FAILPOINT, NOTHING);
                spawn.grace(GRACE).link(link.kind())
            };
            let mut sum = start()
                .scope(async |patient| Ok::<_, callboard::Error>(patient.bump().await?))
                .await?;
            let local = Patient::local(log.clone()).await?;
            sum += local.bump().await?;
            local.shutdown().await?;
            let patient = start().await?;
            let given_up = patient.forever().start();
            patient.look().await?;
            drop(given_up);
            sum += patient.bump().await?;
            Proxy::kill(&patient).await;
            let last = [start().await?, start().await?];
            sum += last[0].bump().await? + last[1].bump().await?;
            callboard::shutdown_all().await;
            Ok::<_, callboard::Error>(sum)
        };
        command.await.map_err(|error| error.to_string())
    }
}

/// The two kinds of links, as they travel.
#[message]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkName {
    Memory,
    Socket,
}

impl LinkName {
    fn kind(self) -> LinkKind {
        match self {
            Self::Memory => LinkKind::SharedMemory,
            Self::Socket => LinkKind::Socket,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    point: &'static str,
    passage: u32,
    struck: Struck,
    link: LinkName,
}

const CHILD_POINTS: [(&str, u32, LinkName); 14] = [
    ("hook.start.before", 1, LinkName::Memory),
    ("hook.start.after", 1, LinkName::Memory),
    ("callee.cancelled", 1, LinkName::Memory),
    ("callee.cancelled", 1, LinkName::Socket),
    ("hook.stop.before", 1, LinkName::Memory),
    ("hook.stop.after", 1, LinkName::Socket),
    ("child.stop", 1, LinkName::Socket),
    ("child.end", 1, LinkName::Socket),
    ("pump.fetched", 1, LinkName::Socket),
    ("pump.fetched", 4, LinkName::Socket),
    ("pump.write.before", 1, LinkName::Socket),
    ("pump.write.before", 4, LinkName::Socket),
    ("pump.written", 1, LinkName::Socket),
    ("pump.written", 4, LinkName::Socket),
];

const PARENT_POINTS: [(&str, u32, LinkName); 16] = [
    ("scope.entered", 1, LinkName::Memory),
    ("scope.left", 1, LinkName::Socket),
    ("hook.start.after", 1, LinkName::Memory),
    ("hook.stop.before", 1, LinkName::Memory),
    ("caller.cancelled", 1, LinkName::Memory),
    ("caller.cancelled", 1, LinkName::Socket),
    ("parent.kill.after", 1, LinkName::Memory),
    ("parent.kill.after", 1, LinkName::Socket),
    ("parent.all.asked", 1, LinkName::Memory),
    ("parent.all.asked", 2, LinkName::Socket),
    ("pump.fetched", 1, LinkName::Socket),
    ("pump.fetched", 3, LinkName::Socket),
    ("pump.write.before", 1, LinkName::Socket),
    ("pump.write.before", 3, LinkName::Socket),
    ("pump.written", 1, LinkName::Socket),
    ("pump.written", 3, LinkName::Socket),
];

impl Cellular for Cell {
    fn strike(&self) -> (&'static str, u32, Struck) {
        (self.point, self.passage, self.struck)
    }
}

impl Cell {
    fn all(points: &[(&'static str, u32, LinkName)]) -> Vec<Self> {
        let cells = points.iter().flat_map(|&(point, passage, link)| {
            Struck::ALL.map(|struck| Self {
                point,
                passage,
                struck,
                link,
            })
        });
        cells.collect()
    }

    /// A child that is struck somewhere in a life with a cancel in its middle.
    async fn strike_child(self, log: String) {
        let spawn = Patient::spawn(log.clone())
            .env(FAILPOINT, self.setting())
            .greet_within(GREET_WITHIN)
            .grace(GRACE)
            .link(self.link.kind());
        let patient = match self.bounded(spawn.into_future()).await {
            Ok(patient) => patient,
            Err(error) => {
                let right = match &error {
                    SpawnError::Died(death) => self.struck.ends_as(death.exit()),
                    SpawnError::Call(error) => self.struck.explains(error),
                    SpawnError::Silent { .. } => self.struck == Struck::Stop,
                    _ => false,
                };
                assert!(right, "{self:?}: {error:?}");
                return;
            }
        };
        let effects = || fs::read(&log).map_or(0, |bytes| bytes.len() as u64);
        let mut answered = 0;
        for number in 0..BUMPS {
            if number == BUMPS / 2 {
                let given_up = patient.forever().start();
                if let Err(error) = self.bounded(patient.look().into_future()).await {
                    assert!(self.struck.explains(&error), "{self:?}: {error:?}");
                }
                drop(given_up);
            }
            let before = effects();
            match self.bounded(patient.bump().into_future()).await {
                Ok(count) => {
                    answered += 1;
                    assert_eq!((count, effects()), (answered, answered), "{self:?}");
                }
                Err(error) => {
                    assert!(self.struck.explains(&error), "{self:?}: {error:?}");
                    let more = effects() - before;
                    assert!(more <= 1, "{self:?}: {more} effects");
                    let outcome = error.outcome();
                    assert!(
                        more == 0 || outcome != Outcome::NotRun,
                        "{self:?}: {error:?}"
                    );
                    break;
                }
            }
        }
        self.bury(&patient).await;
    }

    /// A parent that is struck somewhere, with all kinds of actors beneath it.
    async fn strike_parent(self, log: String) {
        let mark = format!("{}-{}-{:?}", std::process::id(), self.setting(), self.link);
        let spawn = Head::spawn()
            .env(FAILPOINT, self.setting())
            .env(CELL, &mark)
            .grace(GRACE);
        let head = self.bounded(spawn.into_future()).await;
        let head = head.unwrap_or_else(|error| panic!("{self:?}: {error:?}"));
        let commanded = head.command(log.clone(), self.link).into_future();
        match self.bounded(commanded).await {
            Err(CallError::Actor(error)) => panic!("{self:?}: {error}"),
            Err(error) => {
                assert!(self.struck.explains(&error), "{self:?}: {error:?}");
            }
            Ok(sum) => panic!("{self:?} was not struck: {sum}"),
        }
        self.bounded(head.shutdown())
            .await
            .expect_err("it was struck");
        let nobody = || processes_of(&mark) == 0;
        eventually(common::SOON, &self.setting(), nobody).await;
        let effects = fs::read(log).map_or(0, |bytes| bytes.len());
        assert!(effects <= 5, "{self:?}: {effects}");
    }
}

/// A child at its hooks, when a call that it runs is given up, and at each step of a socket's pump.
#[callboard::test]
async fn children_may_be_struck_at_their_turns() -> callboard::Result<()> {
    if !alone("turns::children_may_be_struck_at_their_turns") {
        return Ok(());
    }
    without_cores();
    let scratch = Scratch::new();
    // The thread of all sockets stays once it is there.
    let survivor = Victim::spawn(scratch.path("survivor"));
    let survivor = survivor.link(LinkKind::Socket).await?;
    let before = Holdings::settled().await;
    run_all(Cell::all(&CHILD_POINTS), 8, &scratch, Cell::strike_child).await;
    within(SILENT, survivor.bump()).await?;
    before.back().await;
    survivor.shutdown().await
}

/// A parent in scopes, at a cancel, at a kill, at the end of all, in the hooks of a local actor,
/// and at each step of the pump of a socket to its children.
#[callboard::test]
async fn parents_may_be_struck_at_their_turns() -> callboard::Result<()> {
    if !alone("turns::parents_may_be_struck_at_their_turns") {
        return Ok(());
    }
    without_cores();
    let scratch = Scratch::new();
    let peaceful = Head::spawn().await?;
    for link in [LinkName::Memory, LinkName::Socket] {
        let sum = within(SILENT, peaceful.command(scratch.path("peace"), link)).await;
        assert_eq!(sum.expect("nothing is armed"), 5);
    }
    let before = Holdings::settled().await;
    run_all(Cell::all(&PARENT_POINTS), 8, &scratch, Cell::strike_parent).await;
    before.back().await;
    peaceful.shutdown().await
}
