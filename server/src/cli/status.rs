//! `hookline status`: one screen of how a hub is.

use std::time::Duration;

use hookline_client::{
    PayloadView,
    proto::{ListEventsRequest, ListSourcesRequest, ListSourcesResponse, Subscription},
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
/// Exits with 1 if it can't be reached or does not serve.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    address: Address,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
struct Found {
    serving: ServingStatus,
    log_end: u64,
    newest_at: Option<prost_types::Timestamp>,
    sources: ListSourcesResponse,
    subscriptions: Vec<Subscription>,
}

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
    let newest = ListEventsRequest {
        newest_first: true,
        page_size: Some(1),
        payload_view: PayloadView::None.into(),
        ..Default::default()
    };
    let newest = client.events().list_events(newest).await;
    let newest = newest.map_err(|status| address.refused("read the log", status))?.into_inner();
    let newest = newest.events.into_iter().next().unwrap_or_default();
    let sources = client.sources().list_sources(ListSourcesRequest {}).await;
    let sources = sources.map_err(|status| address.refused("list sources", status))?.into_inner();
    Ok(Found {
        serving: checked.into_inner().status(),
        log_end: newest.sequence,
        newest_at: newest.received_at,
        sources,
        subscriptions: list::all(&client, address).await?,
    })
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
    let log = match found.log_end {
        0 => "empty".to_owned(),
        // Not their number: the first ones may be gone.
        end => format!("ends at {end}, {} ago", text::age(found.newest_at.as_ref(), now)),
    };
    let told = [
        ("hub", args.address.to_string().into()),
        ("health", Cell::new(word).in_colour(colour)),
        ("log", log.into()),
    ];
    let mut lines = facts(&told, screen);
    lines.push(String::new());
    lines.extend(sources::table(&found.sources));
    lines.push(String::new());
    lines.extend(list::table(&found.subscriptions, screen, now));
    lines
}

/// All of it, for machines.
#[derive(Serialize)]
struct Told<'a> {
    address: String,
    health: &'static str,
    log_end: u64,
    newest_event_at: Option<String>,
    sources: Vec<sources::SourceJson<'a>>,
    unknown_source_count: u64,
    subscriptions: Vec<SubscriptionJson<'a>>,
}

impl<'a> Told<'a> {
    fn new(args: &Args, found: &'a Found) -> Self {
        Self {
            address: args.address.to_string(),
            health: found.serving.as_str_name(),
            log_end: found.log_end,
            newest_event_at: text::time(found.newest_at.as_ref()),
            sources: found.sources.sources.iter().map(sources::SourceJson::new).collect(),
            unknown_source_count: found.sources.unknown_source_count,
            subscriptions: found.subscriptions.iter().map(SubscriptionJson::new).collect(),
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
        let found = Found {
            serving: ServingStatus::Serving,
            log_end: 12,
            newest_at: Some(prost_types::Timestamp { seconds: 940, nanos: 0 }),
            sources: ListSourcesResponse::default(),
            subscriptions: vec![Subscription {
                name: "triage".to_owned(),
                ..Subscription::default()
            }],
        };
        let now = Timestamp::from_secs(1_000).unwrap();
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
