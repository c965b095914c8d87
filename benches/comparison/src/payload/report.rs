//! From the figures of all rounds to the tables.

use std::fmt::Write as _;

use super::{GIB, KIB, LENS, MIB, Trip, goals, ways};
use crate::machine;

/// The p50 of every round, in nanoseconds.
pub struct Sample {
    pub round: u32,
    pub way: usize,
    pub trip: Trip,
    pub len: usize,
    pub nanos: f64,
}

/// All rounds.
pub struct Report {
    pub placement: String,
    pub rounds: u32,
    pub names: Vec<&'static str>,
    pub samples: Vec<Sample>,
}

impl Report {
    /// The median over the rounds, in nanoseconds.
    pub fn median(&self, way: usize, trip: Trip, len: usize) -> Option<f64> {
        let of = |sample: &&Sample| (sample.way, sample.trip, sample.len) == (way, trip, len);
        let mut nanos: Vec<f64> = self.samples.iter().filter(of).map(|s| s.nanos).collect();
        nanos.sort_by(f64::total_cmp);
        nanos.get(nanos.len() / 2).copied()
    }

    /// The tables, with the goals beneath them.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Large payloads\n\n{}; {}; {} rounds, every way in turn.\n\nMicroseconds until the \
             answer is there, and how many copies of that size would take as long.\n",
            machine::line(),
            self.placement,
            self.rounds,
        );
        for trip in Trip::ALL {
            let _ = write!(text, "\n| {} |", trip.name());
            self.names
                .iter()
                .for_each(|name| text += &format!(" {name} |"));
            text += "\n|---|";
            self.names.iter().for_each(|_| text += "--:|");
            text += "\n";
            for len in LENS {
                let _ = write!(text, "| {} |", size(len));
                let copy = self.median(ways::COPY, trip, len);
                for way in 0..self.names.len() {
                    let cell = match (self.median(way, trip, len), copy) {
                        (Some(nanos), Some(copy)) => {
                            format!(" {} ({:.2}) |", micros(nanos), nanos / copy)
                        }
                        (Some(nanos), None) => format!(" {} |", micros(nanos)),
                        (None, _) => " – |".to_owned(),
                    };
                    text += &cell;
                }
                text += "\n";
            }
        }
        text += &goals::table(self);
        text
    }

    /// Each round of each way.
    pub fn csv(&self) -> String {
        let mut text = String::from("round,trip,bytes,way,p50_ns\n");
        for sample in &self.samples {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{},{},{},{},{:.1}",
                sample.round + 1,
                sample.trip.name(),
                sample.len,
                self.names[sample.way],
                sample.nanos
            );
        }
        text
    }
}

/// Microseconds, as exactly as they are of use.
fn micros(nanos: f64) -> String {
    let micros = nanos / 1000.0;
    let digits = match micros {
        ..10.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    format!("{micros:.digits$}")
}

/// A size as people say it.
pub fn size(len: usize) -> String {
    match len {
        _ if len >= GIB => format!("{} GiB", len / GIB),
        _ if len >= MIB => format!("{} MiB", len / MIB),
        _ => format!("{} KiB", len / KIB),
    }
}
