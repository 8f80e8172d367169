//! Zoom: event subscriptions.
//!
//! `payload.object` is the thing, of the kind that the event's type begins with. As `actor` stands who is said to have
//! done it (`operator_id`, `operator`), else the participant of whom the event tells, else the host. There is no id of a
//! delivery. A participant without an account has a `user_id` of the one meeting only.
//!
//! Source: developers.zoom.us "Using webhooks"; zoom/webhook-sample `index.js`.

use serde_json::json;
use smol_str::StrExt as _;

use super::{Handshake, Provider, Read, slack};
use crate::{
    normalize::{
        Answer, Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::{Scheme, hmac_sha256_hex},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "zoom",
    title: "Zoom",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::signed("`endpoint.url_validation`, every 72 hours: a token is signed"),
    read: Read::Code(read),
};

/// `x-zm-signature: v0=<hex>` over `v0:<x-zm-request-timestamp as written>:<raw body>`.
///
/// Zoom's own sample signs the body anew from its parsed form, which fails for some bodies: the raw bytes count.
const SCHEME: Scheme = slack::scheme("x-zm-signature", "x-zm-request-timestamp");

static PATHS: paths::Static = paths![
    "event",
    "event_ts",
    "payload.plainToken",
    "payload.account_id",
    "payload.operator_id",
    "payload.operator",
    "payload.object.id",
    "payload.object.uuid",
    "payload.object.host_id",
    "payload.object.participant.id",
    "payload.object.participant.user_id",
];
const ACTORS: [&str; 5] = [
    "payload.operator_id",
    "payload.operator",
    "payload.object.participant.id",
    "payload.object.participant.user_id",
    "payload.object.host_id",
];

/// Reads a body; `None` if it is no event.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let event_type = fields.id("event")?;
    if event_type == "endpoint.url_validation"
        && let Some(answer) = validation(post, &fields)
    {
        return Some(Outcome::Answer(answer));
    }
    let mut metadata = Metadata::default();
    metadata.add("account_id", fields.id("payload.account_id"));
    metadata.add("uuid", fields.id("payload.object.uuid"));
    let resource_id = fields.first_id(&["payload.object.id", "payload.object.uuid"]);
    let resource_type =
        event_type.split_once('.').map(|(kind, _)| kind.to_ascii_lowercase_smolstr());
    Some(Outcome::Event(Reading {
        timestamp: times::parse(fields.at("event_ts")),
        actor: fields.first_id(&ACTORS).unwrap_or_default(),
        resource_type: resource_type.unwrap_or_default(),
        resource_id: resource_id.unwrap_or_default(),
        metadata,
        event_type,
        ..Reading::default()
    }))
}

/// Returns the proof that we have the secret; `None` if there is none, as of an unsigned source, or nothing to sign.
fn validation(post: &Post<'_>, fields: &Fields<'_, '_>) -> Option<Answer> {
    let secret = post.secret()?;
    let token = fields.text("payload.plainToken")?;
    let signed = hmac_sha256_hex(secret, token);
    Some(Answer::json(&json!({ "plainToken": token, "encryptedToken": signed })))
}
