//! Order and coalescing by resource, through kills at random moments under load.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use hookline_proto::v1::{
    DeliveryState, Nack, NackAction, PublishEventRequest, SubscribeRequest, SubscriptionPolicy,
    subscribe_response::Message,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{
    agent::{Agent, only},
    hub::Hub,
    operator::{again, creating, working},
    resources::{coalescing, ordered, sequence},
};

/// What happened to events, in the order in which it did.
#[derive(Clone, Copy, Debug)]
enum Note {
    Delivered(u64),
    /// An ack was sent: it may be in force, whatever was answered.
    Acked(u64),
}

const RESOURCES: [&str; 4] = ["a", "b", "c", "d"];

async fn publish_until_gone(hub: SocketAddr) {
    let Ok(agent) = Agent::try_connect(hub).await else { return };
    for resource in RESOURCES.into_iter().cycle() {
        let request = PublishEventRequest {
            event_type: "page.changed".to_owned(),
            resource_type: "page".to_owned(),
            resource_id: resource.to_owned(),
            ..Default::default()
        };
        if agent.try_publish(request).await.is_err() {
            return;
        }
    }
}

/// Acks what comes, each after a random number of calls, until the hub is gone. What was held before is given back.
async fn ack_until_gone(hub: SocketAddr, seed: u64, notes: Arc<Mutex<Vec<Note>>>) {
    let Ok(agent) = Agent::try_connect(hub).await else { return };
    let consumer = format!("consumer-{seed}");
    let request = SubscribeRequest { consumer, ..again("work") };
    let Ok(mut stream) = agent.try_subscribe(request).await else { return };
    for held in std::mem::take(&mut stream.ready.held) {
        let action = NackAction::Release.into();
        let nack = Nack { lease_id: held.lease_id, action, ..Default::default() };
        if agent.try_nack(vec![nack]).await.is_err() {
            return;
        }
    }
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let delivery = match stream.message().await {
            Ok(Message::Delivery(delivery)) => delivery,
            // What is told of newer events.
            Ok(_) => continue,
            Err(_) => return,
        };
        notes.lock().push(Note::Delivered(sequence(&delivery)));
        for _ in 0..random.usize(0..4) {
            let nack = Nack { lease_id: "none".to_owned(), ..Default::default() };
            if agent.try_nack(vec![nack]).await.is_err() {
                return;
            }
        }
        notes.lock().push(Note::Acked(sequence(&delivery)));
        if agent.try_ack(&[&delivery.lease_id]).await.is_err() {
            return;
        }
    }
}

/// Kills the hub under load a few times, lets it finish, and returns what happened, with the resource of each event.
async fn kill_under_load(policy: SubscriptionPolicy) -> (Hub, Vec<Note>, BTreeMap<u64, String>) {
    let mut hub = Hub::start().await;
    hub.agent().await.try_create(creating(working("work", policy))).await.unwrap();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..4 {
        let mut load = JoinSet::new();
        for seed in 0..3 {
            load.spawn(ack_until_gone(hub.grpc_address(), seed, Arc::clone(&notes)));
        }
        let agent = hub.agent().await;
        if round < 3 {
            // Several at a time, so that there is more than consumers keep up with.
            for _ in 0..4 {
                load.spawn(publish_until_gone(hub.grpc_address()));
            }
            let floor = agent.subscription("work").await.position.unwrap().done_floor;
            let until = floor + random.u64(5..40);
            agent
                .subscription_once("work", "progress", |work| {
                    until <= work.position.unwrap().done_floor
                })
                .await;
            hub.kill().await;
            load.join_all().await;
            hub.check().await;
            hub.start_again().await;
        } else {
            agent
                .subscription_once("work", "the end", |work| {
                    let position = work.position.unwrap();
                    position.done_floor == position.log_end
                })
                .await;
        }
    }
    let events = hub.agent().await.list(Default::default()).await;
    let resources = events.into_iter().map(|event| (event.sequence, event.resource_id)).collect();
    let notes = notes.lock().clone();
    (hub, notes, resources)
}

#[tokio::test]
async fn order_holds_through_kills_at_random_moments() {
    let (_hub, notes, resources) = kill_under_load(ordered()).await;
    let mut acked = BTreeSet::new();
    for note in notes {
        match note {
            Note::Acked(sequence) => drop(acked.insert(sequence)),
            Note::Delivered(sequence) => {
                let of_it =
                    resources.range(..sequence).filter(|(_, of)| **of == resources[&sequence]);
                let open: Vec<_> =
                    of_it.map(|(earlier, _)| *earlier).filter(|e| !acked.contains(e)).collect();
                assert_eq!(open, [0; 0], "{sequence} came before them");
            }
        }
    }
    assert_eq!(acked.len(), resources.len());
}

#[tokio::test]
async fn what_was_superseded_stays_so_through_kills_at_random_moments() {
    let (hub, notes, resources) = kill_under_load(coalescing()).await;
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for note in &notes {
        if let Note::Delivered(sequence) = note {
            let before = newest.insert(&resources[sequence], *sequence).unwrap_or_default();
            assert!(before <= *sequence, "{sequence} came after {before} of its resource");
        }
    }
    let agent = hub.agent().await;
    let last: BTreeMap<_, _> = resources.iter().map(|(at, resource)| (resource, *at)).collect();
    let mut superseded = 0;
    for event in agent.list(Default::default()).await {
        let got = agent.event(&event.id).await;
        let is_last = last[&event.resource_id] == event.sequence;
        let state = only(&got).state();
        if state == DeliveryState::Superseded {
            assert!(!is_last, "event {}", event.sequence);
            superseded += 1;
        } else {
            assert_eq!(state, DeliveryState::Done, "event {}", event.sequence);
        }
    }
    assert!(0 < superseded);
}
