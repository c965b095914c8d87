//! The cases of Ray's microbenchmark (`ray microbenchmark`) that call actors, with its names and
//! counts.
//!
//! Elements per second compare with Ray's operations per second. Ray's clients, where it has
//! several, are processes of their own; ours are tasks of one runtime with a thread for each core.

use std::cell::LazyCell;
use std::time::Duration;

use callboard::prelude::*;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Calls in flight of one client with one actor.
const ASYNC: usize = 1000;

/// Calls of one client with each of several actors.
const BATCH: usize = 5000;

/// Clients, where they are several with actors in common.
const CLIENTS: usize = 4;

pub struct Actor;

#[actor]
impl Actor {
    pub fn new() -> Self {
        Self
    }

    pub fn small_value(&self) -> Vec<u8> {
        b"ok".to_vec()
    }

    pub fn small_value_arg(&self, _x: u64) -> Vec<u8> {
        b"ok".to_vec()
    }

    pub async fn small_value_async(&self) -> Vec<u8> {
        b"ok".to_vec()
    }

    pub async fn small_value_async_with_arg(&self, _x: u64) -> Vec<u8> {
        b"ok".to_vec()
    }
}

/// Which method a case calls.
#[derive(Clone, Copy)]
enum Method {
    Plain,
    PlainArg,
    Async,
    AsyncArg,
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .configure_from_args();
    let runtime = Runtime::new().expect("a runtime can be made");
    let mut group = criterion.benchmark_group("ray");
    one_to_one(&mut group, &runtime);
    one_to_n(&mut group, &runtime, "1:n actor calls async", Method::Plain);
    n_to_n(&mut group, &runtime, "n:n actor calls async", Method::Plain);
    n_to_n_apart(&mut group, &runtime);
    one_to_n(
        &mut group,
        &runtime,
        "1:n async-actor calls async",
        Method::Async,
    );
    n_to_n(
        &mut group,
        &runtime,
        "n:n async-actor calls async",
        Method::Async,
    );
    group.finish();
    criterion.final_summary();
}

/// How many actors Ray starts where they are several: one for two cores.
fn servers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

fn actors(runtime: &Runtime) -> Vec<ActorProxy> {
    let spawns = (0..servers()).map(|_| Actor::spawn().into_future());
    runtime.block_on(try_join_all(spawns)).expect("all start")
}

/// Starts calls of the actors in turn, then awaits all of them.
async fn calls(actors: &[ActorProxy], count: usize, method: Method) {
    let start = |number: usize| {
        let (actor, arg) = (&actors[number % actors.len()], number as u64);
        match method {
            Method::Plain => actor.small_value().start(),
            Method::PlainArg => actor.small_value_arg(arg).start(),
            Method::Async => actor.small_value_async().start(),
            Method::AsyncArg => actor.small_value_async_with_arg(arg).start(),
        }
    };
    let pending: Vec<_> = (0..count).map(start).collect();
    for call in pending {
        assert_eq!(call.await.expect("an answer"), b"ok");
    }
}

fn one_to_one(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime) {
    let actor = LazyCell::new(|| {
        runtime
            .block_on(Actor::spawn().into_future())
            .expect("it starts")
    });
    for (name, count, method) in [
        ("1:1 actor calls sync", 1, Method::Plain),
        ("1:1 actor calls async", ASYNC, Method::Plain),
        ("1:1 actor calls concurrent", ASYNC, Method::Async),
        ("1:1 async-actor calls sync", 1, Method::Async),
        ("1:1 async-actor calls async", ASYNC, Method::Async),
        (
            "1:1 async-actor calls with args async",
            ASYNC,
            Method::AsyncArg,
        ),
    ] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            let actor = std::slice::from_ref(&*actor);
            bencher
                .to_async(runtime)
                .iter(|| calls(actor, count, method));
        });
    }
}

/// One client calls every actor.
fn one_to_n(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    method: Method,
) {
    let actors = LazyCell::new(|| actors(runtime));
    let count = BATCH * servers();
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(name, |bencher| {
        let actors = &*actors;
        bencher
            .to_async(runtime)
            .iter(|| calls(actors, count, method));
    });
}

/// Several clients, each of which calls every actor.
fn n_to_n(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, name: &str, method: Method) {
    let actors = LazyCell::new(|| actors(runtime));
    group.throughput(Throughput::Elements((CLIENTS * BATCH) as u64));
    group.bench_function(name, |bencher| {
        let actors = &*actors;
        bencher.to_async(runtime).iter(|| async {
            let mut clients = JoinSet::new();
            for _ in 0..CLIENTS {
                let actors = actors.clone();
                clients.spawn(async move { calls(&actors, BATCH, method).await });
            }
            clients.join_all().await;
        });
    });
}

/// As many clients as actors, each with its own.
fn n_to_n_apart(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime) {
    let actors = LazyCell::new(|| actors(runtime));
    group.throughput(Throughput::Elements((ASYNC * servers()) as u64));
    group.bench_function("n:n actor calls with arg async", |bencher| {
        let actors = &*actors;
        bencher.to_async(runtime).iter(|| async {
            let mut clients = JoinSet::new();
            for actor in actors.iter().cloned() {
                clients.spawn(async move { calls(&[actor], ASYNC, Method::PlainArg).await });
            }
            clients.join_all().await;
        });
    });
}
