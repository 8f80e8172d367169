//! The hub that is measured: one of our own, or one that runs.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hookline_core::source::Secret;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{super::CommandError, BenchError, process::Process, report::Figures};
use crate::config::{Environment as _, Process as Own};

/// What webhooks to a hub of our own are signed with.
const SECRET: &str = "a-secret-of-benchmarks";

/// Where a hub of our own has its data.
#[derive(Debug, clap::Args)]
pub(super) struct Ground {
    /// In which folder a hub of one's own gets a temporary one for its data; its disk is part of what is measured
    /// [default: that of the system]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How much of the store a hub of one's own keeps in memory, such as 128MiB
    #[arg(long, value_name = "SIZE", default_value = "128MiB")]
    cache: String,
}

impl Ground {
    /// Returns where the folders are made.
    pub(super) fn place(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Makes a folder, which is removed when it is dropped.
    pub(super) fn folder(&self) -> Result<TempDir, BenchError> {
        let place = self.place();
        let made = tempfile::Builder::new().prefix("hookline-bench-").tempdir_in(&place);
        made.map_err(|source| BenchError::Machine {
            attempted: format!("make a folder in `{}`", place.display()),
            source,
        })
    }

    pub(super) fn cache(&self) -> &str {
        &self.cache
    }
}

/// Returns what webhooks to a hub of our own are signed with.
pub(super) fn own_secret() -> Secret {
    Secret::new(SECRET).expect("it is not empty")
}

/// A hub of our own. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct OwnHub {
    child: Child,
    http: String,
}

impl OwnHub {
    /// Starts a hub with its data in this folder, and waits until it serves.
    pub(super) async fn start(folder: &Path, ground: &Ground) -> Result<Self, CommandError> {
        let (folder, cache) = (folder.to_owned(), ground.cache.clone());
        let starting = tokio::task::spawn_blocking(move || Self::start_now(&folder, &cache));
        Ok(starting.await.map_err(|error| failed("start a hub", io::Error::other(error)))??)
    }

    fn start_now(folder: &Path, cache: &str) -> Result<Self, BenchError> {
        let config = folder.join("hookline.toml");
        let text = format!(
            "[store]\ncache = \"{cache}\"\n[sources.github]\nkind = \"github\"\nsecrets = [\"plain:{SECRET}\"]\n"
        );
        fs::write(&config, text).map_err(|source| failed("write a configuration", source))?;
        let program =
            std::env::current_exe().map_err(|source| failed("find this program", source))?;
        let mut command = Command::new(program);
        for (name, _) in Own.variables() {
            if name.to_string_lossy().starts_with("HOOKLINE_") {
                command.env_remove(name);
            }
        }
        let free = "127.0.0.1:0";
        command
            .args(["serve", "--http-listen", free, "--grpc-listen", free, "--log", "error"])
            .arg("--config")
            .arg(config)
            .arg("--data")
            .arg(folder.join("data"));
        // A group of its own: Ctrl-C is for us, who then end it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|source| failed("start a hub", source))?;
        let mut hub = Self { child, http: String::new() };
        let mut line = String::new();
        if let Some(out) = hub.child.stdout.take() {
            BufReader::new(out)
                .read_line(&mut line)
                .map_err(|source| failed("hear a hub", source))?;
        }
        let said = |name: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned)
        };
        let Some(http) = said("http=") else {
            return Err(BenchError::NotReady(line.trim().to_owned()));
        };
        hub.http = http;
        Ok(hub)
    }

    /// Returns where webhooks are posted.
    pub(super) fn webhooks(&self) -> String {
        format!("{}/webhooks/github", self.http)
    }

    pub(super) fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    /// Tells it to stop, and waits until it has.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)
                .map_err(|error| failed("stop the hub", error.into()))?;
        }
        let waiting = tokio::task::spawn_blocking(move || self.child.wait().map(drop));
        let waited = waiting.await.map_err(io::Error::other).flatten();
        waited.map_err(|source| failed("stop the hub", source))
    }
}

impl Drop for OwnHub {
    fn drop(&mut self) {
        // It may have ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn failed(attempted: &str, source: io::Error) -> BenchError {
    BenchError::Machine { attempted: attempted.to_owned(), source }
}

/// Measures what a process takes from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    process: Option<Process>,
    cpu_before: Option<std::time::Duration>,
    own_before: Option<std::time::Duration>,
}

impl Meter {
    pub(super) fn start(process: Option<Process>) -> Self {
        let cpu_before = process.and_then(Process::cpu_time);
        Self { process, cpu_before, own_before: Process::own().cpu_time() }
    }

    /// Adds the processor's time for each of `count` things, and the memory at its most.
    pub(super) fn tell(&self, count: u64, figures: &mut Figures) {
        let cpu = self.process.and_then(Process::cpu_time);
        each(figures, "hub_cpu_per_event", self.cpu_before, cpu, count);
        each(figures, "load_cpu_per_event", self.own_before, Process::own().cpu_time(), count);
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
    before: Option<std::time::Duration>,
    after: Option<std::time::Duration>,
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
