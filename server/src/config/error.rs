//! What can be wrong with a configuration. No message shows a value that may be a secret.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use hookline_core::{
    event::NameError,
    source::{SECRETS_MAX, UnknownKind},
};

use crate::{
    limits,
    telemetry::{FormatError, LevelError},
};

/// All mistakes of a configuration, in the order of its sections; at least one.
#[derive(Debug)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// Returns the mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl std::error::Error for ConfigErrors {}

/// A line that counts, then a line for each mistake.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a mistake:")?,
            count => write!(f, "the configuration has {count} mistakes:")?,
        }
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

/// One mistake.
#[derive(Debug)]
pub struct ConfigError {
    /// The key, such as `sources.github.secrets[0]`; empty where it is the file as a whole.
    pub key: String,
    /// Where that was said; `None` where nothing was.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub problem: Problem,
}

impl ConfigError {
    pub(super) fn at(key: impl Into<String>, problem: Problem) -> Self {
        Self { key: key.into(), origin: None, problem }
    }
}

/// `key (where): what is wrong`
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.key.is_empty()) {
            (None, true) => {}
            (None, false) => write!(f, "{}: ", self.key)?,
            (Some(origin), true) => write!(f, "{origin}: ")?,
            (Some(origin), false) => write!(f, "{} ({origin}): ", self.key)?,
        }
        write!(f, "{}", self.problem)
    }
}

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file.
    File(PathBuf),
    /// In an environment variable of this name.
    Variable(String),
    /// By a flag of this name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file can't be read.
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
    /// The file is not text.
    #[error("is not UTF-8 text")]
    NotText,
    /// The file is not TOML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the reader of TOML says.
        message: String,
    },
    /// There is no such key.
    #[error("there is no such key{}", .nearest.as_ref().map(|key| format!("; is `{key}` meant?")).unwrap_or_default())]
    UnknownKey {
        /// The nearest one, if it is near.
        nearest: Option<String>,
    },
    /// A value of another type.
    #[error("must be {expected}, but is {found}")]
    Type {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A list in an environment variable that can't be read.
    #[error("is not a list: write `a,b` or `[\"a\", \"b\"]`")]
    List,
    /// Not an address.
    #[error("`{0}` is not an address: write one such as `127.0.0.1:4150`, port 0 for a free one")]
    Address(String),
    /// An address that others can reach.
    #[error(
        "`{0}` can be reached from other machines, and this version has no authentication: \
         use a loopback address such as `127.0.0.1:{port}`, behind a proxy if need be", port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// Two listeners at one address.
    #[error("`{0}` is the address of `http.listen` too")]
    SameAddress(SocketAddr),
    /// Not a size.
    #[error("`{0}` is not a size: write one such as `25MiB`, `512KiB` or `1048576`")]
    Size(String),
    /// A size out of bounds.
    #[error("{found} bytes are not within {least} to {most}")]
    SizeRange {
        /// The size.
        found: usize,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// Not a duration.
    #[error("`{0}` is not a duration: write one such as `10s` or `1m 30s`")]
    Duration(String),
    /// A duration out of bounds.
    #[error("`{}` is more than {}", humantime::format_duration(*.found), humantime::format_duration(*.most))]
    DurationRange {
        /// The duration.
        found: Duration,
        /// The most.
        most: Duration,
    },
    /// Nothing where something is needed.
    #[error("must not be empty")]
    Empty,
    /// Not a level.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Not a format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Not a source's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name that the hub uses itself.
    #[error("the name `{0}` is reserved for the hub's own events")]
    Reserved(String),
    /// Too many sources.
    #[error("{0} sources are more than {max}", max = limits::SOURCES_MAX)]
    SourceCount(usize),
    /// No kind.
    #[error("is missing: say who posts, one of {0}")]
    KindMissing(String),
    /// A kind that is not known.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// No secret.
    #[error(
        "is missing: name one, such as `env:NAME` or `file:PATH`, or say `unsigned = true` \
         to take what anybody posts"
    )]
    SecretsMissing,
    /// Secrets on a source that says it has none.
    #[error("contradicts `secrets`: a source with secrets is always verified")]
    UnsignedWithSecrets,
    /// Too many secrets.
    #[error("{0} secrets are more than {max}: the old one and the new one", max = SECRETS_MAX)]
    SecretCount(usize),
    /// A secret without a prefix. It may be the secret itself, so it is not shown.
    #[error("must begin with `env:`, `file:` or `plain:` (the value is not shown)")]
    SecretForm,
    /// A variable that is not there.
    #[error("the environment variable `{0}` is not set")]
    VariableMissing(String),
    /// A variable that is not text.
    #[error("the environment variable `{0}` is not UTF-8 text")]
    VariableNotText(String),
    /// A secret without a character.
    #[error("the secret in {0} is empty")]
    SecretEmpty(String),
    /// A file that can't be read.
    #[error("the file `{}` can't be read: {error}", .path.display())]
    SecretUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that is not text.
    #[error("the file `{}` is not UTF-8 text", .0.display())]
    SecretNotText(PathBuf),
}
