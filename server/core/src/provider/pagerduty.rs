//! PagerDuty: V3 webhook subscriptions.
//!
//! The event is the member `event`; `event.data` is the thing, `event.agent` who did it (null for what a monitoring tool
//! did). Notes, responders and the like belong to `data.incident`.
//!
//! Source: developer.pagerduty.com "Webhooks overview"; go-pagerduty `webhookv3`.

use std::borrow::Cow;

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{Mapping, pick},
    verify::scheme::{Place, Proof, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "pagerduty",
    title: "PagerDuty",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Mapping(&MAPPING),
};

/// `X-PagerDuty-Signature: v1=<hex>[,v1=<hex>..]` over the raw body; while a secret is rotated there are two.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-pagerduty-signature")),
    items: Some(','),
    field: Some('='),
    proofs: Cow::Borrowed(&[Proof::sha256("v1")]),
    ..Scheme::BASE
};

const MAPPING: Mapping = Mapping {
    event_type: Cow::Borrowed(&[pick![body "event.event_type"]]),
    id: pick![body "event.id"],
    time: pick![body "event.occurred_at"],
    actor: pick![body "event.agent.id"],
    actor_type: pick![body "event.agent.type"],
    resource_type: pick![body "event.resource_type"],
    resource_id: pick![body "event.data.incident.id", body "event.data.id"],
    ..Mapping::EMPTY
};
