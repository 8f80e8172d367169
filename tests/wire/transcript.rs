//! Documents whose commands a test runs: each `console` block of a section is a shell's transcript, and what the commands
//! print must be what stands there, but for what differs from run to run.
//!
//! With `HOOKLINE_TRANSCRIPTS=write` the documents are written anew from what the commands print.

use std::{fs, path::Path, process::Stdio, time::Duration};

use regex_automata::meta::Regex;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    agents::root,
    hub::{PATIENCE, soon, wall},
};

/// What stands for what differs from run to run.
const VOLATILE: [(&str, &str); 5] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"hkl_[0-9A-Za-z_]+", "TOKEN"),
    (r"\b\d+(\.\d+)?(us|µs|ms|s|m|h)\b( \d+(\.\d+)?(us|µs|ms|s|m|h)\b)*", "DURATION"),
];

/// Where a hub listens in documents: where one does of which nothing else is said.
const HTTP: &str = "127.0.0.1:4150";
const GRPC: &str = "127.0.0.1:4160";

/// How long what a command prints must stay the same before it is written into a document.
const SETTLED: Duration = Duration::from_millis(1_500);

/// A shell in a folder of its own, where `hookline` is the binary of these tests.
pub(crate) struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    folder: TempDir,
    /// The addresses of the hub, each with the one that is written in its place.
    addresses: Vec<(String, &'static str)>,
}

impl Shell {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::with_prefix("hookline-shell-").unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_hookline"));
        let folders = [binary.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")];
        let mut command = Command::new("sh");
        command.env_clear().env("PATH", std::env::join_paths(folders).unwrap());
        command.env("HOME", folder.path()).current_dir(folder.path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut shell = Self { child, stdin, stdout, folder, addresses: Vec::new() };
        assert_eq!(shell.run("exec 2>&1").await, "");
        let free_ports =
            "export HOOKLINE_HTTP__LISTEN=127.0.0.1:0 HOOKLINE_GRPC__LISTEN=127.0.0.1:0";
        assert_eq!(shell.run(free_ports).await, "");
        shell
    }

    /// Runs a command, and returns what it and those before it printed meanwhile.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        const END: &str = "-- the command has ended --";
        let line = format!("{command}\necho '{END}'\n");
        soon("the shell", self.stdin.write_all(line.as_bytes())).await.unwrap();
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            let read = timeout(3 * PATIENCE, self.stdout.read_line(&mut line)).await;
            assert!(matches!(read, Ok(Ok(1..))), "`{command}` does not end; it printed: {printed}");
            if let Some(last) = line.strip_suffix(&format!("{END}\n")) {
                return printed + last;
            }
            printed.push_str(&line);
        }
    }

    /// Tells the commands that follow where a hub listens that was started in the background, from what it printed to a
    /// file.
    pub(crate) async fn find_hub(&mut self, log: &str) {
        let log = self.folder.path().join(log);
        let ready = soon("the hub", async {
            loop {
                let text = fs::read_to_string(&log).unwrap_or_default();
                if let Some(ready) = text.lines().find(|line| line.starts_with("ready http=")) {
                    return ready.to_owned();
                }
                tokio::task::yield_now().await;
            }
        });
        let ready = ready.await;
        let (http, grpc) = ready.split_once(" grpc=").unwrap();
        let http = http.rsplit('/').next().unwrap();
        let known = format!("export HOOKLINE_HTTP__LISTEN={http} HOOKLINE_ADDRESS={grpc}");
        assert_eq!(self.run(&known).await, "");
        let grpc = grpc.rsplit('/').next().unwrap();
        self.addresses = vec![(http.to_owned(), HTTP), (grpc.to_owned(), GRPC)];
    }
}

impl Drop for Shell {
    /// Ends all that was started in it.
    fn drop(&mut self) {
        let group = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            // It may have ended.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// A command of a document, and what it prints there.
struct Step {
    command: String,
    printed: String,
}

/// Runs the commands of a section of a document in `server/docs`, in order, and compares what they print.
pub(crate) async fn follow(shell: &mut Shell, document: &str, heading: &str) {
    let path = root().join("server/docs").join(document);
    let text = fs::read_to_string(&path).unwrap();
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
    let writes = std::env::var("HOOKLINE_TRANSCRIPTS").is_ok_and(|word| word == "write");
    let start = text.find(&format!("\n{heading}\n")).expect("the document has the heading");
    let level = heading.split(' ').next().unwrap();
    let after = start + 1 + heading.len();
    let end = text[after..].find(&format!("\n{level} ")).map_or(text.len(), |at| after + at);
    let mut written = text[..after].to_owned();
    let mut rest = &text[after..end];
    while let Some((before, block)) = rest.split_once("```console\n") {
        let (block, behind) = block.split_once("```").expect("the block ends");
        written.push_str(before);
        written.push_str("```console\n");
        for step in steps(block) {
            let printed = run(shell, &step, writes).await;
            let command = step.command.replace('\n', "\n> ");
            let replace = |text: String, (found, told): &(String, &str)| text.replace(found, told);
            let printed = shell.addresses.iter().fold(printed, replace);
            written.push_str(&format!("$ {command}\n{printed}"));
        }
        written.push_str("```");
        rest = behind;
    }
    written.push_str(rest);
    written.push_str(&text[end..]);
    if writes {
        fs::write(&path, written).unwrap();
    }
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_command = false;
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), printed: String::new() });
            in_command = true;
            continue;
        }
        let step = steps.last_mut().expect("a transcript begins with a command");
        match line.strip_prefix("> ").or_else(|| line.strip_prefix('>')) {
            Some(more) if in_command => step.command.push_str(&format!("\n{more}")),
            Some(_) | None => {
                in_command = false;
                step.printed.push_str(line);
                step.printed.push('\n');
            }
        }
    }
    steps
}

/// Runs a step until it prints what it should: what is asked for may take a moment to come about. Returns what it printed.
async fn run(shell: &mut Shell, step: &Step, writes: bool) -> String {
    let mut printed = shell.run(&step.command).await;
    if step.command.contains("hookline serve") {
        shell.find_hub("hub.log").await;
    }
    let started = wall();
    if writes {
        let mut since = started;
        while only_looks(&step.command) && wall() - since < SETTLED {
            let again = shell.run(&step.command).await;
            if normal(&again) != normal(&printed) {
                since = wall();
            }
            printed = again;
        }
        return printed;
    }
    while normal(&printed) != normal(&step.printed) {
        assert!(
            only_looks(&step.command) && wall() - started < PATIENCE,
            "`{}` printed\n{printed}instead of\n{}",
            step.command,
            step.printed,
        );
        printed = shell.run(&step.command).await;
    }
    printed
}

/// Whether a command may be run again without doing anything twice.
fn only_looks(command: &str) -> bool {
    let looks = [
        " list",
        " show",
        " summary",
        "grep ",
        "status",
        "cat ",
        "tail -n",
        "--dry-run",
        "hookline sources",
    ];
    !command.contains('&')
        && !command.contains('>')
        && looks.iter().any(|word| command.contains(word))
}

/// Returns a text without what differs from run to run, spaces of tables among it.
fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in VOLATILE {
        let pattern = Regex::new(pattern).unwrap();
        let mut replaced = String::new();
        let mut last = 0;
        for found in pattern.find_iter(&text) {
            replaced.push_str(&text[last..found.start()]);
            replaced.push_str(name);
            last = found.end();
        }
        replaced.push_str(&text[last..]);
        text = replaced;
    }
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}
