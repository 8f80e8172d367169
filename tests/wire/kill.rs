//! The hub's end at random moments under load, by `kill -9` and by SIGTERM: nothing confirmed is lost, doubled or done
//! again.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
};

use hookline_proto::v1::{
    Delivery, ListEventsRequest, Nack, NackAction, Outcome, PayloadView, SubscribeRequest,
    subscribe_response::Message,
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    agent::{Agent, delivered, everything, key, retrying_at_once},
    http::{Connection, Webhook},
    hub::{Hub, PATIENCE, soon},
};

/// Enough for the writer to have several posts in one commit.
const POSTERS: usize = 8;
const AGENTS: usize = 2;

/// What was confirmed so far, over all rounds.
#[derive(Default)]
struct Confirmed {
    /// Delivery keys whose post was answered 200, with the event's id.
    posted: Mutex<BTreeMap<String, String>>,
    /// Delivery keys whose ack was answered APPLIED.
    acked: Mutex<BTreeSet<String>>,
    /// How much was confirmed: what rounds wait for.
    count: watch::Sender<usize>,
}

impl Confirmed {
    fn post(&self, key: String, id: String) {
        self.posted.lock().insert(key, id);
        self.count.send_modify(|count| *count += 1);
    }

    fn ack(&self, key: &str) {
        self.acked.lock().insert(key.to_owned());
        self.count.send_modify(|count| *count += 1);
    }
}

/// Returns a number below this that is another one in each run.
pub(crate) fn random(below: u64) -> usize {
    usize::try_from(RandomState::new().hash_one(()) % below).unwrap()
}

/// Posts until the hub is gone. Every fourth post is sent a second time, as providers do.
async fn post(address: SocketAddr, name: String, confirmed: Arc<Confirmed>) {
    let Ok(mut http) = Connection::open(address).await else { return };
    for number in 0.. {
        let key = format!("{name}-{number}");
        let mut webhook = Webhook::push(&key);
        if number % 8 == 0 {
            // Of several chunks in the store.
            let large = format!(r#"{{"text": "{}"}}"#, "x".repeat(200_000));
            webhook = Webhook::github("push", &key, large);
        }
        for copy in 0..=usize::from(number % 4 == 0) {
            let Ok(answer) = http.post(&webhook).await else { return };
            if answer.status == 503 {
                // The hub is stopping.
                return;
            }
            assert_eq!(answer.status, 200, "{answer:?}");
            let body = answer.json();
            let id = body["event_id"].as_str().unwrap().to_owned();
            if copy == 0 {
                assert_eq!(body["status"], "accepted");
                confirmed.post(key.clone(), id);
            } else {
                assert_eq!(body["status"], "duplicate");
                assert_eq!(confirmed.posted.lock()[&key], id);
            }
        }
    }
}

fn work(consumer: &str) -> SubscribeRequest {
    SubscribeRequest {
        consumer: consumer.to_owned(),
        max_in_flight: Some(50),
        policy: Some(retrying_at_once()),
        ..everything("work")
    }
}

/// Acks one delivery; whether the hub was there to answer.
async fn ack(agent: &Agent, delivery: &Delivery, confirmed: &Confirmed) -> bool {
    let key = key(delivery);
    assert!(!confirmed.acked.lock().contains(key), "`{key}` was acked, and came again");
    let Ok(results) = agent.try_ack(&[&delivery.lease_id]).await else { return false };
    assert_eq!(results[0].outcome(), Outcome::Applied, "the ack of `{key}`");
    confirmed.ack(key);
    true
}

/// Acks what comes until the hub is gone.
async fn agent(address: SocketAddr, name: String, confirmed: Arc<Confirmed>) {
    let Ok(agent) = Agent::try_connect(address).await else { return };
    let Ok(mut stream) = agent.try_subscribe(work(&name)).await else { return };
    // What its predecessor held under its name has to be settled: that is not sent again.
    for held in std::mem::take(&mut stream.ready.held) {
        assert!(!confirmed.acked.lock().contains(key(&held)), "`{}` is still held", key(&held));
        let release = NackAction::Release.into();
        let nack = Nack { lease_id: held.lease_id, action: release, ..Default::default() };
        if agent.try_nack(vec![nack]).await.is_err() {
            return;
        }
    }
    while let Ok(message) = stream.message().await {
        if matches!(message, Message::Draining(_)) {
            continue;
        }
        // Neither a crash nor a stop is a failure of the agent's.
        let delivery = delivered(message);
        assert_eq!(delivery.attempt, 1, "`{}`", key(&delivery));
        if !ack(&agent, &delivery, &confirmed).await {
            return;
        }
    }
}

/// Sees that each confirmed post is in the log once.
async fn check_log(hub: &Hub, confirmed: &Confirmed) -> u64 {
    let request = ListEventsRequest {
        payload_view: PayloadView::None.into(),
        page_size: Some(1_000),
        ..Default::default()
    };
    let mut found = BTreeMap::new();
    let mut sequence = 0;
    for event in hub.agent().await.list(request).await {
        sequence += 1;
        assert_eq!(event.sequence, sequence, "sequences have no gaps");
        let twice = found.insert(event.delivery_key, event.id);
        assert_eq!(twice, None, "event {sequence} is in the log twice");
    }
    for (key, id) in &*confirmed.posted.lock() {
        assert_eq!(found.get(key), Some(id), "`{key}` was answered 200");
    }
    sequence
}

/// How a hub ends.
#[derive(Clone, Copy)]
pub(crate) enum How {
    Killed,
    Stopped,
}

async fn end(hub: &mut Hub, how: How) {
    match how {
        How::Killed => hub.kill().await,
        How::Stopped => {
            hub.terminate();
            assert_eq!(hub.exited().await.code(), Some(0));
        }
    }
}

/// Ends the hub at a random moment of much work, and starts it again: in each round as the next of `hows` says.
pub(crate) async fn end_and_start_again(rounds: usize, hows: &[How]) {
    let mut hub = Hub::start().await;
    let confirmed = Arc::new(Confirmed::default());
    for round in 0..rounds {
        let mut load = JoinSet::new();
        for number in 0..POSTERS {
            let name = format!("r{round}-p{number}");
            load.spawn(post(hub.http_address(), name, Arc::clone(&confirmed)));
        }
        for number in 0..AGENTS {
            let (grpc, confirmed) = (hub.grpc_address(), Arc::clone(&confirmed));
            load.spawn(agent(grpc, format!("agent-{number}"), confirmed));
        }
        let so_far = *confirmed.count.borrow();
        let until = so_far + random(400);
        let mut count = confirmed.count.subscribe();
        soon("posts and acks", count.wait_for(|count| until <= *count)).await.unwrap();
        end(&mut hub, hows[round % hows.len()]).await;
        while let Some(ended) = soon("the end of the load", load.join_next()).await {
            ended.unwrap();
        }
        hub.check().await;
        hub.start_again().await;
        check_log(&hub, &confirmed).await;
    }
    // What was posted and not acked is delivered in the end.
    let logged = check_log(&hub, &confirmed).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(work("last")).await;
    let mut load = JoinSet::new();
    for number in 0..AGENTS {
        // Gives back what they still hold.
        let (grpc, confirmed) = (hub.grpc_address(), Arc::clone(&confirmed));
        load.spawn(self::agent(grpc, format!("agent-{number}"), confirmed));
    }
    let done = async {
        while agent.subscription("work").await.position.unwrap().done_floor < logged {
            tokio::select! {
                message = stream.message() => {
                    assert!(ack(&agent, &delivered(message.unwrap()), &confirmed).await);
                }
                _ = agent.subscription("work") => {}
            }
        }
    };
    // Each ack is a commit of its own, and there may be thousands.
    let done = tokio::time::timeout(6 * PATIENCE, done).await;
    assert!(done.is_ok(), "waited in vain for the last event");
    drop(load);
    let (posted, acked) = (confirmed.posted.lock().len(), confirmed.acked.lock().len());
    assert!(0 < posted && 0 < acked);
    println!(
        "{rounds} rounds: {posted} posts and {acked} acks were confirmed, {logged} events kept"
    );
}

#[tokio::test]
async fn i2_what_was_confirmed_survives_a_few_kills_at_random_moments() {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
    let rounds = std::env::var("HOOKLINE_KILL_ROUNDS").map_or(3, |text| text.parse().unwrap());
    end_and_start_again(rounds, &[How::Killed]).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn i2_what_was_confirmed_survives_fifty_kills_at_random_moments() {
    end_and_start_again(50, &[How::Killed]).await;
}

#[tokio::test]
async fn d9_a_stop_under_load_loses_nothing_and_counts_no_attempt() {
    end_and_start_again(3, &[How::Stopped]).await;
}
