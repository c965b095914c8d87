//! U10, U11, P39, C20, C25: the turns of a scope, of a family, and of what runs again and again, in
//! processes and in tasks.

#![allow(
    clippy::unwrap_used,
    reason = "the bodies of tests are functions, for actors of both kinds"
)]

mod common;

use std::fs::OpenOptions;
use std::future::IntoFuture as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{MethodError, ShutdownError, SpawnError};
use tokio::time::sleep;

use common::{How, LONG, Scratch, Start, both, eventually, within};

/// Writes into a file that it shares with those that it starts.
pub struct Member {
    path: String,
    name: String,
    plan: String,
    beneath: Vec<MemberProxy>,
}

#[actor]
impl Member {
    pub fn new(path: String, name: String, plan: String) -> Self {
        let beneath = Vec::new();
        let member = Self {
            path,
            name,
            plan,
            beneath,
        };
        member.write("new".into());
        member
    }

    /// One that starts others when it starts.
    #[on_start]
    async fn started(&mut self) -> Result<(), SpawnError> {
        self.write("start".into());
        if self.plan == "family" {
            for child in ["first", "second"] {
                let spawn = Self::spawn(self.path.clone(), child.into(), String::new());
                self.beneath.push(spawn.await?);
            }
        }
        Ok(())
    }

    #[on_enter]
    async fn entered(&mut self) -> Result<(), String> {
        self.write("enter".into());
        if self.plan == "enter fails" {
            return Err("closed".into());
        }
        Ok(())
    }

    #[on_exit]
    fn exited(&self, why: Option<&str>) -> Result<(), String> {
        self.write(format!("exit, {}", why.unwrap_or("fine")));
        if self.plan == "exit fails" {
            return Err("jammed".into());
        }
        Ok(())
    }

    /// Those beneath are still there.
    #[on_stop]
    async fn stopped(&mut self) {
        self.write("stop".into());
        for child in &self.beneath {
            let written = child.write(format!("goodbye from {}", self.name)).await;
            written.expect("it lives");
        }
    }

    pub fn write(&self, line: String) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .expect("a file");
        writeln!(file, "{}: {line}", self.name).expect("it can be written");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.write("drop".into());
    }
}

/// What is written in the file `log`, without who wrote it where only one does.
fn log(scratch: &Scratch) -> Vec<String> {
    let lines = scratch.read("log");
    let lines = lines.lines().map(|line| line.trim_start_matches("it: "));
    lines.map(str::to_owned).collect()
}

fn start(how: How, scratch: &Scratch, plan: &str) -> Start<MemberProxy, (String, String, String)> {
    let args = || (scratch.path("log"), "it".to_owned(), plan.to_owned());
    let (process, local) = (args(), args());
    how.start(
        Member::spawn(process.0, process.1, process.2),
        Member::local(local.0, local.1, local.2),
    )
}

/// Initialized, entered, left, shut down: the turns of a scope in their order, with what is around.
async fn the_turns_of_a_scope(how: How) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let body = async |member: MemberProxy| Ok(member.write("call".into()).tell().await?);
    within(LONG, start(how, &scratch, "").scope(body)).await?;
    let turns = [
        "new",
        "start",
        "enter",
        "call",
        "exit, fine",
        "stop",
        "drop",
    ];
    assert_eq!(log(&scratch), turns);

    let scratch = Scratch::new();
    let body = async |_| Err::<(), _>(std::io::Error::other("no luck").into());
    let failed = within(LONG, start(how, &scratch, "").scope(body)).await;
    assert_eq!(failed.unwrap_err().to_string(), "no luck");
    let turns = ["new", "start", "enter", "exit, no luck", "stop", "drop"];
    assert_eq!(log(&scratch), turns);
    Ok(())
}

/// A scope whose hooks fail says so, and ends its actor in order.
async fn scopes_that_fail(how: How) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let body = async |_| -> callboard::Result<()> { panic!("it was not entered") };
    let failed = within(LONG, start(how, &scratch, "enter fails").scope(body)).await;
    let error = failed.unwrap_err();
    match error.as_error().downcast_ref::<SpawnError>() {
        Some(SpawnError::Enter { reason }) => assert_eq!(reason, "closed"),
        _ => panic!("{error}"),
    }
    assert_eq!(log(&scratch), ["new", "start", "enter", "stop", "drop"]);

    let scratch = Scratch::new();
    let body = async |_| Ok(());
    let failed = within(LONG, start(how, &scratch, "exit fails").scope(body)).await;
    let error = failed.unwrap_err();
    match error.as_error().downcast_ref::<ShutdownError>() {
        Some(ShutdownError::Exit { reason }) => assert_eq!(reason, "jammed"),
        _ => panic!("{error}"),
    }
    let turns = ["new", "start", "enter", "exit, fine", "stop", "drop"];
    assert_eq!(log(&scratch), turns);
    Ok(())
}

/// A scope whose body panics, or is dropped where it waits, ends its actor too: in order, and after
/// a panic with its exit.
async fn scopes_that_are_torn(how: How) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let panics = async |member: MemberProxy| -> callboard::Result<()> {
        member.write("call".into()).await?;
        panic!("as the test wants it");
    };
    let torn = tokio::spawn(start(how, &scratch, "").scope(panics));
    assert!(within(LONG, torn).await.unwrap_err().is_panic());
    let turns = [
        "new",
        "start",
        "enter",
        "call",
        "exit, the scope panicked",
        "stop",
        "drop",
    ];
    assert_eq!(log(&scratch), turns);

    let scratch = Scratch::new();
    let (told, inside) = tokio::sync::oneshot::channel();
    let endless = async move |_| -> callboard::Result<()> {
        told.send(()).unwrap();
        std::future::pending().await
    };
    tokio::select! {
        ended = start(how, &scratch, "").scope(endless) => panic!("{ended:?}"),
        inside = within(LONG, inside) => inside?,
    }
    let turns = ["new", "start", "enter", "stop", "drop"];
    eventually(LONG, "the actor is dropped", || log(&scratch) == turns).await;
    Ok(())
}

/// Those that an actor has started are there when it stops, and end after that and before it is
/// dropped, the youngest first.
#[callboard::test]
async fn a_family_ends_from_below() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let member = within(LONG, start(How::Process, &scratch, "family").into_future()).await?;
    within(LONG, member.shutdown()).await?;
    let turns = [
        "new",
        "start",
        "first: new",
        "first: start",
        "second: new",
        "second: start",
        "stop",
        "first: goodbye from it",
        "second: goodbye from it",
        "second: stop",
        "second: drop",
        "first: stop",
        "first: drop",
        "drop",
    ];
    assert_eq!(log(&scratch), turns);
    Ok(())
}

/// Does several things again and again.
pub struct Clock {
    period: Duration,
    ticks: u64,
    lates: u64,
    once: u64,
    errors: Vec<String>,
    /// How often the slow method runs, and has run, at once.
    running: AtomicU64,
    running_most: AtomicU64,
    slow: AtomicU64,
}

#[actor]
impl Clock {
    pub fn new(period_ms: u64) -> Self {
        Self {
            period: Duration::from_millis(period_ms),
            ticks: 0,
            lates: 0,
            once: 0,
            errors: Vec::new(),
            running: AtomicU64::new(0),
            running_most: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        }
    }

    #[every(self.period)]
    async fn tick(&mut self) {
        sleep(Duration::from_millis(1)).await;
        self.ticks += 1;
    }

    /// Takes longer than its period, and lets others run meanwhile.
    #[every("1ms")]
    async fn slow(&self) {
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.running_most.fetch_max(running, Ordering::Relaxed);
        sleep(Duration::from_millis(10)).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes longer than its period, and lets nobody run meanwhile.
    #[every("1ms")]
    fn busy(&mut self) {
        thread::sleep(Duration::from_millis(3));
    }

    #[every("1h", delay = "1h")]
    fn late(&mut self) {
        self.lates += 1;
    }

    /// Its first time is at once.
    #[every(Duration::MAX)]
    pub fn once(&mut self) -> Result<(), String> {
        self.once += 1;
        Err(format!("number {}", self.once))
    }

    #[on_error]
    fn erred(&mut self, error: &MethodError) {
        self.errors.push(error.to_string());
    }

    /// How often each has run; and how many of the slow one at once.
    pub fn counts(&self) -> [u64; 5] {
        let slow = self.slow.load(Ordering::Relaxed);
        let most = self.running_most.load(Ordering::Relaxed);
        [self.ticks, slow, self.lates, self.once, most]
    }

    /// Whether nothing periodic has run while this did.
    pub async fn is_alone(&mut self) -> bool {
        let before = (self.ticks, self.slow.load(Ordering::Relaxed));
        sleep(Duration::from_millis(30)).await;
        before == (self.ticks, self.slow.load(Ordering::Relaxed))
    }

    pub fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }
}

/// Periodic methods run beside calls, by the rule of the borrow, never two of one at once, and end
/// with the actor. Neither do those that are always due keep calls from running.
async fn what_runs_again_and_again(how: How) -> callboard::Result<()> {
    let clock = within(
        LONG,
        how.start(Clock::spawn(2), Clock::local(2)).into_future(),
    )
    .await?;
    let counting = async {
        loop {
            let counts = clock.counts().await?;
            if counts[0] >= 5 && counts[1] >= 5 {
                return Ok::<_, CallError>(counts);
            }
        }
    };
    let [.., lates, once, most] = within(LONG, counting).await?;
    assert_eq!((lates, once, most), (0, 1, 1));
    assert!(within(LONG, clock.is_alone().into_future()).await?);
    let errors = clock.errors().await?;
    assert_eq!(errors, ["`once` returned an error: number 1"]);
    let called = clock.once().await;
    assert!(matches!(called, Err(CallError::Actor(text)) if text == "number 2"));
    within(LONG, clock.shutdown()).await
}

/// What both of the next ones are.
#[actor_trait]
pub trait Greeter {
    /// How it was prepared.
    fn greeting(&self) -> String;

    async fn greet(&self, name: String) -> String {
        format!("{}, {name}", self.greeting())
    }

    fn refuse(&mut self, why: String) -> Result<(), String> {
        Err(why)
    }
}

/// Has hooks beside the methods of a trait.
pub struct Host {
    greeting: String,
    errors: Vec<String>,
    ticks: u32,
}

#[actor(Greeter)]
impl Host {
    pub fn new() -> Self {
        Self {
            greeting: "unprepared".into(),
            errors: Vec::new(),
            ticks: 0,
        }
    }

    #[on_start]
    async fn started(&mut self) {
        tokio::task::yield_now().await;
        self.greeting = "welcome".into();
    }

    #[on_error]
    fn erred(&mut self, error: &MethodError) {
        self.errors.push(error.to_string());
    }

    #[every("1ms")]
    fn tick(&mut self) {
        self.ticks += 1;
    }

    pub fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }

    pub fn ticks(&self) -> u32 {
        self.ticks
    }
}

impl Greeter for Host {
    fn greeting(&self) -> String {
        self.greeting.clone()
    }
}

/// The hooks of an actor hold for the methods of its traits, whatever proxy calls them: it has
/// started before the first, hears of their errors, and does the while what is periodic.
async fn hooks_and_traits(how: How) -> callboard::Result<()> {
    let start = how.start(Host::spawn(), Host::local()).into_future();
    let host = within(LONG, start).await?;
    let greeter: GreeterProxy = host.clone().into();
    assert_eq!(greeter.greet("you".into()).await?, "welcome, you");
    let told = greeter.refuse("not today".into()).tell().await;
    told.expect("it is told");
    // Behind the tell, and so behind the hook.
    let errors = host.errors().await?;
    assert_eq!(errors, ["`refuse` returned an error: not today"]);
    let ticking = async {
        while host.ticks().await? < 3 {
            greeter.greet("you".into()).await?;
        }
        Ok::<_, CallError>(())
    };
    within(LONG, ticking).await?;
    drop(greeter);
    within(LONG, host.shutdown()).await
}

both! {
    the_turns_of_a_scope;
    scopes_that_fail;
    scopes_that_are_torn (flavor = "multi_thread", worker_threads = 2);
    what_runs_again_and_again;
    hooks_and_traits;
}
