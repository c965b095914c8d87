//! P15: methods with `#[batch]`. The calls that are queued for an actor run together, and their
//! callers notice nothing of it but the speed.
//!
//! Nothing here is a matter of time: a method is busy until a file is there, and that is made when
//! all calls behind it have been sent.

mod common;

use std::fs;
use std::time::Duration;

use callboard::prelude::*;
use tokio::time::sleep;

use common::{LONG, Scratch, eventually, within};

/// Enters what it is given, several at once.
pub struct Ledger {
    entries: Vec<u64>,
    batches: Vec<usize>,
}

#[actor]
impl Ledger {
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// Is busy until the file is there.
    pub async fn wait_for(&mut self, file: String) {
        while fs::metadata(&file).is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Gives the place of each entry.
    #[batch(max = 64)]
    pub fn enter(&mut self, entries: Vec<u64>) -> Vec<u64> {
        self.batches.push(entries.len());
        let begin = self.entries.len() as u64;
        let places = (begin..begin + entries.len() as u64).collect();
        self.entries.extend(entries);
        places
    }

    /// Looks up entries, slowly.
    #[batch]
    pub async fn look_up(&self, places: Vec<usize>, factors: Vec<u64>) -> Vec<Result<u64, String>> {
        sleep(Duration::from_millis(1)).await;
        let look_up = |(place, factor): (usize, u64)| match self.entries.get(place) {
            Some(entry) => Ok(entry * factor),
            None => Err(format!("nothing at {place}")),
        };
        places.into_iter().zip(factors).map(look_up).collect()
    }

    #[batch]
    pub async fn strike(&mut self, entries: Vec<u64>) {
        self.entries.retain(|entry| !entries.contains(entry));
    }

    #[batch]
    pub fn audit(&mut self, names: Vec<String>) -> Vec<String> {
        assert!(!names.iter().any(|name| name == "panic"), "audited");
        names.into_iter().skip(1).collect()
    }

    /// Says that it runs, and never ends.
    #[batch(max = 3)]
    pub async fn hang(&mut self, files: Vec<String>) {
        for file in &files {
            open(file);
        }
        std::future::pending().await
    }

    /// How long the calls of a batch are still waited for, by what a call that it makes inherits.
    #[batch]
    pub async fn remaining(&self, numbers: Vec<u64>) -> Vec<Option<Duration>> {
        let clock = Clock::local().await.expect("an actor may start others");
        let remaining = clock.remaining().await.expect("it answers");
        vec![remaining; numbers.len()]
    }

    pub fn entries(&self) -> Vec<u64> {
        self.entries.clone()
    }

    pub fn batches(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.batches)
    }
}

/// Knows how long its calls are waited for.
pub struct Clock;

#[actor]
impl Clock {
    pub fn new() -> Self {
        Self
    }

    pub fn remaining(&self, context: &Context) -> Option<Duration> {
        context.remaining()
    }
}

/// A trait whose methods take several calls at once, too.
#[actor_trait]
pub trait Adder {
    #[batch]
    fn sum(&mut self, left: Vec<u64>, right: Vec<u64>) -> Vec<u64>;
}

/// Adds.
pub struct Sums;

#[actor(Adder)]
impl Sums {
    pub fn new() -> Self {
        Self
    }
}

impl Adder for Sums {
    fn sum(&mut self, left: Vec<u64>, right: Vec<u64>) -> Vec<u64> {
        left.into_iter().zip(right).map(|(l, r)| l + r).collect()
    }
}

fn open(file: &str) {
    fs::write(file, "").expect("a file can be written");
}

/// What waits for a busy actor is done in few runs, in its order, and each call has its own result.
#[callboard::test]
async fn what_waits_runs_together() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let ledger = Ledger::spawn().await?;
    assert_eq!(ledger.enter(0).await?, 0);
    assert_eq!(ledger.batches().await?, [1], "one alone is a batch of one");
    let busy = ledger.wait_for(scratch.path("go")).start();
    let calls: Vec<_> = (1..=100).map(|entry| ledger.enter(entry).start()).collect();
    for entry in 101..=200 {
        ledger.enter(entry).tell().await?;
    }
    let batches = ledger.batches().start();
    open(&scratch.path("go"));
    busy.await?;
    for (place, call) in (1..).zip(calls) {
        assert_eq!(within(LONG, call).await?, place);
    }
    let batches = batches.await?;
    assert_eq!(batches.iter().sum::<usize>(), 200);
    assert!(
        batches.len() < 100 && batches.iter().all(|len| *len <= 64),
        "{batches:?}"
    );
    assert!(ledger.entries().await?.into_iter().eq(0..=200));
    ledger.shutdown().await
}

/// Each call of a batch has its own error, and one that is cancelled or too late leaves it alone.
#[callboard::test]
async fn calls_of_a_batch_end_each_by_itself() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let ledger = Ledger::spawn().await?;
    for entry in 0..10 {
        ledger.enter(entry).tell().await?;
    }
    let busy = ledger.wait_for(scratch.path("go")).start();
    let found: Vec<_> = (5..15)
        .map(|place| ledger.look_up(place, 3).start())
        .collect();
    let dropped = ledger.enter(10).start();
    let late = ledger.enter(11).timeout(Duration::from_millis(50)).start();
    let last = ledger.enter(12).start();
    drop(dropped);
    let late = within(LONG, late).await.unwrap_err();
    assert!(matches!(late, CallError::Timeout { .. }), "{late:?}");
    open(&scratch.path("go"));
    busy.await?;
    for (place, call) in (5..).zip(found) {
        match within(LONG, call).await {
            Ok(entry) => assert_eq!((entry, place < 10), (3 * place, true)),
            Err(CallError::Actor(text)) => assert_eq!(text, format!("nothing at {place}")),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(last.await?, 10);
    ledger.strike(3).await?;
    ledger.strike(4).tell().await?;
    assert_eq!(ledger.entries().await?, [0, 1, 2, 5, 6, 7, 8, 9, 12]);
    ledger.shutdown().await
}

/// A batch that gives too little, or panics, is told to each of its callers in a typed way.
#[callboard::test]
async fn broken_batches_are_told_to_all() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let ledger = Ledger::spawn().await?;
    let error = ledger.audit("once".to_owned()).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Result {
                method: "audit",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.outcome(), Outcome::Ran);
    assert_eq!(ledger.enter(1).await?, 0, "the actor goes on");
    let busy = ledger.wait_for(scratch.path("go")).start();
    let audits = ["one", "panic", "two"].map(|name| ledger.audit(name.to_owned()).start());
    open(&scratch.path("go"));
    busy.await?;
    for audit in audits {
        match within(LONG, audit).await.unwrap_err() {
            CallError::Panicked(report) => assert!(report.message().contains("audited")),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// The methods of traits have batches as an actor's own have, also where the actor is a task.
#[callboard::test]
async fn traits_and_local_actors_have_batches() -> callboard::Result<()> {
    for sums in [Sums::spawn().await?, Sums::local().await?] {
        let adder: AdderProxy = sums.clone().into();
        let calls: Vec<_> = (0..200).map(|left| adder.sum(left, 1).start()).collect();
        for (left, call) in (0..).zip(calls) {
            assert_eq!(within(LONG, call).await?, left + 1);
        }
        drop(adder);
        sums.shutdown().await?;
    }
    Ok(())
}

/// A kill in the midst of a batch is told to each of its callers, who cannot know how far it had
/// come; calls behind it have not run.
#[callboard::test]
async fn who_kills_a_batch_kills_no_call_behind_it() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let ledger = Ledger::spawn().await?;
    let busy = ledger.wait_for(scratch.path("go")).start();
    let files: Vec<_> = (0..5).map(|file| scratch.path(&file.to_string())).collect();
    let hanging: Vec<_> = files
        .iter()
        .map(|file| ledger.hang(file.clone()).start())
        .collect();
    open(&scratch.path("go"));
    busy.await?;
    let began = || fs::metadata(&files[2]).is_ok();
    eventually(LONG, "the batch has begun", began).await;
    ledger.kill().await;
    for (at, call) in hanging.into_iter().enumerate() {
        let error = within(LONG, call).await.unwrap_err();
        let outcome = if at < 3 {
            Outcome::MayHaveRun
        } else {
            Outcome::NotRun
        };
        assert!(matches!(error, CallError::Died { .. }), "{error:?}");
        assert_eq!(error.outcome(), outcome, "{at}");
    }
    assert!(files[3..].iter().all(|file| fs::metadata(file).is_err()));
    Ok(())
}

/// What a batch calls may take as long as the last of its callers waits, and has no bound if one of
/// them has none.
#[callboard::test]
async fn a_batch_has_the_latest_deadline() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let ledger = Ledger::spawn().await?;
    for (name, others) in [("bounded", Some(10 * LONG)), ("unbounded", None)] {
        let busy = ledger.wait_for(scratch.path(name)).start();
        let mut calls = vec![ledger.remaining(0).timeout(LONG).start()];
        for number in 1..4 {
            let call = ledger.remaining(number);
            calls.push(match others {
                Some(others) => call.timeout(others).start(),
                None => call.start(),
            });
        }
        open(&scratch.path(name));
        busy.await?;
        for call in calls {
            let remaining = within(LONG, call).await?;
            assert_eq!(remaining.is_some(), others.is_some());
            assert!(
                remaining.is_none_or(|remaining| remaining > LONG),
                "{remaining:?}"
            );
        }
    }
    ledger.shutdown().await
}
