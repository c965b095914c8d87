//! Items of a stream from another process, beside one call for each, and into it.
//!
//! Many items travel in one record, so an item costs a fraction of a call. The caller runs on a
//! runtime of one thread.

use std::time::Duration;

use callboard::prelude::*;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use futures_util::{StreamExt as _, stream};
use tokio::runtime::{Builder, Runtime};

/// How many items one stream has.
const LEN: u64 = 100_000;

/// Gives and takes numbers and bytes.
pub struct Source;

#[actor]
impl Source {
    pub fn new() -> Self {
        Self
    }

    pub fn number(&self, number: u64) -> u64 {
        number
    }

    pub fn numbers(&self, len: u64) -> impl Stream<Item = u64> {
        stream::iter(0..len)
    }

    pub fn bytes(&self, len: u64, size: usize) -> impl Stream<Item = Vec<u8>> {
        stream::iter(0..len).map(move |_| vec![7; size])
    }

    pub async fn sum(&self, mut numbers: Streamed<u64>) -> u64 {
        let mut sum: u64 = 0;
        while let Some(Ok(number)) = numbers.next().await {
            sum = sum.wrapping_add(number);
        }
        sum
    }
}

/// A call while nothing else happens, and while a stream is open that nobody reads: it costs calls
/// nothing.
fn calls_beside(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, source: &SourceProxy) {
    group.throughput(Throughput::Elements(1));
    let call = async || source.number(7).await.expect("it answers");
    group.bench_function("a call beside nothing", |bencher| {
        bencher.iter(|| runtime.block_on(call()));
    });
    let waiting = runtime.block_on(async { source.numbers(u64::MAX).await });
    group.bench_function("a call beside a stream that waits", |bencher| {
        bencher.iter(|| runtime.block_on(call()));
    });
    drop(waiting);
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
    let source = runtime.block_on(async { Source::spawn().await });
    let source = source.expect("an actor starts");

    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(LEN));
    group.bench_function("calls, one after the other", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for number in 0..LEN {
                    assert_eq!(source.number(number).await.expect("it answers"), number);
                }
            });
        });
    });
    calls_beside(&mut group, &runtime, &source);
    group.throughput(Throughput::Elements(LEN));
    group.bench_function("items out", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut numbers = source.numbers(LEN).await.expect("it begins");
                let mut count = 0;
                while let Some(number) = numbers.next().await {
                    assert_eq!(number.expect("it comes"), count);
                    count += 1;
                }
                assert_eq!(count, LEN);
            });
        });
    });
    group.bench_function("items in", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let sum = source.sum(stream::iter(0..LEN)).await;
                assert_eq!(sum.expect("it answers"), LEN * (LEN - 1) / 2);
            });
        });
    });
    for size in [64, 1024, 64 * 1024] {
        let len = LEN / 10 / (1 + size as u64 / 1024);
        group.throughput(Throughput::Elements(len));
        group.bench_function(BenchmarkId::new("items out of bytes", size), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut items = source.bytes(len, size).await.expect("it begins");
                    while let Some(item) = items.next().await {
                        assert_eq!(item.expect("it comes").len(), size);
                    }
                });
            });
        });
    }
    group.finish();
    let end = runtime.block_on(source.shutdown());
    end.expect("the actor ends in order");
}
