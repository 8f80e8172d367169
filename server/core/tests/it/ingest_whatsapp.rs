//! WhatsApp and other Meta: batches within batches, and the challenge.

use hookline_core::{
    event::NewEvent,
    normalize::EVENTS_MAX,
    source::{Kind, Settings},
};
use http::{HeaderMap, Method, StatusCode};

use crate::ingest_support::{answer, ask, facts, read, secret, source_with};

fn whatsapp(body: &str) -> Vec<NewEvent> {
    read("whatsapp", &HeaderMap::new(), body)
}

#[test]
fn each_message_and_status_is_an_event_with_its_own_bytes() {
    let first = r#"{"id": "wamid.1","from":"16505551234","timestamp":"1751416383","type":"text","text":{"body":"\u00e9"}}"#;
    let second = r#"{"id":"wamid.2","from":"1","timestamp":"x"}"#;
    let status = r#"{"id":"wamid.1","status":"read","timestamp":"1751430000","recipient_id":"2"}"#;
    let other = r#"{"field":"account_update","value":{"event":"VERIFIED"}}"#;
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[
        {{"id":"102","time":1751416000,"changes":[
            {{"field":"messages","value":{{"metadata":{{"phone_number_id":"106"}},
              "contacts":[{{"wa_id":"16505551234","profile":{{"name":"Sheena"}}}}],
              "messages":[ {first} ,{second}],"statuses":[{status}]}}}},
            {other}]}}]}}"#
    );
    let events = whatsapp(&body);
    let found: Vec<_> = events.iter().map(facts).collect();
    let of_entry = "2025-07-02T00:26:40Z";
    assert_eq!(
        found[0],
        ["messages.text", "wamid.1", "16505551234", "message", "wamid.1", "2025-07-02T00:33:03Z",]
    );
    assert_eq!(found[1], ["messages", "wamid.2", "1", "message", "wamid.2", of_entry]);
    assert_eq!(
        found[2],
        ["statuses.read", "wamid.1:read", "", "message", "wamid.1", "2025-07-02T04:20:00Z",]
    );
    let [event_type, key, rest @ ..] = &found[3];
    assert_eq!(event_type, "account_update");
    assert!(key.starts_with("sha256:") && key.ends_with("#3"), "{key}");
    assert_eq!(*rest, ["", "whatsapp_business_account", "102", of_entry]);
    let payloads: Vec<_> = events.iter().map(|event| &event.payload[..]).collect();
    assert_eq!(payloads, [first, second, status, other].map(str::as_bytes));
    assert_eq!(events[0].metadata["actor_name"], "Sheena");
    assert_eq!(events[0].metadata["phone_number_id"], "106");
    assert_eq!(events[2].metadata["business_account_id"], "102");
    assert!(!events[3].metadata.contains_key("phone_number_id"));
}

#[test]
fn what_a_page_is_told_is_an_event_each() {
    let message = r#"{"sender":{"id":"5"},"timestamp":1751416383000,"message":{"mid":"m_1"}}"#;
    let read_up_to = r#"{"sender":{"id":"6"},"read":{"watermark":1}}"#;
    let body =
        format!(r#"{{"object":"page","entry":[{{"id":9,"messaging":[{message},{read_up_to}]}}]}}"#);
    let events = whatsapp(&body);
    let want = ["messaging", "m_1", "5", "message", "m_1", "2025-07-02T00:33:03Z"];
    assert_eq!(facts(&events[0]), want);
    let [event_type, key, rest @ ..] = facts(&events[1]);
    assert_eq!(event_type, "messaging");
    assert!(key.ends_with("#1"), "{key}");
    assert_eq!(rest, ["6", "page", "9", ""]);
    assert_eq!(events[1].payload, read_up_to);

    let taken_back = r#"{"message":{"mid":"m_1","is_deleted":true}}"#;
    let body = format!(r#"{{"object":"page","entry":[{{"messaging":[{taken_back}]}}]}}"#);
    assert_eq!(facts(&whatsapp(&body)[0])[1], "m_1:deleted");
}

#[test]
fn a_body_with_more_groups_than_meta_sends_is_kept_whole() {
    for (count, want) in [(1_000, 0), (1_001, 1)] {
        let entries = vec![r#"{"changes":[{"field":"f"}]}"#; count].join(",");
        let changes = vec![r#"{"field":"f"}"#; count].join(",");
        for entry in [entries, format!(r#"{{"changes":[{changes}]}}"#)] {
            let body = format!(r#"{{"object":"page","entry":[{entry}]}}"#);
            let events = whatsapp(&body);
            let unparsed = events.iter().filter(|it| it.event_type.as_str() == "unparsed").count();
            assert_eq!(unparsed, want, "{count} {} {:?}", events.len(), events[0].event_type);
        }
    }
}

#[test]
fn what_can_not_be_read_is_kept_and_hides_nothing_else() {
    let body = r#"{"entry":[7,{"id":1},{"changes":[null,{"field":"f","value":[]},{"field":[]},
        {"field":"messages","value":{"messages":[1,{"id":{}}],"contacts":{},"metadata":[]}}]}]}"#;
    let events = whatsapp(body);
    let found: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
    let want = ["unparsed", "unparsed", "unparsed", "f", "unparsed", "unparsed", "messages"];
    assert_eq!(found, want);
    assert_eq!(events[1].payload, r#"{"id":1}"#);
    assert_eq!(events[5].payload, "1");
    for body in ["", "null", "[]", "{}", r#"{"entry":[]}"#, r#"{"entry":"x"}"#, r#"{"entry":null}"#]
    {
        let events = whatsapp(body);
        assert_eq!(events[0].event_type.as_str(), "unparsed", "{body}");
        assert_eq!((events.len(), &events[0].payload[..]), (1, body.as_bytes()));
    }
}

#[test]
fn too_many_items_are_kept_as_one() {
    let of = |count: usize| {
        format!(r#"{{"entry":[{{"messaging":[{}{{}}]}}]}}"#, "{},".repeat(count - 1))
    };
    assert_eq!(whatsapp(&of(EVENTS_MAX)).len(), EVENTS_MAX);
    let thousand = format!(r#"{{"value":{{"messages":[{}{{}}]}}}}"#, "{},".repeat(999));
    let changes = vec![thousand; 100].join(",");
    for body in [of(EVENTS_MAX + 1), format!(r#"{{"entry":[{{"changes":[{changes}]}}]}}"#)] {
        let events = whatsapp(&body);
        assert_eq!((events.len(), events[0].event_type.as_str()), (1, "unparsed"));
    }
}

#[test]
fn a_challenge_is_answered_to_who_knows_the_token() {
    let verify_token = Some(secret("my token"));
    let settings = Settings { verify_token, ..Settings::default() };
    let kind = Kind::parse("whatsapp").unwrap();
    let (with, without) = (
        source_with(kind, &["app secret"], settings),
        source_with(kind, &["app secret"], Settings::default()),
    );
    let ask = |source, target: &str| ask(source, (&Method::GET, target), &HeaderMap::new(), "");
    let right = "/w?hub.mode=subscribe&hub.challenge=11582%2B01&hub.verify_token=my%20token";
    let answer = answer(ask(&with, right).unwrap());
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"11582+01"[..]));
    assert_eq!(answer.headers[0].1, "text/plain; charset=utf-8");
    assert_eq!(ask(&without, right).unwrap_err().cause(), "missing");
    for (target, want) in [
        ("/w?hub.mode=subscribe&hub.challenge=1&hub.verify_token=my%20toke", "wrong"),
        ("/w?hub.mode=subscribe&hub.challenge=1&hub.verify_token=", "wrong"),
        ("/w?hub.mode=subscribe&hub.challenge=1", "missing"),
        ("/w?hub.mode=subscribe&hub.verify_token=my%20token", "missing"),
    ] {
        let verdict = ask(&with, target).map_or_else(|error| error.cause(), |_| "verified");
        assert_eq!(verdict, want, "{target}");
    }
    let long = right.replace("11582", &"1".repeat(1_100));
    assert_eq!(ask(&with, &long).unwrap_err().cause(), "malformed");
}

#[test]
fn an_array_is_no_body_of_meta() {
    for body in ["[null,[null]]", "[]", "[[],[{\"id\":1}]]"] {
        let events = read("whatsapp", &HeaderMap::new(), body);
        let kept: Vec<_> =
            events.iter().map(|it| (it.event_type.as_str(), &it.payload[..])).collect();
        assert_eq!(kept, [("unparsed", body.as_bytes())]);
    }
}
