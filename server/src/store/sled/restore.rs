//! A store made of the rows of a copy.
//!
//! What was leased when the copy was made is not leased any more: the hub that it is of may have gone on, and given the same
//! places of the log, numbers of subscriptions and numbers of leases to others. So every lease of before is fenced, and what
//! is numbered anew begins beyond what that hub can have reached.

use std::{fs, path::Path};

use bytes::Bytes;
use hookline_core::{
    delivery::{Epoch, Stamp},
    time::Timestamp,
};

use super::{
    super::{ReadError, codec, export::Row},
    Options, db_error, draft,
    keys::{self, Kind, Meta},
    ledger,
    open::{self, Disk, OpenError},
};

/// How much is written at a time.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// How many rows are written at a time: with more, sled's garbage grows faster than it is collected.
const BATCH_ROWS: usize = 512;

/// Why a store was not made.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder has something in it.
    #[error("`{0}` is not empty: a store is restored into a folder of its own")]
    NotEmpty(std::path::PathBuf),
    /// The folder could not be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The rows are of another layout.
    #[error("the backup has layout version `{found}`, this hub reads versions up to `{known}`")]
    Version {
        /// The version of the rows.
        found: u32,
        /// The newest that this hub reads.
        known: u32,
    },
    /// A row is not what a store writes.
    #[error("a row of the backup can't be read")]
    Row(#[source] ReadError),
    /// The store could not be written.
    #[error("could not write the store: {0}")]
    Write(String),
}

/// A store that is being made. It is one, for a hub, only once it was finished.
#[derive(Debug)]
pub struct Restoring {
    db: ::sled::Db,
    disk: Disk,
    /// Beyond all numbers that the hub can have given out: microseconds since the epoch.
    beyond: u64,
    batch: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    /// Written last: without it no hub opens the store.
    version: Option<Vec<u8>>,
}

impl Restoring {
    /// Begins a store in a folder that is empty, or not there yet. `now` is the wall clock's time.
    ///
    /// # Errors
    ///
    /// If the folder has something in it, or can't be used.
    pub fn begin(path: &Path, layout_version: u32, now: Timestamp) -> Result<Self, RestoreError> {
        let known = keys::LAYOUT_VERSION;
        if !(keys::LAYOUT_VERSION_MIN..=known).contains(&layout_version) {
            return Err(RestoreError::Version { found: layout_version, known });
        }
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(RestoreError::NotEmpty(path.to_path_buf()));
        }
        let (db, disk) = open::open(path, &Options::default())?;
        let beyond = u64::try_from(now.as_micros()).unwrap_or_default();
        Ok(Self { db, disk, beyond, batch: Vec::new(), bytes: 0, version: None })
    }

    /// Takes in a row.
    ///
    /// # Errors
    ///
    /// If it can't be read or written.
    pub fn put(&mut self, row: Row) -> Result<(), RestoreError> {
        let content = self.fenced(&row.key, row.content).map_err(RestoreError::Row)?;
        let value = keys::seal(&[&content]);
        if row.key[..] == keys::meta(Meta::Version)[..] {
            self.version = Some(value);
            return Ok(());
        }
        self.bytes += row.key.len() + value.len();
        self.batch.push((row.key.to_vec(), value));
        if BATCH_BYTES <= self.bytes || BATCH_ROWS <= self.batch.len() {
            self.write()?;
        }
        Ok(())
    }

    /// Returns a content as it is to be in the new store.
    fn fenced(&self, key: &[u8], content: Bytes) -> Result<Bytes, ReadError> {
        let is = |kind: Kind| key.first() == Some(&(kind as u8));
        if *key == keys::meta(Meta::Creations)[..] || is(Kind::Epoch) {
            let number = keys::take_u64(&mut &content[..])?;
            let number = number.saturating_add(1).max(self.beyond);
            return Ok(Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        if is(Kind::Position) {
            // Opening the ledger makes the next epoch, whose leases are not fenced.
            let epoch = Epoch(self.beyond);
            return ledger::fence_position(&content, Stamp { epoch, counter: u64::MAX });
        }
        if is(Kind::Record) {
            let (mut record, attempts) = codec::decode_record(content.clone())?;
            // Earlier versions kept attempts in the record, which is left as it is: its lease runs out.
            if let Some(lease) = record.lease.take().filter(|_| attempts.is_empty()) {
                record.fence = record.fence.max(Some(lease.stamp));
                record.late_ack = None;
                return Ok(codec::encode_record(&record).into());
            }
        }
        Ok(content)
    }

    fn write(&mut self) -> Result<(), RestoreError> {
        let failed = |error: ::sled::Error| RestoreError::Write(db_error(error).to_string());
        let mut batch = ::sled::Batch::default();
        let rows = std::mem::take(&mut self.batch);
        self.bytes = 0;
        for (key, value) in &rows {
            batch.insert(&key[..], &value[..]);
        }
        self.db.apply_batch(batch).map_err(failed)?;
        self.db.flush().map_err(failed)?;
        self.disk.sync().map_err(|error| RestoreError::Write(error.to_string()))?;
        draft::ask(&self.db, rows.iter().map(|(key, _)| key)).map_err(failed)
    }

    /// Makes it a store that a hub opens.
    ///
    /// # Errors
    ///
    /// If it can't be written, or the rows were not those of a store.
    pub fn finish(mut self) -> Result<(), RestoreError> {
        self.write()?;
        let version = self.version.take();
        let version = version.ok_or_else(|| RestoreError::Write("it has no version".to_owned()))?;
        self.batch.push((keys::meta(Meta::Version), version));
        self.write()
    }
}
