//! The picture: the share of the ideal, and the slowest calls with and without load.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::table::Row;
use super::{Case, PIECE, SHORT};
use crate::machine;
use crate::plot::{Area, BARS, FAINT, INK, MARGIN, Scale, WIDTH, write};
use crate::subject::Outcome;

const HEAD_HEIGHT: i32 = 64;
const TITLE_HEIGHT: i32 = 26;
const ROW_HEIGHT: i32 = 22;
const GAP: i32 = 16;

/// Draws the medians into this file.
pub fn draw(rows: &[Row], cores: usize, path: &Path) -> Outcome {
    let of = |case| rows.iter().filter(move |row| row.case == case);
    let count = |case| i32::try_from(of(case).count()).unwrap_or(i32::MAX / ROW_HEIGHT);
    let panels = Case::ALL.map(|case| TITLE_HEIGHT + ROW_HEIGHT * count(case) + GAP);
    let height = HEAD_HEIGHT + panels.iter().sum::<i32>();
    let area = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let head = format!("pools of {cores} on {cores} cores");
    write(&area, &head, (MARGIN, 24), 17, &INK, HPos::Left)?;
    write(
        &area,
        &machine::line(),
        (MARGIN, 46),
        10,
        &FAINT,
        HPos::Left,
    )?;
    let mut top = HEAD_HEIGHT;
    for (case, height) in Case::ALL.into_iter().zip(panels) {
        let rows: Vec<_> = of(case).collect();
        write(
            &area,
            &title(case),
            (MARGIN, top + 12),
            14,
            &INK,
            HPos::Left,
        )?;
        let ends = rows.iter().map(|row| row.p99.map_or(1.0, |p99| p99[2]));
        let scale = Scale {
            least: 10_000.0,
            most: ends.fold(20_000.0, f64::max),
        };
        for (at, row) in (0_i32..).zip(rows) {
            draw_row(&area, row, &scale, top + TITLE_HEIGHT + at * ROW_HEIGHT)?;
        }
        top += height;
    }
    area.present()?;
    Ok(())
}

fn title(case: Case) -> String {
    match case {
        Case::Work => format!("pieces of {PIECE:?} at once: share of what the cores could do"),
        Case::Idle => format!("calls of {SHORT:?}, one every 2 ms: p50, thin to p99; logarithmic"),
        Case::Loaded => "the same beside a busy process on each core".to_owned(),
    }
}

fn draw_row(area: &Area<'_>, row: &Row, scale: &Scale, y: i32) -> Outcome {
    let middle = y + ROW_HEIGHT / 2;
    let name = (BARS.start - 8, middle);
    write(area, row.subject, name, 12, &INK, HPos::Right)?;
    let [_, p50, _] = row.p50;
    let (end, line, figure) = match row.p99 {
        None => {
            let end = BARS.start + (p50 * f64::from(BARS.end - BARS.start)) as i32;
            (end, end, format!("{p50:.3}"))
        }
        Some([_, p99, _]) => {
            let figure = format!("{:.0} µs  (p99 {:.0} µs)", p50 / 1e3, p99 / 1e3);
            (scale.at(p50), scale.at(p99), figure)
        }
    };
    let bar = Rectangle::new(
        [(BARS.start, y + 3), (end, y + ROW_HEIGHT - 3)],
        colour(row).filled(),
    );
    area.draw(&bar)?;
    let line_ends = vec![(end, middle), (line, middle)];
    area.draw(&PathElement::new(line_ends, INK.stroke_width(1)))?;
    let place = (line.max(end) + 6, middle);
    write(area, &figure, place, 11, &FAINT, HPos::Left)
}

fn colour(row: &Row) -> RGBColor {
    match row.subject.split(',').next() {
        Some("callboard") => RGBColor(0xd9, 0x5f, 0x02),
        Some("uActor") => RGBColor(0x6b, 0xa2, 0x92),
        _ => RGBColor(0x75, 0x9f, 0xbf),
    }
}
