//! `hookline bench fanout`: what it costs that many subscriptions take the same events.

use std::sync::Arc;

use serde_json::json;

use super::{
    super::CommandError,
    bodies::Body,
    crew::{Crew, Manner, Reader},
    load::{self, End, Plan},
    meter::Meter,
    report::{Case, Figures, Report},
    stage::{Agents, Bodies, Common, Stage, Target},
    tally::Tally,
};
use crate::clock::Stopwatch;

/// How many subscriptions share a connection of HTTP/2: servers take some 200 streams on one.
const STREAMS_EACH: usize = 50;
/// The fewest and the most events of one case, whatever the number of deliveries.
const EVENTS_LEAST: u64 = 20;
const EVENTS_MOST: u64 = 50_000;

const EXAMPLES: &str = "\
Examples:
  hookline bench fanout

  # Two numbers of subscriptions, in three rounds
  hookline bench fanout --subscriptions 1,200 --rounds 3";

/// Posts events while many subscriptions take all of them, each with a consumer of its own.
///
/// What is timed is from the first post to the last ack that is durable. Each event has to come to each subscription and to
/// be acked, else the exit code is 1. With more subscriptions fewer events are posted, so that deliveries stay as many.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    agents: Agents,
    /// How many subscriptions, one number after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,10,100,1000", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    subscriptions: Vec<u64>,
    /// How many deliveries in all, about
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    deliveries: u64,
    /// How many connections post
    #[arg(long, short, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    #[command(flatten)]
    bodies: Bodies,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let bodies = args.bodies.load()?;
    let settings = args.common.settings(json!({
        "subscriptions": args.subscriptions,
        "deliveries": args.deliveries,
        "connections": args.connections,
    }));
    let settings = args.bodies.describe(&bodies, settings);
    let place = args.target.place(&args.common.ground);
    let mut report = Report::new("fanout", settings, place.as_deref());
    let of = |count: &u64| Case::of("subscriptions", *count);
    let mut cases: Vec<_> = args.subscriptions.iter().map(of).collect();
    // In turns, so that what the machine does meanwhile falls on all of them.
    for _ in 0..args.common.rounds {
        for (case, count) in cases.iter_mut().zip(&args.subscriptions) {
            let (figures, problems) = Box::pin(round(&args, &bodies, *count)).await?;
            case.add(&figures);
            report.problems(problems);
        }
    }
    cases.into_iter().for_each(|case| report.push(case));
    report.print(args.common.json)
}

async fn round(
    args: &Args,
    bodies: &[Body],
    subscriptions: u64,
) -> Result<(Figures, Vec<String>), CommandError> {
    let stage = Stage::set(&args.target, Some(&args.agents), &args.common.ground, bodies).await?;
    let run = load::new_run();
    let watch = Stopwatch::start();
    let (mut crew, mut all) = (Crew::default(), Vec::new());
    let mut client = stage.client()?;
    for number in 0..usize::try_from(subscriptions).unwrap_or(usize::MAX) {
        if number % STREAMS_EACH == 0 {
            client = stage.client()?;
        }
        let reader = Reader::create(client.clone(), format!("bench-{number}-{run}")).await?;
        let tally = Arc::new(Tally::new(&run, watch, None));
        crew.add(&client, &reader.name, 100, Manner::Library, &tally).await?;
        all.push((reader, tally));
    }
    let count = (args.deliveries / subscriptions).clamp(EVENTS_LEAST, EVENTS_MOST);
    let plan = Plan { run, ..stage.plan(args.connections, End::Count(count)) };
    let (began, meter) = (watch.elapsed(), Meter::start(stage.process()));
    let outcome = load::run(plan).await?;
    for (_, tally) in &all {
        tally.until(outcome.accepted()).await?;
    }
    let mut figures = Figures::default();
    let tallies: Vec<_> = all.iter().map(|(_, tally)| tally.sum()).collect();
    let deliveries: u64 = tallies.iter().map(|sum| sum.acked).sum();
    let ended = tallies.iter().map(|sum| sum.last_at).max().unwrap_or_default();
    let seconds = ended.saturating_sub(began).as_secs_f64();
    rate(&mut figures, "rate", "deliveries/s", deliveries, seconds);
    rate(&mut figures, "events_rate", "events/s", outcome.accepted(), seconds);
    figures.count("accepted", "events", outcome.accepted());
    figures.count("acked", "deliveries", deliveries);
    figures.count("came_again", "deliveries", tallies.iter().map(|sum| sum.came_again).sum());
    figures.push("elapsed", "s", seconds);
    meter.tell(deliveries, &mut figures);
    crew.end().await;
    for (reader, _) in &all {
        reader.delete().await?;
    }
    stage.end(&mut figures).await?;
    Ok((figures, outcome.problems()))
}

#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
fn rate(figures: &mut Figures, name: &'static str, unit: &'static str, count: u64, seconds: f64) {
    figures.push(name, unit, count as f64 / seconds);
}
