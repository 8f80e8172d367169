//! `hookline bench deliver`: how many events a second consumers take and ack.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    super::CommandError,
    BenchError,
    bodies::Body,
    crew::{Crew, Manner, Reader},
    load::{self, End, Plan},
    meter::Meter,
    report::{Case, Figures, Report},
    stage::{Agents, Bodies, Common, Stage, Target},
    tally::Tally,
};
use crate::clock::Stopwatch;

/// How many connections post what is delivered.
const POSTING: u16 = 64;

const EXAMPLES: &str = "\
Examples:
  # Events that the hub still has in memory, in waves
  hookline bench deliver

  # 200,000 events that wait on the disk when the hub starts
  hookline bench deliver --backlog --count 200000

  # Four consumers on the bare contract, at a hub that runs
  hookline bench deliver --raw --consumers 4 --url http://127.0.0.1:4150 \\
    --secret file:secret --hub http://127.0.0.1:4160";

/// Lets consumers take and ack events as fast as they can.
///
/// Events are posted first, while the subscription is paused: in waves that the hub still has in memory, or all of them,
/// after which a hub of one's own is started again. What is timed is from the end of the pause to the last ack that is
/// durable. Each event has to come and to be acked, else the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    agents: Agents,
    /// How many events
    #[arg(long, short = 'n', value_name = "N", default_value_t = 40_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many consumers share them, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    consumers: u16,
    /// How many events each consumer has at once
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    max_in_flight: u16,
    /// Consume through the generated client of the contract instead of the client library
    #[arg(long)]
    raw: bool,
    /// Post all events before any is consumed
    #[arg(long, conflicts_with = "wave")]
    backlog: bool,
    /// How many events are posted before they are consumed
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = clap::value_parser!(u64).range(1..))]
    wave: u64,
    #[command(flatten)]
    bodies: Bodies,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let bodies = args.bodies.load()?;
    let settings = args.common.settings(json!({
        "count": args.count,
        "consumers": args.consumers,
        "max_in_flight": args.max_in_flight,
        "through": if args.raw { "contract" } else { "library" },
        "events": if args.backlog { "backlog" } else { "memory" },
        "wave": (!args.backlog).then_some(args.wave),
    }));
    let settings = args.bodies.describe(&bodies, settings);
    let place = args.target.place(&args.common.ground);
    let mut report = Report::new("deliver", settings, place.as_deref());
    let mut case = Case::only();
    for _ in 0..args.common.rounds {
        case.add(&Box::pin(round(&args, &bodies)).await?);
    }
    report.push(case);
    report.print(args.common.json)
}

/// A run under way: how much of it is posted, and how long consuming it took.
struct Run {
    stage: Stage,
    reader: Reader,
    tally: Arc<Tally>,
    run: String,
    posted: u64,
    consuming: Duration,
}

async fn round(args: &Args, bodies: &[Body]) -> Result<Figures, CommandError> {
    let stage = Stage::set(&args.target, Some(&args.agents), &args.common.ground, bodies).await?;
    let run = load::new_run();
    let reader = Reader::create(stage.client()?, format!("bench-{run}")).await?;
    let tally = Arc::new(Tally::new(&run, Stopwatch::start(), None));
    let mut run = Run { stage, reader, tally, run, posted: 0, consuming: Duration::ZERO };
    let wave = if args.backlog { args.count } else { args.wave };
    run.post(wave.min(args.count)).await?;
    if args.backlog {
        run.stage = run.stage.restart().await?;
        run.reader = run.reader.through(run.stage.client()?);
    }
    let mut crew = Crew::default();
    let manner = if args.raw { Manner::Raw } else { Manner::Library };
    for _ in 0..args.consumers {
        let (client, name) = (run.stage.client()?, &run.reader.name);
        crew.add(&client, name, args.max_in_flight, manner, &run.tally).await?;
    }
    let mut figures = Figures::default();
    let meter = Meter::start(run.stage.process());
    let first = run.consume().await?;
    while run.posted < args.count {
        run.post(wave.min(args.count - run.posted)).await?;
        run.consume().await?;
    }
    tell(&run, first, &mut figures);
    if args.backlog {
        // Else the processors' time is also that of posting.
        meter.tell(run.posted, &mut figures);
    }
    crew.end().await;
    run.reader.delete().await?;
    run.stage.end(&mut figures).await?;
    Ok(figures)
}

impl Run {
    /// Posts so many events while the subscription is paused.
    async fn post(&mut self, count: u64) -> Result<(), BenchError> {
        self.reader.pause().await?;
        let plan = self.stage.plan(POSTING, End::Count(count));
        let posted = load::run(Plan { run: self.run.clone(), first: self.posted, ..plan }).await?;
        if let Some(problem) = posted.problems().into_iter().next() {
            return Err(BenchError::Failed(format!("not all events could be posted: {problem}")));
        }
        self.posted += count;
        Ok(())
    }

    /// Lets the consumers take all that was posted; returns after how long the first event came, at its first call.
    async fn consume(&mut self) -> Result<Option<Duration>, BenchError> {
        let began = self.tally.elapsed();
        self.reader.resume().await?;
        self.tally.until(self.posted).await?;
        let sum = self.tally.sum();
        self.consuming += sum.last_at.saturating_sub(began);
        Ok(sum.first_at.map(|at| at.saturating_sub(began)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
fn tell(run: &Run, first: Option<Duration>, figures: &mut Figures) {
    let sum = run.tally.sum();
    figures.push("rate", "events/s", sum.acked as f64 / run.consuming.as_secs_f64());
    figures.count("posted", "events", run.posted);
    figures.count("acked", "events", sum.acked);
    figures.count("came_again", "deliveries", sum.came_again);
    figures.push("elapsed", "s", run.consuming.as_secs_f64());
    if let Some(first) = first {
        figures.push("first_delivery", "ms", first.as_secs_f64() * 1e3);
    }
}
