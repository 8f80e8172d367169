//! Standard Webhooks, and the providers that send by it: their own library, Svix's, or their own code.
//!
//! Headers `webhook-id`, `webhook-timestamp` and `webhook-signature`; Svix sends the same as `svix-id` and so on. The
//! signature is a list, separated by spaces, of `v1,<base64>` (HMAC-SHA256, secret `whsec_<base64>`) and `v1a,<base64>`
//! (Ed25519, public key `whpk_<base64>`) over `<id>.<timestamp>.<raw body>`.
//!
//! Source: standard-webhooks `spec/standard-webhooks.md`; svix-webhooks `rust/src/webhooks.rs`.

use std::{borrow::Cow, time::Duration};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{Mapping, pick},
    verify::scheme::{
        Encoding, KeyForm, Part, Place, Prefix, Primitive, Proof, Scheme, SignedTime, TimePlace,
    },
};

pub(super) mod family;

pub(super) const PROVIDER: Provider = Provider {
    name: "standard-webhooks",
    title: "Standard Webhooks",
    schemes: SCHEMES,
    event_header: None,
    id_headers: ID_HEADERS,
    handshake: Handshake::NONE,
    read: Read::Mapping(&MAPPING),
};

/// The headers with the message's id, which is the same over retries.
pub(super) const ID_HEADERS: &[&str] = &["webhook-id", "svix-id"];
/// What a provider that sends by Standard Webhooks signs with.
pub(super) const SCHEMES: &[Scheme] = &[WEBHOOK, SVIX];

const WEBHOOK: Scheme = scheme("webhook-signature", "webhook-id", "webhook-timestamp", PROOFS);
const SVIX: Scheme = scheme("svix-signature", "svix-id", "svix-timestamp", PROOFS);

const PROOFS: &[Proof] = &[
    Proof {
        label: Cow::Borrowed("v1a"),
        primitive: Primitive::Ed25519,
        key: KeyForm {
            prefix: Prefix::Required(Cow::Borrowed("whpk_")),
            encoding: Encoding::Base64,
        },
    },
    Proof {
        label: Cow::Borrowed("v1"),
        primitive: Primitive::HmacSha256,
        key: KeyForm {
            prefix: Prefix::Optional(Cow::Borrowed("whsec_")),
            encoding: Encoding::Base64,
        },
    },
];

/// Describes the scheme with these headers and proofs.
pub(super) const fn scheme(
    signature: &'static str,
    id: &'static str,
    timestamp: &'static str,
    proofs: &'static [Proof],
) -> Scheme {
    Scheme {
        place: Place::Header(Cow::Borrowed(signature)),
        items: Some(' '),
        field: Some(','),
        proofs: Cow::Borrowed(proofs),
        encoding: Encoding::Base64,
        signed: Cow::Borrowed(&[
            Part::Id,
            Part::Text(Cow::Borrowed(".")),
            Part::Time,
            Part::Text(Cow::Borrowed(".")),
            Part::Body,
        ]),
        id: Some(Cow::Borrowed(id)),
        time: Some(SignedTime::within(
            TimePlace::Header(Cow::Borrowed(timestamp)),
            Duration::from_secs(300),
        )),
        ..Scheme::BASE
    }
}

/// The members that the specification recommends: `type`, `timestamp`, `data`; and what else is usual in their place.
const MAPPING: Mapping = Mapping {
    event_type: Cow::Borrowed(&[pick![body "type", body "event_type", body "event"]]),
    time: pick![body "timestamp", body "created_at"],
    resource_type: pick![body "data.object", type_stem "."],
    resource_id: pick![body "data.id"],
    ..Mapping::EMPTY
};
