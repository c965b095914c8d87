//! Actors that are killed and return: one alone, one with those that depend on it, one that hangs
//! and leaves what it knew to its next life, and one that dies too often.
//!
//! `cargo run --release --example supervision`

use std::time::Duration;

use callboard::prelude::*;
use callboard::supervision::{Restart, Strategy, Supervisor};
use callboard::{DownReason, Heartbeat, LifeEvent};

/// Holds values, for as long as it lives.
pub struct Cache {
    values: Vec<String>,
}

#[actor]
impl Cache {
    pub fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// Gives how many there are by now.
    pub fn put(&mut self, value: String) -> usize {
        self.values.push(value);
        self.values.len()
    }

    /// Has a bug.
    pub fn crash(&self) {
        std::process::abort()
    }
}

/// Counts, and knows in its next life how far it had come.
pub struct Counter {
    count: u64,
}

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self { count: 0 }
    }

    pub fn count(&mut self, context: &Context) -> u64 {
        self.count += 1;
        if let Err(error) = context.checkpoint::<Self>(&self.count) {
            eprintln!("the next life will not know: {error}");
        }
        self.count
    }

    /// Has another bug.
    pub fn oversleep(&self) {
        std::thread::sleep(Duration::from_secs(3600));
    }

    #[on_restart]
    fn resume(&mut self, count: u64) {
        self.count = count;
    }
}

/// Waits until an actor has ended and lives again; prints both.
async fn watch(name: &str, monitor: &mut callboard::Monitor) {
    while let Some(event) = monitor.next().await {
        match event {
            LifeEvent::Down(DownReason::Died(death)) => println!("  {name} died: {death}"),
            LifeEvent::Down(reason) => println!("  {name}: {reason}"),
            LifeEvent::Up {
                process_id,
                restarts,
                ..
            } if restarts > 0 => {
                println!("  {name} lives again, in process {process_id}");
                return;
            }
            _ => {}
        }
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    println!("kill -9 of one of two that do not need each other");
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let one = supervisor.spawn(Cache::spawn).name("one").await?;
    let other = supervisor.spawn(Cache::spawn).name("other").await?;
    for value in ["a", "b"] {
        one.put(value.into()).await?;
        other.put(value.into()).await?;
    }
    let mut monitor = one.monitor();
    let killed = std::process::Command::new("kill")
        .args(["-9", &one.process_id().to_string()])
        .status()?;
    assert!(killed.success());
    watch("one", &mut monitor).await;
    // The proxy is the same. What lay in memory is gone; the other one has all of it.
    assert_eq!(one.put("c".into()).await?, 1);
    assert_eq!(other.put("c".into()).await?, 3);
    assert_eq!(supervisor.children()[0].restarts, 1);
    for child in supervisor.children() {
        println!("  restarts of {}: {}", child.name, child.restarts);
    }
    supervisor.stop().await?;

    println!("a crash of one on which another one depends");
    let supervisor = Supervisor::builder(Strategy::RestForOne).start();
    let base = supervisor.spawn(Cache::spawn).name("base").await?;
    let front = supervisor.spawn(Cache::spawn).name("front").await?;
    front.put("from base".into()).await?;
    let mut monitor = front.monitor();
    assert!(base.crash().await.is_err());
    watch("front", &mut monitor).await;
    assert_eq!(front.put("anew".into()).await?, 1);
    supervisor.stop().await?;

    println!("one that hangs, and leaves a state");
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let heartbeat = Heartbeat::every(Duration::from_millis(100)).misses(5);
    let make = move || Counter::spawn().heartbeat(heartbeat);
    let counter = supervisor.spawn(make).name("counter").await?;
    assert_eq!((counter.count().await?, counter.count().await?), (1, 2));
    let mut monitor = counter.monitor();
    assert!(counter.oversleep().await.is_err());
    watch("counter", &mut monitor).await;
    assert_eq!(counter.count().await?, 3);
    supervisor.stop().await?;

    println!("one that crashes whatever is done");
    let supervisor = Supervisor::builder(Strategy::OneForOne)
        .restart(Restart::on_failure().max(2).within(Duration::from_secs(60)))
        .start();
    let hopeless = supervisor.spawn(Cache::spawn).name("hopeless").await?;
    let mut monitor = hopeless.monitor();
    let storm = async {
        while let Some(event) = monitor.next().await {
            if let LifeEvent::Up { .. } = event {
                assert!(hopeless.crash().await.is_err());
            }
        }
    };
    let (ended, ()) = tokio::join!(supervisor.ended(), storm);
    let given_up = ended.expect_err("it crashes each time");
    println!("  given up: {given_up}");
    assert_eq!(given_up.child(), "hopeless");
    Ok(())
}
