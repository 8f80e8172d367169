//! `hookline dead-letters purge`

use hookline_client::proto::PurgeDeadLettersRequest;

use super::{
    bulk::{Amount, Ask, Deed, Done},
    selector::Selector,
};
use crate::cli::{CommandError, confirm::Confirmation, hub::Address, text};

const EXAMPLES: &str = "\
Examples:
  # How many would it be?
  hookline dead-letters purge --subscription billing --dry-run

  # Those that the filter failed on, before a certain time; asks first
  hookline dead-letters purge --subscription billing --reason filter-error --until 2026-11-01T00:00:00Z

  # All of a subscription, from a script
  hookline dead-letters purge --subscription billing --all --yes --json";

/// Deletes dead letters for good.
///
/// Their events go with them; the deliveries stay given up. Takes those that all given conditions hold for, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    selector: Selector,
    #[command(flatten)]
    amount: Amount,
    #[command(flatten)]
    confirmation: Confirmation,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let deletes = !args.amount.only_counts();
    if deletes {
        args.confirmation.check()?;
    }
    let client = args.address.client()?;
    let call = async |ask: Ask| {
        let request = PurgeDeadLettersRequest {
            selector: Some(args.selector.proto()),
            limit: Some(ask.limit),
            dry_run: ask.dry_run,
        };
        let answer = client.dead_letters().purge_dead_letters(request).await;
        let refused = |status| args.address.refused("purge dead letters", status);
        let answer = answer.map_err(refused)?.into_inner();
        Ok(Done { count: answer.purged_count, remaining: answer.remaining_count })
    };
    if deletes && args.confirmation.asks() {
        let found = call(Ask { limit: args.amount.limit(), dry_run: true }).await?;
        let all = if args.amount.takes_all() { found.remaining } else { 0 };
        if found.count > 0 {
            let count = text::count(found.count + all, "dead letter");
            args.confirmation.ask(&format!("Delete {count} for good?"))?;
        }
    }
    args.amount.carry_out(Deed::Purge, call).await
}
