//! From the figures of all rounds to the table.

use std::fmt::Write as _;

use super::{Exchange, Way};
use crate::machine;
use crate::report::spread;
use crate::subject::Subject as _;

/// What one round of one way took, in nanoseconds of a call.
pub(super) struct Sample {
    pub round: u32,
    pub way: Way,
    pub exchange: Exchange,
    pub p50: f64,
    pub p99: Option<f64>,
}

/// All rounds.
pub(super) struct Report {
    pub placement: String,
    pub rounds: u32,
    pub samples: Vec<Sample>,
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Calls over TCP\n\n{}; {}; {} rounds, every way in turn.\n\nOver loopback, between \
             two processes: microseconds of a call, the median of the rounds with the quartiles, \
             and the median of the ratios to the bare socket in the same round. callboard's calls \
             are encrypted and authenticated; all the others are plain.\n\n| |",
            machine::line(),
            self.placement,
            self.rounds,
        );
        let ending = Exchange::ALL.map(|exchange| {
            let _ = write!(text, " {} | of bare | p99 |", exchange.title());
            "--:|--:|--:|"
        });
        let _ = writeln!(text, " on the wire |\n|---|{}---|", ending.concat());
        for way in Way::ALL {
            if self.samples.iter().all(|sample| sample.way != way) {
                continue;
            }
            let version = way.package().and_then(machine::version).unwrap_or_default();
            let title = format!("{} {version}", way.name());
            let _ = write!(text, "| {} |", title.trim());
            for exchange in Exchange::ALL {
                text += &self.cells(way, exchange);
            }
            let _ = writeln!(text, " {} |", way.protection());
        }
        text
    }

    /// The time, its ratio and its slowest in a hundred.
    fn cells(&self, way: Way, exchange: Exchange) -> String {
        let of = || self.of(way, exchange);
        let time = spread(of().map(|sample| sample.p50).collect());
        let ratio = spread(of().filter_map(|sample| self.ratio(sample)).collect());
        let slowest = spread(of().filter_map(|sample| sample.p99).collect());
        let dash = || "–".to_owned();
        let time = time.map_or_else(dash, |time| {
            let [low, median, high] = [time.low, time.median, time.high].map(micros);
            format!("{median} ({low} to {high})")
        });
        let ratio = ratio.map_or_else(dash, |ratio| format!("{:.2}", ratio.median));
        let slowest = slowest.map_or_else(dash, |slowest| micros(slowest.median));
        format!(" {time} | {ratio} | {slowest} |")
    }

    fn of(&self, way: Way, exchange: Exchange) -> impl Iterator<Item = &Sample> {
        let is_of = move |sample: &&Sample| (sample.way, sample.exchange) == (way, exchange);
        self.samples.iter().filter(is_of)
    }

    /// To the bare socket in the same round.
    fn ratio(&self, sample: &Sample) -> Option<f64> {
        let mut bare = self.of(Way::Bare, sample.exchange);
        let bare = bare.find(|bare| bare.round == sample.round)?;
        Some(sample.p50 / bare.p50)
    }

    /// Each round of each way.
    pub fn csv(&self) -> String {
        let mut text = String::from("round,way,bytes,p50_ns,p99_ns\n");
        for sample in &self.samples {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{},{},{},{:.1},{:.1}",
                sample.round + 1,
                sample.way.name(),
                sample.exchange.len(),
                sample.p50,
                sample.p99.unwrap_or_default()
            );
        }
        text
    }
}

fn micros(nanos: f64) -> String {
    format!("{:.1}", nanos / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: u32, way: Way, p50: f64) -> Sample {
        Sample {
            round,
            way,
            exchange: Exchange::Small,
            p50,
            p99: Some(p50 * 2.0),
        }
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let samples = vec![
            sample(0, Way::Bare, 10_000.0),
            sample(0, Way::Tonic, 20_000.0),
            sample(1, Way::Tonic, 90_000.0),
            sample(1, Way::Bare, 30_000.0),
        ];
        let report = Report {
            placement: String::new(),
            rounds: 2,
            samples,
        };
        let cells = report.cells(Way::Tonic, Exchange::Small);
        assert_eq!(cells, " 55.0 (37.5 to 72.5) | 2.50 | 110.0 |");
        assert_eq!(report.cells(Way::Tonic, Exchange::Large), " – | – | – |");
    }
}
