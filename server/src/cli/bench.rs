//! `hookline bench`: how fast a hub is, on the machine at hand.
//!
//! Each part is an experiment that is run some rounds, against a hub of its own or one that runs, and a report of all
//! rounds: for people a table, for machines JSON with all that is needed to judge a figure by.

mod backlog;
mod deliver;
mod fanout;
mod ingest;
mod latency;
mod soak;

mod stage;

mod hub;

mod bodies;
mod connection;
mod generator;
mod load;
mod pace;

mod crew;
mod raw;
mod tally;

mod latencies;
mod machine;
mod meter;
mod process;
mod report;

mod aside;

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

use self::aside::aside;
use super::CommandError;

/// Measures how fast a hub is.
///
/// Without an address each starts a hub of its own: this executable as another process, on free ports of loopback, in a
/// folder that is removed at the end. Figures of one machine mean little on another; compare what was measured in the
/// same minutes on the same one.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Ingest(ingest::Args),
    Deliver(deliver::Args),
    Latency(latency::Args),
    Fanout(fanout::Args),
    Backlog(backlog::Args),
    Soak(soak::Args),
}

/// Why a benchmark came to no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    /// The machine did not do what it should.
    #[error("could not {attempted}")]
    Machine { attempted: String, source: io::Error },
    /// The hub that was to be measured did not start.
    #[error("the hub did not start: it said `{0}`")]
    NotReady(String),
    /// A call was not answered as it should be.
    #[error("could not {attempted}")]
    Call { attempted: &'static str, source: Box<tonic::Status> },
    /// A consumer could not subscribe, or lost its stream.
    #[error("a consumer failed")]
    Consumer(#[source] Box<hookline_client::Error>),
    /// What was measured is worth nothing.
    #[error("{0}")]
    Failed(String),
}

pub(super) async fn run(command: Command) -> Result<(), CommandError> {
    until_stopped(async {
        let failed = |source| BenchError::Machine { attempted: "measure".to_owned(), source };
        aside(move || measure(command)).await.map_err(failed)?
    })
    .await
}

async fn measure(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Ingest(args) => ingest::run(args).await,
        Command::Deliver(args) => Box::pin(deliver::run(args)).await,
        Command::Latency(args) => Box::pin(latency::run(args)).await,
        Command::Fanout(args) => Box::pin(fanout::run(args)).await,
        Command::Backlog(args) => Box::pin(backlog::run(args)).await,
        Command::Soak(args) => Box::pin(soak::run(args)).await,
    }
}

/// Runs a benchmark until SIGINT or SIGTERM. What it holds is dropped then, its hub among it.
async fn until_stopped<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let failed = |source| BenchError::Machine { attempted: "listen to signals".to_owned(), source };
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        biased;
        _ = term.recv() => Err(CommandError::Interrupted),
        _ = interrupt.recv() => Err(CommandError::Interrupted),
        done = work => done,
    }
}
