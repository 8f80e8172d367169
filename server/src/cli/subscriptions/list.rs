//! `hookline subscriptions list`

use hookline_client::{
    Client,
    proto::{Hold, ListSubscriptionsRequest, Subscription},
};
use hookline_core::time::Timestamp;

use crate::cli::{
    CommandError,
    deliveries::words,
    event_json::line,
    hub::Address,
    put,
    screen::Screen,
    send::now,
    subscription_json::SubscriptionJson,
    table::{Cell, Head, Table},
    text::{self, Align, Colour},
};

const EXAMPLES: &str = "\
Examples:
  # What there is, and how far it is
  hookline subscriptions list

  # Those that have dead letters, by machine
  hookline subscriptions list --json | jq -r 'select(.counts.dead > 0) | .name'";

/// Lists subscriptions by name.
///
/// One line each: name, how many events of the log it has not looked at yet, how many are ready, leased, waiting for their next
/// attempt and dead, the age of the oldest that is open, consumers, what holds it, and its patterns.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    address: Address,
    /// Print a JSON object a line, with everything that `show` shows
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let found = all(&client, &args.address).await?;
    if args.json {
        return Ok(found.iter().try_for_each(|it| put(&line(&SubscriptionJson::new(it))))?);
    }
    let lines = table(&found, Screen::of_stdout(), now());
    Ok(lines.iter().try_for_each(|line| put(line))?)
}

/// Asks for all subscriptions.
pub(in crate::cli) async fn all(
    client: &Client,
    address: &Address,
) -> Result<Vec<Subscription>, CommandError> {
    let mut found = Vec::new();
    let mut request = ListSubscriptionsRequest { page_size: Some(1_000), ..Default::default() };
    loop {
        let page = client.subscriptions().list_subscriptions(request.clone()).await;
        let page = page.map_err(|status| address.refused("list subscriptions", status))?;
        let page = page.into_inner();
        found.extend(page.subscriptions);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

const HEAD: [Head; 10] = [
    ("SUBSCRIPTION", Align::Left),
    ("UNSCANNED", Align::Right),
    ("READY", Align::Right),
    ("LEASED", Align::Right),
    ("WAITING", Align::Right),
    ("DEAD", Align::Right),
    ("OLDEST", Align::Left),
    ("CONSUMERS", Align::Right),
    ("HELD BY", Align::Left),
    ("PATTERNS", Align::Left),
];

/// Returns the table of subscriptions.
pub(in crate::cli) fn table(found: &[Subscription], screen: Screen, now: Timestamp) -> Vec<String> {
    if found.is_empty() {
        return vec![
            "there are no subscriptions: the first agent makes its own, or `hookline subscriptions create`"
                .to_owned(),
        ];
    }
    let mut table = Table::new(&HEAD);
    found.iter().for_each(|subscription| table.push(cells(subscription, now)));
    table.lines(screen)
}

fn cells(it: &Subscription, now: Timestamp) -> Vec<Cell> {
    let counts = it.counts.unwrap_or_default();
    let coloured = |count: u64, colour| {
        Cell::count(count).in_colour(if count == 0 { Colour::Plain } else { colour })
    };
    let consumers = u64::try_from(it.consumers.len()).unwrap_or(u64::MAX);
    vec![
        Cell::new(&it.name),
        Cell::count(counts.unscanned),
        Cell::count(counts.ready),
        coloured(counts.leased, Colour::Cyan),
        coloured(counts.waiting, Colour::Yellow),
        coloured(counts.dead, Colour::Red),
        oldest(it).into(),
        Cell::count(consumers),
        held(it, now),
        it.patterns.join(" ").into(),
    ]
}

/// Returns the age of the oldest event that is open; empty if there is none.
pub(super) fn oldest(it: &Subscription) -> String {
    let age = it.oldest_age.and_then(|age| std::time::Duration::try_from(age).ok());
    age.map(text::span).unwrap_or_default()
}

/// Returns what holds a subscription. A pause is told also where nothing waits.
pub(super) fn held(it: &Subscription, now: Timestamp) -> Cell {
    let (hold, until) = if it.paused {
        (Hold::Paused, it.paused_until.as_ref())
    } else {
        (it.hold(), it.hold_until.as_ref())
    };
    let until = words::until(until, now).replace(" in ", " for ");
    let colour = match hold {
        Hold::Unspecified | Hold::Writing | Hold::Resource | Hold::Quiet | Hold::Rate => {
            Colour::Plain
        }
        Hold::Paused | Hold::NoRoom | Hold::WaitingFull => Colour::Yellow,
        Hold::Breaker => Colour::Red,
    };
    Cell::new(&format!("{}{until}", words::hold(hold))).in_colour(colour)
}

#[cfg(test)]
mod tests {
    use hookline_client::proto::DeliveryCounts;

    use super::*;

    #[test]
    fn a_subscription_is_a_line_below_a_head() {
        let now = Timestamp::from_secs(1_000).unwrap();
        let subscription = Subscription {
            name: "triage".to_owned(),
            patterns: vec!["github/issues.*".to_owned(), "!github/issues.labeled".to_owned()],
            counts: Some(DeliveryCounts { ready: 2, leased: 1, waiting: 0, dead: 3, unscanned: 9 }),
            oldest_age: Some(prost_types::Duration { seconds: 90, nanos: 1 }),
            consumers: vec!["one".to_owned()],
            paused: true,
            paused_until: Some(prost_types::Timestamp { seconds: 1_060, nanos: 0 }),
            ..Subscription::default()
        };
        assert_eq!(
            table(&[subscription], Screen::PLAIN, now),
            [
                "SUBSCRIPTION  UNSCANNED  READY  LEASED  WAITING  DEAD  OLDEST  CONSUMERS  HELD BY        PATTERNS",
                "triage                9      2       1        0     3  1m 30s          1  paused for 1m  \
                 github/issues.* !github/issues.labeled",
            ]
        );
        assert!(table(&[], Screen::PLAIN, now).concat().contains("create"));
    }
}
