//! Configured senders: a name, a provider's kind, and what its signatures are checked with.

use std::{fmt, time::Duration};

pub use crate::provider::{Kind, UnknownKind};
use crate::{
    event::{AGENT_SOURCE, DEAD_LETTER_SOURCE, SourceName},
    normalize::Mapping,
    rate::Rate,
    time::Timestamp,
    verify::{KeyError, Keyring, Scheme},
};

/// The most secrets of a source: the old one and the new one while one is rotated, of each of two schemes (GitLab has a
/// token and a signing secret).
pub const SECRETS_MAX: usize = 4;

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

/// A secret, and until when it counts.
#[derive(Clone, Debug)]
pub struct LiveSecret {
    /// The secret.
    pub secret: Secret,
    /// From when on it is no longer taken, by the wall clock; `None`: for ever.
    pub not_after: Option<Timestamp>,
}

impl LiveSecret {
    /// Whether it counts at a time by the wall clock.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|end| now < end)
    }
}

impl From<Secret> for LiveSecret {
    fn from(secret: Secret) -> Self {
        Self { secret, not_after: None }
    }
}

/// Where a sender posts, as the sender sees it: behind a proxy the hub can't know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicUrl {
    /// What stands before the path of every request, such as `https://hooks.example.com`.
    Base(Box<str>),
    /// The whole address of one source. Its query is the request's, unless it has one itself: then it is that of one
    /// request, as in a published vector.
    Exact(Box<str>),
}

impl PublicUrl {
    /// Returns the address of a request with this path and query.
    #[must_use]
    pub fn of(&self, target: &str) -> String {
        match self {
            Self::Base(base) => format!("{}{target}", base.trim_end_matches('/')),
            Self::Exact(url) if url.contains('?') => url.to_string(),
            Self::Exact(url) => match target.split_once('?') {
                Some((_, query)) => format!("{url}?{query}"),
                None => url.to_string(),
            },
        }
    }
}

/// How a sender that has no kind of its own signs, and where in its requests things stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Custom {
    /// How it signs; none only of an unsigned source.
    pub schemes: Vec<Scheme>,
    /// Where things stand.
    pub mapping: Mapping,
}

/// What may be configured of a source beside its kind and secrets.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where the sender posts; needed where the signature has it in it.
    pub url: Option<PublicUrl>,
    /// How old, or how far ahead, a signature may be, in place of the kind's own bound.
    pub tolerance: Option<Duration>,
    /// Whether the provider's older ways to sign count too: [`Scheme::legacy`].
    pub legacy_signatures: bool,
    /// How long a body that comes again under another delivery id counts as a replay; `None`: never.
    pub replay_window: Option<Duration>,
    /// What a sender says in its handshake (Meta's `hub.verify_token`).
    pub verify_token: Option<Secret>,
    /// How many requests are looked at, signed or not; `None`: as many as come.
    pub rate: Option<Rate>,
    /// Of a source of kind `custom`, and only of such a one.
    pub custom: Option<Custom>,
}

impl Settings {
    /// Returns how requests to a source of this kind may be signed.
    #[must_use]
    pub fn schemes(&self, kind: Kind) -> &[Scheme] {
        match &self.custom {
            Some(custom) => &custom.schemes,
            None => kind.provider().schemes,
        }
    }
}

/// A configured sender.
#[derive(Clone, Debug)]
pub struct Source {
    name: SourceName,
    kind: Kind,
    /// Empty exactly if the source is unsigned.
    secrets: Vec<LiveSecret>,
    keyring: Keyring,
    settings: Settings,
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
    /// A secret is none of this kind.
    #[error("the secret {index} of the source `{name}` can't be used: {error}")]
    Key {
        /// The source.
        name: SourceName,
        /// The secret's place, from 0.
        index: usize,
        /// Why.
        error: KeyError,
    },
    /// The signature has the address in it, which is not configured.
    #[error("the source `{0}` signs the address it posts to, which is not configured")]
    NoUrl(SourceName),
    /// A description where there is none to be, or none where there must be one.
    #[error("the source `{0}` must have a description of its own exactly if its kind is `custom`")]
    Custom(SourceName),
}

impl Source {
    /// Makes a source of its kind's defaults, whose requests must be signed with one of the secrets.
    ///
    /// # Errors
    ///
    /// As [`Source::new`].
    pub fn signed(name: SourceName, kind: Kind, secrets: Vec<Secret>) -> Result<Self, SourceError> {
        let secrets = secrets.into_iter().map(LiveSecret::from).collect();
        Self::new(name, kind, secrets, Settings::default())
    }

    /// Makes a source whose requests must be signed with one of the secrets (1 to [`SECRETS_MAX`]).
    ///
    /// # Errors
    ///
    /// If the name is reserved, the secrets are none, too many, or not of the kind, or the settings do not fit the kind.
    pub fn new(
        name: SourceName,
        kind: Kind,
        secrets: Vec<LiveSecret>,
        settings: Settings,
    ) -> Result<Self, SourceError> {
        match secrets.len() {
            0 => return Err(SourceError::NoSecret(name)),
            1..=SECRETS_MAX => {}
            count => return Err(SourceError::TooManySecrets { name, count }),
        }
        let mut source = Self::unsigned(name, kind, settings)?;
        if source.schemes().iter().any(Scheme::needs_url) && source.settings.url.is_none() {
            return Err(SourceError::NoUrl(source.name));
        }
        let keyring = Keyring::new(source.schemes(), &secrets);
        source.keyring = keyring.map_err(|(index, error)| SourceError::Key {
            name: source.name.clone(),
            index,
            error,
        })?;
        source.secrets = secrets;
        Ok(source)
    }

    /// Makes a source whose requests are taken without a look at signatures, because the configuration says so.
    ///
    /// # Errors
    ///
    /// If the name is reserved, or the settings do not fit the kind.
    pub fn unsigned(name: SourceName, kind: Kind, settings: Settings) -> Result<Self, SourceError> {
        if matches!(name.as_str(), DEAD_LETTER_SOURCE | AGENT_SOURCE) {
            return Err(SourceError::Reserved(name));
        }
        if settings.custom.is_some() != (kind == Kind::CUSTOM) {
            return Err(SourceError::Custom(name));
        }
        Ok(Self { name, kind, secrets: Vec::new(), keyring: Keyring::default(), settings })
    }

    /// Returns the name, which is the last part of `/webhooks/{source}`.
    #[must_use]
    pub const fn name(&self) -> &SourceName {
        &self.name
    }

    /// Returns the path that the hub takes its requests at.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/webhooks/{}", self.name)
    }

    /// Returns the provider.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a way to sign counts, which an older one does only where the source asks for it.
    #[must_use]
    pub const fn takes(&self, scheme: &Scheme) -> bool {
        self.settings.legacy_signatures || !scheme.legacy
    }

    /// Whether signatures are not looked at.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Returns the secrets, those that have run out among them; none for an unsigned source.
    #[must_use]
    pub fn secrets(&self) -> &[LiveSecret] {
        &self.secrets
    }

    /// Returns how requests may be signed.
    #[must_use]
    pub fn schemes(&self) -> &[Scheme] {
        self.settings.schemes(self.kind)
    }

    /// Returns what else is configured.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the address at which a request with this path and query was posted; `None` if it is not configured.
    #[must_use]
    pub fn url_of(&self, target: &str) -> Option<String> {
        self.settings.url.as_ref().map(|url| url.of(target))
    }

    pub(crate) const fn tolerance(&self) -> Option<Duration> {
        self.settings.tolerance
    }

    pub(crate) const fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}
