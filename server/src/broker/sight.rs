//! What somebody may see: the events within some patterns, and the subscriptions that take no others.
//!
//! What is out of sight does not exist for who asks. A dead letter is in sight only if its own subject is, the subject of
//! the event that was given up is, and the subscription that gave it up is.

use std::{collections::BTreeSet, sync::Arc};

use hookline_core::{
    event::{DEAD_LETTER_SOURCE, EventType, NewEvent, SourceName, SubscriptionName},
    pattern::{Pattern, PatternSet},
};

use super::{Broker, Identity, announcement};

/// Which events and subscriptions somebody may see. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Sight {
    /// All of them.
    #[default]
    All,
    /// What lies within one of these sets; without any, nothing.
    Within(Arc<[PatternSet]>),
}

impl Sight {
    /// Makes the sight of who may see what lies within one of these sets.
    #[must_use]
    pub fn within(sets: impl IntoIterator<Item = PatternSet>) -> Self {
        Self::Within(sets.into_iter().collect())
    }

    /// Whether everything is in sight.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether everything that these patterns take is in sight; of dead letters only their own subjects are looked at.
    #[must_use]
    pub fn takes(&self, patterns: &PatternSet) -> bool {
        match self {
            Self::All => true,
            Self::Within(sets) => sets.iter().any(|set| patterns.is_within(set)),
        }
    }
}

impl Broker {
    /// Whether an event is in sight.
    #[must_use]
    pub fn shows_event(&self, sight: &Sight, event: &NewEvent) -> bool {
        let Sight::Within(sets) = sight else { return true };
        sets.iter().any(|set| self.lies_within(event, set))
    }

    fn lies_within(&self, event: &NewEvent, set: &PatternSet) -> bool {
        if !set.matches(&event.source, &event.event_type) {
            return false;
        }
        if event.source.as_str() != DEAD_LETTER_SOURCE {
            return true;
        }
        let original = event.metadata.get(announcement::SUBJECT).and_then(subject);
        let is_original_within = original.is_some_and(|(source, event_type)| {
            // The dead letter of a dead letter's subscriber tells no more of what was first given up than its subject.
            set.matches(&source, &event_type)
        });
        is_original_within
            && SubscriptionName::parse(event.event_type.as_str())
                .ok()
                .and_then(|name| self.identity(&name))
                .is_some_and(|identity| self.is_within(&identity, set))
    }

    /// Whether a subscription is in sight: all that it takes is, and all that it took by the earlier rules that it still
    /// has.
    #[must_use]
    pub fn shows(&self, sight: &Sight, identity: &Identity) -> bool {
        let Sight::Within(sets) = sight else { return true };
        sets.iter().any(|set| self.is_within(identity, set))
    }

    /// Whether all that these patterns take is in sight, and the subscriptions whose dead letters they take are.
    #[must_use]
    pub fn shows_all_of(&self, sight: &Sight, patterns: &PatternSet) -> bool {
        let Sight::Within(sets) = sight else { return true };
        sets.iter().any(|set| self.all_within([patterns], set))
    }

    fn is_within(&self, identity: &Identity, set: &PatternSet) -> bool {
        self.all_within(rules(identity), set)
    }

    /// Whether some sets of patterns lie within another, and so do those of the subscriptions whose dead letters they take,
    /// and of those whose dead letters these take.
    ///
    /// A subscription that is not there does not lie within anything: else who asks would learn which ones are there. For
    /// the same reason all dead letters of some beginning are only for who may see all events.
    fn all_within<'a>(
        &self,
        patterns: impl IntoIterator<Item = &'a PatternSet>,
        outer: &PatternSet,
    ) -> bool {
        let mut unlooked: Vec<PatternSet> = patterns.into_iter().cloned().collect();
        let mut looked = BTreeSet::new();
        while let Some(set) = unlooked.pop() {
            if !set.is_within(outer) {
                return false;
            }
            for of in set.patterns().iter().filter_map(Pattern::dead_letters_of) {
                let Some(behind) = self.behind(of, outer) else { return false };
                for identity in behind {
                    if looked.insert(identity.creation) {
                        unlooked.extend(rules(&identity).cloned());
                    }
                }
            }
        }
        true
    }

    /// Returns the subscriptions whose dead letters have a type such as this; `None` if they must not be told.
    fn behind(&self, of: &str, outer: &PatternSet) -> Option<Vec<Arc<Identity>>> {
        if !of.contains('*') {
            let name = SubscriptionName::parse(of).ok()?;
            return Some(vec![self.identity(&name)?]);
        }
        let all = PatternSet::parse(["*"]).expect("a pattern");
        if !all.is_within(outer) {
            return None;
        }
        let letters = PatternSet::parse([format!("{DEAD_LETTER_SOURCE}/{of}")]).ok()?;
        let source = SourceName::parse(DEAD_LETTER_SOURCE).expect("it is a source's name");
        let registry = self.inner.registry.read();
        let is_one = |name: &SubscriptionName| {
            let event_type = EventType::parse(name.as_str());
            event_type.is_ok_and(|event_type| letters.matches(&source, &event_type))
        };
        let found = registry.by_name.iter().filter(|(name, _)| is_one(name));
        Some(found.map(|(_, handle)| handle.identity()).collect())
    }
}

/// Returns what a subscription takes, and took.
fn rules(identity: &Identity) -> impl Iterator<Item = &PatternSet> {
    let earlier = identity.earlier.iter().map(|(_, rule)| &rule.patterns);
    std::iter::once(&identity.rule.patterns).chain(earlier)
}

fn subject(text: &str) -> Option<(SourceName, EventType)> {
    let (source, event_type) = text.split_once('/')?;
    Some((SourceName::parse(source).ok()?, EventType::parse(event_type).ok()?))
}
