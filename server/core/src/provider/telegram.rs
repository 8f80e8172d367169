//! Telegram: updates of a bot.
//!
//! An update is named by its one member beside `update_id`, and that member is the thing. Whatever has a chat and a
//! message's id is about that message, `<chat>:<message>`: a message's id counts within its chat. What a button did
//! (`callback_query`) belongs to the message with the button, and has no time of its own.
//!
//! Source: core.telegram.org/bots/api, "Update" and "setWebhook".

use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Field, Fields, Member},
        paths::{self, paths},
        times,
    },
    verify::scheme::Scheme,
};

pub(super) const PROVIDER: Provider = Provider {
    name: "telegram",
    title: "Telegram",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// `X-Telegram-Bot-Api-Secret-Token`, the `secret_token` that was given to `setWebhook`. Nothing is signed.
const SCHEME: Scheme = Scheme::token("x-telegram-bot-api-secret-token");

/// Paths within the update's member, `*`.
static PATHS: paths::Static = paths![
    "*",
    "*.id",
    "*.result_id",
    "*.poll_id",
    "*.message_id",
    "*.chat.id",
    "*.message.message_id",
    "*.message.chat.id",
    "*.date",
    "*.edit_date",
    "*.remove_date",
    "*.boost.add_date",
    "*.from.id",
    "*.from.is_bot",
    "*.from.username",
    "*.user.id",
    "*.user.is_bot",
    "*.user.username",
    "*.sender_chat.id",
    "*.actor_chat.id",
    "*.voter_chat.id",
    "*.boost.source.user.id",
    "*.boost.source.user.is_bot",
];
const TIMES: [&str; 4] = ["*.edit_date", "*.date", "*.boost.add_date", "*.remove_date"];
/// Who acts: where the id stands, and where it says whether that is a bot; a chat is none.
const ACTORS: [(&str, Option<&str>); 6] = [
    ("*.from.id", Some("*.from.is_bot")),
    ("*.sender_chat.id", None),
    ("*.user.id", Some("*.user.is_bot")),
    ("*.actor_chat.id", None),
    ("*.voter_chat.id", None),
    ("*.boost.source.user.id", Some("*.boost.source.user.is_bot")),
];

/// Reads a body; `None` if it is no update.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let Member { name, fields, beside } = json::read_member(post.text()?, "update_id", &PATHS)?;
    let update_id = SmolStr::new(beside.id()?);
    let mut metadata = Metadata::default();
    metadata.add("chat_id", fields.first_id(&["*.chat.id", "*.message.chat.id"]));
    metadata.add("username", fields.first_id(&["*.from.username", "*.user.username"]));
    let actor = ACTORS.iter().find_map(|&(path, bot)| {
        let kind = match bot.map(|path| fields.at(path)) {
            None => "chat",
            Some(Field::Bool(true)) => "bot",
            Some(_) => "user",
        };
        fields.id(path).map(|id| (id, kind))
    });
    metadata.add("actor_type", actor.as_ref().map(|(_, kind)| *kind));
    let (resource_type, resource_id) = resource(&name, &fields).unwrap_or_default();
    Some(Outcome::Event(Reading {
        delivery_id: Some(update_id),
        timestamp: times::first(&fields, &TIMES),
        actor: actor.map(|(id, _)| id).unwrap_or_default(),
        resource_type,
        resource_id,
        metadata,
        event_type: name.into(),
        ..Reading::default()
    }))
}

fn resource(member: &str, fields: &Fields<'_, '_>) -> Option<(SmolStr, SmolStr)> {
    let message = |chat, message| {
        let id = format_smolstr!("{}:{}", fields.id(chat)?, fields.id(message)?);
        Some(("message".into(), id))
    };
    let thing = |kind: &str, path| fields.id(path).map(|id| (kind.into(), id));
    message("*.chat.id", "*.message_id")
        .or_else(|| message("*.message.chat.id", "*.message.message_id"))
        .or_else(|| thing("chat", "*.chat.id"))
        .or_else(|| thing("poll", "*.poll_id"))
        .or_else(|| thing(member, "*.id"))
        .or_else(|| thing(member, "*.result_id"))
}
