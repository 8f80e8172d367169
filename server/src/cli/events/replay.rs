//! `hookline events replay`

use std::io::{self, IsTerminal as _};

use hookline_client::proto::{ListEventsRequest, ReplayEventsRequest, ReplayEventsResponse};
use hookline_core::time::Timestamp;
use serde::Serialize;

use super::chosen::Chosen;
use crate::{
    cli::{
        CommandError,
        confirm::Confirmation,
        event_json::line,
        hub::Address,
        put,
        send::now,
        steps::{Interrupt, bar, step},
        tail::read_pattern,
        text,
    },
    limits::{REPLAY_DEFAULT, REPLAY_MAX},
};

const EXAMPLES: &str = "\
Examples:
  # The agent did the wrong thing with this event; once it is mended, the event goes to it again
  hookline events replay --subscription triage 0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a

  # What would go again of last night? Then all of it, slowly
  hookline events replay --subscription triage --pattern 'github/issues.*' \\
      --since 2026-11-23T00:00:00Z --until 2026-11-23T06:00:00Z --dry-run
  hookline events replay --subscription triage --pattern 'github/issues.*' \\
      --since 2026-11-23T00:00:00Z --until 2026-11-23T06:00:00Z --all --rate 5

  # All that happened to one pull request, without a question
  hookline events replay -s triage --resource pull_request/octo/hello#42 --yes";

/// Sends events of the log to a subscription again.
///
/// Takes those that all given conditions hold for, oldest first, as far as the subscription's patterns and filter take them
/// now. Each is delivered anew: attempts start from 1, what was leased before settles nothing, and what happened before is
/// kept. Its position stays. Passed over, and counted, is what is open, what it has not come to yet, and what is a dead letter:
/// see `hookline dead-letters redrive`. Agents do their work again, so it asks first, with the number.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The ids of events, as `hookline events list` shows them [default: all that the conditions hold for]
    #[arg(value_name = "EVENT_ID")]
    ids: Vec<String>,
    /// The subscription that they go to
    #[arg(long, short, value_name = "NAME")]
    subscription: String,
    #[command(flatten)]
    address: Address,
    /// Only those whose subject one of these patterns takes, such as `github/pull_request.*`
    #[arg(long = "pattern", value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = REPLAY_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(REPLAY_MAX)))]
    limit: u32,
    /// All that there are now; Ctrl-C ends it after the call that runs
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// At most so many a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirmation: Confirmation,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What calls did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    replayed_count: u64,
    already_open_count: u64,
    dead_letter_count: u64,
    not_matching_count: u64,
    not_reached_count: u64,
    missing_count: u64,
    /// Where to go on: not all was looked at.
    next_sequence: Option<u64>,
}

/// How many calls came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Itself,
    Interrupted,
    Failed,
}

#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    counts: Counts,
    dry_run: bool,
    interrupted: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    // One time for all calls: what was counted is what is done.
    let request = request(&args, now())?;
    if !args.dry_run {
        args.confirmation.check()?;
    }
    let client = args.address.client()?;
    let call = async |request: ReplayEventsRequest| {
        let answer = client.subscriptions().replay_events(request).await;
        let answer = answer.map_err(|status| args.address.refused("replay events", status))?;
        Ok(answer.into_inner())
    };
    carry_out(&args, request, call).await
}

/// Makes the calls, and tells what they did.
async fn carry_out(
    args: &Args,
    mut request: ReplayEventsRequest,
    call: impl AsyncFn(ReplayEventsRequest) -> Result<ReplayEventsResponse, CommandError>,
) -> Result<(), CommandError> {
    let mut total = None;
    if args.dry_run || args.confirmation.asks() || io::stderr().is_terminal() {
        let mut counted = request.clone();
        counted.dry_run = true;
        let mut counts = Counts::default();
        let ended = Steps::counting(args).make(&mut counted, &mut counts, &call).await?;
        if args.dry_run {
            return tell(args, counts, Ok(ended));
        }
        if ended == Ended::Interrupted {
            return Err(CommandError::Interrupted);
        }
        if args.confirmation.asks() && 0 < counts.replayed_count {
            let count = text::count(counts.replayed_count, "event");
            args.confirmation.ask(&format!("Send {count} to `{}` again?", args.subscription))?;
        }
        // What came since is not meant.
        request.end_sequence = counted.end_sequence;
        total = Some(counts.replayed_count);
    }
    let mut counts = Counts::default();
    let ended = Steps::replaying(args, total).make(&mut request, &mut counts, &call).await;
    tell(args, counts, ended)
}

/// Tells what was done, also where that is not all.
fn tell(
    args: &Args,
    counts: Counts,
    ended: Result<Ended, CommandError>,
) -> Result<(), CommandError> {
    match ended {
        Ok(ended) => put(&told(args, counts, ended))?,
        Err(_) if counts == Counts::default() => {}
        // What was done is done.
        Err(_) => put(&told(args, counts, Ended::Failed))?,
    }
    match ended? {
        Ended::Itself => Ok(()),
        Ended::Interrupted | Ended::Failed => Err(CommandError::Interrupted),
    }
}

/// How calls follow each other.
struct Steps {
    /// How many events are left to be replayed.
    left: u64,
    rate: Option<u32>,
    /// For a bar.
    total: Option<u64>,
    has_ids: bool,
}

impl Steps {
    fn counting(args: &Args) -> Self {
        let left = if args.all { u64::MAX } else { args.limit.into() };
        Self { left, rate: None, total: None, has_ids: !args.ids.is_empty() }
    }

    fn replaying(args: &Args, total: Option<u64>) -> Self {
        Self { rate: args.rate, total, ..Self::counting(args) }
    }

    /// Calls until all are replayed, or nothing is left.
    async fn make(
        mut self,
        request: &mut ReplayEventsRequest,
        counts: &mut Counts,
        call: impl AsyncFn(ReplayEventsRequest) -> Result<ReplayEventsResponse, CommandError>,
    ) -> Result<Ended, CommandError> {
        let bar = self.total.map(bar);
        let mut interrupt = Interrupt::new();
        loop {
            let (most, pause) = match (request.dry_run, step(self.rate)) {
                (true, (_, pause)) => (REPLAY_MAX, pause),
                (false, step) => step,
            };
            request.limit = Some(u32::try_from(self.left).unwrap_or(u32::MAX).min(most));
            // Begun before the call, so that what the call takes is part of it.
            let pause = tokio::time::sleep(pause);
            let answer = interrupt.through(call(request.clone())).await?;
            self.left = self.left.saturating_sub(answer.replayed_count);
            request.end_sequence = Some(answer.end_sequence);
            counts.add(&answer, self.has_ids);
            if let Some(bar) = &bar {
                bar.set_position(counts.replayed_count);
            }
            let Some(next) = answer.next_sequence.filter(|_| 0 < self.left) else { break };
            request.start_sequence = Some(next);
            if interrupt.came() || interrupt.during(pause).await {
                bar.iter().for_each(indicatif::ProgressBar::abandon);
                return Ok(Ended::Interrupted);
            }
        }
        bar.iter().for_each(indicatif::ProgressBar::finish_and_clear);
        Ok(Ended::Itself)
    }
}

impl Counts {
    fn add(&mut self, answer: &ReplayEventsResponse, has_ids: bool) {
        self.replayed_count += answer.replayed_count;
        self.already_open_count += answer.already_open_count;
        self.dead_letter_count += answer.dead_letter_count;
        self.not_matching_count += answer.not_matching_count;
        self.not_reached_count += answer.not_reached_count;
        // Each call says anew which ids it has not found.
        let before = if has_ids { 0 } else { self.missing_count };
        self.missing_count = before + answer.missing_count;
        self.next_sequence = answer.next_sequence;
    }
}

fn told(args: &Args, counts: Counts, ended: Ended) -> String {
    if args.json {
        let interrupted = ended != Ended::Itself;
        return line(&Told { counts, dry_run: args.dry_run, interrupted });
    }
    let would = if args.dry_run { "would be replayed" } else { "replayed" };
    let mut told = format!("{} {would}", text::count(counts.replayed_count, "event"));
    let passed_over = [
        (counts.already_open_count, "open"),
        (counts.dead_letter_count, "dead: see `hookline dead-letters redrive`"),
        (counts.not_matching_count, "not what the subscription takes"),
        (counts.not_reached_count, "still ahead of it"),
        (counts.missing_count, "not in the log"),
    ];
    let passed_over = passed_over.iter().filter(|(count, _)| 0 < *count);
    let passed_over: Vec<_> = passed_over.map(|(count, why)| format!("{count} {why}")).collect();
    if !passed_over.is_empty() {
        told = format!("{told}; passed over: {}", passed_over.join(", "));
    }
    if let Some(next) = counts.next_sequence {
        told = format!("{told}; there may be more from {next} on");
    }
    told
}

fn request(args: &Args, now: Timestamp) -> Result<ReplayEventsRequest, CommandError> {
    let chosen = args.chosen.request(&args.patterns, now)?;
    if args.ids.is_empty() && chosen == ListEventsRequest::default() {
        let told = "say which events: their ids, or conditions such as --pattern, --filter, --since; \
                    `--from 1` is all of the log";
        return Err(CommandError::Usage(told.to_owned()));
    }
    Ok(ReplayEventsRequest {
        subscription: args.subscription.clone(),
        event_ids: args.ids.clone(),
        patterns: chosen.patterns,
        filter: chosen.filter,
        start_time: chosen.start_time,
        end_time: chosen.end_time,
        start_sequence: chosen.start_sequence,
        end_sequence: chosen.end_sequence,
        resource_type: chosen.resource_type,
        resource_id: chosen.resource_id,
        actor: chosen.actor,
        limit: None,
        dry_run: args.dry_run,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("replay").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments.split_whitespace())?)
    }

    fn asked(arguments: &str) -> Result<ReplayEventsRequest, CommandError> {
        let now = Timestamp::EPOCH + std::time::Duration::from_secs(1_000);
        let args = parse(arguments).map_err(|error| CommandError::Usage(error.to_string()))?;
        request(&args, now)
    }

    #[test]
    fn every_flag_gets_into_the_request() {
        let request = asked(
            "-s triage a b --pattern github/* --filter true --resource issue/x#4 --actor mona \
             --from 7 --until 10m --dry-run",
        );
        let expected = ReplayEventsRequest {
            subscription: "triage".to_owned(),
            event_ids: vec!["a".to_owned(), "b".to_owned()],
            patterns: vec!["github/*".to_owned()],
            filter: "true".to_owned(),
            start_time: None,
            end_time: Some(prost_types::Timestamp { seconds: 400, nanos: 0 }),
            start_sequence: Some(7),
            end_sequence: None,
            resource_type: "issue".to_owned(),
            resource_id: "x#4".to_owned(),
            actor: "mona".to_owned(),
            limit: None,
            dry_run: true,
        };
        assert_eq!(request.unwrap(), expected);
    }

    #[test]
    fn which_events_must_be_said_and_to_whom() {
        assert!(asked("-s triage").is_err() && asked("-s triage --from earliest").is_err());
        assert_eq!(asked("-s triage --from 1").unwrap().start_sequence, Some(1));
        for wrong in ["a", "-s x a --limit 0", "-s x a --limit 10001", "-s x a --all -n 7"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// A hub whose log has so many events, of which a call looks at ten at most and that come meanwhile; returns what was
    /// asked: limit, start and end, and whether only to count.
    async fn calls(
        arguments: &str,
        events: u64,
        fails_at: Option<usize>,
    ) -> (Vec<(u32, u64, u64, bool)>, bool) {
        let asks = RefCell::new(Vec::new());
        let call = async |request: ReplayEventsRequest| {
            let log = events + asks.borrow().len() as u64;
            let start = request.start_sequence.unwrap_or(1);
            let end = request.end_sequence.unwrap_or(log + 1);
            let limit = request.limit.unwrap();
            if fails_at == Some(asks.borrow().len()) {
                return Err(CommandError::Usage("the hub is away".to_owned()));
            }
            asks.borrow_mut().push((limit, start, end, request.dry_run));
            let next = end.min(start + 10).min(start + u64::from(limit));
            Ok(ReplayEventsResponse {
                replayed_count: next - start,
                next_sequence: (next < end).then_some(next),
                end_sequence: end,
                ..ReplayEventsResponse::default()
            })
        };
        let args = parse(arguments).unwrap();
        let request = request(&args, Timestamp::EPOCH).unwrap();
        let done = carry_out(&args, request, call).await.is_ok();
        (asks.into_inner(), done)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_goes_on_where_the_one_before_ended_up_to_the_end_of_then() {
        let (asks, done) = calls("-s x --from 1 --yes --all --rate 8", 20, None).await;
        assert!(done);
        assert_eq!(asks, [(8, 1, 21, false), (8, 9, 21, false), (8, 17, 21, false)]);
        let (asks, _) = calls("-s x --from 1 --dry-run --all", 15, None).await;
        assert_eq!(asks, [(REPLAY_MAX, 1, 16, true), (REPLAY_MAX, 11, 16, true)]);
        let (asks, _) = calls("-s x --from 1 --yes -n 12", 30, None).await;
        assert_eq!(asks, [(12, 1, 31, false), (2, 11, 31, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_is_the_last() {
        let (asks, done) = calls("-s x --from 1 --yes --all", 30, Some(2)).await;
        assert_eq!((asks.len(), done), (2, false));
    }

    #[test]
    fn what_was_passed_over_is_told_with_the_reason() {
        let args = parse("-s x a").unwrap();
        let counts = Counts { replayed_count: 1, ..Counts::default() };
        assert_eq!(told(&args, counts, Ended::Itself), "1 event replayed");
        let counts = Counts {
            replayed_count: 2,
            already_open_count: 3,
            dead_letter_count: 1,
            not_matching_count: 4,
            not_reached_count: 5,
            missing_count: 6,
            next_sequence: Some(40),
        };
        assert_eq!(
            told(&args, counts, Ended::Itself),
            "2 events replayed; passed over: 3 open, 1 dead: see `hookline dead-letters redrive`, 4 not \
             what the subscription takes, 5 still ahead of it, 6 not in the log; there may be more from 40 \
             on"
        );
        let args = parse("-s x a --dry-run --json").unwrap();
        assert_eq!(
            told(&args, Counts::default(), Ended::Itself),
            r#"{"replayed_count":0,"already_open_count":0,"dead_letter_count":0,"not_matching_count":0,"not_reached_count":0,"missing_count":0,"next_sequence":null,"dry_run":true,"interrupted":false}"#
        );
    }
}
