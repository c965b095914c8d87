//! U10, U11, K04, K06, K14: what an actor does at the turns of its life, and in which order, in a
//! process of its own and in a task.

#![allow(
    clippy::unwrap_used,
    reason = "the bodies of tests are functions, for actors of both kinds"
)]

mod common;

use std::fs::OpenOptions;
use std::future::IntoFuture as _;
use std::io::Write as _;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Exit, LinkKind, MethodError, PanicReport, ShutdownError, SpawnError, UnknownCall};
use tokio::time::sleep;

use common::{Holdings, How, LONG, Scratch, Start, alone, both, eventually, within};

/// Appends a line to a file that several processes may share.
fn append(path: &str, line: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file");
    writeln!(file, "{line}").expect("it can be written");
}

/// Writes down its life, and fails where it is told to.
pub struct Diary {
    path: String,
    /// What is to go wrong, and where: "stop panics".
    plan: String,
}

#[actor]
impl Diary {
    pub fn new(path: String, plan: String) -> Self {
        append(&path, "new");
        Self { path, plan }
    }

    #[on_start]
    async fn started(&mut self) -> Result<(), String> {
        self.turn("start").await
    }

    #[on_stop]
    async fn stopped(&mut self) -> Result<(), String> {
        self.turn("stop").await
    }

    #[on_failure]
    async fn failed(&mut self, report: &PanicReport) -> Result<(), String> {
        append(&self.path, report.message());
        self.turn("failure").await
    }

    #[on_error]
    fn erred(&mut self, error: &MethodError) {
        append(&self.path, &error.to_string());
    }

    #[on_unhandled]
    fn unhandled(&mut self, call: &UnknownCall) {
        let way = if call.is_told() { "told" } else { "asked" };
        append(&self.path, &format!("{way}: {call}"));
    }

    pub fn write(&mut self, line: String) {
        append(&self.path, &line);
    }

    pub async fn write_slowly(&mut self, line: String) {
        sleep(Duration::from_millis(5)).await;
        append(&self.path, &line);
    }

    pub fn refuse(&mut self, why: String) -> Result<(), String> {
        Err(why)
    }

    pub async fn refuse_beside(&self, why: String) -> Result<(), String> {
        sleep(Duration::from_millis(5)).await;
        Err(why)
    }

    pub fn panic(&self, words: String) {
        panic!("{words}");
    }

    pub async fn hang(&self) {
        std::future::pending::<()>().await;
    }

    /// Writes down a turn, and what is planned for it happens.
    async fn turn(&self, name: &str) -> Result<(), String> {
        append(&self.path, name);
        match self.plan.strip_prefix(name) {
            Some(" panics") => panic!("{name} panicked"),
            Some(" hangs") => std::future::pending().await,
            Some(" fails") => Err(format!("{name} failed")),
            _ => Ok(()),
        }
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        append(&self.path, "drop");
    }
}

/// A start of a diary with such a plan, into the file `log`. It may take its time to end: the text
/// of a panic, with a backtrace, does in a debug build.
fn start(how: How, scratch: &Scratch, plan: &str) -> Start<DiaryProxy, (String, String)> {
    let args = || (scratch.path("log"), plan.to_owned());
    let (process, local) = (args(), args());
    let start = how.start(
        Diary::spawn(process.0, process.1),
        Diary::local(local.0, local.1),
    );
    start.grace(LONG)
}

/// A diary with such a plan, and its folder.
async fn diary(how: How, plan: &str) -> (Result<DiaryProxy, SpawnError>, Scratch) {
    let scratch = Scratch::new();
    let start = start(how, &scratch, plan).into_future();
    (within(LONG, start).await, scratch)
}

/// Waits until a life is written down to its end.
async fn written(scratch: &Scratch, life: &str) {
    eventually(LONG, life, || scratch.read("log") == life).await;
}

/// An orderly life, by its last proxy as by `shutdown`: the hooks come first and last.
async fn the_hooks_of_an_orderly_life(how: How) -> callboard::Result<()> {
    for is_dropped in [true, false] {
        let (diary, scratch) = diary(how, "").await;
        let diary = diary?;
        assert_eq!(scratch.read("log"), "new\nstart\n", "before any call");
        for line in ["one", "two"] {
            diary.write_slowly(line.into()).tell().await?;
        }
        let life = "new\nstart\none\ntwo\nstop\ndrop\n";
        if is_dropped {
            drop(diary);
            written(&scratch, life).await;
        } else {
            diary.shutdown().await?;
            assert_eq!(scratch.read("log"), life);
        }
    }
    Ok(())
}

/// A start that fails is what `spawn` gives; the actor is dropped, and no other hook runs.
async fn a_start_that_fails(how: How) -> callboard::Result<()> {
    let (failed, scratch) = diary(how, "start fails").await;
    match failed {
        Err(SpawnError::Start { reason }) => assert_eq!(reason, "start failed"),
        other => panic!("{other:?}"),
    }
    assert_eq!(scratch.read("log"), "new\nstart\ndrop\n");
    let (failed, scratch) = diary(how, "start panics").await;
    match failed {
        Err(SpawnError::Panicked(report)) => assert_eq!(report.message(), "start panicked"),
        other => panic!("{other:?}"),
    }
    assert_eq!(scratch.read("log"), "new\nstart\ndrop\n");
    Ok(())
}

/// A start that is given up while its hook runs leaves nothing.
#[callboard::test]
async fn a_start_that_is_given_up() -> callboard::Result<()> {
    if !alone("a_start_that_is_given_up") {
        return Ok(());
    }
    let (first, _scratch) = diary(How::Process, "").await;
    first?.shutdown().await?;
    let spawn = Diary::spawn("/dev/null".into(), String::new());
    spawn.link(LinkKind::Socket).await?.shutdown().await?;
    let before = Holdings::settled().await;
    let scratch = Scratch::new();
    let spawn = Diary::spawn(scratch.path("log"), "start hangs".into()).into_future();
    let hangs = eventually(LONG, "it hangs", || scratch.read("log") == "new\nstart\n");
    tokio::select! {
        started = spawn => panic!("{started:?}"),
        () = hangs => {}
    }
    before.back().await;
    Ok(())
}

/// The same of a local one: it is dropped where it waits, and so is the actor.
#[callboard::test]
async fn a_local_start_that_is_given_up() {
    let scratch = Scratch::new();
    let start = start(How::Local, &scratch, "start hangs").into_future();
    tokio::select! {
        started = start => panic!("{started:?}"),
        () = written(&scratch, "new\nstart\n") => {}
    }
    written(&scratch, "new\nstart\ndrop\n").await;
}

/// After a panic there is `on_failure` with what is known, and no `on_stop`.
async fn the_hooks_of_a_failure(how: How) -> callboard::Result<()> {
    for plan in ["", "failure fails", "failure panics"] {
        let (diary, scratch) = diary(how, plan).await;
        let diary = diary?;
        match within(LONG, diary.panic("no luck".into()).into_future()).await {
            Err(CallError::Panicked(report)) => assert_eq!(report.message(), "no luck"),
            other => panic!("{other:?}"),
        }
        assert_eq!(within(LONG, diary.exited()).await, Exit::Code(101));
        let life = "new\nstart\nno luck\nfailure\ndrop\n";
        assert_eq!(scratch.read("log"), life, "{plan}");
    }
    Ok(())
}

/// A hook of a failure that never ends is given up, so that those who wait are told.
async fn a_failure_takes_no_longer_than_it_may(how: How) -> callboard::Result<()> {
    let (diary, scratch) = diary(how, "failure hangs").await;
    let diary = diary?;
    let waiting = diary.hang().start();
    diary.panic("no luck".into()).tell().await?;
    match within(LONG, waiting).await {
        Err(CallError::Died { death, .. }) => assert_eq!(death.exit(), Exit::Code(101)),
        other => panic!("{other:?}"),
    }
    assert_eq!(scratch.read("log"), "new\nstart\nno luck\nfailure\ndrop\n");
    Ok(())
}

/// A panic in `on_stop` is a failed end; an error is too; one that hangs is killed after the grace.
async fn stops_that_fail(how: How) -> callboard::Result<()> {
    let (panics, scratch) = diary(how, "stop panics").await;
    match within(LONG, panics?.shutdown()).await {
        Err(error) => assert!(error.to_string().contains("stop panicked"), "{error}"),
        Ok(()) => panic!("it panicked"),
    }
    assert_eq!(scratch.read("log"), "new\nstart\nstop\ndrop\n");

    let scratch = Scratch::new();
    let start = start(how, &scratch, "stop hangs");
    let hangs = start.grace(Duration::from_secs(1)).await?;
    let killed = within(LONG, hangs.shutdown()).await;
    let error = killed.expect_err("it hangs");
    let killed = error.as_error().downcast_ref::<ShutdownError>();
    assert!(
        matches!(killed, Some(ShutdownError::Killed { .. })),
        "{error}"
    );
    // A grace says nothing of how far an actor comes. A process does not come to its drop; a task
    // is dropped, with all that it has.
    let log = scratch.read("log");
    let log = log.strip_prefix("new\nstart\n");
    let log = match how {
        How::Process => log,
        How::Local => log.and_then(|log| log.strip_suffix("drop\n")),
    };
    assert!(matches!(log, Some("" | "stop\n")), "{log:?}");
    Ok(())
}

/// The error of a method that was told goes to `on_error`, before what came after it and before
/// the end; the actor lives on. One that was asked for goes to the caller alone.
async fn errors_that_nobody_waits_for(how: How) -> callboard::Result<()> {
    let (diary, scratch) = diary(how, "").await;
    let diary = diary?;
    let told = diary.refuse("first".into()).tell().await;
    told.expect("it is told");
    diary.write("between".into()).tell().await?;
    match diary.refuse("asked".into()).await {
        Err(CallError::Actor(error)) => assert_eq!(error, "asked"),
        other => panic!("{other:?}"),
    }
    let told = diary.refuse_beside("second".into()).tell().await;
    told.expect("it is told");
    diary.shutdown().await?;
    let life = "new\nstart\n`refuse` returned an error: first\nbetween\n\
                `refuse_beside` returned an error: second\nstop\ndrop\n";
    assert_eq!(scratch.read("log"), life);
    Ok(())
}

/// A caller that calls what is no method, which no proxy does: it is told so, the hook hears of it
/// before what came after it, also of a tell, and the actor goes on.
async fn calls_that_the_actor_does_not_know(how: How) -> callboard::Result<()> {
    let (diary, scratch) = diary(how, "").await;
    let diary = diary?;
    let liar = diary.__handle();
    match within(LONG, liar.call::<(), ()>(999, ())).await {
        Err(error @ CallError::UnknownMethod { .. }) => {
            assert_eq!(error.outcome(), Outcome::NotRun);
        }
        other => panic!("{other:?}"),
    }
    diary.write("between".into()).tell().await?;
    liar.call::<(u64,), ()>(998, (7,)).tell().await?;
    diary.shutdown().await?;
    let life = "new\nstart\nasked: there is no method with the number 999\nbetween\n\
                told: there is no method with the number 998\nstop\ndrop\n";
    assert_eq!(scratch.read("log"), life);
    Ok(())
}

both! {
    the_hooks_of_an_orderly_life;
    a_start_that_fails;
    the_hooks_of_a_failure;
    a_failure_takes_no_longer_than_it_may;
    stops_that_fail;
    errors_that_nobody_waits_for;
    calls_that_the_actor_does_not_know;
}
