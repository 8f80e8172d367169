//! `/metrics`: the figures of the hub, in the text format of Prometheus. For who asks from this machine, directly, and for
//! who has a token that sees all. Others are answered 401 or 403 where there are tokens, and 404 where there are none. A
//! proxy that adds no header is not known as one, so let a proxy pass on `/webhooks/` alone.

use std::sync::Arc;

use axum::{
    extract,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};

use super::{Cause, Counts, Front, Outcome, Peer, answer};
use crate::{
    auth::Refused,
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
    let is_proxied = PROXIED.iter().any(|name| headers.contains_key(name));
    if is_proxied || peer == Peer::Remote {
        if !front.tokens.is_on() {
            return answer::unknown();
        }
        match front.tokens.caller(&headers) {
            Ok(caller) if caller.sees_all() => {}
            Ok(_) => return answer::forbidden(),
            Err(Refused) => return answer::unauthorized(),
        }
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], scrape(&front.measured).await).into_response()
}

impl Measured for Counts {
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()> {
        let mut answers = text.family(&family::WEBHOOK_ANSWERS);
        for source in self.sources() {
            for (status, count) in self.answers(&source) {
                answers.add(&[source.as_str(), &status.to_string()], count);
            }
        }
        let mut events = text.family(&family::WEBHOOK_EVENTS);
        for source in self.sources() {
            for outcome in Outcome::ALL {
                events.add(&[source.as_str(), outcome.as_str()], self.taken(&source, outcome));
            }
        }
        let mut refused = text.family(&family::WEBHOOKS_REFUSED);
        for source in self.sources() {
            for cause in Cause::ALL {
                refused.add(&[source.as_str(), cause.as_str()], self.refused(&source, cause));
            }
        }
        text.single(&family::WEBHOOKS_UNKNOWN_SOURCE, self.unknown_source_count());
        let mut last = text.family(&family::WEBHOOK_LAST_EVENT);
        for source in self.sources() {
            if let Some(at) = self.last_event_at(&source) {
                last.add(&[source.as_str()], at.as_millis().div_euclid(1_000));
            }
        }
        text.histogram(&family::WEBHOOK_DURATION, self.durations());
        Box::pin(std::future::ready(()))
    }
}
