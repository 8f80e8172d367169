//! `hookline dead-letters list`

use hookline_client::{
    Client, PayloadView,
    proto::{DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse},
};
use tonic::Status;

use super::selector::{Conditions, reason};
use crate::cli::{
    CommandError,
    event_json::{DeadLetterJson, line},
    hub::Address,
    put, say_error,
    screen::Screen,
    table::{Cell, Head, Table},
    text::{self, Align},
};

/// The most dead letters of one page.
const PAGE_SIZE: u64 = 100;

const EXAMPLES: &str = "\
Examples:
  # What agents have given up, of all subscriptions
  hookline dead-letters list

  # Those of today that failed as the summary says
  hookline dead-letters list --since 2026-11-23T00:00:00Z --cause 'the ledger said <n>'

  # The last error of each, by machine
  hookline dead-letters list --subscription reviewer --json | jq -r '.attempts[-1].reason'";

/// Lists dead letters, oldest first.
///
/// One line each: id, when it was given up, subscription, subject, reason, attempts, last error.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    address: Address,
    /// Only those of this subscription
    #[arg(long, short, value_name = "NAME")]
    subscription: Option<String>,
    #[command(flatten)]
    conditions: Conditions,
    /// Show at most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Print a JSON object a line, with the event, its payload and all attempts
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let mut pages = Pages { client, token: String::new() };
    let mut left = args.limit;
    let mut shown = 0;
    let mut table = Table::new(&HEAD);
    let is_cut = loop {
        let page = pages.next(&args, left.min(PAGE_SIZE)).await;
        let page = page.map_err(|status| args.address.refused("list dead letters", status))?;
        let more = !page.next_page_token.is_empty();
        let letters = page.dead_letters;
        let count = u64::try_from(letters.len()).unwrap_or(u64::MAX);
        if args.json {
            letters.iter().try_for_each(|letter| put(&line(&DeadLetterJson::new(letter))))?;
        } else {
            letters.iter().for_each(|letter| table.push(cells(letter)));
        }
        (left, shown) = (left.saturating_sub(count), shown + count);
        if !more || left == 0 {
            break more;
        }
    };
    if shown == 0 && !args.json {
        put("there are no dead letters")?;
    } else if !args.json {
        table.lines(Screen::of_stdout()).iter().try_for_each(|line| put(line))?;
    }
    if is_cut {
        say_error(&format!("there are more than {}: see --limit", args.limit));
    }
    Ok(())
}

/// The pages of one list.
struct Pages {
    client: Client,
    token: String,
}

impl Pages {
    async fn next(&mut self, args: &Args, size: u64) -> Result<ListDeadLettersResponse, Status> {
        let view = if args.json { PayloadView::Bytes } else { PayloadView::None };
        let request = ListDeadLettersRequest {
            subscription: args.subscription.clone().unwrap_or_default(),
            page_size: u32::try_from(size).ok(),
            page_token: std::mem::take(&mut self.token),
            payload_view: view.into(),
            max_payload_bytes: None,
            selector: Some(args.conditions.proto(args.subscription.as_deref())),
        };
        let page = self.client.dead_letters().list_dead_letters(request).await?.into_inner();
        self.token.clone_from(&page.next_page_token);
        Ok(page)
    }
}

const HEAD: [Head; 7] = [
    ("ID", Align::Left),
    ("DIED", Align::Left),
    ("SUBSCRIPTION", Align::Left),
    ("SUBJECT", Align::Left),
    ("REASON", Align::Left),
    ("ATTEMPTS", Align::Right),
    ("LAST ERROR", Align::Left),
];

fn cells(letter: &DeadLetter) -> Vec<Cell> {
    let subject = letter.event.as_ref().map(hookline_client::subject).unwrap_or_default();
    let last = letter.attempts.last();
    vec![
        // Needed whole, to ask for it.
        Cell::new(&letter.id).whole(),
        text::time(letter.died_at.as_ref()).unwrap_or_default().into(),
        Cell::new(&letter.subscription),
        subject.into(),
        Cell::new(reason(letter.reason())),
        Cell::count(last.map_or(0, |attempt| attempt.number.into())),
        text::cell(last.map_or("", |attempt| attempt.reason.trim()), 100).into(),
    ]
}

#[cfg(test)]
mod tests {
    use hookline_client::{Attempt, Event, proto::DeadLetterReason};

    use super::*;

    fn lines(letter: &DeadLetter) -> Vec<String> {
        let mut table = Table::new(&HEAD);
        table.push(cells(letter));
        table.lines(Screen::PLAIN)
    }

    #[test]
    fn a_dead_letter_is_one_line_with_its_last_error() {
        let attempt = |number, reason: &str| Attempt {
            number,
            reason: reason.to_owned(),
            ..Attempt::default()
        };
        let letter = DeadLetter {
            id: "dl-1".to_owned(),
            subscription: "billing".to_owned(),
            event: Some(Event {
                source: "stripe".to_owned(),
                event_type: "invoice.paid".to_owned(),
                ..Event::default()
            }),
            reason: DeadLetterReason::MaxAttempts.into(),
            attempts: vec![attempt(2, "first"), attempt(3, "503\nfrom the ledger")],
            died_at: Some(prost_types::Timestamp { seconds: 1_533_204_620, nanos: 0 }),
            generation: 0,
            detail: String::new(),
        };
        assert_eq!(
            lines(&letter),
            [
                "ID    DIED                      SUBSCRIPTION  SUBJECT              REASON        ATTEMPTS  LAST ERROR",
                "dl-1  2018-08-02T10:10:20.000Z  billing       stripe/invoice.paid  max-attempts         3  \
                 503\\nfrom the ledger"
            ]
        );
    }

    #[test]
    fn a_dead_letter_without_anything_is_still_a_line() {
        let row = lines(&DeadLetter::default()).remove(1);
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words, ["-", "-", "-", "-", "unknown", "0", "-"]);
    }
}
