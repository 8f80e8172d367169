//! What the tests of the command run: the binary, a served hub, a tail, and a door to a hub that may change.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;

pub(super) const SECRET: &str = "plain:wire-test-secret";
pub(super) const PULL_REQUEST: &str = r#"{
  "action": "opened",
  "number": 7,
  "pull_request": {"number": 7, "updated_at": "2026-11-23T08:58:12Z"},
  "repository": {"full_name": "octo/hello"},
  "sender": {"login": "mona", "id": 12345678901234567890123}
}"#;

pub(super) fn hookline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookline"));
    // What the one who runs the tests has set must not change them.
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("HOOKLINE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(super) fn run(arguments: &[&str]) -> Output {
    hookline().args(arguments).output().unwrap()
}

pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(super) fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A served hub. Killed when it is dropped.
pub(super) struct Hub {
    pub(super) child: Child,
    pub(super) http: String,
    pub(super) grpc: String,
    folder: TempDir,
    _out: BufReader<ChildStdout>,
}

impl Hub {
    pub(super) fn serve() -> Self {
        Self::serve_at(tempfile::tempdir().unwrap())
    }

    pub(super) fn serve_at(folder: TempDir) -> Self {
        let mut child = hookline()
            .args(["serve", "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .args(["--log", "error", "--data"])
            .arg(folder.path().join("data"))
            .env("HOOKLINE_SOURCES__GITHUB__KIND", "github")
            .env("HOOKLINE_SOURCES__GITHUB__SECRETS", SECRET)
            .env("HOOKLINE_SOURCES__STRIPE__KIND", "stripe")
            .env("HOOKLINE_SOURCES__STRIPE__SECRETS", SECRET)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = |key: &str| {
            let mut words = line.split_whitespace();
            let found = words.find_map(|word| word.strip_prefix(key));
            found.unwrap_or_else(|| panic!("no `{key}` in `{line}`")).to_owned()
        };
        let (http, grpc) = (address("http="), address("grpc="));
        Self { child, http, grpc, folder, _out: out }
    }

    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(super) fn send(&self, file: &Path, more: &[&str]) -> Output {
        let url = format!("{}/webhooks/github", self.http);
        hookline()
            .args(["send", "--kind", "github", "--secret", SECRET, "--url", &url])
            .args(more)
            .arg("github")
            .arg(file)
            .output()
            .unwrap()
    }

    /// Runs a command against it.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        hookline().args(arguments).env("HOOKLINE_ADDRESS", &self.grpc).output().unwrap()
    }

    /// Runs a command against it that must do what it is told, and returns what it printed.
    pub(super) fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// As [`Hub::told`], for a command that prints one JSON object.
    pub(super) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        json(&self.told(&[arguments, &["--json"]].concat()))
    }

    /// Tells it to stop, as an init system would, and waits for its end.
    pub(super) fn terminate(mut self) -> (ExitStatus, TempDir) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        (status, folder)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // It may have ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A tail whose lines are read one by one.
pub(super) struct Tail {
    pub(super) child: Child,
    pub(super) out: Option<BufReader<ChildStdout>>,
}

impl Tail {
    pub(super) fn of(hub: &Hub, arguments: &[&str]) -> Self {
        Self::at(&hub.grpc, arguments)
    }

    pub(super) fn at(address: &str, arguments: &[&str]) -> Self {
        let mut child =
            hookline().args(["tail", "--address", address]).args(arguments).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out: Some(out) }
    }

    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Waits until it says this on its standard error stream.
    pub(super) fn wait_until_it_says(&mut self, text: &str) {
        let mut errors = BufReader::new(self.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(errors.read_line(&mut line).unwrap(), 0, "it ended without `{text}`");
        }
        self.child.stderr = Some(errors.into_inner());
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // It may have ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An address that stays while the hub behind it changes: a port that was given back may be somebody else's.
pub(super) struct Door {
    pub(super) address: String,
    behind: Arc<Mutex<String>>,
}

impl Door {
    pub(super) fn to(hub: &Hub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let behind = Arc::new(Mutex::new(hub.grpc.clone()));
        let door = Self { address, behind: Arc::clone(&behind) };
        // Ends with the process of the tests.
        thread::spawn(move || {
            for inner in listener.incoming().map_while(Result::ok) {
                let to = behind.lock().unwrap().replace("http://", "");
                // While there is no hub, callers are hung up on.
                if let Ok(outer) = TcpStream::connect(to) {
                    pass(inner.try_clone().unwrap(), outer.try_clone().unwrap());
                    pass(outer, inner);
                }
            }
        });
        door
    }

    pub(super) fn lead_to(&self, hub: &Hub) {
        self.behind.lock().unwrap().clone_from(&hub.grpc);
    }
}

/// Passes on what comes until it ends.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // Either side may break off.
        std::io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Both).ok();
    });
}
