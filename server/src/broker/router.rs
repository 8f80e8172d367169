//! The tail of the log, matched once for all subscriptions that have come to its end.
//!
//! A subscription that lies behind reads the log by itself. Once it has come to the end it follows: the router reads each
//! new event, finds who takes it, evaluates each filter, and puts what it found into the [`Feed`] of each taker. Who is
//! waiting for an event is woken at once; who is not, is not woken at all, and takes its feed when it looks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hookline_core::{
    delivery::{Creation, Matched, ResourceKey},
    pattern::Matcher,
    planted::{Bug, is_planted},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Broker, Identity, identity::Judge};
use crate::{
    limits::{FEED_MAX, RETRY_DELAY, ROUTE_READ_BYTES, ROUTE_READ_ENTRIES},
    store::{Entry, EventLog, ReadError, ReadLimit, ReadRange},
};

/// How much of the log is routed at a time.
const READ: ReadLimit = ReadLimit { count: ROUTE_READ_ENTRIES, bytes: ROUTE_READ_BYTES };

/// An event that a subscription takes.
#[derive(Clone, Debug)]
pub(super) struct Routed {
    pub(super) matched: Matched,
    /// With what there is to hand out, if somebody waits for it.
    pub(super) entry: Option<Arc<Entry>>,
}

impl Routed {
    pub(super) fn new(entry: &Arc<Entry>, failure: Option<String>) -> Self {
        let event = &entry.event;
        let matched = Matched {
            sequence: event.sequence,
            resource: ResourceKey::of(&event.content),
            received_at: event.received_at,
            failure,
        };
        Self { matched, entry: Some(Arc::clone(entry)) }
    }
}

/// What the router found for one subscription, and that has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Feed {
    state: Mutex<FeedState>,
    news: Notify,
}

#[derive(Debug, Default)]
struct FeedState {
    follows: bool,
    /// Whether it is to be woken for each event.
    hungry: bool,
    /// Up to here it has looked by itself.
    skip_through: u64,
    routed: Vec<Routed>,
}

/// What a subscription takes from its feed.
#[derive(Debug)]
pub(super) struct Fed {
    /// Everything up to here was looked at.
    pub(super) through: u64,
    /// What matches.
    pub(super) routed: Vec<Routed>,
}

impl Feed {
    /// Waits until there is something for one who is hungry. Cancel safe.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    pub(super) fn follows(&self) -> bool {
        self.state.lock().follows
    }

    /// Whether there is something to take, or will be.
    pub(super) fn is_of_use(&self) -> bool {
        let state = self.state.lock();
        state.follows || !state.routed.is_empty()
    }

    /// Says whether the subscription waits for events; whether there are some already.
    pub(super) fn rest(&self, hungry: bool) -> bool {
        let mut state = self.state.lock();
        state.hungry = hungry;
        hungry && !state.routed.is_empty()
    }

    /// Takes what there is; `tail` says how far all feeds were filled.
    fn take(&self, tail: &AtomicU64) -> Fed {
        // First how far all feeds were filled: what comes in between is taken too, and lies beyond.
        let through = tail.load(Ordering::Acquire);
        let mut state = self.state.lock();
        let routed = std::mem::take(&mut state.routed);
        let last = routed.last().map_or(0, |routed| routed.matched.sequence.get());
        let through = if state.follows { through.max(last) } else { last };
        Fed { through: through.max(state.skip_through), routed }
    }

    /// Adds what matches; false once its subscription is too far behind, and reads by itself from here on.
    fn push(&self, mut routed: Routed) -> bool {
        let mut state = self.state.lock();
        if !state.follows || routed.matched.sequence.get() <= state.skip_through {
            return state.follows;
        }
        if state.routed.len() >= FEED_MAX {
            state.follows = false;
            return false;
        }
        if is_planted(Bug::FeedDropsOne) && routed.matched.sequence.get().is_multiple_of(7) {
            return true;
        }
        if !state.hungry {
            routed.entry = None;
        }
        state.routed.push(routed);
        let hungry = state.hungry;
        drop(state);
        if hungry {
            self.news.notify_one();
        }
        true
    }
}

/// Who follows, and how far.
#[derive(Debug)]
pub(super) struct Tail {
    /// Up to here every feed was filled.
    routed: AtomicU64,
    followers: Mutex<Followers>,
}

#[derive(Debug, Default)]
struct Followers {
    /// Whom the router feeds. It takes them as they are for each piece of the log, and they seldom change.
    feeds: Arc<BTreeMap<Creation, Arc<Feed>>>,
    /// What those are that follow, or have followed and are still there.
    identities: BTreeMap<Creation, Arc<Identity>>,
    /// Rises when one of these comes, goes or changes.
    version: u64,
    /// Up to here the events are being matched now, for those who follow already.
    matching: u64,
}

impl Followers {
    fn drop_feed(&mut self, creation: Creation) {
        if self.feeds.contains_key(&creation) {
            Arc::make_mut(&mut self.feeds).remove(&creation);
        }
    }
}

impl Tail {
    /// Makes the tail of a log that ends here, before anybody follows: what is appended from now on is routed, also what
    /// comes before the router runs.
    pub(super) fn after(head: u64) -> Self {
        let followers = Mutex::new(Followers { matching: head, ..Followers::default() });
        Self { routed: AtomicU64::new(head), followers }
    }

    /// Lets a subscription follow that has looked at everything up to `scanned`; false if it has to look at more first.
    pub(super) fn follow(&self, identity: &Arc<Identity>, feed: &Arc<Feed>, scanned: u64) -> bool {
        let mut followers = self.followers.lock();
        if scanned < followers.matching {
            return false;
        }
        *feed.state.lock() =
            FeedState { follows: true, skip_through: scanned, ..FeedState::default() };
        let creation = identity.creation;
        let known = followers.identities.insert(creation, Arc::clone(identity));
        if known.is_none_or(|known| !Arc::ptr_eq(&known, identity)) {
            followers.version += 1;
        }
        Arc::make_mut(&mut followers.feeds).insert(creation, Arc::clone(feed));
        true
    }

    /// Takes what a feed holds.
    pub(super) fn take(&self, feed: &Feed) -> Fed {
        feed.take(&self.routed)
    }

    /// Ends the following; what was not taken is dropped.
    pub(super) fn unfollow(&self, creation: Creation, feed: &Feed) {
        self.followers.lock().drop_feed(creation);
        *feed.state.lock() = FeedState::default();
    }

    /// Feeds no longer who has fallen too far behind, unless it follows again already.
    fn stop_feeding(&self, creation: Creation) {
        let mut followers = self.followers.lock();
        if followers.feeds.get(&creation).is_some_and(|feed| !feed.follows()) {
            followers.drop_feed(creation);
        }
    }

    /// Forgets a subscription that has ended.
    pub(super) fn forget(&self, creation: Creation) {
        let mut followers = self.followers.lock();
        followers.drop_feed(creation);
        if followers.identities.remove(&creation).is_some() {
            followers.version += 1;
        }
    }
}

/// Who may take an event, by its subject.
struct Takers {
    version: u64,
    matcher: Matcher<Creation>,
    identities: BTreeMap<Creation, Arc<Identity>>,
}

impl Broker {
    /// Routes the tail of the log until the hub stops.
    pub(super) async fn route_tail(self) {
        let inner = &self.inner;
        let mut head = inner.log.head();
        let mut takers = None;
        loop {
            let routed = inner.tail.routed.load(Ordering::Acquire);
            let end = *head.borrow_and_update();
            if end <= routed {
                tokio::select! {
                    () = inner.group.stopping().cancelled() => return,
                    changed = head.changed() => if changed.is_err() { return },
                }
                continue;
            }
            if let Err(error) = self.route_some(routed, &mut takers).await {
                tracing::error!(after = routed, %error, "the tail of the log could not be routed");
                let until = inner.clock.steady() + RETRY_DELAY;
                tokio::select! {
                    () = inner.group.stopping().cancelled() => return,
                    () = inner.clock.sleep_until(until) => {}
                }
            }
        }
    }

    async fn route_some(&self, after: u64, takers: &mut Option<Takers>) -> Result<(), ReadError> {
        let tail = &self.inner.tail;
        let entries = self.inner.log.read(ReadRange { after, limit: READ }).await?;
        let Some(last) = entries.last().map(|entry| entry.event.sequence.get()) else {
            let missing = format!("event {} is not there yet", after + 1);
            return Err(ReadError::Unavailable(missing.into()));
        };
        let (feeds, changed) = {
            let mut followers = tail.followers.lock();
            followers.matching = last;
            let version = followers.version;
            let is_known = takers.as_ref().is_some_and(|takers| takers.version == version);
            let changed = (!is_known).then(|| (version, followers.identities.clone()));
            (Arc::clone(&followers.feeds), changed)
        };
        // Not under the lock: all their patterns are compiled.
        if let Some((version, identities)) = changed {
            *takers = Some(Takers::new(version, identities));
        }
        if let Some(takers) = takers.as_ref().filter(|_| !feeds.is_empty()) {
            let mut found = Vec::new();
            for entry in &entries {
                find(&*self.inner.log, entry, takers, &feeds, &mut found).await?;
            }
            for (creation, routed) in found {
                if feeds.get(&creation).is_some_and(|feed| !feed.push(routed)) {
                    tail.stop_feeding(creation);
                }
            }
        }
        tail.routed.store(last, Ordering::Release);
        Ok(())
    }
}

impl Takers {
    fn new(version: u64, identities: BTreeMap<Creation, Arc<Identity>>) -> Self {
        let sets = identities.iter().flat_map(|(creation, identity)| {
            let earlier = identity.earlier.iter().map(|(_, rule)| rule);
            let rules = earlier.chain([&identity.rule]);
            rules.map(|rule| (*creation, &rule.patterns))
        });
        let matcher = Matcher::new(sets).expect("patterns are bounded in number and length");
        Self { version, matcher, identities }
    }
}

/// Finds who of those that follow takes an event.
async fn find(
    log: &dyn EventLog,
    entry: &Arc<Entry>,
    takers: &Takers,
    feeds: &BTreeMap<Creation, Arc<Feed>>,
    found: &mut Vec<(Creation, Routed)>,
) -> Result<(), ReadError> {
    let content = &entry.event.content;
    let mut judge = Judge::of(log, entry);
    for creation in takers.matcher.matches(&content.source, &content.event_type) {
        let Some(identity) = takers.identities.get(&creation) else { continue };
        if !feeds.contains_key(&creation) {
            continue;
        }
        if let Some(failure) = judge.judge(identity).await?.taken() {
            found.push((creation, Routed::new(entry, failure)));
        }
    }
    Ok(())
}
