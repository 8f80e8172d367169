//! Microsoft Graph: change notifications, and the lifecycle of their subscriptions.
//!
//! A body has many notifications in `value`, perhaps of several subscriptions; each becomes an event. Who changed the
//! resource and when is not told.
//!
//! Nothing is signed: each notification has in `clientState` the secret that was given to its subscription, and all of
//! them must be right. Graph reads any success as taken; what it gets no answer to in 3 s it sends again.
//!
//! Source: learn.microsoft.com/graph "Receive change notifications through webhooks" and "changeNotification".

use std::borrow::Cow;

use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use smol_str::{SmolStr, StrExt as _, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Answer, Item, Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        lenient::{List, Object},
        paths::{self, paths},
    },
    source::Source,
    verify::{
        Request, VerifyError, query_value,
        scheme::{Encoding, Place, Scheme, TOKEN},
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "microsoft-graph",
    title: "Microsoft Graph",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake {
        what: "a post with `validationToken` in the query: it is sent back",
        methods: &[],
        has_token: false,
        probe: validation,
    },
    read: Read::Code(read),
};

/// `value[].clientState`, of each notification.
const SCHEME: Scheme = Scheme {
    place: Place::Body(Cow::Borrowed(CLIENT_STATE)),
    proofs: Cow::Borrowed(&[TOKEN]),
    encoding: Encoding::Raw,
    signed: Cow::Borrowed(&[]),
    ..Scheme::BASE
};

const CLIENT_STATE: &str = "clientState";
/// A key with a dot in it.
const ODATA_TYPE: &str = "\0resourceData\0@odata.type";
const ODATA_ETAG: &str = "\0resourceData\0@odata.etag";
static PATHS: paths::Static = paths![
    "id",
    "changeType",
    "lifecycleEvent",
    "resource",
    "resourceData.id",
    ODATA_TYPE,
    ODATA_ETAG,
    "subscriptionId",
    "tenantId",
    CLIENT_STATE,
];

const VALIDATION: &str = "validationToken";
/// The most bytes of a token that is sent back. Microsoft's have some hundred; anyone can ask for this, so that what we
/// repeat is kept short, and is text to any browser.
const VALIDATION_BYTES_MAX: usize = 4_096;

/// Answers the post with which Graph looks whether an address takes notifications.
fn validation(_: &Source, request: Request<'_>) -> Option<Result<Answer, VerifyError>> {
    if request.method != Method::POST {
        return None;
    }
    let token = query_value(request.target, VALIDATION)?;
    if token.is_empty() || VALIDATION_BYTES_MAX < token.len() {
        return Some(Err(VerifyError::Malformed(VALIDATION.into())));
    }
    Some(Ok(Answer::text(token.into_owned())))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    value: List<&'a RawValue>,
}

/// Reads a body; `None` if it has no notifications.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let Object(body): Object<Body<'_>> = json::parse(post.text()?)?;
    let item = |item: &RawValue| Item {
        payload: post.slice(item.get()),
        // What can't be read has no token either, and that is to be seen: it has a reading, an empty one.
        reading: Some(read_one(item.get()).unwrap_or_default()),
    };
    let items: Vec<_> = body.value.0.into_iter().map(item).collect();
    (!items.is_empty()).then_some(Outcome::Batch(items))
}

fn read_one(text: &str) -> Option<Reading> {
    let fields = json::read(text, &PATHS)?;
    let mut metadata = Metadata::default();
    metadata.add("subscription_id", fields.id("subscriptionId"));
    metadata.add("tenant_id", fields.id("tenantId"));
    metadata.add("resource", fields.id("resource"));
    let lifecycle = fields.id("lifecycleEvent").map(|event| format_smolstr!("lifecycle.{event}"));
    let (resource_type, resource_id) = resource(&fields).unwrap_or_default();
    let mut reading = Reading {
        event_type: lifecycle.or_else(|| fields.id("changeType")).unwrap_or_default(),
        repeats: true,
        delivery_id: fields.id("id").or_else(|| key(&fields)),
        resource_type,
        resource_id,
        metadata,
        ..Reading::default()
    };
    reading.in_body.token = fields.text(CLIENT_STATE).map(str::to_owned);
    Some(reading)
}

/// Returns what tells a notification from others where it has no id: the state of the thing that it is about. Without that
/// (a drive tells only that something in it has changed) each is one of its own, though their bodies are the same.
fn key(fields: &Fields<'_, '_>) -> Option<SmolStr> {
    let etag = fields.id(ODATA_ETAG)?;
    let part = |path| fields.id(path).unwrap_or_default();
    let [subscription, resource] = ["subscriptionId", "resource"].map(part);
    Some(format_smolstr!("{subscription}:{resource}:{}:{etag}", part("changeType")))
}

/// Returns the resource's type, the last part of such as `#Microsoft.Graph.Message`, and its id, or else its path.
fn resource(fields: &Fields<'_, '_>) -> Option<(SmolStr, SmolStr)> {
    let id = fields.first_id(&["resourceData.id", "resource"])?;
    let kind = fields.id(ODATA_TYPE);
    let kind = kind.as_ref().and_then(|kind| kind.rsplit(['.', '#']).next());
    let kind = kind.filter(|kind| !kind.is_empty()).unwrap_or("resource");
    Some((kind.to_ascii_lowercase_smolstr(), id))
}
