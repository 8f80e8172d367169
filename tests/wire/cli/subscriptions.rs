//! The commands about subscriptions and deliveries, as an operator runs them.

use hookline_client::{Client, Nack, Start};

use super::harness::{Hub, PULL_REQUEST, stderr};

/// Returns the value of a line of `show`.
fn fact<'a>(shown: &'a str, name: &str) -> &'a str {
    let lines = shown.lines().filter_map(|line| line.strip_prefix(name));
    let mut values = lines.filter_map(|rest| rest.strip_prefix("  "));
    values.next().unwrap_or_else(|| panic!("no `{name}` in:\n{shown}")).trim()
}

#[test]
fn a_subscription_is_made_shown_changed_and_deleted() {
    let hub = Hub::serve();
    assert!(hub.told(&["subscriptions", "list"]).starts_with("there are no subscriptions"));
    let create = ["subscriptions", "create", "triage", "github/issues.*", "--max-attempts", "3"];
    let more =
        ["--ordering", "resource", "--lease-duration", "2m", "--filter", "event.actor != 'bot'"];
    let shown = hub.told(&[&create[..], &more].concat());
    assert_eq!(fact(&shown, "patterns"), "github/issues.*");
    assert_eq!(fact(&shown, "filter"), "event.actor != 'bot'");
    assert_eq!(fact(&shown, "lease-duration"), "2m");
    assert_eq!(fact(&shown, "max-backoff"), "10m");
    assert_eq!(fact(&shown, "ordering"), "resource");
    assert_eq!(fact(&shown, "position"), "log end 0, scanned to 0, done to 0, 0 not scanned yet");
    assert!(!shown.contains('\u{1b}'), "colours away from a terminal:\n{shown}");

    let update = ["subscriptions", "update", "triage", "github", "--breaker-failures", "4"];
    hub.told(&update);
    let told = hub.json(&["subscriptions", "show", "triage"]);
    assert_eq!(told["patterns"][0], "github/*");
    let policy = &told["policy"];
    assert_eq!((&policy["max_attempts"], &policy["breaker_failures"]), (&3.into(), &4.into()));
    assert_eq!((&policy["lease_duration_secs"], &policy["jitter"]), (&120.into(), &0.2.into()));

    let refused = hub.run(&["subscriptions", "update", "triage", "--jitter", "2"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("policy.jitter"), "{}", stderr(&refused));

    assert_eq!(hub.told(&["subscriptions", "delete", "triage", "--yes"]), "`triage` is deleted\n");
    let gone = hub.run(&["subscriptions", "show", "triage"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("`triage`"), "{}", stderr(&gone));
}

#[test]
fn a_subscription_is_paused_resumed_and_moved() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    hub.told(&["subscriptions", "create", "review", "github", "--from", "earliest"]);
    for _ in 0..2 {
        assert!(hub.send(&body, &[]).status.success());
    }
    let paused = hub.told(&["subscriptions", "pause", "review", "--until", "1h"]);
    assert!(paused.starts_with("`review` is paused until 2"), "{paused}");
    let list = hub.told(&["subscriptions", "list"]);
    let line = list.lines().find(|line| line.starts_with("review ")).unwrap();
    assert!(line.contains("paused for 59m ") || line.contains("paused for 1h"), "{list}");
    hub.told(&["subscriptions", "resume", "review"]);
    assert_eq!(hub.json(&["subscriptions", "list"])["paused"], false);

    let dry = hub.told(&["subscriptions", "seek", "review", "--to", "2", "--dry-run"]);
    let wanted = "would be delivered again, 1 that are not done would count as done\n";
    assert!(dry.ends_with(wanted), "{dry}");
    let moved = hub.json(&["subscriptions", "seek", "review", "--to", "latest", "--yes"]);
    assert_eq!((&moved["redelivered_count"], &moved["skipped_count"]), (&0.into(), &2.into()));
    assert_eq!(hub.told(&["deliveries", "list", "review"]), "there are no such deliveries\n");
    let unasked = hub.run(&["subscriptions", "seek", "review", "--to", "earliest"]);
    assert_eq!(unasked.status.code(), Some(64));
    assert!(stderr(&unasked).contains("--yes"), "{}", stderr(&unasked));
}

/// Takes two events of one resource, and lets the second fail.
#[tokio::main(flavor = "current_thread")]
async fn work(hub: &Hub) -> hookline_client::Deliveries {
    let client = Client::connect(&hub.grpc).unwrap();
    let builder = client.subscription("review").patterns(["github"]).start(Start::Earliest);
    let mut deliveries = builder.consumer("worker-1").max_in_flight(2).subscribe().await.unwrap();
    let first = deliveries.next().await.unwrap().unwrap();
    first
        .nack_with(Nack::new("no\nluck").retry_after(std::time::Duration::from_secs(3_000)))
        .await
        .unwrap();
    let second = deliveries.next().await.unwrap().unwrap();
    second.dead_letter("hopeless").await.unwrap();
    deliveries
}

#[test]
fn deliveries_say_what_they_wait_for_and_what_went_wrong() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    for _ in 0..3 {
        assert!(hub.send(&body, &[]).status.success());
    }
    drop(work(&hub));

    let list = hub.told(&["deliveries", "list", "review", "--state", "waiting"]);
    let [head, line] = list.lines().collect::<Vec<_>>()[..] else { panic!("{list}") };
    assert!(head.trim_start().starts_with("SEQUENCE"), "{list}");
    for part in ["waiting", "worker-1", "next attempt in 49m", "no\\nluck"] {
        assert!(line.contains(part), "no `{part}` in {line}");
    }
    let dead = hub.json(&["deliveries", "list", "review", "--state", "dead"]);
    assert_eq!((&dead["sequence"], &dead["state"]), (&2.into(), &"DELIVERY_STATE_DEAD".into()));
    assert_eq!(dead["attempts"][0]["reason"], "hopeless");
    let all = hub.run(&["deliveries", "list", "review", "-n", "1"]);
    assert!(stderr(&all).contains("more than 1"), "{}", stderr(&all));
}
