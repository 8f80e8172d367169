//! `hookline subscriptions seek`

use hookline_client::proto::{SeekSubscriptionRequest, SeekSubscriptionResponse};
use hookline_core::time::Timestamp;
use serde::Serialize;

use crate::cli::{
    CommandError, confirm::Confirmation, event_json::line, hub::Address, place::Place, put,
    send::now, text,
};

const EXAMPLES: &str = "\
Examples:
  # What would come again?
  hookline subscriptions seek triage --to 1h --dry-run

  # Everything since a time, once more
  hookline subscriptions seek triage --to 2026-11-23T09:00:00Z

  # Forget what is open, without a question
  hookline subscriptions seek triage --to latest --yes";

/// Moves the position of a subscription.
///
/// What lies after the position is delivered again, what lies before it counts as done. What is open ends: agents lose their leases.
/// Dead letters stay. Asks first, with the counts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The subscription's name
    name: String,
    #[command(flatten)]
    address: Address,
    /// The first event that is delivered again: earliest, latest, a sequence, a time, or so long ago (10m)
    #[arg(long, value_name = "POSITION", value_parser = Place::parse)]
    to: Place,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirmation: Confirmation,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    // One time for both calls: what was counted is what is done.
    let now = now();
    if args.dry_run {
        let counted = seek(&args, request(&args, now, true)).await?;
        return Ok(put(&told(&args, counted))?);
    }
    args.confirmation.check()?;
    if args.confirmation.asks() {
        let counted = seek(&args, request(&args, now, true)).await?;
        args.confirmation.ask(&format!(
            "{}. Move `{}`?",
            sentence(counted, Tense::Would),
            args.name
        ))?;
    }
    let done = seek(&args, request(&args, now, false)).await?;
    Ok(put(&told(&args, done))?)
}

async fn seek(
    args: &Args,
    request: SeekSubscriptionRequest,
) -> Result<SeekSubscriptionResponse, CommandError> {
    let client = args.address.client()?;
    let answer = client.subscriptions().seek_subscription(request).await;
    let answer = answer.map_err(|status| args.address.refused("seek the subscription", status))?;
    Ok(answer.into_inner())
}

fn request(args: &Args, now: Timestamp, dry_run: bool) -> SeekSubscriptionRequest {
    SeekSubscriptionRequest { name: args.name.clone(), to: Some(args.to.start(now)), dry_run }
}

#[derive(Serialize)]
struct Told {
    redelivered_count: u64,
    skipped_count: u64,
    dry_run: bool,
}

fn told(args: &Args, answer: SeekSubscriptionResponse) -> String {
    let SeekSubscriptionResponse { redelivered_count, skipped_count } = answer;
    if args.json {
        return line(&Told { redelivered_count, skipped_count, dry_run: args.dry_run });
    }
    sentence(answer, if args.dry_run { Tense::Would } else { Tense::Will })
}

#[derive(Clone, Copy)]
enum Tense {
    Would,
    Will,
}

fn sentence(answer: SeekSubscriptionResponse, tense: Tense) -> String {
    let again = text::count(answer.redelivered_count, "event");
    let skipped = answer.skipped_count;
    match tense {
        Tense::Would => format!(
            "{again} would be delivered again, {skipped} that are not done would count as done"
        ),
        Tense::Will => {
            format!("{again} will be delivered again, {skipped} that were not done count as done")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};
    use hookline_client::proto::start_position::Position;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("seek").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn a_place_is_needed_and_gets_into_the_request() {
        assert!(parse(&["s"]).is_err());
        let args = parse(&["s", "--to", "10m", "--yes"]).unwrap();
        let request = request(&args, Timestamp::from_secs(1_000).unwrap(), true);
        let time = prost_types::Timestamp { seconds: 400, nanos: 0 };
        assert_eq!(request.to.unwrap().position, Some(Position::Time(time)));
        assert!(request.dry_run);
    }

    #[test]
    fn what_was_counted_is_told_for_people_and_machines() {
        let answer = SeekSubscriptionResponse { redelivered_count: 1, skipped_count: 2 };
        let told_of = |more: &str| told(&parse(&["s", "--to", "7", more]).unwrap(), answer);
        assert_eq!(
            told_of("--dry-run"),
            "1 event would be delivered again, 2 that are not done would count as done"
        );
        assert_eq!(
            told_of("--yes"),
            "1 event will be delivered again, 2 that were not done count as done"
        );
        assert_eq!(
            told_of("--json"),
            r#"{"redelivered_count":1,"skipped_count":2,"dry_run":false}"#
        );
    }
}
