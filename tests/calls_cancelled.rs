//! U30, UB15, K03, P12, P13: calls that nobody wants any more: dropped, late, given up half-way.

#![allow(
    clippy::unwrap_used,
    reason = "the bodies of tests are functions, for actors of both kinds"
)]

mod common;

use std::cell::RefCell;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use callboard::CallError;
use callboard::prelude::*;
use tokio::time::{Instant, sleep, timeout};

use common::{How, LONG, SOON, Scratch, Start, both, eventually, within};

/// Notes what really runs.
pub struct Witness {
    seen: RefCell<Vec<u64>>,
}

#[actor]
impl Witness {
    pub fn new() -> Self {
        Self {
            seen: RefCell::new(Vec::new()),
        }
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    /// The same, after a while of work.
    pub fn ponder(&self, value: u64, us: u64) -> u64 {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(us) {
            std::hint::spin_loop();
        }
        value
    }

    pub fn see(&mut self, value: u64) -> u64 {
        self.seen.borrow_mut().push(value);
        value
    }

    /// Begins with one note and ends with the next.
    pub async fn see_slowly(&self, value: u64, ms: u64) {
        self.seen.borrow_mut().push(value);
        sleep(Duration::from_millis(ms)).await;
        self.seen.borrow_mut().push(value + 1);
    }

    pub fn seen(&self) -> Vec<u64> {
        self.seen.borrow().clone()
    }

    pub fn block(&self, ms: u64) {
        thread::sleep(Duration::from_millis(ms));
    }

    /// Blocks the whole actor until there is such a file.
    pub fn block_until(&self, path: String) {
        while !std::fs::exists(&path).expect("the folder is there") {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The same, alone, once there is such a file.
    pub async fn see_after(&mut self, value: u64, path: String) {
        while !std::fs::exists(&path).expect("the folder is there") {
            sleep(Duration::from_millis(1)).await;
        }
        self.seen.borrow_mut().push(value);
    }

    /// Alone, in some turns.
    pub async fn see_in_turns(&mut self, value: u64) {
        self.seen.borrow_mut().push(value);
        for _ in 0..value % 7 {
            tokio::task::yield_now().await;
        }
    }

    /// How long it is, and the sum of its bytes.
    pub fn weigh(&self, load: Vec<u8>) -> (usize, u64) {
        (load.len(), load.iter().map(|byte| u64::from(*byte)).sum())
    }
}

fn new_witness(how: How) -> Start<WitnessProxy, ()> {
    how.start(Witness::spawn(), Witness::local())
}

/// Lets an actor run nothing for a while. A process: until it is let go; a task has this thread, so
/// that nothing else runs here either, and time passes.
struct Blocked(Scratch, Pending<()>);

impl Blocked {
    fn start(how: How, witness: &WitnessProxy) -> Self {
        let scratch = Scratch::new();
        let pending = match how {
            How::Process => witness.block_until(scratch.path("go")).start(),
            How::Local => witness.block(300).start(),
        };
        Self(scratch, pending)
    }

    /// Lets it go on.
    async fn end(self) -> callboard::Result<()> {
        std::fs::write(self.0.path("go"), "")?;
        Ok(within(LONG, self.1).await?)
    }
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Polls a future once.
fn poll_once<F: Future>(future: F) -> bool {
    pin!(future)
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

/// A call that was dropped before the actor came to it never runs, whatever it was called by.
async fn dropped_calls_do_not_begin(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let blocked = Blocked::start(how, &witness);
    drop(witness.see(1).start());
    drop(witness.see(2));
    assert!(!poll_once(witness.see(3)));
    let mut kept = witness.see(4).start();
    assert!(timeout(Duration::from_millis(1), &mut kept).await.is_err());
    assert!(
        timeout(Duration::from_millis(1), witness.see(5))
            .await
            .is_err()
    );
    blocked.end().await?;
    assert_eq!(kept.await?, 4);
    assert_eq!(witness.seen().await?, [4]);
    witness.shutdown().await
}

/// A call that was dropped while it ran finishes.
async fn dropped_calls_finish_if_they_run(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let running = witness.see_slowly(1, 30).start();
    within(LONG, async {
        while witness.seen().await.unwrap().is_empty() {}
    })
    .await;
    drop(running);
    within(LONG, async {
        while witness.seen().await.unwrap() != [1, 2] {}
    })
    .await;
    witness.shutdown().await
}

/// A call that is late is an error that says what is known, and is never begun after it.
async fn late_calls_do_not_begin(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let bound = Duration::from_millis(20);
    let blocked = Blocked::start(how, &witness);
    match within(LONG, witness.see(1).timeout(bound)).await {
        Err(CallError::Timeout { after, outcome }) => {
            assert_eq!((after, outcome), (bound, Outcome::MayHaveRun));
        }
        other => panic!("{other:?}"),
    }
    blocked.end().await?;
    let blocked = Blocked::start(how, &witness);
    let pending = witness.see(2).timeout(bound).start();
    assert!(matches!(
        within(LONG, pending).await,
        Err(CallError::Timeout { .. })
    ));
    blocked.end().await?;
    // A tell has left in time and is late at the actor.
    let blocked = Blocked::start(how, &witness);
    witness.see(3).timeout(LONG).tell().await?;
    witness.see(4).timeout(bound).tell().await?;
    sleep(bound * 2).await;
    blocked.end().await?;
    assert_eq!(witness.see(5).timeout(LONG).await?, 5);
    assert_eq!(witness.see(6).timeout(Duration::MAX).await?, 6);
    assert_eq!(witness.seen().await?, [3, 5, 6]);
    witness.shutdown().await
}

/// The bound of a started call runs from its start, also while nobody awaits it.
async fn the_bound_of_a_started_call_runs_at_once(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).grace(Duration::ZERO).await?;
    let bound = Duration::from_secs(3);
    let pending = witness.see_slowly(1, 100_000).timeout(bound).start();
    sleep(bound).await;
    let awaited = Instant::now();
    assert!(matches!(
        within(LONG, pending).await,
        Err(CallError::Timeout { .. })
    ));
    // If it ran from here on, it would take all of that again.
    assert!(awaited.elapsed() < bound, "{:?}", awaited.elapsed());
    Ok(())
}

/// A bound that runs out while the call waits for room: it has not run, and never will.
async fn late_calls_in_the_queue_did_not_run(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let bound = Duration::from_millis(20);
    for round in 0..3 {
        let blocked = Blocked::start(how, &witness);
        let naps: Vec<_> = (0..1200).map(|value| witness.see(value).start()).collect();
        let late = match round {
            0 => within(LONG, witness.see(9000).timeout(bound)).await,
            1 => within(LONG, witness.see(9001).timeout(bound).start()).await,
            _ => {
                let told = within(LONG, witness.see(9002).timeout(bound).tell()).await;
                told.map(|()| 9002)
            }
        };
        let error = late.unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotRun);
        blocked.end().await?;
        for nap in naps {
            within(LONG, nap).await?;
        }
    }
    let seen = witness.seen().await?;
    assert!(seen.into_iter().eq((0..3).flat_map(|_| 0..1200)));
    witness.shutdown().await
}

/// Late in the mailbox, which the actor has taken the call into and not begun it: it has not run,
/// and never will. The caller is told so, as soon as the actor has come to read it.
async fn late_calls_in_the_mailbox_did_not_run(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let scratch = Scratch::new();
    let busy = witness.see_after(1, scratch.path("go")).start();
    let bound = Duration::from_millis(20);
    let end = Instant::now() + LONG;
    for started in [false, true] {
        loop {
            let call = witness.see(2).timeout(bound);
            let late = if started {
                within(LONG, call.start()).await
            } else {
                within(LONG, call).await
            };
            let error = late.unwrap_err();
            assert!(matches!(error, CallError::Timeout { .. }), "{error:?}");
            if error.outcome() == Outcome::NotRun {
                break;
            }
            assert!(Instant::now() < end, "it is never known");
        }
    }
    std::fs::write(scratch.path("go"), "")?;
    within(LONG, busy).await?;
    assert_eq!(witness.seen().await?, [1]);
    witness.shutdown().await
}

/// Thousands of bounds that end when their call is about to begin: none runs that is said not to
/// have run, and none twice.
async fn what_is_said_not_to_run_does_not(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let mut not_run = Vec::new();
    let mut ran = Vec::new();
    for round in 0..40 {
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..100 {
            let value = round * 100 + n;
            let bound = Duration::from_micros(1000 + n * 20);
            let call = witness.see_in_turns(value).timeout(bound).start();
            calls.spawn(async move { (value, call.await) });
        }
        while let Some(ended) = within(LONG, calls.join_next()).await {
            match ended? {
                (value, Ok(())) => ran.push(value),
                (value, Err(error)) if error.outcome() == Outcome::NotRun => not_run.push(value),
                (_, Err(CallError::Timeout { .. })) => {}
                (_, Err(other)) => panic!("{other:?}"),
            }
        }
    }
    let mut seen = within(LONG, witness.seen()).await?;
    seen.sort_unstable();
    assert!(seen.is_sorted_by(|one, other| one < other), "one ran twice");
    assert!(
        not_run
            .iter()
            .all(|value| seen.binary_search(value).is_err())
    );
    assert!(ran.iter().all(|value| seen.binary_search(value).is_ok()));
    witness.shutdown().await
}

/// A bound that is as long as the call: a value or a timeout, and the link is none the worse.
async fn bounds_may_race_with_answers(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let (mut values, mut timeouts) = (0, 0);
    for round in 0..400 {
        match witness
            .see_slowly(0, 2)
            .timeout(Duration::from_micros(1000 + round * 6))
            .await
        {
            Ok(()) => values += 1,
            Err(CallError::Timeout { .. }) => timeouts += 1,
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(witness.echo(round).await?, round);
    }
    assert_eq!(values + timeouts, 400);
    witness.shutdown().await
}

/// Ten thousand calls dropped at any moment disturb none of those that are awaited.
async fn calls_may_be_dropped_at_any_moment(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let mut dice = Dice(20_261_121);
    let (mut answered, mut dropped) = (0, 0);
    for round in 0..10_000 {
        let turns = dice.throw(6);
        let work = dice.throw(4) * 20;
        let given_up = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            if turns == 5 {
                sleep(Duration::from_micros(dice.throw(200))).await;
            }
        };
        tokio::select! {
            biased;
            value = witness.ponder(round, work) => {
                assert_eq!(value?, round);
                answered += 1;
            }
            () = given_up => dropped += 1,
        }
        if dice.throw(16) == 0 {
            assert_eq!(within(LONG, witness.echo(round + 1)).await?, round + 1);
        }
    }
    assert!(
        answered > 100 && dropped > 100,
        "{answered} answered, {dropped} dropped"
    );
    within(LONG, witness.shutdown()).await?;
    Ok(())
}

/// The same from many tasks on many threads, with bounds, started calls and a full link.
async fn many_calls_may_be_dropped_at_any_moment(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let drop_some = |seed: u64| {
        let witness = witness.clone();
        async move {
            let mut dice = Dice(seed);
            for round in 0..1000 {
                let value = seed << 32 | round;
                let patience = Duration::from_micros(dice.throw(300));
                match dice.throw(4) {
                    0 => drop(timeout(patience, witness.echo(value)).await),
                    1 => drop(witness.echo(value).timeout(patience).await),
                    2 => {
                        let load = vec![1; usize::try_from(dice.throw(60_000)).unwrap()];
                        let pending = witness.weigh(load).start();
                        drop(timeout(patience, pending).await);
                    }
                    _ => assert_eq!(witness.echo(value).await.unwrap(), value),
                }
            }
        }
    };
    let tasks: Vec<_> = (1..=8).map(|seed| tokio::spawn(drop_some(seed))).collect();
    for task in tasks {
        within(LONG, task).await?;
    }
    // Every place for a call in flight is free again, once what was given up has been cleared away.
    let mut pending = Vec::new();
    eventually(SOON, "1024 places are free", || {
        pending.clear();
        pending.extend((0..1024).map_while(|value| witness.echo(value).try_start().ok()));
        pending.len() == 1024
    })
    .await;
    for (value, pending) in pending.into_iter().enumerate() {
        assert_eq!(within(LONG, pending).await?, value as u64);
    }
    witness.shutdown().await
}

/// A large call dropped half-way leaves no trace, whatever was sent of it.
async fn large_calls_may_be_dropped_half_way(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let mut dice = Dice(4);
    for round in 0..60 {
        let blocked = witness.block(dice.throw(8)).start();
        let len = 1 << 18 << dice.throw(3);
        let patience = Duration::from_micros(dice.throw(8000));
        drop(timeout(patience, witness.weigh(vec![1; len])).await);
        if round % 3 == 0 {
            let pending = witness.weigh(vec![1; len]).start();
            drop(timeout(patience, pending).await);
        }
        assert_eq!(
            within(LONG, witness.weigh(vec![2; 50_000])).await?,
            (50_000, 100_000)
        );
        assert_eq!(within(LONG, witness.echo(round)).await?, round);
        blocked.await?;
    }
    witness.shutdown().await
}

/// Answers that nobody wants fill no link: the actor goes on, and so do later calls.
async fn unwanted_answers_stop_nobody(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    for round in 0..100 {
        let unwanted: Vec<_> = (0..1024)
            .map_while(|value| witness.echo(value).try_start().ok())
            .collect();
        assert!(!unwanted.is_empty(), "in round {round}");
        let end = Instant::now() + SOON;
        while !unwanted.iter().all(Pending::is_ready) {
            assert!(Instant::now() < end, "in round {round}");
            tokio::task::yield_now().await;
        }
        drop(unwanted);
        // These are dropped at once: the actor has begun some, and not others.
        (0..1024)
            .map_while(|value| witness.echo(value).try_start().ok())
            .for_each(drop);
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(within(SOON, witness.echo(1)).await?, 1);
    for value in 0..20_000 {
        drop(witness.echo(value).start());
    }
    within(LONG, witness.see(5).tell()).await?;
    witness.shutdown().await
}

/// A call that waits and is not polled any more holds up no other.
async fn forgotten_calls_hold_up_nobody(how: How) -> callboard::Result<()> {
    let witness = new_witness(how).await?;
    let mut forgotten = Vec::new();
    for value in 0..500 {
        let mut call = Box::pin(witness.echo(value));
        if !poll_once(&mut call) {
            forgotten.push((value, call));
        }
        assert_eq!(within(LONG, witness.echo(value)).await?, value);
    }
    for (value, call) in forgotten {
        assert_eq!(within(LONG, call).await?, value);
    }
    let pending = witness.echo(1).start();
    eventually(LONG, "it is answered", || pending.is_ready()).await;
    witness.shutdown().await
}

both! {
    dropped_calls_do_not_begin;
    dropped_calls_finish_if_they_run;
    late_calls_do_not_begin;
    the_bound_of_a_started_call_runs_at_once;
    late_calls_in_the_queue_did_not_run;
    late_calls_in_the_mailbox_did_not_run;
    what_is_said_not_to_run_does_not;
    bounds_may_race_with_answers;
    calls_may_be_dropped_at_any_moment;
    many_calls_may_be_dropped_at_any_moment (flavor = "multi_thread", worker_threads = 4);
    large_calls_may_be_dropped_half_way;
    unwanted_answers_stop_nobody;
    forgotten_calls_hold_up_nobody;
}
