//! Bodies of Bitbucket Server and Data Center.

use hookline_core::{event::NewEvent, source::Kind};
use http::HeaderMap;

use crate::ingest_support::{headers, ingest};

const REPOSITORY: &str = r#""repository":{"slug":"r","project":{"key":"~me"}}"#;

fn bitbucket(headers: HeaderMap, members: &str) -> NewEvent {
    ingest(Kind::parse("bitbucket-server").unwrap(), headers, format!("{{{members}}}"))
}

#[test]
fn the_resource_is_the_thing_and_a_comment_belongs_to_it() {
    for (members, kind, id) in [
        (
            format!(r#""pullRequest":{{"id":2,"toRef":{{{REPOSITORY}}}}},"comment":{{"id":1}}"#),
            "pull_request",
            "~me/r#2",
        ),
        (
            format!(r#""changes":[{{"ref":{{"displayId":"a/b","type":"BRANCH"}}}}],{REPOSITORY}"#),
            "branch",
            "~me/r/branch/a/b",
        ),
        (
            format!(r#""changes":[{{"ref":{{"displayId":"v1","type":"TAG"}}}}],{REPOSITORY}"#),
            "tag",
            "~me/r/tag/v1",
        ),
        (
            format!(r#""commit":"17877c5a","comment":{{"id":1}},{REPOSITORY}"#),
            "commit",
            "~me/r/commit/17877c5a",
        ),
        (
            format!(r#""changes":[],"commit":{{}},"pullRequest":null,{REPOSITORY}"#),
            "repository",
            "~me/r",
        ),
        (
            r#""old":{"slug":"o","project":{"key":"P"}},"new":{"slug":"n","project":{"key":"P"}}"#
                .to_owned(),
            "repository",
            "P/n",
        ),
        (r#""pullRequest":{"id":2},"repository":{"slug":"r"}"#.to_owned(), "", ""),
        (r#""test":true"#.to_owned(), "", ""),
    ] {
        let event = bitbucket(headers([("x-event-key", "x")]), &members);
        let found = (event.resource_type.as_str(), event.resource_id.as_str());
        assert_eq!(found, (kind, id), "{members}");
    }
}

#[test]
fn the_event_is_named_by_the_header_else_by_the_body() {
    let members = r#""eventKey":"pr:comment:added","date":"2019-03-01T10:06:11+0100",
        "actor":{"name":"gopher","displayName":"Foo Bar","type":"NORMAL","emailAddress":"a@b"}"#;
    let sent = headers([("x-event-key", "pr:comment:edited"), ("x-request-id", "d-1")]);
    let event = bitbucket(sent, members);
    assert_eq!(event.event_type.as_str(), "pr.comment.edited");
    assert_eq!([event.delivery_key.as_str(), &event.actor], ["d-1", "gopher"]);
    assert_eq!(event.timestamp.to_string(), "2019-03-01T09:06:11Z");
    assert_eq!(event.metadata["actor_name"], "Foo Bar");
    assert_eq!(event.metadata["actor_type"], "NORMAL");

    let event = bitbucket(HeaderMap::new(), members);
    assert_eq!(event.event_type.as_str(), "pr.comment.added");
    assert!(event.delivery_key.starts_with("sha256:"));
    let event = bitbucket(HeaderMap::new(), r#""eventKey":null,"actor":[]"#);
    assert_eq!(event.event_type.as_str(), "unparsed");
}
