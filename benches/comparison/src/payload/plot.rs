//! The picture: a panel for each trip, a line for each way, both axes logarithmic.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::report::{Report, size};
use super::{LENS, Trip};
use crate::machine;
use crate::plot::{Area, FAINT, INK, write};
use crate::subject::Outcome;

const WIDTH: i32 = 900;
const HEAD_HEIGHT: i32 = 60;
const PANEL_HEIGHT: i32 = 360;
/// Where the lines lie, from the left and from the top of their panel.
const LEFT: i32 = 80;
const RIGHT: i32 = 690;
const TOP: i32 = 40;
const BOTTOM: i32 = 320;

const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x99, 0x99, 0x99),
    RGBColor(0xcc, 0xcc, 0xcc),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0xa6, 0x36, 0x03),
    RGBColor(0xfd, 0xae, 0x6b),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0x75, 0x70, 0xb3),
];

/// Draws the medians into this file.
pub fn draw(report: &Report, path: &Path) -> Outcome {
    let height = HEAD_HEIGHT + PANEL_HEIGHT * 2;
    let dimensions = (u32::try_from(WIDTH)?, u32::try_from(height)?);
    let area = SVGBackend::new(path, dimensions).into_drawing_area();
    area.fill(&WHITE)?;
    let head = format!(
        "A payload read by another process, {}; microseconds by size, logarithmic",
        report.placement
    );
    write(&area, &head, (20, 22), 16, &INK, HPos::Left)?;
    write(&area, &machine::line(), (20, 44), 10, &FAINT, HPos::Left)?;
    for (trip, top) in Trip::ALL.into_iter().zip([0, PANEL_HEIGHT]) {
        draw_panel(&area, report, trip, HEAD_HEIGHT + top)?;
    }
    area.present()?;
    Ok(())
}

fn draw_panel(area: &Area<'_>, report: &Report, trip: Trip, top: i32) -> Outcome {
    let ways = 0..report.names.len();
    let all = ways.clone().flat_map(|way| {
        LENS.into_iter()
            .filter_map(move |len| report.median(way, trip, len))
    });
    let (least, most) = all.fold((f64::INFINITY, 1.0), |(least, most): (f64, f64), nanos| {
        (least.min(nanos), most.max(nanos))
    });
    let x = |len: usize| {
        scaled(
            len as f64,
            (LENS[0] as f64, LENS[LENS.len() - 1] as f64),
            LEFT,
            RIGHT,
        )
    };
    let y = |nanos: f64| top + scaled(nanos, (least, most), BOTTOM, TOP);
    write(area, trip.name(), (20, top + 16), 14, &INK, HPos::Left)?;
    for len in LENS {
        let line = vec![(x(len), top + TOP), (x(len), top + BOTTOM)];
        area.draw(&PathElement::new(line, GRID.stroke_width(1)))?;
        write(
            area,
            &size(len),
            (x(len), top + BOTTOM + 14),
            11,
            &FAINT,
            HPos::Center,
        )?;
    }
    let mut tick = 10_f64.powf(least.log10().ceil());
    while tick <= most {
        let line = vec![(LEFT, y(tick)), (RIGHT, y(tick))];
        area.draw(&PathElement::new(line, GRID.stroke_width(1)))?;
        let label = format!("{} µs", tick / 1000.0);
        write(area, &label, (LEFT - 8, y(tick)), 11, &FAINT, HPos::Right)?;
        tick *= 10.0;
    }
    for way in ways {
        let points: Vec<(i32, i32)> = LENS
            .into_iter()
            .filter_map(|len| Some((x(len), y(report.median(way, trip, len)?))))
            .collect();
        let colour = COLOURS[way % COLOURS.len()];
        area.draw(&PathElement::new(points, colour.stroke_width(2)))?;
        // Names stand beside the lines in the order of the list: their ends may lie together.
        let at = top + TOP + 10 + i32::try_from(way)? * 20;
        area.draw(&Rectangle::new(
            [(RIGHT + 20, at - 4), (RIGHT + 40, at + 4)],
            colour.filled(),
        ))?;
        write(
            area,
            report.names[way],
            (RIGHT + 48, at),
            12,
            &INK,
            HPos::Left,
        )?;
    }
    Ok(())
}

/// The place of a value between two others, by logarithms.
fn scaled(value: f64, (least, most): (f64, f64), begin: i32, end: i32) -> i32 {
    let share = (value / least).ln() / (most / least).ln().max(f64::MIN_POSITIVE);
    begin + (share.clamp(0.0, 1.0) * f64::from(end - begin)) as i32
}
