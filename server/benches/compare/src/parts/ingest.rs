//! How many events a second become durable: 128 connections of `wrk` for HTTP, a window of 256 for the others.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;

use super::{Bench, Contender, float, jetstream, per_event, put, redis_streams};
use crate::{
    Outcome,
    figures::Figures,
    servers::{Server, Sync},
};

/// How many unconfirmed publishes a client has at most.
pub(super) const WINDOW: usize = 256;

pub(super) async fn measure(
    bench: &Bench,
    contender: Contender,
    data: &Path,
    figures: &mut Figures,
) -> Outcome {
    let name = contender.name();
    let tools = &bench.tools;
    let server = match contender {
        Contender::Bare => Server::own(&["bare"])?,
        Contender::PlainFile => {
            let file = data.join("events").to_string_lossy().into_owned();
            Server::own(&["plain", "--file", &file, "--writer", "thread"])?
        }
        Contender::Hookline => Server::hub(tools, data)?,
        Contender::Fastapi => Server::fastapi(tools, data)?,
        Contender::NatsAlways => return nats(bench, name, data, Sync::Always, figures).await,
        Contender::NatsDefault => return nats(bench, name, data, Sync::Default, figures).await,
        Contender::Redis => return redis(bench, name, data, figures).await,
        Contender::HooklineDisk | Contender::Few | Contender::Many => return Ok(()),
    };
    let (rate, cpu) = bench.load(&server)?;
    put(figures, name, "rate", rate);
    put(figures, name, "cpu_us", cpu);
    put(figures, name, "peak_mib", server.peak_mib()?);
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
    let (context, _stream) = jetstream::create(&server).await?;
    let publish = move |body| {
        let context = context.clone();
        async move { jetstream::publish(&context, body).await }
    };
    window(bench, name, &server, publish, figures).await
}

async fn redis(bench: &Bench, name: &str, data: &Path, figures: &mut Figures) -> Outcome {
    let server = Server::redis(&bench.tools, data)?;
    let connection = redis_streams::connect(&server).await?;
    let add = move |body| redis_streams::add(connection.clone(), body);
    window(bench, name, &server, add, figures).await
}

/// Publishes with a window for as long as rates are measured, after a second to warm up.
async fn window<P, F>(
    bench: &Bench,
    name: &str,
    server: &Server,
    publish: P,
    figures: &mut Figures,
) -> Outcome
where
    P: Fn(bytes::Bytes) -> F,
    F: Future<Output = Outcome>,
{
    let until = |end: Instant| {
        let numbers = (0_usize..).take_while(move |_| Instant::now() < end);
        let publishes = numbers.map(|number| publish(bench.bodies.body(number)));
        futures_util::stream::iter(publishes).buffer_unordered(WINDOW)
    };
    let mut count = 0;
    let mut warming = std::pin::pin!(until(Instant::now() + Duration::from_secs(1)));
    while let Some(published) = warming.next().await {
        published?;
    }
    let (before, began) = (server.cpu()?, Instant::now());
    let mut publishing = std::pin::pin!(until(began + Duration::from_secs(bench.seconds)));
    while let Some(published) = publishing.next().await {
        published?;
        count += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    put(figures, name, "rate", float(count) / seconds);
    put(figures, name, "cpu_us", per_event(server.cpu()? - before, float(count)));
    put(figures, name, "peak_mib", server.peak_mib()?);
    Ok(())
}
