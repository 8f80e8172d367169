//! GitLab bodies in all their shapes, and its two ways to sign.

use bytes::Bytes;
use hookline_core::{
    event::{NewEvent, SourceName},
    source::{Kind, Source},
};
use http::HeaderMap;

use crate::ingest_support::{events, headers, post, received_at, secret, signature, source};

/// Of the signing token: base64 after its prefix.
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOKEN: &str = "a token";

fn gitlab() -> Kind {
    Kind::parse("gitlab").unwrap()
}

fn ingest(body: &str) -> NewEvent {
    let body = Bytes::from(body.to_owned());
    let sent = headers([("x-gitlab-token", TOKEN), ("idempotency-key", "d-1")]);
    events(post(&source(gitlab(), &[TOKEN]), &sent, &body, received_at()).unwrap()).remove(0)
}

#[test]
fn the_type_is_the_kind_with_what_was_done() {
    for (body, want) in [
        (r#"{"object_kind":"issue","object_attributes":{"action":"open"}}"#, "issue.open"),
        (r#"{"object_kind":"issue","object_attributes":null}"#, "issue"),
        (r#"{"object_kind":"issue","object_attributes":{"action":null,"status":"x"}}"#, "issue"),
        (
            r#"{"object_kind":"pipeline","object_attributes":{"status":"success"}}"#,
            "pipeline.success",
        ),
        (r#"{"object_kind":"build","build_status":"created"}"#, "build.created"),
        (r#"{"object_kind":"deployment","status":"running"}"#, "deployment.running"),
        (r#"{"object_kind":"release","action":"create"}"#, "release.create"),
        (r#"{"object_kind":"push","event_name":"push"}"#, "push"),
        (r#"{"event_name":"project_create","action":"x"}"#, "project_create"),
        (r#"{"object_kind":"","event_type":"note"}"#, "note"),
    ] {
        assert_eq!(ingest(body).event_type.as_str(), want, "{body}");
    }
    for body in ["", "[]", "{}", r#"{"object_kind":null,"event_name":[]}"#, "a template"] {
        let event = ingest(body);
        assert_eq!(event.event_type.as_str(), "unparsed", "{body}");
        assert_eq!(event.payload, body);
    }
}

#[test]
fn a_thing_is_named_within_its_project_and_a_comment_belongs_to_it() {
    const PROJECT: &str = r#""project":{"id":5,"path_with_namespace":"a/b/c"},"project_id":5"#;
    for (members, kind, id) in [
        (r#""object_kind":"issue","object_attributes":{"id":9,"iid":2}"#, "issue", "a/b/c#2"),
        (
            r#""object_kind":"merge_request","object_attributes":{"id":9,"iid":2}"#,
            "merge_request",
            "a/b/c!2",
        ),
        (
            r#""object_kind":"note","object_attributes":{"id":9},"merge_request":{"iid":3}"#,
            "merge_request",
            "a/b/c!3",
        ),
        (
            r#""object_kind":"note","object_attributes":{"id":9},"issue":{"iid":3}"#,
            "issue",
            "a/b/c#3",
        ),
        (r#""object_kind":"note","issue":null,"snippet":{"id":7}"#, "snippet", "a/b/c/snippet/7"),
        (
            r#""object_kind":"emoji","object_attributes":{"id":9},"project_snippet":{"id":7}"#,
            "snippet",
            "a/b/c/snippet/7",
        ),
        (r#""object_kind":"note","commit":{"id":"cfe3"}"#, "commit", "a/b/c/commit/cfe3"),
        (r#""object_kind":"note","object_attributes":{"id":9}"#, "project", "a/b/c"),
        (
            r#""object_kind":"push","ref":"refs/heads/feature/x""#,
            "branch",
            "a/b/c/branch/feature/x",
        ),
        (r#""object_kind":"tag_push","ref":"refs/tags/v1""#, "tag", "a/b/c/tag/v1"),
        (r#""event_name":"push","ref":"refs/heads/main""#, "branch", "a/b/c/branch/main"),
        (r#""object_kind":"push","ref":"refs/keep-around/x""#, "project", "a/b/c"),
        (
            r#""object_kind":"pipeline","object_attributes":{"id":31,"iid":3}"#,
            "pipeline",
            "a/b/c/pipeline/31",
        ),
        (r#""object_kind":"build","build_id":1977"#, "job", "a/b/c/job/1977"),
        (r#""object_kind":"deployment","deployment_id":15"#, "deployment", "a/b/c/deployment/15"),
        (r#""object_kind":"release","id":82"#, "release", "a/b/c/release/82"),
        (
            r#""object_kind":"feature_flag","object_attributes":{"id":6}"#,
            "feature_flag",
            "a/b/c/feature_flag/6",
        ),
        (
            r#""object_kind":"wiki_page","object_attributes":{"slug":"home"}"#,
            "wiki_page",
            "a/b/c/wiki_page/home",
        ),
        (r#""event_name":"repository_update""#, "project", "a/b/c"),
    ] {
        let event = ingest(&format!("{{{members},{PROJECT}}}"));
        let found = (event.resource_type.as_str(), event.resource_id.as_str());
        assert_eq!(found, (kind, id), "{members}");
    }
}

#[test]
fn a_system_hook_is_about_its_project_group_user_or_key() {
    for (body, kind, id) in [
        (
            r#"{"event_name":"project_create","path_with_namespace":"a/b","project_id":7}"#,
            "project",
            "a/b",
        ),
        (r#"{"event_name":"project_destroy","project_id":7}"#, "project", "7"),
        (r#"{"event_name":"group_rename","group_id":64}"#, "group", "64"),
        (r#"{"event_name":"subgroup_create","group_id":65}"#, "group", "65"),
        (r#"{"event_name":"user_add_to_group","group_id":78,"user_id":41}"#, "group", "78"),
        (r#"{"event_name":"user_create","user_id":41}"#, "user", "41"),
        (r#"{"event_name":"key_destroy","id":4}"#, "key", "4"),
        (r#"{"event_name":"user_create","user_id":null}"#, "", ""),
        (
            r#"{"object_kind":"access_token","object_attributes":{"id":25},"group":{"group_id":35}}"#,
            "access_token",
            "25",
        ),
    ] {
        let event = ingest(body);
        let found = (event.resource_type.as_str(), event.resource_id.as_str());
        assert_eq!(found, (kind, id), "{body}");
    }
}

#[test]
fn the_actor_is_a_name_and_never_an_address() {
    for (members, want) in [
        (r#""user":{"username":"root","name":"Administrator","email":"a@b"}"#, "root"),
        (r#""user":{"name":"Administrator","email":"a@b"}"#, "Administrator"),
        (r#""user_username":"jsmith","user_name":"John","user_id":4"#, "jsmith"),
        (r#""user":null,"user_name":"John","user_email":"a@b""#, "John"),
        (r#""user_name":"","user_id":4"#, "4"),
        (r#""user_email":"a@b","user":[]"#, ""),
    ] {
        assert_eq!(
            ingest(&format!(r#"{{"object_kind":"push",{members}}}"#)).actor,
            want,
            "{members}"
        );
    }
}

#[test]
fn a_time_is_the_newest_that_the_thing_tells() {
    for (members, want) in [
        (
            r#""object_attributes":{"created_at":"2013-12-03T17:15:43Z","updated_at":"2013-12-03 17:15:44 UTC"}"#,
            "2013-12-03T17:15:44Z",
        ),
        (
            r#""object_attributes":{"created_at":"2016-08-12 15:23:28 UTC","finished_at":"2016-08-12 15:26:29 UTC"}"#,
            "2016-08-12T15:26:29Z",
        ),
        (
            r#""build_created_at":"2021-02-23T02:41:37.886Z","build_started_at":null"#,
            "2021-02-23T02:41:37.886Z",
        ),
        (r#""status_changed_at":"2021-04-28 21:50:00 +0200""#, "2021-04-28T19:50:00Z"),
        (r#""commits":[{"timestamp":"2011-12-12T14:27:31+02:00"}]"#, "2027-01-15T08:00:00Z"),
    ] {
        let event = ingest(&format!(r#"{{"object_kind":"x",{members}}}"#));
        assert_eq!(event.timestamp.to_string(), want, "{members}");
    }
}

#[test]
fn a_retry_keeps_the_key_and_only_the_key_counts() {
    let body = Bytes::from_static(br#"{"object_kind":"push"}"#);
    let keys = ["u-1", "u-2"].map(|uuid| {
        let sent = headers([
            ("x-gitlab-token", TOKEN),
            ("idempotency-key", "d-1"),
            ("x-gitlab-webhook-uuid", uuid),
            ("x-gitlab-event-uuid", "e-1"),
        ]);
        let received = post(&source(gitlab(), &[TOKEN]), &sent, &body, received_at());
        events(received.unwrap()).remove(0).delivery_key
    });
    assert_eq!(keys, ["d-1", "d-1"]);
}

#[test]
fn a_request_with_a_signature_is_never_taken_for_its_token() {
    let body = Bytes::from_static(br#"{"object_kind":"push"}"#);
    let both = source(gitlab(), &[SIGNING, TOKEN]);
    let cause = |source: &Source, headers: &HeaderMap| {
        post(source, headers, &body, received_at()).map_or_else(|error| error.cause(), |_| "taken")
    };

    let mut signed = headers([("webhook-id", "d-1")]);
    signed.extend(signature(&both, &signed, &body));
    assert_eq!(cause(&both, &signed), "taken");
    let mut renamed = signed.clone();
    renamed.insert("idempotency-key", "d-9".parse().unwrap());
    let received = post(&both, &renamed, &body, received_at()).unwrap();
    assert_eq!(events(received)[0].delivery_key, "d-1", "the id that is signed counts");

    let token = headers([("x-gitlab-token", TOKEN)]);
    assert_eq!(cause(&both, &token), "taken");
    assert_eq!(cause(&both, &headers([("x-gitlab-token", "another")])), "wrong");
    assert_eq!(cause(&both, &headers([("x-gitlab-token", SIGNING)])), "wrong");
    assert_eq!(cause(&both, &HeaderMap::new()), "missing");

    let mut forged = signed.clone();
    forged.extend(token);
    forged.insert("webhook-id", "d-2".parse().unwrap());
    assert_eq!(cause(&both, &forged), "wrong");
    forged.insert("webhook-signature", "".parse().unwrap());
    assert_eq!(cause(&both, &forged), "malformed");

    signed.extend(headers([("x-gitlab-token", TOKEN)]));
    assert_eq!(cause(&source(gitlab(), &[TOKEN]), &signed), "wrong");
    assert_eq!(
        cause(&source(gitlab(), &[SIGNING]), &headers([("x-gitlab-token", SIGNING)])),
        "wrong"
    );
}

#[test]
fn a_secret_is_of_the_scheme_that_its_prefix_tells() {
    let made = |text: &str| {
        let name = SourceName::parse("gitlab").unwrap();
        Source::signed(name, gitlab(), vec![secret(text)]).is_ok()
    };
    assert!(made(SIGNING) && made(TOKEN));
    assert!(!made("whsec_no base64"));
}
