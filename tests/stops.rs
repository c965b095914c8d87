//! U10, U11, U17, K05, K07, K08, K34, P15, P18, UB4: stop, kill, scopes, the end of all, signals.

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use callboard::__private::{Flavor, RuntimeOptions, block_on};
use callboard::prelude::*;
use callboard::{Exit, LinkKind, ShutdownError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::sleep;

use common::{
    Holdings, LONG, SOON, Scratch, again, again_args, alone, children_of, eventually, gone,
    is_gone, is_role, signal, within,
};

/// Writes into a file that it shares with others when it ends, and by whom it was told to.
pub struct Writer {
    path: String,
    name: String,
    beneath: Vec<WriterProxy>,
}

#[actor]
impl Writer {
    pub fn new(path: String, name: String) -> Self {
        let beneath = Vec::new();
        Self {
            path,
            name,
            beneath,
        }
    }

    /// One that starts others in its constructor, whose names are longer.
    pub async fn parent(path: String, name: String, children: u32) -> Self {
        let mut parent = Self::new(path.clone(), name.clone());
        for child in 0..children {
            let spawn = Self::spawn(path.clone(), format!("{name}.{child}"));
            parent.beneath.push(spawn.await.expect("it starts"));
        }
        parent
    }

    pub fn write(&mut self, line: String) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .expect("a file");
        writeln!(file, "{}: {line}", self.name).expect("it can be written");
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    pub fn pids(&self) -> Vec<u32> {
        self.beneath.iter().map(Proxy::process_id).collect()
    }

    pub async fn write_slowly(&mut self, line: String) {
        sleep(Duration::from_millis(20)).await;
        self.write(line);
    }

    /// Lets nobody run for a while.
    pub fn block(&mut self, ms: u64) {
        thread::sleep(Duration::from_millis(ms));
    }

    /// Methods that have the names of what every proxy can do.
    pub fn kill(&self, whom: String) -> String {
        format!("{whom} is killed in the third act")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.write("dropped".into());
    }
}

const KILLED: Exit = Exit::Signal {
    number: libc::SIGKILL,
    core_dumped: false,
};

/// An error that is only a test's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("as the test wants it: {0}")]
struct Own(u32);

/// A stop lets what was sent before run; what comes later was not run and is told so.
#[callboard::test]
async fn stop_drains() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let writer = Writer::spawn(scratch.path("all"), "a".into()).await?;
    for n in 0..5 {
        writer.write_slowly(n.to_string()).tell().await?;
    }
    let before = writer.echo(7).start();
    let (first, second) = within(LONG, async { tokio::join!(writer.stop(), writer.stop()) }).await;
    first?;
    second?;
    assert_eq!(before.await?, 7);
    let error = writer.echo(8).await.unwrap_err();
    assert!(matches!(error, CallError::Stopped { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotRun);
    writer.stop().await?;
    writer.shutdown().await?;
    assert_eq!(
        Proxy::kill(&writer).await,
        Exit::Code(0),
        "nothing is left to be killed"
    );
    let lines = "a: 0\na: 1\na: 2\na: 3\na: 4\na: dropped\n";
    assert_eq!(scratch.read("all"), lines);
    Ok(())
}

/// A kill waits for no queue and no grace, and returns when the process is gone.
#[callboard::test]
async fn kill_skips_the_queue() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let writer = Writer::spawn(scratch.path("all"), "a".into()).await?;
    assert_eq!(
        writer.kill("she".into()).await?,
        "she is killed in the third act"
    );
    let blocked = writer.block(60_000).start();
    let behind = writer.write("behind".into()).start();
    let pid = writer.process_id();
    assert_eq!(within(SOON, Proxy::kill(&writer)).await, KILLED);
    assert!(is_gone(pid) && !writer.is_alive());
    assert!(matches!(blocked.await, Err(CallError::Died { .. })));
    assert!(matches!(behind.await, Err(CallError::Died { .. })));
    assert_eq!(within(SOON, Proxy::kill(&writer)).await, KILLED);
    match writer.stop().await {
        Err(ShutdownError::Died(death)) => assert_eq!(death.exit(), KILLED),
        other => panic!("{other:?}"),
    }
    assert_eq!(scratch.read("all"), "", "no destructor has run");

    // A kill in the midst of a stop that takes too long.
    let writer = Writer::spawn(scratch.path("all"), "b".into()).await?;
    writer.block(60_000).tell().await?;
    let (stopped, exit) = within(SOON, async {
        tokio::join!(writer.stop(), async {
            sleep(Duration::from_millis(20)).await;
            Proxy::kill(&writer).await
        })
    })
    .await;
    assert_eq!(exit, KILLED);
    assert!(
        matches!(stopped, Err(ShutdownError::Died(_))),
        "{stopped:?}"
    );
    Ok(())
}

/// Stops, kills and drops from many threads at once: each returns, and all agree.
#[callboard::test(flavor = "multi_thread", worker_threads = 4)]
async fn stops_and_kills_at_once() -> callboard::Result<()> {
    if !alone("stops_and_kills_at_once") {
        return Ok(());
    }
    let scratch = Scratch::new();
    // The threads that live as long as the process are there after the first link of each kind.
    let spawn = || Writer::spawn(scratch.path("all"), "a".into());
    spawn().await?.stop().await?;
    spawn().link(LinkKind::Socket).await?.stop().await?;
    let before = Holdings::settled().await;
    for round in 0..30_u64 {
        let writer = Writer::spawn(scratch.path("all"), "a".into()).await?;
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let writer = writer.clone();
                tokio::spawn(async move {
                    sleep(Duration::from_micros(n * round * 7)).await;
                    if n == 7 {
                        Proxy::kill(&writer).await;
                    } else {
                        let _ = writer.stop().await;
                    }
                    writer.exited().await
                })
            })
            .collect();
        let mut exits = Vec::new();
        for task in tasks {
            exits.push(within(LONG, task).await?);
        }
        exits.dedup();
        assert_eq!(exits.len(), 1, "{exits:?}");
        assert!([Exit::Code(0), KILLED].contains(&exits[0]), "{exits:?}");
    }
    before.back().await;
    Ok(())
}

/// A scope gives what its body gave; the actor is gone then, whoever has a proxy.
#[callboard::test]
async fn scopes_end_their_actor() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let spawn = || Writer::spawn(scratch.path("all"), "a".into());
    let kept = spawn()
        .scope(async |writer| {
            assert_eq!(writer.echo(1).await?, 1);
            writer.write("inside".into()).tell().await?;
            Ok(writer)
        })
        .await?;
    assert!(!kept.is_alive());
    assert_eq!(scratch.read("all"), "a: inside\na: dropped\n");

    let mut pid = 0;
    let failed: callboard::Result<()> = spawn()
        .scope(async |writer| {
            pid = writer.process_id();
            Err(Own(7))?
        })
        .await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.as_error().downcast_ref(), Some(&Own(7)));
    assert!(is_gone(pid));

    let other = spawn().scope(async |writer| Ok(writer.echo(4).await?));
    let on_another_thread = tokio::spawn(other);
    assert_eq!(on_another_thread.await??, 4);
    Ok(())
}

/// A scope whose body panics or is dropped ends its actor in order, too; one whose actor does not
/// start or does not end says so.
#[callboard::test]
async fn scopes_end_their_actor_whatever_happens() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let spawn = || Writer::spawn(scratch.path("all"), "a".into());
    let (told, pids) = std::sync::mpsc::channel();
    let note = told.clone();
    let panicked = tokio::spawn(spawn().scope(async move |writer| {
        note.send(writer.process_id()).expect("it is wanted");
        panic!("as the test wants it");
        #[expect(unreachable_code, reason = "the type of the body")]
        Ok(())
    }));
    assert!(panicked.await.unwrap_err().is_panic());
    assert!(is_gone(pids.recv()?), "it was waited for");
    assert_eq!(scratch.read("all"), "a: dropped\n");

    let (told, outside) = tokio::sync::oneshot::channel();
    let endless = spawn().scope(async move |writer| {
        drop(told.send(writer.clone()));
        std::future::pending::<callboard::Result<()>>().await
    });
    let outside = tokio::select! {
        ended = endless => panic!("{ended:?}"),
        outside = outside => outside?,
    };
    assert_eq!(within(SOON, outside.exited()).await, Exit::Code(0));
    assert_eq!(scratch.read("all"), "a: dropped\n".repeat(2));

    let no_start = spawn().exe("/nonexistent").scope(async |_| Ok(())).await;
    let error = no_start.unwrap_err();
    assert!(error.as_error().is::<SpawnError>(), "{error}");
    let no_end = spawn()
        .grace(Duration::from_millis(50))
        .scope(async |writer| {
            writer.block(60_000).tell().await?;
            Ok(())
        });
    let error = within(SOON, no_end).await.unwrap_err();
    assert!(error.as_error().is::<ShutdownError>(), "{error}");
    let own_first = spawn().scope(async |writer| {
        Proxy::kill(&writer).await;
        callboard::Result::<()>::Err(Own(8).into())
    });
    let error = own_first.await.unwrap_err();
    assert_eq!(error.as_error().downcast_ref(), Some(&Own(8)));
    Ok(())
}

/// The end of all is in the reverse order of the starts, also of those that were started by actors,
/// which are gone before their parents are dropped; calls are told that the actor was stopped.
#[callboard::test]
async fn all_end_in_reverse_order() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let path = scratch.path("all");
    let mut writers = Vec::new();
    for name in ["1", "2", "3"] {
        writers.push(Writer::spawn_parent(path.clone(), name.into(), 2).await?);
    }
    // The oldest is slow to end, and waited for.
    writers[0].block(100).tell().await?;
    within(LONG, callboard::shutdown_all()).await;
    for writer in &writers {
        assert!(!writer.is_alive());
        let error = writer.echo(1).await.unwrap_err();
        assert!(matches!(error, CallError::Stopped { .. }), "{error:?}");
    }
    let lines = scratch.read("all");
    let names: Vec<_> = lines
        .lines()
        .map(|line| line.trim_end_matches(": dropped"))
        .collect();
    assert_eq!(names.len(), 9, "{names:?}");
    for (place, name) in ["3", "2", "1"].into_iter().enumerate() {
        let family = &names[place * 3..][..3];
        let order = [format!("{name}.1"), format!("{name}.0"), name.to_owned()];
        assert_eq!(family, order, "{names:?}");
    }
    let again = Writer::spawn(path, "4".into()).await?;
    assert_eq!(again.echo(1).await?, 1, "others can be started after that");
    again.stop().await?;
    Ok(())
}

/// Actors that hang do not make the end of all longer than twice the longest grace.
#[callboard::test]
async fn the_end_of_all_is_bounded() -> callboard::Result<()> {
    const GRACE: Duration = Duration::from_secs(1);
    const COUNT: u32 = 30;
    // One after the other they would take longer than is waited here.
    assert!(GRACE * COUNT > SOON);
    let scratch = Scratch::new();
    let mut writers = Vec::new();
    for _ in 0..COUNT {
        let spawn = Writer::spawn(scratch.path("all"), "a".into());
        let writer = spawn.grace(GRACE).await?;
        writer.block(60_000).tell().await?;
        writers.push(writer);
    }
    within(SOON, callboard::shutdown_all()).await;
    assert!(writers.iter().all(|writer| !writer.is_alive()));
    Ok(())
}

/// An actor that is stopped ends those that it has started in order before it ends itself; one that
/// is killed takes them with it.
#[callboard::test]
async fn nested_actors_end_with_theirs() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let parent = Writer::spawn_parent(scratch.path("stopped"), "p".into(), 3).await?;
    let pids = parent.pids().await?;
    within(SOON, parent.stop()).await?;
    assert!(pids.iter().all(|pid| is_gone(*pid)), "they were waited for");
    let lines = scratch.read("stopped");
    assert_eq!(lines.lines().count(), 4, "{lines}");

    let parent = Writer::spawn_parent(scratch.path("killed"), "p".into(), 3).await?;
    let pids = parent.pids().await?;
    Proxy::kill(&parent).await;
    for pid in pids {
        gone(pid).await;
    }
    assert_eq!(scratch.read("killed"), "");
    Ok(())
}

/// A program that is asked to end by a signal, also to all of its terminal's group, ends its actors
/// in reverse order, drops its `main`, and says so by its exit code.
#[callboard::test]
async fn signals_end_a_program_in_order() -> callboard::Result<()> {
    for to_group in [false, true] {
        for asked in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let scratch = Scratch::new();
            let mut program = serving(&scratch, &mut again(SERVE, "serving")).await;
            let children = children_of(program.id());
            assert_eq!(children.len(), 2);
            if to_group {
                killpg(Pid::from_raw(program.id().cast_signed()), asked)?;
            } else {
                signal(program.id(), asked);
            }
            let status = ended(&mut program).await;
            assert_eq!(status.code(), Some(128 + asked as i32), "{status}");
            let lines = "2: dropped\n1: dropped\nmain: dropped\n";
            assert_eq!(scratch.read("all"), lines, "{asked}");
            assert!(children.iter().all(|pid| is_gone(*pid)));
        }
    }
    Ok(())
}

/// A second signal ends the program at once, and the actors with it.
#[callboard::test]
async fn a_second_signal_does_not_wait() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let mut program = serving(&scratch, again(SERVE, "serving").env("BLOCKED", "yes")).await;
    let children = children_of(program.id());
    signal(program.id(), Signal::SIGTERM);
    eventually(LONG, "its youngest actor ends", || {
        scratch.read("all") == "3: dropped\n"
    })
    .await;
    assert!(program.try_wait()?.is_none(), "it waits for the next one");
    signal(program.id(), Signal::SIGINT);
    let status = ended(&mut program).await;
    assert_eq!(status.code(), Some(128 + libc::SIGINT));
    for child in children {
        gone(child).await;
    }
    assert_eq!(scratch.read("all"), "3: dropped\n");
    Ok(())
}

/// A signal that was ignored at the start is ignored, and the others are not.
#[callboard::test]
async fn ignored_signals_stay_ignored() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe()?)
        .args(again_args(SERVE))
        .env("CALLBOARD_TEST_ROLE", "serving");
    let mut program = serving(&scratch, &mut command).await;
    signal(program.id(), Signal::SIGHUP);
    signal(program.id(), Signal::SIGINT);
    sleep(Duration::from_millis(100)).await;
    assert!(program.try_wait()?.is_none());
    signal(program.id(), Signal::SIGTERM);
    let status = ended(&mut program).await;
    assert_eq!(status.code(), Some(128 + libc::SIGTERM));
    assert!(scratch.read("all").ends_with("main: dropped\n"));
    Ok(())
}

const SERVE: &str = "serve_until_a_signal";

/// Starts a program in a group of its own, and waits until its actors are there.
async fn serving(scratch: &Scratch, command: &mut Command) -> Child {
    command.env("DIARY", scratch.path(""));
    command.process_group(0).stdout(std::process::Stdio::null());
    let program = command.spawn().expect("it can be started");
    eventually(LONG, "it serves", || scratch.0.join("ready").exists()).await;
    program
}

async fn ended(program: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually(LONG, "it ends", || {
        status = program.try_wait().expect("it is ours");
        status.is_some()
    })
    .await;
    status.expect("it has ended")
}

/// The program of the tests above; nothing by itself.
#[test]
fn serve_until_a_signal() {
    if !is_role("serving") {
        return;
    }
    let options = RuntimeOptions {
        flavor: Flavor::MultiThread,
        worker_threads: Some(1),
        signals: true,
    };
    block_on(options, async {
        let dir = std::env::var("DIARY").expect("it was set");
        let path = format!("{dir}/all");
        let _last = Last(path.clone());
        let first = Writer::spawn(path.clone(), "1".into())
            .await
            .expect("it starts");
        let second = Writer::spawn(path.clone(), "2".into());
        let second = second.await.expect("it starts");
        let mut third = None;
        if std::env::var_os("BLOCKED").is_some() {
            second.block(60_000).tell().await.expect("it lives");
            third = Some(Writer::spawn(path, "3".into()).await.expect("it starts"));
        }
        std::fs::write(format!("{dir}/ready"), "").expect("it can be written");
        // It goes on calling, and is not told that the actors are gone.
        while first.echo(1).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        panic!("this is not reached, with {third:?}");
    });
}

/// Writes a line when it is dropped, with `main`.
struct Last(String);

impl Drop for Last {
    fn drop(&mut self) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(&self.0)
            .expect("it is there");
        writeln!(file, "main: dropped").expect("it can be written");
    }
}
