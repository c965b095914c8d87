//! K03, K20, P12, P35, UB15: how long calls wait: the usual bound, that of a proxy, that of a call.
//!
//! The usual bound is the process's: one test sets it, and no other goes by it.

#![allow(
    clippy::unwrap_used,
    reason = "the bodies of tests are functions, for actors of both kinds"
)]

mod common;

use std::fs;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, Outcome, set_default_timeout};
use tokio::time::sleep;

use common::{How, LONG, Scratch, within};

/// Takes its time.
pub struct Sloth;

#[actor]
impl Sloth {
    pub fn new() -> Self {
        Self
    }

    /// Keeps everybody waiting.
    pub async fn sleep(&mut self, time: Duration) {
        sleep(time).await;
    }

    pub async fn dream(&self) -> u32 {
        std::future::pending().await
    }

    /// Sleeps through the first calls, as many as are said.
    #[idempotent]
    #[cancellable]
    pub async fn wake_at(&self, path: &str, call: usize) -> Result<usize, String> {
        let mut calls = fs::read_to_string(path).unwrap_or_default();
        calls.push('.');
        fs::write(path, &calls).map_err(|error| error.to_string())?;
        if calls.len() < call {
            std::future::pending::<()>().await;
        }
        Ok(calls.len())
    }

    pub fn ballast(&mut self, ballast: Vec<u8>) -> usize {
        ballast.len()
    }
}

fn timeout(error: &CallError) -> Option<(Duration, Outcome)> {
    match error {
        CallError::Timeout { after, outcome } => Some((*after, *outcome)),
        _ => None,
    }
}

/// A call without a bound of its own ends after the usual one, also where it waits for room; a
/// proxy's bound and the call's own come first, and none is none.
#[callboard::test]
async fn every_call_ends() {
    let usual = Duration::from_secs(1);
    set_default_timeout(Some(usual));
    for how in [How::Process, How::Local] {
        let sloth = how.start(Sloth::spawn(), Sloth::local());
        every_call_of(sloth.await.unwrap(), usual).await;
    }
}

async fn every_call_of(sloth: SlothProxy, usual: Duration) {
    let lost = within(LONG, sloth.dream()).await.unwrap_err();
    assert_eq!(timeout(&lost), Some((usual, Outcome::MayHaveRun)));
    let short = Duration::from_millis(20);
    let quick = sloth.with_timeout(short);
    assert_eq!(quick, sloth);
    let lost = within(LONG, quick.dream()).await.unwrap_err();
    assert_eq!(timeout(&lost), Some((short, Outcome::MayHaveRun)));
    let own = Duration::from_millis(30);
    let lost = within(LONG, quick.dream().timeout(own)).await.unwrap_err();
    assert_eq!(timeout(&lost), Some((own, Outcome::MayHaveRun)));

    let patient = sloth.without_timeout().dream().start();
    let also_patient = sloth.dream().no_timeout().start();
    sloth.sleep(LONG).tell().await.unwrap();
    // More than lies in the mailbox and on the link: the last ones wait for room.
    let many: Vec<_> = (0..200)
        .map(|_| sloth.ballast(vec![7; 10_000]).start())
        .collect();
    let mut not_run = 0;
    for call in many {
        let lost = within(LONG, call).await.unwrap_err();
        let (after, outcome) = timeout(&lost).expect("it has waited too long");
        assert_eq!(after, usual);
        not_run += usize::from(outcome == Outcome::NotRun);
    }
    assert!(not_run > 50, "{not_run} waited for room");
    assert!(!patient.is_ready() && !also_patient.is_ready());
    drop((patient, also_patient));
    sloth.kill().await;
}

/// A call of an idempotent method is made again as often as is said, with a bound for each attempt;
/// what the method answers is an answer.
#[callboard::test]
async fn idempotent_calls_are_made_again() {
    let scratch = Scratch::new();
    let sloth = Sloth::spawn().await.unwrap();
    let each = Duration::from_secs(2);
    let path = scratch.path("calls");
    let woken = sloth.wake_at(&path, 3).timeout(each).retry(5);
    assert_eq!(within(LONG, woken).await.unwrap(), 3);
    let lost = sloth.wake_at(&path, 9).timeout(each).retry(1);
    let lost = within(LONG, lost).await.unwrap_err();
    assert!(matches!(lost, CallError::Timeout { after, .. } if after == each));
    assert_eq!(scratch.read("calls").len(), 5, "one call, made twice");
    let nowhere = scratch.path("nowhere/calls");
    let own = within(LONG, sloth.wake_at(&nowhere, 1).retry(5)).await;
    assert!(matches!(own, Err(CallError::Actor(_))));
    sloth.shutdown().await.unwrap();
}
