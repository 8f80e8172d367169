//! Jira bodies of Cloud and of Data Center.

use bytes::Bytes;
use hookline_core::{event::NewEvent, source::Kind};
use http::HeaderMap;

use crate::ingest_support::{SECRET, headers, ingest, post, received_at, source};

fn jira(body: &str) -> NewEvent {
    let sent = headers([("x-atlassian-webhook-identifier", "d-1")]);
    ingest(Kind::parse("jira").unwrap(), sent, body.to_owned())
}

fn metadata<'e>(event: &'e NewEvent, key: &str) -> &'e str {
    event.metadata.get(key).unwrap_or_default()
}

#[test]
fn the_type_is_the_event_without_the_prefix() {
    for (body, want, raw) in [
        (r#"{"webhookEvent":"jira:issue_updated"}"#, "issue_updated", "jira:issue_updated"),
        (r#"{"webhookEvent":"comment_created"}"#, "comment_created", ""),
        (r#"{"webhookEvent":null,"issue_event_type_name":"issue_moved"}"#, "issue_moved", ""),
    ] {
        let event = jira(body);
        assert_eq!(
            (event.event_type.as_str(), metadata(&event, "event_type_raw")),
            (want, raw),
            "{body}"
        );
        assert_eq!(event.delivery_key, "d-1");
    }
    for body in [
        "",
        "[]",
        "{}",
        r#"{"issue":{"id":"1"}}"#,
        r#"{"webhookEvent":{}}"#,
        r#"{"webhookEvent":"jira:"}"#,
    ] {
        let event = jira(body);
        assert_eq!(event.event_type.as_str(), "unparsed", "{body}");
        assert_eq!(event.payload, body);
    }
}

#[test]
fn the_actor_is_the_user_else_the_last_author() {
    for (members, actor, actor_type, actor_name) in [
        (
            r#""user":{"accountId":"a:1","accountType":"app","displayName":"Bot","name":"n","key":"k"}"#,
            "a:1",
            "app",
            "Bot",
        ),
        (r#""user":{"name":"n","key":"k","displayName":"N"}"#, "n", "", "N"),
        (r#""user":{"key":"k"}"#, "k", "", ""),
        (
            r#""user":null,"comment":{"author":{"accountId":"a"},"updateAuthor":{"accountId":"u","accountType":"atlassian"}}"#,
            "u",
            "atlassian",
            "",
        ),
        (r#""comment":{"author":{"name":"a"},"updateAuthor":null}"#, "a", "", ""),
        (r#""worklog":{"author":{"accountId":"a"},"updateAuthor":{"accountId":"u"}}"#, "u", "", ""),
        (r#""worklog":{"author":{"accountId":"a"}}"#, "a", "", ""),
        (r#""attachment":{"author":{"key":"k","displayName":"K"}}"#, "k", "", "K"),
        (
            r#""user":{"name":"n"},"comment":{"author":{"accountId":"a","accountType":"app"}}"#,
            "n",
            "",
            "",
        ),
        (r#""user":[],"comment":"x","worklog":1"#, "", "", ""),
    ] {
        let event = jira(&format!(r#"{{"webhookEvent":"x",{members}}}"#));
        let found =
            [event.actor.as_str(), metadata(&event, "actor_type"), metadata(&event, "actor_name")];
        assert_eq!(found, [actor, actor_type, actor_name], "{members}");
    }
}

#[test]
fn what_happens_to_an_issue_belongs_to_it_by_its_id() {
    for (members, kind, id) in [
        (r#""issue":{"id":"10","key":"A-1"},"comment":{"id":"20"}"#, "issue", "10"),
        (r#""issue":{"id":10}"#, "issue", "10"),
        (r#""worklog":{"id":"30","issueId":"10"}"#, "issue", "10"),
        (r#""issue":null,"comment":{"id":"20"}"#, "comment", "20"),
        (r#""issue":[],"worklog":{"id":"30"}"#, "worklog", "30"),
        (r#""attachment":{"id":"40"}"#, "attachment", "40"),
        (r#""version":{"id":"50","projectId":1}"#, "version", "50"),
        (r#""sprint":{"id":60}"#, "sprint", "60"),
        (r#""board":{"id":70}"#, "board", "70"),
        (r#""project":{"id":80}"#, "project", "80"),
        (r#""issueLink":{"id":90,"sourceIssueId":10,"destinationIssueId":11}"#, "issue", "10"),
        (r#""issue":{"key":"A-1"}"#, "", ""),
    ] {
        let event = jira(&format!(r#"{{"webhookEvent":"x",{members}}}"#));
        let found = (event.resource_type.as_str(), event.resource_id.as_str());
        assert_eq!(found, (kind, id), "{members}");
    }
}

#[test]
fn facts_of_the_issue_are_in_the_metadata() {
    let event = jira(
        r#"{"webhookEvent":"jira:issue_updated","issue_event_type_name":"issue_commented","timestamp":1559607317244,
            "issue":{"id":"10","key":"A-1","fields":{"project":{"key":"A"}}},"comment":{"id":"20"}}"#,
    );
    assert_eq!(event.timestamp.to_string(), "2019-06-04T00:15:17.244Z");
    let found: Vec<_> = event.metadata.iter().collect();
    let want = [
        ("comment_id", "20"),
        ("event_type_raw", "jira:issue_updated"),
        ("issue_event_type", "issue_commented"),
        ("issue_key", "A-1"),
        ("project_key", "A"),
    ];
    assert_eq!(found, want);
}

#[test]
fn a_request_without_a_signature_is_refused_and_one_without_an_id_is_known_by_its_body() {
    let kind = Kind::parse("jira").unwrap();
    let body = Bytes::from_static(br#"{"webhookEvent":"x"}"#);
    let refused = post(&source(kind, &[SECRET]), &HeaderMap::new(), &body, received_at());
    assert_eq!(refused.unwrap_err().cause(), "missing");
    let sha1 = headers([("x-hub-signature", "sha1=126f2c800419c60137ce748d7672e77b65cf16d6")]);
    let refused = post(&source(kind, &[SECRET]), &sha1, &body, received_at());
    assert_eq!(refused.unwrap_err().cause(), "malformed");
    assert!(ingest(kind, HeaderMap::new(), body).delivery_key.starts_with("sha256:"));
}

/// Of Atlassian's documentation.
#[test]
fn the_published_vector_verifies() {
    let kind = Kind::parse("jira").unwrap();
    let signed = headers([(
        "x-hub-signature",
        "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9",
    )]);
    let source = source(kind, &["It's a Secret to Everybody"]);
    let body = Bytes::from_static(b"Hello World!");
    assert!(post(&source, &signed, &body, received_at()).is_ok());
}
