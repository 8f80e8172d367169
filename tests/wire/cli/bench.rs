//! `hookline bench`, on hubs of its own and on one that runs. What must hold is asserted, and no speed.

use serde_json::Value;

use super::harness::{Hub, SECRET, hookline, json, run, stderr, stdout};
use crate::hub::{PATIENCE, wall};

/// Runs a benchmark that must end well, and returns what it said.
fn bench(arguments: &[&str]) -> Value {
    let output = run(&[&["bench"], arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(stderr(&output), "");
    let report = json(&stdout(&output));
    assert_eq!(report["benchmark"], arguments[0]);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["problems"], serde_json::json!([]));
    for case in report["results"].as_array().unwrap() {
        for (name, figure) in case["figures"].as_object().unwrap() {
            assert!(!figure["unit"].as_str().unwrap().is_empty(), "{name}: {figure}");
            assert!(figure["min"].as_f64() <= figure["max"].as_f64(), "{name}: {figure}");
        }
    }
    report
}

/// Returns the median of a figure of the case at this place.
fn figure(report: &Value, case: usize, name: &str) -> f64 {
    let figure = &report["results"][case]["figures"][name];
    figure["median"].as_f64().unwrap_or_else(|| panic!("no `{name}` in {report}"))
}

#[test]
fn ingest_posts_as_many_as_it_is_told_to_a_hub_of_its_own() {
    let report = bench(&["ingest", "--count", "50", "--connections", "4", "--rounds", "2"]);
    assert_eq!(figure(&report, 0, "accepted"), 50.0);
    for name in ["other_statuses", "unanswered", "unsent"] {
        assert_eq!(figure(&report, 0, name), 0.0, "{name}");
    }
    let p50 = figure(&report, 0, "latency_p50");
    assert!(0.0 < p50 && p50 <= figure(&report, 0, "latency_max"), "{report}");
    assert!(0.0 < figure(&report, 0, "disk") && 0.0 < figure(&report, 0, "hub_memory"));
    assert_eq!(report["results"][0]["figures"]["rate"]["rounds"].as_array().unwrap().len(), 2);
    assert_eq!(report["settings"]["connections"], 4);
    assert!(report["machine"]["filesystem"].is_string(), "{report}");
}

#[test]
fn ingest_keeps_its_pace_at_a_hub_that_runs_and_all_of_it_is_there() {
    let hub = Hub::serve();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pull_request.opened.json"), super::PULL_REQUEST).unwrap();
    let bodies = folder.path().to_str().unwrap();
    let of_the_hub = ["ingest", "--url", &hub.http, "--secret", SECRET, "--bodies", bodies];
    let at_a_rate = ["--rate", "100", "--duration", "250ms", "--connections", "2"];
    let report = bench(&[&of_the_hub[..], &at_a_rate].concat());
    assert_eq!(figure(&report, 0, "accepted"), 25.0);
    assert!(0.24 <= figure(&report, 0, "elapsed"), "{report}");
    assert_eq!(hub.json(&["status"])["log_end"], 25);
}

#[test]
fn deliver_counts_each_event_once_from_memory_and_from_a_backlog() {
    for manner in [&[][..], &["--raw"]] {
        let small = ["deliver", "--count", "120", "--consumers", "2", "--max-in-flight", "10"];
        let report = bench(&[&small[..], &["--wave", "50"], manner].concat());
        assert_eq!((figure(&report, 0, "posted"), figure(&report, 0, "acked")), (120.0, 120.0));
        assert_eq!(report["settings"]["events"], "memory");
        let report = bench(&[&small[..], &["--backlog"], manner].concat());
        assert_eq!((figure(&report, 0, "posted"), figure(&report, 0, "acked")), (120.0, 120.0));
        assert_eq!(figure(&report, 0, "came_again"), 0.0);
        assert_eq!(report["settings"]["events"], "backlog");
    }
}

#[test]
fn deliver_leaves_a_hub_that_runs_as_it_was() {
    let hub = Hub::serve();
    let of_the_hub = ["--url", &hub.http, "--secret", SECRET, "--hub", &hub.grpc];
    let report = bench(&[&["deliver", "--count", "20"], &of_the_hub[..]].concat());
    assert_eq!(figure(&report, 0, "acked"), 20.0);
    let status = hub.json(&["status"]);
    assert_eq!(
        (&status["log_end"], &status["subscriptions"]),
        (&20.into(), &serde_json::json!([]))
    );
}

#[test]
fn latency_is_told_for_post_and_delivery_one_at_a_time_and_at_a_rate() {
    let report = bench(&["latency", "--count", "20"]);
    for of in ["delivery", "post", "ack"] {
        let (p50, max) = (format!("{of}_p50"), format!("{of}_max"));
        assert!(figure(&report, 0, &p50) <= figure(&report, 0, &max), "{report}");
    }
    assert_eq!(figure(&report, 0, "events"), 20.0);
    let report = bench(&["latency", "--rate", "100", "--duration", "200ms"]);
    assert_eq!((figure(&report, 0, "accepted"), figure(&report, 0, "acked")), (20.0, 20.0));
    assert!(0.0 < figure(&report, 0, "delivery_p99"), "{report}");
}

#[test]
fn fanout_brings_each_event_to_each_subscription() {
    let small = ["fanout", "--subscriptions", "1,3", "--deliveries", "90"];
    let report = bench(&small);
    assert_eq!(report["results"][1]["case"]["subscriptions"], 3);
    assert_eq!((figure(&report, 0, "accepted"), figure(&report, 0, "acked")), (90.0, 90.0));
    assert_eq!((figure(&report, 1, "accepted"), figure(&report, 1, "acked")), (30.0, 90.0));
}

#[test]
fn backlog_takes_some_of_what_waits() {
    let report = bench(&["backlog", "--waiting", "300,1200", "--take", "500"]);
    assert_eq!(report["results"][1]["case"]["waiting"], 1200);
    assert_eq!((figure(&report, 0, "acked"), figure(&report, 1, "acked")), (150.0, 500.0));
    assert!(0.0 < figure(&report, 1, "start") && 0.0 < figure(&report, 1, "first_delivery"));
}

#[test]
fn soak_loses_nothing_while_consumers_come_and_go() {
    let short = ["soak", "--duration", "600ms", "--rate", "100", "--consumers", "2"];
    let report = bench(&[&short[..], &["--lifetime", "100ms", "--interval", "200ms"]].concat());
    let results = report["results"].as_array().unwrap();
    assert_eq!(results[0]["case"]["interval"], 1);
    let total = results.len() - 1;
    assert_eq!(results[total]["case"], serde_json::json!({}));
    assert_eq!((figure(&report, total, "accepted"), figure(&report, total, "came")), (60.0, 60.0));
    for name in ["lost", "left_open"] {
        assert_eq!(figure(&report, total, name), 0.0, "{name}");
    }
    assert!(0.0 < figure(&report, total, "restarts"), "{report}");
}

#[test]
fn an_interrupt_ends_a_benchmark_its_hub_and_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = hookline()
        .args(["bench", "ingest", "--duration", "1h", "--data-dir"])
        .arg(folder.path())
        .spawn()
        .unwrap();
    let made = || std::fs::read_dir(folder.path()).unwrap().flatten().next();
    let store = |entry: std::fs::DirEntry| entry.path().join("data").exists();
    wait_until(|| made().is_some_and(store));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait().map(|status| status.code());
    assert_eq!(output.unwrap(), Some(1));
    assert!(made().is_none(), "{:?}", made());
}

/// Waits until something holds that must come to hold.
fn wait_until(mut holds: impl FnMut() -> bool) {
    let end = wall() + PATIENCE;
    while !holds() {
        assert!(wall() < end, "waited in vain");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_not_answered_with_200_is_counted_and_a_failure() {
    let hub = Hub::serve();
    let output = hookline()
        .args(["bench", "ingest", "--url", &hub.http, "--secret", "plain:another", "--json"])
        .args(["--count", "5", "--connections", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "hookline: 5 answered with 401\n");
    let report = json(&stdout(&output));
    assert_eq!(report["problems"], serde_json::json!(["5 answered with 401"]));
    assert_eq!((figure(&report, 0, "accepted"), figure(&report, 0, "other_statuses")), (0.0, 5.0));
}

#[test]
fn nobody_at_the_address_is_a_failure_and_a_wrong_address_a_usage_error() {
    let output = run(&["bench", "ingest", "--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("hookline: could not put a load on "),
        "{}",
        stderr(&output)
    );
    assert_eq!(run(&["bench", "ingest", "--url", "https://a"]).status.code(), Some(64));
}
