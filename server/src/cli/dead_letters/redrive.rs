//! `hookline dead-letters redrive`

use hookline_client::proto::RedriveDeadLettersRequest;

use super::{
    bulk::{Amount, Ask, Deed, Done},
    selector::Selector,
};
use crate::cli::{CommandError, hub::Address};

const EXAMPLES: &str = "\
Examples:
  # How many would it be?
  hookline dead-letters redrive --subscription billing --dry-run

  # Once the cause is mended, a few first, then all, so slowly that what they call bears it
  hookline dead-letters redrive --subscription billing --limit 10
  hookline dead-letters redrive --subscription billing --all --rate 20

  # Two of them, by the ids that `list` shows
  hookline dead-letters redrive --id dl-1-42-0 --id dl-1-43-0";

/// Gives dead letters back to their subscriptions.
///
/// Attempts start anew, and the history is kept. Takes those that all given conditions hold for, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    selector: Selector,
    #[command(flatten)]
    amount: Amount,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let call = async |ask: Ask| {
        let request = RedriveDeadLettersRequest {
            selector: Some(args.selector.proto()),
            limit: Some(ask.limit),
            dry_run: ask.dry_run,
        };
        let answer = client.dead_letters().redrive_dead_letters(request).await;
        let refused = |status| args.address.refused("redrive dead letters", status);
        let answer = answer.map_err(refused)?.into_inner();
        Ok(Done { count: answer.redriven_count, remaining: answer.remaining_count })
    };
    args.amount.carry_out(Deed::Redrive, call).await
}
