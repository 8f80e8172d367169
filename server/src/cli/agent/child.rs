//! One run of the program: a child process in a group of its own, from its start to its end.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    pin::{Pin, pin},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::{FutureExt as _, future::FusedFuture};
use hookline_client::Delivery;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, Command},
    time::timeout,
};

use super::stop::Stop;
use crate::cli::{event_json::EventJson, event_json::line};

/// How much of what the program says is kept as the reason of its failure: what the hub keeps.
const SAID_BYTES_MAX: usize = 4 * 1024;
/// How long its standard error stream is read on after its end: what it started may hold the stream open.
const SAID_TIME_MAX: Duration = Duration::from_millis(500);
/// The longest text of a variable: a provider's names may be long, and the system refuses too much of them.
const VARIABLE_BYTES_MAX: usize = 4 * 1024;

/// The program, and what each of its runs gets.
#[derive(Debug)]
pub(super) struct Program {
    /// The program and its arguments.
    pub(super) command: Vec<OsString>,
    pub(super) variables: Vec<(&'static str, String)>,
    /// How long it may take to end after SIGTERM.
    pub(super) grace: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself, with the end of what it said on its standard error stream.
    Exited { code: Option<i32>, signal: Option<i32>, said: String },
    /// Because the agent stops.
    Stopped,
    /// Because the lease is lost, for this reason.
    Lost(String),
    /// It never began.
    NotStarted(io::Error),
}

impl Program {
    /// Runs the program for one event.
    pub(super) async fn run(&self, delivery: &Delivery, stop: &Stop) -> End {
        let mut child = match self.spawn(delivery) {
            Ok(child) => child,
            Err(error) => return End::NotStarted(error),
        };
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let input = line(&EventJson::new(delivery.event()));
        let mut said = Said::default();
        let end = {
            let mut talk = pin!(
                async {
                    tokio::join!(write(stdin, input), said.read(stderr));
                }
                .fuse()
            );
            let ended = tokio::select! {
                biased;
                reason = delivery.lost() => Err(End::Lost(reason)),
                () = stop.begun() => Err(End::Stopped),
                status = wait(&mut child, talk.as_mut()) => Ok(status),
            };
            match ended {
                Ok(status) => {
                    // What it said before its end is in the pipe; there may be no end of the pipe.
                    if !talk.is_terminated() {
                        timeout(SAID_TIME_MAX, talk).await.ok();
                    }
                    status.map_err(End::NotStarted)
                }
                Err(end) => {
                    self.end(&mut child, talk.as_mut(), stop).await;
                    Err(end)
                }
            }
        };
        match end {
            Ok(status) => {
                let (code, signal) = (status.code(), status.signal());
                End::Exited { code, signal, said: said.text() }
            }
            Err(end) => end,
        }
    }

    fn spawn(&self, delivery: &Delivery) -> io::Result<Child> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let variables = self.variables.iter().map(|(name, text)| (*name, text.clone()));
        Command::new(program)
            .args(arguments)
            .envs(variables.chain(variables_of(delivery)))
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C is ours to pass on, and what it started ends with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Ends the program and what it started: SIGTERM first, and SIGKILL when it took too long.
    async fn end(
        &self,
        child: &mut Child,
        talk: Pin<&mut impl FusedFuture<Output = ()>>,
        stop: &Stop,
    ) {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(group) = group else { return };
        // It may have ended just now.
        kill_process_group(group, Signal::TERM).ok();
        let ended = tokio::select! {
            ended = timeout(self.grace, wait(child, talk)) => ended.is_ok(),
            () = stop.at_once() => false,
        };
        // Of a group whose leader has ended, what was left behind.
        kill_process_group(group, Signal::KILL).ok();
        if !ended {
            child.wait().await.ok();
        }
    }
}

/// Waits for the end of the program, while what it says is read.
async fn wait(
    child: &mut Child,
    mut talk: Pin<&mut impl FusedFuture<Output = ()>>,
) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return status,
            // Once only: what is fused is never ready again.
            () = talk.as_mut() => {}
        }
    }
}

/// Writes the event. A program that does not read it may end all the same.
async fn write(stdin: Option<ChildStdin>, input: String) {
    if let Some(mut stdin) = stdin {
        stdin.write_all(input.as_bytes()).await.ok();
        stdin.write_all(b"\n").await.ok();
    }
}

/// The end of what a program has said.
#[derive(Debug, Default)]
struct Said(Vec<u8>);

impl Said {
    /// Reads to the end of the stream, and passes it on to ours.
    async fn read(&mut self, stderr: Option<ChildStderr>) {
        let Some(mut stderr) = stderr else { return };
        let mut bytes = vec![0; SAID_BYTES_MAX];
        while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
            let read = bytes.get(..count).unwrap_or_default();
            // Where nobody listens to us, the hub still does.
            io::Write::write_all(&mut io::stderr().lock(), read).ok();
            self.keep(read);
        }
    }

    fn keep(&mut self, read: &[u8]) {
        self.0.extend_from_slice(read);
        let beyond = self.0.len().saturating_sub(SAID_BYTES_MAX);
        self.0.drain(..beyond);
    }

    /// Returns it as text that the hub does not have to cut.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let beyond = text.len().saturating_sub(SAID_BYTES_MAX);
        text.get(text.ceil_char_boundary(beyond)..).unwrap_or_default().to_owned()
    }
}

/// Returns what of an event and its delivery goes into the environment.
fn variables_of(delivery: &Delivery) -> Vec<(&'static str, String)> {
    let event = delivery.event();
    let variables = [
        ("HOOKLINE_EVENT_ID", event.id.clone()),
        ("HOOKLINE_SUBJECT", delivery.subject()),
        ("HOOKLINE_SEQUENCE", event.sequence.to_string()),
        ("HOOKLINE_ACTOR", event.actor.clone()),
        ("HOOKLINE_RESOURCE_TYPE", event.resource_type.clone()),
        ("HOOKLINE_RESOURCE_ID", event.resource_id.clone()),
        ("HOOKLINE_ATTEMPT", delivery.attempt().to_string()),
        ("HOOKLINE_MAX_ATTEMPTS", delivery.max_attempts().to_string()),
        ("HOOKLINE_LEASE_ID", delivery.lease_id().to_owned()),
    ];
    // Where OpenTelemetry's libraries for programs look for it.
    let trace = delivery.traceparent().map(|text| ("TRACEPARENT", text.to_owned()));
    let variables = variables.into_iter().chain(trace);
    variables.map(|(name, text)| (name, variable(&text))).collect()
}

/// Returns a text as a variable can have it: without NUL, and not too long.
fn variable(text: &str) -> String {
    let mut text = text.replace('\0', "");
    text.truncate(text.floor_char_boundary(VARIABLE_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let mut said = Said::default();
        said.keep(&[b'a'; 3_000]);
        said.keep(&[b'b'; 3_000]);
        let text = said.text();
        assert_eq!((text.len(), text.matches('b').count()), (SAID_BYTES_MAX, 3_000));
        let mut broken = Said::default();
        broken.keep(&[0xff; SAID_BYTES_MAX]);
        assert!(broken.text().len() <= SAID_BYTES_MAX);
    }

    #[test]
    fn what_a_stranger_wrote_can_be_a_variable() {
        assert_eq!(variable("a\0b"), "ab");
        assert_eq!(variable(&"ß".repeat(5_000)).len(), VARIABLE_BYTES_MAX);
    }
}
