//! Bodies of Bitbucket Cloud.

use hookline_core::{event::NewEvent, source::Kind};
use http::HeaderMap;

use crate::ingest_support::{headers, ingest};

fn bitbucket(event: &str, members: &str) -> NewEvent {
    let sent = headers([
        ("x-event-key", event),
        ("x-hook-uuid", "hook"),
        ("x-request-uuid", "d-1"),
        ("x-attempt-number", "2"),
    ]);
    let body = format!(r#"{{{members}"repository":{{"full_name":"w/r","uuid":"{{u}}"}}}}"#);
    ingest(Kind::parse("bitbucket").unwrap(), sent, body)
}

#[test]
fn the_resource_is_the_thing_and_a_comment_belongs_to_it() {
    for (members, kind, id) in [
        (r#""pullrequest":{"id":1},"comment":{"id":17},"#, "pull_request", "w/r#1"),
        (r#""issue":{"id":1},"comment":{"id":17},"#, "issue", "w/r/issue/1"),
        (r#""commit":{"hash":"d302"},"comment":{"id":17},"#, "commit", "w/r/commit/d302"),
        (r#""commit_status":{"commit":{"hash":"9fec"}},"#, "commit", "w/r/commit/9fec"),
        (
            r#""push":{"changes":[{"new":{"name":"a/b","type":"branch"},"old":{"name":"c","type":"branch"}}]},"#,
            "branch",
            "w/r/branch/a/b",
        ),
        (
            r#""push":{"changes":[{"new":null,"old":{"name":"v1","type":"tag"}}]},"#,
            "tag",
            "w/r/tag/v1",
        ),
        (
            r#""push":{"changes":[{"new":{"name":"v2","type":"annotated_tag"}}]},"#,
            "tag",
            "w/r/tag/v2",
        ),
        (r#""push":{"changes":[]},"#, "repository", "w/r"),
        (r#""push":{"changes":{}},"pullrequest":null,"issue":[],"#, "repository", "w/r"),
        ("", "repository", "w/r"),
    ] {
        let event = bitbucket("repo:push", members);
        let found = (event.resource_type.as_str(), event.resource_id.as_str());
        assert_eq!(found, (kind, id), "{members}");
    }
}

#[test]
fn the_actor_is_an_account_else_a_name() {
    for (actor, want) in [
        (r#"{"account_id":"557058:2a","uuid":"{u}","nickname":"n"}"#, "557058:2a"),
        (r#"{"uuid":"{u}","nickname":"n"}"#, "{u}"),
        (r#"{"account_id":null,"nickname":"n","username":"old"}"#, "n"),
        (r#"{"username":"old"}"#, "old"),
        ("null", ""),
        ("[]", ""),
        (r#""n""#, ""),
    ] {
        assert_eq!(bitbucket("repo:fork", &format!(r#""actor":{actor},"#)).actor, want, "{actor}");
    }
}

#[test]
fn the_time_is_that_of_the_comment_else_of_the_thing() {
    for (members, want) in [
        (
            r#""pullrequest":{"id":1,"updated_on":"2015-04-06T15:23:38.205705+00:00"},"comment":{"updated_on":"2015-04-06T16:52:29.983730+00:00"},"#,
            "2015-04-06T16:52:29.98373Z",
        ),
        (
            r#""pullrequest":{"updated_on":"2015-04-06T15:23:38Z"},"comment":null,"#,
            "2015-04-06T15:23:38Z",
        ),
        (r#""issue":{"updated_on":"2015-04-06T15:23:38Z"},"#, "2015-04-06T15:23:38Z"),
        (r#""commit_status":{"updated_on":"2015-11-19T20:37:35Z"},"#, "2015-11-19T20:37:35Z"),
        (
            r#""push":{"changes":[{"new":{"target":{"date":"2018-07-02T20:26:56+00:00"}}}]},"#,
            "2027-01-15T08:00:00Z",
        ),
    ] {
        assert_eq!(bitbucket("x", members).timestamp.to_string(), want, "{members}");
    }
}

#[test]
fn a_delivery_is_known_by_its_request_not_by_its_hook() {
    let event = bitbucket("pullrequest:comment_created", r#""comment":{"id":17},"#);
    assert_eq!(event.event_type.as_str(), "pullrequest.comment_created");
    assert_eq!(event.delivery_key, "d-1");
    let found: Vec<_> = event.metadata.iter().collect();
    let want = [
        ("attempt", "2"),
        ("comment_id", "17"),
        ("event_type_raw", "pullrequest:comment_created"),
        ("repository_uuid", "{u}"),
        ("timestamp_source", "received"),
    ];
    assert_eq!(found, want);
}

#[test]
fn what_is_no_event_is_kept_as_it_came() {
    let kind = Kind::parse("bitbucket").unwrap();
    let key = || headers([("x-event-key", "repo:push")]);
    for (headers, body) in [(HeaderMap::new(), "{}"), (key(), "[]"), (key(), "")] {
        let event = ingest(kind, headers, body);
        assert_eq!(event.event_type.as_str(), "unparsed", "{body}");
        assert_eq!(event.payload, body);
    }
    let without_repository = ingest(kind, key(), r#"{"pullrequest":{"id":1}}"#);
    assert_eq!(without_repository.resource_type, "");
}
