//! What a backup has: `manifest.json`.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{BackupError, io_error};

/// The name of the file.
pub const MANIFEST: &str = "manifest.json";
/// The version of the files' form.
pub(super) const FORMAT: u32 = 1;

/// What a backup is of, and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the form of the files: 1.
    pub format: u32,
    /// The version of Hookline that wrote them.
    pub hookline_version: String,
    /// The version of the layout of the rows: `server/docs/store.md`.
    pub layout_version: u32,
    /// When the backup began, RFC 3339.
    pub created_at: String,
    /// The sequence of the newest event that is part of it; 0: there is none.
    pub mark: u64,
    /// The sequence of the oldest event; one more than the mark if there is none.
    pub first: u64,
    /// How many subscriptions there are.
    pub subscription_count: u64,
    /// How many rows all files have.
    pub row_count: u64,
    /// How many bytes all files have.
    pub byte_count: u64,
    /// The files, in the order in which they are read.
    pub files: Vec<FileEntry>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// How many records it has.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The CRC-32 of all its bytes, eight digits in hexadecimal.
    pub crc32: String,
}

/// Whether a folder looks like a backup.
#[must_use]
pub fn is_backup(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}

impl Manifest {
    /// Returns the file.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("its keys are text: it is JSON");
        text.push(b'\n');
        text
    }

    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(MANIFEST);
        if !is_backup(folder) {
            return Err(BackupError::NoBackup(folder.to_path_buf()));
        }
        let bytes = fs::read(&path).map_err(io_error(&path))?;
        let damaged = |why: String| BackupError::Damaged { path: path.clone(), why };
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            let found = manifest.format;
            let why = format!("it has form `{found}`, this version reads form `{FORMAT}`");
            return Err(damaged(why));
        }
        let is_plain = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.')
                && !name.starts_with('.')
        };
        match manifest.files.iter().find(|file| !is_plain(&file.name)) {
            Some(file) => Err(damaged(format!("`{}` is no name of a file here", file.name))),
            None => Ok(manifest),
        }
    }
}
