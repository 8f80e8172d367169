//! The files of a store: what opening makes of them, and what writing leaves.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use hookline_core::{
    event::{METADATA_BODY_HASH, NewEvent, Sequence},
    pattern::PatternSet,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    super::{
        super::{
            AppendError, EventLog as _, Ledger as _, ReadError, ReadLimit, ReadRange, Rule,
            SubscriptionConfig, conformance::copy,
        },
        Options, SledStore,
        keys::{self, Kind, Meta},
        open::{self, OpenError},
    },
    OPTIONS, at, event, noise, open, runtime, setting,
};

const ALL: ReadRange =
    ReadRange { after: 0, limit: ReadLimit { count: usize::MAX, bytes: usize::MAX } };

/// Makes a store with 50 events, one in chunks, and closes it.
fn make(folder: &Path) {
    runtime().block_on(async {
        let store = open(folder);
        for n in 0..49_usize {
            let payload = noise(100 + n * 100, n as u64);
            store.append(vec![event(&format!("{n}"), payload)], at(0)).await.unwrap();
        }
        store.append(vec![event("49", noise(200_000, 49))], at(0)).await.unwrap();
        store.close().await;
    });
}

/// Reads a store that [`make`] made. Everything that is read is right.
async fn read(store: &SledStore) -> Result<usize, ReadError> {
    let entries = store.read(ALL).await?;
    for (entry, n) in entries.iter().zip(0_usize..) {
        let len = if n == 49 { 200_000 } else { 100 + n * 100 };
        assert_eq!(entry.event.content.delivery_key, format!("{n}"));
        assert!(store.payload(entry).await? == noise(len, n as u64));
    }
    Ok(entries.len())
}

fn opens_with_everything(folder: &Path) {
    runtime().block_on(async {
        let store = open(folder);
        assert_eq!(read(&store).await.unwrap(), 50);
        store.close().await;
    });
}

#[test]
fn i3_no_value_becomes_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(folder.path());
        for batch in 0..30_u64 {
            let events = (0..64).map(|n| event("", noise(10_000, batch * 64 + n)));
            store.append(events.collect(), at(0)).await.unwrap();
            let large = vec![event("", noise(64 * 1024 * 3, batch))];
            store.append(large, at(0)).await.unwrap();
            assert_eq!(fs::read_dir(folder.path().join("blobs")).unwrap().count(), 0);
        }
        store.close().await;
    });
}

/// Returns an event with a key, and a body of a source that looks for replays.
fn replayable(key: usize) -> NewEvent {
    let mut event = NewEvent {
        replay_window: Some(Duration::from_secs(600)),
        ..event(&format!("key of {key}"), "x")
    };
    event.metadata.insert(METADATA_BODY_HASH.to_owned(), format!("body of {key}"));
    event
}

#[test]
fn what_was_delivered_is_known_after_a_kill_also_of_a_block_that_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(folder.path());
        // Two blocks of the index and a part of one; rows of fingerprints are written with whole ones.
        for call in 0..13_usize {
            let events = (call * 100..(call + 1) * 100).map(replayable).collect();
            store.append(events, at(0)).await.unwrap();
        }
        // What a kill leaves: the files as they are while the store is open.
        copy(folder.path(), &killed.path().join("a"));
        store.close().await;
    });
    let report = super::check::checked(&killed.path().join("a"));
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(report.events, 1_300);

    runtime().block_on(async {
        let store = open(&killed.path().join("a"));
        for key in [0, 511, 1_023, 1_024, 1_299] {
            let same = store.append(vec![replayable(key)], at(1)).await.unwrap();
            assert!(same[0].duplicate && !same[0].replayed, "{key}");
            let replay =
                NewEvent { delivery_key: format!("again {key}").into(), ..replayable(key) };
            let replay = store.append(vec![replay], at(1)).await.unwrap();
            assert!(replay[0].duplicate && replay[0].replayed, "{key}");
            assert_eq!(replay[0].sequence, same[0].sequence);
        }
        let events = (1_300..2_000).map(replayable).collect();
        assert!(store.append(events, at(1)).await.unwrap().iter().all(|it| !it.duplicate));
        copy(&killed.path().join("a"), &killed.path().join("b"));
        store.close().await;
    });
    for folder in ["a", "b"] {
        let report = super::check::checked(&killed.path().join(folder));
        assert!(report.is_clean(), "{folder}: {:#?}", report.findings);
        assert_eq!(report.events, 2_000);
    }
}

#[test]
fn a_store_is_open_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = SledStore::open(folder.path(), OPTIONS).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(store);
    drop(open(folder.path()));
}

/// Changes rows of a store behind its back.
pub(super) fn raw(folder: &Path, write: &dyn Fn(&::sled::Db)) {
    // sled's threads give the lock back a moment after a database was dropped.
    let config = ::sled::Config::new().path(folder).segment_size(8 << 20);
    let open = || config.open().inspect_err(|_| std::thread::yield_now()).ok();
    let db = std::iter::repeat_with(open).take(100_000).find_map(|db| db).unwrap();
    write(&db);
    db.flush().unwrap();
}

#[test]
fn a_store_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let raw = |write: &dyn Fn(&::sled::Db)| raw(folder.path(), write);
    raw(&|db| {
        db.insert(keys::meta(Meta::Version), keys::seal(&[&3_u32.to_be_bytes()])).unwrap();
    });
    let error = SledStore::open(folder.path(), OPTIONS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store has layout version `3`, this hub reads versions up to `2`"
    );
    raw(&|db| {
        db.remove(keys::meta(Meta::Version)).unwrap();
    });
    let error = SledStore::open(folder.path(), OPTIONS).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn a_half_written_snapshot_does_not_keep_a_store_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    fs::write(folder.path().join("snap.00000000000000FF.generating"), b"half").unwrap();
    opens_with_everything(folder.path());
}

#[test]
fn a_damaged_snapshot_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let snapshot = folder.path().join("snap.7FFFFFFFFFFFFFFF");
    fs::write(&snapshot, noise(4_096, 1)).unwrap();
    opens_with_everything(folder.path());
    assert!(!snapshot.exists());
}

#[test]
fn i5_flipped_bytes_are_refused_or_told_never_served() {
    let (good, bad) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(good.path());
    let bytes = fs::read(good.path().join("db")).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut refused, mut told, mut cut, mut harmless) = (0, 0, 0, 0);
    for round in 0..60 {
        let folder = bad.path().join(format!("{round}"));
        copy(good.path(), &folder);
        let mut spoilt = bytes.clone();
        let flip = noise(8, round + 1);
        let place = u64::from_le_bytes(flip[..].try_into().unwrap());
        spoilt[usize::try_from(place % (end as u64)).unwrap()] ^= 0x10;
        fs::write(folder.join("db"), spoilt).unwrap();
        match SledStore::open(&folder, OPTIONS) {
            Err(_) => refused += 1,
            Ok(store) => match runtime().block_on(read(&store)) {
                Ok(50) => harmless += 1,
                // As after a torn write: the log ends before the damage.
                Ok(_) => cut += 1,
                Err(_) => told += 1,
            },
        }
        fs::remove_dir_all(&folder).unwrap();
    }
    println!("{refused} refused, {told} told when read, {cut} cut off, {harmless} harmless");
    assert!(refused + told + cut > 0, "some flips hit what is used");
}

/// What a kill leaves of zeros that were put behind the log, or were about to be: in the segment that is being written, and
/// any part of the next one.
#[test]
fn zeros_behind_the_log_are_nothing() {
    const SEGMENT: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let whole = fs::metadata(folder.path().join("db")).unwrap().len();
    for end in [whole + 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, SEGMENT + 19, SEGMENT + 20, 9 << 20] {
        assert!(whole < end, "{whole}");
        let longer = tempfile::tempdir().unwrap();
        copy(folder.path(), longer.path());
        let db = fs::File::options().append(true).open(longer.path().join("db")).unwrap();
        db.set_len(end).unwrap();
        drop(db);
        opens_with_everything(longer.path());
        assert!(super::check::checked(longer.path()).is_clean(), "{end}");
    }

    // As it comes about, over the ends of segments.
    runtime().block_on(async {
        let store = open(folder.path());
        for n in 50..150_usize {
            store.append(vec![event(&format!("{n}"), noise(200_000, 49))], at(0)).await.unwrap();
            if n % 11 == 0 {
                let left = tempfile::tempdir().unwrap();
                copy(folder.path(), left.path());
                for more in 1..3 {
                    let again = open(left.path());
                    let key = format!("more {more}");
                    again.append(vec![event(&key, noise(300, 1))], at(0)).await.unwrap();
                    assert_eq!(again.read(ALL).await.unwrap().len(), n + 1 + more);
                    again.close().await;
                }
                assert!(super::check::checked(left.path()).is_clean(), "{n}");
            }
        }
        store.close().await;
    });
}

/// A power loss keeps what was synced, and of what came later any part: here the end is cut off, anywhere.
#[test]
fn i2_of_a_log_that_is_cut_off_anywhere_the_first_events_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(folder.path());
        for round in 0..10_usize {
            // Many commits have several packs, written one by one; some have events that belong together.
            let alone = (0..40).map(|n| {
                let key = format!("{round} {n}");
                store.append(vec![event(&key, noise(6_000, n))], at(0))
            });
            let appended = futures_util::future::join_all(alone).await;
            assert!(appended.iter().all(Result::is_ok));
            let together = (0..5).map(|n| event(&format!("{round} together {n}"), noise(6_000, n)));
            store.append(together.collect(), at(0)).await.unwrap();
        }
        copy(folder.path(), killed.path());
        store.close().await;
    });
    let whole = fs::metadata(killed.path().join("db")).unwrap().len();
    let mut left = Vec::new();
    for cut in (0..25).map(|n| n * 179_989).filter(|cut| *cut < whole) {
        let torn = tempfile::tempdir().unwrap();
        copy(killed.path(), torn.path());
        let db = fs::File::options().write(true).open(torn.path().join("db")).unwrap();
        db.set_len(whole - cut).unwrap();
        drop(db);
        let report = super::check::checked(torn.path());
        assert!(report.is_clean(), "{cut}: {:#?}", report.findings);
        runtime().block_on(async {
            let store = open(torn.path());
            let entries = store.read(ALL).await.unwrap();
            assert_eq!(u64::try_from(entries.len()).unwrap(), report.events);
            let rounds = entries.iter().map(|entry| &entry.event.content.delivery_key);
            let together = rounds.filter(|key| key.contains("together")).count();
            assert!(together.is_multiple_of(5), "{cut}: {together} of those that belong together");
            store.close().await;
        });
        left.push(report.events);
    }
    assert!(left.is_sorted_by(|more, fewer| more >= fewer), "{left:?}");
    assert_eq!(left.first(), Some(&450));
    assert!(left.iter().any(|events| *events < 250), "{left:?}");
}

fn config() -> SubscriptionConfig {
    SubscriptionConfig {
        name: hookline_core::event::SubscriptionName::parse("prs").unwrap(),
        rule: Rule { patterns: PatternSet::parse(["github"]).unwrap(), filter: String::new() },
        earlier: Vec::new(),
        look_back: None,
        policy: hookline_core::delivery::Policy::default(),
        pause: hookline_core::delivery::Pause::Off,
        created_at: at(0),
        start_after: 0,
    }
}

#[test]
fn i4_a_full_disk_refuses_events_but_not_commits_to_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { free_percent_min: 101, ..OPTIONS };
    let store = SledStore::open(folder.path(), options).unwrap();
    runtime().block_on(async {
        let refused = store.append(vec![event("k", "x")], at(0)).await;
        assert!(matches!(refused, Err(AppendError::Full)));
        let creation = store.create(config()).await.unwrap();
        store.open(creation).await.unwrap();
        store.close().await;
        let closed = store.append(vec![event("k", "x")], at(0)).await;
        assert!(closed.is_err());
        assert!(store.read(ALL).await.unwrap().is_empty());
        assert!(store.find(hookline_core::event::EventId::new(at(0), [0; 10])).await.is_err());
    });
}

const LIMITED: &str = "HOOKLINE_LIMITED_FOLDER";

/// A limit on the size of files stands in for a disk without room: writes fail in the same places.
#[test]
fn i4_after_a_failed_write_the_store_refuses_and_opens_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        // The signal of the limit would end the process; without it the write fails.
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::sled::tests::files::limited_child", "--ignored", "--nocapture"])
        .env(LIMITED, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let error = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(child.status.success() && said.contains("recovered"), "{said}{error}");
}

#[test]
#[ignore = "run by the test above, as a child with a limit on the size of files"]
fn limited_child() {
    let Some(folder) = setting(LIMITED) else { return };
    let store = open(Path::new(&folder));
    let unlimited = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(24 << 20), ..unlimited }).unwrap();
    runtime().block_on(async {
        let mut confirmed = 0_u64;
        let append = |n: u64| store.append(vec![event(&format!("{n}"), noise(900_000, n))], at(0));
        while let Ok(appended) = append(confirmed).await {
            assert_eq!(appended[0].sequence.get(), confirmed + 1);
            confirmed += 1;
            assert!(confirmed < 100, "the limit is never reached");
        }
        assert!(confirmed > 5);
        assert!(append(confirmed).await.is_err(), "still refused");
        setrlimit(Resource::Fsize, unlimited).unwrap();
        // The store is opened again within a second.
        let opened_again = async {
            loop {
                match append(confirmed).await {
                    Ok(appended) => return appended,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), opened_again);
        let again = in_time.await.unwrap();
        assert_eq!(again[0].sequence.get(), confirmed + 1);
        for n in 0..=confirmed {
            let after = ReadRange { after: n, limit: ReadLimit { count: 1, bytes: 1 } };
            let entry = store.read(after).await.unwrap().remove(0);
            assert_eq!(entry.event.sequence, Sequence::new(n + 1).unwrap());
            assert!(store.payload(&entry).await.unwrap() == noise(900_000, n), "{n}");
        }
        println!("recovered after {confirmed} events");
        store.close().await;
    });
}

#[test]
fn fingerprints_go_with_the_events_that_were_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(folder.path());
        for call in 0..20_usize {
            let events = (call * 100..(call + 1) * 100).map(replayable).collect();
            store.append(events, at(0)).await.unwrap();
        }
        store.trim(Sequence::new(1_500).unwrap()).await.unwrap();
        // Rows are removed with the next commit.
        store.append(vec![replayable(2_000)], at(0)).await.unwrap();
        store.close().await;
    });
    let rows = |kind| {
        let (db, _) = open::open(folder.path(), &OPTIONS).unwrap();
        let keys = db.range(keys::under(kind, &[])).keys().map(Result::unwrap);
        keys.map(|key| keys::first_fingerprinted(&key).unwrap()).collect::<Vec<_>>()
    };
    // The row from 1,024 on has fingerprints of events that are kept.
    assert_eq!(rows(Kind::Fingerprints), [1_024, 1_536]);
    assert_eq!(rows(Kind::Bodies), [1_024, 1_536]);
    let report = super::check::checked(folder.path());
    assert!(report.is_clean(), "{:#?}", report.findings);

    runtime().block_on(async {
        let store = open(folder.path());
        // Events are counted from 0, sequences from 1.
        for (key, is_known) in [(1_499, true), (1_999, true), (1_498, false), (0, false)] {
            let appended = store.append(vec![replayable(key)], at(0)).await.unwrap();
            assert_eq!(appended[0].duplicate, is_known, "{key}");
        }
        store.close().await;
    });
}
