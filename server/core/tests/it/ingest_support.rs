//! What the tests of the way in share: sources, signed requests, the corpus of real bodies.

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hookline_core::{
    event::{NewEvent, SourceName},
    normalize::{Answer, Received, Reply, probe, receive},
    source::{Kind, LiveSecret, PublicUrl, Secret, Settings, Source},
    time::Timestamp,
    verify::{Draft, Request, VerifyError, sign},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};

pub(crate) const SECRET: &str = "whsec_a test secret";

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

pub(crate) fn kind(name: &str) -> Kind {
    Kind::parse(name).unwrap()
}

/// Makes a source named as its kind, with these secrets, to whose requests [`URL`] is the address.
pub(crate) fn source(kind: Kind, secrets: &[&str]) -> Source {
    source_at(URL, kind, secrets)
}

pub(crate) fn source_at(url: &str, kind: Kind, secrets: &[&str]) -> Source {
    let url = Some(PublicUrl::Exact(url.into()));
    let settings = Settings { url, legacy_signatures: true, ..Settings::default() };
    source_with(kind, secrets, settings)
}

/// Returns what a sender of this kind signs with, and what the source has to be given: the same, but for public keys.
pub(crate) fn keys(kind: Kind) -> (String, String) {
    let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    match kind.as_str() {
        // RFC 8032, section 7.1, test 1.
        "discord" => (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60".to_owned(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".to_owned(),
        ),
        "sendgrid" => {
            let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
            let public = key.public_key().to_public_key_der().unwrap();
            (base64(key.to_pkcs8_der().unwrap().as_bytes()), base64(public.as_bytes()))
        }
        _ => (SECRET.to_owned(), SECRET.to_owned()),
    }
}

/// Makes a source named as its kind, with these secrets and settings; without a secret it is unsigned.
pub(crate) fn source_with(kind: Kind, secrets: &[&str], settings: Settings) -> Source {
    let name = SourceName::parse(kind.as_str()).unwrap();
    if secrets.is_empty() {
        return Source::unsigned(name, kind, settings).unwrap();
    }
    let secrets = secrets.iter().map(|text| LiveSecret::from(secret(text))).collect();
    Source::new(name, kind, secrets, settings).unwrap()
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

/// Where the tests' requests are posted.
pub(crate) const URL: &str = "https://hooks.example.com/webhooks/test";

/// Returns the headers with which a sender of this source would sign.
pub(crate) fn signature(source: &Source, headers: &HeaderMap, body: &Bytes) -> HeaderMap {
    let secret = match source.kind().as_str() {
        "discord" | "sendgrid" => secret(&keys(source.kind()).0),
        _ => source.secrets()[0].secret.clone(),
    };
    let draft = Draft { url: URL, headers, body };
    sign(source.schemes(), &secret, draft, received_at()).unwrap().into_iter().collect()
}

/// Gives a request to a source.
pub(crate) fn post(
    source: &Source,
    headers: &HeaderMap,
    body: &Bytes,
    now: Timestamp,
) -> Result<Received, VerifyError> {
    post_to("/webhooks/test", source, headers, body, now)
}

pub(crate) fn post_to(
    target: &str,
    source: &Source,
    headers: &HeaderMap,
    body: &Bytes,
    now: Timestamp,
) -> Result<Received, VerifyError> {
    receive(source, Request { method: &Method::POST, target, headers, body }, now)
}

/// Gives a request with this method and target to a source.
pub(crate) fn ask(
    source: &Source,
    (method, target): (&Method, &str),
    headers: &HeaderMap,
    body: &str,
) -> Result<Received, VerifyError> {
    let body = &Bytes::copy_from_slice(body.as_bytes());
    let request = Request { method, target, headers, body };
    match probe(source, request) {
        Some(answer) => answer.map(Received::Answer),
        None => receive(source, request, received_at()),
    }
}

/// Returns the answer to a handshake.
pub(crate) fn answer(received: Received) -> Answer {
    match received {
        Received::Answer(answer) => answer,
        Received::Events { events, .. } => panic!("taken for events: {events:?}"),
    }
}

/// Returns what an event says of its sender's event, for tables: type, key, actor, resource, time.
pub(crate) fn facts(event: &NewEvent) -> [String; 6] {
    let time = match event.metadata.get("timestamp_source") {
        Some(_) => String::new(),
        None => event.timestamp.to_string(),
    };
    [
        event.event_type.as_str().to_owned(),
        event.delivery_key.to_string(),
        event.actor.to_string(),
        event.resource_type.to_string(),
        event.resource_id.to_string(),
        time,
    ]
}

/// Ingests a body into an unsigned source of a kind: for tables about what is read.
pub(crate) fn read(kind: &str, headers: &HeaderMap, body: &str) -> Vec<NewEvent> {
    let source = source_with(Kind::parse(kind).unwrap(), &[], Settings::default());
    let body = Bytes::copy_from_slice(body.as_bytes());
    events(post(&source, headers, &body, received_at()).unwrap())
}

/// Returns the events of a request that is taken.
pub(crate) fn events(received: Received) -> Vec<NewEvent> {
    match received {
        Received::Events { events, .. } => events,
        Received::Answer(answer) => panic!("answered with {answer:?}"),
    }
}

/// Returns what a sender is told of a request that is taken.
pub(crate) fn reply(received: &Received) -> Reply {
    match received {
        Received::Events { reply, .. } => *reply,
        Received::Answer(answer) => panic!("answered with {answer:?}"),
    }
}

/// Signs, verifies and normalizes a request.
pub(crate) fn take(kind: Kind, mut headers: HeaderMap, body: impl Into<Bytes>) -> Received {
    let (source, body) = (source(kind, &[&keys(kind).1]), body.into());
    headers.extend(signature(&source, &headers, &body));
    post(&source, &headers, &body, received_at()).unwrap()
}

/// Signs, verifies and normalizes a request; what is made is one event.
pub(crate) fn ingest(kind: Kind, headers: HeaderMap, body: impl Into<Bytes>) -> NewEvent {
    let mut events = events(take(kind, headers, body));
    assert_eq!(events.len(), 1);
    events.pop().unwrap()
}

/// Ingests a body with these headers; what is made is one event.
pub(crate) fn event<'a>(
    name: &str,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &str,
) -> NewEvent {
    ingest(kind(name), headers(pairs), body.to_owned())
}

/// Returns what tells an event: its type, key, actor, resource and time.
pub(crate) fn essence(event: &NewEvent) -> [String; 6] {
    let texts = [&event.delivery_key, &event.actor, &event.resource_type, &event.resource_id];
    let [key, actor, resource_type, resource_id] = texts.map(ToString::to_string);
    let is_told = !event.metadata.contains_key("timestamp_source");
    let time = if is_told { event.timestamp.to_string() } else { String::new() };
    [event.event_type.to_string(), key, actor, resource_type, resource_id, time]
}

/// Ingests a JSON body as GitHub posts it.
pub(crate) fn github(event: &str, body: &str) -> NewEvent {
    let headers = headers([
        ("content-type", "application/json"),
        ("x-github-event", event),
        ("x-github-delivery", "d-1"),
    ]);
    ingest(Kind::GITHUB, headers, body.to_owned())
}

/// Ingests a JSON body as Stripe posts it.
pub(crate) fn stripe(body: &str) -> NewEvent {
    let headers = headers([("content-type", "application/json; charset=utf-8")]);
    ingest(Kind::STRIPE, headers, body.to_owned())
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
