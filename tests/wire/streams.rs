//! Streams of deliveries over the wire: room, reconnecting, taking over.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hookline_proto::v1::{
    AttemptEnd, DeliveryState, NackAction, Outcome, SubscribeRequest, SubscriptionPolicy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};
use tonic::Code;

use crate::{
    agent::{Agent, event_id, everything, key, lasts, retrying_at_once},
    hub::{Hub, soon},
    operator::again,
};

#[tokio::test]
async fn d1_a_consumer_never_holds_more_than_max_in_flight() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c", "d", "e"]).await;
    let agent = hub.agent().await;
    let request = SubscribeRequest { max_in_flight: Some(2), ..everything("work") };
    let mut stream = agent.subscribe(request.clone()).await;
    let (one, _two) = (stream.delivery().await, stream.delivery().await);
    let leased = async || agent.subscription("work").await.counts.unwrap().leased;
    assert_eq!(leased().await, 2);
    assert_eq!(agent.ack(&[&one.lease_id]).await, [Outcome::Applied]);
    assert_eq!(key(&stream.delivery().await), "c");
    assert_eq!(leased().await, 2);
    // The room is the consumer's, on whatever stream it got its leases: a new stream does not add to it.
    let stream = agent.subscribe(request).await;
    assert_eq!((stream.ready.held.len(), leased().await), (2, 2));
}

#[tokio::test]
async fn d4_a_consumer_that_reconnects_in_time_keeps_its_leases_and_is_not_sent_them_again() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let before = stream.delivery().await;
    drop((stream, agent));

    let agent = hub.agent().await;
    let request = SubscribeRequest { max_in_flight: Some(2), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    let [held] = &stream.ready.held[..] else { panic!("one lease: {:?}", stream.ready) };
    assert_eq!((&held.lease_id, held.attempt), (&before.lease_id, 1));
    let event = held.event.as_ref().unwrap();
    assert_eq!((event.id.as_str(), event.payload.len()), (event_id(&before), 0));
    // The next delivery is the other event.
    assert_eq!(key(&stream.delivery().await), "b");
    assert_eq!(agent.ack(&[&before.lease_id]).await, [Outcome::Applied]);
}

#[tokio::test]
async fn d5_an_ack_whose_answer_was_lost_is_already_applied_when_sent_again() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let sure = hub.agent().await;
    let mut stream = sure.subscribe(everything("work")).await;
    let delivery = stream.delivery().await;

    let proxy = Proxy::before(hub.grpc_address()).await;
    let cut_off = Agent::connect(proxy.address).await;
    assert_eq!(cut_off.extend(&delivery.lease_id, None).await.outcome(), Outcome::Applied);
    proxy.swallow.send(true).unwrap();
    let ids = [delivery.lease_id.as_str()];
    let lost = cut_off.try_ack(&ids);
    let cut = async {
        sure.event_once(event_id(&delivery), DeliveryState::Done).await;
        drop(proxy);
    };
    let (lost, ()) = tokio::join!(lost, cut);
    lost.unwrap_err();
    assert_eq!(sure.ack(&ids).await, [Outcome::AlreadyApplied]);
}

#[tokio::test]
async fn d6_a_consumer_that_does_not_come_back_has_failed_an_attempt() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let policy = SubscriptionPolicy {
        reconnect_grace: lasts(Duration::from_millis(100)),
        ..retrying_at_once()
    };
    let request = SubscribeRequest { policy: Some(policy), ..everything("work") };
    let mut one = agent.subscribe(request.clone()).await;
    let first = one.delivery().await;
    let two = SubscribeRequest { consumer: "two".to_owned(), ..request };
    let mut two = agent.subscribe(two).await;
    drop(one);
    let second = two.delivery().await;
    assert_eq!((second.attempt, event_id(&second)), (2, event_id(&first)));
    let [lost] = &second.previous_attempts[..] else { panic!("one attempt: {second:?}") };
    assert_eq!((lost.end(), lost.consumer.as_str()), (AttemptEnd::ConsumerLost, "one"));
}

#[tokio::test]
async fn the_newest_stream_of_a_name_takes_over_and_the_older_is_aborted() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let (agent, other) = (hub.agent().await, hub.agent().await);
    let mut older = agent.subscribe(everything("work")).await;
    let held = older.delivery().await;
    let mut newer = other.subscribe(everything("work")).await;
    let end = older.end().await;
    assert_eq!(end.code(), Code::Aborted);
    assert!(end.message().contains("`one`"), "{end}");
    assert_eq!(newer.ready.held[0].lease_id, held.lease_id);
    assert_eq!(other.ack(&[&held.lease_id]).await, [Outcome::Applied]);
    assert_eq!(key(&newer.delivery().await), "b");
}

#[tokio::test]
async fn who_only_asks_what_it_holds_is_told_and_gets_nothing() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let held = stream.delivery().await;
    drop(stream);
    let request = SubscribeRequest { max_in_flight: Some(5), held_only: true, ..again("work") };
    let mut stream = agent.subscribe(request.clone()).await;
    assert_eq!(stream.ready.held[0].lease_id, held.lease_id);
    assert_eq!(stream.end().await.code(), Code::Ok);
    assert_eq!(agent.nack(&held.lease_id, "", NackAction::Release).await, Outcome::Applied);
    let mut stream = agent.subscribe(request).await;
    assert_eq!(stream.ready.held, []);
    assert_eq!(stream.end().await.code(), Code::Ok);
    let counts = agent.subscription("work").await.counts.unwrap();
    assert_eq!((counts.ready + counts.unscanned, counts.leased), (2, 0), "{counts:?}");
}

#[tokio::test]
async fn a_client_that_stops_with_events_waiting_leaves_no_lease_behind() {
    let hub = Hub::start().await;
    let keys: Vec<_> = (0..50).map(|number| format!("k{number}")).collect();
    hub.take_each(keys.iter().map(String::as_str)).await;
    let agent = hub.agent().await;
    let client = hookline_client::Client::connect(hub.grpc_address().to_string()).unwrap();
    let builder = client.subscription("work").patterns(["*"]);
    let policy = hookline_client::Policy::new().backoff(Duration::ZERO, Duration::ZERO);
    let builder = builder.start(hookline_client::Start::Earliest).policy(policy);
    for done in 1..=20 {
        // Stopped while its second handler runs, which fails to begin.
        let (acked, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (count, stopping) = (Arc::clone(&acked), Arc::clone(&stop));
        let handler = move |delivery: hookline_client::Delivery| {
            let (count, stopping) = (Arc::clone(&count), Arc::clone(&stopping));
            async move {
                if count.fetch_add(1, Ordering::Relaxed) == 0 {
                    return delivery.ack().await.map(drop);
                }
                stopping.notify_one();
                delivery.release().await.map(drop)
            }
        };
        let running = builder.clone().run_until(1, handler, async move { stop.notified().await });
        soon("the stop", Box::pin(running)).await.unwrap();
        let subscription = agent.subscription("work").await;
        assert_eq!(subscription.counts.unwrap().leased, 0, "after stop {done}");
        assert_eq!(subscription.position.unwrap().done_floor, done);
    }
}

#[tokio::test]
async fn two_consumers_share_the_events_and_each_event_goes_to_one() {
    let hub = Hub::start().await;
    let keys: Vec<_> = (0..20).map(|number| format!("k{number}")).collect();
    hub.take_each(keys.iter().map(String::as_str)).await;
    let agent = hub.agent().await;
    let mut streams = Vec::new();
    for consumer in ["one", "two"] {
        let consumer = consumer.to_owned();
        let max_in_flight = Some(10);
        let request = SubscribeRequest { consumer, max_in_flight, ..everything("work") };
        streams.push(agent.subscribe(request).await);
    }
    let mut seen = Vec::new();
    for stream in &mut streams {
        for _ in 0..10 {
            seen.push(key(&stream.delivery().await).to_owned());
        }
    }
    seen.sort();
    let mut keys = keys;
    keys.sort();
    assert_eq!(seen, keys);
}

/// Stands between an agent and the hub; dropping it cuts both connections.
struct Proxy {
    address: SocketAddr,
    /// While true, what the hub says is swallowed.
    swallow: watch::Sender<bool>,
    _pumps: JoinSet<()>,
}

impl Proxy {
    async fn before(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallow, is_swallowing) = watch::channel(false);
        let mut pumps = JoinSet::new();
        pumps.spawn(async move {
            let (agent, _) = listener.accept().await.unwrap();
            let hub = TcpStream::connect(hub).await.unwrap();
            let (mut from_agent, mut to_agent) = agent.into_split();
            let (mut from_hub, mut to_hub) = hub.into_split();
            let back = async {
                let mut buffer = [0; 4_096];
                while let Ok(count @ 1..) = from_hub.read(&mut buffer).await {
                    if !*is_swallowing.borrow() {
                        to_agent.write_all(&buffer[..count]).await.unwrap();
                    }
                }
            };
            drop(tokio::join!(tokio::io::copy(&mut from_agent, &mut to_hub), back));
        });
        Self { address, swallow, _pumps: pumps }
    }
}
