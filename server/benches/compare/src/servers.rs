//! What is compared, each started anew with a folder of its own on the same disk.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Outcome,
    bodies::SECRET,
    process::{Process, free_port},
    tools::Tools,
};

/// How JetStream makes what it has stored durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// `sync_interval: always`: each message before it is confirmed.
    Always,
    /// Its default: every two minutes.
    Default,
}

/// A server that runs, of one process or of several.
pub(crate) struct Server {
    /// The one that takes the events first.
    processes: Vec<Process>,
    /// Where events go in.
    pub(crate) url: String,
    /// Where they come out, if that is another place.
    pub(crate) grpc: String,
}

impl Server {
    /// Starts this program as one of its own servers; see [`crate::serve`].
    pub(crate) fn own(args: &[&str]) -> Outcome<Self> {
        Self::said(Command::new(env::current_exe()?).arg("serve").args(args))
    }

    pub(crate) fn hub(tools: &Tools, data: &Path) -> Outcome<Self> {
        let any = "127.0.0.1:0";
        Self::said(
            Command::new(&tools.hookline)
                .args([
                    "serve",
                    "--http-listen",
                    any,
                    "--grpc-listen",
                    any,
                    "--log",
                    "warn",
                    "--data",
                ])
                .arg(data)
                .env("HOOKLINE_SOURCES__GITHUB__KIND", "github")
                .env("HOOKLINE_SOURCES__GITHUB__SECRETS", format!("plain:{SECRET}")),
        )
    }

    pub(crate) fn nats(tools: &Tools, data: &Path, sync: Sync) -> Outcome<Self> {
        fs::create_dir_all(data)?;
        let port = free_port()?;
        let interval = match sync {
            Sync::Always => "sync_interval: always",
            Sync::Default => "",
        };
        let config = data.join("nats.conf");
        let store = data.join("jetstream");
        fs::write(
            &config,
            format!(
                "listen: \"127.0.0.1:{port}\"\nmax_payload: 8MB\n\
                 jetstream {{ store_dir: {store:?}\n max_file_store: 64GB\n {interval} }}\n"
            ),
        )?;
        let process =
            Process::with_port(Command::new(tools.nats_server()?).arg("-c").arg(config), port)?;
        Ok(Self::of(vec![process], format!("nats://127.0.0.1:{port}")))
    }

    pub(crate) fn redis(tools: &Tools, data: &Path) -> Outcome<Self> {
        let (process, port) = redis(tools, data)?;
        Ok(Self::of(vec![process], format!("redis://127.0.0.1:{port}")))
    }

    /// The design that a team would write first: one worker that verifies, normalizes and adds to a stream of Redis.
    pub(crate) fn fastapi(tools: &Tools, data: &Path) -> Outcome<Self> {
        let (redis, redis_port) = redis(tools, data)?;
        let port = free_port()?;
        let mut command = Command::new(tools.uvicorn()?);
        command
            .args(["app:app", "--host", "127.0.0.1", "--port", &port.to_string(), "--workers", "1"])
            .args([
                "--loop",
                "uvloop",
                "--http",
                "httptools",
                "--no-access-log",
                "--log-level",
                "warning",
            ])
            .arg("--app-dir")
            .arg(home().join("fastapi"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("WEBHOOK_SECRET", SECRET)
            .env("REDIS_URL", format!("redis://127.0.0.1:{redis_port}"));
        let process = Process::with_port(&mut command, port)?;
        Ok(Self::of(vec![process, redis], format!("http://127.0.0.1:{port}")))
    }

    fn of(processes: Vec<Process>, url: String) -> Self {
        Self { processes, grpc: String::new(), url }
    }

    /// Starts a program that says `ready http=URL grpc=URL`.
    fn said(command: &mut Command) -> Outcome<Self> {
        let (process, line) = Process::with_line(command)?;
        let said = |name: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.map(ToOwned::to_owned).unwrap_or_default()
        };
        let (url, grpc) = (said("http="), said("grpc="));
        Ok(Self { processes: vec![process], url, grpc })
    }

    /// Returns how much time of a processor its processes have taken.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// Returns the most memory that its processes had resident, in MiB.
    pub(crate) fn peak_mib(&self) -> Outcome<f64> {
        self.processes.iter().map(Process::peak_mib).sum()
    }

    /// Stops it in order, so that its files can be opened again.
    pub(crate) fn stop(self) -> Outcome {
        self.processes.into_iter().try_for_each(Process::stop)
    }
}

fn redis(tools: &Tools, data: &Path) -> Outcome<(Process, u16)> {
    fs::create_dir_all(data)?;
    let port = free_port()?;
    let mut command = tools.redis_command()?;
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
        .arg(data);
    Ok((Process::with_port(&mut command, port)?, port))
}

/// Returns the folder of this program's sources.
pub(crate) fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Writes a folder's files to the disk and takes them out of the page cache, so that they are read from the disk.
pub(crate) fn evict(folder: &Path) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            evict(&entry.path())?;
        } else {
            let file = fs::File::open(entry.path())?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}
