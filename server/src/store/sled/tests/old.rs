//! Stores that were written by released layouts, kept under `tests/data`: every later version must open them.
//!
//! An archive is a zstd frame of files, each: length of the name `u32`, name, length of the content `u64`, content; lengths
//! are little-endian. Segments of zeros compress to nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, Change, DeadLetter, Death, Ended, Epoch, Pause, Policy, Reason,
        Record, Settlement, Stamp,
    },
    event::{Sequence, SubscriptionName},
    pattern::PatternSet,
};

use super::{
    super::{
        super::{
            Commit, EventLog as _, Ledger as _, ReadLimit, ReadRange, Rule, SubscriptionConfig,
        },
        keys::LAYOUT_VERSION,
    },
    at, event, noise, open, runtime,
};

/// The layout of which there is an archive.
const ARCHIVED: u32 = 1;
const ALL: ReadRange =
    ReadRange { after: 0, limit: ReadLimit { count: usize::MAX, bytes: usize::MAX } };

fn archive(layout_version: u32) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    data.join(format!("store-v{layout_version}.archive.zst"))
}

fn sequence(n: u64) -> Sequence {
    Sequence::new(n).unwrap()
}

fn config() -> SubscriptionConfig {
    SubscriptionConfig {
        name: SubscriptionName::parse("prs").unwrap(),
        rule: Rule {
            patterns: PatternSet::parse(["!github/push", "github"]).unwrap(),
            filter: String::new(),
        },
        earlier: Vec::new(),
        look_back: None,
        policy: Policy { max_attempts: 3, ..Policy::default() },
        pause: Pause::Off,
        created_at: at(1),
        start_after: 2,
    }
}

fn letter() -> DeadLetter {
    let attempt = Attempt {
        number: 3,
        consumer: "agent".to_owned(),
        started_at: at(10),
        ended_at: at(20),
        end: AttemptEnd::LeaseExpired,
        reason: "the lease ran out".to_owned(),
        error_type: String::new(),
    };
    let (generation, reason, attempts) = (1, Reason::MaxAttempts, 3);
    DeadLetter {
        generation,
        reason,
        history: vec![attempt],
        attempts,
        died_at: at(30),
        detail: String::new(),
    }
}

fn dead() -> Change {
    let DeadLetter { generation, reason, history, attempts, died_at, detail } = letter();
    let death = Death { generation, reason, attempts, died_at, detail, redriven: false };
    Change::Dead { sequence: sequence(9), death, attempt: history.into_iter().next() }
}

/// Earlier versions did not say when the lease began that may still ack: then at the latest when it was due again.
fn record() -> Record {
    let fence = Some(Stamp { epoch: Epoch(1), counter: 4 });
    Record { attempts: 1, due_at: Some(at(90)), fence, late_ack: Some(at(90)), ..Record::default() }
}

fn settlement() -> Settlement {
    Settlement { consumer: "agent".to_owned(), attempt: 2, leased_at: at(4), done_at: at(5) }
}

/// Makes the archive of the layout of this version. Run once for each layout, before it is released:
/// `cargo test -p hookline-server --lib -- --ignored an_archive_of_this_layout_is_made`.
#[test]
#[ignore = "makes a file of the repository"]
fn an_archive_of_this_layout_is_made() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(folder.path());
        for n in 1..=8_u64 {
            let payload = format!(r#"{{"n":{n},"text":"{}"}}"#, "abc ".repeat(200));
            store.append(vec![event(&format!("key-{n}"), payload)], at(0)).await.unwrap();
        }
        let large = event("large", noise(70_000, 9));
        store.append(vec![large, event("", "")], at(2)).await.unwrap();
        store.trim(sequence(2)).await.unwrap();

        let creation = store.create(config()).await.unwrap();
        let (epoch, _) = store.open(creation).await.unwrap();
        let entries = store.read(ALL).await.unwrap();
        let large = entries.iter().find(|entry| entry.payload_size == 70_000).unwrap();
        let changes = vec![
            Change::Done { sequence: sequence(3), settlement: settlement() },
            Change::Position { floor: 3, scanned: 10 },
            Change::Done { sequence: sequence(6), settlement: settlement() },
            Change::Open { sequence: sequence(4), record: record() },
            dead(),
        ];
        let dead_events = vec![(sequence(9), Arc::clone(large))];
        let commit = Commit { changes, dead_events, config: None, at: at(60) };
        store.commit(creation, epoch, commit).await.unwrap();
        store.close().await;
    });
    let mut bytes = Vec::new();
    for name in ["conf", "db"] {
        let content = fs::read(folder.path().join(name)).unwrap();
        bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend(content);
    }
    fs::write(archive(LAYOUT_VERSION), zstd::encode_all(&bytes[..], 19).unwrap()).unwrap();
}

pub(super) fn unpack(folder: &Path) {
    let bytes = zstd::decode_all(fs::File::open(archive(ARCHIVED)).unwrap()).unwrap();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk().unwrap();
        let (name, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        let (len, after) = after.split_first_chunk().unwrap();
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap();
        let (content, after) = after.split_at(len);
        fs::write(folder.join(std::str::from_utf8(name).unwrap()), content).unwrap();
        rest = after;
    }
}

#[test]
fn an_old_store_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    runtime().block_on(async {
        let store = open(folder.path());
        assert_eq!((store.first(), *store.head().borrow()), (sequence(2), 10));
        assert_eq!(store.last_written_at(), at(60));
        let entries = store.read(ALL).await.unwrap();
        assert_eq!(entries.len(), 9);
        for (entry, n) in entries.iter().zip(2..=8_u64) {
            let payload = format!(r#"{{"n":{n},"text":"{}"}}"#, "abc ".repeat(200));
            assert_eq!(store.payload(entry).await.unwrap(), payload);
            assert_eq!(entry.event.content, event(&format!("key-{n}"), ""));
            assert_eq!(entry.event.received_at, at(0));
        }
        assert_eq!(store.payload(&entries[7]).await.unwrap(), noise(70_000, 9));
        assert_eq!(entries[8].payload_size, 0);
        let again = store.append(vec![event("key-5", "again")], at(9)).await.unwrap();
        assert_eq!((again[0].id, again[0].duplicate), (entries[3].event.id, true));

        let subscriptions = store.subscriptions().await.unwrap();
        let (creation, kept) = subscriptions.into_iter().next().unwrap();
        assert_eq!(kept, config());
        let (epoch, snapshot) = store.open(creation).await.unwrap();
        assert_eq!((epoch, snapshot.floor, snapshot.scanned), (Epoch(2), 3, 10));
        assert_eq!(snapshot.records.into_iter().collect::<Vec<_>>(), [(sequence(4), record())]);
        let finished: Vec<_> = snapshot.finished.iter().map(Sequence::get).collect();
        assert_eq!(finished, [6, 9]);
        let settled = store.past(creation, sequence(6)).await.unwrap();
        assert_eq!(settled.ended, [Ended::Acked(settlement())]);
        assert!(settled.background.is_forgettable());
        let dead = store.dead_letters(creation, ALL).await.unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].letter, letter());
        assert_eq!(store.payload(&dead[0].entry).await.unwrap(), noise(70_000, 9));
        assert_eq!(store.unannounced(9).await.unwrap(), dead);
        store.close().await;
    });
}
