//! UB11: what calls cost, where it can be counted: allocations, system calls, wake-ups. Counts do
//! not depend on how busy the machine is; where one could, the quietest of many rounds counts, and
//! says so.

mod common;

#[path = "costs/traced.rs"]
mod traced;

use std::alloc::System;
use std::fs;
use std::time::Duration;

use callboard::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use common::{LONG, alone};

/// Counts in the caller as in the actor, which is the same program.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Does little, and knows what it has cost.
pub struct Counter {
    count: u64,
}

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self { count: 0 }
    }

    pub fn get(&self) -> u64 {
        self.count
    }

    pub async fn add(&mut self, by: u64) -> u64 {
        self.count += by;
        self.count
    }

    pub fn echo(&self, payload: [u8; 64]) -> [u8; 64] {
        payload
    }

    pub fn take(&mut self, payload: [u8; 64]) {
        self.count += u64::from(payload[0]);
    }

    /// Borrows all of its arguments but a number.
    pub fn lent(&self, text: &str, bytes: &[u8], numbers: &Archived<Vec<u64>>, by: u64) -> u64 {
        text.len() as u64 + bytes.len() as u64 + numbers.len() as u64 + by
    }

    /// The same, waiting.
    pub async fn lent_async(&mut self, text: &str) -> u64 {
        self.count += text.len() as u64;
        self.count
    }

    /// A result that needs memory where it is owned.
    pub fn numbers(&self) -> Vec<u64> {
        vec![self.count; 32]
    }

    pub fn allocations(&self) -> u64 {
        allocations()
    }
}

/// How often this process has asked for memory.
fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Calls of every kind.
async fn calls(counter: &CounterProxy, count: u32) -> callboard::Result<()> {
    for _ in 0..count {
        counter.get().await?;
        counter.echo([1; 64]).await?;
        counter.add(1).await?;
        counter.take([1; 64]).tell().await?;
    }
    Ok(())
}

/// Now and then a pause in which both sides fall asleep, and a turn for other tasks: what a runtime
/// allocates the first time that happens is not the price of a call.
async fn rest(round: u32) {
    if round.is_multiple_of(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        tokio::task::yield_now().await;
    }
}

/// Once warm, calls and tells allocate nothing, neither in the caller nor in the actor.
#[callboard::test]
async fn hot_calls_allocate_nothing() -> callboard::Result<()> {
    if !alone("hot_calls_allocate_nothing") {
        return Ok(());
    }
    for idle in [Idle::Adaptive, Idle::Park, Idle::Busy] {
        let counter = Counter::spawn().idle(idle).await?;
        // Buffers go from hand to hand: each of them is to have held the longest answer.
        for round in 0..100 {
            calls(&counter, 10).await?;
            counter.allocations().await?;
            rest(round).await;
        }
        let (here, there) = (allocations(), counter.allocations().await?);
        calls(&counter, 2500).await?;
        let (here, there) = (allocations() - here, counter.allocations().await? - there);
        assert_eq!(
            (here, there),
            (0, 0),
            "allocations of the caller and of the actor, {idle:?}"
        );
        counter.shutdown().await?;
    }
    Ok(())
}

/// The same of a local actor, whose process is the caller's: a task of its thread.
#[callboard::test]
async fn hot_calls_of_local_actors_allocate_nothing() -> callboard::Result<()> {
    if !alone("hot_calls_of_local_actors_allocate_nothing") {
        return Ok(());
    }
    let counter = Counter::local().await?;
    for round in 0..100 {
        calls(&counter, 10).await?;
        rest(round).await;
    }
    let before = allocations();
    calls(&counter, 2500).await?;
    assert_eq!(allocations() - before, 0, "of caller and actor together");
    counter.shutdown().await
}

/// Once warm, what is lent to a call is allocated neither where it is lent nor where it is
/// borrowed, and what is viewed is not allocated where it is viewed.
#[callboard::test]
async fn what_is_lent_or_viewed_allocates_nothing() -> callboard::Result<()> {
    if !alone("what_is_lent_or_viewed_allocates_nothing") {
        return Ok(());
    }
    const ROUNDS: u64 = 1000;
    let counter = Counter::spawn().await?;
    let (text, bytes, numbers) = ("text ".repeat(100), vec![7; 500], vec![9; 50]);
    let lend = async |rounds| -> callboard::Result<()> {
        for _ in 0..rounds {
            let lent = counter.lent(&text, &bytes, &numbers, 1).await?;
            assert_eq!(lent, 500 + 500 + 50 + 1);
            counter.lent_async(&text).await?;
            counter.lent(&text, &bytes, &numbers, 1).tell().await?;
        }
        Ok(())
    };
    let view = async |rounds| -> callboard::Result<()> {
        for _ in 0..rounds {
            assert_eq!(counter.numbers().view().await?.len(), 32);
        }
        Ok(())
    };
    for round in 0..100 {
        lend(10).await?;
        view(10).await?;
        counter.allocations().await?;
        rest(round).await;
    }
    let (here, there) = (allocations(), counter.allocations().await?);
    lend(ROUNDS).await?;
    let (lent, borrowed) = (allocations() - here, counter.allocations().await? - there);
    assert_eq!((lent, borrowed), (0, 0), "of the caller and of the actor");

    let here = allocations();
    view(ROUNDS).await?;
    assert_eq!(allocations() - here, 0, "of the caller");
    for _ in 0..ROUNDS {
        assert_eq!(counter.numbers().await?.len(), 32);
    }
    assert!(allocations() - here >= ROUNDS, "what is owned is counted");
    counter.shutdown().await
}

/// What a process has used: context switches of all its threads, and ticks of processor time.
#[derive(Debug, PartialEq, Eq)]
struct Used {
    switches: u64,
    ticks: u64,
}

impl Used {
    fn by(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
        let switches_of = |path| {
            let status = fs::read_to_string(path).expect("no thread of an idle actor ends");
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            let counts = lines.filter_map(|line| line.rsplit_once('\t')?.1.parse::<u64>().ok());
            let counts: Vec<u64> = counts.collect();
            assert_eq!(counts.len(), 2, "voluntary ones and others");
            counts.iter().sum::<u64>()
        };
        let switches = tasks
            .flatten()
            .map(|task| switches_of(task.path().join("status")))
            .sum();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
        let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks = times
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum();
        Self { switches, ticks }
    }
}

/// Waits until a process has had its last look, which may be late on a busy machine.
async fn asleep(pid: u32) -> Used {
    let end = tokio::time::Instant::now() + LONG;
    let mut before = Used::by(pid);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = Used::by(pid);
        if now == before {
            return now;
        }
        assert!(tokio::time::Instant::now() < end, "it never sleeps");
        before = now;
    }
}

/// An actor without calls never wakes, not even to look around, and so uses no processor time.
#[callboard::test]
async fn an_idle_actor_never_wakes() -> callboard::Result<()> {
    for idle in [Idle::Adaptive, Idle::Park] {
        let counter = Counter::spawn().idle(idle).await?;
        calls(&counter, 100).await?;
        let before = asleep(counter.process_id()).await;
        assert!(before.switches > 0, "it did run before");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(Used::by(counter.process_id()), before, "{idle:?}");
        counter.shutdown().await?;
    }
    Ok(())
}
