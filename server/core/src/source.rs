//! Configured senders: a name, a provider's kind, and what its signatures are checked with.

use std::fmt;

use crate::event::{AGENT_SOURCE, DEAD_LETTER_SOURCE, SourceName};

/// The most secrets of a source that are live at once: the old one and the new one, while one is rotated.
pub const SECRETS_MAX: usize = 2;

/// A provider: it says how requests are signed, and what their parts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// github.com and GitHub Enterprise: repository, organization and app webhooks.
    GitHub,
    /// Stripe: snapshot and thin events.
    Stripe,
}

/// The text is not the name of a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind `{0}`, known are {known}", known = known_kinds())]
pub struct UnknownKind(pub String);

impl Kind {
    /// All kinds, by name.
    pub const ALL: [Self; 2] = [Self::GitHub, Self::Stripe];

    /// Parses the name of a kind, as in the configuration.
    ///
    /// # Errors
    ///
    /// If there is no such kind; says which there are.
    pub fn parse(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownKind(text.to_owned()))
    }

    /// Returns the name of the kind, as in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::Stripe => "stripe",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn known_kinds() -> String {
    Kind::ALL.map(|kind| format!("`{kind}`")).join(", ")
}

/// A secret shared with a sender. It can't be printed, nor compared, so that it leaks neither into a log nor by time.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// The secret has no bytes, so that anyone could sign with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;

impl Secret {
    /// Makes a secret of its bytes, which are taken as they are: neither trimmed nor decoded.
    ///
    /// # Errors
    ///
    /// If there are no bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, EmptySecret> {
        let bytes = bytes.into();
        if bytes.is_empty() { Err(EmptySecret) } else { Ok(Self(bytes.into())) }
    }

    /// Returns the bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A configured sender.
#[derive(Clone, Debug)]
pub struct Source {
    name: SourceName,
    kind: Kind,
    /// Empty exactly if the source is unsigned.
    secrets: Vec<Secret>,
}

/// Why a source was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The name belongs to events that Hookline or agents make.
    #[error("the source name `{0}` is reserved")]
    Reserved(SourceName),
    /// A signed source has nothing to check signatures with.
    #[error("the source `{0}` has no secret and does not say `unsigned = true`")]
    NoSecret(SourceName),
    /// More secrets than can be live at once.
    #[error("the source `{name}` has {count} secrets, at most {SECRETS_MAX} are allowed")]
    TooManySecrets {
        /// The source.
        name: SourceName,
        /// How many it has.
        count: usize,
    },
}

impl Source {
    /// Makes a source whose requests must be signed with one of the secrets (1 or 2).
    ///
    /// # Errors
    ///
    /// If the name is reserved, or there are no secrets, or too many.
    pub fn signed(name: SourceName, kind: Kind, secrets: Vec<Secret>) -> Result<Self, SourceError> {
        match secrets.len() {
            0 => Err(SourceError::NoSecret(name)),
            1..=SECRETS_MAX => Ok(Self { name: unreserved(name)?, kind, secrets }),
            count => Err(SourceError::TooManySecrets { name, count }),
        }
    }

    /// Makes a source whose requests are taken without a look at signatures, because the configuration says so.
    ///
    /// # Errors
    ///
    /// If the name is reserved.
    pub fn unsigned(name: SourceName, kind: Kind) -> Result<Self, SourceError> {
        Ok(Self { name: unreserved(name)?, kind, secrets: Vec::new() })
    }

    /// Returns the name, which is the last part of `/webhooks/{source}`.
    #[must_use]
    pub const fn name(&self) -> &SourceName {
        &self.name
    }

    /// Returns the provider.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether signatures are not looked at.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Returns the live secrets; none for an unsigned source.
    #[must_use]
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

fn unreserved(name: SourceName) -> Result<SourceName, SourceError> {
    if matches!(name.as_str(), DEAD_LETTER_SOURCE | AGENT_SOURCE) {
        return Err(SourceError::Reserved(name));
    }
    Ok(name)
}
