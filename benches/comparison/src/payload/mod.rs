//! Large payloads: what it costs to have one read by another process, by its size.
//!
//! ```text
//! cargo run --release -- payload [--quick] [--rounds N] [--pin A,B | --unpinned] [--out FOLDER]
//! ```
//!
//! Each call brings a payload to the other process, which looks at its last byte and answers: with
//! a small answer (`one way`), or with a payload of the same size (`echo`). Who has no blob copies
//! its payload from the same source into wherever its package wants it. Every round takes all sizes
//! and ways in turn; the table gives medians over the rounds.

mod goals;
mod plot;
mod report;
mod ways;

use std::fs;

use crate::meter::Meter;
use crate::options::Options;
use crate::stage::Stage;
use crate::subject::{Outcome, Subject};

use report::{Report, Sample, size};
pub use ways::{Iceoryx2Peer, IpcChannelPeer};

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
pub const GIB: usize = 1024 * MIB;

/// From what a ring takes to what only shared memory should carry.
pub const LENS: [usize; 8] = [
    KIB,
    16 * KIB,
    64 * KIB,
    MIB,
    16 * MIB,
    64 * MIB,
    256 * MIB,
    GIB,
];

/// The longest that is copied: above it there are only blobs.
pub const COPIED_MAX: usize = 256 * MIB;

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// A few bytes.
    OneWay,
    /// A payload of the same size.
    Echo,
}

impl Trip {
    pub const ALL: [Self; 2] = [Self::OneWay, Self::Echo];

    pub fn name(self) -> &'static str {
        match self {
            Self::OneWay => "one way",
            Self::Echo => "echo",
        }
    }
}

/// One way of bringing a payload to another process.
pub trait Way {
    /// As it stands in the table.
    fn name(&self) -> &'static str;

    /// Whether there is something to be measured.
    fn takes(&self, len: usize, _trip: Trip) -> bool {
        len <= COPIED_MAX
    }

    /// Sets up both sides, lets the meter run one round, and takes both sides down.
    fn round(&self, len: usize, trip: Trip, stage: &Stage, meter: &mut Meter) -> Outcome;
}

/// The second processes of this comparison, for the list of all subjects.
pub fn peers() -> Vec<Box<dyn Subject>> {
    vec![Box::new(Iceoryx2Peer), Box::new(IpcChannelPeer)]
}

/// Runs it and writes what came of it.
pub fn run(options: &Options, stage: &Stage) -> Outcome {
    let ways = ways::all();
    let mut meter = Meter::new(options.warm, options.span);
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        for trip in Trip::ALL {
            for len in LENS {
                eprint!("round {} {} {}:", round + 1, trip.name(), size(len));
                for (index, way) in ways.iter().enumerate() {
                    if !options.wants_way(way.name()) || !way.takes(len, trip) {
                        continue;
                    }
                    meter.prepare(None);
                    way.round(len, trip, stage, &mut meter)
                        .map_err(|error| format!("{} {}: {error}", way.name(), size(len)))?;
                    let figure = meter.take().ok_or("the round gave no figure")?;
                    eprint!(" {} {:.0}", way.name(), figure.p50);
                    samples.push(Sample {
                        round,
                        way: index,
                        trip,
                        len,
                        nanos: figure.p50,
                    });
                }
                eprintln!();
            }
        }
    }
    let names: Vec<&str> = ways.iter().map(|way| way.name()).collect();
    let report = Report {
        placement: options.placement(),
        rounds: options.rounds,
        names,
        samples,
    };
    let markdown = report.markdown();
    println!("{markdown}");
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("payload.md"), &markdown)?;
    fs::write(options.out.join("payload.csv"), report.csv())?;
    plot::draw(&report, &options.out.join("payload.svg"))
}
