//! Payloads of a source are compressed with a dictionary, which lasts as long as an event needs it.

use std::{path::Path, sync::Arc};

use hookline_core::{
    delivery::{Change, Creation},
    event::{Sequence, SourceName},
};

use super::{
    super::{
        super::{
            Commit, Entry, EventLog as _, Export as _, Ledger as _, Packed, ReadError, ReadLimit,
            ReadRange, conformance::copy, dictionary::tests::payload,
        },
        Options, SledStore,
        check::Problem,
        keys::{self, Kind},
        restore::Restoring,
    },
    OPTIONS, at,
    check::{after, assert_clean, problems},
    config, event, files, open, rejected, runtime,
};

const ALL: ReadRange =
    ReadRange { after: 0, limit: ReadLimit { count: usize::MAX, bytes: usize::MAX } };

fn sequence(n: u64) -> Sequence {
    Sequence::new(n).unwrap()
}

fn source() -> SourceName {
    SourceName::parse("github").unwrap()
}

/// Appends the payload of the next sequence.
async fn append(store: &SledStore) {
    let n = *store.head().borrow() + 1;
    store.append(vec![event("", payload(n))], at(0)).await.unwrap();
}

/// Appends until there is a dictionary, which is made aside, and some events more. Returns how many need none.
async fn fill(store: &SledStore) -> u64 {
    let mut without = *store.head().borrow();
    while store.shared.dictionaries.of_source(&source()).is_none() {
        append(store).await;
        without = *store.head().borrow();
        assert!(without < 100_000, "no dictionary was made");
    }
    for _ in 0..20 {
        append(store).await;
    }
    without
}

async fn entry(store: &SledStore, n: u64) -> Arc<Entry> {
    let range = ReadRange { after: n - 1, limit: ReadLimit { count: 1, bytes: 1 } };
    store.read(range).await.unwrap().remove(0)
}

fn stored_bytes(entry: &Entry) -> usize {
    match &entry.packed {
        Packed::Zstd(bytes) => bytes.len(),
        Packed::Plain(_) | Packed::Chunked { .. } => panic!("JSON compresses"),
    }
}

/// Reads everything that is kept; everything that is read is right.
async fn read(store: &SledStore) -> Result<usize, ReadError> {
    let entries = store.read(ALL).await?;
    for entry in &entries {
        assert_eq!(store.payload(entry).await?, payload(entry.event.sequence.get()));
    }
    Ok(entries.len())
}

fn make(folder: &Path) -> u64 {
    runtime().block_on(async {
        let store = open(folder);
        let without = fill(&store).await;
        store.close().await;
        without
    })
}

fn kept(db: &::sled::Db) -> Vec<Vec<u8>> {
    let kinds = [Kind::Dictionary, Kind::DictionaryCopy];
    let keys = |kind| db.range(keys::under(kind, &[])).keys().map(|key| key.unwrap().to_vec());
    kinds.into_iter().flat_map(keys).collect()
}

#[test]
fn payloads_of_a_source_take_half_the_room_once_it_has_a_dictionary() {
    let folder = tempfile::tempdir().unwrap();
    let killed = folder.path().join("killed");
    let without = runtime().block_on(async {
        let store = open(&folder.path().join("data"));
        let without = fill(&store).await;
        // What a kill leaves: the files as they are while the store is open.
        copy(&folder.path().join("data"), &killed);
        store.close().await;
        without
    });
    for folder in [folder.path().join("data"), killed] {
        assert_eq!(assert_clean(&folder).events, without + 20);
        runtime().block_on(async {
            let store = open(&folder);
            let (first, last) = (entry(&store, 1).await, entry(&store, without + 20).await);
            assert!(stored_bytes(&last) * 2 < stored_bytes(&first));
            assert_eq!(read(&store).await.unwrap() as u64, without + 20);
            append(&store).await;
            let next = entry(&store, without + 21).await;
            assert!(stored_bytes(&next) * 2 < stored_bytes(&first), "also when it is open again");
            store.close().await;
        });
    }
}

#[test]
fn a_lost_copy_is_found_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    for kind in [Kind::Dictionary, Kind::DictionaryCopy] {
        let damaged = tempfile::tempdir().unwrap();
        let data = damaged.path().join("data");
        copy(folder.path(), &data);
        files::raw(&data, &|db| {
            let key = db.range(keys::under(kind, &[])).keys().next().unwrap().unwrap();
            let mut value = db.get(&key).unwrap().unwrap().to_vec();
            *value.last_mut().unwrap() ^= 1;
            db.insert(key, value).unwrap();
        });
        let report = super::check::checked(&data);
        assert_eq!(problems(&report), [Problem::Checksum, Problem::Dictionary]);
        runtime().block_on(async {
            let store = open(&data);
            read(&store).await.unwrap();
            store.close().await;
        });
        assert_clean(&data);
    }
}

#[test]
fn without_its_dictionary_a_payload_is_damaged_and_all_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let without = make(folder.path());
    let lose = |db: &::sled::Db| kept(db).into_iter().for_each(|key| drop(db.remove(key).unwrap()));
    assert_eq!(problems(&after(folder.path(), lose)), [Problem::Payload]);
    files::raw(folder.path(), &lose);
    runtime().block_on(async {
        let store = open(folder.path());
        for entry in store.read(ALL).await.unwrap() {
            let n = entry.event.sequence.get();
            match store.payload(&entry).await {
                Ok(read) => assert_eq!(read, payload(n)),
                Err(error) => {
                    assert!(without <= n, "{n}: {error}");
                    assert!(error.to_string().contains("needs the dictionary"), "{error}");
                }
            }
        }
        store.close().await;
    });
}

#[test]
fn a_dictionary_goes_with_the_events_that_need_it() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(folder.path());
        let without = fill(&store).await;
        let first = store.shared.dictionaries.of_source(&source()).unwrap().id;
        // All that it was made of is gone: it is retired, and read with until its own events are gone too.
        store.trim(sequence(without + 10)).await.unwrap();
        assert!(store.shared.dictionaries.of_source(&source()).is_none());
        assert_eq!(read(&store).await.unwrap(), 11);
        let head = fill(&store).await + 20;
        assert_ne!(store.shared.dictionaries.of_source(&source()).unwrap().id, first);
        read(&store).await.unwrap();
        assert_eq!(store.shared.dictionaries.count(), 2);
        for before in [head - 5, head - 4] {
            store.trim(sequence(before)).await.unwrap();
        }
        assert_eq!(read(&store).await.unwrap(), 5);
        assert_eq!(store.shared.dictionaries.count(), 1);
        store.close().await;
    });
    files::raw(folder.path(), &|db| assert_eq!(kept(db).len(), 2));
    assert_clean(folder.path());
}

#[test]
fn a_dead_letter_needs_no_dictionary() {
    let folder = tempfile::tempdir().unwrap();
    let without = runtime().block_on(async {
        let store = open(folder.path());
        let creation = store.create(config("agents")).await.unwrap();
        let (epoch, _) = store.open(creation).await.unwrap();
        let without = fill(&store).await;
        let dead = sequence(without + 10);
        let death = rejected();
        let commit = Commit {
            changes: vec![Change::Dead { sequence: dead, death, attempt: None }],
            dead_events: vec![(dead, entry(&store, dead.get()).await)],
            config: None,
            at: at(1),
        };
        store.commit(creation, epoch, commit).await.unwrap();
        store.close().await;
        without
    });
    files::raw(folder.path(), &|db| {
        kept(db).into_iter().for_each(|key| drop(db.remove(key).unwrap()));
    });
    runtime().block_on(async {
        let store = open(folder.path());
        let dead = store.dead_letters(Creation(1), ALL).await.unwrap();
        assert_eq!(store.payload(&dead[0].entry).await.unwrap(), payload(without + 10));
        store.close().await;
    });
}

#[test]
fn a_backup_has_the_dictionaries() {
    let folder = tempfile::tempdir().unwrap();
    let (data, restored) = (folder.path().join("data"), folder.path().join("restored"));
    runtime().block_on(async {
        let store = open(&data);
        fill(&store).await;
        let mut exporting = store.export().await.unwrap();
        let version = exporting.mark.layout_version;
        let mut restoring = Restoring::begin(&restored, version, at(0)).unwrap();
        while let Some(page) = exporting.rows.next().await.unwrap() {
            page.rows.into_iter().for_each(|row| restoring.put(row).unwrap());
        }
        restoring.finish().unwrap();
        store.close().await;
    });
    let report = assert_clean(&restored);
    runtime().block_on(async {
        let store = open(&restored);
        assert_eq!(read(&store).await.unwrap() as u64, report.events);
        store.close().await;
    });
}

#[test]
fn none_is_made_where_none_is_wanted_and_old_ones_are_read_with() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    runtime().block_on(async {
        let options = Options { dictionaries: false, ..OPTIONS };
        let store = SledStore::open(folder.path(), options).unwrap();
        let kept = read(&store).await.unwrap() as u64;
        append(&store).await;
        let (first, next) = (entry(&store, 1).await, entry(&store, kept + 1).await);
        assert!(stored_bytes(&first) * 9 < stored_bytes(&next) * 10);
        read(&store).await.unwrap();
        store.close().await;
    });
}
