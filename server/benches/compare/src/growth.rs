//! What grows with the number of events that wait, out of what `hookline bench backlog --json` has measured: a table, and a
//! picture with a panel for each figure.

use std::{collections::BTreeMap, fs, path::Path};

use plotters::{
    backend::SVGBackend,
    drawing::IntoDrawingArea as _,
    element::{Circle, PathElement},
    style::{Color as _, RGBColor, text_anchor::HPos},
};
use serde::Deserialize;

use crate::{
    Outcome,
    plot::{Area, INK, MARGIN, OTHERS, OURS, pixels, said, text},
    table::number,
};

const PANEL: (i32, i32) = (464, 190);
const COLUMNS: i32 = 2;
const TITLE: i32 = 28;
/// Below a panel's line of zero: the numbers of events.
const FOOT: i32 = 24;

/// A figure that is told: how it is called in the report and here, and what of it.
struct Told {
    name: &'static str,
    text: &'static str,
    of: fn(f64, u64) -> f64,
}

const TOLD: [Told; 6] = [
    Told { name: "start", text: "start, ms", of: as_is },
    Told { name: "hub_memory_at_start", text: "memory after the start, MiB", of: as_is },
    Told { name: "hub_memory_most", text: "memory at most, MiB", of: as_is },
    Told { name: "hub_cpu_per_event", text: "hub's processor time for a delivery, us", of: as_is },
    Told { name: "first_delivery", text: "until the first delivery, ms", of: as_is },
    Told { name: "disk", text: "disk, bytes per event", of: per_event },
];

#[derive(Debug, Deserialize)]
struct Report {
    benchmark: String,
    results: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    case: BTreeMap<String, u64>,
    figures: BTreeMap<String, Figure>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    min: f64,
    median: f64,
    max: f64,
}

/// Prints what some reports say, smaller backlogs first, and draws it if a file is named.
pub(crate) fn show(reports: &[impl AsRef<Path>], svg: Option<&Path>) -> Outcome {
    let mut cases = BTreeMap::new();
    for file in reports {
        let file = file.as_ref();
        let failed = |error: &dyn std::fmt::Display| format!("`{}`: {error}", file.display());
        let read = fs::read(file).map_err(|error| failed(&error))?;
        let report: Report = serde_json::from_slice(&read).map_err(|error| failed(&error))?;
        if report.benchmark != "backlog" {
            return Err(failed(&"it is not of `hookline bench backlog`").into());
        }
        for Case { case, figures } in report.results {
            let waiting = case.get("waiting").ok_or_else(|| failed(&"a case without a number"))?;
            cases.insert(*waiting, figures);
        }
    }
    print(&cases);
    svg.map_or(Ok(()), |file| draw(&cases, file))
}

type Cases = BTreeMap<u64, BTreeMap<String, Figure>>;

fn print(cases: &Cases) {
    let head: Vec<_> = TOLD.iter().map(|told| told.text).collect();
    println!("| waiting | {} |", head.join(" | "));
    println!("|---:|{}", "---:|".repeat(TOLD.len()));
    for (waiting, figures) in cases {
        let cells = TOLD.iter().map(|told| {
            let Some(figure) = figures.get(told.name) else { return String::new() };
            let of = |value| number((told.of)(value, *waiting));
            let median = of(figure.median);
            if figure.min < figure.max {
                format!("{median} ({} to {})", of(figure.min), of(figure.max))
            } else {
                median
            }
        });
        println!("| {} | {} |", number(float(*waiting)), cells.collect::<Vec<_>>().join(" | "));
    }
}

fn draw(cases: &Cases, file: &Path) -> Outcome {
    let count = i32::try_from(TOLD.len())?;
    let rows = (count + COLUMNS - 1) / COLUMNS;
    let (width, height) = (COLUMNS * PANEL.0 + 2 * MARGIN, rows * PANEL.1 + 2 * MARGIN);
    let size = (u32::try_from(width)?, u32::try_from(height)?);
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&RGBColor(255, 255, 255)).map_err(said)?;
    for (place, told) in (0_i32..).zip(&TOLD) {
        let corner = (MARGIN + place % COLUMNS * PANEL.0, MARGIN + place / COLUMNS * PANEL.1);
        let points = cases.iter().filter_map(|(waiting, figures)| {
            Some((*waiting, (told.of)(figures.get(told.name)?.median, *waiting)))
        });
        panel(&area, told.text, &points.collect::<Vec<_>>(), corner)?;
    }
    area.present().map_err(said)
}

/// One figure: its numbers of events stand evenly, its values from zero up.
fn panel(area: &Area<'_>, title: &str, points: &[(u64, f64)], corner: (i32, i32)) -> Outcome {
    let (left, right) = (corner.0 + 48, corner.0 + PANEL.0 - 64);
    let (top, zero) = (corner.1 + TITLE + 16, corner.1 + PANEL.1 - FOOT);
    text(area, title, (corner.0, corner.1 + TITLE / 2), HPos::Left, 14.0)?;
    let base = vec![(left - 16, zero), (right + 16, zero)];
    area.draw(&PathElement::new(base, OTHERS.stroke_width(1))).map_err(said)?;
    let most = points.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let steps = i32::try_from(points.len())?.saturating_sub(1).max(1);
    let line: Vec<_> = (0_i32..)
        .zip(points)
        .map(|(step, (_, value))| {
            let x = left + (right - left) * step / steps;
            (x, zero - pixels(value / most * f64::from(zero - top)))
        })
        .collect();
    area.draw(&PathElement::new(line.clone(), OURS.stroke_width(2))).map_err(said)?;
    for (at, (waiting, value)) in line.into_iter().zip(points) {
        area.draw(&Circle::new(at, 3, OURS.filled())).map_err(said)?;
        text(area, &number(*value), (at.0, at.1 - 12), HPos::Center, 11.0)?;
        text(area, &number(float(*waiting)), (at.0, zero + FOOT / 2), HPos::Center, 11.0)?;
        let tick = vec![(at.0, zero - 3), (at.0, zero + 3)];
        area.draw(&PathElement::new(tick, INK.stroke_width(1))).map_err(said)?;
    }
    Ok(())
}

fn as_is(value: f64, _waiting: u64) -> f64 {
    value
}

fn per_event(mebibytes: f64, waiting: u64) -> f64 {
    mebibytes * 1_048_576.0 / float(waiting)
}

#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
