//! `hookline subscriptions update`

use hookline_client::proto::{Subscription, UpdateSubscriptionRequest};
use hookline_core::time::Timestamp;

use super::{policy::PolicyFlags, show};
use crate::cli::{CommandError, hub::Address, place::Place, send::now, tail::read_pattern};

const EXAMPLES: &str = "\
Examples:
  # More attempts, from now on
  hookline subscriptions update triage --max-attempts 10

  # Another filter, also for what it skipped in the last day
  hookline subscriptions update triage --filter 'event.actor != \"my-bot\"' --filter-from 1d

  # Other patterns in place of those it has; no filter
  hookline subscriptions update triage 'github/issues.*' 'github/issue_comment.*' --filter ''";

/// Changes a subscription: only what is given.
///
/// Patterns take the place of all that it has. Changed patterns and a changed filter hold from now on, or from --filter-from; a changed
/// policy holds for leases and failures from now on. What is open stays open. The defaults below are those of a
/// new subscription: what is not given stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The subscription's name
    name: String,
    /// Patterns of subjects, in place of those it has
    #[arg(value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    #[command(flatten)]
    address: Address,
    /// A CEL expression that events must make true; empty: none
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// From where patterns and filter hold: earliest, a sequence, a time, or so long ago (10m) [default: now]
    #[arg(long, value_name = "POSITION", value_parser = Place::parse)]
    filter_from: Option<Place>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    policy: PolicyFlags,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let request = request(&args, now())?;
    let client = args.address.client()?;
    let answer = client.subscriptions().update_subscription(request).await;
    let answer =
        answer.map_err(|status| args.address.refused("update the subscription", status))?;
    let subscription = answer.into_inner().subscription.unwrap_or_default();
    Ok(show::print(&subscription, args.json)?)
}

fn request(args: &Args, now: Timestamp) -> Result<UpdateSubscriptionRequest, CommandError> {
    let mut paths = args.policy.paths();
    if args.filter.is_some() {
        paths.insert(0, "filter".to_owned());
    }
    if !args.patterns.is_empty() {
        paths.insert(0, "patterns".to_owned());
    }
    if paths.is_empty() {
        return Err(CommandError::Usage("say what to change: see --help".to_owned()));
    }
    if args.filter_from.is_some() && args.filter.is_none() && args.patterns.is_empty() {
        let told = "`--filter-from` is for changed patterns or a changed filter";
        return Err(CommandError::Usage(told.to_owned()));
    }
    Ok(UpdateSubscriptionRequest {
        subscription: Some(Subscription {
            name: args.name.clone(),
            patterns: args.patterns.clone(),
            filter: args.filter.clone().unwrap_or_default(),
            policy: Some(args.policy.policy()),
            ..Subscription::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
        filter_from: args.filter_from.map(|place| place.start(now)),
    })
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};
    use hookline_client::proto::start_position::Position;

    use super::*;

    fn parse(arguments: &[&str]) -> Args {
        let command = Args::augment_args(Command::new("update").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    fn asked(arguments: &[&str]) -> Result<UpdateSubscriptionRequest, CommandError> {
        request(&parse(arguments), Timestamp::EPOCH)
    }

    fn paths(request: &UpdateSubscriptionRequest) -> Vec<&str> {
        request.update_mask.as_ref().unwrap().paths.iter().map(String::as_str).collect()
    }

    #[test]
    fn the_mask_names_just_what_is_given() {
        let request = asked(&["s", "--max-attempts", "3", "--filter", ""]).unwrap();
        assert_eq!(paths(&request), ["filter", "policy.max_attempts"]);
        assert_eq!(request.filter_from, None);
        let request = asked(&["s", "a/b", "--filter-from", "7"]).unwrap();
        assert_eq!(paths(&request), ["patterns"]);
        assert_eq!(request.subscription.unwrap().patterns, ["a/b"]);
        assert_eq!(request.filter_from.unwrap().position, Some(Position::Sequence(7)));
    }

    #[test]
    fn something_must_change() {
        assert!(asked(&["s"]).is_err());
        assert!(asked(&["s", "--filter-from", "7"]).is_err());
        assert!(asked(&["s", "--filter-from", "7", "--burst", "1"]).is_err());
    }
}
