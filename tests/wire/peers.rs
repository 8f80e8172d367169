//! Peers that a proxy stands before, or that vanish without a word. Minutes: the hub pings every 20 s, and that is what is
//! looked at.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hookline_proto::v1::{AttemptEnd, SubscribeRequest, SubscriptionPolicy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    agent::{Agent, delivered, everything, lasts, retrying_at_once},
    http::Webhook,
    hub::Hub,
};

/// A proxy of one connection.
struct Proxy {
    address: SocketAddr,
    /// Passes nothing on from then on, and closes nothing either.
    silent: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Stands before the hub; closes the connection once either side has sent nothing for `idle_max`.
    async fn before(hub: SocketAddr, idle_max: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let (mut tasks, is_silent) = (JoinSet::new(), Arc::clone(&silent));
        tasks.spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let hub = TcpStream::connect(hub).await.unwrap();
            let ((from_client, to_client), (from_hub, to_hub)) =
                (client.into_split(), hub.into_split());
            tokio::select! {
                () = pass(from_client, to_hub, idle_max, Arc::clone(&is_silent)) => {}
                () = pass(from_hub, to_client, idle_max, is_silent) => {}
            }
        });
        Self { address, silent, _tasks: tasks }
    }
}

async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    idle_max: Duration,
    silent: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(Ok(count @ 1..)) = timeout(idle_max, from.read(&mut buffer)).await {
        if silent.load(Ordering::Acquire) {
            // As a cable that was cut: neither data nor its end gets through.
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

fn named(consumer: &str) -> SubscribeRequest {
    SubscribeRequest { consumer: consumer.to_owned(), ..everything("work") }
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn d7_a_stream_that_is_idle_for_minutes_stays_open_through_a_proxy() {
    let hub = Hub::start().await;
    let proxy = Proxy::before(hub.grpc_address(), Duration::from_secs(60)).await;
    let agent = Agent::connect(proxy.address).await;
    let mut stream = agent.subscribe(named("one")).await;
    // One in 15 s: more than two minutes.
    for _ in 0..9 {
        stream.heartbeat().await;
    }
    hub.take(&Webhook::push("late")).await;
    stream.ack_next(&agent).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
#[expect(clippy::disallowed_methods, reason = "what is measured is how long the hub waits")]
async fn d11_a_peer_that_vanished_without_a_word_is_given_up_within_45_seconds() {
    let hub = Hub::start().await;
    let proxy = Proxy::before(hub.grpc_address(), Duration::from_secs(3_600)).await;
    let vanishes = Agent::connect(proxy.address).await;
    // Nothing but the end of its stream takes the lease from it.
    let policy = SubscriptionPolicy {
        lease_duration: lasts(Duration::from_secs(600)),
        reconnect_grace: lasts(Duration::ZERO),
        ..retrying_at_once()
    };
    let request = SubscribeRequest { policy: Some(policy), ..named("vanishes") };
    let mut lost = vanishes.subscribe(request).await;
    hub.take(&Webhook::push("held")).await;
    lost.delivery().await;
    let agent = hub.agent().await;
    let mut stays = agent.subscribe(named("stays")).await;
    proxy.silent.store(true, Ordering::Release);
    let began = Instant::now();
    let given_up = timeout(Duration::from_secs(45), stays.next_but_heartbeats()).await;
    let message = given_up.expect("it is still taken for connected").unwrap();
    assert_eq!(delivered(message).previous_attempts[0].end(), AttemptEnd::ConsumerLost);
    println!("given up after {:.0} s", began.elapsed().as_secs_f64());
}
