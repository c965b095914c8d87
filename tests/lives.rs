//! How a life ends that hangs, and what one life leaves to the next.

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callboard::pool::{Pool, Restart};
use callboard::prelude::*;
use callboard::supervision::{Strategy, Supervisor};
use callboard::{DownReason, Exit, Heartbeat, LifeEvent};
use futures_util::future::join_all;
use nix::sys::signal::Signal;

use common::{Holdings, LONG, alone, eventually, is_gone, is_stopped, signal, within};

/// What a machine that is busy with other tests keeps as well.
fn heartbeat() -> Heartbeat {
    Heartbeat::every(Duration::from_millis(20)).misses(50)
}

/// Longer than that.
const TOO_LONG: Duration = Duration::from_millis(1500);

/// Hangs, in several ways, and does not.
pub struct Sleeper;

#[actor]
impl Sleeper {
    pub fn new() -> Self {
        Self
    }

    /// Is there after a long time, in which nothing else runs.
    pub fn late() -> Self {
        std::thread::sleep(TOO_LONG);
        Self
    }

    pub fn echo(&self, number: u64) -> u64 {
        number
    }

    /// Keeps the thread and a core.
    pub fn spin(&mut self) {
        while black_box(true) {
            std::hint::spin_loop();
        }
    }

    /// Keeps the thread.
    pub fn block(&self) {
        while black_box(true) {
            std::thread::park();
        }
    }

    /// Keeps itself, and not the thread.
    pub async fn wait(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    #[on_stop]
    fn sleep_in(&mut self) {
        std::thread::sleep(TOO_LONG);
    }
}

/// Waits until it was asked to hang; the call that does so.
macro_rules! hung_by {
    ($sleeper:ident.$method:ident()) => {{
        let call = $sleeper.$method().start();
        within(LONG, call).await.expect_err("it never returns")
    }};
}

/// A method that keeps the thread, with the core or without, and a process that is stopped: it is
/// killed, who waits is told that it hung, and the supervisor starts it again.
#[callboard::test]
async fn who_hangs_is_killed_and_returns() -> callboard::Result<()> {
    let supervisor = Supervisor::builder(Strategy::OneForOne)
        .restart(Restart::on_failure().max(100))
        .start();
    let make = || Sleeper::spawn().heartbeat(heartbeat());
    let sleeper = supervisor.spawn(make).await?;
    let mut monitor = sleeper.monitor();
    within(LONG, monitor.next()).await;
    for way in 0..3 {
        let pid = sleeper.process_id();
        let error = match way {
            0 => hung_by!(sleeper.spin()),
            1 => hung_by!(sleeper.block()),
            _ => {
                let waiting = sleeper.wait(LONG).start();
                signal(pid, Signal::SIGSTOP);
                within(LONG, waiting).await.expect_err("it stands still")
            }
        };
        // Who was stopped may not have begun it.
        assert!(way == 2 || error.outcome() == Outcome::MayHaveRun, "{way}");
        match error {
            CallError::Died { death, .. } => {
                assert_eq!((death.exit(), death.pid()), (Exit::Hung, pid), "{way}");
            }
            // Who waits is told that, too, if the machine was so busy that it took three seconds.
            CallError::Unreachable { .. } if way == 2 => {}
            other => panic!("{way}: {other}"),
        }
        match within(LONG, monitor.next()).await {
            Some(LifeEvent::Down(DownReason::Died(death))) => assert_eq!(death.exit(), Exit::Hung),
            other => panic!("{way}: {other:?}"),
        }
        let up = within(LONG, monitor.next()).await;
        assert!(matches!(up, Some(LifeEvent::Up { .. })), "{way}: {up:?}");
        assert!(is_gone(pid), "{way}");
        assert_eq!(within(LONG, sleeper.echo(way)).await?, way);
    }
    within(LONG, supervisor.stop()).await?;
    Ok(())
}

/// Who is idle, who waits in a method, whose constructor takes long, and who takes long over its
/// end, does not hang.
#[callboard::test]
async fn who_takes_long_lives() -> callboard::Result<()> {
    let busy = Sleeper::spawn().heartbeat(heartbeat()).await?;
    let idle = Sleeper::spawn().heartbeat(heartbeat()).await?;
    // So that nobody is asked who is not there.
    let often = Heartbeat::every(Duration::from_millis(1)).misses(10_000);
    let asked = Sleeper::spawn().heartbeat(often).await?;
    let waiting = busy.wait(TOO_LONG).start();
    let late = within(LONG, async {
        Sleeper::spawn_late().heartbeat(heartbeat()).await
    })
    .await?;
    within(LONG, waiting).await?;
    let ends = [busy, idle, asked, late].map(|sleeper| async move {
        assert_eq!(within(LONG, sleeper.echo(3)).await?, 3);
        let began = Instant::now();
        within(LONG, sleeper.shutdown()).await?;
        assert!(began.elapsed() >= TOO_LONG);
        Ok::<_, callboard::Error>(())
    });
    for end in join_all(ends).await {
        end?;
    }
    Ok(())
}

/// All members of a pool hang: their calls end as deaths that say so, others take their places, and
/// calls go on.
#[callboard::test]
async fn pools_whose_members_all_hang() -> callboard::Result<()> {
    let pool = Pool::spawn(2, |_| Sleeper::spawn().heartbeat(heartbeat()))
        .restart(Restart::on_failure().max(100))
        .await?;
    let pids: Vec<_> = pool.members().iter().map(|m| m.process_id).collect();
    for pid in &pids {
        signal(*pid, Signal::SIGSTOP);
    }
    let calls: Vec<_> = (0..10).map(|number| pool.echo(number).start()).collect();
    for call in calls {
        match within(LONG, call).await {
            Err(CallError::Died { death, .. }) => assert_eq!(death.exit(), Exit::Hung),
            // It came to one that had taken a place already; or three seconds were over before.
            Ok(_) | Err(CallError::Unreachable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    eventually(LONG, "others are there", || {
        let members = pool.members();
        let is_new = |pid: &u32| !pids.contains(pid);
        members.iter().all(|m| m.is_alive && is_new(&m.process_id))
    })
    .await;
    assert!(pids.iter().all(|pid| is_gone(*pid)));
    assert_eq!(within(LONG, pool.echo(7)).await?, 7);
    let _ = within(LONG, pool.kill()).await;
    Ok(())
}

/// Where nobody takes their places, the pool has ended, and says how; nothing is left of it.
#[callboard::test]
async fn pools_that_end_hanging() -> callboard::Result<()> {
    if !alone("pools_that_end_hanging") {
        return Ok(());
    }
    let once = || Pool::spawn(2, |_| Sleeper::spawn().heartbeat(heartbeat()));
    let _ = within(LONG, once().await?.kill()).await;
    let holdings = Holdings::settled().await;
    let pool = once().restart(Restart::never()).await?;
    let mut monitor = pool.monitor();
    for member in pool.members() {
        signal(member.process_id, Signal::SIGSTOP);
        eventually(LONG, "it stands still", || is_stopped(member.process_id)).await;
    }
    match within(LONG, monitor.down()).await {
        Some(DownReason::Died(death)) => assert_eq!(death.exit(), Exit::Hung),
        other => panic!("{other:?}"),
    }
    match within(LONG, pool.echo(1)).await {
        Err(error @ CallError::Died { .. }) => assert_eq!(error.outcome(), Outcome::NotRun),
        other => panic!("{other:?}"),
    }
    assert!(!pool.is_alive());
    drop((pool, monitor));
    holdings.back().await;
    Ok(())
}

/// Counts, and leaves the count to its next life in several ways.
pub struct Counter {
    count: u64,
    resumed: u64,
    padding: Vec<u8>,
}

/// What a counter leaves.
#[message]
#[derive(Clone, Debug, PartialEq)]
struct Count {
    count: u64,
    padding: Vec<u8>,
}

/// Its state was not left.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotLeft(String);

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self {
            count: 0,
            resumed: 0,
            padding: Vec::new(),
        }
    }

    /// Counts, and says whether the next life will know.
    pub fn add(&mut self, context: &Context, by: u64, padding: u64) -> Result<u64, NotLeft> {
        let padding = usize::try_from(padding).map_err(|error| NotLeft(error.to_string()))?;
        let state = Count {
            count: self.count + by,
            padding: vec![7; padding],
        };
        let left = context.checkpoint::<Self>(&state);
        left.map_err(|error| NotLeft(error.to_string()))?;
        self.count += by;
        Ok(self.count)
    }

    /// Counts, and leaves nothing.
    pub fn add_silently(&mut self, by: u64) -> u64 {
        self.count += by;
        self.count
    }

    /// The count, how often this life was given one, and with how much beside it.
    pub fn show(&self) -> (u64, u64, u64) {
        (self.count, self.resumed, self.padding.len() as u64)
    }

    /// Leaves what no life will take.
    pub fn poison(&mut self, context: &Context) -> bool {
        let state = Count {
            count: u64::MAX,
            padding: Vec::new(),
        };
        context.checkpoint::<Self>(&state).is_ok()
    }

    pub fn panic(&mut self) {
        panic!("as it was told to");
    }

    #[on_restart]
    async fn resume(&mut self, state: Count) -> Result<(), &'static str> {
        if state.count == u64::MAX {
            return Err("nobody counts so far");
        }
        tokio::task::yield_now().await;
        self.count = state.count;
        self.padding = state.padding;
        self.resumed += 1;
        Ok(())
    }

    /// What was added meanwhile is known to the next life, unless the process is killed.
    #[on_failure]
    #[on_stop]
    fn leave(&mut self) -> Result<Count, &'static str> {
        if self.count == 13 {
            return Err("it brings bad luck");
        }
        Ok(Count {
            count: self.count,
            padding: Vec::new(),
        })
    }
}

/// Ends one life by `end`, and waits for the next.
async fn next_life(counter: &CounterProxy, end: impl AsyncFnOnce()) {
    let mut monitor = counter.monitor();
    within(LONG, monitor.next()).await;
    end().await;
    within(LONG, monitor.down()).await;
    let up = within(LONG, monitor.next()).await;
    assert!(matches!(up, Some(LifeEvent::Up { .. })), "{up:?}");
}

/// Kills one life.
async fn killed(counter: &CounterProxy) {
    let pid = counter.process_id();
    next_life(counter, async || signal(pid, Signal::SIGKILL)).await;
}

fn patient(strategy: Strategy) -> Supervisor {
    let restart = Restart::on_failure().max(1000);
    Supervisor::builder(strategy).restart(restart).start()
}

/// A checkpoint outlives SIGKILL, each takes the place of the one before, and lives that leave none
/// hand on what they were given. Of what was not left nothing is known.
#[callboard::test]
async fn checkpoints_outlive_the_kill() -> callboard::Result<()> {
    let supervisor = patient(Strategy::OneForOne);
    let counter = supervisor.spawn(Counter::spawn).await?;
    assert_eq!(counter.show().await?, (0, 0, 0));
    killed(&counter).await;
    // Nothing was left.
    assert_eq!(counter.show().await?, (0, 0, 0));
    for round in 1..=10 {
        for _ in 0..10 {
            counter.add(1, 0).await?;
        }
        counter.add_silently(100).await?;
        killed(&counter).await;
        assert_eq!(counter.show().await?, (10 * round, 1, 0));
    }
    killed(&counter).await;
    assert_eq!(counter.show().await?, (100, 1, 0));
    // Longer than any packet.
    let padding = 8 << 20;
    counter.add(1, padding).await?;
    killed(&counter).await;
    assert_eq!(counter.show().await?, (101, 1, padding));
    // Longer than any state: what was left before still is.
    assert!(counter.add(1, 65 << 20).await.is_err());
    killed(&counter).await;
    assert_eq!(counter.show().await?, (101, 1, padding));
    within(LONG, supervisor.stop()).await?;
    Ok(())
}

/// What `on_failure` and `on_stop` return is left, too, unless it is an error; also if the actor
/// was stopped only to be started again with another one.
#[callboard::test]
async fn last_hooks_leave_a_state() -> callboard::Result<()> {
    let supervisor = patient(Strategy::OneForAll);
    let counter = supervisor.spawn(Counter::spawn).await?;
    let other = supervisor.spawn(Counter::spawn).await?;
    counter.add_silently(12).await?;
    other.add_silently(5).await?;
    for (added, known) in [(0, 12), (1, 12), (2, 14)] {
        counter.add_silently(added).await?;
        let mut monitor = other.monitor();
        next_life(&counter, async || {
            assert!(counter.panic().await.is_err());
        })
        .await;
        within(LONG, monitor.down()).await;
        within(LONG, monitor.next()).await;
        assert_eq!(counter.show().await?, (known, 1, 0), "{added}");
        assert_eq!(other.show().await?, (5, 1, 0), "{added}");
    }
    within(LONG, supervisor.stop()).await?;
    Ok(())
}

/// Tasks leave their states as processes do.
#[callboard::test]
async fn tasks_leave_a_state() -> callboard::Result<()> {
    let supervisor = patient(Strategy::OneForOne);
    let counter = supervisor.spawn(Counter::local).await?;
    counter.add(3, 1000).await?;
    counter.add_silently(1).await?;
    let panic = async || assert!(counter.panic().await.is_err());
    next_life(&counter, panic).await;
    assert_eq!(counter.show().await?, (4, 1, 0));
    within(LONG, supervisor.stop()).await?;
    Ok(())
}

/// The members of a pool leave their states to those in their seats, and to nobody else; nothing is
/// left of states when the pool has ended.
#[callboard::test]
async fn seats_of_pools_keep_states() -> callboard::Result<()> {
    if !alone("seats_of_pools_keep_states") {
        return Ok(());
    }
    let start = || {
        let restart = Restart::on_failure().max(1000);
        Pool::spawn(3, |_| Counter::spawn()).restart(restart)
    };
    within(LONG, start().await?.shutdown()).await?;
    let holdings = Holdings::settled().await;
    let pool = start().await?;
    for key in 0..30 {
        pool.on(&key).add(key, 1 << 16).await?;
    }
    let counts = async || -> callboard::Result<Vec<u64>> {
        let shown = pool.broadcast(|counter| counter.show()).await;
        let counts = shown.into_iter().map(|shown| Ok(shown?.0));
        counts.collect()
    };
    let before = counts().await?;
    assert_eq!(before.iter().sum::<u64>(), (0..30).sum::<u64>());
    let pids: Vec<_> = pool.members().iter().map(|m| m.process_id).collect();
    for pid in &pids {
        signal(*pid, Signal::SIGKILL);
    }
    eventually(LONG, "others are there", || {
        let members = pool.members();
        let is_new = |pid: &u32| !pids.contains(pid);
        members.iter().all(|m| m.is_alive && is_new(&m.process_id))
    })
    .await;
    assert_eq!(counts().await?, before);
    // Those who take over are given what is there, too.
    assert_eq!(within(LONG, pool.replace_all()).await, 3);
    assert_eq!(counts().await?, before);
    within(LONG, pool.shutdown()).await?;
    drop(pool);
    holdings.back().await;
    Ok(())
}

/// A state that no life takes is a start that fails, again and again, until the limit is reached.
/// Of an actor that nobody starts again, a checkpoint is none, and no error.
#[callboard::test]
async fn states_that_nobody_takes() -> callboard::Result<()> {
    let restart = Restart::on_failure().max(3);
    let supervisor = Supervisor::builder(Strategy::OneForOne)
        .restart(restart)
        .start();
    let counter = supervisor.spawn(Counter::spawn).await?;
    assert!(counter.poison().await?);
    signal(counter.process_id(), Signal::SIGKILL);
    let given_up = within(LONG, supervisor.ended())
        .await
        .expect_err("nobody lives");
    assert!(matches!(given_up.exit(), Exit::Signal { number: 9, .. }));
    let alone = Counter::spawn().await?;
    assert_eq!(alone.add(3, 0).await?, 3);
    assert!(alone.poison().await?);
    within(LONG, alone.shutdown()).await?;
    Ok(())
}

/// Who is stopped between two of its lives, in the pause or while a start is tried, is not started
/// any more, and has ended; others in the same care go on.
#[callboard::test]
async fn stopped_between_two_lives() -> callboard::Result<()> {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll] {
        let supervisor = patient(strategy);
        let other = supervisor.spawn(Counter::spawn).await?;
        let tries = Arc::new(AtomicU64::new(0));
        let make = {
            let tries = Arc::clone(&tries);
            move || {
                let before = tries.fetch_add(1, Ordering::Relaxed);
                assert_eq!(before, 0, "it starts once, and then panics");
                Counter::spawn()
            }
        };
        let counter = supervisor.spawn(make).await?;
        signal(counter.process_id(), Signal::SIGKILL);
        // By now the pauses are long: 50 ms, doubled with each.
        eventually(LONG, "several starts have failed", || {
            tries.load(Ordering::Relaxed) >= 7
        })
        .await;
        let _ = within(LONG, counter.kill()).await;
        within(LONG, counter.exited()).await;
        let before = tries.load(Ordering::Relaxed);
        eventually(LONG, "the other one lives", || other.is_alive()).await;
        assert_eq!(within(LONG, other.add_silently(7)).await?, 7);
        assert_eq!(tries.load(Ordering::Relaxed), before, "{strategy:?}");
        assert!(!counter.is_alive());
        within(LONG, supervisor.stop()).await?;
    }
    Ok(())
}
