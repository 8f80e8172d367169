//! `hookline dead-letters show`

use std::time::{Duration, SystemTime};

use hookline_client::{
    Attempt, Event, PayloadView,
    proto::{DeadLetter, GetDeadLetterRequest},
};

use super::selector::reason;
use crate::cli::{
    CommandError,
    event_json::{self, DeadLetterJson, line},
    hub::Address,
    put, text,
};

const EXAMPLES: &str = "\
Examples:
  # One that `list` or `summary` shows
  hookline dead-letters show dl-1-42-0

  # Its payload as it was posted, to try the agent with
  hookline dead-letters show dl-1-42-0 --json | jq .event.payload > payload.json";

/// Shows all of one dead letter: its event, each of its attempts, and the payload.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    address: Address,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let request =
        GetDeadLetterRequest { id: args.id.clone(), payload_view: PayloadView::Bytes.into() };
    let answer = client.dead_letters().get_dead_letter(request).await;
    let answer = answer.map_err(|status| args.address.refused("show a dead letter", status))?;
    let letter = answer.into_inner().dead_letter.unwrap_or_default();
    if args.json {
        return Ok(put(&line(&DeadLetterJson::new(&letter)))?);
    }
    Ok(lines(&letter).iter().try_for_each(|line| put(line))?)
}

fn lines(letter: &DeadLetter) -> Vec<String> {
    let mut lines = vec![
        field("dead letter", &letter.id),
        field("subscription", &letter.subscription),
        field("reason", reason(letter.reason())),
        field("died at", &text::time(letter.died_at.as_ref()).unwrap_or_default()),
        field("generation", &letter.generation.to_string()),
    ];
    if !letter.detail.is_empty() {
        lines.push(field("detail", &letter.detail));
    }
    if let Some(event) = &letter.event {
        lines.push(String::new());
        lines.extend(of_event(event));
    }
    for attempt in &letter.attempts {
        lines.push(String::new());
        lines.extend(of_attempt(attempt));
    }
    if let Some(event) = &letter.event {
        lines.push(String::new());
        lines.extend(of_payload(event));
    }
    lines
}

fn of_event(event: &Event) -> Vec<String> {
    let mut lines = vec![
        field("event", &event.id),
        field("sequence", &event.sequence.to_string()),
        field("subject", &hookline_client::subject(event)),
        field("happened at", &text::time(event.timestamp.as_ref()).unwrap_or_default()),
        field("received at", &text::time(event.received_at.as_ref()).unwrap_or_default()),
        field("actor", &event.actor),
        field("resource", format!("{} {}", event.resource_type, event.resource_id).trim()),
        field("delivery key", &event.delivery_key),
    ];
    let mut metadata: Vec<_> = event.metadata.iter().collect();
    metadata.sort();
    lines.extend(metadata.iter().map(|(key, value)| field("metadata", &format!("{key}={value}"))));
    lines
}

fn of_attempt(attempt: &Attempt) -> Vec<String> {
    let end = attempt.end().as_str_name().trim_start_matches("ATTEMPT_END_");
    let mut lines = vec![
        field("attempt", &attempt.number.to_string()),
        field("by", &attempt.consumer),
        field("from", &text::time(attempt.started_at.as_ref()).unwrap_or_default()),
        field("took", &took(attempt).map_or_else(String::new, |took| format!("{took:?}"))),
        field("ended", &end.replace('_', " ").to_lowercase()),
        field("error type", &attempt.error_type),
    ];
    let mut label = "error";
    for said in attempt.reason.trim().lines() {
        lines.push(field(label, said));
        label = "";
    }
    lines
}

/// Returns how long an attempt was, in milliseconds.
fn took(attempt: &Attempt) -> Option<Duration> {
    let started = SystemTime::try_from(attempt.started_at?).ok()?;
    let took = SystemTime::try_from(attempt.ended_at?).ok()?.duration_since(started).ok()?;
    Some(Duration::from_millis(u64::try_from(took.as_millis()).ok()?))
}

fn of_payload(event: &Event) -> Vec<String> {
    let mut lines = vec![field("payload", &text::size(event.payload_size))];
    lines.extend(event_json::lines(&event.payload));
    lines
}

fn field(label: &str, value: &str) -> String {
    let value = if value.is_empty() { "-".to_owned() } else { text::clean(value) };
    format!("{label:<14}{value}")
}

#[cfg(test)]
mod tests {
    use hookline_client::proto::{AttemptEnd, DeadLetterReason};

    use super::*;

    #[test]
    fn a_dead_letter_is_shown_with_all_that_is_known() {
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let attempt = Attempt {
            number: 1,
            consumer: "agent-1".to_owned(),
            started_at: at(1_533_204_620, 0),
            ended_at: at(1_533_204_621, 250_900_000),
            end: AttemptEnd::LeaseExpired.into(),
            reason: "status 503\n  at \u{1b}[31mledger".to_owned(),
            error_type: "HttpError".to_owned(),
        };
        let event = Event {
            source: "stripe".to_owned(),
            event_type: "invoice.paid".to_owned(),
            payload: br#"{"id":12345678901234567890,"a":[]}"#.as_slice().into(),
            payload_size: 34,
            metadata: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            ..Event::default()
        };
        let letter = DeadLetter {
            id: "dl-1-42-0".to_owned(),
            reason: DeadLetterReason::MaxAttempts.into(),
            event: Some(event),
            attempts: vec![attempt],
            ..DeadLetter::default()
        };
        let text = lines(&letter).join("\n");
        for part in [
            "dead letter   dl-1-42-0\n",
            "reason        max-attempts\n",
            "subject       stripe/invoice.paid\n",
            "metadata      a=1\nmetadata      b=2\n",
            "by            agent-1\n",
            "from          2018-08-02T10:10:20.000Z\n",
            "took          1.25s\n",
            "ended         lease expired\n",
            "error type    HttpError\n",
            "error         status 503\n                at \\u{1b}[31mledger\n",
            "payload       34 B\n{\n  \"id\": 12345678901234567890,\n  \"a\": []\n}",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
