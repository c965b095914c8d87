//! U28: heat spreads along a rod that lies in shared memory, and several processes compute it
//! together. Each reads the whole rod and writes its own part; the calls say only "go on". One of
//! them is killed half-way: what it had written is there, and another one goes on.

use std::future::IntoFuture as _;
use std::ops::Range;

use callboard::prelude::*;
use callboard::{Array, OutOfRange};
use futures_util::future::try_join_all;

const LEN: usize = 30_000;
const STEPS: usize = 40;
const WORKERS: usize = 3;
/// The step before which a worker is killed.
const KILLED_AT: usize = 17;

/// What is computed, with a place to say what was done.
#[message]
#[derive(Clone, Debug)]
pub struct Rod {
    /// Its temperatures as they are and as they will be; these change places with every step.
    sides: [Array<f64>; 2],
    /// How many places were computed, by all workers.
    done: Array<u64>,
}

/// The temperatures of some places one step later, from theirs and one more at either end.
fn later(now: &[f64]) -> Vec<f64> {
    let change = |three: &[f64]| three[1] + 0.25 * (three[0] - 2.0 * three[1] + three[2]);
    now.windows(3).map(change).collect()
}

/// Computes a part of the rod.
pub struct Worker {
    rod: Rod,
    part: Range<usize>,
}

#[actor]
impl Worker {
    pub fn new(rod: Rod, begin: usize, end: usize) -> Self {
        let part = begin..end;
        Self { rod, part }
    }

    /// Computes its part as it will be after this step.
    pub fn step(&self, step: usize) -> Result<(), OutOfRange> {
        let (now, next) = (step % 2, (step + 1) % 2);
        let Range { start, end } = self.part;
        let there = self.rod.sides[now].get_range(start - 1..=end)?;
        self.rod.sides[next].set_range(start, &later(&there))?;
        // All workers count in the same place.
        let count = (end - start) as u64;
        self.rod.done.update(0, |done| done + count)?;
        Ok(())
    }
}

/// The same, by this process alone.
fn alone(mut rod: Vec<f64>) -> Vec<f64> {
    for _ in 0..STEPS {
        let next = later(&rod);
        rod[1..LEN - 1].copy_from_slice(&next);
    }
    rod
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let mut cold = vec![0.0; LEN];
    cold[LEN / 3..LEN / 2].fill(100.0);
    let rod = Rod {
        sides: [Array::copy_from(&cold)?, Array::copy_from(&cold)?],
        done: Array::new(1)?,
    };
    // Both ends keep their temperature.
    let border = |worker: usize| 1 + worker * (LEN - 2) / WORKERS;
    let start = |worker: usize| Worker::spawn(rod.clone(), border(worker), border(worker + 1));
    let mut workers = try_join_all((0..WORKERS).map(|worker| start(worker).into_future())).await?;

    for step in 0..STEPS {
        if step == KILLED_AT {
            workers[1].kill().await;
            workers[1] = start(1).await?;
            println!("step {step}: a worker was killed, and another one goes on");
        }
        // Everybody is done with a step before somebody begins the next one.
        try_join_all(workers.iter().map(|worker| worker.step(step).start())).await?;
        if step % 10 == 9 {
            let warm = rod.sides[(step + 1) % 2].to_vec();
            let warm = warm.iter().filter(|place| **place > 1.0).count();
            println!("step {step}: {warm} of {LEN} places are warm");
        }
    }
    assert_eq!(rod.sides[STEPS % 2].to_vec(), alone(cold));
    assert_eq!(rod.done.get(0)?, (STEPS * (LEN - 2)) as u64);
    println!("{WORKERS} processes have computed what one would have");
    for worker in workers {
        worker.shutdown().await?;
    }
    Ok(())
}
