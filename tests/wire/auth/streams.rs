//! Tokens that change while a hub runs, and while streams are open.

use std::fs;

use hookline_client::Client;
use hookline_proto::v1;
use tonic::{Code, Status};

use super::kit::{Guarded, Tokens, delivery, joining, make, subscribe};
use crate::{
    agent::earliest,
    http::Webhook,
    hub::{Hub, Settings, soon},
};

async fn list(client: &Client) -> Result<(), Status> {
    client.events().list_events(v1::ListEventsRequest::default()).await.map(drop)
}

/// Asks until the answer is this.
async fn until(what: &str, client: &Client, code: Code) {
    let coming = async {
        while list(client).await.map_or_else(|status| status.code(), |()| Code::Ok) != code {}
    };
    soon(what, coming).await;
}

#[tokio::test]
async fn streams_end_when_their_token_is_revoked_and_others_go_on() {
    let tokens = Tokens::new();
    let worker = tokens.create("worker", &["--subscribe", "github"]);
    let reader = tokens.create("reader", &["--read", "github"]);
    let other = tokens.create("other", &["--subscribe", "github", "--operate"]);
    let guarded = Guarded::start(tokens).await;
    let [worker, reader, other] = [worker, reader, other].map(|token| guarded.client(&token));
    make(&other, "work", &["github"]).await;
    let mut working = subscribe(&worker, joining("work", "one")).await.unwrap();
    let mut another = subscribe(&other, joining("work", "two")).await.unwrap();
    let request = v1::WatchEventsRequest { start: earliest(), ..Default::default() };
    let mut watched =
        soon("a stream", reader.events().watch_events(request)).await.unwrap().into_inner();
    for name in ["worker", "reader"] {
        guarded.tokens().revoke(name);
    }
    let ended = delivery(&mut working).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    let ended = soon("the end", watched.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    assert_eq!(list(&reader).await.unwrap_err().code(), Code::Unauthenticated);
    // What one has left is another's.
    guarded.hub.take(&Webhook::push("g1")).await;
    assert_eq!(delivery(&mut another).await.unwrap().event.unwrap().source, "github");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let tokens = Tokens::new();
    tokens.create("ops", &["--operate"]);
    let guarded = Guarded::start(tokens).await;
    let short = guarded
        .tokens()
        .create("short", &["--subscribe", "github", "--read", "*", "--expires", "4s"]);
    let short = guarded.client(&short);
    until("the new token to be taken", &short, Code::Ok).await;
    let request =
        v1::SubscribeRequest { patterns: vec!["github".to_owned()], ..joining("", "one") };
    let mut stream = subscribe(&short, request).await.unwrap();
    let ended = delivery(&mut stream).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    assert_eq!(list(&short).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_stream_comes_back_when_its_token_may_do_more() {
    let tokens = Tokens::new();
    let reader = tokens.create("reader", &["--read", "github"]);
    let guarded = Guarded::start(tokens).await;
    let reader = guarded.client(&reader);
    let request = v1::WatchEventsRequest::default();
    let mut watched =
        soon("a stream", reader.events().watch_events(request)).await.unwrap().into_inner();
    let path = guarded.tokens().path();
    let text = fs::read_to_string(&path).unwrap();
    let wider = text.replace("read = [\"github/*\"]", "read = [\"*\"]");
    assert_ne!(text, wider);
    fs::write(&path, wider).unwrap();
    let ended = soon("the end", watched.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    list(&reader).await.unwrap();
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_one_that_is_gone_lets_nobody_in() {
    let tokens = Tokens::new();
    let reader = tokens.create("reader", &["--read", "*"]);
    let guarded = Guarded::start(tokens).await;
    let reader = guarded.client(&reader);
    let path = guarded.tokens().path();
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("name", "nam")).unwrap();
    let told = async {
        while !guarded.logged().contains("the tokens file is not taken") {
            list(&reader).await.unwrap();
        }
    };
    soon("the hub to tell", told).await;
    list(&reader).await.unwrap();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    until("the hub to miss it", &reader, Code::Unauthenticated).await;
    fs::write(&aside, good).unwrap();
    fs::rename(&aside, &path).unwrap();
    until("the hub to find it", &reader, Code::Ok).await;
}

#[tokio::test]
async fn a_hub_that_asked_nobody_asks_everybody_once_there_is_a_file() {
    let hub = Hub::start_with(Settings::default()).await;
    let address = hub.grpc_address().to_string();
    let anyone = Client::connect(address.clone()).unwrap();
    let request = v1::WatchEventsRequest::default();
    let mut watched =
        soon("a stream", anyone.events().watch_events(request)).await.unwrap().into_inner();
    let data = hub.folder().join("data");
    let made =
        super::kit::tokens(&["create", "a", "--read", "*", "--data", data.to_str().unwrap()]);
    assert!(made.status.success());
    let ended = soon("the end", watched.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    assert_eq!(list(&anyone).await.unwrap_err().code(), Code::Unauthenticated);
    let token = String::from_utf8(made.stdout).unwrap();
    let known = Client::builder(address).token(token).connect().unwrap();
    list(&known).await.unwrap();
}
