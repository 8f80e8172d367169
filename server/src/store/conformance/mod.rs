//! One suite for every store: what is written here once holds for each, also when it is closed and opened again
//! between any two steps.

mod ledger;
mod log;
mod select;

use std::{fs, future::Future, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use hookline_core::{
    delivery::{Breaker, Coalesce, Ordering, Pause, Policy, Rate},
    event::{EventType, NewEvent, Sequence, SourceName, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};
use tempfile::TempDir;

use super::{
    Appended, EventLog, Ledger, ReadLimit, ReadRange, Rule, SubscriptionConfig,
    memory::MemoryStore,
    sled::{Options, SledStore},
};

/// Which store is tested, and how.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    MemoryCrashing,
    Sled,
    SledReopened,
    /// Without being closed.
    SledKilled,
}

/// A store on the bench.
struct Bench {
    kind: Kind,
    store: Store,
}

enum Store {
    Memory(Arc<MemoryStore>),
    Sled { folder: TempDir, store: Option<Arc<SledStore>> },
}

/// Nothing here depends on how much room the machine's disk has.
const OPTIONS: Options = Options {
    cache_bytes: 16 * 1024 * 1024,
    free_percent_min: 0,
    free_bytes_min: 0,
    dictionaries: true,
};

impl Bench {
    fn new(kind: Kind) -> Self {
        let store = match kind {
            Kind::Memory | Kind::MemoryCrashing => Store::Memory(MemoryStore::new()),
            Kind::Sled | Kind::SledReopened | Kind::SledKilled => {
                let folder = tempfile::tempdir().unwrap();
                let store = Some(SledStore::open(folder.path(), OPTIONS).unwrap());
                Store::Sled { folder, store }
            }
        };
        Self { kind, store }
    }

    fn log(&self) -> &dyn EventLog {
        match &self.store {
            Store::Memory(store) => store.as_ref(),
            Store::Sled { store, .. } => store.as_ref().unwrap().as_ref(),
        }
    }

    fn ledger(&self) -> &dyn Ledger {
        match &self.store {
            Store::Memory(store) => store.as_ref(),
            Store::Sled { store, .. } => store.as_ref().unwrap().as_ref(),
        }
    }

    /// Opens the store anew.
    async fn reopen(&mut self) {
        match &mut self.store {
            Store::Memory(store) => *store = store.faults().crash(),
            Store::Sled { folder, store } if matches!(self.kind, Kind::SledKilled) => {
                // What a kill leaves: the files as they are while the store is open.
                let left = tempfile::tempdir().unwrap();
                copy(folder.path(), left.path());
                store.take().unwrap().close().await;
                *store = Some(SledStore::open(left.path(), OPTIONS).unwrap());
                *folder = left;
            }
            Store::Sled { folder, store } => {
                store.take().unwrap().close().await;
                *store = Some(SledStore::open(folder.path(), OPTIONS).unwrap());
            }
        }
    }

    /// Ends a step: opens the store anew where the kind says so.
    async fn step(&mut self) {
        match self.kind {
            Kind::Memory | Kind::Sled => {}
            Kind::MemoryCrashing | Kind::SledReopened | Kind::SledKilled => self.reopen().await,
        }
    }

    async fn append(&self, events: Vec<NewEvent>, at: Timestamp) -> Vec<Appended> {
        self.log().append(events, at).await.unwrap()
    }
}

fn run<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce(Bench) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(test(Bench::new(kind)));
}

/// Runs each test on each kind of store.
macro_rules! on_every_store {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        mod memory { $($(#[$meta])* #[test] fn $name() { $crate::store::conformance::run($crate::store::conformance::Kind::Memory, super::$name); })* }
        mod memory_crashing { $($(#[$meta])* #[test] fn $name() { $crate::store::conformance::run($crate::store::conformance::Kind::MemoryCrashing, super::$name); })* }
        mod sled { $($(#[$meta])* #[test] fn $name() { $crate::store::conformance::run($crate::store::conformance::Kind::Sled, super::$name); })* }
        mod sled_killed { $($(#[$meta])* #[test] fn $name() { $crate::store::conformance::run($crate::store::conformance::Kind::SledKilled, super::$name); })* }
        mod sled_reopened { $($(#[$meta])* #[test] fn $name() { $crate::store::conformance::run($crate::store::conformance::Kind::SledReopened, super::$name); })* }
    };
}
use on_every_store;

/// Copies the files of a folder, and the folders in it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// No limit.
const ALL: ReadLimit = ReadLimit { count: usize::MAX, bytes: usize::MAX };

fn after(after: u64) -> ReadRange {
    ReadRange { after, limit: ALL }
}

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

/// Seconds after an arbitrary day in 2026.
fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_795_000_000 + secs).unwrap()
}

/// An event of `github`, with a delivery key if `key` is not empty.
fn event(key: &str, payload: impl Into<Bytes>) -> NewEvent {
    NewEvent {
        source: SourceName::parse("github").unwrap(),
        event_type: EventType::parse("pull_request.opened").unwrap(),
        timestamp: at(-5),
        actor: "octocat".into(),
        resource_type: "pull_request".into(),
        resource_id: "octo/hello#42".into(),
        payload: payload.into(),
        metadata: [("content_type", "application/json")].into(),
        delivery_key: key.into(),
        replay_window: None,
    }
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
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

fn config(name: &str) -> SubscriptionConfig {
    SubscriptionConfig {
        name: SubscriptionName::parse(name).unwrap(),
        rule: rule(&["github/pull_request.*", "!github/push"], "event.actor != 'bot'"),
        earlier: vec![(3, rule(&["github"], "")), (9, rule(&["*"], "event.sequence > 4"))],
        look_back: Some((2, 9)),
        policy: Policy {
            max_attempts: 7,
            jitter: 0.25,
            ordering: Ordering::Resource { at_once: 3 },
            coalesce: Coalesce::Debounce {
                quiet: Duration::from_secs(5),
                max_wait: Duration::from_secs(60),
            },
            rate: Some(Rate { per_second: 0.5, burst: 2 }),
            breaker: Some(Breaker { failures: 4, pause: Duration::from_secs(30) }),
            expire_after: Some(Duration::from_secs(86_400)),
            ..Policy::default()
        },
        pause: Pause::Until(at(77)),
        created_at: at(1),
        start_after: 0,
    }
}

fn rule(patterns: &[&str], filter: &str) -> Rule {
    Rule { patterns: PatternSet::parse(patterns).unwrap(), filter: filter.to_owned() }
}
