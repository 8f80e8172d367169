//! `hookline bench soak`: a hub at work for long, while its consumers come and go.

mod verdict;

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::verdict::{Ended, Interval, verdict};
use super::{
    super::{CommandError, say, time_arg::read_duration},
    BenchError,
    bodies::Body,
    crew::{self, Reader},
    load::{self, End, Outcome, Plan},
    meter::Meter,
    pace::Pace,
    process::Process,
    report::{Case, Figures, Report},
    stage::{Agents, Bodies, Common, Stage, Target, read_rate},
    tally::Tally,
};
use crate::clock::Stopwatch;

/// How long before the first request is due all is made ready for it.
const LEAD: Duration = Duration::from_millis(500);
/// How often, and how many times, it is looked at whether all deliveries are done: for a minute.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LOOK_COUNT_MAX: u32 = 600;

const EXAMPLES: &str = "\
Examples:
  # A minute, to see it
  hookline bench soak --duration 1m

  # A night, with a line of JSON at its end
  hookline bench soak --duration 8h --rate 1000 --json > soak.json

  # The same restarts again
  hookline bench soak --seed 7";

/// Posts at a fixed rate for long, while consumers work and are started again and again, and says whether all is well.
///
/// At moments of chance, the same for the same seed, a consumer goes and another takes its place: it closes its stream, or
/// drops all it has. Every interval tells latencies, from when a request was due until an agent has it, and the memory of
/// the hub. At the end all that was accepted has to be acked. The exit code is 1 if an event is lost, if a webhook is not
/// answered with 200, or if the hub's memory goes on growing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    agents: Agents,
    /// How long webhooks are posted
    #[arg(long, short, value_name = "TIME", default_value = "10m", value_parser = read_duration)]
    duration: Duration,
    /// How many a second
    #[arg(long, value_name = "N", default_value = "500", value_parser = read_rate)]
    rate: f64,
    /// Over how many connections they are posted
    #[arg(long, short, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// How many consumers share the events
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    consumers: u16,
    /// How long a consumer lives, on average
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = read_duration)]
    lifetime: Duration,
    /// Of how long the latencies and the memory are told
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = read_duration)]
    interval: Duration,
    #[command(flatten)]
    bodies: Bodies,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let bodies = args.bodies.load()?;
    let settings = args.common.settings(json!({
        "duration_seconds": args.duration.as_secs_f64(),
        "rate": args.rate,
        "connections": args.connections,
        "consumers": args.consumers,
        "lifetime_seconds": args.lifetime.as_secs_f64(),
        "interval_seconds": args.interval.as_secs_f64(),
    }));
    let settings = args.bodies.describe(&bodies, settings);
    let place = args.target.place(&args.common.ground);
    let mut report = Report::new("soak", settings, place.as_deref());
    for round in 0..args.common.rounds {
        Box::pin(soak(&args, &bodies, args.bodies.seed + u64::from(round), &mut report)).await?;
    }
    report.print(args.common.json)
}

/// What the parts of a soak have in common.
struct Bench {
    stage: Stage,
    reader: Reader,
    tally: Arc<Tally>,
    stop: CancellationToken,
}

async fn soak<S: serde::Serialize>(
    args: &Args,
    bodies: &[Body],
    seed: u64,
    report: &mut Report<S>,
) -> Result<(), CommandError> {
    let stage = Stage::set(&args.target, Some(&args.agents), &args.common.ground, bodies).await?;
    let run = load::new_run();
    let reader = Reader::create(stage.client()?, format!("bench-{run}")).await?;
    let (watch, pace) = (Stopwatch::start(), Pace::of(args.rate).from(LEAD));
    let tally = Arc::new(Tally::new(&run, watch, Some(pace)));
    let bench = Bench { stage, reader, tally, stop: CancellationToken::new() };
    let plan = bench.stage.plan(args.connections, End::After(args.duration));
    let plan = Plan { pace: Some(pace), watch: Some(watch), run, ..plan };
    let meter = Meter::start(bench.stage.process());
    let posting = async {
        let outcome = load::run(plan).await;
        let left = match &outcome {
            Ok(outcome) => settle(&bench, outcome.accepted()).await,
            Err(_) => Ok(0),
        };
        bench.stop.cancel();
        Ok::<_, CommandError>((outcome?, left?))
    };
    let (outcome, restarts, intervals) =
        tokio::join!(posting, restart(args, &bench, seed), watch_over(args, &bench));
    let ((outcome, left), restarts) = (outcome?, restarts?);
    let ended = Ended { accepted: outcome.accepted(), came: bench.tally.sum().came, open: left };
    conclude(&bench, &outcome, ended, restarts, &intervals, &meter, report);
    bench.reader.delete().await?;
    bench.stage.end(&mut Figures::default()).await
}

/// Waits until all that was accepted has come, and nothing is open; returns how much is open all the same.
async fn settle(bench: &Bench, accepted: u64) -> Result<u64, BenchError> {
    // What never comes is told by the verdict.
    bench.tally.until_came(accepted).await.ok();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    for _ in 0..LOOK_COUNT_MAX {
        looks.tick().await;
        if bench.reader.open_count().await? == 0 {
            return Ok(0);
        }
    }
    bench.reader.open_count().await
}

/// Adds what was measured, and what is wrong with it.
fn conclude<S: serde::Serialize>(
    bench: &Bench,
    outcome: &Outcome,
    ended: Ended,
    restarts: u64,
    intervals: &[(Interval, Figures)],
    meter: &Meter,
    report: &mut Report<S>,
) {
    for (number, (_, figures)) in (1..).zip(intervals) {
        let mut case = Case::of("interval", number);
        case.add(figures);
        report.push(case);
    }
    let sum = bench.tally.sum();
    let mut figures = Figures::default();
    figures.count("accepted", "events", ended.accepted);
    figures.count("came", "events", ended.came);
    figures.count("lost", "events", ended.lost());
    figures.count("left_open", "events", ended.open);
    figures.count("came_again", "deliveries", sum.came_again);
    figures.count("restarts", "restarts", restarts);
    outcome.latencies.tell("post", &mut figures);
    meter.tell(ended.came, &mut figures);
    let mut total = Case::only();
    total.add(&figures);
    report.push(total);
    let intervals: Vec<_> = intervals.iter().map(|(interval, _)| *interval).collect();
    report.problems(outcome.problems());
    report.problems(verdict(ended, &intervals));
}

/// Keeps consumers at work, each for a time of chance, until it is told to stop. Returns how often one was replaced.
async fn restart(args: &Args, bench: &Bench, seed: u64) -> Result<u64, CommandError> {
    let mut consumers = JoinSet::new();
    for number in 0..args.consumers {
        let random = Rng::with_seed(seed.wrapping_add(u64::from(number)));
        let client = bench.stage.client()?;
        let place = Place {
            client,
            name: bench.reader.name.clone(),
            tally: Arc::clone(&bench.tally),
            stop: bench.stop.clone(),
            lifetime: args.lifetime,
        };
        consumers.spawn(place.fill(random));
    }
    let mut restarts = 0;
    while let Some(ended) = consumers.join_next().await {
        match ended {
            Ok(Ok(count)) => restarts += count,
            Ok(Err(error)) => {
                bench.stop.cancel();
                return Err(error.into());
            }
            Err(error) => return Err(BenchError::Failed(error.to_string()).into()),
        }
    }
    Ok(restarts)
}

/// The place of a consumer, which is filled again when one goes.
struct Place {
    client: hookline_client::Client,
    name: String,
    tally: Arc<Tally>,
    stop: CancellationToken,
    lifetime: Duration,
}

impl Place {
    async fn fill(self, mut random: Rng) -> Result<u64, BenchError> {
        let mut restarts = 0;
        loop {
            let deliveries = crew::subscribe(&self.client, &self.name, 100).await?;
            let stop = self.stop.child_token();
            let work = crew::consume(deliveries, Arc::clone(&self.tally), stop.clone());
            let lives = self.lifetime.mul_f64(2.0 * random.f64());
            let mut work = Box::pin(work);
            let ended = tokio::time::timeout(lives, &mut work).await.is_ok();
            if ended || self.stop.is_cancelled() {
                if !ended {
                    work.await;
                }
                return Ok(restarts);
            }
            restarts += 1;
            if random.bool() {
                // As a program that stops: what it has is settled first.
                stop.cancel();
                work.await;
            } else {
                // As one that has gone wrong: what it has goes back.
                drop(work);
            }
        }
    }
}

/// Looks at the end of each interval until it is told to stop.
async fn watch_over(args: &Args, bench: &Bench) -> Vec<(Interval, Figures)> {
    let mut intervals = Vec::new();
    let mut acked_before = 0;
    loop {
        let over = tokio::time::timeout(args.interval, bench.stop.cancelled()).await.is_ok();
        let (figures, interval) = look(bench, &mut acked_before);
        if over && !intervals.is_empty() {
            // The last is cut short: its rate means nothing, and its figures are part of the total.
            return intervals;
        }
        if !args.common.json {
            say(&interval.line(bench.tally.elapsed()));
        }
        intervals.push((interval, figures));
        if over {
            return intervals;
        }
    }
}

fn look(bench: &Bench, acked_before: &mut u64) -> (Figures, Interval) {
    let mut figures = Figures::default();
    let latencies = bench.tally.take_latencies();
    let acked = bench.tally.sum().acked;
    let resident = bench.stage.process().and_then(Process::resident);
    let interval = Interval {
        acked: acked - std::mem::replace(acked_before, acked),
        p50_micros: latencies.micros_at(0.5),
        p99_micros: latencies.micros_at(0.99),
        resident,
    };
    figures.count("acked", "events", interval.acked);
    latencies.tell("delivery", &mut figures);
    if let Some(bytes) = resident {
        figures.mebibytes("hub_memory", bytes);
    }
    (figures, interval)
}
