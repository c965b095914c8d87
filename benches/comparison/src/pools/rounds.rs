//! The rounds: each asks each pool in turn.

use std::time::Duration;

use callboard::pool::Pool;
use callboard::prelude::*;
use tokio::task::JoinHandle;

use super::subjects::{self, WorkerProxy, noise};
use super::{Case, EVERY, Options, PIECE, PIECES, Record, SHORT};
use crate::subject::Outcome;

/// Far longer than any round.
const NOISE: Duration = Duration::from_secs(3600);

/// Pieces before those that count.
const WARM: u32 = 8;

/// All rounds, in turn.
pub async fn run(options: &Options, cores: usize) -> Outcome<Vec<Record>> {
    let mut records = Vec::new();
    let mut subjects = subjects::all(cores, &options.python).await?;
    for round in 0..options.rounds {
        // Every second round backwards: nobody always follows the same neighbour.
        subjects.reverse();
        for subject in &mut subjects {
            let name = subject.name();
            subject.work(WARM, PIECE).await?;
            let took = subject.work(PIECES, PIECE).await?;
            let ideal = (PIECE * PIECES).div_f64(cores as f64);
            eprint!("{round} {name}: {:.3}", ideal.div_duration_f64(took));
            records.push(Record {
                round,
                subject: name,
                case: Case::Work,
                p50: ideal.div_duration_f64(took),
                p99: None,
            });
            for case in [Case::Idle, Case::Loaded] {
                let noise = match case {
                    Case::Loaded => Some(Noise::start().await?),
                    _ => None,
                };
                let took = subject.calls(options.calls, EVERY, SHORT).await?;
                if let Some(noise) = noise {
                    noise.end().await;
                }
                let (p50, p99) = percentiles(took);
                eprint!(", {} {:.0} / {:.0} us", case.key(), p50 / 1e3, p99 / 1e3);
                records.push(Record {
                    round,
                    subject: name,
                    case,
                    p50,
                    p99: Some(p99),
                });
            }
            eprintln!();
        }
    }
    for subject in subjects {
        subject.end().await?;
    }
    Ok(records)
}

fn percentiles(mut took: Vec<Duration>) -> (f64, f64) {
    took.sort_unstable();
    let last = took.len().saturating_sub(1);
    let at = |percent: usize| {
        let found = took.get(last * percent / 100);
        found.map_or(0.0, |took| took.as_nanos() as f64)
    };
    (at(50), at(99))
}

/// A process on each core that works without a pause.
struct Noise {
    pool: Pool<WorkerProxy>,
    tasks: Vec<JoinHandle<()>>,
}

impl Noise {
    async fn start() -> Outcome<Self> {
        let pool = noise().await?;
        // One order for each, which outlasts the round: nobody here has to run for it to go on.
        let order = u64::try_from(NOISE.as_nanos())?;
        let each = |_| {
            let pool = pool.clone();
            tokio::spawn(async move { drop(pool.work(order).await) })
        };
        let tasks = (0..pool.len()).map(each).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Self { pool, tasks })
    }

    async fn end(self) {
        for task in self.tasks {
            task.abort();
        }
        self.pool.kill().await;
    }
}
