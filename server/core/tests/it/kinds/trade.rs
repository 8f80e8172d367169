//! SendGrid, HubSpot, PagerDuty, Square, Paddle, Typeform, Calendly, Notion, and those who sign as Standard Webhooks say:
//! Clerk, Resend, OpenAI, Replicate, Brex, Recall.ai, Anthropic.
//!
//! Sources: Twilio docs, "Event Webhook reference" (SendGrid); HubSpot docs, "Webhooks API"; PagerDuty docs, "V3 webhooks";
//! Square docs, "Webhook events"; Paddle docs, "Respond to webhooks"; Typeform docs, "Webhook payload"; Calendly docs,
//! "Webhook payload"; Notion docs, "Webhooks: events and delivery"; Clerk, Resend, OpenAI, Replicate, Brex, Recall.ai and
//! Anthropic docs, "Webhooks"; the specification of Standard Webhooks: `webhook-id` is kept when a message is sent again.

use hookline_core::normalize::Reply;

use super::told::{Expected, Sent, Told, first, time};

pub(super) fn sendgrid(sent: &Sent<'_>) -> Told {
    let items = sent.body.as_array().unwrap().iter();
    let expected = items.map(|item| Expected {
        event_type: first(item, &["event"]).unwrap(),
        delivery_key: first(item, &["sg_event_id"]).unwrap(),
        actor: first(item, &["email"]).unwrap(),
        actor_type: None,
        resource_type: "message".to_owned(),
        resource_id: first(item, &["sg_message_id"]).unwrap(),
        micros: time(item, &["timestamp"]),
    });
    Told::Events(expected.collect(), Reply::Ids)
}

pub(super) fn hubspot(sent: &Sent<'_>) -> Told {
    let items = sent.body.as_array().unwrap().iter();
    let expected = items.map(|item| {
        let parts = [
            "portalId",
            "subscriptionId",
            "eventId",
            "objectId",
            "fromObjectId",
            "toObjectId",
            "propertyName",
            "occurredAt",
        ];
        let parts = parts.map(|part| first(item, &[part]).unwrap_or_default());
        let event_type = first(item, &["subscriptionType"]).unwrap();
        let source = first(item, &["sourceId"]).unwrap_or_default();
        Expected {
            delivery_key: parts.join("-"),
            actor: source.strip_prefix("userId:").unwrap_or_default().to_owned(),
            actor_type: None,
            resource_type: before_first_dot(&event_type),
            resource_id: first(item, &["objectId"]).unwrap(),
            micros: time(item, &["occurredAt"]),
            event_type,
        }
    });
    Told::Events(expected.collect(), Reply::Ids)
}

pub(super) fn pagerduty(sent: &Sent<'_>) -> Told {
    Told::one(Expected {
        event_type: sent.text(&["event.event_type"]),
        delivery_key: sent.text(&["event.id"]),
        actor: sent.text(&["event.agent.id"]),
        actor_type: None,
        resource_type: sent.text(&["event.resource_type"]),
        resource_id: sent.text(&["event.data.id"]),
        micros: sent.micros(&["event.occurred_at"]),
    })
}

pub(super) fn square(sent: &Sent<'_>) -> Told {
    Told::one(Expected {
        event_type: sent.text(&["type"]),
        delivery_key: sent.text(&["event_id"]),
        actor: sent.text(&["merchant_id"]),
        actor_type: Some("merchant".to_owned()),
        resource_type: sent.text(&["data.type"]),
        resource_id: sent.text(&["data.id"]),
        micros: sent.micros(&["created_at"]),
    })
}

pub(super) fn paddle(sent: &Sent<'_>) -> Told {
    let event_type = sent.text(&["event_type"]);
    let family = before_first_dot(&event_type);
    let customer = if family == "customer" { "data.id" } else { "data.customer_id" };
    Told::one(Expected {
        event_type,
        delivery_key: sent.text(&["event_id"]),
        actor: sent.text(&[customer]),
        actor_type: Some("customer".to_owned()),
        resource_type: family,
        resource_id: sent.text(&["data.id"]),
        micros: sent.micros(&["occurred_at"]),
    })
}

pub(super) fn typeform(sent: &Sent<'_>) -> Told {
    Told::one(Expected {
        event_type: sent.text(&["event_type"]),
        delivery_key: sent.text(&["event_id"]),
        resource_type: "form".to_owned(),
        resource_id: sent.text(&["form_response.form_id"]),
        micros: sent.micros(&["form_response.submitted_at"]),
        ..Expected::default()
    })
}

pub(super) fn calendly(sent: &Sent<'_>) -> Told {
    // Either side may cancel; the host is known by name.
    let by_host = sent.text(&["payload.cancellation.canceler_type"]) == "host";
    let who = if by_host { "payload.cancellation.canceled_by" } else { "payload.email" };
    Told::one(Expected {
        event_type: sent.text(&["event"]),
        delivery_key: sent.hash(),
        actor: sent.text(&[who]),
        actor_type: Some(if by_host { "host" } else { "invitee" }.to_owned()),
        resource_type: "invitee".to_owned(),
        resource_id: sent.text(&["payload.uri"]),
        micros: sent.micros(&["created_at"]),
    })
}

pub(super) fn notion(sent: &Sent<'_>) -> Told {
    let event_type = sent.text(&["type"]);
    let page = sent.first(&["data.page_id"]).filter(|_| event_type.starts_with("comment."));
    let entity = || (sent.text(&["entity.type"]), sent.text(&["entity.id"]));
    let (resource_type, resource_id) = page.map_or_else(entity, |page| ("page".to_owned(), page));
    Told::one(Expected {
        event_type,
        delivery_key: sent.text(&["id"]),
        actor: sent.text(&["authors.0.id"]),
        actor_type: Some(sent.text(&["authors.0.type"])),
        resource_type,
        resource_id,
        micros: sent.micros(&["timestamp"]),
    })
}

/// Those who sign as Standard Webhooks say; none of them tells who did it.
pub(super) fn standard(kind: &str, sent: &Sent<'_>) -> Told {
    let of = |event_type: String, family: String, id: &[&str], times: &[&str]| Expected {
        event_type,
        delivery_key: sent.header("webhook-id").unwrap(),
        resource_type: family,
        resource_id: sent.text(id),
        micros: sent.micros(times),
        ..Expected::default()
    };
    let word = |path: &str| sent.text(&[path]);
    Told::one(match kind {
        "clerk" => {
            let times = ["timestamp", "data.updated_at"];
            of(word("type"), word("data.object"), &["data.id"], &times)
        }
        "resend" => {
            let event_type = word("type");
            let family = before_first_dot(&event_type);
            let id = if family == "email" { "data.email_id" } else { "data.id" };
            of(event_type, family, &[id], &["created_at"])
        }
        "openai" => {
            let event_type = word("type");
            let family = before_last(&event_type, '.');
            // An incoming call has an id of another name.
            of(event_type, family, &["data.id", "data.call_id"], &["created_at"])
        }
        "replicate" => {
            let times = ["completed_at", "started_at", "created_at"];
            let event_type = format!("prediction.{}", word("status"));
            of(event_type, "prediction".to_owned(), &["id"], &times)
        }
        "brex" => {
            let event_type = word("event_type");
            let family = before_last(&event_type, '_').to_lowercase();
            let ids = ["transfer_id", "expense_id", "referral_id", "application_id", "user_id"];
            of(event_type, family, &ids, &[])
        }
        "recall-ai" => {
            of(word("event"), "bot".to_owned(), &["data.bot.id"], &["data.data.updated_at"])
        }
        "anthropic" => {
            let event_type = word("data.type");
            let family = before_last(&event_type, '.');
            of(event_type, family, &["data.id"], &["created_at"])
        }
        _ => panic!("no expectation is written for `{kind}`"),
    })
}

fn before_first_dot(text: &str) -> String {
    text.split('.').next().unwrap().to_owned()
}

fn before_last(text: &str, separator: char) -> String {
    text.rsplit_once(separator).unwrap().0.to_owned()
}
