//! The steps of a connection over a network: the client's process, or the actor's, is killed or
//! stopped at each.
//!
//! Shown for each cell: whoever waits gets a typed error within its bound, and what it says of a
//! call's outcome is so; who was not struck holds nothing more of the other, and serves, or calls,
//! the next one.

use std::fs;
use std::future::IntoFuture as _;
use std::io::Write as _;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{AuthKey, Blob, ConnectError, Exit};
use futures_util::stream;

use super::common::{
    HERE, Holdings, LONG, SOON, Scratch, alone, eventually, is_gone, is_stopped, within,
};
use super::{Cellular, FAILPOINT, GRACE, SILENT, Struck, run_all, without_cores};

/// The calls of a visit that leave an effect.
const BUMPS: u64 = 3;

/// A blob of several pieces.
const BLOB_LEN: usize = 200_000;

/// More than one parcel of items.
const ITEMS: u64 = 5_000;

fn key() -> AuthKey {
    AuthKey::from([1; 32])
}

/// Called by address; each `bump` leaves a byte in a file.
pub struct Station {
    log: fs::File,
    count: u64,
}

#[actor]
impl Station {
    pub fn new(log: String) -> Self {
        let log = fs::File::options().create(true).append(true).open(log);
        Self {
            log: log.expect("the folder is there"),
            count: 0,
        }
    }

    pub fn bump(&mut self) -> u64 {
        self.log.write_all(b"x").expect("there is room for a byte");
        self.count += 1;
        self.count
    }

    pub fn len(&self, blob: Blob) -> usize {
        blob.len()
    }

    pub fn make(&self, len: usize) -> Blob {
        let builder = Blob::alloc(len).expect("there is memory");
        builder.seal().expect("it can be sealed")
    }

    pub fn numbers(&self, count: u64) -> impl Stream<Item = u64> {
        stream::iter(0..count)
    }

    pub async fn total(&self, mut numbers: Streamed<u64>) -> Result<u64, String> {
        let mut total = 0;
        while let Some(number) = numbers.next().await {
            total += number.map_err(|error| error.to_string())?;
        }
        Ok(total)
    }
}

/// Calls a station by its address.
#[derive(Default)]
pub struct Visitor {
    station: Option<StationProxy>,
}

/// How a visit ended that was cut short.
#[message]
#[derive(Debug)]
pub struct Cut {
    step: String,
    error: String,
    /// The error is one of those that a visitor can expect.
    is_typed: bool,
    is_not_run: bool,
    /// The bumps that were answered.
    answered: u64,
}

impl Cut {
    fn connecting(error: &ConnectError) -> Self {
        use ConnectError::{Auth, Busy, Io, Timeout};
        Self {
            step: "connect".into(),
            error: format!("{error:?}"),
            is_typed: matches!(
                error,
                Auth { .. } | Busy { .. } | Io { .. } | Timeout { .. }
            ),
            is_not_run: true,
            answered: 0,
        }
    }

    fn calling<X: std::fmt::Debug>(step: &str, error: &CallError<X>, answered: u64) -> Self {
        let is_typed = matches!(
            error,
            CallError::Unreachable { .. } | CallError::Died { .. }
        );
        Self {
            step: step.into(),
            error: format!("{error:?}"),
            is_typed,
            is_not_run: error.outcome() == Outcome::NotRun,
            answered,
        }
    }
}

#[actor]
impl Visitor {
    pub fn new() -> Self {
        Self::default()
    }

    /// Does all that can be done over a connection, which stays. Gives the bumps.
    pub async fn visit(&mut self, address: String) -> Result<u64, Cut> {
        let connected = Station::connect(address, key()).await;
        let station = connected.map_err(|error| Cut::connecting(&error))?;
        let mut answered = 0;
        let visited = call_all(&station, &mut answered).await;
        if visited.is_err() {
            let next = station.bump().await;
            let next = next.expect_err("the connection has ended");
            assert_eq!(next.outcome(), Outcome::NotRun, "{next:?}");
        }
        self.station = Some(station);
        visited.map(|()| answered)
    }

    /// Ends the connection, if there is one.
    pub fn leave(&mut self) {
        self.station = None;
    }

    /// Waits until it has ended; whether the station has said so.
    pub async fn was_told(&self) -> bool {
        match &self.station {
            Some(station) => station.exited().await == Exit::Code(0),
            None => false,
        }
    }
}

/// The steps of a visit.
async fn call_all(station: &StationProxy, answered: &mut u64) -> Result<(), Cut> {
    for _ in 0..BUMPS {
        let bumped = station.bump().await;
        bumped.map_err(|error| Cut::calling("bump", &error, *answered))?;
        *answered += 1;
    }
    let of = |step: &'static str| {
        let answered = *answered;
        move |error: CallError| Cut::calling(step, &error, answered)
    };
    let builder = Blob::alloc(BLOB_LEN).expect("there is memory");
    let blob = builder.seal().expect("it can be sealed");
    let len = station.len(blob).await.map_err(of("send a blob"))?;
    assert_eq!(len, BLOB_LEN);
    let made = station.make(BLOB_LEN + 1).await;
    assert_eq!(made.map_err(of("get a blob"))?.len(), BLOB_LEN + 1);
    let numbers = station.numbers(ITEMS).await;
    let mut numbers = numbers.map_err(of("begin a stream"))?;
    for expected in 0..ITEMS {
        let number = numbers.next().await.expect("there are more");
        assert_eq!(number.map_err(of("read a stream"))?, expected);
    }
    let total = station.total(stream::iter(0..ITEMS)).await;
    let total = total.map_err(|error| Cut::calling("write a stream", &error, *answered))?;
    assert_eq!(total, ITEMS * (ITEMS - 1) / 2);
    Ok(())
}

/// Where a point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the connection is made, for the one who was struck.
    Connecting,
    /// In the first bump.
    Calling,
    /// Behind the bumps.
    Carrying,
    /// The visitor hangs up.
    Leaving,
    /// The station ends in order.
    Ending,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    point: &'static str,
    passage: u32,
    stage: Stage,
    struck: Struck,
}

const CLIENT_POINTS: [(&str, u32, Stage); 19] = [
    ("connect.dialled", 1, Stage::Connecting),
    ("knock.first.sent", 1, Stage::Connecting),
    ("knock.second.read", 1, Stage::Connecting),
    ("knock.third.sent", 1, Stage::Connecting),
    ("connect.welcomed", 1, Stage::Connecting),
    ("connect.joined", 1, Stage::Connecting),
    ("pump.write.before", 1, Stage::Connecting),
    ("pump.written", 1, Stage::Calling),
    ("pump.fetched", 1, Stage::Calling),
    ("pump.offer.put", 1, Stage::Carrying),
    ("pump.piece.put", 1, Stage::Carrying),
    ("pump.piece.put", 3, Stage::Carrying),
    ("pump.offer.taken", 1, Stage::Carrying),
    ("pump.piece.taken", 1, Stage::Carrying),
    ("pump.piece.taken", 3, Stage::Carrying),
    ("flow.items.read", 1, Stage::Carrying),
    ("flow.items.sent", 1, Stage::Carrying),
    ("pump.hung.up", 1, Stage::Leaving),
    ("pump.bye.taken", 1, Stage::Ending),
];

const SERVER_POINTS: [(&str, u32, Stage); 19] = [
    ("door.accepted", 1, Stage::Connecting),
    ("admit.preamble.read", 1, Stage::Connecting),
    ("admit.first.read", 1, Stage::Connecting),
    ("admit.second.sent", 1, Stage::Connecting),
    ("admit.third.read", 1, Stage::Connecting),
    ("door.welcomed", 1, Stage::Connecting),
    ("door.joined", 1, Stage::Connecting),
    ("pump.fetched", 1, Stage::Calling),
    ("pump.write.before", 1, Stage::Calling),
    ("pump.written", 1, Stage::Calling),
    ("pump.offer.taken", 1, Stage::Carrying),
    ("pump.piece.taken", 1, Stage::Carrying),
    ("pump.piece.taken", 3, Stage::Carrying),
    ("pump.offer.put", 1, Stage::Carrying),
    ("pump.piece.put", 1, Stage::Carrying),
    ("pump.piece.put", 3, Stage::Carrying),
    ("flow.items.sent", 1, Stage::Carrying),
    ("flow.items.read", 1, Stage::Carrying),
    ("pump.bye.put", 1, Stage::Ending),
];

impl Cellular for Cell {
    fn strike(&self) -> (&'static str, u32, Struck) {
        (self.point, self.passage, self.struck)
    }
}

impl Cell {
    fn all(points: &[(&'static str, u32, Stage)]) -> Vec<Self> {
        let cells = points.iter().flat_map(|&(point, passage, stage)| {
            [Struck::Kill, Struck::Stop].map(|struck| Self {
                point,
                passage,
                stage,
                struck,
            })
        });
        cells.collect()
    }

    /// How many bumps are possible where the struck one came no further than the stage.
    fn is_possible(&self, effects: u64) -> bool {
        match self.stage {
            Stage::Connecting => effects == 0,
            Stage::Calling => effects <= 1,
            Stage::Carrying | Stage::Leaving | Stage::Ending => effects == BUMPS,
        }
    }

    /// Waits until a process was struck.
    async fn has_struck(&self, pid: u32) {
        let struck = || match self.struck {
            Struck::Stop => is_stopped(pid),
            _ => is_gone(pid),
        };
        eventually(LONG, &format!("{self:?} strikes"), struck).await;
    }

    /// A visitor that is struck; the station serves the next one, and holds nothing of it.
    async fn strike_client(self, log: String) {
        let station = Station::spawn(log.clone()).listen(HERE).authkey(key());
        let station = self
            .bounded(station.into_future())
            .await
            .expect("it starts");
        let address = station.address().expect("it listens").to_string();
        // What a process opens once stays.
        drop(connected(&address).await);
        let idle = settled(station.process_id()).await;
        let visitor = Visitor::spawn().env(FAILPOINT, self.setting()).grace(GRACE);
        let visitor = self
            .bounded(visitor.into_future())
            .await
            .expect("it starts");
        let visited = self
            .bounded(visitor.visit(address.clone()).into_future())
            .await;
        match self.stage {
            Stage::Connecting | Stage::Calling | Stage::Carrying => {
                let error = visited.expect_err("its process was struck");
                assert!(self.struck.explains(&error), "{self:?}: {error:?}");
            }
            Stage::Leaving | Stage::Ending => {
                assert_eq!(visited.expect("nothing has happened yet"), BUMPS);
            }
        }
        let effects = fs::read(&log).map_or(0, |bytes| bytes.len() as u64);
        match self.stage {
            Stage::Leaving => {
                // It may be struck before it has answered.
                let _ = self.bounded(visitor.leave().into_future()).await;
            }
            Stage::Ending => {
                // The visitor hears of it, and is struck.
                self.bounded(station.stop())
                    .await
                    .expect("it ends in order");
            }
            _ => {}
        }
        self.has_struck(visitor.process_id()).await;
        if self.stage != Stage::Ending {
            let next = connected(&address).await;
            let count = self.bounded(next.bump().into_future()).await;
            assert!(self.is_possible(count.expect("it serves") - 1), "{self:?}");
            assert!(self.is_possible(effects), "{self:?}: {effects}");
            drop(next);
            // Who stands still is noticed by its silence.
            let is_idle = || descriptors(station.process_id()) <= idle;
            eventually(SILENT, &format!("{self:?}: it has let go"), is_idle).await;
            self.bounded(station.stop())
                .await
                .expect("it ends in order");
        }
        self.bury(&visitor).await;
    }

    /// A station that is struck; the visitor visits the next one, and holds nothing of it.
    async fn strike_server(self, log: String) {
        let other = Station::spawn(format!("{log}-other"))
            .listen(HERE)
            .authkey(key());
        let other = self.bounded(other.into_future()).await.expect("it starts");
        let there = other.address().expect("it listens").to_string();
        let visitor = self.bounded(Visitor::spawn().into_future()).await;
        let visitor = visitor.expect("it starts");
        let warm = self
            .bounded(visitor.visit(there.clone()).into_future())
            .await;
        assert_eq!(warm.expect("nothing is armed there"), BUMPS);
        visitor.leave().await.expect("it lives");
        let idle = settled(visitor.process_id()).await;

        let station = Station::spawn(log.clone())
            .env(FAILPOINT, self.setting())
            .grace(GRACE);
        let station = station.listen(HERE).authkey(key()).into_future();
        let station = self.bounded(station).await.expect("it starts");
        let address = station.address().expect("it listens").to_string();
        let visited = self.bounded(visitor.visit(address).into_future()).await;
        let effects = fs::read(&log).map_or(0, |bytes| bytes.len() as u64);
        match visited {
            Ok(bumps) => {
                assert_eq!((self.stage, bumps), (Stage::Ending, BUMPS), "{self:?}");
                let ending = self.bury(&station);
                let told = self.bounded(visitor.was_told().into_future());
                let ((), told) = tokio::join!(ending, told);
                told.expect("the visitor lives");
            }
            Err(CallError::Actor(cut)) => {
                assert_ne!(self.stage, Stage::Ending, "{self:?}: {cut:?}");
                self.check(&cut, effects);
                self.has_struck(station.process_id()).await;
                self.bury(&station).await;
            }
            Err(error) => panic!("{self:?}: {error:?}"),
        }
        visitor.leave().await.expect("it lives");
        let is_idle = || descriptors(visitor.process_id()) <= idle;
        eventually(SOON, &format!("{self:?}: it has let go"), is_idle).await;
        let next = self.bounded(visitor.visit(there).into_future()).await;
        assert_eq!(next.expect("others are there"), BUMPS);
        self.bounded(visitor.stop())
            .await
            .expect("it ends in order");
        self.bounded(other.stop()).await.expect("it ends in order");
    }

    /// What a visitor was told, where so many bumps have left their effect.
    fn check(&self, cut: &Cut, effects: u64) {
        assert!(cut.is_typed, "{self:?}: {cut:?}");
        assert!(self.is_possible(effects), "{self:?}: {cut:?}, {effects}");
        let more = effects
            .checked_sub(cut.answered)
            .expect("what is answered has run");
        assert!(more <= 1, "{self:?}: {cut:?}, {effects}");
        assert!(more == 0 || !cut.is_not_run, "{self:?}: {cut:?}, {effects}");
        let is_carrying = cut.answered == BUMPS;
        assert_eq!(
            is_carrying,
            self.stage == Stage::Carrying,
            "{self:?}: {cut:?}"
        );
        if cut.step == "connect" {
            assert_eq!(self.stage, Stage::Connecting, "{self:?}: {cut:?}");
        }
    }
}

/// A caller of the station there, as any other.
async fn connected(address: &str) -> StationProxy {
    let connecting = Station::connect(address, key()).within(LONG).into_future();
    within(SILENT, connecting).await.expect("it is let in")
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How many a process has open once it opens and closes none any more.
async fn settled(pid: u32) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = descriptors(pid);
        if now == before {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What this process holds once it has connected and let go: what it opens once stays.
async fn warm(scratch: &Scratch) -> Holdings {
    let station = Station::spawn(scratch.path("warm"))
        .listen(HERE)
        .authkey(key());
    let station = station.await.expect("it starts");
    drop(connected(&station.address().expect("it listens").to_string()).await);
    station.stop().await.expect("it ends in order");
    Holdings::settled().await
}

/// A client is struck wherever a connection is made, used and ended; the actor serves the next one.
#[callboard::test]
async fn clients_may_be_struck_at_each_step() {
    if !alone("network::clients_may_be_struck_at_each_step") {
        return;
    }
    without_cores();
    let scratch = Scratch::new();
    let before = warm(&scratch).await;
    run_all(Cell::all(&CLIENT_POINTS), 5, &scratch, Cell::strike_client).await;
    before.back().await;
}

/// An actor is struck wherever a connection is made, used and ended; its client calls the next one.
#[callboard::test]
async fn servers_may_be_struck_at_each_step() {
    if !alone("network::servers_may_be_struck_at_each_step") {
        return;
    }
    without_cores();
    let scratch = Scratch::new();
    let before = warm(&scratch).await;
    run_all(Cell::all(&SERVER_POINTS), 5, &scratch, Cell::strike_server).await;
    before.back().await;
}
