//! `hookline status`: one screen of how a hub is.

use std::time::Duration;

use hookline_client::{
    Event,
    proto::{ListSourcesRequest, ListSourcesResponse, Subscription},
};
use hookline_core::time::Timestamp;
use serde::Serialize;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    CommandError,
    event_json::line,
    hub::Address,
    newest::{Newest, newest},
    put,
    screen::Screen,
    send::now,
    sources,
    subscription_json::SubscriptionJson,
    subscriptions::list,
    table::{Cell, facts},
    text::{self, Colour},
};

/// How long connecting, or one answer, may take: somebody looks on.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  # How is it?
  hookline status

  # Is it there, and well? For scripts
  hookline status --json > /dev/null && echo well";

/// Shows how a hub is: whether it is there and serves, the end of its log, its sources and its subscriptions.
///
/// What the token may not see is left out, with a line that says so. Exits with 1 if the hub can't be reached or does not serve.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    address: Address,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found; `None`: the token may not see it.
struct Found {
    serving: ServingStatus,
    newest: Option<Event>,
    sources: Option<ListSourcesResponse>,
    subscriptions: Option<Vec<Subscription>>,
}

/// What is said where the token may not see something.
const NOT_SEEN: &str = "not shown: the token has no scope for it";

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let found = look(&args.address).await?;
    if args.json {
        put(&line(&Told::new(&args, &found)))?;
    } else {
        let lines = lines(&args, &found, Screen::of_stdout(), now());
        lines.iter().try_for_each(|line| put(line))?;
    }
    if found.serving == ServingStatus::Serving { Ok(()) } else { Err(CommandError::NotServing) }
}

async fn look(address: &Address) -> Result<Found, CommandError> {
    let client = address.client_within(ANSWER_TIME_MAX)?;
    let mut health = HealthClient::new(client.channel());
    let checked = health.check(HealthCheckRequest::default()).await;
    let checked = checked.map_err(|status| address.refused("ask for the health", status))?;
    let newest = newest(&client).await;
    let newest = newest.map_err(|status| address.refused("read the log", status).into());
    let newest = match seen(newest)? {
        Some(Newest::Event(newest)) => Some(*newest),
        Some(Newest::Absent) => Some(Event::default()),
        Some(Newest::Unknown) | None => None,
    };
    let sources = client.sources().list_sources(ListSourcesRequest {}).await;
    let sources = sources.map_err(|status| address.refused("list sources", status).into());
    Ok(Found {
        serving: checked.into_inner().status(),
        newest,
        sources: seen(sources)?.map(tonic::Response::into_inner),
        subscriptions: seen(list::all(&client, address).await)?,
    })
}

/// Returns what was answered; `None` if the token may not see it.
fn seen<T>(answer: Result<T, CommandError>) -> Result<Option<T>, CommandError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(CommandError::Hub(error)) if error.is_out_of_scope() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns how the hub says that it is.
const fn health(serving: ServingStatus) -> (&'static str, Colour) {
    match serving {
        ServingStatus::Serving => ("serving", Colour::Green),
        ServingStatus::NotServing => {
            ("not serving: it is stopping, or its store has failed", Colour::Red)
        }
        ServingStatus::Unknown | ServingStatus::ServiceUnknown => ("unknown", Colour::Yellow),
    }
}

fn lines(args: &Args, found: &Found, screen: Screen, now: Timestamp) -> Vec<String> {
    let (word, colour) = health(found.serving);
    let log = match &found.newest {
        None => NOT_SEEN.to_owned(),
        Some(newest) if newest.sequence == 0 => "empty".to_owned(),
        // Not their number: the first ones may be gone.
        Some(newest) => {
            let age = text::age(newest.received_at.as_ref(), now);
            format!("ends at {}, {age} ago", newest.sequence)
        }
    };
    let told = [
        ("hub", args.address.to_string().into()),
        ("health", Cell::new(word).in_colour(colour)),
        ("log", log.into()),
    ];
    let mut lines = facts(&told, screen);
    lines.push(String::new());
    match &found.sources {
        Some(sources) => lines.extend(sources::table(sources)),
        None => lines.push(format!("sources {NOT_SEEN}")),
    }
    lines.push(String::new());
    match &found.subscriptions {
        Some(subscriptions) => lines.extend(list::table(subscriptions, screen, now)),
        None => lines.push(format!("subscriptions {NOT_SEEN}")),
    }
    lines
}

/// All of it, for machines; `null`: the token may not see it.
#[derive(Serialize)]
struct Told<'a> {
    address: String,
    health: &'static str,
    log_end: Option<u64>,
    newest_event_at: Option<String>,
    sources: Option<Vec<sources::SourceJson<'a>>>,
    unknown_source_count: Option<u64>,
    subscriptions: Option<Vec<SubscriptionJson<'a>>>,
}

impl<'a> Told<'a> {
    fn new(args: &Args, found: &'a Found) -> Self {
        let Found { serving, newest, sources, subscriptions } = found;
        let newest_at = newest.as_ref().and_then(|newest| newest.received_at.as_ref());
        let of_sources =
            |of: &'a ListSourcesResponse| of.sources.iter().map(sources::SourceJson::new);
        let of_all = |all: &'a Vec<Subscription>| all.iter().map(SubscriptionJson::new).collect();
        Self {
            address: args.address.to_string(),
            health: serving.as_str_name(),
            log_end: newest.as_ref().map(|newest| newest.sequence),
            newest_event_at: text::time(newest_at),
            sources: sources.as_ref().map(|of| of_sources(of).collect()),
            unknown_source_count: sources.as_ref().map(|of| of.unknown_source_count),
            subscriptions: subscriptions.as_ref().map(of_all),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn one_screen_has_health_log_sources_and_subscriptions() {
        let command = Args::augment_args(Command::new("status").no_binary_name(true));
        let matches = command.try_get_matches_from(["--address", "http://hub:4160"]).unwrap();
        let args = Args::from_arg_matches(&matches).unwrap();
        let subscription = Subscription { name: "triage".to_owned(), ..Subscription::default() };
        let found = Found {
            serving: ServingStatus::Serving,
            newest: Some(Event {
                sequence: 12,
                received_at: Some(prost_types::Timestamp { seconds: 940, nanos: 0 }),
                ..Event::default()
            }),
            sources: Some(ListSourcesResponse::default()),
            subscriptions: Some(vec![subscription]),
        };
        let now = Timestamp::from_secs(1_000).unwrap();
        let serving = found.serving;
        let unseen = Found { serving, newest: None, sources: None, subscriptions: None };
        let told = lines(&args, &unseen, Screen::PLAIN, now);
        let expected = [
            "hub     http://hub:4160",
            "health  serving",
            "log     not shown: the token has no scope for it",
            "",
            "sources not shown: the token has no scope for it",
            "",
            "subscriptions not shown: the token has no scope for it",
        ];
        assert_eq!(told, expected);
        let told: serde_json::Value =
            serde_json::from_str(&line(&Told::new(&args, &unseen))).unwrap();
        assert!(told["log_end"].is_null() && told["subscriptions"].is_null(), "{told}");

        let lines = lines(&args, &found, Screen::PLAIN, now);
        assert_eq!(
            lines[..3],
            ["hub     http://hub:4160", "health  serving", "log     ends at 12, 1m ago"]
        );
        assert!(lines.last().unwrap().starts_with("triage "), "{lines:#?}");
        let told: serde_json::Value =
            serde_json::from_str(&line(&Told::new(&args, &found))).unwrap();
        assert_eq!((&told["health"], &told["log_end"]), (&"SERVING".into(), &12.into()));
    }
}
