//! Calls that are not what they should be: each gets a precise status, and the hub goes on.

use std::time::Duration;

use hookline_proto::v1::{
    AckRequest, Coalesce, CreateSubscriptionRequest, DeliveryState, ExtendLeaseRequest,
    GetDeadLetterRequest, GetEventRequest, GetSubscriptionRequest, LeaseExtension,
    ListDeliveriesRequest, ListEventsRequest, Nack, NackRequest, Ordering, Outcome,
    PauseSubscriptionRequest, PublishEventRequest, RedriveDeadLettersRequest, ReplayEventsRequest,
    ResumeSubscriptionRequest, SeekSubscriptionRequest, StartPosition, SubscribeRequest,
    Subscription, SubscriptionPolicy, TestFilterRequest, UpdateSubscriptionRequest,
    WatchEventsRequest, start_position::Position,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    agent::{Agent, everything, lasts},
    hub::soon,
    tried::Tried,
};

impl Tried {
    /// Sees that a call was refused with this code and a message that begins so, and that the hub goes on.
    async fn refuses_call<T>(&mut self, answer: Result<T, Status>, code: Code, message: &str) {
        let Err(status) = answer else { panic!("not refused: {message}") };
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().starts_with(message), "{message}, not {status}");
        if code == Code::InvalidArgument {
            let violation = &status.get_details_bad_request().unwrap().field_violations[0];
            assert_eq!(format!("`{}`", violation.field), message.split(": ").next().unwrap());
        }
        self.goes_on().await;
    }

    async fn subscribe(&self, request: SubscribeRequest) -> Result<(), Status> {
        self.agent.try_subscribe(request).await.map(drop)
    }

    async fn create(&self, policy: SubscriptionPolicy) -> Result<(), Status> {
        let request = CreateSubscriptionRequest {
            name: "bad".to_owned(),
            patterns: vec!["*".to_owned()],
            policy: Some(policy),
            ..Default::default()
        };
        let mut subscriptions = self.agent.subscriptions.clone();
        soon("an answer", subscriptions.create_subscription(request)).await.map(drop)
    }
}

#[tokio::test]
async fn garbage_lease_ids_are_invalid_one_by_one_and_the_others_are_applied() {
    let mut tried = Tried::start().await;
    tried.hub.take_each(["a"]).await;
    let agent = tried.agent.clone();
    let mut stream = agent.subscribe(everything("other")).await;
    let lease = stream.delivery().await.lease_id;
    // As long as a real one, and off by its last letter.
    let (start, end) = lease.split_at(lease.len() - 1);
    let forged = format!("{start}{}", if end == "A" { "B" } else { "A" });
    let garbage = ["", "garbage", "\u{0}", "../../etc", &forged, &"x".repeat(100_000)];
    for id in garbage {
        assert_eq!(agent.extend(id, None).await.outcome(), Outcome::Invalid, "{id:.20}");
        let nack = Nack { lease_id: id.to_owned(), ..Default::default() };
        assert_eq!(agent.try_nack(vec![nack]).await.unwrap()[0].outcome(), Outcome::Invalid);
        let ids = [id, &lease];
        let outcomes = agent.ack(&ids).await;
        assert_eq!(outcomes[0], Outcome::Invalid);
        assert!([Outcome::Applied, Outcome::AlreadyApplied].contains(&outcomes[1]));
    }
    let result = agent.try_ack(&["garbage"]).await.unwrap().remove(0);
    assert_eq!(result.message, "not a lease id of this hub");
    assert_eq!(stream.ready.subscription, "other");
    tried.stream.ack_next(&agent).await;
    tried.goes_on().await;
}

#[tokio::test]
async fn batches_that_are_empty_or_too_large_are_refused_by_their_field() {
    let mut tried = Tried::start().await;
    for count in [0, 1_001] {
        let mut subscriber = tried.agent.subscriber.clone();
        let acked = subscriber.ack(AckRequest { lease_ids: vec!["x".to_owned(); count] }).await;
        let nacks = vec![Nack::default(); count];
        let nacked = subscriber.nack(NackRequest { nacks }).await;
        let extensions = vec![LeaseExtension::default(); count];
        let extended = subscriber.extend_lease(ExtendLeaseRequest { extensions }).await;
        tried.refuses_call(acked, Code::InvalidArgument, "`lease_ids`: ").await;
        tried.refuses_call(nacked, Code::InvalidArgument, "`nacks`: ").await;
        tried.refuses_call(extended, Code::InvalidArgument, "`extensions`: ").await;
    }
    // Only what brings a payload may be as large as one.
    let large = "x".repeat(4 << 20);
    let acked = tried.agent.try_ack(&[&large]).await;
    tried.refuses_call(acked, Code::OutOfRange, "").await;
    let nack = Nack { action: 99, ..Default::default() };
    let nacked = tried.agent.try_nack(vec![Nack::default(), nack]).await;
    tried.refuses_call(nacked, Code::InvalidArgument, "`nacks[1].action`: ").await;
    let minus = prost_types::Duration { seconds: -1, nanos: 0 };
    let nack = Nack { retry_after: Some(minus), ..Default::default() };
    let nacked = tried.agent.try_nack(vec![nack]).await;
    tried.refuses_call(nacked, Code::InvalidArgument, "`nacks[0].retry_after`: ").await;
}

#[tokio::test]
async fn a_subscribe_that_can_not_be_is_refused_precisely() {
    let mut tried = Tried::start().await;
    let request = SubscribeRequest { subscription: "new".to_owned(), ..everything("new") };
    let invalid = Code::InvalidArgument;
    let patterns = |patterns: &[&str]| SubscribeRequest {
        patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        ..request.clone()
    };
    let sequence = |sequence| SubscribeRequest {
        start: Some(StartPosition { position: Some(Position::Sequence(sequence)) }),
        ..request.clone()
    };
    let beyond = tried.agent.subscription("work").await.position.unwrap().log_end + 1_000;
    let policy = |policy| SubscribeRequest { policy: Some(policy), ..request.clone() };
    let at_once = SubscriptionPolicy { max_in_flight_per_resource: Some(2), ..Default::default() };
    let quiet = SubscriptionPolicy {
        coalesce: Coalesce::Latest.into(),
        debounce_quiet: lasts(Duration::from_secs(1)),
        ..Default::default()
    };
    let bad = [
        (patterns(&["git*/x"]), invalid, "`patterns[0]`: at byte 3"),
        (patterns(&["github", "github/Push"]), invalid, "`patterns[1]`: at byte 7"),
        (patterns(&["!github"]), invalid, "`patterns`: "),
        (patterns(&["*"; 101]), invalid, "`patterns`: "),
        (patterns(&[]), Code::NotFound, "there is no subscription `new`"),
        (SubscribeRequest::default(), invalid, "`patterns`: "),
        (SubscribeRequest { held_only: true, ..everything("") }, invalid, "`held_only`: "),
        (everything("Not a name"), invalid, "`subscription`: "),
        (everything(&"x".repeat(65)), invalid, "`subscription`: "),
        (
            SubscribeRequest { consumer: "c".repeat(129), ..request.clone() },
            invalid,
            "`consumer`: ",
        ),
        (
            SubscribeRequest { max_in_flight: Some(0), ..request.clone() },
            invalid,
            "`max_in_flight`: ",
        ),
        (
            SubscribeRequest { max_in_flight: Some(1_001), ..request.clone() },
            invalid,
            "`max_in_flight`: ",
        ),
        (SubscribeRequest { payload_view: 99, ..request.clone() }, invalid, "`payload_view`: "),
        (sequence(0), invalid, "`start.sequence`: "),
        (sequence(beyond), Code::OutOfRange, "`start`: "),
        (
            SubscribeRequest { filter: "event.actor ==".to_owned(), ..request.clone() },
            invalid,
            "`filter`: ",
        ),
        (policy(at_once), invalid, "`policy.max_in_flight_per_resource`: only with"),
        (policy(quiet), invalid, "`policy.debounce_quiet`: only with"),
    ];
    for (request, code, message) in bad {
        let answer = tried.subscribe(request).await;
        tried.refuses_call(answer, code, message).await;
    }
    let request = GetSubscriptionRequest { name: "new".to_owned() };
    let left = tried.agent.subscriptions.clone().get_subscription(request).await;
    tried.refuses_call(left, Code::NotFound, "there is no subscription `new`").await;
}

#[tokio::test]
async fn other_patterns_than_those_of_the_subscription_are_a_failed_precondition_with_both() {
    let mut tried = Tried::start().await;
    let patterns = vec!["stripe/invoice.*".to_owned()];
    let request = SubscribeRequest { patterns, consumer: "two".to_owned(), ..everything("work") };
    let refused = tried.subscribe(request).await;
    let message = refused.as_ref().unwrap_err().message().to_owned();
    assert!(message.contains("*/*") && message.contains("stripe/invoice.*"), "{message}");
    tried.refuses_call(refused, Code::FailedPrecondition, "`patterns`: ").await;
    // The same ones in another form are no difference.
    let patterns = vec!["*/".to_owned(), "*".to_owned()];
    let request = SubscribeRequest { patterns, consumer: "two".to_owned(), ..everything("work") };
    tried.subscribe(request).await.unwrap();
}

#[tokio::test]
async fn a_policy_out_of_its_bounds_is_refused_by_its_field() {
    let mut tried = Tried::start().await;
    let secs = |secs| lasts(Duration::from_secs(secs));
    let none = SubscriptionPolicy::default;
    let bad = [
        (SubscriptionPolicy { lease_duration: secs(0), ..none() }, "lease_duration"),
        (SubscriptionPolicy { lease_duration: secs(3_601), ..none() }, "lease_duration"),
        (SubscriptionPolicy { max_lease: secs(59), ..none() }, "max_lease"),
        (SubscriptionPolicy { max_lease: secs(86_401), ..none() }, "max_lease"),
        (SubscriptionPolicy { max_attempts: Some(0), ..none() }, "max_attempts"),
        (SubscriptionPolicy { max_attempts: Some(101), ..none() }, "max_attempts"),
        (SubscriptionPolicy { initial_backoff: secs(86_401), ..none() }, "initial_backoff"),
        (SubscriptionPolicy { max_backoff: secs(0), ..none() }, "max_backoff"),
        (SubscriptionPolicy { backoff_multiplier: Some(0.5), ..none() }, "backoff_multiplier"),
        (SubscriptionPolicy { backoff_multiplier: Some(f64::NAN), ..none() }, "backoff_multiplier"),
        (SubscriptionPolicy { jitter: Some(1.5), ..none() }, "jitter"),
        (SubscriptionPolicy { jitter: Some(-0.1), ..none() }, "jitter"),
        (SubscriptionPolicy { reconnect_grace: secs(601), ..none() }, "reconnect_grace"),
        (
            SubscriptionPolicy {
                ordering: Ordering::Resource.into(),
                max_in_flight_per_resource: Some(101),
                ..none()
            },
            "max_in_flight_per_resource",
        ),
        (SubscriptionPolicy { ordering: 9, ..none() }, "ordering"),
        (SubscriptionPolicy { coalesce: 9, ..none() }, "coalesce"),
        (
            SubscriptionPolicy {
                coalesce: Coalesce::Debounce.into(),
                debounce_quiet: secs(60),
                debounce_max_wait: secs(59),
                ..none()
            },
            "debounce_max_wait",
        ),
        (SubscriptionPolicy { max_per_second: Some(-1.0), ..none() }, "max_per_second"),
        (SubscriptionPolicy { burst: Some(5), ..none() }, "burst"),
        (SubscriptionPolicy { breaker_failures: Some(10_001), ..none() }, "breaker_failures"),
        (SubscriptionPolicy { breaker_pause: secs(5), ..none() }, "breaker_pause"),
        (SubscriptionPolicy { expire_after: secs(59), ..none() }, "expire_after"),
    ];
    for (policy, field) in bad {
        let answer = tried.create(policy).await;
        tried.refuses_call(answer, Code::InvalidArgument, &format!("`policy.{field}`: ")).await;
    }
}

#[tokio::test]
async fn changes_that_can_not_be_are_refused_precisely() {
    let mut tried = Tried::start().await;
    let mut subscriptions = tried.agent.subscriptions.clone();
    let named = |name: &str| Subscription { name: name.to_owned(), ..Default::default() };
    let update = |name: &str, paths: &[&str]| UpdateSubscriptionRequest {
        subscription: Some(named(name)),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        filter_from: None,
    };
    let from = Some(StartPosition { position: Some(Position::Earliest(())) });
    let bad = [
        (update("work", &[]), Code::InvalidArgument, "`update_mask`: names no field"),
        (update("work", &["name"]), Code::InvalidArgument, "`update_mask`: `name` can't be"),
        (update("work", &["policy.x"]), Code::InvalidArgument, "`update_mask`: `policy.x` can't"),
        (update("work", &["patterns"]), Code::InvalidArgument, "`subscription.patterns`: "),
        (update("gone", &["filter"]), Code::NotFound, "there is no subscription `gone`"),
        (
            UpdateSubscriptionRequest { filter_from: from, ..update("work", &["policy.jitter"]) },
            Code::InvalidArgument,
            "`filter_from`: only with",
        ),
    ];
    for (request, code, message) in bad {
        let answer = subscriptions.update_subscription(request).await;
        tried.refuses_call(answer, code, message).await;
    }
    let name = "work".to_owned();
    let until = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let request = PauseSubscriptionRequest { name: name.clone(), until };
    let answer = subscriptions.pause_subscription(request).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`until`: has passed already").await;
    let request = ResumeSubscriptionRequest { name: "gone".to_owned() };
    let answer = subscriptions.resume_subscription(request).await;
    tried.refuses_call(answer, Code::NotFound, "there is no subscription `gone`").await;
    let request = SeekSubscriptionRequest { name: name.clone(), to: None, dry_run: true };
    let answer = subscriptions.seek_subscription(request.clone()).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`to`: a position is needed").await;
    let to = Some(StartPosition { position: Some(Position::Sequence(1_000_000)) });
    let answer = subscriptions.seek_subscription(SeekSubscriptionRequest { to, ..request }).await;
    tried.refuses_call(answer, Code::OutOfRange, "`to`: ").await;
    let request = ListDeliveriesRequest {
        subscription: name,
        states: vec![DeliveryState::Done.into()],
        ..Default::default()
    };
    let answer = subscriptions.list_deliveries(request).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`states[0]`: ").await;
}

#[tokio::test]
async fn replays_that_can_not_be_are_refused_precisely() {
    let mut tried = Tried::start().await;
    let mut subscriptions = tried.agent.subscriptions.clone();
    let name = "work".to_owned();
    let request = ReplayEventsRequest { subscription: name, ..Default::default() };
    let some = ReplayEventsRequest { start_sequence: Some(1), ..request.clone() };
    let gone = "gone".to_owned();
    let bad = [
        (request.clone(), Code::InvalidArgument, "`event_ids`: ids, a condition, or a place"),
        (
            ReplayEventsRequest { event_ids: vec!["garbage".to_owned()], ..request.clone() },
            Code::InvalidArgument,
            "`event_ids[0]`: ",
        ),
        (
            ReplayEventsRequest { limit: Some(10_001), ..some.clone() },
            Code::InvalidArgument,
            "`limit`: must be between 1 and 10000",
        ),
        (
            ReplayEventsRequest { filter: "event.x".to_owned(), ..some.clone() },
            Code::InvalidArgument,
            "`filter`: ",
        ),
        (
            ReplayEventsRequest { patterns: vec!["A/b".to_owned()], ..some.clone() },
            Code::InvalidArgument,
            "`patterns[0]`: ",
        ),
        (
            ReplayEventsRequest { subscription: gone, ..some },
            Code::NotFound,
            "there is no subscription `gone`",
        ),
    ];
    for (request, code, message) in bad {
        let answer = subscriptions.replay_events(request).await;
        tried.refuses_call(answer, code, message).await;
    }
}

#[tokio::test]
async fn questions_about_what_is_not_there_are_refused_precisely() {
    let mut tried = Tried::start().await;
    let Agent { mut events, mut dead_letters, mut subscriptions, .. } = tried.agent.clone();
    let id = "garbage".to_owned();
    let answer = events.get_event(GetEventRequest { id: id.clone(), ..Default::default() }).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`id`: ").await;
    let request = GetDeadLetterRequest { id, ..Default::default() };
    let answer = dead_letters.get_dead_letter(request).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`id`: ").await;
    let answer = dead_letters.redrive_dead_letters(RedriveDeadLettersRequest::default()).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`selector.subscription`: ").await;
    let answer = subscriptions.get_subscription(GetSubscriptionRequest::default()).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`name`: ").await;
    let filter = "event.actr == 'me'".to_owned();
    let request = ListEventsRequest { filter: filter.clone(), ..Default::default() };
    let answer = events.list_events(request).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`filter`: ").await;
    let request = TestFilterRequest { filter: filter.clone(), ..Default::default() };
    let answer = events.test_filter(request).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`filter`: ").await;
    let answer = events.watch_events(WatchEventsRequest { filter, ..Default::default() }).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`filter`: ").await;
    let page_token = "garbage".to_owned();
    let answer = events.list_events(ListEventsRequest { page_token, ..Default::default() }).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`page_token`: ").await;
    let event_type = "Not A Type".to_owned();
    let answer =
        events.publish_event(PublishEventRequest { event_type, ..Default::default() }).await;
    tried.refuses_call(answer, Code::InvalidArgument, "`event_type`: ").await;
}
