//! `hookline events show`

use hookline_client::{
    Attempt, Event,
    proto::{AttemptEnd, DeliveryState, DeliveryStatus, GetEventRequest, GetEventResponse},
};
use hookline_core::time::Timestamp;
use serde::Serialize;

use crate::cli::{
    CommandError,
    deliveries::words,
    event_json::{self, EventJson, line},
    hub::Address,
    put,
    screen::Screen,
    send::now,
    subscription_json::DeliveryJson,
    table::{Cell, Head, Table, facts},
    text::{self, Align, Colour},
};

const EXAMPLES: &str = "\
Examples:
  # The event, and what became of it
  hookline events show 0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a

  # The body, as it was posted
  hookline events show 0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a --json | jq .event.payload";

/// Shows an event, its payload, and what each subscription did with it.
///
/// Of each subscription that takes the event: its state, and every attempt with who had it, when, how long, how it ended and why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The id of the event, whole
    id: String,
    #[command(flatten)]
    address: Address,
    /// Leave the payload out
    #[arg(long)]
    no_payload: bool,
    /// Print a JSON object: `event` and `deliveries`
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    event: EventJson<'a>,
    deliveries: Vec<DeliveryJson<'a>>,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let view = if args.no_payload {
        hookline_client::PayloadView::None
    } else {
        hookline_client::PayloadView::Bytes
    };
    let request = GetEventRequest { id: args.id.clone(), payload_view: view.into() };
    let answer = client.events().get_event(request).await;
    let answer = answer.map_err(|status| args.address.refused("get the event", status))?;
    let GetEventResponse { event, deliveries } = answer.into_inner();
    let event = event.unwrap_or_default();
    if args.json {
        let deliveries = deliveries.iter().map(DeliveryJson::new).collect();
        return Ok(put(&line(&Told { event: EventJson::new(&event), deliveries }))?);
    }
    let screen = Screen::of_stdout();
    let mut lines = about(&event, screen);
    lines.extend(payload(&event));
    lines.extend(became(&deliveries, screen, now()));
    Ok(lines.iter().try_for_each(|line| put(line))?)
}

fn about(event: &Event, screen: Screen) -> Vec<String> {
    let time = |time| Cell::from(text::time(time).unwrap_or_default());
    let resource = format!("{} {}", event.resource_type, event.resource_id);
    let mut metadata: Vec<_> = event.metadata.iter().collect();
    metadata.sort();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let told = [
        ("event", Cell::new(&event.id).in_colour(Colour::Bold)),
        ("subject", hookline_client::subject(event).into()),
        ("sequence", Cell::count(event.sequence)),
        ("happened", time(event.timestamp.as_ref())),
        ("received", time(event.received_at.as_ref())),
        ("actor", Cell::new(&event.actor)),
        ("resource", Cell::new(resource.trim())),
        ("delivery key", Cell::new(&event.delivery_key)),
        ("metadata", metadata.join(" ").into()),
        ("payload", text::size(event.payload_size).into()),
    ];
    facts(&told, screen)
}

/// Returns the payload: JSON with a line for each member, digit for digit; of anything else only what it is.
fn payload(event: &Event) -> Vec<String> {
    if event.payload.is_empty() {
        return Vec::new();
    }
    std::iter::once(String::new()).chain(event_json::lines(&event.payload)).collect()
}

fn became(deliveries: &[DeliveryStatus], screen: Screen, now: Timestamp) -> Vec<String> {
    if deliveries.is_empty() {
        return vec![String::new(), "no subscription takes it".to_owned()];
    }
    deliveries.iter().flat_map(|status| on_one(status, screen, now)).collect()
}

/// Returns what one subscription did with it: a line, and a table of attempts.
fn on_one(status: &DeliveryStatus, screen: Screen, now: Timestamp) -> Vec<String> {
    let name = screen.paint(Colour::Bold, &text::clean(&status.subscription));
    let state = words::state(status.state()).painted(screen);
    let mut line = format!("{name}  {state}");
    let now_at = text::clean(&words::now_at(status, now));
    if !now_at.is_empty() {
        line.push_str(&format!("  {now_at}"));
    }
    if status.superseded_count != 0 {
        line.push_str(&format!("  stands for {} more", status.superseded_count));
    }
    let mut lines = vec![String::new(), line];
    if status.attempts.is_empty() {
        if status.state() == DeliveryState::Done && !status.consumer.is_empty() {
            lines.push(format!("  by {}", text::clean(&status.consumer)));
        }
        return lines;
    }
    let mut table = Table::new(&HEAD);
    status.attempts.iter().for_each(|attempt| table.push(cells(attempt, now)));
    let inner = Screen { width: screen.width.map(|width| width.saturating_sub(2)), ..screen };
    lines.extend(table.lines(inner).into_iter().map(|line| format!("  {line}")));
    lines
}

const HEAD: [Head; 6] = [
    ("ATTEMPT", Align::Right),
    ("CONSUMER", Align::Left),
    ("STARTED", Align::Left),
    ("TOOK", Align::Left),
    ("END", Align::Left),
    ("REASON", Align::Left),
];

fn cells(attempt: &Attempt, now: Timestamp) -> Vec<Cell> {
    let (end, colour) = end(attempt.end());
    let ended = attempt.ended_at.as_ref().map_or(now, text::core_time);
    let reason = match attempt.error_type.as_str() {
        "" => attempt.reason.trim().to_owned(),
        error => format!("{error}: {}", attempt.reason.trim()),
    };
    vec![
        Cell::count(attempt.number.into()),
        Cell::new(&attempt.consumer),
        text::time(attempt.started_at.as_ref()).unwrap_or_default().into(),
        attempt
            .started_at
            .as_ref()
            .map(|at| took(ended.since(text::core_time(at))))
            .unwrap_or_default()
            .into(),
        Cell::new(end).in_colour(colour),
        reason.into(),
    ]
}

fn took(duration: std::time::Duration) -> String {
    if duration.as_secs() == 0 {
        return format!("{}ms", duration.as_millis());
    }
    text::span(duration)
}

/// Returns how an attempt ended.
const fn end(end: AttemptEnd) -> (&'static str, Colour) {
    match end {
        AttemptEnd::Unspecified => ("runs", Colour::Cyan),
        AttemptEnd::Acked => ("acked", Colour::Green),
        AttemptEnd::Nacked => ("nacked", Colour::Yellow),
        AttemptEnd::Rejected => ("rejected", Colour::Red),
        AttemptEnd::LeaseExpired => ("lease expired", Colour::Yellow),
        AttemptEnd::MaxLeaseReached => ("max_lease reached", Colour::Yellow),
        AttemptEnd::ConsumerLost => ("consumer lost", Colour::Yellow),
        AttemptEnd::ReleasedTooOften => ("released too often", Colour::Yellow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_is_a_line_with_its_end() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let failed = Attempt {
            number: 1,
            consumer: "one".to_owned(),
            started_at: at(100),
            ended_at: at(190),
            end: AttemptEnd::Nacked.into(),
            reason: "503".to_owned(),
            error_type: "http".to_owned(),
        };
        let runs = Attempt { number: 2, started_at: at(200), ..Attempt::default() };
        let status = DeliveryStatus {
            subscription: "triage".to_owned(),
            state: DeliveryState::Leased.into(),
            lease_expires_at: at(260),
            attempts: vec![failed, runs],
            ..DeliveryStatus::default()
        };
        let lines = became(&[status], Screen::PLAIN, Timestamp::from_secs(210).unwrap());
        assert_eq!(
            lines,
            [
                "",
                "triage  leased  lease ends in 50s",
                "  ATTEMPT  CONSUMER  STARTED                   TOOK    END     REASON",
                "        1  one       1970-01-01T00:01:40.000Z  1m 30s  nacked  http: 503",
                "        2  -         1970-01-01T00:03:20.000Z  10s     runs    -",
            ]
        );
        let nobody = became(&[], Screen::PLAIN, Timestamp::EPOCH);
        assert_eq!(nobody, ["", "no subscription takes it"]);
    }
}
