//! Reads everything that a store has, and says what is wrong with it.
//!
//! Three passes: over all rows (kinds, keys, checksums, contents, owners), over the log beside what finds its events, and
//! over each subscription's ledger. A new kind of row is a line in `table.rs`, and a rule in one of the passes if it has
//! to agree with others. Nothing is changed, but for what sled does on opening.

mod dictionaries;

mod ledgers;

mod log;

mod report;

pub(super) mod table;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use bytes::Bytes;

pub use self::report::{FINDINGS_MAX, Finding, KindCount, Problem, Report};
use super::{
    super::ReadError,
    db_error, draft,
    keys::{self, Kind, Meta},
    open::{self, OpenError, panic_text},
};

/// What a check reads at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All rows.
    Rows,
    /// The events of the log.
    Events,
    /// The ledgers.
    Subscriptions,
}

/// Is told how far a check is: the stage, how much is done of it, and how much there is; 0: that is not known.
pub type Told<'a> = dyn FnMut(Stage, u64, u64) + 'a;

/// How many rows are read before it is told how far it is.
const ROWS_PER_TELLING: u64 = 4_096;

/// Reads the whole store in the folder `path`. Blocks, as long as the disk takes for it.
///
/// # Errors
///
/// If there is no store, if a hub has it open, or if it can't be opened. What is wrong inside is in the report.
pub fn check(path: &Path, told: &mut Told<'_>) -> Result<Report, OpenError> {
    let db = open::open_existing(path)?;
    let version = draft::get(&db, &keys::meta(Meta::Version)).ok().flatten();
    let found = version.and_then(|row| keys::take_u32(&mut &row[..]).ok());
    match found {
        Some(found) if !(keys::LAYOUT_VERSION_MIN..=keys::LAYOUT_VERSION).contains(&found) => {
            return Err(OpenError::Version { found, known: keys::LAYOUT_VERSION });
        }
        Some(_) => {}
        None if is_foreign(&db) => return Err(OpenError::Foreign { path: path.to_path_buf() }),
        None => {}
    }
    let mut report = Report::default();
    // What is damaged makes sled panic now and then.
    let read = catch_unwind(AssertUnwindSafe(|| check_all(&db, &mut report, told)));
    let failed = match read {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(panic_text(panic.as_ref())),
    };
    if let Some(failed) = failed {
        report.find(Problem::Unreadable, &[], failed);
    }
    Ok(report)
}

/// Whether none of the rows is one of ours.
fn is_foreign(db: &::sled::Db) -> bool {
    !db.iter().keys().flatten().any(|key| table::of_key(&key).is_some_and(|row| row.has_key(&key)))
}

fn check_all(db: &::sled::Db, report: &mut Report, told: &mut Told<'_>) -> Result<(), ReadError> {
    check_meta(db, report)?;
    check_rows(db, report, told)?;
    let bounds = log::Bounds::read(db)?;
    (report.first, report.head) = (bounds.first, bounds.head);
    let dictionaries = dictionaries::check(db, report)?;
    log::check(db, bounds, &dictionaries, report, told)?;
    ledgers::check(db, bounds, &dictionaries, report, told)
}

/// The single rows that every store has.
fn check_meta(db: &::sled::Db, report: &mut Report) -> Result<(), ReadError> {
    for item in [Meta::Version, Meta::SealKey, Meta::Openings] {
        let key = keys::meta(item);
        if !db.contains_key(&key).map_err(db_error)? {
            report.find(Problem::MetaMissing, &key, format!("{item:?} is not there"));
        }
    }
    Ok(())
}

/// Goes over all rows.
fn check_rows(db: &::sled::Db, report: &mut Report, told: &mut Told<'_>) -> Result<(), ReadError> {
    let owners = Owners::read(db)?;
    report.kinds = table::TABLE.iter().map(|row| count(row.name)).collect();
    for (row, read) in db.iter().zip(1_u64..) {
        let (key, value) = row.map_err(db_error)?;
        let Some(kind) = table::of_key(&key) else {
            report.find(Problem::UnknownKind, &key, "no kind has this number");
            continue;
        };
        if let Some(count) = report.kinds.iter_mut().find(|count| count.name == kind.name) {
            count.rows += 1;
            count.bytes += u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX);
        }
        if !kind.has_key(&key) {
            report.find(Problem::MalformedKey, &key, "it does not have the numbers of its kind");
            continue;
        }
        match keys::unseal(&key, &value) {
            Err(_) => report.find(Problem::Checksum, &key, "its checksum is another"),
            Ok(content) => {
                if let Err(error) = kind.decode(&key, Bytes::copy_from_slice(content)) {
                    report.find(Problem::Undecodable, &key, error.to_string());
                }
            }
        }
        if kind.of_subscription {
            owners.check(kind.kind, &key, report);
        }
        if read % ROWS_PER_TELLING == 0 {
            told(Stage::Rows, read, 0);
        }
    }
    Ok(())
}

const fn count(name: &'static str) -> KindCount {
    KindCount { name, rows: 0, bytes: 0 }
}

/// Whose rows there may be.
struct Owners {
    there: BTreeSet<u64>,
    being_deleted: BTreeSet<u64>,
    /// The newest creation that was given.
    newest: u64,
}

impl Owners {
    fn read(db: &::sled::Db) -> Result<Self, ReadError> {
        let of = |kind| {
            let keys = db.range(keys::under(kind, &[])).keys();
            let mut creations = BTreeSet::new();
            for key in keys {
                creations.extend(keys::number(&key.map_err(db_error)?, 0));
            }
            Ok::<_, ReadError>(creations)
        };
        let newest = log::content(db, &keys::meta(Meta::Creations));
        let newest = newest.and_then(|row| keys::take_u64(&mut &row[..]).ok()).unwrap_or_default();
        Ok(Self { there: of(Kind::Config)?, being_deleted: of(Kind::Deleting)?, newest })
    }

    fn check(&self, kind: Kind, key: &[u8], report: &mut Report) {
        let Ok(creation) = keys::number(key, 0) else { return };
        if self.being_deleted.contains(&creation) {
            report.left_over += u64::from(kind != Kind::Deleting);
        } else if !self.there.contains(&creation) {
            let detail = format!("there is no subscription `{creation}`");
            report.find(Problem::SubscriptionMissing, key, detail);
        } else if kind == Kind::Config && self.newest < creation {
            let detail = format!("the newest creation that was given is `{}`", self.newest);
            report.find(Problem::SubscriptionMissing, key, detail);
        }
    }
}
