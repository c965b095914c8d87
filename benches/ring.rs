//! The ring alone, without calls: what a record costs within a thread and from one thread to
//! another.
//!
//! The reader of "announced" records never sleeps; what is measured is the question whether it
//! does.

use std::hint;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use callboard::internals::{Reader, Writer, ring};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// As large as a link's.
const CAPACITY: usize = 128 * 1024;

const LENS: [usize; 4] = [16, 64, 1024, 8192];

/// After so many looks in vain the core is offered to others: the other thread may need it.
const LOOKS_MAX: u32 = 10_000;

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .configure_from_args();
    one_thread(&mut criterion);
    one_way(&mut criterion);
    ping_pong(&mut criterion);
    criterion.final_summary();
}

/// Sets what one record is, for figures in records and in bytes.
fn records_of(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    group.throughput(Throughput::ElementsAndBytes {
        elements: 1,
        bytes: len as u64,
    });
}

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/one thread");
    for len in LENS {
        records_of(&mut group, len);
        let (mut writer, mut reader) = ring(CAPACITY);
        let (written, mut read) = (vec![7; len], vec![0; len]);
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| writer.write(&written) && reader.read(&mut read));
        });
    }
    group.finish();
}

fn one_way(criterion: &mut Criterion) {
    for (name, is_announced) in [("plain", false), ("announced", true)] {
        let mut group = criterion.benchmark_group(format!("ring/one way, {name}"));
        for len in LENS {
            records_of(&mut group, len);
            group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
                bencher.iter_custom(|count| stream(count, len, is_announced));
            });
        }
        group.finish();
    }
}

/// How long `count` records take from one thread to another.
fn stream(count: u64, len: usize, is_announced: bool) -> Duration {
    let (mut writer, mut reader) = ring(CAPACITY);
    pinned_pair(
        || {
            let bytes = vec![7; len];
            for _ in 0..count {
                until(|| writer.write(&bytes));
                assert!(
                    !is_announced || !writer.announce(),
                    "the reader never sleeps"
                );
            }
        },
        || {
            let mut bytes = vec![0; len];
            for _ in 0..count {
                until(|| reader.read(&mut bytes));
            }
        },
    )
}

fn ping_pong(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/ping-pong");
    for len in LENS {
        records_of(&mut group, len);
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter_custom(|count| round_trips(count, len));
        });
    }
    group.finish();
}

/// How long `count` records take to another thread and back, one after the other.
fn round_trips(count: u64, len: usize) -> Duration {
    let (mut pings, mut pinged) = ring(CAPACITY);
    let (mut pongs, mut ponged) = ring(CAPACITY);
    let pass = |writer: &mut Writer, bytes: &[u8]| {
        until(|| writer.write(bytes));
        let _is_asleep = writer.announce();
    };
    let take = |reader: &mut Reader, bytes: &mut [u8]| until(|| reader.read(bytes));
    pinned_pair(
        || {
            let mut bytes = vec![7; len];
            for _ in 0..count {
                take(&mut pinged, &mut bytes);
                pass(&mut pongs, &bytes);
            }
        },
        || {
            let mut bytes = vec![7; len];
            for _ in 0..count {
                pass(&mut pings, &bytes);
                take(&mut ponged, &mut bytes);
            }
        },
    )
}

/// Runs two threads on two cores, if there are two, and gives the time of the second one.
fn pinned_pair(first: impl FnOnce() + Send, second: impl FnOnce() + Send) -> Duration {
    let start = Barrier::new(2);
    let cores = two_cores();
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(cores.map(|[first, _]| first));
            start.wait();
            first();
        });
        let timed = scope.spawn(|| {
            pin(cores.map(|[_, second]| second));
            start.wait();
            let began = Instant::now();
            second();
            began.elapsed()
        });
        timed.join().expect("neither end panics")
    })
}

/// The first two cores that this process may use; none if there is only one.
fn two_cores() -> Option<[usize; 2]> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut cores = (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false));
    Some([cores.next()?, cores.next()?])
}

/// Keeps the calling thread on one core.
fn pin(core: Option<usize>) {
    let mut set = CpuSet::new();
    if core.is_some_and(|core| set.set(core).is_ok()) {
        sched_setaffinity(Pid::from_raw(0), &set).expect("the core is one that we may use");
    }
}

/// Looks until something is so.
fn until(mut is_so: impl FnMut() -> bool) {
    loop {
        for _ in 0..LOOKS_MAX {
            if is_so() {
                return;
            }
            hint::spin_loop();
        }
        thread::yield_now();
    }
}
