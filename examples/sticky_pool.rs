//! One actor for each physical core, pinned to it: shows the machine, and who runs where.
//!
//! `cargo run --release --example sticky_pool`

use callboard::cpu::{self, Cores};
use callboard::pool::Pool;
use callboard::prelude::*;

/// Stays where it is put.
pub struct Sticky;

#[actor]
impl Sticky {
    pub fn new() -> Self {
        Self
    }

    /// Its process, the cores that it may use, and how many threads it thinks make sense.
    pub fn place(&self) -> (u32, String, usize) {
        let cores = cpu::allowed().map_or_else(|error| error.to_string(), |set| set.to_string());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (std::process::id(), cores, threads)
    }

    /// Something to do.
    pub fn work(&self, rounds: u64) -> u64 {
        (0..rounds).fold(0, |sum, n| std::hint::black_box(sum ^ n.wrapping_mul(n)))
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    println!("{}\n", cpu::topology()?);

    let cores = Cores::physical();
    let places = cores.places()?;
    let pool = Pool::spawn(cores, |_| Sticky::spawn()).await?;
    assert_eq!(pool.len(), places.len());

    let done = pool
        .map(0..32, |sticky, _| sticky.work(100_000))
        .all()
        .await?;
    assert_eq!(done.len(), 32);

    let answers = pool.broadcast(|sticky| sticky.place()).await;
    for (place, answer) in places.iter().zip(answers) {
        let (pid, cores, threads) = answer?;
        println!("process {pid} on core {cores}");
        // What it was given is what it has, and it knows that it is alone.
        assert_eq!((cores, threads), (place.to_string(), 1));
    }
    pool.shutdown().await
}
