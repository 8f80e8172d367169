//! `hookline dead-letters redrive`

use clap::ValueEnum;
use hookline_client::proto::{
    DeadLetterReason, DeadLetterSelector, RedriveDeadLettersRequest, RedriveDeadLettersResponse,
};
use serde::Serialize;

use crate::{
    cli::{CommandError, event_json::line, hub::Address, put, tail::read_pattern, text},
    limits::{REDRIVE_DEFAULT, REDRIVE_MAX},
};

const EXAMPLES: &str = "\
Examples:
  # How many would it be?
  hookline dead-letters redrive --subscription billing --dry-run

  # Once the cause is mended, a few first, then all
  hookline dead-letters redrive --subscription billing --limit 10
  hookline dead-letters redrive --subscription billing --limit 10000

  # Two of them, by the ids that `list` shows
  hookline dead-letters redrive --id dl-1-42 --id dl-1-43";

/// Gives dead letters back to their subscriptions.
///
/// Attempts start anew, and the history is kept. Takes those that all given conditions hold for, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("which").args(["subscription", "ids"]).required(true).multiple(true)))]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    address: Address,
    /// Those of this subscription
    #[arg(long, short, value_name = "NAME")]
    subscription: Option<String>,
    /// Those with these ids
    #[arg(long = "id", value_name = "ID", num_args = 1..)]
    ids: Vec<String>,
    /// Only those given up for this reason
    #[arg(long, value_enum)]
    reason: Option<Reason>,
    /// Only those whose events match one of these patterns
    #[arg(long = "pattern", value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = REDRIVE_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(REDRIVE_MAX)))]
    limit: u32,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Why a delivery was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// As many attempts failed as the policy allows
    MaxAttempts,
    /// An agent gave it up
    Rejected,
    /// The subscription's filter failed on it
    FilterError,
    /// It was too old to be kept in the log
    Retention,
}

impl From<Reason> for DeadLetterReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::MaxAttempts => Self::MaxAttempts,
            Reason::Rejected => Self::Rejected,
            Reason::FilterError => Self::FilterError,
            Reason::Retention => Self::Retention,
        }
    }
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let request = request(&args);
    let answer = client.dead_letters().redrive_dead_letters(request).await;
    let answer = answer.map_err(|status| args.address.refused("redrive dead letters", status))?;
    Ok(put(&told(&args, &answer.into_inner()))?)
}

fn request(args: &Args) -> RedriveDeadLettersRequest {
    let reason = args.reason.map_or(DeadLetterReason::Unspecified, Into::into);
    RedriveDeadLettersRequest {
        selector: Some(DeadLetterSelector {
            subscription: args.subscription.clone().unwrap_or_default(),
            ids: args.ids.clone(),
            reason: reason.into(),
            patterns: args.patterns.clone(),
            start_time: None,
            end_time: None,
        }),
        limit: Some(args.limit),
        dry_run: args.dry_run,
    }
}

#[derive(Serialize)]
struct Told {
    redriven_count: u64,
    remaining_count: u64,
    dry_run: bool,
}

fn told(args: &Args, answer: &RedriveDeadLettersResponse) -> String {
    let RedriveDeadLettersResponse { redriven_count, remaining_count } = *answer;
    if args.json {
        return line(&Told { redriven_count, remaining_count, dry_run: args.dry_run });
    }
    let what = text::count(redriven_count, "dead letter");
    if args.dry_run {
        format!("{what} would be redriven, {remaining_count} would remain")
    } else {
        format!("{what} redriven, {remaining_count} remaining")
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;
    use crate::cli::dead_letters::list;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("redrive").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn which_ones_must_be_said() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--reason", "rejected"]).is_err());
        assert!(parse(&["--subscription", "s", "--limit", "0"]).is_err());
        assert!(parse(&["--subscription", "s", "--limit", "10001"]).is_err());
        assert!(parse(&["--subscription", "s", "--pattern", "A/b"]).is_err());
    }

    #[test]
    fn every_flag_gets_into_the_request() {
        let args = "--subscription s --id a b --id c --reason max-attempts --pattern x/y --limit 7 --dry-run";
        let request = request(&parse(&args.split(' ').collect::<Vec<_>>()).unwrap());
        let selector = request.selector.clone().unwrap();
        assert_eq!(selector.subscription, "s");
        assert_eq!(selector.ids, ["a", "b", "c"]);
        assert_eq!(selector.reason(), DeadLetterReason::MaxAttempts);
        assert_eq!(selector.patterns, ["x/y"]);
        assert_eq!((request.limit, request.dry_run), (Some(7), true));
    }

    #[test]
    fn reasons_are_the_words_that_the_list_shows() {
        for value in Reason::value_variants() {
            let word = value.to_possible_value().unwrap();
            assert_eq!(word.get_name(), list::reason((*value).into()));
        }
    }

    #[test]
    fn what_was_done_is_told_for_people_and_machines() {
        let answer = RedriveDeadLettersResponse { redriven_count: 1, remaining_count: 2 };
        let told_of = |arguments: &[&str]| told(&parse(arguments).unwrap(), &answer);
        assert_eq!(told_of(&["--id", "a"]), "1 dead letter redriven, 2 remaining");
        assert_eq!(
            told_of(&["--id", "a", "--dry-run"]),
            "1 dead letter would be redriven, 2 would remain"
        );
        assert_eq!(
            told_of(&["--id", "a", "--json"]),
            r#"{"redriven_count":1,"remaining_count":2,"dry_run":false}"#
        );
    }
}
