//! Slack requests of all three sorts, and its two handshakes.

use bytes::Bytes;
use hookline_core::{
    event::NewEvent,
    normalize::{Received, Reply},
    source::Kind,
    time::Timestamp,
};
use http::{HeaderMap, StatusCode};

use crate::ingest_support::{
    SECRET, events, headers, ingest, post, received_at, signature, source,
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn slack() -> Kind {
    Kind::parse("slack").unwrap()
}

fn callback(event: &str) -> NewEvent {
    let body =
        format!(r#"{{"type":"event_callback","event_id":"Ev1","team_id":"T1","event":{event}}}"#);
    ingest(slack(), HeaderMap::new(), body)
}

fn form(fields: &[(&str, &str)]) -> Bytes {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into()
}

fn interaction(payload: &str) -> NewEvent {
    ingest(slack(), headers([FORM]), form(&[("payload", payload)]))
}

fn receive(headers: HeaderMap, body: &Bytes) -> Received {
    let source = source(slack(), &[SECRET]);
    let mut all = headers;
    all.extend(signature(&source, &all, body));
    post(&source, &all, body, received_at()).unwrap()
}

fn metadata<'e>(event: &'e NewEvent, key: &str) -> &'e str {
    event.metadata.get(key).unwrap_or_default()
}

#[test]
fn the_actor_is_whoever_the_event_names_and_a_bot_is_told() {
    for (event, actor, actor_type) in [
        (r#"{"type":"message","user":"U1"}"#, "U1", "user"),
        (r#"{"type":"message","user":"U1","bot_id":"B1"}"#, "U1", "bot"),
        (r#"{"type":"message","subtype":"bot_message","bot_id":"B1"}"#, "B1", "bot"),
        (r#"{"type":"message","subtype":"bot_message"}"#, "", "bot"),
        (r#"{"type":"message","message":{"user":"U2"}}"#, "U2", "user"),
        (r#"{"type":"message","message":{"bot_id":"B2"},"user":null}"#, "B2", "bot"),
        (r#"{"type":"message","previous_message":{"user":"U3"}}"#, "U3", "user"),
        (r#"{"type":"team_join","user":{"id":"U4"}}"#, "U4", "user"),
        (r#"{"type":"call_rejected","user_id":"U5"}"#, "U5", "user"),
        (
            r#"{"type":"assistant_thread_started","assistant_thread":{"user_id":"U6"}}"#,
            "U6",
            "user",
        ),
        (r#"{"type":"x","user":"","inviter":"U7"}"#, "U7", "user"),
        (r#"{"type":"x","user":[],"message":"U8","bot_id":{}}"#, "", ""),
    ] {
        let found = callback(event);
        assert_eq!(
            (found.actor.as_str(), metadata(&found, "actor_type")),
            (actor, actor_type),
            "{event}"
        );
    }
}

#[test]
fn the_resource_is_the_smallest_thing_that_the_event_names() {
    for (event, kind, id) in [
        (
            r#"{"type":"reaction_added","item":{"channel":"C1","ts":"1.2"},"user":"U1"}"#,
            "message",
            "C1:1.2",
        ),
        (r#"{"type":"reaction_added","item":{"file":"F1"},"user":"U1"}"#, "user", "U1"),
        (r#"{"type":"message","channel":"C1","ts":"1.2"}"#, "message", "C1:1.2"),
        (
            r#"{"type":"message","channel":"C1","ts":"9.9","message":{"ts":"1.2"}}"#,
            "message",
            "C1:1.2",
        ),
        (r#"{"type":"message","channel":"C1","ts":"9.9","deleted_ts":"1.2"}"#, "message", "C1:1.2"),
        (r#"{"type":"app_mention","ts":"1.2","user":"U1"}"#, "user", "U1"),
        (r#"{"type":"channel_created","channel":{"id":"C2"}}"#, "channel", "C2"),
        (r#"{"type":"file_shared","file_id":"F1","channel_id":"C1"}"#, "file", "F1"),
        (r#"{"type":"file_change","file":{"id":"F1"}}"#, "file", "F1"),
        (
            r#"{"type":"assistant_thread_started","assistant_thread":{"channel_id":"D1","thread_ts":"1.2"}}"#,
            "thread",
            "D1:1.2",
        ),
        (r#"{"type":"member_joined_channel","channel":"C3","user":"U1"}"#, "channel", "C3"),
        (r#"{"type":"call_rejected","channel_id":"D2"}"#, "channel", "D2"),
        (
            r#"{"type":"function_executed","function_execution_id":"Fx1","user":"U1"}"#,
            "function_execution",
            "Fx1",
        ),
        (r#"{"type":"team_join","user":{"id":"U4"}}"#, "user", "U4"),
        (r#"{"type":"subteam_created","subteam":{"id":"S1"}}"#, "usergroup", "S1"),
        (r#"{"type":"tokens_revoked","tokens":{}}"#, "team", "T1"),
        (r#"{"type":"message","channel":[],"ts":null}"#, "team", "T1"),
    ] {
        let found = callback(event);
        assert_eq!(
            (found.resource_type.as_str(), found.resource_id.as_str()),
            (kind, id),
            "{event}"
        );
    }
    let body =
        r#"{"type":"event_callback","enterprise_id":"E1","event":{"type":"app_uninstalled"}}"#;
    let found = ingest(slack(), HeaderMap::new(), body);
    assert_eq!([found.resource_type.as_str(), &found.resource_id], ["enterprise", "E1"]);
}

#[test]
fn a_retry_keeps_the_key_and_is_told_in_the_metadata() {
    let body = r#"{"type":"event_callback","event_id":"Ev1","event_time":1234567890,
        "event":{"type":"message","subtype":"message_changed","event_ts":"1.2"}}"#;
    let first = ingest(slack(), HeaderMap::new(), body);
    let retry_headers =
        headers([("x-slack-retry-num", "1"), ("x-slack-retry-reason", "http_timeout")]);
    let retry = ingest(slack(), retry_headers, body);
    assert_eq!([first.delivery_key.as_str(), &retry.delivery_key], ["Ev1", "Ev1"]);
    assert_eq!(first.event_type.as_str(), "message.message_changed");
    assert_eq!(first.timestamp, Timestamp::from_secs(1_234_567_890).unwrap());
    assert_eq!(metadata(&first, "retry_num"), "");
    assert_eq!(metadata(&retry, "retry_num"), "1");
    assert_eq!(metadata(&retry, "retry_reason"), "http_timeout");
}

#[test]
fn a_time_is_the_first_that_can_be_read() {
    for (members, want) in [
        (r#""event_time":1234567890,"event":{"type":"x","ts":"1.5"}"#, "2009-02-13T23:31:30Z"),
        (
            r#""event_time":null,"event":{"type":"x","event_ts":"1.5","ts":"2"}"#,
            "1970-01-01T00:00:01.5Z",
        ),
        (r#""event_time":"soon","event":{"type":"x","ts":"2"}"#, "1970-01-01T00:00:02Z"),
        (r#""type":"app_rate_limited","minute_rate_limited":60"#, "1970-01-01T00:01:00Z"),
    ] {
        let found = ingest(slack(), HeaderMap::new(), format!("{{{members}}}"));
        assert_eq!(found.timestamp.to_string(), want, "{members}");
    }
}

#[test]
fn an_interaction_is_named_by_what_was_used_and_answered_without_a_body() {
    for (payload, event_type, resource) in [
        (
            r#"{"type":"block_actions","actions":[{"action_id":"ok"}],"channel":{"id":"C1"},"container":{"message_ts":"1.2"}}"#,
            "block_actions.ok",
            "message C1:1.2",
        ),
        (
            r#"{"type":"view_submission","view":{"id":"V1","callback_id":"form"},"channel":{"id":"C1"},"message_ts":"1.2"}"#,
            "view_submission.form",
            "view V1",
        ),
        (
            r#"{"type":"message_action","callback_id":"save","channel":{"id":"C1"},"message":{"ts":"1.2"}}"#,
            "message_action.save",
            "message C1:1.2",
        ),
        (
            r#"{"type":"interactive_message","actions":[{"name":"pick"}],"channel":{"id":"C1"}}"#,
            "interactive_message.pick",
            "channel C1",
        ),
        (r#"{"type":"shortcut","user":{"id":"U1"},"team":null}"#, "shortcut", "user U1"),
        (
            r#"{"type":"view_closed","view":{"callback_id":""},"actions":{},"user":[]}"#,
            "view_closed",
            " ",
        ),
    ] {
        let found = interaction(payload);
        let resource_found = format!("{} {}", found.resource_type, found.resource_id);
        assert_eq!(
            (found.event_type.as_str(), resource_found.as_str()),
            (event_type, resource),
            "{payload}"
        );
        let Received::Events { reply, .. } =
            receive(headers([FORM]), &form(&[("payload", payload)]))
        else {
            panic!("an interaction is an event");
        };
        assert_eq!(reply, Reply::Empty(StatusCode::OK));
    }
}

#[test]
fn a_slash_command_is_read_and_its_credentials_stay_in_the_payload() {
    let body = form(&[
        ("token", "a verification token"),
        ("command", "/Deploy"),
        ("text", "now"),
        ("user_id", "U1"),
        ("channel_id", "C1"),
        ("team_id", "T1"),
        ("api_app_id", "A1"),
        ("trigger_id", "1.2.x"),
        ("response_url", "https://hooks.slack.com/commands/x"),
    ]);
    let Received::Events { events, reply } = receive(headers([FORM]), &body) else {
        panic!("a command is an event");
    };
    assert_eq!(reply, Reply::Empty(StatusCode::OK));
    let event = &events[0];
    assert_eq!(event.event_type.as_str(), "slash_command.deploy");
    assert_eq!([event.actor.as_str(), &event.delivery_key], ["U1", "1.2.x"]);
    assert_eq!([event.resource_type.as_str(), &event.resource_id], ["channel", "C1"]);
    let found: Vec<_> = event.metadata.iter().collect();
    let want = [
        ("actor_type", "user"),
        ("app_id", "A1"),
        ("command", "/Deploy"),
        ("content_type", "application/x-www-form-urlencoded"),
        ("event_type_raw", "slash_command.Deploy"),
        ("team_id", "T1"),
        ("timestamp_source", "received"),
    ];
    assert_eq!(found, want);
    assert!(str::from_utf8(&event.payload).unwrap().contains("a verification token"));
}

#[test]
fn what_does_not_say_what_it_is_is_kept_as_it_came() {
    for (content_type, body) in [
        ("application/json", "[]"),
        ("application/json", r#"{"type":null,"event":null}"#),
        ("application/json", r#"{"event":{"user":"U1"}}"#),
        (FORM.1, "text=hello"),
        (FORM.1, "payload=%7B%22user%22%3Anull%7D"),
        (FORM.1, "payload=1"),
        (FORM.1, ""),
    ] {
        let event = ingest(slack(), headers([("content-type", content_type)]), body);
        assert_eq!(event.event_type.as_str(), "unparsed", "{body}");
        assert_eq!(event.payload, body);
        assert!(event.delivery_key.starts_with("sha256:"), "{body}");
    }
    assert_eq!(callback("null").event_type.as_str(), "event_callback");
}

#[test]
fn the_verification_of_the_url_is_answered_if_it_is_signed() {
    let body = Bytes::from_static(br#"{"type":"url_verification","challenge":"3eZb"}"#);
    let Received::Answer(answer) = receive(HeaderMap::new(), &body) else {
        panic!("a handshake is no event");
    };
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"3eZb"[..]));
    assert_eq!(answer.headers[0].1, "text/plain; charset=utf-8");

    let unsigned = post(&source(slack(), &[SECRET]), &HeaderMap::new(), &body, received_at());
    assert_eq!(unsigned.unwrap_err().cause(), "missing");
}

#[test]
fn the_check_of_the_certificate_is_answered_unsigned_and_is_never_an_event() {
    let source = source(slack(), &[SECRET]);
    let body = Bytes::from_static(b"ssl_check=1&token=x&command=%2Fdeploy");
    let Ok(Received::Answer(answer)) = post(&source, &headers([FORM]), &body, received_at()) else {
        panic!("the check is answered");
    };
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));

    for (content_type, body) in [
        ("application/json", "ssl_check=1"),
        ("application/json", r#"{"ssl_check":1}"#),
        (FORM.1, "ssl_check=0"),
        (FORM.1, "text=ssl_check%3D1"),
        (FORM.1, "payload=%7B%22ssl_check%22%3A1%7D"),
    ] {
        let headers = headers([("content-type", content_type)]);
        let refused = post(&source, &headers, &Bytes::from_static(body.as_bytes()), received_at());
        assert_eq!(refused.unwrap_err().cause(), "missing", "{body}");
    }
}

#[test]
fn a_signature_is_taken_five_minutes_either_way() {
    let source = source(slack(), &[SECRET]);
    let body = Bytes::from_static(br#"{"type":"event_callback"}"#);
    let signed = signature(&source, &HeaderMap::new(), &body);
    let at = |offset: i64| Timestamp::from_secs(1_800_000_000 + offset).unwrap();
    for offset in [-300, 0, 300] {
        assert_eq!(events(post(&source, &signed, &body, at(offset)).unwrap()).len(), 1);
    }
    for offset in [-301, 301] {
        let refused = post(&source, &signed, &body, at(offset));
        assert_eq!(refused.unwrap_err().cause(), "stale", "{offset}");
    }
    let mut moved = signed;
    moved.insert("x-slack-request-timestamp", "1800000301".parse().unwrap());
    assert_eq!(post(&source, &moved, &body, at(301)).unwrap_err().cause(), "wrong");
}

/// Of Slack's documentation, as python-slack-sdk's tests have it.
#[test]
fn the_published_vector_verifies() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G\
        8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhoo\
        k-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F3\
        97700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887\
        a14d10d2c447fce8b6703c";
    let signed = headers([
        FORM,
        ("x-slack-request-timestamp", "1531420618"),
        (
            "x-slack-signature",
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
    ]);
    let source = source(slack(), &["8f742231b10e8888abcd99yyyzzz85a5"]);
    let at = Timestamp::from_secs(1_531_420_618).unwrap();
    let event =
        events(post(&source, &signed, &Bytes::from_static(body.as_bytes()), at).unwrap()).remove(0);
    assert_eq!(event.event_type.as_str(), "slash_command.webhook-collect");
}
