//! The medians as bars, with a line from the least to the most, in one picture.

use std::path::Path;

use plotters::{
    backend::SVGBackend,
    drawing::{DrawingArea, IntoDrawingArea as _},
    element::{PathElement, Rectangle, Text},
    style::{
        Color as _, IntoFont as _, RGBColor, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    Outcome,
    figures::{Report, Summary},
    table::{SECTIONS, number},
};

const WIDTH: i32 = 960;
/// Where bars begin, and how long the longest is.
const BARS_AT: i32 = 400;
const BAR_WIDTH: f64 = 440.0;
const ROW: i32 = 22;
const TITLE: i32 = 40;
pub(crate) const MARGIN: i32 = 16;
/// The sections of the tables that are drawn: the first ones.
const DRAWN: usize = 7;

pub(crate) const INK: RGBColor = RGBColor(36, 41, 47);
pub(crate) const OURS: RGBColor = RGBColor(9, 105, 218);
pub(crate) const OTHERS: RGBColor = RGBColor(175, 184, 193);

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// One bar: what it is called, whether it is Hookline's, and how long.
struct Bar {
    text: &'static str,
    ours: bool,
    summary: Summary,
}

/// Draws the picture into a file.
pub(crate) fn draw(report: &Report, file: &Path) -> Outcome {
    let sections: Vec<(&str, Vec<Bar>)> = SECTIONS
        .iter()
        .take(DRAWN)
        .map(|section| {
            let bars = section.rows.iter().filter_map(|row| {
                let summary = report.summary(row.part, row.figure)?;
                let ours = row.figure.starts_with("hookline") || row.part == "fanout";
                Some(Bar { text: row.text, ours, summary })
            });
            (section.title, bars.collect::<Vec<_>>())
        })
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let rows: usize = sections.iter().map(|(_, bars)| bars.len()).sum();
    let height = 2 * MARGIN + TITLE * i32::try_from(sections.len())? + ROW * i32::try_from(rows)?;
    let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&RGBColor(255, 255, 255)).map_err(said)?;
    let mut y = MARGIN;
    for (title, bars) in &sections {
        text(&area, title, (MARGIN, y + TITLE / 2), HPos::Left, 15.0)?;
        y += TITLE;
        let most = bars.iter().map(|bar| bar.summary.most).fold(f64::MIN_POSITIVE, f64::max);
        for bar in bars {
            row(&area, bar, most, y)?;
            y += ROW;
        }
    }
    area.present().map_err(said)
}

fn row(area: &Area<'_>, bar: &Bar, most: f64, y: i32) -> Outcome {
    let at = |value: f64| BARS_AT + pixels(value / most * BAR_WIDTH);
    let Summary { least, median, most, rounds: _ } = bar.summary;
    let middle = y + ROW / 2;
    let color = if bar.ours { OURS } else { OTHERS };
    text(area, bar.text, (BARS_AT - 8, middle), HPos::Right, 12.0)?;
    let shape = [(BARS_AT, y + 3), (at(median), y + ROW - 3)];
    area.draw(&Rectangle::new(shape, color.filled())).map_err(said)?;
    let spread = vec![(at(least), middle), (at(most), middle)];
    area.draw(&PathElement::new(spread, INK.stroke_width(1))).map_err(said)?;
    text(area, &number(median), (at(most) + 8, middle), HPos::Left, 12.0)
}

pub(crate) fn text(area: &Area<'_>, text: &str, at: (i32, i32), side: HPos, size: f64) -> Outcome {
    let style = TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style.color(&INK))).map_err(said)
}

pub(crate) fn said(error: impl std::fmt::Display) -> Box<dyn std::error::Error + Send + Sync> {
    format!("the plot can't be drawn: {error}").into()
}

#[expect(clippy::cast_possible_truncation, reason = "a picture has few pixels")]
pub(crate) fn pixels(length: f64) -> i32 {
    length.round() as i32
}
