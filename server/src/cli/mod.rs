//! The command line: one file per command.
//!
//! Exit codes: 0 done; 1 it failed; 64 (`EX_USAGE` of sysexits.h) the command line or the configuration is wrong, and
//! nothing was begun.

mod serve;

use std::{error::Error, fmt::Write as _, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

/// The command line or the configuration is wrong.
pub const EXIT_USAGE: u8 = 64;

/// Webhooks in, acknowledged gRPC streams out: an event hub for AI agents.
#[derive(Debug, Parser)]
#[command(name = "hookline", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub.
    Serve(serve::Args),
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
            Command::Serve(args) => serve::run(args).await,
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

/// Says why a command failed, with all causes.
fn fail(error: &dyn Error) -> ExitCode {
    say_error(&chain(error));
    ExitCode::FAILURE
}

/// Returns an error and its causes, as one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        write!(text, ": {error}").ok();
        cause = error.source();
    }
    text
}

/// Prints a line for people to the standard error stream.
#[expect(clippy::print_stderr, reason = "the place where commands speak of errors")]
fn say_error(line: &str) {
    eprintln!("hookline: {line}");
}

/// Prints a line to the standard output.
#[expect(clippy::print_stdout, reason = "the place where commands speak")]
fn say(line: &str) {
    println!("{line}");
}
