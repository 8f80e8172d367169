//! `kill -9` under load with order, coalescing, filters and long leases in play: what was promised is checked from
//! outside, by what was sent and what was answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hookline_proto::v1::{
    Coalesce, CreateSubscriptionRequest, Delivery, DeliveryState, ExtendLeaseRequest,
    LeaseExtension, Nack, NackAction, Ordering, Outcome, PublishEventRequest, SubscribeRequest,
    SubscriptionPolicy,
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    agent::{Agent, delivered, earliest, event_id, lasts, retrying_at_once},
    hub::{Hub, PATIENCE, soon},
    kill::random,
};

const PUBLISHERS: usize = 6;
const RESOURCES: usize = 5;
const HOUR: Duration = Duration::from_secs(3_600);

/// The subscriptions, each with what is special about it.
const FLOWS: [Flow; 3] = [Flow::Ordered, Flow::Latest, Flow::Thirds];
const LONG: &str = "long";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flow {
    /// One event of each resource at a time.
    Ordered,
    /// Only the newest event of each resource.
    Latest,
    /// Only every third event, by its payload.
    Thirds,
}

impl Flow {
    const fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Latest => "latest",
            Self::Thirds => "thirds",
        }
    }

    fn create(self) -> CreateSubscriptionRequest {
        let mut policy = retrying_at_once();
        let mut filter = String::new();
        match self {
            Self::Ordered => policy.ordering = Ordering::Resource.into(),
            Self::Latest => policy.coalesce = Coalesce::Latest.into(),
            Self::Thirds => "event.payload.n % 3 == 0".clone_into(&mut filter),
        }
        create(self.name(), "agent/work", filter, policy)
    }
}

fn create(
    name: &str,
    pattern: &str,
    filter: String,
    policy: SubscriptionPolicy,
) -> CreateSubscriptionRequest {
    CreateSubscriptionRequest {
        name: name.to_owned(),
        patterns: vec![pattern.to_owned()],
        filter,
        start: earliest(),
        policy: Some(policy),
    }
}

/// What is known from outside, over all rounds.
#[derive(Default)]
struct Ledger {
    /// Events whose publication was answered: resource and number by sequence.
    published: Mutex<BTreeMap<u64, (String, String)>>,
    flows: Mutex<BTreeMap<&'static str, Seen>>,
    long: Mutex<Long>,
    /// How much was confirmed: what rounds wait for.
    count: watch::Sender<usize>,
}

/// What one subscription has shown.
#[derive(Default)]
struct Seen {
    /// Of which an ack was sent.
    sent: BTreeSet<u64>,
    /// Of which an ack was answered APPLIED.
    acked: BTreeSet<u64>,
    /// Which were listed as superseded, by id.
    superseded: BTreeSet<String>,
}

/// What is known of the lease that is held over the kills.
#[derive(Default)]
struct Long {
    /// The lease and the checkpoint of the last extension that was answered.
    extended: Option<(String, String)>,
    /// How often the lease was there after a kill, and how often its checkpoint came with the next attempt.
    kept: usize,
    handed_on: usize,
}

impl Ledger {
    fn confirm(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Checks what is delivered against what was promised.
    fn check(&self, flow: Flow, delivery: &Delivery) {
        let event = delivery.event.as_ref().unwrap();
        let mut flows = self.flows.lock();
        let seen = flows.entry(flow.name()).or_default();
        let n = event.sequence;
        assert!(!seen.acked.contains(&n), "{flow:?}: {n} was acked, and came again");
        assert_eq!(delivery.attempt, 1, "{flow:?}: neither a kill nor a release counts");
        match flow {
            Flow::Ordered => {
                let published = self.published.lock();
                let older = published.range(..n).filter(|(_, (of, _))| *of == event.resource_id);
                let skipped: Vec<_> = older.filter(|(n, _)| !seen.sent.contains(n)).collect();
                assert!(skipped.is_empty(), "{n} came before {skipped:?}");
            }
            Flow::Latest => {
                assert!(!seen.superseded.contains(&event.id), "{n} was listed as superseded");
                assert!(delivery.superseded.len() as u64 <= delivery.superseded_count);
                seen.superseded.extend(delivery.superseded.iter().cloned());
            }
            Flow::Thirds => assert_eq!(number(&event.payload) % 3, 0, "{event:?}"),
        }
        seen.sent.insert(n);
    }
}

fn number(payload: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(payload).unwrap()["n"].as_u64().unwrap()
}

/// Publishes until the hub is gone.
async fn publish(address: SocketAddr, name: String, ledger: Arc<Ledger>) {
    let Ok(agent) = Agent::try_connect(address).await else { return };
    for number in 0.. {
        let resource = format!("thing-{}", random(RESOURCES as u64));
        let request = PublishEventRequest {
            event_type: "work".to_owned(),
            resource_type: "thing".to_owned(),
            resource_id: resource.clone(),
            payload: format!(r#"{{"n": {number}}}"#).into(),
            delivery_key: format!("{name}-{number}"),
            ..Default::default()
        };
        let Ok(published) = agent.try_publish(request).await else { return };
        assert!(!published.duplicate);
        ledger.published.lock().insert(published.sequence, (resource, published.event_id));
        ledger.confirm();
    }
}

fn subscribe(name: &str, consumer: &str, room: u32) -> SubscribeRequest {
    SubscribeRequest {
        subscription: name.to_owned(),
        consumer: consumer.to_owned(),
        max_in_flight: Some(room),
        ..Default::default()
    }
}

/// Acks what comes until the hub is gone.
async fn work(address: SocketAddr, flow: Flow, consumer: String, ledger: Arc<Ledger>) {
    let Ok(agent) = Agent::try_connect(address).await else { return };
    let Ok(mut stream) = agent.try_subscribe(subscribe(flow.name(), &consumer, 3)).await else {
        return;
    };
    // What its predecessor held under its name: that is not sent again.
    for held in std::mem::take(&mut stream.ready.held) {
        let action = NackAction::Release.into();
        let nack = Nack { lease_id: held.lease_id, action, ..Default::default() };
        if agent.try_nack(vec![nack]).await.is_err() {
            return;
        }
    }
    // A flow may have nothing left while another is behind: whoever waits for all of it is patient.
    while let Ok(message) = stream.next_but_heartbeats().await {
        if matches!(message, hookline_proto::v1::subscribe_response::Message::Newer(_)) {
            continue;
        }
        let delivery = delivered(message);
        ledger.check(flow, &delivery);
        let Ok(results) = agent.try_ack(&[&delivery.lease_id]).await else { return };
        let n = delivery.event.as_ref().unwrap().sequence;
        assert_eq!(results[0].outcome(), Outcome::Applied, "{flow:?}: the ack of {n}");
        ledger.flows.lock().entry(flow.name()).or_default().acked.insert(n);
        ledger.confirm();
    }
}

/// Holds one lease over the kills: it is there again under the same id, and what it saved comes with the next attempt.
async fn hold(address: SocketAddr, round: usize, ledger: Arc<Ledger>) {
    let Ok(agent) = Agent::try_connect(address).await else { return };
    let Ok(mut stream) = agent.try_subscribe(subscribe(LONG, "holder", 1)).await else { return };
    let before = ledger.long.lock().extended.take();
    let mut held = stream.ready.held.first().map(|held| held.lease_id.clone());
    if let Some((lease, checkpoint)) = &before {
        assert_eq!(held.as_ref(), Some(lease), "an extension was answered, and the lease is gone");
        ledger.long.lock().kept += 1;
        if round.is_multiple_of(3) {
            let nack = Nack { lease_id: lease.clone(), ..Default::default() };
            let Ok(results) = agent.try_nack(vec![nack]).await else { return };
            assert_eq!(results[0].outcome(), Outcome::Applied);
            let Ok(message) = stream.message().await else { return };
            let next = delivered(message);
            assert_eq!(String::from_utf8_lossy(&next.checkpoint), *checkpoint);
            assert!(next.attempt > 1 && !event_id(&next).is_empty());
            ledger.long.lock().handed_on += 1;
            held = Some(next.lease_id);
        }
    }
    let lease_id = match held {
        Some(held) => held,
        None => match stream.message().await {
            Ok(message) => delivered(message).lease_id,
            Err(_) => return,
        },
    };
    let checkpoint = format!("round {round}");
    let extension = LeaseExtension {
        lease_id: lease_id.clone(),
        duration: lasts(HOUR),
        progress: checkpoint.clone(),
        checkpoint: Some(checkpoint.clone().into()),
    };
    let request = ExtendLeaseRequest { extensions: vec![extension] };
    let Ok(answer) = agent.subscriber.clone().extend_lease(request).await else { return };
    assert_eq!(answer.into_inner().results[0].outcome(), Outcome::Applied);
    ledger.long.lock().extended = Some((lease_id, checkpoint));
    // Until the hub is gone.
    while stream.next_but_heartbeats().await.is_ok() {}
}

/// Waits until every event has ended on every flow.
async fn come_to_rest(hub: &Hub, ledger: &Arc<Ledger>) -> u64 {
    let agent = hub.agent().await;
    let end = agent.subscription("ordered").await.position.unwrap().log_end;
    let mut load = JoinSet::new();
    for flow in FLOWS {
        for number in 0..2 {
            let (address, ledger) = (hub.grpc_address(), Arc::clone(ledger));
            load.spawn(work(address, flow, format!("agent-{number}"), ledger));
        }
    }
    let done = async {
        for flow in FLOWS {
            while agent.subscription(flow.name()).await.position.unwrap().done_floor < end {
                tokio::task::yield_now().await;
            }
        }
    };
    let ended = async {
        let ended = load.join_next().await;
        panic!("an agent has ended: {ended:?}")
    };
    for flow in FLOWS {
        let position = agent.subscription(flow.name()).await.position.unwrap();
        println!("{flow:?}: {} of {end} have ended", position.done_floor);
    }
    let in_time = tokio::time::timeout(6 * PATIENCE, async {
        tokio::select! {
            () = done => {}
            () = ended => {}
        }
    });
    if in_time.await.is_err() {
        for flow in FLOWS {
            println!("{:?}", agent.subscription(flow.name()).await);
        }
        panic!("waited in vain for the end at {end}");
    }
    end
}

/// Sees what the hub says of some of the events.
async fn check_events(hub: &Hub, ledger: &Ledger) {
    let agent = hub.agent().await;
    let published = ledger.published.lock().clone();
    let every = published.len() / 200 + 1;
    for (n, (_, id)) in published.iter().step_by(every) {
        let got = agent.event(id).await;
        assert_eq!(got.event.as_ref().unwrap().sequence, *n);
        for delivery in &got.deliveries {
            let superseded = delivery.state() == DeliveryState::Superseded;
            assert!(superseded || delivery.state() == DeliveryState::Done, "{delivery:?}");
            assert!(!superseded || delivery.subscription == Flow::Latest.name(), "{delivery:?}");
            assert!(!superseded || delivery.superseded_by_sequence > *n, "{delivery:?}");
        }
        let expected = 2 + usize::from(number(&got.event.unwrap().payload).is_multiple_of(3));
        assert_eq!(got.deliveries.len(), expected, "{:?}", got.deliveries);
    }
}

async fn kill_and_start_again(rounds: usize) {
    let mut hub = Hub::start().await;
    let ledger = Arc::new(Ledger::default());
    let mut subscriptions = hub.agent().await.subscriptions;
    let long = SubscriptionPolicy {
        lease_duration: lasts(HOUR),
        max_lease: lasts(24 * HOUR),
        max_attempts: Some(100),
        ..retrying_at_once()
    };
    let long = create(LONG, "agent/long", String::new(), long);
    for request in FLOWS.map(Flow::create).into_iter().chain([long]) {
        soon("a subscription", subscriptions.create_subscription(request)).await.unwrap();
    }
    // The one event that is held over the kills.
    hub.agent().await.publish("long").await;
    for round in 0..rounds {
        let mut load = JoinSet::new();
        let address = hub.grpc_address();
        for number in 0..PUBLISHERS {
            load.spawn(publish(address, format!("r{round}-p{number}"), Arc::clone(&ledger)));
        }
        for flow in FLOWS {
            for number in 0..2 {
                let ledger = Arc::clone(&ledger);
                load.spawn(work(address, flow, format!("agent-{number}"), ledger));
            }
        }
        load.spawn(hold(address, round, Arc::clone(&ledger)));
        let until = *ledger.count.borrow() + 20 + random(400);
        let mut count = ledger.count.subscribe();
        soon("events and acks", count.wait_for(|count| until <= *count)).await.unwrap();
        hub.kill().await;
        while let Some(ended) = soon("the end of the load", load.join_next()).await {
            ended.unwrap();
        }
        hub.check().await;
        hub.start_again().await;
    }
    let end = come_to_rest(&hub, &ledger).await;
    check_events(&hub, &ledger).await;
    let (flows, long) = (ledger.flows.lock(), ledger.long.lock());
    let acked: Vec<_> = flows.iter().map(|(name, seen)| (*name, seen.acked.len())).collect();
    let superseded = flows["latest"].superseded.len();
    assert!(acked.len() == 3 && superseded > 0 && (rounds < 4 || long.kept > 0));
    println!(
        "{rounds} kills: {end} events, acks that were confirmed {acked:?}, {superseded} superseded; a lease was there \
         again {} times, its checkpoint with the next attempt {} times",
        long.kept, long.handed_on
    );
}

#[tokio::test]
async fn i2_order_coalescing_filters_and_leases_survive_a_few_kills() {
    kill_and_start_again(4).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn i2_order_coalescing_filters_and_leases_survive_many_kills() {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
    let rounds = std::env::var("HOOKLINE_KILL_ROUNDS").map_or(200, |text| text.parse().unwrap());
    kill_and_start_again(rounds).await;
}
