//! `hookline deliveries`: what is on its way to agents.

mod list;
pub(super) mod words;

use super::CommandError;

/// Looks at what is on its way to agents.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(list::Args),
}

pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::List(args) => list::run(args).await,
    }
}
