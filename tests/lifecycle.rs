//! U11-U14, K08, K09, P25: how actors end in order: last proxies, shutdown, drains, graces, drops.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Exit, ShutdownError, TryCallError};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use common::{
    LONG, SOON, Scratch, again, alone, children_of, eventually, gone, is_gone, is_role, must_pass,
    signal, within,
};

/// Writes down what happens to it.
pub struct Diary {
    path: String,
    last_words: String,
}

#[actor]
impl Diary {
    pub fn new(path: String) -> Self {
        let diary = Self {
            path,
            last_words: "dropped".into(),
        };
        diary.append("new");
        diary
    }

    pub fn write(&mut self, line: String) {
        self.append(&line);
    }

    pub async fn write_slowly(&mut self, line: String) {
        sleep(Duration::from_millis(5)).await;
        self.append(&line);
    }

    /// Ends once there is such a file.
    pub async fn nap(&self, gate: String) -> u64 {
        self.append("nap");
        while !fs::exists(&gate).expect("the folder is there") {
            sleep(Duration::from_millis(1)).await;
        }
        self.append("woke");
        7
    }

    /// The same without a file.
    pub async fn nap_for(&self, ms: u64) -> u64 {
        sleep(Duration::from_millis(ms)).await;
        ms
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    /// Never ends, and lets others run.
    pub async fn hang(&self) {
        self.append("hang");
        std::future::pending::<()>().await;
    }

    /// Never ends, and lets nobody run.
    pub fn block(&mut self) {
        self.append("block");
        thread::sleep(LONG * 60);
    }

    /// The actor's drop will panic with this.
    pub fn panic_at_the_end(&mut self, words: String) {
        self.last_words = words;
    }

    /// Something in the background that would outlive the actor, if it could.
    pub fn linger(&self) {
        tokio::spawn(std::future::pending::<()>());
        tokio::task::spawn_blocking(|| thread::sleep(LONG));
        thread::spawn(|| thread::sleep(LONG));
    }

    fn append(&self, line: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .expect("a file");
        writeln!(file, "{line}").expect("it can be written");
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        self.append("dropped");
        assert_eq!(self.last_words, "dropped");
    }
}

/// What an error says of itself and its causes.
fn text(error: impl Into<callboard::Error>) -> String {
    error.into().to_string()
}

/// The last proxy ends its actor in order; a proxy before it does not.
#[callboard::test]
async fn the_last_proxy_ends_the_actor() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let first = Diary::spawn(scratch.path("diary")).await?;
    let (second, pid) = (first.clone(), first.process_id());
    drop(first);
    assert_eq!(second.echo(1).await?, 1);
    assert!(!is_gone(pid));
    let elsewhere = tokio::spawn(async move { second.echo(2).await });
    assert_eq!(elsewhere.await??, 2);
    gone(pid).await;
    assert_eq!(scratch.read("diary"), "new\ndropped\n");
    Ok(())
}

/// A pending call keeps its actor alive, until it is awaited or dropped; answered ones do, too.
#[callboard::test]
async fn a_pending_call_keeps_the_actor() -> callboard::Result<()> {
    for is_awaited in [true, false] {
        let scratch = Scratch::new();
        let gate = scratch.path("gate");
        let diary = Diary::spawn(scratch.path("diary")).await?;
        let pid = diary.process_id();
        let pending = diary.nap(gate.clone()).start();
        eventually(LONG, "it naps", || scratch.read("diary").contains("nap")).await;
        drop(diary);
        if is_awaited {
            fs::write(gate, "")?;
            eventually(LONG, "it is answered", || pending.is_ready()).await;
            // Nobody has the actor but this answer.
            sleep(Duration::from_millis(100)).await;
            assert!(!is_gone(pid));
            assert_eq!(within(LONG, pending).await?, 7);
        } else {
            drop(pending);
            fs::write(gate, "")?;
        }
        gone(pid).await;
        let life = "new\nnap\nwoke\ndropped\n";
        assert_eq!(scratch.read("diary"), life, "a running call finishes");
    }
    Ok(())
}

/// Shutting down again, at once from many tasks, or after the end, is as good as once.
#[callboard::test(flavor = "multi_thread", worker_threads = 4)]
async fn shutdown_is_idempotent() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    assert!(diary.is_alive());
    let exits = tokio::spawn({
        let diary = diary.clone();
        async move { (diary.exited().await, diary.exited().await) }
    });
    let tasks = (0..8).map(|_| {
        let diary = diary.clone();
        tokio::spawn(async move { diary.shutdown().await.map_err(text) })
    });
    for task in tasks.collect::<Vec<_>>() {
        within(LONG, task).await?.unwrap();
    }
    diary.shutdown().await?;
    assert!(!diary.is_alive());
    assert_eq!(exits.await?, (Exit::Code(0), Exit::Code(0)));
    assert_eq!(scratch.read("diary"), "new\ndropped\n");
    Ok(())
}

/// A shutdown that nobody waits for any more ends the actor all the same.
#[callboard::test]
async fn a_dropped_shutdown_counts() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    let slow = diary.nap(scratch.path("gate")).start();
    let _ = tokio::time::timeout(Duration::ZERO, diary.shutdown()).await;
    fs::write(scratch.path("gate"), "")?;
    assert_eq!(within(LONG, slow).await?, 7);
    assert_eq!(within(SOON, diary.exited()).await, Exit::Code(0));
    Ok(())
}

/// After a death shutdown tells of it, each time.
#[callboard::test]
async fn shutdown_after_a_death_tells() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    signal(diary.process_id(), Signal::SIGKILL);
    for _ in 0..2 {
        let error = within(SOON, diary.shutdown())
            .await
            .map_err(text)
            .unwrap_err();
        assert!(error.contains("SIGKILL"), "{error}");
    }
    assert!(!diary.is_alive());
    Ok(())
}

/// Calls after a shutdown are errors that say that they did not run, however they are made.
#[callboard::test]
async fn calls_after_shutdown_did_not_run() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    let begun = diary.nap(scratch.path("gate")).start();
    let made_before = diary.echo(1);
    let mut ending = Box::pin(diary.shutdown());
    let _ = tokio::time::timeout(Duration::from_millis(1), &mut ending).await;
    let mut errors = Vec::new();
    for is_over in [false, true] {
        errors.push(diary.echo(1).await.unwrap_err());
        errors.push(diary.echo(1).start().await.unwrap_err());
        errors.push(diary.write("no".into()).tell().await.unwrap_err());
        errors.push(diary.nap(String::new()).timeout(LONG).await.unwrap_err());
        match diary.write("no".into()).try_tell() {
            Err(TryCallError::Failed(error)) => errors.push(error),
            other => panic!("{other:?}"),
        }
        match diary.echo(1).try_start() {
            Err(TryCallError::Failed(error)) => errors.push(error),
            other => panic!("{other:?}"),
        }
        if !is_over {
            fs::write(scratch.path("gate"), "")?;
            within(LONG, &mut ending).await?;
        }
    }
    errors.push(made_before.await.unwrap_err());
    for error in errors {
        assert!(matches!(error, CallError::Stopped { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotRun);
    }
    assert_eq!(begun.await?, 7, "what was begun was done");
    assert_eq!(scratch.read("diary"), "new\nnap\nwoke\ndropped\n");
    Ok(())
}

/// Calls in flight at a shutdown are answered: those that run and those that wait in the link.
#[callboard::test]
async fn calls_in_flight_are_answered() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    let naps: Vec<_> = (0..20).map(|ms| diary.nap_for(ms).start()).collect();
    let writes: Vec<_> = (0..10)
        .map(|n| diary.write_slowly(n.to_string()).start())
        .collect();
    let echoes: Vec<_> = (0..900).map(|value| diary.echo(value).start()).collect();
    within(LONG, diary.shutdown()).await?;
    for (value, echo) in echoes.into_iter().enumerate() {
        assert_eq!(echo.await?, value as u64);
    }
    for (ms, nap) in naps.into_iter().enumerate() {
        assert_eq!(nap.await?, ms as u64);
    }
    for write in writes {
        write.await?;
    }
    Ok(())
}

/// Many more calls than the link holds, and a shutdown: each is answered or known not to have run.
#[callboard::test]
async fn every_call_at_a_shutdown_ends() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    let calls: Vec<_> = (0..10_000)
        .map(|n| diary.write(n.to_string()).start())
        .collect();
    within(LONG, diary.shutdown()).await?;
    let (mut ran, mut not_run) = (0, 0);
    for call in calls {
        match within(LONG, call).await {
            Ok(()) => ran += 1,
            Err(error) => {
                assert!(matches!(error, CallError::Stopped { .. }), "{error:?}");
                assert_eq!(error.outcome(), Outcome::NotRun);
                not_run += 1;
            }
        }
    }
    assert_eq!(ran + not_run, 10_000);
    assert_eq!(scratch.read("diary").lines().count(), ran + 2);
    Ok(())
}

/// Tells that were sent before the last proxy was dropped are run, in their order.
#[callboard::test]
async fn tells_before_the_end_are_run() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    let pid = diary.process_id();
    let mut expected = String::from("new\n");
    for n in 0..500 {
        expected += &format!("{n}\n");
        if n % 100 == 0 {
            diary.write_slowly(n.to_string()).tell().await?;
        } else {
            diary.write(n.to_string()).tell().await?;
        }
    }
    drop(diary);
    gone(pid).await;
    assert_eq!(scratch.read("diary"), expected + "dropped\n");
    Ok(())
}

/// An actor that does not end is killed when its grace is over, whether it lets others run or not.
#[callboard::test]
async fn graces_end() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let grace = Duration::from_millis(150);
    for (blocks, begun) in [(false, "hang"), (true, "block")] {
        let diary = Diary::spawn(scratch.path("diary")).grace(grace).await?;
        let endless = if blocks {
            diary.block().start()
        } else {
            diary.hang().start()
        };
        eventually(LONG, "it runs", || scratch.read("diary").contains(begun)).await;
        let asked = Instant::now();
        let error = within(SOON, diary.shutdown()).await.unwrap_err();
        match error.as_error().downcast_ref() {
            Some(ShutdownError::Killed { grace: told }) => assert_eq!(*told, grace),
            other => panic!("{other:?}"),
        }
        assert!(asked.elapsed() >= grace);
        match endless.await {
            Err(CallError::Died { death, outcome }) => {
                assert!(
                    matches!(
                        death.exit(),
                        Exit::Signal {
                            number: libc::SIGKILL,
                            ..
                        }
                    ),
                    "{death}"
                );
                assert_eq!(outcome, Outcome::MayHaveRun);
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// The same when the last proxy is dropped.
#[callboard::test]
async fn graces_end_without_proxies() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary"))
        .grace(Duration::from_millis(50))
        .await?;
    let pid = diary.process_id();
    diary.block().tell().await?;
    drop(diary);
    gone(pid).await;
    Ok(())
}

/// What an actor has left running ends with it, at once.
#[callboard::test]
async fn nothing_lingers() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let diary = Diary::spawn(scratch.path("diary")).await?;
    diary.linger().await?;
    within(SOON, diary.shutdown()).await?;
    assert_eq!(scratch.read("diary"), "new\ndropped\n");
    Ok(())
}

/// A panic in the actor's drop is told by the shutdown, with its text.
#[callboard::test]
async fn drops_may_panic() -> callboard::Result<()> {
    let scratch = Scratch::new();
    // The text of a panic, with a backtrace, takes a debug build its while.
    let diary = Diary::spawn(scratch.path("diary")).grace(LONG).await?;
    diary.panic_at_the_end("something else".into()).await?;
    let error = within(LONG, diary.shutdown()).await.unwrap_err();
    match error.as_error().downcast_ref() {
        Some(ShutdownError::Died(death)) => {
            assert_eq!(death.exit(), Exit::Code(101));
            let report = death.report().expect("it has panicked");
            assert!(report.message().contains("something else"), "{report}");
            assert!(
                report.location().unwrap().contains("tests/lifecycle.rs"),
                "{report}"
            );
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// At the end of `main` or a test the actors that are left end in order, whoever still has proxies;
/// those that hang are killed.
#[callboard::test]
async fn the_end_of_main_is_an_end_in_order() -> callboard::Result<()> {
    if is_role("leaving") {
        return leave_actors_behind(&std::env::var("DIARY")?).await;
    }
    let scratch = Scratch::new();
    let mut command = again("the_end_of_main_is_an_end_in_order", "leaving");
    must_pass(command.env("DIARY", scratch.path("")));
    assert_eq!(scratch.read("told"), "new\nyes\ndropped\n");
    assert_eq!(scratch.read("forgotten"), "new\ndropped\n");
    assert_eq!(scratch.read("spawned"), "new\ndropped\n");
    let pids = scratch.read("pids");
    assert_eq!(pids.lines().count(), 6);
    assert!(pids.lines().all(|pid| is_gone(pid.parse().unwrap())));
    Ok(())
}

/// Starts actors and ends none: some have proxies in tasks, some have forgotten ones, some hang.
async fn leave_actors_behind(dir: &str) -> callboard::Result<()> {
    let told = Diary::spawn(format!("{dir}/told")).await?;
    told.write("yes".into()).tell().await?;
    let _forgotten = ManuallyDrop::new(Diary::spawn(format!("{dir}/forgotten")).await?);
    let elsewhere = Diary::spawn(format!("{dir}/spawned")).await?;
    tokio::spawn(async move {
        while elsewhere.echo(1).await.is_ok() && told.is_alive() {
            sleep(Duration::from_millis(1)).await;
        }
        std::future::pending::<()>().await;
    });
    let mut hanging = Vec::new();
    for _ in 0..3 {
        let diary = Diary::spawn("/dev/null".into())
            .grace(Duration::from_millis(700))
            .await?;
        hanging.push(diary.hang().start());
    }
    let pids = children_of(std::process::id());
    let lines: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
    fs::write(format!("{dir}/pids"), lines)?;
    let _hanging = ManuallyDrop::new(hanging);
    Ok(())
}

/// A program's actors are gone when it was ended by a panic or by `exit`, too.
#[callboard::test]
async fn actors_end_with_their_program() -> callboard::Result<()> {
    let ways = ["panic", "exit", "abort"];
    if let Some(way) = ways.into_iter().find(|way| is_role(way)) {
        let diary = Diary::spawn("/dev/null".into()).await?;
        println!("pid={} ", diary.process_id());
        match way {
            "panic" => panic!("as the test wants it"),
            "abort" => std::process::abort(),
            _ => {
                #[expect(clippy::disallowed_methods, reason = "a program may do so")]
                std::process::exit(7);
            }
        }
    }
    for way in ways {
        let output = again("actors_end_with_their_program", way).output()?;
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stdout);
        let pid = text
            .split("pid=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        gone(pid.unwrap_or_else(|| panic!("{text}")).parse()?).await;
    }
    Ok(())
}

/// A program may start and end actors in one runtime after the other.
#[test]
fn runtimes_may_follow_each_other() {
    if !alone("runtimes_may_follow_each_other") {
        return;
    }
    for round in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let left = runtime.block_on(async {
            let diary = Diary::spawn("/dev/null".into()).await.unwrap();
            assert_eq!(diary.echo(round).await.unwrap(), round);
            diary
        });
        drop(runtime);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            // Whoever served the link is gone, and the actor is there still.
            let error = within(SOON, left.echo(1)).await.unwrap_err();
            assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
            assert_eq!(error.outcome(), Outcome::NotRun);
            assert!(left.is_alive());
            within(SOON, left.shutdown()).await.unwrap();
        });
    }
}
