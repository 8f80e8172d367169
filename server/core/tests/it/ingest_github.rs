//! GitHub bodies as they should not be, and the table of resources.

use bytes::Bytes;
use hookline_core::source::Kind;
use http::HeaderValue;

use crate::ingest_support::{github, headers, ingest, received_at};

const REPOSITORY: &str = r#""repository":{"full_name":"o/r","pushed_at":1557933565}"#;

/// Ingests a body with a repository, and these members.
fn with(event: &str, members: &str) -> (String, String) {
    let event = github(event, &format!("{{{REPOSITORY},{members}}}"));
    (event.resource_type.into(), event.resource_id.into())
}

#[test]
fn each_event_is_about_the_right_thing() {
    for (event, members, kind, id) in [
        ("issues", r#""issue":{"number":42}"#, "issue", "o/r#42"),
        ("issue_comment", r#""issue":{"number":42},"comment":{"id":1}"#, "issue", "o/r#42"),
        ("issue_comment", r#""issue":{"number":42,"pull_request":null}"#, "issue", "o/r#42"),
        (
            "issue_comment",
            r#""issue":{"number":42,"pull_request":{"url":""}}"#,
            "pull_request",
            "o/r#42",
        ),
        ("pull_request", r#""pull_request":{"number":7,"id":1}"#, "pull_request", "o/r#7"),
        ("pull_request", r#""number":7,"pull_request":null"#, "pull_request", "o/r#7"),
        (
            "pull_request_review",
            r#""review":{"id":1},"pull_request":{"number":7}"#,
            "pull_request",
            "o/r#7",
        ),
        ("push", r#""ref":"refs/heads/a/b""#, "branch", "o/r/branch/a/b"),
        ("push", r#""ref":"refs/tags/v1""#, "tag", "o/r/tag/v1"),
        ("push", r#""ref":"refs/notes/x""#, "ref", "o/r/ref/refs/notes/x"),
        ("create", r#""ref":"a/b","ref_type":"branch""#, "branch", "o/r/branch/a/b"),
        ("delete", r#""ref":"v1","ref_type":"tag""#, "tag", "o/r/tag/v1"),
        ("create", r#""ref":null,"ref_type":"repository""#, "repository", "o/r"),
        ("label", r#""label":{"name":"bug"}"#, "label", "o/r/label/bug"),
        ("label", r#""label":{"name":"bug","id":5}"#, "label", "o/r/label/5"),
        (
            "repository_ruleset",
            r#""repository_ruleset":{"id":5}"#,
            "repository_ruleset",
            "o/r/repository_ruleset/5",
        ),
        // Events that are not in the table are looked for by their name.
        ("brand_new", r#""brand_new":{"id":5}"#, "brand_new", "o/r/brand_new/5"),
        ("brand_new", r#""brand_new":{"number":6}"#, "brand_new", "o/r/brand_new/6"),
        ("brand_new", r#""other":{"id":5}"#, "repository", "o/r"),
        ("brand.new", r#""brand":{"new":{"id":5}}"#, "repository", "o/r"),
        // What a rule looks for is missing, null, or of another type.
        ("issues", r#""issue":null"#, "repository", "o/r"),
        ("issues", r#""issue":{"number":{}}"#, "repository", "o/r"),
        ("issues", r#""issue":[42]"#, "repository", "o/r"),
        ("issues", r#""issue":"42""#, "repository", "o/r"),
        ("issues", r#""issue":{"number":"42"}"#, "issue", "o/r#42"),
        ("issues", r#""organization":{"id":9}"#, "repository", "o/r"),
    ] {
        assert_eq!(with(event, members), (kind.into(), id.into()), "{event} {members}");
    }
}

#[test]
fn without_a_repository_an_event_belongs_to_what_there_is() {
    for (event, body, kind, id) in [
        ("team", r#"{"organization":{"id":9},"team":{"id":1}}"#, "organization", "9"),
        ("org_block", r#"{"organization":{"id":9},"installation":{"id":3}}"#, "organization", "9"),
        ("brand_new", r#"{"installation":{"id":3}}"#, "installation", "3"),
        ("installation", r#"{"installation":{"id":3},"repository":null}"#, "installation", "3"),
        ("ping", r#"{"hook_id":8,"hook":{}}"#, "hook", "8"),
        ("security_advisory", r#"{"security_advisory":{"ghsa_id":"G"}}"#, "security_advisory", "G"),
        ("issues", r#"{"repository":{"name":"r"},"issue":{"number":1}}"#, "issue", "1"),
        ("brand_new", r#"{"sender":{"id":4,"login":"a"}}"#, "user", "4"),
        ("brand_new", "{}", "", ""),
        (
            "push",
            r#"{"repository":{"name":"r","owner":{"name":"o"}},"ref":"x"}"#,
            "ref",
            "o/r/ref/x",
        ),
    ] {
        let found = github(event, body);
        assert_eq!(
            (found.resource_type.as_str(), found.resource_id.as_str()),
            (kind, id),
            "{body}"
        );
    }
}

#[test]
fn an_action_is_part_of_the_type_only_if_it_is_text() {
    for (members, want, raw) in [
        (r#""action":"opened""#, "issues.opened", None),
        (r#""action":"""#, "issues", None),
        (r#""action":null"#, "issues", None),
        (r#""action":7"#, "issues", None),
        (r#""action":{"a":1}"#, "issues", None),
        (r#""x":1"#, "issues", None),
        (r#""action":"My Job*\n""#, "issues.my_job__", Some("issues.My Job*\n")),
        (r#""action":"a/b:c""#, "issues.a.b.c", Some("issues.a/b:c")),
        (r#""action":"\u0000""#, "issues._", Some("issues.\0")),
        (r#""action":"a","action":"b""#, "issues.b", None),
        (r#""\u0061ction":"escaped""#, "issues.escaped", None),
    ] {
        let event = github("issues", &format!("{{{members}}}"));
        assert_eq!(event.event_type.as_str(), want, "{members}");
        assert_eq!(event.metadata.get("event_type_raw"), raw, "{members}");
    }
    let long = github("issues", &format!(r#"{{"action":"{}"}}"#, "x".repeat(5_000_000)));
    assert_eq!(long.event_type.as_str().len(), 128);
    assert_eq!(long.metadata["action"].len(), 1_024);
}

#[test]
fn who_did_it_may_be_unknown() {
    for (sender, want) in [
        (r#"{"login":"octocat","id":1,"type":"User"}"#, "octocat"),
        ("null", ""),
        ("7", ""),
        ("\"octocat\"", ""),
        (r#"{"login":null}"#, ""),
        (r#"[{"login":"octocat"}]"#, ""),
    ] {
        let event = github("issues", &format!(r#"{{"sender":{sender}}}"#));
        assert_eq!(event.actor, want, "{sender}");
        assert_eq!(event.event_type.as_str(), "issues", "{sender}");
    }
    let bot = github("issues", r#"{"sender":{"login":"x[bot]","id":41898282,"type":"Bot"}}"#);
    assert_eq!(bot.metadata["actor_type"], "Bot");
    assert_eq!(bot.metadata["actor_id"], "41898282");
}

#[test]
fn a_push_that_deletes_a_branch_has_the_time_of_the_repository() {
    for (pushed_at, want) in [
        ("1557933565", "2019-05-15T15:19:25Z"),
        ("\"2019-05-15T15:19:25Z\"", "2019-05-15T15:19:25Z"),
        ("null", "2027-01-15T08:00:00Z"),
        ("\"soon\"", "2027-01-15T08:00:00Z"),
    ] {
        let body = format!(
            r#"{{"ref":"refs/heads/x","head_commit":null,"repository":{{"full_name":"o/r","pushed_at":{pushed_at}}}}}"#
        );
        let event = github("push", &body);
        assert_eq!(event.timestamp.to_string(), want, "{pushed_at}");
        let is_received = event.timestamp == received_at();
        assert_eq!(event.metadata.contains_key("timestamp_source"), is_received, "{pushed_at}");
    }
}

#[test]
fn a_release_has_a_time_only_of_what_happened_to_it() {
    let members = r#""release":{"id":1,"created_at":"2020-01-01T00:00:00Z","published_at":"2020-01-02T00:00:00Z"}"#;
    for (action, want) in [
        ("created", "2020-01-01T00:00:00Z"),
        ("published", "2020-01-02T00:00:00Z"),
        ("deleted", "2027-01-15T08:00:00Z"),
    ] {
        let event = github("release", &format!(r#"{{"action":"{action}",{members}}}"#));
        assert_eq!(event.timestamp.to_string(), want, "{action}");
    }
}

#[test]
fn what_cannot_be_read_is_kept_as_it_came() {
    let truncated = &br#"{"action":"opened","issue":{"number":1"#[..];
    for body in [
        truncated,
        b"",
        b"null",
        b"[{\"action\":\"opened\"}]",
        b"\"text\"",
        b"{\"action\":\"\xff\"}",
        b"{\"action\":\"\\ud800\"}",
        b"{\"a\":1}{\"b\":2}",
        b"\0\x01\x02",
        b"payload=%7B%7D",
    ] {
        let headers = headers([
            ("content-type", "application/json"),
            ("x-github-event", "issues"),
            ("x-github-delivery", "d-1"),
        ]);
        let event = ingest(Kind::GITHUB, headers, body);
        assert_eq!(event.event_type.as_str(), "unparsed", "{body:?}");
        assert_eq!(event.payload, body);
        assert_eq!(event.delivery_key, "d-1");
        assert_eq!(event.timestamp, received_at());
        assert_eq!(event.metadata["timestamp_source"], "received");
    }
}

#[test]
fn surrogates_and_depth_where_nothing_is_looked_for_lose_no_event() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"action":"opened","x":"\ud800","deep":{deep}}}"#);
    let event = github("issues", &body);
    assert_eq!(event.event_type.as_str(), "issues.opened");
    assert_eq!(event.payload, body);
    let deep_action = github("issues", &format!(r#"{{"action":{deep}}}"#));
    assert_eq!(deep_action.event_type.as_str(), "issues");
    let with_mark = github("issues", "\u{feff}{\"action\":\"opened\"}");
    assert_eq!(with_mark.event_type.as_str(), "issues.opened");
    assert!(with_mark.payload.starts_with("\u{feff}".as_bytes()));
}

#[test]
fn without_an_id_the_body_is_the_key_and_without_a_name_the_event_is_unparsed() {
    let hash = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let nameless = ingest(Kind::GITHUB, headers([("x-github-delivery", "d")]), "{}");
    assert_eq!((nameless.event_type.as_str(), nameless.delivery_key.as_str()), ("unparsed", "d"));
    let keyless = ingest(Kind::GITHUB, headers([("x-github-event", "ping")]), "{}");
    assert_eq!((keyless.event_type.as_str(), keyless.delivery_key.as_str()), ("ping", hash));

    let two = headers([
        ("x-github-event", "ping"),
        ("x-github-delivery", "a"),
        ("x-github-delivery", "b"),
    ]);
    assert_eq!(ingest(Kind::GITHUB, two, "{}").delivery_key, hash);
    let mut not_text = headers([("x-github-event", "ping")]);
    not_text.insert("x-github-delivery", HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(ingest(Kind::GITHUB, not_text, "{}").delivery_key, hash);
    let long = "x".repeat(257);
    let long = headers([("x-github-event", "ping"), ("x-github-delivery", long.as_str())]);
    let key = ingest(Kind::GITHUB, long, "{}").delivery_key;
    assert!(key.starts_with("sha256:") && key.len() == 71 && key != hash, "{key}");
}

#[test]
fn the_payload_is_the_json_of_a_form_and_anything_else_as_posted() {
    let form = "application/x-www-form-urlencoded";
    for (content_type, body, payload, event_type) in [
        (form, "payload=%7B%22action%22%3A+%22a%22%7D", r#"{"action": "a"}"#, "issues.a"),
        ("Application/X-WWW-form-urlencoded ;charset=x", "payload=%7b%7d", "{}", "issues"),
        (form, "action=a&b=1&b=2", r#"{"action":"a","b":["1","2"]}"#, "issues.a"),
        (form, "payload=%7B", "payload=%7B", "unparsed"),
        (form, "payload=", "payload=", "unparsed"),
        (form, "payload=%ff%fe", "payload=%ff%fe", "unparsed"),
        (form, "", "", "unparsed"),
        ("text/plain", r#" {"action":"a"} "#, r#" {"action":"a"} "#, "issues.a"),
        ("multipart/form-data; boundary=x", "--x", "--x", "unparsed"),
    ] {
        let headers = headers([("content-type", content_type), ("x-github-event", "issues")]);
        let event = ingest(Kind::GITHUB, headers, body);
        assert_eq!(event.payload, Bytes::from_static(payload.as_bytes()), "{body}");
        assert_eq!(event.event_type.as_str(), event_type, "{body}");
        let essence = content_type.split(';').next().unwrap().trim().to_lowercase();
        assert_eq!(event.metadata["content_type"], essence);
    }
}

#[test]
fn metadata_holds_the_trace_and_no_credentials() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = headers([
        ("x-github-event", "issues"),
        ("traceparent", trace),
        ("authorization", "Bearer abc"),
        ("cookie", "abc"),
        ("x-github-hook-id", "5"),
        ("x-github-hook-installation-target-id", "6"),
        ("x-github-hook-installation-target-type", "repository"),
    ]);
    let event = ingest(Kind::GITHUB, headers, r#"{"action":"opened","installation":{"id":3}}"#);
    let found: Vec<_> = event.metadata.iter().collect();
    assert_eq!(
        found,
        [
            ("action", "opened"),
            ("github_hook_id", "5"),
            ("github_hook_target_id", "6"),
            ("github_hook_target_type", "repository"),
            ("installation_id", "3"),
            ("timestamp_source", "received"),
            ("traceparent", trace),
        ]
    );
}
