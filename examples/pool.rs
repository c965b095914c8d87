//! A pool of actors: one call, a call to each, many values with a bar that shows how far they are,
//! and a member that is killed and comes back.
//!
//! `cargo run --release --example pool`

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};

use callboard::pool::Pool;
use callboard::prelude::*;
use futures_util::StreamExt as _;

/// Looks for prime numbers.
pub struct Sieve {
    asked: u64,
}

#[actor]
impl Sieve {
    pub fn new() -> Self {
        Self { asked: 0 }
    }

    /// How many prime numbers there are from `from` until before `to`, by trying.
    pub fn primes(&mut self, from: u64, to: u64) -> u64 {
        self.asked += 1;
        (from.max(2)..to)
            .filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0))
            .count() as u64
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Dies, as by a bug in foreign code.
    pub fn crash(&self) {
        std::process::abort()
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let pool = Pool::spawn(3, |number| Sieve::spawn().name(format!("sieve-{number}"))).await?;
    println!("a pool of {} processes", pool.len());

    // The pool is called like one actor.
    println!("{} primes below a hundred", pool.primes(0, 100).await?);

    // Many values: each goes to a member that has room.
    const PARTS: u64 = 60;
    let parts = (0..PARTS).map(|part| (part * 5000, (part + 1) * 5000));
    let mut counts = pool
        .map(parts, |sieve, (from, to)| sieve.primes(from, to))
        .unordered();
    let (mut done, mut primes) = (0, 0);
    while let Some(count) = counts.next().await {
        primes += count?;
        done += 1;
        show_progress(done, PARTS)?;
    }
    drop(counts);
    println!("{primes} primes below {}", PARTS * 5000);
    assert_eq!(primes, 25_997);

    // Each member, at once.
    let mut asked = Vec::new();
    for count in pool.broadcast(|sieve| sieve.asked()).await {
        asked.push(count?);
    }
    println!("asked {asked:?} times");
    assert_eq!(asked.iter().sum::<u64>(), PARTS + 1);

    // One dies. Its call is told so; the next ones find others, and soon the new one.
    let Err(CallError::Died { death, outcome }) = pool.crash().await else {
        unreachable!("it dies each time");
    };
    println!("a call: {death}; whether it ran: {outcome:?}");
    let mut seen = HashSet::new();
    while pool.members().iter().any(|member| !member.is_alive) || seen.len() < 3 {
        seen.insert(pool.pid().await?);
    }
    let restarts: u64 = pool.members().iter().map(|member| member.restarts).sum();
    println!("three again, after {restarts} restart");
    assert_eq!(restarts, 1);

    pool.shutdown().await
}

/// Draws a bar over itself where somebody watches, and a line at the end elsewhere.
fn show_progress(done: u64, all: u64) -> std::io::Result<()> {
    const WIDTH: u64 = 40;
    let mut out = std::io::stdout();
    let filled = "#".repeat(usize::try_from(done * WIDTH / all).unwrap_or(0));
    if out.is_terminal() {
        let end = if done == all { "\n" } else { "\r" };
        write!(out, "[{filled:<40}] {done}/{all}{end}")?;
        out.flush()?;
    } else if done == all {
        writeln!(out, "[{filled:<40}] {done}/{all}")?;
    }
    Ok(())
}
