//! Twilio: webhooks and status callbacks, which are forms, and Event Streams, which are JSON.
//!
//! A form does not say what it is: messages, calls, recordings and conferences are told by their status. An event of
//! Event Streams is a CloudEvent, alone or in an array.
//!
//! Twilio reads the answer to a form as instructions, and takes JSON for an error: the answer is an empty one.
//!
//! Sources: twilio-node `webhooks.ts`, twilio-python `request_validator.py`; twilio.com/docs "Webhooks security",
//! "Event Streams".

use std::borrow::Cow;

use http::StatusCode;
use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Form, Metadata, Outcome, Post, Reading, Reply, batch,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::scheme::{Encoding, Part, Place, Proof, Scheme, When},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "twilio",
    title: "Twilio",
    schemes: &[SHARED_KEY, AUTH_TOKEN],
    event_header: None,
    id_headers: &[TOKEN],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// The header with the id that is the same over retries.
const TOKEN: &str = "i-twilio-idempotency-token";

/// With a shared key: as [`AUTH_TOKEN`], but HMAC-SHA256, which `X-Twilio-Webhooks-Signature-Settings:
/// key=<id>,algorithm=HMAC_SHA256` tells. The secret is the shared key's.
const SHARED_KEY: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-twilio-signature")),
    encoding: Encoding::Base64,
    signed: Cow::Borrowed(&[Part::Url, Part::SortedForm]),
    when: Some(When {
        header: Cow::Borrowed("x-twilio-webhooks-signature-settings"),
        value: Cow::Borrowed("algorithm=HMAC_SHA256"),
    }),
    ..Scheme::BASE
};

/// `X-Twilio-Signature: <base64>`, HMAC-SHA1 over the address and the sorted fields of the form; of another body the
/// hash is in the address. The secret is the account's auth token.
const AUTH_TOKEN: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-twilio-signature")),
    proofs: Cow::Borrowed(&[Proof::sha1("")]),
    encoding: Encoding::Base64,
    signed: Cow::Borrowed(&[Part::Url, Part::SortedForm]),
    ..Scheme::BASE
};

/// What a form can be about: its name, where its status stands, and its id.
const KINDS: [(&str, &[&str], &[&str]); 4] = [
    ("message", &["MessageStatus", "SmsStatus"], &["MessageSid", "SmsSid"]),
    ("call", &["CallStatus"], &["CallSid"]),
    ("recording", &["RecordingStatus"], &["RecordingSid"]),
    ("conference", &["StatusCallbackEvent"], &["ConferenceSid"]),
];

static FORM_PATHS: paths::Static = paths![
    "MessageStatus",
    "SmsStatus",
    "MessageSid",
    "SmsSid",
    "CallStatus",
    "CallSid",
    "RecordingStatus",
    "RecordingSid",
    "StatusCallbackEvent",
    "ConferenceSid",
    "SequenceNumber",
    "AccountSid",
    "From",
    "To",
    "Direction",
    "Timestamp",
    "EventType",
];

fn read(post: &Post<'_>) -> Option<Outcome> {
    match post.form {
        Form::Fields => read_form(post).map(Outcome::Event),
        Form::No | Form::Payload => batch::read(post, read_event),
    }
}

fn read_form(post: &Post<'_>) -> Option<Reading> {
    let fields = json::read(post.text()?, &FORM_PATHS)?;
    let of_kind = |&(kind, statuses, ids): &(&'static str, _, _)| {
        Some((kind, fields.first_id(statuses)?, fields.first_id(ids)))
    };
    let found = KINDS.iter().find_map(of_kind);
    let (resource_type, resource_id) = resource(found.as_ref(), &fields);
    Some(Reading {
        event_type: match &found {
            Some((kind, status, _)) => format_smolstr!("{kind}.{status}"),
            None => fields.id("EventType").unwrap_or_else(|| "event".into()),
        },
        // A call is asked about many times in one status.
        repeats: matches!(found, Some(("call", ..))),
        // The header's id goes before; it is looked at where there is none here.
        delivery_id: if post.header(TOKEN).is_some() { None } else { key(found, &fields) },
        timestamp: times::parse(fields.at("Timestamp")),
        actor: fields.id("From").unwrap_or_default(),
        resource_type,
        resource_id,
        metadata: metadata(&fields, ["To", "AccountSid", "Direction"]),
        reply: Reply::Empty(StatusCode::NO_CONTENT),
        ..Reading::default()
    })
}

/// The kind, status and id of what a form is about.
type Found = (&'static str, SmolStr, Option<SmolStr>);

fn resource(found: Option<&Found>, fields: &Fields<'_, '_>) -> (SmolStr, SmolStr) {
    if let Some((kind, _, Some(id))) = found {
        return ((*kind).into(), id.clone());
    }
    let mut kinds = KINDS.iter().map(|&(kind, _, ids)| (kind, ids));
    kinds
        .find_map(|(kind, ids)| fields.first_id(ids).map(|id| (kind.into(), id)))
        .or_else(|| fields.id("AccountSid").map(|id| ("account".into(), id)))
        .unwrap_or_default()
}

/// Returns what tells a callback from others: a message and a recording have each status once. A call is asked about
/// many times in one status, and only its numbered callbacks can be told.
fn key(found: Option<Found>, fields: &Fields<'_, '_>) -> Option<SmolStr> {
    let (kind, status, id) = found?;
    let id = id?;
    match fields.id("SequenceNumber") {
        Some(number) => Some(format_smolstr!("{id}:{status}:{number}")),
        None if matches!(kind, "message" | "recording") => Some(format_smolstr!("{id}:{status}")),
        None => None,
    }
}

fn metadata(fields: &Fields<'_, '_>, [to, account, direction]: [&str; 3]) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.add("to", fields.id(to));
    metadata.add("account_sid", fields.id(account));
    metadata.add("direction", fields.id(direction));
    metadata
}

/// What the types of Event Streams begin with.
const PREFIX: &str = "com.twilio.";

static EVENT_PATHS: paths::Static = paths![
    "specversion",
    "id",
    "type",
    "EventType",
    "time",
    "data.messageSid",
    "data.callSid",
    "data.accountSid",
    "data.from",
    "data.to",
    "data.direction",
    "data.timestamp",
    "AccountSid",
];

fn read_event(item: &str) -> Option<Reading> {
    let fields = json::read(item, &EVENT_PATHS)?;
    let raw = fields.first_id(&["type", "EventType"])?;
    let first = |kind: &str, ids: &[&str]| fields.first_id(ids).map(|id| (kind.into(), id));
    let (resource_type, resource_id) = first("message", &["data.messageSid"])
        .or_else(|| first("call", &["data.callSid"]))
        .or_else(|| first("account", &["data.accountSid", "AccountSid"]))
        .unwrap_or_default();
    let is_cloud_event = fields.id("specversion").is_some();
    Some(Reading {
        event_type: raw.strip_prefix(PREFIX).unwrap_or(&raw).into(),
        event_type_raw: Some(raw),
        delivery_id: is_cloud_event.then(|| fields.id("id")).flatten(),
        timestamp: times::first(&fields, &["time", "data.timestamp"]),
        actor: fields.id("data.from").unwrap_or_default(),
        resource_type,
        resource_id,
        metadata: metadata(&fields, ["data.to", "data.accountSid", "data.direction"]),
        ..Reading::default()
    })
}
