//! `hookline subscriptions`: named readers of the log, and what operators do with them.

mod create;
mod delete;
pub(super) mod list;
mod pause;
mod policy;
mod resume;
mod seek;
mod show;
mod update;

use hookline_client::{
    Client,
    proto::{GetSubscriptionRequest, Subscription},
};

use super::{CommandError, hub::Address};

/// Looks at subscriptions, makes, changes and moves them.
///
/// A subscription is a named, durable reader of the log: each event that its patterns and its filter take goes to one of its
/// consumers at a time, until it is acked or dead.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(list::Args),
    Show(show::Args),
    Create(create::Args),
    Update(update::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Seek(seek::Args),
    Delete(delete::Args),
}

pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::List(args) => list::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Create(args) => create::run(args).await,
        Command::Update(args) => update::run(args).await,
        Command::Pause(args) => pause::run(args).await,
        Command::Resume(args) => resume::run(args).await,
        Command::Seek(args) => seek::run(args).await,
        Command::Delete(args) => delete::run(args).await,
    }
}

/// Asks for one subscription.
async fn get(client: &Client, address: &Address, name: &str) -> Result<Subscription, CommandError> {
    let request = GetSubscriptionRequest { name: name.to_owned() };
    let answer = client.subscriptions().get_subscription(request).await;
    let answer = answer.map_err(|status| address.refused("get the subscription", status))?;
    Ok(answer.into_inner().subscription.unwrap_or_default())
}
