//! Real bodies of every kind, posted to the real hub as their manifest says. What they should become is settled in the
//! core's own tests, against an oracle; here is seen that this is what the hub keeps, and how it answers.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use bytes::Bytes;
use hookline_core::{
    event::{NewEvent, SourceName},
    normalize::{Received, receive},
    source::{Kind, PublicUrl, Secret, Settings as SourceSettings, Source},
    time::Timestamp,
    verify::{Draft, Request, sign},
};
use hookline_proto::v1::{Event, ListEventsRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::{
    corpus::{Entry, all_entries, form, payloads},
    http::Webhook,
    hub::{Hub, Settings, wall},
    keys,
};

const PUBLIC_URL: &str = "https://hooks.example.com";

/// A hub with a source for each of these kinds, named as it is.
async fn hub<'a>(folder: &Path, kinds: impl Iterator<Item = &'a String>) -> Hub {
    let mut text = format!("[http]\npublic_url = \"{PUBLIC_URL}\"\n");
    for kind in kinds {
        let secret = keys::of(kind).configured;
        write!(text, "[sources.{kind}]\nkind = \"{kind}\"\nsecrets = [\"plain:{secret}\"]\n")
            .unwrap();
    }
    let file = folder.join("hookline.toml");
    fs::write(&file, text).unwrap();
    let variable = ("HOOKLINE_CONFIG".to_owned(), file.to_str().unwrap().to_owned());
    // What every hub of these tests is given for `github` and `stripe` would go before the file.
    let secret = |kind: &str| {
        let key = format!("HOOKLINE_SOURCES__{}__SECRETS", kind.to_uppercase());
        (key, format!("plain:{}", keys::of(kind).configured))
    };
    let variables = vec![variable, secret("github"), secret("stripe")];
    Hub::start_with(Settings { variables, ..Settings::default() }).await
}

/// A body of the corpus, signed as its provider does.
struct Post {
    entry: Entry,
    headers: HeaderMap,
    body: Bytes,
}

impl Post {
    fn new(folder: &Path, entry: Entry, kind: Kind) -> Self {
        let json = fs::read(folder.join(&entry.file)).unwrap();
        let body = match entry.body_format.as_str() {
            "form-payload" => form(&json),
            "form-fields" => {
                let fields: BTreeMap<String, String> = serde_json::from_slice(&json).unwrap();
                form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into()
            }
            _ => fresh(json),
        };
        let pair = |(name, value): (&String, &String)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        let mut headers: HeaderMap = entry.headers.iter().map(pair).collect();
        let id = HeaderValue::try_from(format!("msg_{}", entry.file.replace('/', "_"))).unwrap();
        for name in
            ["webhook-id", "svix-id"].into_iter().filter(|_| keys::is_standard(kind.as_str()))
        {
            headers.insert(name, id.clone());
        }
        let secret = Secret::new(keys::of(kind.as_str()).signing).unwrap();
        let url = format!("{PUBLIC_URL}/webhooks/{kind}");
        let draft = Draft { url: &url, headers: &headers, body: &body };
        let now = Timestamp::from_micros(i64::try_from(wall().as_micros()).unwrap()).unwrap();
        for (name, value) in sign(kind.provider().schemes, &secret, draft, now).unwrap() {
            headers.insert(name, value);
        }
        Self { entry, headers, body }
    }

    fn webhook(&self, kind: Kind) -> Webhook {
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let headers = self.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        Webhook {
            method: "POST",
            source: kind.to_string(),
            headers: headers.collect(),
            body: self.body.clone(),
        }
    }

    /// What the core makes of it.
    fn expected(&self, kind: Kind) -> Vec<NewEvent> {
        let url = Some(PublicUrl::Base(PUBLIC_URL.into()));
        let settings = SourceSettings { url, ..SourceSettings::default() };
        let name = SourceName::parse(kind.as_str()).unwrap();
        let source = Source::unsigned(name, kind, settings).unwrap();
        let request = Request {
            method: &Method::POST,
            target: "/",
            headers: &self.headers,
            body: &self.body,
        };
        match receive(&source, request, Timestamp::EPOCH).unwrap() {
            Received::Events { events, .. } => events,
            Received::Answer(_) => Vec::new(),
        }
    }
}

/// Brings the time that Linear signs in the body up to date; nothing else of a body changes.
fn fresh(json: Vec<u8>) -> Bytes {
    let value: Value = serde_json::from_slice(&json).unwrap_or_default();
    match value["webhookTimestamp"].as_i64() {
        Some(old) => {
            let text = String::from_utf8(json).unwrap();
            text.replace(&old.to_string(), &wall().as_millis().to_string()).into()
        }
        None => json.into(),
    }
}

fn facts(event: &NewEvent) -> [&str; 5] {
    let event_type = event.event_type.as_str();
    [event_type, &event.delivery_key, &event.actor, &event.resource_type, &event.resource_id]
}

fn kept(event: &Event) -> [&str; 5] {
    let Event { event_type, delivery_key, actor, resource_type, resource_id, .. } = event;
    [event_type, delivery_key, actor, resource_type, resource_id]
}

#[tokio::test]
async fn every_real_body_of_every_kind_is_answered_and_kept_as_what_it_is() {
    let Some(folder) = payloads() else { return };
    let mut by_kind = BTreeMap::<_, Vec<_>>::new();
    for entry in all_entries(&folder) {
        if let Ok(kind) = Kind::parse(&entry.provider) {
            by_kind
                .entry(entry.provider.clone())
                .or_default()
                .push(Post::new(&folder, entry, kind));
        }
    }
    let configured = tempfile::tempdir().unwrap();
    let hub = hub(configured.path(), by_kind.keys()).await;
    let (mut http, agent) = (hub.http().await, hub.agent().await);
    println!("{:<18} {:>6} {:>6} {:>10} statuses", "kind", "bodies", "events", "duplicates");
    for (name, posts) in &by_kind {
        let kind = Kind::parse(name).unwrap();
        let (mut expected, mut duplicates) = (Vec::<NewEvent>::new(), 0);
        let mut statuses = BTreeMap::<_, u32>::new();
        for post in posts {
            let answer = http.post(&post.webhook(kind)).await.unwrap();
            assert!(matches!(answer.status, 200 | 204), "{}: {answer:?}", post.entry.file);
            *statuses.entry(answer.status).or_default() += 1;
            for event in post.expected(kind) {
                let is_seen = expected.iter().any(|it| it.delivery_key == event.delivery_key);
                duplicates += usize::from(is_seen);
                expected.extend((!is_seen).then_some(event));
            }
        }
        let patterns = vec![format!("{name}/*")];
        let events = agent.list(ListEventsRequest { patterns, ..Default::default() }).await;
        println!("{name:<18} {:>6} {:>6} {duplicates:>10} {statuses:?}", posts.len(), events.len());
        assert_eq!(events.len(), expected.len(), "{name}");
        for (event, expected) in events.iter().zip(&expected) {
            assert_eq!(kept(event), facts(expected), "{name}");
            assert!(event.payload == expected.payload, "{name}: {}", expected.delivery_key);
        }
    }
}
