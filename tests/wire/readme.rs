//! The README shows files that tests run, as they are.

use std::{net::SocketAddr, process::Stdio};

use hookline_proto::v1::{DeliveryState, SubscribeRequest};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    agents::{generate_stubs, root, tool},
    http::Webhook,
    hub::{Hub, PATIENCE},
    operator::creating,
};

/// Returns a file without what only the repository needs: its doc comment and its lints.
fn shown(file: &str) -> String {
    let lines = file.lines().skip_while(|line| {
        line.is_empty()
            || ["//!", "#![expect", "\"\"\""].iter().any(|start| line.starts_with(start))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_agents_of_the_readme_are_the_examples() {
    let readme = include_str!("../../README.md");
    for (name, file) in [
        ("quickstart.rs", include_str!("../../client/examples/quickstart.rs")),
        ("quickstart.py", include_str!("../../client/examples/python/quickstart.py")),
    ] {
        assert!(readme.contains(&shown(file)), "the README shows another {name}");
    }
}

/// Runs an agent of the README against a hub, and sees that it works on an issue and acks it.
async fn works_on_an_issue(agent_at: impl FnOnce(SocketAddr) -> Command) {
    let hub = Hub::start().await;
    let api = hub.agent().await;
    let triage = SubscribeRequest {
        subscription: "triage".to_owned(),
        patterns: vec!["github/issues.*".to_owned()],
        ..Default::default()
    };
    // So that the event is not there before the subscription; and not by a stream, which could be given the event on its way out.
    api.try_create(creating(triage)).await.unwrap();
    let body = r#"{"action": "opened", "issue": {"number": 7},
        "repository": {"full_name": "octo/hello"}, "sender": {"login": "mona"}}"#;
    let id = hub.take(&Webhook::github("issues", "one", body)).await;
    let mut command = agent_at(hub.grpc_address());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut agent = command.spawn().unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    // Building it may take a while.
    let line = tokio::time::timeout(30 * PATIENCE, lines.next_line()).await;
    assert_eq!(line.unwrap().unwrap().unwrap(), "octo/hello#7 by mona, attempt 1");
    api.event_once(&id, DeliveryState::Done).await;
}

#[tokio::test]
#[ignore = "builds an example; run by CI"]
async fn the_rust_agent_of_the_readme_works() {
    works_on_an_issue(|address| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "--package", "hookline-client", "--example", "quickstart"]);
        cargo.arg("--").arg(format!("http://{address}"));
        cargo
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Python with grpcio-tools"]
async fn the_python_agent_of_the_readme_works() {
    let stubs = tempfile::tempdir().unwrap();
    let python = tool("HOOKLINE_PYTHON", "python3");
    generate_stubs(&python, stubs.path()).await;
    works_on_an_issue(|address| {
        let mut agent = Command::new(python);
        agent.env("PYTHONPATH", stubs.path()).current_dir(root());
        agent.arg("client/examples/python/quickstart.py").arg(address.to_string());
        agent
    })
    .await;
}
