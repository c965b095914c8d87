//! U01, U02, U11: the smallest program: an actor in a process of its own, called and ended.
#![cfg_attr(any(), rustfmt::skip)]
use callboard::prelude::*;

pub struct Counter { n: u64 }

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self { Self { n: start } }        // a constructor: Counter::spawn(10)
    pub async fn add(&mut self, by: u64) -> u64 { self.n += by; self.n }
    pub fn get(&self) -> u64 { self.n }                         // sync methods are fine
    pub fn pid(&self) -> u32 { std::process::id() }
}

#[callboard::main]                                              // tokio, and the child-process hook
async fn main() -> callboard::Result<()> {
    let counter = Counter::spawn(10).await?;                    // CounterProxy; a new OS process
    println!("{} in {}", counter.add(5).await?, counter.pid().await?);
    assert_eq!(counter.get().await?, 15);
    counter.shutdown().await                                    // ends and reaps the process
}
