//! Discord: webhook events of an application, and interactions (commands, buttons, forms).
//!
//! Both come signed alike, each to an address of its own or to the same, and both have a number as `type`, by which
//! they do not mean the same: a body with an object as its member `event` is a webhook event. Discord now and then sends
//! a wrong signature on purpose, and takes the address for broken unless that is refused.
//!
//! An interaction has to be answered within three seconds with what shall happen next: here that an answer will follow,
//! which whoever handles the event then sends to Discord, within 15 minutes.
//!
//! Source: discord-interactions-js `src/index.ts`; discord-api-docs "Webhook events", "Receiving and responding".

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use smol_str::{SmolStr, StrExt as _, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Answer, Metadata, Outcome, Post, Reading, Reply,
        json::{self, Field, Fields},
        paths::{self, paths},
        times,
    },
    time::Timestamp,
    verify::scheme::{
        Encoding, KeyForm, Part, Place, Prefix, Primitive, Proof, Scheme, SignedTime, TimePlace,
        TimeUnit,
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "discord",
    title: "Discord",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::signed("a signed PING, of events and of interactions"),
    read: Read::Code(read),
};

/// `X-Signature-Ed25519: <hex>` over `<time as written><raw body>`; the secret is the application's public key in
/// hexadecimal. Discord's own code has no limit of age.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-signature-ed25519")),
    proofs: Cow::Borrowed(&[Proof {
        label: Cow::Borrowed(""),
        primitive: Primitive::Ed25519,
        key: KeyForm { prefix: Prefix::Any, encoding: Encoding::Hex },
    }]),
    signed: Cow::Borrowed(&[Part::Time, Part::Body]),
    time: Some(SignedTime {
        place: TimePlace::Header(Cow::Borrowed("x-signature-timestamp")),
        unit: TimeUnit::Seconds,
        past: None,
        future: true,
    }),
    ..Scheme::BASE
};

/// The people of an event and of an interaction; who is a bot says so beside the id.
const EVENT_ACTORS: [[&str; 2]; 3] = [
    ["event.data.user.id", "event.data.user.bot"],
    ["event.data.user_id", "event.data.user.bot"],
    ["event.data.author.id", "event.data.author.bot"],
];
const INTERACTION_ACTORS: [[&str; 2]; 2] =
    [["member.user.id", "member.user.bot"], ["user.id", "user.bot"]];

static PATHS: paths::Static = paths![
    "type",
    "id",
    "application_id",
    "event",
    "event.type",
    "event.timestamp",
    "event.data.id",
    "event.data.guild.id",
    "event.data.user.id",
    "event.data.user.bot",
    "event.data.user_id",
    "event.data.author.id",
    "event.data.author.bot",
    "data.name",
    "data.custom_id",
    "member.user.id",
    "member.user.bot",
    "user.id",
    "user.bot",
    "message.id",
    "channel_id",
    "channel.id",
    "guild_id",
];

fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    if *fields.at("event") == Field::Object {
        return event(&fields).map(Outcome::Event);
    }
    match fields.id("type")?.as_str() {
        "0" => {
            let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let empty = Answer::empty(StatusCode::NO_CONTENT);
            Some(Outcome::Answer(Answer { headers: vec![json], ..empty }))
        }
        "1" => Some(Outcome::Answer(Answer::json(&json!({ "type": 1 })))),
        number => Some(Outcome::Event(interaction(number, &fields))),
    }
}

fn event(fields: &Fields<'_, '_>) -> Option<Reading> {
    let event_type = fields.text("event.type")?;
    let kind = event_type.split_once('_').map_or(event_type, |(kind, _)| kind);
    let first = |kind: &str, id: &str| fields.id(id).map(|id| (kind.into(), id));
    let resource = if kind == "APPLICATION" {
        first("guild", "event.data.guild.id").or_else(|| first("user", "event.data.user.id"))
    } else {
        first(&kind.to_ascii_lowercase_smolstr(), "event.data.id")
    };
    let (resource_type, resource_id) = resource.unwrap_or_default();
    let (actor, mut metadata) = actor(&EVENT_ACTORS, fields);
    metadata.add("application_id", fields.id("application_id"));
    Some(Reading {
        event_type: event_type.into(),
        timestamp: times::parse(fields.at("event.timestamp")),
        actor,
        resource_type,
        resource_id,
        metadata,
        reply: Reply::Empty(StatusCode::NO_CONTENT),
        ..Reading::default()
    })
}

fn interaction(number: &str, fields: &Fields<'_, '_>) -> Reading {
    const DEFERRED: Reply = Reply::Json(r#"{"type":5}"#);
    let (kind, reply) = match number {
        "2" => ("application_command", DEFERRED),
        "3" => ("message_component", Reply::Json(r#"{"type":6}"#)),
        "4" => ("autocomplete", Reply::Json(r#"{"type":8,"data":{"choices":[]}}"#)),
        "5" => ("modal_submit", DEFERRED),
        _ => (number, Reply::Empty(StatusCode::ACCEPTED)),
    };
    let channel = fields.first_id(&["channel_id", "channel.id"]);
    let thing = |kind: &str, id: Option<SmolStr>| id.map(|id| (kind.into(), id));
    let (resource_type, resource_id) = thing("message", fields.id("message.id"))
        .or_else(|| thing("channel", channel.clone()))
        .or_else(|| thing("guild", fields.id("guild_id")))
        .unwrap_or_default();
    let (actor, mut metadata) = actor(&INTERACTION_ACTORS, fields);
    metadata.add("application_id", fields.id("application_id"));
    metadata.add("guild_id", fields.id("guild_id"));
    metadata.add("channel_id", channel);
    Reading {
        event_type: match fields.first_id(&["data.name", "data.custom_id"]) {
            Some(name) => format_smolstr!("interaction.{kind}.{name}"),
            None => format_smolstr!("interaction.{kind}"),
        },
        delivery_id: fields.id("id"),
        timestamp: fields.id("id").and_then(|id| time_of_snowflake(&id)),
        actor,
        resource_type,
        resource_id,
        metadata,
        reply,
        ..Reading::default()
    }
}

/// Returns who did it, and as a fact whether that is a bot.
fn actor(places: &[[&str; 2]], fields: &Fields<'_, '_>) -> (SmolStr, Metadata) {
    let found = places.iter().find_map(|&[id, bot]| fields.id(id).map(|id| (id, bot)));
    let mut metadata = Metadata::default();
    let kind = |bot| if *fields.at(bot) == Field::Bool(true) { "bot" } else { "user" };
    metadata.add("actor_type", found.as_ref().map(|&(_, bot)| kind(bot)));
    (found.map(|(id, _)| id).unwrap_or_default(), metadata)
}

/// Returns when an id was made: above its lowest 22 bits are the milliseconds since 2015.
fn time_of_snowflake(id: &str) -> Option<Timestamp> {
    const EPOCH_MILLIS: i64 = 1_420_070_400_000;
    let id: u64 = id.parse().ok()?;
    Timestamp::from_millis(i64::try_from(id >> 22).ok()?.checked_add(EPOCH_MILLIS)?)
}
