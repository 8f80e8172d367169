//! `[auth]`: who may call. The rules that need to know whether callers are asked who they are (what may be listened on
//! beyond loopback) belong where all sections have been read, and ask [`Auth::is_on`].

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ConfigError, Environment, Section};
use crate::limits::TOKENS_FILE_BYTES_MAX;

/// The tokens file in the data folder, which counts when it is there.
pub const TOKENS_FILE: &str = "tokens.toml";

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `tokens`: the file of tokens, as `hookline tokens create` writes it. Default `tokens.toml` in the data folder.
    pub tokens: PathBuf,
    /// Whether the file was named: then callers need a token also while the file is not there.
    pub is_named: bool,
    /// Whether callers need a token: the file was named, or there was one when the configuration was read.
    pub is_on: bool,
}

impl Auth {
    /// Returns what holds where nothing is said and there is no file: nobody is asked for a token.
    #[must_use]
    pub fn off(data: &Path) -> Self {
        Self { tokens: data.join(TOKENS_FILE), is_named: false, is_on: false }
    }
}

pub(super) fn read(
    mut section: Section,
    data: &Path,
    environment: &dyn Environment,
    errors: &mut Vec<ConfigError>,
) -> Auth {
    let named = section.path_if_said("tokens", errors);
    section.finish(errors);
    match named {
        Some(tokens) => Auth { tokens, is_named: true, is_on: true },
        None => {
            let off = Auth::off(data);
            // A file that is there and can't be read is no reason to ask nobody.
            let read = environment.read(&off.tokens, TOKENS_FILE_BYTES_MAX);
            let is_absent = read.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            Auth { is_on: !is_absent, ..off }
        }
    }
}
