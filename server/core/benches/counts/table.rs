//! The table of counts as a file, and what has changed since it was written.

use std::fmt;

/// By how much more instructions something may take than the file says, and by how much fewer without being mentioned.
const INSTRUCTIONS_MAX: f64 = 1.05;
/// By how much more often something may allocate.
const ALLOCATIONS_MAX: f64 = 1.02;
/// The file has two digits of allocations: less is not seen.
const ALLOCATIONS_DIGIT: f64 = 0.01;

const HEAD: &str = "unit\tinstructions\tallocations\tbytes";

/// What one round of a unit costs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) unit: String,
    /// Instructions of the processor that callgrind runs.
    pub(crate) instructions: f64,
    /// How often memory is asked for, or asked to grow.
    pub(crate) allocations: f64,
    /// How many bytes of it.
    pub(crate) bytes: f64,
}

/// As a line for people.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, instructions, allocations, bytes } = self;
        write!(f, "{unit:<24} {instructions:>12.0} {allocations:>12.2} {bytes:>9.0}")
    }
}

/// Prints the file.
pub(crate) fn print(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let Row { unit, instructions, allocations, bytes } = row;
        format!("{unit}\t{instructions:.0}\t{allocations:.2}\t{bytes:.0}\n")
    };
    format!("{HEAD}\n{}", rows.iter().map(line).collect::<String>())
}

/// Reads the file; `None` if it is none.
pub(crate) fn parse(text: &str) -> Option<Vec<Row>> {
    let mut lines = text.lines();
    lines.next().filter(|head| *head == HEAD)?;
    let row = |line: &str| {
        let mut cells = line.split('\t');
        let unit = cells.next()?.to_owned();
        let mut number = || cells.next()?.parse().ok();
        let row = Row { unit, instructions: number()?, allocations: number()?, bytes: number()? };
        cells.next().is_none().then_some(row)
    };
    lines.map(row).collect()
}

/// What is not as the file says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// Something takes more than it may.
    Grew(Change),
    /// Something takes much less, so that it could grow back unseen.
    Shrank(Change),
    /// The file does not have this unit.
    New(String),
    /// The file has a unit that was not counted: it is no more, or its body is not there.
    Missing(String),
}

/// A figure of a unit, before and now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    unit: String,
    what: &'static str,
    before: f64,
    now: f64,
}

impl Finding {
    /// Whether the check fails for it.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Grew(_) | Self::New(_) => true,
            Self::Shrank(_) | Self::Missing(_) => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grew(change) => write!(f, "GREW {change}"),
            Self::Shrank(change) => write!(f, "shrank {change}: write it with `-- --write`"),
            Self::New(unit) => {
                write!(f, "NEW `{unit}` is not in counts.tsv: write it with `-- --write`")
            }
            Self::Missing(unit) => {
                write!(f, "missing `{unit}` is in counts.tsv and was not counted")
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, what, before, now } = self;
        write!(f, "`{unit}`: {before} {what} before, {now:.2} now")?;
        if *before > 0.0 {
            write!(f, " ({:+.1} %)", (now / before - 1.0) * 100.0)?;
        }
        Ok(())
    }
}

/// Compares what was counted now with what the file says.
pub(crate) fn compare(before: &[Row], now: &[Row]) -> Vec<Finding> {
    let of = |rows: &[Row], unit: &str| rows.iter().find(|row| row.unit == unit).cloned();
    let mut findings: Vec<_> = now
        .iter()
        .flat_map(|now| match of(before, &now.unit) {
            Some(before) => changes(&before, now),
            None => vec![Finding::New(now.unit.clone())],
        })
        .collect();
    let missing = before.iter().filter(|row| of(now, &row.unit).is_none());
    findings.extend(missing.map(|row| Finding::Missing(row.unit.clone())));
    findings
}

fn changes(before: &Row, now: &Row) -> Vec<Finding> {
    let change =
        |what, before, now_is| Change { unit: now.unit.clone(), what, before, now: now_is };
    let mut findings = Vec::new();
    let instructions = change("instructions", before.instructions, now.instructions);
    if before.instructions * INSTRUCTIONS_MAX < now.instructions {
        findings.push(Finding::Grew(instructions));
    } else if now.instructions * INSTRUCTIONS_MAX < before.instructions {
        findings.push(Finding::Shrank(instructions));
    }
    let allowed = before.allocations * ALLOCATIONS_MAX + ALLOCATIONS_DIGIT;
    if allowed < now.allocations {
        let allocations = change("allocations", before.allocations, now.allocations);
        findings.push(Finding::Grew(allocations));
    }
    findings
}
