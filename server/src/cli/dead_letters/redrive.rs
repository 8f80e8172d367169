//! `hookline dead-letters redrive`

use hookline_client::proto::{RedriveDeadLettersRequest, RedriveDeadLettersResponse};
use serde::Serialize;

use super::selector::Selector;
use crate::{
    cli::{CommandError, event_json::line, hub::Address, put, text},
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
pub(in crate::cli) struct Args {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    selector: Selector,
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

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let request = request(&args);
    let answer = client.dead_letters().redrive_dead_letters(request).await;
    let answer = answer.map_err(|status| args.address.refused("redrive dead letters", status))?;
    Ok(put(&told(&args, &answer.into_inner()))?)
}

fn request(args: &Args) -> RedriveDeadLettersRequest {
    RedriveDeadLettersRequest {
        selector: Some(args.selector.proto()),
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

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("redrive").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn every_flag_gets_into_the_request() {
        for wrong in [&[][..], &["-s", "s", "--limit", "0"], &["-s", "s", "--limit", "10001"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let request = request(&parse(&["-s", "s", "--limit", "7", "--dry-run"]).unwrap());
        assert_eq!((request.limit, request.dry_run), (Some(7), true));
        assert_eq!(request.selector.unwrap().subscription, "s");
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
