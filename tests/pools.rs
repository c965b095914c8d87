//! U62, U63: pools of actors, called as one.

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard::cpu::{Core, Cores, CpuSet};
use callboard::pool::{Member, Pool, PoolError, Restart, Routing};
use callboard::prelude::*;
use callboard::{DownReason, Exit, SpawnError};
use futures_util::StreamExt as _;
use futures_util::future::{join, join_all};
use nix::sys::signal::Signal;

use common::{Holdings, LONG, Scratch, alone, eventually, is_gone, signal, within};

/// Works, waits, and dies.
pub struct Worker {
    calls: u64,
}

#[actor]
impl Worker {
    pub fn new() -> Self {
        Self { calls: 0 }
    }

    /// A constructor that fails where there is such a file.
    pub fn unless(path: String) -> Result<Self, Refused> {
        if std::path::Path::new(&path).exists() {
            return Err(Refused);
        }
        Ok(Self::new())
    }

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
        while !std::path::Path::new(&path).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        std::process::id()
    }

    pub fn die(&mut self) {
        std::process::abort()
    }

    pub fn panic(&mut self) {
        panic!("as it was told to");
    }
}

/// It was told not to.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("refused")]
pub struct Refused;

/// Waits until the pool's members are as `wanted`.
async fn until<P: Proxy>(pool: &Pool<P>, wanted: impl Fn(&[Member]) -> bool) {
    eventually(LONG, "the members are as they should be", || {
        wanted(&pool.members())
    })
    .await;
}

fn pids<P: Proxy>(pool: &Pool<P>) -> Vec<u32> {
    pool.members()
        .iter()
        .map(|member| member.process_id)
        .collect()
}

/// Calls go round; a broadcast reaches each once, and a pool ends with all its members.
#[callboard::test]
async fn calls_go_round() -> callboard::Result<()> {
    let pool = Pool::spawn(4, |_| Worker::spawn())
        .routing(Routing::RoundRobin)
        .await?;
    let mut called = Vec::new();
    for _ in 0..8 {
        called.push(pool.pid().await?);
    }
    assert_eq!(called[4], called[0], "the fifth is the first again");
    assert_eq!(called.iter().collect::<HashSet<_>>().len(), 4);
    for counted in pool.broadcast(|worker| worker.count()).await {
        assert_eq!(counted?, 1);
    }
    let ids = pids(&pool);
    pool.shutdown().await?;
    assert!(!pool.is_alive());
    assert!(pool.members().iter().all(|member| !member.is_alive));
    assert!(ids.iter().all(|pid| is_gone(*pid)));
    assert!(matches!(pool.pid().await, Err(CallError::Stopped { .. })));
    Ok(())
}

/// Counts, as a part of an actor.
pub struct Tally(u64);

#[actor_part]
impl Tally {
    pub fn add(&mut self, by: u64) -> u64 {
        self.0 += by;
        self.0
    }
}

/// Has a part.
pub struct Keeper {
    tally: Tally,
}

#[actor(nested(pub tally: Tally))]
impl Keeper {
    pub fn new() -> Self {
        Self { tally: Tally(0) }
    }
}

/// What is more than one call is done with each, as well with its parts; calls of parts are made
/// where those of the whole are.
#[callboard::test]
async fn parts_of_each() -> callboard::Result<()> {
    let pool = Pool::spawn(3, |_| Keeper::spawn()).await?;
    let twice = async |keeper: &KeeperProxy| {
        let tally = keeper.tally();
        tally.add(2).await?;
        tally.add(3).await
    };
    for sum in within(LONG, pool.each(twice)).await {
        assert_eq!(sum?, 5);
    }
    // One of them.
    assert_eq!(pool.tally().add(1).await?, 6);
    let added: u64 = (1..=30).sum();
    let adding = pool.map(1..=30, |keeper, by| keeper.tally().add(by).into_owned());
    assert_eq!(within(LONG, adding.all()).await?.len(), 30);
    let nothing = pool.map([0; 30], |keeper, by| keeper.tally().add(by).into_owned());
    let mut some = nothing.unordered();
    let mut seen = 0;
    while let Some(sum) = within(LONG, some.next()).await {
        assert!(sum? >= 5, "each was added to before");
        seen += 1;
    }
    assert_eq!(seen, 30);
    let sums = pool.broadcast(|keeper| keeper.tally().add(0).into_owned());
    let sums = within(LONG, sums).await;
    let sums: Result<Vec<u64>, _> = sums.into_iter().collect();
    assert_eq!(sums?.iter().sum::<u64>(), 3 * 5 + 1 + added);
    // Who is called is chosen when it is sent, as of any call of the pool.
    let later = pool.tally().add(0).into_owned();
    let one = pool.on(&1).tally().add(0).into_owned();
    drop(pool.clone());
    assert!(within(LONG, later).await? >= 5);
    assert!(within(LONG, one).await? >= 5);
    pool.shutdown().await
}

/// A call that borrows no proxy keeps its actor until it is answered.
#[callboard::test]
async fn owned_calls_keep_their_actors() -> callboard::Result<()> {
    let worker = Worker::spawn().await?;
    let mut monitor = worker.monitor();
    let call = worker.square(7).into_owned();
    drop(worker);
    assert_eq!(within(LONG, call).await?, 49);
    let down = within(LONG, monitor.down()).await;
    assert_eq!(down, Some(DownReason::Stopped));

    let pool = Pool::spawn(2, |_| Worker::spawn()).await?;
    let mut monitor = pool.monitor();
    let call = pool.square(8).into_owned();
    drop(pool);
    assert_eq!(within(LONG, call).await?, 64);
    let down = within(LONG, monitor.down()).await;
    assert_eq!(down, Some(DownReason::Stopped));
    Ok(())
}

/// Tasks are members as processes are: called as one and each, mapped over, replaced, started again
/// when they panic, grown, and gone with their pool. On cores there are as many, and no more.
#[callboard::test]
async fn tasks_are_members() -> callboard::Result<()> {
    let pool = Pool::spawn(3, |_| Worker::local())
        .routing(Routing::RoundRobin)
        .await?;
    assert_eq!(pool.pid().await?, std::process::id());
    let counts = async |pool: &Pool<WorkerProxy>| {
        let counts = within(LONG, pool.broadcast(|worker| worker.count())).await;
        counts.into_iter().collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(counts(&pool).await?, [1, 1, 1]);
    assert_eq!(pool.on(&7).count().await?, 2);
    let squares = pool.map(0..50, |worker, n| worker.square(n)).all();
    let expected: Vec<_> = (0..50).map(|n| n * n).collect();
    assert_eq!(within(LONG, squares).await?, expected);

    // One panics: its place has another one soon, who knows nothing.
    let panicked = within(LONG, pool.on(&7).panic()).await;
    assert!(
        matches!(panicked, Err(CallError::Panicked { .. })),
        "{panicked:?}"
    );
    until(&pool, |members| {
        let restarts: u64 = members.iter().map(|member| member.restarts).sum();
        restarts == 1 && members.iter().all(|member| member.is_alive)
    })
    .await;
    assert_eq!(within(LONG, pool.on(&7).count()).await?, 1);
    assert_eq!(within(LONG, pool.replace_all()).await, 3);
    assert_eq!(counts(&pool).await?, [1, 1, 1]);
    let mut monitor = pool.monitor();
    drop(pool);
    let down = within(LONG, monitor.down()).await;
    assert_eq!(down, Some(DownReason::Stopped));

    let own: CpuSet = callboard::cpu::topology()?.allowed().clone();
    let pool = Pool::spawn(Cores::from(own.clone()), |_| Worker::local()).await?;
    assert_eq!(pool.len(), own.len());
    within(LONG, pool.shutdown()).await
}

/// A start that panics has failed, and is tried again; the pool goes on.
#[callboard::test]
async fn starts_may_panic() -> callboard::Result<()> {
    let starts = Arc::new(AtomicUsize::new(0));
    let make = {
        let starts = Arc::clone(&starts);
        move |_| {
            assert_ne!(starts.fetch_add(1, Ordering::Relaxed), 1, "panics once");
            Worker::spawn()
        }
    };
    let pool = Pool::spawn(1, make).await?;
    let victim = pids(&pool)[0];
    signal(victim, Signal::SIGKILL);
    until(&pool, |members| {
        members[0].is_alive && members[0].process_id != victim
    })
    .await;
    assert_eq!(starts.load(Ordering::Relaxed), 3);
    assert_eq!(within(LONG, pool.square(3)).await?, 9);
    pool.shutdown().await
}

/// Who is busy gets no call while another one is free, also of calls that were made at once.
#[callboard::test]
async fn the_busy_are_spared() -> callboard::Result<()> {
    let scratch = Scratch::new();
    for routing in [Routing::LeastInFlight, Routing::RandomOfTwo] {
        let pool = Pool::spawn(2, |_| Worker::spawn()).routing(routing).await?;
        let gate = scratch.path(&format!("{routing:?}"));
        let held = pool.wait(gate.clone()).start();
        let free: HashSet<_> = {
            let calls = (0..20).map(|_| pool.pid());
            let mut free = HashSet::new();
            for call in calls {
                free.insert(within(LONG, call).await?);
            }
            free
        };
        assert_eq!(free.len(), 1, "{routing:?}");
        std::fs::write(&gate, "")?;
        let busy = held.await?;
        assert!(!free.contains(&busy), "{routing:?}");
        pool.shutdown().await?;
    }
    // Made at once and sent one after the other, each finds the other one busy.
    let pool = Pool::spawn(2, |_| Worker::spawn()).await?;
    let gate = scratch.path("both");
    let calls = [pool.wait(gate.clone()), pool.wait(gate.clone())];
    let open = async {
        until(&pool, |members| {
            members.iter().all(|member| member.in_flight == 1)
        })
        .await;
        std::fs::write(&gate, "").expect("the folder is there");
    };
    let (done, ()) = join(join_all(calls), open).await;
    let done: Result<HashSet<_>, _> = done.into_iter().collect();
    assert_eq!(done?.len(), 2);
    pool.shutdown().await
}

/// A map gives its results in order or as they come, takes values only as fast as results are
/// asked for, and ends with the first error.
#[callboard::test]
async fn values_are_mapped() -> callboard::Result<()> {
    let pool = Pool::spawn(3, |_| Worker::spawn()).await?;
    let squares = pool.map(0..100, |worker, n| worker.square(n)).all().await?;
    assert_eq!(squares, (0..100).map(|n| n * n).collect::<Vec<_>>());
    let taken = Arc::new(AtomicUsize::new(0));
    let values = {
        let taken = Arc::clone(&taken);
        (0..1000_u64).inspect(move |_| {
            taken.fetch_add(1, Ordering::Relaxed);
        })
    };
    let mut some = pool
        .map(values, |worker, n| worker.square(n))
        .width(4)
        .unordered();
    assert_eq!(taken.load(Ordering::Relaxed), 0, "nothing was asked for");
    for done in 1..=10 {
        some.next().await.expect("there are more")?;
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken <= done + 4, "{taken} values for {done} results");
    }
    drop(some);
    let died = pool.map(0..3, |worker, _| worker.die()).all().await;
    assert!(matches!(died, Err(CallError::Died { .. })), "{died:?}");
    pool.kill().await;
    Ok(())
}

/// The same key always meets the same member, and other keys other ones.
#[callboard::test]
async fn keys_meet_their_members() -> callboard::Result<()> {
    let pool = Pool::spawn(3, |_| Worker::spawn())
        .restart(Restart::never())
        .await?;
    let mut homes = HashMap::new();
    for key in 0..60_u32 {
        homes.insert(key, pool.on(&key).pid().await?);
        assert_eq!(pool.on(&key).pid().await?, homes[&key]);
    }
    assert_eq!(homes.values().collect::<HashSet<_>>().len(), 3);
    let gone = homes[&0];
    signal(gone, Signal::SIGKILL);
    until(&pool, |members| {
        members.iter().filter(|member| member.is_alive).count() == 2
    })
    .await;
    for (key, home) in homes {
        let now = pool.on(&key).pid().await?;
        assert!(
            now == home || home == gone,
            "only the keys of the dead move"
        );
        assert_ne!(now, gone);
    }
    assert!(
        pool.stop().await.is_err(),
        "one of them did not end in order"
    );
    Ok(())
}

/// A member that is killed is there again, in its seat and on its core; its calls end as deaths,
/// those after it are answered.
#[callboard::test]
async fn members_return() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let cores: Vec<Core> = callboard::cpu::topology()?.allowed().iter().collect();
    let own: CpuSet = cores.iter().copied().collect();
    let pool = Pool::spawn(Cores::from(own), |_| Worker::spawn()).await?;
    assert_eq!(pool.len(), cores.len());
    let before = pids(&pool);
    let held: Vec<_> = (0..pool.len())
        .map(|_| pool.wait(scratch.path("never")).start())
        .collect();
    signal(before[0], Signal::SIGKILL);
    until(&pool, |members| {
        members[0].restarts == 1 && members[0].is_alive
    })
    .await;
    let after = pids(&pool);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..]);
    for (seat, worker) in [(0, pool.pid().await?), (0, pool.pid().await?)] {
        assert_eq!(after[seat], worker, "the new one alone is free");
    }
    let places = pool.each(async |worker| worker.cores()).await;
    for (seat, place) in places.into_iter().enumerate() {
        assert_eq!(place?, CpuSet::from(cores[seat]), "{seat}");
    }
    let mut died = 0;
    for call in held {
        if call.is_ready() {
            assert!(matches!(call.await, Err(CallError::Died { .. })));
            died += 1;
        }
    }
    assert_eq!(died, 1);
    pool.kill().await;
    Ok(())
}

/// Members that are killed at random under load: each call ends, as a result or with its outcome,
/// and no call runs twice.
#[callboard::test]
async fn no_call_is_lost_or_made_twice() -> callboard::Result<()> {
    let restart = Restart::on_failure().max(1000);
    let pool = Pool::spawn(3, |_| Worker::spawn()).restart(restart).await?;
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut ends = [0_u64; 2];
                for number in 0..500 {
                    match within(LONG, pool.square(number)).await {
                        Ok(square) => {
                            assert_eq!(square, number * number);
                            ends[0] += 1;
                        }
                        Err(CallError::Died { .. } | CallError::Stopped { .. }) => ends[1] += 1,
                        Err(other) => panic!("{other}"),
                    }
                    tokio::task::yield_now().await;
                }
                ends
            })
        })
        .collect();
    for round in 0..6 {
        let victim = pids(&pool)[round % 3];
        signal(victim, Signal::SIGKILL);
        until(&pool, |members| {
            members[round % 3].process_id != victim && members[round % 3].is_alive
        })
        .await;
    }
    for caller in callers {
        let [answered, failed] = caller.await?;
        assert_eq!(answered + failed, 500);
        assert!(answered > 0);
    }
    let restarts: u64 = pool.members().iter().map(|member| member.restarts).sum();
    assert_eq!(restarts, 6);
    pool.shutdown().await
}

/// A storm of deaths stops at its limit; then calls are told of the death, and the pool has ended.
#[callboard::test]
async fn storms_of_restarts_end() -> callboard::Result<()> {
    let restart = Restart::on_failure().max(2);
    let pool = Pool::spawn(1, |_| Worker::spawn()).restart(restart).await?;
    let end = within(LONG, async {
        loop {
            match pool.die().await {
                Err(CallError::Died { .. }) if !pool.is_alive() => return,
                Err(CallError::Died { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    end.await;
    assert_eq!(pool.members()[0].restarts, 2);
    let exit = within(LONG, pool.exited()).await;
    assert!(matches!(exit, Exit::Signal { number: 6, .. }), "{exit}");
    let Err(callboard::ShutdownError::Died(death)) = pool.stop().await else {
        panic!("it died");
    };
    assert_eq!(death.pid(), pids(&pool)[0]);
    Ok(())
}

/// Members are replaced under load, and no call notices.
#[callboard::test]
async fn members_are_replaced_unnoticed() -> callboard::Result<()> {
    let pool = Pool::spawn(2, |_| Worker::spawn()).await?;
    let before: HashSet<_> = pids(&pool).into_iter().collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (pool, stopped) = (pool.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while !*stopped.borrow() {
                    assert_eq!(pool.square(calls).await?, calls * calls);
                    assert_eq!(pool.square(calls).start().await?, calls * calls);
                    calls += 1;
                }
                Ok::<_, CallError>(calls)
            })
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(pool.replace_all().await, 2);
    }
    stop.send_replace(true);
    for caller in callers {
        assert!(caller.await?? > 0);
    }
    let after: HashSet<_> = pids(&pool).into_iter().collect();
    assert!(before.is_disjoint(&after));
    assert!(before.into_iter().all(is_gone));
    pool.shutdown().await
}

/// A pool that cannot be had leaves nothing, and says why.
#[callboard::test]
async fn pools_that_do_not_start() -> callboard::Result<()> {
    if !alone("pools_that_do_not_start") {
        return Ok(());
    }
    // What a program has once it has started an actor, and has looked for cores: that is done on a
    // thread which its runtime keeps for some seconds.
    Worker::spawn().await?.shutdown().await?;
    let nowhere = async || Pool::spawn(Cores::from(Core(1000)), |_| Worker::spawn()).await;
    assert!(matches!(nowhere().await, Err(PoolError::Cores(_))));
    let holdings = Holdings::settled().await;
    let scratch = Scratch::new();
    std::fs::write(scratch.path("2"), "")?;
    let paths: Vec<_> = (0..4).map(|seat| scratch.path(&seat.to_string())).collect();
    let make = move |seat: usize| Worker::spawn_unless(paths[seat].clone());
    let Err(PoolError::Member { seat, source }) = Pool::spawn(4, make).await else {
        panic!("the third does not start");
    };
    assert_eq!(seat, 2);
    assert!(
        matches!(source, SpawnError::Constructor(Refused)),
        "{source}"
    );
    let empty = Pool::spawn(0, |_| Worker::spawn()).await;
    assert!(matches!(empty, Err(PoolError::Empty)));
    assert!(matches!(nowhere().await, Err(PoolError::Cores(_))));
    holdings.back().await;
    Ok(())
}

/// Pools that are dropped, stopped or killed leave nothing.
#[callboard::test]
async fn pools_leave_nothing() -> callboard::Result<()> {
    if !alone("pools_leave_nothing") {
        return Ok(());
    }
    Pool::spawn(1, |_| Worker::spawn())
        .await?
        .shutdown()
        .await?;
    let holdings = Holdings::settled().await;
    for round in 0..3 {
        let pool = Pool::spawn(10, |_| Worker::spawn()).await?;
        let quick: WorkerProxy = pool.proxy().with_timeout(LONG);
        assert_eq!(quick.square(3).await?, 9);
        match round {
            0 => pool.shutdown().await?,
            1 => drop(pool.kill().await),
            _ => {}
        }
    }
    holdings.back().await;
    Ok(())
}
