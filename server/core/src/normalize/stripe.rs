//! Stripe: snapshot events (`object: "event"`) and thin ones (`object: "v2.core.event"`).
//!
//! Stripe tells what happened to which object, but not who did it. As `actor` stands, in this order:
//! 1. the customer: `data.object` itself if it is one, else `data.object.customer` (an id, or an expanded object), of a
//!    thin event its `related_object` if that is a customer; `actor_type` = `customer`;
//! 2. the connected account in whose name the event is: `account`, of a thin event `context`; `actor_type` = `account`;
//! 3. the API request that caused it: `request` (an id in old versions, else `request.id`), of a thin event
//!    `reason.request.id`; `actor_type` = `request`;
//! 4. nobody: `actor` is empty, and there is no `actor_type`.
//!
//! The resource is `data.object` or `related_object`. Objects without an id (a balance, an upcoming invoice, a discount)
//! are named by their type and the customer or else the account they belong to; where there is neither, only the type
//! is told. An event's `object` is not insisted on: what has a `type` is an event.
//!
//! Sources: docs.stripe.com/api/events/object and /api/v2/core/events; stripe-go `v2core_event.go`.

use super::{
    Metadata, Reading,
    json::{self, Field, Fields},
    times,
};

const PATHS: [&str; 18] = [
    "id",
    "type",
    "created",
    "livemode",
    "api_version",
    "account",
    "context",
    "request",
    "request.id",
    "request.idempotency_key",
    "reason.request.id",
    "reason.request.idempotency_key",
    "data.object.id",
    "data.object.object",
    "data.object.customer",
    "data.object.customer.id",
    "related_object.id",
    "related_object.type",
];

/// Reads a body; `None` if it is no event.
pub(super) fn read(text: &str) -> Option<Reading> {
    let fields = json::read(text, &PATHS)?;
    let event_type = fields.text("type")?.to_owned();
    let customer = customer(&fields);
    let account = fields.id("account").or_else(|| fields.id("context"));
    let request = first_id(&fields, &["request.id", "request", "reason.request.id"]);

    let mut metadata = Metadata::default();
    let actors = [(&customer, "customer"), (&account, "account"), (&request, "request")];
    let actor = actors.into_iter().find_map(|(id, kind)| id.as_ref().map(|id| (id, kind)));
    metadata.add("actor_type", actor.map(|(_, kind)| kind));
    metadata.add("livemode", livemode(&fields));
    metadata.add("api_version", fields.id("api_version"));
    metadata.add("account", fields.id("account"));
    metadata.add("context", fields.id("context"));
    metadata.add("request_id", request.clone());
    let keys = ["request.idempotency_key", "reason.request.idempotency_key"];
    metadata.add("idempotency_key", first_id(&fields, &keys));

    let resource_type = first_id(&fields, &["data.object.object", "related_object.type"]);
    let resource_id = first_id(&fields, &["data.object.id", "related_object.id"]);
    Some(Reading {
        delivery_id: fields.id("id"),
        timestamp: times::parse(fields.at("created")),
        actor: actor.map(|(id, _)| id.clone()).unwrap_or_default(),
        resource_type: resource_type.unwrap_or_else(|| object_of(&event_type)),
        resource_id: resource_id.or(customer).or(account).unwrap_or_default(),
        metadata,
        event_type,
    })
}

fn customer(fields: &Fields<'_, '_>) -> Option<String> {
    let is_customer = |path| fields.text(path) == Some("customer");
    if is_customer("data.object.object") {
        return fields.id("data.object.id");
    }
    let thin = is_customer("related_object.type").then(|| fields.id("related_object.id"));
    first_id(fields, &["data.object.customer", "data.object.customer.id"])
        .or_else(|| thin.flatten())
}

fn first_id(fields: &Fields<'_, '_>, paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| fields.id(path))
}

fn livemode(fields: &Fields<'_, '_>) -> Option<String> {
    match fields.at("livemode") {
        Field::Bool(livemode) => Some(livemode.to_string()),
        Field::Absent | Field::Object | Field::Text(_) | Field::Number(_) => None,
    }
}

/// Returns what a type speaks of, for objects that do not say what they are: `account.application.deauthorized` speaks
/// of an `account.application`.
fn object_of(event_type: &str) -> String {
    event_type.rsplit_once('.').map_or("", |(object, _)| object).to_owned()
}
