//! From a request to events: what all providers have in common. What is a provider's own is in [`crate::provider`].
//!
//! Reading never fails. Who sent the request is known, and many providers never send an event again that was refused:
//! so what can't be read becomes an event of type `unparsed` with the bytes as they came.

use std::cell::OnceCell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use sha2::{Digest, Sha256};
use smol_str::{SmolStr, StrExt as _, format_smolstr};

pub use self::json::PATHS_MAX;
pub(crate) use self::mapping::pick;
pub use self::mapping::{From, Mapping, Pick, PointerError, pointer};
pub(crate) use crate::metadata::Metadata;
use crate::{
    event::{EventType, METADATA_BODY_HASH, NewEvent},
    provider::{Kind, Read},
    source::Source,
    text::cut,
    time::Timestamp,
    verify::{self, Checked, InBody, Request, VerifyError},
};

pub(crate) mod batch;
pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod lenient;
mod mapping;
pub(crate) mod paths;
#[cfg(test)]
mod reads;
pub mod times;
mod traceparent;

/// The most bytes of an actor, a resource's id or type, or a value of the metadata; what is beyond is cut off. Nothing
/// that a provider puts there comes near, but a body may hold a name of megabytes, and these are kept in memory.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The most bytes of a delivery key; of a longer id its SHA-256 is taken, since to cut it would make two ids one.
pub const DELIVERY_KEY_BYTES_MAX: usize = 256;
/// The most events of one request; a body with more is kept as one that could not be read. The largest batches that
/// providers send have some thousand, and each event is in memory until all are written.
pub const EVENTS_MAX: usize = 10_000;
/// The media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// What a request turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// Events, one at least, that are to be in the log before the sender is answered.
    Events {
        /// The events, in the order of the body.
        events: Vec<NewEvent>,
        /// What the sender is told then.
        reply: Reply,
    },
    /// A handshake, to be answered at once.
    Answer(Answer),
}

/// An answer that a provider asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers, the content's type among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Makes an answer without a body.
    pub(crate) const fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// Makes an answer of text that is shown as it is, whatever a browser makes of it.
    pub(crate) fn text(text: String) -> Self {
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { status: StatusCode::OK, headers, body: text.into() }
    }

    /// Makes an answer of JSON.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { status: StatusCode::OK, headers, body: body.to_string().into() }
    }
}

/// What a sender is told once its events are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// 200, with the events' ids in JSON.
    #[default]
    Ids,
    /// Another status of success, with the ids.
    IdsWith(StatusCode),
    /// This status without a body: a body would be shown to a person, or be refused.
    Empty(StatusCode),
    /// 200 with this JSON, which tells the provider what to do.
    Json(&'static str),
}

/// A verified post, taken apart as far as it is the same for all providers.
pub(crate) struct Post<'a> {
    checked: Checked<'a>,
    /// The media type, lower-cased, without parameters.
    pub(crate) media_type: Option<SmolStr>,
    /// What may be JSON: the body, or what a form holds; absent for a form without fields, or with too many.
    json: Option<Bytes>,
    /// What the body was a form of.
    pub(crate) form: Form,
}

/// What a body of type `application/x-www-form-urlencoded` held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// It is no form.
    No,
    /// JSON in its field `payload`.
    Payload,
    /// Fields.
    Fields,
}

impl<'a> Post<'a> {
    fn new(mut checked: Checked<'a>) -> Self {
        let (request, fields) = (checked.request(), checked.take_fields());
        let media_type = media_type(request.headers);
        let (json, form) = if media_type.as_deref() == Some(FORM) {
            match form::json(request.body, fields) {
                Some((json, form)) => (Some(json), form),
                None => (None, Form::No),
            }
        } else {
            // A missing or wrong media type does not matter: a body that is JSON is taken as JSON.
            (Some(request.body.clone()), Form::No)
        };
        Self { checked, media_type, json, form }
    }

    /// Returns the source.
    pub(crate) const fn source(&self) -> &'a Source {
        self.checked.source()
    }

    /// Returns the request.
    pub(crate) const fn request(&self) -> Request<'a> {
        self.checked.request()
    }

    /// Returns the secret that made the signature.
    pub(crate) const fn secret(&self) -> Option<&'a crate::source::Secret> {
        self.checked.secret()
    }

    /// Returns a header's text; `None` if it is absent, empty, not UTF-8, or there with different values.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        header(self.request().headers, name).filter(|text| !text.is_empty())
    }

    /// Returns what may be JSON, as text without a byte order mark; `None` if it is not UTF-8, which JSON has to be.
    pub(crate) fn text(&self) -> Option<&str> {
        json::text(self.json.as_ref()?)
    }

    /// Returns a part of [`Post::text`] as bytes that share its memory.
    pub(crate) fn slice(&self, part: &str) -> Bytes {
        match &self.json {
            Some(json) if !part.is_empty() => json.slice_ref(part.as_bytes()),
            Some(_) | None => Bytes::new(),
        }
    }
}

/// What a provider's reader makes of a post.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// One event, with the whole body.
    Event(Reading),
    /// Many events, each with its part of the body.
    Batch(Vec<Item>),
    /// No event.
    Answer(Answer),
}

/// An event of a batch.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) payload: Bytes,
    /// `None`: it can't be read.
    pub(crate) reading: Option<Reading>,
}

/// What a reader finds. The rest is the same for all providers.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// What the provider calls the event, without a prefix that all its events have; empty: it can't be read.
    pub(crate) event_type: SmolStr,
    /// What the provider calls the event with its prefix, where it has one.
    pub(crate) event_type_raw: Option<SmolStr>,
    /// The provider's id of the delivery; none: that of the header, else the body's hash.
    pub(crate) delivery_id: Option<SmolStr>,
    /// Whether the provider says the same thing more than once and means it, so that the body's hash is no id.
    pub(crate) repeats: bool,
    /// None: the time of receipt.
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) actor: SmolStr,
    pub(crate) resource_type: SmolStr,
    pub(crate) resource_id: SmolStr,
    pub(crate) metadata: Metadata,
    /// What the body says of its sender, where a scheme asks for it.
    pub(crate) in_body: InBody,
    pub(crate) reply: Reply,
}

impl Metadata {
    /// Adds what there is, cut to the bound of a text. What is empty is left out.
    pub(crate) fn add(&mut self, key: &str, value: Option<impl Into<SmolStr>>) {
        if let Some(value) =
            value.map(|value| cut(value.into(), TEXT_BYTES_MAX)).filter(|value| !value.is_empty())
        {
            self.insert(key, value);
        }
    }
}

/// Returns the answer to a handshake that is not signed, or the reason for which it is refused; `None` if the request is
/// none. Of a method that is not POST, a request that is no handshake has no meaning.
#[must_use]
pub fn probe(source: &Source, request: Request<'_>) -> Option<Result<Answer, VerifyError>> {
    (source.kind().provider().handshake.probe)(source, request)
}

/// Takes a post that came at `received_at` by the wall clock: verifies it, and makes events of it.
///
/// Metadata of every event: `content_type` (the posted media type, lower-cased, without parameters; absent if there
/// was none), `traceparent` (if the request brought a valid one), `event_type_raw` (the provider's own text, where
/// `event_type` differs from it), `timestamp_source` = `received` (where the body tells no time), `actor_type` (what the
/// actor is, in the provider's word, where it says so), `body_hash` (where replays are looked for). Providers add theirs.
/// Signatures, credentials and other headers are not kept.
///
/// # Errors
///
/// If the request is not signed as the source's kind signs, with one of its secrets, and in time.
pub fn receive(
    source: &Source,
    request: Request<'_>,
    received_at: Timestamp,
) -> Result<Received, VerifyError> {
    if let Some(answer) = probe(source, request) {
        return answer.map(Received::Answer);
    }
    debug_assert_eq!(request.method, Method::POST, "only posts bring events");
    let checked = verify::check(source, request, received_at)?;
    let post = Post::new(checked);
    let checked = &post.checked;
    let outcome = match source.kind().provider().read {
        Read::Mapping(mapping) => mapping.read(&post).map(Outcome::Event),
        Read::Code(read) => read(&post),
        Read::Custom => {
            let custom = source.settings().custom.as_ref();
            custom.and_then(|custom| custom.mapping.read(&post)).map(Outcome::Event)
        }
    };
    let items = match outcome {
        Some(Outcome::Answer(answer)) => {
            // A body of the kinds whose proof stands in it is never a handshake.
            checked.finish([&InBody::default()], received_at)?;
            return Ok(Received::Answer(answer));
        }
        Some(Outcome::Event(reading)) => {
            let json = post.json.clone().filter(|_| !reading.event_type.is_empty());
            let payload = json.unwrap_or_else(|| request.body.clone());
            vec![Item { payload, reading: Some(reading) }]
        }
        Some(Outcome::Batch(items)) if (1..=EVENTS_MAX).contains(&items.len()) => items,
        Some(Outcome::Batch(_)) | None => {
            vec![Item { payload: request.body.clone(), reading: None }]
        }
    };
    // What can't be read proves nothing.
    let unproven = InBody::default();
    let proofs = items.iter().map(|item| item.reading.as_ref().map_or(&unproven, |it| &it.in_body));
    checked.finish(proofs, received_at)?;
    Ok(events(&post, items, received_at))
}

fn events(post: &Post<'_>, items: Vec<Item>, received_at: Timestamp) -> Received {
    let is_batch = 1 < items.len();
    let reply = items.first().and_then(|item| item.reading.as_ref()).map(|it| it.reply);
    let common = Common::of(post, received_at);
    let event = |(index, item): (usize, Item)| common.event(item, is_batch.then_some(index));
    let events = items.into_iter().enumerate().map(event).collect();
    Received::Events { events, reply: reply.unwrap_or_default() }
}

/// What the events of a request have in common.
struct Common<'p, 'a> {
    post: &'p Post<'a>,
    received_at: Timestamp,
    /// What each has in its metadata, unless it has something else there itself.
    metadata: [(&'static str, Option<SmolStr>); 2],
    header_id: Option<&'a str>,
    /// Made when it is first asked for, which may be by each event of a batch.
    body_hash: OnceCell<SmolStr>,
}

impl<'p, 'a> Common<'p, 'a> {
    fn of(post: &'p Post<'a>, received_at: Timestamp) -> Self {
        let traceparent = traceparent::of(post.request().headers).map(SmolStr::new);
        let metadata = [("content_type", post.media_type.clone()), ("traceparent", traceparent)];
        // An id that is signed comes before those that anybody could have added.
        let ids = post.source().kind().provider().id_headers.iter().copied();
        let mut ids = post.checked.signed_id().into_iter().chain(ids);
        let header_id = ids.find_map(|name| post.header(name));
        Self { post, received_at, metadata, header_id, body_hash: OnceCell::new() }
    }

    /// Puts an event together; without a reading, an unparsed one.
    fn event(&self, item: Item, index: Option<usize>) -> NewEvent {
        let source = self.post.source();
        let reading = item.reading.unwrap_or_default();
        let event_type =
            EventType::normalize(&reading.event_type).unwrap_or_else(EventType::unparsed);
        let mut metadata = reading.metadata;
        for (key, value) in &self.metadata {
            if !metadata.contains_key(key) {
                metadata.add(key, value.clone());
            }
        }
        let raw = reading.event_type_raw.unwrap_or(reading.event_type);
        if event_type.as_str() != raw {
            metadata.add("event_type_raw", Some(raw));
        }
        if reading.timestamp.is_none() {
            metadata.add("timestamp_source", Some("received"));
        }
        let replay_window = source.settings().replay_window;
        if replay_window.is_some() {
            metadata.add(METADATA_BODY_HASH, Some(at(self.body_hash(), index)));
        }
        NewEvent {
            source: source.name().clone(),
            event_type,
            timestamp: reading.timestamp.unwrap_or(self.received_at),
            actor: cut(reading.actor, TEXT_BYTES_MAX),
            resource_type: cut(reading.resource_type, TEXT_BYTES_MAX),
            resource_id: cut(reading.resource_id, TEXT_BYTES_MAX),
            payload: item.payload,
            metadata,
            delivery_key: self.delivery_key(reading.delivery_id, reading.repeats, index),
            replay_window,
        }
    }

    /// Returns the item's own id, else that of the request with the item's place, else the body's hash with it; nothing
    /// where two bodies that are the same may be two events.
    fn delivery_key(&self, own: Option<SmolStr>, repeats: bool, index: Option<usize>) -> SmolStr {
        let own = own.filter(|id| !id.is_empty());
        let id = own.or_else(|| self.header_id.map(|id| at(id, index)));
        match id {
            Some(id) if id.len() <= DELIVERY_KEY_BYTES_MAX => id,
            Some(id) => hash(id.as_bytes()),
            None if repeats || self.post.source().kind() == Kind::CUSTOM => SmolStr::default(),
            None => at(self.body_hash(), index),
        }
    }

    fn body_hash(&self) -> &str {
        self.body_hash.get_or_init(|| hash(self.post.request().body))
    }
}

/// Returns the id of an item of a request, by its place; of the only one, the request's.
fn at(text: &str, index: Option<usize>) -> SmolStr {
    index.map_or_else(|| text.into(), |index| format_smolstr!("{text}#{index}"))
}

/// Whether a body that says it is a form has a field with these bytes, `name=value`, as they are posted. Looked for
/// before anything is known of the sender, so nothing is decoded.
pub(crate) fn has_field(request: Request<'_>, field: &[u8]) -> bool {
    let mut fields = request.body.split(|&byte| byte == b'&');
    media_type(request.headers).as_deref() == Some(FORM) && fields.any(|it| it == field)
}

/// Returns the media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<SmolStr> {
    let text = header(headers, CONTENT_TYPE.as_str())?;
    let essence = text.split(';').next().unwrap_or_default();
    Some(essence.trim_ascii().to_ascii_lowercase_smolstr())
}

/// Returns a header's text; `None` if it is absent, not UTF-8, or there with different values.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.any(|value| value != first) {
        return None;
    }
    str::from_utf8(first.as_bytes()).ok()
}

/// Returns `sha256:` and the hash in hexadecimal.
fn hash(bytes: &[u8]) -> SmolStr {
    format_smolstr!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
