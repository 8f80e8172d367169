//! `hookline subscriptions resume`

use hookline_client::proto::ResumeSubscriptionRequest;
use serde::Serialize;

use crate::cli::{CommandError, event_json::line, hub::Address, put};

const EXAMPLES: &str = "\
Examples:
  hookline subscriptions resume triage";

/// Lets a paused subscription lease again; one that is not paused stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The subscription's name
    name: String,
    #[command(flatten)]
    address: Address,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    paused: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let client = args.address.client()?;
    let request = ResumeSubscriptionRequest { name: args.name.clone() };
    let answer = client.subscriptions().resume_subscription(request).await;
    answer.map_err(|status| args.address.refused("resume the subscription", status))?;
    let name = args.name.as_str();
    let told = if args.json {
        line(&Told { name, paused: false })
    } else {
        format!("`{name}` is not paused")
    };
    Ok(put(&told)?)
}
