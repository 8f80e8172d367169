//! Square: webhook subscriptions.
//!
//! The merchant in whose name it happened stands as `actor`: who of its people it was is not told. `data` names the
//! thing.
//!
//! Source: developer.squareup.com "Square Webhooks"; square-nodejs-sdk `WebhooksHelper.ts`.

use std::borrow::Cow;

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{Mapping, pick},
    verify::scheme::{Encoding, Part, Place, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "square",
    title: "Square",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Mapping(&MAPPING),
};

/// `x-square-hmacsha256-signature: <base64>` over the notification's address and the raw body, without a separator.
/// Nothing signs a time.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-square-hmacsha256-signature")),
    encoding: Encoding::Base64,
    signed: Cow::Borrowed(&[Part::Url, Part::Body]),
    ..Scheme::BASE
};

const MAPPING: Mapping = Mapping {
    event_type: Cow::Borrowed(&[pick![body "type"]]),
    id: pick![body "event_id"],
    time: pick![body "created_at"],
    actor: pick![body "merchant_id"],
    actor_type: pick![text "merchant"],
    resource_type: pick![body "data.type"],
    resource_id: pick![body "data.id"],
    ..Mapping::EMPTY
};
