//! `hookline tokens revoke`: a token is worth nothing any more.

use super::Place;
use crate::{
    auth::{Entry, State, edit},
    cli::{CommandError, say_error, send::now},
};

/// Takes a token back: within a second nobody gets in with it, and streams that it opened end.
///
/// It stays in the list, as revoked, until another of its name takes its place. One that was revoked before stays so.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What it is called
    name: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let (path, now) = (args.place.path()?, now());
    // Otherwise a file of a wrong name would be made, and lock everybody out.
    drop(crate::auth::read(&path)?);
    let before = edit(&path, |entries: &mut Vec<Entry>| {
        let Some(entry) = entries.iter_mut().find(|entry| entry.name == args.name) else {
            let problem = format!("there is no token `{}` in `{}`", args.name, path.display());
            return Err(CommandError::Token(problem));
        };
        let before = entry.state(now);
        entry.revoked_at.get_or_insert(now);
        Ok(before)
    })?;
    let told = match before {
        State::Live => "is revoked",
        State::Expired => "had expired, and is revoked",
        State::Revoked => "was revoked before",
    };
    say_error(&format!("the token `{}` {told}", args.name));
    Ok(())
}
