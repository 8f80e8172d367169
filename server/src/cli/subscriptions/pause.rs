//! `hookline subscriptions pause`

use hookline_client::proto::PauseSubscriptionRequest;
use hookline_core::time::Timestamp;
use serde::Serialize;

use crate::cli::{
    CommandError, event_json::line, hub::Address, place::wire, put, send::now, text,
    time_arg::Moment,
};

const EXAMPLES: &str = "\
Examples:
  # Until somebody resumes it
  hookline subscriptions pause triage

  # For half an hour
  hookline subscriptions pause triage --until 30m";

/// Stops new leases; agents that are at work finish theirs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The subscription's name
    name: String,
    #[command(flatten)]
    address: Address,
    /// When it resumes by itself: a time (2026-11-23T09:00:00Z), or so long from now (30m) [default: when it is resumed]
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let request = request(&args, now());
    let until = text::time(request.until.as_ref());
    let answer = client.subscriptions().pause_subscription(request).await;
    answer.map_err(|status| args.address.refused("pause the subscription", status))?;
    Ok(put(&told(&args, until))?)
}

fn request(args: &Args, now: Timestamp) -> PauseSubscriptionRequest {
    let until = args.until.map(|until| wire(until.time(now)));
    PauseSubscriptionRequest { name: args.name.clone(), until }
}

#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    paused: bool,
    paused_until: Option<String>,
}

fn told(args: &Args, until: Option<String>) -> String {
    let name = args.name.as_str();
    match until {
        paused_until if args.json => line(&Told { name, paused: true, paused_until }),
        None => format!("`{name}` is paused until it is resumed"),
        Some(until) => format!("`{name}` is paused until {until}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Args {
        let command = Args::augment_args(Command::new("pause").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn a_pause_ends_by_itself_or_not() {
        let now = Timestamp::from_secs(1_000).unwrap();
        let args = parse(&["s", "--until", "10m"]);
        let asked = request(&args, now);
        assert_eq!(asked.until.unwrap().seconds, 1_600);
        assert_eq!(
            told(&args, text::time(asked.until.as_ref())),
            "`s` is paused until 1970-01-01T00:26:40.000Z"
        );
        let args = parse(&["s", "--json"]);
        assert_eq!(request(&args, now).until, None);
        assert_eq!(told(&args, None), r#"{"name":"s","paused":true,"paused_until":null}"#);
    }
}
