//! `hookline bench ingest`: how many webhooks a second are taken.

use std::time::Duration;

use serde_json::json;

use super::{
    super::{CommandError, time_arg::read_duration},
    bodies::Body,
    load::{self, End, Outcome, Plan},
    meter::Meter,
    pace::Pace,
    report::{Case, Figures, Report},
    stage::{Bodies, Common, Stage, Target, read_rate},
};

const EXAMPLES: &str = "\
Examples:
  # A hub of one's own, three times
  hookline bench ingest --rounds 3

  # Bodies of one's own, at a fixed rate: how late are the answers?
  hookline bench ingest --bodies payloads/github --rate 5000 --duration 30s

  # Anything that takes POST /webhooks/github, as JSON
  hookline bench ingest --url http://127.0.0.1:8000 --secret plain:top --json";

/// Posts signed GitHub webhooks as fast as they are taken, or at a fixed rate.
///
/// All connections stay open, and each waits for its answer before it posts again. Anything but 200 is an error: it is
/// counted by status, and the exit code is 1. At a fixed rate latencies count from when a request was due.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    target: Target,
    /// How many connections
    #[arg(long, short, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// How long each round takes
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = read_duration)]
    duration: Duration,
    /// How many webhooks each round posts, instead of for some time
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How many a second, all connections together [default: as fast as they are answered]
    #[arg(long, value_name = "N", value_parser = read_rate)]
    rate: Option<f64>,
    #[command(flatten)]
    bodies: Bodies,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let bodies = args.bodies.load()?;
    let settings = args.common.settings(json!({
        "connections": args.connections,
        "duration_seconds": args.count.is_none().then_some(args.duration.as_secs_f64()),
        "count": args.count,
        "rate": args.rate,
    }));
    let settings = args.bodies.describe(&bodies, settings);
    let place = args.target.place(&args.common.ground);
    let mut report = Report::new("ingest", settings, place.as_deref());
    let mut case = Case::only();
    for _ in 0..args.common.rounds {
        let (figures, outcome) = round(&args, &bodies).await?;
        case.add(&figures);
        report.problems(outcome.problems());
    }
    report.push(case);
    report.print(args.common.json)
}

async fn round(args: &Args, bodies: &[Body]) -> Result<(Figures, Outcome), CommandError> {
    let stage = Stage::set(&args.target, None, &args.common.ground, bodies).await?;
    let end = args.count.map_or(End::After(args.duration), End::Count);
    let plan = Plan { pace: args.rate.map(Pace::of), ..stage.plan(args.connections, end) };
    let meter = Meter::start(stage.process());
    let outcome = load::run(plan).await?;
    let mut figures = Figures::default();
    tell(&outcome, &mut figures);
    meter.tell(outcome.accepted(), &mut figures);
    stage.end(&mut figures).await?;
    Ok((figures, outcome))
}

#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
fn tell(outcome: &Outcome, figures: &mut Figures) {
    let seconds = outcome.elapsed.as_secs_f64();
    let accepted = outcome.accepted();
    figures.push("rate", "events/s", accepted as f64 / seconds);
    figures.push("throughput", "MiB/s", outcome.bytes as f64 / seconds / 1_048_576.0);
    figures.count("accepted", "events", accepted);
    let others = outcome.statuses.iter().filter(|(status, _)| **status != 200);
    figures.count("other_statuses", "requests", others.map(|(_, count)| count).sum());
    figures.count("unanswered", "requests", outcome.unanswered.values().sum());
    figures.count("unsent", "requests", outcome.unsent);
    figures.push("elapsed", "s", seconds);
    outcome.latencies.tell("latency", figures);
}
