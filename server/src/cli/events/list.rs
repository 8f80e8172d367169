//! `hookline events list`

use hookline_client::{Event, PayloadView, proto::ListEventsRequest};
use hookline_core::time::Timestamp;

use super::chosen::Chosen;
use crate::cli::{
    CommandError,
    event_json::{EventJson, line},
    hub::Address,
    put, say_error,
    screen::Screen,
    send::now,
    table::{Cell, Head, Table},
    tail::{read_pattern, resource},
    text::{self, Align},
};

/// The most events of one page.
const PAGE_SIZE: u64 = 1_000;

const EXAMPLES: &str = "\
Examples:
  # The newest
  hookline events list

  # All that happened to a pull request in the last week, and all that mona did
  hookline events list --resource pull_request/octo/hello#42 --since 7d
  hookline events list --actor mona

  # Failed payments of the last day, the oldest first
  hookline events list stripe/invoice.payment_failed --from 1d --oldest

  # What a filter takes, by machine, with payloads
  hookline events list 'github/*' --filter 'event.actor == \"mona\"' -n 10 --json | jq .payload";

/// Lists events of the log, the newest first.
///
/// One line each: when it was received, sequence, subject, actor, resource, id, size of the payload.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Patterns of subjects, such as `github/pull_request.*` [default: all events]
    #[arg(value_name = "PATTERN", value_parser = read_pattern)]
    patterns: Vec<String>,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    chosen: Chosen,
    /// The newest first; that is so unless --oldest is given
    #[arg(long)]
    newest: bool,
    /// The oldest first
    #[arg(long, conflicts_with = "newest")]
    oldest: bool,
    /// Show at most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Print a JSON object a line, with the payload
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let mut request = request(&args, now())?;
    let mut found = Vec::new();
    let mut left = args.limit;
    loop {
        request.page_size = u32::try_from(left.min(PAGE_SIZE)).ok();
        let page = client.events().list_events(request.clone()).await;
        let page = page.map_err(|status| args.address.refused("list events", status))?.into_inner();
        left = left.saturating_sub(u64::try_from(page.events.len()).unwrap_or(u64::MAX));
        if args.json {
            page.events.iter().try_for_each(|event| put(&line(&EventJson::new(event))))?;
        } else {
            found.extend(page.events);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || left == 0 {
            break;
        }
    }
    if !args.json {
        table(&found, Screen::of_stdout()).iter().try_for_each(|line| put(line))?;
    }
    if !request.page_token.is_empty() {
        say_error(&format!("there may be more than {}: see --limit", args.limit));
    }
    Ok(())
}

fn request(args: &Args, now: Timestamp) -> Result<ListEventsRequest, CommandError> {
    let view = if args.json { PayloadView::Bytes } else { PayloadView::None };
    let chosen = args.chosen.request(&args.patterns, now)?;
    Ok(ListEventsRequest { newest_first: !args.oldest, payload_view: view.into(), ..chosen })
}

const HEAD: [Head; 7] = [
    ("RECEIVED", Align::Left),
    ("SEQUENCE", Align::Right),
    ("SUBJECT", Align::Left),
    ("ACTOR", Align::Left),
    ("RESOURCE", Align::Left),
    ("ID", Align::Left),
    ("SIZE", Align::Right),
];

/// Returns the table of events.
pub(in crate::cli) fn table(events: &[Event], screen: Screen) -> Vec<String> {
    if events.is_empty() {
        return vec!["there are no such events".to_owned()];
    }
    let mut table = Table::new(&HEAD);
    for event in events {
        table.push(vec![
            text::time(event.received_at.as_ref()).unwrap_or_default().into(),
            Cell::count(event.sequence),
            hookline_client::subject(event).into(),
            Cell::new(&event.actor),
            resource(event).into(),
            // Needed whole, to ask for the event.
            Cell::new(&event.id).whole(),
            text::size(event.payload_size).into(),
        ]);
    }
    table.lines(screen)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Args {
        let command = Args::augment_args(Command::new("list").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    fn asked(arguments: &[&str]) -> Result<ListEventsRequest, CommandError> {
        request(&parse(arguments), Timestamp::from_secs(1_000).unwrap())
    }

    #[test]
    fn bounds_are_sequences_or_times() {
        let request = asked(&["a/b", "--from", "7", "--to", "10m", "--filter", "true"]).unwrap();
        let time = prost_types::Timestamp { seconds: 400, nanos: 0 };
        assert_eq!((request.start_sequence, request.end_time), (Some(7), Some(time)));
        assert_eq!((request.start_time, request.end_sequence), (None, None));
        assert_eq!(
            (request.patterns.as_slice(), request.filter.as_str()),
            (&["a/b".to_owned()][..], "true")
        );
        let about = ["--resource", "issue/octo/hello#4", "--actor", "mona", "--since", "7"];
        let request = asked(&about).unwrap();
        assert_eq!(
            (request.resource_type, request.resource_id),
            ("issue".to_owned(), "octo/hello#4".to_owned())
        );
        assert_eq!((request.actor, request.start_sequence), ("mona".to_owned(), Some(7)));
        assert!(asked(&["--from", "latest"]).is_err());
        assert!(asked(&["--to", "earliest"]).is_err());
    }

    #[test]
    fn the_newest_come_first_unless_the_oldest_are_asked_for() {
        assert!(asked(&[]).unwrap().newest_first && asked(&["--json"]).unwrap().newest_first);
        assert!(!asked(&["--oldest"]).unwrap().newest_first);
    }

    #[test]
    fn an_event_is_a_line_with_its_whole_id() {
        let event = Event {
            id: "0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a".to_owned(),
            sequence: 12,
            source: "github".to_owned(),
            event_type: "pull_request_review_comment.created".to_owned(),
            payload_size: 9_912,
            ..Event::default()
        };
        let lines = table(&[event], Screen { width: Some(100), colours: false });
        let [head, line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(
            head.starts_with("RECEIVED") && line.contains("0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a")
        );
        assert!(line.chars().count() <= 100, "{line}");
    }
}
