//! UB5: no actor outlives its parent, whatever its state is when that is killed.

mod common;

use std::fs;
use std::future::IntoFuture as _;
use std::process::Child;
use std::time::Duration;

use callboard::prelude::*;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use common::{LONG, Scratch, again, eventually, gone, is_role, is_stopped, signal, within};

/// An actor with actors beneath it.
pub struct Elder {
    beneath: Vec<ElderProxy>,
}

#[actor]
impl Elder {
    pub async fn new(depth: u32) -> Self {
        let mut beneath = Vec::new();
        if depth > 0 {
            for _ in 0..2 {
                let spawn = Box::pin(Self::spawn(depth - 1).into_future());
                beneath.push(spawn.await.expect("it starts"));
            }
        }
        Self { beneath }
    }

    /// The processes from here on down.
    pub async fn pids(&self) -> Vec<u32> {
        let mut pids = vec![std::process::id()];
        for proxy in &self.beneath {
            pids.extend(
                Box::pin(proxy.pids().into_future())
                    .await
                    .expect("it lives"),
            );
        }
        pids
    }

    /// Blocks the whole actor, and everyone beneath it.
    pub async fn block(&mut self) {
        for proxy in &self.beneath {
            Box::pin(proxy.block().tell()).await.expect("it lives");
        }
        std::thread::sleep(LONG * 60);
    }

    /// Calls those beneath again and again.
    pub async fn chatter(&self) {
        for proxy in &self.beneath {
            Box::pin(proxy.chatter().tell()).await.expect("it lives");
        }
        for _ in 0..1_000_000 {
            for proxy in &self.beneath {
                drop(Box::pin(proxy.pids().into_future()).await);
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What the family does when its head is killed.
const STATES: [&str; 4] = ["idle", "busy", "blocked", "stopped"];

/// The parent is killed: nobody beneath it is left, idle, busy, blocked or stopped.
#[callboard::test]
async fn nobody_outlives_the_parent() -> callboard::Result<()> {
    const TEST: &str = "nobody_outlives_the_parent";
    if is_role("parent") {
        return be_the_parent().await;
    }
    let scratch = Scratch::new();
    let mut families: Vec<(Child, Vec<u32>)> = Vec::new();
    for state in STATES {
        let mut command = again(TEST, "parent");
        command.env("STATE", state).env("PIDS", scratch.path(state));
        let parent = command.stdout(std::process::Stdio::null()).spawn()?;
        families.push((parent, Vec::new()));
    }
    for ((_, pids), state) in families.iter_mut().zip(STATES) {
        eventually(LONG, "the family is there", || {
            scratch.read(state).ends_with("all\n")
        })
        .await;
        let read = scratch.read(state);
        *pids = read.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(pids.len(), 14, "two, each with two, each with two");
        if state == "stopped" {
            for pid in pids.iter() {
                signal(*pid, Signal::SIGSTOP);
            }
            eventually(LONG, "all stand still", || {
                pids.iter().all(|pid| is_stopped(*pid))
            })
            .await;
        }
    }
    for (parent, pids) in &mut families {
        parent.kill()?;
        parent.wait()?;
        for pid in pids {
            gone(*pid).await;
        }
    }
    Ok(())
}

async fn be_the_parent() -> callboard::Result<()> {
    let (state, path) = (std::env::var("STATE")?, std::env::var("PIDS")?);
    let elders = [Elder::spawn(2).await?, Elder::spawn(2).await?];
    let mut lines = String::new();
    for elder in &elders {
        for pid in within(LONG, elder.pids()).await? {
            lines += &format!("{pid}\n");
        }
        match state.as_str() {
            "busy" => elder.chatter().tell().await?,
            "blocked" => elder.block().tell().await?,
            _ => {}
        }
    }
    // One of them is in the middle of its life, the other about to end.
    if state == "busy" {
        sleep(Duration::from_millis(50)).await;
    }
    fs::write(path, lines + "all\n")?;
    sleep(LONG).await;
    Ok(())
}

/// An actor in the middle is killed: those beneath it are gone, and those above it go on.
#[callboard::test]
async fn nobody_outlives_an_actor() -> callboard::Result<()> {
    let (elder, other) = (Elder::spawn(2).await?, Elder::spawn(1).await?);
    let pids = elder.pids().await?;
    signal(pids[1], Signal::SIGKILL);
    // In the order of `pids`: the head, its first, the first's two.
    for pid in &pids[1..4] {
        gone(*pid).await;
    }
    assert!(!common::is_gone(pids[0]) && !common::is_gone(pids[4]));
    assert_eq!(within(LONG, other.pids()).await?.len(), 3);
    other.shutdown().await?;
    elder.shutdown().await
}
