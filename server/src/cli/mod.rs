//! The command line: one file per command.
//!
//! Exit codes: 0 done; 1 it failed; 64 (`EX_USAGE` of sysexits.h) the command line or the configuration is wrong, and
//! nothing was begun.

mod demo;
mod serve;

mod agent;

mod send;
mod tail;

mod sources;
mod verify;

mod completions;
mod deliveries;
mod events;
mod status;
mod subscriptions;
mod test_filter;

mod dead_letters;

mod backup;
mod check;
mod check_config;
mod restore;
mod tokens;

mod bench;

mod confirm;
mod event_json;
mod hub;
mod newest;
mod place;
mod post;
mod screen;
mod steps;
mod subscription_json;
mod table;
mod text;
mod time_arg;

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand, error::ErrorKind};

use crate::{
    auth::FileError,
    backup::BackupError,
    config::ConfigErrors,
    store::sled::{OpenError, restore::RestoreError},
    telemetry::chain,
};

/// The command line or the configuration is wrong.
pub const EXIT_USAGE: u8 = 64;

/// Webhooks in, acknowledged gRPC streams out: an event hub for AI agents.
#[derive(Debug, Parser)]
#[command(name = "hookline", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands, each with the help that stands at its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Serve(serve::Args),
    Agent(agent::Args),
    Send(send::Args),
    Tail(tail::Args),
    Status(status::Args),
    Sources(sources::Args),
    Verify(verify::Args),
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    #[command(subcommand)]
    Events(events::Command),
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    TestFilter(test_filter::Args),
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    Backup(backup::Args),
    Restore(restore::Args),
    Check(check::Args),
    CheckConfig(check_config::Args),
    #[command(subcommand)]
    Tokens(tokens::Command),
    #[command(subcommand)]
    Bench(bench::Command),
    Completions(completions::Args),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Agent(args) => end(agent::run(args).await),
            Command::Send(args) => end(send::run(args).await),
            Command::Tail(args) => end(tail::run(args).await),
            Command::Status(args) => end(status::run(args).await),
            Command::Sources(args) => end(sources::run(args).await),
            Command::Verify(args) => end(verify::run(args).await),
            Command::Subscriptions(command) => end(subscriptions::run(command).await),
            Command::Events(command) => end(events::run(command).await),
            Command::Deliveries(command) => end(deliveries::run(command).await),
            Command::TestFilter(args) => end(test_filter::run(args).await),
            Command::Backup(args) => end(backup::run(args).await),
            Command::Restore(args) => end(restore::run(args).await),
            Command::CheckConfig(args) => end(check_config::run(args)),
            Command::Check(args) => end(check::run(args).await),
            Command::Completions(args) => end(completions::run(&args).map_err(Into::into)),
            Command::DeadLetters(command) => end(dead_letters::run(command).await),
            Command::Tokens(command) => end(tokens::run(command)),
            Command::Bench(command) => end(Box::pin(bench::run(command)).await),
        }
    })
}

/// Prints what clap has to say: help and version are no mistakes.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be said where the terminal is gone.
    error.print().ok();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(EXIT_USAGE)
}

/// Why a command did not do what it was to do.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The configuration is wrong: nothing was begun.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The command line is wrong: nothing was begun.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read.
    #[error("could not read {what}")]
    Input { what: String, source: io::Error },
    /// The hub did not do what it was asked.
    #[error(transparent)]
    Hub(#[from] hub::CallError),
    /// The hub did not serve a subscription, or serves it no longer.
    #[error("{0}")]
    Subscription(String),
    /// The program of an agent could not be started.
    #[error("could not start `{program}`")]
    Program { program: String, source: io::Error },
    /// The tokens file could not be read or changed.
    #[error(transparent)]
    Tokens(#[from] FileError),
    /// There is no such token, or it can't be made.
    #[error("{0}")]
    Token(String),
    /// A webhook could not be posted.
    #[error(transparent)]
    Post(#[from] post::PostError),
    /// A webhook was answered by another status than 2xx, which has been printed.
    #[error("the webhook was not accepted: status {0}")]
    Status(u16),
    /// A request does not verify, and why has been printed.
    #[error("the request would be refused")]
    Unverified,
    /// The hub is there and does not serve, as has been printed.
    #[error("the hub does not serve")]
    NotServing,
    /// The one who was asked did not say yes.
    #[error("nothing was done")]
    Declined,
    /// Not all was done, and how much has been printed.
    #[error("ended before all was done")]
    Interrupted,
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A backup can't be written or read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// No store could be made of a backup.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Something is wrong with the store, and what has been printed.
    #[error("{} found", text::count(*.0, "problem"))]
    Damaged(u64),
    /// A benchmark could not be run to its end.
    #[error(transparent)]
    Bench(#[from] bench::BenchError),
    /// The standard output failed.
    #[error("could not write to the standard output")]
    Output(#[from] io::Error),
}

/// Returns how the process ends. Who closes our output has seen enough: that is no failure.
fn end(result: Result<(), CommandError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error @ (CommandError::Config(_) | CommandError::Usage(_))) => {
            say_error(&chain(&error));
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => fail(&error),
    }
}

/// Says why a command failed, with all causes.
fn fail(error: &dyn Error) -> ExitCode {
    say_error(&chain(error));
    ExitCode::FAILURE
}

/// Prints a line for people to the standard error stream.
#[expect(clippy::print_stderr, reason = "the place where commands speak of errors")]
fn say_error(line: &str) {
    eprintln!("hookline: {line}");
}

/// Prints a line to the standard output. Nothing can be said where nobody reads it.
fn say(line: &str) {
    put(line).ok();
}

/// Prints a line to the standard output, at once.
///
/// # Errors
///
/// If it can't be written: `BrokenPipe` where the reader is gone.
fn put(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_chain_is_one_line_of_all_causes() {
        let cause = io::Error::other("the disk is gone");
        let error = CommandError::Input { what: "`a.json`".to_owned(), source: cause };
        assert_eq!(chain(&error), "could not read `a.json`: the disk is gone");
    }
}
