//! What damaged rows keep from being read, and what they do not.

use std::path::Path;

use hookline_core::event::Sequence;

use super::{
    super::{
        super::{EventLog as _, ReadError, ReadLimit, ReadRange},
        keys::{self, Kind},
        open::open_existing,
    },
    at, event, noise, open, runtime,
};

const MANY: ReadLimit = ReadLimit { count: 100, bytes: usize::MAX };
/// Each is a pack of its own.
const PAYLOAD_BYTES: usize = 40_000;
/// Payloads of this size have rows of their own.
const CHUNKED_BYTES: usize = 200_000;

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

fn after(after: u64) -> ReadRange {
    ReadRange { after, limit: MANY }
}

/// Makes a store of ten events whose keys are their sequences.
fn make(folder: &Path) {
    runtime().block_on(async {
        let store = open(folder);
        for n in 1..=10_u64 {
            let event = event(&format!("{n}"), noise(PAYLOAD_BYTES, n));
            store.append(vec![event], at(0)).await.unwrap();
        }
        store.close().await;
    });
}

/// Changes a bit of each row whose key is one of these.
fn damage(folder: &Path, is_one: impl Fn(&[u8]) -> bool) {
    let db = open_existing(folder).unwrap();
    let mut count = 0;
    for row in db.iter() {
        let (key, value) = row.unwrap();
        if is_one(&key) {
            let mut value = value.to_vec();
            *value.last_mut().unwrap() ^= 1;
            db.insert(key, value).unwrap();
            count += 1;
        }
    }
    assert!(count > 0, "there is such a row");
    db.flush().unwrap();
}

fn is_of(kind: Kind) -> impl Fn(&[u8]) -> bool {
    let keys = keys::under(kind, &[]);
    move |key| (&keys.start[..]..&keys.end[..]).contains(&key)
}

#[test]
fn what_lies_before_a_damaged_event_and_behind_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let damaged = keys::key(Kind::Pack, &[5]);
    damage(folder.path(), |key| key == damaged);
    runtime().block_on(async {
        let store = open(folder.path());
        let numbers = |entries: Vec<std::sync::Arc<super::super::super::Entry>>| {
            entries.iter().map(|entry| entry.event.sequence.get()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(store.read(after(0)).await.unwrap()), [1, 2, 3, 4]);
        let here = store.read(after(4)).await.unwrap_err();
        assert!(matches!(here, ReadError::Damaged(_)), "{here}");
        assert_eq!(numbers(store.read(after(5)).await.unwrap()), [6, 7, 8, 9, 10]);
        assert_eq!(numbers(store.read_back(sequence(9), MANY).await.unwrap()), [8, 7, 6]);
        let here = store.read_back(sequence(6), MANY).await.unwrap_err();
        assert!(matches!(here, ReadError::Damaged(_)), "{here}");
        store.close().await;
    });
}

#[test]
fn rows_that_only_help_keep_no_store_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let large: Vec<_> = (0..9).map(|n| event("", noise(CHUNKED_BYTES, n))).collect();
    runtime().block_on(async {
        let store = open(folder.path());
        store.append(large, at(0)).await.unwrap();
        store.close().await;
    });
    for kind in [Kind::Fingerprints, Kind::Weight] {
        damage(folder.path(), is_of(kind));
    }
    runtime().block_on(async {
        let store = open(folder.path());
        let again = store.append(vec![event("3", "again")], at(1)).await.unwrap();
        assert!(again[0].duplicate, "those of the newest block are made again");
        assert_eq!(store.position_of_newest(0).await.unwrap(), sequence(1), "no row can be read");
        assert_eq!(store.read(after(0)).await.unwrap().len(), 19);
        store.close().await;
    });
}

#[test]
fn the_log_is_trimmed_also_where_it_begins_behind_a_damaged_event() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let damaged = keys::key(Kind::Pack, &[5]);
    damage(folder.path(), |key| key == damaged);
    for _ in 0..2 {
        runtime().block_on(async {
            let store = open(folder.path());
            store.trim(sequence(6)).await.unwrap();
            assert_eq!((store.first(), *store.head().borrow()), (sequence(6), 10));
            assert_eq!(store.read(after(0)).await.unwrap().len(), 5);
            store.close().await;
        });
    }
}

#[test]
fn a_payload_that_was_trimmed_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(folder.path());
        for n in 0..2 {
            store.append(vec![event("", noise(CHUNKED_BYTES, n))], at(0)).await.unwrap();
        }
        let entries = store.read(after(0)).await.unwrap();
        store.trim(sequence(2)).await.unwrap();
        // What was trimmed is removed before the next answer.
        store.append(vec![event("", "x")], at(0)).await.unwrap();
        let gone = store.payload(&entries[0]).await.unwrap_err();
        assert!(matches!(gone, ReadError::Unavailable(_)), "{gone}");
        assert_eq!(gone.to_string(), "the store is unavailable: event `1` was trimmed meanwhile");
        assert_eq!(store.payload(&entries[1]).await.unwrap(), noise(CHUNKED_BYTES, 1));
        store.close().await;
    });
}
