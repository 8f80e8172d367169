//! Twilio, Discord and Intercom.

use bytes::Bytes;
use hookline_core::normalize::{Received, Reply};
use http::{HeaderMap, StatusCode};

use crate::ingest_support::{essence, event, events, headers, kind, reply, take};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[test]
fn a_twilio_form_is_about_what_its_status_is_of() {
    for (form, want) in [
        (
            "MessageSid=SM1&SmsStatus=received&MessageStatus=sent&From=%2B1&AccountSid=AC",
            ["message.sent", "SM1:sent", "+1", "message", "SM1"],
        ),
        (
            "SmsSid=SM1&SmsStatus=received",
            ["message.received", "SM1:received", "", "message", "SM1"],
        ),
        (
            "CallSid=CA1&CallStatus=no-answer&SequenceNumber=2&From=x",
            ["call.no-answer", "CA1:no-answer:2", "x", "call", "CA1"],
        ),
        (
            "RecordingSid=RE1&RecordingStatus=completed&CallSid=CA1",
            ["recording.completed", "RE1:completed", "", "recording", "RE1"],
        ),
        (
            "ConferenceSid=CF1&StatusCallbackEvent=participant-join&SequenceNumber=1&CallSid=CA1",
            ["conference.participant-join", "CF1:participant-join:1", "", "conference", "CF1"],
        ),
        ("CallStatus=ringing&AccountSid=AC", ["call.ringing", "", "", "account", "AC"]),
        ("AccountSid=AC&EventType=onMessageAdded", ["onmessageadded", "#", "", "account", "AC"]),
        ("CallSid=CA1&Digits=1", ["event", "#", "", "call", "CA1"]),
        ("x", ["event", "#", "", "", ""]),
        // A field that comes twice says nothing.
        ("MessageSid=SM1&MessageSid=SM2&SmsStatus=a", ["message.a", "#", "", "", ""]),
    ] {
        let [kind, key, actor, resource_type, resource_id, _] =
            essence(&event("twilio", [FORM], form));
        let key = if key.starts_with("sha256:") { "#".to_owned() } else { key };
        assert_eq!([kind, key, actor, resource_type, resource_id], want, "{form}");
    }
}

#[test]
fn a_call_that_is_asked_about_again_is_another_event_whatever_was_answered() {
    let key = |digits: &str| {
        let form = format!("CallSid=CA1&CallStatus=in-progress&Digits={digits}");
        event("twilio", [FORM], &form).delivery_key
    };
    assert_eq!((key("1"), key("2")), ("".into(), "".into()));
    assert_eq!(key("1&SequenceNumber=3"), "CA1:in-progress:3");
    let token = [FORM, ("i-twilio-idempotency-token", "t")];
    assert_eq!(event("twilio", token, "MessageSid=SM1&MessageStatus=sent").delivery_key, "t");
}

#[test]
fn twilio_events_in_json_come_alone_or_many() {
    let item = r#"{"specversion":"1.0","type":"com.twilio.messaging.message.sent","id":"EZ1","time":"2026-07-15T09:04:52Z",
        "data":{"messageSid":"SM1","accountSid":"AC","from":"+1","to":"+2"}}"#;
    let want = ["messaging.message.sent", "EZ1", "+1", "message", "SM1", "2026-07-15T09:04:52Z"];
    for body in [item.to_owned(), format!("[{item}]")] {
        let event = event("twilio", [], &body);
        assert_eq!(essence(&event), want);
        assert_eq!(event.metadata["event_type_raw"], "com.twilio.messaging.message.sent");
        assert_eq!((&*event.metadata["to"], &event.payload[..]), ("+2", item.as_bytes()));
    }
    let two = take(kind("twilio"), HeaderMap::new(), format!("[{item},{{}}]"));
    let kinds: Vec<_> = events(two).iter().map(|event| event.event_type.to_string()).collect();
    assert_eq!(kinds, ["messaging.message.sent", "unparsed"]);
    for body in ["", "{}", "[]", r#"{"type":null}"#] {
        assert_eq!(event("twilio", [], body).event_type.as_str(), "unparsed", "{body:?}");
    }
}

#[test]
fn twilio_is_answered_without_a_body_which_it_would_take_for_instructions() {
    let received = take(kind("twilio"), headers([FORM]), "MessageSid=SM1&MessageStatus=sent");
    assert_eq!(reply(&received), Reply::Empty(StatusCode::NO_CONTENT));
}

fn discord(body: &str) -> Received {
    take(kind("discord"), headers([("content-type", "application/json")]), body.to_owned())
}

#[test]
fn the_pings_of_both_of_discords_products_are_answered() {
    for (body, status, want) in [
        (r#"{"type":1}"#, 200, r#"{"type":1}"#),
        (r#"{"type":1,"event":null,"id":"1"}"#, 200, r#"{"type":1}"#),
        (r#"{"version":1,"application_id":"1","type":0}"#, 204, ""),
    ] {
        let Received::Answer(answer) = discord(body) else { panic!("no answer to {body}") };
        assert_eq!((answer.status.as_u16(), &answer.body), (status, &Bytes::from(want)), "{body}");
        let found: Vec<_> =
            answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(found, [("content-type", &b"application/json"[..])], "{body}");
    }
}

#[test]
fn a_discord_webhook_event_is_about_what_its_type_begins_with() {
    for (event, want) in [
        (
            r#"{"type":"APPLICATION_AUTHORIZED","timestamp":"2024-10-18T14:42:53.064834","data":{"user":{"id":"u"},"guild":{"id":"g"}}}"#,
            ["application_authorized", "u", "guild", "g", "2024-10-18T14:42:53.064834Z"],
        ),
        (
            r#"{"type":"APPLICATION_DEAUTHORIZED","data":{"user":{"id":"u"}}}"#,
            ["application_deauthorized", "u", "user", "u", ""],
        ),
        (
            r#"{"type":"ENTITLEMENT_CREATE","data":{"id":"e","user_id":"u"}}"#,
            ["entitlement_create", "u", "entitlement", "e", ""],
        ),
        (
            r#"{"type":"LOBBY_MESSAGE_CREATE","data":{"id":"m","author":{"id":"a"}}}"#,
            ["lobby_message_create", "a", "lobby", "m", ""],
        ),
        (r#"{"type":"X","data":[]}"#, ["x", "", "", "", ""]),
        (r#"{"type":7,"data":{"id":"e"}}"#, ["unparsed", "", "", "", ""]),
        ("{}", ["unparsed", "", "", "", ""]),
    ] {
        let received = discord(&format!(r#"{{"type":1,"application_id":"app","event":{event}}}"#));
        let is_read = want[0] != "unparsed";
        let status = Reply::Empty(StatusCode::NO_CONTENT);
        assert_eq!(reply(&received), if is_read { status } else { Reply::Ids }, "{event}");
        let [found] = events(received).try_into().unwrap();
        let [kind, _, actor, resource_type, resource_id, time] = essence(&found);
        assert_eq!([kind, actor, resource_type, resource_id, time], want, "{event}");
    }
}

#[test]
fn a_discord_interaction_is_told_that_an_answer_will_follow() {
    const LATER: Reply = Reply::Json(r#"{"type":5}"#);
    const SILENT: Reply = Reply::Json(r#"{"type":6}"#);
    const NOTHING: Reply = Reply::Json(r#"{"type":8,"data":{"choices":[]}}"#);
    for (members, want, answer) in [
        (
            r#""type":2,"data":{"name":"deploy"},"member":{"user":{"id":"u"}},"channel_id":"c""#,
            ["interaction.application_command.deploy", "u", "channel", "c"],
            LATER,
        ),
        (
            r#""type":3,"data":{"custom_id":"ok"},"user":{"id":"u"},"message":{"id":"m"},"channel_id":"c""#,
            ["interaction.message_component.ok", "u", "message", "m"],
            SILENT,
        ),
        (
            r#""type":4,"data":{"name":"deploy"},"guild_id":"g""#,
            ["interaction.autocomplete.deploy", "", "guild", "g"],
            NOTHING,
        ),
        (r#""type":5,"data":null"#, ["interaction.modal_submit", "", "", ""], LATER),
        (
            r#""type":9,"data":{"name":"x"}"#,
            ["interaction.9.x", "", "", ""],
            Reply::Empty(StatusCode::ACCEPTED),
        ),
    ] {
        let received = discord(&format!(r#"{{"id":"175928847299117063",{members}}}"#));
        assert_eq!(reply(&received), answer, "{members}");
        let [event] = events(received).try_into().unwrap();
        let [kind, key, actor, resource_type, resource_id, time] = essence(&event);
        assert_eq!([kind, actor, resource_type, resource_id], want, "{members}");
        let of_id = ["175928847299117063", "2016-04-30T11:18:25.796Z"];
        assert_eq!([key, time], of_id, "{members}");
    }
}

#[test]
fn a_discord_bot_is_told_from_a_person() {
    for (user, want) in [
        (r#"{"id":"u","bot":true}"#, Some("bot")),
        (r#"{"id":"u","bot":"true"}"#, Some("user")),
        (r#"{"id":"u"}"#, Some("user")),
        (r#"{"bot":true}"#, None),
        ("null", None),
    ] {
        let body = format!(r#"{{"type":2,"id":"x","user":{user}}}"#);
        let [event] = events(discord(&body)).try_into().unwrap();
        assert_eq!(event.metadata.get("actor_type"), want, "{user}");
        assert_eq!(essence(&event)[5], "", "an id that is no number has no time");
    }
    for body in ["", "{}", "null", "[]", r#"{"type":null}"#, r#"{"type":true}"#] {
        let [event] = events(discord(body)).try_into().unwrap();
        assert_eq!(event.event_type.as_str(), "unparsed", "{body}");
    }
}

#[test]
fn an_intercom_actor_is_who_did_the_newest_thing() {
    let part = r#"{"conversation_parts":[{"author":{"id":"ann","type":"admin"}}]}"#;
    for (item, actor, actor_type) in [
        (
            format!(
                r#"{{"source":{{"author":{{"id":"u","type":"user"}}}},"conversation_parts":{part}}}"#
            ),
            "ann",
            Some("admin"),
        ),
        (r#"{"source":{"author":{"id":"u","type":"lead"}}}"#.into(), "u", Some("lead")),
        (r#"{"ticket_parts":{"ticket_parts":[{"author":{"id":7}}]}}"#.into(), "7", None),
        (r#"{"contact":{"id":"c","type":"contact"}}"#.into(), "c", Some("contact")),
        (r#"{"user":{"id":"c","type":"user"},"type":"user_tag"}"#.into(), "c", Some("user")),
        (r#"{"id":"c","type":"contact"}"#.into(), "c", Some("contact")),
        (r#"{"id":"c","type":"company"}"#.into(), "", None),
        (r#"{"conversation_parts":{"conversation_parts":[]}}"#.into(), "", None),
        ("null".into(), "", None),
        ("[]".into(), "", None),
    ] {
        let body = format!(r#"{{"topic":"a.b","id":"n","data":{{"item":{item}}}}}"#);
        let event = event("intercom", [], &body);
        assert_eq!((&*event.actor, &*event.delivery_key), (actor, "n"), "{item}");
        assert_eq!(event.metadata.get("actor_type"), actor_type, "{item}");
    }
    let ping =
        event("intercom", [], r#"{"topic":"ping","id":null,"data":{"item":{"type":"ping"}}}"#);
    assert_eq!((ping.event_type.as_str(), &*ping.resource_type), ("ping", "ping"));
    assert!(ping.delivery_key.starts_with("sha256:"));
}
