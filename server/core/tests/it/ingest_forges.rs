//! Linear, Gitea and Forgejo.

use hookline_core::event::NewEvent;

use crate::ingest_support::{essence, event};

fn linear(members: &str) -> NewEvent {
    event("linear", [("linear-delivery", "d")], &format!("{{{members}}}"))
}

#[test]
fn a_linear_event_is_about_what_it_belongs_to() {
    for (members, want) in [
        (
            r#""type":"Issue","action":"create","data":{"id":"i","creatorId":"c"}"#,
            ["issue.create", "c", "issue", "i"],
        ),
        (
            r#""type":"Comment","action":"update","actor":{"id":"a"},"data":{"id":"k","issueId":"i"}"#,
            ["comment.update", "a", "issue", "i"],
        ),
        (
            r#""type":"Comment","action":"create","actor":null,"data":{"id":"k","userId":"u"}"#,
            ["comment.create", "u", "comment", "k"],
        ),
        (
            r#""type":"IssueLabel","action":"remove","data":{"id":"l","issueId":"i"}"#,
            ["issuelabel.remove", "", "issuelabel", "l"],
        ),
        (
            r#""type":"AgentSessionEvent","action":"created","agentSession":{"id":"s","issueId":"i","creatorId":"c"}"#,
            ["agentsessionevent.created", "c", "issue", "i"],
        ),
        (
            r#""type":"AgentSessionEvent","action":"prompted","agentSession":{"id":"s","creatorId":"c"},"agentActivity":{"userId":"u"}"#,
            ["agentsessionevent.prompted", "u", "agentsessionevent", "s"],
        ),
        (
            r#""type":"AppUserNotification","action":"issueMention","notification":{"id":"n","issueId":"i","actorId":"a"}"#,
            ["appusernotification.issuemention", "a", "issue", "i"],
        ),
        (r#""type":"Issue""#, ["issue", "", "issue", ""]),
        (r#""type":"Issue","action":7,"data":[],"actor":"x""#, ["issue", "", "issue", ""]),
        (r#""type":null,"action":"create","data":{"id":"i"}"#, ["unparsed", "", "", ""]),
        ("", ["unparsed", "", "", ""]),
    ] {
        let [kind, key, actor, resource_type, resource_id, _] = essence(&linear(members));
        assert_eq!([kind, actor, resource_type, resource_id], want, "{members}");
        assert_eq!(key, "d", "{members}");
    }
}

#[test]
fn a_linear_event_keeps_its_facts_and_its_name() {
    let event = linear(
        r#""type":"Comment","action":"create","createdAt":"2026-07-01T17:02:09.514Z","organizationId":"o","webhookId":"w",
           "actor":{"id":"a","type":"user","name":"Ann"},"data":{"id":"k","identifier":"ENG-1"}"#,
    );
    assert_eq!(event.timestamp.to_string(), "2026-07-01T17:02:09.514Z");
    for (key, want) in [
        ("event_type_raw", "Comment.create"),
        ("actor_type", "user"),
        ("actor_name", "Ann"),
        ("comment_id", "k"),
        ("identifier", "ENG-1"),
        ("organization_id", "o"),
        ("webhook_id", "w"),
    ] {
        assert_eq!(event.metadata[key], want, "{key}");
    }
}

#[test]
fn gitea_and_forgejo_are_read_as_github_is() {
    let body = r#"{"action":"reviewed","number":2,"pull_request":{"number":2,"updated_at":"2022-03-09T16:31:06+09:00"},
        "repository":{"full_name":"o/r"},"sender":{"login":"ann"}}"#;
    for (kind, name, event_name) in [
        ("gitea", "x-gitea-event", "pull_request"),
        ("gitea", "x-gitea-event", "pull_request_approved"),
        ("gitea", "x-gitea-event", "pull_request_rejected"),
        ("gitea", "x-gitea-event", "pull_request_comment"),
        ("forgejo", "x-forgejo-event", "pull_request"),
        ("forgejo", "x-gitea-event", "pull_request_approved"),
    ] {
        let want = format!("{event_name}.reviewed");
        let want = [want.as_str(), "d", "ann", "pull_request", "o/r#2", "2022-03-09T07:31:06Z"];
        let headers = [(name, event_name), ("x-gitea-delivery", "d")];
        assert_eq!(essence(&event(kind, headers, body)), want, "{kind} {name}");
    }
    let headers = [
        ("x-forgejo-event", "push"),
        ("x-gitea-event", "create"),
        ("x-forgejo-delivery", "f"),
        ("x-gitea-delivery", "g"),
    ];
    let found =
        event("forgejo", headers, r#"{"ref":"refs/heads/x","repository":{"full_name":"o/r"}}"#);
    assert_eq!(essence(&found), ["push", "f", "", "branch", "o/r/branch/x", ""]);
}

#[test]
fn what_does_not_say_its_event_is_unparsed() {
    for (kind, name, body) in [
        ("gitea", "x-github-event", "{}"),
        ("gitea", "x-gitea-event", "[]"),
        ("gitea", "x-gitea-event", ""),
        ("forgejo", "x-github-event", "{}"),
    ] {
        let event = event(kind, [(name, "push")], body);
        assert_eq!(event.event_type.as_str(), "unparsed", "{kind} {name} {body}");
        assert_eq!(event.payload, body, "{kind} {name} {body}");
    }
}
