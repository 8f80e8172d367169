//! How long an event takes from its post, or its publication, until a consumer has it.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use hookline_client::{Client, Deliveries, Start};
use tokio::task::JoinSet;

use super::{Bench, Contender, consume::IN_FLIGHT, jetstream, put};
use crate::{
    Outcome,
    bodies::Bodies,
    figures::{Figures, Latencies},
    http::Connection,
    servers::{Server, Sync},
};

/// How many are measured one at a time, and how many come before.
const EVENTS: usize = 2_000;
const WARMING: usize = 200;
/// Over how many connections the open load goes: so many that one is free whenever a post is due.
const CONNECTIONS: usize = 256;

pub(super) async fn measure(
    bench: &Bench,
    contender: Contender,
    data: &Path,
    figures: &mut Figures,
) -> Outcome {
    let name = contender.name();
    match contender {
        Contender::Hookline => hookline(bench, name, data, figures).await,
        Contender::NatsAlways => nats(bench, name, data, Sync::Always, figures).await,
        Contender::NatsDefault => nats(bench, name, data, Sync::Default, figures).await,
        Contender::Bare
        | Contender::PlainFile
        | Contender::HooklineDisk
        | Contender::Redis
        | Contender::Fastapi
        | Contender::Few
        | Contender::Many => Ok(()),
    }
}

async fn hookline(bench: &Bench, name: &str, data: &Path, figures: &mut Figures) -> Outcome {
    let full = Server::hub(&bench.tools, &data.join("full"))?;
    let most = most(bench, &full).await?;
    drop(full);
    let hub = Server::hub(&bench.tools, &data.join("idle"))?;
    idle(bench, name, &hub, figures).await?;
    let half = most / 2.0;
    put(figures, name, "load_rate", half);
    let (delivered, answered) = under_load(bench, &hub, half).await?;
    delivered.put(figures, &format!("{name}_load"));
    answered.put(figures, &format!("{name}_load_answer"));
    Ok(())
}

/// Returns how many events a second come in and go out again, with a load that posts as fast as it is answered and a consumer
/// that takes and acks what comes: the machine does both.
async fn most(bench: &Bench, hub: &Server) -> Outcome<f64> {
    let mut deliveries = subscribe(hub, "most").await?;
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let taking = tokio::spawn(async move {
        while let Some(Ok(delivery)) = deliveries.next().await {
            drop(delivery.ack());
            counted.fetch_add(1, Relaxed);
        }
    });
    let began = Instant::now();
    let (posted, _) = bench.load(hub)?;
    let taken = super::float(taken.load(Relaxed)) / began.elapsed().as_secs_f64();
    taking.abort();
    Ok(posted.min(taken))
}

async fn subscribe(hub: &Server, subscription: &str) -> Outcome<Deliveries> {
    let subscription = Client::connect(&hub.grpc)?.subscription(subscription).patterns(["github"]);
    let subscription = subscription.start(Start::Latest).max_in_flight(IN_FLIGHT.into());
    Ok(subscription.subscribe().await?)
}

/// One at a time: the next post after the delivery and its ack.
async fn idle(bench: &Bench, name: &str, hub: &Server, figures: &mut Figures) -> Outcome {
    let mut deliveries = subscribe(hub, "idle").await?;
    let mut connection = Connection::open(&hub.url).await?;
    let (mut delivered, mut answered) = (Latencies::default(), Latencies::default());
    for number in 0..WARMING + EVENTS {
        let request = bench.bodies.request(number, &format!("idle-{number}"));
        let began = Instant::now();
        let post = async {
            connection.post(&request).await?;
            Outcome::Ok(began.elapsed())
        };
        let take = async {
            let delivery = deliveries.next().await.ok_or("the stream has ended")??;
            Outcome::Ok((began.elapsed(), delivery))
        };
        let (post, (took, delivery)) = tokio::try_join!(post, take)?;
        delivery.ack().await?;
        if WARMING <= number {
            answered.add(post);
            delivered.add(took);
        }
    }
    delivered.put(figures, name);
    answered.put(figures, &format!("{name}_answer"));
    deliveries.close().await;
    Ok(())
}

/// When each post of the open load began.
type Began = Arc<Vec<OnceLock<Instant>>>;

/// Posts at a fixed rate, whatever becomes of the posts before, and measures how long each takes to the consumer, and to
/// its answer.
async fn under_load(bench: &Bench, hub: &Server, rate: f64) -> Outcome<(Latencies, Latencies)> {
    let mut deliveries = subscribe(hub, "load").await?;
    let seconds = Duration::from_secs(bench.seconds + 1).as_secs_f64();
    let count = whole(rate * seconds);
    let began: Began = Arc::new((0..count).map(|_| OnceLock::new()).collect());
    let mut posting = JoinSet::new();
    let start = Instant::now() + Duration::from_millis(100);
    for first in 0..CONNECTIONS {
        let (url, bodies, began) = (hub.url.clone(), Arc::clone(&bench.bodies), Arc::clone(&began));
        let pace = Pace { start, rate, first };
        posting.spawn(async move { post_at(&url, &bodies, &began, pace).await });
    }
    let mut latencies = Latencies::default();
    for _ in 0..count {
        let delivery = deliveries.next().await.ok_or("the stream has ended")??;
        let now = Instant::now();
        let key = delivery.event().delivery_key.rsplit('-').next().unwrap_or_default();
        let number: usize = key.parse()?;
        let began =
            began.get(number).and_then(OnceLock::get).ok_or("a delivery before its post")?;
        // The first second is for warming up.
        if rate <= super::float(number) {
            latencies.add(now - *began);
        }
        drop(delivery.ack());
    }
    let mut answered = Latencies::default();
    while let Some(posted) = posting.join_next().await {
        answered.extend(posted??);
    }
    deliveries.close().await;
    Ok((latencies, answered))
}

/// When the posts of one connection are due.
struct Pace {
    start: Instant,
    rate: f64,
    first: usize,
}

async fn post_at(url: &str, bodies: &Bodies, began: &Began, pace: Pace) -> Outcome<Latencies> {
    let mut connection = Connection::open(url).await?;
    let mut answered = Latencies::default();
    for (number, began) in began.iter().enumerate().skip(pace.first).step_by(CONNECTIONS) {
        let request = bodies.request(number, &format!("load-{number}"));
        let due = pace.start + Duration::from_secs_f64(super::float(number) / pace.rate);
        // A connection that is late counts from when the post was due; one that had to wait, from when it woke, since
        // timers are exact to a millisecond only.
        let begin = if Instant::now() < due {
            tokio::time::sleep_until(due.into()).await;
            Instant::now()
        } else {
            due
        };
        began.set(begin).map_err(|_| "a number came twice")?;
        connection.post(&request).await?;
        if pace.rate <= super::float(number) {
            answered.add(begin.elapsed());
        }
    }
    Ok(answered)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of posts is positive and small"
)]
fn whole(number: f64) -> usize {
    number as usize
}

async fn nats(
    bench: &Bench,
    name: &str,
    data: &Path,
    sync: Sync,
    figures: &mut Figures,
) -> Outcome {
    let server = Server::nats(&bench.tools, data, sync)?;
    let (context, stream) = jetstream::create(&server).await?;
    let consumer = jetstream::consumer(&stream, "idle").await?;
    let mut messages = consumer.messages().await?;
    let mut latencies = Latencies::default();
    for number in 0..WARMING + EVENTS {
        let body = bench.bodies.body(number);
        let began = Instant::now();
        let take = async {
            let message = messages.next().await.ok_or("the stream has ended")??;
            Outcome::Ok((began.elapsed(), message))
        };
        let ((), (took, message)) = tokio::try_join!(jetstream::publish(&context, body), take)?;
        message.ack().await?;
        if WARMING <= number {
            latencies.add(took);
        }
    }
    latencies.put(figures, name);
    Ok(())
}
