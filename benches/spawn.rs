//! The life of an actor: its start to the first answer, and its end, beside starting a plain
//! program; and a thousand of them at once, with the memory that they take.
//!
//! Where a start goes, in parts of the whole (release, two cores that are awake):
//!
//! | part | share |
//! |---|---|
//! | segment's name, bells, lifeline, and the way to the warden's thread | 0.06 |
//! | the system makes a process, until its `exec`; meanwhile the segment's pages | 0.14 |
//! | the rest of `exec`, the dynamic loader, std's part before `main` | 0.65 |
//! | hello, mapping the segment, the thread that hears the parent | 0.07 |
//! | greeting, runtime, constructor, the first call | 0.08 |
//!
//! The large one is the program's own: with `-C target-feature=+crt-static` it is half as long. A
//! parent of 4 GiB starts an actor as quickly as a small one, for its memory is not copied.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use callboard::prelude::*;
use criterion::{Criterion, Throughput};
use futures_util::future::try_join_all;
use tokio::runtime::Builder;

/// How many are started at once.
const MANY: u64 = 100;

/// How many are there at once.
const CROWD: u64 = 1000;

/// Starts of both kinds that are compared, in turn.
const PAIRS: usize = 50;

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
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(compare());
    let mut group = criterion.benchmark_group("spawn");
    group.bench_function("/bin/true", |bencher| bencher.iter(run_true));
    // The end is awaited, so that no two lives overlap, but is no part of the figure.
    group.bench_function("to the first answer", |bencher| {
        bencher.to_async(&runtime).iter_custom(async |count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                total += first_answer().await;
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
    group.throughput(Throughput::Elements(CROWD));
    let mut memory = None;
    group.bench_function(format!("{CROWD} there at once"), |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                let (took, takes) = runtime.block_on(crowd());
                total += took;
                memory = takes;
            }
            total
        });
    });
    group.finish();
    if let Some((private, links)) = memory {
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        println!(
            "{CROWD} idle actors: {:.0} MiB, proportional shares of what they have in common \
             included, and {:.0} MiB in their links",
            mib(private),
            mib(links)
        );
    }
    criterion.final_summary();
}

/// A start to the first answer, its end not counted.
async fn first_answer() -> Duration {
    let began = Instant::now();
    let counter = Counter::spawn().await.expect("it starts");
    counter.add(1).await.expect("an answer");
    let took = began.elapsed();
    counter.shutdown().await.expect("it ends");
    took
}

/// Says how a start compares with the goal, 1.5 times starting `/bin/true` and 1 ms.
async fn compare() {
    let (mut actors, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        actors.push(first_answer().await);
        let began = Instant::now();
        run_true();
        plain.push(began.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (actor, plain) = (median(&mut actors), median(&mut plain));
    let goal = plain.mul_f64(1.5) + Duration::from_millis(1);
    let ratio = actor.as_secs_f64() / goal.as_secs_f64();
    println!(
        "medians of {PAIRS} in turn: first answer {actor:.2?}, /bin/true {plain:.2?}; \
         {ratio:.2} of 1.5 x /bin/true + 1 ms"
    );
}

/// A thousand at once: how long until all have answered, and the bytes they take when they are
/// idle, private and in links.
async fn crowd() -> (Duration, Option<(u64, u64)>) {
    let began = Instant::now();
    let counters = (0..CROWD).map(|_| Counter::spawn().into_future());
    let counters = try_join_all(counters).await.expect("all start");
    let answers = counters.iter().map(|counter| counter.add(1));
    let answers = try_join_all(answers).await.expect("all answer");
    let took = began.elapsed();
    assert_eq!(answers.len() as u64, CROWD);
    let private: Option<u64> = counters
        .iter()
        .map(|counter| proportional_share(counter.process_id()))
        .sum();
    let memory = private.map(|private| (private, in_links()));
    let ends = counters.iter().map(CounterProxy::shutdown);
    try_join_all(ends).await.expect("all end");
    (took, memory)
}

/// The process's memory, in which a page that several have counts in shares.
fn proportional_share(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib * 1024)
}

/// What lies behind the segments that this process has open, touched or not.
fn in_links() -> u64 {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten();
    let segments = open.flatten().filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("/callboard-"))
    });
    let found = segments.filter_map(|entry| fs::metadata(entry.path()).ok());
    found.map(|found| found.blocks() * 512).sum()
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
