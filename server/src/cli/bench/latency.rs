//! `hookline bench latency`: how long an event takes from its POST to an agent.

use std::{io, sync::Arc, time::Duration};

use hookline_client::{Deliveries, Delivery};
use serde_json::json;
use tokio::time::timeout;

use super::{
    super::{CommandError, time_arg::read_duration},
    BenchError,
    bodies::{Body, Template},
    connection::Connection,
    crew::{Crew, Manner, Reader, subscribe},
    latencies::Latencies,
    load::{self, End, Plan},
    meter::Meter,
    pace::Pace,
    report::{Case, Figures, Report},
    stage::{Agents, Bodies, Common, Stage, Target, read_rate},
    tally::Tally,
};
use crate::clock::Stopwatch;

/// How many go first without being measured: connections and caches are warm then.
const WARM_UP: u64 = 50;
/// How long before the first request is due all is made ready for it.
const LEAD: Duration = Duration::from_millis(500);
/// How long an event may take.
const WAIT_MAX: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  # One at a time
  hookline bench latency

  # While 5,000 a second are posted
  hookline bench latency --rate 5000 --duration 30s

  # At a hub that runs
  hookline bench latency --url http://127.0.0.1:4150 --secret file:secret --hub http://127.0.0.1:4160";

/// Measures how long an event takes from its POST until an agent has it.
///
/// One at a time: the next one is posted when the last is acked. Or at a fixed rate, where each latency counts from when
/// its request was due, so that a stall is charged for all who were to come meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    agents: Agents,
    /// How many events, one at a time
    #[arg(long, short = 'n', value_name = "N", default_value_t = 2_000, conflicts_with = "rate", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many a second, instead of one at a time
    #[arg(long, value_name = "N", value_parser = read_rate)]
    rate: Option<f64>,
    /// For how long, at a fixed rate
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = read_duration)]
    duration: Duration,
    /// Over how many connections they are posted at a fixed rate
    #[arg(long, short, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    #[command(flatten)]
    bodies: Bodies,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let bodies = args.bodies.load()?;
    let settings = args.common.settings(json!({
        "count": args.rate.is_none().then_some(args.count),
        "rate": args.rate,
        "duration_seconds": args.rate.map(|_| args.duration.as_secs_f64()),
        "connections": args.rate.map_or(1, |_| args.connections),
    }));
    let settings = args.bodies.describe(&bodies, settings);
    let place = args.target.place(&args.common.ground);
    let mut report = Report::new("latency", settings, place.as_deref());
    let mut case = Case::only();
    for _ in 0..args.common.rounds {
        let (figures, problems) = Box::pin(round(&args, &bodies)).await?;
        case.add(&figures);
        report.problems(problems);
    }
    report.push(case);
    report.print(args.common.json)
}

async fn round(args: &Args, bodies: &[Body]) -> Result<(Figures, Vec<String>), CommandError> {
    let stage = Stage::set(&args.target, Some(&args.agents), &args.common.ground, bodies).await?;
    let run = load::new_run();
    let reader = Reader::create(stage.client()?, format!("bench-{run}")).await?;
    let mut figures = Figures::default();
    let meter = Meter::start(stage.process());
    let (count, problems) = match args.rate {
        None => {
            one_at_a_time(&stage, &reader, &run, args.count, &mut figures).await?;
            (args.count + WARM_UP, Vec::new())
        }
        Some(rate) => at_a_rate(args, Pace::of(rate), &stage, &reader, &run, &mut figures).await?,
    };
    meter.tell(count, &mut figures);
    reader.delete().await?;
    stage.end(&mut figures).await?;
    Ok((figures, problems))
}

/// Posts an event, waits until it has come and its ack is durable, and posts the next.
async fn one_at_a_time(
    stage: &Stage,
    reader: &Reader,
    run: &str,
    count: u64,
    figures: &mut Figures,
) -> Result<(), CommandError> {
    let client = stage.client()?;
    let mut deliveries = subscribe(&client, &reader.name, 1).await?;
    let (url, templates) = stage.posts();
    let failed = |source| BenchError::Machine { attempted: format!("post to `{url}`"), source };
    let address = load::resolve(url).await.map_err(failed)?;
    let mut connection = Connection::open(address).await.map_err(failed)?;
    let (mut delivered, mut posted, mut acked) =
        (Latencies::default(), Latencies::default(), Latencies::default());
    for (number, template) in (0..WARM_UP + count).zip(templates.iter().cycle()) {
        if number == WARM_UP {
            (delivered, posted, acked) = Default::default();
        }
        let id = format!("{run}-{number}");
        let watch = Stopwatch::start();
        let (answered, delivery) = tokio::join!(
            post(&mut connection, template, &id, watch),
            arrive(&mut deliveries, &id, watch)
        );
        posted.record(answered.map_err(failed)?);
        let (delivery, took) = delivery?;
        delivered.record(took);
        let watch = Stopwatch::start();
        delivery
            .ack()
            .await
            .map_err(|error| BenchError::Failed(format!("an ack failed: {error}")))?;
        acked.record(watch.elapsed());
    }
    deliveries.close().await;
    figures.count("events", "events", delivered.count());
    delivered.tell("delivery", figures);
    posted.tell("post", figures);
    acked.tell("ack", figures);
    Ok(())
}

/// Posts a webhook that must be taken; returns how long it took.
async fn post(
    connection: &mut Connection,
    template: &Template,
    id: &str,
    watch: Stopwatch,
) -> io::Result<Duration> {
    let parts = [&template.head, id.as_bytes(), &template.tail];
    match connection.exchange(parts).await?.status {
        200 => Ok(watch.elapsed()),
        status => Err(io::Error::other(format!("it was answered with {status}"))),
    }
}

/// Waits for the event with this delivery id; what others have posted is acked.
async fn arrive(
    deliveries: &mut Deliveries,
    id: &str,
    watch: Stopwatch,
) -> Result<(Delivery, Duration), BenchError> {
    let coming = async {
        while let Some(delivery) = deliveries.next().await {
            let delivery = delivery.map_err(|error| BenchError::Consumer(Box::new(error)))?;
            if delivery.event().delivery_key == id {
                return Ok((delivery, watch.elapsed()));
            }
            drop(delivery.ack());
        }
        Err(BenchError::Failed("the stream has ended".to_owned()))
    };
    let late = || BenchError::Failed(format!("an event did not come within {WAIT_MAX:?}"));
    timeout(WAIT_MAX, coming).await.unwrap_or_else(|_| Err(late()))
}

/// Posts at a fixed rate, and lets a consumer take all of it; returns how many came, and what should not have been.
#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
async fn at_a_rate(
    args: &Args,
    pace: Pace,
    stage: &Stage,
    reader: &Reader,
    run: &str,
    figures: &mut Figures,
) -> Result<(u64, Vec<String>), CommandError> {
    let watch = Stopwatch::start();
    // Enough to subscribe; else the first ones are late, which is told.
    let pace = pace.from(LEAD);
    let tally = Arc::new(Tally::new(run, watch, Some(pace)));
    let mut crew = Crew::default();
    crew.add(&stage.client()?, &reader.name, 1_000, Manner::Library, &tally).await?;
    let plan = stage.plan(args.connections, End::After(args.duration));
    let plan = Plan { pace: Some(pace), watch: Some(watch), run: run.to_owned(), ..plan };
    let outcome = load::run(plan).await?;
    tally.until(outcome.accepted()).await?;
    let sum = tally.sum();
    let over = outcome.elapsed.saturating_sub(LEAD).as_secs_f64();
    figures.push("rate", "events/s", outcome.accepted() as f64 / over);
    figures.count("accepted", "events", outcome.accepted());
    figures.count("acked", "events", sum.acked);
    tally.take_latencies().tell("delivery", figures);
    outcome.latencies.tell("post", figures);
    crew.end().await;
    Ok((sum.acked, outcome.problems()))
}
