//! What the tests of the way in share: sources, signed requests, the corpus of real bodies.

use std::path::PathBuf;

use bytes::Bytes;
use hookline_core::{
    event::{NewEvent, SourceName},
    normalize::normalize,
    source::{Kind, Secret, Source},
    time::Timestamp,
    verify::{Request, sign, verify},
};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const SECRET: &str = "whsec_a test secret";

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

/// Makes a source named as its kind, with these secrets.
pub(crate) fn source(kind: Kind, secrets: &[&str]) -> Source {
    let name = SourceName::parse(kind.as_str()).unwrap();
    Source::signed(name, kind, secrets.iter().map(|text| secret(text)).collect()).unwrap()
}

pub(crate) fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(name).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

pub(crate) fn received_at() -> Timestamp {
    Timestamp::from_secs(1_800_000_000).unwrap()
}

/// Signs, verifies and normalizes a request; what is made is one event.
pub(crate) fn ingest(kind: Kind, mut headers: HeaderMap, body: impl Into<Bytes>) -> NewEvent {
    let (source, body) = (source(kind, &[SECRET]), body.into());
    headers.extend(sign(kind, &secret(SECRET), &body, received_at()));
    let request = Request { headers: &headers, body: &body };
    let verified = verify(&source, request, received_at()).unwrap();
    let mut events = normalize(&verified, received_at());
    assert_eq!(events.len(), 1);
    events.pop().unwrap()
}

/// Ingests a JSON body as GitHub posts it.
pub(crate) fn github(event: &str, body: &str) -> NewEvent {
    let headers = headers([
        ("content-type", "application/json"),
        ("x-github-event", event),
        ("x-github-delivery", "d-1"),
    ]);
    ingest(Kind::GitHub, headers, body.to_owned())
}

/// Ingests a JSON body as Stripe posts it.
pub(crate) fn stripe(body: &str) -> NewEvent {
    let headers = headers([("content-type", "application/json; charset=utf-8")]);
    ingest(Kind::Stripe, headers, body.to_owned())
}

/// Returns the folder of real bodies and published vectors; says so and returns `None` if there is none.
pub(crate) fn payloads() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
    let folder = std::env::var("HOOKLINE_PAYLOADS").map_or_else(
        |_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/payloads"),
        PathBuf::from,
    );
    if folder.join("MANIFEST.json").is_file() {
        return Some(folder);
    }
    println!("skipped: no payloads in `{}`; set HOOKLINE_PAYLOADS", folder.display());
    None
}
