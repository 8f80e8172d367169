//! `hookline agent`: programs that work on events.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command},
};

use super::harness::{Hub, PULL_REQUEST, hookline, json, run, stderr};

/// An agent whose programs' output is read line by line. Killed when it is dropped.
struct Agent {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Agent {
    fn begin(hub: &Hub, arguments: &[&str]) -> Self {
        let mut command = hookline();
        command.args(["agent", "--subscription", "work"]).args(arguments);
        let mut child = command.env("HOOKLINE_ADDRESS", &hub.grpc).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Tells it to stop, and returns its exit code and what it said.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A hub with a subscription that retries at once, and one event for it.
fn hub() -> Hub {
    let hub = Hub::serve();
    let policy = ["--initial-backoff", "0s", "--max-attempts", "2", "--from", "earliest"];
    hub.told(&[&["subscriptions", "create", "work", "github"][..], &policy].concat());
    let body = hub.file("body.json", PULL_REQUEST);
    assert!(hub.send(&body, &[]).status.success());
    hub
}

/// Asks for the subscription's counts until they are so.
fn wait_for(hub: &Hub, count: &str, value: u64) -> serde_json::Value {
    loop {
        let told = hub.json(&["subscriptions", "show", "work"]);
        if told["counts"][count] == value {
            return told;
        }
    }
}

#[test]
fn a_program_gets_the_event_and_its_variables_and_zero_acks() {
    let hub = hub();
    let script = r#"cat; echo "$HOOKLINE_SUBJECT $HOOKLINE_ATTEMPT/$HOOKLINE_MAX_ATTEMPTS $HOOKLINE_RESOURCE_ID $HOOKLINE_CONSUMER""#;
    let mut agent = Agent::begin(&hub, &["--consumer", "one", "--exec", script]);
    let event = json(&agent.line());
    assert_eq!(event["payload"]["number"], 7);
    assert_eq!(agent.line(), "github/pull_request.opened 1/2 octo/hello#7 one");
    loop {
        let told = hub.json(&["subscriptions", "show", "work"]);
        if told["position"]["done_floor"] == 1 {
            break;
        }
    }
    assert_eq!(agent.terminate(), (Some(0), String::new()));
}

#[test]
fn a_program_gets_the_place_of_its_event_in_a_trace() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let hub = Hub::serve();
    hub.told(&["subscriptions", "create", "work", "github", "--from", "earliest"]);
    let body = hub.file("body.json", PULL_REQUEST);
    let header = format!("traceparent: {trace}");
    assert!(hub.send(&body, &["--header", &header]).status.success());
    // The hub of these tests traces nothing: what the sender said is handed on.
    let script = r#"cat >/dev/null; echo "$TRACEPARENT""#;
    let mut agent = Agent::begin(&hub, &["--exec", script]);
    assert_eq!(agent.line(), trace);
    agent.terminate();
}

#[test]
fn a_failure_is_tried_again_with_the_end_of_what_was_said_as_its_reason() {
    let hub = hub();
    let script = r#"echo "attempt $HOOKLINE_ATTEMPT"; yes x | head -c 9000 >&2; echo "no luck" >&2; exit 75"#;
    let mut agent = Agent::begin(&hub, &["--", "sh", "-c", script]);
    assert_eq!((agent.line(), agent.line()), ("attempt 1".to_owned(), "attempt 2".to_owned()));
    wait_for(&hub, "dead", 1);
    let letter = hub.json(&["dead-letters", "list"]);
    assert_eq!(letter["reason"], "DEAD_LETTER_REASON_MAX_ATTEMPTS");
    let attempt = &letter["attempts"][0];
    let reason = attempt["reason"].as_str().unwrap();
    assert!(reason.ends_with("x\nno luck") && 4_000 < reason.len(), "{reason}");
    assert_eq!(attempt["error_type"], "exit code 75");
    let (code, said) = agent.terminate();
    assert_eq!(code, Some(0));
    assert!(said.contains("no luck\nhookline: event ") && said.contains("exit code 75"), "{said}");
}

#[test]
fn exit_code_65_is_a_dead_letter_at_once() {
    let hub = hub();
    let _agent = Agent::begin(&hub, &["--exec", "echo not an issue >&2; exit 65"]);
    wait_for(&hub, "dead", 1);
    let letter = hub.json(&["dead-letters", "list"]);
    assert_eq!(letter["reason"], "DEAD_LETTER_REASON_REJECTED");
    assert_eq!(letter["attempts"][0]["reason"], "not an issue");
}

#[test]
fn who_is_stopped_ends_its_programs_and_gives_back_their_events() {
    let hub = hub();
    let told = hub.file("told", "");
    // It ends well when it is told to stop: that is no ack.
    let script = format!(
        "trap 'echo stopped > {}; exit 0' TERM; echo begun; while :; do sleep 0.05; done",
        told.display()
    );
    let mut agent = Agent::begin(&hub, &["--exec", &script]);
    assert_eq!(agent.line(), "begun");
    assert_eq!(agent.terminate().0, Some(0));
    assert_eq!(fs::read_to_string(&told).unwrap(), "stopped\n");
    let told = hub.json(&["deliveries", "list", "work"]);
    assert_eq!((&told["state"], &told["attempt"]), (&"DELIVERY_STATE_READY".into(), &0.into()));
}

#[test]
fn who_does_not_listen_is_killed_after_the_grace_with_what_it_started() {
    let hub = hub();
    let script = "trap '' TERM; sleep 1000 & echo $!; wait; while :; do sleep 1000; done";
    let mut agent = Agent::begin(&hub, &["--grace", "100ms", "--exec", script]);
    let grandchild = agent.line();
    assert_eq!(agent.terminate().0, Some(0));
    // A process that is gone, or that nobody has fetched the end of yet.
    let status = fs::read_to_string(format!("/proc/{grandchild}/status"));
    assert!(status.is_err() || status.unwrap().contains("State:\tZ"), "{grandchild} still runs");
    wait_for(&hub, "ready", 1);
}

#[test]
fn a_lost_lease_ends_the_program() {
    let hub = hub();
    let mut agent = Agent::begin(
        &hub,
        &["--exec", "trap 'echo over; exit 1' TERM; echo begun; while :; do sleep 0.05; done"],
    );
    assert_eq!(agent.line(), "begun");
    hub.told(&["subscriptions", "seek", "work", "--to", "latest", "--yes"]);
    assert_eq!(agent.line(), "over");
    let (code, said) = agent.terminate();
    assert_eq!(code, Some(0));
    assert!(said.contains("the lease is lost"), "{said}");
}

#[test]
fn a_program_that_is_not_there_costs_no_attempt() {
    let hub = hub();
    let output = hub.run(&["agent", "-s", "work", "--", "no-such-program"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("could not start `no-such-program`: "), "{}", stderr(&output));
    // Given back before the command ended, which takes nothing new while it ends.
    let told = hub.json(&["deliveries", "list", "work"]);
    assert_eq!((&told["state"], &told["attempt"]), (&"DELIVERY_STATE_READY".into(), &0.into()));

    let output = hub.run(&["agent", "-s", "nobody", "--exec", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`nobody` does not exist"), "{}", stderr(&output));
    assert_eq!(run(&["agent", "-s", "work"]).status.code(), Some(64));
}
