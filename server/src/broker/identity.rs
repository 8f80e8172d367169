//! What a subscription is, and which events it takes.

use hookline_core::{
    delivery::{Creation, Pause, Policy},
    event::{Sequence, SubscriptionName},
    filter::{Facts, Filter, FilterError, Verdict},
    pattern::PatternSet,
    time::Timestamp,
};

use crate::{
    limits::FACTS_INLINE_BYTES_MAX,
    store::{self, Entry, EventLog, ReadError, SubscriptionConfig},
};

/// What a subscription is. It changes only by an update, which puts another in its place.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The number of its creation.
    pub creation: Creation,
    /// Its name.
    pub name: SubscriptionName,
    /// What it takes.
    pub rule: Rule,
    /// What it took before: by up to which sequence each rule holds, in order. Beyond the last, `rule` holds.
    pub earlier: Vec<(u64, Rule)>,
    /// What was skipped beyond the first and up to the second sequence is looked at again with `rule`.
    pub look_back: Option<(u64, u64)>,
    /// How it leases and retries.
    pub policy: Policy,
    /// Whether it leases at all.
    pub pause: Pause,
    /// When it was created.
    pub created_at: Timestamp,
    /// The sequence after which it began.
    pub start_after: u64,
}

/// Which events a subscription takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// By their subjects.
    pub patterns: PatternSet,
    /// By what they say.
    pub filter: Option<Filter>,
}

/// Creations from here on are ephemeral: never written, gone with their stream.
pub(super) const EPHEMERAL: u64 = 1 << 63;

impl Rule {
    /// Compiles what a store keeps.
    pub(super) fn read(rule: &store::Rule) -> Result<Self, FilterError> {
        let text = rule.filter.as_str();
        let filter = if text.is_empty() { None } else { Some(Filter::compile(text)?) };
        Ok(Self { patterns: rule.patterns.clone(), filter })
    }

    fn text(&self) -> store::Rule {
        store::Rule { patterns: self.patterns.clone(), filter: self.filter_text().to_owned() }
    }

    /// Returns the text of the filter; empty: there is none.
    #[must_use]
    pub fn filter_text(&self) -> &str {
        self.filter.as_ref().map_or("", Filter::text)
    }
}

impl Identity {
    /// Reads what a ledger keeps.
    ///
    /// # Errors
    ///
    /// If a filter does not compile: it did when it was stored.
    pub(super) fn new(creation: Creation, config: SubscriptionConfig) -> Result<Self, FilterError> {
        let earlier = config.earlier.iter();
        let earlier = earlier.map(|(through, rule)| Ok((*through, Rule::read(rule)?)));
        Ok(Self {
            creation,
            rule: Rule::read(&config.rule)?,
            earlier: earlier.collect::<Result<_, FilterError>>()?,
            name: config.name,
            look_back: config.look_back,
            policy: config.policy,
            pause: config.pause,
            created_at: config.created_at,
            start_after: config.start_after,
        })
    }

    /// Returns what a ledger keeps of it.
    pub(super) fn config(&self) -> SubscriptionConfig {
        SubscriptionConfig {
            name: self.name.clone(),
            rule: self.rule.text(),
            earlier: self.earlier.iter().map(|(through, rule)| (*through, rule.text())).collect(),
            look_back: self.look_back,
            policy: self.policy.clone(),
            pause: self.pause,
            created_at: self.created_at,
            start_after: self.start_after,
        }
    }

    /// Whether it is gone with its stream.
    #[must_use]
    pub const fn is_ephemeral(&self) -> bool {
        self.creation.0 >= EPHEMERAL
    }

    /// Takes in that `rule` holds beyond a sequence, and `before` did so until then, as far as none before it did.
    pub(super) fn supersede(&mut self, before: Rule, holds_after: u64) {
        let mut covered = 0;
        self.earlier.retain_mut(|(through, _)| {
            *through = (*through).min(holds_after);
            let is_left = covered < *through;
            covered = covered.max(*through);
            is_left
        });
        if covered < holds_after {
            self.earlier.push((holds_after, before));
        }
    }

    /// Returns the rule that holds for the event with this sequence.
    #[must_use]
    pub fn rule_at(&self, sequence: Sequence) -> &Rule {
        let earlier = self.earlier.iter().find(|(through, _)| sequence.get() <= *through);
        earlier.map_or(&self.rule, |(_, rule)| rule)
    }
}

/// What a rule makes of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It takes it.
    Taken,
    /// It does not, for this reason; in words for people only if they were asked for.
    Skipped(Option<String>),
    /// Its filter failed on it.
    Failed(String),
}

impl Judgement {
    /// Returns what the core is told: nothing, or what the filter failed with.
    pub(super) fn taken(self) -> Option<Option<String>> {
        match self {
            Self::Taken => Some(None),
            Self::Failed(why) => Some(Some(why)),
            Self::Skipped(_) => None,
        }
    }
}

/// Judges one event by any number of rules; its payload is unpacked and parsed once, and only if a filter reads it.
#[derive(Debug)]
pub struct Judge<'a> {
    log: &'a dyn EventLog,
    entry: &'a Entry,
    plain: Option<Facts>,
    whole: Option<Facts>,
}

impl<'a> Judge<'a> {
    /// Makes the judge of an entry of this log.
    #[must_use]
    pub const fn of(log: &'a dyn EventLog, entry: &'a Entry) -> Self {
        Self { log, entry, plain: None, whole: None }
    }

    /// Judges by the rule that a subscription has for the event.
    ///
    /// # Errors
    ///
    /// If the payload can't be read.
    pub async fn judge(&mut self, identity: &Identity) -> Result<Judgement, ReadError> {
        let sequence = self.entry.event.sequence;
        if sequence.get() <= identity.start_after {
            return Ok(Judgement::Skipped(None));
        }
        self.judge_by(identity.rule_at(sequence)).await
    }

    /// Judges by a rule.
    ///
    /// # Errors
    ///
    /// If the payload can't be read.
    pub async fn judge_by(&mut self, rule: &Rule) -> Result<Judgement, ReadError> {
        self.try_out(Some(&rule.patterns), rule.filter.as_ref(), false).await
    }

    /// Judges by patterns (`None`: all events) and a filter (`None`: all that they take), with the reason for which the
    /// event is not taken if it is asked for.
    ///
    /// # Errors
    ///
    /// If the payload can't be read.
    pub async fn try_out(
        &mut self,
        patterns: Option<&PatternSet>,
        filter: Option<&Filter>,
        explains: bool,
    ) -> Result<Judgement, ReadError> {
        let content = &self.entry.event.content;
        if patterns.is_some_and(|set| !set.matches(&content.source, &content.event_type)) {
            let subject = self.entry.event.subject();
            let why = explains.then(|| format!("no pattern takes its subject `{subject}`"));
            return Ok(Judgement::Skipped(why));
        }
        let Some(filter) = filter else { return Ok(Judgement::Taken) };
        let facts = if filter.reads_payload() {
            match self.whole().await {
                Ok(facts) => facts,
                // Tried again it would be the same: one event must not hold up all others.
                Err(error @ ReadError::Damaged(_)) => {
                    return Ok(Judgement::Failed(error.to_string()));
                }
                Err(error @ ReadError::Unavailable(_)) => return Err(error),
            }
        } else {
            self.plain()
        };
        Ok(match filter.evaluate(facts) {
            Verdict::Match => Judgement::Taken,
            Verdict::NoMatch(why) => {
                Judgement::Skipped(explains.then(|| format!("the filter does not match: {why}")))
            }
            Verdict::Failed(why) => Judgement::Failed(why),
        })
    }

    fn plain(&mut self) -> &Facts {
        let Self { entry, plain, .. } = self;
        plain.get_or_insert_with(|| Facts::new(&entry.event, entry.payload_size))
    }

    async fn whole(&mut self) -> Result<&Facts, ReadError> {
        if self.whole.is_none() {
            let payload = self.log.payload(self.entry).await?;
            let (event, size) = (&self.entry.event, self.entry.payload_size);
            let facts = if payload.len() < FACTS_INLINE_BYTES_MAX {
                Facts::with_payload(event, &payload, size)
            } else {
                let event = event.clone();
                let parse = move || Facts::with_payload(&event, &payload, size);
                let parsed = tokio::task::spawn_blocking(parse).await;
                parsed.map_err(|error| ReadError::Unavailable(error.to_string().into()))?
            };
            self.whole = Some(facts);
        }
        Ok(self.whole.as_ref().expect("it was made"))
    }
}
