//! U14, K35: what surrounds an actor's process: where it runs, what it is called,
//! what it writes, and what is told of its death.

mod common;

use std::fs;
use std::future::IntoFuture as _;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Death, Exit, LinkKind, Mailbox, Overflow, SpawnError};
use nix::sys::signal::Signal;

use common::{
    Holdings, LONG, MemoryGroup, SOON, Scratch, again, again_args, alone, gone, is_role, must_pass,
    signal, skipped, within,
};

/// Talks, and looks around.
pub struct Talker;

#[actor]
impl Talker {
    pub fn new() -> Self {
        Self
    }

    /// A constructor that says why it ends its process.
    pub fn failing(words: String) -> Self {
        eprintln!("{words}");
        std::process::abort()
    }

    pub fn say(&self, out: String, err: String) {
        print!("{out}");
        std::io::stdout().flush().expect("somebody takes it");
        eprint!("{err}");
    }

    /// Writes so many blocks of 1024 bytes to standard error, with a number in each.
    pub fn chatter(&self, blocks: u32) {
        let mut stderr = std::io::stderr().lock();
        for block in 0..blocks {
            let block = format!("{block:>1023}\n");
            stderr
                .write_all(block.as_bytes())
                .expect("somebody takes it");
        }
    }

    pub fn exit(&self, words: String, code: i32) {
        eprint!("{words}");
        #[expect(clippy::disallowed_methods, reason = "an actor that ends by itself")]
        std::process::exit(code)
    }

    pub fn panic(&self, words: String) {
        panic!("{words}")
    }

    /// Closes its standard error.
    pub fn close(&self) {
        nix::unistd::close(2).expect("it was open");
    }

    /// Leaves a process behind that holds standard error and is not of our group.
    pub fn leave_behind(&self) -> u32 {
        Command::new("setsid")
            .args(["sleep", "1000"])
            .spawn()
            .expect("there is such a program")
            .id()
    }

    /// Takes more memory than there is.
    pub fn devour(&self) -> usize {
        let all: Vec<_> = (0..100_000).map(|_| vec![1_u8; 1 << 20]).collect();
        all.len()
    }

    pub fn names(&self) -> (String, String) {
        let read = |file: &str| fs::read_to_string(file).expect("proc is there");
        (read("/proc/self/comm"), read("/proc/self/cmdline"))
    }

    pub fn variable(&self, name: String) -> Option<String> {
        std::env::var(name).ok()
    }

    pub fn dir(&self) -> String {
        let dir = std::env::current_dir().expect("it is there");
        dir.display().to_string()
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }
}

/// What a call that ended with its actor says of the death.
fn death<T: std::fmt::Debug>(result: Result<T, CallError>) -> Death {
    match result {
        Err(CallError::Died { death, .. }) => death,
        other => panic!("{other:?}"),
    }
}

const TAIL: Output = Output::Tail(64);

/// What an actor writes can be looked at while it runs, each stream by itself, its end only.
#[callboard::test]
async fn tails_can_be_read() -> callboard::Result<()> {
    let talker = Talker::spawn().stdout(TAIL).stderr(TAIL).await?;
    assert_eq!(
        (talker.stdout_tail(), talker.stderr_tail()),
        Default::default()
    );
    talker.say("out".into(), "err\n".into()).await?;
    assert_eq!(talker.stdout_tail(), "out");
    assert_eq!(talker.stderr_tail(), "err\n");
    talker.say("x".repeat(100), "more".into()).await?;
    assert_eq!(talker.stdout_tail(), "x".repeat(64));
    assert_eq!(talker.stderr_tail(), "err\nmore");
    talker.shutdown().await?;
    assert_eq!(talker.stderr_tail(), "err\nmore", "also after the end");

    let one = Talker::spawn().stdout(Output::Null).await?;
    one.say("out".into(), String::new()).await?;
    assert_eq!((one.stdout_tail(), one.stderr_tail()), Default::default());
    one.shutdown().await
}

/// Without being told otherwise, an actor writes where its parent does; or nowhere.
#[callboard::test]
async fn output_is_inherited_or_dropped() -> callboard::Result<()> {
    if is_role("speaking") {
        let talker = Talker::spawn().await?;
        talker.say("out-said ".into(), "err-said ".into()).await?;
        talker.shutdown().await?;
        let talker = Talker::spawn()
            .stdout(Output::Null)
            .stderr(Output::Null)
            .await?;
        talker.say("out-gone ".into(), "err-gone ".into()).await?;
        return talker.shutdown().await;
    }
    let output = again("output_is_inherited_or_dropped", "speaking").output()?;
    assert!(output.status.success());
    let (out, err) = (
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    );
    assert!(
        out.contains("out-said") && !out.contains("err-said"),
        "{out}"
    );
    assert!(
        err.contains("err-said") && !err.contains("out-said"),
        "{err}"
    );
    assert!(
        !out.contains("gone") && !err.contains("gone"),
        "{out} {err}"
    );
    Ok(())
}

/// An actor that writes more than any pipe holds is not kept waiting, whatever this process does:
/// here its only runtime thread waits for the actor without looking at anything else.
#[callboard::test]
async fn no_actor_waits_for_a_reader() -> callboard::Result<()> {
    let talker = Talker::spawn().stderr(Output::Tail(3000)).await?;
    let scratch = Scratch::new();
    let done = scratch.path("done");
    let chatter = talker.chatter(20_000).start();
    let waiting = std::time::Instant::now();
    while !talker.stderr_is_at(19_999) {
        assert!(
            waiting.elapsed() < LONG,
            "20 MB should be written by now: {done}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    within(SOON, chatter).await?;
    let tail = talker.stderr_tail();
    assert_eq!(tail.len(), 3000);
    assert!(
        tail.ends_with("19999\n") && tail.contains("19998\n"),
        "{tail}"
    );
    talker.shutdown().await
}

trait IsAt {
    fn stderr_is_at(&self, block: u32) -> bool;
}

impl IsAt for TalkerProxy {
    /// Whether the end of standard error is this block of `chatter`.
    fn stderr_is_at(&self, block: u32) -> bool {
        self.stderr_tail().ends_with(&format!("{block}\n"))
    }
}

/// A death tells what standard error ended with, in full and, its last line, in the error's text.
#[callboard::test]
async fn deaths_tell_the_last_words() -> callboard::Result<()> {
    let talker = Talker::spawn().stderr(Output::Tail(1000)).await?;
    talker.say(String::new(), "before\n".into()).await?;
    let words = "cannot go on: no \"luck\"\n\n";
    let told = death(within(SOON, talker.exit(words.into(), 3)).await);
    assert_eq!(told.exit(), Exit::Code(3));
    assert_eq!(told.stderr(), Some("before\ncannot go on: no \"luck\"\n\n"));
    let text = told.to_string();
    assert!(
        text.ends_with(r#"its last words: "cannot go on: no \"luck\"""#),
        "{text}"
    );
    assert_eq!(
        death(talker.echo(1).await),
        told,
        "who comes later is told the same"
    );
    assert!(within(SOON, talker.shutdown()).await.is_err());

    let talker = Talker::spawn().stderr(Output::Tail(10_000)).await?;
    within(SOON, talker.panic("as said".into()))
        .await
        .unwrap_err();
    let told = death(within(SOON, talker.echo(1)).await);
    assert_eq!(told.report().expect("it has panicked").message(), "as said");
    assert!(
        told.stderr().expect("it was kept").contains("as said"),
        "{told:?}"
    );

    let talker = Talker::spawn().stderr(Output::Null).await?;
    let told = death(within(SOON, talker.exit("unheard".into(), 4)).await);
    assert_eq!(told.stderr(), None);

    let spawn = Talker::spawn_failing("no disk".into()).stderr(TAIL);
    match within(SOON, spawn.into_future()).await {
        Err(SpawnError::Died(told)) => {
            assert_eq!(told.stderr(), Some("no disk\n"));
            assert!(told.to_string().contains("SIGABRT"), "{told}");
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// A stream ends with its process, though another one may still hold it, or before, if it is
/// closed; no descriptor is left of it.
#[callboard::test]
async fn streams_end_with_their_process() -> callboard::Result<()> {
    if !alone("streams_end_with_their_process") {
        return Ok(());
    }
    // The threads that live as long as the process are there after the first link of each kind.
    Talker::spawn().stderr(TAIL).await?.shutdown().await?;
    let socket = Talker::spawn().link(LinkKind::Socket).await?;
    socket.shutdown().await?;
    let before = Holdings::settled().await;
    for _ in 0..10 {
        let talker = Talker::spawn().stdout(TAIL).stderr(TAIL).await?;
        let left = talker.leave_behind().await?;
        talker.say("a".into(), "b".into()).await?;
        within(SOON, talker.shutdown()).await?;
        assert_eq!(talker.stderr_tail(), "b");
        drop(talker);
        before.back().await;
        signal(left, Signal::SIGKILL);

        let talker = Talker::spawn().stdout(TAIL).stderr(TAIL).await?;
        talker.close().await?;
        assert_eq!(talker.echo(1).await?, 1);
        signal(talker.process_id(), Signal::SIGKILL);
        talker.exited().await;
        drop(talker);
        before.back().await;
        drop(Talker::spawn().stdout(TAIL).stderr(Output::Null));
        let endless = Talker::spawn().exe("/bin/false").stdout(TAIL).stderr(TAIL);
        assert!(endless.await.is_err());
        before.back().await;
    }
    Ok(())
}

/// A name is in the process list, whole or cut to what the system keeps; without one the type is.
#[callboard::test]
async fn names_are_shown() -> callboard::Result<()> {
    let long = "a name of more than fifteen bytes";
    for (name, comm, shown) in [
        (None, "Talker", "actor:Talker"),
        (Some("c1"), "c1", "actor:c1"),
        (Some(""), "", "actor:"),
        (Some(long), &long[..15], &format!("actor:{long}")),
    ] {
        let spawn = Talker::spawn();
        let spawn = match name {
            Some(name) => spawn.name(name),
            None => spawn,
        };
        let talker = spawn.await?;
        let (found, cmdline) = talker.names().await?;
        assert_eq!(found.trim_end_matches('\n'), comm);
        assert_eq!(cmdline.trim_end_matches('\0'), shown);
        let status = format!("/proc/{}/comm", talker.process_id());
        assert_eq!(fs::read_to_string(status)?.trim_end_matches('\n'), comm);
        talker.shutdown().await?;
    }
    Ok(())
}

/// Environment and working folder are the parent's, but for what was set; a folder that is not
/// there is an error of the start.
#[callboard::test]
async fn environment_and_folder_are_as_set() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let plain = Talker::spawn().await?;
    let own = std::env::current_dir()?.display().to_string();
    assert_eq!(plain.dir().await?, own);
    assert_eq!(
        plain.variable("PATH".into()).await?,
        std::env::var("PATH").ok()
    );
    assert_eq!(plain.variable("PLACE".into()).await?, None);
    assert_eq!(plain.variable("CALLBOARD_ACTOR".into()).await?, None);
    let folder = scratch.path("");
    let set = Talker::spawn()
        .env("PLACE", "first")
        .env("PLACE", "here")
        .env("PATH", "/bin")
        .current_dir(&folder)
        .await?;
    assert_eq!(set.dir().await?, folder.trim_end_matches('/'));
    assert_eq!(set.variable("PLACE".into()).await?.as_deref(), Some("here"));
    assert_eq!(set.variable("PATH".into()).await?.as_deref(), Some("/bin"));
    let nowhere = Talker::spawn().current_dir(scratch.path("nowhere"));
    match within(SOON, nowhere.into_future()).await {
        Err(SpawnError::Exec(error)) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT)),
        other => panic!("{other:?}"),
    }
    plain.shutdown().await?;
    set.shutdown().await
}

/// An actor whose starts are told much by its type.
pub struct Settled;

/// Longer than any test takes.
const FOREVER: Duration = Duration::from_secs(10_000);

#[actor(
    process_name = "settled",
    idle = Idle::Park,
    grace = FOREVER,
    mailbox = Mailbox::messages(2).overflow(Overflow::Fail),
    stdout = Output::Null,
    stderr = Output::Tail(1024),
    current_dir = std::env::temp_dir(),
    greet_within = "50s",
    link = LinkKind::Socket,
    pin = callboard::cpu::Cores::all().at_most(1),
)]
impl Settled {
    pub fn new() -> Self {
        Self
    }

    pub fn surroundings(&self) -> (String, String) {
        let comm = fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let dir = std::env::current_dir().unwrap_or_default();
        (comm.trim().to_owned(), dir.display().to_string())
    }

    pub fn die(&self, words: String) {
        eprintln!("{words}");
        std::process::abort()
    }

    pub async fn hang(&mut self) {
        std::future::pending().await
    }

    pub fn work(&mut self) {}
}

/// What a type says of its starts holds for each of them that does not say otherwise itself.
#[callboard::test]
async fn types_set_what_their_starts_do_not() -> callboard::Result<()> {
    let settled = Settled::spawn().await?;
    assert_eq!(settled.link(), LinkKind::Socket);
    let (name, dir) = settled.surroundings().await?;
    assert_eq!(name, "settled");
    assert_eq!(settled.cores()?.len(), 1);
    assert_eq!(
        dir,
        std::env::temp_dir().canonicalize()?.display().to_string()
    );
    let death = death(settled.die("last words".to_owned()).await);
    assert_eq!(death.stderr().map(str::trim_end), Some("last words"));

    let start = format!("{:?}", Settled::spawn());
    for set in ["Park", "10000s", "50s", "stdout: Null", "messages: 2"] {
        assert!(start.contains(set), "{set}: {start}");
    }
    let other = Settled::spawn()
        .name("other")
        .current_dir("/")
        .link(LinkKind::SharedMemory)
        .mailbox(7)
        .idle(Idle::Adaptive);
    let start = format!("{other:?}");
    for set in ["Adaptive", "messages: 7", "overflow: Wait"] {
        assert!(start.contains(set), "{set}: {start}");
    }
    let other = other.grace(Duration::from_millis(50)).await?;
    assert_eq!(other.link(), LinkKind::SharedMemory);
    let surroundings = other.surroundings().await?;
    assert_eq!(surroundings, ("other".to_owned(), "/".to_owned()));
    let hanging = other.hang().start();
    let error = within(LONG, other.shutdown()).await.unwrap_err();
    assert!(error.to_string().contains("50ms"), "{error}");
    assert!(within(LONG, hanging).await.is_err());
    Ok(())
}

/// A task has those settings that mean something to it.
#[callboard::test]
async fn types_set_what_their_tasks_do_not() -> callboard::Result<()> {
    let mine = std::env::current_dir()?.display().to_string();
    let settled = Settled::local().await?;
    assert_eq!(settled.surroundings().await?.1, mine);
    let hanging = settled.hang().start();
    let waiting = [settled.work().start(), settled.work().start()];
    let error = within(LONG, settled.work()).await.unwrap_err();
    assert!(
        matches!(error, CallError::Full { method: "work" }),
        "{error:?}"
    );
    settled.kill().await;
    for call in waiting.into_iter().chain([hanging]) {
        assert!(within(LONG, call).await.is_err());
    }
    let patient = format!("{:?}", Settled::local().mailbox(64));
    assert!(
        patient.contains("messages: 64") && patient.contains("Park"),
        "{patient}"
    );
    Ok(())
}

/// In a program that is built with `panic = "abort"` a panic is told with its text and place, too.
#[test]
fn aborting_programs_tell_their_panics() {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args([
        "rustc",
        "--quiet",
        "--message-format=json",
        "--example",
        "deaths",
    ]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    if cfg!(feature = "failpoints") {
        build.args(["--features", "failpoints"]);
    }
    build.args(["--", "-C", "panic=abort"]);
    let built = build.output().expect("cargo is there");
    let text = String::from_utf8_lossy(&built.stdout);
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{text}\n{errors}");
    let built = text
        .lines()
        .rev()
        .find_map(|line| line.split("\"executable\":\"").nth(1));
    let program = built.and_then(|rest| rest.split('"').next());
    let output = Command::new(program.unwrap_or_else(|| panic!("{text}")))
        .output()
        .expect("it was built");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.contains("built to abort: true"), "{told}");
}

/// An actor that the system kills for want of memory has died of that, and its parent lives on; one
/// that somebody kills afterwards has died of a plain signal.
#[callboard::test]
async fn want_of_memory_is_told() -> callboard::Result<()> {
    const TEST: &str = "want_of_memory_is_told";
    if is_role("cramped") {
        return in_little_memory().await;
    }
    let Some(group) = MemoryGroup::new("want", 64 << 20) else {
        skipped("a limit of memory needs a cgroup that may be written");
        return Ok(());
    };
    let mut command = group.again();
    command
        .args(again_args(TEST))
        .env("CALLBOARD_TEST_ROLE", "cramped");
    must_pass(&mut command);
    Ok(())
}

async fn in_little_memory() -> callboard::Result<()> {
    let survivor = Talker::spawn().await?;
    for _ in 0..2 {
        let hungry = Talker::spawn().await?;
        let told = death(within(LONG, hungry.devour()).await);
        assert_eq!(told.exit(), Exit::OutOfMemory);
        assert!(told.to_string().contains("no memory left"), "{told}");
        assert_eq!(hungry.exited().await, Exit::OutOfMemory);
        gone(hungry.process_id()).await;

        let killed = Talker::spawn().await?;
        signal(killed.process_id(), Signal::SIGKILL);
        assert!(matches!(
            within(SOON, killed.exited()).await,
            Exit::Signal { number: 9, .. }
        ));
        assert_eq!(within(SOON, survivor.echo(5)).await?, 5);
    }
    survivor.shutdown().await
}
