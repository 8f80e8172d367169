//! Backups: a folder of files with the rows of a store, as `AdminService.Backup` sends them.
//!
//! `manifest.json` says what there is; each other file holds records, one after the other: the length of a message and the
//! CRC-32 of its bytes, each four bytes, the highest first; then the message, a `hookline.v1.BackupRow`. The rows of a file
//! have ascending keys. A folder without a manifest is no backup: it is written last, and the folder gets its name after
//! that.

mod manifest;

mod reader;

mod writer;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

use hookline_proto::v1::BackupRow;
use prost::Message as _;

pub use self::{
    manifest::{FileEntry, MANIFEST, Manifest, is_backup},
    reader::{Backup, Rows},
    writer::Writing,
};

/// What stands before each message: its length and its checksum.
const HEADER_BYTES: usize = 8;
/// The most bytes of one record: a row has at most a payload's worth of settlements or a pack, far below.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most bytes of one file: so many can be copied again after a transfer that failed, and no file system refuses it.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why a backup could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder that is to be made is there.
    #[error("`{0}` is there already: a backup is made in a folder of its own")]
    Exists(PathBuf),
    /// The folder has no manifest.
    #[error("`{0}` is no backup: it has no `manifest.json`")]
    NoBackup(PathBuf),
    /// A file could not be written or read.
    #[error("could not use `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("`{path}` is damaged: {why}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The stream ended before all had come.
    #[error("the hub sent {came} rows of {sent}")]
    Incomplete {
        /// How many came.
        came: u64,
        /// How many it had sent; 0: it did not say.
        sent: u64,
    },
}

/// Puts a record behind others.
pub fn push_record(records: &mut Vec<u8>, row: &BackupRow) {
    let message = row.encode_to_vec();
    let len = u32::try_from(message.len()).expect("a row has less than 4 GiB");
    records.extend(len.to_be_bytes());
    records.extend(crc32fast::hash(&message).to_be_bytes());
    records.extend(message);
}

/// Returns a function that makes an error of a file of an I/O error.
fn io_error(path: &std::path::Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_path_buf();
    move |source| BackupError::Io { path, source }
}
