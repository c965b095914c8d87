//! U02, UB13: messages of any size, and links that are full in both directions.

#![allow(
    clippy::unwrap_used,
    reason = "the bodies of tests are functions, for actors of both kinds"
)]

mod common;

use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, EncodeError};

use common::{How, LONG, Start, both, within};

/// The longest message that may travel.
const MESSAGE_LEN_MAX: usize = 256 * 1024 * 1024;

/// The largest message that is sent here, in MiB. Each byte costs a debug build its while.
const LARGEST: usize = if cfg!(debug_assertions) { 17 } else { 64 };

/// Stores and sends bytes.
pub struct Depot {
    sums: Vec<u64>,
}

#[actor]
impl Depot {
    pub fn new() -> Self {
        Self { sums: Vec::new() }
    }

    /// One that takes a large argument.
    pub fn with(load: Vec<u8>) -> Self {
        Self {
            sums: vec![sum(&load)],
        }
    }

    pub fn echo(&self, load: Vec<u8>) -> Vec<u8> {
        load
    }

    pub fn len(&self, load: Vec<u8>) -> usize {
        load.len()
    }

    pub fn make(&self, len: usize) -> Vec<u8> {
        vec![3; len]
    }

    pub fn store(&mut self, load: Vec<u8>) {
        self.sums.push(sum(&load));
    }

    pub fn sums(&self) -> Vec<u64> {
        self.sums.clone()
    }

    pub fn fail(&self, load: Vec<u8>) -> Result<(), Burst> {
        Err(Burst(load))
    }

    pub fn block(&self, ms: u64) {
        thread::sleep(Duration::from_millis(ms));
    }
}

fn new_depot(how: How) -> Start<DepotProxy, ()> {
    how.start(Depot::spawn(), Depot::local())
}

/// An error with a load.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("too much")]
pub struct Burst(Vec<u8>);

/// Bytes without a period that a ring or a chunk could have.
fn load(len: usize) -> Vec<u8> {
    let mut load: Vec<u8> = (0..len.min(65_521))
        .map(|at| (at * 31 + at / 251).to_le_bytes()[0])
        .collect();
    while load.len() < len {
        let more = (len - load.len()).min(load.len());
        load.extend_from_within(..more);
    }
    load
}

/// A sum in which places count.
fn sum(load: &[u8]) -> u64 {
    load.chunks(4096).fold(load.len() as u64, |sum, chunk| {
        let part = chunk.iter().fold(0_u64, |part, byte| {
            part * 131 % 1_000_003 + u64::from(*byte)
        });
        sum.rotate_left(5) ^ part
    })
}

/// Messages of every length around what a frame carries, and other borders, come back whole.
async fn lengths_around_every_border(how: How) -> callboard::Result<()> {
    let depot = new_depot(how).await?;
    let frame = 128 * 1024 / 8;
    let borders = [
        2 * frame,
        3 * frame,
        65_536,
        7 * frame,
        128 * 1024,
        256 * 1024,
    ];
    let around = borders
        .into_iter()
        .flat_map(|border| [border - 40, border - 8, border, border + 8]);
    for len in (0..70).chain(frame - 100..=frame + 34).chain(around) {
        let load = load(len);
        assert_eq!(within(LONG, depot.len(load.clone())).await?, len);
        let back = within(LONG, depot.echo(load.clone())).await?;
        assert!(back == load, "{len} bytes came back as {}", back.len());
    }
    depot.shutdown().await
}

/// Large messages travel both ways, and small ones are right after them.
#[callboard::test]
async fn large_messages_travel() -> callboard::Result<()> {
    let depot = Depot::spawn_with(load(3_000_000)).await?;
    for mebibytes in [1, 5, LARGEST] {
        let load = load(mebibytes << 20);
        let back = within(LONG, depot.echo(load.clone())).await?;
        assert!(back == load, "{mebibytes} MiB");
        within(LONG, depot.store(load[..1 << 20].to_vec()).tell()).await?;
        assert_eq!(within(LONG, depot.echo(vec![1, 2, 3])).await?, [1, 2, 3]);
    }
    let first = sum(&load(1 << 20));
    assert_eq!(
        depot.sums().await?,
        [sum(&load(3_000_000)), first, first, first]
    );
    match within(LONG, depot.fail(load(500_000))).await {
        Err(CallError::Actor(Burst(back))) => assert!(back == load(500_000)),
        other => panic!("{other:?}"),
    }
    depot.shutdown().await
}

/// What is longer than a message may be is an error at its sender, and the link is as before.
async fn messages_have_a_limit(how: How) -> callboard::Result<()> {
    let depot = new_depot(how).await?;
    let load = vec![5; MESSAGE_LEN_MAX + 1];
    let error = within(LONG, depot.len(load)).await.unwrap_err();
    match &error {
        CallError::Encode {
            method,
            source: EncodeError::TooLarge { len, limit },
        } => {
            assert_eq!((*method, *limit), ("len", MESSAGE_LEN_MAX));
            assert!(*len > MESSAGE_LEN_MAX);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(error.outcome(), Outcome::NotRun);
    assert_eq!(within(LONG, depot.len(vec![1; 10])).await?, 10);

    let error = within(LONG, depot.make(MESSAGE_LEN_MAX)).await.unwrap_err();
    match &error {
        CallError::Result { method, reason } => {
            assert_eq!(*method, "make");
            assert!(reason.contains(&MESSAGE_LEN_MAX.to_string()), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(error.outcome(), Outcome::Ran);
    assert_eq!(within(LONG, depot.make(10)).await?, [3; 10]);
    depot.shutdown().await
}

/// Large calls against large answers: both rings are full, and everything comes through.
async fn full_in_both_directions(how: How) -> callboard::Result<()> {
    let depot = new_depot(how).await?;
    let sent: Vec<_> = (0..200).map(|n| load(60_000 + n)).collect();
    let pending: Vec<_> = sent
        .iter()
        .map(|load| depot.echo(load.clone()).start())
        .collect();
    for (load, pending) in sent.iter().zip(pending) {
        assert!(within(LONG, pending).await? == *load);
    }
    // Answers that pile up unread while more and more is sent.
    let flood: Vec<_> = (0..300).map(|_| depot.make(20_000).start()).collect();
    for n in 0..100 {
        within(LONG, depot.store(load(n * 1000)).tell()).await?;
    }
    let sums: Vec<_> = (0..100).map(|n| sum(&load(n * 1000))).collect();
    assert_eq!(within(LONG, depot.sums()).await?, sums);
    for pending in flood {
        assert_eq!(within(LONG, pending).await?.len(), 20_000);
    }
    depot.shutdown().await
}

/// The same from many tasks on several threads.
async fn many_large_calls_at_once(how: How) -> callboard::Result<()> {
    let depot = new_depot(how).await?;
    let tasks = (0..12).map(|task| {
        let depot = depot.clone();
        tokio::spawn(async move {
            for round in 0..12 {
                let load = load(1 << (4 + (task + round) % 16));
                assert!(depot.echo(load.clone()).await.unwrap() == load);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        within(LONG, task).await?;
    }
    depot.shutdown().await
}

/// A link that is full of large calls when the actor ends in order loses none of them.
async fn large_answers_are_given_before_the_end(how: How) -> callboard::Result<()> {
    let depot = new_depot(how).await?;
    let blocked = depot.block(100).start();
    let pending: Vec<_> = (0..6).map(|n| depot.make(100_000 + n).start()).collect();
    within(LONG, depot.shutdown()).await?;
    blocked.await?;
    for (n, pending) in pending.into_iter().enumerate() {
        assert_eq!(within(LONG, pending).await?.len(), 100_000 + n);
    }
    Ok(())
}

both! {
    lengths_around_every_border;
    messages_have_a_limit;
    full_in_both_directions;
    many_large_calls_at_once (flavor = "multi_thread", worker_threads = 3);
    large_answers_are_given_before_the_end;
}
