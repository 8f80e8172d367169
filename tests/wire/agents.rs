//! Agents that are not ours: Python from generated stubs, and grpcurl, by the commands that their guides show.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use hookline_proto::v1::{
    CreateSubscriptionRequest, DeliveryState, NackAction, Outcome, SubscriptionPolicy,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{
    agent::{lasts, only},
    http::Webhook,
    hub::{Hub, soon},
};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the commands of a guide, block by block, with what is between `sh` fences.
fn blocks(guide: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("client/examples").join(guide)).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Returns the one block that has this text in it.
fn block(guide: &str, with: &str) -> String {
    let mut found = blocks(guide);
    found.retain(|block| block.contains(with));
    assert_eq!(found.len(), 1, "blocks of {guide} with `{with}`: {found:?}");
    found.remove(0)
}

pub(crate) fn tool(variable: &str, default: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
    std::env::var(variable).unwrap_or_else(|_| default.to_owned())
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(root()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Runs a script that must succeed, and returns what it wrote.
async fn run(script: &str) -> String {
    let done = soon("a command", shell(script).output()).await.unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "`{script}` failed and wrote {said}");
    said
}

/// A Python agent, which says each of its steps in a line of JSON.
struct Python {
    child: Child,
    steps: Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn start(script: &str) -> Self {
        let mut child = shell(script).spawn().unwrap();
        let steps = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, steps }
    }

    async fn step(&mut self, name: &str) -> Value {
        let line = soon(name, self.steps.next_line()).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("the agent ended before `{name}`"));
        let step: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(step["step"], name, "{step}");
        step
    }

    async fn ended_well(&mut self) {
        let status = soon("the agent's end", self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

/// Makes the work of the example take as long as four extensions of its lease.
const LONG_WORK: &str = r#"
import sys, threading
sys.path.insert(0, "client/examples/python")
import agent
extended, said = threading.Semaphore(0), agent.say
def say(step, **facts):
    said(step, **facts)
    if step == "extended":
        extended.release()
agent.say = say
agent.work = lambda event: [extended.acquire(timeout=20) for _ in range(4)]
sys.exit(agent.main())
"#;

/// Returns a command of the Python guide for this Python and this folder of stubs.
fn here(block: &str, python: &str, stubs: &Path) -> String {
    let stubs = stubs.to_str().unwrap();
    block.replace(".venv/stubs", stubs).replace(".venv/bin/python", python)
}

/// Makes the stubs as the Python guide says.
pub(crate) async fn generate_stubs(python: &str, stubs: &Path) {
    // Of the block that prepares, what follows the installation.
    let prepare = here(&block("python/README.md", "grpc_tools.protoc"), python, stubs);
    run(prepare.split("grpcio-tools\n").nth(1).expect("stubs come after pip")).await;
}

fn pull_request(delivery: &str) -> Webhook {
    let body = r#"{"action": "opened", "pull_request": {"number": 42},
        "repository": {"full_name": "octo/hello"}, "sender": {"login": "octocat"}}"#;
    Webhook::github("pull_request", delivery, body)
}

#[tokio::test]
#[ignore = "needs Python with grpcio-tools"]
async fn a_python_agent_from_generated_stubs_subscribes_extends_acks_and_nacks() {
    let python = tool("HOOKLINE_PYTHON", "python3");
    let folder = tempfile::tempdir().unwrap();
    generate_stubs(&python, folder.path()).await;

    let hub = Hub::start().await;
    let address = hub.grpc_address();
    let start = here(&block("python/README.md", "agent.py"), &python, folder.path());
    let start = start.trim_end();
    let mut agent = Python::start(&format!("{start} --address {address} --nack-first --count 2"));
    assert_eq!(agent.step("ready").await["subscription"], "reviewer");
    let id = hub.take(&pull_request("one")).await;
    let delivery = agent.step("delivery").await;
    assert_eq!(
        (delivery["event_id"].as_str(), delivery["attempt"].as_u64()),
        (Some(&*id), Some(1))
    );
    assert_eq!(delivery["subject"], "github/pull_request.opened");
    assert_eq!(delivery["resource_id"], "octo/hello#42");
    assert_eq!(agent.step("nack").await["outcome"], "OUTCOME_APPLIED");
    let delivery = agent.step("delivery").await;
    assert_eq!(delivery["attempt"], 2);
    assert_eq!(delivery["previous_reasons"][0], "asked to fail the first attempt");
    assert_eq!(agent.step("ack").await["outcome"], "OUTCOME_APPLIED");
    agent.ended_well().await;
    let ours = hub.agent().await;
    assert_eq!(only(&ours.event(&id).await).state(), DeliveryState::Done);

    // Work that is longer than its lease of a second.
    let policy =
        SubscriptionPolicy { lease_duration: lasts(Duration::from_secs(1)), ..Default::default() };
    let request = CreateSubscriptionRequest {
        name: "slow".to_owned(),
        patterns: vec!["github".to_owned()],
        policy: Some(policy),
        ..Default::default()
    };
    ours.subscriptions.clone().create_subscription(request).await.unwrap();
    let mut agent = Python::start(&format!(
        "PYTHONPATH={} {python} -c '{LONG_WORK}' --address {address} --subscription slow --count 1",
        folder.path().display(),
    ));
    agent.step("ready").await;
    hub.take(&pull_request("two")).await;
    agent.step("delivery").await;
    for _ in 0..4 {
        assert_eq!(agent.step("extended").await["outcome"], "OUTCOME_APPLIED");
    }
    let mut last = Value::Null;
    while last["step"] != "ack" {
        let line = soon("an ack", agent.steps.next_line()).await.unwrap().unwrap();
        last = serde_json::from_str(&line).unwrap();
        assert!(["extended", "ack"].contains(&last["step"].as_str().unwrap()), "{last}");
    }
    assert_eq!((&last["outcome"], &last["attempt"]), (&"OUTCOME_APPLIED".into(), &1.into()));
    agent.ended_well().await;
}

/// The commands of grpcurl's guide, for this hub.
struct Grpcurl {
    address: String,
    command: String,
}

impl Grpcurl {
    /// Returns a block of the guide, with this in the place of `grpcurl` at the beginning of each command.
    fn script(&self, with: &str, command: &str) -> String {
        let block = block("grpcurl.md", with).replace("127.0.0.1:4160", &self.address);
        assert!(block.contains(&self.address));
        let lines = block.lines().map(|line| match line.strip_prefix("grpcurl ") {
            Some(rest) => format!("{command} {rest}\n"),
            None => format!("{line}\n"),
        });
        lines.collect()
    }

    /// Runs a block to its end.
    async fn run(&self, with: &str) -> String {
        run(&self.script(with, &self.command)).await
    }

    /// Runs a block and reads each answer of it.
    async fn answers(&self, with: &str) -> Vec<Value> {
        values(self.run(with).await.as_bytes())
    }

    /// Starts a block that ends only when it is told to.
    fn start(&self, with: &str) -> Watching {
        let mut child =
            shell(&self.script(with, &format!("exec {}", self.command))).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Watching { _child: child, stdout, read: Vec::new(), given: 0 }
    }
}

/// Reads as many JSON values as are whole.
fn values(bytes: &[u8]) -> Vec<Value> {
    serde_json::Deserializer::from_slice(bytes).into_iter().map_while(Result::ok).collect()
}

/// A stream that grpcurl writes as one JSON value after the other.
struct Watching {
    _child: Child,
    stdout: ChildStdout,
    read: Vec<u8>,
    given: usize,
}

impl Watching {
    async fn next(&mut self) -> Value {
        loop {
            if let Some(value) = values(&self.read).into_iter().nth(self.given) {
                self.given += 1;
                return value;
            }
            let count = soon("grpcurl", self.stdout.read_buf(&mut self.read)).await.unwrap();
            assert_ne!(count, 0, "grpcurl ended after {:?}", str::from_utf8(&self.read));
        }
    }
}

#[tokio::test]
#[ignore = "needs grpcurl"]
async fn grpcurl_lists_watches_and_settles_without_proto_files() {
    let hub = Hub::start().await;
    let address = hub.grpc_address().to_string();
    let grpcurl = Grpcurl { address, command: tool("HOOKLINE_GRPCURL", "grpcurl") };
    let said = grpcurl.run(" list\n").await;
    for word in [
        "hookline.v1.DeadLetterService\n",
        "hookline.v1.EventService\n",
        "hookline.v1.SubscriberService\n",
        "hookline.v1.SubscriptionService\n",
        "hookline.v1.SubscriberService.ExtendLease\n",
        // The comments of the contract.
        "Opens a stream of deliveries for one consumer of a subscription.",
        "How many leases the consumer may hold at once",
    ] {
        assert!(said.contains(word), "`{word}` is not in {said}");
    }

    let mut work = grpcurl.start("SubscriberService/Subscribe");
    assert_eq!(work.next().await["ready"]["subscription"], "by-hand");
    let id = hub.take(&pull_request("one")).await;
    let delivery = work.next().await["delivery"].take();
    assert_eq!(delivery["event"]["id"], id.as_str());
    assert_eq!(delivery["event"]["payloadJson"]["pull_request"]["number"], 42);
    let lease = delivery["leaseId"].as_str().unwrap();
    let settle = grpcurl.script("SubscriberService/Ack", &grpcurl.command);
    let settle = settle.replace("the leaseId of the delivery", lease);
    let outcomes: Vec<_> = values(run(&settle).await.as_bytes())
        .iter()
        .map(|answer| answer["results"][0]["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["OUTCOME_APPLIED", "OUTCOME_APPLIED", "OUTCOME_CONFLICT"]);

    let published = grpcurl.answers("EventService/PublishEvent").await.remove(0);
    assert_eq!(published["sequence"], "2");
    let delivery = work.next().await["delivery"].take();
    assert_eq!(delivery["event"]["payloadJson"]["pages"], 12);
    let lease = delivery["leaseId"].as_str().unwrap();
    let nacked = hub.agent().await.nack(lease, "never", NackAction::DeadLetter).await;
    assert_eq!(nacked, Outcome::Applied);
    let answers = grpcurl.answers("DeadLetterService/ListDeadLetters").await;
    let letter = &answers[0]["deadLetters"][0];
    assert_eq!(letter["reason"], "DEAD_LETTER_REASON_REJECTED");
    assert_eq!(letter["event"]["payloadJson"]["pages"], 12);
    assert_eq!(answers[1]["redrivenCount"], "1");

    let listed = grpcurl.answers("EventService/ListEvents").await.remove(0);
    let events = listed["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["payloadJson"]["sender"]["login"], "octocat");
    // A watch begins at the end, and says nothing before its first event: so it is sent events until it has one.
    let mut watch = grpcurl.start("EventService/WatchEvents");
    let seen = async {
        let mut number = 0;
        loop {
            number += 1;
            let webhook = pull_request(&format!("watched-{number}"));
            tokio::select! {
                event = watch.next() => break event,
                _ = hub.take(&webhook) => {}
            }
        }
    };
    let event = soon("a watched event", seen).await["event"].take();
    assert_eq!(event["source"], "github");
    assert_eq!(event["payloadJson"]["repository"]["full_name"], "octo/hello");
}
