//! `hookline subscriptions create`

use hookline_client::proto::CreateSubscriptionRequest;
use hookline_core::time::Timestamp;

use super::{policy::PolicyFlags, show};
use crate::cli::{CommandError, hub::Address, place::Place, send::now, tail::read_pattern};

const EXAMPLES: &str = "\
Examples:
  # What comes from now on
  hookline subscriptions create triage 'github/issues.*'

  # One run per pull request: in order, and only the newest
  hookline subscriptions create review 'github/pull_request.*' \\
    --ordering resource --coalesce latest --filter 'event.payload.pull_request.draft == false'

  # All of the log, two tries with a minute between, one in ten seconds
  hookline subscriptions create audit '*' --from earliest --max-attempts 2 --initial-backoff 1m \\
    --max-per-second 0.1";

/// Creates a subscription.
///
/// Doing so again with the same content changes nothing. An agent makes its subscription by itself when it brings patterns: this is for
/// one whose policy is the operator's.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The name: `[a-z0-9_.-]`
    name: String,
    /// Patterns of subjects, such as `github/pull_request.*`
    #[arg(value_name = "PATTERN", required = true, value_parser = read_pattern)]
    patterns: Vec<String>,
    #[command(flatten)]
    address: Address,
    /// A CEL expression that events must make true
    #[arg(long, value_name = "EXPRESSION", default_value = "", hide_default_value = true)]
    filter: String,
    /// Where to begin: earliest, latest, a sequence, a time, or so long ago (10m)
    #[arg(long, value_name = "POSITION", default_value = "latest", value_parser = Place::parse)]
    from: Place,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    policy: PolicyFlags,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let answer = client.subscriptions().create_subscription(request(&args, now())).await;
    let answer =
        answer.map_err(|status| args.address.refused("create the subscription", status))?;
    let subscription = answer.into_inner().subscription.unwrap_or_default();
    Ok(show::print(&subscription, args.json)?)
}

fn request(args: &Args, now: Timestamp) -> CreateSubscriptionRequest {
    CreateSubscriptionRequest {
        name: args.name.clone(),
        patterns: args.patterns.clone(),
        filter: args.filter.clone(),
        start: Some(args.from.start(now)),
        policy: Some(args.policy.policy()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};
    use hookline_client::proto::start_position::Position;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("create").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn every_argument_gets_into_the_request() {
        let args = ["s", "a/b", "!a/c", "--filter", "true", "--from", "7", "--max-attempts", "2"];
        let request = request(&parse(&args).unwrap(), Timestamp::EPOCH);
        assert_eq!((request.name.as_str(), request.filter.as_str()), ("s", "true"));
        assert_eq!(request.patterns, ["a/b", "!a/c"]);
        assert_eq!(request.start.unwrap().position, Some(Position::Sequence(7)));
        assert_eq!(request.policy.unwrap().max_attempts, Some(2));
    }

    #[test]
    fn patterns_are_needed_and_read() {
        assert!(parse(&["s"]).is_err());
        assert!(parse(&["s", "A/b"]).is_err());
        assert!(parse(&["s", "a/b", "--from", "yesterday"]).is_err());
    }
}
