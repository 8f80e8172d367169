//! Events and rules, and what the rules make of the events, said apart from the code under test.

use fastrand::Rng;
use hookline_core::{
    event::{EventType, NewEvent, SourceName},
    filter::Filter,
    pattern::PatternSet,
    time::Timestamp,
};

use crate::{broker::Rule, store};

/// What an event is, as far as rules and resources go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    source: &'static str,
    event_type: &'static str,
    value: Value,
    resource: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Number(u8),
    Text,
    Missing,
}

/// Which events a subscription takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    All,
    Github,
    Pushes,
    Small,
    DeadLetters,
}

/// What a rule makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    Skipped,
    Fails,
}

impl Kind {
    /// Picks one.
    pub(super) fn random(random: &mut Rng) -> Self {
        let value = match random.u8(..8) {
            0 => Value::Text,
            1 => Value::Missing,
            _ => Value::Number(random.u8(..10)),
        };
        Self {
            source: ["github", "github", "stripe"][random.usize(..3)],
            event_type: ["push", "push", "issue.opened"][random.usize(..3)],
            value,
            resource: [None, Some(1), Some(2), Some(3)][random.usize(..4)],
        }
    }

    /// What it is to the simulation: an announcement of the hub.
    pub(super) const ANNOUNCEMENT: Self =
        Self { source: "dead-letter", event_type: "", value: Value::Missing, resource: None };

    /// Makes the event. Its delivery key says which it is.
    pub(super) fn event(self, number: usize) -> NewEvent {
        let payload = match self.value {
            Value::Number(n) => format!(r#"{{"n":{n}}}"#),
            Value::Text => r#"{"n":"many"}"#.to_owned(),
            Value::Missing => "{}".to_owned(),
        };
        let resource = self.resource.map(|resource| resource.to_string()).unwrap_or_default();
        NewEvent {
            source: SourceName::parse(self.source).unwrap(),
            event_type: EventType::parse(self.event_type).unwrap(),
            timestamp: Timestamp::EPOCH,
            actor: "octocat".into(),
            resource_type: "pull_request".into(),
            resource_id: resource.into(),
            payload: payload.into(),
            metadata: [].into(),
            delivery_key: number.to_string().into(),
            replay_window: None,
        }
    }
}

impl Takes {
    /// All there are.
    pub(super) const EVERY: [Self; 5] =
        [Self::All, Self::Github, Self::Pushes, Self::Small, Self::DeadLetters];

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::All => ("*", ""),
            Self::Github => ("github", ""),
            Self::Pushes => ("*/push", ""),
            Self::Small => ("*", "event.payload.n < 5"),
            Self::DeadLetters => ("dead-letter/*", ""),
        }
    }

    /// Whether a ledger's rule is this one.
    pub(super) fn is(self, rule: &store::Rule) -> bool {
        let (pattern, filter) = self.texts();
        rule.filter == filter && rule.patterns == PatternSet::parse([pattern]).unwrap()
    }

    /// Makes the rule.
    pub(super) fn rule(self) -> Rule {
        let (pattern, filter) = self.texts();
        let filter = (!filter.is_empty()).then(|| Filter::compile(filter).unwrap());
        Rule { patterns: PatternSet::parse([pattern]).unwrap(), filter }
    }

    /// Returns what it makes of an event.
    pub(super) fn judge(self, kind: Kind) -> Verdict {
        let is_announcement = kind.source == "dead-letter";
        let taken = match self {
            Self::All => !is_announcement,
            Self::Github => kind.source == "github",
            Self::Pushes => !is_announcement && kind.event_type == "push",
            Self::DeadLetters => is_announcement,
            Self::Small => match kind.value {
                _ if is_announcement => false,
                Value::Number(n) => n < 5,
                Value::Text => return Verdict::Fails,
                Value::Missing => false,
            },
        };
        if taken { Verdict::Taken } else { Verdict::Skipped }
    }
}
