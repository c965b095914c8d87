//! What callboard wants to reach with large payloads, checked against this run.

use super::report::Report;
use super::ways::{ARGUMENT, BLOB, COPY, EMPTY_CALL, LOAN};
use super::{GIB, KIB, MIB, Trip};

/// The table of goals.
pub fn table(report: &Report) -> String {
    let of = |way, len| report.median(way, Trip::OneWay, len);
    let ratio = |figure: Option<f64>, reference: Option<f64>| Some(figure? / reference?);
    let copied = |len| Some(of(COPY, len)? + of(EMPTY_CALL, len)?);
    let measures = [
        (
            "a blob of 1 GiB, of one of 1 MiB",
            ratio(of(BLOB, GIB), of(BLOB, MIB)),
            1.2,
        ),
        (
            "a blob of 1 GiB, of an empty call",
            ratio(of(BLOB, GIB), of(EMPTY_CALL, GIB)),
            1.5,
        ),
        (
            "a blob of 1 MiB, of an empty call",
            ratio(of(BLOB, MIB), of(EMPTY_CALL, MIB)),
            1.5,
        ),
        (
            "an argument of 1 MiB, of a copy and an empty call",
            ratio(of(ARGUMENT, MIB), copied(MIB)),
            1.1,
        ),
        (
            "an argument of 64 KiB, of iceoryx2 with a loan",
            ratio(of(ARGUMENT, 64 * KIB), of(LOAN, 64 * KIB)),
            1.11,
        ),
    ];
    let mut text = String::from(
        "\n## Goals\n\nOne way. Each figure is to be at most its goal.\n\n\
         | what | figure | goal | |\n|---|--:|--:|---|\n",
    );
    for (what, figure, goal) in measures {
        if let Some(figure) = figure {
            let verdict = if figure <= goal { "met" } else { "missed" };
            text += &format!("| {what} | {figure:.2} | {goal:.2} | {verdict} |\n");
        }
    }
    text
}
