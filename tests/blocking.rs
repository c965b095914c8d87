//! UB1: actors without async: from plain threads, many at once, ended in order, and never
//! within a runtime.

mod common;

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use callboard::blocking::{Block, block_on, init};
use callboard::prelude::*;
use callboard::{Exit, LinkKind};

use common::{Holdings, LONG, SOON, Scratch, again, alone, is_gone, is_role, must_pass};

/// Adds up.
pub struct Adder {
    sum: u64,
    path: Option<String>,
}

#[actor]
impl Adder {
    pub fn new(sum: u64) -> Self {
        Self { sum, path: None }
    }

    pub fn refuse(reason: String) -> Result<Self, Refused> {
        Err(Refused(reason))
    }

    /// One that leaves a note when it is dropped.
    pub fn noting(path: String) -> Self {
        Self {
            sum: 0,
            path: Some(path),
        }
    }

    pub fn add(&mut self, by: u64) -> u64 {
        self.sum += by;
        self.sum
    }

    pub async fn nap(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// What nobody should do in an actor.
    pub fn block_inside(&self) {
        block_on(std::future::ready(()));
    }
}

impl Drop for Adder {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            std::fs::write(path, "dropped").expect("it can be written");
        }
    }
}

/// A constructor's own error.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("refused: {0}")]
pub struct Refused(String);

/// Starts, calls, tells, pendings, timeouts and ends: all as with `await`, errors included.
#[test]
fn everything_can_be_waited_for() -> callboard::Result<()> {
    let adder = Adder::spawn(10).name("adder").block()?;
    assert_eq!(adder.add(5).block()?, 15);
    adder.add(1).tell().block()?;
    let pending: Vec<_> = (0..2000).map(|_| adder.add(1).start()).collect();
    for (before, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.block()?, 17 + before as u64);
    }
    let late = adder.nap(2000).timeout(Duration::from_millis(30)).block();
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    match Adder::spawn_refuse("no".into()).block() {
        Err(SpawnError::Constructor(own)) => assert_eq!(own.to_string(), "refused: no"),
        other => panic!("{other:?}"),
    }
    let sum = Adder::spawn(1)
        .scope(async |adder| Ok(adder.add(2).await?))
        .block()?;
    assert_eq!(sum, 3);
    let both = block_on(async { tokio::join!(adder.add(1), adder.nap(1)) });
    assert!(both.0.is_ok() && both.1.is_ok());
    let pid = adder.process_id();
    adder.shutdown().block()?;
    assert!(is_gone(pid) && matches!(adder.add(1).block(), Err(CallError::Stopped { .. })));

    let adder = Adder::spawn(0).block()?;
    let nap = adder.nap(60_000).start();
    assert!(matches!(
        adder.kill().block(),
        Exit::Signal { number: 9, .. }
    ));
    assert!(matches!(nap.block(), Err(CallError::Died { .. })));
    Ok(())
}

/// Many plain threads share one actor, and each has one of its own.
#[test]
fn threads_may_call_at_once() {
    let shared = Adder::spawn(0).block().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let own = Adder::spawn(0).block().expect("it starts");
                for n in 1..=200 {
                    assert_eq!(own.add(1).block().expect("it lives"), n);
                    shared.add(1).block().expect("it lives");
                }
                own.shutdown().block().expect("it ends");
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    assert_eq!(shared.add(0).block().unwrap(), 1600);
    shared.shutdown().block().unwrap();
}

/// Within a runtime it is refused at once, with advice: in a task, in `spawn_blocking`, and in an
/// actor, whose caller is told.
#[callboard::test]
async fn it_is_refused_within_a_runtime() -> callboard::Result<()> {
    let adder = Adder::spawn(0).await?;
    let advice = |payload: Box<dyn std::any::Any + Send>| {
        let text = payload.downcast_ref::<&str>().expect("it is a text");
        assert!(text.contains(".await"), "{text}");
    };
    let call = AssertUnwindSafe(|| adder.add(1).block());
    advice(catch_unwind(call).expect_err("it is refused"));
    let other = adder.clone();
    let elsewhere = tokio::task::spawn_blocking(move || drop(other.add(1).block()));
    advice(elsewhere.await.expect_err("it is refused").into_panic());
    // A plain thread beside the runtime may use it, with the same actor.
    let other = adder.clone();
    let beside = thread::spawn(move || other.add(5).block());
    while !beside.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(beside.join().expect("no panic")?, 5);
    match common::within(LONG, adder.block_inside()).await {
        Err(CallError::Panicked(report)) => assert!(report.message().contains(".await")),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// A session ends its actors in order, and leaves no thread and no descriptor; another may follow.
#[test]
fn sessions_leave_nothing() {
    if !alone("sessions_leave_nothing") {
        return;
    }
    let scratch = Scratch::new();
    // The process's own warden is there from the first actor on, and who serves sockets is from the
    // first of these.
    let session = init();
    for spawn in [Adder::spawn(0), Adder::spawn(0).link(LinkKind::Socket)] {
        spawn.block().unwrap().shutdown().block().unwrap();
    }
    drop(session);
    let settle = |wanted: &Holdings| {
        let began = Instant::now();
        while !Holdings::now().is_within(wanted) && began.elapsed() < SOON {
            thread::sleep(Duration::from_millis(5));
        }
        let now = Holdings::now();
        assert!(now.is_within(wanted), "{now:?} of {wanted:?}");
    };
    thread::sleep(Duration::from_millis(300));
    let before = Holdings::now();
    for round in 0..5 {
        let session = init();
        let path = scratch.path(&format!("note-{round}"));
        let adder = Adder::spawn_noting(path).block().unwrap();
        let (begun, has_begun) = mpsc::channel();
        let waiting = thread::spawn({
            let adder = adder.clone();
            move || {
                block_on(async {
                    let nap = adder.nap(50).start();
                    begun.send(()).expect("somebody waits for it");
                    nap.await
                })
            }
        });
        has_begun.recv().unwrap();
        drop(session);
        assert!(!adder.is_alive());
        assert_eq!(scratch.read(&format!("note-{round}")), "dropped");
        waiting.join().unwrap().unwrap();
        drop(adder);
        settle(&before);
    }
}

/// A session that is dropped within a runtime ends its actors all the same.
#[test]
fn sessions_may_end_within_a_runtime() -> callboard::Result<()> {
    if !alone("sessions_may_end_within_a_runtime") {
        return Ok(());
    }
    let session = init();
    let adder = Adder::spawn(0).block()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { drop(session) });
    assert!(!adder.is_alive());
    Ok(())
}

/// A program that ends without its session, by a return, a panic or `exit`, leaves no actor.
#[test]
fn programs_may_just_end() -> callboard::Result<()> {
    const TEST: &str = "programs_may_just_end";
    if is_role("leaving") {
        let adder = Adder::spawn(0).block()?;
        std::fs::write(std::env::var("NOTE")?, adder.process_id().to_string())?;
        let _left = ManuallyDrop::new(adder);
        return Ok(());
    }
    let scratch = Scratch::new();
    must_pass(again(TEST, "leaving").env("NOTE", scratch.path("pid")));
    let pid = scratch.read("pid").parse()?;
    let began = Instant::now();
    while !is_gone(pid) {
        assert!(began.elapsed() < SOON);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
