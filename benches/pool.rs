//! Pools: what it costs to choose a member, beside a call of one actor; how work on all cores
//! scales, beside the same work on threads; how soon a killed member is back, beside a start; and
//! how long the slowest calls take while all cores have other work too.

use std::hint::black_box;
use std::time::{Duration, Instant};

use callboard::cpu::Cores;
use callboard::pool::{Pool, Restart, Routing};
use callboard::prelude::*;
use criterion::{BenchmarkId, Criterion, Throughput};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Rounds of a piece of work: about half a millisecond.
const ROUNDS: u64 = 400_000;

/// Pieces of one round of the scaling bench.
const PIECES: u64 = 64;

pub struct Worker;

#[actor]
impl Worker {
    pub fn new() -> Self {
        Self
    }

    pub fn echo(&self, bytes: [u8; 64]) -> [u8; 64] {
        bytes
    }

    pub fn work(&self, rounds: u64) -> u64 {
        work(rounds)
    }
}

fn work(rounds: u64) -> u64 {
    (0..rounds).fold(1, |sum, n| black_box(sum.wrapping_mul(31).wrapping_add(n)))
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    dispatch(&mut criterion, &runtime);
    scaling(&mut criterion, &runtime);
    returning(&mut criterion, &runtime);
    criterion.final_summary();
    // Distributions, which criterion does not draw; and nothing that a test run waits for.
    if !std::env::args().any(|argument| argument == "--test") {
        runtime.block_on(tails());
    }
}

/// One call after the other: of one actor, and of a pool of one by each routing. The members of a
/// larger pool sleep in between, which is another question.
fn dispatch(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("pool/dispatch");
    group.throughput(Throughput::Elements(1));
    let one = runtime.block_on(async { Worker::spawn().await.expect("it starts") });
    group.bench_function("one actor", |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| async { one.echo([7; 64]).await.expect("an answer") });
    });
    for routing in [
        Routing::RoundRobin,
        Routing::LeastInFlight,
        Routing::RandomOfTwo,
    ] {
        let pool = Pool::spawn(1, |_| Worker::spawn()).routing(routing);
        let pool = runtime.block_on(async { pool.await.expect("it starts") });
        group.bench_function(
            BenchmarkId::from_parameter(format!("{routing:?}")),
            |bencher| {
                bencher
                    .to_async(runtime)
                    .iter(|| async { pool.echo([7; 64]).await.expect("an answer") });
            },
        );
        if routing == Routing::default() {
            group.bench_function("by key", |bencher| {
                bencher
                    .to_async(runtime)
                    .iter(|| async { pool.on(&7).echo([7; 64]).await.expect("an answer") });
            });
        }
    }
    group.finish();
}

/// The same pieces of work by one member, by one pinned to each core, by as many unpinned, and on
/// threads.
fn scaling(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("pool/work");
    group.throughput(Throughput::Elements(PIECES));
    let cores = Cores::physical().places().map_or(1, |places| places.len());
    let pools = [
        ("one member", Pool::spawn(1, |_| Worker::spawn())),
        (
            "pinned",
            Pool::spawn(Cores::physical(), |_| Worker::spawn()),
        ),
        ("unpinned", Pool::spawn(cores, |_| Worker::spawn())),
    ];
    for (name, pool) in pools {
        let pool = runtime.block_on(async { pool.await.expect("it starts") });
        group.bench_function(name, |bencher| {
            bencher.to_async(runtime).iter(|| async {
                let pieces = pool.map(0..PIECES, |worker, _| worker.work(ROUNDS));
                pieces.all().await.expect("answers")
            });
        });
    }
    group.bench_function("spawn_blocking", |bencher| {
        bencher.to_async(runtime).iter(|| async {
            let mut pieces = JoinSet::new();
            (0..PIECES).for_each(|_| drop(pieces.spawn_blocking(|| work(ROUNDS))));
            pieces.join_all().await
        });
    });
    group.finish();
}

/// From the kill of a member to the first answer of the next, beside a start.
fn returning(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("pool/first answer");
    group.bench_function("start", |bencher| {
        bencher.to_async(runtime).iter_custom(async |count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let began = Instant::now();
                let worker = Worker::spawn().await.expect("it starts");
                worker.echo([7; 64]).await.expect("an answer");
                took += began.elapsed();
                worker.shutdown().await.expect("it ends");
            }
            took
        });
    });
    // Each is one of a series; the pauses that end a storm are another question.
    let restart = Restart::on_failure().max(usize::MAX).within(Duration::ZERO);
    let pool = Pool::spawn(1, |_| Worker::spawn()).restart(restart);
    let pool = runtime.block_on(async { pool.await.expect("it starts") });
    group.bench_function("kill -9", |bencher| {
        bencher.to_async(runtime).iter_custom(async |count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let victim = pool.process_id().cast_signed();
                let began = Instant::now();
                kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it lives");
                while pool.echo([7; 64]).await.is_err() {
                    tokio::task::yield_now().await;
                }
                took += began.elapsed();
            }
            took
        });
    });
    group.finish();
}

/// Calls of one distribution, each begun at its own time, whatever became of the one before: so who
/// stalls is not asked less.
const CALLS: u32 = 1500;
const EVERY: Duration = Duration::from_millis(2);

/// A piece of work that is short beside a turn of the scheduler's.
const SHORT: u64 = 4_000;

/// How long calls take while each core has an actor beside that works without a pause: of members
/// that are pinned, that are not, and of threads.
async fn tails() {
    let cores = Cores::physical().places().map_or(1, |places| places.len());
    println!("pool/under load: {CALLS} calls, one each {EVERY:?}, p50 / p99 / longest in us");
    let noise = Pool::spawn(Cores::physical(), |_| Worker::spawn());
    let noise = noise.await.expect("it starts");
    let busy: Vec<_> = (0..cores)
        .map(|_| {
            let noise = noise.clone();
            tokio::spawn(async move { while noise.work(ROUNDS).await.is_ok() {} })
        })
        .collect();
    let pinned = Pool::spawn(Cores::physical(), |_| Worker::spawn()).await;
    let unpinned = Pool::spawn(cores, |_| Worker::spawn()).await;
    for (name, pool) in [("pinned", pinned), ("unpinned", unpinned)] {
        let pool = pool.expect("it starts");
        let call = || {
            let pool = pool.clone();
            async move { pool.work(SHORT).await.expect("an answer") }
        };
        print_tail(name, call).await;
        pool.shutdown().await.expect("it ends");
    }
    let call = || async {
        let work = tokio::task::spawn_blocking(|| work(SHORT));
        work.await.expect("it does not panic")
    };
    print_tail("spawn_blocking", call).await;
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    noise.kill().await;
}

/// Measures each call from when it was due.
async fn print_tail<F>(name: &str, call: impl Fn() -> F)
where
    F: Future<Output = u64> + Send + 'static,
{
    let mut calls = JoinSet::new();
    let begin = tokio::time::Instant::now();
    for number in 0..CALLS {
        let due = begin + EVERY * number;
        tokio::time::sleep_until(due).await;
        let call = call();
        calls.spawn(async move {
            black_box(call.await);
            due.elapsed()
        });
    }
    let mut took = calls.join_all().await;
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_micros();
    println!("  {name:<16}{:>8} / {:>8} / {:>8}", at(50), at(99), at(100));
}
