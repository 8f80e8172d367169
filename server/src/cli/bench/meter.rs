//! What the hub and the load take of the machine meanwhile.

use std::{fs, path::Path, time::Duration};

use super::{process::Process, report::Figures};

/// Measures from when it is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    process: Option<Process>,
    hub_before: Option<Duration>,
    own_before: Option<Duration>,
}

impl Meter {
    /// Starts; of a hub whose process is not known only the load is measured.
    pub(super) fn start(process: Option<Process>) -> Self {
        let hub_before = process.and_then(Process::cpu_time);
        Self { process, hub_before, own_before: Process::own().cpu_time() }
    }

    /// Adds the processors' time for each of `count` things, and the hub's memory, now and at its most.
    pub(super) fn tell(&self, count: u64, figures: &mut Figures) {
        let hub = self.process.and_then(Process::cpu_time);
        each(figures, "hub_cpu_per_event", (self.hub_before, hub), count);
        each(figures, "load_cpu_per_event", (self.own_before, Process::own().cpu_time()), count);
        if let Some(bytes) = self.process.and_then(Process::resident) {
            figures.mebibytes("hub_memory", bytes);
        }
        if let Some(bytes) = self.process.and_then(Process::peak_resident) {
            figures.mebibytes("hub_memory_most", bytes);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
fn each(
    figures: &mut Figures,
    name: &'static str,
    (before, after): (Option<Duration>, Option<Duration>),
    count: u64,
) {
    if let (Some(before), Some(after)) = (before, after)
        && 0 < count
    {
        figures.push(name, "us", after.saturating_sub(before).as_secs_f64() * 1e6 / count as f64);
    }
}

/// Adds what a folder's files take on their disk.
pub(super) fn tell_disk(folder: &Path, figures: &mut Figures) {
    figures.mebibytes("disk", disk_bytes(folder));
}

/// Returns how much of the disk the files below a folder take.
fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}
