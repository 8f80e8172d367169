//! `hookline completions`: what a shell needs to complete our command line.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  hookline completions bash > ~/.local/share/bash-completion/completions/hookline
  hookline completions zsh > ~/.zfunc/_hookline
  hookline completions fish > ~/.config/fish/completions/hookline.fish";

/// Prints the completions of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "hookline", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()
}
