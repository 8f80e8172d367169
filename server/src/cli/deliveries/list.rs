//! `hookline deliveries list`

use clap::ValueEnum;
use hookline_client::proto::{DeliveryState, DeliveryStatus, ListDeliveriesRequest};
use hookline_core::time::Timestamp;

use super::words;
use crate::cli::{
    CommandError,
    event_json::line,
    hub::Address,
    put, say_error,
    screen::Screen,
    send::now,
    subscription_json::DeliveryJson,
    table::{Cell, Head, Table},
    text::{self, Align},
};

/// The most deliveries of one page.
const PAGE_SIZE: u64 = 1_000;

const EXAMPLES: &str = "\
Examples:
  # What is open on a subscription, and what it waits for
  hookline deliveries list triage

  # Who works on what, since when
  hookline deliveries list triage --state leased

  # The events that failed, by machine
  hookline deliveries list triage --state waiting --json | jq -r .event_id";

/// Lists what is open on a subscription, oldest first.
///
/// One line each: sequence, state, event, attempts, who has it or had it last, since when, what it waits for, and its last
/// error. What is done is told by `hookline events show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The subscription's name
    subscription: String,
    #[command(flatten)]
    address: Address,
    /// Only those in this state; may be given several times [default: all but dead]
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Show at most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Print a JSON object a line, with all attempts
    #[arg(long)]
    json: bool,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// Waits for a consumer with room
    Ready,
    /// Is with a consumer
    Leased,
    /// Waits for its next attempt
    Waiting,
    /// Was given up; there is a dead letter
    Dead,
}

impl From<State> for DeliveryState {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Leased => Self::Leased,
            State::Waiting => Self::Waiting,
            State::Dead => Self::Dead,
        }
    }
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let mut token = String::new();
    let mut found = Vec::new();
    let mut left = args.limit;
    loop {
        let request = request(&args, left.min(PAGE_SIZE), token);
        let page = client.subscriptions().list_deliveries(request).await;
        let page = page.map_err(|status| args.address.refused("list deliveries", status))?;
        let page = page.into_inner();
        left = left.saturating_sub(u64::try_from(page.deliveries.len()).unwrap_or(u64::MAX));
        if args.json {
            page.deliveries.iter().try_for_each(|it| put(&line(&DeliveryJson::new(it))))?;
        } else {
            found.extend(page.deliveries);
        }
        token = page.next_page_token;
        if token.is_empty() || left == 0 {
            break;
        }
    }
    if !args.json {
        let lines = table(&found, Screen::of_stdout(), now());
        lines.iter().try_for_each(|line| put(line))?;
    }
    if !token.is_empty() {
        say_error(&format!("there are more than {}: see --limit", args.limit));
    }
    Ok(())
}

fn request(args: &Args, page_size: u64, page_token: String) -> ListDeliveriesRequest {
    ListDeliveriesRequest {
        subscription: args.subscription.clone(),
        states: args.state.iter().map(|state| DeliveryState::from(*state).into()).collect(),
        page_size: u32::try_from(page_size).ok(),
        page_token,
    }
}

const HEAD: [Head; 8] = [
    ("SEQUENCE", Align::Right),
    ("STATE", Align::Left),
    ("EVENT", Align::Left),
    ("ATTEMPT", Align::Right),
    ("CONSUMER", Align::Left),
    ("SINCE", Align::Left),
    ("NOW", Align::Left),
    ("LAST ERROR", Align::Left),
];

fn table(found: &[DeliveryStatus], screen: Screen, now: Timestamp) -> Vec<String> {
    if found.is_empty() {
        return vec!["there are no such deliveries".to_owned()];
    }
    let mut table = Table::new(&HEAD);
    found.iter().for_each(|status| table.push(cells(status, now)));
    table.lines(screen)
}

fn cells(status: &DeliveryStatus, now: Timestamp) -> Vec<Cell> {
    let running = status.attempts.last().filter(|it| it.ended_at.is_none());
    let failed = status.attempts.iter().rev().find(|it| it.ended_at.is_some());
    let since = match running {
        Some(running) => running.started_at.as_ref(),
        None => failed.and_then(|it| it.ended_at.as_ref()),
    };
    vec![
        Cell::count(status.sequence),
        words::state(status.state()),
        Cell::new(&status.event_id).whole(),
        Cell::count(status.attempt.into()),
        Cell::new(&status.consumer),
        text::age(since, now).into(),
        words::now_at(status, now).into(),
        Cell::new(failed.map_or("", |it| it.reason.trim())),
    ]
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};
    use hookline_client::Attempt;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("list").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn states_get_into_the_request() {
        let args = parse(&["s", "--state", "leased", "--state", "waiting"]).unwrap();
        let request = request(&args, 7, "next".to_owned());
        let wanted = [DeliveryState::Leased, DeliveryState::Waiting].map(i32::from);
        assert_eq!((request.subscription.as_str(), request.states.as_slice()), ("s", &wanted[..]));
        assert_eq!((request.page_size, request.page_token.as_str()), (Some(7), "next"));
        assert!(parse(&[]).is_err());
        assert!(parse(&["s", "--state", "done"]).is_err());
    }

    #[test]
    fn a_delivery_is_a_line_with_its_last_error() {
        let now = Timestamp::from_secs(1_000).unwrap();
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let failed = Attempt {
            number: 1,
            started_at: at(800),
            ended_at: at(900),
            reason: "503\nagain".to_owned(),
            ..Attempt::default()
        };
        let status = DeliveryStatus {
            event_id: "0199".to_owned(),
            sequence: 7,
            state: DeliveryState::Waiting.into(),
            attempt: 1,
            attempts: vec![failed],
            next_attempt_at: at(1_005),
            consumer: "one".to_owned(),
            ..DeliveryStatus::default()
        };
        let lines = table(&[status], Screen::PLAIN, now);
        assert_eq!(
            lines,
            [
                "SEQUENCE  STATE    EVENT  ATTEMPT  CONSUMER  SINCE   NOW                 LAST ERROR",
                "       7  waiting  0199         1  one       1m 40s  next attempt in 5s  503\\nagain",
            ]
        );
    }
}
