//! F6, F8, F25-F27, F29-F32: calls that are dropped, late or overtaken by a death, at each step.

mod common;

use std::cell::Cell;
use std::future::{IntoFuture as _, pending};
use std::sync::{Arc, Barrier};
use std::task::{Context as TaskContext, Waker};
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, Exit, LinkKind};
use nix::sys::signal::{Signal, raise};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use common::{
    Holdings, LONG, SOON, Scratch, again, alone, eventually, gone, is_gone, is_role, is_stopped,
    signal, within,
};

/// A bound that ends while nothing else does.
const SHORT: Duration = Duration::from_millis(30);

/// Counts what its calls do.
pub struct Tally {
    begun: Cell<u64>,
    beneath: Option<TallyProxy>,
}

#[actor]
impl Tally {
    pub fn new() -> Self {
        let begun = Cell::new(0);
        Self {
            begun,
            beneath: None,
        }
    }

    /// One with another beneath it.
    pub async fn parent() -> Self {
        let child = Self::spawn().await.expect("it starts");
        let begun = Cell::new(0);
        Self {
            begun,
            beneath: Some(child),
        }
    }

    pub fn child(&self) -> Option<u32> {
        self.beneath.as_ref().map(Proxy::process_id)
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    pub fn count(&mut self, _ballast: Vec<u8>) -> u64 {
        self.begun.set(self.begun.get() + 1);
        self.begun.get()
    }

    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    pub async fn nap(&self, us: u64) -> u64 {
        self.begun.set(self.begun.get() + 1);
        sleep(Duration::from_micros(us)).await;
        us
    }

    pub async fn hang(&self) {
        pending().await
    }

    pub async fn hang_alone(&mut self, begun: String) {
        std::fs::write(begun, "").expect("the folder is there");
        pending().await
    }

    /// Calls the one beneath for as long as it can.
    pub async fn chatter(&self) {
        while let Some(child) = &self.beneath {
            if child.echo(1).await.is_err() {
                pending().await
            }
        }
    }

    /// Lets nobody run from the first file's being there to the second's.
    pub fn block_until(&self, begun: String, go: String) {
        std::fs::write(begun, "").expect("the folder is there");
        while !std::fs::exists(&go).expect("the folder can be read") {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn kill_itself(&mut self) {
        let _ = raise(Signal::SIGKILL);
    }
}

/// The threads that live as long as the process are there after the first link of each kind.
async fn use_links() -> callboard::Result<()> {
    Tally::spawn().await?.shutdown().await?;
    let socket = Tally::spawn().link(LinkKind::Socket).await?;
    socket.shutdown().await
}

fn is_killed(exit: Exit) -> bool {
    matches!(exit, Exit::Signal { number, .. } if number == libc::SIGKILL)
}

/// What the actor answered before it was killed arrives, though nobody had looked until then.
#[callboard::test]
async fn what_was_answered_before_a_death_arrives() -> callboard::Result<()> {
    if !alone("what_was_answered_before_a_death_arrives") {
        return Ok(());
    }
    use_links().await?;
    let before = Holdings::settled().await;
    for round in 0..40 {
        let tally = Tally::spawn().await?;
        let pid = tally.process_id();
        let calls: Vec<_> = (0..200).map(|value| tally.echo(value).start()).collect();
        let last = tally.kill_itself().start();
        let behind = tally.echo(round).start();
        // This runtime has one thread, and does not look meanwhile.
        let mut looks = 0;
        while !is_gone(pid) {
            looks += 1;
            assert!(looks < 60_000, "in round {round}");
            thread::sleep(Duration::from_millis(1));
        }
        for (value, call) in (0..).zip(calls) {
            assert_eq!(within(SOON, call).await?, value, "in round {round}");
        }
        for (call, outcome) in [
            (within(SOON, last).await.err(), Outcome::MayHaveRun),
            (within(SOON, behind).await.err(), Outcome::NotRun),
        ] {
            match call {
                Some(CallError::Died {
                    death,
                    outcome: told,
                }) => {
                    assert!(is_killed(death.exit()), "{death}");
                    assert_eq!(told, outcome, "in round {round}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    before.back().await;
    Ok(())
}

/// An actor and the one that it calls are killed within a millisecond: those above hear of it once,
/// and nothing is left.
#[callboard::test]
async fn both_ends_are_killed_at_once() -> callboard::Result<()> {
    if !alone("both_ends_are_killed_at_once") {
        return Ok(());
    }
    use_links().await?;
    let survivor = Tally::spawn().await?;
    let before = Holdings::settled().await;
    for round in 0..40_u64 {
        let upper = Tally::spawn_parent().await?;
        let lower = upper.child().await?.expect("it has one");
        let chatter = upper.chatter().start();
        assert_eq!(
            upper.echo(round).await?,
            round,
            "what came before has begun"
        );
        let exited = tokio::spawn({
            let upper = upper.clone();
            async move { upper.exited().await }
        });
        let barrier = Arc::new(Barrier::new(2));
        let killers = [upper.process_id(), lower].map(|pid| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                // The lower one may be gone with the upper one already.
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            })
        });
        match within(SOON, chatter).await {
            Err(CallError::Died { death, outcome }) => {
                assert!(is_killed(death.exit()), "{death}");
                assert_eq!(outcome, Outcome::MayHaveRun);
            }
            other => panic!("{other:?}"),
        }
        assert!(is_killed(within(SOON, exited).await?));
        gone(lower).await;
        for killer in killers {
            killer.join().expect("it does not panic");
        }
        assert_eq!(within(SOON, survivor.echo(round)).await?, round);
        drop(upper);
    }
    before.back().await;
    survivor.shutdown().await
}

/// Parent and actor stand still together for longer than it takes to find a peer silent: no call
/// and no actor is lost by it.
#[callboard::test]
async fn families_may_stand_still() -> callboard::Result<()> {
    const TEST: &str = "families_may_stand_still";
    if is_role("family") {
        return be_a_family().await;
    }
    let scratch = Scratch::new();
    let mut command = again(TEST, "family");
    command.env("DIARY", scratch.path(""));
    let mut parent = command.stdout(std::process::Stdio::null()).spawn()?;
    eventually(LONG, "the family is there", || {
        scratch.read("pid").ends_with('\n')
    })
    .await;
    let child: u32 = scratch.read("pid").trim().parse()?;
    let family = [parent.id(), child];
    for pid in family {
        signal(pid, Signal::SIGSTOP);
    }
    eventually(SOON, "they stand still", || {
        family.into_iter().all(is_stopped)
    })
    .await;
    sleep(Duration::from_secs(6)).await;
    for pid in family {
        signal(pid, Signal::SIGCONT);
    }
    let mut status = None;
    eventually(LONG, "it ends", || {
        status = parent.try_wait().expect("it is ours");
        status.is_some()
    })
    .await;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert_eq!(scratch.read("told"), "well");
    gone(child).await;
    Ok(())
}

async fn be_a_family() -> callboard::Result<()> {
    let dir = std::env::var("DIARY")?;
    let tally = Tally::spawn().await?;
    // Both are at work when they are stopped: one call after the other, and one that lasts.
    let nap = tally.nap(7_000_000).start();
    std::fs::write(format!("{dir}/pid"), format!("{}\n", tally.process_id()))?;
    let mut rounds = 0;
    while !nap.is_ready() {
        assert_eq!(tally.echo(rounds).await?, rounds);
        rounds += 1;
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(nap.await?, 7_000_000);
    tally.shutdown().await?;
    std::fs::write(format!("{dir}/told"), "well")?;
    Ok(())
}

/// A method that never returns: its caller's bound ends the wait; who may run beside it does, and
/// who may not waits no longer than its own bound, and has not run later.
#[callboard::test]
async fn methods_that_never_return() -> callboard::Result<()> {
    let tally = Tally::spawn().grace(SHORT).await?;
    match within(LONG, tally.hang().timeout(SHORT)).await {
        Err(CallError::Timeout { after, outcome }) => {
            assert_eq!((after, outcome), (SHORT, Outcome::MayHaveRun));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(within(LONG, tally.echo(1)).await?, 1, "it runs beside it");
    tally.kill().await;

    let scratch = Scratch::new();
    let tally = Tally::spawn().grace(SHORT).await?;
    let alone = tally.hang_alone(scratch.path("begun")).start();
    eventually(LONG, "it runs", || scratch.0.join("begun").exists()).await;
    for _ in 0..10 {
        let error = within(LONG, tally.echo(2).timeout(SHORT))
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error:?}");
    }
    // Who waits is bounded, by the places for calls in flight.
    let waiting: Vec<_> = (0..5000)
        .map_while(|n| tally.echo(n).try_start().ok())
        .collect();
    assert!(waiting.len() < 5000);
    let error = within(SOON, tally.shutdown()).await.unwrap_err();
    assert!(error.as_error().is::<callboard::ShutdownError>(), "{error}");
    for call in waiting {
        let error = within(SOON, call).await.unwrap_err();
        assert!(matches!(error, CallError::Died { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotRun);
    }
    let error = within(SOON, alone).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::MayHaveRun, "{error:?}");
    Ok(())
}

/// A method that lets nothing else of its actor run: its process counts as alive, and the others'
/// calls end by their bounds, and do not run after them.
#[callboard::test]
async fn methods_that_block_everybody() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let tally = Tally::spawn().await?;
    let blocked = tally.block_until(scratch.path("begun"), scratch.path("go"));
    let blocked = blocked.start();
    let mut late = Vec::new();
    for _ in 0..20 {
        late.push(tally.count(Vec::new()).timeout(SHORT).start());
    }
    for call in late {
        let error = within(LONG, call).await.unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error:?}");
    }
    // Longer than a process may stand still: it does not stand still, it is at work.
    let patient = tally.echo(8).start();
    sleep(Duration::from_millis(4500)).await;
    std::fs::write(scratch.path("go"), "")?;
    within(LONG, blocked).await?;
    assert_eq!(within(LONG, patient).await?, 8);
    assert_eq!(tally.begun().await?, 0, "what was late has not run");
    tally.shutdown().await
}

/// Polled never, or once where nothing can be sent: nothing has been sent, and no place is taken.
#[callboard::test]
async fn calls_dropped_before_they_are_sent() -> callboard::Result<()> {
    let tally = Tally::spawn().await?;
    for _ in 0..10_000 {
        drop(tally.count(vec![1]));
        drop(tally.count(vec![1]).timeout(SHORT).into_future());
        drop(tally.count(vec![1]).tell());
    }
    let places = places(&tally).await;
    assert_eq!((tally.begun().await?, places), (0, 1024));
    tally.shutdown().await
}

/// Ten thousand calls dropped when they are sent, in the method or with the answer on its way: the
/// answers disturb nobody, and every place is free again.
#[callboard::test]
async fn calls_dropped_after_they_were_sent() -> callboard::Result<()> {
    let tally = Tally::spawn().await?;
    for round in 0..10_000_u64 {
        let pending = tally.nap(round % 7 * 100).start();
        if round % 3 == 0 {
            sleep(Duration::from_micros(round % 2000)).await;
        } else if round % 3 == 1 {
            tokio::task::yield_now().await;
        }
        drop(pending);
        if round % 100 == 0 {
            assert_eq!(within(LONG, tally.echo(round)).await?, round);
        }
    }
    assert_eq!(places(&tally).await, 1024);
    let begun = tally.begun().await?;
    assert!(begun > 100 && begun <= 10_000, "{begun} have begun");
    tally.shutdown().await
}

/// How many calls can be in flight now.
async fn places(tally: &TallyProxy) -> usize {
    let mut free = 0;
    for _ in 0..100 {
        let started: Vec<_> = (0..2000)
            .map_while(|n| tally.echo(n).try_start().ok())
            .collect();
        free = started.len();
        for (value, call) in (0..).zip(started) {
            assert_eq!(within(LONG, call).await.expect("it is answered"), value);
        }
        if free == 1024 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    free
}

/// A full link has as much room after calls that waited for some were dropped; these did not run.
#[callboard::test]
async fn calls_dropped_while_they_wait_for_room() -> callboard::Result<()> {
    let tally = Tally::spawn().await?;
    let load = |len: usize| vec![0_u8; len];
    let mut rooms = Vec::new();
    let mut sent = 0;
    for round in 0..12 {
        let scratch = Scratch::new();
        let blocked = tally.block_until(scratch.path("begun"), scratch.path("go"));
        let blocked = blocked.start();
        eventually(LONG, "it runs", || scratch.0.join("begun").exists()).await;
        let full: Vec<_> = (0..2000)
            .map_while(|_| tally.count(load(1000)).try_start().ok())
            .collect();
        rooms.push(full.len());
        sent += full.len() as u64;
        let mut waiting = Vec::new();
        for len in [1000, 5000, 300_000] {
            let mut call = Box::pin(tally.count(load(len)).into_future());
            let mut cx = TaskContext::from_waker(Waker::noop());
            assert!(call.as_mut().poll(&mut cx).is_pending());
            waiting.push(call);
        }
        let started = tally.count(load(2000)).start();
        let told = timeout(SHORT, tally.count(load(2000)).tell()).await;
        assert!(told.is_err(), "there is no room: {told:?}");
        drop((waiting, started));
        std::fs::write(scratch.path("go"), "")?;
        within(LONG, blocked).await?;
        for call in full {
            within(LONG, call).await?;
        }
        assert_eq!(within(LONG, tally.begun()).await?, sent, "in round {round}");
    }
    // The end of the ring may cut off one.
    let most = rooms.iter().copied().max().unwrap_or(0);
    let is_whole = |room: &usize| (1..1024).contains(room) && room + 1 >= most;
    assert!(rooms.iter().all(is_whole), "{rooms:?}");
    assert_eq!(places(&tally).await, 1024);
    tally.shutdown().await
}

/// Ten thousand bounds that end when the answer comes: each call is a value or a timeout, never
/// both and never neither, and no place is lost.
#[callboard::test]
async fn bounds_race_with_answers_ten_thousand_times() -> callboard::Result<()> {
    let tally = Tally::spawn().await?;
    let (mut values, mut timeouts) = (0, 0);
    for round in 0..100_u64 {
        let mut calls = JoinSet::new();
        for n in 0..100_u64 {
            let nap = 1000 + round * 10;
            let bound = Duration::from_micros(nap + n * 30);
            let call = tally.nap(nap).timeout(bound).start();
            calls.spawn(async move { (nap, call.await) });
        }
        while let Some(ended) = within(LONG, calls.join_next()).await {
            match ended? {
                (nap, Ok(value)) => {
                    assert_eq!(value, nap);
                    values += 1;
                }
                (_, Err(CallError::Timeout { .. })) => timeouts += 1,
                (_, Err(other)) => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(values + timeouts, 10_000);
    assert!(timeouts > 0, "{values} values");
    assert!(tally.begun().await? >= values);
    assert_eq!(places(&tally).await, 1024);
    tally.shutdown().await
}
