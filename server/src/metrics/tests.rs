//! The text format, and the table against the documentation and against what uses the metrics.

use std::{collections::BTreeSet, time::Duration};

use super::{family::ALL, *};

const DOCS: &str = include_str!("../../docs/metrics.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const ALERTS: &str = include_str!("../../packaging/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../packaging/prometheus/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../packaging/grafana/dashboard.json");

fn text(write: impl FnOnce(&mut Text)) -> String {
    let mut text = Text::default();
    write(&mut text);
    text.into_string()
}

#[test]
fn samples_stand_under_their_metric_with_their_labels() {
    let text = text(|text| {
        text.family(&family::WEBHOOKS_REFUSED).add(&["github", "store"], 2_u64);
        text.single(&family::LOG_HEAD, 7_u64);
    });
    let expected = "# HELP hookline_webhooks_refused_total Webhooks that were refused, by cause.\n\
        # TYPE hookline_webhooks_refused_total counter\n\
        hookline_webhooks_refused_total{source=\"github\",cause=\"store\"} 2\n\
        # HELP hookline_log_head_sequence The sequence of the newest durable event.\n\
        # TYPE hookline_log_head_sequence gauge\n\
        hookline_log_head_sequence 7\n";
    assert_eq!(text, expected);
}

#[test]
fn a_histogram_counts_what_is_at_most_as_long_as_each_bound() {
    let histogram = Histogram::default();
    for micros in [400, 500, 501, 2_000, 60_000_000] {
        histogram.observe(Duration::from_micros(micros));
    }
    let text = text(|text| text.histogram(&family::STORE_SYNC, &histogram));
    for line in [
        "hookline_store_sync_duration_seconds_bucket{le=\"0.0005\"} 2",
        "hookline_store_sync_duration_seconds_bucket{le=\"0.001\"} 3",
        "hookline_store_sync_duration_seconds_bucket{le=\"0.0025\"} 4",
        "hookline_store_sync_duration_seconds_bucket{le=\"10\"} 4",
        "hookline_store_sync_duration_seconds_bucket{le=\"+Inf\"} 5",
        "hookline_store_sync_duration_seconds_sum 60.003401",
        "hookline_store_sync_duration_seconds_count 5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[derive(Debug)]
struct Hangs;

impl Measured for Hangs {
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()> {
        text.single(&family::LOG_HEAD, 1);
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_hangs_is_left_out() {
    let started_at = hookline_core::time::Timestamp::EPOCH;
    let parts: [Arc<dyn Measured>; 2] = [Arc::new(Hangs), Arc::new(Process { started_at })];
    let text = scrape(&parts).await;
    assert!(!text.contains("hookline_log_head_sequence"), "{text}");
    assert!(text.contains("hookline_build_info{version="), "{text}");
}

/// The rows of the table in the documentation: name, type, labels.
fn documented() -> Vec<(String, String, Vec<String>)> {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let metrics = rows.filter_map(|(name, rest)| {
        let mut cells = rest.split('|').skip(1).map(str::trim);
        let (kind, labels) = (cells.next()?, cells.next()?);
        let is_kind = ["counter", "gauge", "histogram"].contains(&kind);
        let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        is_kind.then(|| (name.to_owned(), kind.to_owned(), labels))
    });
    metrics.collect()
}

#[test]
fn the_documentation_lists_each_metric_and_no_other() {
    let table = ALL.iter().map(|family| {
        let labels = family.labels.iter().map(ToString::to_string).collect();
        (family.name.to_owned(), family.kind.as_str().to_owned(), labels)
    });
    assert_eq!(documented(), table.collect::<Vec<_>>());
}

/// Returns the names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("hookline_") || word.starts_with("process_")).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let mut known = BTreeSet::new();
    for family in ALL {
        known.insert(family.name.to_owned());
        if family.kind == family::Kind::Histogram {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)));
        }
    }
    for (file, text) in [("alerts", ALERTS), ("their test", ALERTS_TEST), ("dashboard", DASHBOARD)]
    {
        let used = names(text);
        assert!(5 <= used.len(), "{file} uses {used:?}");
        let unknown: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}");
    }
}

#[test]
fn each_alert_is_tested_and_points_to_its_part_of_the_operators_manual() {
    let alerts: Vec<_> =
        ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(10 <= alerts.len(), "{alerts:?}");
    for alert in alerts {
        let anchor = format!("server/docs/operations.md#{}", alert.to_lowercase());
        assert!(ALERTS.contains(&anchor), "{anchor}");
        assert!(OPERATIONS.contains(&format!("\n### {alert}\n")), "no heading for {alert}");
        assert!(ALERTS_TEST.contains(&format!("alertname: {alert}\n")), "{alert}");
    }
}

#[test]
fn the_dashboard_is_json_with_panels_that_have_queries() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(panel["gridPos"]["w"].as_u64().is_some_and(|wide| wide <= 24), "{panel}");
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().unwrap();
            assert!(
                !targets.is_empty() && targets.iter().all(|of| of["expr"].is_string()),
                "{panel}"
            );
        }
    }
    assert!(dashboard["uid"].is_string() && dashboard["schemaVersion"].is_u64());
}
