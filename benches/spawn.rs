//! The life of an actor: its start to the first answer, and its end, beside starting a plain
//! program.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use callboard::prelude::*;
use criterion::{Criterion, Throughput};
use futures_util::future::try_join_all;
use tokio::runtime::Builder;

/// How many are started at once.
const MANY: u64 = 100;

pub struct Counter {
    count: u64,
}

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self { count: 0 }
    }

    pub fn add(&mut self, by: u64) -> u64 {
        self.count += by;
        self.count
    }
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    let mut group = criterion.benchmark_group("spawn");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    group.bench_function("/bin/true", |bencher| bencher.iter(run_true));
    // The end is awaited, so that no two lives overlap, but is no part of the figure.
    group.bench_function("to the first answer", |bencher| {
        bencher.to_async(&runtime).iter_custom(async |count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                let began = Instant::now();
                let counter = Counter::spawn().await.expect("it starts");
                counter.add(1).await.expect("an answer");
                total += began.elapsed();
                counter.shutdown().await.expect("it ends");
            }
            total
        });
    });
    group.bench_function("whole life", |bencher| {
        bencher.to_async(&runtime).iter(live);
    });
    group.sample_size(10).throughput(Throughput::Elements(MANY));
    group.bench_function(format!("{MANY} whole lives at once"), |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let counters = (0..MANY).map(|_| Counter::spawn().into_future());
            let counters = try_join_all(counters).await.expect("all start");
            let answers = counters.iter().map(|counter| counter.add(1));
            try_join_all(answers).await.expect("all answer");
            let ends = counters.iter().map(CounterProxy::shutdown);
            try_join_all(ends).await.expect("all end");
        });
    });
    group.finish();
    criterion.final_summary();
}

async fn live() {
    let counter = Counter::spawn().await.expect("it starts");
    counter.add(1).await.expect("an answer");
    counter.shutdown().await.expect("it ends");
}

fn run_true() {
    let mut command = Command::new("/bin/true");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(command.status().expect("it is there").success());
}
