//! Commits of acks alone: one row each, and never more forgotten than what a power loss cut off.

use std::{collections::BTreeMap, fs, ops::Range, path::Path, sync::Arc};

use hookline_core::{
    delivery::{
        Change, Creation, Epoch, Record, Settlement, Snapshot, sequence_set::PAGE_SEQUENCES,
    },
    event::Sequence,
};
use tempfile::TempDir;

use super::{
    super::{
        super::{
            Commit, CommitError, EventLog as _, Export as _, Ledger as _, codec, codec::Standing,
            conformance::copy,
        },
        SledStore,
        check::Problem,
        keys::{self, Kind, Meta},
        ledger::{UNFOLDED_ROWS_MAX, unfolded_of},
        open::open_existing,
        restore::Restoring,
        writer::Command,
    },
    at,
    check::checked,
    config, event, noise, open, rejected, runtime,
};

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

fn done(number: u64) -> Change {
    let settlement =
        Settlement { consumer: "agent".to_owned(), attempt: 1, leased_at: at(0), done_at: at(1) };
    Change::Done { sequence: sequence(number), settlement }
}

/// Acks these, and stands here since.
fn acks(numbers: impl IntoIterator<Item = u64>, floor: u64, scanned: u64) -> Vec<Change> {
    let mut changes: Vec<_> = numbers.into_iter().map(done).collect();
    changes.push(Change::Position { floor, scanned });
    changes
}

/// A store with a subscription that has an owner.
struct Bench {
    folder: TempDir,
    store: Arc<SledStore>,
    creation: Creation,
    epoch: Epoch,
}

impl Bench {
    /// Makes one whose log has some events, all small.
    async fn new(events: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for first in (0..events).step_by(1_000) {
            let count = (events - first).min(1_000);
            store.append((0..count).map(|_| event("", "x")).collect(), at(0)).await.unwrap();
        }
        let creation = store.create(config("prs")).await.unwrap();
        let (epoch, _) = store.open(creation).await.unwrap();
        Self { folder, store, creation, epoch }
    }

    async fn try_commit(&self, changes: Vec<Change>, secs: i64) -> Result<(), CommitError> {
        let commit = Commit { changes, at: at(secs), ..Commit::default() };
        self.store.commit(self.creation, self.epoch, commit).await
    }

    async fn commit(&self, changes: Vec<Change>) {
        self.try_commit(changes, 2).await.unwrap();
    }

    /// Acks these one by one, some at once.
    async fn commit_many(&self, numbers: Range<u64>) {
        // `join_all` begins so few in their order.
        for first in numbers.clone().step_by(30) {
            let some = first..numbers.end.min(first + 30);
            let commits = some.map(|n| self.try_commit(acks([n], n, n), 2));
            let committed = futures_util::future::join_all(commits).await;
            assert!(committed.iter().all(Result::is_ok));
        }
    }

    /// Trims the log's first two pages, and goes on until the rows of settlements there are gone.
    async fn trim_first_pages(&self) {
        self.store.trim(sequence(2 * PAGE_SEQUENCES)).await.unwrap();
        let pages = keys::between(Kind::Settled, &[self.creation.0], 0..2);
        for _ in 0..100 {
            if self.rows().range(pages.clone()).next().is_none() {
                return;
            }
            self.store.append(vec![event("", "x")], at(1)).await.unwrap();
        }
        panic!("rows of what was trimmed stay");
    }

    /// What a kill would leave: the files as they are.
    fn left(&self) -> TempDir {
        let left = tempfile::tempdir().unwrap();
        copy(self.folder.path(), left.path());
        left
    }

    /// The rows that a kill would leave.
    fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        rows_of(self.left().path())
    }
}

fn rows_of(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let db = open_existing(folder).unwrap();
    let row = |row: ::sled::Result<(::sled::IVec, ::sled::IVec)>| {
        let (key, value) = row.unwrap();
        (key.to_vec(), value.to_vec())
    };
    db.iter().map(row).collect()
}

/// The keys of rows that are there after and were not, or are other ones.
fn changed(
    before: &BTreeMap<Vec<u8>, Vec<u8>>,
    after: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Vec<Vec<u8>> {
    assert!(before.keys().all(|key| after.contains_key(key)), "none is removed");
    let is_other = |(key, value): &(&Vec<u8>, &Vec<u8>)| before.get(*key) != Some(*value);
    after.iter().filter(is_other).map(|(key, _)| key.clone()).collect()
}

fn kinds(keys: &[Vec<u8>]) -> Vec<u8> {
    keys.iter().map(|key| key[0]).collect()
}

fn finished(snapshot: &Snapshot) -> Vec<u64> {
    snapshot.finished.iter().map(Sequence::get).collect()
}

/// Opens what a kill has left, and its subscription; it is in order before and after.
async fn recovered(left: &Path, creation: Creation) -> (Snapshot, Arc<SledStore>) {
    let report = checked(left);
    assert!(report.is_clean(), "{:#?}", report.findings);
    let store = open(left);
    let (_, snapshot) = store.open(creation).await.unwrap();
    (snapshot, store)
}

const SETTLED: u8 = Kind::Settled as u8;
const POSITION: u8 = Kind::Position as u8;
const FINISHED: u8 = Kind::Finished as u8;

#[test]
fn a_commit_of_acks_alone_writes_one_row() {
    runtime().block_on(async {
        let bench = Bench::new(5_000).await;
        let mut before = bench.rows();
        let commits = [
            acks([1, 2, 3], 3, 9),
            vec![done(7)],
            acks([9, 5], 3, 4_500),
            vec![Change::Position { floor: 3, scanned: 4_500 }, done(4_400)],
        ];
        for (changes, secs) in commits.into_iter().zip(10..) {
            bench.try_commit(changes.clone(), secs).await.unwrap();
            let after = bench.rows();
            assert_eq!(kinds(&changed(&before, &after)), [SETTLED], "{changes:?}");
            before = after;
        }
    });
}

#[test]
fn what_is_more_than_acks_of_one_page_writes_what_the_acks_left() {
    let record = Record { attempts: 1, ..Record::default() };
    let opened = |n| Change::Open { sequence: sequence(n), record: record.clone() };
    let two_pages = acks([6, 4_097], 3, 5_000);
    let others = [
        two_pages,
        vec![opened(6)],
        vec![done(4)],
        vec![Change::Position { floor: 4, scanned: 5_000 }],
        vec![done(2)],
        vec![Change::LookedBack { through: 2 }],
    ];
    for (changes, place) in others.into_iter().zip(0..) {
        runtime().block_on(async {
            let bench = Bench::new(5_000).await;
            // So that number 4 has a record.
            bench.commit(vec![opened(4)]).await;
            bench.commit(acks([1, 2, 3], 3, 5_000)).await;
            bench.try_commit(vec![done(8)], 77).await.unwrap();
            let before = bench.rows();
            bench.commit(changes).await;
            let keys = kinds(&changed_or_gone(&before, &bench.rows()));
            assert!(keys.contains(&POSITION) && keys.contains(&FINISHED), "{place}: {keys:?}");
            assert!(keys.contains(&(Kind::Meta as u8)), "{place}: the time of the acks");
            // What is folded now is not read any more.
            let left = bench.left();
            let db = open_existing(left.path()).unwrap();
            let (.., unfolded) = unfolded_of(&db, bench.creation).unwrap();
            assert!(unfolded.is_empty(), "{place}: {unfolded:?}");
        });
    }
}

fn changed_or_gone(
    before: &BTreeMap<Vec<u8>, Vec<u8>>,
    after: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Vec<Vec<u8>> {
    let all = before.keys().chain(after.keys());
    all.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

#[test]
fn acks_are_known_after_a_kill_with_where_they_left_the_position_and_when() {
    runtime().block_on(async {
        let bench = Bench::new(9_000).await;
        bench.commit(acks([1, 2, 40], 2, 60)).await;
        // Later on a page before, and the other way round.
        bench.try_commit(acks([4_100], 2, 4_200), 500).await.unwrap();
        bench.try_commit(acks([3, 4, 5], 5, 4_300), 400).await.unwrap();
        bench.try_commit(acks([8_200, 8_193], 5, 8_990), 300).await.unwrap();
        let left = bench.left();
        let (snapshot, store) = recovered(left.path(), bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (5, 8_990));
        assert_eq!(finished(&snapshot), [40, 4_100, 8_193, 8_200]);
        assert_eq!(store.last_written_at(), at(500));
        for n in [1, 5, 4_100, 8_193] {
            let past = store.past(bench.creation, sequence(n)).await.unwrap();
            assert_eq!(past.ended.len(), 1, "{n}");
        }
        // It was folded when it was opened: what is acked from here on is there after another kill too.
        let again = Bench { folder: left, store, creation: bench.creation, epoch: Epoch(2) };
        again.try_commit(acks([6], 6, 8_991), 2).await.unwrap();
        let left = again.left();
        let (snapshot, store) = recovered(left.path(), bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (6, 8_991));
        assert_eq!(finished(&snapshot), [40, 4_100, 8_193, 8_200]);
        assert_eq!(store.last_written_at(), at(500));
        // And the store that was never killed says the same.
        let (_, snapshot) = bench.store.open(bench.creation).await.unwrap();
        assert_eq!((snapshot.floor, snapshot.scanned), (5, 8_990));
        assert_eq!(finished(&snapshot), [40, 4_100, 8_193, 8_200]);
    });
}

/// Commit `n` of many acks one delivery, by turns on two pages; the floor is that of the first page a commit before.
fn one_of_many(n: u64) -> Vec<Change> {
    let number = if n.is_multiple_of(2) { n / 2 + 1 } else { PAGE_SEQUENCES + n / 2 };
    acks([number], n / 2, 5_000 + n)
}

/// As `i2_of_a_log_that_is_cut_off_anywhere_the_first_events_are_left`.
#[test]
fn i2_of_acks_that_are_cut_off_anywhere_the_first_are_left() {
    const COMMITS: u64 = 900;
    let (killed, creation) = runtime().block_on(async {
        let bench = Bench::new(6_000).await;
        for round in 0..COMMITS / 30 {
            let commits = (round * 30..(round + 1) * 30).map(one_of_many);
            let commits = commits.map(|changes| bench.try_commit(changes, 2));
            let events = (0..30).map(|n| {
                let event = event(&format!("{round} {n}"), noise(200, n));
                bench.store.append(vec![event], at(0))
            });
            let (committed, appended) = tokio::join!(
                futures_util::future::join_all(commits),
                futures_util::future::join_all(events)
            );
            assert!(committed.iter().all(Result::is_ok) && appended.iter().all(Result::is_ok));
        }
        (bench.left(), bench.creation)
    });
    let whole = fs::metadata(killed.path().join("db")).unwrap().len();
    let mut left = Vec::new();
    for cut in (0..28).map(|n| n * (whole / 29)) {
        let torn = tempfile::tempdir().unwrap();
        copy(killed.path(), torn.path());
        let db = fs::File::options().write(true).open(torn.path().join("db")).unwrap();
        db.set_len(whole - cut).unwrap();
        drop(db);
        if !rows_of(torn.path()).contains_key(&keys::key(Kind::Config, &[creation.0])) {
            break;
        }
        runtime().block_on(async {
            let (snapshot, _store) = recovered(torn.path(), creation).await;
            // The acks are those of the first commits, and the position is that of the last of them.
            let mut expected = Snapshot::starting_after(0);
            let count = snapshot.scanned.saturating_sub(4_999);
            (0..count).flat_map(one_of_many).for_each(|change| expected.apply(&change));
            assert_eq!(snapshot, expected, "{cut}");
            left.push(count);
        });
    }
    println!("{left:?}");
    assert!(left.is_sorted_by(|more, fewer| more >= fewer), "{left:?}");
    assert_eq!(left.first(), Some(&COMMITS));
    assert!(left.iter().any(|commits| (1..COMMITS / 2).contains(commits)), "{left:?}");
}

#[test]
fn acks_outlive_the_removal_of_their_rows() {
    runtime().block_on(async {
        let bench = Bench::new(9_000).await;
        // More rows than are removed at once, the first ones not folded before the trim.
        bench.commit(acks([4_097, 4_099], 0, 9_000)).await;
        for n in (2..1_000).step_by(2) {
            bench.commit(vec![done(n)]).await;
        }
        bench.try_commit(vec![done(4_100)], 300).await.unwrap();
        bench.store.trim(sequence(8_192)).await.unwrap();
        // Acked on pages that are being removed, where no ack is a row alone, and on one that is kept.
        let mut before = bench.rows();
        for (number, is_alone) in [(4_101, false), (8_193, true), (4_096, false)] {
            bench.commit(vec![done(number)]).await;
            let after = bench.rows();
            let keys = kinds(&changed_or_gone(&before, &after));
            assert_eq!(keys.contains(&FINISHED), !is_alone, "{number}: {keys:?}");
            before = after;
        }
        // What is left to remove goes with the next commits.
        for _ in 0..4 {
            bench.store.append(vec![event("", "x")], at(1)).await.unwrap();
        }
        let left = bench.left();
        let rows = rows_of(left.path());
        let of_first = rows.range(keys::under(Kind::Settled, &[bench.creation.0, 0]));
        assert_eq!(of_first.count(), 0, "the rows of the first page are gone");
        let (snapshot, store) = recovered(left.path(), bench.creation).await;
        let evens = (2..1_000).step_by(2);
        let expected: Vec<_> = evens.chain([4_096, 4_097, 4_099, 4_100, 4_101, 8_193]).collect();
        assert_eq!(finished(&snapshot), expected);
        assert_eq!((snapshot.floor, snapshot.scanned), (0, 9_000));
        assert_eq!(store.last_written_at(), at(300));
    });
}

#[test]
fn a_backup_has_what_only_acks_say() {
    runtime().block_on(async {
        let bench = Bench::new(5_000).await;
        bench.commit(acks([1, 2, 9], 2, 50)).await;
        bench.try_commit(acks([4_100], 2, 4_200), 600).await.unwrap();
        let mut exporting = bench.store.export().await.unwrap();
        // What comes later is not part of it, whichever rows it is in.
        bench.commit(acks([3], 3, 4_300)).await;
        bench.commit(vec![Change::Position { floor: 3, scanned: 4_400 }]).await;
        let restored = tempfile::tempdir().unwrap();
        let data = restored.path().join("data");
        let mut restoring =
            Restoring::begin(&data, exporting.mark.layout_version, at(700)).unwrap();
        while let Some(page) = exporting.rows.next().await.unwrap() {
            for row in page.rows {
                if row.key[0] == POSITION {
                    // In the row that all versions read.
                    let position = [2_u64, 4_200].map(u64::to_be_bytes).concat();
                    assert!(row.content.starts_with(&position), "{:?}", row.content);
                }
                restoring.put(row).unwrap();
            }
        }
        restoring.finish().unwrap();
        let (snapshot, store) = recovered(&data, bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (2, 4_200));
        assert_eq!(finished(&snapshot), [9, 4_100]);
        assert_eq!(store.last_written_at(), at(600));
        // And acks there are one row again, and known after a kill.
        let (epoch, _) = store.open(bench.creation).await.unwrap();
        let restored = Bench { folder: restored, store, creation: bench.creation, epoch };
        let before = rows_of_copy(&data);
        restored.commit(acks([3], 3, 4_201)).await;
        assert_eq!(kinds(&changed(&before, &rows_of_copy(&data))), [SETTLED]);
        let left = restored.left();
        let (snapshot, _store) = recovered(&left.path().join("data"), bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (3, 4_201));
        assert_eq!(finished(&snapshot), [9, 4_100]);
    });
}

fn rows_of_copy(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let left = tempfile::tempdir().unwrap();
    copy(folder, left.path());
    rows_of(left.path())
}

#[test]
fn a_check_finds_a_position_that_only_acks_say_and_that_is_wrong() {
    let (left, creation) = runtime().block_on(async {
        let bench = Bench::new(500).await;
        bench.commit(acks([1, 2, 9], 2, 50)).await;
        bench.commit(acks([10], 2, 60)).await;
        (bench.left(), bench.creation)
    });
    let report = checked(left.path());
    assert!(report.is_clean(), "{:#?}", report.findings);
    let wrong = [
        (501, 501, Problem::Position),
        (1, 60, Problem::State),
        (2, 59, Problem::State),
        (70, 65, Problem::State),
    ];
    for (floor, scanned, problem) in wrong {
        let folder = tempfile::tempdir().unwrap();
        copy(left.path(), folder.path());
        let db = open_existing(folder.path()).unwrap();
        let row = codec::encode_settled(&[], Some(Standing { floor, scanned, at: at(2) }));
        // After the two that are there.
        let key = keys::key(Kind::Settled, &[creation.0, 0, u64::MAX, 0]);
        db.insert(&key, keys::seal(&[&row])).unwrap();
        db.flush().unwrap();
        drop(db);
        let report = checked(folder.path());
        assert_eq!(report.counts.keys().collect::<Vec<_>>(), [&problem], "{floor} {scanned}");
    }
}

#[test]
fn the_first_commit_to_a_ledger_of_an_earlier_version_writes_its_position() {
    let folder = tempfile::tempdir().unwrap();
    super::old::unpack(folder.path());
    runtime().block_on(async {
        let store = open(folder.path());
        let (creation, _) = store.subscriptions().await.unwrap().remove(0);
        let (epoch, snapshot) = store.open(creation).await.unwrap();
        assert_eq!((snapshot.floor, snapshot.scanned), (3, 10));
        let bench = Bench { folder, store, creation, epoch };
        let before = bench.rows();
        bench.commit(vec![done(7)]).await;
        let first = bench.rows();
        assert!(kinds(&changed(&before, &first)).contains(&POSITION));
        bench.commit(vec![done(8)]).await;
        assert_eq!(kinds(&changed(&first, &bench.rows())), [SETTLED]);
        let left = bench.left();
        let (snapshot, _store) = recovered(left.path(), creation).await;
        assert_eq!(finished(&snapshot), [6, 7, 8, 9]);
    });
}

#[test]
fn many_commits_of_acks_are_folded_so_that_a_recovery_reads_few() {
    runtime().block_on(async {
        let bench = Bench::new(4_000).await;
        let count = u64::try_from(UNFOLDED_ROWS_MAX).unwrap();
        let unfolded = || {
            let left = bench.left();
            let db = open_existing(left.path()).unwrap();
            unfolded_of(&db, bench.creation).unwrap()
        };
        bench.commit_many(1..count + 1).await;
        let (floor, _, rows) = unfolded();
        assert_eq!((floor, rows.len()), (0, UNFOLDED_ROWS_MAX));
        bench.commit(acks([count + 1], count + 1, count + 1)).await;
        let (floor, scanned, rows) = unfolded();
        assert_eq!((floor, scanned, rows.len()), (count + 1, count + 1, 0));
        // A commit that is a batch anyway takes those with it of which there are some.
        bench.commit_many(count + 2..count + 80).await;
        assert_eq!(unfolded().2.len(), 78);
        bench.store.append(vec![event("", "x"), event("", "y")], at(0)).await.unwrap();
        assert_eq!(unfolded().2.len(), 78, "one pack is one row");
        bench.store.append(vec![event("", noise(70_000, 1))], at(0)).await.unwrap();
        assert_eq!(unfolded().2.len(), 0, "a chunk and its pack belong together");
    });
}

#[test]
fn a_commit_that_is_refused_forgets_no_acks() {
    runtime().block_on(async {
        let bench = Bench::new(9_000).await;
        bench.commit(acks([1, 2, 9], 2, 50)).await;
        // A dead letter without its event, beside acks that come before and after.
        let death = rejected();
        let dead = Change::Dead { sequence: sequence(20), death: death.clone(), attempt: None };
        let (before, refused, after) = tokio::join!(
            bench.try_commit(acks([11], 2, 60), 300),
            bench.try_commit(vec![done(12), dead], 2),
            bench.try_commit(acks([13], 2, 70), 2),
        );
        assert!(before.is_ok() && after.is_ok());
        assert!(matches!(refused, Err(CommitError::Unavailable(_))));
        let left = bench.left();
        let (snapshot, store) = recovered(left.path(), bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (2, 70));
        assert_eq!(finished(&snapshot), [9, 11, 13]);
        assert_eq!(store.last_written_at(), at(300));
        // Also when it happens just before their rows are removed.
        bench.commit(acks([14], 2, 80)).await;
        let dead = Change::Dead { sequence: sequence(20), death, attempt: None };
        assert!(bench.try_commit(vec![dead], 2).await.is_err());
        bench.trim_first_pages().await;
        let left = bench.left();
        let (snapshot, _store) = recovered(left.path(), bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (2, 80));
        assert_eq!(finished(&snapshot), [9, 11, 13, 14]);
    });
}

#[test]
fn few_acks_outlive_the_removal_of_their_rows() {
    runtime().block_on(async {
        let bench = Bench::new(9_000).await;
        bench.try_commit(acks([1, 2, 9], 2, 50), 300).await.unwrap();
        bench.trim_first_pages().await;
        let left = bench.left();
        let (snapshot, store) = recovered(left.path(), bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (2, 50));
        assert_eq!(finished(&snapshot), [9]);
        assert_eq!(store.last_written_at(), at(300));
    });
}

#[test]
fn acks_outlive_the_removal_of_their_rows_while_their_ledger_is_being_opened() {
    runtime().block_on(async {
        let bench = Bench::new(9_000).await;
        bench.commit(acks([1, 2, 9], 2, 50)).await;
        let creation = bench.creation;
        let begun =
            bench.store.commit_command(0, move |reply| Command::Open { creation, reply }).await;
        assert_eq!(begun.unwrap(), Epoch(2));
        bench.trim_first_pages().await;
        let left = bench.left();
        let (snapshot, _store) = recovered(left.path(), bench.creation).await;
        assert_eq!((snapshot.floor, snapshot.scanned), (2, 50));
        assert_eq!(finished(&snapshot), [9]);
    });
}

#[test]
fn a_store_that_was_closed_has_no_acks_left_to_fold() {
    runtime().block_on(async {
        let bench = Bench::new(5_000).await;
        let other = bench.store.create(config("other")).await.unwrap();
        bench.commit(acks([1, 2, 4_500], 2, 5_000)).await;
        bench.try_commit(acks([3], 3, 5_000), 900).await.unwrap();
        bench.store.close().await;
        let db = open_existing(bench.folder.path()).unwrap();
        for creation in [bench.creation, other] {
            assert!(unfolded_of(&db, creation).unwrap().2.is_empty());
        }
        let (floor, ..) = unfolded_of(&db, bench.creation).unwrap();
        assert_eq!(floor, 3);
        let row = db.get(keys::meta(Meta::CommittedAt)).unwrap().unwrap();
        let mut content = keys::unseal(&[], &row).unwrap();
        assert_eq!(keys::take_i64(&mut content).unwrap(), at(900).as_micros());
        let page = keys::key(Kind::Finished, &[bench.creation.0, 4_500 / PAGE_SEQUENCES]);
        assert!(db.contains_key(page).unwrap());
    });
}
