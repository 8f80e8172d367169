//! What the core's pieces of work cost, in figures that a busy machine does not change: instructions, which callgrind
//! counts, and allocations.
//!
//! Prints a table. `-- --check` holds it against `counts.tsv` and fails where something has grown; `-- --write` writes that
//! file; `-- PART` takes only units whose names have this part.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that panics has failed; its table is what it is for"
)]

#[path = "../../tests/it/ingest_support.rs"]
#[expect(dead_code, reason = "most of it is for tests")]
mod ingest_support;
#[path = "../units/mod.rs"]
mod units;

mod table;

mod callgrind;

use std::{alloc::System, hint::black_box, path::PathBuf, process::ExitCode};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::{
    table::{Row, compare},
    units::{Unit, Work},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What was asked for.
#[derive(Default)]
struct Asked {
    checks: bool,
    writes: bool,
    /// Only this unit, which is run and not counted: callgrind does.
    runs: Option<String>,
    part: Option<String>,
}

fn main() -> ExitCode {
    let Some(asked) = asked() else {
        eprintln!("usage: cargo bench --bench counts -- [--check | --write | PART]");
        return ExitCode::from(64);
    };
    let mut units = units::all();
    if let Some(name) = &asked.runs {
        let unit = units.iter().find(|unit| unit.name == *name).expect("it is one of the units");
        run(unit);
        return ExitCode::SUCCESS;
    }
    let part = asked.part.as_deref().unwrap_or_default();
    units.retain(|unit| unit.name.contains(part));
    if units.is_empty() {
        eprintln!("no unit has `{part}` in its name");
        return ExitCode::FAILURE;
    }
    match count(&units) {
        Ok(rows) => verdict(&asked, &rows),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` if it makes no sense.
fn asked() -> Option<Asked> {
    let mut asked = Asked::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // Cargo says so to every bench.
            "--bench" => {}
            "--check" => asked.checks = true,
            "--write" => asked.writes = true,
            callgrind::RUN => asked.runs = Some(args.next()?),
            part if !part.starts_with('-') && asked.part.is_none() => {
                asked.part = Some(part.to_owned());
            }
            _ => return None,
        }
    }
    // A file of some units would be one without the others.
    let modes = [asked.checks, asked.writes, asked.part.is_some()];
    (modes.into_iter().filter(|mode| *mode).count() <= 1).then_some(asked)
}

/// Counts all units, and prints each as it is counted.
fn count(units: &[Unit]) -> Result<Vec<Row>, String> {
    println!("{:<24} {:>12} {:>12} {:>9}", "of one round", "instructions", "allocations", "bytes");
    let count = |unit: &Unit| {
        let (allocations, bytes) = allocations(unit);
        let instructions = callgrind::instructions(&unit.name, unit.processes)?;
        let rounds = f64::from(unit.counted_rounds);
        let row = Row {
            unit: unit.name.clone(),
            instructions: instructions / rounds,
            allocations: allocations / rounds,
            bytes: bytes / rounds,
        };
        println!("{row}");
        Ok(row)
    };
    units.iter().map(count).collect()
}

/// Returns how often the counted rounds allocate, or allocate anew for what grows, and how many bytes they ask for.
fn allocations(unit: &Unit) -> (f64, f64) {
    let mut work = warm(unit);
    let region = Region::new(ALLOCATOR);
    let done = counted_rounds(&mut work, unit.counted_rounds);
    let change = region.change();
    assert_eq!(done, unit.counted_rounds, "`{}` did not come to its end", unit.name);
    let float = |count: usize| f64::from(u32::try_from(count).unwrap());
    (float(change.allocations + change.reallocations), float(change.bytes_allocated))
}

/// Does what callgrind counts, and before it as much that it does not.
fn run(unit: &Unit) {
    let mut work = warm(unit);
    let done = counted_rounds(&mut work, unit.counted_rounds);
    assert_eq!(done, unit.counted_rounds, "`{}` did not come to its end", unit.name);
}

/// Prepares the work and does it as often as it will be counted: caches are filled, and buffers have their size.
fn warm(unit: &Unit) -> Work {
    let mut work = unit.prepare(2 * unit.counted_rounds);
    let done = work(unit.counted_rounds);
    assert_eq!(done, unit.counted_rounds, "`{}` did not come to its end", unit.name);
    work
}

/// Does what is counted: [`callgrind::COUNTED`] is its name. The result is looked at so that the call is not the last thing
/// it does, which would make it a jump.
#[inline(never)]
fn counted_rounds(work: &mut Work, rounds: u32) -> u32 {
    black_box(black_box(work)(rounds))
}

/// Says what has changed, or writes the file anew.
fn verdict(asked: &Asked, rows: &[Row]) -> ExitCode {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/counts.tsv");
    if asked.writes {
        if ingest_support::payloads().is_none() {
            eprintln!("the file would lack the units that read real bodies: not written");
            return ExitCode::FAILURE;
        }
        std::fs::write(&path, table::print(rows)).unwrap();
        println!("wrote {}", path.display());
        return ExitCode::SUCCESS;
    }
    if !asked.checks {
        return ExitCode::SUCCESS;
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let before = table::parse(&text).expect("the file was written by `--write`");
    let findings = compare(&before, rows);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.iter().any(table::Finding::is_failure) {
        return ExitCode::FAILURE;
    }
    println!("{} units, none has grown", rows.len());
    ExitCode::SUCCESS
}
