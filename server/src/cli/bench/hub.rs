//! A hub of our own: this program as another process, on free ports, in a folder of its own.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use hookline_core::source::Secret;
use rustix::process::{Pid, Signal, kill_process};

use super::{BenchError, process::Process};
use crate::config::{Environment as _, Process as Own};

/// What webhooks to it are signed with.
const SECRET: &str = "a-secret-of-benchmarks";

/// Returns what webhooks to it are signed with.
pub(super) fn secret() -> Secret {
    Secret::new(SECRET).expect("it is not empty")
}

/// A hub that serves. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct OwnHub {
    child: Child,
    http: String,
    grpc: String,
}

impl OwnHub {
    /// Starts a hub with its data in `data` of this folder, and waits until it serves.
    pub(super) async fn start(folder: &Path, cache: &str) -> Result<Self, BenchError> {
        let config = folder.join("hookline.toml");
        let text = format!(
            "[store]\ncache = \"{cache}\"\nkeep_free = \"0%\"\n[sources.github]\nkind = \"github\"\nsecrets = [\"plain:{SECRET}\"]\n"
        );
        fs::write(&config, text).map_err(|source| failed("write a configuration", source))?;
        let mut child =
            command(folder, &config)?.spawn().map_err(|source| failed("start a hub", source))?;
        let out = child.stdout.take();
        // From here on it is killed if this is not waited for.
        let mut hub = Self { child, http: String::new(), grpc: String::new() };
        let hearing = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let read = out.map(|out| BufReader::new(out).read_line(&mut line)).transpose();
            read.map(|_| line)
        });
        let heard = hearing.await.map_err(io::Error::other).flatten();
        let line = heard.map_err(|source| failed("hear a hub", source))?;
        let said = |name: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned)
        };
        let (Some(http), Some(grpc)) = (said("http="), said("grpc=")) else {
            return Err(BenchError::NotReady(line.trim().to_owned()));
        };
        (hub.http, hub.grpc) = (http, grpc);
        Ok(hub)
    }

    /// Returns where webhooks are posted.
    pub(super) fn http(&self) -> &str {
        &self.http
    }

    /// Returns where agents connect.
    pub(super) fn grpc(&self) -> &str {
        &self.grpc
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

fn command(folder: &Path, config: &Path) -> Result<Command, BenchError> {
    let program = std::env::current_exe().map_err(|source| failed("find this program", source))?;
    let mut command = Command::new(program);
    for (name, _) in Own.variables() {
        if name.to_string_lossy().starts_with("HOOKLINE_") {
            command.env_remove(name);
        }
    }
    let free = "127.0.0.1:0";
    command
        .args(["serve", "--http-listen", free, "--grpc-listen", free, "--log", "error", "--config"])
        .arg(config)
        .arg("--data")
        .arg(folder.join("data"))
        // A group of its own: Ctrl-C is for us, who then end it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Ok(command)
}

fn failed(attempted: &str, source: io::Error) -> BenchError {
    BenchError::Machine { attempted: attempted.to_owned(), source }
}
