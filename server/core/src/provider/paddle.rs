//! Paddle Billing: notifications.
//!
//! `data` is the thing, of the kind that the event's type begins with. As `actor` stands the customer: the thing itself
//! if it is one, else `data.customer_id`. The same event goes to every destination under its own `notification_id`.
//!
//! Source: developer.paddle.com "Webhooks"; paddle-node-sdk `webhooks-validator.ts`, paddle-python-sdk `Verifier`.

use std::{borrow::Cow, time::Duration};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{Mapping, Outcome, Post, pick},
    verify::scheme::{Part, Place, Proof, Scheme, SignedTime, TimePlace},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "paddle",
    title: "Paddle",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// `Paddle-Signature: ts=<seconds>;h1=<hex>[;h1=<hex>..]` over `<ts as written>:<raw body>`; while a secret is rotated
/// there are two. The secret is taken as text, `pdl_ntfset_` included.
///
/// The SDKs refuse what is older than 5 s. That is too tight for a request that has waited in a queue or at a proxy, or
/// for a clock that is a little off, and Paddle's retries are signed anew: so a minute, both ways.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("paddle-signature")),
    items: Some(';'),
    field: Some('='),
    proofs: Cow::Borrowed(&[Proof::sha256("h1")]),
    signed: Cow::Borrowed(&[Part::Time, Part::Text(Cow::Borrowed(":")), Part::Body]),
    time: Some(SignedTime::within(TimePlace::Item(Cow::Borrowed("ts")), Duration::from_secs(60))),
    ..Scheme::BASE
};

const MAPPING: Mapping = Mapping {
    event_type: Cow::Borrowed(&[pick![body "event_type"]]),
    id: pick![body "event_id"],
    time: pick![body "occurred_at"],
    actor: pick![body "data.customer_id"],
    actor_type: pick![text "customer"],
    resource_type: pick![type_head "."],
    resource_id: pick![body "data.id"],
    metadata: Cow::Borrowed(&[(Cow::Borrowed("notification_id"), pick![body "notification_id"])]),
    ..Mapping::EMPTY
};

/// Reads a body; `None` if it is no event.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let mut reading = MAPPING.read(post)?;
    if reading.resource_type == "customer" && !reading.resource_id.is_empty() {
        reading.actor.clone_from(&reading.resource_id);
        reading.metadata.add("actor_type", Some("customer"));
    }
    Some(Outcome::Event(reading))
}
