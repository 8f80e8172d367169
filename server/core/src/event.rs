//! Events, their names and their parts. What is made here is valid: the rest of the code does not check again.

use std::{borrow::Borrow, fmt, num::NonZeroU64, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{metadata::Metadata, text::SmolStr, time::Timestamp};

/// The most bytes of a source's name (DESIGN: section 5).
pub const SOURCE_BYTES_MAX: usize = 64;
/// The most bytes of a subscription's name.
pub const SUBSCRIPTION_BYTES_MAX: usize = 64;
/// The most bytes of an event type.
pub const EVENT_TYPE_BYTES_MAX: usize = 128;
/// The source of announcements of dead letters: `dead-letter/<subscription>`.
pub const DEAD_LETTER_SOURCE: &str = "dead-letter";
/// The source of events that agents publish without naming another.
pub const AGENT_SOURCE: &str = "agent";
/// The key of the metadata with the hash of the posted body, for events of sources that look for replays.
pub const METADATA_BODY_HASH: &str = "body_hash";
/// The event type of a verified body that could not be read.
pub const UNPARSED: &str = "unparsed";

/// An event's position in the log: from 1, without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(NonZeroU64);

impl Sequence {
    /// The position of the first event of a log.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// Makes a sequence; `None` for 0, which stands for "before the first".
    #[must_use]
    pub fn new(sequence: u64) -> Option<Self> {
        NonZeroU64::new(sequence).map(Self)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Returns the next position.
    ///
    /// # Panics
    ///
    /// After 2^64 - 1 events, which a log that takes a million a second reaches in 584,000 years.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a log never holds 2^64 - 1 events"))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The id that Hookline gives an event: a UUIDv7, so that ids sort by time of receipt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// Makes an id from the time of receipt and ten random bytes (RFC 9562, section 5.7).
    #[must_use]
    pub fn new(received_at: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(received_at.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Parses the hyphenated text form; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // `Uuid` would also take braces, URNs and bare digits; an id has one spelling only.
        (text.len() == Self::TEXT_BYTES).then(|| Uuid::try_parse(text).ok()).flatten().map(Self)
    }

    /// How many bytes the text form has.
    pub const TEXT_BYTES: usize = 36;

    /// Writes the hyphenated text form into a buffer, and returns it.
    pub fn write(self, buffer: &mut [u8; Self::TEXT_BYTES]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// Makes an id from its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns the milliseconds since the Unix epoch that a UUIDv7 begins with.
    #[must_use]
    pub fn unix_millis(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = *self.as_bytes();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the {what} must not be empty")]
    Empty {
        /// What was to be named.
        what: &'static str,
    },
    /// The name has too many bytes.
    #[error("the {what} has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// What was to be named.
        what: &'static str,
        /// The most bytes it may have.
        max: usize,
        /// How many it has.
        len: usize,
    },
    /// The name has a character outside the alphabet.
    #[error("the {what} has `{found}` at byte {position}, outside {alphabet}")]
    Character {
        /// What was to be named.
        what: &'static str,
        /// The characters it may have.
        alphabet: &'static str,
        /// The character that is not one of them.
        found: char,
        /// Where it stands, in bytes from 0.
        position: usize,
    },
}

fn check_name(text: &str, what: &'static str, max: usize, dots: bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > max {
        return Err(NameError::TooLong { what, max, len: text.len() });
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-') || (dots && c == '.');
    match text.char_indices().find(|&(_, c)| !allowed(c)) {
        None => Ok(()),
        Some((position, found)) => {
            let alphabet = if dots { "[a-z0-9_.-]" } else { "[a-z0-9_-]" };
            Err(NameError::Character { what, alphabet, found, position })
        }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, dots: $dots:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            ///
            /// If the text is empty, too long, or has a character outside the alphabet.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_name(text, $what, $max, $dots).map(|()| Self(text.into()))
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a source: `[a-z0-9_-]`, 1 to 64 bytes.
    SourceName, "source name", SOURCE_BYTES_MAX, dots: false
}

name! {
    /// The name of a subscription: `[a-z0-9_.-]`, 1 to 64 bytes.
    SubscriptionName, "subscription name", SUBSCRIPTION_BYTES_MAX, dots: true
}

name! {
    /// What happened: `[a-z0-9_.-]`, 1 to 128 bytes, such as `pull_request.opened`.
    EventType, "event type", EVENT_TYPE_BYTES_MAX, dots: true
}

impl EventType {
    /// Makes an event type of what a provider calls it: lower-cased, `:` and `/` become `.`, anything else outside
    /// `[a-z0-9_.-]` becomes `_`, and what is beyond 128 bytes is cut off. `None` for empty text.
    #[must_use]
    pub fn normalize(raw: &str) -> Option<Self> {
        // Most are written so already.
        if let Ok(event_type) = Self::parse(raw) {
            return Some(event_type);
        }
        let text: SmolStr = raw
            .chars()
            .take(EVENT_TYPE_BYTES_MAX)
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9' | '_' | '.' | '-') => c,
                ':' | '/' => '.',
                _ => '_',
            })
            .collect();
        (!text.is_empty()).then_some(Self(text))
    }

    /// Returns `unparsed`: the type of a verified body that could not be read.
    #[must_use]
    pub fn unparsed() -> Self {
        Self(UNPARSED.into())
    }
}

/// An event before it is in the log: what a normalizer makes of a verified request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The configured sender.
    pub source: SourceName,
    /// What happened.
    pub event_type: EventType,
    /// When it happened, by the provider; the time of receipt where that is not known.
    pub timestamp: Timestamp,
    /// Who did it; empty if unknown.
    pub actor: SmolStr,
    /// What kind of thing it happened to; empty if there is none.
    pub resource_type: SmolStr,
    /// Which thing it happened to; empty if there is none.
    pub resource_id: SmolStr,
    /// The body as posted.
    pub payload: Bytes,
    /// Facts about the event and its transport.
    pub metadata: Metadata,
    /// The provider's id of the delivery, for dedupe; empty: never deduped.
    pub delivery_key: SmolStr,
    /// How long ago an event of the same source and body (see [`NewEvent::body_hash`]) makes this one its replay,
    /// whatever their delivery keys are; `None`: never. Asked when the event is appended, and not kept.
    pub replay_window: Option<Duration>,
}

impl NewEvent {
    /// Returns the hash of its body, where its source looks for replays: the metadata [`METADATA_BODY_HASH`].
    #[must_use]
    pub fn body_hash(&self) -> Option<&str> {
        self.metadata.get(METADATA_BODY_HASH)
    }
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Hookline's id.
    pub id: EventId,
    /// The position in the log.
    pub sequence: Sequence,
    /// When Hookline received it; never goes back from one sequence to the next.
    pub received_at: Timestamp,
    /// Everything else.
    pub content: NewEvent,
}

impl Event {
    /// Returns `<source>/<event_type>`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}/{}", self.content.source, self.content.event_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_the_place() {
        assert_eq!(
            SourceName::parse("git.hub").unwrap_err().to_string(),
            "the source name has `.` at byte 3, outside [a-z0-9_-]"
        );
        assert_eq!(
            EventType::parse("").unwrap_err().to_string(),
            "the event type must not be empty"
        );
        assert!(SubscriptionName::parse("prs.v2").is_ok());
        assert!(SubscriptionName::parse(&"x".repeat(65)).is_err());
    }

    #[test]
    fn an_event_type_is_normalized_into_the_alphabet() {
        for (raw, want) in [
            ("pull_request.opened", "pull_request.opened"),
            ("repo:push", "repo.push"),
            ("orders/create", "orders.create"),
            ("Deploy Now\n", "deploy_now_"),
            ("\u{e9}t\u{e9}", "_t_"),
        ] {
            assert_eq!(EventType::normalize(raw).unwrap().as_str(), want, "{raw:?}");
        }
        assert_eq!(EventType::normalize(""), None);
        assert_eq!(EventType::normalize(&"x".repeat(500)).unwrap().as_str().len(), 128);
    }

    #[test]
    fn an_event_id_carries_its_time_and_has_one_spelling() {
        let id = EventId::new(Timestamp::from_millis(1_700_000_000_123).unwrap(), [7; 10]);
        assert_eq!(id.unix_millis(), 1_700_000_000_123);
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        assert_eq!(EventId::parse(&format!("{{{id}}}")), None);
        assert_eq!(EventId::parse(&id.to_string().replace('-', "")), None);
    }
}
