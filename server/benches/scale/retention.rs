//! Disk and memory of a hub that may keep 200 MiB, while webhooks come as fast as they are taken.

use std::{fs, path::Path};

use crate::{
    Outcome,
    load::{self, End},
    servers::Server,
};

/// How much may be kept.
const KEPT_MIB: u64 = 200;
/// How long webhooks are posted between two looks.
const SLICE_SECONDS: u64 = 5;

pub(crate) fn run(slices: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let kept = format!("{KEPT_MIB}MiB");
    let hub =
        Server::hub_with(&data, load::SECRET, &[("HOOKLINE_RETENTION__MAX_BYTES", kept.as_str())])?;
    let (mut sent, mut most) = (0.0, 0);
    for slice in 1..=slices {
        let posted = load::post(&hub, 128, End::AfterSeconds(SLICE_SECONDS))?;
        let rate = posted.rate;
        #[expect(clippy::cast_precision_loss, reason = "seconds are few")]
        let bytes = rate * SLICE_SECONDS as f64 * posted.mean_bytes;
        sent += bytes / 1e9;
        let disk = size(&data)? >> 20;
        most = most.max(disk);
        println!(
            "slice {slice}: {rate:.0}/s, {sent:.1} GB sent, {disk} MiB on disk, {} MB resident",
            hub.resident_kib()? / 1_024
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "mebibytes are few")]
    let ratio = most as f64 / KEPT_MIB as f64;
    println!("most on disk {most} MiB: {ratio:.2} of what may be kept (at most 3)");
    Ok(())
}

/// Returns how many bytes the files of a folder have.
fn size(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let about = entry?;
        let kind = about.metadata()?;
        bytes += if kind.is_dir() { size(&about.path())? } else { kind.len() };
    }
    Ok(bytes)
}
