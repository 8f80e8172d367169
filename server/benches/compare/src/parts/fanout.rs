//! Many subscriptions beside few: a fixed backlog to each of them, and ingest beside many that match nothing.

use std::{path::Path, time::Duration};

use hookline_client::{
    Client,
    proto::{SubscribeRequest, SubscribeResponse},
};
use tonic::Streaming;

use super::{Bench, Contender, agent, float, put};
use crate::{Outcome, figures::Figures, http, servers::Server};

/// How many events each subscription takes.
const BACKLOG: usize = 2_000;
/// How many take it at once, and how often one takes it alone, to measure for longer than a moment.
const SUBSCRIPTIONS: usize = 100;
const TIMES: usize = 10;
/// How many match nothing.
const IDLE: usize = 1_000;
/// How many of these share a connection.
const PER_CONNECTION: usize = 100;

pub(super) async fn measure(
    bench: &Bench,
    contender: Contender,
    data: &Path,
    figures: &mut Figures,
) -> Outcome {
    let (name, many) = (contender.name(), contender == Contender::Many);
    let hub = Server::hub(&bench.tools, &data.join("backlog"))?;
    http::fill(&hub.url, &bench.bodies, BACKLOG, "fan").await?;
    let (deliveries, took) = if many {
        (SUBSCRIPTIONS * BACKLOG, agent::many(&hub.grpc, SUBSCRIPTIONS, BACKLOG).await?)
    } else {
        (TIMES * BACKLOG, one_by_one(&hub).await?)
    };
    put(figures, name, "rate", float(deliveries) / took.as_secs_f64());
    put(figures, name, "peak_mib", hub.peak_mib()?);
    drop(hub);
    let hub = Server::hub(&bench.tools, &data.join("ingest"))?;
    let streams = if many { idle(&hub).await? } else { Vec::new() };
    let (rate, cpu) = bench.load(&hub)?;
    put(figures, name, "ingest_rate", rate);
    put(figures, name, "ingest_cpu_us", cpu);
    drop(streams);
    Ok(())
}

/// One subscription takes the backlog, then another, over the same connection.
async fn one_by_one(hub: &Server) -> Outcome<Duration> {
    let client = Client::connect(&hub.grpc)?;
    let mut took = Duration::ZERO;
    for number in 0..TIMES {
        took += agent::stubs(&client, &format!("one-{number}"), BACKLOG).await?.took;
    }
    Ok(took)
}

/// Subscribes to what never happens.
async fn idle(hub: &Server) -> Outcome<Vec<Streaming<SubscribeResponse>>> {
    let mut streams = Vec::with_capacity(IDLE);
    let mut subscriber = Client::connect(&hub.grpc)?.subscriber();
    for number in 0..IDLE {
        if number % PER_CONNECTION == 0 {
            subscriber = Client::connect(&hub.grpc)?.subscriber();
        }
        let request = SubscribeRequest {
            subscription: format!("idle-{number}"),
            patterns: vec![format!("agent/never.{number}")],
            ..SubscribeRequest::default()
        };
        let mut stream = subscriber.subscribe(request).await?.into_inner();
        stream.message().await?.ok_or("the stream has ended")?;
        streams.push(stream);
    }
    Ok(streams)
}
