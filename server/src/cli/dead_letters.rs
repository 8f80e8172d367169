//! `hookline dead-letters`: what was given up.

mod summary;

mod list;

mod redrive;

mod selector;

use super::CommandError;

/// Looks at what was given up, and sends it back.
///
/// A delivery becomes a dead letter when its last attempt failed or its agent gave it up. It keeps its event and the
/// reason of every attempt, and is announced as an event `dead-letter/<subscription>`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Summary(summary::Args),
    List(list::Args),
    Redrive(redrive::Args),
}

pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Summary(args) => summary::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Redrive(args) => redrive::run(args).await,
    }
}
