//! Which deliveries are about the same thing, and which of them may run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    delivery::ResourceKey,
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

/// The resources of all open deliveries, where `ordering` or `coalesce` needs them.
#[derive(Debug)]
pub(super) struct Resources {
    /// How many leases a resource may have; `None`: resources do not matter, and none is kept.
    at_once: Option<usize>,
    resources: BTreeMap<ResourceKey, Resource>,
    /// Those that changed since they were last settled.
    touched: BTreeSet<ResourceKey>,
}

#[derive(Debug)]
struct Resource {
    open: Open,
    leased: u32,
    /// How many were added since the resource was last settled: as many as may have to make way.
    added: u32,
    /// How many events came while a lease ran, since that was last said.
    news: u32,
    /// What is waited for until no newer event comes.
    quiet: Option<Box<Quiet>>,
}

#[derive(Clone, Copy, Debug)]
struct Quiet {
    /// When the first event that waits was received.
    first_at: Timestamp,
    until: Timestamp,
}

/// Open deliveries in order. Most resources have one, and a million of these must fit.
#[derive(Debug)]
enum Open {
    One(Sequence),
    Many(BTreeSet<Sequence>),
}

impl Open {
    fn insert(&mut self, sequence: Sequence) {
        match self {
            Self::One(only) if *only == sequence => {}
            Self::One(only) => *self = Self::Many(BTreeSet::from([*only, sequence])),
            Self::Many(all) => drop(all.insert(sequence)),
        }
    }

    /// Takes one out; whether none is left.
    fn remove(&mut self, sequence: Sequence) -> bool {
        match self {
            Self::One(only) => *only == sequence,
            Self::Many(all) => {
                all.remove(&sequence);
                match (all.len(), all.first()) {
                    (1, Some(only)) => {
                        *self = Self::One(*only);
                        false
                    }
                    (len, _) => len == 0,
                }
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = Sequence> + '_ {
        let (one, many) = match self {
            Self::One(only) => (Some(*only), None),
            Self::Many(all) => (None, Some(all.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn last(&self) -> Option<Sequence> {
        match self {
            Self::One(only) => Some(*only),
            Self::Many(all) => all.last().copied(),
        }
    }
}

impl Resources {
    pub(super) fn new(at_once: Option<u32>) -> Self {
        let surplus = u32::from(is_planted(Bug::ResourceFreedTooEarly));
        let at_once = at_once.map(|count| count + surplus);
        Self {
            at_once: at_once.and_then(|count| usize::try_from(count).ok()),
            resources: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Adds an open delivery; whether its resource decides when it may run.
    pub(super) fn add(&mut self, key: Option<ResourceKey>, sequence: Sequence) -> bool {
        let (Some(key), Some(_)) = (key, self.at_once) else { return false };
        self.touched.insert(key);
        let new = Resource { open: Open::One(sequence), leased: 0, added: 0, news: 0, quiet: None };
        let resource = self.resources.entry(key).or_insert(new);
        resource.open.insert(sequence);
        resource.added = resource.added.saturating_add(1);
        true
    }

    pub(super) fn remove(&mut self, key: Option<ResourceKey>, sequence: Sequence) {
        let Some((key, resource)) = self.get_mut(key) else { return };
        if resource.open.remove(sequence) {
            self.resources.remove(&key);
        }
    }

    pub(super) fn lease(&mut self, key: Option<ResourceKey>, sequence: Sequence) {
        if let Some((_, resource)) = self.get_mut(key) {
            resource.leased += 1;
            if resource.open.last() == Some(sequence) {
                // What waits from now on is another group.
                resource.quiet = None;
            }
        }
    }

    pub(super) fn release(&mut self, key: Option<ResourceKey>) {
        if let Some((_, resource)) = self.get_mut(key) {
            resource.leased -= 1;
            if resource.leased == 0 {
                resource.news = 0;
            }
        }
    }

    pub(super) fn touch(&mut self, key: Option<ResourceKey>) {
        let _there = self.get_mut(key);
    }

    fn get_mut(&mut self, key: Option<ResourceKey>) -> Option<(ResourceKey, &mut Resource)> {
        let key = key?;
        let resource = self.resources.get_mut(&key)?;
        self.touched.insert(key);
        Some((key, resource))
    }

    /// Returns a resource that changed since it was last asked for.
    pub(super) fn pop_touched(&mut self) -> Option<ResourceKey> {
        self.touched.pop_first()
    }

    /// Whether a delivery that is not leased may be: it is among the first of its resource, and that has a lease to give.
    pub(super) fn admits(&self, key: Option<ResourceKey>, sequence: Sequence) -> bool {
        let (Some(key), Some(at_once)) = (key, self.at_once) else { return true };
        let Some(resource) = self.resources.get(&key) else { return true };
        resource.has_room(at_once)
            && resource.quiet.is_none()
            && resource.open.iter().take(at_once).any(|of| of == sequence)
    }

    /// Returns the first open deliveries of a resource, with whether each is among those that may run, and those after them
    /// that may have been; and whether the resource has a lease to give.
    pub(super) fn candidates(
        &mut self,
        key: ResourceKey,
        now: Timestamp,
    ) -> Option<(Vec<(Sequence, bool)>, bool)> {
        let at_once = self.at_once?;
        let resource = self.resources.get_mut(&key)?;
        resource.quiet.take_if(|quiet| quiet.until <= now);
        let room = resource.has_room(at_once) && resource.quiet.is_none();
        let added = usize::try_from(std::mem::take(&mut resource.added)).unwrap_or(usize::MAX);
        let first = resource.open.iter().zip(0..).take(added.saturating_add(at_once));
        Some((first.map(|(sequence, place)| (sequence, place < at_once)).collect(), room))
    }

    /// Returns the open deliveries of a resource, the newest apart.
    pub(super) fn older_and_newest(&self, key: ResourceKey) -> Option<(Vec<Sequence>, Sequence)> {
        let resource = self.resources.get(&key)?;
        let newest = resource.open.last()?;
        Some((resource.open.iter().take_while(|of| *of != newest).collect(), newest))
    }

    /// Returns the delivery that keeps another one of its resource from running: the first other one that is open.
    pub(super) fn blocker(&self, key: Option<ResourceKey>, sequence: Sequence) -> Option<Sequence> {
        let resource = self.resources.get(&key?)?;
        resource.open.iter().find(|of| *of != sequence)
    }

    /// Returns until when a resource waits for newer events.
    pub(super) fn quiet_until(&self, key: Option<ResourceKey>) -> Option<Timestamp> {
        self.resources.get(&key?)?.quiet.as_ref().map(|quiet| quiet.until)
    }

    /// Notes that an event came while its resource may have a lease.
    pub(super) fn note_news(&mut self, key: Option<ResourceKey>) {
        if let Some((_, resource)) = self.get_mut(key)
            && resource.leased > 0
        {
            resource.news = resource.news.saturating_add(1);
        }
    }

    /// Returns how many events came while leases ran, since the last call, with the newest and what may be leased.
    pub(super) fn take_news(&mut self, key: ResourceKey) -> Option<(u32, Sequence, Vec<Sequence>)> {
        let resource = self.resources.get_mut(&key)?;
        let news = std::mem::take(&mut resource.news);
        let newest = resource.open.last()?;
        // The leased ones are among the first, but for what came back from long ago.
        let first = usize::try_from(resource.leased).unwrap_or(usize::MAX).saturating_add(16);
        (news > 0).then(|| (news, newest, resource.open.iter().take(first).collect()))
    }

    /// Lets a resource wait until no newer event has come for `quiet`, at most `max_wait` after the first; returns until
    /// when it waited before, and waits now.
    pub(super) fn wait_for_quiet(
        &mut self,
        key: ResourceKey,
        received_at: Timestamp,
        (quiet, max_wait): (Duration, Duration),
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        let Some((_, resource)) = self.get_mut(Some(key)) else { return (None, None) };
        let before = resource.quiet.take();
        let first_at = before.as_ref().map_or(received_at, |before| before.first_at);
        let until = (received_at + quiet).min(first_at + max_wait);
        resource.quiet = Some(Box::new(Quiet { first_at, until }));
        (before.map(|before| before.until), Some(until))
    }
}

impl Resource {
    fn has_room(&self, at_once: usize) -> bool {
        usize::try_from(self.leased).is_ok_and(|leased| leased < at_once)
    }
}
