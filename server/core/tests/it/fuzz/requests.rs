//! The targets of every kind: its verifier and its normalizer.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use bytes::Bytes;
use fastrand::Rng;
use hookline_core::{
    event::{EventType, NewEvent},
    normalize::{DELIVERY_KEY_BYTES_MAX, EVENTS_MAX, Received, TEXT_BYTES_MAX, probe},
    source::{Kind, Source},
    verify::scheme::{Encoding, Part, Place, Primitive, Scheme, TimePlace},
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{driver::Target, mutate, pick};
use crate::senders::{Seed, Sender, Sent, real_seeds, small_seeds, unsigned};

/// The most bytes of a body that is mutated: of a larger one the part before it.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The most of a body that is signed: hashing teaches nothing.
const SIGNED_BYTES_MAX: usize = 1 << 10;
/// The most entries of an event's metadata.
const METADATA_MAX: usize = 64;
/// What stands in headers that must not be kept.
const MARKER: &str = "hookline-fuzz-credential";

fn seeds(kind: Kind, bytes_max: usize) -> Vec<Seed> {
    let mut seeds: Vec<_> = real_seeds(kind).into_iter().chain(small_seeds(kind)).collect();
    for seed in &mut seeds {
        seed.body.truncate(bytes_max);
    }
    seeds
}

/// Picks one of two, the smaller one: there is more to try in small bodies in the same time.
fn pick_small<'a>(rng: &mut Rng, seeds: &'a [Seed]) -> &'a Seed {
    let (one, other) = (pick(rng, seeds), pick(rng, seeds));
    if other.body.len() < one.body.len() { other } else { one }
}

/// The verifier of a kind, with each of its ways to sign.
pub(super) struct Verify {
    kind: Kind,
    senders: Vec<Sender>,
    seeds: Vec<Seed>,
}

/// A signed request and what became of it.
pub(super) struct Signed {
    sender: usize,
    genuine: Sent,
    sent: Sent,
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "way {}\n{}made of\n{}", self.sender, self.sent, self.genuine)
    }
}

impl Verify {
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, senders: Sender::of(kind), seeds: seeds(kind, SIGNED_BYTES_MAX) }
    }
}

impl Target for Verify {
    type Input = Signed;

    fn name(&self) -> String {
        format!("verify/{}", self.kind)
    }

    fn make(&self, rng: &mut Rng) -> Signed {
        let sender = rng.usize(0..self.senders.len());
        // What is sent as it was signed has to be taken; with the time in the body only a whole body can be.
        if rng.u8(0..16) == 0 {
            let seed = &self.senders[sender].works;
            let genuine = self.senders[sender].send(&seed.headers, &seed.body).unwrap();
            return Signed { sender, sent: genuine.clone(), genuine };
        }
        let seed = pick(rng, &self.seeds);
        let genuine = self.senders[sender].send(&seed.headers, &seed.body).unwrap();
        let mut sent = genuine.clone();
        let what = rng.u8(0..10);
        if !matches!(what, 6 | 7) {
            // Half of the time only what the signature is made of: the other headers are many, and of no matter.
            let is_of_seed =
                |name: &HeaderName| seed.headers.contains_key(name) && what.is_multiple_of(2);
            let of_seed = genuine.headers.iter().filter(|(name, _)| is_of_seed(name));
            let others = genuine.headers.iter().filter(|(name, _)| !is_of_seed(name));
            let copy = |(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone());
            sent.headers = of_seed.map(copy).collect();
            sent.headers.extend(mutate::headers(rng, &others.map(copy).collect()));
        }
        if matches!(what, 5..8) {
            let other = &pick(rng, &self.seeds).body;
            sent.body = mutate::bytes(rng, &genuine.body, other).into();
        }
        let is_of_matter = sender_looks_at_target(&self.senders[sender].scheme);
        if 7 <= what && (is_of_matter || rng.u8(0..16) == 0) {
            let target = mutate::text(rng, &genuine.target, "?token=1&bodySHA256=%2F");
            sent.target = target.chars().filter(|c| c.is_ascii_graphic()).collect();
        }
        Signed { sender, genuine, sent }
    }

    fn check(&self, input: &Signed) -> &'static str {
        let Signed { sender, genuine, sent } = input;
        let sender = &self.senders[*sender];
        if let Some(answer) = probe(&sender.source, sent.request()) {
            return if answer.is_ok() { "probe answered" } else { "probe refused" };
        }
        let is_untouched = sent.target == genuine.target
            && sent.headers == genuine.headers
            && sent.body == genuine.body;
        let result = sent.give_to(&sender.source);
        match (result, is_untouched) {
            (Ok(_), true) => "control",
            (Ok(_), false) => {
                let reason = difference(&sender.scheme, sender.proof.primitive, genuine, sent);
                assert_eq!(reason, None, "a request is taken that was not signed");
                "of no matter"
            }
            // The body of a seed may end in its midst, or have no time.
            (Err(_), true) => {
                assert!(
                    needs_body(&sender.scheme) || sent.body.is_empty(),
                    "a signed request is refused"
                );
                "control without a body"
            }
            (Err(error), false) => error.cause(),
        }
    }
}

fn sender_looks_at_target(scheme: &Scheme) -> bool {
    scheme.needs_url() || matches!(scheme.place, Place::Query(_))
}

fn needs_body(scheme: &Scheme) -> bool {
    let time = scheme.time.as_ref().map(|time| &time.place);
    matches!(scheme.place, Place::Body(_)) || matches!(time, Some(TimePlace::Body { .. }))
}

/// Tells what of a request is different for which its signature can't be right.
fn difference(
    scheme: &Scheme,
    primitive: Primitive,
    genuine: &Sent,
    sent: &Sent,
) -> Option<&'static str> {
    let is_signed = |part: &Part| scheme.signed.contains(part) && primitive != Primitive::Token;
    let values = |headers: &HeaderMap, name: &str| -> BTreeSet<Vec<u8>> {
        headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
    };
    let is_other = |name: &str| values(&genuine.headers, name) != values(&sent.headers, name);
    if is_signed(&Part::Body) && genuine.body != sent.body {
        return Some("the body");
    }
    if is_signed(&Part::SortedForm) && fields(&genuine.body) != fields(&sent.body) {
        return Some("the fields of the body");
    }
    if is_signed(&Part::Id) && scheme.id.as_deref().is_some_and(is_other) {
        return Some("the id");
    }
    // Escapes are taken out of an address before it is signed, so that others may mean the same.
    if is_signed(&Part::Url) && genuine.target != sent.target && !sent.target.contains('%') {
        return Some("the address");
    }
    if let Some(TimePlace::Header(name)) = scheme.time.as_ref().map(|time| &time.place)
        && is_signed(&Part::Time)
        && is_other(name)
    {
        return Some("the time");
    }
    let holds = match &scheme.place {
        Place::Header(name) => {
            let value = |headers: &HeaderMap| text_of(headers.get(name.as_ref()));
            holds(scheme, &value(&sent.headers), &value(&genuine.headers))
        }
        Place::Query(_) => return None,
        Place::Body(_) => true,
    };
    (!holds).then_some("the signature")
}

fn text_of(value: Option<&HeaderValue>) -> String {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// Whether a text still has the genuine signature in it, whatever stands around it.
fn holds(scheme: &Scheme, text: &str, genuine: &str) -> bool {
    let mut items = genuine.split(|c| Some(c) == scheme.items);
    let value = |item: &str| -> String {
        let value = scheme.field.and_then(|separator| item.split_once(separator));
        let value = value.map_or(item, |(_, value)| value).trim_end_matches('=').to_owned();
        if scheme.encoding == Encoding::Hex { value.to_ascii_lowercase() } else { value }
    };
    // The signature is the last item that a sender writes.
    let signature = value(items.next_back().unwrap_or_default());
    let text =
        if scheme.encoding == Encoding::Hex { text.to_ascii_lowercase() } else { text.into() };
    text.contains(&signature)
}

/// Returns what a form's fields come to when they are signed.
fn fields(body: &[u8]) -> String {
    let fields: BTreeSet<_> = form_urlencoded::parse(body).collect();
    let mut text = String::new();
    for (name, value) in fields {
        write!(text, "{name}{value}").unwrap();
    }
    text
}

/// The normalizer of a kind. Mostly of a source that needs no signature, so that the time goes into reading.
pub(super) struct Normalize {
    kind: Kind,
    unsigned: Source,
    senders: Vec<Sender>,
    seeds: Vec<Seed>,
    names: Vec<HeaderName>,
}

/// A request that gets through, and who sent it; `None` of nobody.
pub(super) struct Genuine {
    sender: Option<usize>,
    sent: Sent,
}

impl fmt::Display for Genuine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "way {:?}\n{}", self.sender, self.sent)
    }
}

impl Normalize {
    pub(super) fn of(kind: Kind) -> Self {
        let provider = kind.provider();
        let names = provider.event_header.iter().chain(provider.id_headers);
        let mut names: Vec<_> = names.map(|name| HeaderName::from_static(name)).collect();
        names.extend(["content-type", "traceparent"].map(HeaderName::from_static));
        let (unsigned, senders) = (unsigned(kind), Sender::of(kind));
        Self { kind, unsigned, senders, seeds: seeds(kind, BODY_BYTES_MAX), names }
    }

    fn headers(&self, rng: &mut Rng, seed: &Seed) -> HeaderMap {
        let mut headers = seed.headers.clone();
        if rng.u8(0..4) == 0 {
            let name = pick(rng, &self.names).clone();
            let text = mutate::text(rng, "a:B/c", "application/x-www-form-urlencoded");
            let value = HeaderValue::from_str(&text);
            headers.insert(name, value.unwrap_or(HeaderValue::from_static("00-0-0-00")));
        }
        if rng.u8(0..4) == 0 {
            headers = mutate::headers(rng, &headers);
        }
        for name in ["authorization", "cookie", "x-signature", "proxy-authorization"] {
            headers.insert(name, HeaderValue::from_static(MARKER));
        }
        headers
    }
}

impl Target for Normalize {
    type Input = Genuine;

    fn name(&self) -> String {
        format!("normalize/{}", self.kind)
    }

    fn make(&self, rng: &mut Rng) -> Genuine {
        let seed = pick_small(rng, &self.seeds);
        let headers = self.headers(rng, seed);
        let other = &pick(rng, &self.seeds).body;
        let body = mutate::bytes(rng, &seed.body, other).into();
        // One in eight is signed, since some of what is answered is made with the secret.
        if rng.u8(0..8) == 0 {
            let sender = rng.usize(0..self.senders.len());
            if let Ok(sent) = self.senders[sender].send(&headers, &body) {
                return Genuine { sender: Some(sender), sent };
            }
        }
        let target = "/webhooks/test".to_owned();
        Genuine { sender: None, sent: Sent { target, headers, body } }
    }

    fn check(&self, input: &Genuine) -> &'static str {
        let Genuine { sender, sent } = input;
        let sender = sender.map(|sender| &self.senders[sender]);
        let source = sender.map_or(&self.unsigned, |sender| &sender.source);
        // Headers that are signed may be mutated into none, and what stands in the body may be gone.
        let Ok(received) = sent.give_to(source) else {
            assert!(sender.is_some(), "refused, though nothing is signed");
            return "refused";
        };
        if sent.body.len().is_multiple_of(8) {
            assert_eq!(sent.give_to(source).as_ref(), Ok(&received), "the same, but not alike");
        }
        match received {
            Received::Answer(answer) => {
                assert!(!answer.body.windows(MARKER.len()).any(|part| part == MARKER.as_bytes()));
                "answer"
            }
            Received::Events { events, .. } => {
                assert!((1..=EVENTS_MAX).contains(&events.len()), "{} events", events.len());
                events.iter().for_each(|event| check_event(event, &sent.headers, &sent.body));
                let is_read = |event: &NewEvent| event.event_type != EventType::unparsed();
                if events.iter().any(is_read) { "events" } else { "unparsed" }
            }
        }
    }
}

/// Panics if an event is not valid, too large, holds what it must not, or its payload is not of the body.
pub(super) fn check_event(event: &NewEvent, headers: &HeaderMap, body: &Bytes) {
    assert_eq!(EventType::parse(event.event_type.as_str()).as_ref(), Ok(&event.event_type));
    assert!(event.delivery_key.len() <= DELIVERY_KEY_BYTES_MAX, "the delivery key is too long");
    assert!(event.metadata.len() <= METADATA_MAX, "{} of metadata", event.metadata.len());
    let known = [&event.actor, &event.resource_type, &event.resource_id].map(|text| text.as_str());
    for text in known.into_iter().chain(event.metadata.iter().map(|(_, value)| value)) {
        assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes of text", text.len());
        let is_credential = text.contains(MARKER) && !holds_marker(body);
        assert!(!is_credential, "a credential is kept: {:?}", event.metadata);
    }
    assert!(is_of(&event.payload, headers, body), "the payload is not of the body");
}

fn holds_marker(body: &[u8]) -> bool {
    body.windows(MARKER.len()).any(|part| part == MARKER.as_bytes())
}

/// Whether a payload is the body or a slice of it, or of the JSON in its form, or its fields.
fn is_of(payload: &Bytes, headers: &HeaderMap, body: &Bytes) -> bool {
    let (whole, part) = (body.as_ptr_range(), payload.as_ptr_range());
    if payload == body || whole.start <= part.start && part.end <= whole.end {
        return true;
    }
    let media_type = text_of(headers.get("content-type")).to_ascii_lowercase();
    if !media_type.trim_ascii().starts_with("application/x-www-form-urlencoded") {
        return false;
    }
    // The library replaces what is no UTF-8, so that only what is can be compared.
    let Ok(text) = str::from_utf8(payload) else { return true };
    let mut fields = form_urlencoded::parse(body);
    if fields.any(|(name, json)| name == "payload" && json.contains(text)) {
        return true;
    }
    let names: BTreeSet<_> = form_urlencoded::parse(body).map(|(name, _)| name).collect();
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(payload);
    object.is_ok_and(|object| object.keys().all(|name| names.contains(name.as_str())))
}
