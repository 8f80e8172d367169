//! Where a subscription stands, and how an operator moves it; what changes with one field and what stays.

use std::time::Duration;

use hookline_proto::v1::{
    Delivery, DeliveryState, Hold, LeaseLost, NackAction, Ordering, Outcome, SubscribeRequest,
    SubscriptionPolicy, start_position::Position, subscribe_response::Message,
};

use crate::{
    agent::{Agent, Stream, at, event_id, everything, lasts, only},
    hub::Hub,
    operator::{again, creating, time, working},
};

fn sequence(delivery: &Delivery) -> u64 {
    delivery.event.as_ref().unwrap().sequence
}

/// A retry that does not come while a test runs.
fn retrying_late() -> SubscriptionPolicy {
    SubscriptionPolicy {
        initial_backoff: lasts(Duration::from_secs(600)),
        ordering: Ordering::Resource.into(),
        ..Default::default()
    }
}

/// A subscription with a delivery in each state: 1 and 2 done, 3 waiting, 4 dead, 5 leased, 6 ready behind it and 7 ready.
struct Mixed {
    hub: Hub,
    agent: Agent,
    stream: Stream,
    leased: Delivery,
    /// The lease of 2, which was acked.
    acked: String,
    ids: Vec<String>,
}

impl Mixed {
    async fn start() -> Self {
        let hub = Hub::start().await;
        let agent = hub.agent().await;
        let published = agent.publish_each(["", "", "", "", "a", "a", ""]).await;
        let ids = published.into_iter().map(|published| published.event_id).collect();
        let policy = Some(retrying_late());
        let request = SubscribeRequest { policy, ..everything("work") };
        let mut stream = agent.subscribe(request).await;
        stream.ack_next(&agent).await;
        let acked = stream.ack_next(&agent).await.lease_id;
        for action in [NackAction::Retry, NackAction::DeadLetter] {
            let lease = stream.delivery().await.lease_id;
            assert_eq!(agent.nack(&lease, "no", action).await, Outcome::Applied);
        }
        let leased = stream.delivery().await;
        assert_eq!(sequence(&leased), 5);
        // With what is announced of the dead letter.
        agent
            .subscription_once("work", "the announcement", |work| {
                work.position.unwrap().scanned == 8
            })
            .await;
        Self { hub, agent, stream, leased, acked, ids }
    }

    async fn state(&self, sequence: usize) -> DeliveryState {
        only(&self.agent.event(&self.ids[sequence - 1]).await).state()
    }

    async fn lost(&mut self) -> LeaseLost {
        let message = self.stream.message().await.unwrap();
        let Message::LeaseLost(lost) = message.clone() else {
            panic!("expected `lease_lost`, got {message:?}")
        };
        lost
    }

    async fn dead(&self) -> Vec<u64> {
        let dead = self.agent.deliveries("work", &[DeliveryState::Dead]).await;
        dead.into_iter().map(|of| of.sequence).collect()
    }
}

#[tokio::test]
async fn deliveries_are_listed_by_state_with_what_keeps_them() {
    let mixed = Mixed::start().await;
    let all = mixed.agent.deliveries("work", &[]).await;
    let states: Vec<_> = all.iter().map(|of| (of.sequence, of.state())).collect();
    let (ready, leased) = (DeliveryState::Ready, DeliveryState::Leased);
    assert_eq!(states, [(3, DeliveryState::Waiting), (5, leased), (6, ready), (7, ready)]);
    let [waiting, leased, behind, free] = &all[..] else { panic!("four: {all:?}") };
    assert_eq!(waiting.event_id, mixed.ids[2]);
    assert_eq!((waiting.attempt, waiting.attempts[0].reason.as_str()), (1, "no"));
    assert!(at(waiting.attempts[0].ended_at) < at(waiting.next_attempt_at));
    assert_eq!((leased.attempt, leased.consumer.as_str()), (1, "one"));
    // Its clock began anew when the transport took it.
    assert!(at(mixed.leased.lease_expires_at) <= at(leased.lease_expires_at));
    assert_eq!((behind.hold(), behind.blocked_by_sequence), (Hold::Resource, 5));
    assert_eq!((free.hold(), free.blocked_by_sequence), (Hold::NoRoom, 0));

    let listed = async |states: &[DeliveryState]| -> Vec<u64> {
        let listed = mixed.agent.deliveries("work", states).await;
        listed.into_iter().map(|of| of.sequence).collect()
    };
    assert_eq!(listed(&[DeliveryState::Ready]).await, [6, 7]);
    assert_eq!(listed(&[DeliveryState::Leased]).await, [5]);
    assert_eq!(listed(&[DeliveryState::Waiting, DeliveryState::Leased]).await, [3, 5]);
    assert_eq!(listed(&[DeliveryState::Dead]).await, [4]);
    let (ready, waiting) = (DeliveryState::Ready, DeliveryState::Waiting);
    assert_eq!(
        listed(&[DeliveryState::Dead, ready, waiting, DeliveryState::Leased]).await,
        [3, 4, 5, 6, 7]
    );
}

#[tokio::test]
async fn a_subscription_says_its_three_positions() {
    let mixed = Mixed::start().await;
    let subscription = mixed.agent.subscription("work").await;
    let position = subscription.position.unwrap();
    // The dead letter was announced.
    assert_eq!((position.log_end, position.scanned, position.done_floor), (8, 8, 2));
    let counts = subscription.counts.unwrap();
    assert_eq!((counts.ready, counts.leased, counts.waiting, counts.dead), (2, 1, 1, 1));
    assert!(subscription.oldest_age.is_some());
}

#[tokio::test]
async fn f9_a_seek_backward_delivers_again_what_its_dry_run_counted() {
    let mut mixed = Mixed::start().await;
    let agent = mixed.agent.clone();
    let before = agent.subscription("work").await;
    let would = agent.would_seek("work", Position::Sequence(2)).await;
    assert_eq!(would, (6, 0));
    let after = agent.subscription("work").await;
    assert_eq!((after.counts, after.policy), (before.counts, before.policy));
    assert_eq!(mixed.state(5).await, DeliveryState::Leased);

    assert_eq!(agent.seek("work", Position::Sequence(2)).await, would);
    let lost = mixed.lost().await;
    assert_eq!(
        (&lost.lease_id, lost.event_id.as_str()),
        (&mixed.leased.lease_id, event_id(&mixed.leased))
    );
    assert!(!lost.reason.is_empty());
    let old = mixed.leased.lease_id.clone();
    assert_eq!(agent.ack(&[&old]).await, [Outcome::Stale]);
    assert_eq!(agent.nack(&old, "late", NackAction::Retry).await, Outcome::Stale);
    assert_eq!(agent.extend(&old, None).await.outcome(), Outcome::Stale);
    for expected in 2..=7 {
        let delivery = mixed.stream.ack_next(&agent).await;
        assert_eq!((sequence(&delivery), delivery.attempt), (expected, 1));
    }
    assert!(7 <= agent.subscription("work").await.position.unwrap().done_floor);
    // What died before is still a dead letter.
    let request = hookline_proto::v1::ListDeadLettersRequest::default();
    let mut dead_letters = agent.dead_letters.clone();
    let letters = dead_letters.list_dead_letters(request);
    let letters = letters.await.unwrap().into_inner().dead_letters;
    assert_eq!((letters.len(), letters[0].generation), (1, 0));
}

#[tokio::test]
async fn f9_a_seek_forward_counts_what_is_open_as_done_and_leaves_dead_letters() {
    let mut mixed = Mixed::start().await;
    let agent = mixed.agent.clone();
    let would = agent.would_seek("work", Position::Sequence(7)).await;
    assert_eq!(would, (1, 3));
    assert_eq!(agent.seek("work", Position::Sequence(7)).await, would);
    assert_eq!(mixed.lost().await.lease_id, mixed.leased.lease_id);
    assert_eq!(agent.ack(&[&mixed.leased.lease_id]).await, [Outcome::Stale]);
    assert_eq!(sequence(&mixed.stream.ack_next(&agent).await), 7);
    for done in [3, 5, 6] {
        assert_eq!(mixed.state(done).await, DeliveryState::Done, "{done}");
    }
    assert_eq!(mixed.state(4).await, DeliveryState::Dead);
    assert_eq!(mixed.dead().await, [4]);
    let subscription = agent.subscription("work").await;
    assert!(7 <= subscription.position.unwrap().done_floor);
    let counts = subscription.counts.unwrap();
    assert_eq!((counts.ready, counts.leased, counts.waiting, counts.dead), (0, 0, 0, 1));
}

#[tokio::test]
async fn f9_a_seek_to_the_end_skips_all_and_to_a_time_begins_there() {
    let mut mixed = Mixed::start().await;
    let agent = mixed.agent.clone();
    let received = at(agent.event(&mixed.ids[5]).await.event.unwrap().received_at);
    let would = agent.would_seek("work", Position::Time(time(received))).await;
    assert_eq!(would, (2, 2));
    assert_eq!(agent.would_seek("work", Position::Earliest(())).await, (7, 0));
    let would = agent.would_seek("work", Position::Latest(())).await;
    assert_eq!(would, (0, 4));
    assert_eq!(agent.seek("work", Position::Latest(())).await, would);
    assert_eq!(mixed.lost().await.lease_id, mixed.leased.lease_id);
    let next = agent.publish_about("a").await.event_id;
    assert_eq!(event_id(&mixed.stream.ack_next(&agent).await), next);
    assert_eq!(agent.seek("work", Position::Time(time(received))).await, (3, 0));
    for expected in [&mixed.ids[5], &mixed.ids[6], &next] {
        assert_eq!(event_id(&mixed.stream.ack_next(&agent).await), expected);
    }
}

#[tokio::test]
async fn f9_after_a_seek_and_a_kill_old_leases_are_stale_and_the_position_holds() {
    let mut mixed = Mixed::start().await;
    assert_eq!(mixed.agent.seek("work", Position::Sequence(2)).await, (6, 0));
    mixed.hub.crash().await;
    let agent = mixed.hub.agent().await;
    for old in [&mixed.leased.lease_id, &mixed.acked] {
        assert_eq!(agent.ack(&[old]).await, [Outcome::Stale]);
        assert_eq!(agent.extend(old, None).await.outcome(), Outcome::Stale);
    }
    let mut stream = agent.subscribe(again("work")).await;
    assert_eq!(stream.ready.held, []);
    assert_eq!(stream.ready.position.unwrap().done_floor, 1);
    for expected in 2..=7 {
        let delivery = stream.ack_next(&agent).await;
        assert_eq!((sequence(&delivery), delivery.attempt), (expected, 1));
    }
    assert_eq!(agent.subscription("work").await.counts.unwrap().dead, 1);
}

#[tokio::test]
async fn f9_a_seek_counts_by_the_filter_that_is_in_force() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "b", "a", "b", "a"]).await;
    let filter = "event.resource_id == 'a'".to_owned();
    let request = SubscribeRequest { filter, ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    for expected in [1, 3, 5] {
        assert_eq!(sequence(&stream.ack_next(&agent).await), expected);
    }
    agent.filter("work", "event.resource_id == 'b'", None).await;
    let would = agent.would_seek("work", Position::Earliest(())).await;
    assert_eq!(would, (2, 0));
    assert_eq!(agent.seek("work", Position::Earliest(())).await, would);
    for expected in [2, 4] {
        assert_eq!(sequence(&stream.ack_next(&agent).await), expected);
    }
    assert_eq!(agent.scanned("work").await.counts, Some(Default::default()));
}

#[tokio::test]
async fn f5_a_change_of_one_field_leaves_the_others_alone() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let policy = SubscriptionPolicy {
        max_attempts: Some(7),
        max_per_second: Some(50.0),
        burst: Some(9),
        ..retrying_late()
    };
    let filter = "event.actor != 'bob'".to_owned();
    let request = SubscribeRequest { filter, ..working("work", policy) };
    let created = agent.try_create(creating(request)).await.unwrap();
    let change = SubscriptionPolicy { max_attempts: Some(9), ..Default::default() };
    let changed = agent.change_policy("work", change, &["policy.max_attempts"]).await;
    let mut expected = created.policy.unwrap();
    expected.max_attempts = Some(9);
    assert_eq!(changed.policy, Some(expected));
    assert_eq!((&changed.patterns, &changed.filter), (&created.patterns, &created.filter));
    assert_eq!((changed.created_at, changed.paused), (created.created_at, false));

    let new = hookline_proto::v1::Subscription {
        name: "work".to_owned(),
        patterns: vec!["stripe".to_owned()],
        filter: "event.actor == 'cleo'".to_owned(),
        ..Default::default()
    };
    let changed = agent.try_update(new.clone(), &["patterns"], None).await.unwrap();
    assert_eq!((changed.patterns, &changed.filter), (vec!["stripe/*".to_owned()], &created.filter));
    assert_eq!(changed.policy, Some(expected));
    let changed = agent.try_update(new.clone(), &["filter"], None).await.unwrap();
    assert_eq!((&changed.filter, changed.policy), (&new.filter, Some(expected)));
    // A named field that is not set takes its default.
    let none = SubscriptionPolicy::default();
    let changed = agent.change_policy("work", none, &["policy.max_attempts"]).await;
    expected.max_attempts = Some(5);
    assert_eq!(changed.policy, Some(expected));

    hub.crash().await;
    let found = hub.agent().await.subscription("work").await;
    assert_eq!((found.patterns, found.filter), (changed.patterns, new.filter));
    assert_eq!(found.policy, Some(expected));
}

#[tokio::test]
async fn a_changed_order_ends_the_streams_and_leases_are_kept() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "a", "a"]).await;
    let policy = SubscriptionPolicy { ordering: 0, ..retrying_late() };
    let request = SubscribeRequest { max_in_flight: Some(2), ..working("work", policy) };
    let mut stream = agent.subscribe(request).await;
    let (one, two) = (stream.delivery().await, stream.delivery().await);
    let change = SubscriptionPolicy { ordering: Ordering::Resource.into(), ..Default::default() };
    agent.change_policy("work", change, &["policy.ordering"]).await;
    assert_eq!(stream.end().await.code(), tonic::Code::Unavailable);
    let request = SubscribeRequest { max_in_flight: Some(5), ..again("work") };
    let mut stream = agent.subscribe(request).await;
    let mut held: Vec<_> = stream.ready.held.iter().map(|held| &held.lease_id).collect();
    held.sort_unstable();
    let mut leases = [&one.lease_id, &two.lease_id];
    leases.sort_unstable();
    assert_eq!(held, leases);
    assert_eq!(agent.ack(&[&one.lease_id, &two.lease_id]).await, [Outcome::Applied; 2]);
    assert_eq!(sequence(&stream.ack_next(&agent).await), 3);
}
