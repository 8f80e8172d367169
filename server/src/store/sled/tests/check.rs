//! What `check` finds: nothing in a store that was only used, and each kind of damage by its name.

use std::{path::Path, sync::Arc};

use hookline_core::{
    delivery::{Attempt, AttemptEnd, Change, Creation, Record, Settlement},
    event::Sequence,
};

use super::{
    super::{
        super::{
            Commit, EventLog as _, Ledger as _, ReadLimit, ReadRange,
            conformance::copy as copy_folder,
        },
        check::{Problem, Report, check},
        dedupe,
        keys::{self, Kind, Meta},
        open::{self, OpenError},
    },
    at, config, event, noise, open, rejected, runtime,
};

const ONE: ReadLimit = ReadLimit { count: 1, bytes: 1 };

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        consumer: "agent".to_owned(),
        started_at: at(1),
        ended_at: at(2),
        end: AttemptEnd::Nacked,
        reason: "it failed".to_owned(),
        error_type: String::new(),
    }
}

/// Makes a store that has a row of every kind but those that wait to be removed: 520 events, of which 20, 40 and 60 are large,
/// and a subscription with deliveries in each state: 3 and 20 are dead, 5 was purged, 6 is redriven, 10 has failed.
fn make(folder: &Path) {
    runtime().block_on(async {
        let store = open(folder);
        for n in 1..=60_u64 {
            let len = if n % 20 == 0 { 200_000 } else { 40_000 };
            let mut event = event(&format!("{n}"), noise(len, n));
            if n % 2 == 0 {
                event.metadata.insert("body_hash".to_owned(), format!("hash of {n}"));
                event.replay_window = Some(std::time::Duration::from_secs(60));
            }
            store.append(vec![event], at(0)).await.unwrap();
        }
        // A block of the index, and some more.
        let small = (61..=520).map(|_| event("", "x"));
        store.append(small.collect(), at(0)).await.unwrap();
        let creation = store.create(config("prs")).await.unwrap();
        let (epoch, _) = store.open(creation).await.unwrap();
        let entry = async |n: u64| {
            let range = ReadRange { after: n - 1, limit: ONE };
            (sequence(n), store.read(range).await.unwrap().remove(0))
        };
        let dead = |n| {
            let death = rejected();
            Change::Dead { sequence: sequence(n), death, attempt: Some(attempt()) }
        };
        let settlement = Settlement {
            consumer: "agent".to_owned(),
            attempt: 1,
            leased_at: at(0),
            done_at: at(1),
        };
        let done = |n| Change::Done { sequence: sequence(n), settlement: settlement.clone() };
        let record = |attempts| Record { attempts, ..Record::default() };
        let first = Commit {
            changes: vec![
                done(1),
                done(2),
                dead(3),
                dead(5),
                dead(6),
                dead(20),
                Change::Failed { sequence: sequence(10), record: record(1), attempt: attempt() },
                Change::Checkpointed { sequence: sequence(10), checkpoint: "half".into() },
                Change::Failed { sequence: sequence(11), record: record(1), attempt: attempt() },
                done(11),
                Change::Position { floor: 3, scanned: 30 },
            ],
            dead_events: vec![entry(3).await, entry(5).await, entry(6).await, entry(20).await],
            config: None,
            at: at(3),
        };
        store.commit(creation, epoch, first).await.unwrap();
        let redriven = Record { generation: 1, redriven: true, ..Record::default() };
        let second = Commit {
            changes: vec![
                Change::Purged { sequences: vec![sequence(5)] },
                Change::Redriven { sequence: sequence(6), record: redriven },
            ],
            at: at(4),
            ..Commit::default()
        };
        store.commit(creation, epoch, second).await.unwrap();
        store.close().await;
    });
}

pub(super) fn checked(folder: &Path) -> Report {
    check(folder, &mut |_, _, _| {}).unwrap()
}

pub(super) fn assert_clean(folder: &Path) -> Report {
    let report = checked(folder);
    assert!(report.is_clean(), "{:#?}", report.findings);
    report
}

pub(super) fn problems(report: &Report) -> Vec<Problem> {
    report.counts.keys().copied().collect()
}

/// Changes rows of a copy of a good store behind its back, and checks it.
pub(super) fn after(good: &Path, damage: impl FnOnce(&::sled::Db)) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("data");
    copy_folder(good, &copy);
    let db = open::open_existing(&copy).unwrap();
    damage(&db);
    db.flush().unwrap();
    drop(db);
    checked(&copy)
}

const C: Creation = Creation(1);

#[test]
fn a_store_that_was_only_used_is_clean_and_has_each_kind_of_row() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let report = assert_clean(folder.path());
    assert_eq!((report.first, report.head, report.events), (1, 520, 520));
    assert_eq!((report.subscriptions, report.left_over), (1, 0));
    assert_eq!(report.payload_bytes, 57 * 40_000 + 3 * 200_000 + 460);
    let absent = report.kinds.iter().filter(|kind| kind.rows == 0);
    let absent: Vec<_> = absent.map(|kind| kind.name).collect();
    assert_eq!(absent, ["dictionary", "deleting", "dictionary-copy"]);
}

#[test]
fn a_store_that_was_trimmed_and_lost_a_subscription_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    runtime().block_on(async {
        let store = open(folder.path());
        store.trim(sequence(10)).await.unwrap();
        store.close().await;
    });
    let report = assert_clean(folder.path());
    assert_eq!((report.first, report.events), (10, 511));
    runtime().block_on(async {
        let store = open(folder.path());
        store.delete(C).await.unwrap();
        store.append(vec![event("more", "x")], at(5)).await.unwrap();
        store.close().await;
    });
    assert_eq!(assert_clean(folder.path()).subscriptions, 0);
    let empty = tempfile::tempdir().unwrap();
    drop(open(empty.path()));
    assert_eq!(assert_clean(empty.path()).head, 0);
}

#[test]
fn an_old_store_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    super::old::unpack(folder.path());
    assert!(0 < assert_clean(folder.path()).events);
}

#[test]
fn each_damage_is_found_by_its_name() {
    let good = tempfile::tempdir().unwrap();
    make(good.path());
    let remove = |key: Vec<u8>| {
        after(good.path(), |db| {
            assert!(db.remove(&key).unwrap().is_some(), "{key:?} is there");
        })
    };
    let put = |key: Vec<u8>, content: &[u8]| {
        after(good.path(), |db| {
            db.insert(key, keys::seal(&[content])).unwrap();
        })
    };
    let of = |kind, n| keys::of_delivery(kind, C, sequence(n));
    let day = dedupe::day(at(0));
    let cases = [
        (remove(keys::chunk(None, sequence(40), 1)), Problem::ChunkMissing),
        (put(keys::chunk(None, sequence(41), 0), b"x"), Problem::ChunkOrphan),
        (put(keys::chunk(None, sequence(40), 99), b"x"), Problem::ChunkOrphan),
        (remove(keys::key(Kind::Pack, &[30])), Problem::SequenceGap),
        (remove(keys::key(Kind::Pack, &[1])), Problem::SequenceGap),
        (remove(keys::fingerprints(Kind::Fingerprints, day, 1)), Problem::IndexMissing),
        (
            put(keys::fingerprints(Kind::Fingerprints, day, 1), &[[0; 7], [0; 7]].concat()),
            Problem::Undecodable,
        ),
        (
            put(
                keys::fingerprints(Kind::Bodies, day, 30),
                &[7_u64, 30].map(u64::to_be_bytes).concat(),
            ),
            Problem::IndexStray,
        ),
        (
            put(
                keys::fingerprints(Kind::Fingerprints, day, 521),
                &[7_u64, 521].map(u64::to_be_bytes).concat(),
            ),
            Problem::IndexStray,
        ),
        (put(keys::key(Kind::Index, &[0]), b""), Problem::IndexStray),
        (put(keys::key(Kind::Index, &[1]), b""), Problem::IndexStray),
        (remove(keys::meta(Meta::SealKey)), Problem::MetaMissing),
        (put(vec![99, 1, 2], b""), Problem::UnknownKind),
        (put(keys::key(Kind::Record, &[1]), b""), Problem::MalformedKey),
        (remove(keys::key(Kind::Config, &[1])), Problem::SubscriptionMissing),
        (put(keys::key(Kind::Epoch, &[7]), &[0; 8]), Problem::SubscriptionMissing),
        (remove(keys::key(Kind::Epoch, &[1])), Problem::LedgerIncomplete),
        (remove(keys::key(Kind::Position, &[1])), Problem::LedgerIncomplete),
        (
            put(keys::key(Kind::Position, &[1]), &[521_u64, 521].map(u64::to_be_bytes).concat()),
            Problem::Position,
        ),
        (put(of(Kind::Record, 777), b""), Problem::RecordOrphan),
        (put(of(Kind::Record, 2), b""), Problem::State),
        (remove(of(Kind::Record, 6)), Problem::State),
        (remove(of(Kind::LetterEvent, 3)), Problem::LetterIncomplete),
        (remove(of(Kind::Letter, 3)), Problem::LetterIncomplete),
        (remove(keys::chunk(Some(C), sequence(20), 2)), Problem::LetterIncomplete),
        (put(of(Kind::Unannounced, 7), &[0; 4]), Problem::UnannouncedOrphan),
        (put(of(Kind::Checkpoint, 2), b"x"), Problem::BackgroundOrphan),
        (put(of(Kind::Background, 1), b""), Problem::BackgroundOrphan),
    ];
    for (number, (report, problem)) in cases.iter().enumerate() {
        assert!(problems(report).contains(problem), "case {number}: {:#?}", report.findings);
    }
}

#[test]
fn a_finding_names_its_row() {
    let good = tempfile::tempdir().unwrap();
    make(good.path());
    let key = keys::chunk(None, sequence(40), 1);
    let report = after(good.path(), |db| drop(db.remove(&key).unwrap()));
    let found = &report.findings[..];
    assert!(
        matches!(found, [one] if one.row == "chunk 40 1" && one.key == "0200000000000000280000000" .to_owned() + "1"),
        "{found:?}"
    );
}

#[test]
fn a_missing_weight_and_flipped_bits_are_found() {
    let good = tempfile::tempdir().unwrap();
    make(good.path());
    let report = after(good.path(), |db| {
        let rows: Vec<_> = db.range(keys::under(Kind::Weight, &[])).keys().flatten().collect();
        assert!(rows.len() >= 2, "{rows:?}");
        // Without one in the middle, or the only two with another order.
        let key = &rows[1];
        db.insert(key, keys::seal(&[&5_u64.to_be_bytes()])).unwrap();
    });
    assert_eq!(problems(&report), [Problem::Weight], "{:#?}", report.findings);
    for kind in [Kind::Pack, Kind::Chunk, Kind::Record, Kind::Letter, Kind::Config] {
        let report = after(good.path(), |db| {
            let (key, value) = db.range(keys::under(kind, &[])).next().unwrap().unwrap();
            let mut value = value.to_vec();
            *value.last_mut().unwrap() ^= 4;
            db.insert(key, value).unwrap();
        });
        assert!(problems(&report).contains(&Problem::Checksum), "{kind:?}: {:?}", report.findings);
    }
}

#[test]
fn what_is_no_store_or_in_use_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let told = |path: &Path| check(path, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(told(&folder.path().join("none")), OpenError::Missing { .. }));
    assert!(!folder.path().join("none").exists(), "nothing is made");
    let store: Arc<_> = open(folder.path());
    assert!(matches!(told(folder.path()), OpenError::Locked { .. }));
    drop(store);
    assert_clean(folder.path());
    let foreign = tempfile::tempdir().unwrap();
    let db = ::sled::Config::new().path(foreign.path()).segment_size(8 << 20).open().unwrap();
    db.insert("key", "value").unwrap();
    db.flush().unwrap();
    drop(db);
    assert!(matches!(told(foreign.path()), OpenError::Foreign { .. }));
}
