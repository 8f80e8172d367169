//! Slack: the Events API, interactivity (a form whose field `payload` is JSON), and slash commands (forms).
//!
//! An event of the Events API is the member `event`. Its `user` is an id, or an object where the user is what has
//! changed; what a bot did has a `bot_id`, too. The first of these that is there is the resource:
//!
//! | what is there | `resource_type` | `resource_id` |
//! |---|---|---|
//! | `event.item` with `channel` and `ts`: reactions, pins | `message` | `<channel>:<ts>` |
//! | a message or mention, with `channel` and the `ts` of the message that was written, changed or deleted | `message` | `<channel>:<ts>` |
//! | `event.channel` as an object | `channel` | its `id` |
//! | `event.file_id`, `event.file` | `file` | the id |
//! | `event.assistant_thread` | `thread` | `<channel>:<thread_ts>` |
//! | `event.channel` as an id, `event.channel_id` | `channel` | the id |
//! | `event.function_execution_id` | `function_execution` | the id |
//! | `event.user` | `user` | the id |
//! | `event.subteam`, `event.subteam_id` | `usergroup` | the id |
//! | `team_id` | `team` | the id |
//! | `enterprise_id`, alone where an app is installed in a whole organization | `enterprise` | the id |
//!
//! An interaction is about its view, else its message, else its channel, else the user; a command about its channel.
//! What people do in Slack is answered without a body: they would see one. `token` and `response_url` are credentials,
//! which stay in the payload only.
//!
//! Sources: python-slack-sdk `slack_sdk/signature`, for the signature; bolt-js `HTTPModuleFunctions.ts`, for handshakes
//! and answers; bodies in the tests of bolt-python, java-slack-sdk and slack-go.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Answer, Form, Metadata, Outcome, Post, Reading, Reply, has_field,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    source::Source,
    verify::{
        Request, VerifyError,
        scheme::{Part, Place, Proof, Scheme, SignedTime, TimePlace},
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "slack",
    title: "Slack",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake {
        what: "url_verification (signed) and ssl_check (unsigned)",
        methods: &[],
        has_token: false,
        probe: ssl_check,
    },
    read: Read::Code(read),
};

/// `X-Slack-Signature: v0=<hex>` over `v0:<X-Slack-Request-Timestamp>:<raw body>`, of a form the form's bytes.
const SCHEME: Scheme = scheme("x-slack-signature", "x-slack-request-timestamp");

/// Describes Slack's way to sign, with these headers.
pub(super) const fn scheme(signature: &'static str, timestamp: &'static str) -> Scheme {
    const PROOFS: &[Proof] = &[Proof::sha256("v0")];
    Scheme {
        place: Place::Header(Cow::Borrowed(signature)),
        field: Some('='),
        proofs: Cow::Borrowed(PROOFS),
        signed: Cow::Borrowed(&[
            Part::Text(Cow::Borrowed("v0:")),
            Part::Time,
            Part::Text(Cow::Borrowed(":")),
            Part::Body,
        ]),
        time: Some(SignedTime::within(
            TimePlace::Header(Cow::Borrowed(timestamp)),
            Duration::from_secs(300),
        )),
        ..Scheme::BASE
    }
}

/// Answers the check of the certificate: a form with `ssl_check=1`, which Slack does not sign. Nothing else of it is
/// looked at, and it never is an event.
fn ssl_check(_: &Source, request: Request<'_>) -> Option<Result<Answer, VerifyError>> {
    has_field(request, b"ssl_check=1").then(|| Ok(Answer::empty(StatusCode::OK)))
}

/// Reads a body; `None` if it does not say what it is.
fn read(post: &Post<'_>) -> Option<Outcome> {
    match post.form {
        Form::No => read_event(post),
        Form::Payload => read_interaction(post).map(Outcome::Event),
        Form::Fields => read_command(post).map(Outcome::Event),
    }
}

static EVENT_PATHS: paths::Static = paths![
    "type",
    "challenge",
    "event_id",
    "event_time",
    "team_id",
    "enterprise_id",
    "api_app_id",
    "minute_rate_limited",
    "event.type",
    "event.subtype",
    "event.user",
    "event.user.id",
    "event.user_id",
    "event.inviter",
    "event.bot_id",
    "event.channel",
    "event.channel.id",
    "event.channel_id",
    "event.ts",
    "event.event_ts",
    "event.thread_ts",
    "event.deleted_ts",
    "event.message.user",
    "event.message.bot_id",
    "event.message.ts",
    "event.previous_message.user",
    "event.previous_message.ts",
    "event.item.channel",
    "event.item.ts",
    "event.file_id",
    "event.file.id",
    "event.assistant_thread.user_id",
    "event.assistant_thread.channel_id",
    "event.assistant_thread.thread_ts",
    "event.function_execution_id",
    "event.subteam.id",
    "event.subteam_id",
];

const EVENT_ACTORS: [&str; 9] = [
    "event.user",
    "event.user.id",
    "event.message.user",
    "event.previous_message.user",
    "event.bot_id",
    "event.message.bot_id",
    "event.user_id",
    "event.assistant_thread.user_id",
    "event.inviter",
];

fn read_event(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &EVENT_PATHS)?;
    if let (Some("url_verification"), Some(challenge)) =
        (fields.text("type"), fields.text("challenge"))
    {
        return Some(Outcome::Answer(Answer::text(challenge.into())));
    }
    let subtype = fields.text("event.subtype");
    let event_type = match (fields.id("event.type"), subtype) {
        (Some(of_event), Some(subtype)) => format_smolstr!("{of_event}.{subtype}"),
        (Some(of_event), None) => of_event,
        (None, _) => fields.id("type")?,
    };
    let bot_id = fields.first_id(&["event.bot_id", "event.message.bot_id"]);
    let actor = fields.first_id(&EVENT_ACTORS);
    let is_bot = bot_id.is_some() || subtype == Some("bot_message");
    let actor_type = if is_bot { Some("bot") } else { actor.as_ref().map(|_| "user") };

    let mut metadata = Metadata::default();
    metadata.add("actor_type", actor_type);
    metadata.add("team_id", fields.id("team_id"));
    metadata.add("app_id", fields.id("api_app_id"));
    metadata.add("bot_id", bot_id);
    metadata.add("channel", channel(&fields));
    metadata.add("thread_ts", fields.id("event.thread_ts"));
    metadata.add("retry_num", post.header("x-slack-retry-num"));
    metadata.add("retry_reason", post.header("x-slack-retry-reason"));

    let times = ["event_time", "event.event_ts", "event.ts", "minute_rate_limited"];
    let (resource_type, resource_id) = event_resource(&fields);
    Some(Outcome::Event(Reading {
        event_type,
        delivery_id: fields.id("event_id"),
        timestamp: times::first(&fields, &times),
        actor: actor.unwrap_or_default(),
        resource_type: resource_type.into(),
        resource_id,
        metadata,
        ..Reading::default()
    }))
}

fn channel(fields: &Fields<'_, '_>) -> Option<SmolStr> {
    fields.first_id(&["event.channel", "event.channel.id", "event.channel_id"])
}

fn event_resource(fields: &Fields<'_, '_>) -> (&'static str, SmolStr) {
    let named = |kind, paths: &[&str]| fields.first_id(paths).map(|id| (kind, id));
    let in_channel =
        |kind, channel, ts: &[&str]| message_id(channel, fields.first_id(ts)).map(|id| (kind, id));
    let item = || in_channel("message", fields.id("event.item.channel"), &["event.item.ts"]);
    let message = || {
        let is_message = matches!(fields.text("event.type"), Some("message" | "app_mention"));
        let ts = ["event.message.ts", "event.deleted_ts", "event.previous_message.ts", "event.ts"];
        is_message.then(|| in_channel("message", channel(fields), &ts)).flatten()
    };
    let thread = || {
        let channel = fields.id("event.assistant_thread.channel_id");
        in_channel("thread", channel, &["event.assistant_thread.thread_ts"])
    };
    item()
        .or_else(message)
        .or_else(|| named("channel", &["event.channel.id"]))
        .or_else(|| named("file", &["event.file_id", "event.file.id"]))
        .or_else(thread)
        .or_else(|| named("channel", &["event.channel", "event.channel_id"]))
        .or_else(|| named("function_execution", &["event.function_execution_id"]))
        .or_else(|| named("user", &["event.user", "event.user.id"]))
        .or_else(|| named("usergroup", &["event.subteam.id", "event.subteam_id"]))
        .or_else(|| named("team", &["team_id"]))
        .or_else(|| named("enterprise", &["enterprise_id"]))
        .unwrap_or_default()
}

/// Returns the name of a message: its `ts` is unique within its channel only.
fn message_id(channel: Option<SmolStr>, ts: Option<SmolStr>) -> Option<SmolStr> {
    Some(format_smolstr!("{}:{}", channel?, ts?))
}

static INTERACTION_PATHS: paths::Static = paths![
    "type",
    "trigger_id",
    "callback_id",
    "api_app_id",
    "action_id",
    "action_ts",
    "actions.0.action_id",
    "actions.0.name",
    "actions.0.action_ts",
    "view.id",
    "view.callback_id",
    "user.id",
    "user.team_id",
    "team.id",
    "channel.id",
    "container.channel_id",
    "container.message_ts",
    "message.ts",
    "message_ts",
];

fn read_interaction(post: &Post<'_>) -> Option<Reading> {
    let fields = json::read(post.text()?, &INTERACTION_PATHS)?;
    let kind = fields.id("type")?;
    let id = fields.first_id(&[
        "actions.0.action_id",
        "actions.0.name",
        "action_id",
        "view.callback_id",
        "callback_id",
    ]);
    let user = fields.id("user.id");

    let mut metadata = Metadata::default();
    metadata.add("actor_type", user.as_ref().map(|_| "user"));
    metadata.add("team_id", fields.first_id(&["team.id", "user.team_id"]));
    metadata.add("app_id", fields.id("api_app_id"));
    metadata.add("callback_id", fields.first_id(&["view.callback_id", "callback_id"]));

    let (resource_type, resource_id) = interaction_resource(&fields);
    Some(Reading {
        event_type: match id {
            Some(id) => format_smolstr!("{kind}.{id}"),
            None => kind,
        },
        delivery_id: fields.id("trigger_id"),
        timestamp: times::first(&fields, &["actions.0.action_ts", "action_ts"]),
        actor: user.unwrap_or_default(),
        resource_type: resource_type.into(),
        resource_id,
        metadata,
        reply: Reply::Empty(StatusCode::OK),
        ..Reading::default()
    })
}

fn interaction_resource(fields: &Fields<'_, '_>) -> (&'static str, SmolStr) {
    let named = |kind, path| fields.id(path).map(|id| (kind, id));
    let message = || {
        let channel = fields.first_id(&["channel.id", "container.channel_id"]);
        let ts = fields.first_id(&["container.message_ts", "message.ts", "message_ts"]);
        message_id(channel, ts).map(|id| ("message", id))
    };
    named("view", "view.id")
        .or_else(message)
        .or_else(|| named("channel", "channel.id"))
        .or_else(|| named("user", "user.id"))
        .unwrap_or_default()
}

static COMMAND_PATHS: paths::Static =
    paths!["command", "trigger_id", "user_id", "channel_id", "team_id", "api_app_id"];

fn read_command(post: &Post<'_>) -> Option<Reading> {
    let fields = json::read(post.text()?, &COMMAND_PATHS)?;
    let command = fields.text("command")?;
    let user = fields.id("user_id");
    let channel = fields.id("channel_id");

    let mut metadata = Metadata::default();
    metadata.add("actor_type", user.as_ref().map(|_| "user"));
    metadata.add("team_id", fields.id("team_id"));
    metadata.add("app_id", fields.id("api_app_id"));
    metadata.add("command", Some(command));

    Some(Reading {
        event_type: format_smolstr!(
            "slash_command.{}",
            command.strip_prefix('/').unwrap_or(command)
        ),
        delivery_id: fields.id("trigger_id"),
        actor: user.unwrap_or_default(),
        resource_type: channel.as_ref().map_or("", |_| "channel").into(),
        resource_id: channel.unwrap_or_default(),
        metadata,
        reply: Reply::Empty(StatusCode::OK),
        ..Reading::default()
    })
}
