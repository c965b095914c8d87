//! P15, F26, F53-F55: calls that wait for a busy actor. Their order and priorities, what becomes of
//! too many, and that nobody grows or hangs.

mod common;

use std::fs;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Mailbox, Overflow, TryCallError};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tokio::time::sleep;

use common::{LONG, SOON, Scratch, eventually, signal, within};

/// Does its work at its own speed.
pub struct Clerk {
    done: Vec<u64>,
}

#[actor]
impl Clerk {
    pub fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Is busy until the file is there.
    pub async fn wait_for(&mut self, file: String) {
        while fs::metadata(&file).is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn work(&mut self, number: u64) -> u64 {
        self.done.push(number);
        number
    }

    #[priority(high)]
    pub fn hurry(&mut self, number: u64) -> u64 {
        self.work(number)
    }

    #[priority(low)]
    pub async fn tidy_up(&mut self, number: u64) -> u64 {
        self.work(number)
    }

    #[priority(low)]
    pub fn done(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.done)
    }
}

fn open(file: &str) {
    fs::write(file, "").expect("a file can be written");
}

/// What is urgent overtakes what waits, and what is not is overtaken; each kind keeps its order.
#[callboard::test]
async fn priorities_overtake() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let clerk = Clerk::spawn().await?;
    let busy = clerk.wait_for(scratch.path("go")).start();
    for number in 0..30 {
        clerk.tidy_up(200 + number).tell().await?;
        clerk.work(100 + number).tell().await?;
        clerk.hurry(number).tell().await?;
    }
    let done = clerk.done().start();
    open(&scratch.path("go"));
    busy.await?;
    let done = within(LONG, done).await?;
    assert_eq!(done.len(), 90);
    for begin in [0, 100, 200] {
        let of_kind = done
            .iter()
            .filter(|number| (begin..begin + 100).contains(*number));
        assert!(of_kind.copied().eq(begin..begin + 30), "{begin}: {done:?}");
    }
    let place = |number| done.iter().position(|done| *done == number);
    assert_eq!(
        place(15),
        Some(15),
        "the first sixteen are urgent: {done:?}"
    );
    assert!(
        place(29) < place(110),
        "most of what is urgent comes first: {done:?}"
    );
    assert!(place(129) < place(210), "then the rest: {done:?}");
    clerk.shutdown().await
}

/// A full mailbox that is to fail calls fails them at once, while the actor is still busy.
#[callboard::test]
async fn a_full_mailbox_fails_calls_at_once() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let mailbox = Mailbox::messages(3).overflow(Overflow::Fail);
    let clerk = Clerk::spawn().mailbox(mailbox).await?;
    let busy = clerk.wait_for(scratch.path("go")).start();
    let mut waiting: Vec<_> = (1..=3).map(|number| clerk.work(number).start()).collect();
    for number in 4..100 {
        let error = within(SOON, clerk.work(number)).await.unwrap_err();
        assert!(
            matches!(error, CallError::Full { method: "work" }),
            "{error:?}"
        );
        assert_eq!(error.outcome(), Outcome::NotRun);
    }
    // A tell goes on its way, and is counted there.
    clerk.work(100).tell().await?;
    assert!(waiting.iter_mut().all(|call| !call.is_ready()));
    open(&scratch.path("go"));
    busy.await?;
    for (number, call) in (1..).zip(waiting) {
        assert_eq!(call.await?, number);
    }
    assert_eq!(clerk.done().await?, [1, 2, 3]);
    clerk.shutdown().await
}

/// An actor that is a task has the same mailbox.
#[callboard::test]
async fn a_local_actor_has_a_mailbox_too() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let mailbox = Mailbox::messages(1).overflow(Overflow::DropOldest);
    let clerk = Clerk::local().mailbox(mailbox).await?;
    let busy = clerk.wait_for(scratch.path("go")).start();
    let (older, newer) = (clerk.work(1).start(), clerk.work(2).start());
    let error = within(SOON, older).await.unwrap_err();
    assert!(matches!(error, CallError::Dropped { .. }), "{error:?}");
    open(&scratch.path("go"));
    busy.await?;
    assert_eq!(newer.await?, 2);
    clerk.shutdown().await
}

/// A full mailbox that is to drop calls drops the oldest or the newest, and tells their callers.
#[callboard::test]
async fn a_full_mailbox_drops_calls() -> callboard::Result<()> {
    let cases = [
        (Overflow::DropOldest, [18, 19]),
        (Overflow::DropNewest, [10, 11]),
    ];
    for (overflow, kept) in cases {
        let scratch = Scratch::new();
        let mailbox = Mailbox::messages(2).overflow(overflow);
        let clerk = Clerk::spawn().mailbox(mailbox).await?;
        let busy = clerk.wait_for(scratch.path("go")).start();
        let calls: Vec<_> = (10..20).map(|number| clerk.work(number).start()).collect();
        let mut answers = JoinSet::new();
        for (number, call) in (10..).zip(calls) {
            answers.spawn(async move { (number, call.await) });
        }
        for _ in 0..8 {
            let answer = within(SOON, answers.join_next()).await;
            let (number, result) = answer.expect("eight are dropped")?;
            assert!(!kept.contains(&number), "{overflow:?}: {number}");
            let error = result.unwrap_err();
            assert!(
                matches!(error, CallError::Dropped { method: "work" }),
                "{error:?}"
            );
            assert_eq!(error.outcome(), Outcome::NotRun);
        }
        open(&scratch.path("go"));
        busy.await?;
        while let Some(answer) = answers.join_next().await {
            let (number, result) = answer?;
            assert_eq!(result?, number);
        }
        assert_eq!(clerk.done().await?, kept);
        clerk.shutdown().await?;
    }
    Ok(())
}

/// Checks that numbers come in their order, and is slower than who sends them.
pub struct Reader {
    next: u64,
}

#[actor]
impl Reader {
    pub fn new() -> Self {
        Self { next: 0 }
    }

    /// Takes the next number; now and then it is a while before it takes another one.
    pub async fn read(&mut self, number: u64) {
        assert_eq!(number, self.next, "numbers come in their order");
        self.next += 1;
        if number.is_multiple_of(20_000) {
            sleep(Duration::from_millis(20)).await;
        } else if number.is_multiple_of(50) {
            tokio::task::yield_now().await;
        }
    }

    pub fn next(&self) -> u64 {
        self.next
    }

    /// The process's resident memory in pages.
    pub fn resident(&self) -> u64 {
        resident()
    }
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let second = statm.split_whitespace().nth(1);
    second.and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// A million tells to an actor that is slower than their sender: the sender waits, neither process
/// grows, and each tell is done once, in its order.
#[callboard::test(flavor = "multi_thread")]
async fn a_million_tells_to_a_slow_actor() -> callboard::Result<()> {
    const TELLS: u64 = 1_000_000;
    const WARM: u64 = 100_000;
    /// 8 MiB; the tells themselves take more than twenty.
    const PAGES: u64 = 2048;
    let reader = Reader::spawn().await?;
    for number in 0..WARM {
        reader.read(number).tell().await?;
    }
    assert_eq!(reader.next().await?, WARM);
    let before = (resident(), reader.resident().await?);
    assert!(before.0 > 0 && before.1 > 0);
    for number in WARM..TELLS {
        reader.read(number).tell().await?;
    }
    assert_eq!(within(LONG, reader.next()).await?, TELLS);
    let after = (resident(), reader.resident().await?);
    assert!(
        after.0 < before.0 + PAGES,
        "the sender: {before:?} {after:?}"
    );
    assert!(
        after.1 < before.1 + PAGES,
        "the actor: {before:?} {after:?}"
    );
    reader.shutdown().await
}

/// Holds on to a call, and answers others at length.
pub struct Holder;

#[actor]
impl Holder {
    pub fn new() -> Self {
        Self
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub async fn hold(&mut self, file: String) {
        open(&file);
        std::future::pending().await
    }

    pub async fn echo(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        tokio::task::yield_now().await;
        bytes
    }
}

/// The actor is killed while its mailbox, its link and its callers are full of calls: all of them
/// end soon, and of all only the one that was running may have run.
#[callboard::test(flavor = "multi_thread")]
async fn senders_to_a_dead_actor_do_not_wait() -> callboard::Result<()> {
    let mailbox = Mailbox::messages(100).bytes(64 * 1024);
    let holder = Holder::spawn().mailbox(mailbox).await?;
    let pid = holder.pid().await?;
    let mut calls = JoinSet::new();
    let scratch = Scratch::new();
    let (held, begun) = (holder.clone(), scratch.path("begun"));
    let holds = begun.clone();
    calls.spawn(async move { held.hold(holds).await.map(|()| Vec::new()) });
    eventually(LONG, "it is busy", || fs::exists(&begun).is_ok_and(|is| is)).await;
    for _ in 0..2000 {
        let holder = holder.clone();
        calls.spawn(async move { holder.echo(vec![1; 1000]).await });
    }
    eventually(LONG, "there is no room for more", || {
        matches!(
            holder.echo(vec![1; 1000]).try_start(),
            Err(TryCallError::Full(_))
        )
    })
    .await;
    signal(pid, Signal::SIGKILL);
    let ends = within(SOON, calls.join_all()).await;
    let mut may_have_run = 0;
    for end in ends {
        let error = end.unwrap_err();
        assert!(matches!(error, CallError::Died { .. }), "{error:?}");
        may_have_run += usize::from(error.outcome() != Outcome::NotRun);
    }
    assert_eq!(may_have_run, 1);
    Ok(())
}

/// Calls and answers that fill the link both ways at once, through a mailbox that is full too, go
/// on: whoever waits to send still takes in.
#[callboard::test(flavor = "multi_thread")]
async fn both_directions_full_is_no_deadlock() -> callboard::Result<()> {
    for mailbox in [Mailbox::messages(2), Mailbox::default().bytes(1)] {
        let holder = Holder::spawn().mailbox(mailbox).await?;
        let mut calls = JoinSet::new();
        for number in 0..100_u8 {
            let holder = holder.clone();
            calls.spawn(async move {
                for len in [10, 20_000, 200_000] {
                    let bytes = vec![number; len];
                    assert!(
                        holder
                            .echo(bytes.clone())
                            .await
                            .is_ok_and(|echo| echo == bytes)
                    );
                }
            });
        }
        within(LONG, calls.join_all()).await;
        holder.shutdown().await?;
    }
    Ok(())
}
