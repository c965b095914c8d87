//! Pools of actors beside pools of threads and uActor's: `cargo run --release -- pools`.
//!
//! ```text
//! pools [--quick] [--rounds N] [--out FOLDER] [--python PROGRAM]
//! ```
//!
//! A piece of work is so much CPU time of its thread, so that it is the same in any language, and
//! longer by the clock where others have the core. Each round asks each pool, in turn:
//!
//! - work: many pieces of half a millisecond at once. All cores busy with nothing else is 1.
//! - idle: a short piece every two milliseconds, each from when it was due.
//! - loaded: the same, while each core has a process that works without a pause.
//!
//! Under a real-time policy the turns are long and these figures others: it is run as an ordinary
//! process.

mod chart;
mod rounds;
mod subjects;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use callboard::cpu::Cores;
use lexopt::{Arg, Parser, ValueExt};

use crate::subject::Outcome;

/// The first argument that asks for this.
pub const POOLS: &str = "pools";

const PIECES: u32 = 256;
const PIECE: Duration = Duration::from_micros(500);

/// A call is short beside a turn of the scheduler's.
const SHORT: Duration = Duration::from_micros(5);
const EVERY: Duration = Duration::from_millis(2);

/// What is measured of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Work,
    Idle,
    Loaded,
}

/// What a round gave.
struct Record {
    round: u32,
    subject: &'static str,
    case: Case,
    /// Of work: the share of the ideal. Of calls: nanoseconds.
    p50: f64,
    p99: Option<f64>,
}

struct Options {
    rounds: u32,
    calls: u32,
    out: PathBuf,
    python: String,
}

impl Case {
    const ALL: [Self; 3] = [Self::Work, Self::Idle, Self::Loaded];

    fn key(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Idle => "idle",
            Self::Loaded => "loaded",
        }
    }
}

impl Options {
    fn parse(mut parser: Parser) -> Outcome<Self> {
        let mut options = Self {
            rounds: 7,
            calls: 400,
            out: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")),
            python: "python3".to_owned(),
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("quick") => (options.rounds, options.calls) = (3, 100),
                Arg::Long("rounds") => options.rounds = parser.value()?.parse::<u32>()?.max(1),
                Arg::Long("out") => options.out = parser.value()?.into(),
                Arg::Long("python") => options.python = parser.value()?.string()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}

/// Measures, and writes `pools.md`, `.csv` and `.svg`.
pub fn main(arguments: &[String]) -> Outcome {
    let options = Options::parse(Parser::from_args(arguments))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let cores = Cores::physical().places()?.len();
    let records = runtime.block_on(rounds::run(&options, cores))?;
    let rows = table::rows(&records);
    let markdown = table::markdown(&rows, cores);
    println!("{markdown}");
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("pools.md"), &markdown)?;
    fs::write(options.out.join("pools.csv"), table::csv(&records))?;
    chart::draw(&rows, cores, &options.out.join("pools.svg"))
}
