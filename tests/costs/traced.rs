//! System calls: counted by strace, and where that would disturb what is counted, by the kernel.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::process::{Command, Stdio};

use callboard::prelude::*;
use tokio::time::Instant;

use super::common::{LONG, Scratch, again, is_role, must_pass, skipped};
use super::{Counter, CounterProxy, calls};

/// Calls that are counted, tells among them.
const CALLS: u64 = 20_000;

/// Looked for by the traced process before and after the calls that count. What a start and an end
/// need depends on the machine: how much is loaded, how many segments of others are looked through.
const BEGIN: &str = "/nowhere/the calls begin";
const END: &str = "/nowhere/the calls end";

/// System calls by their names, of `test` of this program in the role `traced`, and of its actors,
/// while calls are made. None, and said so, where they cannot be counted.
fn count(test: &str, filter: &[&str]) -> Option<HashMap<String, u64>> {
    let strace = || {
        let mut strace = Command::new("strace");
        strace.arg("-f").args(filter);
        strace
    };
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    let mut tried = strace();
    tried
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    if !tried.status().is_ok_and(|status| status.success()) {
        skipped("strace is not here, or may not trace");
        return None;
    }
    let program = env::current_exe().expect("this program has a path");
    let again = again(test, "traced");
    let roles = again
        .get_envs()
        .filter_map(|(name, role)| Some((name, role?)));
    let mut traced = strace();
    traced
        .args(["-o", &trace])
        .arg(program)
        .args(again.get_args())
        .envs(roles);
    must_pass(&mut traced);
    let trace = fs::read_to_string(trace).expect("strace has written it");
    Some(counts(&trace))
}

/// The calls of a trace between [`BEGIN`] and [`END`].
fn counts(trace: &str) -> HashMap<String, u64> {
    let mut lines = trace.lines();
    assert!(
        lines.any(|line| line.contains(BEGIN)),
        "its beginning is seen"
    );
    let mut counts = HashMap::new();
    for line in lines {
        if line.contains(END) {
            return counts;
        }
        // Each line: process, name, arguments, result. Those that begin otherwise tell of signals
        // and ends, or go on with a call that was counted when it began.
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        if let Some((name, _)) = call.split_once('(') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    panic!("its end is not seen");
}

async fn traced(idle: Idle) -> callboard::Result<()> {
    let counter = Counter::spawn().idle(idle).await?;
    calls(&counter, 10).await?;
    assert!(!fs::exists(BEGIN)?);
    calls(&counter, u32::try_from(CALLS / 4)?).await?;
    assert!(!fs::exists(END)?);
    counter.shutdown().await?;
    Ok(())
}

/// The calls of two busy processes need no system calls: no bell, no lock, no memory.
///
/// Left out is what a busy side does while it waits, which is the more the longer the other one is
/// kept from its core: after some microseconds of looking it offers the core to others
/// (`sched_yield`), and the task offers the thread to other tasks, so that tokio looks around
/// (`epoll_wait`). That look comes after every 128 calls of a task in any case. Tracing these two
/// would keep both sides waiting for each other.
#[callboard::test]
async fn hot_calls_need_no_system_calls() -> callboard::Result<()> {
    if is_role("traced") {
        return traced(Idle::Busy).await;
    }
    let waits = "trace=!sched_yield,epoll_wait,epoll_pwait,epoll_pwait2";
    let filter = ["--seccomp-bpf", "-e", waits];
    if let Some(counts) = count("traced::hot_calls_need_no_system_calls", &filter) {
        let total: u64 = counts.values().sum();
        assert!(total < CALLS / 20, "{total} of {CALLS} calls: {counts:?}");
    }
    Ok(())
}

/// A call to a sleeping actor needs at most two system calls of each side: one to ring, one to
/// sleep.
#[callboard::test]
async fn parked_calls_need_few_system_calls() -> callboard::Result<()> {
    if is_role("traced") {
        return traced(Idle::Park).await;
    }
    if let Some(counts) = count("traced::parked_calls_need_few_system_calls", &[]) {
        let total: u64 = counts.values().sum();
        assert!(total <= 4 * CALLS, "{total} of {CALLS} calls: {counts:?}");
        // Otherwise nobody slept, and nothing was shown.
        assert!(total > CALLS, "{total} of {CALLS} calls: {counts:?}");
    }
    Ok(())
}

/// How often this process and the actor have written to a descriptor: rung a bell, that is.
fn writes(counter: &CounterProxy) -> Option<u64> {
    let writes = |process: &str| {
        let text = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix("syscw: "))?;
        count.parse::<u64>().ok()
    };
    Some(writes("self")? + writes(&counter.process_id().to_string())?)
}

/// Whether more threads want to run at this moment than there are cores, by the kernel's count.
fn is_crowded() -> bool {
    let load = fs::read_to_string("/proc/loadavg").expect("there is a count");
    // The fourth field: those that want to run, and all.
    let running = load.split_whitespace().nth(3);
    let running = running.and_then(|field| field.split_once('/')?.0.parse::<usize>().ok());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    running.is_some_and(|running| running > cores)
}

/// Bells that adaptive sides rang for so many calls, in the quietest of a few batches of one actor.
async fn bells(batch: u64) -> callboard::Result<Option<u64>> {
    let counter = Counter::spawn().await?;
    let mut fewest = None;
    for _ in 0..10 {
        let Some(before) = writes(&counter) else {
            return Ok(None);
        };
        for _ in 0..batch {
            counter.get().await?;
        }
        let bells = writes(&counter).expect("it was counted before") - before;
        fewest = Some(fewest.map_or(bells, |fewest: u64| fewest.min(bells)));
    }
    counter.shutdown().await?;
    Ok(fewest)
}

/// While both sides find what they look for, adaptive ones ring no bell either.
///
/// Whether they do depends on who else wants the cores, and strace would teach them to sleep. So
/// the kernel's own count is taken, and the first batch of calls that went quietly counts.
#[callboard::test]
async fn adaptive_calls_ring_no_bell() -> callboard::Result<()> {
    const BATCH: u64 = 200;
    let end = Instant::now() + LONG / 4;
    let mut fewest = u64::MAX;
    let (mut rounds, mut crowded) = (0, 0);
    while fewest > BATCH / 20 && Instant::now() < end {
        rounds += 1;
        crowded += u32::from(is_crowded());
        let Some(bells) = bells(BATCH).await? else {
            skipped("this kernel does not count writes");
            return Ok(());
        };
        fewest = fewest.min(bells);
    }
    if fewest > BATCH / 20 && crowded > rounds / 4 {
        skipped("the cores are wanted by others, and adaptive sides leave them");
        return Ok(());
    }
    assert!(fewest <= BATCH / 20, "{fewest} bells of {BATCH} calls");
    Ok(())
}
