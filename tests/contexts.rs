//! K07, K12, P34, P36: what a method knows of its call and its actor: time, callers, cancels; of
//! actors in processes and of those that are tasks.

mod common;

use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, DownReason};
use tokio::time::sleep;

use common::{How, LONG, Scratch, Start, both, eventually, within};

both! {
    methods_know_their_calls;
    methods_know_their_actors;
    methods_hear_of_cancels;
    cancellable_methods_are_dropped;
    tasks_end_with_their_actor;
}

/// Says what its calls are told.
pub struct Clerk {
    born_for: Vec<String>,
    given_up: u32,
}

#[actor]
impl Clerk {
    pub fn new(context: &Context) -> Self {
        Self {
            born_for: context.callers(),
            given_up: 0,
        }
    }

    pub fn born_for(&self) -> Vec<String> {
        self.born_for.clone()
    }

    /// Between other arguments, borrowed ones too.
    pub fn time_left(&self, text: &str, context: &Context, factor: u32) -> Option<Duration> {
        assert_eq!((text, factor), ("time", 2));
        assert_eq!(context.deadline().is_some(), context.remaining().is_some());
        context.remaining().map(|left| left * factor)
    }

    pub async fn callers(&self, context: &Context) -> Vec<String> {
        context.callers()
    }

    /// Waits for the end of the call, and says in a file that it has seen it.
    pub async fn until_cancelled(&self, context: &Context, path: String) {
        assert!(!context.is_cancelled());
        context.cancelled().await;
        assert!(context.is_cancelled());
        std::fs::write(path, "seen").expect("the folder is there");
    }

    /// The same, alone.
    pub async fn until_cancelled_alone(&mut self, path: String, context: &Context) {
        std::fs::write(path, "begun").expect("the folder is there");
        context.cancelled().await;
        self.given_up += 1;
    }

    /// Never ends by itself.
    #[cancellable]
    pub async fn forever(&self, path: String) -> u32 {
        let _says_so = SaysSo(path);
        std::future::pending().await
    }

    #[cancellable]
    pub async fn forever_alone(&mut self) -> u32 {
        self.given_up += 1;
        std::future::pending().await
    }

    #[cancellable]
    pub async fn soon(&mut self, result: Result<u32, String>) -> Result<u32, String> {
        sleep(Duration::from_millis(1)).await;
        result
    }

    pub fn given_up(&self) -> u32 {
        self.given_up
    }

    /// Writes while the actor lives.
    pub fn tick(&self, context: &Context, path: String) {
        context.spawn(async move {
            loop {
                std::fs::write(&path, "tick").expect("the folder is there");
                sleep(Duration::from_millis(5)).await;
            }
        });
    }

    pub fn retire(&self, context: &Context) {
        context.stop();
    }

    /// What it is told of itself by its own proxy: whether that is one of the same actor, whether
    /// it lives, and how often calls were given up so far.
    pub async fn itself(&self, context: &Context, other: ClerkProxy) -> (bool, bool, Option<u32>) {
        let own: ClerkProxy = context.own();
        let given_up = own.given_up().await.ok();
        (own == other, own.is_alive(), given_up)
    }
}

/// Notes its end in a file.
struct SaysSo(String);

impl Drop for SaysSo {
    fn drop(&mut self) {
        std::fs::write(&self.0, "dropped").expect("the folder is there");
    }
}

/// Calls a clerk of its own.
pub struct Boss(ClerkProxy);

#[actor]
impl Boss {
    pub async fn new() -> Self {
        let clerk = Clerk::spawn().await;
        Self(clerk.expect("an actor may start others"))
    }

    /// Its clerk is a task beside it.
    pub async fn with_local() -> Self {
        let clerk = Clerk::local().await;
        Self(clerk.expect("an actor may start others"))
    }

    pub async fn callers(&mut self) -> Vec<String> {
        self.0.callers().await.unwrap_or_default()
    }
}

fn clerk(how: How) -> Start<ClerkProxy, ()> {
    how.start(Clerk::spawn(), Clerk::local())
}

/// A method knows how long it is waited for, and by which actors.
async fn methods_know_their_calls(how: How) -> callboard::Result<()> {
    let clerk = clerk(how).await?;
    assert_eq!(clerk.time_left("time", 2).await?, None);
    let left = clerk.time_left("time", 2).timeout(LONG).await?;
    let left = left.expect("there is a bound");
    assert!(left > LONG && left <= LONG * 2, "{left:?}");
    assert!(clerk.born_for().await?.is_empty());
    assert!(clerk.callers().await?.is_empty());
    let boss = match how {
        How::Process => Boss::spawn().name("boss").await?,
        How::Local => Boss::local_with_local().name("boss").await?,
    };
    assert_eq!(boss.callers().await?, ["boss"]);
    boss.shutdown().await?;
    clerk.shutdown().await
}

/// A method has its actor's own proxy, which calls it beside itself, and keeps nobody alive.
async fn methods_know_their_actors(how: How) -> callboard::Result<()> {
    let (one, other) = (clerk(how).await?, clerk(how).await?);
    let told = within(LONG, one.itself(one.clone())).await?;
    assert_eq!(told, (true, true, Some(0)));
    let told = within(LONG, one.itself(other.clone())).await?;
    assert_eq!(told, (false, true, Some(0)));
    let mut monitor = one.monitor();
    drop(one);
    let down = within(LONG, monitor.down()).await;
    assert_eq!(down, Some(DownReason::Stopped));
    other.shutdown().await
}

/// A running method hears that its call was given up, whichever way the actor waits.
async fn methods_hear_of_cancels(how: How) -> callboard::Result<()> {
    for idle in [Idle::Park, Idle::Adaptive, Idle::Busy] {
        let scratch = Scratch::new();
        let clerk = clerk(how).idle(idle).await?;
        let path = scratch.path("shared");
        let shared = clerk.until_cancelled(path.clone()).start();
        let other = clerk.until_cancelled(scratch.path("other")).start();
        assert_eq!(within(LONG, clerk.given_up()).await?, 0, "both have begun");
        drop(shared);
        eventually(LONG, "the cancel is heard", || {
            scratch.read("shared") == "seen"
        })
        .await;
        assert!(!other.is_ready(), "nobody has given this one up");
        drop(other);
        let path = scratch.path("alone");
        let alone = clerk.until_cancelled_alone(path).start();
        eventually(LONG, "it has begun", || scratch.read("alone") == "begun").await;
        drop(alone);
        assert_eq!(within(LONG, clerk.given_up()).await?, 1);
        clerk.shutdown().await?;
    }
    Ok(())
}

/// A cancellable method is dropped where it waits; others of its actor go on.
async fn cancellable_methods_are_dropped(how: How) -> callboard::Result<()> {
    for idle in [Idle::Park, Idle::Busy] {
        let scratch = Scratch::new();
        let clerk = clerk(how).idle(idle).await?;
        let first = clerk.forever(scratch.path("first")).start();
        let second = clerk.forever(scratch.path("second")).start();
        assert_eq!(within(LONG, clerk.given_up()).await?, 0);
        drop(first);
        eventually(LONG, "the first is dropped", || {
            scratch.read("first") == "dropped"
        })
        .await;
        assert_eq!(scratch.read("second"), "");
        drop(second);
        for count in 1..=3 {
            drop(clerk.forever_alone().start());
            let short = Duration::from_millis(20);
            let lost = clerk.forever_alone().timeout(short).await;
            assert!(matches!(lost, Err(CallError::Timeout { .. })));
            let given_up = within(LONG, clerk.given_up()).await?;
            assert!(given_up >= count, "the actor goes on");
        }
        assert_eq!(clerk.soon(Ok(7)).await.expect("it does as it is told"), 7);
        let own = clerk.soon(Err("no".to_owned())).await.expect_err("its own");
        assert!(matches!(own, CallError::Actor(text) if text == "no"));
        clerk.shutdown().await?;
    }
    Ok(())
}

/// An actor's tasks run beside its methods and end with it; it can end itself.
async fn tasks_end_with_their_actor(how: How) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let clerk = clerk(how).await?;
    clerk.tick(scratch.path("tick")).await?;
    eventually(LONG, "the task runs", || scratch.read("tick") == "tick").await;
    clerk.retire().await?;
    eventually(LONG, "the actor ends", || !clerk.is_alive()).await;
    let lost = within(LONG, clerk.given_up()).await;
    let lost = lost.expect_err("it has ended");
    assert!(
        matches!(lost, CallError::Died { .. } | CallError::Stopped { .. }),
        "{lost}"
    );
    let mut quiet = 0;
    eventually(LONG, "the task has ended", || {
        let wrote = std::fs::remove_file(scratch.path("tick")).is_ok();
        quiet = if wrote { 0 } else { quiet + 1 };
        quiet == 10
    })
    .await;
    Ok(())
}
