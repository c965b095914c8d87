//! Payloads of 1 KiB to 256 MiB: as bytes of a message, and as a blob.
//!
//! An empty call and a copy of the same length stand beside them. A blob's price does not depend on
//! its size: once the peer knows its memory, passing it on makes no system call; anew each time, it
//! costs its pages, which `made` shows.

use std::future::Future;
use std::hint::black_box;
use std::time::Duration;

use callboard::Blob;
use callboard::prelude::*;
use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::runtime::{Builder, Runtime};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What is sent as bytes.
const MESSAGES: [usize; 5] = [KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB];

/// What is sent as a blob.
const BLOBS: [usize; 6] = [KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, 1024 * MIB];

/// What is made anew for each call: both its pages and its way count.
const MADE: [usize; 5] = [KIB, 16 * KIB, 64 * KIB, MIB, 16 * MIB];

/// Takes payloads, and gives them back.
pub struct Sink;

#[actor]
impl Sink {
    pub fn new() -> Self {
        Self
    }

    pub fn nothing(&self) {}

    pub fn bytes(&self, payload: &[u8]) -> usize {
        payload.len()
    }

    pub fn bytes_back(&self, payload: Vec<u8>) -> Vec<u8> {
        payload
    }

    pub fn blob(&self, payload: Blob) -> usize {
        payload.len()
    }

    pub fn blob_back(&self, payload: Blob) -> Blob {
        payload
    }
}

fn name_of(len: usize) -> String {
    match len {
        _ if len >= MIB => format!("{} MiB", len / MIB),
        _ => format!("{} KiB", len / KIB),
    }
}

/// Times what `call` does, and fails with its error.
fn time<F, T>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    group: &str,
    len: usize,
    call: impl Fn() -> F,
) where
    F: Future<Output = Result<T, CallError>>,
{
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Bytes(len as u64));
    group.bench_function(BenchmarkId::from_parameter(name_of(len)), |bencher| {
        bencher.iter(|| runtime.block_on(call()).expect("the actor answers"));
    });
    group.finish();
}

fn blob(len: usize) -> Blob {
    Blob::alloc(len)
        .and_then(callboard::BlobBuilder::seal)
        .expect("there is memory")
}

fn made(bytes: &[u8]) -> Blob {
    Blob::copy_from(bytes).expect("there is memory")
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .configure_from_args();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be had");
    let spawn = async { Sink::spawn().idle(Idle::Adaptive).await };
    let sink = runtime.block_on(spawn).expect("an actor can be started");
    criterion.bench_function("payload/empty call", |bencher| {
        bencher.iter(|| runtime.block_on(sink.nothing()).expect("the actor answers"));
    });
    for len in BLOBS {
        let payload = blob(len);
        let one_way = || sink.blob(payload.clone());
        time(&mut criterion, &runtime, "payload/blob", len, one_way);
        let echo = || sink.blob_back(payload.clone());
        time(&mut criterion, &runtime, "payload/blob echo", len, echo);
    }
    for len in MADE {
        let bytes = vec![1; len];
        let one_way = || sink.blob(made(&bytes));
        time(&mut criterion, &runtime, "payload/blob made", len, one_way);
    }
    for len in MESSAGES {
        let (bytes, mut other) = (vec![1; len], vec![0; len]);
        let one_way = || sink.bytes(&bytes);
        time(&mut criterion, &runtime, "payload/bytes", len, one_way);
        let echo = || sink.bytes_back(bytes.clone());
        time(&mut criterion, &runtime, "payload/bytes echo", len, echo);
        let mut group = criterion.benchmark_group("payload/copy");
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(name_of(len)), |bencher| {
            bencher.iter(|| black_box(&mut other[..]).copy_from_slice(black_box(&bytes)));
        });
        group.finish();
    }
    runtime.block_on(sink.shutdown()).expect("it ends in order");
}
