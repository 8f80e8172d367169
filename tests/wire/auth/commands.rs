//! `hookline tokens`, and the commands that call with one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use super::kit::{Guarded, Tokens};
use crate::{agents::tool, http::Webhook};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_token_is_printed_once_and_kept_as_a_hash() {
    let tokens = Tokens::new();
    let output = tokens.run(&[
        "create",
        "reviewer",
        "--subscribe",
        "github/pull_request*",
        "--publish",
        "agent",
        "--expires",
        "90d",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let (token, told) = (text(&output.stdout), text(&output.stderr));
    let token = token.trim_end();
    assert!(told.contains("subscribe github/pull_request*; publish agent; until 20"), "{told}");
    assert!(told.contains("from now on"), "{told}");
    assert!(!told.contains(token), "only on the standard output");
    let kept = fs::read_to_string(tokens.path()).unwrap();
    let secret = token.rsplit_once('_').unwrap().1;
    assert!(!kept.contains(secret) && kept.contains("name = \"reviewer\""), "{kept}");
    assert_eq!(fs::metadata(tokens.path()).unwrap().permissions().mode() & 0o777, 0o600);

    let again = tokens.run(&["create", "reviewer", "--operate"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("already: revoke it first"), "{}", text(&again.stderr));
    tokens.revoke("reviewer");
    let listed = tokens.run(&["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["state"], "revoked");
    assert_eq!(listed["subscribe"], serde_json::json!(["github/pull_request*"]));
    assert!(listed.get("hash").is_none());
    assert_ne!(tokens.create("reviewer", &["--operate"]), token, "its place is taken");
    tokens.create_expired("old", &["--read", "*"]);
    let listed = text(&tokens.run(&["list"]).stdout);
    assert!(listed.contains("live") && listed.contains("expired"), "{listed}");
    assert!(!listed.contains("revoked"), "{listed}");
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_made() {
    let tokens = Tokens::new();
    for (arguments, told) in [
        (&["create", "a"][..], "may do nothing"),
        (&["create", "A", "--operate"], "a name is 1 to 64 bytes"),
        (&["create", "a", "--read", "GitHub"], "`read`: pattern 0 is not valid: at byte 0"),
        (&["create", "a", "--publish", "dead-letter"], "`dead-letter` is reserved"),
        (&["create", "a", "--operate", "--expires", "0s"], "more than nothing"),
        (&["create", "a", "--operate", "--expires", "soon"], "soon"),
    ] {
        let output = tokens.run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    assert!(!tokens.path().exists());
    for arguments in [&["list"][..], &["revoke", "a"]] {
        let output = tokens.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(!tokens.path().exists(), "a file without tokens would lock everybody out");
    }
    tokens.create("a", &["--operate"]);
    let output = tokens.run(&["revoke", "b"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn of_tokens_made_at_once_none_is_lost() {
    let tokens = Tokens::new();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let tokens = &tokens;
            scope.spawn(move || tokens.create(&format!("t{number}"), &["--operate"]));
        }
    });
    let listed = text(&tokens.run(&["list", "--json"]).stdout);
    assert_eq!(listed.lines().count(), 6, "{listed}");
}

#[tokio::test]
async fn commands_call_with_a_token_however_it_is_given() {
    let tokens = Tokens::new();
    let token = tokens.create("ops", &["--operate"]);
    let narrow = tokens.create("agent", &["--subscribe", "github"]);
    let guarded = Guarded::start(tokens).await;
    guarded.hub.take(&Webhook::push("g1")).await;
    let address = format!("http://{}", guarded.hub.grpc_address());
    let file = guarded.hub.folder().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let run = |arguments: &[&str], variable: Option<&str>| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookline"));
        command.env_clear().args(arguments).args(["--address", &address]).stdin(Stdio::null());
        command.envs(variable.map(|token| ("HOOKLINE_TOKEN", token)));
        command.output().unwrap()
    };
    let list = ["events", "list"];
    let refused = run(&list, None);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("a bearer token that counts is needed"));
    let path = file.to_str().unwrap();
    for (more, variable) in [
        (&["--token", &token][..], None),
        (&[], Some(token.as_str())),
        (&["--token-file", path], Some("hkl_of_another")),
    ] {
        let done = run(&[&list[..], more].concat(), variable);
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        assert!(text(&done.stdout).contains("github/push"));
    }
    let backup = guarded.hub.folder().join("backup");
    for arguments in [
        &["status"][..],
        &["sources"],
        &["subscriptions", "list"],
        &["subscriptions", "create", "prs", "github"],
        &["deliveries", "list", "prs"],
        &["dead-letters", "list"],
        &["dead-letters", "summary"],
        &["test-filter", "github"],
        &["backup", backup.to_str().unwrap()],
    ] {
        let done = run(arguments, Some(&token));
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {}", text(&done.stderr));
        assert_eq!(run(arguments, None).status.code(), Some(1), "{arguments:?}");
    }
    let looked = run(&["status"], Some(&narrow));
    assert_eq!(looked.status.code(), Some(0), "{}", text(&looked.stderr));
    let looked = text(&looked.stdout);
    assert!(looked.contains("health  serving\nlog     not shown: the token has no"), "{looked}");
    assert!(looked.contains("sources not shown: ") && looked.contains("\nprs "), "{looked}");
    let bad = run(&list, Some("not\u{a0}one"));
    assert_eq!(bad.status.code(), Some(64), "{}", text(&bad.stderr));
    assert!(!text(&run(&["events", "list", "--help"], Some(&token)).stdout).contains(&token));
}

#[tokio::test]
#[ignore = "needs grpcurl"]
async fn grpcurl_calls_with_a_token() {
    let grpcurl = tool("HOOKLINE_GRPCURL", "grpcurl");
    let tokens = Tokens::new();
    let token = tokens.create("reader", &["--read", "*"]);
    let guarded = Guarded::start(tokens).await;
    guarded.hub.take(&Webhook::push("g1")).await;
    let address = guarded.hub.grpc_address().to_string();
    let run = |header: &str| -> Output {
        let mut command = Command::new(&grpcurl);
        command.args(["-plaintext", "-H", header, &address, "hookline.v1.EventService/ListEvents"]);
        command.output().unwrap()
    };
    let listed = run(&format!("authorization: Bearer {token}"));
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    assert!(text(&listed.stdout).contains("\"eventType\": \"push\""));
    let refused = run("x-nothing: 1");
    assert!(!refused.status.success());
}
