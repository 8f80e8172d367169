//! Subscriptions as things of their own: patterns, positions, pages, deletion.

use std::time::Duration;

use hookline_proto::v1::{
    CreateSubscriptionRequest, DeleteSubscriptionRequest, GetSubscriptionRequest,
    ListSubscriptionsRequest, PublishEventRequest, StartPosition, SubscribeRequest, Subscription,
    SubscriptionPolicy, start_position::Position,
};
use tonic::{Code, Status};

use crate::{
    agent::{Agent, earliest, event_id, everything, key, lasts},
    http::Webhook,
    hub::{Hub, soon},
};

async fn create(
    agent: &Agent,
    name: &str,
    patterns: &[&str],
    start: Option<StartPosition>,
) -> Result<Subscription, Status> {
    let request = CreateSubscriptionRequest {
        name: name.to_owned(),
        patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        start,
        ..Default::default()
    };
    let mut subscriptions = agent.subscriptions.clone();
    let created = soon("an answer", subscriptions.create_subscription(request)).await?;
    Ok(created.into_inner().subscription.unwrap())
}

/// The table of the design: patterns, what they take, what they do not. Sources of webhooks are left out, since nobody
/// publishes as one: `forge` stands for them.
const TABLE: [(&[&str], &[&str], &[&str]); 11] = [
    (
        &["forge/pull_request.*"],
        &["forge/pull_request.opened"],
        &["forge/pull_request_review.submitted", "forge/pull_request"],
    ),
    (&["forge"], &["forge/push", "forge/issues.opened"], &["gitlab/push"]),
    (&["forge/"], &["forge/push", "forge/issues.opened"], &["gitlab/push"]),
    (&["forge/*"], &["forge/push", "forge/issues.opened"], &["gitlab/push"]),
    (&["*"], &["forge/push", "gitlab/push"], &[]),
    (&["*/"], &["forge/push", "gitlab/push"], &[]),
    (&["*/*"], &["forge/push", "gitlab/push"], &[]),
    (&["*/issue*"], &["forge/issues.opened", "jira/issue_updated"], &["forge/push"]),
    (&["forge/*.opened"], &["forge/issues.opened"], &["forge/push", "jira/issue_updated"]),
    (&["forge/*", "!forge/push"], &["forge/issues.opened"], &["forge/push"]),
    (&["!forge/push", "forge/*"], &["forge/issues.opened"], &["forge/push"]),
];

#[tokio::test]
async fn f1_each_row_of_the_table_of_patterns_takes_what_it_says() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    for (row, (patterns, ..)) in TABLE.iter().enumerate() {
        create(&agent, &format!("row-{row}"), patterns, None).await.unwrap();
    }
    let mut subjects: Vec<_> =
        TABLE.iter().flat_map(|(_, taken, not)| taken.iter().chain(*not).copied()).collect();
    subjects.sort_unstable();
    subjects.dedup();
    for subject in &subjects {
        let (source, event_type) = subject.split_once('/').unwrap();
        let request = PublishEventRequest {
            source: source.to_owned(),
            event_type: event_type.to_owned(),
            ..Default::default()
        };
        agent.try_publish(request).await.unwrap();
    }
    // Every row takes the last event, so that a row's deliveries have an end that can be waited for.
    let request = PublishEventRequest {
        source: "forge".to_owned(),
        event_type: "pull_request.issue.opened".to_owned(),
        ..Default::default()
    };
    agent.try_publish(request).await.unwrap();
    for (row, (patterns, taken, not)) in TABLE.iter().enumerate() {
        let request = SubscribeRequest {
            subscription: format!("row-{row}"),
            max_in_flight: Some(100),
            ..Default::default()
        };
        let mut stream = agent.subscribe(request).await;
        let mut got = Vec::new();
        let expected = agent
            .list(hookline_proto::v1::ListEventsRequest {
                patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
                ..Default::default()
            })
            .await;
        for _ in 0..expected.len() {
            let event = stream.delivery().await.event.unwrap();
            got.push(format!("{}/{}", event.source, event.event_type));
        }
        let counts = agent.subscription(&format!("row-{row}")).await.counts.unwrap();
        assert_eq!((counts.ready, counts.unscanned), (0, 0), "{patterns:?} took no more");
        assert!(taken.iter().all(|subject| got.contains(&(*subject).to_owned())), "{patterns:?}");
        assert!(!not.iter().any(|subject| got.contains(&(*subject).to_owned())), "{patterns:?}");
    }
}

#[tokio::test]
async fn f1_patterns_that_are_none_are_refused_with_their_place() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    for (pattern, place) in [
        ("", "at byte 0"),
        ("/x", "at byte 0"),
        ("git*/x", "at byte 3"),
        ("a/b/c", "at byte 3"),
        ("github/issues?", "at byte 13"),
        ("github/[ab]", "at byte 7"),
        ("github/{a,b}", "at byte 7"),
        ("github/a\\b", "at byte 8"),
        ("github/Push", "at byte 7"),
    ] {
        let refused = create(&agent, "x", &["github", pattern], None).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{pattern:?}");
        let begin = format!("`patterns[1]`: {place}");
        assert!(refused.message().starts_with(&begin), "{pattern:?}: {refused}");
    }
    let refused = create(&agent, "x", &["!github"], None).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("`patterns`: "), "{refused}");
}

#[tokio::test]
async fn a_subscription_begins_where_it_is_told_and_at_the_end_by_default() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c"]).await;
    let agent = hub.agent().await;
    let at = |position| Some(StartPosition { position: Some(position) });
    let second = agent.list(Default::default()).await.swap_remove(1).received_at.unwrap();
    for (name, start) in [
        ("earliest", earliest()),
        ("second", at(Position::Sequence(2))),
        ("since", at(Position::Time(second))),
        ("next", at(Position::Sequence(4))),
        ("latest", at(Position::Latest(()))),
        ("unset", None),
    ] {
        create(&agent, name, &["*"], start).await.unwrap();
    }
    hub.take_each(["d"]).await;
    for (name, first) in [
        ("earliest", "a"),
        ("second", "b"),
        ("since", "b"),
        ("next", "d"),
        ("latest", "d"),
        ("unset", "d"),
    ] {
        let request = SubscribeRequest { subscription: name.to_owned(), ..Default::default() };
        let mut stream = agent.subscribe(request).await;
        assert_eq!(key(&stream.delivery().await), first, "{name}");
    }
    let beyond = create(&agent, "beyond", &["*"], at(Position::Sequence(6))).await.unwrap_err();
    assert_eq!(beyond.code(), Code::OutOfRange, "{beyond}");
}

#[tokio::test]
async fn a_subscription_is_created_once_and_read_back_also_after_a_crash() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let created = create(&agent, "work", &["stripe", "github/"], None).await.unwrap();
    assert_eq!(created.patterns, ["github/*", "stripe/*"]);
    let policy = created.policy.unwrap();
    assert_eq!(policy.lease_duration, lasts(Duration::from_secs(60)));
    assert_eq!((policy.max_attempts, policy.jitter), (Some(5), Some(0.2)));
    assert_eq!(policy.reconnect_grace, lasts(Duration::from_secs(15)));
    create(&agent, "work", &["github/*", "stripe"], None).await.unwrap();
    let other = create(&agent, "work", &["github"], None).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    hub.crash().await;
    let found = hub.agent().await.subscription("work").await;
    assert_eq!((found.patterns, found.policy), (created.patterns, created.policy));
    assert_eq!(found.created_at, created.created_at);
}

#[tokio::test]
async fn another_start_is_another_content_as_far_as_it_can_be_told() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c"]).await;
    let agent = hub.agent().await;
    let at = |position| Some(StartPosition { position: Some(position) });
    let all = agent.list(Default::default()).await;
    let (first, second) = (all[0].received_at.unwrap(), all[1].received_at.unwrap());
    let later = prost_types::Timestamp { seconds: second.seconds + 3_600, ..second };
    create(&agent, "work", &["*"], at(Position::Sequence(2))).await.unwrap();
    hub.take_each(["d"]).await;
    let same = [
        None,
        at(Position::Latest(())),
        at(Position::Sequence(2)),
        at(Position::Time(second)),
        at(Position::Time(later)),
    ];
    let other = [
        earliest(),
        at(Position::Sequence(1)),
        at(Position::Sequence(3)),
        at(Position::Sequence(99)),
        at(Position::Time(first)),
    ];
    for start in same {
        create(&agent, "work", &["*"], start).await.unwrap();
        let request = SubscribeRequest { start, ..everything("work") };
        assert_eq!(agent.subscribe(request).await.ready.ignored_fields, [""; 0], "{start:?}");
    }
    for start in other {
        let refused = create(&agent, "work", &["*"], start).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{start:?}");
        assert!(refused.message().contains("began after sequence 1"), "{refused}");
        let request = SubscribeRequest { start, ..everything("work") };
        assert_eq!(agent.subscribe(request).await.ready.ignored_fields, ["start"], "{start:?}");
    }
}

#[tokio::test]
async fn subscribing_ignores_another_policy_and_says_so() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let mut request = everything("work");
    assert_eq!(agent.subscribe(request.clone()).await.ready.ignored_fields, [""; 0]);
    let policy = SubscriptionPolicy { max_attempts: Some(9), ..Default::default() };
    request.policy = Some(policy);
    request.start = Some(StartPosition { position: Some(Position::Sequence(2)) });
    let ready = agent.subscribe(request).await.ready;
    assert_eq!(ready.ignored_fields, ["start", "policy.max_attempts"]);
    assert_eq!(ready.policy.unwrap().max_attempts, Some(5));
}

#[tokio::test]
async fn an_ephemeral_subscription_begins_at_the_end_and_is_gone_with_its_stream() {
    let hub = Hub::start().await;
    hub.take_each(["old"]).await;
    let agent = hub.agent().await;
    let patterns = vec!["github".to_owned()];
    let request = SubscribeRequest { patterns, ..Default::default() };
    let mut stream = agent.subscribe(request).await;
    assert!(!stream.ready.consumer.is_empty());
    let name = stream.ready.subscription.clone();
    hub.take_each(["new"]).await;
    let delivery = stream.ack_next(&agent).await;
    assert_eq!(key(&delivery), "new");
    drop(stream);
    let request = GetSubscriptionRequest { name };
    let gone = async {
        loop {
            match agent.subscriptions.clone().get_subscription(request.clone()).await {
                Ok(_) => {}
                Err(status) => break status,
            }
        }
    };
    assert_eq!(soon("the end of the subscription", gone).await.code(), Code::NotFound);
    assert_eq!(agent.event(event_id(&delivery)).await.deliveries, []);
}

#[tokio::test]
async fn i8_a_deleted_subscription_ends_its_streams_and_stays_deleted() {
    let mut hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let delivery = stream.delivery().await;
    let delete = DeleteSubscriptionRequest { name: "work".to_owned() };
    let mut subscriptions = agent.subscriptions.clone();
    subscriptions.delete_subscription(delete.clone()).await.unwrap();
    assert_eq!(stream.end().await.code(), Code::NotFound);
    let stale = hookline_proto::v1::Outcome::Stale;
    assert_eq!(agent.ack(&[&delivery.lease_id]).await, [stale]);
    let again = subscriptions.delete_subscription(delete).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);

    hub.crash().await;
    let agent = hub.agent().await;
    let without_patterns =
        SubscribeRequest { subscription: "work".to_owned(), ..Default::default() };
    let refused = agent.try_subscribe(without_patterns).await.err().unwrap();
    assert_eq!(refused.code(), Code::NotFound);
    // One of the same name begins anew, and the old lease means nothing to it.
    let mut stream = agent.subscribe(everything("work")).await;
    let anew = stream.delivery().await;
    assert_eq!((key(&anew), anew.attempt), ("a", 1));
    assert_eq!(agent.ack(&[&delivery.lease_id]).await, [stale]);
    assert_eq!(agent.ack(&[&anew.lease_id]).await, [hookline_proto::v1::Outcome::Applied]);
}

#[tokio::test]
async fn subscriptions_are_listed_by_name_in_pages_with_their_counts() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    hub.take(&Webhook::stripe(r#"{"id": "evt_1", "object": "event", "type": "x.y"}"#)).await;
    let agent = hub.agent().await;
    for name in ["c", "a", "b"] {
        create(&agent, name, &["github"], earliest()).await.unwrap();
    }
    let mut stream = agent
        .subscribe(SubscribeRequest {
            subscription: "a".to_owned(),
            consumer: "one".to_owned(),
            ..Default::default()
        })
        .await;
    stream.delivery().await;
    let mut request = ListSubscriptionsRequest { page_size: Some(2), ..Default::default() };
    let mut subscriptions = agent.subscriptions.clone();
    let first = subscriptions.list_subscriptions(request.clone()).await.unwrap().into_inner();
    request.page_token = first.next_page_token;
    let second = subscriptions.list_subscriptions(request).await.unwrap().into_inner();
    assert_eq!(second.next_page_token, "");
    let all: Vec<_> = first.subscriptions.iter().chain(&second.subscriptions).collect();
    let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((names, first.subscriptions.len()), (vec!["a", "b", "c"], 2));
    let counts = all[0].counts.unwrap();
    assert_eq!((counts.leased, counts.ready, counts.unscanned), (1, 1, 0));
    assert_eq!(all[0].consumers, ["one"]);
    assert!(all[0].oldest_age.is_some());
    assert_eq!(all[0].position.unwrap().log_end, 3);
}
