//! Senders that are not ours: the libraries of providers, in Python and in JavaScript, sign what the hub takes, and
//! refuse what the hub refuses.
//!
//! `tests/sdk/requests.json` tells the hub its sources, and the programs next to it what to send.

use std::{fs::File, path::PathBuf, process::Stdio, time::Duration};

use hookline_proto::v1::ListEventsRequest;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    agents::{root, tool},
    hub::{Hub, Settings},
};

/// To load these libraries takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// As signed, with another body, with another signature.
const POSTS_OF_EACH: usize = 3;

fn folder() -> PathBuf {
    root().join("tests/sdk")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Returns what makes these sources the hub's.
fn variables(asked: &Value) -> Vec<(String, String)> {
    let sources = asked["sources"].as_object().unwrap().iter().flat_map(|(name, source)| {
        let section = format!("HOOKLINE_SOURCES__{}", name.to_uppercase());
        [
            (format!("{section}__KIND"), text(&source["kind"]).to_owned()),
            (format!("{section}__SECRETS"), format!("plain:{}", text(&source["secret"]))),
        ]
    });
    let url = ("HOOKLINE_HTTP__PUBLIC_URL".to_owned(), text(&asked["public_url"]).to_owned());
    sources.chain([url]).collect()
}

/// Runs a program that must find all as it is to be, and sees that there is an event of each signed request, and of
/// no other.
async fn agrees_with(mut program: Command) {
    let file = folder().join("requests.json");
    let asked: Value = serde_json::from_reader(File::open(&file).unwrap()).unwrap();
    let requests = asked["requests"].as_array().unwrap();
    let settings = Settings { variables: variables(&asked), ..Default::default() };
    let hub = Hub::start_with(settings).await;

    program.arg(hub.http_address().to_string()).stdin(File::open(&file).unwrap());
    program.stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let done = tokio::time::timeout(PATIENCE, program.output()).await;
    let done = done.expect("the program ends").unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    println!("{said}");
    assert!(done.status.success(), "{}", done.status);
    let posts = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(posts, POSTS_OF_EACH * requests.len());

    let events = hub.agent().await.list(ListEventsRequest::default()).await;
    let sources: Vec<_> = events.iter().map(|event| event.source.as_str()).collect();
    assert_eq!(sources, requests.iter().map(|asked| text(&asked["source"])).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs Python with tests/sdk/python/requirements.txt"]
async fn the_python_libraries_of_providers_agree_with_the_hub() {
    let mut python = Command::new(tool("HOOKLINE_PYTHON", "python3"));
    python.arg(folder().join("python/sign.py"));
    agrees_with(python).await;
}

#[tokio::test]
#[ignore = "needs Node.js with tests/sdk/node/package-lock.json"]
async fn the_javascript_libraries_of_providers_agree_with_the_hub() {
    let mut node = Command::new(tool("HOOKLINE_NODE", "node"));
    // As an argument, the program finds its modules where it is run.
    node.args(["--input-type=module", "--eval", include_str!("../sdk/node/sign.js")]);
    let modules = folder().join("node/node_modules");
    node.current_dir(tool("HOOKLINE_NODE_MODULES", modules.to_str().unwrap()));
    agrees_with(node).await;
}
