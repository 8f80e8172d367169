//! How each kind signs, as descriptions of one verifier.

use std::time::Duration;

use super::hmac::{Part, Scheme, SignedTime};
use crate::source::Kind;

/// Returns the scheme of a kind.
pub(super) const fn of(kind: Kind) -> &'static Scheme {
    match kind {
        Kind::GitHub => &GITHUB,
        Kind::Stripe => &STRIPE,
    }
}

/// `X-Hub-Signature-256: sha256=<hex>` over the raw body: of a form the form's bytes, not the JSON inside.
///
/// The legacy `X-Hub-Signature` (SHA-1) comes with the same delivery and is never looked at: who can strip a header
/// must not choose the weaker hash. Nothing signs a time or the delivery's id.
///
/// Source: GitHub docs, "Validating webhook deliveries".
const GITHUB: Scheme = Scheme {
    header: "x-hub-signature-256",
    item_separator: None,
    label: "sha256",
    signed: &[Part::Body],
    time: None,
};

/// `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>..][,v0=<hex>]` over `<t as written>.<raw body>`.
///
/// The secret is taken as text, `whsec_` included. While a secret is rolled there are two `v1`; either may match. `v0`
/// (a test scheme) and unknown labels are ignored, and so is a `v1` that is not hexadecimal.
///
/// Only the past has a limit, as in all of Stripe's SDKs: the time is signed, so that one in the future can't be
/// forged; it means that our clock is behind, and then to refuse would lose events that Stripe's own code accepts. What
/// a captured request with such a time could repeat is caught by dedupe on the event's id.
///
/// Source: stripe-node `Webhooks.ts`, stripe-go `webhook/client.go`, stripe-python `_webhook.py`.
const STRIPE: Scheme = Scheme {
    header: "stripe-signature",
    item_separator: Some(','),
    label: "v1",
    signed: &[Part::Time, Part::Text("."), Part::Body],
    time: Some(SignedTime { label: "t", tolerance: Duration::from_secs(300) }),
};
