//! What can be wrong with a configuration. No message shows a value that may be a secret.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use hookline_core::{
    event::NameError,
    normalize::PointerError,
    source::{Kind, SECRETS_MAX, SourceError, UnknownKind},
    verify::KeyError,
};

use super::{custom::MEMBERS_MAX, size::Shown};
use crate::{
    limits,
    telemetry::{FormatError, LevelError},
    tls::TlsError,
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
    /// Neither a part of a disk nor a size.
    #[error(
        "`{found}` is neither a part of the disk, as `5%` is, at most {most}%, nor a size, as `20GiB` is"
    )]
    KeepFree {
        /// What was found.
        found: String,
        /// The largest part, in percent.
        most: u8,
    },
    /// Not an address.
    #[error("`{0}` is not an address: write one such as `127.0.0.1:4150`, port 0 for a free one")]
    Address(String),
    /// An address that others can reach, without TLS.
    #[error(
        "`{0}` can be reached from other machines: say `cert` and `key` in `[http.tls]`, or `--http-insecure` where a proxy \
         in front has TLS, or use a loopback address such as `127.0.0.1:{port}`", port = .0.port()
    )]
    HttpExposed(SocketAddr),
    /// An address that others can reach, who may be anybody.
    #[error(
        "`{0}` can be reached from other machines: say `cert` and `key` in `[grpc.tls]`, and either `client_ca` there or \
         `[auth] tokens`; or `--grpc-insecure` to let in who reaches it, or use a loopback address such as `127.0.0.1:{port}`", port = .0.port()
    )]
    GrpcExposed(SocketAddr),
    /// A certificate without a key, or a key without a certificate.
    #[error("is missing: TLS needs a certificate and its key, each the path of a PEM file")]
    TlsFileMissing,
    /// Files of TLS that can't be used.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// Two listeners at one address.
    #[error("`{0}` is the address of `http.listen` too")]
    SameAddress(SocketAddr),
    /// Not a size.
    #[error("`{0}` is not a size: write one such as `25MiB`, `512KiB`, `2GiB` or `1048576`")]
    Size(String),
    /// A size out of bounds.
    #[error("{} is not within {} to {}", Shown(*.found as u64), Shown(*.least as u64), Shown(*.most as u64))]
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
    /// Not a number.
    #[error("`{0}` is not a number that can be taken here")]
    Number(String),
    /// A number out of bounds.
    #[error("{found} is not within {least} to {most}")]
    NumberRange {
        /// The number.
        found: f64,
        /// The least.
        least: f64,
        /// The most.
        most: f64,
    },
    /// A burst of no rate.
    #[error("does nothing without `max_per_second`")]
    BurstAlone,
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
    #[error("is missing: say who posts; `hookline sources kinds` lists who is known")]
    KindMissing,
    /// A kind that is not known.
    #[error("{error}{}", .nearest.map(|kind| format!("; is `{kind}` meant?")).unwrap_or_default())]
    Kind {
        /// What was said.
        error: UnknownKind,
        /// The nearest one, if it is near.
        nearest: Option<Kind>,
    },
    /// A secret that the kind can't use.
    #[error("{error}, which a source of kind `{kind}` needs (the value is not shown)")]
    Key {
        /// The kind.
        kind: Kind,
        /// What is wrong.
        error: KeyError,
    },
    /// A kind that signs the address, and no address.
    #[error(
        "is missing: `{0}` signs the address it posts to, so say it here, or what stands before `/webhooks` \
         in `http.public_url`"
    )]
    UrlMissing(Kind),
    /// A source that does not fit together.
    #[error(transparent)]
    Source(SourceError),
    /// Not an address on the web.
    #[error("`{0}` is not an address: write one such as `https://hooks.example.com`")]
    Url(String),
    /// Not the address of a server without TLS.
    #[error("must be an address without TLS, path or user, such as `http://127.0.0.1:4317`")]
    PlainUrl,
    /// Not a part of a whole.
    #[error("must be a number from 0 to 1")]
    Ratio,
    /// Not a time.
    #[error("`{0}` is not a time: write one such as `2026-12-01T00:00:00Z`")]
    Time(String),
    /// None of the words.
    #[error("is `{found}`, but must be one of {}", .known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))]
    Choice {
        /// What was said.
        found: String,
        /// What may be said.
        known: Vec<&'static str>,
    },
    /// Not one character.
    #[error("`{0}` is not one character of ASCII")]
    Character(String),
    /// Not the name of a header.
    #[error("`{0}` is not the name of a header")]
    Header(String),
    /// Not a place in a request.
    #[error("`{0}` is no place: write `header:NAME`, `body:/json/pointer` or `text:TEXT`")]
    Place(String),
    /// Not a JSON pointer.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// Too many members of the body.
    #[error("{0} members of the body are more than {max}", max = MEMBERS_MAX)]
    PathCount(usize),
    /// A custom source without a signature.
    #[error(
        "is missing: say how the sender signs, or `unsigned = true` to take what anybody posts"
    )]
    SignatureMissing,
    /// A signature that nobody looks at.
    #[error("contradicts `unsigned = true`")]
    SignatureOfUnsigned,
    /// A custom source without an event type.
    #[error(
        "is missing: say where the event type stands, such as `header:X-Event` or `body:/type`"
    )]
    TypeMissing,
    /// Nowhere, or two places.
    #[error("say where the signature stands: either `header` or `query`")]
    PlaceCount,
    /// A separator without a label.
    #[error("is missing: a signature behind a `field_separator` has a label")]
    LabelMissing,
    /// Not a place of a time.
    #[error("must be `header:NAME`, `item:LABEL` or `body:/json/pointer`")]
    TimePlace,
    /// Not a template.
    #[error(
        "`{0}` is no template: parts are {{body}}, {{timestamp}}, {{id}}, {{url}} and {{method}}"
    )]
    Template(String),
    /// A template without the body.
    #[error("must have {0} in it: what is not signed can be changed by anybody")]
    Unsigned(&'static str),
    /// A time that is not signed, or one that is signed and stands nowhere.
    #[error("must have {{timestamp}} in it exactly if `timestamp` is a header or an item")]
    TimeMismatch,
    /// An id that stands nowhere, or one that is not signed.
    #[error("must have {{id}} in it exactly if `id_header` says where it stands")]
    IdMismatch,
    /// A time that can't be told from the signature beside it.
    #[error(
        "as `item:LABEL` needs an `item_separator`, and a `label` of the signature that is another"
    )]
    TimeItem,
    /// A setting that does nothing for a kind.
    #[error("means nothing for `{kind}`: {why}")]
    Meaningless {
        /// The kind.
        kind: Kind,
        /// Why.
        why: &'static str,
    },
    /// An address with more in it than an address.
    #[error(
        "must be an address without user, password, query and fragment (the value is not shown)"
    )]
    UrlParts,
    /// A duration out of bounds.
    #[error("`{}` is less than {}", humantime::format_duration(*.found), humantime::format_duration(*.least))]
    DurationLeast {
        /// The duration.
        found: Duration,
        /// The least.
        least: Duration,
    },
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
    #[error("{0} secrets are more than {max}: the old one and the new one, of each of two schemes", max = SECRETS_MAX)]
    SecretCount(usize),
    /// A secret without a prefix. It may be the secret itself, so it is not shown.
    #[error("must begin with `env:`, `file:` or `plain:` (the value is not shown)")]
    SecretForm,
    /// What can't be the name of a variable.
    #[error(
        "what stands after `env:` is not the name of a variable: letters, digits and `_` (the value is not shown)"
    )]
    VariableName,
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
