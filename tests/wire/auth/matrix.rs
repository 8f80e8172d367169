//! Each method and each route, with each kind of token: allowed exactly where `server/docs/security.md` says so.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hookline_client::Client;
use hookline_proto::{FILE_DESCRIPTOR_SET, v1};
use hookline_server::http::{Access, ROUTES};
use prost::Message as _;
use tonic::{Code, Status, transport::Channel};

use super::kit::{Guarded, Tokens, call, delivery, joining, make, reject, subscribe};
use crate::{
    agent::earliest,
    http::{Answer, Webhook},
};

const DOCUMENT: &str = include_str!("../../../server/docs/security.md");
/// The scopes, in the order of the document's columns, each with one that reaches what is asked for and one that does
/// not.
const SCOPES: [Scope; 4] = [
    ("subscribe", &["--subscribe", "github"], Some(&["--subscribe", "stripe"])),
    ("publish", &["--publish", "agent"], Some(&["--publish", "robot"])),
    ("read", &["--read", "github"], Some(&["--read", "stripe"])),
    ("operate", &["--operate"], None),
];

/// A scope: its name, the flags of a token that reaches what is asked for, and of one that does not.
type Scope = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);

/// A row of the table of methods.
struct Row {
    cells: [String; 4],
    out_of_reach: String,
}

/// Reads a table of the document: its rows' cells, by the first one.
fn table(head: &str) -> BTreeMap<String, Vec<String>> {
    let lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let mut cells: Vec<_> = cells.collect();
        (cells.remove(0).trim_matches('`').to_owned(), cells)
    });
    let found: Vec<_> = rows.collect();
    let (count, table) = (found.len(), BTreeMap::from_iter(found));
    assert_eq!(table.len(), count, "a row stands twice");
    table
}

fn rows() -> BTreeMap<String, Row> {
    let rows = table("| rpc |").into_iter().map(|(path, mut cells)| {
        let out_of_reach = cells.remove(4);
        (format!("/{path}"), Row { cells: cells.try_into().unwrap(), out_of_reach })
    });
    rows.collect()
}

/// Returns all methods that the hub serves.
fn methods() -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for set in [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        for file in prost_types::FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                let names = service.method.iter().map(prost_types::MethodDescriptorProto::name);
                let package = file.package();
                methods.extend(names.map(|name| format!("/{package}.{}/{name}", service.name())));
            }
        }
    }
    methods
}

/// What there is to ask for: two events of github and one of stripe; `work` with leases of both, `failed` with a dead letter.
struct World {
    guarded: Guarded,
    channel: Channel,
    event_id: String,
    dead_letter_id: String,
    /// Each is for one of Ack, Nack and ExtendLease: they are settled only by who may.
    lease_ids: Vec<String>,
    /// Tokens that do not count, and none, as the header has them.
    refused: Vec<(&'static str, Option<String>)>,
    /// By scope: the token that reaches, and the one that does not.
    tokens: Vec<(&'static str, String, Option<String>)>,
    sees_all: String,
    /// Held open, so that leases stay.
    _stream: tonic::Streaming<v1::SubscribeResponse>,
}

impl World {
    async fn new() -> Self {
        let tokens = Tokens::new();
        let ops = tokens.create("ops", &["--operate", "--subscribe", "*"]);
        let scoped = SCOPES.map(|(scope, reaching, other)| {
            let reaching = tokens.create(scope, reaching);
            let other = other.map(|other| tokens.create(&format!("other-{scope}"), other));
            (scope, reaching, other)
        });
        let all = ["--operate", "--subscribe", "*", "--read", "*", "--publish", "agent"];
        let expired = tokens.create_expired("expired", &all);
        let revoked = tokens.create("revoked", &all);
        tokens.revoke("revoked");
        let sees_all = tokens.create("sees-all", &["--read", "*"]);
        let made_up = format!("hkl_0123456789abcdef_{}", "0".repeat(64));
        let (id, _) = ops.rsplit_once('_').unwrap();
        let wrong_secret = format!("{id}_{}", "0".repeat(64));
        let bearer = |token: &str| Some(format!("Bearer {token}"));
        let refused = vec![
            ("no token", None),
            ("a token that was made up", bearer(&made_up)),
            ("an id with another secret", bearer(&wrong_secret)),
            ("garbage", bearer("garbage")),
            ("another scheme", Some(format!("Basic {ops}"))),
            ("an expired token", bearer(&expired)),
            ("a revoked token", bearer(&revoked)),
        ];

        let guarded = Guarded::start(tokens).await;
        let operator = guarded.client(&ops);
        let event_id = guarded.hub.take(&Webhook::push("g1")).await;
        for key in ["g2", "g3"] {
            guarded.hub.take(&Webhook::push(key)).await;
        }
        guarded
            .hub
            .take(&Webhook::stripe(r#"{"id":"evt_1","type":"invoice.paid"}"#).signed())
            .await;
        for name in ["work", "failed", "spare"] {
            make(&operator, name, &["github"]).await;
        }
        let mut stream = subscribe(&operator, joining("work", "worker")).await.unwrap();
        let mut lease_ids = Vec::new();
        for _ in 0..3 {
            lease_ids.push(delivery(&mut stream).await.unwrap().lease_id);
        }
        let dead_letter_id = dead_letter(&operator).await;
        let channel = guarded.channel().await;
        Self {
            guarded,
            channel,
            event_id,
            dead_letter_id,
            lease_ids,
            refused,
            tokens: scoped.to_vec(),
            sees_all,
            _stream: stream,
        }
    }

    async fn call(&self, path: &str, header: Option<&str>) -> Result<Bytes, Status> {
        call(&self.channel, path, header, self.sample(path)).await
    }

    /// Returns a request that is good, and asks for what is github's.
    fn sample(&self, path: &str) -> Vec<u8> {
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
        match service {
            "hookline.v1.SubscriberService" => self.to_subscriber(method),
            "hookline.v1.SubscriptionService" => to_subscriptions(method),
            "hookline.v1.EventService" => self.to_events(method),
            "hookline.v1.DeadLetterService" => self.to_dead_letters(method),
            _ => to_others(method),
        }
    }

    fn to_subscriber(&self, method: &str) -> Vec<u8> {
        match method {
            "Subscribe" => joining("work", "asker").encode_to_vec(),
            "Ack" => v1::AckRequest { lease_ids: vec![self.lease_ids[0].clone()] }.encode_to_vec(),
            "Nack" => {
                let lease_id = self.lease_ids[1].clone();
                let nacks = vec![v1::Nack { lease_id, ..Default::default() }];
                v1::NackRequest { nacks }.encode_to_vec()
            }
            "ExtendLease" => {
                let lease_id = self.lease_ids[2].clone();
                let extensions = vec![v1::LeaseExtension { lease_id, ..Default::default() }];
                v1::ExtendLeaseRequest { extensions }.encode_to_vec()
            }
            other => panic!("`{other}` has no sample: say what a good request for it is"),
        }
    }

    fn to_events(&self, method: &str) -> Vec<u8> {
        match method {
            "PublishEvent" => {
                v1::PublishEventRequest { event_type: "done".to_owned(), ..Default::default() }
                    .encode_to_vec()
            }
            "GetEvent" => v1::GetEventRequest { id: self.event_id.clone(), ..Default::default() }
                .encode_to_vec(),
            "ListEvents" => v1::ListEventsRequest::default().encode_to_vec(),
            "WatchEvents" => {
                v1::WatchEventsRequest { start: earliest(), ..Default::default() }.encode_to_vec()
            }
            "TestFilter" => v1::TestFilterRequest::default().encode_to_vec(),
            other => panic!("`{other}` has no sample: say what a good request for it is"),
        }
    }

    fn to_dead_letters(&self, method: &str) -> Vec<u8> {
        let selector = || {
            let subscription = "failed".to_owned();
            Some(v1::DeadLetterSelector { subscription, ..Default::default() })
        };
        match method {
            "ListDeadLetters" => v1::ListDeadLettersRequest::default().encode_to_vec(),
            "GetDeadLetter" => {
                v1::GetDeadLetterRequest { id: self.dead_letter_id.clone(), ..Default::default() }
                    .encode_to_vec()
            }
            "SummarizeDeadLetters" => v1::SummarizeDeadLettersRequest::default().encode_to_vec(),
            "RedriveDeadLetters" => v1::RedriveDeadLettersRequest {
                selector: selector(),
                dry_run: true,
                ..Default::default()
            }
            .encode_to_vec(),
            "PurgeDeadLetters" => v1::PurgeDeadLettersRequest {
                selector: selector(),
                dry_run: true,
                ..Default::default()
            }
            .encode_to_vec(),
            other => panic!("`{other}` has no sample: say what a good request for it is"),
        }
    }
}

fn to_subscriptions(method: &str) -> Vec<u8> {
    let name = || "failed".to_owned();
    match method {
        "CreateSubscription" => v1::CreateSubscriptionRequest {
            name: "made".to_owned(),
            patterns: vec!["github".to_owned()],
            ..Default::default()
        }
        .encode_to_vec(),
        "GetSubscription" => v1::GetSubscriptionRequest { name: name() }.encode_to_vec(),
        "ListSubscriptions" => v1::ListSubscriptionsRequest::default().encode_to_vec(),
        "UpdateSubscription" => {
            let policy = v1::SubscriptionPolicy { max_attempts: Some(7), ..Default::default() };
            let paths = vec!["policy.max_attempts".to_owned()];
            let subscription =
                v1::Subscription { name: name(), policy: Some(policy), ..Default::default() };
            v1::UpdateSubscriptionRequest {
                subscription: Some(subscription),
                update_mask: Some(prost_types::FieldMask { paths }),
                filter_from: None,
            }
            .encode_to_vec()
        }
        "DeleteSubscription" => {
            v1::DeleteSubscriptionRequest { name: "spare".to_owned() }.encode_to_vec()
        }
        "PauseSubscription" => {
            v1::PauseSubscriptionRequest { name: name(), until: None }.encode_to_vec()
        }
        "ResumeSubscription" => v1::ResumeSubscriptionRequest { name: name() }.encode_to_vec(),
        "SeekSubscription" => {
            v1::SeekSubscriptionRequest { name: name(), to: earliest(), dry_run: true }
                .encode_to_vec()
        }
        "ReplayEvents" => v1::ReplayEventsRequest {
            subscription: name(),
            patterns: vec!["github".to_owned()],
            dry_run: true,
            ..Default::default()
        }
        .encode_to_vec(),
        "ListDeliveries" => {
            v1::ListDeliveriesRequest { subscription: name(), ..Default::default() }.encode_to_vec()
        }
        other => panic!("`{other}` has no sample: say what a good request for it is"),
    }
}

fn to_others(method: &str) -> Vec<u8> {
    match method {
        "Check" | "Watch" | "ListSources" | "Backup" => Vec::new(),
        "ServerReflectionInfo" => {
            use tonic_reflection::pb::v1::{
                ServerReflectionRequest, server_reflection_request::MessageRequest,
            };
            // Both versions are the same on the wire.
            let request = MessageRequest::ListServices(String::new());
            let message_request = Some(request);
            ServerReflectionRequest { host: String::new(), message_request }.encode_to_vec()
        }
        other => panic!("`{other}` has no sample: say what a good request for it is"),
    }
}

/// Rejects the first event of `failed`, and returns the id of its dead letter.
async fn dead_letter(operator: &Client) -> String {
    let request = v1::SubscribeRequest { max_in_flight: Some(1), ..joining("failed", "worker") };
    let mut stream = subscribe(operator, request).await.unwrap();
    let first = delivery(&mut stream).await.unwrap();
    reject(operator, &first).await;
    let request = v1::ListDeadLettersRequest::default();
    let listed = operator.dead_letters().list_dead_letters(request).await.unwrap();
    listed.into_inner().dead_letters[0].id.clone()
}

/// Whether an answer shows something of github's.
fn shows(path: &str, answer: &Bytes) -> bool {
    fn read<M: prost::Message + Default>(bytes: &Bytes) -> M {
        M::decode(bytes.clone()).unwrap()
    }
    let method = path.rsplit_once('/').unwrap().1;
    match method {
        "Ack" => settled(read::<v1::AckResponse>(answer).results),
        "Nack" => settled(read::<v1::NackResponse>(answer).results),
        "ExtendLease" => {
            let results = read::<v1::ExtendLeaseResponse>(answer).results;
            assert!(matches!(results[0].outcome(), v1::Outcome::Applied | v1::Outcome::Invalid));
            results[0].outcome() == v1::Outcome::Applied
        }
        "ListSubscriptions" => {
            let found = read::<v1::ListSubscriptionsResponse>(answer);
            assert!(found.next_page_token.is_empty());
            found.subscriptions.iter().any(|one| one.name == "work")
        }
        "ListEvents" => {
            let found = read::<v1::ListEventsResponse>(answer);
            assert!(!found.events.is_empty(), "each token reaches something");
            found.events.iter().any(|event| event.source == "github")
        }
        "WatchEvents" => read::<v1::WatchEventsResponse>(answer).event.unwrap().source == "github",
        "TestFilter" => {
            let found = read::<v1::TestFilterResponse>(answer);
            let github = found.samples.iter().any(|event| event.source == "github");
            if !github {
                assert_eq!((found.scanned_count, found.matched_count), (1, 1), "stripe's alone");
            }
            github
        }
        "ListDeadLetters" => {
            let found = read::<v1::ListDeadLettersResponse>(answer);
            assert!(found.next_page_token.is_empty());
            !found.dead_letters.is_empty()
        }
        "SummarizeDeadLetters" => {
            let found = read::<v1::SummarizeDeadLettersResponse>(answer);
            assert_eq!(found.total_count == 0, found.groups.is_empty());
            found.total_count > 0
        }
        "ListSources" => {
            let found = read::<v1::ListSourcesResponse>(answer);
            found.sources.iter().any(|source| source.name == "github")
        }
        // What is not a list is there or is NOT_FOUND.
        _ => true,
    }
}

fn settled(results: Vec<v1::SettleResult>) -> bool {
    let outcome = results[0].outcome();
    assert!(matches!(outcome, v1::Outcome::Applied | v1::Outcome::Invalid), "{outcome:?}");
    if outcome == v1::Outcome::Invalid {
        assert_eq!(results[0].message, "not a lease id of this hub");
    }
    outcome == v1::Outcome::Applied
}

#[test]
fn each_method_has_a_row_and_each_row_a_method() {
    let rows: BTreeSet<_> = rows().into_keys().collect();
    assert_eq!(rows, methods());
}

#[test]
fn each_route_has_a_row_and_each_row_a_route() {
    let routes: BTreeSet<_> = ROUTES.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(table("| route |").into_keys().collect::<BTreeSet<_>>(), routes);
}

#[tokio::test]
async fn each_method_is_allowed_exactly_where_the_table_says() {
    let world = World::new().await;
    let (rows, mut calls) = (rows(), 0);
    for path in methods() {
        let row = rows.get(&path).unwrap_or_else(|| panic!("`{path}` has no row"));
        for (kind, header) in &world.refused {
            let answer = world.call(&path, header.as_deref()).await;
            calls += 1;
            if row.cells[0] == "open" {
                assert!(answer.is_ok(), "{path} with {kind}: {answer:?}");
                continue;
            }
            let status = answer.expect_err(&path);
            assert_eq!(status.code(), Code::Unauthenticated, "{path} with {kind}: {status}");
            assert_eq!(status.message(), "a bearer token that counts is needed");
        }
        // Others first: what is settled by who may can't be settled again.
        let of = |is_reaching: bool| {
            world.tokens.iter().zip(&row.cells).filter_map(
                move |((scope, reaching, other), cell)| {
                    let token = if is_reaching { Some(reaching) } else { other.as_ref() };
                    Some((*scope, format!("Bearer {}", token?), cell.as_str()))
                },
            )
        };
        for (scope, header, cell) in of(false).chain(of(true)) {
            let is_reaching = of(true).any(|(_, reaching, _)| reaching == header);
            let answer = world.call(&path, Some(&header)).await;
            calls += 1;
            let told = format!("{path} with `{scope}`, reaching: {is_reaching}: {answer:?}");
            match (cell, is_reaching) {
                ("open" | "yes", _) => assert!(answer.is_ok(), "{told}"),
                ("all", true) => assert!(shows(&path, &answer.expect(&told)), "{told}"),
                ("-", _) => {
                    let status = answer.expect_err(&told);
                    assert_eq!(status.code(), Code::PermissionDenied, "{told}");
                    for (name, cell) in SCOPES.iter().map(|of| of.0).zip(&row.cells) {
                        let is_named = status.message().contains(&format!("`{name}`"));
                        assert_eq!(is_named, cell != "-", "{status} names what is missing");
                    }
                }
                ("within", true) => assert!(shows(&path, &answer.expect(&told)), "{told}"),
                ("within", false) => match row.out_of_reach.as_str() {
                    "NOT_FOUND" => {
                        assert_eq!(answer.expect_err(&told).code(), Code::NotFound, "{told}");
                    }
                    "PERMISSION_DENIED" => {
                        let status = answer.expect_err(&told);
                        assert_eq!(status.code(), Code::PermissionDenied, "{told}");
                        assert!(status.message().contains("`publish` for agent"), "{status}");
                    }
                    "left out" | "INVALID" => {
                        assert!(!shows(&path, &answer.expect(&told)), "{told}");
                    }
                    other => panic!("{path}: what is `{other}`?"),
                },
                (cell, _) => panic!("{path}: what is `{cell}`?"),
            }
        }
    }
    println!("{calls} calls of {} methods", rows.len());
    check_unknown_methods(&world).await;
    check_log(&world);
}

async fn check_unknown_methods(world: &World) {
    // A method that nobody has is for nobody, whatever the token.
    for path in ["/hookline.v1.EventService/Unknown", "/other.Service/Method", "/"] {
        for (_, token, _) in &world.tokens {
            let header = format!("Bearer {token}");
            let status = call(&world.channel, path, Some(&header), Vec::new()).await.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{path}");
        }
        let status = call(&world.channel, path, None, Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{path}");
    }
}

/// Nothing of what proves a token is in the log.
fn check_log(world: &World) {
    let logged = world.guarded.logged();
    for (_, token, _) in &world.tokens {
        let secret = token.rsplit_once('_').unwrap().1;
        assert!(!logged.contains(secret), "a token is in the log");
    }
    let file = std::fs::read_to_string(world.guarded.tokens().path()).unwrap();
    for hash in file.lines().filter_map(|line| line.strip_prefix("hash = ")) {
        assert!(!logged.contains(hash.trim_matches('"')), "a hash is in the log");
    }
}

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut connection = world.guarded.hub.http().await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: hub\r\n{headers}\r\n");
    connection.send(request.as_bytes()).await.unwrap();
    connection.answer().await.unwrap()
}

#[tokio::test]
async fn each_route_is_allowed_exactly_where_the_table_says() {
    let world = World::new().await;
    let documented = table("| route |");
    let mut headers: Vec<(&str, Option<String>, u16)> =
        world.refused.iter().map(|(kind, header)| (*kind, header.clone(), 401)).collect();
    for (scope, token, other) in &world.tokens {
        let status = if *scope == "operate" { 200 } else { 403 };
        headers.push((*scope, Some(format!("Bearer {token}")), status));
        if let Some(other) = other {
            headers.push((*scope, Some(format!("Bearer {other}")), 403));
        }
    }
    headers.push(("sees all", Some(format!("Bearer {}", world.sees_all)), 200));
    for (number, (kind, header, figures)) in headers.iter().enumerate() {
        let token: Vec<_> = header.iter().map(|value| ("authorization", value.as_str())).collect();
        for (path, access) in ROUTES {
            let word = documented[path][0].as_str();
            match access {
                Access::Signed => {
                    assert!(word.starts_with("who signs"), "{path}");
                    let slash = if path.ends_with("}/") { "/" } else { "" };
                    let key = format!("m{number}{slash}").replace('/', "-");
                    let mut webhook = Webhook::push(&key);
                    webhook.source = format!("github{slash}");
                    if let Some((name, value)) = token.first() {
                        webhook = webhook.with(name, value);
                    }
                    let answer = world.guarded.hub.post(&webhook).await;
                    assert_eq!(answer.status, 200, "{path} with {kind}: {answer:?}");
                    let unsigned = webhook.without("x-hub-signature-256");
                    assert_eq!(world.guarded.hub.post(&unsigned).await.status, 401, "{path}");
                }
                Access::Open => {
                    assert_eq!(word, "open", "{path}");
                    assert_eq!(get(&world, path, &token).await.status, 200, "{path} with {kind}");
                }
                Access::Figures => {
                    assert!(word.starts_with("who asks from this machine"), "{path}");
                    assert_eq!(get(&world, path, &token).await.status, 200, "{path} with {kind}");
                    let afar = [&token[..], &[("x-forwarded-for", "203.0.113.7")]].concat();
                    let answer = get(&world, path, &afar).await;
                    assert_eq!(answer.status, *figures, "{path} with {kind}: {answer:?}");
                    let challenge = answer.header("www-authenticate");
                    assert_eq!(challenge.is_some(), *figures == 401, "{answer:?}");
                }
            }
        }
    }
}
