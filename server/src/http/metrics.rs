//! `/metrics`: the figures of the hub, in the text format of Prometheus. For who asks from this machine, and directly: what
//! comes from another one, or a proxy passes on, is answered 404. A proxy that adds no header is not known as one, so let a proxy pass on `/webhooks/` alone.

use std::sync::Arc;

use axum::{
    extract,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};

use super::{Cause, Counts, Front, Outcome, Peer, answer};
use crate::{
    metrics::{CONTENT_TYPE, Measured, Text, family, scrape},
    store::BoxFuture,
};

/// What proxies add to requests (RFC 7239, RFC 9110 section 7.6.3, and the older customs).
const PROXIED: [HeaderName; 4] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

pub(super) async fn metrics(
    extract::State(front): extract::State<Arc<Front>>,
    extract::Extension(peer): extract::Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if !may_read(peer, &headers) {
        return answer::unknown();
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], scrape(&front.measured).await).into_response()
}

/// Whether a request may see the figures. The one place that decides it.
fn may_read(peer: Peer, headers: &HeaderMap) -> bool {
    peer == Peer::Local && !PROXIED.iter().any(|name| headers.contains_key(name))
}

impl Measured for Counts {
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()> {
        let mut answers = text.family(&family::WEBHOOK_ANSWERS);
        for source in self.sources() {
            for (status, count) in self.answers(source) {
                answers.add(&[source.as_str(), &status.to_string()], count);
            }
        }
        let mut events = text.family(&family::WEBHOOK_EVENTS);
        for source in self.sources() {
            for outcome in Outcome::ALL {
                events.add(&[source.as_str(), outcome.as_str()], self.taken(source, outcome));
            }
        }
        let mut refused = text.family(&family::WEBHOOKS_REFUSED);
        for source in self.sources() {
            for cause in Cause::ALL {
                refused.add(&[source.as_str(), cause.as_str()], self.refused(source, cause));
            }
        }
        text.single(&family::WEBHOOKS_UNKNOWN_SOURCE, self.unknown_source_count());
        let mut last = text.family(&family::WEBHOOK_LAST_EVENT);
        for source in self.sources() {
            if let Some(at) = self.last_event_at(source) {
                last.add(&[source.as_str()], at.as_millis().div_euclid(1_000));
            }
        }
        text.histogram(&family::WEBHOOK_DURATION, self.durations());
        Box::pin(std::future::ready(()))
    }
}
