//! What goes wrong in other receivers of webhooks, one test for each trap that the core can fall into, and the list of all
//! of them with where the others are tested or why they can't happen here.
//!
//! The numbers are those of the collection that was made from public issues of other projects; each row says the trap.

use std::{fs, path::Path};

use bytes::Bytes;
use hookline_core::{
    event::{NewEvent, SourceName},
    normalize::{Received, TEXT_BYTES_MAX},
    source::{Kind, LiveSecret, PublicUrl, Settings, Source},
    time::Timestamp,
    verify::VerifyError,
};
use http::{HeaderMap, HeaderValue};

use crate::ingest_support::{URL, events, headers, post, received_at, secret, signature};

/// Where a trap is looked at.
enum Where {
    /// In these tests, anywhere in the workspace.
    Tests(&'static [&'static str]),
    /// Nowhere, for this reason.
    Not(&'static str),
}
use Where::{Not, Tests};

#[rustfmt::skip]
const TRAPS: [(&str, Where); 38] = [
    ("the body is parsed and written again before it is verified", Tests(&["trap_01_a_reserialized_body_is_refused"])),
    ("a form's media type is compared with its parameters, or its JSON is verified", Tests(&["trap_02_a_form_is_known_whatever_its_media_type_looks_like"])),
    ("the limit is taken from Content-Length, or what is too long is cut", Tests(&["a_body_of_unknown_length_is_refused_where_it_gets_too_large", "a_body_that_is_declared_too_large_is_refused_unread"])),
    ("something is looked up by the body before it is verified", Tests(&["trap_04_a_forged_body_is_not_looked_at"])),
    ("bodies are empty, not UTF-8, arrays, deep, or have a key twice", Tests(&["trap_05_odd_bodies_are_kept_as_they_came"])),
    ("numbers above 2^53 and unknown members are lost", Tests(&["trap_06_large_numbers_stay_what_they_are"])),
    ("the body is decompressed before it is verified", Tests(&["trap_07_a_compressed_body_is_verified_as_it_was_sent"])),
    ("secrets are compared with ==", Tests(&["secrets_are_compared_in_one_file_only"])),
    ("a missing header, a missing secret or an unknown kind passes", Tests(&["trap_09_what_is_missing_never_passes"])),
    ("a prefix is cut off unseen, an encoding or a hash is taken for another", Tests(&["trap_10_a_signature_has_the_form_of_its_kind"])),
    ("a weaker signature is taken where the stronger is missing", Tests(&["trap_11_no_weaker_signature_is_taken"])),
    ("`whsec_` is decoded where it is text, or the other way round", Tests(&["trap_12_a_secret_with_whsec_means_what_its_kind_says"])),
    ("of several signatures only the first is tried", Tests(&["trap_13_of_several_signatures_each_is_tried"])),
    ("times have other units, directions or spellings", Tests(&["trap_14_a_time_has_the_unit_and_the_bounds_of_its_kind", "the_time_is_signed_as_it_is_written"])),
    ("a captured request passes under a new delivery id", Tests(&["trap_15_a_captured_body_has_the_same_hash_under_a_new_id", "trap_15_a_captured_webhook_is_a_replay"])),
    ("the address is taken from headers that anybody may set", Tests(&["trap_16_the_signed_address_is_the_configured_one"])),
    ("the answer tells the right signature, or credentials are kept", Tests(&["trap_17_credentials_are_kept_nowhere", "every_bad_signature_gets_the_same_answer_and_is_counted_by_its_cause"])),
    ("allow lists of addresses are wrong for IPv6 or behind proxies", Not("there are no allow lists: the signature says who sends")),
    ("the actor is null, absent, an object or text", Tests(&["trap_19_members_of_any_type_lose_no_event"])),
    ("issue, pull_request, head_commit, repository are null or missing", Tests(&["trap_19_members_of_any_type_lose_no_event", "without_a_repository_an_event_belongs_to_what_there_is"])),
    ("a comment on a pull request is taken for one on an issue; keys that change name things", Tests(&["trap_21_things_are_named_by_what_does_not_change"])),
    ("there is no action, or it has any text in it", Tests(&["an_action_is_part_of_the_type_only_if_it_is_text"])),
    ("times have twelve forms", Tests(&["a_time_is_read_in_every_form_that_providers_write", "a_time_that_cannot_be_read_is_the_time_of_receipt"])),
    ("ids are numbers or text, and only unique within something", Tests(&["trap_24_an_id_is_text_and_says_where_it_belongs"])),
    ("one request has many events", Tests(&["trap_25_one_request_with_many_events_is_many_events"])),
    ("header values are not UTF-8", Tests(&["headers_that_are_not_text_are_no_danger", "a_header_that_is_not_text_is_malformed"])),
    ("names have NUL or lone surrogates, sizes count characters", Tests(&["trap_27_odd_text_is_kept_and_bounded_in_bytes"])),
    ("the answer comes before the event is durable, or the dedupe is", Tests(&["of_two_copies_at_once_one_is_kept_and_both_are_answered_with_its_id", "i1_copies_at_once_are_one_event"])),
    ("deliveries are forgotten sooner than they are sent again", Tests(&["i1_after_seven_days_a_delivery_key_is_forgotten"])),
    ("ids of two senders are taken for one", Tests(&["i1_the_same_key_of_another_source_is_another_event"])),
    ("the order of arrival is taken for the order of events", Tests(&["trap_31_the_time_of_an_event_is_not_that_of_its_arrival"])),
    ("verified events are shed under load", Tests(&["a_crowd_is_told_to_try_again_before_its_bodies_are_read", "a_log_that_takes_nothing_means_try_again"])),
    ("an agent answers its own comment without end", Tests(&["trap_33_a_bot_is_told_from_a_person"])),
    ("a signature is taken for trust in what a comment says", Not("no code can tell: the README's promises say so")),
    ("patterns match by prefix, and an empty one matches everything", Tests(&["f1_each_row_of_the_table_of_patterns_holds", "f1_what_is_no_pattern_is_refused_with_the_place"])),
    ("a redirect for a slash loses the body", Tests(&["a_trailing_slash_makes_no_difference"])),
    ("probes with GET or OPTIONS are refused", Tests(&["trap_37_a_probe_is_answered_where_the_kind_has_one"])),
    ("the source in the path is used as it comes", Tests(&["an_unknown_source_is_not_found_before_anything_else_is_looked_at"])),
];

#[test]
fn every_trap_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut code = String::new();
    read_all(&root.join("server"), &mut code);
    read_all(&root.join("tests"), &mut code);
    for (number, (trap, place)) in (1..).zip(&TRAPS) {
        match place {
            Tests(names) => {
                for name in *names {
                    let is_there = code.contains(&format!("fn {name}("));
                    assert!(is_there, "trap {number} ({trap}): there is no test `{name}`");
                }
            }
            Not(reason) => println!("trap {number} ({trap}): {reason}"),
        }
    }
}

fn read_all(folder: &Path, code: &mut String) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            read_all(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// A source of a kind, with secrets of its form.
fn source_with(kind: &str, secrets: &[&str], settings: Settings) -> Source {
    let secrets = secrets.iter().map(|text| LiveSecret::from(secret(text))).collect();
    let name = SourceName::parse(kind).unwrap();
    Source::new(name, Kind::parse(kind).unwrap(), secrets, settings).unwrap()
}

fn source(kind: &str, secrets: &[&str]) -> Source {
    let url = Some(PublicUrl::Exact(URL.into()));
    source_with(kind, secrets, Settings { url, ..Settings::default() })
}

fn unsigned(kind: &str) -> Source {
    let name = SourceName::parse(kind).unwrap();
    Source::unsigned(name, Kind::parse(kind).unwrap(), Settings::default()).unwrap()
}

/// What an unsigned request becomes.
fn taken(kind: &str, pairs: &[(&str, &str)], body: &str) -> NewEvent {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let headers = headers(pairs.iter().copied());
    let received = post(&unsigned(kind), &headers, &body, received_at()).unwrap();
    events(received).remove(0)
}

/// Signs with the first secret, and gives the request to the source.
fn send(source: &Source, mut headers: HeaderMap, body: &Bytes) -> Result<Received, VerifyError> {
    headers.extend(signature(source, &headers, body));
    post(source, &headers, body, received_at())
}

fn cause<T>(result: Result<T, VerifyError>) -> &'static str {
    result.map_or_else(|error| error.cause(), |_| "verified")
}

#[test]
fn trap_01_a_reserialized_body_is_refused() {
    let sent = Bytes::from_static("{\n  \"name\": \"\\u00dc\",\n  \"id\": 1\n}\n".as_bytes());
    let again = ["{\"name\":\"\u{dc}\",\"id\":1}", "{\"id\":1,\"name\":\"\\u00dc\"}"];
    for kind in ["github", "stripe", "slack", "paddle", "zoom", "sentry"] {
        let source = source(kind, &["s"]);
        let mut headers = headers([("x-github-event", "push")]);
        headers.extend(signature(&source, &headers, &sent));
        assert_eq!(cause(post(&source, &headers, &sent, received_at())), "verified", "{kind}");
        for again in again {
            let again = Bytes::from_static(again.as_bytes());
            assert_eq!(cause(post(&source, &headers, &again, received_at())), "wrong", "{kind}");
        }
    }
}

#[test]
fn trap_02_a_form_is_known_whatever_its_media_type_looks_like() {
    let body = "payload=%7B%22action%22%3A%22opened%22%7D";
    for media_type in [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "Application/X-WWW-Form-Urlencoded;charset=UTF-8",
        "application/x-www-form-urlencoded ;a=b",
    ] {
        let pairs = [("content-type", media_type), ("x-github-event", "issues")];
        let source = source("github", &["s"]);
        let body = Bytes::from_static(body.as_bytes());
        let event = events(send(&source, headers(pairs), &body).unwrap()).remove(0);
        assert_eq!(event.event_type.as_str(), "issues.opened", "{media_type}");
        assert_eq!(event.payload, r#"{"action":"opened"}"#, "{media_type}");
    }
}

#[test]
fn trap_04_a_forged_body_is_not_looked_at() {
    // A challenge answered, a delivery looked up, a code path chosen: all of that is behind the signature.
    let challenge = r#"{"type":"url_verification","challenge":"c"}"#;
    let validation = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"t"}}"#;
    for (kind, body) in [("slack", challenge), ("zoom", validation), ("discord", r#"{"type":1}"#)] {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let source = source(kind, &[key]);
        let body = Bytes::from_static(body.as_bytes());
        assert_eq!(cause(post(&source, &HeaderMap::new(), &body, received_at())), "missing");
    }
}

#[test]
fn trap_05_odd_bodies_are_kept_as_they_came() {
    let deep = [b"{\"a\":".repeat(5_000), b"1".to_vec(), b"}".repeat(5_000)].concat();
    let bodies: [&[u8]; 9] = [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"[1,[2]]",
        b"null",
        b"\"text\"",
        b"{\"a\":1,\"a\":2}",
        b"{",
        &deep,
    ];
    for kind in Kind::all().filter(|kind| *kind != Kind::CUSTOM) {
        for body in bodies {
            let body = Bytes::copy_from_slice(body);
            let source = unsigned(kind.as_str());
            match post(&source, &HeaderMap::new(), &body, received_at()).unwrap() {
                Received::Events { events, .. } => {
                    assert!(!events.is_empty(), "{kind} {body:?}");
                    let whole = events.iter().any(|event| event.payload == body);
                    assert!(whole || 1 < body.len(), "{kind} {body:?}");
                }
                Received::Answer(answer) => panic!("{kind} answered {body:?}: {answer:?}"),
            }
        }
    }
}

#[test]
fn trap_06_large_numbers_stay_what_they_are() {
    let body = r#"{"id":704912205188288500,"new_member":{"x":18446744073709551615}}"#;
    let event = taken("shopify", &[("x-shopify-topic", "carts/update")], body);
    assert_eq!(event.resource_id, "704912205188288500");
    assert_eq!(event.payload, body);
}

#[test]
fn trap_07_a_compressed_body_is_verified_as_it_was_sent() {
    let gzip =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let (source, body) = (source("github", &["s"]), Bytes::from_static(gzip));
    let pairs = [("content-encoding", "gzip"), ("x-github-event", "push")];
    let event = events(send(&source, headers(pairs), &body).unwrap()).remove(0);
    assert_eq!((event.event_type.as_str(), &event.payload), ("unparsed", &body));
}

#[test]
fn trap_09_what_is_missing_never_passes() {
    for kind in ["github", "stripe", "slack", "jira", "gitlab", "telegram", "shopify", "twilio"] {
        let (source, body) = (source(kind, &["s"]), Bytes::from_static(b"{}"));
        let result = post(&source, &HeaderMap::new(), &body, received_at());
        assert_eq!(cause(result), "missing", "{kind}");
        let name = SourceName::parse("x").unwrap();
        assert!(Source::signed(name, Kind::parse(kind).unwrap(), Vec::new()).is_err());
    }
    assert!(Kind::parse("hmac").is_err());
    assert!(Kind::parse("").is_err());
}

#[test]
fn trap_10_a_signature_has_the_form_of_its_kind() {
    let body = Bytes::from_static(b"{}");
    for kind in ["github", "gitea", "shopify", "intercom", "jira", "linear", "typeform", "square"] {
        let source = source(kind, &["s"]);
        let signed = signature(&source, &HeaderMap::new(), &body);
        for (name, value) in &signed {
            let text = value.to_str().unwrap();
            let bare = text.split_once('=').map_or(text, |(_, value)| value);
            for odd in
                ["", "s", "sha", "sha256=", "sha1=", "=", bare.get(..8).unwrap_or(""), "\u{e9}"]
            {
                let mut headers = signed.clone();
                headers.insert(name.clone(), HeaderValue::from_bytes(odd.as_bytes()).unwrap());
                let result = post(&source, &headers, &body, received_at());
                assert!(result.is_err(), "{kind}: {name}: {odd:?}");
            }
        }
    }
    // Two kinds share a header, and not the hash.
    let signed = signature(&source("jira", &["s"]), &HeaderMap::new(), &body);
    assert!(post(&source("intercom", &["s"]), &signed, &body, received_at()).is_err());
    let signed = signature(&source("intercom", &["s"]), &HeaderMap::new(), &body);
    assert!(post(&source("bitbucket", &["s"]), &signed, &body, received_at()).is_err());
}

#[test]
fn trap_11_no_weaker_signature_is_taken() {
    let body = Bytes::from_static(b"{}");
    // GitLab's token beside a signature that is wrong.
    let gitlab = source("gitlab", &["whsec_c2VjcmV0", "token"]);
    let token = headers([("x-gitlab-token", "token")]);
    assert_eq!(cause(post(&gitlab, &token, &body, received_at())), "verified");
    let now = received_at().as_millis() / 1_000;
    let mut both = token;
    both.insert("webhook-id", HeaderValue::from_static("x"));
    both.insert("webhook-timestamp", HeaderValue::from_str(&now.to_string()).unwrap());
    both.insert("webhook-signature", HeaderValue::from_static("v1,AAAA"));
    assert!(post(&gitlab, &both, &body, received_at()).is_err());

    // HubSpot's v1, which signs neither the address nor a time, where v3 was taken away.
    let hubspot = source("hubspot", &["s"]);
    let v1 = headers([
        ("x-hubspot-signature", "bc9d9a5b3a0f2d9ac7f8b6e1c3bd5f84b4a2cc5a0c8bb6a7b3a5b7f4f8b1a1c4"),
        ("x-hubspot-signature-version", "v1"),
    ]);
    assert_eq!(cause(post(&hubspot, &v1, &body, received_at())), "missing");
}

#[test]
fn trap_12_a_secret_with_whsec_means_what_its_kind_says() {
    let text = "whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQ=";
    let body = Bytes::from_static(b"{\"type\":\"x\"}");
    let id = headers([("webhook-id", "m")]);
    let decoded = source("standard-webhooks", &[text]);
    let mut signed = signature(&decoded, &id, &body);
    signed.extend(id);
    let bare = source("standard-webhooks", &["c2VjcmV0IHNlY3JldCBzZWNyZXQ="]);
    assert_eq!(cause(post(&bare, &signed, &body, received_at())), "verified");

    let literal = source("stripe", &[text]);
    let signed = signature(&literal, &HeaderMap::new(), &body);
    let bare = source("stripe", &["c2VjcmV0IHNlY3JldCBzZWNyZXQ="]);
    assert_eq!(cause(post(&bare, &signed, &body, received_at())), "wrong");
}

#[test]
fn trap_13_of_several_signatures_each_is_tried() {
    let body = Bytes::from_static(b"{\"event\":{\"event_type\":\"x\"}}");
    for (kind, wrong, separator) in [
        ("pagerduty", format!("v1={}", "00".repeat(32)), ","),
        ("stripe", format!("v1={}", "00".repeat(32)), ","),
        ("paddle", "h1=dummy".to_owned(), ";"),
        ("standard-webhooks", format!("v1,{}=", "A".repeat(43)), " "),
    ] {
        let secret = if kind == "standard-webhooks" { "whsec_c2VjcmV0" } else { "s" };
        let source = source(kind, &[secret]);
        let mut all = headers([("webhook-id", "m")]);
        all.extend(signature(&source, &all, &body));
        let name = source.schemes()[0].place.name();
        let right = all[name.as_ref()].to_str().unwrap().to_owned();
        for text in [format!("{wrong}{separator}{right}"), format!("{right}{separator}{wrong}")] {
            all.insert(
                http::HeaderName::try_from(name.as_ref()).unwrap(),
                HeaderValue::from_str(&text).unwrap(),
            );
            assert_eq!(
                cause(post(&source, &all, &body, received_at())),
                "verified",
                "{kind} {text}"
            );
        }
    }
}

#[test]
fn trap_14_a_time_has_the_unit_and_the_bounds_of_its_kind() {
    let body = Bytes::from_static(b"{}");
    let shifted = |secs: i64| Timestamp::from_micros(received_at().as_micros() + secs * 1_000_000);
    for (kind, past, future) in [
        ("slack", 300, Some(300)),
        ("stripe", 300, None),
        ("zoom", 300, Some(300)),
        ("zendesk", 300, Some(300)),
        ("hubspot", 300, None),
        ("paddle", 60, Some(60)),
    ] {
        let source = source(kind, &["s"]);
        let signed = signature(&source, &HeaderMap::new(), &body);
        let at = |secs| cause(post(&source, &signed, &body, shifted(secs).unwrap()));
        assert_eq!((at(past), at(past + 1)), ("verified", "stale"), "{kind}");
        match future {
            Some(future) => {
                assert_eq!((at(-future), at(-future - 1)), ("verified", "stale"), "{kind}");
            }
            None => assert_eq!(at(-9_999), "verified", "{kind}"),
        }
    }
}

#[test]
fn trap_15_a_captured_body_has_the_same_hash_under_a_new_id() {
    let window = Some(std::time::Duration::from_secs(600));
    let settings = Settings { replay_window: window, ..Settings::default() };
    let source = source_with("github", &["s"], settings);
    let body = Bytes::from_static(b"{}");
    let event = |id| {
        let pairs = headers([("x-github-event", "push"), ("x-github-delivery", id)]);
        events(send(&source, pairs, &body).unwrap()).remove(0)
    };
    let (first, second) = (event("a"), event("b"));
    assert_ne!(first.delivery_key, second.delivery_key);
    assert_eq!(first.metadata["body_hash"], second.metadata["body_hash"]);
    assert_eq!(second.replay_window, window);
}

#[test]
fn trap_16_the_signed_address_is_the_configured_one() {
    let body = Bytes::from_static(b"a=1");
    let real = source("twilio", &["s"]);
    let signed = signature(&real, &HeaderMap::new(), &body);
    assert_eq!(cause(post(&real, &signed, &body, received_at())), "verified");
    let url = Some(PublicUrl::Exact("https://other.example.com/x".into()));
    let other = source_with("twilio", &["s"], Settings { url, ..Settings::default() });
    let mut forwarded = signed;
    forwarded.extend(headers([
        ("host", "hooks.example.com"),
        ("x-forwarded-host", "hooks.example.com"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=hooks.example.com;proto=https"),
    ]));
    assert_eq!(cause(post(&other, &forwarded, &body, received_at())), "wrong");
}

#[test]
fn trap_17_credentials_are_kept_nowhere() {
    const LEAK: &str = "leaked-credential";
    for kind in Kind::all().filter(|kind| *kind != Kind::CUSTOM) {
        let mut all = headers([
            ("authorization", LEAK),
            ("cookie", LEAK),
            ("proxy-authorization", LEAK),
            ("x-gitlab-token", LEAK),
            ("x-telegram-bot-api-secret-token", LEAK),
            ("x-api-key", LEAK),
        ]);
        for scheme in kind.provider().schemes {
            let name = http::HeaderName::try_from(scheme.place.name().as_ref());
            name.map(|name| all.insert(name, HeaderValue::from_static(LEAK))).ok();
        }
        if let Some(name) = kind.provider().event_header {
            all.insert(name, HeaderValue::from_static("x"));
        }
        let body = Bytes::from_static(br#"{"type":"x","event":"x","id":"1"}"#);
        let received = post(&unsigned(kind.as_str()), &all, &body, received_at()).unwrap();
        let text = format!("{received:?}");
        assert!(!text.contains(LEAK), "{kind}: {text}");
    }
}

#[test]
fn trap_19_members_of_any_type_lose_no_event() {
    let odd = ["null", "1", "\"x\"", "[]", "{}", "true", "[{\"id\":1}]"];
    let members = [
        "user",
        "actor",
        "sender",
        "issue",
        "pull_request",
        "head_commit",
        "repository",
        "data",
        "event",
        "payload",
        "object_attributes",
        "project",
        "agent",
        "comment",
        "from",
        "message",
    ];
    for kind in Kind::all().filter(|kind| *kind != Kind::CUSTOM) {
        for odd in odd {
            let members: Vec<_> = members.iter().map(|key| format!("\"{key}\":{odd}")).collect();
            let body = Bytes::from(format!("{{\"type\":\"t\",{}}}", members.join(",")));
            let mut all = HeaderMap::new();
            if let Some(name) = kind.provider().event_header {
                all.insert(name, HeaderValue::from_static("issues"));
            }
            let received = post(&unsigned(kind.as_str()), &all, &body, received_at()).unwrap();
            if let Received::Events { events, .. } = received {
                assert_eq!(events.len(), 1, "{kind} {body:?}");
                assert_eq!(events[0].payload, body, "{kind}");
                assert!(!events[0].event_type.as_str().contains("null"), "{kind}");
            }
        }
    }
}

#[test]
fn trap_21_things_are_named_by_what_does_not_change() {
    let comment = r#"{"action":"created","repository":{"full_name":"o/r"},
        "issue":{"number":2,"pull_request":{"url":"u"}},"comment":{"id":9}}"#;
    for (kind, header) in [("github", "x-github-event"), ("gitea", "x-gitea-event")] {
        let event = taken(kind, &[(header, "issue_comment")], comment);
        let resource = (event.resource_type.as_str(), event.resource_id.as_str());
        assert_eq!(resource, ("pull_request", "o/r#2"), "{kind}");
    }
    let body = r#"{"webhookEvent":"jira:issue_updated","issue":{"id":"10002","key":"OLD-1"}}"#;
    let event = taken("jira", &[], body);
    assert_eq!(
        (event.resource_id.as_str(), event.metadata["issue_key"].as_str()),
        ("10002", "OLD-1")
    );
    let body = r#"{"object_kind":"issue","project":{"path_with_namespace":"g/p"},
        "object_attributes":{"id":301,"iid":23,"action":"open"}}"#;
    assert_eq!(taken("gitlab", &[], body).resource_id, "g/p#23");
}

#[test]
fn trap_24_an_id_is_text_and_says_where_it_belongs() {
    for id in ["42", "\"42\""] {
        let body = format!(r#"{{"repository":{{"full_name":"o/r"}},"issue":{{"number":{id}}}}}"#);
        assert_eq!(taken("github", &[("x-github-event", "issues")], &body).resource_id, "o/r#42");
        let body = format!(r#"{{"event":"x.y","payload":{{"object":{{"id":{id}}}}}}}"#);
        assert_eq!(taken("zoom", &[], &body).resource_id, "42");
    }
}

#[test]
fn trap_25_one_request_with_many_events_is_many_events() {
    let body = r#"[{"event":"open","sg_event_id":"a"}, {"event":"click"} ,7]"#;
    let body = Bytes::from_static(body.as_bytes());
    let received = post(&unsigned("sendgrid"), &HeaderMap::new(), &body, received_at()).unwrap();
    let all = events(received);
    let types: Vec<_> = all.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["open", "click", "unparsed"]);
    let payloads: Vec<_> = all.iter().map(|event| &event.payload[..]).collect();
    assert_eq!(
        payloads,
        [&br#"{"event":"open","sg_event_id":"a"}"#[..], br#"{"event":"click"}"#, b"7"]
    );
    assert_eq!(all[0].delivery_key, "a");
    assert!(all[1].delivery_key.ends_with("#1") && all[2].delivery_key.ends_with("#2"));
}

#[test]
fn trap_27_odd_text_is_kept_and_bounded_in_bytes() {
    let surrogate = r#"{"action":"opened","x":"\ud800","sender":{"login":"a\u0000b"}}"#;
    let event = taken("github", &[("x-github-event", "issues")], surrogate);
    assert_eq!(event.payload, surrogate);
    let long = "\u{1f525}".repeat(2_000);
    let body = format!(r#"{{"action":"opened","sender":{{"login":"{long}"}}}}"#);
    let event = taken("github", &[("x-github-event", "issues")], &body);
    assert!(event.actor.len() <= TEXT_BYTES_MAX && long.starts_with(event.actor.as_str()));
}

#[test]
fn trap_31_the_time_of_an_event_is_not_that_of_its_arrival() {
    let body = r#"{"type":"invoice.paid","id":"evt_1","created":1700000000}"#;
    let event = taken("stripe", &[], body);
    assert_eq!(event.timestamp, Timestamp::from_secs(1_700_000_000).unwrap());
    assert_ne!(event.timestamp, received_at());
}

#[test]
fn trap_33_a_bot_is_told_from_a_person() {
    for (kind, pairs, body, actor_type) in [
        (
            "github",
            &[("x-github-event", "issue_comment")][..],
            r#"{"sender":{"login":"x[bot]","type":"Bot"}}"#,
            "Bot",
        ),
        (
            "slack",
            &[],
            r#"{"type":"event_callback","event":{"type":"message","subtype":"bot_message","bot_id":"B1"}}"#,
            "bot",
        ),
        ("telegram", &[], r#"{"update_id":1,"message":{"from":{"id":2,"is_bot":true}}}"#, "bot"),
        (
            "jira",
            &[],
            r#"{"webhookEvent":"x","user":{"accountId":"a","accountType":"app"}}"#,
            "app",
        ),
        ("notion", &[], r#"{"type":"x","authors":[{"id":"a","type":"bot"}]}"#, "bot"),
        (
            "linear",
            &[],
            r#"{"type":"Issue","action":"create","actor":{"id":"a","type":"integration"}}"#,
            "integration",
        ),
    ] {
        let event = taken(kind, pairs, body);
        assert_eq!(event.metadata.get("actor_type"), Some(actor_type), "{kind}");
    }
}
