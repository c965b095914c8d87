//! Calls over loopback TCP between two processes, beside the least that a socket takes.
//!
//! ```text
//! cargo run --release -- network [--quick] [--rounds N] [--pin A,B | --unpinned] [--out FOLDER]
//! ```
//!
//! Each call brings a payload, whose first 64 bytes come back: 64 B for the latency, 1 MiB for the
//! rate. Every round takes all ways in turn, every second one backwards; the table gives medians
//! over the rounds, and of the ratios to the bare socket in the same round.
//!
//! **The ways do not do the same.** callboard's calls are encrypted and authenticated, as all of
//! its calls over a network are; everybody else's are plain, as they are unless one adds TLS. So
//! what the cipher takes is in callboard's figures only: `cargo bench --bench network` of the
//! repository takes it apart. All have `TCP_NODELAY`, limits and windows are the defaults, and
//! callers and plain servers each have a runtime of one thread.
//!
//! Left out: kameo's `remote` is libp2p, with discovery, multiplexing and encryption of its own, so
//! it would be that stack which is measured. ractor's `cluster` holds for a whole program: with it,
//! every message of its actors must say whether and how it is serialized, so the ractor that is
//! measured elsewhere in this program would be another one.

mod bare;
mod callboard;
mod report;
mod tarpc;
mod tonic;
mod way;

use std::fs;

use crate::meter::Meter;
use crate::options::Options;
use crate::stage::Stage;
use crate::subject::{Outcome, Subject as _};
use crate::watchdog::Watchdog;

use report::{Report, Sample};
use way::Way;
pub use way::peers;

/// Bytes of every answer: the first of the payload.
const ANSWER: usize = 64;

/// How much is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Small,
    Large,
}

impl Exchange {
    const ALL: [Self; 2] = [Self::Small, Self::Large];

    fn len(self) -> usize {
        match self {
            Self::Small => ANSWER,
            Self::Large => 1 << 20,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Small => "64 B there and back",
            Self::Large => "1 MiB there, 64 B back",
        }
    }

    /// What is brought.
    fn payload(self) -> Vec<u8> {
        vec![7; self.len()]
    }
}

/// Runs it and writes what came of it.
pub fn run(options: &Options, stage: &Stage) -> Outcome {
    let watchdog = Watchdog::start();
    let mut meter = Meter::new(options.warm, options.span);
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        let mut ways = Way::ALL;
        if round % 2 == 1 {
            // Nobody always follows the same neighbour.
            ways.reverse();
        }
        for exchange in Exchange::ALL {
            eprint!("round {} {}:", round + 1, exchange.title());
            for way in ways {
                if !options.wants_way(way.name()) {
                    continue;
                }
                watchdog.guard(way.name(), exchange.title());
                meter.prepare(None);
                way.call(exchange, stage, &mut meter)
                    .map_err(|error| format!("{} {}: {error}", way.name(), exchange.title()))?;
                let figure = meter.take().ok_or("the round gave no figure")?;
                eprint!(" {} {:.0}", way.name(), figure.p50);
                samples.push(Sample {
                    round,
                    way,
                    exchange,
                    p50: figure.p50,
                    p99: figure.p99,
                });
            }
            eprintln!();
        }
    }
    if samples.is_empty() {
        return Err("no way fits what --only names".into());
    }
    let report = Report {
        placement: options.placement(),
        rounds: options.rounds,
        samples,
    };
    let markdown = report.markdown();
    println!("{markdown}");
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("network.md"), &markdown)?;
    fs::write(options.out.join("network.csv"), report.csv())?;
    Ok(())
}

/// Whether an answer is whole.
fn check(answer: &[u8]) -> Outcome {
    if answer.len() == ANSWER {
        return Ok(());
    }
    Err(format!("an answer of {} bytes", answer.len()).into())
}
