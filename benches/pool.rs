//! Pools: what it costs to choose a member, beside a call of one actor; how work on all cores
//! scales, beside the same work on threads; how soon a killed member is back, beside a start; how
//! long the slowest calls take while all cores have other work too, and while all members are
//! replaced. The ratios of which something is wanted are taken in turns, and printed at the end.

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
        runtime.block_on(async {
            tails().await;
            rolling().await;
            ratios().await;
        });
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
                took += returned(&pool).await;
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

/// How long calls take while the members are replaced, one after the other and again, beside the
/// same calls while nobody is.
async fn rolling() {
    println!("pool/rolling restart: the same calls on a pool of two, p50 / p99 / longest in us");
    let pool = Pool::spawn(2, |_| Worker::spawn());
    let pool = pool.await.expect("it starts");
    let call = || {
        let pool = pool.clone();
        async move { pool.work(SHORT).await.expect("an answer") }
    };
    print_tail("steady", call).await;
    let replacing = {
        let pool = pool.clone();
        tokio::spawn(async move {
            loop {
                assert_eq!(pool.replace_all().await, 2);
            }
        })
    };
    print_tail("while replaced", call).await;
    replacing.abort();
    let restarts: u64 = pool.members().iter().map(|member| member.restarts).sum();
    println!("  {restarts} members came meanwhile, and no call failed");
    pool.shutdown().await.expect("it ends");
}

/// What is wanted, each beside what it is compared with, in turns: the medians' ratios.
async fn ratios() {
    println!("pool/ratios: figure (goal)");
    dispatch_ratios().await;
    scaling_ratio().await;
    returning_ratio().await;
}

fn median(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took[took.len() / 2].as_secs_f64()
}

/// Calls of one batch, and batches of each kind.
const BATCH: u32 = 2000;
const BATCHES: usize = 60;

async fn dispatch_ratios() {
    let bare = Worker::spawn().await.expect("it starts");
    let mut pools = Vec::new();
    for routing in [
        Routing::RoundRobin,
        Routing::LeastInFlight,
        Routing::RandomOfTwo,
    ] {
        let pool = Pool::spawn(1, |_| Worker::spawn()).routing(routing);
        pools.push((format!("{routing:?}"), pool.await.expect("it starts")));
    }
    let mut one = Vec::new();
    let mut ways = vec![Vec::new(); pools.len()];
    let mut keyed = Vec::new();
    for _ in 0..BATCHES {
        one.push(batch(async || bare.echo([7; 64]).await).await);
        for ((_, pool), took) in pools.iter().zip(&mut ways) {
            took.push(batch(async || pool.echo([7; 64]).await).await);
        }
        let pool = &pools[1].1;
        keyed.push(batch(async || pool.on(&7).echo([7; 64]).await).await);
    }
    let one = median(one);
    for ((name, _), took) in pools.iter().zip(ways) {
        println!(
            "  a call by {name}, of a bare one: {:.2} (1.20)",
            median(took) / one
        );
    }
    println!(
        "  a call by key, of a bare one: {:.2} (1.20)",
        median(keyed) / one
    );
}

async fn batch(call: impl AsyncFn() -> Result<[u8; 64], CallError>) -> Duration {
    let began = Instant::now();
    for _ in 0..BATCH {
        black_box(call().await.expect("an answer"));
    }
    began.elapsed()
}

async fn scaling_ratio() {
    let one = Pool::spawn(Cores::physical().at_most(1), |_| Worker::spawn());
    let all = Pool::spawn(Cores::physical(), |_| Worker::spawn());
    let pools = [one.await.expect("it starts"), all.await.expect("it starts")];
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..15 {
        for (pool, took) in pools.iter().zip(&mut took) {
            let began = Instant::now();
            let pieces = pool.map(0..PIECES, |worker, _| worker.work(ROUNDS));
            black_box(pieces.all().await.expect("answers"));
            took.push(began.elapsed());
        }
    }
    let [one, all] = took.map(median);
    let (cores, share) = (pools[1].len(), one / all / pools[1].len() as f64);
    println!("  work on {cores} cores, of the ideal: {share:.3} (0.950 at least)");
}

async fn returning_ratio() {
    let restart = Restart::on_failure().max(usize::MAX).within(Duration::ZERO);
    let pool = Pool::spawn(1, |_| Worker::spawn()).restart(restart);
    let pool = pool.await.expect("it starts");
    let (mut starts, mut returns) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let began = Instant::now();
        let worker = Worker::spawn().await.expect("it starts");
        worker.echo([7; 64]).await.expect("an answer");
        starts.push(began.elapsed());
        worker.shutdown().await.expect("it ends");
        returns.push(returned(&pool).await);
    }
    let ratio = median(returns) / median(starts);
    println!("  from kill -9 to the first answer, of a start's: {ratio:.2} (1.50)");
    pool.shutdown().await.expect("it ends");
}

/// How long it takes from the kill of the only member to the first answer of the next.
async fn returned(pool: &Pool<WorkerProxy>) -> Duration {
    let victim = pool.process_id().cast_signed();
    let began = Instant::now();
    kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it lives");
    while pool.echo([7; 64]).await.is_err() {
        tokio::task::yield_now().await;
    }
    began.elapsed()
}
