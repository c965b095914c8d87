//! From the figures of all rounds to the tables.
//!
//! A ratio is taken within each round and then the median of these: what the machine did in a
//! round met both sides of it.

use std::fmt::Write;

use crate::goals;
use crate::machine;
use crate::meter::Figure;
use crate::options::Options;
use crate::subject::{Case, Standing, Subject};

/// One round of one subject.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub round: u32,
    pub case: Case,
    /// The place of the subject in the list of all.
    pub subject: usize,
    pub figure: Figure,
    /// Another process had one of the cores, in every attempt.
    pub is_disturbed: bool,
}

/// What the report says of a subject.
struct Portrait {
    name: &'static str,
    /// With its version.
    title: String,
    standing: Standing,
}

pub struct Report {
    placement: String,
    rounds: u32,
    span_ms: u128,
    subjects: Vec<Portrait>,
    records: Vec<Record>,
}

/// A subject in a case, over all rounds.
pub struct Row<'a> {
    pub name: &'a str,
    pub standing: Standing,
    pub p50: Spread,
    pub p99: Option<f64>,
    /// Cores' worth of CPU time of the first and the second process.
    cpu: (f64, Option<f64>),
    /// Rounds that nobody disturbed; if there are none, all rounds are used all the same.
    calm: usize,
    rounds: usize,
    /// The place of the subject in the list of all.
    pub subject: usize,
}

/// The middle half of several figures.
#[derive(Clone, Copy)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// Whom the ratios of a case are about.
pub struct References {
    /// The best of the machine.
    pub floor: Option<usize>,
    pub iceoryx2: Option<usize>,
    pub ractor: Option<usize>,
    /// The fastest actor crate in one process.
    pub actors: Option<usize>,
}

impl Report {
    pub fn new(options: &Options, subjects: &[Box<dyn Subject>], records: Vec<Record>) -> Self {
        let portrait = |subject: &dyn Subject| {
            let version = subject.package().and_then(machine::version);
            Portrait {
                name: subject.name(),
                title: version.map_or_else(
                    || subject.name().to_owned(),
                    |version| format!("{} {version}", subject.name()),
                ),
                standing: subject.standing(),
            }
        };
        Self {
            placement: options.placement(),
            rounds: options.rounds,
            span_ms: options.span.as_millis(),
            subjects: subjects
                .iter()
                .map(|subject| portrait(subject.as_ref()))
                .collect(),
            records,
        }
    }

    /// All subjects that have a figure in this case, the fastest first.
    pub fn rows(&self, case: Case) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = (0..self.subjects.len())
            .filter_map(|subject| self.row(case, subject))
            .collect();
        rows.sort_by(|a, b| a.p50.median.total_cmp(&b.p50.median));
        rows
    }

    pub fn placement(&self) -> &str {
        &self.placement
    }

    pub fn markdown(&self) -> String {
        let mut text = String::from("# callboard and its peers\n\n");
        text += &format!(
            "{}; {}; {} rounds of {} ms, every subject in turn; \
             reading the clock takes {:.0} ns.\n\n",
            machine::line(),
            self.placement,
            self.rounds,
            self.span_ms,
            machine::clock_ns()
        );
        text += "\
p50 and p99 in nanoseconds: medians over the rounds, IQR of the p50 behind it; `pipelined` and
`tell` are the time of a round divided by its calls. CPU: cores used by the caller's process and
by the second one. Ratios: below 1 is faster than the reference, which is the best of the machine
(spin, eventfd, or bare channels in one process), iceoryx2, and the fastest actor crate in one
process. Rounds: those that no other process disturbed, of all; with `!` there was none.

| case | subject | p50 | IQR | p99 | M/s | CPU | / floor | / iceoryx2 | / crate | rounds |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";
        for case in Case::ALL {
            let rows = self.rows(case);
            let references = self.references(case, &rows);
            for row in &rows {
                text += &self.line(case, row, &references);
            }
        }
        text += &goals::table(self);
        text
    }

    /// Every figure of every round.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "round,case,subject,p50_ns,p99_ns,count,cpu_here,cpu_there,waited,disturbed\n",
        );
        for record in &self.records {
            let figure = &record.figure;
            let optional =
                |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.3}"));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{},{},{},{:.1},{},{},{:.3},{},{:.4},{}",
                record.round + 1,
                record.case.key(),
                self.subjects[record.subject].name,
                figure.p50,
                optional(figure.p99),
                figure.count,
                figure.cpu_here,
                optional(figure.cpu_there),
                figure.waited,
                record.is_disturbed
            );
        }
        text
    }

    fn row(&self, case: Case, subject: usize) -> Option<Row<'_>> {
        let all: Vec<&Record> = self.of(case, subject).collect();
        let calm: Vec<&Record> = all
            .iter()
            .copied()
            .filter(|record| !record.is_disturbed)
            .collect();
        let used = if calm.is_empty() { &all } else { &calm };
        let values = |value: &dyn Fn(&Figure) -> Option<f64>| -> Option<Spread> {
            spread(
                used.iter()
                    .filter_map(|record| value(&record.figure))
                    .collect(),
            )
        };
        Some(Row {
            name: &self.subjects[subject].title,
            standing: self.subjects[subject].standing,
            p50: values(&|figure| Some(figure.p50))?,
            p99: values(&|figure| figure.p99).map(|spread| spread.median),
            cpu: (
                values(&|figure| Some(figure.cpu_here))?.median,
                values(&|figure| figure.cpu_there).map(|spread| spread.median),
            ),
            calm: calm.len(),
            rounds: all.len(),
            subject,
        })
    }

    fn of(&self, case: Case, subject: usize) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |record| record.case == case && record.subject == subject)
    }

    /// Whom the ratios of this case, whose rows these are, are about.
    pub fn references(&self, case: Case, rows: &[Row<'_>]) -> References {
        let floor = match case {
            Case::Hot | Case::HotKib => "spin",
            Case::Idle | Case::IdlePause => "eventfd",
            Case::Pipelined | Case::Tell | Case::TellLarge => "tokio-channels",
        };
        let named = |name: &str| {
            rows.iter()
                .map(|row| row.subject)
                .find(|index| self.subjects[*index].name == name)
        };
        // Rows are sorted: the first of them is the fastest.
        let actors = rows
            .iter()
            .find(|row| row.standing == Standing::Actors)
            .map(|row| row.subject);
        References {
            floor: named(floor),
            iceoryx2: named("iceoryx2"),
            ractor: named("ractor"),
            actors,
        }
    }

    /// The median over the rounds of how much longer one subject took than another.
    pub fn ratio(&self, case: Case, subject: usize, reference: Option<usize>) -> Option<f64> {
        self.ratio_of((case, subject), (case, reference?))
    }

    /// The same across two cases.
    pub fn ratio_of(&self, ours: (Case, usize), theirs: (Case, usize)) -> Option<f64> {
        let pairs = |calm_only: bool| -> Vec<f64> {
            let mut ratios = Vec::new();
            for our in self.of(ours.0, ours.1) {
                let their = self
                    .of(theirs.0, theirs.1)
                    .find(|their| their.round == our.round);
                if let Some(their) = their
                    && !(calm_only && (our.is_disturbed || their.is_disturbed))
                {
                    ratios.push(our.figure.p50 / their.figure.p50);
                }
            }
            ratios
        };
        spread(pairs(true))
            .or_else(|| spread(pairs(false)))
            .map(|spread| spread.median)
    }

    fn line(&self, case: Case, row: &Row<'_>, references: &References) -> String {
        let ratio = |reference: Option<usize>| {
            let ratio = self.ratio(case, row.subject, reference);
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let is_ours = matches!(row.standing, Standing::Ours | Standing::OursInProcess);
        let name = if is_ours {
            format!("**{}**", row.name)
        } else {
            row.name.to_owned()
        };
        let cpu = match row.cpu {
            (here, Some(there)) => format!("{here:.2} + {there:.2}"),
            (here, None) => format!("{here:.2}"),
        };
        let mark = if row.calm == 0 { "!" } else { "" };
        format!(
            "| {} | {name} | {} | {}–{} | {} | {:.3} | {cpu} | {} | {} | {} | {}/{}{mark} |\n",
            case.key(),
            grouped(row.p50.median),
            grouped(row.p50.low),
            grouped(row.p50.high),
            row.p99.map_or_else(|| "–".to_owned(), grouped),
            1_000.0 / row.p50.median,
            ratio(references.floor),
            ratio(references.iceoryx2),
            ratio(references.actors),
            row.calm,
            row.rounds,
        )
    }
}

pub fn spread(mut values: Vec<f64>) -> Option<Spread> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    // Between two values in proportion, so that the median of two is their mean.
    let at = |share: f64| {
        let place = share * (values.len() - 1) as f64;
        let (below, above) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        below + (above - below) * place.fract()
    };
    Some(Spread {
        low: at(0.25),
        median: at(0.5),
        high: at(0.75),
    })
}

/// A number of nanoseconds, its thousands apart; small ones with one decimal.
pub fn grouped(nanos: f64) -> String {
    if nanos < 1_000.0 {
        return if nanos < 100.0 {
            format!("{nanos:.1}")
        } else {
            format!("{nanos:.0}")
        };
    }
    let digits = format!("{nanos:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_the_two_in_the_middle() {
        let spread = spread(vec![4.0, 1.0, 2.0, 3.0]).expect("there are values");
        assert!((spread.median - 2.5).abs() < 1e-9);
        assert!((spread.low - 1.75).abs() < 1e-9);
        assert!((spread.high - 3.25).abs() < 1e-9);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(98.76), "98.8");
        assert_eq!(grouped(999.4), "999");
        assert_eq!(grouped(58_300.2), "58 300");
        assert_eq!(grouped(1_234_567.0), "1 234 567");
    }
}
