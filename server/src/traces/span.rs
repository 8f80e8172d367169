//! A span that is over.

use std::time::Duration;

use hookline_core::time::Timestamp;

use super::Context;
use crate::clock::Clock;

/// What a span is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A step within the hub.
    Internal,
    /// An answer to a request.
    Server,
    /// An event that is handed to the log.
    Producer,
    /// An attempt at a delivery.
    Consumer,
}

/// The value of an attribute: names, numbers and words of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// What was done, from when to when, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its place.
    pub context: Context,
    /// What it is, in few words that many have in common.
    pub name: String,
    /// What it is to others.
    pub kind: Kind,
    /// From when, by the wall clock.
    pub started_at: Timestamp,
    /// Until when.
    pub ended_at: Timestamp,
    /// More about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened at its end.
    pub events: Vec<(&'static str, Vec<(&'static str, Value)>)>,
    /// Whether it failed.
    pub has_failed: bool,
}

impl Span {
    /// Makes a span of a step that ends now and took so long.
    #[must_use]
    pub fn ending_now(
        context: Context,
        (kind, name): (Kind, String),
        took: Duration,
        clock: &dyn Clock,
    ) -> Self {
        let ended_at = clock.wall();
        Self {
            context,
            name,
            kind,
            started_at: ended_at.saturating_sub(took),
            ended_at,
            attributes: Vec::new(),
            events: Vec::new(),
            has_failed: false,
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }
}
