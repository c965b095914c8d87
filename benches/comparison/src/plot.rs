//! The picture: one panel for each case, one bar for each subject.
//!
//! Bars are as long as the logarithm of the time: between the floor and a parked call lie three
//! orders of magnitude. The thin line on a bar is the middle half of the rounds.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::machine;
use crate::report::{Report, Row, grouped};
use crate::subject::{Case, Outcome, Standing};

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub const WIDTH: u32 = 900;
pub const MARGIN: i32 = 20;
const HEAD_HEIGHT: i32 = 82;
/// What the colours of [`colour`] mean.
const LEGEND: &str = "orange: callboard; green: other ways between two processes; \
    blue: actor crates in one process; grey: the best of the machine, and bare channels";
const TITLE_HEIGHT: i32 = 26;
const ROW_HEIGHT: i32 = 22;
const GAP: i32 = 16;
/// Where the names end and the bars begin, and where the longest bar ends.
pub const BARS: Range<i32> = 170..760;

pub const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);

/// Draws the medians of the report into this file.
pub fn draw(report: &Report, path: &Path) -> Outcome {
    let panels: Vec<(Case, Vec<Row<'_>>)> = Case::ALL
        .into_iter()
        .map(|case| (case, report.rows(case)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    let height: i32 = HEAD_HEIGHT
        + panels
            .iter()
            .map(|(_, rows)| panel_height(rows))
            .sum::<i32>();
    let area = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let head = format!(
        "callboard and its peers, {}; nanoseconds, logarithmic",
        report.placement()
    );
    write(&area, &head, (MARGIN, 24), 17, &INK, HPos::Left)?;
    write(
        &area,
        &machine::line(),
        (MARGIN, 46),
        10,
        &FAINT,
        HPos::Left,
    )?;
    write(&area, LEGEND, (MARGIN, 62), 10, &FAINT, HPos::Left)?;
    let mut top = HEAD_HEIGHT;
    for (case, rows) in &panels {
        draw_panel(&area, *case, rows, top)?;
        top += panel_height(rows);
    }
    area.present()?;
    Ok(())
}

fn panel_height(rows: &[Row<'_>]) -> i32 {
    let count = i32::try_from(rows.len()).unwrap_or(i32::MAX / ROW_HEIGHT);
    TITLE_HEIGHT + count * ROW_HEIGHT + GAP
}

fn draw_panel(area: &Area<'_>, case: Case, rows: &[Row<'_>], top: i32) -> Outcome {
    write(area, case.title(), (MARGIN, top + 12), 14, &INK, HPos::Left)?;
    let least = rows
        .iter()
        .map(|row| row.p50.low)
        .fold(f64::INFINITY, f64::min);
    let most = rows.iter().map(|row| row.p50.high).fold(1.0, f64::max);
    // Half an order of magnitude below the fastest, so that its bar has a length too.
    let scale = Scale {
        least: least / 3.0,
        most,
    };
    let mut y = top + TITLE_HEIGHT;
    for row in rows {
        let middle = y + ROW_HEIGHT / 2;
        write(
            area,
            row.name,
            (BARS.start - 8, middle),
            12,
            &INK,
            HPos::Right,
        )?;
        let end = scale.at(row.p50.median);
        let bar = Rectangle::new(
            [(BARS.start, y + 3), (end, y + ROW_HEIGHT - 3)],
            colour(row).filled(),
        );
        area.draw(&bar)?;
        let (low, high) = (scale.at(row.p50.low), scale.at(row.p50.high));
        area.draw(&PathElement::new(
            vec![(low, middle), (high, middle)],
            INK.stroke_width(1),
        ))?;
        let figure = match row.p99 {
            Some(p99) => format!("{}  (p99 {})", grouped(row.p50.median), grouped(p99)),
            None => grouped(row.p50.median),
        };
        write(
            area,
            &figure,
            (end.max(high) + 6, middle),
            11,
            &FAINT,
            HPos::Left,
        )?;
        y += ROW_HEIGHT;
    }
    Ok(())
}

/// From nanoseconds to a place on the paper.
pub struct Scale {
    pub least: f64,
    pub most: f64,
}

impl Scale {
    pub fn at(&self, nanos: f64) -> i32 {
        let share = (nanos / self.least).ln() / (self.most / self.least).ln();
        BARS.start + (share.clamp(0.0, 1.0) * f64::from(BARS.end - BARS.start)) as i32
    }
}

fn colour(row: &Row<'_>) -> RGBColor {
    match row.standing {
        Standing::Ours | Standing::OursInProcess => RGBColor(0xd9, 0x5f, 0x02),
        Standing::Actors => RGBColor(0x75, 0x9f, 0xbf),
        Standing::Processes => RGBColor(0x6b, 0xa2, 0x92),
        Standing::Floor => RGBColor(0xbd, 0xbd, 0xbd),
    }
}

pub fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    colour: &RGBColor,
    side: HPos,
) -> Outcome {
    let style = ("sans-serif", size)
        .into_font()
        .color(colour)
        .pos(Pos::new(side, VPos::Center));
    area.draw_text(text, &style, at)?;
    Ok(())
}
