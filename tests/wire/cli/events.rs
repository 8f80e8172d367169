//! The commands about the log, as people and scripts run them.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use hookline_client::{Client, Start};

use super::harness::{Hub, PULL_REQUEST, hookline, stderr, stdout};

/// Publishes what comes from a pipe.
fn publish(hub: &Hub, body: &str, more: &[&str]) -> Output {
    let mut command = hookline();
    command.args(["events", "publish", "build.finished", "-"]).args(more);
    let mut child =
        command.env("HOOKLINE_ADDRESS", &hub.grpc).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn what_is_published_is_listed_and_a_second_copy_is_a_duplicate() {
    let hub = Hub::serve();
    let about = ["--resource-type", "commit", "--resource-id", "6f1e2d3", "--delivery-key", "b-1"];
    let first = publish(&hub, r#"{"ok": true}"#, &about);
    assert!(stdout(&first).ends_with(", sequence 1\n"), "{}{}", stdout(&first), stderr(&first));
    let again = publish(&hub, "{}", &about);
    assert!(stdout(&again).starts_with("duplicate of "), "{}", stdout(&again));
    let second = hub.json(&["events", "publish", "report.finished", "--payload", "[1, 2]"]);
    assert_eq!((&second["sequence"], &second["duplicate"]), (&2.into(), &false.into()));
    let refused = hub.run(&["events", "publish", "push", "--source", "github"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("github"), "{}", stderr(&refused));

    let list = hub.told(&["events", "list"]);
    let [_, newest, oldest] = list.lines().collect::<Vec<_>>()[..] else { panic!("{list}") };
    assert!(newest.contains("agent/report.finished"), "{list}");
    assert!(oldest.contains("6f1e2d3") && oldest.ends_with("12 B"), "{list}");
    let filtered = ["events", "list", "agent/*", "--filter", "event.payload.ok == true"];
    let found = hub.json(&filtered);
    assert_eq!((&found["sequence"], &found["payload"]["ok"]), (&1.into(), &true.into()));
    assert_eq!(hub.json(&["events", "list", "--from", "2"])["sequence"], 2);
    assert_eq!(hub.json(&["events", "list", "--to", "2"])["sequence"], 1);
    let one = hub.run(&["events", "list", "-n", "1", "--oldest", "--json"]);
    assert!(stdout(&one).contains("\"sequence\":1,"), "{}", stdout(&one));
    assert!(stderr(&one).contains("more than 1"), "{}", stderr(&one));
    assert_eq!(hub.told(&["events", "list", "stripe"]), "there are no such events\n");
}

/// Lets the first attempt fail and gives up at the second.
#[tokio::main(flavor = "current_thread")]
async fn work(hub: &Hub) {
    let client = Client::connect(&hub.grpc).unwrap();
    let builder = client.subscription("review").patterns(["github"]).start(Start::Earliest);
    let mut deliveries = builder.consumer("worker-1").subscribe().await.unwrap();
    deliveries.next().await.unwrap().unwrap().nack("no\nluck").await.unwrap();
    deliveries.next().await.unwrap().unwrap().dead_letter("hopeless").await.unwrap();
    deliveries.close().await;
}

#[test]
fn an_event_is_shown_with_its_payload_and_every_attempt() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    assert!(hub.send(&body, &[]).status.success());
    let policy = ["--initial-backoff", "0s", "--from", "earliest"];
    hub.told(&[&["subscriptions", "create", "review", "github"][..], &policy].concat());
    work(&hub);
    let id = hub.json(&["events", "list", "github"])["id"].as_str().unwrap().to_owned();

    let shown = hub.told(&["events", "show", &id]);
    for part in [
        "subject       github/pull_request.opened\n",
        "actor         mona\n",
        "  \"number\": 7,\n",
        "    \"id\": 12345678901234567890123\n",
        "review  dead  dead letter ",
        "nacked    no\\nluck\n",
        "rejected  hopeless\n",
    ] {
        assert!(shown.contains(part), "no `{part}` in:\n{shown}");
    }
    let told = hub.json(&["events", "show", &id]);
    assert_eq!(told["event"]["payload"]["number"], 7);
    let delivery = &told["deliveries"][0];
    assert_eq!(delivery["state"], "DELIVERY_STATE_DEAD");
    assert_eq!(delivery["attempts"][0]["end"], "ATTEMPT_END_NACKED");
    assert_eq!(delivery["consumer"], "worker-1");
    let bare = hub.told(&["events", "show", &id, "--no-payload"]);
    assert!(!bare.contains("\"number\""), "{bare}");

    let unknown = hub.run(&["events", "show", "0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("0199a3f2"), "{}", stderr(&unknown));
}

/// Acks one event.
#[tokio::main(flavor = "current_thread")]
async fn ack_one(hub: &Hub) -> u32 {
    let client = Client::connect(&hub.grpc).unwrap();
    let mut deliveries =
        client.subscription("triage").consumer("worker-1").subscribe().await.unwrap();
    let delivery = deliveries.next().await.unwrap().unwrap();
    let attempt = delivery.attempt();
    delivery.ack().await.unwrap();
    deliveries.close().await;
    attempt
}

#[test]
fn an_event_is_replayed_by_its_id_or_by_conditions() {
    let hub = Hub::serve();
    for number in ["1", "2"] {
        let publish = ["events", "publish", "issue.opened", "--payload", number];
        hub.json(&[&publish[..], &["--resource-type", "issue", "--resource-id", number]].concat());
    }
    hub.told(&["subscriptions", "create", "triage", "agent", "--from", "earliest"]);
    ack_one(&hub);
    ack_one(&hub);
    let id = hub.json(&["events", "list", "--to", "2"])["id"].as_str().unwrap().to_owned();
    let to = ["events", "replay", "--subscription", "triage"];
    let with = |more: &[&str]| -> Vec<String> {
        to.iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let run = |more: &[&str]| {
        let arguments = with(more);
        hub.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let told = |more: &[&str]| {
        let output = run(more);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };

    let unasked = run(&[&id]);
    assert_eq!(unasked.status.code(), Some(64), "nobody can be asked: {}", stderr(&unasked));
    assert_eq!(run(&["--yes"]).status.code(), Some(64), "which events?");
    assert_eq!(told(&["--from", "1", "--dry-run"]), "2 events would be replayed\n");
    assert_eq!(told(&[&id, "--yes"]), "1 event replayed\n");
    assert_eq!(
        told(&["--pattern", "agent/*", "--since", "1h", "--all", "--rate", "1000", "--yes"]),
        "1 event replayed; passed over: 1 open\n"
    );
    assert_eq!((ack_one(&hub), ack_one(&hub)), (1, 1));
    let counted = told(&["--resource", "issue/2", "--yes", "--json"]);
    let counted: serde_json::Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["replayed_count"], 1, "{counted}");
    assert_eq!((&counted["interrupted"], &counted["dry_run"]), (&false.into(), &false.into()));

    let shown = hub.told(&["events", "show", &id]);
    assert_eq!(shown.matches(" acked ").count(), 2, "{shown}");
    let unknown = hub.run(&["events", "replay", "-s", "gone", "--from", "1", "--yes"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("no subscription `gone`"), "{}", stderr(&unknown));
}

#[test]
fn a_replay_of_all_ends_between_two_calls_when_it_is_interrupted() {
    const COUNT: u64 = 20;
    let hub = Hub::serve();
    for number in 0..COUNT {
        hub.json(&["events", "publish", "issue.opened", "--payload", &number.to_string()]);
    }
    // What came before it was created was never given to it.
    hub.told(&["subscriptions", "create", "triage", "agent"]);
    let ready = || {
        let shown = hub.json(&["subscriptions", "show", "triage"]);
        shown["counts"]["ready"].as_u64().unwrap()
    };
    assert_eq!(ready(), 0);
    let all = ["events", "replay", "-s", "triage", "--from", "1", "--all", "--rate", "1", "--yes"];
    let mut command = hookline();
    let child = command.args(all).env("HOOKLINE_ADDRESS", &hub.grpc).spawn().unwrap();
    while ready() == 0 {}
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let done = ready();
    let events = if done == 1 { "event" } else { "events" };
    let next = done + 1;
    let expected = format!("{done} {events} replayed; there may be more from {next} on\n");
    assert!(done < COUNT && stdout(&output) == expected, "{}", stdout(&output));
    // It goes on there.
    let rest = ["events", "replay", "-s", "triage", "--from", &next.to_string(), "--yes"];
    assert_eq!(hub.told(&rest), format!("{} events replayed\n", COUNT - done));
}
