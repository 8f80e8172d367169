//! The log over the wire: dedupe, publishing, looking at events.

use hookline_proto::v1::{
    DeliveryState, GetEventRequest, ListEventsRequest, NackAction, PayloadView,
    PublishEventRequest, WatchEventsRequest,
};
use prost_types::value::Kind;
use tonic::Code;

use crate::{
    agent::{Agent, at, earliest, everything, only},
    http::Webhook,
    hub::{Hub, soon, wall},
};

async fn keys(agent: &Agent) -> Vec<String> {
    let all = agent.list(ListEventsRequest::default()).await;
    all.into_iter().map(|event| event.delivery_key).collect()
}

#[tokio::test]
async fn i1_a_second_copy_is_answered_as_the_first_also_after_restarts() {
    let mut hub = Hub::start().await;
    let webhook = Webhook::push("a");
    let id = hub.take(&webhook).await;
    for round in 0..3 {
        let answer = hub.post(&webhook).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["status"], "duplicate");
        assert_eq!(answer.json()["event_id"], id.as_str());
        match round {
            0 => hub.crash().await,
            1 => hub.restart().await,
            _ => {}
        }
    }
    assert_eq!(keys(&hub.agent().await).await, ["a"]);
}

#[tokio::test]
async fn i1_of_two_copies_at_once_one_is_kept_and_both_get_200() {
    let hub = Hub::start().await;
    let (mut one, mut two) = (hub.http().await, hub.http().await);
    let mut kept = Vec::new();
    for number in 0..20 {
        let webhook = Webhook::push(&format!("k{number}"));
        let (one, two) = tokio::join!(one.post(&webhook), two.post(&webhook));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((one.status, two.status), (200, 200));
        let (one, two) = (one.json(), two.json());
        assert_eq!(one["event_id"], two["event_id"]);
        let mut statuses = [one["status"].as_str().unwrap(), two["status"].as_str().unwrap()];
        statuses.sort_unstable();
        assert_eq!(statuses, ["accepted", "duplicate"]);
        kept.push(format!("k{number}"));
    }
    assert_eq!(keys(&hub.agent().await).await, kept);
}

#[tokio::test]
async fn an_agent_publishes_events_and_is_told_of_duplicates() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let request = PublishEventRequest {
        source: "reviewer".to_owned(),
        event_type: "report.finished".to_owned(),
        timestamp: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000 }),
        actor: "me".to_owned(),
        resource_type: "report".to_owned(),
        resource_id: "r-1".to_owned(),
        payload: r#"{"pages": 12}"#.into(),
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        delivery_key: "r-1/done".to_owned(),
    };
    let first = agent.try_publish(request.clone()).await.unwrap();
    let second = agent.try_publish(request.clone()).await.unwrap();
    assert_eq!((first.sequence, first.duplicate, second.duplicate), (1, false, true));
    assert_eq!((&second.event_id, second.sequence), (&first.event_id, 1));
    let event = stream.ack_next(&agent).await.event.unwrap();
    assert_eq!((event.id, event.source), (first.event_id, request.source));
    assert_eq!((event.event_type, event.timestamp), (request.event_type, request.timestamp));
    assert_eq!((event.actor, event.resource_type), (request.actor, request.resource_type));
    assert_eq!((event.resource_id, event.payload), (request.resource_id, request.payload));
    assert_eq!((event.metadata, event.delivery_key), (request.metadata, request.delivery_key));
    assert_eq!(event.payload_size, 13);

    // Without a source it is `agent`, and without a key it is never a duplicate.
    let (one, two) = (agent.publish("note").await, agent.publish("note").await);
    assert_eq!((one.sequence, two.sequence, two.duplicate), (2, 3, false));
    assert_eq!(stream.ack_next(&agent).await.event.unwrap().source, "agent");
}

#[tokio::test]
async fn nobody_publishes_as_a_source_of_webhooks_or_of_dead_letters() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    for source in ["github", "stripe", "dead-letter", "Not A Name"] {
        let request = PublishEventRequest {
            source: source.to_owned(),
            event_type: "push".to_owned(),
            ..Default::default()
        };
        let refused = agent.try_publish(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{source}");
        assert!(refused.message().starts_with("`source`: "), "{refused}");
    }
    assert_eq!(agent.publish("note").await.sequence, 1);
}

#[tokio::test]
async fn an_event_says_what_each_subscription_did_with_it() {
    let hub = Hub::start().await;
    let id = hub.take(&Webhook::push("a")).await;
    let agent = hub.agent().await;
    let (mut acks, mut nacks) =
        (agent.subscribe(everything("acks")).await, agent.subscribe(everything("nacks")).await);
    let mut waits = agent.subscribe(everything("waits")).await;
    let _holds = agent.subscribe(everything("holds")).await.delivery().await;
    acks.ack_next(&agent).await;
    let lease = nacks.delivery().await.lease_id;
    agent.nack(&lease, "never", NackAction::DeadLetter).await;
    let lease = waits.delivery().await.lease_id;
    agent.nack(&lease, "later", NackAction::Retry).await;
    // One that takes other events, and is not named.
    let other = vec!["stripe".to_owned()];
    agent
        .subscribe(hookline_proto::v1::SubscribeRequest { patterns: other, ..everything("no") })
        .await;

    let got = agent.event(&id).await;
    assert_eq!(got.event.unwrap().payload, Webhook::push("a").body);
    let mut states: Vec<_> = got
        .deliveries
        .iter()
        .map(|status| {
            assert_eq!((status.event_id.as_str(), status.sequence), (id.as_str(), 1));
            assert_eq!((status.attempt, status.consumer.as_str()), (1, "one"));
            (status.subscription.as_str(), status.state())
        })
        .collect();
    states.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(
        states,
        [
            ("acks", DeliveryState::Done),
            ("holds", DeliveryState::Leased),
            ("nacks", DeliveryState::Dead),
            ("waits", DeliveryState::Waiting),
        ]
    );
    let id = "01920000-0000-7000-8000-000000000000".to_owned();
    let unknown = GetEventRequest { id, ..Default::default() };
    let refused = agent.events.clone().get_event(unknown).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn a_watch_shows_payloads_that_people_can_read_and_takes_no_leases() {
    let hub = Hub::start().await;
    let id = hub.take(&Webhook::push("a")).await;
    let agent = hub.agent().await;
    let request = WatchEventsRequest {
        patterns: vec!["github/push".to_owned()],
        start: earliest(),
        payload_view: PayloadView::Struct.into(),
        ..Default::default()
    };
    let mut events = agent.events.clone();
    let mut watch = soon("a watch", events.watch_events(request)).await.unwrap().into_inner();
    let event = soon("an event", watch.message()).await.unwrap().unwrap().event.unwrap();
    assert_eq!((event.id, event.payload.len()), (id.clone(), 0));
    let Some(Kind::StructValue(payload)) = event.payload_json.unwrap().kind else {
        panic!("an object")
    };
    let reference = Some(Kind::StringValue("refs/heads/main".to_owned()));
    assert_eq!(payload.fields["ref"].kind, reference);
    // What comes later is shown too; what does not match is not.
    hub.take(&Webhook::github("issues", "b", r#"{"action": "opened"}"#)).await;
    let later = hub.take(&Webhook::push("c")).await;
    let event = soon("an event", watch.message()).await.unwrap().unwrap().event.unwrap();
    assert_eq!((event.id, event.sequence), (later, 3));
    assert_eq!(agent.event(&id).await.deliveries, []);
}

#[tokio::test]
async fn events_are_listed_in_pages_by_pattern_sequence_and_time_either_way() {
    let hub = Hub::start().await;
    let before = wall();
    let names: Vec<_> = (1..=7).map(|number| format!("k{number}")).collect();
    hub.take_each(names.iter().map(String::as_str)).await;
    hub.take(&Webhook::stripe(r#"{"id": "evt_1", "object": "event", "type": "x.y"}"#)).await;
    let agent = hub.agent().await;
    let found = async |request| {
        let all = agent.list(request).await.into_iter();
        all.map(|event| event.sequence).collect::<Vec<_>>()
    };
    let request = ListEventsRequest { page_size: Some(3), ..Default::default() };
    let first = agent.events.clone().list_events(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.events.len(), 3);
    assert_ne!(first.next_page_token, "");
    assert_eq!(found(request.clone()).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    let newest = ListEventsRequest { newest_first: true, ..request.clone() };
    assert_eq!(found(newest).await, [8, 7, 6, 5, 4, 3, 2, 1]);
    let github = ListEventsRequest {
        patterns: vec!["github".to_owned()],
        start_sequence: Some(3),
        end_sequence: Some(8),
        ..request.clone()
    };
    assert_eq!(found(github).await, [3, 4, 5, 6, 7]);
    let fourth = agent.list(request.clone()).await.swap_remove(3).received_at;
    assert!(before <= at(fourth));
    let since = ListEventsRequest { start_time: fourth, ..request.clone() };
    let until = ListEventsRequest { end_time: fourth, ..request.clone() };
    assert_eq!(found(since).await, [4, 5, 6, 7, 8]);
    assert_eq!(found(until).await, [1, 2, 3]);
    // A token belongs to its question.
    let other =
        ListEventsRequest { page_token: first.next_page_token, newest_first: true, ..request };
    let refused = agent.events.clone().list_events(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("`page_token`"), "{refused}");
}

#[tokio::test]
async fn a_large_payload_is_left_out_of_lists_and_whole_in_get_event() {
    let hub = Hub::start().await;
    let text = "x".repeat(5 << 20);
    let webhook = Webhook::github("push", "large", format!(r#"{{"text": "{text}"}}"#));
    let id = hub.take(&webhook).await;
    let agent = hub.agent().await;
    let listed = agent.list(ListEventsRequest::default()).await.remove(0);
    let size = u64::try_from(webhook.body.len()).unwrap();
    assert_eq!((listed.payload.len(), listed.payload_size), (0, size));
    let delivered = agent.subscribe(everything("work")).await.ack_next(&agent).await;
    assert_eq!(delivered.event.unwrap().payload_size, size);
    let got = agent.event(&id).await;
    assert!(got.event.as_ref().unwrap().payload == webhook.body, "the payload is whole");
    assert_eq!(only(&got).state(), DeliveryState::Done);
}

#[tokio::test]
async fn a_payload_that_would_be_too_large_as_a_value_stays_as_it_was_posted() {
    let hub = Hub::start().await;
    // As a value it takes more than five times its bytes, which no client would take.
    let numbers = "1,".repeat(1 << 20);
    let webhook = Webhook::github("push", "large", format!(r#"{{"numbers": [{numbers}1]}}"#));
    let id = hub.take(&webhook).await;
    let agent = hub.agent().await;
    let payload_view = PayloadView::Struct.into();
    let listed = agent.list(ListEventsRequest { payload_view, ..Default::default() }).await;
    assert!(listed[0].payload == webhook.body && listed[0].payload_json.is_none());
    // GetEvent is for those who take any size, up to 3 MiB of JSON.
    let request = GetEventRequest { id, payload_view };
    let got = agent.events.clone().get_event(request).await.unwrap().into_inner().event.unwrap();
    assert!(got.payload.is_empty() && got.payload_json.is_some());
}
