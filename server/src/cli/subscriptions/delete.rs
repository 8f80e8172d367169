//! `hookline subscriptions delete`

use hookline_client::proto::{DeleteSubscriptionRequest, Subscription};
use serde::Serialize;

use crate::cli::{CommandError, confirm::Confirmation, event_json::line, hub::Address, put, text};

const EXAMPLES: &str = "\
Examples:
  # Asks first, with what is lost
  hookline subscriptions delete triage

  # In a script
  hookline subscriptions delete triage --yes";

/// Deletes a subscription with its state and its dead letters.
///
/// Its agents are told that it does not exist. The events stay in the log. Asks first, with what is open.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The subscription's name
    name: String,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    confirmation: Confirmation,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    deleted: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    args.confirmation.check()?;
    let client = args.address.client()?;
    if args.confirmation.asks() {
        let subscription = super::get(&client, &args.address, &args.name).await?;
        args.confirmation.ask(&question(&subscription))?;
    }
    let request = DeleteSubscriptionRequest { name: args.name.clone() };
    let answer = client.subscriptions().delete_subscription(request).await;
    answer.map_err(|status| args.address.refused("delete the subscription", status))?;
    let name = args.name.as_str();
    let told = if args.json {
        line(&Told { name, deleted: true })
    } else {
        format!("`{name}` is deleted")
    };
    Ok(put(&told)?)
}

fn question(subscription: &Subscription) -> String {
    let counts = subscription.counts.unwrap_or_default();
    let open = counts.ready.saturating_add(counts.leased).saturating_add(counts.waiting);
    let (open, dead) = (text::count(open, "open event"), text::count(counts.dead, "dead letter"));
    format!("`{}` has {open} and {dead}. Delete it?", subscription.name)
}

#[cfg(test)]
mod tests {
    use hookline_client::proto::DeliveryCounts;

    use super::*;

    #[test]
    fn the_question_says_what_is_lost() {
        let counts = DeliveryCounts { ready: 2, leased: 1, dead: 1, ..DeliveryCounts::default() };
        let name = "triage".to_owned();
        let subscription = Subscription { name, counts: Some(counts), ..Subscription::default() };
        assert_eq!(
            question(&subscription),
            "`triage` has 3 open events and 1 dead letter. Delete it?"
        );
    }
}
