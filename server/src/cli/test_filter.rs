//! `hookline test-filter`: what patterns and a filter take, before it counts.

use hookline_client::proto::{TestFilterRequest, TestFilterResponse};
use hookline_core::time::Timestamp;
use serde::Serialize;

use super::{
    CommandError,
    event_json::{EventJson, line},
    events::table,
    hub::Address,
    place::Place,
    put,
    screen::Screen,
    send::now,
    tail::read_pattern,
    text::{self, Colour},
};

const EXAMPLES: &str = "\
Examples:
  # How many events of the log would it take, and which?
  hookline test-filter 'github/pull_request.*' --filter 'event.payload.pull_request.draft == false'

  # Why did an agent not get this one?
  hookline test-filter 'github/*' --filter 'event.actor != \"bot\"' \\
    --event 0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a";

/// Tries patterns and a filter against the log.
///
/// Says how many events a subscription with them would take, on how many the filter fails (they would be dead letters), with
/// samples; with --event, why that one does not match. One call looks at 100,000 events, and says where to go on.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Patterns of subjects, such as `github/pull_request.*` [default: all events]
    #[arg(value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    #[command(flatten)]
    address: Address,
    /// A CEL expression that events must make true
    #[arg(long, value_name = "EXPRESSION", default_value = "", hide_default_value = true)]
    filter: String,
    /// The id of an event of which to say why it does not match
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    event: String,
    /// Where to begin: earliest, a sequence, a time, or so long ago (10m)
    #[arg(long, value_name = "POSITION", default_value = "earliest", value_parser = Place::parse)]
    from: Place,
    /// How many samples to show
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    samples: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let answer = client.events().test_filter(request(&args, now())).await;
    let answer = answer.map_err(|status| args.address.refused("test the filter", status))?;
    let answer = answer.get_ref();
    if args.json {
        return Ok(put(&line(&Told::new(&args, answer)))?);
    }
    Ok(lines(&args, answer, Screen::of_stdout()).iter().try_for_each(|line| put(line))?)
}

fn request(args: &Args, now: Timestamp) -> TestFilterRequest {
    TestFilterRequest {
        patterns: args.patterns.clone(),
        filter: args.filter.clone(),
        event_id: args.event.clone(),
        start: Some(args.from.start(now)),
        sample_size: Some(args.samples),
    }
}

/// `hookline.v1.TestFilterResponse`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    scanned_count: u64,
    matched_count: u64,
    failed_count: u64,
    failure: &'a str,
    scanned_through: u64,
    /// Whether the event of --event matches; null without it.
    event_matches: Option<bool>,
    mismatch_reason: &'a str,
    samples: Vec<EventJson<'a>>,
}

impl<'a> Told<'a> {
    fn new(args: &Args, answer: &'a TestFilterResponse) -> Self {
        Self {
            scanned_count: answer.scanned_count,
            matched_count: answer.matched_count,
            failed_count: answer.failed_count,
            failure: &answer.failure,
            scanned_through: answer.scanned_through,
            event_matches: (!args.event.is_empty()).then_some(answer.mismatch_reason.is_empty()),
            mismatch_reason: &answer.mismatch_reason,
            samples: answer.samples.iter().map(EventJson::new).collect(),
        }
    }
}

fn lines(args: &Args, answer: &TestFilterResponse, screen: Screen) -> Vec<String> {
    let mut lines = Vec::new();
    if !args.event.is_empty() {
        let (what, colour) = match answer.mismatch_reason.as_str() {
            "" => ("matches".to_owned(), Colour::Green),
            reason => (format!("does not match: {}", text::clean(reason)), Colour::Yellow),
        };
        lines.push(format!("event {} {}", text::clean(&args.event), screen.paint(colour, &what)));
    }
    let scanned = text::count(answer.scanned_count, "event");
    lines.push(format!(
        "{} of {scanned} up to sequence {} match",
        answer.matched_count, answer.scanned_through
    ));
    if answer.failed_count != 0 {
        let failure = text::clean(&answer.failure);
        let told = format!("the filter fails on {}, first with: {failure}", answer.failed_count);
        lines.push(screen.paint(Colour::Red, &told));
    }
    if SCANNED_MAX <= answer.scanned_count {
        let next = answer.scanned_through.saturating_add(1);
        lines.push(format!("there may be more: go on with --from {next}"));
    }
    if !answer.samples.is_empty() {
        lines.push(String::new());
        lines.extend(table(&answer.samples, screen));
    }
    lines
}

/// How many events one call looks at.
const SCANNED_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("test-filter").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn every_argument_gets_into_the_request() {
        let args = parse(&["a/b", "--filter", "true", "--event", "e", "--samples", "3"]).unwrap();
        let request = request(&args, Timestamp::EPOCH);
        assert_eq!((request.filter.as_str(), request.event_id.as_str()), ("true", "e"));
        assert_eq!((request.patterns.len(), request.sample_size), (1, Some(3)));
        assert!(parse(&["--samples", "101"]).is_err());
    }

    #[test]
    fn counts_failures_and_the_reason_are_told() {
        let answer = TestFilterResponse {
            scanned_count: 100_000,
            matched_count: 7,
            mismatch_reason: "the expression is false".to_owned(),
            failed_count: 2,
            failure: "no\nnumber".to_owned(),
            scanned_through: 100_004,
            ..TestFilterResponse::default()
        };
        let args = parse(&["--event", "e"]).unwrap();
        assert_eq!(
            lines(&args, &answer, Screen::PLAIN),
            [
                "event e does not match: the expression is false",
                "7 of 100000 events up to sequence 100004 match",
                "the filter fails on 2, first with: no\\nnumber",
                "there may be more: go on with --from 100005",
            ]
        );
        assert_eq!(Told::new(&args, &answer).event_matches, Some(false));
        assert_eq!(Told::new(&parse(&[]).unwrap(), &answer).event_matches, None);
    }
}
