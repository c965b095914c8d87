//! Actors on cores of their own: U61.

mod common;

use std::collections::HashSet;
use std::thread;

use callboard::Limits;
use callboard::cpu::{self, Core, Cores, CoresError, CpuSet, PinError, Pins};
use callboard::prelude::*;
use nix::sched::{CpuSet as Mask, sched_setaffinity};
use nix::unistd::Pid;

/// Says where it runs.
pub struct Worker;

#[actor]
impl Worker {
    pub fn new() -> Self {
        Self
    }

    /// How many threads a runtime has that it builds.
    pub fn workers(&self) -> usize {
        let build = || {
            let runtime = tokio::runtime::Builder::new_multi_thread().build();
            let runtime = runtime.expect("there are threads");
            runtime.metrics().num_workers()
        };
        thread::spawn(build).join().expect("it ends")
    }

    /// What its cgroup gives it, and on how many CPUs that makes sense.
    pub fn quota(&self) -> (Option<f64>, usize) {
        let topology = cpu::topology().expect("the kernel tells");
        let places = Cores::all()
            .within_quota()
            .places()
            .expect("there are some");
        (topology.quota(), places.len())
    }

    /// The CPUs of each of its threads, of a new one, and of the actor that it starts.
    pub async fn masks(&self) -> Vec<String> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("a process has threads");
        let mut masks: Vec<_> = tasks
            .map(|task| {
                let path = task.expect("a thread").path().join("status");
                let status = std::fs::read_to_string(path).expect("it runs");
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
                line.expect("the kernel tells").trim().to_owned()
            })
            .collect();
        let new = thread::spawn(cpu::allowed).join().expect("it ends");
        masks.push(new.expect("the system tells").to_string());
        let child = Self::spawn().await.expect("an actor may start others");
        masks.push(child.cores().expect("it lives").to_string());
        child.shutdown().await.expect("it ends");
        masks
    }

    /// How many threads make sense here, and how many workers a runtime has by itself.
    pub fn parallelism(&self) -> (usize, usize) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let workers = runtime.metrics().num_workers();
        runtime.shutdown_background();
        let threads = thread::available_parallelism().expect("the system tells");
        (threads.get(), workers)
    }
}

/// The first and the last CPU of this process: two, unless it has only one.
fn ends() -> [Core; 2] {
    let topology = cpu::topology().expect("the kernel tells");
    let cores: Vec<_> = topology.allowed().iter().collect();
    [cores[0], cores[cores.len() - 1]]
}

/// A pinned actor runs on its CPU with all its threads and its own actors, sizes itself to it, and
/// changes nothing for those started after it.
#[callboard::test]
async fn pinned_actors_stay_on_their_cores() -> callboard::Result<()> {
    let all = cpu::topology()?.allowed().clone();
    for core in ends() {
        let worker = Worker::spawn().pin(core).await?;
        assert_eq!(worker.cores()?, CpuSet::from(core));
        let masks: HashSet<_> = worker.masks().await?.into_iter().collect();
        assert_eq!(masks, HashSet::from([core.0.to_string()]));
        assert_eq!(worker.parallelism().await?, (1, 1));
        let free = Worker::spawn().await?;
        assert_eq!(free.cores()?, all);
        free.shutdown().await?;
        worker.shutdown().await?;
        assert!(worker.cores().is_err(), "nobody is there any more");
    }
    Ok(())
}

/// One actor for each place of a choice, each on its own.
#[callboard::test]
async fn one_actor_for_each_core() -> callboard::Result<()> {
    let places = Cores::physical().places()?;
    let mut workers = Vec::new();
    for place in &places {
        workers.push(Worker::spawn().pin(place.clone()).await?);
    }
    for (worker, place) in workers.iter().zip(&places) {
        assert_eq!(&worker.cores()?, place);
    }
    for worker in workers {
        worker.shutdown().await?;
    }
    Ok(())
}

/// CPUs that are not there are errors that name them, at the start and for threads, and leave
/// nothing.
#[callboard::test]
async fn absent_cores_are_errors() -> callboard::Result<()> {
    let Err(SpawnError::Pin(error)) = Worker::spawn().pin(Core(1001)).await else {
        panic!("there is such a CPU");
    };
    assert!(
        matches!(error, PinError::Cores(CoresError::Absent { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("no CPU 1001"), "{error}");
    let error = SpawnError::<std::convert::Infallible>::Pin(error);
    assert_eq!(error.to_string(), "the actor cannot be kept on its CPUs");
    for cores in [
        Cores::list("0-1023"),
        Cores::list("nonsense"),
        Cores::node(77),
    ] {
        let start = Worker::spawn().pin(cores.clone()).await;
        assert!(
            matches!(start, Err(SpawnError::Pin(PinError::Cores(_)))),
            "{cores:?}"
        );
        assert!(matches!(cpu::pin_thread(cores), Err(PinError::Cores(_))));
    }
    Ok(())
}

/// CPUs that are taken away or given while an actor runs are seen, and it goes on.
#[callboard::test]
async fn cores_can_be_taken_away() -> callboard::Result<()> {
    let [first, last] = ends();
    let worker = Worker::spawn().pin(first).await?;
    let mut mask = Mask::new();
    mask.set(last.0 as usize)?;
    sched_setaffinity(Pid::from_raw(worker.process_id().cast_signed()), &mask)?;
    assert_eq!(worker.cores()?, CpuSet::from(last));
    assert_eq!(worker.parallelism().await?.0, 1);
    worker.shutdown().await?;
    Ok(())
}

/// Threads take the places of a choice in turn, and the first again after the last.
#[test]
fn threads_are_pinned_in_turn() {
    let pins = Pins::new(Cores::all()).unwrap();
    let rounds = 2;
    let threads: Vec<_> = (0..rounds * pins.len())
        .map(|_| {
            let pins = pins.clone();
            thread::spawn(move || (pins.pin_next().unwrap(), cpu::allowed().unwrap()))
        })
        .collect();
    let mut seen = Vec::new();
    for thread in threads {
        let (given, ran) = thread.join().unwrap();
        assert_eq!(given, ran);
        seen.push(given);
    }
    for place in Cores::all().places().unwrap() {
        assert_eq!(seen.iter().filter(|given| **given == place).count(), rounds);
    }
}

/// A runtime that is built in a pinned actor has as many threads as that has cores.
#[callboard::test]
async fn runtimes_fit_their_cores() -> callboard::Result<()> {
    let all = cpu::topology()?.allowed().clone();
    for core in all.iter().take(2) {
        let alone = Worker::spawn().pin(core).await?;
        assert_eq!(alone.workers().await?, 1);
        alone.shutdown().await?;
    }
    let free = Worker::spawn().pin(all.clone()).await?;
    let most = thread::available_parallelism()?.get();
    assert_eq!(free.workers().await?, most.min(all.len()));
    free.shutdown().await
}

/// An actor knows what CPU time its cgroup gives it, and pools within it are no larger.
#[callboard::test]
async fn quotas_are_known() -> callboard::Result<()> {
    match Worker::spawn().limits(Limits::new().cpu_share(0.5)).await {
        Ok(half) => {
            assert_eq!(half.quota().await?, (Some(0.5), 1));
            half.shutdown().await
        }
        Err(SpawnError::Limit { source, .. }) => {
            common::skipped(&format!("a share of the CPUs needs a cgroup: {source}"));
            Ok(())
        }
        Err(other) => Err(other.into()),
    }
}
