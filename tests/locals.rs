//! Actors that are tasks of this process: how they begin and end, and where they run.
//!
//! That their calls keep the rules is shown beside those of processes, in `calls*.rs`.

mod common;

use std::cell::Cell;
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, Exit, ShutdownError};
use tokio::runtime::Handle;
use tokio::time::sleep;

use common::{Holdings, LONG, alone, eventually, within};

/// Says when it is dropped. Its flag is in this process, which a process's actor cannot reach.
#[derive(Default)]
struct Flag(Option<usize>);

static DROPPED: [AtomicBool; 16] = [const { AtomicBool::new(false) }; 16];

impl Drop for Flag {
    fn drop(&mut self) {
        if let Some(at) = self.0 {
            DROPPED[at].store(true, Ordering::SeqCst);
        }
    }
}

fn is_dropped(at: usize) -> bool {
    DROPPED[at].load(Ordering::SeqCst)
}

/// An actor whose future moves between threads.
pub struct Clerk {
    notes: Vec<u64>,
    flag: Flag,
}

/// A constructor's own error.
#[message]
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed on day {0}")]
pub struct Closed(u32);

#[actor]
impl Clerk {
    pub fn new() -> Self {
        Self {
            notes: Vec::new(),
            flag: Flag::default(),
        }
    }

    /// One whose end can be seen.
    pub fn marked(flag: usize) -> Self {
        let mut clerk = Self::new();
        clerk.flag.0 = Some(flag);
        clerk
    }

    pub async fn open(day: u32) -> Result<Self, Closed> {
        tokio::task::yield_now().await;
        if day.is_multiple_of(7) {
            return Err(Closed(day));
        }
        Ok(Self::new())
    }

    pub fn panicking(reason: String) -> Self {
        panic!("cannot begin: {reason}");
    }

    pub async fn endless() -> Self {
        std::future::pending().await
    }

    pub fn note(&mut self, value: u64) -> usize {
        self.notes.push(value);
        self.notes.len()
    }

    pub async fn note_slowly(&mut self, value: u64) -> usize {
        sleep(Duration::from_millis(2)).await;
        self.note(value)
    }

    pub fn panic(&mut self, text: String) {
        assert!(text.is_empty(), "{text}");
        panic_any(7);
    }

    pub async fn panic_later(&self) {
        tokio::task::yield_now().await;
        panic!("later");
    }

    pub async fn hang(&self) {
        std::future::pending().await
    }

    /// In which thread it runs.
    pub fn thread(&self) -> String {
        thread_here()
    }
}

fn thread_here() -> String {
    format!("{:?}", thread::current().id())
}

/// An actor that cannot leave its thread, nor can what its methods hold while they wait.
pub struct Hermit {
    count: Rc<Cell<u64>>,
}

#[actor]
impl Hermit {
    pub fn new() -> Self {
        Self {
            count: Rc::default(),
        }
    }

    pub async fn count(&self) -> u64 {
        let count = Rc::clone(&self.count);
        sleep(Duration::from_millis(1)).await;
        count.set(count.get() + 1);
        count.get()
    }

    pub fn thread(&self) -> String {
        thread_here()
    }

    /// What its thread is called.
    pub fn thread_name(&self) -> Option<String> {
        thread::current().name().map(str::to_owned)
    }

    pub fn panic(&self) {
        panic!("alone");
    }
}

/// Has a local actor of its own.
pub struct Chief {
    clerk: ClerkProxy,
}

#[actor]
impl Chief {
    pub async fn new() -> Self {
        let clerk = Clerk::local().await.expect("it starts");
        Self { clerk }
    }

    pub async fn note(&self, value: u64) -> usize {
        self.clerk.note(value).await.expect("it lives")
    }

    pub async fn same_process(&self) -> bool {
        self.clerk.process_id() == std::process::id()
    }
}

/// Constructors' errors and panics are what a start gives, as of a process, and nothing is left.
#[callboard::test]
async fn starts_fail_with_types() -> callboard::Result<()> {
    let before = Handle::current().metrics().num_alive_tasks();
    Clerk::local_open(1).await?.shutdown().await?;
    match Clerk::local_open(14).await {
        Err(SpawnError::Constructor(error)) => assert_eq!(error, Closed(14)),
        other => panic!("{other:?}"),
    }
    match Clerk::local_panicking("it rains".into()).await {
        Err(SpawnError::Panicked(report)) => {
            assert_eq!(report.message(), "cannot begin: it rains");
            assert!(report.location().unwrap().starts_with("tests/locals.rs:"));
        }
        other => panic!("{other:?}"),
    }
    let given_up = tokio::time::timeout(Duration::from_millis(20), Clerk::local_endless()).await;
    assert!(given_up.is_err());
    no_more_tasks_than(before).await;
    Ok(())
}

/// The tasks of ended actors go.
async fn no_more_tasks_than(count: usize) {
    eventually(LONG, "the actors' tasks are gone", || {
        Handle::current().metrics().num_alive_tasks() <= count
    })
    .await;
}

/// The actor runs on its starter's thread where it can, and in one of its own where it must.
#[callboard::test]
async fn actors_run_where_they_can() -> callboard::Result<()> {
    let clerk = Clerk::local().await?;
    assert_eq!(clerk.thread().await?, thread_here());
    let hermit = Hermit::local().await?;
    assert_ne!(hermit.thread().await?, thread_here());
    let counts = (hermit.count().start(), hermit.count().start());
    assert_eq!(counts.0.await? + counts.1.await?, 3);
    assert_eq!(clerk.process_id(), std::process::id());
    assert_eq!(hermit.process_id(), std::process::id());
    assert_eq!(
        (clerk.stdout_tail(), clerk.stderr_tail()),
        Default::default()
    );
    hermit.shutdown().await?;
    clerk.shutdown().await
}

/// A thread is called as its actor is, as far as the system can hear it.
#[callboard::test]
async fn names_reach_threads() -> callboard::Result<()> {
    for (name, heard) in [("hermit-1", "hermit-1"), ("her\0mit", "her")] {
        let hermit = Hermit::local().name(name).await?;
        assert_eq!(hermit.thread_name().await?.as_deref(), Some(heard));
        hermit.shutdown().await?;
    }
    let hermit = Hermit::local().await?;
    assert_eq!(hermit.thread_name().await?.as_deref(), Some("Hermit"));
    hermit.shutdown().await
}

/// What was sent is done before the end; what comes later is told so, and did not run.
#[callboard::test]
async fn shutdown_drains() -> callboard::Result<()> {
    let clerk = Clerk::local_marked(0).await?;
    let pending: Vec<_> = (0..20).map(|n| clerk.note_slowly(n).start()).collect();
    clerk.shutdown().await?;
    assert!(is_dropped(0) && !clerk.is_alive());
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.await?, at + 1);
    }
    let late = clerk.note(1).await.unwrap_err();
    assert!(matches!(late, CallError::Stopped { .. }), "{late:?}");
    assert_eq!(late.outcome(), Outcome::NotRun);
    assert_eq!(clerk.exited().await, Exit::Code(0));
    clerk.shutdown().await
}

/// The last proxy or pending call ends the actor, whose value is dropped.
#[callboard::test]
async fn the_last_proxy_ends_the_actor() -> callboard::Result<()> {
    let before = Handle::current().metrics().num_alive_tasks();
    let clerk = Clerk::local_marked(1).await?;
    let other = clerk.clone();
    assert_eq!(other, clerk);
    drop(clerk);
    let pending = other.note_slowly(1).start();
    drop(other);
    assert_eq!(within(LONG, pending).await?, 1);
    eventually(LONG, "the actor is dropped", || is_dropped(1)).await;
    no_more_tasks_than(before).await;
    Ok(())
}

/// A panic ends its actor, is told to its caller and then to all others; everyone else lives on.
#[callboard::test]
async fn panics_end_one_actor() -> callboard::Result<()> {
    let (clerk, other) = (Clerk::local_marked(2).await?, Clerk::local().await?);
    let hanging = clerk.hang().start();
    clerk.note(1).tell().await?;
    let behind = clerk.note(2).start();
    let panicking = Clerk::local().await?;
    match within(LONG, panicking.panic("no luck".into())).await {
        Err(CallError::Panicked(report)) => {
            assert_eq!(report.message(), "no luck");
            assert!(report.location().unwrap().starts_with("tests/locals.rs:"));
        }
        other => panic!("{other:?}"),
    }
    match within(LONG, panicking.note(1)).await {
        Err(CallError::Died { death, outcome }) => {
            assert_eq!((death.exit(), outcome), (Exit::Code(101), Outcome::NotRun));
            assert_eq!(death.report().unwrap().message(), "no luck");
            assert_eq!(death.pid(), std::process::id());
            let text = death.to_string();
            assert!(text.starts_with("its task in this process ended"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    match panicking.stop().await {
        Err(ShutdownError::Died(death)) => assert_eq!(death.exit(), Exit::Code(101)),
        other => panic!("{other:?}"),
    }
    assert_eq!(clerk.kill().await, Exit::Dropped);
    let hanging = within(LONG, hanging).await.unwrap_err();
    assert_eq!(hanging.outcome(), Outcome::MayHaveRun);
    // The tell before it waited for the call that hangs, and it was not even read.
    let behind = within(LONG, behind).await.unwrap_err();
    assert_eq!(behind.outcome(), Outcome::NotRun);
    assert!(is_dropped(2));
    assert_eq!(other.note(1).await?, 1);
    Ok(())
}

/// The same of a panic with no text, of one in an async method, and in a thread of its own.
#[callboard::test]
async fn panics_of_every_kind() -> callboard::Result<()> {
    let clerk = Clerk::local().await?;
    match within(LONG, clerk.panic(String::new())).await {
        Err(CallError::Panicked(report)) => assert_eq!(report.message(), "a panic without a text"),
        other => panic!("{other:?}"),
    }
    let clerk = Clerk::local().await?;
    let beside = clerk.hang().start();
    match within(LONG, clerk.panic_later()).await {
        Err(CallError::Panicked(report)) => assert_eq!(report.message(), "later"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        within(LONG, beside).await,
        Err(CallError::Died { .. })
    ));
    let hermit = Hermit::local().await?;
    match within(LONG, hermit.panic()).await {
        Err(CallError::Panicked(report)) => assert_eq!(report.message(), "alone"),
        other => panic!("{other:?}"),
    }
    assert_eq!(within(LONG, hermit.exited()).await, Exit::Code(101));
    Ok(())
}

/// A grace ends, also without proxies; a kill waits for nothing.
#[callboard::test]
async fn graces_end() -> callboard::Result<()> {
    let grace = Duration::from_millis(30);
    let clerk = Clerk::local_marked(3).grace(grace).await?;
    let hanging = clerk.hang().start();
    match within(LONG, clerk.stop()).await {
        Err(ShutdownError::Killed { grace: given }) => assert_eq!(given, grace),
        other => panic!("{other:?}"),
    }
    assert!(is_dropped(3));
    assert!(matches!(hanging.await, Err(CallError::Died { death, .. })
        if death.exit() == Exit::Dropped));

    let clerk = Clerk::local_marked(4).grace(grace).await?;
    clerk.hang().tell().await?;
    drop(clerk);
    eventually(LONG, "the actor is dropped", || is_dropped(4)).await;

    let clerk = Clerk::local_marked(5).await?;
    clerk.hang().tell().await?;
    let stopping = clerk.stop();
    let killing = clerk.kill();
    let (stopped, killed) = within(LONG, async { tokio::join!(stopping, killing) }).await;
    assert!(
        matches!(stopped, Err(ShutdownError::Died(_))),
        "{stopped:?}"
    );
    assert_eq!(killed, Exit::Dropped);
    assert!(is_dropped(5));
    Ok(())
}

/// The end of a runtime ends its actors; those who call them from elsewhere are told.
#[test]
fn runtimes_end_their_actors() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let home = runtime();
    let clerk = home.block_on(async { Clerk::local_marked(6).await.unwrap() });
    let pending = clerk.hang().start();
    drop(home);
    assert!(is_dropped(6) && !clerk.is_alive());
    runtime().block_on(async {
        let late = within(LONG, clerk.note(1)).await.unwrap_err();
        assert!(matches!(late, CallError::Died { .. }), "{late:?}");
        assert_eq!(late.outcome(), Outcome::NotRun);
        assert!(within(LONG, pending).await.is_err());
        assert_eq!(clerk.exited().await, Exit::Dropped);
    });
}

/// Actors that are left are ended in order at the end of all, as processes are.
#[callboard::test]
async fn all_end_together() -> callboard::Result<()> {
    let clerk = Clerk::local_marked(7).await?;
    let hermit = Hermit::local().await?;
    let last = clerk.note_slowly(1).start();
    callboard::shutdown_all().await;
    assert!(is_dropped(7) && !clerk.is_alive() && !hermit.is_alive());
    assert_eq!(last.await?, 1);
    Ok(())
}

/// An actor in a process has local actors, which end with it.
#[callboard::test]
async fn processes_have_local_actors() -> callboard::Result<()> {
    for chief in [Chief::spawn().await?, Chief::local().await?] {
        assert!(chief.same_process().await?);
        assert_eq!(chief.note(1).await?, 1);
        assert_eq!(chief.note(2).await?, 2);
        chief.shutdown().await?;
    }
    Ok(())
}

/// Callers on other threads and runtimes, with an actor that is moved between threads.
#[callboard::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_may_be_anywhere() -> callboard::Result<()> {
    for idle in [Idle::Park, Idle::Adaptive] {
        let clerk = Clerk::local().idle(idle).await?;
        let called = Arc::new(AtomicUsize::new(0));
        let callers = (0..4).map(|_| {
            let (clerk, called) = (clerk.clone(), Arc::clone(&called));
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(within(LONG, async move {
                    for n in 0..500 {
                        clerk.note(n).await.unwrap();
                        called.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            })
        });
        let callers: Vec<_> = callers.collect();
        for n in 0..500 {
            within(LONG, clerk.note_slowly(n).timeout(LONG)).await?;
            if called.load(Ordering::Relaxed) == 2000 {
                break;
            }
        }
        let callers = tokio::task::spawn_blocking(move || {
            callers
                .into_iter()
                .for_each(|caller| caller.join().unwrap());
        });
        within(LONG, callers).await?;
        assert_eq!(called.load(Ordering::Relaxed), 2000);
        clerk.shutdown().await?;
    }
    Ok(())
}

/// Hundreds of local actors of both kinds leave no task, thread or descriptor behind.
#[callboard::test]
async fn nothing_is_left() -> callboard::Result<()> {
    if !alone("nothing_is_left") {
        return Ok(());
    }
    Hermit::local().await?.shutdown().await?;
    Clerk::local().await?.shutdown().await?;
    let before = Holdings::settled().await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    for round in 0..3 {
        let mut clerks = Vec::new();
        for n in 0..100 {
            clerks.push(Clerk::local().await?);
            clerks[n].note(1).await?;
        }
        let mut hermits = Vec::new();
        for _ in 0..10 {
            hermits.push(Hermit::local().await?);
        }
        if round == 1 {
            callboard::shutdown_all().await;
        }
    }
    no_more_tasks_than(tasks).await;
    before.back().await;
    Ok(())
}
