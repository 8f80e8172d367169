//! `hookline events`: the log.

mod chosen;
mod list;
mod publish;
mod replay;
mod show;

pub(super) use self::list::table;
use super::CommandError;

/// Looks at the log, sends its events to a subscription again, and writes to it.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(list::Args),
    Show(show::Args),
    Replay(replay::Args),
    Publish(publish::Args),
}

pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::List(args) => list::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Publish(args) => publish::run(args).await,
    }
}
