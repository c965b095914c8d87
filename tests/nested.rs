//! U17, P12: calls that a method makes: what they inherit from the call that it serves.

mod common;

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use callboard::CallError;
use callboard::prelude::*;
use tokio::time::sleep;

use common::{LONG, Scratch, within};

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
    let notes = within(LONG, outer.notes()).await.unwrap();
    assert_eq!(notes, [1, 2, 4, 5], "the third was never begun");
    outer.shutdown().await.unwrap();
}
