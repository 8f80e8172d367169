//! CloudEvents over HTTP, in all three content modes.
//!
//! | mode | told by the media type | attributes | payload |
//! |---|---|---|---|
//! | batched | `application/cloudevents-batch...` | members of each element | each element |
//! | structured | `application/cloudevents...` | members of the body | the body |
//! | binary | any other | headers `ce-...` | the body, whatever it is |
//!
//! `id`, `source`, `type` and `specversion` have to be there. An id counts within its source, so that both make the
//! delivery's key. The `actor` is the extension `authid` with its `authtype`, the resource is the `subject`. In binary
//! mode the payload has no attributes, so that all extensions are kept as metadata, `ce_` before their names.
//!
//! Of formats there is JSON; a structured event of another one can't be read, and is kept as it came.
//!
//! Source: cloudevents/spec `http-protocol-binding.md`, `json-format.md`, `http-webhook.md`, `extensions/authcontext.md`.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderName, HeaderValue, Method, StatusCode, header::ALLOW};
use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Answer, Item, Metadata, Outcome, Post, Reading, Reply, batch, form, json,
        paths::{self, paths},
        times,
    },
    source::Source,
    verify::{
        Request, VerifyError,
        scheme::{Encoding, Place, Primitive, Proof, Scheme, TEXT_KEY, TOKEN},
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "cloudevents",
    title: "CloudEvents",
    schemes: &[BEARER, QUERY],
    event_header: Some("ce-type"),
    id_headers: &[],
    handshake: Handshake {
        what: "OPTIONS with `WebHook-Request-Origin`: the origin is allowed",
        methods: &[Method::OPTIONS],
        has_token: false,
        probe: permission,
    },
    read: Read::Code(|post| Some(read(post))),
};

/// `Authorization: Bearer <token>`.
const BEARER: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("authorization")),
    field: Some(' '),
    proofs: Cow::Borrowed(&[Proof {
        label: Cow::Borrowed("Bearer"),
        primitive: Primitive::Token,
        key: TEXT_KEY,
    }]),
    encoding: Encoding::Raw,
    signed: Cow::Borrowed(&[]),
    ..Scheme::BASE
};

/// `?access_token=<token>`, for senders that can set no header.
const QUERY: Scheme = Scheme {
    place: Place::Query(Cow::Borrowed("access_token")),
    proofs: Cow::Borrowed(&[TOKEN]),
    encoding: Encoding::Raw,
    signed: Cow::Borrowed(&[]),
    ..Scheme::BASE
};

const ORIGIN: &str = "webhook-request-origin";
const RATE: &str = "webhook-request-rate";
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");
/// The most bytes of an origin, which is a DNS name.
const ORIGIN_BYTES_MAX: usize = 255;

/// Answers the question whether events may be sent here. Whoever asks may: what is sent needs the token.
fn permission(_: &Source, request: Request<'_>) -> Option<Result<Answer, VerifyError>> {
    let origin = request.headers.get(ORIGIN)?;
    if request.method != Method::OPTIONS {
        return None;
    }
    let is_name = (1..=ORIGIN_BYTES_MAX).contains(&origin.len())
        && origin.as_bytes().iter().all(u8::is_ascii_graphic);
    if !is_name {
        return Some(Err(VerifyError::Malformed(ORIGIN.into())));
    }
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers.push((ALLOWED_ORIGIN, origin.clone()));
    if request.headers.contains_key(RATE) {
        answer.headers.push((ALLOWED_RATE, HeaderValue::from_static("*")));
    }
    answer.headers.push((ALLOW, HeaderValue::from_static("POST, OPTIONS")));
    Some(Ok(answer))
}

static ATTRIBUTES: paths::Static = paths![
    "id",
    "source",
    "type",
    "specversion",
    "subject",
    "time",
    "dataschema",
    "datacontenttype",
    "partitionkey",
    "authid",
    "authtype",
];
/// The attributes that are kept as metadata, beside the extensions in headers.
const KEPT: [&str; 6] =
    ["id", "source", "specversion", "dataschema", "datacontenttype", "partitionkey"];

/// Reads a body. What can't be read is an event too, since the status of the answer is not that of other providers.
fn read(post: &Post<'_>) -> Outcome {
    let media_type = post.media_type.as_deref().unwrap_or_default();
    // The longer name first: both begin alike.
    if media_type.starts_with("application/cloudevents-batch") {
        return read_batch(post);
    }
    let reading = if media_type.starts_with("application/cloudevents") {
        post.text().and_then(of_text)
    } else {
        of_headers(post)
    };
    // A batch of one: the payload is the body also where that is a form.
    Outcome::Batch(vec![Item {
        payload: post.request().body.clone(),
        reading: Some(answered(reading)),
    }])
}

fn read_batch(post: &Post<'_>) -> Outcome {
    let items = post.text().and_then(batch::items);
    let items: Vec<_> = items.map_or_else(
        || vec![Item { payload: post.request().body.clone(), reading: Some(answered(None)) }],
        |items| {
            let item = |text: &str| Item {
                payload: post.slice(text),
                reading: Some(answered(of_text(text))),
            };
            items.into_iter().map(|it| item(it.get())).collect()
        },
    );
    if items.is_empty() {
        // A batch may be empty; there is nothing to keep of it.
        return Outcome::Answer(Answer::empty(StatusCode::ACCEPTED));
    }
    Outcome::Batch(items)
}

/// Returns the reading, or an empty one for what can't be read, with the answer for what is taken but not processed.
fn answered(reading: Option<Reading>) -> Reading {
    let reply = Reply::IdsWith(StatusCode::ACCEPTED);
    Reading { reply, ..reading.unwrap_or_default() }
}

fn of_text(text: &str) -> Option<Reading> {
    let fields = json::read(text, &ATTRIBUTES)?;
    reading(|name| fields.id(name))
}

fn of_headers(post: &Post<'_>) -> Option<Reading> {
    let mut attributes = BTreeMap::new();
    for name in post.request().headers.keys() {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            // Half a read event is worse than none: one that can't be read spoils all.
            attributes.insert(attribute, decode(post.header(name.as_str())?)?);
        }
    }
    let mut reading = reading(|name| attributes.get(name).cloned().filter(|it| !it.is_empty()))?;
    for (name, value) in attributes {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_name && ATTRIBUTES.place(name).is_none() {
            reading.metadata.add(&format_smolstr!("ce_{name}"), Some(value));
        }
    }
    Some(reading)
}

fn reading(attribute: impl Fn(&str) -> Option<SmolStr>) -> Option<Reading> {
    let (source, id) = (attribute("source")?, attribute("id")?);
    let event_type = attribute("type")?;
    attribute("specversion")?;
    let (actor, subject) = (attribute("authid"), attribute("subject"));
    let mut metadata = Metadata::default();
    metadata.add("actor_type", actor.as_ref().and_then(|_| attribute("authtype")));
    for name in KEPT {
        metadata.add(&format_smolstr!("ce_{name}"), attribute(name));
    }
    Some(Reading {
        event_type,
        // A URI has no spaces, so that the pair is told by the first one.
        delivery_id: Some(format_smolstr!("{} {id}", source.replace(' ', "%20"))),
        timestamp: attribute("time").as_deref().and_then(times::parse_text),
        actor: actor.unwrap_or_default(),
        resource_type: subject.as_ref().map(|_| "subject".into()).unwrap_or_default(),
        resource_id: subject.unwrap_or_default(),
        metadata,
        ..Reading::default()
    })
}

/// Decodes a header: out of its quotes if it is in such, and then one round of percent-encoding; `None` if that is not
/// UTF-8.
///
/// Source: `http-protocol-binding.md` 3.1.3.2.
fn decode(text: &str) -> Option<SmolStr> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text = quoted.map_or(Cow::Borrowed(text), |quoted| Cow::Owned(unescape(quoted)));
    String::from_utf8(form::decode(text.as_bytes(), false)).ok().map(SmolStr::from)
}

/// Takes out the backslashes of a quoted string.
fn unescape(quoted: &str) -> String {
    let mut chars = quoted.chars();
    let mut text = String::with_capacity(quoted.len());
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_decoded_once() {
        for (text, want) in [
            ("plain", Some("plain")),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro \u{20ac} \u{1f600}")),
            ("%2525", Some("%25")),
            ("100%", Some("100%")),
            ("%zz+", Some("%zz+")),
            (r#""a \"b\" \\%20c""#, Some(r#"a "b" \ c"#)),
            ("\"", Some("\"")),
            ("\"\"", Some("")),
            (r#""a\""#, Some("a\\")),
            ("\u{e9}", Some("\u{e9}")),
            ("%ff", None),
            ("%C3%28", None),
        ] {
            assert_eq!(decode(text).as_deref(), want, "{text}");
        }
    }
}
