//! `hookline tail`: events as they come, for looking.

use std::time::Duration;

use hookline_client::{Client, Event, PayloadView, proto};
use hookline_core::pattern::{Pattern, PatternError, PatternSet};
use tonic::{Status, Streaming};

use super::{
    CommandError,
    event_json::{EventJson, line},
    hub::{self, Address, CallError},
    newest::{Newest, newest},
    place::Place,
    put, say_error,
    text::{self, Align, Columns},
};

/// The largest payload that is asked for: the most that GitHub posts, and what the client library takes in a message.
pub(super) const PAYLOAD_BYTES_MAX: u32 = 25 * 1024 * 1024;
/// The wait before the first try to reconnect; each next one is twice as long.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries: short, since somebody looks on.
const RECONNECT_LONGEST: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  # All that comes from now on
  hookline tail

  # Pull requests and failed payments of the last hour, and what follows
  hookline tail 'github/pull_request.*' stripe/invoice.payment_failed --from 1h

  # The first event of the log, whole
  hookline tail --from earliest --count 1 --json | jq .payload

  # Everything but pushes, dead letters too
  hookline tail '*' '!github/push' 'dead-letter/*'";

/// Shows events as they come.
///
/// One line each: when it was received, sequence, subject, actor, resource, id, size of the payload. Looking changes nothing: no event is leased, and agents get theirs all the same. When the hub goes away, it waits
/// until it is back and goes on after the last event that was shown. Ends with Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Patterns of subjects, such as `github/pull_request.*` [default: all events]
    #[arg(value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    #[command(flatten)]
    address: Address,
    /// Where to begin: earliest, latest, a sequence, a time (2026-11-23T09:00:00Z), or so long ago (10m)
    #[arg(long, value_name = "POSITION", default_value = "latest", value_parser = Place::parse)]
    from: Place,
    /// Stop after so many events
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print a JSON object a line, with the payload
    #[arg(long)]
    json: bool,
}

/// Reads a pattern as the hub would, so that a wrong one is told before anything is asked.
pub(super) fn read_pattern(text: &str) -> Result<String, PatternError> {
    Pattern::parse(text).map(|_| text.to_owned())
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    if !args.patterns.is_empty() {
        PatternSet::parse(&args.patterns)
            .map_err(|error| CommandError::Usage(error.to_string()))?;
    }
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        result = tail(&args) => result,
    }
}

async fn tail(args: &Args) -> Result<(), CommandError> {
    let mut watch = Watch::open(args).await?;
    let mut printer = Printer::new(args.json);
    let mut left = args.count;
    while left != Some(0) {
        let event = watch.next().await?;
        put(&printer.line(&event))?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// A watch that survives the hub's absence.
struct Watch<'a> {
    args: &'a Args,
    client: Client,
    /// Where the next stream begins.
    position: proto::start_position::Position,
    stream: Streaming<proto::WatchEventsResponse>,
}

impl<'a> Watch<'a> {
    /// Opens the watch. A hub that is not there now is an error: most likely the address is wrong.
    async fn open(args: &'a Args) -> Result<Self, CommandError> {
        let client = args.address.client()?;
        let refused = |status| args.address.refused("watch events", status);
        let position = match args.from.position(super::send::now()) {
            // Fixed now, so that what comes while the hub is away is shown too.
            proto::start_position::Position::Latest(()) => {
                let after = |sequence: u64| {
                    proto::start_position::Position::Sequence(sequence.saturating_add(1))
                };
                match newest(&client).await.map_err(refused)? {
                    Newest::Event(newest) => after(newest.sequence),
                    Newest::Absent => after(0),
                    Newest::Unknown => proto::start_position::Position::Latest(()),
                }
            }
            fixed @ (proto::start_position::Position::Earliest(())
            | proto::start_position::Position::Sequence(_)
            | proto::start_position::Position::Time(_)) => fixed,
        };
        let stream = begin(&client, args, position).await.map_err(refused)?;
        Ok(Self { args, client, position, stream })
    }

    /// Waits for the next event, and for the hub where it is away.
    async fn next(&mut self) -> Result<Event, CallError> {
        loop {
            let status = match self.stream.message().await {
                Ok(Some(proto::WatchEventsResponse { event: Some(event) })) => {
                    let next = event.sequence.saturating_add(1);
                    self.position = proto::start_position::Position::Sequence(next);
                    return Ok(event);
                }
                Ok(Some(proto::WatchEventsResponse { event: None })) => continue,
                Ok(None) => Status::unavailable("the hub ended the stream"),
                Err(status) => status,
            };
            self.reopen(status).await?;
        }
    }

    async fn reopen(&mut self, mut status: Status) -> Result<(), CallError> {
        let mut wait = RECONNECT_FIRST;
        let mut noted = false;
        loop {
            if !hub::is_away(&status) {
                return Err(self.args.address.refused("watch events", status));
            }
            if !noted {
                let (address, told) = (&self.args.address, hub::told(&status));
                say_error(&format!("lost the hub at `{address}` ({told}), waiting for it"));
                noted = true;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RECONNECT_LONGEST);
            match begin(&self.client, self.args, self.position).await {
                Ok(stream) => {
                    say_error("the hub is back");
                    self.stream = stream;
                    return Ok(());
                }
                Err(error) => status = error,
            }
        }
    }
}

async fn begin(
    client: &Client,
    args: &Args,
    position: proto::start_position::Position,
) -> Result<Streaming<proto::WatchEventsResponse>, Status> {
    let view = if args.json { PayloadView::Bytes } else { PayloadView::None };
    let request = proto::WatchEventsRequest {
        patterns: args.patterns.clone(),
        start: Some(proto::StartPosition { position: Some(position) }),
        payload_view: view.into(),
        max_payload_bytes: args.json.then_some(PAYLOAD_BYTES_MAX),
        ..Default::default()
    };
    Ok(client.events().watch_events(request).await?.into_inner())
}

/// How events are printed.
enum Printer {
    Lines(Columns),
    Json,
}

impl Printer {
    fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        // Received at, sequence, subject, actor, resource, id, size.
        Self::Lines(Columns::new(&[
            (Align::Left, 24),
            (Align::Right, 6),
            (Align::Left, 32),
            (Align::Left, 16),
            (Align::Left, 24),
            (Align::Left, 36),
            (Align::Right, 8),
        ]))
    }

    fn line(&mut self, event: &Event) -> String {
        match self {
            Self::Json => line(&EventJson::new(event)),
            Self::Lines(columns) => columns.row(&[
                text::time(event.received_at.as_ref()).unwrap_or_else(|| "-".to_owned()),
                event.sequence.to_string(),
                text::cell(&hookline_client::subject(event), 64),
                text::cell(&event.actor, 40),
                text::cell(&resource(event), 64),
                text::cell(&event.id, 36),
                text::size(event.payload_size),
            ]),
        }
    }
}

/// Returns what the event happened to: its id where that says it all, as `octo/hello#42` does.
pub(super) fn resource(event: &Event) -> String {
    match (event.resource_type.as_str(), event.resource_id.as_str()) {
        (kind, "") => kind.to_owned(),
        (_, id) => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            id: "0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a".to_owned(),
            sequence: 12,
            source: "github".to_owned(),
            event_type: "pull_request.opened".to_owned(),
            actor: "mona".to_owned(),
            resource_type: "pull_request".to_owned(),
            resource_id: "octo/hello#42".to_owned(),
            received_at: Some(prost_types::Timestamp { seconds: 1_533_204_620, nanos: 0 }),
            payload_size: 9_912,
            ..Event::default()
        }
    }

    #[test]
    fn an_event_is_one_aligned_line() {
        let mut printer = Printer::new(false);
        let first = printer.line(&event());
        assert_eq!(
            first,
            "2018-08-02T10:10:20.000Z      12  github/pull_request.opened        mona              \
             octo/hello#42             0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a    9.9 KB"
        );
        let bare = Event { actor: String::new(), resource_id: String::new(), ..event() };
        assert_eq!(printer.line(&bare).find("0199a3f2"), first.find("0199a3f2"));
    }

    #[test]
    fn what_strangers_wrote_can_not_break_the_line() {
        let event = Event { actor: "a\nb\u{1b}[31m".to_owned(), ..event() };
        let line = Printer::new(false).line(&event);
        assert!(line.contains("a\\nb\\u{1b}[31m"), "{line}");
        assert!(!line.chars().any(char::is_control));
    }

    #[test]
    fn a_thing_without_an_id_is_named_by_its_type() {
        assert_eq!(resource(&event()), "octo/hello#42");
        let balance = Event { resource_type: "balance".to_owned(), ..Event::default() };
        assert_eq!(resource(&balance), "balance");
    }

    #[test]
    fn patterns_are_read_before_anything_is_asked() {
        assert_eq!(read_pattern("!github/push").unwrap(), "!github/push");
        assert!(read_pattern("GitHub/*").is_err());
        assert!(read_pattern("a/b/c").is_err());
    }
}
