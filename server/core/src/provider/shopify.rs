//! Shopify: webhooks of an app or a shop, and the newer "events".
//!
//! What happened, when, and in which shop is told by headers, which are not signed; the body is the thing itself. It does
//! not tell who did it. The webhook's id is the same over retries; the event's id is also the same in the deliveries to
//! other subscriptions, so it is kept as a fact beside.
//!
//! Source: shopify-app-js `lib/types.ts`, `lib/utils/hmac-validator.ts`; shopify.dev "Webhooks".

use smol_str::format_smolstr;

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading, json,
        paths::{self, paths},
        times,
    },
    verify::scheme::{Encoding, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "shopify",
    title: "Shopify",
    schemes: &[
        Scheme::bare_sha256("x-shopify-hmac-sha256", Encoding::Base64),
        Scheme::bare_sha256("shopify-hmac-sha256", Encoding::Base64),
    ],
    event_header: Some("x-shopify-topic"),
    id_headers: &["x-shopify-webhook-id", "shopify-webhook-id"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

static PATHS: paths::Static = paths![
    "id",
    "admin_graphql_api_id",
    "token",
    "customer.id",
    "shop_id",
    "updated_at",
    "created_at"
];

fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let topic = header(post, "topic")?;
    let kind = topic.split_once('/').map_or(topic, |(kind, _)| kind);
    // What is asked about the data of a customer or a shop has no id of its own.
    let ids: &[&str] = match kind {
        "customers" => &["id", "admin_graphql_api_id", "customer.id"],
        "shop" => &["id", "admin_graphql_api_id", "shop_id"],
        _ => &["id", "admin_graphql_api_id", "token"],
    };
    let mut metadata = Metadata::default();
    metadata.add("shop_domain", header(post, "shop-domain"));
    metadata.add("event_id", header(post, "event-id"));
    metadata.add("api_version", header(post, "api-version"));
    let triggered_at = header(post, "triggered-at").and_then(times::parse_text);
    Some(Outcome::Event(Reading {
        event_type: topic.into(),
        timestamp: triggered_at.or_else(|| times::first(&fields, &["updated_at", "created_at"])),
        resource_type: kind.into(),
        resource_id: fields.first_id(ids).unwrap_or_default(),
        metadata,
        ..Reading::default()
    }))
}

/// Returns a header of a webhook, or else of an event, which has it without the `X-`.
fn header<'a>(post: &Post<'a>, name: &str) -> Option<&'a str> {
    post.header(&format_smolstr!("x-shopify-{name}"))
        .or_else(|| post.header(&format_smolstr!("shopify-{name}")))
}
