//! The commands that look at a hub as a whole, and the one that needs none.

use super::harness::{Hub, PULL_REQUEST, run, stderr, stdout};

#[test]
fn a_filter_is_tried_and_says_why_it_does_not_match() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    assert!(hub.send(&body, &[]).status.success());
    let id = hub.json(&["events", "list"])["id"].as_str().unwrap().to_owned();

    let matching = ["test-filter", "github/*", "--filter", "event.payload.number == 7"];
    let told = hub.told(&matching);
    assert!(told.starts_with("1 of 1 event up to sequence 1 match\n"), "{told}");
    assert!(told.contains("github/pull_request.opened"), "no sample in {told}");
    let other = ["test-filter", "--filter", "event.payload.number == 8", "--event", &id];
    let told = hub.told(&other);
    assert!(told.starts_with(&format!("event {id} does not match: the filter")), "{told}");
    let told = hub.json(&other);
    assert_eq!((&told["matched_count"], &told["event_matches"]), (&0.into(), &false.into()));
    let wrong = hub.run(&["test-filter", "--filter", "event.nothing"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("filter"), "{}", stderr(&wrong));
}

#[test]
fn a_hub_is_on_one_screen() {
    let hub = Hub::serve();
    let body = hub.file("body.json", PULL_REQUEST);
    hub.told(&["subscriptions", "create", "review", "github", "--from", "earliest"]);
    assert!(hub.send(&body, &[]).status.success());
    hub.told(&["subscriptions", "pause", "review"]);

    let told = hub.told(&["status"]);
    for part in ["health  serving\n", "log     ends at 1, ", "SOURCE ", "paused"] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    let told = hub.json(&["status"]);
    assert_eq!((&told["health"], &told["log_end"]), (&"SERVING".into(), &1.into()));
    assert_eq!(told["subscriptions"][0]["name"], "review");
    assert_eq!(told["sources"][0]["accepted_count"], 1);
    // Without a scheme, as the other commands take it.
    let bare = hub.grpc.replace("http://", "");
    assert_eq!(hub.run(&["status", "--address", &bare]).status.code(), Some(0));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("redrive"), "{shell}");
    }
}
