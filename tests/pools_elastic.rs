//! U62: pools whose size follows their work, members that come and go in order, calls made on two
//! members, and what members tell.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard::pool::{Elastic, Member, Pool, PoolError, Restart, Routing};
use callboard::prelude::*;
use callboard::supervision::{Strategy, Supervisor};
use callboard::{DownReason, LifeEvent, SpawnError};
use futures_util::future::join_all;
use nix::sys::signal::Signal;

use common::{Holdings, LONG, SOON, Scratch, alone, eventually, gone, is_gone, signal, within};

/// Works, waits, and dies.
pub struct Worker {
    calls: u64,
}

#[actor]
impl Worker {
    pub fn new() -> Self {
        Self { calls: 0 }
    }

    /// Is there only when there is such a file.
    pub async fn after(path: String) -> Self {
        await_file(&path).await;
        Self::new()
    }

    #[idempotent]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub fn count(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub fn square(&self, number: u64) -> u64 {
        number * number
    }

    /// Waits until there is such a file.
    pub async fn wait(&mut self, path: String) -> u32 {
        await_file(&path).await;
        std::process::id()
    }

    /// The same beside others. It says in `log` that it began, and that it was dropped.
    #[idempotent]
    #[cancellable]
    pub async fn answer(&self, path: String, log: String) -> u32 {
        let _entry = Entry::new(log);
        await_file(&path).await;
        std::process::id()
    }

    /// Says in `log` that it was called.
    pub fn note(&mut self, log: String) {
        append(&log, '.');
    }

    #[idempotent]
    pub fn refuse(&self) -> Result<(), Refused> {
        Err(Refused)
    }

    #[idempotent]
    pub fn die(&self) -> u32 {
        std::process::abort()
    }
}

async fn await_file(path: &str) {
    while !std::path::Path::new(path).exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A call that is there, in a file.
struct Entry(String);

impl Entry {
    fn new(log: String) -> Self {
        append(&log, '+');
        Self(log)
    }
}

fn append(log: &str, what: char) {
    use std::io::Write as _;
    let file = std::fs::File::options().append(true).create(true).open(log);
    let written = file.and_then(|mut file| write!(file, "{what}"));
    written.expect("the folder is there");
}

impl Drop for Entry {
    fn drop(&mut self) {
        append(&self.0, '-');
    }
}

/// It does not want to.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("refused")]
pub struct Refused;

fn pids<P: Proxy>(pool: &Pool<P>) -> Vec<u32> {
    let members = pool.members();
    members.iter().map(|member| member.process_id).collect()
}

/// A pool grows with its queue to its most members, and shrinks when it has been idle to its
/// fewest; those who leave have ended, and all that was called has its answer.
#[callboard::test]
async fn pools_grow_and_shrink() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let size = Elastic::between(1, 4).idle(Duration::from_millis(200));
    let pool = Pool::spawn(size, |_| Worker::spawn()).await?;
    assert_eq!((pool.len(), pool.members().len()), (1, 1));
    let first = pids(&pool)[0];
    for round in 0..2 {
        let gate = scratch.path(&round.to_string());
        let held: Vec<_> = (0..20).map(|_| pool.wait(gate.clone()).start()).collect();
        eventually(LONG, "the pool has grown", || pool.len() == 4).await;
        assert!(pool.members().iter().all(|member| member.is_alive));
        assert!(pids(&pool).contains(&first));
        let grown = pids(&pool);
        // Who came later has its share of what is called now.
        let more: Vec<_> = (0..20).map(|_| pool.wait(gate.clone()).start()).collect();
        std::fs::write(&gate, "")?;
        let answered = within(LONG, join_all(held.into_iter().chain(more))).await;
        let answered: HashSet<_> = answered.into_iter().collect::<Result<_, _>>()?;
        assert_eq!(answered.len(), 4);
        eventually(LONG, "the pool has shrunk", || pool.len() == 1).await;
        let left = pids(&pool);
        for pid in grown.into_iter().filter(|pid| !left.contains(pid)) {
            gone(pid).await;
        }
        assert_eq!(within(LONG, pool.square(9)).await?, 81);
    }
    pool.shutdown().await
}

/// Calls without a pause while the size goes up and down: each is answered, and none notices.
#[callboard::test]
async fn no_call_is_lost_when_pools_change() -> callboard::Result<()> {
    let size = Elastic::between(1, 3).idle(Duration::from_millis(20));
    let pool = Pool::spawn(size, |_| Worker::spawn())
        .routing(Routing::RoundRobin)
        .await?;
    let (mut sizes, mut changes) = (HashSet::new(), 0);
    let mut last = pool.len();
    let end = tokio::time::Instant::now() + LONG;
    for round in 0_u64.. {
        // Busy for a while, then nearly idle for a while.
        let width = if round % 40 < 20 { 32 } else { 1 };
        let calls = (0..width).map(|number| pool.square(number));
        for (number, square) in within(LONG, join_all(calls)).await.into_iter().enumerate() {
            assert_eq!(square?, (number * number) as u64);
        }
        if width == 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        changes += usize::from(pool.len() != last);
        last = pool.len();
        sizes.insert(last);
        if changes >= 10 && sizes.len() == 3 {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{changes} {sizes:?}");
    }
    pool.shutdown().await
}

/// A member of a pool that has grown is replaced when it dies, and one that was given up leaves its
/// seat to another when there is work.
#[callboard::test]
async fn grown_members_return() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let size = Elastic::between(1, 2).idle(LONG);
    let pool = Pool::spawn(size, |_| Worker::spawn()).await?;
    let gate = scratch.path("gate");
    let held: Vec<_> = (0..6).map(|_| pool.wait(gate.clone()).start()).collect();
    eventually(LONG, "the pool has grown", || pool.len() == 2).await;
    std::fs::write(&gate, "")?;
    for call in held {
        within(LONG, call).await?;
    }
    let victim = pids(&pool)[1];
    signal(victim, Signal::SIGKILL);
    eventually(LONG, "another one is there", || {
        let member = &pool.members()[1];
        member.is_alive && member.process_id != victim
    })
    .await;
    assert_eq!(pool.members()[1].restarts, 1);
    assert_eq!(pool.replace_all().await, 2);
    assert_eq!(within(LONG, pool.square(3)).await?, 9);
    pool.shutdown().await
}

/// A member takes calls once its constructor is done, and not before: the others have them until
/// then, when it follows a dead one as well as when it is to replace one that lives.
#[callboard::test]
async fn members_are_ready_before_they_are_called() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let starts = Arc::new(AtomicUsize::new(0));
    let gates: Vec<_> = (0..4)
        .map(|start| scratch.path(&start.to_string()))
        .collect();
    let make = {
        let (starts, gates) = (Arc::clone(&starts), gates.clone());
        move |_| Worker::spawn_after(gates[starts.fetch_add(1, Ordering::Relaxed)].clone())
    };
    for gate in &gates[..2] {
        std::fs::write(gate, "")?;
    }
    let pool = Pool::spawn(2, make).routing(Routing::RoundRobin).await?;
    let answered = async |pool: &Pool<WorkerProxy>| {
        let mut answered = HashSet::new();
        for key in 0..20 {
            answered.insert(within(LONG, pool.pid()).await?);
            answered.insert(within(LONG, pool.on(&key).pid()).await?);
        }
        Ok::<_, CallError>(answered)
    };
    let first = pids(&pool);
    signal(first[0], Signal::SIGKILL);
    eventually(LONG, "the next is being started", || {
        starts.load(Ordering::Relaxed) == 3 && !pool.members()[0].is_alive
    })
    .await;
    assert_eq!(answered(&pool).await?, HashSet::from([first[1]]));
    std::fs::write(&gates[2], "")?;
    eventually(LONG, "it has come", || pool.members()[0].is_alive).await;
    let both: HashSet<_> = pids(&pool).into_iter().collect();
    assert_eq!(answered(&pool).await?, both);

    // The first of the new ones never comes, and its seat keeps who sits there.
    let mut replacing = Box::pin(pool.replace_all());
    tokio::select! {
        _ = &mut replacing => panic!("the gate is closed"),
        () = eventually(LONG, "it is started", || starts.load(Ordering::Relaxed) == 4) => {}
    }
    assert_eq!(answered(&pool).await?, both);
    drop(replacing);
    assert_eq!(answered(&pool).await?, both);
    pool.shutdown().await
}

/// A pool that is stopped does what it was sent before, calls and tells; what comes after that has
/// not run, and says so.
#[callboard::test]
async fn pools_end_in_order() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let pool = Pool::spawn(2, |_| Worker::spawn()).await?;
    let (gate, log) = (scratch.path("gate"), scratch.path("log"));
    let held: Vec<_> = (0..6).map(|_| pool.wait(gate.clone()).start()).collect();
    for _ in 0..100 {
        pool.note(log.clone()).tell().await?;
    }
    let stopping = tokio::spawn({
        let pool = pool.clone();
        async move { pool.stop().await }
    });
    let late = within(LONG, async {
        loop {
            match pool.pid().await {
                Err(error) => break error,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    });
    // Before it stops, a call waits behind those that wait for the gate.
    let open = async {
        eventually(LONG, "it stops", || {
            pool.members().iter().all(|member| !member.is_alive)
        })
        .await;
        assert!(!stopping.is_finished());
        assert!(held.iter().all(|call| !call.is_ready()));
        std::fs::write(&gate, "").expect("the folder is there");
    };
    let (late, ()) = futures_util::future::join(late, open).await;
    assert!(matches!(late, CallError::Stopped { .. }), "{late:?}");
    assert_eq!(late.outcome(), Outcome::NotRun);
    let answered = within(LONG, join_all(held)).await;
    let answered: HashSet<_> = answered.into_iter().collect::<Result<_, _>>()?;
    assert_eq!(answered.len(), 2, "each of them had some");
    within(LONG, stopping).await??;
    assert_eq!(scratch.read("log").len(), 100);
    Ok(())
}

/// A pool is supervised as an actor is: once its last member is given up, all of it is started
/// again, its proxy goes on, and its monitors tell of both; it ends with the supervisor.
#[callboard::test]
async fn pools_are_supervised() -> callboard::Result<()> {
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let make = || async {
        let pool = Pool::spawn(2, |_| Worker::spawn()).restart(Restart::never());
        let pool = pool.await.map_err(SpawnError::Constructor)?;
        Ok(pool.proxy())
    };
    let pool = supervisor.spawn(make).name("pool").await?;
    let mut monitor = pool.monitor();
    let first = within(LONG, monitor.next()).await;
    assert!(
        matches!(first, Some(LifeEvent::Up { restarts: 0, .. })),
        "{first:?}"
    );
    assert_eq!(
        (pool.count().await?, pool.count().await?),
        (1, 1),
        "each of two"
    );
    let mut gone = HashSet::new();
    for _ in 0..2 {
        match within(LONG, pool.die()).await {
            Err(CallError::Died { death, .. }) => gone.insert(death.pid()),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(gone.len(), 2);
    match within(LONG, monitor.next()).await {
        Some(LifeEvent::Down(DownReason::Died(death))) => assert!(gone.contains(&death.pid())),
        other => panic!("{other:?}"),
    }
    let next = within(LONG, monitor.next()).await;
    assert!(
        matches!(next, Some(LifeEvent::Up { restarts: 1, .. })),
        "{next:?}"
    );
    assert_eq!(
        (pool.count().await?, pool.count().await?),
        (1, 1),
        "each of two"
    );
    let children = supervisor.children();
    assert_eq!(
        (children[0].name.as_str(), children[0].restarts),
        ("pool", 1)
    );
    let pid = pool.process_id();
    within(LONG, supervisor.stop()).await?;
    assert!(is_gone(pid));
    assert_eq!(
        within(LONG, monitor.down()).await,
        Some(DownReason::Stopped)
    );
    Ok(())
}

/// Members are replaced while they are told things: what they took in they do, once.
#[callboard::test]
async fn no_tell_is_lost_when_members_are_replaced() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let log = scratch.path("log");
    let pool = Pool::spawn(2, |_| Worker::spawn()).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let telling = tokio::spawn({
        let (pool, log) = (pool.clone(), log.clone());
        async move {
            let mut told = 0;
            while !*stopped.borrow() {
                pool.note(log.clone()).tell().await?;
                told += 1;
                tokio::task::yield_now().await;
            }
            Ok::<_, CallError>(told)
        }
    });
    for _ in 0..3 {
        assert_eq!(within(LONG, pool.replace_all()).await, 2);
    }
    stop.send_replace(true);
    let told: usize = within(LONG, telling).await??;
    assert!(told > 0);
    pool.shutdown().await?;
    assert_eq!(scratch.read("log").len(), told);
    Ok(())
}

/// An elastic pool leaves nothing, whenever it ends; and has at least one member.
#[callboard::test]
async fn elastic_pools_leave_nothing() -> callboard::Result<()> {
    if !alone("elastic_pools_leave_nothing") {
        return Ok(());
    }
    let empty = Pool::spawn(Elastic::between(0, 3), |_| Worker::spawn()).await;
    assert!(matches!(empty, Err(PoolError::Empty)));
    Worker::spawn().await?.shutdown().await?;
    let holdings = Holdings::settled().await;
    let scratch = Scratch::new();
    for round in 0..6 {
        let started = Arc::new(AtomicUsize::new(0));
        let make = {
            let started = Arc::clone(&started);
            move |_| {
                started.fetch_add(1, Ordering::Relaxed);
                Worker::spawn()
            }
        };
        let size = Elastic::between(1, 5).idle(Duration::from_millis(50));
        let pool = Pool::spawn(size, make).await?;
        let never = scratch.path("never");
        let held: Vec<_> = (0..20).map(|_| pool.wait(never.clone()).start()).collect();
        // In the midst of growing, in some rounds.
        eventually(LONG, "it grows", || {
            started.load(Ordering::Relaxed) > round % 3
        })
        .await;
        drop(held);
        match round % 2 {
            0 => drop(pool.kill().await),
            _ => drop(pool),
        }
    }
    holdings.back().await;
    Ok(())
}

/// A hedged call that is answered in time is one call; one that is not is made on another member
/// too, the first answer counts, and the other call is dropped.
#[callboard::test]
async fn hedged_calls() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let pool = Pool::spawn(2, |_| Worker::spawn()).await?;
    within(LONG, pool.hedged(LONG, |worker| worker.pid())).await?;
    let calls: u64 = pool.members().iter().map(|member| member.calls).sum();
    assert_eq!(calls, 1);

    let gates = [scratch.path("a"), scratch.path("b")];
    let log = scratch.path("log");
    let began = || scratch.read("log").matches('+').count();
    let ended = || scratch.read("log").matches('-').count();
    // Both wait; then the second member may answer.
    let turn = AtomicUsize::new(0);
    let hedged = pool.hedged(Duration::from_millis(20), |worker| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        worker.answer(gates[turn].clone(), log.clone())
    });
    let open = async {
        eventually(LONG, "both have begun", || began() == 2).await;
        std::fs::write(&gates[1], "").expect("the folder is there");
    };
    let (answered, ()) = within(LONG, futures_util::future::join(hedged, open)).await;
    assert!(pids(&pool).contains(&answered?));
    assert_eq!(turn.into_inner(), 2);
    eventually(SOON, "the other call is dropped", || ended() == 2).await;
    assert!(!std::path::Path::new(&gates[0]).exists());
    pool.kill().await;
    Ok(())
}

/// A hedged call does not wait out its time when the first member dies; the method's own error is
/// an answer; where nobody else is there, it is one call.
#[callboard::test]
async fn hedged_calls_that_fail() -> callboard::Result<()> {
    let pool = Pool::spawn(2, |_| Worker::spawn())
        .restart(Restart::never())
        .await?;
    let turn = AtomicUsize::new(0);
    let refused = within(LONG, pool.hedged(Duration::ZERO, |worker| worker.refuse())).await;
    assert!(
        matches!(refused, Err(CallError::Actor(Refused))),
        "{refused:?}"
    );
    let answered = within(
        SOON,
        pool.hedged(LONG, |worker| match turn.fetch_add(1, Ordering::Relaxed) {
            0 => worker.die(),
            _ => worker.pid(),
        }),
    );
    let answered = answered.await?;
    let alive: Vec<Member> = pool.members().into_iter().filter(|m| m.is_alive).collect();
    assert_eq!(alive.len(), 1);
    assert_eq!(answered, alive[0].process_id);
    // Alone.
    let died = within(LONG, pool.hedged(Duration::ZERO, |worker| worker.die())).await;
    assert!(matches!(died, Err(CallError::Died { .. })), "{died:?}");
    let nobody = within(LONG, pool.hedged(Duration::ZERO, |worker| worker.pid())).await;
    assert!(nobody.is_err());
    assert!(pool.stop().await.is_err());
    Ok(())
}

/// Members tell how many calls they were sent and how long they are there; a new one begins anew.
#[callboard::test]
async fn members_tell_what_they_did() -> callboard::Result<()> {
    let pool = Pool::spawn(2, |_| Worker::spawn())
        .routing(Routing::RoundRobin)
        .await?;
    for number in 0..10 {
        pool.square(number).await?;
    }
    let members = pool.members();
    assert!(
        members.iter().all(|member| member.calls == 5),
        "{members:?}"
    );
    let uptime = members[0].uptime;
    eventually(LONG, "time passes", || pool.members()[0].uptime > uptime).await;
    signal(members[0].process_id, Signal::SIGKILL);
    eventually(LONG, "another one is there", || {
        let member = &pool.members()[0];
        member.is_alive && member.restarts == 1
    })
    .await;
    assert_eq!(pool.members()[0].calls, 0);
    assert_eq!(pool.members()[1].calls, 5);
    pool.shutdown().await
}
