//! How many events a second a consumer takes and acknowledges, of a backlog that is there already.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use async_nats::jetstream::stream::Stream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use hookline_client::Client;
use redis::{
    AsyncCommands as _,
    streams::{StreamReadOptions, StreamReadReply},
};
use tokio::task::JoinSet;

use super::{
    Bench, Contender, agent, float,
    ingest::WINDOW,
    jetstream, per_event, put,
    redis_streams::{self, STREAM},
};
use crate::{
    Outcome,
    figures::Figures,
    http,
    servers::{Server, Sync, evict},
};

/// How many unacknowledged events a consumer may have: the most that Hookline allows, and JetStream's default.
pub(super) const IN_FLIGHT: u16 = 1_000;
/// Of how many events a consumer waits for each confirmation before it takes the next: it is slow.
const ONE_BY_ONE: usize = 1_000;

pub(super) async fn measure(
    bench: &Bench,
    contender: Contender,
    data: &Path,
    figures: &mut Figures,
) -> Outcome {
    let name = contender.name();
    match contender {
        Contender::Bare => bare(bench, name, figures).await,
        Contender::Hookline => in_memory(bench, name, data, figures).await,
        Contender::HooklineDisk => from_disk(bench, name, data, figures).await,
        Contender::NatsAlways => nats(bench, name, data, Sync::Always, figures).await,
        Contender::NatsDefault => nats(bench, name, data, Sync::Default, figures).await,
        Contender::Redis => redis(bench, name, data, figures).await,
        Contender::PlainFile | Contender::Fastapi | Contender::Few | Contender::Many => Ok(()),
    }
}

async fn bare(bench: &Bench, name: &str, figures: &mut Figures) -> Outcome {
    let (bodies, count) = (bench.bodies_folder.to_string_lossy(), bench.events.to_string());
    let server = Server::own(&["stream", "--bodies", &bodies, "--count", &count])?;
    by_stubs(bench, name, &server, "bare", figures).await
}

/// The events were posted a moment ago, to the hub that hands them out.
async fn in_memory(bench: &Bench, name: &str, data: &Path, figures: &mut Figures) -> Outcome {
    let hub = Server::hub(&bench.tools, data)?;
    http::fill(&hub.url, &bench.bodies, bench.events, "consume").await?;
    by_stubs(bench, name, &hub, "stubs", figures).await?;
    by_library(bench, name, &hub, "library", figures).await?;
    put(figures, name, "peak_mib", hub.peak_mib()?);
    Ok(())
}

/// The hub was started anew, and none of its files was in the page cache.
async fn from_disk(bench: &Bench, name: &str, data: &Path, figures: &mut Figures) -> Outcome {
    let hub = Server::hub(&bench.tools, data)?;
    http::fill(&hub.url, &bench.bodies, bench.events, "consume").await?;
    hub.stop()?;
    evict(data)?;
    let hub = Server::hub(&bench.tools, data)?;
    by_stubs(bench, name, &hub, "stubs", figures).await?;
    hub.stop()?;
    evict(data)?;
    let hub = Server::hub(&bench.tools, data)?;
    by_library(bench, name, &hub, "library", figures).await
}

async fn by_stubs(
    bench: &Bench,
    name: &str,
    server: &Server,
    subscription: &str,
    figures: &mut Figures,
) -> Outcome {
    let client = Client::connect(&server.grpc)?;
    let before = server.cpu()?;
    let taken = agent::stubs(&client, subscription, bench.events).await?;
    put(figures, name, "rate", rate(bench.events, taken.took));
    put(figures, name, "cpu_us", per_event(server.cpu()? - before, float(bench.events)));
    put(figures, name, "message_bytes", float(taken.bytes) / float(bench.events));
    Ok(())
}

async fn by_library(
    bench: &Bench,
    name: &str,
    server: &Server,
    subscription: &str,
    figures: &mut Figures,
) -> Outcome {
    let client = Client::connect(&server.grpc)?;
    let took = agent::library(&client, subscription, bench.events).await?;
    put(figures, name, "library_rate", rate(bench.events, took));
    Ok(())
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
    let publishes = (0..bench.events).map(|at| jetstream::publish(&context, bench.bodies.body(at)));
    futures_util::stream::iter(publishes)
        .buffer_unordered(WINDOW)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await?;
    let before = server.cpu()?;
    let took = acks(&stream, bench.events).await?;
    put(figures, name, "rate", rate(bench.events, took));
    put(figures, name, "cpu_us", per_event(server.cpu()? - before, float(bench.events)));
    let took = double_acks(&stream, "window", WINDOW, bench.events).await?;
    put(figures, name, "double_ack_rate", rate(bench.events, took));
    let took = double_acks(&stream, "one", 1, ONE_BY_ONE).await?;
    put(figures, name, "double_ack_one_by_one_rate", rate(ONE_BY_ONE, took));
    Ok(())
}

/// Acks that nobody confirms.
async fn acks(stream: &Stream, count: usize) -> Outcome<Duration> {
    let began = Instant::now();
    let consumer = jetstream::consumer(stream, "unconfirmed").await?;
    let mut messages = consumer.stream().max_messages_per_batch(WINDOW).messages().await?;
    for _ in 0..count {
        messages.next().await.ok_or("the stream has ended")??.ack().await?;
    }
    Ok(began.elapsed())
}

/// Acks whose confirmation is waited for, so many at once.
async fn double_acks(
    stream: &Stream,
    name: &str,
    at_once: usize,
    count: usize,
) -> Outcome<Duration> {
    let began = Instant::now();
    let consumer = jetstream::consumer(stream, name).await?;
    let messages = consumer.stream().max_messages_per_batch(WINDOW).messages().await?;
    messages
        .take(count)
        .map(|message| async { message?.double_ack().await })
        .buffer_unordered(at_once)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await?;
    Ok(began.elapsed())
}

async fn redis(bench: &Bench, name: &str, data: &Path, figures: &mut Figures) -> Outcome {
    let server = Server::redis(&bench.tools, data)?;
    let connection = redis_streams::connect(&server).await?;
    let adds =
        (0..bench.events).map(|at| redis_streams::add(connection.clone(), bench.bodies.body(at)));
    futures_util::stream::iter(adds)
        .buffer_unordered(WINDOW)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await?;
    let before = server.cpu()?;
    let began = Instant::now();
    let mut reader = redis_streams::connect(&server).await?;
    let _: () = reader.xgroup_create(STREAM, "agents", "0").await?;
    let options = StreamReadOptions::default().group("agents", "one").count(agent::ACKS);
    let (mut taken, mut acks) = (0, JoinSet::new());
    while taken < bench.events {
        let read: StreamReadReply = reader.xread_options(&[STREAM], &[">"], &options).await?;
        let entries = read.keys.into_iter().flat_map(|key| key.ids);
        let ids: Vec<String> = entries.map(|entry| entry.id).collect();
        taken += ids.len();
        let mut connection = connection.clone();
        acks.spawn(async move {
            let count: usize = connection.xack(STREAM, "agents", &ids).await?;
            if count == ids.len() { Outcome::Ok(()) } else { Err("an ack was not counted".into()) }
        });
    }
    while let Some(acked) = acks.join_next().await {
        acked??;
    }
    put(figures, name, "rate", rate(bench.events, began.elapsed()));
    put(figures, name, "cpu_us", per_event(server.cpu()? - before, float(bench.events)));
    Ok(())
}

fn rate(count: usize, took: Duration) -> f64 {
    float(count) / took.as_secs_f64()
}
