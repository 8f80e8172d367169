//! `hookline tokens`: who may call a hub, and what they may do. Works on the file, with or without a hub.

mod create;
mod list;
mod revoke;

use std::path::PathBuf;

use super::CommandError;
use crate::config::{Config, Flags, Process, STORE_PATH_DEFAULT, TOKENS_FILE};

/// Makes, lists and takes back the tokens that callers of a hub need.
///
/// They are kept as hashes in a file. A hub with such a file asks each caller for a token, and takes a change of the file
/// within a second. What each scope is good for: server/docs/security.md.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Create(create::Args),
    List(list::Args),
    Revoke(revoke::Args),
}

pub(super) fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Create(args) => create::run(&args),
        Command::List(args) => list::run(&args),
        Command::Revoke(args) => revoke::run(&args),
    }
}

/// Which file: `--file` goes before `--data`, and that before `--config`.
#[derive(Debug, clap::Args)]
struct Place {
    /// The hub's configuration, whose `[auth] tokens` is the file
    #[arg(long, short, env = "HOOKLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The hub's data folder, where the file is `tokens.toml` [default: ./hookline-data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The tokens file itself
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Place {
    fn path(&self) -> Result<PathBuf, CommandError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        if let Some(data) = &self.data {
            return Ok(data.join(TOKENS_FILE));
        }
        if self.config.is_none() {
            return Ok(PathBuf::from(STORE_PATH_DEFAULT).join(TOKENS_FILE));
        }
        let flags = Flags { config: self.config.clone(), ..Flags::default() };
        Ok(Config::load(&flags, &Process)?.auth.tokens)
    }
}
