//! Calls, blobs and streams over TCP on this machine, sealed as between two; and how long a small
//! call takes while a large blob is on its way.
//!
//! Both runtimes are of one thread, and each process carries its connections on another one.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use callboard::prelude::*;
use callboard::{AuthKey, Blob};
use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::{StreamExt as _, stream};
use tokio::runtime::{Builder, Runtime};

/// How many bytes a large blob has.
const LARGE: usize = 64 << 20;

/// Gives and takes.
pub struct Depot {
    kept: Option<Blob>,
}

#[actor]
impl Depot {
    pub fn new() -> Self {
        Self { kept: None }
    }

    pub fn number(&self, number: u64) -> u64 {
        number
    }

    pub fn take(&self, blob: Blob) -> usize {
        blob.len()
    }

    pub fn make(&mut self, len: usize) -> Blob {
        self.kept.insert(zeros(len)).clone()
    }

    pub fn numbers(&self, len: u64) -> impl Stream<Item = u64> {
        stream::iter(0..len)
    }
}

fn zeros(len: usize) -> Blob {
    let builder = Blob::alloc(len).expect("there is memory");
    builder.seal().expect("it can be sealed")
}

fn blobs(criterion: &mut Criterion, runtime: &Runtime, remote: &DepotProxy) {
    let mut group = criterion.benchmark_group("network_blobs");
    for len in [64 * 1024, 1 << 20, LARGE] {
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("there", len), |bencher| {
            bencher.iter(|| {
                let call = async { remote.take(zeros(len)).await };
                assert_eq!(runtime.block_on(call).expect("it answers"), len);
            });
        });
        group.bench_function(BenchmarkId::new("back", len), |bencher| {
            bencher.iter(|| {
                let call = async { remote.make(len).await };
                black_box(runtime.block_on(call).expect("it answers"));
            });
        });
    }
    group.finish();
}

/// Calls for a second while blobs go there without a pause, and says how long they took.
fn calls_beside_blobs(runtime: &Runtime, remote: &DepotProxy) {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut times = runtime.block_on(async {
        let (sender, ended) = (remote.clone(), Arc::clone(&is_over));
        let sending = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                sender.take(zeros(LARGE)).await.expect("it answers");
            }
        });
        let began = Instant::now();
        let mut times = Vec::new();
        while began.elapsed() < Duration::from_secs(1) {
            let asked = Instant::now();
            remote.number(7).await.expect("it answers");
            times.push(asked.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
        sending.await.expect("it ends");
        times
    });
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100);
    let [middle, slow] = [50, 99].map(|percent| at(percent).unwrap_or(&Duration::ZERO));
    let count = times.len();
    println!("network_blobs/calls beside blobs of {LARGE} bytes: {count} calls");
    println!("  {middle:?} in the middle, {slow:?} the slowest hundredth");
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10)
        .configure_from_args();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let key = AuthKey::random().expect("there are random bytes");
    let depot = runtime.block_on(async {
        let depot = Depot::spawn().listen("tcp://127.0.0.1:0").authkey(&key);
        depot.await.expect("an actor starts")
    });
    let address = depot.address().expect("it listens");
    let remote = runtime.block_on(async { Depot::connect(address, &key).await });
    let remote = remote.expect("it is let in");

    let mut group = criterion.benchmark_group("network_blobs/others");
    group.bench_function("a call", |bencher| {
        bencher.iter(|| runtime.block_on(async { remote.number(7).await }));
    });
    let len = 100_000;
    group.throughput(Throughput::Elements(len));
    group.bench_function("items out", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let numbers = remote.numbers(len).await.expect("it begins");
                assert_eq!(numbers.count().await as u64, len);
            });
        });
    });
    group.finish();
    blobs(&mut criterion, &runtime, &remote);
    calls_beside_blobs(&runtime, &remote);
    let end = runtime.block_on(depot.shutdown());
    end.expect("the actor ends in order");
}
