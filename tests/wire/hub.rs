//! The real binary, in the hands of a test.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{
    agent::Agent,
    http::{Answer, Connection, SECRET, Webhook},
};

/// How long anything may take that a test waits for. Only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let Ok(came) = tokio::time::timeout(PATIENCE, coming).await else {
        panic!("waited in vain for {what}");
    };
    came
}

/// Returns the time, by the wall clock that the hub has too.
pub(crate) fn wall() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "tests have no clock of their own")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// How a hub is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// A command line that the hub's own is appended to, such as that of a tracer.
    pub(crate) wrapper: Vec<String>,
    /// `[shutdown] grace`; two seconds if it is not said.
    pub(crate) grace: Option<&'static str>,
    /// More of the hub's environment, which goes before what every hub is given.
    pub(crate) variables: Vec<(String, String)>,
}

/// A hub with the sources `github` and `stripe`. It is killed when it is dropped, and what it logged is shown if the
/// test has failed.
pub(crate) struct Hub {
    running: Running,
    settings: Settings,
    folder: TempDir,
}

struct Running {
    child: Child,
    /// Held so that the hub can go on writing to it.
    _stdout: Lines<BufReader<ChildStdout>>,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let folder = TempDir::with_prefix("hookline-wire-").unwrap();
        let running = Running::start(folder.path(), &settings).await;
        Self { running, settings, folder }
    }

    pub(crate) fn http_address(&self) -> SocketAddr {
        self.running.http
    }

    pub(crate) fn grpc_address(&self) -> SocketAddr {
        self.running.grpc
    }

    /// The folder with what the hub was given and wrote; the store is in `data`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Opens a connection to the HTTP front.
    pub(crate) async fn http(&self) -> Connection {
        Connection::open(self.http_address()).await.unwrap()
    }

    /// Opens a connection to the gRPC services.
    pub(crate) async fn agent(&self) -> Agent {
        Agent::connect(self.grpc_address()).await
    }

    /// Posts a webhook over a connection of its own.
    pub(crate) async fn post(&self, webhook: &Webhook) -> Answer {
        self.http().await.post(webhook).await.unwrap()
    }

    /// Posts a webhook that must be taken, and returns the event's id.
    pub(crate) async fn take(&self, webhook: &Webhook) -> String {
        let answer = self.post(webhook).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["status"], "accepted");
        body["event_id"].as_str().unwrap().to_owned()
    }

    /// Posts small webhooks, one for each key, that must be taken.
    pub(crate) async fn take_each<'a>(&self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys {
            self.take(&Webhook::push(key)).await;
        }
    }

    /// Kills the hub as `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.running.child.kill().await.unwrap();
    }

    /// The hub's process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.child.id().expect("the hub was not waited for")
    }

    /// Returns a line of what the kernel says of the hub's memory, such as `VmRSS` or `VmHWM`, in MiB.
    pub(crate) fn memory_mib(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let kib =
            status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')).unwrap();
        kib.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1_024
    }

    /// Has the peak of the hub's memory, `VmHWM`, count anew, and returns what it has now, in MiB.
    pub(crate) fn reset_peak_mib(&self) -> u64 {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
        self.memory_mib("VmRSS")
    }

    /// Asks the hub to stop, as a service manager does.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Asks the hub to read its configuration again.
    pub(crate) fn hang_up(&self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    /// Waits until the hub has ended.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        soon("the hub's end", self.running.child.wait()).await.unwrap()
    }

    /// Starts a hub that has ended again, on the same data.
    pub(crate) async fn start_again(&mut self) {
        self.running = Running::start(self.folder.path(), &self.settings).await;
    }

    /// Kills the hub and starts it again on the same data, with which nothing is wrong.
    pub(crate) async fn crash(&mut self) {
        self.kill().await;
        self.check().await;
        self.start_again().await;
    }

    /// Stops the hub gracefully and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.terminate();
        assert_eq!(self.exited().await.code(), Some(0));
        self.start_again().await;
    }

    /// Runs a command of the binary to its end.
    pub(crate) async fn command(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(HOOKLINE);
        command.env_clear().args(arguments).kill_on_drop(true).stdin(Stdio::null());
        soon("the end of a command", command.output()).await.unwrap()
    }

    /// Reads everything that a hub that has ended has left: nothing is wrong with it.
    pub(crate) async fn check(&self) {
        let data = self.folder.path().join("data");
        let checked = self.command(&["check", "--data", data.to_str().unwrap()]).await;
        let said = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(0), "{said}{checked:?}");
    }

    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(log_file(self.folder.path())).unwrap_or_default()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let logged = self.logged();
        if std::thread::panicking() {
            let lines: Vec<_> = logged.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("the hub logged at last:\n{}", last.join("\n"));
        } else {
            assert!(!logged.contains("panicked at"), "the hub panicked:\n{logged}");
        }
    }
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log")
}

impl Running {
    async fn start(folder: &Path, settings: &Settings) -> Self {
        let mut line = settings.wrapper.iter().map(String::as_str).chain([HOOKLINE]);
        let mut command = Command::new(line.next().unwrap());
        // Not the environment of the tests: every variable that begins as the hub's own is read as a setting.
        command.args(line).env_clear().kill_on_drop(true);
        for source in ["github", "stripe"] {
            let key = format!("HOOKLINE_SOURCES__{}", source.to_uppercase());
            command.env(format!("{key}__KIND"), source);
            command.env(format!("{key}__SECRETS"), format!("plain:{SECRET}"));
        }
        command.env("HOOKLINE_SHUTDOWN__GRACE", settings.grace.unwrap_or("2s"));
        // What fills the rest of the disk is not the test's.
        command.env("HOOKLINE_STORE__KEEP_FREE", "0%");
        command.envs(settings.variables.iter().map(|(name, value)| (name, value)));
        command.args(["serve", "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
        command.arg("--data").arg(folder.join("data"));
        let log = File::options().create(true).append(true).open(log_file(folder)).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = soon("the line `ready`", stdout.next_line()).await.unwrap();
        let Some((http, grpc)) = ready.as_deref().and_then(addresses) else {
            let log = fs::read_to_string(log_file(folder)).unwrap_or_default();
            panic!("the hub said {ready:?} instead of being ready:\n{log}");
        };
        Self { child, _stdout: stdout, http, grpc }
    }
}

const HOOKLINE: &str = env!("CARGO_BIN_EXE_hookline");

/// Reads `ready http=http://ADDRESS grpc=http://ADDRESS`, or with `https`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (http, grpc) = line.strip_prefix("ready http=")?.split_once(" grpc=")?;
    let address = |url: &str| url.split_once("://")?.1.parse().ok();
    Some((address(http)?, address(grpc)?))
}
