//! probe
use callboard::prelude::*;
use std::time::Instant;

pub struct Counter { n: u64 }

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self { Self { n: start } }
    pub async fn add(&mut self, by: u64) -> u64 { self.n += by; self.n }
    pub fn get(&self) -> u64 { self.n }
    pub fn echo(&self, x: [u8; 64]) -> [u8; 64] { x }
    pub fn take(&mut self, x: [u8; 64]) { self.n += u64::from(x[0]); }
    pub fn pid(&self) -> u32 { std::process::id() }
}

#[callboard::main(flavor = "current_thread")]
async fn main() -> callboard::Result<()> {
    let t = Instant::now();
    let counter = Counter::spawn(10).await?;
    println!("spawn {:?}", t.elapsed());
    println!("{} in {}", counter.add(5).await?, counter.pid().await?);
    for round in 0..5 {
        let n = 200_000u32;
        let mut times = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let t = Instant::now();
            counter.echo([7; 64]).await?;
            times.push(t.elapsed().as_nanos() as u64);
        }
        times.sort();
        println!("round {round}: p50 {} p99 {} max {}", times[n as usize / 2], times[n as usize * 99 / 100], times[n as usize - 1]);
        let t = Instant::now();
        for _ in 0..n { counter.echo([7; 64]).await?; }
        println!("  mean {:?}", t.elapsed() / n);
        let t = Instant::now();
        for _ in 0..n { counter.take([1; 64]).tell().await?; }
        counter.get().await?;
        println!("  tell {:?}", t.elapsed() / n);
        let t = Instant::now();
        for _ in 0..n / 64 {
            let mut set = Vec::with_capacity(64);
            for _ in 0..64 { set.push(counter.echo([7; 64]).start()); }
            for call in set { call.await?; }
        }
        println!("  pipelined {:?}", t.elapsed() / n);
    }
    counter.shutdown().await
}
