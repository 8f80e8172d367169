//! `hookline bench backlog`: what must not grow with the number of events that wait.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{Pause, Policy},
    event::{EventType, NewEvent, SourceName, SubscriptionName},
    pattern::PatternSet,
};
use serde_json::json;

use super::{
    super::{CommandError, send::now},
    BenchError,
    crew::{Crew, Manner, PATTERN},
    load,
    meter::Meter,
    report::{Case, Figures, Report},
    stage::{Common, Stage},
    tally::Tally,
};
use crate::{
    clock::Stopwatch,
    store::{
        EventLog as _, Ledger as _, Rule, SubscriptionConfig,
        sled::{Options, SledStore},
    },
};

/// The subscription that everything waits for.
const NAME: &str = "backlog";
/// How many events are written at once.
const BATCH: u64 = 500;

const EXAMPLES: &str = "\
Examples:
  hookline bench backlog

  # Ten million, which take some minutes and gigabytes
  hookline bench backlog --waiting 10000,10000000 --data-dir /var/tmp";

/// Starts a hub on which many events wait, and lets a consumer take some of them.
///
/// The events are written into the store before the hub starts: this is always a hub of one's own. Told is how long its
/// start takes, how long the first delivery, what one delivery costs, and how much memory is resident.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// How many events wait, one number after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "10000,100000,1000000", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    waiting: Vec<u64>,
    /// How many of them are taken, at most half: as many others are on their way whatever waits
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    take: u64,
    /// How large the payloads are
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    payload_bytes: u32,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let settings = args.common.settings(json!({
            "waiting": args.waiting,
            "take": args.take,
            "payload_bytes": args.payload_bytes,
    }));
    let place = args.common.ground.place();
    let mut report = Report::new("backlog", settings, Some(&place));
    let of = |count: &u64| Case::of("waiting", *count);
    let mut cases: Vec<_> = args.waiting.iter().map(of).collect();
    for _ in 0..args.common.rounds {
        for (case, waiting) in cases.iter_mut().zip(&args.waiting) {
            case.add(&Box::pin(round(&args, *waiting)).await?);
        }
    }
    cases.into_iter().for_each(|case| report.push(case));
    report.print(args.common.json)
}

#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
async fn round(args: &Args, waiting: u64) -> Result<Figures, CommandError> {
    let ground = &args.common.ground;
    let folder = ground.folder()?;
    let run = load::new_run();
    let mut figures = Figures::default();
    let watch = Stopwatch::start();
    prepare(&folder.path().join("data"), &run, waiting, args.payload_bytes).await?;
    figures.push("written", "events/s", waiting as f64 / watch.elapsed().as_secs_f64());
    let watch = Stopwatch::start();
    let stage = Stage::own(folder, ground, &[]).await?;
    figures.push("start", "ms", watch.elapsed().as_secs_f64() * 1e3);
    if let Some(bytes) = stage.process().and_then(super::process::Process::resident) {
        figures.mebibytes("hub_memory_at_start", bytes);
    }
    let tally = Arc::new(Tally::new(&run, Stopwatch::start(), None));
    let meter = Meter::start(stage.process());
    let mut crew = Crew::default();
    crew.add(&stage.client()?, NAME, 1_000, Manner::Library, &tally).await?;
    let take = args.take.min(waiting.div_ceil(2));
    tally.until(take).await?;
    let elapsed = tally.elapsed();
    let sum = tally.sum();
    let first = sum.first_at.unwrap_or_default();
    figures.push("first_delivery", "ms", first.as_secs_f64() * 1e3);
    figures.push("rate", "events/s", sum.acked as f64 / (elapsed - first).as_secs_f64());
    figures.count("acked", "events", take);
    figures.count("came_again", "deliveries", sum.came_again);
    meter.tell(sum.acked, &mut figures);
    crew.end().await;
    stage.end(&mut figures).await?;
    Ok(figures)
}

/// Makes a store in which so many events wait for a subscription.
async fn prepare(
    data: &Path,
    run: &str,
    waiting: u64,
    payload_bytes: u32,
) -> Result<(), CommandError> {
    let store = SledStore::open(data, Options { free_percent_min: 0, ..Options::default() })?;
    let wrote = write(&store, run, waiting, payload_bytes).await;
    store.close().await;
    Ok(wrote?)
}

async fn write(
    store: &SledStore,
    run: &str,
    waiting: u64,
    payload_bytes: u32,
) -> Result<(), BenchError> {
    let failed = |error: &dyn std::fmt::Display| {
        BenchError::Failed(format!("could not write what is to wait: {error}"))
    };
    for first in (0..waiting).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let numbers = first..waiting.min(first + BATCH);
        let batch = numbers.map(|number| event(run, number, payload_bytes)).collect();
        store.append(batch, now()).await.map_err(|error| failed(&error))?;
    }
    let config = SubscriptionConfig {
        name: SubscriptionName::parse(NAME).expect("a name of small letters"),
        rule: Rule {
            patterns: PatternSet::parse([PATTERN]).expect("a pattern"),
            filter: String::new(),
        },
        earlier: Vec::new(),
        look_back: None,
        policy: Policy::default(),
        pause: Pause::Off,
        created_at: now(),
        start_after: 0,
    };
    store.create(config).await.map(drop).map_err(|error| failed(&error))
}

fn event(run: &str, number: u64, payload_bytes: u32) -> NewEvent {
    let text = format!(r#"{{"ref":"refs/heads/{number}","forced":false,"filled":""#);
    let size = usize::try_from(payload_bytes).unwrap_or_default();
    let filled = "x".repeat(size.saturating_sub(text.len() + 2));
    NewEvent {
        source: SourceName::parse("github").expect("a name of small letters"),
        event_type: EventType::parse("push").expect("a name of small letters"),
        timestamp: now(),
        actor: "octocat".into(),
        resource_type: "repository".into(),
        resource_id: format!("octo/hello-{}", number % 1_000).into(),
        payload: Bytes::from(format!("{text}{filled}\"}}")),
        metadata: [].into(),
        delivery_key: format!("{run}-{number}").into(),
        replay_window: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_json_of_the_size_that_was_asked_for() {
        let event = event("run", 7, 200);
        assert_eq!(event.payload.len(), 200);
        serde_json::from_slice::<serde_json::Value>(&event.payload).unwrap();
        assert_eq!(event.delivery_key, "run-7");
    }
}
