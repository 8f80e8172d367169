//! Order and coalescing by resource, over the wire.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hookline_proto::v1::{
    Coalesce, Delivery, DeliveryState, Hold, Nack, NackAction, Newer, Ordering, Outcome,
    SubscribeRequest, SubscriptionPolicy, subscribe_response::Message,
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    agent::{Agent, Stream, at, delivered, event_id, lasts, only, retrying_at_once},
    hub::{Hub, soon},
    operator::{again, creating, working},
};

pub(crate) fn ordered() -> SubscriptionPolicy {
    SubscriptionPolicy { ordering: Ordering::Resource.into(), ..retrying_at_once() }
}

pub(crate) fn coalescing() -> SubscriptionPolicy {
    SubscriptionPolicy { coalesce: Coalesce::Latest.into(), ..retrying_at_once() }
}

pub(crate) fn sequence(delivery: &Delivery) -> u64 {
    delivery.event.as_ref().unwrap().sequence
}

async fn retry_after(agent: &Agent, delivery: &Delivery, wait: Duration) {
    let lease_id = delivery.lease_id.clone();
    let nack = Nack { lease_id, retry_after: lasts(wait), ..Default::default() };
    assert_eq!(agent.try_nack(vec![nack]).await.unwrap()[0].outcome(), Outcome::Applied);
}

async fn newer(stream: &mut Stream) -> Newer {
    let message = stream.message().await.unwrap();
    let Message::Newer(newer) = message.clone() else {
        panic!("expected `newer`, got {message:?}")
    };
    newer
}

/// Sees that the event was superseded, and that what superseded it leads to this sequence.
async fn leads_to(agent: &Agent, event_id: &str, end: u64) {
    let ids: BTreeMap<_, _> = agent
        .list(Default::default())
        .await
        .into_iter()
        .map(|event| (event.sequence, event.id))
        .collect();
    let mut id = event_id;
    loop {
        let got = agent.event(id).await;
        let (status, own) = (only(&got), got.event.as_ref().unwrap().sequence);
        assert_eq!(status.state(), DeliveryState::Superseded, "event {own}");
        let by = status.superseded_by_sequence;
        assert!(own < by && by <= end, "event {own} by {by}, not {end}");
        if by == end {
            return;
        }
        id = &ids[&by];
    }
}

/// What eight consumers note of the resources that they work on.
#[derive(Default)]
struct Notes {
    running: Mutex<BTreeMap<String, u64>>,
    done: Mutex<BTreeMap<String, Vec<u64>>>,
    count: watch::Sender<usize>,
}

/// Works on what comes, each a random time: so many calls.
async fn work(hub: std::net::SocketAddr, consumer: String, seed: u64, notes: Arc<Notes>) {
    let agent = Agent::connect(hub).await;
    let mut stream = agent.subscribe(SubscribeRequest { consumer, ..again("work") }).await;
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let message = stream.message().await.unwrap();
        if matches!(message, Message::Newer(_)) {
            continue;
        }
        let delivery = delivered(message);
        let (resource, sequence) =
            (delivery.event.as_ref().unwrap().resource_id.clone(), sequence(&delivery));
        let twice = notes.running.lock().insert(resource.clone(), sequence);
        assert_eq!(twice, None, "{resource} is with two consumers");
        for _ in 0..random.usize(0..6) {
            agent.extend(&delivery.lease_id, None).await;
        }
        notes.running.lock().remove(&resource);
        notes.done.lock().entry(resource).or_default().push(sequence);
        assert_eq!(agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
        notes.count.send_modify(|count| *count += 1);
    }
}

#[tokio::test]
async fn e1_each_resource_goes_in_order_through_eight_consumers_of_random_pace() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.try_create(creating(working("work", ordered()))).await.unwrap();
    let notes = Arc::new(Notes::default());
    let mut consumers = JoinSet::new();
    for seed in 0..8 {
        let (grpc, notes) = (hub.grpc_address(), Arc::clone(&notes));
        consumers.spawn(work(grpc, format!("consumer-{seed}"), seed, notes));
    }
    for _ in 0..8 {
        agent.publish_each(["a", "b", "c", "d", "e"]).await;
    }
    let mut count = notes.count.subscribe();
    tokio::select! {
        all = soon("all acks", count.wait_for(|count| *count == 40)) => { all.unwrap(); }
        failed = consumers.join_next() => failed.unwrap().unwrap(),
    }
    let done = notes.done.lock();
    assert_eq!(done.len(), 5);
    for (resource, sequences) in &*done {
        assert!(sequences.is_sorted() && sequences.len() == 8, "{resource}: {sequences:?}");
    }
}

#[tokio::test]
async fn e2_behind_a_nacked_event_its_resource_waits_and_others_flow() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "a", "a", "b", "b", "", ""]).await;
    let mut stream = agent.subscribe(working("work", ordered())).await;
    let first = stream.delivery().await;
    retry_after(&agent, &first, Duration::from_millis(400)).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(sequence(&stream.ack_next(&agent).await));
    }
    others.sort_unstable();
    assert_eq!(others, [4, 5, 6, 7]);
    let held = agent.deliveries("work", &[DeliveryState::Ready]).await;
    let held: Vec<_> =
        held.iter().map(|of| (of.sequence, of.hold(), of.blocked_by_sequence)).collect();
    assert_eq!(held, [(2, Hold::Resource, 1), (3, Hold::Resource, 1)]);
    let retried = stream.delivery().await;
    assert_eq!((sequence(&retried), retried.attempt), (1, 2));
    assert_eq!(agent.ack(&[&retried.lease_id]).await, [Outcome::Applied]);
    assert_eq!(sequence(&stream.ack_next(&agent).await), 2);
    assert_eq!(sequence(&stream.ack_next(&agent).await), 3);
}

#[tokio::test]
async fn e3_behind_a_dead_event_the_next_of_its_resource_comes() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "a", "a"]).await;
    let policy = SubscriptionPolicy { max_attempts: Some(1), ..ordered() };
    let mut stream = agent.subscribe(working("work", policy)).await;
    for (sequence, action) in [(1, NackAction::DeadLetter), (2, NackAction::Retry)] {
        let delivery = stream.delivery().await;
        assert_eq!(self::sequence(&delivery), sequence);
        assert_eq!(agent.nack(&delivery.lease_id, "never", action).await, Outcome::Applied);
        let got = agent.event(event_id(&delivery)).await;
        assert_eq!(only(&got).state(), DeliveryState::Dead);
    }
    assert_eq!(sequence(&stream.ack_next(&agent).await), 3);
}

#[tokio::test]
async fn e1_so_many_of_the_oldest_open_events_of_a_resource_run_at_once_as_the_policy_says() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "a", "a", "a"]).await;
    let policy = SubscriptionPolicy { max_in_flight_per_resource: Some(2), ..ordered() };
    let mut stream = agent.subscribe(working("work", policy)).await;
    let (one, two) = (stream.delivery().await, stream.delivery().await);
    assert_eq!((sequence(&one), sequence(&two)), (1, 2));
    assert_eq!(agent.scanned("work").await.counts.unwrap().leased, 2);
    assert_eq!(agent.ack(&[&two.lease_id]).await, [Outcome::Applied]);
    let three = stream.delivery().await;
    assert_eq!(sequence(&three), 3);
    let counts = agent.subscription("work").await.counts.unwrap();
    assert_eq!((counts.leased, counts.ready), (2, 1));
    // A nacked one keeps its place among the oldest.
    retry_after(&agent, &one, Duration::from_secs(600)).await;
    assert_eq!(agent.subscription("work").await.counts.unwrap().leased, 1);
    assert_eq!(agent.ack(&[&three.lease_id]).await, [Outcome::Applied]);
    assert_eq!(sequence(&stream.ack_next(&agent).await), 4);
}

#[tokio::test]
async fn order_holds_after_a_kill_and_a_failing_event_still_holds_its_resource() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "a", "b", "a", "b"]).await;
    let mut stream = agent.subscribe(working("work", ordered())).await;
    let (one, three) = (stream.delivery().await, stream.delivery().await);
    assert_eq!((sequence(&one), sequence(&three)), (1, 3));
    retry_after(&agent, &one, Duration::from_secs(2)).await;
    assert_eq!(agent.ack(&[&three.lease_id]).await, [Outcome::Applied]);
    let five = stream.delivery().await;
    assert_eq!(sequence(&five), 5);

    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(working("work", ordered())).await;
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    // What was leased for less than a second is forgotten, and comes again uncounted.
    if !stream.ready.held.is_empty() {
        assert_eq!(agent.ack(&[&five.lease_id]).await, [Outcome::Applied]);
        of_b.push((5, 1));
    }
    while of_a.len() + of_b.len() < 4 {
        let delivery = stream.ack_next(&agent).await;
        let order = if sequence(&delivery) == 5 { &mut of_b } else { &mut of_a };
        order.push((sequence(&delivery), delivery.attempt));
    }
    assert_eq!((&of_a[..], &of_b[..]), (&[(1, 2), (2, 1), (4, 1)][..], &[(5, 1)][..]));
}

#[tokio::test]
async fn h1_of_five_pushes_that_nobody_has_begun_the_fifth_comes_and_lists_the_others() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.try_create(creating(working("work", coalescing()))).await.unwrap();
    hub.take_each(["a", "b", "c", "d", "e"]).await;
    let ids: Vec<_> =
        agent.list(Default::default()).await.into_iter().map(|event| event.id).collect();
    let mut stream = agent.subscribe(working("work", coalescing())).await;
    let delivery = stream.delivery().await;
    assert_eq!((event_id(&delivery), delivery.attempt), (ids[4].as_str(), 1));
    assert_eq!((delivery.superseded.as_slice(), delivery.superseded_count), (&ids[..4], 4));
    for id in &ids[..4] {
        leads_to(&agent, id, 5).await;
    }
    let got = agent.event(&ids[4]).await;
    assert_eq!((only(&got).state(), only(&got).superseded_count), (DeliveryState::Leased, 4));
    assert_eq!(agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
    let subscription = agent.subscription("work").await;
    assert_eq!(subscription.position.unwrap().done_floor, 5);
    let counts = subscription.counts.unwrap();
    assert_eq!((counts.ready, counts.leased, counts.waiting), (0, 0, 0));
}

#[tokio::test]
async fn h1_what_is_coalesced_while_a_subscription_is_paused_stays_so_over_a_kill() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let _stream = agent.subscribe(working("work", coalescing())).await;
    agent.pause("work", None).await;
    let mut ids: Vec<_> = Vec::new();
    for published in agent.publish_each(["a", "a", "a"]).await {
        ids.push(published.event_id);
    }
    let counts = agent.scanned("work").await.counts.unwrap();
    assert_eq!((counts.ready, counts.leased), (1, 0));
    leads_to(&agent, &ids[0], 3).await;

    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(again("work")).await;
    assert_eq!(agent.scanned("work").await.counts.unwrap().ready, 1);
    leads_to(&agent, &ids[0], 3).await;
    ids.push(agent.publish_about("a").await.event_id);
    agent.scanned("work").await;
    agent.resume("work").await;
    let delivery = stream.delivery().await;
    assert_eq!(event_id(&delivery), ids[3]);
    assert_eq!((delivery.superseded.as_slice(), delivery.superseded_count), (&ids[..3], 3));
    for id in &ids[..3] {
        leads_to(&agent, id, 4).await;
    }
}

#[tokio::test]
async fn h2_while_a_lease_runs_three_newer_events_are_told_and_make_one_more_lease() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(working("work", coalescing())).await;
    let mut ids = vec![agent.publish_about("a").await.event_id];
    let first = stream.delivery().await;
    let (mut count, mut newest) = (0, 0);
    for published in agent.publish_each(["a", "a", "a"]).await {
        ids.push(published.event_id);
    }
    while count < 3 {
        let newer = newer(&mut stream).await;
        assert_eq!((&newer.lease_id, &newer.event_id), (&first.lease_id, &ids[0]));
        assert!(newest < newer.newest_sequence && 0 < newer.count, "{newer:?}");
        (count, newest) = (count + newer.count, newer.newest_sequence);
    }
    assert_eq!((count, newest), (3, 4));
    assert_eq!(agent.ack(&[&first.lease_id]).await, [Outcome::Applied]);
    let second = stream.ack_next(&agent).await;
    assert_eq!((event_id(&second), second.superseded_count), (ids[3].as_str(), 2));
    assert_eq!(second.superseded, ids[1..3]);
    let subscription = agent.subscription("work").await;
    assert_eq!(subscription.position.unwrap().done_floor, 4);
    assert_eq!(only(&agent.event(&ids[0]).await).state(), DeliveryState::Done);
}

#[tokio::test]
async fn with_order_alone_newer_events_are_told_and_each_comes() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(working("work", ordered())).await;
    agent.publish_about("a").await;
    let first = stream.delivery().await;
    agent.publish_about("a").await;
    let newer = newer(&mut stream).await;
    assert_eq!(
        (newer.lease_id, newer.newest_sequence, newer.count),
        (first.lease_id.clone(), 2, 1)
    );
    assert_eq!(agent.ack(&[&first.lease_id]).await, [Outcome::Applied]);
    let second = stream.ack_next(&agent).await;
    assert_eq!((sequence(&second), second.superseded_count), (2, 0));
}

#[tokio::test]
async fn h3_events_of_other_resources_and_of_none_are_never_coalesced() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_each(["a", "b", "", "", "c", "b"]).await;
    let mut stream = agent.subscribe(working("work", coalescing())).await;
    let mut got = Vec::new();
    for _ in 0..5 {
        let delivery = stream.ack_next(&agent).await;
        got.push((sequence(&delivery), delivery.superseded_count));
    }
    got.sort_unstable();
    assert_eq!(got, [(1, 0), (3, 0), (4, 0), (5, 0), (6, 1)]);
    assert_eq!(agent.scanned("work").await.position.unwrap().done_floor, 6);
}

#[tokio::test]
async fn h3_a_newer_event_supersedes_one_that_waits_for_its_retry_whichever_came_first() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(working("work", coalescing())).await;
    let hour = Duration::from_secs(3_600);
    let first = agent.publish_about("a").await.event_id;
    retry_after(&agent, &stream.delivery().await, hour).await;
    assert_eq!(only(&agent.event(&first).await).state(), DeliveryState::Waiting);
    let second = agent.publish_about("a").await.event_id;
    let delivery = stream.delivery().await;
    assert_eq!((event_id(&delivery), delivery.attempt), (second.as_str(), 1));
    assert_eq!(delivery.superseded, [first.as_str()]);
    leads_to(&agent, &first, 2).await;

    // The other way round: the newer one is there when the older begins to wait.
    let third = agent.publish_about("a").await.event_id;
    newer(&mut stream).await;
    retry_after(&agent, &delivery, hour).await;
    let delivery = stream.ack_next(&agent).await;
    assert_eq!(event_id(&delivery), third);
    assert_eq!(delivery.superseded, [first.as_str(), second.as_str()]);
    assert_eq!(delivery.superseded_count, 2);
    leads_to(&agent, &second, 3).await;
}

fn debouncing(quiet: Duration, max_wait: Duration) -> SubscriptionPolicy {
    SubscriptionPolicy {
        coalesce: Coalesce::Debounce.into(),
        debounce_quiet: lasts(quiet),
        debounce_max_wait: lasts(max_wait),
        ..retrying_at_once()
    }
}

#[tokio::test]
async fn h1_a_debounced_resource_gives_its_last_event_once_it_was_quiet() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let quiet = Duration::from_secs(2);
    let policy = debouncing(quiet, Duration::from_secs(60));
    let mut stream = agent.subscribe(working("work", policy)).await;
    let published = agent.publish_each(["a", "a", "a", ""]).await;
    // What is about no resource does not wait.
    assert_eq!(sequence(&stream.ack_next(&agent).await), 4);
    let waiting = agent.deliveries("work", &[]).await;
    let [waiting] = &waiting[..] else { panic!("one delivery: {waiting:?}") };
    assert_eq!((waiting.sequence, waiting.hold()), (3, Hold::Quiet));
    let last = stream.delivery().await;
    assert_eq!((event_id(&last), last.superseded_count), (published[2].event_id.as_str(), 2));
    let received = at(last.event.as_ref().unwrap().received_at);
    assert_eq!(at(waiting.hold_until), received + quiet);
    let got = agent.event(&published[2].event_id).await;
    assert!(received + quiet <= at(only(&got).attempts[0].started_at));
    assert_eq!(agent.ack(&[&last.lease_id]).await, [Outcome::Applied]);
    assert_eq!(agent.subscription("work").await.position.unwrap().done_floor, 4);
}

#[tokio::test]
async fn h1_a_debounced_resource_that_is_never_quiet_waits_no_longer_than_its_most() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let most = Duration::from_millis(600);
    let mut stream = agent.subscribe(working("work", debouncing(most, most))).await;
    let first = agent.publish_about("a").await.event_id;
    let first = at(agent.event(&first).await.event.unwrap().received_at);
    let noise = async {
        loop {
            agent.publish_about("a").await;
        }
    };
    let delivery = tokio::select! {
        delivery = stream.delivery() => delivery,
        () = noise => unreachable!("it goes on"),
    };
    let got = agent.event(event_id(&delivery)).await;
    let started = at(only(&got).attempts[0].started_at);
    assert!(first + most <= started, "{started:?}");
    let received = at(delivery.event.unwrap().received_at);
    assert!(received < first + most + Duration::from_secs(5), "{received:?}");
    assert!(0 < delivery.superseded_count);
}

#[tokio::test]
async fn a_delivery_lists_the_newest_hundred_of_what_it_superseded_and_counts_all() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let mut ids = Vec::new();
    for published in agent.publish_each(["a"; 120]).await {
        ids.push(published.event_id);
    }
    let delivery = agent.subscribe(working("work", coalescing())).await.delivery().await;
    assert_eq!((sequence(&delivery), delivery.superseded_count), (120, 119));
    assert_eq!(delivery.superseded, ids[19..119]);
}
