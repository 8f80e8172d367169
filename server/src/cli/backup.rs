//! `hookline backup`: copies all that a running hub keeps.

use std::path::{Path, PathBuf};

use hookline_client::proto::{
    BackupRequest, BackupResponse, BackupSection, BackupStarted, backup_response::Part,
};
use serde::Serialize;
use tonic::Streaming;

use super::{
    CommandError,
    check::Bar,
    event_json::line,
    hub::{Address, CallError},
    put, text,
};
use crate::backup::{BackupError, Manifest, Writing};

const EXAMPLES: &str = "\
Examples:
  # Each night, by cron
  hookline backup /backups/hookline-$(date +%F)

  # The backup of a hub elsewhere, and whether it is whole
  hookline backup --address http://hub.internal:4160 copy && hookline check --data copy";

/// Copies all that a running hub keeps to a new folder here.
///
/// The copy is of one moment, the mark: the log up to its newest event, and each subscription with its deliveries and dead
/// letters. The hub goes on taking and handing out events. What is trimmed from its log meanwhile stays on its disk until
/// the backup has ended. Sources, secrets and tokens are not part of it: they are in the configuration. The folder holds
/// payloads and the key of lease ids: keep it as you keep the hub's data.
///
/// The folder has its name only once all of it is on the disk.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The folder to make; it must not be there
    #[arg(value_name = "FOLDER")]
    target: PathBuf,
    #[command(flatten)]
    address: Address,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    if args.target.exists() {
        return Err(BackupError::Exists(args.target).into());
    }
    let refused = |status| CommandError::from(args.address.refused("make a backup", status));
    let mut admin = args.address.client()?.admin();
    let mut parts = admin.backup(BackupRequest {}).await.map_err(refused)?.into_inner();
    let manifest =
        receive(&args.target, &mut parts, |status| args.address.refused("make a backup", status))
            .await?;
    put(&if args.json {
        line(&Told::new(&args.target, &manifest))
    } else {
        told(&args.target, &manifest)
    })?;
    Ok(())
}

/// Writes what comes to files.
async fn receive(
    target: &Path,
    parts: &mut Streaming<BackupResponse>,
    refused: impl Fn(tonic::Status) -> CallError,
) -> Result<Manifest, CommandError> {
    let incomplete = |came| BackupError::Incomplete { came, sent: 0 };
    let mut next = async || {
        let part = parts.message().await.map_err(&refused)?;
        Ok::<_, CommandError>(part.and_then(|response| response.part))
    };
    let Some(Part::Started(started)) = next().await? else { return Err(incomplete(0).into()) };
    let (mut writing, bar) = (Writing::begin(target, manifest(&started))?, Bar::new());
    loop {
        match next().await? {
            Some(Part::Records(records)) => {
                let section = match records.section() {
                    BackupSection::Log => "log",
                    BackupSection::Subscriptions | BackupSection::Unspecified => "subscriptions",
                };
                // Each is about half a MiB: a disk takes it in less time than the next one comes.
                writing.put(section, records.count, &records.records)?;
                bar.bytes(writing.written().1, 0);
            }
            Some(Part::Finished(finished)) => return Ok(writing.finish(finished.count)?),
            Some(Part::Started(_)) | None => return Err(incomplete(writing.written().0).into()),
        }
    }
}

fn manifest(started: &BackupStarted) -> Manifest {
    Manifest {
        format: 0,
        hookline_version: env!("CARGO_PKG_VERSION").to_owned(),
        layout_version: started.layout_version,
        created_at: text::time(started.created_at.as_ref()).unwrap_or_default(),
        mark: started.mark,
        first: started.first,
        subscription_count: started.subscription_count,
        row_count: 0,
        byte_count: 0,
        files: Vec::new(),
    }
}

fn told(target: &Path, manifest: &Manifest) -> String {
    let events = (manifest.mark + 1).saturating_sub(manifest.first);
    format!(
        "{}: {} up to `{}`, {}, {} in {}",
        target.display(),
        text::count(events, "event"),
        manifest.mark,
        text::count(manifest.subscription_count, "subscription"),
        text::size(manifest.byte_count),
        text::count(manifest.row_count, "row"),
    )
}

#[derive(Serialize)]
struct Told<'a> {
    folder: String,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

impl<'a> Told<'a> {
    fn new(folder: &Path, manifest: &'a Manifest) -> Self {
        Self { folder: folder.display().to_string(), manifest }
    }
}
