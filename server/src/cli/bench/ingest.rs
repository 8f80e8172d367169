//! `hookline bench ingest`: how many webhooks a second are taken.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::Uri;
use serde::Serialize;

use super::{
    super::{
        CommandError,
        send::{SecretSpec, read_url},
        time_arg::read_duration,
    },
    BenchError,
    bodies::{self, Template},
    hub::{self, Ground, Meter, OwnHub},
    load::{self, End, Outcome, Plan},
    process::Process,
    report::{Case, Figures, Report},
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
    /// Where to post; of an address without a path `/webhooks/github` [default: a hub of one's own]
    #[arg(long, value_parser = read_target, conflicts_with = "data_dir")]
    url: Option<Uri>,
    /// What to sign with at --url: env:NAME, file:PATH or plain:TEXT
    #[arg(long, requires = "url")]
    secret: Option<SecretSpec>,
    /// The process that answers at --url, for its memory and processor's time
    #[arg(long, requires = "url")]
    pid: Option<u32>,
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
    /// A folder of JSON files to post, named for their events: `pull_request.opened.json` [default: made up like GitHub's]
    #[arg(long, value_name = "FOLDER")]
    bodies: Option<PathBuf>,
    /// What made-up bodies are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many rounds, each with a new hub
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    #[command(flatten)]
    ground: Ground,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was asked for, as the report tells it.
#[derive(Debug, Serialize)]
struct Settings {
    url: Option<String>,
    connections: u16,
    duration_seconds: Option<f64>,
    count: Option<u64>,
    rate: Option<f64>,
    bodies: &'static str,
    bodies_count: usize,
    bodies_mean_bytes: usize,
    seed: u64,
    rounds: u16,
    cache: String,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let bodies = bodies::bodies(args.bodies.as_deref(), args.seed)?;
    let total: usize = bodies.iter().map(|body| body.bytes.len()).sum();
    let settings = Settings {
        url: args.url.as_ref().map(ToString::to_string),
        connections: args.connections,
        duration_seconds: args.count.is_none().then_some(args.duration.as_secs_f64()),
        count: args.count,
        rate: args.rate,
        bodies: if args.bodies.is_some() { "folder" } else { "made up" },
        bodies_count: bodies.len(),
        bodies_mean_bytes: total / bodies.len().max(1),
        seed: args.seed,
        rounds: args.rounds,
        cache: args.ground.cache().to_owned(),
    };
    let place = args.url.is_none().then(|| args.ground.place());
    let mut report = Report::new("ingest", settings, place.as_deref());
    let mut case = Case::only();
    for _ in 0..args.rounds {
        let (figures, problems) = round(&args, &bodies).await?;
        case.add(&figures);
        problems.into_iter().for_each(|problem| report.problem(problem));
    }
    report.push(case);
    report.print(args.json)
}

/// Runs one round; returns what was measured, and what should not have been.
async fn round(
    args: &Args,
    bodies: &[bodies::Body],
) -> Result<(Figures, Vec<String>), CommandError> {
    if let Some(url) = &args.url {
        let secret =
            args.secret.as_ref().map_or_else(|| Ok(hub::own_secret()), SecretSpec::read)?;
        let templates = bodies::templates(bodies, url, &secret)?;
        return Ok(measure(args, url.clone(), templates, args.pid.map(Process::of)).await?);
    }
    let folder = args.ground.folder()?;
    let hub = OwnHub::start(folder.path(), &args.ground).await?;
    let url = read_target(&hub.webhooks()).map_err(BenchError::Failed)?;
    let templates = bodies::templates(bodies, &url, &hub::own_secret())?;
    let (mut figures, problems) = measure(args, url, templates, Some(hub.process())).await?;
    hub.stop().await?;
    hub::tell_disk(folder.path(), &mut figures);
    Ok((figures, problems))
}

async fn measure(
    args: &Args,
    url: Uri,
    templates: Vec<Template>,
    process: Option<Process>,
) -> Result<(Figures, Vec<String>), BenchError> {
    let plan = Plan {
        url,
        templates: Arc::from(templates),
        connections: args.connections.into(),
        end: args.count.map_or(End::After(args.duration), End::Count),
        rate: args.rate,
    };
    let meter = Meter::start(process);
    let outcome = load::run(plan).await?;
    let mut figures = Figures::default();
    tell(&outcome, &mut figures);
    meter.tell(outcome.accepted(), &mut figures);
    Ok((figures, outcome.problems()))
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
    outcome.latencies.tell(figures);
}

/// Reads an address of plain HTTP; without a path it is that of GitHub's webhooks.
fn read_target(text: &str) -> Result<Uri, String> {
    let url = read_url(text)?;
    if url.scheme_str() != Some("http") {
        return Err("the load is plain HTTP: only `http://` is spoken here".to_owned());
    }
    match (url.authority(), url.path()) {
        (Some(authority), "" | "/") => format!("http://{authority}/webhooks/github")
            .parse()
            .map_err(|error| format!("{error}")),
        _ => Ok(url),
    }
}

fn read_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.001..=1e6).contains(&rate) {
        Ok(rate)
    } else {
        Err("0.001 to 1,000,000 a second".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_that_of_githubs_webhooks() {
        let read = |text: &str| read_target(text).map(|url| url.to_string());
        assert_eq!(read("127.0.0.1:8000").unwrap(), "http://127.0.0.1:8000/webhooks/github");
        assert_eq!(read("http://a/").unwrap(), "http://a/webhooks/github");
        assert_eq!(read("http://a/b?c=d").unwrap(), "http://a/b?c=d");
        assert!(read("https://a").is_err());
    }

    #[test]
    fn a_rate_is_more_than_nothing() {
        assert_eq!(read_rate("0.5"), Ok(0.5));
        assert!(read_rate("0").is_err() && read_rate("NaN").is_err() && read_rate("x").is_err());
    }
}
