//! The command, as people and scripts run it: the real binary, its output and its exit codes.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod agent;
mod bench;
mod config;
mod events;
mod harness;
mod looking;
mod sources;
mod subscriptions;

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use self::harness::{Door, Hub, PULL_REQUEST, SECRET, Tail, hookline, json, run, stderr, stdout};

#[test]
fn the_demo_ends_well_and_tells_of_dead_letters() {
    let output = run(&["demo"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    for part in ["dead-letter/billing", "attempt 3 of 3", "200 duplicate", "401 refused"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(text.contains("Every delivery ended as it should"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours away from a terminal:\n{text}");
    // The time that it took stands at the start of its lines.
    let seconds = text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let took: f64 = seconds.fold(0.0, f64::max);
    assert!(0.0 < took && took < 20.0, "{took}");
}

#[test]
fn what_is_sent_is_seen_by_tail_with_its_payload() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    let sent = hub.send(&body, &["--delivery-id", "d-1"]);
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    assert!(stdout(&sent).starts_with("200 OK {\"status\":\"accepted\""), "{}", stdout(&sent));
    let again = hub.send(&body, &["--delivery-id", "d-1"]);
    assert!(stdout(&again).contains("duplicate"), "{}", stdout(&again));

    let mut tail = Tail::of(&hub, &["--from", "earliest", "--count", "1", "--json"]);
    let line = tail.line();
    let event = json(&line);
    assert_eq!(event["subject"], "github/pull_request.opened");
    assert_eq!(event["resource_id"], "octo/hello#7");
    assert_eq!(event["delivery_key"], "d-1");
    assert_eq!(event["payload"]["action"], "opened");
    assert!(line.contains("12345678901234567890123"), "a number lost digits: {line}");
    assert!(tail.child.wait().unwrap().success());

    let mut tail = Tail::of(&hub, &["github", "--from", "1", "--count", "1"]);
    let words = tail.line();
    let words: Vec<_> = words.split_whitespace().collect();
    assert_eq!(
        words.get(1..5).unwrap(),
        ["1", "github/pull_request.opened", "mona", "octo/hello#7"]
    );
}

#[test]
fn a_body_comes_from_a_pipe_and_a_wrong_secret_is_a_failure() {
    let hub = Hub::serve();
    let url = format!("{}/webhooks/stripe", hub.http);
    let send = |secret| {
        let mut child = hookline()
            .args(["send", "--kind", "stripe", "--secret", secret, "--url", &url, "stripe", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let body = br#"{"id":"evt_1","type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#;
        child.stdin.take().unwrap().write_all(body).unwrap();
        child.wait_with_output().unwrap()
    };
    let good = send(SECRET);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let bad = send("plain:another");
    assert_eq!(bad.status.code(), Some(1));
    assert!(stdout(&bad).starts_with("401 "), "{}", stdout(&bad));
    assert_eq!(stderr(&bad), "hookline: the webhook was not accepted: status 401\n");
}

#[test]
fn tail_goes_on_when_the_hub_is_back() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    assert!(hub.send(&body, &[]).status.success());
    let door = Door::to(&hub);
    let mut tail = Tail::at(&door.address, &["--from", "earliest", "--count", "2", "--json"]);
    assert_eq!(json(&tail.line())["sequence"], 1);

    let (status, folder) = hub.terminate();
    assert_eq!(status.code(), Some(0));
    tail.wait_until_it_says("waiting for it");
    let hub = Hub::serve_at(folder);
    door.lead_to(&hub);
    assert!(hub.send(&body, &[]).status.success());

    assert_eq!(json(&tail.line())["sequence"], 2);
    assert!(tail.child.wait().unwrap().success());
}

#[test]
fn tail_ends_quietly_when_its_reader_is_gone_or_it_is_interrupted() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    let mut piped = Tail::of(&hub, &["--from", "earliest", "--json"]);
    let mut interrupted = Tail::of(&hub, &["--from", "earliest", "--json"]);
    assert!(hub.send(&body, &[]).status.success());
    interrupted.line();
    piped.line();

    let pid = interrupted.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(interrupted.child.wait().unwrap().code(), Some(0));

    // Its output has no reader any more: the next line ends it.
    drop(piped.out.take());
    assert!(hub.send(&body, &[]).status.success());
    assert_eq!(piped.child.wait().unwrap().code(), Some(0));
    let mut errors = String::new();
    piped.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

/// Gives up the first events, as an agent would.
#[tokio::main(flavor = "current_thread")]
async fn give_up(hub: &str, subscription: &str, reason: &str, count: usize) {
    let client = hookline_client::Client::connect(hub).unwrap();
    let builder = client.subscription(subscription).patterns(["github"]);
    let mut deliveries = builder.start(hookline_client::Start::Earliest).subscribe().await.unwrap();
    for _ in 0..count {
        let delivery = deliveries.next().await.unwrap().unwrap();
        delivery.dead_letter(reason).await.unwrap();
    }
    deliveries.close().await;
}

#[test]
fn dead_letters_are_listed_and_redriven() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    assert!(hub.send(&body, &[]).status.success());
    give_up(&hub.grpc, "reviewer", "no such\nrepository", 1);
    let dead_letters = |arguments: &[&str]| {
        let output = hookline()
            .arg("dead-letters")
            .args(arguments)
            .env("HOOKLINE_ADDRESS", &hub.grpc)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };

    let list = dead_letters(&["list"]);
    let below_the_head = list.lines().nth(1).unwrap();
    let words: Vec<_> = below_the_head.split_whitespace().collect();
    let subject = "github/pull_request.opened";
    assert_eq!(words.get(2..6).unwrap(), ["reviewer", subject, "rejected", "1"], "{list}");
    assert!(list.ends_with("no such\\nrepository\n"), "{list}");
    let letter = json(&dead_letters(&["list", "--subscription", "reviewer", "--json"]));
    assert_eq!(letter["id"], *words.first().unwrap());
    assert_eq!(letter["attempts"][0]["reason"], "no such\nrepository");
    assert_eq!(letter["event"]["payload"]["number"], 7);

    let summary = dead_letters(&["summary"]);
    let group = summary.lines().nth(1).unwrap();
    assert!(group.trim_start().starts_with("1  rejected  "), "{summary}");
    assert!(summary.ends_with("  no such repository\n"), "{summary}");
    let group = json(&dead_letters(&["summary", "--subscription", "reviewer", "--json"]));
    assert_eq!((&group["count"], &group["sample_ids"][0]), (&1.into(), &letter["id"]));

    let of_reviewer = ["redrive", "--subscription", "reviewer"];
    let others = [&of_reviewer[..], &["--reason", "max-attempts"]].concat();
    assert_eq!(dead_letters(&others), "0 dead letters redriven, 0 remaining\n");
    let dry = [&of_reviewer[..], &["--dry-run"]].concat();
    assert_eq!(dead_letters(&dry), "1 dead letter would be redriven, 0 would remain\n");
    let by_id = ["redrive", "--id", words.first().unwrap(), "--json"];
    let told = json(&dead_letters(&by_id));
    assert_eq!((&told["redriven_count"], &told["remaining_count"]), (&1.into(), &0.into()));
    assert_eq!(dead_letters(&["list"]), "there are no dead letters\n");
}

/// A hub with so many dead letters of `reviewer`.
fn hub_with_dead_letters(count: usize) -> Hub {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    for number in 0..count {
        assert!(hub.send(&body, &["--delivery-id", &format!("d-{number}")]).status.success());
    }
    give_up(&hub.grpc, "reviewer", "no such\nrepository", count);
    hub
}

/// Makes `hookline dead-letters` with these arguments, for a hub.
fn dead_letters_of(hub: &Hub, arguments: &[&str]) -> Command {
    let mut command = hookline();
    command.arg("dead-letters").args(arguments).env("HOOKLINE_ADDRESS", &hub.grpc);
    command
}

#[test]
fn a_dead_letter_is_shown_whole_and_purged_only_by_who_says_yes() {
    let hub = hub_with_dead_letters(3);
    let run = |arguments: &[&str]| dead_letters_of(&hub, arguments).output().unwrap();
    let listed = stdout(&run(&["list"]));
    let id = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let shown = stdout(&run(&["show", &id]));
    for part in [
        "reason        rejected\n",
        "subject       github/pull_request.opened\n",
        "ended         rejected\n",
        "error         no such\n              repository\n",
        "\n    \"id\": 12345678901234567890123\n",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let letter = json(&stdout(&run(&["show", &id, "--json"])));
    assert_eq!((&letter["id"], &letter["attempts"][0]["number"]), (&id.as_str().into(), &1.into()));
    let unknown = run(&["show", "dl-1-99-0"]);
    assert_eq!(unknown.status.code(), Some(1));

    let of_reviewer = ["purge", "--subscription", "reviewer"];
    let purge = |more: &[&str]| run(&[&of_reviewer[..], more].concat());
    let unsure = purge(&[]);
    assert_eq!(unsure.status.code(), Some(64), "{}", stdout(&unsure));
    assert!(stderr(&unsure).contains("--yes"), "{}", stderr(&unsure));
    let dry = stdout(&purge(&["--dry-run"]));
    assert_eq!(dry, "3 dead letters would be purged, 0 would remain\n");
    let one = stdout(&purge(&["--limit", "1", "--yes"]));
    assert_eq!(one, "1 dead letter purged, 2 remaining\n");
    let rest = purge(&["--all", "--yes", "--json"]);
    let told = json(&stdout(&rest));
    assert_eq!((&told["purged_count"], &told["remaining_count"]), (&2.into(), &0.into()));
    assert_eq!(stderr(&rest), "", "a bar away from a terminal");
    assert_eq!(stdout(&run(&["list"])), "there are no dead letters\n");
}

#[test]
fn a_redrive_of_all_ends_between_two_calls_when_it_is_interrupted() {
    const COUNT: usize = 20;
    let hub = hub_with_dead_letters(COUNT);
    let all = ["redrive", "--subscription", "reviewer", "--all", "--rate", "1"];
    let child = dead_letters_of(&hub, &all).spawn().unwrap();
    let listed = || {
        let output = dead_letters_of(&hub, &["list", "--json"]).output().unwrap();
        stdout(&output).lines().count()
    };
    while listed() == COUNT {}
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let left = listed();
    let expected = format!(" redriven, {left} remaining\n");
    assert!(0 < left && stdout(&output).ends_with(&expected), "{}", stdout(&output));
}

#[test]
fn a_hub_that_is_not_there_is_told_in_one_line() {
    // The lowest port is nobody's: only root may take it.
    let address = "http://127.0.0.1:1".to_owned();
    for command in [
        &["tail"][..],
        &["dead-letters", "list"],
        &["sources"],
        &["subscriptions", "list"],
        &["subscriptions", "delete", "s", "--yes"],
        &["deliveries", "list", "s"],
        &["events", "list"],
        &["events", "replay", "-s", "s", "--from", "1", "--yes"],
        &["events", "publish", "a.b"],
        &["test-filter"],
        &["status"],
    ] {
        let output = run(&[command, &["--address", &address]].concat());
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(&address) && told.contains("can't be reached"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("hookline.toml");
    let text = "[http]\nlisten = \"nowhere\"\nmax_bodies = 1\n[sources.a]\nkind = \"hooli\"\n";
    fs::write(&config, text).unwrap();
    let data = folder.path().join("data");
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    for arguments in [
        vec!["serve", "--config", config, "--data", data],
        vec!["send", "--config", config, "a", "-"],
    ] {
        let output = run(&arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{told}");
        for part in ["http.listen", "max_bodies", "sources.a.kind", "sources.a.secrets"] {
            assert!(told.contains(part), "no `{part}` in: {told}");
        }
    }
    assert!(!Path::new(data).exists(), "something was begun");
}

#[test]
fn a_wrong_command_line_is_64_and_help_is_0() {
    for wrong in [
        &["sevre"][..],
        &[],
        &["tail", "--from", "yesterday"],
        &["tail", "GitHub/*"],
        &["tail", "!github/push"],
        &["tail", "--count", "0"],
        &["tail", "--address", "http://a b"],
        &["send", "github"],
        &["send", "--url", "https://h/x", "github", "-"],
        &["send", "not a name", "-"],
        &["send", "--at", "yesterday", "github", "-"],
        &["sources", "kinds", "all"],
        &["verify", "github", "-"],
        &["dead-letters", "redrive"],
        &["subscriptions", "create", "s"],
        &["subscriptions", "create", "s", "*", "--lease-duration", "30"],
        &["subscriptions", "update", "s"],
        &["subscriptions", "pause", "s", "--until", "tomorrow"],
        &["subscriptions", "seek", "s", "--to", "yesterday", "--yes"],
        &["subscriptions", "seek", "s", "--to", "latest"],
        &["subscriptions", "delete", "s"],
        &["deliveries", "list"],
        &["dead-letters", "purge", "--yes"],
        &["dead-letters", "purge", "--subscription", "s"],
        &["dead-letters", "redrive", "--subscription", "s", "--rate", "5"],
        &["dead-letters", "show"],
        &["demo", "--log", "loud"],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
    for command in [
        "serve",
        "demo",
        "send",
        "tail",
        "sources",
        "verify",
        "subscriptions",
        "agent",
        "status",
        "completions",
        "test-filter",
        "events",
        "deliveries",
        "dead-letters",
    ] {
        let output = run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Usage: hookline"), "{command}");
    }
}

#[test]
fn sigterm_ends_the_hub_well() {
    let (status, _folder) = Hub::serve().terminate();
    assert_eq!(status.code(), Some(0));
}
