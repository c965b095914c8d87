//! What callboard wants to reach, checked against this run.
//!
//! Most goals are ratios, since absolute times hold for one machine only; throughput is given in
//! nanoseconds a call.

use crate::report::{References, Report, Row};
use crate::subject::{Case, Standing};

/// The table of goals, or nothing if callboard took no part in this run.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    for case in Case::ALL {
        let rows = report.rows(case);
        let references = report.references(case, &rows);
        for row in &rows {
            let measures = match row.standing {
                Standing::Ours => measures(report, case, row, &references),
                Standing::OursInProcess => in_process(report, case, row, &references),
                _ => Vec::new(),
            };
            for (what, figure, goal) in measures {
                let verdict = if figure <= goal { "met" } else { "missed" };
                text += &format!(
                    "| {} | {} | {what} | {figure:.2} | {goal:.2} | {verdict} |\n",
                    row.name,
                    case.key()
                );
            }
        }
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "\n## Goals\n\nEach figure is to be at most its goal.\n\n\
         | subject | case | what | figure | goal | |\n|---|---|---|--:|--:|---|\n{text}"
    )
}

/// What is compared, the figure, and the most that it should be.
type Measure = (&'static str, f64, f64);

/// Those of an actor in its own process.
fn measures(report: &Report, case: Case, row: &Row<'_>, references: &References) -> Vec<Measure> {
    let to = |reference| report.ratio(case, row.subject, reference);
    let small = report.ratio_of((case, row.subject), (Case::Hot, row.subject));
    let nanos = Some(row.p50.median);
    let candidates = match case {
        Case::Hot => vec![
            ("of iceoryx2 polled", to(references.iceoryx2), 0.5),
            (
                "of the fastest in-process crate",
                to(references.actors),
                1.0,
            ),
            (
                "of the spinning cache line (stretch)",
                to(references.floor),
                3.0,
            ),
        ],
        Case::HotKib => vec![("of the same with 64 B", small, 1.3)],
        Case::Idle | Case::IdlePause => vec![
            ("of a bare eventfd", to(references.floor), 1.15),
            ("of iceoryx2 with events", to(references.iceoryx2), 0.55),
        ],
        Case::Pipelined => vec![
            ("ns a call (5 million/s)", nanos, 200.0),
            ("ns a call (8 million/s, stretch)", nanos, 125.0),
            (
                "of the fastest in-process crate",
                to(references.actors),
                1.0,
            ),
        ],
        Case::Tell => vec![
            ("ns a message (10 million/s)", nanos, 100.0),
            ("ns a message (20 million/s, stretch)", nanos, 50.0),
        ],
        // Nine tenths of its throughput.
        Case::TellLarge => vec![("of iceoryx2 with loans", to(references.iceoryx2), 1.11)],
    };
    known(candidates)
}

/// Those of an actor that is a task.
fn in_process(report: &Report, case: Case, row: &Row<'_>, references: &References) -> Vec<Measure> {
    let to = |reference| report.ratio(case, row.subject, reference);
    let fastest = (
        "of the fastest in-process crate",
        to(references.actors),
        1.0,
    );
    known(match case {
        Case::Hot => vec![("of ractor", to(references.ractor), 1.0), fastest],
        _ => vec![fastest],
    })
}

/// Those whose subjects took part in this run.
fn known(candidates: Vec<(&'static str, Option<f64>, f64)>) -> Vec<Measure> {
    candidates
        .into_iter()
        .filter_map(|(what, figure, goal)| Some((what, figure?, goal)))
        .collect()
}
