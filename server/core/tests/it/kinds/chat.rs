//! Slack, Discord, Telegram, WhatsApp, Zoom, Twilio, Intercom, Zendesk.
//!
//! Sources: Slack docs, "Events API", "Handling interactions", "Slash commands", "app_rate_limited"; Discord docs,
//! "Webhook Events", "Receiving and responding to interactions"; Telegram Bot API, "Update"; WhatsApp Cloud API,
//! "messages webhook reference"; Zoom docs, "Meeting events"; Twilio docs, "TwiML voice request", "Status callbacks";
//! Intercom docs, "Webhook notification object"; Zendesk docs, "Webhook event types", "Triggers with webhooks".

use hookline_core::normalize::Reply;
use http::StatusCode;
use serde_json::Value;

use super::told::{Expected, Sent, Told, at, first, text, time};

pub(super) fn slack(sent: &Sent<'_>) -> Told {
    let empty = Reply::Empty(StatusCode::OK);
    match (sent.format, sent.body["type"].as_str().unwrap_or_default()) {
        // Slack asks now and then, unsigned, whether the certificate is right. All else in the form means nothing.
        ("form-fields", _) if sent.body["ssl_check"] == "1" => {
            Told::Answer { status: StatusCode::OK, content_type: None, body: String::new() }
        }
        // Text in the answer would be shown to the person.
        ("form-fields", _) => Told::Events(vec![slack_command(sent)], empty),
        ("form-payload", _) => Told::Events(vec![slack_interaction(sent)], empty),
        (_, "url_verification") => Told::Answer {
            status: StatusCode::OK,
            content_type: Some("text/plain"),
            body: sent.text(&["challenge"]),
        },
        (_, "event_callback") => Told::one(slack_event(sent)),
        (_, other) => Told::one(Expected {
            event_type: other.to_owned(),
            delivery_key: sent.hash(),
            actor_type: Some(String::new()),
            resource_type: "team".to_owned(),
            resource_id: sent.text(&["team_id"]),
            micros: sent.micros(&["minute_rate_limited"]),
            ..Expected::default()
        }),
    }
}

fn slack_command(sent: &Sent<'_>) -> Expected {
    Expected {
        event_type: format!("slash_command.{}", sent.text(&["command"]).trim_start_matches('/')),
        delivery_key: sent.first(&["trigger_id"]).unwrap_or_else(|| sent.hash()),
        actor: sent.text(&["user_id"]),
        actor_type: Some("user".to_owned()),
        resource_type: "channel".to_owned(),
        resource_id: sent.text(&["channel_id"]),
        micros: None,
    }
}

fn slack_interaction(sent: &Sent<'_>) -> Expected {
    let ids =
        ["actions.0.action_id", "actions.0.name", "action_id", "view.callback_id", "callback_id"];
    let name = sent.first(&ids).map_or_else(String::new, |id| format!(".{id}"));
    let channel = sent.first(&["channel.id", "container.channel_id"]);
    let ts = sent.first(&["container.message_ts", "message.ts", "message_ts"]);
    let (resource_type, resource_id) = match (sent.first(&["view.id"]), channel, ts) {
        (Some(view), _, _) => ("view", view),
        (None, Some(channel), Some(ts)) => ("message", format!("{channel}:{ts}")),
        (None, Some(channel), None) => ("channel", channel),
        (None, None, _) => ("user", sent.text(&["user.id"])),
    };
    Expected {
        event_type: format!("{}{name}", sent.text(&["type"])),
        delivery_key: sent.first(&["trigger_id"]).unwrap_or_else(|| sent.hash()),
        actor: sent.text(&["user.id"]),
        actor_type: Some("user".to_owned()),
        resource_type: resource_type.to_owned(),
        resource_id,
        micros: sent.micros(&["actions.0.action_ts", "action_ts"]),
    }
}

fn slack_event(sent: &Sent<'_>) -> Expected {
    let event = &sent.body["event"];
    let subtype = event["subtype"].as_str().map_or_else(String::new, |it| format!(".{it}"));
    let actor = first(
        event,
        &[
            "user",
            "user.id",
            "message.user",
            "previous_message.user",
            "bot_id",
            "message.bot_id",
            "user_id",
            "assistant_thread.user_id",
            "inviter",
        ],
    );
    let is_bot =
        first(event, &["bot_id", "message.bot_id"]).is_some() || event["subtype"] == "bot_message";
    let actor_type = if is_bot {
        "bot"
    } else if actor.is_some() {
        "user"
    } else {
        ""
    };
    // What happens to an app that is installed for a whole organization is in no team.
    let team = || sent.first(&["team_id"]).map(|id| ("team", id));
    let found = slack_resource(event).or_else(team);
    let (resource_type, resource_id) =
        found.unwrap_or_else(|| ("enterprise", sent.text(&["enterprise_id"])));
    Expected {
        event_type: format!("{}{subtype}", event["type"].as_str().unwrap()),
        delivery_key: sent.text(&["event_id"]),
        actor: actor.unwrap_or_default(),
        actor_type: Some(actor_type.to_owned()),
        resource_type: resource_type.to_owned(),
        resource_id,
        micros: sent.micros(&["event_time", "event.event_ts", "event.ts"]),
    }
}

/// A message is known by its channel and its `ts`, which is unique in the channel only.
fn slack_resource(event: &Value) -> Option<(&'static str, String)> {
    let message = |channel: &str, ts: &[&str]| {
        Some(("message", format!("{}:{}", first(event, &[channel])?, first(event, ts)?)))
    };
    let is_message = matches!(event["type"].as_str(), Some("message" | "app_mention"));
    let of_message = || {
        message("channel", &["message.ts", "deleted_ts", "previous_message.ts", "ts"])
            .filter(|_| is_message)
    };
    let thread = || {
        let thread = &event["assistant_thread"];
        let (channel, ts) = (first(thread, &["channel_id"])?, first(thread, &["thread_ts"])?);
        Some(("thread", format!("{channel}:{ts}")))
    };
    let one = |kind, paths: &[&str]| first(event, paths).map(|id| (kind, id));
    message("item.channel", &["item.ts"])
        .or_else(of_message)
        .or_else(|| one("channel", &["channel.id"]))
        .or_else(|| one("file", &["file_id", "file.id"]))
        .or_else(thread)
        .or_else(|| one("channel", &["channel", "channel_id"]))
        .or_else(|| one("function_execution", &["function_execution_id"]))
        .or_else(|| one("user", &["user", "user.id"]))
        .or_else(|| one("usergroup", &["subteam.id"]))
}

pub(super) fn discord(sent: &Sent<'_>) -> Told {
    if sent.body["type"] == 0 {
        // Without a body, but "you must provide a valid `Content-Type` when responding to `PING`s".
        return Told::Answer {
            status: StatusCode::NO_CONTENT,
            content_type: Some(""),
            body: String::new(),
        };
    }
    assert!(sent.body["event"].is_object(), "the corpus has no interactions of Discord");
    let event_type = sent.text(&["event.type"]);
    let family = event_type.split('_').next().unwrap().to_lowercase();
    let (resource_type, id) = match family.as_str() {
        "application" if sent.is_there("event.data.guild.id") => ("guild", "event.data.guild.id"),
        "application" => ("user", "event.data.user.id"),
        other => (other, "event.data.id"),
    };
    let expected = Expected {
        delivery_key: sent.hash(),
        actor: sent.text(&["event.data.user.id", "event.data.user_id", "event.data.author.id"]),
        resource_type: resource_type.to_owned(),
        resource_id: sent.text(&[id]),
        micros: sent.micros(&["event.timestamp"]),
        event_type,
        actor_type: Some("user".to_owned()),
    };
    Told::Events(vec![expected], Reply::Empty(StatusCode::NO_CONTENT))
}

pub(super) fn telegram(sent: &Sent<'_>) -> Told {
    let members = sent.body.as_object().unwrap();
    let (name, update) = members.iter().find(|(name, _)| *name != "update_id").unwrap();
    let message = if name == "callback_query" { &update["message"] } else { update };
    let in_chat = first(message, &["chat.id"]).zip(first(message, &["message_id"]));
    let (resource_type, resource_id) = match (in_chat, name.as_str()) {
        (Some((chat, id)), _) => ("message", format!("{chat}:{id}")),
        (None, "inline_query") => ("inline_query", first(update, &["id"]).unwrap()),
        (None, _) => ("chat", first(update, &["chat.id"]).unwrap_or_default()),
    };
    let is_bot = update["from"]["is_bot"].as_bool() == Some(true);
    Told::one(Expected {
        event_type: name.clone(),
        delivery_key: sent.text(&["update_id"]),
        actor: first(update, &["from.id", "sender_chat.id", "user.id"]).unwrap_or_default(),
        actor_type: Some(if is_bot { "bot" } else { "user" }.to_owned()),
        resource_type: resource_type.to_owned(),
        resource_id,
        // The date in a callback query is that of the message with the button, not of the click.
        micros: time(update, &["edit_date", "date"]),
    })
}

/// One event for each message and each status, in the order of the body.
pub(super) fn whatsapp(sent: &Sent<'_>) -> Told {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut events = Vec::new();
    for entry in list(sent.body, "entry") {
        for change in list(&entry, "changes") {
            let value = &change["value"];
            for message in list(value, "messages") {
                let word = |name: &str| text(&message[name]).unwrap();
                events.push(Expected {
                    event_type: format!("messages.{}", word("type")),
                    delivery_key: word("id"),
                    actor: word("from"),
                    resource_type: "message".to_owned(),
                    resource_id: word("id"),
                    micros: time(&message, &["timestamp"]),
                    actor_type: None,
                });
            }
            for status in list(value, "statuses") {
                let word = |name: &str| text(&status[name]).unwrap();
                events.push(Expected {
                    event_type: format!("statuses.{}", word("status")),
                    delivery_key: format!("{}:{}", word("id"), word("status")),
                    // Whom the message went to is not who did anything.
                    actor: String::new(),
                    resource_type: "message".to_owned(),
                    resource_id: word("id"),
                    micros: time(&status, &["timestamp"]),
                    actor_type: None,
                });
            }
        }
    }
    Told::Events(events, Reply::Ids)
}

pub(super) fn zoom(sent: &Sent<'_>) -> Told {
    let event_type = sent.text(&["event"]);
    let object = event_type.split('.').next().unwrap().to_owned();
    Told::one(Expected {
        event_type,
        delivery_key: sent.hash(),
        actor: sent.text(&[
            "payload.operator_id",
            "payload.operator",
            "payload.object.participant.id",
            "payload.object.participant.user_id",
            "payload.object.host_id",
        ]),
        actor_type: None,
        resource_type: object,
        resource_id: sent.text(&["payload.object.id", "payload.object.uuid"]),
        micros: sent.micros(&["event_ts"]),
    })
}

pub(super) fn twilio(sent: &Sent<'_>) -> Told {
    let message = sent.first(&["MessageSid", "SmsSid"]);
    let (family, sid, status) = match message {
        Some(sid) => ("message", sid, sent.text(&["MessageStatus", "SmsStatus"])),
        None => ("call", sent.text(&["CallSid"]), sent.text(&["CallStatus"])),
    };
    let id = match sent.first(&["SequenceNumber"]) {
        Some(number) => format!("{sid}:{status}:{number}"),
        None if family == "message" => format!("{sid}:{status}"),
        // Twilio asks what to do with a call many times while its status is one.
        // The same question may be asked twice.
        None => String::new(),
    };
    let expected = Expected {
        event_type: format!("{family}.{status}"),
        delivery_key: sent.header("i-twilio-idempotency-token").unwrap_or(id),
        actor: sent.text(&["From"]),
        actor_type: None,
        resource_type: family.to_owned(),
        resource_id: sid,
        micros: sent.micros(&["Timestamp"]),
    };
    // Twilio takes the answer for TwiML: JSON would be an error.
    Told::Events(vec![expected], Reply::Empty(StatusCode::NO_CONTENT))
}

pub(super) fn intercom(sent: &Sent<'_>) -> Told {
    let item = at(sent.body, "data.item");
    // Who wrote the part that the notification is about comes before who began the conversation.
    let person = [
        "conversation_parts.conversation_parts.0.author",
        "author",
        "source.author",
        "contact",
        "user",
    ]
    .iter()
    .map(|path| at(item, path))
    .find(|person| text(&person["id"]).is_some());
    let is_person = matches!(item["type"].as_str(), Some("contact" | "user" | "lead"));
    let person = person.or_else(|| is_person.then_some(item)).unwrap_or(&Value::Null);
    Told::one(Expected {
        event_type: sent.text(&["topic"]),
        // A ping has none.
        delivery_key: sent.first(&["id"]).unwrap_or_else(|| sent.hash()),
        actor: text(&person["id"]).unwrap_or_default(),
        actor_type: Some(text(&person["type"]).unwrap_or_default()),
        resource_type: text(&item["type"]).unwrap_or_default(),
        resource_id: text(&item["id"]).unwrap_or_default(),
        micros: sent.micros(&["created_at"]),
    })
}

pub(super) fn zendesk(sent: &Sent<'_>) -> Told {
    // A body that an administrator wrote for a trigger: its `type` is the ticket's (question, incident, ...).
    let type_of_event = sent.text(&["type"]);
    assert!(!type_of_event.starts_with("zen:"), "the corpus has no event subscription of Zendesk");
    Told::one(Expected {
        event_type: "ticket".to_owned(),
        delivery_key: sent.header_or_hash(&["x-zendesk-webhook-invocation-id"]),
        actor: sent.text(&["requester_email", "requester_name"]),
        actor_type: Some("requester".to_owned()),
        resource_type: "ticket".to_owned(),
        resource_id: sent.text(&["ticket_id", "ticket.id"]),
        micros: sent.micros(&["updated_at", "created_at"]),
    })
}
