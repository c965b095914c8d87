//! The medians of the rounds, as a table, and all rounds as they were.

use std::fmt::Write as _;

use super::{Case, PIECE, PIECES, Record, SHORT};
use crate::machine;
use crate::report::spread;

/// One pool in one case.
pub struct Row {
    pub(super) subject: &'static str,
    pub(super) case: Case,
    /// The lower quartile, the median and the upper one.
    pub(super) p50: [f64; 3],
    pub(super) p99: Option<[f64; 3]>,
}

/// A row for each pool and case, the pools in the order in which they were first measured.
pub fn rows(records: &[Record]) -> Vec<Row> {
    let mut subjects: Vec<&'static str> = Vec::new();
    for record in records.iter().rev() {
        if !subjects.contains(&record.subject) {
            subjects.push(record.subject);
        }
    }
    subjects.sort_by_key(|name| ORDER.iter().position(|known| known == name));
    let mut rows = Vec::new();
    for case in Case::ALL {
        for subject in &subjects {
            let of = || {
                let is_of = |record: &&Record| record.subject == *subject && record.case == case;
                records.iter().filter(is_of)
            };
            let Some(p50) = quartiles(of().map(|record| record.p50).collect()) else {
                continue;
            };
            let p99 = quartiles(of().filter_map(|record| record.p99).collect());
            rows.push(Row {
                subject,
                case,
                p50,
                p99,
            });
        }
    }
    rows
}

/// As they are shown.
const ORDER: [&str; 6] = [
    "callboard, pinned",
    "callboard",
    "rayon, pinned",
    "rayon",
    "spawn_blocking",
    "uActor",
];

fn quartiles(values: Vec<f64>) -> Option<[f64; 3]> {
    let spread = spread(values)?;
    Some([spread.low, spread.median, spread.high])
}

pub fn markdown(rows: &[Row], cores: usize) -> String {
    let mut text = format!(
        "Pools of {cores}, medians of the rounds and quartiles. Work: {PIECES} pieces of {PIECE:?} \
         at once, 1 is all cores busy with nothing else. Calls: {SHORT:?} of work, one every 2 ms, \
         from when it was due; loaded: each core has a process that works without a pause. {}\n\n\
         | pool | work | idle p50 | idle p99 | loaded p50 | loaded p99 |\n\
         |---|--:|--:|--:|--:|--:|\n",
        machine::line()
    );
    for work in rows.iter().filter(|row| row.case == Case::Work) {
        let [low, median, high] = work.p50;
        let _ = write!(
            text,
            "| {} | {median:.3} ({low:.3} to {high:.3}) |",
            work.subject
        );
        for case in [Case::Idle, Case::Loaded] {
            let row = rows
                .iter()
                .find(|row| row.case == case && row.subject == work.subject);
            let figures = row.map(|row| [Some(row.p50), row.p99]);
            for figure in figures.into_iter().flatten().flatten() {
                let [low, median, high] = figure.map(|nanos| nanos / 1e3);
                let _ = write!(text, " {median:.0} µs ({low:.0} to {high:.0}) |");
            }
        }
        text.push('\n');
    }
    text
}

pub fn csv(records: &[Record]) -> String {
    let mut text = String::from("round,pool,case,p50,p99\n");
    for record in records {
        let p99 = record.p99.map(|p99| p99.to_string()).unwrap_or_default();
        let _ = writeln!(
            text,
            "{},\"{}\",{},{},{p99}",
            record.round,
            record.subject,
            record.case.key(),
            record.p50
        );
    }
    text
}
