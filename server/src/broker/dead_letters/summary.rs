//! Dead letters summed up: what failed, and how often.

use std::collections::BTreeMap;

use hookline_core::{
    delivery::{Reason, cause},
    event::SubscriptionName,
    text::cut,
    time::Timestamp,
};

use super::{DeadLetterError, DeadLetterId, READ, Selector};
use crate::{
    broker::Broker,
    limits::{
        CAUSE_SAMPLES_MAX, CAUSE_SUBSCRIPTIONS_MAX, CAUSE_TEXT_BYTES_MAX, CAUSES_MAX,
        SUMMARY_TIME_MAX,
    },
    store::{DeadRow, ReadRange},
};

/// What dead letters have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// Why they were given up.
    pub reason: Reason,
    /// The class of the error of their last attempts.
    pub error_type: String,
    /// What they failed with, without its changing parts.
    pub text: String,
}

impl Cause {
    /// Returns the cause of a dead letter, and what it failed with as it was said.
    #[must_use]
    pub fn of(row: &DeadRow) -> (Self, &str) {
        let last = row.letter.history.last();
        // The attempts of before a redrive are not what a filter failed with.
        let (text, error_type) = match row.letter.reason {
            Reason::FilterError => (row.letter.detail.as_str(), ""),
            // What retention says is said of many, by one of them.
            Reason::MaxAttempts | Reason::Rejected | Reason::Retention => last
                .map_or_else(Default::default, |last| {
                    (last.reason.as_str(), last.error_type.as_str())
                }),
        };
        let reason = row.letter.reason;
        (Self { reason, error_type: error_type.to_owned(), text: cause(text) }, text)
    }
}

/// Dead letters with one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseGroup {
    /// Their cause; `None`: these are all others.
    pub cause: Option<Cause>,
    /// How many there are.
    pub count: u64,
    /// When the oldest was given up.
    pub oldest: Timestamp,
    /// When the newest was given up.
    pub newest: Timestamp,
    /// The first of them, at most `CAUSE_SAMPLES_MAX`.
    pub samples: Vec<DeadLetterId>,
    /// What the first failed with, as it was said; at most `CAUSE_TEXT_BYTES_MAX`.
    pub sample_text: String,
    /// Who gave them up, at most `CAUSE_SUBSCRIPTIONS_MAX`.
    pub subscriptions: Vec<SubscriptionName>,
}

/// What dead letters failed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Largest first, those of the same size the one that came first first; the rest last.
    pub groups: Vec<CauseGroup>,
    /// Whether there were more than could be read in the time of a call.
    pub is_partial: bool,
}

impl Broker {
    /// Groups dead letters by their cause.
    ///
    /// # Errors
    ///
    /// If the named subscription does not exist, or a ledger can't be read.
    pub async fn summarize(&self, selector: &Selector) -> Result<Summary, DeadLetterError> {
        let handles = self.selected(selector)?;
        let until = self.inner.clock.steady() + SUMMARY_TIME_MAX;
        let mut groups = Groups::default();
        for handle in handles {
            let mut after = 0;
            loop {
                let range = ReadRange { after, limit: READ };
                let rows = self.inner.ledger.dead_letters(handle.creation, range).await?;
                let Some(last) = rows.last() else { break };
                after = last.entry.event.sequence.get();
                let is_shown =
                    |row: &&DeadRow| self.shows_event(&selector.sight, &row.entry.event.content);
                for row in rows.iter().filter(|row| selector.takes(row)).filter(is_shown) {
                    groups.add(&handle.name, row);
                }
                if until <= self.inner.clock.steady() {
                    return Ok(groups.finish(true));
                }
            }
        }
        Ok(groups.finish(false))
    }
}

/// The groups as they grow. Memory is bounded by `CAUSES_MAX`, however many causes there are.
#[derive(Debug, Default)]
struct Groups {
    places: BTreeMap<Cause, usize>,
    groups: Vec<CauseGroup>,
    rest: Option<CauseGroup>,
}

impl Groups {
    fn add(&mut self, subscription: &SubscriptionName, row: &DeadRow) {
        let (cause, text) = Cause::of(row);
        let Self { places, groups, rest } = self;
        let group = match places.get(&cause) {
            Some(place) => groups.get_mut(*place).expect("a place is one of a group"),
            None if groups.len() < CAUSES_MAX => {
                places.insert(cause.clone(), groups.len());
                groups.push(CauseGroup::new(Some(cause), row, text));
                groups.last_mut().expect("one was put in")
            }
            None => rest.get_or_insert_with(|| CauseGroup::new(None, row, text)),
        };
        group.add(subscription, row);
    }

    fn finish(mut self, is_partial: bool) -> Summary {
        // Stable: of the same size, the one that came first is first.
        self.groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        self.groups.extend(self.rest);
        Summary { groups: self.groups, is_partial }
    }
}

impl CauseGroup {
    fn new(cause: Option<Cause>, row: &DeadRow, text: &str) -> Self {
        Self {
            cause,
            count: 0,
            oldest: row.letter.died_at,
            newest: row.letter.died_at,
            samples: Vec::new(),
            sample_text: cut(text.to_owned(), CAUSE_TEXT_BYTES_MAX),
            subscriptions: Vec::new(),
        }
    }

    fn add(&mut self, subscription: &SubscriptionName, row: &DeadRow) {
        self.count += 1;
        self.oldest = self.oldest.min(row.letter.died_at);
        self.newest = self.newest.max(row.letter.died_at);
        if self.samples.len() < CAUSE_SAMPLES_MAX {
            self.samples.push(DeadLetterId::of(row));
        }
        let is_new = !self.subscriptions.contains(subscription);
        if is_new && self.subscriptions.len() < CAUSE_SUBSCRIPTIONS_MAX {
            self.subscriptions.push(subscription.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use hookline_core::{
        delivery::{Attempt, AttemptEnd, Creation, DeadLetter},
        event::{Event, EventId, Sequence},
    };

    use super::*;
    use crate::{
        broker::tests::event,
        store::{Entry, Packed},
    };

    fn row(number: u64, reason: Reason, text: &str) -> DeadRow {
        let content = event("push");
        let (received_at, sequence) = (Timestamp::EPOCH, Sequence::new(number).unwrap());
        let event =
            Event { id: EventId::new(received_at, [0; 10]), sequence, received_at, content };
        let attempt = Attempt {
            number: 1,
            consumer: "a".to_owned(),
            started_at: Timestamp::EPOCH,
            ended_at: Timestamp::EPOCH,
            end: AttemptEnd::Nacked,
            reason: text.to_owned(),
            error_type: "Error".to_owned(),
        };
        let letter = DeadLetter {
            generation: 0,
            reason,
            history: vec![attempt],
            attempts: 1,
            died_at: Timestamp::EPOCH + Duration::from_secs(number),
            detail: "no such 'overload'".to_owned(),
        };
        let packed = Packed::Plain(bytes::Bytes::new());
        let entry = Arc::new(Entry { event, payload_size: 0, packed });
        DeadRow { creation: Creation(1), entry, letter, redriven: false, announced: true }
    }

    fn name(name: &str) -> SubscriptionName {
        SubscriptionName::parse(name).unwrap()
    }

    #[test]
    fn the_largest_cause_is_first_with_its_oldest_and_newest() {
        let mut groups = Groups::default();
        groups.add(&name("a"), &row(1, Reason::Rejected, "no user 17"));
        groups.add(&name("a"), &row(3, Reason::MaxAttempts, "status 503 after 2s"));
        groups.add(&name("b"), &row(2, Reason::MaxAttempts, "status 503 after 10s"));
        groups.add(&name("b"), &row(4, Reason::FilterError, "of an earlier life"));
        let summary = groups.finish(false);
        let facts: Vec<_> = summary
            .groups
            .iter()
            .map(|group| {
                let cause = group.cause.as_ref().unwrap();
                (cause.text.as_str(), cause.error_type.as_str(), group.count)
            })
            .collect();
        let expected = [
            ("status 503 after <n>s", "Error", 2),
            ("no user <n>", "Error", 1),
            ("no such <text>", "", 1),
        ];
        assert_eq!(facts, expected);
        let largest = &summary.groups[0];
        let second = |number| Timestamp::EPOCH + Duration::from_secs(number);
        assert_eq!((largest.oldest, largest.newest), (second(2), second(3)));
        assert_eq!(largest.sample_text, "status 503 after 2s");
        assert_eq!(largest.samples.len(), 2);
        assert_eq!(largest.subscriptions, [name("a"), name("b")]);
    }

    #[test]
    fn what_has_too_many_causes_ends_in_the_rest_and_no_group_grows() {
        let mut groups = Groups::default();
        let letters = |number: usize| std::iter::repeat_n('x', number + 1).collect::<String>();
        // A cause is at most 256 bytes long, so these differ by their class too.
        for number in 0..CAUSES_MAX + 7 {
            let mut row = row(number as u64 + 1, Reason::Rejected, &letters(number % 200));
            row.letter.history[0].error_type = letters(number / 200);
            groups.add(&name("a"), &row);
        }
        for number in 0..20 {
            groups.add(&name(&format!("s{number}")), &row(number + 1, Reason::Retention, "x"));
        }
        groups.add(&name("b"), &row(1, Reason::Rejected, "x"));
        let summary = groups.finish(true);
        assert!(summary.is_partial);
        assert_eq!(summary.groups.len(), CAUSES_MAX + 1);
        let rest = summary.groups.last().unwrap();
        assert_eq!((rest.cause.clone(), rest.count), (None, 28));
        assert_eq!(rest.samples.len(), CAUSE_SAMPLES_MAX);
        assert_eq!(rest.subscriptions.len(), CAUSE_SUBSCRIPTIONS_MAX);
        let total: u64 = summary.groups.iter().map(|group| group.count).sum();
        assert_eq!(total, CAUSES_MAX as u64 + 28);
    }
}
