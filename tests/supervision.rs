//! Supervision: who has died is started again, with whom, how often, and who hears of it.

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use callboard::pool::Pool;
use callboard::prelude::*;
use callboard::supervision::{Restart, Strategy, SuperviseError, Supervisor, link};
use callboard::{DownReason, Exit, LifeEvent, Monitor, SpawnError};
use futures_util::future::join_all;
use nix::sys::signal::Signal;

use common::{Holdings, LONG, Scratch, alone, eventually, is_gone, signal, within};

/// Writes down when it begins and ends, counts, and dies.
pub struct Worker {
    log: String,
    name: String,
    calls: u64,
}

impl Worker {
    fn note(&self, what: &str) {
        use std::io::Write as _;
        let opened = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log);
        if let Ok(mut file) = opened {
            let _ = file.write_all(format!("{what}{} ", self.name).as_bytes());
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.note("-");
    }
}

#[actor]
impl Worker {
    pub fn new(log: String, name: String) -> Self {
        let worker = Self {
            log,
            name,
            calls: 0,
        };
        worker.note("+");
        worker
    }

    /// Fails while there is no file `gate`.
    pub fn behind(log: String, gate: String) -> Result<Self, Refused> {
        if fs::exists(gate).unwrap_or(false) {
            Ok(Self::new(log, "gated".into()))
        } else {
            Err(Refused)
        }
    }

    /// Is there only when there is a file `gate`.
    pub async fn after(log: String, gate: String) -> Self {
        while !fs::exists(&gate).unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Self::new(log, "late".into())
    }

    pub fn count(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }

    pub async fn wait(&self) {
        std::future::pending().await
    }

    pub fn end(&self, context: &Context) {
        context.stop();
    }

    pub fn die(&self) {
        std::process::abort()
    }
}

/// There was no gate.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("refused")]
pub struct Refused;

/// Kills the process of an actor, and waits until its proxy has another one.
async fn killed(worker: &WorkerProxy) {
    let mut monitor = worker.monitor();
    expect_up(&mut monitor).await;
    signal(worker.process_id(), Signal::SIGKILL);
    expect_death(&mut monitor).await;
    expect_up(&mut monitor).await;
}

async fn expect_up(monitor: &mut Monitor) -> (u32, u64) {
    match within(LONG, monitor.next()).await {
        Some(LifeEvent::Up {
            process_id,
            restarts,
            ..
        }) => (process_id, restarts),
        other => panic!("{other:?} instead of a start"),
    }
}

async fn expect_death(monitor: &mut Monitor) -> Exit {
    match within(LONG, monitor.next()).await {
        Some(LifeEvent::Down(DownReason::Died(death))) => death.exit(),
        other => panic!("{other:?} instead of a death"),
    }
}

/// Some workers called `names`, which write to `log`.
async fn workers(
    supervisor: &Supervisor,
    log: &str,
    names: &[&str],
) -> callboard::Result<Vec<WorkerProxy>> {
    let mut workers = Vec::new();
    for name in names {
        let (log, own) = (log.to_owned(), (*name).to_owned());
        let make = move || Worker::spawn(log.clone(), own.clone());
        workers.push(supervisor.spawn(make).name(*name).await?);
    }
    Ok(workers)
}

/// The same proxy goes on with the next life; the call that was in flight is told, and those in
/// the care of the same supervisor notice nothing. Each monitor tells each end and start once.
#[callboard::test]
async fn who_is_killed_returns() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let all = workers(&supervisor, &scratch.path("log"), &["a", "b"]).await?;
    let (one, other) = (&all[0], &all[1]);
    assert_eq!((one.count().await?, other.count().await?), (1, 1));
    let mut monitors: Vec<_> = (0..3).map(|_| one.monitor()).collect();
    let first = one.process_id();
    for monitor in &mut monitors {
        assert_eq!(expect_up(monitor).await, (first, 0));
    }
    let waiting = one.wait().start();
    // Behind it in the order of calls: it has begun when this one is answered.
    assert_eq!(one.name().await?, "a");
    signal(first, Signal::SIGKILL);
    let told = within(LONG, waiting)
        .await
        .expect_err("its process is gone");
    assert_eq!(told.outcome(), Outcome::MayHaveRun);
    assert!(matches!(told, CallError::Died { .. }), "{told}");
    for monitor in &mut monitors {
        assert!(matches!(
            expect_death(monitor).await,
            Exit::Signal { number: 9, .. }
        ));
        let (process_id, restarts) = expect_up(monitor).await;
        assert_eq!((process_id == first, restarts), (false, 1));
    }
    assert_eq!((one.count().await?, other.count().await?), (1, 2));
    assert!(one.process_id() != first && one.is_alive());
    let restarts: Vec<_> = supervisor
        .children()
        .into_iter()
        .map(|child| (child.name, child.restarts, child.is_alive))
        .collect();
    assert_eq!(restarts, [("a".into(), 1, true), ("b".into(), 0, true)]);
    supervisor.stop().await?;
    for monitor in &mut monitors {
        let last = within(LONG, monitor.next()).await;
        assert_eq!(last, Some(LifeEvent::Down(DownReason::Stopped)));
        assert_eq!(within(LONG, monitor.next()).await, None);
    }
    assert!(matches!(one.count().await, Err(CallError::Stopped { .. })));
    Ok(())
}

/// Those who depend on the dead one are ended in reverse order, and started again in order.
#[callboard::test]
async fn who_depends_on_it_is_started_again() -> callboard::Result<()> {
    for (strategy, log) in [
        (Strategy::OneForOne, "+a +b +c +b -c -b -a "),
        (Strategy::OneForAll, "+a +b +c -c -a +a +b +c -c -b -a "),
        (Strategy::RestForOne, "+a +b +c -c +b +c -c -b -a "),
    ] {
        let scratch = Scratch::new();
        let supervisor = Supervisor::builder(strategy).start();
        let all = workers(&supervisor, &scratch.path("log"), &["a", "b", "c"]).await?;
        killed(&all[1]).await;
        // The last of those who are started again lives when all do.
        let restarts = u64::from(strategy != Strategy::OneForOne);
        eventually(LONG, "all live again", || {
            let last = &supervisor.children()[2];
            last.is_alive && last.restarts == restarts
        })
        .await;
        for worker in &all {
            assert_eq!(worker.count().await?, 1, "{strategy:?}");
        }
        supervisor.stop().await?;
        assert_eq!(scratch.read("log"), log, "{strategy:?}");
    }
    Ok(())
}

/// More deaths than allowed: the supervisor ends all others, says so, and takes nobody in.
#[callboard::test]
async fn storms_end_at_the_intensity() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let restart = Restart::on_failure().max(2).within(LONG * 60);
    let supervisor = Supervisor::builder(Strategy::OneForOne)
        .restart(restart)
        .start();
    let all = workers(&supervisor, &scratch.path("log"), &["a", "b"]).await?;
    killed(&all[1]).await;
    killed(&all[0]).await;
    let pids = [all[0].process_id(), all[1].process_id()];
    let mut monitor = all[0].monitor();
    assert!(all[1].die().await.is_err());
    let given_up = within(LONG, supervisor.ended()).await.expect_err("it died");
    assert_eq!(given_up.child(), "b");
    assert!(matches!(given_up.exit(), Exit::Signal { number: 6, .. }));
    assert!(pids.iter().all(|pid| is_gone(*pid)));
    assert_eq!(
        within(LONG, monitor.down()).await,
        Some(DownReason::Stopped)
    );
    assert_eq!(scratch.read("log"), "+a +b +b +a -a ");
    assert!(matches!(
        all[1].count().await,
        Err(CallError::Died {
            outcome: Outcome::NotRun,
            ..
        })
    ));
    let late = supervisor.spawn(|| Worker::spawn(String::new(), String::new()));
    assert!(matches!(late.await, Err(SuperviseError::Ended)));
    // It has ended already, and says no more than that.
    supervisor.stop().await?;
    Ok(())
}

/// Who is started again after which end, whatever the supervisor's own rule is.
#[callboard::test]
async fn ends_are_told_apart() -> callboard::Result<()> {
    let scratch = Scratch::new();
    for (restart, after_end, after_death) in [
        (Restart::never(), false, false),
        (Restart::on_failure(), false, true),
        (Restart::always(), true, true),
    ] {
        for (dies, returns) in [(false, after_end), (true, after_death)] {
            let supervisor = Supervisor::builder(Strategy::OneForOne)
                .restart(Restart::never())
                .start();
            let log = scratch.path("log");
            let make = move || Worker::spawn(log.clone(), "a".into());
            let worker = supervisor.spawn(make).restart(restart).await?;
            let mut monitor = worker.monitor();
            expect_up(&mut monitor).await;
            if dies {
                assert!(worker.die().await.is_err());
            } else {
                worker.end().tell().await?;
            }
            assert!(within(LONG, monitor.down()).await.is_some());
            let next = within(LONG, monitor.next()).await;
            assert_eq!(next.is_some(), returns, "{restart:?}, dies: {dies}");
            assert_eq!(worker.is_alive(), returns, "{restart:?}, dies: {dies}");
            // Stopped by its user, it stays so.
            let stopped = worker.stop().await;
            assert_eq!(stopped.is_err(), dies && !returns, "{stopped:?}");
            assert!(!worker.is_alive());
            assert_eq!(
                within(LONG, worker.exited()).await == Exit::Code(0),
                stopped.is_ok()
            );
            supervisor.stop().await?;
        }
    }
    Ok(())
}

/// A start that fails is tried again, also one whose constructor refuses; who waits for the end
/// does not wait for a constructor that hangs.
#[callboard::test]
async fn starts_may_fail() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let (log, gate) = (scratch.path("log"), scratch.path("gate"));
    let restart = Restart::on_failure().max(1000);
    let builder = Supervisor::builder(Strategy::RestForOne).restart(restart);
    let supervisor = builder.clone().start();
    let gated = {
        let (log, gate) = (log.clone(), gate.clone());
        move || Worker::spawn_behind(log.clone(), gate.clone())
    };
    let refused = supervisor.spawn(gated.clone()).await;
    assert!(
        matches!(
            refused,
            Err(SuperviseError::Start(SpawnError::Constructor(_)))
        ),
        "{refused:?}"
    );
    assert!(supervisor.children().is_empty());
    fs::write(&gate, "")?;
    let tries = Arc::new(AtomicU32::new(0));
    let worker = {
        let tries = Arc::clone(&tries);
        let counted = move || {
            // Such a start has failed, too.
            assert_ne!(tries.fetch_add(1, Ordering::Relaxed), 1, "panics once");
            gated()
        };
        supervisor.spawn(counted).await?
    };
    let mut monitor = worker.monitor();
    expect_up(&mut monitor).await;
    fs::remove_file(&gate)?;
    signal(worker.process_id(), Signal::SIGKILL);
    expect_death(&mut monitor).await;
    eventually(LONG, "some starts have failed", || {
        tries.load(Ordering::Relaxed) > 3
    })
    .await;
    assert!(!worker.is_alive());
    fs::write(&gate, "")?;
    expect_up(&mut monitor).await;
    assert_eq!(worker.count().await?, 1);
    supervisor.stop().await?;

    let supervisor = builder.start();
    let open = Arc::new(AtomicBool::new(true));
    let worker = {
        let (open, hung) = (Arc::clone(&open), scratch.path("never"));
        let late = move || {
            let gate = if open.load(Ordering::Relaxed) {
                &gate
            } else {
                &hung
            };
            Worker::spawn_after(log.clone(), gate.clone())
        };
        supervisor.spawn(late).await?
    };
    open.store(false, Ordering::Relaxed);
    let mut monitor = worker.monitor();
    signal(worker.process_id(), Signal::SIGKILL);
    assert!(within(LONG, monitor.down()).await.is_some());
    within(LONG, supervisor.stop()).await?;
    assert_eq!(within(LONG, monitor.next()).await, None);
    Ok(())
}

/// A supervisor that gives up is started again by the one above it, and its actors' proxies go on;
/// the one above ends all.
#[callboard::test]
async fn trees_are_mended() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let log = scratch.path("log");
    let root = Supervisor::builder(Strategy::OneForAll)
        .restart(Restart::on_failure().max(1))
        .start();
    let branch = Supervisor::builder(Strategy::OneForOne)
        .restart(Restart::on_failure().max(0))
        .start();
    root.adopt("branch", branch.clone()).await?;
    let above = workers(&root, &log, &["r"]).await?;
    let below = workers(&branch, &log, &["x", "y"]).await?;
    let mut monitors = [&above[0], &below[0], &below[1]].map(|worker| worker.monitor());
    for monitor in &mut monitors {
        expect_up(monitor).await;
    }
    assert!(below[0].die().await.is_err());
    for monitor in &mut monitors {
        assert!(within(LONG, monitor.down()).await.is_some());
        assert_eq!(expect_up(monitor).await.1, 1);
    }
    eventually(LONG, "the branch is counted as started again", || {
        root.children()[0].restarts == 1 && branch.children().iter().all(|child| child.is_alive)
    })
    .await;
    // One more is too much for the root.
    assert!(below[1].die().await.is_err());
    let given_up = within(LONG, root.ended()).await.expect_err("all is over");
    assert_eq!(given_up.child(), "branch");
    assert!(branch.ended().await.is_err());
    for (at, monitor) in monitors.iter_mut().enumerate() {
        assert!(within(LONG, monitor.down()).await.is_some());
        assert_eq!(within(LONG, monitor.next()).await, None, "{at}");
    }
    let log = scratch.read("log");
    assert_eq!(log, "+r +x +y -y -r +x +y +r -x -r ");

    // A branch that its user ends is not started again, and the root lives on.
    let root = Supervisor::builder(Strategy::OneForOne)
        .restart(Restart::always())
        .start();
    let branch = Supervisor::builder(Strategy::OneForOne).start();
    root.adopt("branch", branch.clone()).await?;
    branch.stop().await?;
    eventually(LONG, "the branch has ended", || {
        !root.children()[0].is_alive
    })
    .await;
    let late = branch.spawn(|| Worker::spawn(String::new(), String::new()));
    assert!(matches!(late.await, Err(SuperviseError::Ended)));
    root.stop().await?;
    let late = Supervisor::builder(Strategy::OneForOne).start();
    assert!(matches!(
        root.adopt("late", late.clone()).await,
        Err(SuperviseError::Ended)
    ));
    assert!(late.ended().await.is_ok());
    Ok(())
}

/// The supervisor keeps its actors alive, and their proxies do not; with its last handle all end.
#[callboard::test]
async fn the_supervisor_keeps_them() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let log = scratch.path("log");
    let all = workers(&supervisor, &log, &["a", "b"]).await?;
    drop(all);
    let kept = supervisor.clone();
    drop(supervisor);
    let children = kept.children();
    let pids: Vec<_> = children
        .iter()
        .filter_map(|child| child.process_id)
        .collect();
    assert_eq!(pids.len(), 2);
    // Both live, and take calls in their order: another one is not kept from starting.
    let third = workers(&kept, &log, &["c"]).await?;
    assert!(pids.iter().all(|pid| !is_gone(*pid)));
    let exited = third[0].exited();
    drop(kept);
    assert_eq!(within(LONG, exited).await, Exit::Code(0));
    eventually(LONG, "all have ended", || {
        pids.iter().all(|pid| is_gone(*pid))
    })
    .await;
    assert_eq!(scratch.read("log"), "+a +b +c -c -b -a ");
    Ok(())
}

/// When all of a runtime's actors are ended, nobody is started again, however stubborn.
#[callboard::test]
async fn the_end_of_all_is_the_end() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let restart = Restart::always().max(usize::MAX);
    let supervisor = Supervisor::builder(Strategy::OneForAll)
        .restart(restart)
        .start();
    let log = scratch.path("log");
    let all = workers(&supervisor, &log, &["a", "b"]).await?;
    let pool_log = log.clone();
    let pool = Pool::spawn(1, move |_| Worker::spawn(pool_log.clone(), "p".into()))
        .restart(restart)
        .await?;
    within(LONG, callboard::shutdown_all()).await;
    for worker in &all {
        within(LONG, worker.exited()).await;
    }
    within(LONG, pool.exited()).await;
    assert_eq!(scratch.read("log"), "+a +b +p -p -b -a ");
    Ok(())
}

/// One that dies takes the other with it, and one that ends in order does not. The next lives of
/// supervised actors are linked, too, and fall once for each death.
#[callboard::test]
async fn linked_actors_fall_together() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let log = scratch.path("log");
    let spawn = || Worker::spawn(log.clone(), "w".into());
    let (one, other) = (spawn().await?, spawn().await?);
    link(&one, &other);
    assert!(other.die().await.is_err());
    let exit = within(LONG, one.exited()).await;
    assert!(matches!(exit, Exit::Signal { number: 9, .. }), "{exit}");

    let (one, other) = (spawn().await?, spawn().await?);
    let fate = link(&one, &other);
    one.stop().await?;
    assert_eq!(other.count().await?, 1);
    let third = spawn().await?;
    link(&other, &third).unlink();
    fate.unlink();
    other.kill().await;
    assert_eq!(third.count().await?, 1);
    third.stop().await?;

    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let all = workers(&supervisor, &log, &["a", "b"]).await?;
    link(&all[0], &all[1]);
    let mut monitors = [all[0].monitor(), all[1].monitor()];
    for monitor in &mut monitors {
        expect_up(monitor).await;
    }
    for round in [1, 2] {
        assert!(all[0].die().await.is_err());
        for monitor in &mut monitors {
            expect_death(monitor).await;
            assert_eq!(expect_up(monitor).await.1, round);
        }
    }
    supervisor.stop().await?;
    Ok(())
}

/// Tasks are supervised and watched as processes are.
#[callboard::test]
async fn tasks_are_supervised() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let log = scratch.path("log");
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let worker = supervisor
        .spawn(move || Worker::local(log.clone(), "t".into()))
        .await?;
    let mut monitor = worker.monitor();
    expect_up(&mut monitor).await;
    assert_eq!(worker.count().await?, 1);
    assert!(worker.wait().timeout(Duration::ZERO).await.is_err());
    supervisor.stop().await?;
    let last = within(LONG, monitor.next()).await;
    assert_eq!(last, Some(LifeEvent::Down(DownReason::Stopped)));
    Ok(())
}

/// Many actors that die at once return, and nothing is left of any of their lives.
#[callboard::test]
async fn nothing_is_left_of_many_lives() -> callboard::Result<()> {
    if !alone("nothing_is_left_of_many_lives") {
        return Ok(());
    }
    let scratch = Scratch::new();
    let log = scratch.path("log");
    let names: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let restart = Restart::on_failure().max(1000);
    // What is made once is kept.
    Worker::spawn(log.clone(), "first".into())
        .await?
        .stop()
        .await?;
    let holdings = Holdings::settled().await;
    for _ in 0..2 {
        let supervisor = Supervisor::builder(Strategy::OneForOne)
            .restart(restart)
            .start();
        let all = workers(&supervisor, &log, &names).await?;
        for _ in 0..3 {
            join_all(all.iter().map(killed)).await;
        }
        for worker in &all {
            assert_eq!(worker.count().await?, 1);
        }
        supervisor.stop().await?;
        drop((all, supervisor));
    }
    holdings.back().await;
    Ok(())
}
