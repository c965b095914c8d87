//! K03, K20: how long calls wait: the usual bound, that of a proxy, that of a call.
//!
//! The usual bound is the process's, so this is one test.

mod common;

use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, Outcome, set_default_timeout};
use tokio::time::sleep;

use common::{LONG, within};

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
    let sloth = Sloth::spawn().await.unwrap();

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
    // More than lies in the link: the last ones wait for room.
    let many: Vec<_> = (0..100)
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
