//! `hookline restore`: makes the data folder of a hub of a backup.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    CommandError,
    check::{Bar, ReportJson, check_folder},
    event_json::line,
    put, text,
};
use crate::{
    backup::{Backup, Manifest},
    clock::{Clock as _, SystemClock},
    config::STORE_PATH_DEFAULT,
    store::sled::restore::Restoring,
};
use hookline_core::time::Timestamp;

const EXAMPLES: &str = "\
Examples:
  hookline restore /backups/hookline-2026-11-23 --data /var/lib/hookline/data
  hookline serve --data /var/lib/hookline/data";

/// Makes the data folder of a hub of a backup.
///
/// All checksums of the backup are verified first; at last everything in the new folder is checked. What the hub took and
/// did after the backup's mark is not there: events that were acked after it are delivered again, leases that were given
/// before it are stale, and new events get sequences that the old hub may have given to others. Their ids differ. Agents that
/// remember what they did should do so by event id, not by sequence.
///
/// Stop the old hub first: two hubs would both hand out what the backup has open.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// The data folder to make: empty, or not there
    #[arg(long, value_name = "FOLDER", default_value = STORE_PATH_DEFAULT)]
    data: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let manifest = restore(&args.backup, &args.data).await?;
    let report = check_folder(&args.data).await?;
    if args.json {
        put(&line(&ReportJson::new(&args.data, &report)))?;
    } else {
        let events = text::count(report.events, "event");
        let subscriptions = text::count(report.subscriptions, "subscription");
        let (data, at) = (args.data.display(), &manifest.created_at);
        put(&format!(
            "{data}: {events}, {subscriptions}, as of {at}; the head is `{}`",
            report.head
        ))?;
    }
    if report.is_clean() {
        return Ok(());
    }
    Err(CommandError::Damaged(report.counts.values().sum()))
}

/// Verifies a backup and makes a store of it.
pub(super) async fn restore(backup: &Path, data: &Path) -> Result<Manifest, CommandError> {
    let (backup, data) = (backup.to_path_buf(), data.to_path_buf());
    let restoring = tokio::task::spawn_blocking(move || restore_now(&backup, &data));
    restoring.await.map_err(io::Error::other)?
}

fn restore_now(backup: &Path, data: &Path) -> Result<Manifest, CommandError> {
    let backup = Backup::open(backup)?;
    let (bar, total) = (Bar::new(), backup.manifest().byte_count);
    backup.verify(&mut |read| bar.bytes(read, total))?;
    let now = SystemClock::start(Timestamp::EPOCH).wall();
    let mut restoring = Restoring::begin(data, backup.manifest().layout_version, now)?;
    let mut rows = backup.rows();
    while let Some(row) = rows.next() {
        restoring.put(row?)?;
        bar.bytes(rows.bytes(), total);
    }
    restoring.finish()?;
    Ok(backup.manifest().clone())
}
