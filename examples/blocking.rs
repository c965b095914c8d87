//! Actors in a program without async: plain threads, and an actor that adds up what they find.
//!
//! `cargo run --example blocking`

use std::thread;

use callboard::blocking::Block;
use callboard::prelude::*;

/// Counts primes, slowly, in a process of its own.
pub struct Primes {
    found: u64,
}

#[actor]
impl Primes {
    pub fn new() -> Self {
        Self { found: 0 }
    }

    /// Looks from `from` up to below `to`, and tells how many there are.
    pub fn look(&mut self, from: u64, to: u64) -> u64 {
        let is_prime = |n: &u64| {
            *n > 1
                && (2..)
                    .take_while(|d| d * d <= *n)
                    .all(|d| !n.is_multiple_of(d))
        };
        let here = u64::try_from((from..to).filter(is_prime).count()).unwrap_or(u64::MAX);
        self.found += here;
        here
    }

    pub fn found(&self) -> u64 {
        self.found
    }
}

fn main() -> callboard::Result<()> {
    // In an actor's process this line is the last; here it gives what ends the actors in the end.
    let _session = callboard::blocking::init();

    let first = Primes::spawn().name("primes-1").block()?;
    let second = Primes::spawn().name("primes-2").block()?;
    println!(
        "processes {} and {}",
        first.process_id(),
        second.process_id()
    );

    // Two calls at once, in two processes, from one thread.
    let (below, above) = (
        first.look(0, 5000).start(),
        second.look(5000, 10_000).start(),
    );
    let (below, above) = (below.block()?, above.block()?);
    println!("{below} primes below 5000, {above} from there to 10000");
    assert_eq!(below + above, 1229);

    // Several threads, one actor: its calls are run one after the other.
    let found = thread::scope(|scope| {
        let look = |k: u64| first.look(k * 1000, (k + 1) * 1000).block();
        let threads: Vec<_> = (10..14).map(|k| scope.spawn(move || look(k))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join())
            .collect::<Vec<_>>()
    });
    for (k, found) in (10..).zip(found) {
        let found = found.map_err(|_| std::io::Error::other("a thread has panicked"))??;
        println!("{found} from {k}000 on");
    }
    assert_eq!(first.found().block()? + second.found().block()?, 1652);

    // Errors are the same values as in async programs.
    let gone = first.kill().block();
    println!("killed: {gone}");
    match first.found().block() {
        Err(CallError::Died { death, .. }) => println!("told: {death}"),
        other => panic!("{other:?}"),
    }
    second.shutdown().block()
}
