//! One call: a round trip to another process and back, in every way of waiting and over a socket,
//! beside one to a task of this process.
//!
//! The caller runs on a runtime of one thread. Where more processes want to run than there are
//! cores, the figures say how well they share.

use std::cell::LazyCell;
use std::future::Future;
use std::hint::black_box;
use std::time::{Duration, Instant};

use callboard::LinkKind;
use callboard::prelude::*;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How many calls are in flight where they are pipelined.
const IN_FLIGHT: usize = 64;

/// A write that is flushed, a lock that is taken.
const COMMIT: Duration = Duration::from_micros(5);

const IDLES: [(&str, Idle); 3] = [
    ("adaptive", Idle::Adaptive),
    ("park", Idle::Park),
    ("busy", Idle::Busy),
];

/// Gives back what it gets.
pub struct Echo {
    taken: u64,
}

#[actor]
impl Echo {
    pub fn new() -> Self {
        Self { taken: 0 }
    }

    pub fn nothing(&self) {}

    pub fn small(&self, payload: [u8; 64]) -> [u8; 64] {
        payload
    }

    pub async fn small_async(&self, payload: [u8; 64]) -> [u8; 64] {
        payload
    }

    pub fn bytes(&self, payload: Vec<u8>) -> Vec<u8> {
        payload
    }

    pub fn text(&self, text: String) -> usize {
        text.len()
    }

    pub fn text_lent(&self, text: &str) -> usize {
        text.len()
    }

    pub fn numbers(&self, numbers: Vec<f64>) -> f64 {
        numbers[numbers.len() / 2]
    }

    pub fn numbers_lent(&self, numbers: &Archived<Vec<f64>>) -> f64 {
        numbers[numbers.len() / 2].to_native()
    }

    pub fn give(&self, len: usize) -> Vec<f64> {
        vec![0.5; len]
    }

    pub fn bytes_lent(&self, payload: &[u8]) -> usize {
        payload.len()
    }

    pub fn give_bytes(&self, len: usize) -> Vec<u8> {
        vec![7; len]
    }

    pub fn take_bytes(&mut self, payload: &[u8]) {
        self.taken = self
            .taken
            .wrapping_add(u64::from(payload[payload.len() - 1]));
    }

    pub fn take(&mut self, payload: [u8; 64]) {
        self.taken = self.taken.wrapping_add(u64::from(payload[0]));
    }

    pub fn note(&mut self, number: u64) -> u64 {
        commit();
        number
    }

    #[batch]
    pub fn note_all(&mut self, numbers: Vec<u64>) -> Vec<u64> {
        commit();
        numbers
    }
}

/// What a run of a method costs, however many calls it is for.
fn commit() {
    let began = Instant::now();
    while began.elapsed() < COMMIT {
        std::hint::spin_loop();
    }
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .configure_from_args();
    for (name, idle) in IDLES {
        round_trips(&mut criterion, name, |runtime| spawn_echo(runtime, idle));
    }
    round_trips(&mut criterion, "socket", |runtime| {
        let spawn = Echo::spawn().link(LinkKind::Socket);
        runtime
            .block_on(spawn.into_future())
            .expect("the actor starts")
    });
    lent(&mut criterion);
    large(&mut criterion);
    tells(&mut criterion);
    pipelined(&mut criterion);
    batches(&mut criterion);
    in_process(&mut criterion);
    locals(&mut criterion);
    crowds(&mut criterion);
    criterion.final_summary();
}

fn one_thread() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
}

fn spawn_echo(runtime: &Runtime, idle: Idle) -> EchoProxy {
    runtime
        .block_on(Echo::spawn().idle(idle).into_future())
        .expect("the actor starts")
}

/// Measures one call after the other. Who is called exists only if the filter lets the case run.
fn one_by_one<'a, T, N: FnOnce() -> T, F: Future>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (runtime, called): (&Runtime, &'a LazyCell<T, N>),
    call: impl Fn(&'a T) -> F,
) {
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        let called = &**called;
        bencher.to_async(runtime).iter(|| call(called));
    });
}

fn round_trips(criterion: &mut Criterion, name: &str, spawn: impl Fn(&Runtime) -> EchoProxy) {
    let runtime = one_thread();
    let echo = LazyCell::new(|| spawn(&runtime));
    let echo = (&runtime, &echo);
    let mut group = criterion.benchmark_group(format!("call/{name}"));
    group.throughput(Throughput::Elements(1));
    one_by_one(&mut group, "0 B", echo, |echo| async {
        echo.nothing().await.expect("an answer")
    });
    one_by_one(&mut group, "64 B", echo, |echo| async {
        echo.small([7; 64]).await.expect("an answer")
    });
    one_by_one(&mut group, "64 B, async", echo, |echo| async {
        echo.small_async([7; 64]).await.expect("an answer")
    });
    for (size, len) in [("1 KiB", 1 << 10), ("16 KiB", 1 << 14), ("1 MiB", 1 << 20)] {
        group.throughput(Throughput::ElementsAndBytes {
            elements: 1,
            bytes: 2 * len,
        });
        let payload = vec![7; usize::try_from(len).expect("it is small")];
        one_by_one(&mut group, size, echo, |echo| async {
            echo.bytes(payload.clone()).await.expect("an answer")
        });
    }
    group.finish();
}

/// Arguments cloned and owned beside the same lent and borrowed, and a result owned and viewed.
fn lent(criterion: &mut Criterion) {
    const NUMBERS: usize = 1 << 16;
    let runtime = one_thread();
    let echo = LazyCell::new(|| spawn_echo(&runtime, Idle::Adaptive));
    let echo = (&runtime, &echo);
    let mut group = criterion.benchmark_group("call/lent");
    let (text, numbers) = ("x".repeat(4096), vec![0.5; NUMBERS]);
    group.throughput(Throughput::Bytes(4096));
    one_by_one(&mut group, "String, 4 KiB", echo, |echo| async {
        echo.text(text.clone()).await.expect("an answer")
    });
    one_by_one(&mut group, "&str, 4 KiB", echo, |echo| async {
        echo.text_lent(&text).await.expect("an answer")
    });
    group.throughput(Throughput::Bytes(8 * NUMBERS as u64));
    one_by_one(&mut group, "Vec<f64>, 512 KiB", echo, |echo| async {
        echo.numbers(numbers.clone()).await.expect("an answer")
    });
    one_by_one(&mut group, "&Archived, 512 KiB", echo, |echo| async {
        echo.numbers_lent(&numbers).await.expect("an answer")
    });
    one_by_one(&mut group, "result, 512 KiB", echo, |echo| async {
        echo.give(NUMBERS).await.expect("an answer")[NUMBERS / 2]
    });
    one_by_one(&mut group, "viewed, 512 KiB", echo, |echo| async {
        let view = echo.give(NUMBERS).view().await.expect("an answer");
        view[NUMBERS / 2].to_native()
    });
    group.finish();
}

/// What is read where it was written, beside one copy of it, which the writing is; a result has to
/// be made before, which stands there too. And one way, of a length that just is no frame's.
fn large(criterion: &mut Criterion) {
    const LEN: usize = 1 << 20;
    const ONE_WAY: usize = 1 << 16;
    let runtime = one_thread();
    let echo = LazyCell::new(|| spawn_echo(&runtime, Idle::Adaptive));
    let mut group = criterion.benchmark_group("call/large");
    let (bytes, mut other) = (vec![7; LEN], vec![0; LEN]);
    one_by_one(&mut group, "0 B", (&runtime, &echo), |echo| async {
        echo.nothing().await.expect("an answer")
    });
    group.throughput(Throughput::Bytes(LEN as u64));
    group.bench_function("copy, 1 MiB", |bencher| {
        bencher.iter(|| black_box(&mut other[..]).copy_from_slice(black_box(&bytes)));
    });
    group.bench_function("made, 1 MiB", |bencher| {
        bencher.iter(|| black_box(vec![7_u8; black_box(LEN)]));
    });
    one_by_one(
        &mut group,
        "argument, 1 MiB",
        (&runtime, &echo),
        |echo| async { echo.bytes_lent(&bytes).await.expect("an answer") },
    );
    one_by_one(
        &mut group,
        "result, 1 MiB",
        (&runtime, &echo),
        |echo| async { echo.give_bytes(LEN).view().await.expect("an answer").len() },
    );
    group.throughput(Throughput::Bytes(ONE_WAY as u64));
    group.bench_function("copy, 64 KiB", |bencher| {
        let (to, from) = (&mut other[..ONE_WAY], &bytes[..ONE_WAY]);
        bencher.iter(|| black_box(&mut *to).copy_from_slice(black_box(from)));
    });
    group.bench_function("one way, 64 KiB", |bencher| {
        let echo = &*echo;
        bencher.to_async(&runtime).iter_custom(async |count| {
            let began = Instant::now();
            for _ in 0..count {
                let told = echo.take_bytes(&bytes[..ONE_WAY]).tell().await;
                told.expect("it is on its way");
            }
            echo.nothing().await.expect("an answer");
            began.elapsed()
        });
    });
    group.finish();
}

/// Tells back to back: their number in a measurement is ended by one call, so that all are read.
fn tells(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call/tell");
    group.throughput(Throughput::Elements(1));
    for (name, idle) in IDLES {
        let runtime = one_thread();
        let echo = LazyCell::new(|| spawn_echo(&runtime, idle));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let echo = &*echo;
            bencher.to_async(&runtime).iter_custom(async |count| {
                let began = Instant::now();
                for _ in 0..count {
                    echo.take([7; 64]).tell().await.expect("it is on its way");
                }
                echo.nothing().await.expect("an answer");
                began.elapsed()
            });
        });
    }
    group.finish();
}

/// Many calls in flight: started and collected in rounds, or kept up by a set of futures.
fn pipelined(criterion: &mut Criterion) {
    let runtime = one_thread();
    let echo = LazyCell::new(|| spawn_echo(&runtime, Idle::Adaptive));
    let mut group = criterion.benchmark_group(format!("call/{IN_FLIGHT} in flight"));
    group.throughput(Throughput::Elements(IN_FLIGHT as u64));
    group.bench_function("started", |bencher| {
        let echo = &*echo;
        bencher.to_async(&runtime).iter_custom(async |rounds| {
            let mut started = Vec::with_capacity(IN_FLIGHT);
            let began = Instant::now();
            for _ in 0..rounds {
                started.extend((0..IN_FLIGHT).map(|_| echo.small([7; 64]).start()));
                for call in started.drain(..) {
                    call.await.expect("an answer");
                }
            }
            began.elapsed()
        });
    });
    group.bench_function("FuturesUnordered", |bencher| {
        let echo = &*echo;
        bencher.to_async(&runtime).iter_custom(async |rounds| {
            let began = Instant::now();
            let mut calls: FuturesUnordered<_> =
                (0..IN_FLIGHT).map(|_| echo.small([7; 64])).collect();
            for _ in 1..rounds * IN_FLIGHT as u64 {
                calls
                    .next()
                    .await
                    .expect("some are in flight")
                    .expect("an answer");
                calls.push(echo.small([7; 64]));
            }
            while let Some(answer) = calls.next().await {
                answer.expect("an answer");
            }
            began.elapsed()
        });
    });
    group.finish();
}

/// Calls whose runs have a fixed cost, one by one and together.
fn batches(criterion: &mut Criterion) {
    let runtime = one_thread();
    let echo = LazyCell::new(|| spawn_echo(&runtime, Idle::Adaptive));
    let mut group = criterion.benchmark_group(format!("call/batch, {IN_FLIGHT} in flight"));
    group.throughput(Throughput::Elements(IN_FLIGHT as u64));
    for (name, is_batch) in [("single", false), ("batch", true)] {
        group.bench_function(name, |bencher| {
            let echo = &*echo;
            bencher.to_async(&runtime).iter_custom(async |rounds| {
                let mut started = Vec::with_capacity(IN_FLIGHT);
                let began = Instant::now();
                for _ in 0..rounds {
                    started.extend((0..IN_FLIGHT as u64).map(|number| {
                        if is_batch {
                            echo.note_all(number).start()
                        } else {
                            echo.note(number).start()
                        }
                    }));
                    for call in started.drain(..) {
                        call.await.expect("an answer");
                    }
                }
                began.elapsed()
            });
        });
    }
    group.finish();
}

/// The plainest actor without a process: a task with a queue, each request with the way to answer
/// it.
fn in_process(criterion: &mut Criterion) {
    type Request = ([u8; 64], oneshot::Sender<[u8; 64]>);
    let mut group = criterion.benchmark_group("call/in process");
    group.throughput(Throughput::Elements(1));
    let two = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let two = two.expect("a runtime can be made");
    for (name, runtime) in [("one thread", &one_thread()), ("two threads", &two)] {
        let inbox = LazyCell::new(|| {
            let (requests, mut inbox) = mpsc::channel::<Request>(IN_FLIGHT);
            runtime.spawn(async move {
                while let Some((payload, answer)) = inbox.recv().await {
                    // Who asked may have gone.
                    let _ = answer.send(payload);
                }
            });
            requests
        });
        one_by_one(&mut group, name, (runtime, &inbox), |inbox| async {
            let (answer, answered) = oneshot::channel();
            inbox.send(([7; 64], answer)).await.expect("the task runs");
            answered.await.expect("an answer")
        });
    }
    group.finish();
}

/// An actor that is a task: of the caller's thread, or of another one.
fn locals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call/local");
    group.throughput(Throughput::Elements(1));
    let two = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let two = two.expect("a runtime can be made");
    for (name, runtime) in [("one thread", &one_thread()), ("two threads", &two)] {
        let echo = LazyCell::new(|| {
            runtime
                .block_on(Echo::local().into_future())
                .expect("the actor starts")
        });
        one_by_one(&mut group, name, (runtime, &echo), |echo| async {
            echo.small([7; 64]).await.expect("an answer")
        });
    }
    group.finish();
}

/// More busy actors than cores, each called by a task of its own: the figures are calls of all
/// together.
fn crowds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call/crowd");
    group
        .measurement_time(Duration::from_millis(1500))
        .sample_size(10);
    for (name, idle) in &IDLES[..2] {
        for size in [2, 32] {
            let runtime = one_thread();
            let spawn = || {
                (0..size)
                    .map(|_| spawn_echo(&runtime, *idle))
                    .collect::<Vec<_>>()
            };
            let actors = LazyCell::new(spawn);
            group.throughput(Throughput::Elements(size));
            group.bench_function(BenchmarkId::new(*name, size), |bencher| {
                let actors = &*actors;
                bencher.to_async(&runtime).iter_custom(async |count| {
                    let began = Instant::now();
                    let mut callers = JoinSet::new();
                    for actor in actors {
                        let actor = actor.clone();
                        callers.spawn(async move {
                            for _ in 0..count {
                                actor.small([7; 64]).await.expect("an answer");
                            }
                        });
                    }
                    callers.join_all().await;
                    began.elapsed()
                });
            });
        }
    }
    group.finish();
}
