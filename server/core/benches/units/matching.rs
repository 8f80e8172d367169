//! Who takes an event: the patterns of all subscriptions at once, the key of its resource, and a filter.

use std::hint::black_box;

use bytes::Bytes;
use hookline_core::{
    delivery::ResourceKey,
    event::{Event, EventId, EventType, NewEvent, Sequence, SourceName},
    filter::{Facts, Filter, Verdict},
    metadata::Metadata,
    pattern::{Matcher, PatternSet},
};

use super::{Unit, inbound::Post};
use crate::ingest_support::received_at;

const ROUNDS: u32 = 100;
/// How many facts are made of payloads, which takes longer.
const FACTS_ROUNDS: u32 = 10;

/// Of one process to another it differs by 1 %.
const FILTER_PROCESSES: usize = 5;

const SOURCES: [&str; 10] = [
    "github",
    "stripe",
    "gitlab",
    "slack",
    "jira",
    "linear",
    "sentry",
    "shopify",
    "discord",
    "pagerduty",
];
const TYPES: [&str; 10] = [
    "pull_request.*",
    "*",
    "push",
    "issues.opened",
    "check_*",
    "*.created",
    "release.*",
    "issue_comment.created",
    "deployment*",
    "workflow_run.completed",
];

/// As agents that review pull requests ask for: paths into the payload, and a field of the event.
const FILTER: &str = "event.payload.pull_request.base.ref != \"gh-pages\" \
    && !event.payload.pull_request.draft && event.actor != \"dependabot[bot]\"";

pub(super) fn units() -> Vec<Unit> {
    let mut units: Vec<_> = [1, 100, 1_000].into_iter().map(matcher).collect();
    units.push(resource_key());
    // A filter reads a real payload.
    if Post::largest().is_some() {
        units.extend([facts(), filter()]);
    }
    units
}

/// Matches one event against the patterns of so many subscriptions. Each has one of a hundred that others have too, and
/// one of its own; two of a hundred take the event.
fn matcher(subscriptions: usize) -> Unit {
    Unit::constant(format!("match/{subscriptions}"), ROUNDS, move || {
        let sets: Vec<_> = (0..subscriptions).map(patterns).collect();
        let matcher = Matcher::new(sets.iter().enumerate()).unwrap();
        let (source, event_type) = subject();
        Box::new(move || {
            let taken = matcher.matches(black_box(&source), black_box(&event_type));
            !black_box(taken).is_empty()
        })
    })
}

fn patterns(index: usize) -> PatternSet {
    let shared = format!("{}/{}", SOURCES[index % 10], TYPES[index / 10 % 10]);
    PatternSet::parse(&[shared, format!("agent/task-{index}.*")]).unwrap()
}

fn subject() -> (SourceName, EventType) {
    (SourceName::parse("github").unwrap(), EventType::parse("pull_request.opened").unwrap())
}

/// Makes the key of what an event is about, for each subscription that takes it.
fn resource_key() -> Unit {
    Unit::constant("resource_key/1".to_owned(), ROUNDS, || {
        let (source, event_type) = subject();
        let event = NewEvent {
            source,
            event_type,
            timestamp: received_at(),
            actor: "octocat".into(),
            resource_type: "pull_request".into(),
            resource_id: "octo-org/octo-repo#1347".into(),
            payload: Bytes::new(),
            metadata: Metadata::default(),
            delivery_key: "".into(),
            replay_window: None,
        };
        Box::new(move || black_box(ResourceKey::of(black_box(&event))).is_some())
    })
}

fn stored() -> (Event, Bytes) {
    let post = Post::largest().unwrap();
    let event = Event {
        id: EventId::from_bytes([7; 16]),
        sequence: Sequence::FIRST,
        received_at: received_at(),
        content: post.event(),
    };
    (event, post.body)
}

fn facts_of(event: &Event, payload: &Bytes) -> Facts {
    Facts::with_payload(event, payload, u64::try_from(payload.len()).unwrap())
}

/// Parses a payload, once for all filters.
fn facts() -> Unit {
    Unit::constant("facts/32kb".to_owned(), FACTS_ROUNDS, || {
        let (event, payload) = stored();
        Box::new(move || {
            drop(black_box(facts_of(black_box(&event), black_box(&payload))));
            true
        })
    })
}

/// Evaluates a filter over facts. The language's functions stand in a hash map with a random seed.
fn filter() -> Unit {
    let unit = Unit::constant("filter/1".to_owned(), ROUNDS, || {
        let (event, payload) = stored();
        let (facts, filter) = (facts_of(&event, &payload), Filter::compile(FILTER).unwrap());
        Box::new(move || black_box(filter.evaluate(black_box(&facts))) == Verdict::Match)
    });
    Unit { processes: FILTER_PROCESSES, ..unit }
}
