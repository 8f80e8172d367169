//! `hookline dead-letters`: what was given up.

mod summary;

mod list;

mod show;

mod redrive;

mod purge;

mod bulk;

mod selector;

use super::CommandError;

/// Looks at what was given up, sends it back, or deletes it.
///
/// A delivery becomes a dead letter when its last attempt failed or its agent gave it up. It keeps its event and the
/// reason of every attempt, and is announced as an event `dead-letter/<subscription>`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Summary(summary::Args),
    List(list::Args),
    Show(show::Args),
    Redrive(redrive::Args),
    Purge(purge::Args),
}

pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Summary(args) => summary::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Purge(args) => purge::run(args).await,
        Command::Redrive(args) => redrive::run(args).await,
    }
}
