//! What holds for the embedded store beyond the conformance suite: its files, its failures, and being killed.

mod acks;
mod check;
mod damage;
mod dictionaries;
mod files;
mod kill;
mod old;
mod speed;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{Death, Reason},
    event::{EventType, NewEvent, SourceName, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};

use super::{
    super::{Rule, SubscriptionConfig},
    Options, SledStore,
};

/// Nothing here depends on how much room the machine's disk has.
const OPTIONS: Options = Options {
    cache_bytes: 16 * 1024 * 1024,
    free_percent_min: 0,
    free_bytes_min: 0,
    dictionaries: true,
};

fn open(path: &Path) -> Arc<SledStore> {
    SledStore::open(path, OPTIONS).unwrap()
}

/// Reads a setting of a test run: the one place where these tests read the environment.
#[expect(clippy::disallowed_methods, reason = "settings of a test run, not of the product")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Returns a subscription of all that GitHub sends, from the first event on.
fn config(name: &str) -> SubscriptionConfig {
    SubscriptionConfig {
        name: SubscriptionName::parse(name).unwrap(),
        rule: Rule { patterns: PatternSet::parse(["github"]).unwrap(), filter: String::new() },
        earlier: Vec::new(),
        look_back: None,
        policy: hookline_core::delivery::Policy::default(),
        pause: hookline_core::delivery::Pause::Off,
        created_at: at(0),
        start_after: 0,
    }
}

/// Returns how a delivery is given up after its first attempt.
fn rejected() -> Death {
    Death {
        generation: 0,
        reason: Reason::Rejected,
        attempts: 1,
        died_at: at(3),
        detail: String::new(),
        redriven: false,
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_795_000_000 + secs).unwrap()
}

pub(super) fn event(key: &str, payload: impl Into<Bytes>) -> NewEvent {
    NewEvent {
        source: SourceName::parse("github").unwrap(),
        event_type: EventType::parse("issues.opened").unwrap(),
        timestamp: at(0),
        actor: "octocat".into(),
        resource_type: "issue".into(),
        resource_id: "octo/hello#42".into(),
        payload: payload.into(),
        metadata: [("content_type", "application/json")].into(),
        delivery_key: key.into(),
        replay_window: None,
    }
}

/// Bytes that do not compress, other ones for each seed.
fn noise(len: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}
