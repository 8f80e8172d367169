//! Filters over the wire: what they take, how they are changed and tried, and what happens where they fail.

use hookline_proto::v1::{
    DeadLetterReason, DeliveryState, Event, ListDeadLettersRequest, ListEventsRequest,
    PublishEventRequest, StartPosition, SubscribeRequest, TestFilterRequest, TestFilterResponse,
    WatchEventsRequest, start_position::Position,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::{
    agent::{Agent, Stream, at, earliest, event_id, everything},
    corpus,
    hub::{Hub, soon},
    operator::{again, creating, place, time},
};

const BY_ANN: &str = "event.actor == 'ann'";
const BY_ANN_OR_BOB: &str = "event.actor in ['ann', 'bob']";

fn filtered(subscription: &str, filter: &str) -> SubscribeRequest {
    SubscribeRequest { filter: filter.to_owned(), ..everything(subscription) }
}

/// Publishes an event of each actor, in order; returns the ids.
async fn publish_by(agent: &Agent, actors: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for actor in actors {
        let request = PublishEventRequest {
            event_type: "page.changed".to_owned(),
            actor: (*actor).to_owned(),
            ..Default::default()
        };
        ids.push(agent.try_publish(request).await.unwrap().event_id);
    }
    ids
}

/// Publishes this many events of an actor, eight at a time.
async fn publish_many(agent: &Agent, actor: &'static str, count: usize) {
    let mut publishing = JoinSet::new();
    for _ in 0..8 {
        let (agent, actors) = (agent.clone(), vec![actor; count / 8]);
        publishing.spawn(async move { publish_by(&agent, &actors).await });
    }
    publishing.join_all().await;
}

/// Acks as many deliveries, and returns their sequences.
async fn take(agent: &Agent, stream: &mut Stream, count: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let delivery = stream.ack_next(agent).await;
        assert_eq!(delivery.attempt, 1);
        taken.push(delivery.event.unwrap().sequence);
    }
    taken
}

async fn try_filter(
    agent: &Agent,
    request: TestFilterRequest,
) -> Result<TestFilterResponse, Status> {
    let mut events = agent.events.clone();
    Ok(soon("an answer", events.test_filter(request)).await?.into_inner())
}

#[tokio::test]
async fn f2_a_sparse_filter_reaches_the_end_without_phantom_lag_also_after_a_kill() {
    let mut hub = Hub::start().await;
    let mut agent = hub.agent().await;
    agent.try_create(creating(filtered("work", BY_ANN))).await.unwrap();
    publish_many(&agent, "bob", 400).await;
    for _ in 0..2 {
        let subscription = agent.scanned("work").await;
        let position = subscription.position.unwrap();
        assert_eq!((position.log_end, position.done_floor), (400, 400));
        assert_eq!(
            (subscription.counts, subscription.oldest_age),
            (Some(Default::default()), None)
        );
        hub.crash().await;
        agent = hub.agent().await;
    }
    let mut stream = agent.subscribe(again("work")).await;
    publish_by(&agent, &["bob", "ann"]).await;
    assert_eq!(take(&agent, &mut stream, 1).await, [402]);
}

#[tokio::test]
async fn f3_a_filter_that_is_changed_from_now_leaves_what_was_skipped_skipped() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let ids = publish_by(&agent, &["ann", "bob", "ann", "bob"]).await;
    let mut stream = agent.subscribe(filtered("work", BY_ANN)).await;
    assert_eq!(take(&agent, &mut stream, 2).await, [1, 3]);
    agent.filter("work", BY_ANN_OR_BOB, None).await;
    publish_by(&agent, &["bob", "cleo", "ann"]).await;
    assert_eq!(take(&agent, &mut stream, 2).await, [5, 7]);
    for _ in 0..2 {
        let agent = hub.agent().await;
        for skipped in [1, 3] {
            assert_eq!(agent.event(&ids[skipped]).await.deliveries, []);
        }
        let subscription = agent.scanned("work").await;
        assert_eq!(subscription.filter, BY_ANN_OR_BOB);
        assert_eq!(subscription.counts, Some(Default::default()));
        hub.crash().await;
    }
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(again("work")).await;
    publish_by(&agent, &["bob"]).await;
    assert_eq!(take(&agent, &mut stream, 1).await, [8]);
}

#[tokio::test]
async fn f3_an_event_that_is_open_stays_open_when_the_filter_no_longer_takes_it() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    publish_by(&agent, &["ann", "ann", "bob"]).await;
    let mut stream = agent.subscribe(filtered("work", BY_ANN)).await;
    let first = stream.delivery().await;
    agent.scanned("work").await;
    agent.filter("work", "event.actor == 'bob'", None).await;
    publish_by(&agent, &["ann", "bob"]).await;
    assert_eq!(agent.ack(&[&first.lease_id]).await, [hookline_proto::v1::Outcome::Applied]);
    assert_eq!(take(&agent, &mut stream, 2).await, [2, 5]);
}

#[tokio::test]
async fn f4_a_filter_that_is_changed_from_a_sequence_brings_what_was_skipped_there_once() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let ids = publish_by(&agent, &["ann", "bob", "ann", "bob", "ann", "bob"]).await;
    let mut stream = agent.subscribe(filtered("work", BY_ANN)).await;
    assert_eq!(take(&agent, &mut stream, 3).await, [1, 3, 5]);
    agent.filter("work", BY_ANN_OR_BOB, Some(Position::Sequence(3))).await;
    assert_eq!(take(&agent, &mut stream, 2).await, [4, 6]);
    // The same again brings nothing again.
    agent.filter("work", BY_ANN_OR_BOB, Some(Position::Sequence(3))).await;
    publish_by(&agent, &["bob"]).await;
    assert_eq!(take(&agent, &mut stream, 1).await, [7]);

    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(again("work")).await;
    publish_by(&agent, &["ann"]).await;
    assert_eq!(take(&agent, &mut stream, 1).await, [8]);
    assert_eq!(agent.event(&ids[1]).await.deliveries, []);
    // From further back it brings only what that adds.
    agent.filter("work", BY_ANN, None).await;
    agent.filter("work", BY_ANN_OR_BOB, Some(Position::Earliest(()))).await;
    publish_by(&agent, &["bob"]).await;
    let mut taken = take(&agent, &mut stream, 2).await;
    taken.sort_unstable();
    assert_eq!(taken, [2, 9]);
    let counts = agent.scanned("work").await.counts.unwrap();
    assert_eq!((counts.ready, counts.leased, counts.waiting), (0, 0, 0));
}

#[tokio::test]
async fn f4_a_filter_holds_from_where_it_is_told_also_before_the_one_that_was_to_hold_from_later() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.try_create(creating(filtered("work", BY_ANN))).await.unwrap();
    // More than is looked at ahead of what consumers take.
    publish_many(&agent, "ann", 1_200).await;
    publish_by(&agent, &["cleo", "ann"]).await;
    let position = agent.subscription("work").await.position.unwrap();
    assert!(position.scanned < 1_190, "{position:?}");
    agent.filter("work", "event.actor == 'bob'", None).await;
    agent.filter("work", "event.actor == 'cleo'", Some(Position::Sequence(1_190))).await;
    let request = SubscribeRequest { max_in_flight: Some(1_000), ..again("work") };
    let mut stream = agent.subscribe(request).await;
    let (mut taken, mut leases) = (Vec::new(), Vec::new());
    while taken.len() < 1_190 {
        let delivery = stream.delivery().await;
        taken.push(delivery.event.unwrap().sequence);
        leases.push(delivery.lease_id);
        if leases.len() == 119 {
            agent.ack(&leases.iter().map(String::as_str).collect::<Vec<_>>()).await;
            leases.clear();
        }
    }
    assert_eq!(taken, (1..1_190).chain([1_201]).collect::<Vec<_>>());
    let counts = agent.scanned("work").await.counts.unwrap();
    assert_eq!((counts.ready, counts.leased), (0, 0));
}

#[tokio::test]
async fn f4_what_is_looked_for_again_comes_also_if_the_hub_is_killed_right_after_the_change() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    publish_by(&agent, &["ann", "bob", "ann", "bob"]).await;
    let mut stream = agent.subscribe(filtered("work", BY_ANN)).await;
    assert_eq!(take(&agent, &mut stream, 2).await, [1, 3]);
    drop(stream);
    agent.filter("work", BY_ANN_OR_BOB, Some(Position::Earliest(()))).await;
    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(again("work")).await;
    let mut taken = take(&agent, &mut stream, 2).await;
    taken.sort_unstable();
    assert_eq!(taken, [2, 4]);
    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(again("work")).await;
    publish_by(&agent, &["bob"]).await;
    assert_eq!(take(&agent, &mut stream, 1).await, [5]);
}

#[tokio::test]
async fn f6_an_event_that_the_filter_fails_on_is_a_dead_letter_and_others_flow() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(filtered("work", "100 / event.payload.pages > 10")).await;
    agent.publish_with("", r#"{"pages": 5}"#).await;
    let bad = agent.publish_with("", r#"{"pages": 0}"#).await.event_id;
    agent.publish_with("", r#"{"pages": 50}"#).await;
    // A path that is absent is no match, and no failure.
    let absent = agent.publish_with("", r#"{"page": 0}"#).await.event_id;
    let not_json = agent.publish_with("", "pages").await.event_id;
    // The announcement of the dead letter has a sequence too, before it or after it.
    let last = agent.publish_with("", r#"{"pages": 4}"#).await.sequence;
    assert_eq!(take(&agent, &mut stream, 2).await, [1, last]);
    for id in [absent, not_json] {
        assert_eq!(agent.event(&id).await.deliveries, []);
    }
    for _ in 0..2 {
        let agent = hub.agent().await;
        let request = ListDeadLettersRequest::default();
        let mut dead_letters = agent.dead_letters.clone();
        let page = soon("dead letters", dead_letters.list_dead_letters(request)).await.unwrap();
        let [letter] = &page.into_inner().dead_letters[..] else { panic!("one dead letter") };
        assert_eq!(letter.reason(), DeadLetterReason::FilterError);
        assert_eq!((letter.event.as_ref().unwrap().id.as_str(), letter.attempts.len()), (&*bad, 0));
        assert!(letter.detail.contains("zero"), "{:?}", letter.detail);
        let status = &agent.event(&bad).await.deliveries[0];
        assert_eq!((status.state(), status.attempt), (DeliveryState::Dead, 0));
        assert_eq!(status.dead_letter_id, letter.id);
        assert_eq!(agent.scanned("work").await.counts.unwrap().dead, 1);
        hub.crash().await;
    }
}

#[tokio::test]
async fn f6_a_filter_that_does_not_compile_is_refused_by_its_field_and_nothing_is_created() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let too_long = format!("event.actor == '{}'", "x".repeat(2_048));
    for filter in ["event.actor ==", "event.actr == 'ann'", "evnt", "1 +", &too_long] {
        let refused = agent.try_create(creating(filtered("work", filter))).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{filter:.20}: {refused}");
        assert!(refused.message().starts_with("`filter`: "), "{filter:.20}: {refused}");
    }
    let refused = agent.try_subscribe(again("work")).await.err().unwrap();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn a_filter_of_a_subscription_is_compared_and_a_difference_is_a_failed_precondition() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    drop(agent.subscribe(filtered("work", BY_ANN)).await);
    drop(agent.subscribe(filtered("work", BY_ANN)).await);
    // None is not compared.
    drop(agent.subscribe(everything("work")).await);
    let refused = agent.try_subscribe(filtered("work", BY_ANN_OR_BOB)).await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(BY_ANN) && refused.message().contains(BY_ANN_OR_BOB));
    let other = agent.try_create(creating(filtered("work", BY_ANN_OR_BOB))).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
}

/// Filters over bodies of GitHub: some of what they take, none of all, and one that fails.
const FILTERS: [&str; 7] = [
    "event.payload.sender.type == 'User'",
    "event.event_type.startsWith('pull_request')",
    "event.payload.action in ['opened', 'created']",
    "has(event.payload.repository) && !event.payload.repository.private",
    "event.resource_type == 'issue' || size(event.payload.commits) > 0",
    "event.payload.repository.full_name.contains('/') && event.payload.number > 1",
    "event.payload.number / (event.payload.number - event.payload.number) > 0",
];

#[tokio::test]
async fn f7_a_trial_of_a_filter_says_what_a_subscription_receives_that_is_created_there() {
    let Some(folder) = corpus::payloads() else { return };
    let hub = Hub::start().await;
    let mut http = hub.http().await;
    for webhook in corpus::github_webhooks(&folder) {
        assert_eq!(http.post(&webhook).await.unwrap().status, 200);
    }
    let agent = hub.agent().await;
    let (mut matched, mut failed) = (0, 0);
    for (index, filter) in FILTERS.into_iter().enumerate() {
        let patterns = vec!["github/*".to_owned(), "!github/push".to_owned()];
        let start = Some(place(Position::Sequence(3)));
        let trial = TestFilterRequest {
            patterns: patterns.clone(),
            filter: filter.to_owned(),
            start,
            sample_size: Some(100),
            ..Default::default()
        };
        let tried = try_filter(&agent, trial).await.unwrap();
        let name = format!("work-{index}");
        let max_in_flight = Some(1_000);
        let request =
            SubscribeRequest { patterns, start, max_in_flight, ..filtered(&name, filter) };
        let mut stream = agent.subscribe(request).await;
        let mut received = Vec::new();
        for _ in 0..tried.matched_count {
            received.push(event_id(&stream.delivery().await).to_owned());
        }
        let subscription = agent.scanned(&name).await;
        let (counts, position) = (subscription.counts.unwrap(), subscription.position.unwrap());
        assert_eq!((counts.ready, counts.leased), (0, tried.matched_count), "{filter}");
        assert_eq!(counts.dead, tried.failed_count, "{filter}");
        assert_eq!(tried.failed_count == 0, tried.failure.is_empty(), "{filter}");
        // What is announced of dead letters goes on.
        assert!(tried.scanned_through <= position.log_end && 0 < tried.scanned_count);
        let samples: Vec<_> = tried.samples.into_iter().map(|sample| sample.id).collect();
        assert_eq!(samples[..], received[..samples.len()], "{filter}");
        matched += tried.matched_count;
        failed += tried.failed_count;
    }
    assert!(0 < matched && 0 < failed, "{matched} matched, {failed} failed");
}

#[tokio::test]
async fn f7_a_trial_says_why_a_named_event_does_not_match() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let ids = publish_by(&agent, &["ann", "bob"]).await;
    let trial = |patterns: &str, filter: &str, event_id: &str| TestFilterRequest {
        patterns: vec![patterns.to_owned()],
        filter: filter.to_owned(),
        event_id: event_id.to_owned(),
        ..Default::default()
    };
    let reason = async |request| try_filter(&agent, request).await.unwrap().mismatch_reason;
    assert_eq!(reason(trial("*", BY_ANN, &ids[0])).await, "");
    let by_filter = reason(trial("*", BY_ANN, &ids[1])).await;
    assert!(by_filter.starts_with("the filter does not match"), "{by_filter}");
    let by_pattern = reason(trial("github", "", &ids[0])).await;
    assert!(by_pattern.contains("agent/page.changed"), "{by_pattern}");
    let absent = reason(trial("*", "event.payload.pages > 1", &ids[0])).await;
    assert!(absent.starts_with("the filter does not match"), "{absent}");
    let unknown = "01890000-0000-7000-8000-000000000000";
    let refused = try_filter(&agent, trial("*", BY_ANN, unknown)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn f8_subscriptions_and_trials_begin_at_now_the_start_a_sequence_or_a_time_between_events() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let ids = publish_by(&agent, &["ann", "ann", "ann", "bob", "ann"]).await;
    let received: Vec<_> = agent
        .list(Default::default())
        .await
        .iter()
        .map(|event: &Event| at(event.received_at))
        .collect();
    // Each publishing is a commit of its own, so that there is time between the two.
    let between = (received[1] + received[2]) / 2;
    assert!(received[1] < between && between < received[2]);
    let starts: [(_, &[u64]); 5] = [
        (Position::Earliest(()), &[1, 2, 3, 5, 6]),
        (Position::Sequence(4), &[5, 6]),
        (Position::Time(time(between)), &[3, 5, 6]),
        (Position::Time(time(received[1])), &[2, 3, 5, 6]),
        (Position::Latest(()), &[6]),
    ];
    for (index, (position, sequences)) in starts.iter().enumerate() {
        let start = Some(StartPosition { position: Some(*position) });
        let name = format!("work-{index}");
        let request = SubscribeRequest { start, ..filtered(&name, BY_ANN) };
        agent.try_create(creating(request)).await.unwrap();
        let filter = BY_ANN.to_owned();
        let trial = TestFilterRequest { filter, start, ..Default::default() };
        let tried = try_filter(&agent, trial).await.unwrap();
        assert_eq!(tried.matched_count + 1, u64::try_from(sequences.len()).unwrap());
        let samples: Vec<_> = tried.samples.iter().map(|sample| &sample.id).collect();
        let expected = ids.iter().zip(1..).filter(|(_, sequence)| sequences.contains(sequence));
        assert_eq!(samples, expected.map(|(id, _)| id).collect::<Vec<_>>());
    }
    publish_by(&agent, &["ann"]).await;
    for (index, (_, sequences)) in starts.iter().enumerate() {
        let mut stream = agent.subscribe(again(&format!("work-{index}"))).await;
        assert_eq!(take(&agent, &mut stream, sequences.len()).await, *sequences);
    }
}

#[tokio::test]
async fn lists_and_watches_show_what_a_filter_takes_and_leave_out_what_it_fails_on() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let filter = "100 / event.payload.pages > 10".to_owned();
    for pages in [5, 0, 50, 4] {
        agent.publish_with("", &format!(r#"{{"pages": {pages}}}"#)).await;
    }
    let mut request = ListEventsRequest { filter: filter.clone(), ..Default::default() };
    let sequences = |events: Vec<Event>| -> Vec<u64> {
        events.into_iter().map(|event| event.sequence).collect()
    };
    assert_eq!(sequences(agent.list(request.clone()).await), [1, 4]);
    request.page_size = Some(1);
    request.newest_first = true;
    assert_eq!(sequences(agent.list(request).await), [4, 1]);

    let start = earliest();
    let request = WatchEventsRequest { filter, start, ..Default::default() };
    let mut events = agent.events.clone();
    let mut watch = soon("a watch", events.watch_events(request)).await.unwrap().into_inner();
    let mut watched = Vec::new();
    for _ in 0..2 {
        let message = soon("an event", watch.message()).await.unwrap().unwrap();
        watched.push(message.event.unwrap().sequence);
    }
    agent.publish_with("", r#"{"pages": 99}"#).await;
    agent.publish_with("", r#"{"pages": 1}"#).await;
    let message = soon("an event", watch.message()).await.unwrap().unwrap();
    watched.push(message.event.unwrap().sequence);
    assert_eq!(watched, [1, 4, 6]);
}
