//! F20, U62: pools whose members die, hang and lose their cores under load: every call ends, with
//! the right outcome, and runs at most once.
//!
//! `cargo soak` runs what is ignored here: the same for minutes, and with a hundred members.

mod common;

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callboard::cpu::{Core, Cores, CpuSet};
use callboard::pool::{Pool, Restart, Routing};
use callboard::prelude::*;
use nix::sched::{CpuSet as Mask, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::{
    CoreGroup, Holdings, LONG, Scratch, alone, eventually, is_gone, is_stopped, signal, within,
};

/// Writes down what it runs.
pub struct Clerk {
    log: File,
}

#[actor]
impl Clerk {
    pub fn new(log: String) -> Self {
        let log = File::options().append(true).create(true).open(log);
        Self {
            log: log.expect("the folder is there"),
        }
    }

    /// Runs call `number`, of some length.
    pub fn run(&mut self, number: u64) -> u64 {
        // In one piece, or not at all.
        let line = number.to_le_bytes();
        self.log.write_all(&line).expect("there is room");
        std::hint::black_box((0..number % 5000).sum::<u64>());
        number
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// The cores that it may use now.
    pub fn cores(&self) -> String {
        let status = std::fs::read_to_string("/proc/self/status");
        let status = status.expect("there is a kernel");
        let line = status
            .lines()
            .find(|line| line.starts_with("Cpus_allowed_list"));
        let (_, cores) = line
            .and_then(|line| line.split_once(':'))
            .expect("it says so");
        cores.trim().to_owned()
    }
}

/// How often each call was run, by its number; those behind the last that was are not there.
fn log(scratch: &Scratch) -> Vec<u8> {
    let bytes = std::fs::read(scratch.path("log")).expect("it was written");
    let (numbers, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let mut runs = Vec::new();
    for number in numbers {
        let number = place(u64::from_le_bytes(*number));
        if runs.len() <= number {
            runs.resize(number + 1, 0_u8);
        }
        runs[number] = runs[number].saturating_add(1);
    }
    runs
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("no call has such a number")
}

/// How each call ended: answered, or with this outcome.
type Ends = Vec<(u64, Result<(), Outcome>)>;

/// Calls without a pause until told to stop.
async fn call_on(pool: Pool<ClerkProxy>, next: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Ends {
    let mut ends = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let end = match within(LONG, pool.run(number)).await {
            Ok(same) => {
                assert_eq!(same, number);
                Ok(())
            }
            Err(error @ (CallError::Died { .. } | CallError::Stopped { .. })) => {
                Err(error.outcome())
            }
            Err(other) => panic!("{number}: {other}"),
        };
        ends.push((number, end));
        tokio::task::yield_now().await;
    }
    ends
}

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("it is small")
    }
}

/// Members are killed at random, in several ways, for so long.
async fn storm(length: Duration, routing: Routing) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random(seed);
    // Every death is the first of a series, so that there is no pause.
    let restart = Restart::on_failure().max(usize::MAX).within(Duration::ZERO);
    let path = scratch.path("log");
    let pool = Pool::spawn(3, move |_| Clerk::spawn(path.clone()))
        .routing(routing)
        .restart(restart)
        .await?;
    let (next, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let callers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(call_on(pool.clone(), Arc::clone(&next), Arc::clone(&stop))))
        .collect();
    let end = Instant::now() + length;
    let mut kills = 0_u64;
    let mut victims = HashSet::new();
    while Instant::now() < end || kills < 6 {
        let members = pool.members();
        let member = &members[random.below(members.len())];
        let ways = [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGSEGV];
        if member.is_alive {
            let victim = Pid::from_raw(member.process_id.cast_signed());
            // It may have died of the last one.
            kills += u64::from(kill(victim, ways[random.below(ways.len())]).is_ok());
            victims.insert(member.process_id);
        }
        tokio::time::sleep(Duration::from_millis(random.below(30) as u64)).await;
    }
    // Who was killed last may seem to live for a moment.
    eventually(LONG, "all are back", || {
        let mut members = pool.members().into_iter();
        members.all(|member| member.is_alive && !victims.contains(&member.process_id))
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut ends = Vec::new();
    for caller in callers {
        ends.extend(within(LONG, caller).await?);
    }
    let restarts: u64 = pool.members().iter().map(|member| member.restarts).sum();
    assert!(restarts > 0 && restarts <= kills, "{restarts} of {kills}");
    pool.shutdown().await?;

    // None is lost, none ran twice, and each did what its end says.
    assert_eq!(ends.len() as u64, next.load(Ordering::Relaxed));
    let runs = log(&scratch);
    let ran = |number: &u64| runs.get(place(*number)).copied().unwrap_or(0);
    for (number, end) in &ends {
        match end {
            Ok(()) | Err(Outcome::Ran) => assert_eq!(ran(number), 1, "{number} {end:?}"),
            Err(Outcome::NotRun) => assert_eq!(ran(number), 0, "{number} {end:?}"),
            Err(_) => assert!(ran(number) <= 1, "{number} {end:?}"),
        }
    }
    let count = |wanted: Result<(), Outcome>| {
        let ends = ends.iter().filter(|(_, end)| *end == wanted);
        ends.count()
    };
    let answered = count(Ok(()));
    println!(
        "{routing:?}: {kills} kills, {restarts} restarts; {} calls: {answered} answered, {} not \
         run, {} perhaps",
        ends.len(),
        count(Err(Outcome::NotRun)),
        count(Err(Outcome::MayHaveRun)),
    );
    assert!(answered > 0);
    Ok(())
}

/// Members that are killed at random under load: every call ends, as a result or with its outcome,
/// which is true; none is lost, none runs twice.
#[callboard::test]
async fn members_are_killed_at_random() -> callboard::Result<()> {
    storm(Duration::from_secs(2), Routing::LeastInFlight).await?;
    storm(Duration::from_secs(1), Routing::RoundRobin).await
}

/// The same for five minutes, and each way of choosing.
#[callboard::test]
#[ignore = "it takes five minutes; cargo soak"]
async fn members_are_killed_for_minutes() -> callboard::Result<()> {
    for routing in [
        Routing::LeastInFlight,
        Routing::RoundRobin,
        Routing::RandomOfTwo,
    ] {
        storm(Duration::from_secs(100), routing).await?;
    }
    Ok(())
}

/// When all members hang, calls end by their timeouts, and those that end so without having run do
/// not run later; when they go on, so do calls.
#[callboard::test]
async fn all_members_hang() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let path = scratch.path("log");
    let pool = Pool::spawn(2, move |_| Clerk::spawn(path.clone())).await?;
    let pids: Vec<_> = pool.members().iter().map(|m| m.process_id).collect();
    for pid in &pids {
        signal(*pid, Signal::SIGSTOP);
    }
    eventually(LONG, "all stand still", || {
        pids.iter().all(|pid| is_stopped(*pid))
    })
    .await;
    let bound = Duration::from_millis(200);
    let calls: Vec<_> = (0..20)
        .map(|number| (number, pool.run(number).timeout(bound).start()))
        .collect();
    let mut ends = Vec::new();
    for (number, call) in calls {
        match within(LONG, call).await {
            Err(error @ (CallError::Timeout { .. } | CallError::Unreachable { .. })) => {
                ends.push((number, error.outcome()));
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    for pid in &pids {
        signal(*pid, Signal::SIGCONT);
    }
    // Behind all that was sent before.
    for _ in 0..2 {
        let ran = within(LONG, pool.run(1000)).await?;
        assert_eq!(ran, 1000);
    }
    assert!(pool.members().iter().all(|member| member.is_alive));
    pool.shutdown().await?;
    let runs = log(&scratch);
    for (number, outcome) in ends {
        let ran = runs.get(place(number)).copied().unwrap_or(0);
        assert!(ran <= u8::from(outcome != Outcome::NotRun), "{number}");
    }
    Ok(())
}

/// Pools of so many members, so often: nothing is left.
async fn many(members: usize, times: usize) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let start = || {
        let path = scratch.path("log");
        Pool::spawn(members, move |_| Clerk::spawn(path.clone()))
    };
    start().await?.shutdown().await?;
    let holdings = Holdings::settled().await;
    for round in 0..times {
        let pool = start().await?;
        let pids: Vec<_> = pool.members().iter().map(|m| m.process_id).collect();
        let ran = pool.map(0..members as u64, |clerk, number| clerk.run(number));
        assert_eq!(within(LONG, ran.all()).await?.len(), members);
        match round % 3 {
            0 => within(LONG, pool.shutdown()).await?,
            1 => drop(within(LONG, pool.kill()).await),
            _ => drop(pool),
        }
        eventually(LONG, "all have ended", || {
            pids.iter().all(|pid| is_gone(*pid))
        })
        .await;
    }
    holdings.back().await;
    Ok(())
}

/// Pools that are started and ended again and again leave nothing.
#[callboard::test]
async fn pools_come_and_go() -> callboard::Result<()> {
    if !alone("pools_come_and_go") {
        return Ok(());
    }
    many(12, 6).await
}

/// The same of a hundred members.
#[callboard::test]
#[ignore = "it starts two thousand processes; cargo soak"]
async fn pools_of_a_hundred_come_and_go() -> callboard::Result<()> {
    many(100, 20).await
}

/// Cores that are taken away from running members, and given back: calls go on meanwhile.
#[callboard::test]
async fn cores_are_taken_away() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let own: CpuSet = callboard::cpu::topology()?.allowed().clone();
    let all: Vec<Core> = own.iter().collect();
    if all.len() < 2 {
        common::skipped("taking a core away needs two");
        return Ok(());
    }
    let path = scratch.path("log");
    let make = move |_| Clerk::spawn(path.clone());
    let pool = Pool::spawn(Cores::from(own), make).await?;
    let (next, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let callers: Vec<_> = (0..2)
        .map(|_| tokio::spawn(call_on(pool.clone(), Arc::clone(&next), Arc::clone(&stop))))
        .collect();
    let pids: Vec<_> = pool.members().iter().map(|m| m.process_id).collect();
    for round in 0..6 {
        // Each time another core is all that there is, for every thread of every member.
        let core = all[round % all.len()];
        for pid in &pids {
            move_to(*pid, core)?;
        }
        let before = next.load(Ordering::Relaxed);
        eventually(LONG, "calls go on", || {
            next.load(Ordering::Relaxed) > before + 50
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let ends = within(LONG, caller).await?;
        assert!(ends.iter().all(|(_, end)| end.is_ok()));
    }
    for pid in pids {
        assert!(!is_gone(pid));
    }
    pool.shutdown().await
}

/// Cores that the cgroup takes away from under members that are pinned to them, as if they were
/// unplugged, and gives back: calls go on meanwhile, and who dies returns. The members know at once
/// which cores are left.
#[callboard::test]
async fn cores_are_unplugged() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let own: CpuSet = callboard::cpu::topology()?.allowed().clone();
    let all: Vec<Core> = own.iter().collect();
    let group = CoreGroup::new("unplugged", &own.to_string());
    let Some(group) = group.filter(|_| all.len() > 1) else {
        common::skipped("unplugging a core needs two, and a cgroup for them that may be made");
        return Ok(());
    };
    let path = scratch.path("log");
    let restart = Restart::on_failure().max(100);
    let make = move |_| Clerk::spawn(path.clone());
    let pool = Pool::spawn(Cores::from(own.clone()), make)
        .restart(restart)
        .await?;
    for member in pool.members() {
        group.take(member.process_id)?;
    }
    let (next, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let callers: Vec<_> = (0..2)
        .map(|_| tokio::spawn(call_on(pool.clone(), Arc::clone(&next), Arc::clone(&stop))))
        .collect();
    for round in 0..6 {
        let core = all[round % all.len()];
        group.set(&core.0.to_string())?;
        for left in pool.broadcast(|clerk| clerk.cores()).await {
            assert_eq!(left?, core.0.to_string(), "{round}");
        }
        let before = next.load(Ordering::Relaxed);
        eventually(LONG, "calls go on", || {
            next.load(Ordering::Relaxed) > before + 50
        })
        .await;
        group.set(&own.to_string())?;
    }
    let victim = pool.members()[0].process_id;
    signal(victim, Signal::SIGKILL);
    eventually(LONG, "another one is there", || {
        let member = &pool.members()[0];
        member.is_alive && member.process_id != victim
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let ends = within(LONG, caller).await?;
        let lost = ends.iter().filter(|(_, end)| end.is_err()).count();
        assert!(
            lost <= 2,
            "{lost}: one of each caller, when a member was killed"
        );
    }
    within(LONG, pool.shutdown()).await?;
    drop(group);
    Ok(())
}

/// Keeps all threads of a process on one core, as somebody from outside.
fn move_to(pid: u32, core: Core) -> std::io::Result<()> {
    let mut mask = Mask::new();
    mask.set(core.0 as usize)?;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = thread?.file_name();
        let thread: i32 = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .expect("a number");
        match sched_setaffinity(Pid::from_raw(thread), &mask) {
            // It has ended meanwhile.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
