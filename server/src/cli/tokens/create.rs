//! `hookline tokens create`: a token, printed once.

use std::time::Duration;

use super::Place;
use crate::{
    auth::{Entry, Minted, Scopes, State, edit, token_name},
    cli::{CommandError, put, say_error, send::now},
};

const EXAMPLES: &str = "\
Examples:
  # For an agent that works on pull requests and says what it did
  hookline tokens create reviewer --subscribe 'github/pull_request*' --publish agent

  # For a dashboard that looks at everything, for 90 days
  hookline tokens create dashboard --read '*' --read 'dead-letter/*' --expires 90d

  # For who runs the hub
  HOOKLINE_TOKEN=$(hookline tokens create ops --operate --data /var/lib/hookline/data)";

/// Makes a token and prints it, once, on the standard output; what it may do goes to the standard error stream.
///
/// What is kept of it is a hash. The name of a token that has expired or was revoked may be taken again, and takes its place.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// What it is called: [a-z0-9_.-]
    name: String,
    /// Work on subscriptions whose patterns lie within these: subscribe, make by subscribing, ack, nack, extend, look
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Publish events as this source; `agent` is the one of events that name none
    #[arg(long, value_name = "SOURCE")]
    publish: Vec<String>,
    /// Look at events that these patterns take, and at what became of them
    #[arg(long, value_name = "PATTERN")]
    read: Vec<String>,
    /// Make, change, move and delete subscriptions, redrive and purge dead letters, look at everything
    #[arg(long)]
    operate: bool,
    /// For how long it counts, such as `90d` or `12h`; for ever if it is not said
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let usage = |problem: String| CommandError::Usage(problem);
    token_name(&args.name).map_err(|error| usage(format!("`{}`: {error}", args.name)))?;
    let scopes = Scopes::parse(&args.subscribe, &args.publish, &args.read, args.operate);
    let scopes = scopes.map_err(|error| usage(super::super::chain(&error)))?;
    if scopes.is_empty() {
        let problem = "a token that may do nothing is of no use: say --subscribe, --publish, --read or --operate";
        return Err(usage(problem.to_owned()));
    }
    let created_at = now();
    let most = Duration::from_secs(100 * 365 * 86_400);
    if args.expires.is_some_and(|expires| expires.is_zero() || most < expires) {
        return Err(usage("`--expires`: more than nothing, and at most 100 years".to_owned()));
    }
    let expires_at = args.expires.map(|expires| created_at + expires);
    let path = args.place.path()?;
    let minted = Minted::new()
        .map_err(|source| CommandError::Input { what: "random bytes".to_owned(), source })?;
    let entry = Entry {
        name: args.name.clone(),
        id: minted.id().to_owned(),
        hash: minted.hash(),
        scopes,
        created_at,
        expires_at,
        revoked_at: None,
    };
    let told = told(&entry);
    let is_first = edit(&path, |entries: &mut Vec<Entry>| {
        let is_first = entries.is_empty();
        let same = entries.iter().position(|other| other.name == entry.name);
        match same.and_then(|at| entries.get_mut(at)) {
            None => entries.push(entry),
            Some(other) if other.state(created_at) != State::Live => *other = entry,
            Some(_) => {
                let problem = format!("there is a token `{}` already: revoke it first", args.name);
                return Err(CommandError::Token(problem));
            }
        }
        Ok(is_first)
    })?;
    say_error(&format!("{told}; kept in `{}`", path.display()));
    if is_first {
        say_error("a hub with this file asks each caller for a token from now on");
    }
    Ok(put(&minted.expose())?)
}

/// Says what a token may do, and until when.
fn told(entry: &Entry) -> String {
    let until = entry.expires_at.map(crate::auth::time_text);
    let until = until.map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
    format!("the token `{}` may {}; {until}", entry.name, entry.scopes)
}
