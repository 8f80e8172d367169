//! Meta: WhatsApp Business, and pages and Instagram accounts, whose webhooks have the same form.
//!
//! A body has many `entry`, each of one account, and an entry many `changes` or `messaging`. An event is made of:
//!
//! | what | `event_type` | payload | `delivery_key` |
//! |---|---|---|---|
//! | each of `value.messages` | `messages.<type>` | the message | its id |
//! | each of `value.statuses` | `statuses.<status>` | the status | `<message's id>:<status>` |
//! | each other change | its `field` | the change | |
//! | each of `messaging` | `messaging` | that | the message's `mid`, with `:deleted` of one that is taken back |
//!
//! What stands around an item is kept in the metadata as far as it tells who it is of: the account, the phone number,
//! and the name that the sender of a message has given itself. A status tells whom a message went to, and nobody who
//! did anything: its `actor` is empty.
//!
//! Source: developers.facebook.com "Webhooks: getting started" and "WhatsApp Cloud API: webhooks".

use std::{cell::OnceCell, collections::BTreeMap};

use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Answer, EVENTS_MAX, Item, Metadata, Outcome, Post, Reading,
        json::{self, Field},
        lenient::{List, Object},
        paths::{self, paths},
        times,
    },
    source::Source,
    time::Timestamp,
    verify::{
        Request, VerifyError, is_same, query_value,
        scheme::{Encoding, Proof, Scheme},
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "whatsapp",
    title: "WhatsApp and other Meta",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake {
        what: "a GET with `hub.verify_token`: `hub.challenge` is sent back",
        methods: &[Method::GET],
        has_token: true,
        probe: challenge,
    },
    read: Read::Code(read),
};

/// `X-Hub-Signature-256: sha256=<hex>` over the raw body; the secret is the app's. Nothing signs a time.
const SCHEME: Scheme = Scheme::over_body("x-hub-signature-256", Some('='), PROOFS, Encoding::Hex);
const PROOFS: &[Proof] = &[Proof::sha256("sha256")];

/// The most bytes of a challenge. Meta's are some digits; a long one would be somebody's text under our name.
const CHALLENGE_BYTES_MAX: usize = 1_024;
const TOKEN: &str = "hub.verify_token";
const CHALLENGE: &str = "hub.challenge";

/// Answers the request with which Meta looks whether an address is the one that was meant.
fn challenge(source: &Source, request: Request<'_>) -> Option<Result<Answer, VerifyError>> {
    let mode = query_value(request.target, "hub.mode");
    if request.method != Method::GET || mode.as_deref() != Some("subscribe") {
        return None;
    }
    Some(answer(source, request.target))
}

fn answer(source: &Source, target: &str) -> Result<Answer, VerifyError> {
    let missing = |name: &str| VerifyError::Missing(name.into());
    let given = query_value(target, TOKEN).ok_or_else(|| missing(TOKEN))?;
    let token = source.settings().verify_token.as_ref().ok_or_else(|| missing(TOKEN))?;
    if !is_same(token.as_bytes(), given.as_bytes()) {
        return Err(VerifyError::Wrong(TOKEN.into()));
    }
    let challenge = query_value(target, CHALLENGE).ok_or_else(|| missing(CHALLENGE))?;
    if CHALLENGE_BYTES_MAX < challenge.len() {
        return Err(VerifyError::Malformed(CHALLENGE.into()));
    }
    Ok(Answer::text(challenge.into_owned()))
}

/// The most entries, and changes of an entry, that are looked at. Meta sends up to 1,000 updates at once.
const GROUPS_MAX: usize = 1_000;

static MESSAGE_PATHS: paths::Static = paths!["id", "from", "type", "timestamp"];
static STATUS_PATHS: paths::Static = paths!["id", "status", "timestamp"];
static MESSAGING_PATHS: paths::Static =
    paths!["sender.id", "timestamp", "message.mid", "message.is_deleted"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    object: Field<'a>,
    #[serde(borrow)]
    entry: List<Object<Entry<'a>>, GROUPS_MAX>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Field<'a>,
    #[serde(borrow)]
    time: Field<'a>,
    #[serde(borrow)]
    changes: List<Object<Change<'a>>, GROUPS_MAX>,
    #[serde(borrow)]
    messaging: List<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Change<'a> {
    #[serde(borrow)]
    field: Field<'a>,
    #[serde(borrow)]
    value: Object<Value<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Value<'a> {
    #[serde(borrow)]
    metadata: Object<Number<'a>>,
    #[serde(borrow)]
    contacts: List<Object<Contact<'a>>, GROUPS_MAX>,
    #[serde(borrow)]
    messages: List<&'a RawValue>,
    #[serde(borrow)]
    statuses: List<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Number<'a> {
    #[serde(borrow)]
    phone_number_id: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Contact<'a> {
    #[serde(borrow)]
    wa_id: Field<'a>,
    #[serde(borrow)]
    profile: Object<Profile<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profile<'a> {
    #[serde(borrow)]
    name: Field<'a>,
}

/// The entries and changes as they stand in a text: looked for only where one of them is an event as a whole, and then
/// once for all of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Whole<'a> {
    #[serde(borrow)]
    entry: List<&'a RawValue>,
    #[serde(borrow)]
    changes: List<&'a RawValue>,
}

impl<'a> Whole<'a> {
    fn of(text: &'a str) -> Self {
        json::parse(text).map(|Object(whole)| whole).unwrap_or_default()
    }
}

fn part<'a>(List(parts): &List<&'a RawValue>, index: usize) -> &'a str {
    parts.get(index).map_or("", |part| part.get())
}

/// Reads a body; `None` if it has no entries, or too many of anything.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let text = post.text()?;
    let Object(body): Object<Body<'_>> = json::parse(text)?;
    let is_too_many = GROUPS_MAX < body.entry.0.len()
        || body.entry.0.iter().any(|Object(entry)| GROUPS_MAX < entry.changes.0.len());
    if is_too_many {
        return None;
    }
    let object = scalar(&body.object).unwrap_or_default();
    let mut batch = Batch { post, items: Vec::new() };
    let whole = OnceCell::new();
    let entry_text = |index| part(&whole.get_or_init(|| Whole::of(text)).entry, index);
    for (index, entry) in body.entry.0.iter().enumerate() {
        if batch.is_full() {
            break;
        }
        batch.add_entry(&object, entry, || entry_text(index));
    }
    (!batch.items.is_empty()).then_some(Outcome::Batch(batch.items))
}

fn scalar(field: &Field<'_>) -> Option<SmolStr> {
    field.id().map(SmolStr::new)
}

/// What is known of an item from what stands around it.
#[derive(Default)]
struct Around {
    object: SmolStr,
    account: Option<SmolStr>,
    time: Option<Timestamp>,
    phone_number_id: Option<SmolStr>,
}

impl Around {
    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.add("object", Some(self.object.as_str()));
        metadata.add("business_account_id", self.account.clone());
        metadata.add("phone_number_id", self.phone_number_id.clone());
        metadata
    }

    /// Reads what is about the account, or says so at least.
    fn reading(&self, event_type: SmolStr) -> Reading {
        Reading {
            event_type,
            timestamp: self.time,
            resource_type: self.object.clone(),
            resource_id: self.account.clone().unwrap_or_default(),
            metadata: self.metadata(),
            ..Reading::default()
        }
    }
}

struct Batch<'p, 'a> {
    post: &'p Post<'a>,
    items: Vec<Item>,
}

impl Batch<'_, '_> {
    /// Whether there are so many items that the body will be kept as one.
    const fn is_full(&self) -> bool {
        EVENTS_MAX < self.items.len()
    }

    fn add(&mut self, text: &str, reading: Option<Reading>) {
        self.items.push(Item { payload: self.post.slice(text), reading });
    }

    fn add_entry<'t>(
        &mut self,
        object: &str,
        Object(entry): &Object<Entry<'_>>,
        text: impl Fn() -> &'t str,
    ) {
        let mut around = Around {
            object: object.into(),
            account: scalar(&entry.id),
            time: scalar(&entry.time).as_deref().and_then(times::parse_text),
            phone_number_id: None,
        };
        let (changes, messaging) = (&entry.changes.0, &entry.messaging.0);
        if changes.is_empty() && messaging.is_empty() {
            return self.add(text(), None);
        }
        let whole = OnceCell::new();
        let change_text = |index| part(&whole.get_or_init(|| Whole::of(text())).changes, index);
        for (index, change) in changes.iter().enumerate() {
            if self.is_full() {
                return;
            }
            self.add_change(&mut around, change, || change_text(index));
        }
        around.phone_number_id = None;
        for message in messaging {
            self.add(message.get(), messaging_reading(&around, message.get()));
        }
    }

    fn add_change<'t>(
        &mut self,
        around: &mut Around,
        Object(change): &Object<Change<'_>>,
        text: impl Fn() -> &'t str,
    ) {
        let Object(value) = &change.value;
        around.phone_number_id = scalar(&value.metadata.0.phone_number_id);
        let (messages, statuses) = (&value.messages.0, &value.statuses.0);
        if messages.is_empty() && statuses.is_empty() {
            let field = scalar(&change.field);
            return self.add(text(), field.map(|field| around.reading(field)));
        }
        let contacts = contacts(&value.contacts);
        for message in messages {
            self.add(message.get(), message_reading(around, &contacts, message.get()));
        }
        for status in statuses {
            self.add(status.get(), status_reading(around, status.get()));
        }
    }
}

/// Returns the ids of people and the names that they have given themselves.
fn contacts(List(contacts): &List<Object<Contact<'_>>, GROUPS_MAX>) -> BTreeMap<SmolStr, SmolStr> {
    let contact = |Object(contact): &Object<Contact<'_>>| {
        Some((scalar(&contact.wa_id)?, scalar(&contact.profile.0.name)?))
    };
    contacts.iter().filter_map(contact).collect()
}

fn message_reading(
    around: &Around,
    contacts: &BTreeMap<SmolStr, SmolStr>,
    text: &str,
) -> Option<Reading> {
    let fields = json::read(text, &MESSAGE_PATHS)?;
    let kind = fields.id("type").map(|kind| format_smolstr!("messages.{kind}"));
    let (id, from) = (fields.id("id"), fields.id("from").unwrap_or_default());
    let mut metadata = around.metadata();
    metadata.add("actor_name", contacts.get(&from).map(SmolStr::as_str));
    Some(Reading {
        event_type: kind.unwrap_or_else(|| "messages".into()),
        delivery_id: id.clone(),
        timestamp: times::parse(fields.at("timestamp")).or(around.time),
        actor: from,
        resource_type: "message".into(),
        resource_id: id.unwrap_or_default(),
        metadata,
        ..Reading::default()
    })
}

fn status_reading(around: &Around, text: &str) -> Option<Reading> {
    let fields = json::read(text, &STATUS_PATHS)?;
    let (id, status) = (fields.id("id"), fields.id("status"));
    let key = id.as_ref().zip(status.as_ref()).map(|(id, status)| format_smolstr!("{id}:{status}"));
    Some(Reading {
        event_type: status.map_or_else(|| "statuses".into(), |it| format_smolstr!("statuses.{it}")),
        delivery_id: key,
        timestamp: times::parse(fields.at("timestamp")).or(around.time),
        resource_type: "message".into(),
        resource_id: id.unwrap_or_default(),
        metadata: around.metadata(),
        ..Reading::default()
    })
}

fn messaging_reading(around: &Around, text: &str) -> Option<Reading> {
    let fields = json::read(text, &MESSAGING_PATHS)?;
    let mut reading = around.reading("messaging".into());
    reading.timestamp = times::parse(fields.at("timestamp")).or(around.time);
    reading.actor = fields.id("sender.id").unwrap_or_default();
    if let Some(mid) = fields.id("message.mid") {
        // What is taken back comes under the id of what was said.
        let is_deleted = *fields.at("message.is_deleted") == Field::Bool(true);
        let key = if is_deleted { format_smolstr!("{mid}:deleted") } else { mid.clone() };
        reading.delivery_id = Some(key);
        reading.resource_type = "message".into();
        reading.resource_id = mid;
    }
    Some(reading)
}
