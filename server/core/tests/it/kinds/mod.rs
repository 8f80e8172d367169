//! Every real body of every built-in kind, signed, sent and compared with what the providers' documentation says of it.

mod chat;
mod code;
mod github_map;
mod keys;
mod told;
mod trade;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hookline_core::{
    event::{NewEvent, SourceName},
    normalize::Received,
    source::{Kind, PublicUrl, Settings, Source},
    time::Timestamp,
    verify::{Draft, sign},
};
use http::HeaderMap;
use serde_json::Value;

use self::told::{Expected, Sent, Told, alphabet, at, micros, text};
use crate::{
    ingest_corpus::{Post, all_posts},
    ingest_oracle,
    ingest_support::{self, URL, headers, received_at, secret},
};

/// Providers of the corpus that have no kind of their own: they are for `custom`.
const OTHERS: &[&str] = &[
    "assemblyai",
    "attio",
    "auth0",
    "azure-devops",
    "cal-com",
    "close-crm",
    "deepgram",
    "dockerhub",
    "docusign",
    "elevenlabs",
    "lemonsqueezy",
    "paddle-classic",
    "plaid",
    "postmark",
    "retell",
    "supabase",
    "vapi",
    "vercel",
    "workos",
];

/// What bodies do not have, so that no reader can find it: the kind, what is missing, the event types, and why.
#[rustfmt::skip]
const ABSENT: &[(&str, What, &str, &str)] = &[
    ("github", What::Actor, "ping", "some pings name no sender"),
    ("github", What::Actor, "repository_vulnerability_alert.dismiss", "an old body without a sender"),
    ("github", What::Actor, "security_advisory.*", "GitHub itself published it"),
    ("github", What::Time, "code_scanning_alert.*", "older bodies tell when the alert was made, not when it changed"),
    ("github", What::Time, "github_app_authorization.*", "no time in the body"),
    ("github", What::Time, "gollum", "pages have no times"),
    ("github", What::Time, "label.*", "labels have no times"),
    ("github", What::Time, "member.*", "members have no times"),
    ("github", What::Time, "membership.*", "memberships have no times"),
    ("github", What::Time, "org_block.*", "no time in the body"),
    ("github", What::Time, "organization.*", "memberships and organizations have no times"),
    ("github", What::Time, "release.deleted", "older bodies tell when it was made and published"),
    ("github", What::Time, "release.edited", "older bodies tell when it was made and published"),
    ("github", What::Time, "repository_dispatch.*", "no time of it in the body"),
    ("github", What::Time, "repository_vulnerability_alert.*", "no `updated_at` in the alert"),
    ("github", What::Time, "secret_scanning_alert.reopened", "an alert without times"),
    ("github", What::Time, "sponsorship.*", "tells when the sponsorship began"),
    ("github", What::Time, "star.deleted", "`starred_at` is null"),
    ("github", What::Time, "team.*", "teams have no times"),
    ("github", What::Time, "team_add", "teams have no times"),
    ("github", What::Time, "watch.*", "no time of it in the body"),
    ("github", What::Time, "workflow_dispatch", "no time of it in the body"),
    ("anthropic", What::Actor, "*", "what happened by itself, to an id: nobody is named"),
    ("bitbucket", What::Time, "repo.fork", "no time of it in the body"),
    ("bitbucket", What::Time, "repo.push", "commits have times, which may be years old, the push has none"),
    ("bitbucket", What::Time, "repo.updated", "no time of it in the body"),
    ("brex", What::Actor, "*", "the user in `user_updated` is who was changed; else nobody is named"),
    ("brex", What::Time, "*", "no time in the body"),
    ("clerk", What::Actor, "user.created", "the user is what was made; by whom is not told"),
    ("gitea", What::Time, "create", "the repository's times are not the ref's"),
    ("gitlab", What::Actor, "access_token", "it runs out by itself; its user is its own"),
    ("gitlab", What::Actor, "group_*", "a system hook does not tell who did it"),
    ("gitlab", What::Actor, "key_*", "a system hook does not tell who did it, but whose the key was"),
    ("gitlab", What::Actor, "project_*", "a system hook does not tell who did it, but who owns the project"),
    ("gitlab", What::Actor, "release.*", "no user in the body"),
    ("gitlab", What::Actor, "user_*", "a system hook does not tell who did it, but to whom"),
    ("gitlab", What::Time, "build.created", "an old body: `build_started_at` and `build_finished_at` are null"),
    ("gitlab", What::Time, "feature_flag", "no time in the body"),
    ("gitlab", What::Time, "push", "commits have times, which may be years old, the push has none"),
    ("gitlab", What::Time, "tag_push", "commits have times, which may be years old, the push has none"),
    ("hubspot", What::Actor, "*", "no `sourceId` with a user"),
    ("intercom", What::Actor, "ping", "a test of the address, about nothing"),
    ("intercom", What::Resource, "ping", "a test of the address, about nothing"),
    ("jira", What::Actor, "unparsed", "a body that says nothing but two names"),
    ("jira", What::Resource, "unparsed", "a body that says nothing but two names"),
    ("jira", What::Time, "unparsed", "a body that says nothing but two names"),
    ("linear", What::Actor, "reaction.create", "an old body without an actor"),
    ("openai", What::Actor, "*", "what happened by itself, to an id: nobody is named"),
    ("pagerduty", What::Actor, "incident.*", "`agent` is null: a service did it"),
    ("recall-ai", What::Actor, "*", "a bot did it, which is the resource"),
    ("replicate", What::Actor, "*", "nobody is named"),
    ("resend", What::Actor, "*", "`from` and `to` are of the mail; who did it is the mail's carrier"),
    ("sentry", What::Time, "issue.*", "a header has it, which the corpus lacks; the body tells when errors were seen"),
    ("slack", What::Actor, "app_rate_limited", "Slack itself did it"),
    ("slack", What::Actor, "app_uninstalled", "by whom is not told"),
    ("slack", What::Actor, "function_executed", "a workflow did it; users among its inputs are inputs"),
    ("slack", What::Actor, "goodbye", "Slack itself did it"),
    ("slack", What::Actor, "grid_migration_started", "Slack itself did it"),
    ("slack", What::Actor, "message", "a body that is nothing but its type"),
    ("slack", What::Actor, "team_access_*", "by whom is not told"),
    ("slack", What::Actor, "tokens_revoked", "the users are those whose tokens they were"),
    ("slack", What::Actor, "workflow_step_execute", "a workflow did it"),
    ("slack", What::Time, "block_suggestion.*", "has no `action_ts`"),
    ("slack", What::Time, "message_action.chirp_message", "an old body without `action_ts`"),
    ("slack", What::Time, "slash_command.*", "no time in the form"),
    ("slack", What::Time, "view_closed.*", "has no `action_ts`"),
    ("slack", What::Time, "view_submission.*", "has no `action_ts`"),
    ("stripe", What::Actor, "account.*", "names neither customer, account nor request"),
    ("stripe", What::Actor, "balance.available", "names neither customer, account nor request"),
    ("stripe", What::Actor, "charge.dispute.*", "names neither customer, account nor request"),
    ("stripe", What::Actor, "coupon.*", "names neither customer, account nor request"),
    ("stripe", What::Actor, "mandate.updated", "names neither customer, account nor request"),
    ("stripe", What::Actor, "setup_intent.created", "names neither customer, account nor request"),
    ("stripe", What::Actor, "transfer.*", "names neither customer, account nor request"),
    ("stripe", What::Resource, "balance.available", "a balance has no id, and the body names no account"),
    ("stripe", What::Resource, "charge.dispute.closed", "old disputes had no id"),
    ("telegram", What::Time, "callback_query", "only the message with the button has a date"),
    ("telegram", What::Time, "inline_query", "no date in the body"),
    ("twilio", What::Time, "call.ringing", "no `Timestamp` in the question what to do with a call"),
    ("twilio", What::Time, "message.received", "no `Timestamp` in an incoming message"),
    ("typeform", What::Actor, "form_response", "a respondent is known by the answers alone"),
    ("whatsapp", What::Actor, "statuses.*", "`recipient_id` is whom the message went to"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Actor,
    Resource,
    Time,
}

/// Tells what the documentation expects of a request.
fn expect(kind: &str, sent: &Sent<'_>) -> Told {
    match kind {
        "github" | "stripe" => known(kind, sent),
        "slack" => chat::slack(sent),
        "discord" => chat::discord(sent),
        "telegram" => chat::telegram(sent),
        "whatsapp" => chat::whatsapp(sent),
        "zoom" => chat::zoom(sent),
        "twilio" => chat::twilio(sent),
        "intercom" => chat::intercom(sent),
        "zendesk" => chat::zendesk(sent),
        "jira" => code::jira(sent),
        "gitlab" => code::gitlab(sent),
        "bitbucket" => code::bitbucket(sent),
        "bitbucket-server" => code::bitbucket_server(sent),
        "linear" => code::linear(sent),
        "gitea" => code::gitea(sent),
        "sentry" => code::sentry(sent),
        "sendgrid" => trade::sendgrid(sent),
        "hubspot" => trade::hubspot(sent),
        "pagerduty" => trade::pagerduty(sent),
        "square" => trade::square(sent),
        "paddle" => trade::paddle(sent),
        "typeform" => trade::typeform(sent),
        "calendly" => trade::calendly(sent),
        "notion" => trade::notion(sent),
        "clerk" | "resend" | "openai" | "replicate" | "brex" | "recall-ai" | "anthropic" => {
            trade::standard(kind, sent)
        }
        _ => panic!("no expectation is written for the kind `{kind}`"),
    }
}

/// The two whose oracle was first.
fn known(kind: &str, sent: &Sent<'_>) -> Told {
    let (expected, delivery_key) = match kind {
        "github" => {
            let event = sent.header("x-github-event").unwrap();
            (ingest_oracle::github(&event, sent.body), sent.header("x-github-delivery").unwrap())
        }
        _ => (ingest_oracle::stripe(sent.body), sent.text(&["id"])),
    };
    Told::one(Expected {
        event_type: expected.event_type,
        delivery_key,
        actor: expected.actor,
        actor_type: None,
        resource_type: expected.resource.0,
        resource_id: expected.resource.1,
        micros: expected.micros,
    })
}

/// The bodies of built-in kinds, by kind.
fn by_kind() -> BTreeMap<String, Vec<Post>> {
    let mut by_kind = BTreeMap::<_, Vec<_>>::new();
    for post in all_posts() {
        let provider = post.entry.provider.clone();
        if !OTHERS.contains(&provider.as_str()) {
            by_kind.entry(provider).or_default().push(post);
        }
    }
    by_kind
}

/// Makes a source of a kind with a key of the test, and what its sender signs with.
fn source(kind: &str) -> (Source, hookline_core::source::Secret) {
    let parsed = Kind::parse(kind).unwrap();
    let keys = keys::of(kind);
    let settings = Settings {
        url: Some(PublicUrl::Base("https://hooks.example.com".into())),
        verify_token: Some(secret("a token for Meta")),
        ..Settings::default()
    };
    let secrets = vec![secret(&keys.configured).into()];
    let source = Source::new(SourceName::parse(kind).unwrap(), parsed, secrets, settings);
    (source.unwrap(), secret(&keys.signing))
}

/// Returns when a body is received: soon after it was sent, for those who say in it when that was.
fn now(kind: &str, body: &Value) -> Timestamp {
    let time = text(&body["webhookTimestamp"]).filter(|_| kind == "linear");
    let micros = time.and_then(|time| micros(&time)).map(|it| i64::try_from(it).unwrap());
    micros.map_or_else(received_at, |micros| Timestamp::from_micros(micros + 1_500_000).unwrap())
}

/// A request of the corpus, what it became, and what it should have become.
struct Trial {
    received: Received,
    told: Told,
    now: Timestamp,
}

fn attempt(kind: &str, post: &Post) -> Trial {
    let body: Value = serde_json::from_slice(&post.json).unwrap();
    let now = now(kind, &body);
    let (source, headers) = signed(kind, post, now);
    let received = ingest_support::post(&source, &headers, &post.body, now);
    let received = received.unwrap_or_else(|error| panic!("{}: {error}", post.entry.file));
    let format = post.entry.body_format.as_str();
    let sent = Sent { format, headers: &headers, body: &body, raw: &post.body };
    Trial { received, told: expect(kind, &sent), now }
}

/// Returns a source, and the headers under which its sender would post.
fn signed(kind: &str, post: &Post, now: Timestamp) -> (Source, HeaderMap) {
    let (source, signing) = source(kind);
    let pairs = post.entry.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut headers = headers(pairs);
    if keys::is_standard(kind) {
        // The corpus has no ids of these messages; senders write them under both names.
        let id = format!("msg_{}", post.entry.file.replace('/', "_"));
        for name in ["webhook-id", "svix-id"] {
            headers.insert(name, id.parse().unwrap());
        }
    }
    let draft = Draft { url: URL, headers: &headers, body: &post.body };
    let signature = sign(source.schemes(), &signing, draft, now).unwrap();
    headers.extend(signature.into_iter().collect::<HeaderMap>());
    (source, headers)
}

/// What is found of an event, in the words of the oracle.
fn found(event: &NewEvent, expected: &Expected) -> Expected {
    let actor_type = event.metadata.get("actor_type").unwrap_or_default().to_owned();
    let is_received = event.metadata.contains_key("timestamp_source");
    Expected {
        event_type: event.event_type.to_string(),
        delivery_key: event.delivery_key.to_string(),
        actor: event.actor.to_string(),
        actor_type: expected.actor_type.as_ref().map(|_| actor_type),
        resource_type: event.resource_type.to_string(),
        resource_id: event.resource_id.to_string(),
        micros: (!is_received).then(|| event.timestamp.as_micros().into()),
    }
}

/// Says what is wrong with a request; nothing if all is right.
fn complaints(post: &Post, trial: &Trial) -> Vec<String> {
    let (events, reply) = match (&trial.received, &trial.told) {
        (Received::Answer(answer), Told::Answer { status, content_type, body }) => {
            let found_type = answer.headers.iter().find(|(name, _)| name == "content-type");
            let found_type = found_type.map(|(_, value)| value.to_str().unwrap());
            let is_type_right = content_type
                .is_none_or(|wanted| found_type.is_some_and(|it| it.starts_with(wanted)));
            let is_right = answer.status == *status && answer.body == *body && is_type_right;
            return (!is_right).then(|| format!("is answered {answer:?}")).into_iter().collect();
        }
        (Received::Events { events, reply }, Told::Events(..)) => (events, reply),
        (received, told) => return vec![format!("became {received:?}\n    and not {told:?}")],
    };
    let Told::Events(told, told_reply) = &trial.told else { return Vec::new() };
    let mut complaints = Vec::new();
    if events.len() != told.len() || reply != told_reply {
        let counts = (events.len(), told.len());
        complaints.push(format!("{counts:?} events, reply {reply:?} for {told_reply:?}"));
    }
    for (event, expected) in events.iter().zip(told) {
        let mut expected = expected.clone();
        expected.event_type = alphabet(&expected.event_type);
        let found = found(event, &expected);
        if found != expected {
            complaints.push(format!("found    {found:?}\n    expected {expected:?}"));
        }
        if expected.micros.is_none() && event.timestamp != trial.now {
            complaints.push(format!("has the time {}", event.timestamp));
        }
        complaints.extend(payload_complaint(post, event));
    }
    complaints
}

/// The payload is what was posted: all of it, or of a body with many things one of them.
fn payload_complaint(post: &Post, event: &NewEvent) -> Option<String> {
    let value = |bytes: &Bytes| serde_json::from_slice::<Value>(bytes).unwrap();
    let body = value(&post.json);
    let is_whole = event.payload == post.json;
    let is_part =
        || post.json.windows(event.payload.len().max(1)).any(|part| part == event.payload);
    let is_right = match (post.entry.body_format.as_str(), post.entry.provider.as_str()) {
        // The fields of a form become JSON, whose order is not the form's.
        ("form-fields", _) => value(&event.payload) == body,
        // What WhatsApp's parts have in common stands around them.
        (_, "whatsapp") => is_part() && value(&event.payload).is_object(),
        _ => match body.as_array() {
            Some(items) => is_part() && items.contains(&value(&event.payload)),
            None => is_whole,
        },
    };
    (!is_right).then(|| format!("has the payload {:?}", event.payload))
}

/// A row of the table of coverage.
#[derive(Debug, Default)]
struct Row {
    bodies: usize,
    handshakes: usize,
    events: usize,
    with: BTreeMap<What, usize>,
}

impl Row {
    fn add(&mut self, received: &Received) {
        self.bodies += 1;
        let Received::Events { events, .. } = received else {
            self.handshakes += 1;
            return;
        };
        self.events += events.len();
        for event in events {
            for what in [What::Actor, What::Resource, What::Time] {
                *self.with.entry(what).or_default() += usize::from(has(event, what));
            }
        }
    }
}

fn has(event: &NewEvent, what: What) -> bool {
    match what {
        What::Actor => !event.actor.is_empty(),
        What::Resource => !event.resource_type.is_empty() && !event.resource_id.is_empty(),
        What::Time => !event.metadata.contains_key("timestamp_source"),
    }
}

fn print(rows: &BTreeMap<String, Row>) {
    println!("provider          bodies  handshakes  events  actor  resource  time");
    for (kind, row) in rows {
        let [actor, resource, time] =
            [What::Actor, What::Resource, What::Time].map(|what| row.with.get(&what).unwrap_or(&0));
        let Row { bodies, handshakes, events, .. } = row;
        println!(
            "{kind:<16}{bodies:>8}{handshakes:>12}{events:>8}{actor:>7}{resource:>10}{time:>6}"
        );
    }
}

#[test]
fn every_real_body_of_every_kind_becomes_what_its_providers_documentation_says() {
    let (mut rows, mut complaints) = (BTreeMap::<_, Row>::new(), Vec::new());
    for (kind, posts) in by_kind() {
        for post in &posts {
            let trial = attempt(&kind, post);
            rows.entry(kind.clone()).or_default().add(&trial.received);
            let of_post = self::complaints(post, &trial);
            complaints.extend(of_post.iter().map(|it| format!("{} {it}", post.entry.file)));
        }
    }
    print(&rows);
    assert!(complaints.is_empty(), "{} wrong:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn what_an_event_lacks_its_body_lacks() {
    let (mut missing, mut used) = (BTreeSet::new(), BTreeSet::new());
    for (kind, posts) in by_kind() {
        for post in &posts {
            let Received::Events { events, .. } = attempt(&kind, post).received else { continue };
            for event in events {
                for what in [What::Actor, What::Resource, What::Time] {
                    if has(&event, what) {
                        continue;
                    }
                    let is_it = |(of, lacks, pattern, _): &&(&str, What, &str, &str)| {
                        *of == kind && *lacks == what && fits(pattern, event.event_type.as_str())
                    };
                    match ABSENT.iter().find(is_it) {
                        Some(entry) => _ = used.insert(*entry),
                        None => _ = missing.insert(format!("{kind} {what:?} {}", event.event_type)),
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in the list: {missing:#?}");
    let is_unused = |entry: &&(&str, What, &str, &str)| !used.contains(entry);
    let unused: Vec<_> = ABSENT.iter().filter(is_unused).collect();
    assert!(used.is_empty() || unused.is_empty(), "in the list, but nowhere: {unused:#?}");
}

/// Whether an event type is the pattern, or begins as it does before its `*`.
fn fits(pattern: &str, event_type: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == event_type, |start| event_type.starts_with(start))
}

#[test]
fn every_provider_of_the_corpus_is_a_kind_or_known_to_be_none() {
    let providers: BTreeSet<_> = all_posts().into_iter().map(|post| post.entry.provider).collect();
    for provider in &providers {
        let is_kind = Kind::parse(provider).is_ok();
        let is_other = OTHERS.contains(&provider.as_str());
        assert_ne!(is_kind, is_other, "{provider}");
    }
    let gone: Vec<_> = OTHERS.iter().filter(|name| !providers.contains(**name)).collect();
    assert!(providers.is_empty() || gone.is_empty(), "no longer in the corpus: {gone:?}");
}

#[test]
fn a_name_of_a_user_at_the_top_of_a_body_is_not_overlooked() {
    /// Members that say who did something, wherever they stand at the top of a body.
    const WHO: [&str; 12] = [
        "sender.login",
        "actor.name",
        "user.name",
        "user_name",
        "actor.id",
        "actor.account_id",
        "user.id",
        "user.username",
        "user.accountId",
        "user_id",
        "event.user",
        "authors.0.id",
    ];
    for (kind, posts) in by_kind() {
        for post in &posts {
            let body: Value = serde_json::from_slice(&post.json).unwrap();
            let Received::Events { events, .. } = attempt(&kind, post).received else { continue };
            let names: Vec<_> = WHO.iter().filter_map(|path| text(at(&body, path))).collect();
            let is_listed = ABSENT.iter().any(|(of, what, pattern, _)| {
                let of_event = fits(pattern, events[0].event_type.as_str());
                *of == kind && *what == What::Actor && of_event
            });
            let is_found = names.is_empty() || names.iter().any(|name| events[0].actor == *name);
            assert!(
                is_found || is_listed,
                "{} names {names:?}: {:?}",
                post.entry.file,
                events[0].actor
            );
        }
    }
}

#[test]
fn a_real_body_that_was_changed_after_it_was_signed_is_refused() {
    /// Those who send a token, which says nothing of the body.
    const TOKENS: [&str; 2] = ["gitlab", "telegram"];
    for (kind, posts) in by_kind() {
        // Slack asks for the certificate without a signature.
        let is_question = |post: &&Post| post.entry.file == "slack/bp.slash_command.2.json";
        for post in posts.iter().filter(|post| !is_question(post)) {
            let now = now(&kind, &serde_json::from_slice(&post.json).unwrap());
            let (source, headers) = signed(&kind, post, now);
            let addition: &[u8] = if post.entry.body_format == "json" { b" " } else { b"&a=b" };
            let changed = Bytes::from([&post.body, addition].concat());
            let result = ingest_support::post(&source, &headers, &changed, now);
            assert_eq!(result.is_ok(), TOKENS.contains(&kind.as_str()), "{}", post.entry.file);
        }
    }
}
