//! `hookline check`: reads everything that a store has, and says what is wrong.

use std::{
    io::{self, IsTerminal as _},
    panic,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{
    CommandError,
    event_json::line,
    put, restore,
    screen::Screen,
    table::{Cell, Table},
    text::{self, Align, Colour},
};
use crate::{
    backup,
    config::STORE_PATH_DEFAULT,
    store::sled::check::{self, Finding, Report, Stage},
};

const EXAMPLES: &str = "\
Examples:
  # The data of a hub that was stopped
  hookline check --data /var/lib/hookline/data

  # A backup
  hookline check --data /backups/2026-11-23

  # What is wrong, by machine
  hookline check --data /var/lib/hookline/data --json | jq '.findings[] | {problem, row}'";

/// Reads everything in the data folder of a stopped hub and says what is wrong with it.
///
/// Each row of the store is read: its checksum, its content, and whether it agrees with the others. Events have no gaps,
/// large payloads all their parts, delivery keys find their events, subscriptions stand within the log, dead letters have
/// their events. Nothing is changed. It takes as long as the disk takes to read all of it twice.
///
/// Where the folder is a backup, a store is made of it in the folder for temporary files (TMPDIR), and that is read: it takes
/// as much room as the backup.
///
/// Exit code 0: nothing is wrong. 1: something is, or the store can't be read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The data folder, or a backup
    #[arg(long, value_name = "FOLDER", default_value = STORE_PATH_DEFAULT)]
    data: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let report = if backup::is_backup(&args.data) {
        check_backup(&args.data).await?
    } else {
        check_folder(&args.data).await?
    };
    if args.json {
        put(&line(&ReportJson::new(&args.data, &report)))?;
    } else {
        for line in told(&report, Screen::of_stdout()) {
            put(&line)?;
        }
    }
    let findings = report.counts.values().sum();
    if report.is_clean() { Ok(()) } else { Err(CommandError::Damaged(findings)) }
}

/// Checks a backup: its checksums, and the store that it makes.
async fn check_backup(folder: &Path) -> Result<Report, CommandError> {
    let scratch = tempfile::Builder::new().prefix("hookline-check-").tempdir()?;
    let data = scratch.path().join("data");
    restore::restore(folder, &data).await?;
    let report = check_folder(&data).await?;
    scratch.close()?;
    Ok(report)
}

/// Checks a store, with a bar on terminals.
pub(super) async fn check_folder(folder: &Path) -> Result<Report, CommandError> {
    let folder = folder.to_path_buf();
    let checking = tokio::task::spawn_blocking(move || {
        let bar = Bar::new();
        quietly(|| check::check(&folder, &mut |stage, done, total| bar.tell(stage, done, total)))
    });
    Ok(checking.await.map_err(io::Error::other)??)
}

/// A panic of the database is told as an error: its own words would only confuse.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let told = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let done = work();
    panic::set_hook(told);
    done
}

/// A bar on the standard error stream, which shows itself on a terminal only.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self(ProgressBar::with_draw_target(None, target))
    }

    fn tell(&self, stage: Stage, done: u64, total: u64) {
        let template = match stage {
            Stage::Rows => "{spinner} {pos} rows",
            Stage::Events => "{bar:40} {pos}/{len} events, {eta} left",
            Stage::Subscriptions => "{bar:40} {pos}/{len} subscriptions",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        if 0 < total {
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }
}

impl Bar {
    /// Shows bytes of as many.
    pub(super) fn bytes(&self, done: u64, total: u64) {
        let template = if total == 0 {
            "{spinner} {bytes}, {bytes_per_sec}"
        } else {
            "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        if 0 < total {
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Returns the lines for people.
fn told(report: &Report, screen: Screen) -> Vec<String> {
    let mut kinds =
        Table::new(&[("KIND", Align::Left), ("ROWS", Align::Right), ("BYTES", Align::Right)]);
    for kind in report.kinds.iter().filter(|kind| 0 < kind.rows) {
        kinds.push(vec![Cell::new(kind.name), Cell::count(kind.rows), Cell::count(kind.bytes)]);
    }
    let mut lines = kinds.lines(screen);
    lines.push(String::new());
    lines.push(summary(report));
    if report.is_clean() {
        lines.push("nothing is wrong".to_owned());
        return lines;
    }
    lines.push(String::new());
    let heads = ["PROBLEM", "ROW", "WHAT", "WHICH MEANS"].map(|head| (head, Align::Left));
    let mut findings = Table::new(&heads);
    for finding in &report.findings {
        findings.push(vec![
            Cell::new(finding.problem.as_str()).in_colour(Colour::Red),
            Cell::new(&finding.row),
            Cell::new(&finding.detail),
            Cell::new(finding.problem.meaning()),
        ]);
    }
    lines.extend(findings.lines(screen));
    let all: u64 = report.counts.values().sum();
    let shown = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
    if shown < all {
        lines.push(format!("and {} more", all - shown));
    }
    lines
}

fn summary(report: &Report) -> String {
    let events = text::count(report.events, "event");
    let range = match report.events {
        0 => events,
        _ => format!("{events}, `{}` to `{}`", report.first, report.head),
    };
    let payloads = text::size(report.payload_bytes);
    let subscriptions = text::count(report.subscriptions, "subscription");
    let left_over = match report.left_over {
        0 => String::new(),
        rows => format!("; {} to be removed", text::count(rows, "row")),
    };
    format!("{range}, {payloads} of payloads; {subscriptions}{left_over}")
}

#[derive(Serialize)]
pub(super) struct ReportJson<'a> {
    folder: String,
    clean: bool,
    first: u64,
    head: u64,
    event_count: u64,
    payload_bytes: u64,
    subscription_count: u64,
    row_count: u64,
    byte_count: u64,
    left_over_count: u64,
    kinds: Vec<KindJson>,
    finding_count: u64,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct KindJson {
    kind: &'static str,
    rows: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    problem: &'static str,
    row: &'a str,
    key: &'a str,
    detail: &'a str,
    meaning: &'static str,
}

impl<'a> ReportJson<'a> {
    pub(super) fn new(folder: &Path, report: &'a Report) -> Self {
        let kinds = report.kinds.iter();
        let kinds =
            kinds.map(|kind| KindJson { kind: kind.name, rows: kind.rows, bytes: kind.bytes });
        let finding = |it: &'a Finding| FindingJson {
            problem: it.problem.as_str(),
            row: &it.row,
            key: &it.key,
            detail: &it.detail,
            meaning: it.problem.meaning(),
        };
        Self {
            folder: folder.display().to_string(),
            clean: report.is_clean(),
            first: report.first,
            head: report.head,
            event_count: report.events,
            payload_bytes: report.payload_bytes,
            subscription_count: report.subscriptions,
            row_count: report.rows(),
            byte_count: report.bytes(),
            left_over_count: report.left_over,
            kinds: kinds.collect(),
            finding_count: report.counts.values().sum(),
            findings: report.findings.iter().map(finding).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sled::check::{KindCount, Problem};

    fn report() -> Report {
        let kinds = vec![
            KindCount { name: "pack", rows: 2, bytes: 4_000 },
            KindCount { name: "chunk", rows: 0, bytes: 0 },
        ];
        Report { kinds, first: 1, head: 3, events: 3, payload_bytes: 30, ..Report::default() }
    }

    fn damaged() -> Report {
        let finding = Finding {
            problem: Problem::SequenceGap,
            row: "pack 3".to_owned(),
            key: "010000000000000003".to_owned(),
            detail: "the events `2` to `2` are missing".to_owned(),
        };
        let counts = [(Problem::SequenceGap, 2)].into();
        Report { findings: vec![finding], counts, ..report() }
    }

    #[test]
    fn a_clean_store_is_counted() {
        let lines = told(&report(), Screen::PLAIN);
        assert_eq!(
            lines,
            [
                "KIND  ROWS  BYTES",
                "pack     2   4000",
                "",
                "3 events, `1` to `3`, 30 B of payloads; 0 subscriptions",
                "nothing is wrong",
            ]
        );
    }

    #[test]
    fn each_finding_is_told_with_its_row_and_what_it_means() {
        let lines = told(&damaged(), Screen::PLAIN).join("\n");
        assert!(
            lines.contains("sequence-gap  pack 3  the events `2` to `2` are missing"),
            "{lines}"
        );
        assert!(lines.contains("confirmed events are lost"), "{lines}");
        assert!(lines.ends_with("and 1 more"), "{lines}");
    }

    #[test]
    fn a_report_is_an_object_for_machines() {
        let report = damaged();
        let line = line(&ReportJson::new(Path::new("data"), &report));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (value["clean"].as_bool(), value["finding_count"].as_u64()),
            (Some(false), Some(2))
        );
        assert_eq!(value["findings"][0]["problem"], "sequence-gap");
        assert_eq!(value["kinds"][0]["rows"], 2);
    }
}
