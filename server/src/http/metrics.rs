//! `/metrics`: what came of requests, in the text format of Prometheus. For who asks this machine directly: what a proxy
//! passes on is answered 404. A proxy that adds no header is not known as one, so let a proxy pass on `/webhooks/` alone.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};

use super::{Cause, Counts, Front, Outcome, answer};

/// What proxies add to requests (RFC 7239, RFC 9110 section 7.6.3, and the older customs).
const PROXIED: [HeaderName; 4] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(
    extract::State(front): extract::State<Arc<Front>>,
    headers: HeaderMap,
) -> Response {
    if PROXIED.iter().any(|name| headers.contains_key(name)) {
        return answer::unknown();
    }
    ([(header::CONTENT_TYPE, TEXT)], text(&front.counts)).into_response()
}

/// Returns all counters. Their labels are names of sources and words of ours, which need no escapes.
fn text(counts: &Counts) -> String {
    let mut text = String::new();
    let events = Family {
        name: "hookline_webhook_events_total",
        kind: "counter",
        help: "Events of verified webhooks by what became of them, and handshakes.",
    };
    let taken = counts.sources().flat_map(|source| {
        Outcome::ALL.into_iter().map(move |outcome| {
            let labels = format!("{{source=\"{source}\",outcome=\"{}\"}}", outcome.as_str());
            (labels, counts.taken(source, outcome).to_string())
        })
    });
    events.write(&mut text, taken);
    let refused = Family {
        name: "hookline_webhooks_refused_total",
        kind: "counter",
        help: "Webhooks that were refused, by cause.",
    };
    let by_cause = counts.sources().flat_map(|source| {
        Cause::ALL.into_iter().map(move |cause| {
            let labels = format!("{{source=\"{source}\",cause=\"{}\"}}", cause.as_str());
            (labels, counts.refused(source, cause).to_string())
        })
    });
    refused.write(&mut text, by_cause);
    let unknown = Family {
        name: "hookline_webhooks_unknown_source_total",
        kind: "counter",
        help: "Requests to sources that are not configured.",
    };
    let count = counts.unknown_source_count().to_string();
    unknown.write(&mut text, std::iter::once((String::new(), count)));
    let last = Family {
        name: "hookline_webhook_last_event_timestamp_seconds",
        kind: "gauge",
        help: "When the newest event of a source came, in seconds since the epoch.",
    };
    let times = counts.sources().filter_map(|source| {
        let secs = counts.last_event_at(source)?.as_millis().div_euclid(1_000);
        Some((format!("{{source=\"{source}\"}}"), secs.to_string()))
    });
    last.write(&mut text, times);
    text
}

/// Samples of one name.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Family {
    fn write(&self, text: &mut String, samples: impl Iterator<Item = (String, String)>) {
        let Self { name, kind, help } = self;
        // Writing to a string does not fail.
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
        for (labels, value) in samples {
            writeln!(text, "{name}{labels} {value}").ok();
        }
    }
}
