//! Asking before something is done that can't be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::CommandError;

/// Whether to ask.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Confirmation {
    /// Do not ask; needed where nobody can be asked
    #[arg(long, short)]
    yes: bool,
}

impl Confirmation {
    /// Refuses, before anything is begun, where a question would have nobody to answer it.
    pub(super) fn check(self) -> Result<(), CommandError> {
        if self.yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Ok(());
        }
        Err(CommandError::Usage("there is no terminal to ask at: say `--yes`".to_owned()))
    }

    /// Whether [`ask`](Self::ask) asks.
    pub(super) const fn asks(self) -> bool {
        !self.yes
    }

    /// Asks, unless `--yes` was said.
    pub(super) fn ask(self, question: &str) -> Result<(), CommandError> {
        self.check()?;
        if self.yes {
            return Ok(());
        }
        let mut errors = io::stderr().lock();
        write!(errors, "{question} [y/N] ")?;
        errors.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if is_yes(&answer) { Ok(()) } else { Err(CommandError::Declined) }
    }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes("YES\n"));
        assert!(!is_yes("\n") && !is_yes("") && !is_yes("no\n") && !is_yes("yesterday\n"));
    }
}
