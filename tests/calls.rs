//! U30, UB1, UB10, UB15, K02, K03, K20-K24, P10, P24, P38: calls: order, borrows, tells, crowds.

#![allow(
    clippy::unwrap_used,
    reason = "the bodies of tests are functions, for actors of both kinds"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, TryCallError};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

use common::{How, LONG, Scratch, Start, both, eventually, within};

/// Notes what it is told, and knows who is inside it.
pub struct Desk {
    notes: Vec<u64>,
    inside: AtomicU32,
    met: Barrier,
    began: AtomicU64,
    ended: AtomicU64,
}

/// An error of a method's own.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("{0} is even")]
pub struct Even(u64);

#[actor]
impl Desk {
    pub fn new() -> Self {
        Self {
            notes: Vec::new(),
            inside: AtomicU32::new(0),
            met: Barrier::new(2),
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    pub fn note(&mut self, value: u64) -> usize {
        self.notes.push(value);
        self.notes.len()
    }

    /// A note with ballast, of which few fit into the link.
    pub fn note_heavy(&mut self, value: u64, ballast: Vec<u8>) {
        assert_eq!(ballast, [7; 1000]);
        self.notes.push(value);
    }

    /// A note that takes many turns.
    pub async fn note_slowly(&mut self, value: u64) {
        for _ in 0..value % 5 {
            tokio::task::yield_now().await;
        }
        self.notes.push(value);
    }

    pub fn notes(&self) -> Vec<u64> {
        self.notes.clone()
    }

    /// Goes in for a while; how many others were in there meanwhile.
    pub async fn occupy(&mut self, ms: u64) -> u32 {
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(ms)).await;
        let after = self.inside.fetch_sub(1, Ordering::Relaxed) - 1;
        before.max(after)
    }

    /// Who is inside, seen by a call that may run beside others.
    pub async fn look(&self) -> u32 {
        tokio::task::yield_now().await;
        self.inside.load(Ordering::Relaxed)
    }

    /// Ends when two of these run at the same time.
    pub async fn meet(&self) {
        self.met.wait().await;
    }

    pub async fn nap(&self, ms: u64) -> u64 {
        self.began.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(ms)).await;
        self.ended.fetch_add(1, Ordering::Relaxed);
        ms
    }

    /// How many naps have begun and ended.
    pub fn naps(&self) -> (u64, u64) {
        (
            self.began.load(Ordering::Relaxed),
            self.ended.load(Ordering::Relaxed),
        )
    }

    /// Blocks the whole actor.
    pub fn block(&self, ms: u64) {
        thread::sleep(Duration::from_millis(ms));
    }

    /// Blocks the whole actor until there is such a file.
    pub fn block_until(&self, path: String) {
        while !std::path::Path::new(&path).exists() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Keeps all others waiting until there is such a file.
    pub async fn hold_until(&mut self, path: String) {
        self.wait_for(path).await;
    }

    /// Waits for a file, at the side.
    pub async fn wait_for(&self, path: String) {
        while !std::path::Path::new(&path).exists() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn make(&self, path: String) {
        std::fs::write(path, b"made").expect("the folder is there");
    }

    /// Fails, or not.
    pub fn odd(&self, value: u64) -> Result<u64, Even> {
        if value % 2 == 1 {
            Ok(value)
        } else {
            Err(Even(value))
        }
    }
}

fn new_desk(how: How) -> Start<DeskProxy, ()> {
    how.start(Desk::spawn(), Desk::local())
}

/// Calls of one caller run in their order, also far more than may be in flight.
async fn calls_keep_their_order(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let pending: Vec<_> = (0..5000).map(|value| desk.note(value).start()).collect();
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(within(LONG, pending).await?, at + 1);
    }
    let expected: Vec<u64> = (0..5000).collect();
    assert_eq!(desk.notes().await?, expected);
    desk.shutdown().await
}

/// Calls and tells of one caller keep one order, when the link is full too.
async fn calls_and_tells_keep_one_order(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let blocked = desk.block(150).start();
    let mut pending = Vec::new();
    for value in 0..2000 {
        match value % 4 {
            0 => pending.push(desk.note_heavy(value, vec![7; 1000]).start()),
            1 => desk.note_slowly(value).tell().await?,
            2 => pending.push(desk.note_slowly(value).start()),
            _ => desk.note_heavy(value, vec![7; 1000]).tell().await?,
        }
    }
    blocked.await?;
    let expected: Vec<u64> = (0..2000).collect();
    assert_eq!(within(LONG, desk.notes()).await?, expected);
    for pending in pending {
        pending.await?;
    }
    desk.shutdown().await
}

/// A `&mut self` call is alone in its actor, also across its awaits.
async fn exclusive_calls_are_alone(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let mut exclusive = Vec::new();
    let mut shared = Vec::new();
    for round in 0..60 {
        exclusive.push(desk.occupy(round % 3).start());
        shared.extend([desk.look().start(), desk.look().start()]);
    }
    for pending in exclusive.into_iter().chain(shared) {
        assert_eq!(within(LONG, pending).await?, 0);
    }
    desk.shutdown().await
}

/// Async `&self` calls run at the same time; sync ones come in between.
async fn shared_calls_run_together(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).grace(Duration::ZERO).await?;
    for _ in 0..50 {
        let (one, other) = (desk.meet().start(), desk.meet().start());
        within(LONG, one).await?;
        within(LONG, other).await?;
    }
    let nap = desk.nap(100_000).start();
    assert_eq!(within(LONG, desk.echo(5)).await?, 5, "beside the nap");
    assert_eq!(desk.naps().await?, (1, 0));
    drop(nap);
    let naps: Vec<_> = (0..1000).map(|_| desk.nap(20).start()).collect();
    for nap in naps {
        within(LONG, nap).await?;
    }
    Ok(())
}

/// Calls of two actors run at the same time, each waiting for what the other does.
async fn actors_run_together(how: How) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let (one, other) = (new_desk(how).await?, new_desk(how).await?);
    let first = async {
        one.wait_for(scratch.path("by other")).await?;
        one.make(scratch.path("by one")).await
    };
    let second = async {
        other.make(scratch.path("by other")).await?;
        other.wait_for(scratch.path("by one")).await
    };
    let (first, second) = within(LONG, async { tokio::join!(first, second) }).await;
    first?;
    second?;
    let pending = (one.nap(30).start(), other.nap(40).start());
    assert_eq!((pending.0.await?, pending.1.await?), (30, 40));
    one.shutdown().await?;
    other.shutdown().await
}

/// A tell is done when it is on its way, and runs; an error of its method is nobody's.
async fn tells_run_and_are_not_waited_for(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).grace(Duration::ZERO).await?;
    within(LONG, desk.nap(100_000).tell()).await?;
    for value in 0..10 {
        desk.note_slowly(value).tell().await?;
        desk.odd(value).tell().await?;
    }
    desk.echo(1).try_tell().unwrap();
    drop(desk);
    let desk = new_desk(how).await?;
    for value in 0..100 {
        within(LONG, desk.note(value).tell()).await?;
    }
    assert_eq!(desk.notes().await?.len(), 100);
    desk.shutdown().await
}

/// What does not go at once comes back whole, and nothing is lost or done twice.
async fn a_full_link_gives_calls_back(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let scratch = Scratch::new();
    let blocked = match how {
        How::Process => desk.block_until(scratch.path("gate")).start(),
        // A task of this thread does nothing before this one waits.
        How::Local => desk.block(0).start(),
    };
    let mut sent = 0;
    let returned = loop {
        match desk.note_heavy(sent, vec![7; 1000]).try_tell() {
            Ok(()) => sent += 1,
            Err(TryCallError::Full(call)) => break call,
            Err(other) => panic!("{other:?}"),
        }
        assert!(sent < 1000, "the link has an end");
    };
    assert!(sent > 20, "{sent}");
    let again = match desk.note_heavy(sent + 1, vec![7; 1000]).try_start() {
        Err(TryCallError::Full(call)) => call,
        other => panic!("{other:?}"),
    };
    std::fs::write(scratch.path("gate"), "")?;
    within(LONG, returned).await?;
    within(LONG, again.start()).await?;
    blocked.await?;
    let expected: Vec<u64> = (0..=sent + 1).collect();
    assert_eq!(desk.notes().await?, expected);
    let started = desk.note(5).try_start().unwrap();
    assert_eq!(started.await?, expected.len() + 1);
    desk.shutdown().await
}

/// More calls than may be in flight: the next one comes back, and goes when one is answered.
async fn calls_in_flight_are_bounded(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let mut naps = Vec::new();
    let returned = loop {
        match desk.nap(100).try_start() {
            Ok(nap) => naps.push(nap),
            Err(TryCallError::Full(call)) => break call,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(naps.len(), 1024);
    assert_eq!(within(LONG, returned).await?, 100);
    for nap in naps {
        assert_eq!(within(LONG, nap).await?, 100);
    }
    assert_eq!(desk.naps().await?, (1025, 1025));
    desk.shutdown().await
}

/// Results may be awaited in any order, however many there are.
async fn results_are_taken_in_any_order(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let pending: Vec<_> = (0..5000).map(|value| desk.echo(value).start()).collect();
    for (value, pending) in pending.into_iter().enumerate().rev() {
        assert_eq!(within(LONG, pending).await?, value as u64);
    }
    let kept: Vec<_> = (0..3000).map(|value| desk.echo(value).start()).collect();
    for value in 0..3000 {
        assert_eq!(within(LONG, desk.echo(value)).await?, value);
    }
    drop(kept);
    desk.shutdown().await
}

/// A pending result says whether it is there, can be waited for, changed, and awaited in parts.
async fn pending_results_are_values(how: How) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let desk = new_desk(how).await?;
    let mut pending = desk.wait_for(scratch.path("go")).start();
    assert!(!pending.is_ready());
    assert!(!pending.wait(Duration::from_millis(5)).await);
    assert!(
        timeout(Duration::from_millis(5), &mut pending)
            .await
            .is_err()
    );
    assert!(!pending.wait(Duration::ZERO).await);
    desk.make(scratch.path("go")).await?;
    assert!(pending.wait(LONG).await);
    assert!(pending.is_ready() && pending.wait(Duration::ZERO).await);
    pending.await?;

    let pending = desk.echo(20).start();
    eventually(LONG, "the answer is there without being awaited", || {
        pending.is_ready()
    })
    .await;
    assert_eq!(pending.map(|value| value + 1).await?, 21);
    let error = desk
        .odd(4)
        .start()
        .map(|value| value + 1)
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Actor(Even(4))));

    let sent = desk.echo(9).start();
    let elsewhere = tokio::spawn(sent);
    assert_eq!(within(LONG, elsewhere).await??, 9);
    desk.shutdown().await
}

/// The same of a pending result that still waits for room.
async fn queued_pending_results_are_values(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let scratch = Scratch::new();
    let blocked = desk.hold_until(scratch.path("gate")).start();
    let mut pending: Vec<_> = (0..2000)
        .map(|value| desk.note_heavy(value, vec![7; 1000]).start())
        .collect();
    let mut last = pending.pop().unwrap();
    assert!(!last.is_ready() && !last.wait(Duration::ZERO).await);
    assert!(timeout(Duration::from_millis(5), &mut last).await.is_err());
    drop(pending.split_off(300));
    std::fs::write(scratch.path("gate"), "")?;
    assert!(last.wait(LONG).await && last.is_ready());
    last.await?;
    blocked.await?;
    let expected: Vec<u64> = (0..300).chain([1999]).collect();
    assert_eq!(desk.notes().await?, expected);
    desk.shutdown().await
}

/// Many tasks and threads call one actor at once: each gets its own answers, and none is lost.
async fn many_callers_at_once(how: How) -> callboard::Result<()> {
    let desk = new_desk(how).await?;
    let answered = Arc::new(AtomicU64::new(0));
    let work = |caller: u64, calls: u64| {
        let (desk, answered) = (desk.clone(), Arc::clone(&answered));
        async move {
            for n in 0..calls {
                let value = caller << 32 | n;
                assert_eq!(desk.echo(value).await.unwrap(), value);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let tasks: Vec<_> = (0..16)
        .map(|caller| tokio::spawn(work(caller, 2_500)))
        .collect();
    let runtimes = (16..18).map(|caller| {
        let work = work(caller, 5_000);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            runtime.unwrap().block_on(within(LONG, work));
        })
    });
    let runtimes: Vec<_> = runtimes.collect();
    for task in tasks {
        within(LONG, task).await?;
    }
    for runtime in runtimes {
        runtime.join().unwrap();
    }
    assert_eq!(answered.load(Ordering::Relaxed), 50_000);
    desk.shutdown().await
}

/// Answers that are always there starve neither other tasks nor a timer of the same task.
async fn calls_starve_nobody(how: How) -> callboard::Result<()> {
    static RANG: AtomicBool = AtomicBool::new(false);
    let desk = new_desk(how).idle(Idle::Busy).await?;
    let bell = tokio::spawn(async {
        sleep(Duration::from_millis(20)).await;
        RANG.store(true, Ordering::Relaxed);
    });
    let calling = async {
        while !RANG.load(Ordering::Relaxed) {
            assert_eq!(desk.echo(1).await.unwrap(), 1);
        }
    };
    within(LONG, calling).await;
    bell.await?;
    let calling = async {
        loop {
            desk.echo(1).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(20), calling).await.is_err());
    let telling = async {
        loop {
            desk.echo(1).tell().await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(20), telling).await.is_err());
    assert_eq!(within(LONG, desk.echo(2)).await?, 2);
    desk.shutdown().await
}

both! {
    calls_keep_their_order;
    calls_and_tells_keep_one_order;
    exclusive_calls_are_alone;
    shared_calls_run_together;
    actors_run_together;
    tells_run_and_are_not_waited_for;
    a_full_link_gives_calls_back;
    calls_in_flight_are_bounded;
    results_are_taken_in_any_order;
    pending_results_are_values;
    queued_pending_results_are_values;
    many_callers_at_once (flavor = "multi_thread", worker_threads = 4);
    calls_starve_nobody;
}
