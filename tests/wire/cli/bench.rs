//! `hookline bench`, on hubs of its own and on one that runs. What must hold is asserted, and no speed.

use serde_json::Value;

use super::harness::{Hub, SECRET, hookline, json, run, stderr, stdout};

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
