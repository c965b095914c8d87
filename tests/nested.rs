//! U17, K12, P12, F47, F48: calls that a method makes: what they inherit from the one it serves.

mod common;

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use callboard::CallError;
use callboard::prelude::*;
use tokio::time::sleep;

use common::{LONG, Scratch, eventually, within};

/// Keeps what it was told.
pub struct Inner {
    notes: Vec<u64>,
}

#[actor]
impl Inner {
    pub fn new() -> Self {
        Self { notes: Vec::new() }
    }

    pub fn note(&mut self, value: u64) {
        self.notes.push(value);
    }

    pub fn notes(&self) -> Vec<u64> {
        self.notes.clone()
    }

    /// Busy until there is such a file.
    pub async fn hold(&mut self, gate: String) {
        while !Path::new(&gate).exists() {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Calls another one.
pub struct Outer {
    inner: InnerProxy,
    ends: RefCell<Vec<String>>,
}

#[actor]
impl Outer {
    pub async fn new() -> Self {
        let inner = Inner::spawn().await;
        Self {
            inner: inner.expect("an actor may start others"),
            ends: RefCell::default(),
        }
    }

    /// Makes the other one busy.
    pub async fn occupy(&self, gate: String) {
        let told = self.inner.hold(gate).tell().await;
        told.expect("the other one takes it");
    }

    /// A call that has no bound of its own.
    pub async fn relay(&self, value: u64) {
        let end = match self.inner.note(value).await {
            Ok(()) => "done".to_owned(),
            Err(CallError::Timeout { outcome, .. }) => format!("timeout {outcome:?}"),
            Err(error) => error.to_string(),
        };
        self.ends.borrow_mut().push(end);
    }

    /// How the relayed calls ended.
    pub fn ends(&self) -> Vec<String> {
        self.ends.borrow().clone()
    }

    /// A task of its own waits for nobody, and nobody for it.
    pub async fn relay_apart(&self, value: u64) {
        let inner = self.inner.clone();
        tokio::spawn(async move { inner.note(value).await });
    }

    pub async fn tell(&self, value: u64) {
        let told = self.inner.note(value).tell().await;
        told.expect("a tell has no bound but its own");
    }

    pub async fn notes(&self) -> Vec<u64> {
        self.inner.notes().await.unwrap_or_default()
    }
}

/// A call that a method makes ends with the time of the call that it serves, and is not begun
/// later; what the method tells, or what its tasks call, has no such bound.
#[callboard::test]
async fn deadlines_travel_into_nested_calls() {
    let scratch = Scratch::new();
    let outer = Outer::spawn().await.unwrap();
    outer.relay(1).await.unwrap();
    outer.relay(2).timeout(LONG).await.unwrap();
    outer.occupy(scratch.path("gate")).await.unwrap();
    let short = Duration::from_secs(1);
    // The end of the time and the answer that it is over come in either order.
    let _either = outer.relay(3).timeout(short).await;
    let ends = within(LONG, async {
        loop {
            let ends = outer.ends().await.unwrap();
            if ends.len() == 3 {
                return ends;
            }
        }
    });
    let ends = ends.await;
    assert_eq!(ends[..2], ["done", "done"]);
    assert!(ends[2].starts_with("timeout"), "{ends:?}");
    outer.tell(4).timeout(LONG).await.unwrap();
    outer.relay_apart(5).timeout(LONG).await.unwrap();
    fs::write(scratch.path("gate"), "").unwrap();
    // The task calls when it gets to run, which may be after the next call's coming.
    let notes = within(LONG, async {
        loop {
            let notes = outer.notes().await.unwrap();
            if notes.contains(&5) {
                return notes;
            }
        }
    });
    assert_eq!(notes.await, [1, 2, 4, 5], "the third was never begun");
    outer.shutdown().await.unwrap();
}

/// Calls itself, and others that call back.
pub struct Echoing {
    steps: Vec<u64>,
    peer: Option<EchoingProxy>,
}

#[actor]
impl Echoing {
    pub fn new() -> Self {
        Self {
            steps: Vec::new(),
            peer: None,
        }
    }

    /// An actor of the same type in a process of its own.
    pub async fn new_with_peer() -> Self {
        let peer = Self::spawn().name("peer").await;
        Self {
            steps: Vec::new(),
            peer: Some(peer.expect("an actor may start others")),
        }
    }

    /// A long method in steps: others run in between.
    pub async fn step(&mut self, context: &Context, left: u64) {
        self.steps.push(left);
        if left > 0 {
            let own: EchoingProxy = context.own();
            let told = own.step(left - 1).tell().await;
            told.expect("an actor can tell itself something");
        }
    }

    pub fn steps(&self) -> Vec<u64> {
        self.steps.clone()
    }

    pub async fn steps_later(&self) -> Vec<u64> {
        tokio::task::yield_now().await;
        self.steps.clone()
    }

    /// Waits for itself, alone.
    pub async fn ask_itself(&mut self, context: &Context) -> String {
        let own: EchoingProxy = context.own();
        told(own.steps_later().await)
    }

    /// Waits for itself while others may run: it may ask what others may.
    pub async fn ask_itself_shared(&self, context: &Context) -> (String, String) {
        let own: EchoingProxy = context.own();
        (told(own.steps_later().await), told(own.clear().await))
    }

    pub fn clear(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.steps)
    }

    /// Starts a call of itself and does not wait for it.
    pub async fn start_clear(&mut self, context: &Context) {
        let own: EchoingProxy = context.own();
        context.spawn(async move { drop(own.clear().await) });
    }

    pub async fn stop_itself(&self, context: &Context) {
        let own: EchoingProxy = context.own();
        own.shutdown().await.expect("it is asked to end");
    }

    pub async fn ask_peer(&mut self) -> String {
        match &self.peer {
            Some(peer) => told(peer.steps_later().await),
            None => "nobody".to_owned(),
        }
    }
}

fn told(result: Result<Vec<u64>, CallError>) -> String {
    match result {
        Ok(steps) => format!("{steps:?}"),
        Err(error) => format!("{error}, {:?}", error.outcome()),
    }
}

/// Through its own proxy an actor's long method lets others run; a call of itself that it waits for
/// and that cannot begin is an error that names it, and no hang.
#[callboard::test]
async fn actors_call_themselves() {
    let process = Echoing::spawn().name("itself").await.unwrap();
    call_themselves(&process).await.unwrap();
    let task = Echoing::local().await.unwrap();
    call_themselves(&task).await.unwrap();
}

async fn call_themselves(actor: &EchoingProxy) -> callboard::Result<()> {
    within(LONG, actor.step(3)).await?;
    let mut steps = Vec::new();
    while steps.len() < 4 {
        steps = within(LONG, actor.steps()).await?;
    }
    assert_eq!(steps, [3, 2, 1, 0]);
    let cycle = within(LONG, actor.ask_itself()).await?;
    let name = cycle.split(' ').next().unwrap_or_default();
    assert_eq!(
        cycle,
        format!("{name} -> {name} would wait for each other, NotRun")
    );
    let (shared, exclusive) = within(LONG, actor.ask_itself_shared()).await?;
    assert_eq!(shared, "[3, 2, 1, 0]");
    assert_eq!(exclusive, cycle);
    within(LONG, actor.start_clear()).await?;
    while !within(LONG, actor.steps()).await?.is_empty() {}
    within(LONG, actor.stop_itself()).await?;
    eventually(LONG, "it ends", || !actor.is_alive()).await;
    Ok(())
}

static PING: OnceLock<PingProxy> = OnceLock::new();
static PONG: OnceLock<PongProxy> = OnceLock::new();

/// One of two that call each other. They find each other in statics.
pub struct Ping;

#[actor]
impl Ping {
    pub fn new() -> Self {
        Self
    }

    /// Waits for the other one, alone.
    pub async fn play(&mut self, back: bool) -> String {
        let Some(pong) = PONG.get() else {
            return "nobody".to_owned();
        };
        pong.play(back)
            .await
            .unwrap_or_else(|error| error.to_string())
    }

    /// Waits for the other one, while others may run.
    pub async fn play_shared(&self) -> String {
        let Some(pong) = PONG.get() else {
            return "nobody".to_owned();
        };
        pong.play_shared()
            .await
            .unwrap_or_else(|error| error.to_string())
    }

    pub fn score(&self) -> String {
        "one all".to_owned()
    }
}

/// The other one.
pub struct Pong;

#[actor]
impl Pong {
    pub fn new() -> Self {
        Self
    }

    pub async fn play(&mut self, back: bool, context: &Context) -> String {
        match PING.get() {
            Some(ping) if back => match ping.score().await {
                Err(CallError::Cycle { chain }) => chain.join(" -> "),
                other => format!("{other:?}"),
            },
            _ => context.callers().join(" -> "),
        }
    }

    pub async fn play_shared(&self) -> String {
        match PING.get() {
            Some(ping) => ping.score().await.unwrap_or_else(|error| error.to_string()),
            None => "nobody".to_owned(),
        }
    }
}

/// Two that wait for each other are told so at once, by their names; where the borrow lets the call
/// back run, it runs.
#[callboard::test]
async fn actors_that_wait_for_each_other_are_told() {
    let ping = Ping::local().await.unwrap();
    let pong = Pong::local().await.unwrap();
    assert!(PING.set(ping.clone()).is_ok() && PONG.set(pong.clone()).is_ok());
    let there = within(LONG, ping.play(false)).await.unwrap();
    assert_eq!(there, "Ping");
    let back = within(LONG, ping.play(true)).await.unwrap();
    assert_eq!(back, "Ping -> Pong -> Ping");
    let shared = within(LONG, ping.play_shared()).await.unwrap();
    assert_eq!(shared, "one all");
    // Statics are never dropped: the two are ended by hand.
    ping.shutdown().await.unwrap();
    pong.shutdown().await.unwrap();
}
