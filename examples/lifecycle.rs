//! An actor's life: what runs at its turns, and what runs again and again.
//!
//! `cargo run --example lifecycle` prints each turn as the actor's process writes it.

use std::time::Duration;

use callboard::prelude::*;
use callboard::{MethodError, PanicReport};

/// A clock is set to numbers only.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no number")]
pub struct NoNumber(String);

/// Prints what happens to it.
pub struct Clock {
    ticks: u64,
}

#[actor]
impl Clock {
    pub fn new() -> Self {
        println!("new");
        Self { ticks: 0 }
    }

    #[on_start]
    async fn started(&mut self) -> Result<(), std::io::Error> {
        println!("  start: what fails here is what `spawn` gives");
        Ok(())
    }

    #[on_enter]
    fn entered(&mut self) {
        println!("    enter");
    }

    #[every("20ms")]
    async fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks <= 3 {
            println!("      tick {}", self.ticks);
        }
    }

    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    pub fn set(&mut self, to: String) -> Result<(), NoNumber> {
        println!("      set {to}");
        self.ticks = to.parse().map_err(|_| NoNumber(to))?;
        Ok(())
    }

    #[on_error]
    fn erred(&self, error: &MethodError) {
        println!("      error that nobody waits for: {error}");
    }

    #[on_exit]
    fn exited(&mut self, why: Option<&str>) {
        println!("    exit: {}", why.unwrap_or("all is well"));
    }

    #[on_stop]
    async fn stopped(&mut self) {
        println!("  stop: the last call is done");
    }

    #[on_failure]
    fn failed(&mut self, report: &PanicReport) {
        println!("  failure: {report}");
    }

    pub fn divide(&self, a: u32, b: u32) -> u32 {
        a / b
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        println!("drop");
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let spawn = Clock::spawn().stdout(Output::Tail(4096));
    let mut kept = None;
    spawn
        .scope(async |clock| {
            while clock.ticks().await? < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            clock.set("noon".into()).tell().await?;
            kept = Some(clock);
            Ok(())
        })
        .await?;
    let life = kept.map(|clock| clock.stdout_tail()).unwrap_or_default();
    print!("{life}");
    let turns: Vec<_> = life
        .lines()
        .filter_map(|line| line.trim().split([':', ' ']).next())
        .filter(|turn| *turn != "tick")
        .collect();
    let expected = [
        "new", "start", "enter", "set", "error", "exit", "stop", "drop",
    ];
    assert_eq!(turns, expected);
    assert_eq!(life.matches("tick").count(), 3, "it ticks beside the calls");

    // After a panic there is no orderly stop.
    let clock = Clock::spawn().stdout(Output::Tail(4096)).await?;
    let failed = clock.divide(1, 0).await;
    println!("\n{}", failed.expect_err("it cannot be done"));
    clock.exited().await;
    let life = clock.stdout_tail();
    print!("{life}");
    if cfg!(panic = "unwind") {
        assert!(life.contains("failure") && life.ends_with("drop\n"));
    }
    assert!(!life.contains("stop:"));
    Ok(())
}
