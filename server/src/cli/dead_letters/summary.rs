//! `hookline dead-letters summary`

use hookline_client::proto::{DeadLetterGroup, SummarizeDeadLettersRequest};

use super::selector::{Conditions, reason};
use crate::cli::{
    CommandError,
    event_json::{CauseJson, line},
    hub::Address,
    put, say_error,
    screen::Screen,
    table::{Cell, Head, Table},
    text::{self, Align},
};

const EXAMPLES: &str = "\
Examples:
  # What agents fail with, the most frequent first
  hookline dead-letters summary

  # Of one subscription, today
  hookline dead-letters summary --subscription reviewer --since 2026-11-23T00:00:00Z

  # A look at the first of the largest group
  hookline dead-letters summary --json | head -1 | jq -r '.sample_ids[0]' | xargs hookline dead-letters show";

/// Groups dead letters by what they failed with.
///
/// One line each, the largest first: count, reason, class of the error, subscriptions, when the newest was given up, an
/// id, and the error with its changing parts taken out: <n> stands for numbers, <id>, <time>, <ip> and <text> for what they
/// say.
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
    /// Print a JSON object a line, with all that is known of a group
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let selector = Some(args.conditions.proto(args.subscription.as_deref()));
    let request = SummarizeDeadLettersRequest { selector };
    let answer = client.dead_letters().summarize_dead_letters(request).await;
    let refused = |status| args.address.refused("sum up dead letters", status);
    let answer = answer.map_err(refused)?.into_inner();
    if args.json {
        answer.groups.iter().try_for_each(|group| put(&line(&CauseJson::new(group))))?;
    } else if answer.groups.is_empty() {
        put("there are no dead letters")?;
    } else {
        let mut table = Table::new(&HEAD);
        answer.groups.iter().for_each(|group| table.push(cells(group)));
        table.lines(Screen::of_stdout()).iter().try_for_each(|line| put(line))?;
    }
    if answer.is_partial {
        say_error(&format!("there are more than the {} that were read", answer.total_count));
    }
    Ok(())
}

const HEAD: [Head; 7] = [
    ("COUNT", Align::Right),
    ("REASON", Align::Left),
    ("ERROR TYPE", Align::Left),
    ("SUBSCRIPTIONS", Align::Left),
    ("NEWEST DIED", Align::Left),
    ("FOR EXAMPLE", Align::Left),
    ("CAUSE", Align::Left),
];

fn cells(group: &DeadLetterGroup) -> Vec<Cell> {
    let (reason, cause) = if group.is_rest {
        ("-", "all others")
    } else {
        (reason(group.reason()), group.cause.as_str())
    };
    vec![
        Cell::count(group.count),
        Cell::new(reason),
        text::cell(&group.error_type, 32).into(),
        text::cell(&group.subscriptions.join(","), 48).into(),
        text::time(group.newest_died_at.as_ref()).unwrap_or_default().into(),
        // Needed whole, to ask for it; and the cause, to choose by it.
        Cell::new(group.sample_ids.first().map_or("", String::as_str)).whole(),
        Cell::new(cause).whole(),
    ]
}

#[cfg(test)]
mod tests {
    use hookline_client::proto::DeadLetterReason;

    use super::*;

    /// The columns of the only line below the head.
    fn words(group: &DeadLetterGroup) -> Vec<String> {
        let mut table = Table::new(&HEAD);
        table.push(cells(group));
        let lines = table.lines(Screen::PLAIN);
        lines[1]
            .split("  ")
            .filter(|word| !word.is_empty())
            .map(|word| word.trim().to_owned())
            .collect()
    }

    #[test]
    fn a_group_is_one_line_with_its_cause() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let mut group = DeadLetterGroup {
            cause: "status 503 after <n>s".to_owned(),
            count: 17,
            sample_ids: vec!["dl-1-42-0".to_owned(), "dl-1-43-0".to_owned()],
            reason: DeadLetterReason::MaxAttempts.into(),
            error_type: "HttpError".to_owned(),
            sample_text: "status 503 after 30s".to_owned(),
            oldest_died_at: at(0),
            newest_died_at: at(1_533_204_620),
            subscriptions: vec!["billing".to_owned(), "reviewer".to_owned()],
            is_rest: false,
        };
        assert_eq!(
            words(&group),
            [
                "17",
                "max-attempts",
                "HttpError",
                "billing,reviewer",
                "2018-08-02T10:10:20.000Z",
                "dl-1-42-0",
                "status 503 after <n>s"
            ]
        );
        group = DeadLetterGroup { is_rest: true, count: 2, ..DeadLetterGroup::default() };
        assert_eq!(words(&group), ["2", "-", "-", "-", "-", "-", "all others"]);
    }
}
