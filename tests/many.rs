//! U14, UB9: many actors at once, and what runs out: descriptors, processes, threads, numbers.

mod common;

use std::fs;
use std::future::{Future as _, IntoFuture as _, poll_fn};
use std::pin::pin;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{LinkKind, SpawnError};
use futures_util::future::try_join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, geteuid, setresuid};
use tokio::time::sleep;

use common::{
    Holdings, LONG, Scratch, again, again_args, alone, eventually, is_role, must_pass, signal,
    skipped, within,
};

/// One of many.
pub struct Resident {
    number: u64,
}

#[actor]
impl Resident {
    pub fn new(number: u64) -> Self {
        Self { number }
    }

    pub async fn leaving_a_mark(mark: String, go: String) -> Self {
        fs::write(mark, "x").expect("the test has made the folder");
        while !fs::exists(&go).is_ok_and(|is_there| is_there) {
            sleep(Duration::from_millis(1)).await;
        }
        Self { number: 0 }
    }

    pub fn number(&self) -> u64 {
        self.number
    }
}

async fn residents(count: u64) -> callboard::Result<Vec<ResidentProxy>> {
    let starts = (0..count).map(|number| Resident::spawn(number).into_future());
    Ok(within(LONG, try_join_all(starts)).await?)
}

/// The threads that live as long as the process are there after the first link of each kind.
async fn use_links() -> callboard::Result<()> {
    Resident::spawn(0).await?.shutdown().await?;
    let socket = Resident::spawn(0).link(LinkKind::Socket).await?;
    socket.shutdown().await
}

async fn all_answer(residents: &[ResidentProxy]) -> callboard::Result<()> {
    let answers = try_join_all(residents.iter().map(ResidentProxy::number));
    let numbers = within(LONG, answers).await?;
    assert!(numbers.iter().copied().eq(0..residents.len() as u64));
    Ok(())
}

/// Bytes of a process's memory that would be free without it: a page that several have counts in
/// shares.
fn memory_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib * 1024)
}

/// Bytes of the links that this process has open, touched or not.
fn memory_of_links() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let open = fs::read_dir("/proc/self/fd").expect("there is a proc");
    let links = open.flatten().filter(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        target.to_string_lossy().contains("/callboard-")
    });
    let sizes = links.filter_map(|entry| fs::metadata(entry.path()).ok());
    sizes.map(|found| found.blocks() * 512).sum()
}

/// An idle actor takes less than 1.5 MiB, its link and its share of the program included: a
/// thousand fit into 1.5 GiB. And there are more of them than the usual limit of descriptors
/// allows, which is raised.
#[callboard::test]
async fn idle_actors_are_small() -> callboard::Result<()> {
    const COUNT: u64 = 120;
    if !alone("idle_actors_are_small") {
        return Ok(());
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, 256.min(hard), hard)?;
    use_links().await?;
    let before = Holdings::settled().await;
    let residents = residents(COUNT).await?;
    all_answer(&residents).await?;
    assert!(
        getrlimit(Resource::RLIMIT_NOFILE)?.0 >= hard.min(1024),
        "it was raised"
    );
    let pids = residents.iter().map(ResidentProxy::process_id);
    let sizes: Option<Vec<u64>> = pids.map(memory_of).collect();
    if let Some(sizes) = sizes {
        let private: u64 = sizes.iter().sum();
        let links = memory_of_links();
        let shared = residents.iter().map(Proxy::link);
        let shared = shared
            .filter(|kind| *kind == LinkKind::SharedMemory)
            .count() as u64;
        assert!(
            links > shared * 256 * 1024,
            "{links} bytes of {shared} links"
        );
        let each = (private + links) / COUNT;
        assert!(each < 1536 * 1024, "{each} bytes each, {links} in links");
    } else {
        skipped("this kernel does not sum a process's memory up");
    }
    within(LONG, try_join_all(residents.iter().map(Proxy::stop))).await?;
    drop(residents);
    before.back().await;
    Ok(())
}

/// Where the limit cannot be raised, the start that meets it says so, the others live, and room
/// that is given back is used again.
#[callboard::test]
async fn more_than_descriptors_allow() -> callboard::Result<()> {
    if !alone("more_than_descriptors_allow") {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, 100, 100)?;
    let mut residents = Vec::new();
    let refused = loop {
        let number = residents.len() as u64;
        match within(LONG, Resident::spawn(number).into_future()).await {
            Ok(resident) => residents.push(resident),
            Err(refused) => break refused,
        }
    };
    let SpawnError::Resources { source, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(source.raw_os_error(), Some(libc::EMFILE));
    assert!(residents.len() > 10, "{}", residents.len());
    all_answer(&residents).await?;
    for resident in residents.split_off(residents.len() - 3) {
        within(LONG, resident.stop()).await?;
    }
    let number = residents.len() as u64;
    residents.push(within(LONG, Resident::spawn(number).into_future()).await?);
    all_answer(&residents).await
}

/// Two hundred actors, killed by somebody else in waves: each is reaped soon.
#[callboard::test]
async fn killed_actors_are_reaped() -> callboard::Result<()> {
    if !alone("killed_actors_are_reaped") {
        return Ok(());
    }
    use_links().await?;
    let before = Holdings::settled().await;
    for _ in 0..5 {
        let residents = residents(40).await?;
        for resident in &residents {
            signal(resident.process_id(), Signal::SIGKILL);
        }
        for resident in &residents {
            within(LONG, resident.exited()).await;
        }
        assert_eq!(Holdings::now().children, 0, "no zombie is left");
        drop(residents);
        before.back().await;
    }
    Ok(())
}

/// Without room for another process or thread a start is an error that says so, and the other
/// actors are not touched.
#[callboard::test]
async fn processes_run_out() -> callboard::Result<()> {
    if is_role("limited") {
        return in_a_crowd().await;
    }
    must_pass(&mut again("processes_run_out", "limited"));
    Ok(())
}

/// What starts with such a link, or the usual one, are without, as the limit of processes and
/// threads rises, until one is not.
async fn missing(
    kind: Option<LinkKind>,
    survivor: &ResidentProxy,
) -> callboard::Result<Vec<&'static str>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC)?;
    let mut missed = Vec::new();
    for limit in 1..64 {
        setrlimit(Resource::RLIMIT_NPROC, limit, hard)?;
        let spawn = match kind {
            Some(kind) => Resident::spawn(8).link(kind),
            None => Resident::spawn(8),
        };
        let result = within(LONG, spawn.into_future()).await;
        setrlimit(Resource::RLIMIT_NPROC, soft, hard)?;
        assert_eq!(survivor.number().await?, 7);
        match result {
            Ok(resident) => {
                resident.stop().await?;
                break;
            }
            Err(SpawnError::Resources { what, source }) => {
                assert_eq!(source.raw_os_error(), Some(libc::EAGAIN), "{what}");
                missed.push(what);
            }
            Err(other) => panic!("{kind:?}, {limit}: {other:?}"),
        }
    }
    Ok(missed)
}

async fn in_a_crowd() -> callboard::Result<()> {
    // A user without other processes, whom the limit binds as root it would not; another one where
    // this is run twice.
    let nobody = Uid::from_raw(3_900_000_000 + std::process::id());
    let is_alone = geteuid().is_root() && setresuid(nobody, nobody, nobody).is_ok();
    if geteuid().is_root() {
        skipped("root has no limit, and cannot become somebody else here");
        return Ok(());
    }
    let survivor = Resident::spawn(7).await?;
    for kind in [None, Some(LinkKind::Socket)] {
        let missed = missing(kind, &survivor).await?;
        assert!(missed.contains(&"room for processes"), "{missed:?}");
        assert!(missed.iter().all(|what| *what != "room for descriptors"));
        if is_alone {
            assert_eq!(missed.last(), Some(&"room for threads"), "{missed:?}");
        }
    }
    let resident = Resident::spawn(9).await?;
    assert_eq!(resident.number().await?, 9);
    resident.stop().await?;
    Ok(survivor.stop().await?)
}

/// The number of a process that has ended may be another's soon; nothing that is done to the first
/// reaches the second.
#[callboard::test]
async fn a_number_that_recurs_is_another_actor() -> callboard::Result<()> {
    const TEST: &str = "a_number_that_recurs_is_another_actor";
    if is_role("numbered") {
        return with_few_numbers().await;
    }
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc"]);
        unshare
    };
    let write = "echo 100 > /proc/sys/kernel/ns_last_pid";
    let may = unshare().args(["sh", "-c", write]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        skipped("numbers of our own need a pid namespace and the right to choose them");
        return Ok(());
    }
    let mut numbered = unshare();
    numbered
        .arg(std::env::current_exe()?)
        .args(again_args(TEST))
        .env("CALLBOARD_TEST_ROLE", "numbered");
    must_pass(&mut numbered);
    Ok(())
}

/// Where the test says which number comes next.
async fn with_few_numbers() -> callboard::Result<()> {
    let bystander = Resident::spawn(u64::MAX).await?;
    let mut recurred = 0;
    for number in 0..40 {
        let first = Resident::spawn(number).await?;
        let pid = first.process_id();
        signal(pid, Signal::SIGKILL);
        within(LONG, first.exited()).await;
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
        let second = Resident::spawn(number + 1000).await?;
        recurred += u64::from(second.process_id() == pid);
        assert!(!first.is_alive() && second.is_alive());
        assert!(within(LONG, first.number()).await.is_err());
        match number % 4 {
            0 => assert!(within(LONG, first.stop()).await.is_err()),
            1 => drop(within(LONG, first.kill()).await),
            2 => assert!(within(LONG, first.shutdown()).await.is_err()),
            _ => drop(first),
        }
        // A signal that went astray would have arrived by now.
        sleep(Duration::from_millis(2)).await;
        assert_eq!(within(LONG, second.number()).await?, number + 1000);
        second.stop().await?;
    }
    assert!(recurred > 30, "{recurred}");
    assert_eq!(bystander.number().await?, u64::MAX);
    Ok(bystander.stop().await?)
}

/// A process constructs its actor without waiting for its parent, which may be busy elsewhere.
#[callboard::test]
async fn a_start_does_not_wait_for_its_parent() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let (mark, go) = (scratch.path("mark"), scratch.path("go"));
    let start = Resident::spawn_leaving_a_mark(mark.clone(), go.clone());
    let mut start = pin!(start.into_future());
    // The first poll asks for the process, the second hears that it runs. Then nobody is there to
    // hear its greeting.
    let mut polls = 0;
    let begun = poll_fn(|cx| {
        polls += 1;
        assert!(start.as_mut().poll(cx).is_pending(), "it may not go on");
        if polls < 2 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    });
    within(LONG, begun).await;
    let is_there = || fs::exists(&mark).is_ok_and(|is_there| is_there);
    eventually(LONG, "it is constructed", is_there).await;
    fs::write(go, "x")?;
    let resident = within(LONG, start).await?;
    assert_eq!(resident.number().await?, 0);
    resident.shutdown().await
}
