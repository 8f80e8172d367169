//! Reading a backup: all of it is verified before any of it is used.

use std::{
    fs::File,
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hookline_proto::v1::BackupRow;
use prost::Message as _;

use super::{
    BackupError, HEADER_BYTES, RECORD_BYTES_MAX, io_error,
    manifest::{FileEntry, Manifest},
};
use crate::store::export::Row;

/// A backup in a folder.
#[derive(Debug)]
pub struct Backup {
    folder: PathBuf,
    manifest: Manifest,
}

impl Backup {
    /// Reads what it says of itself.
    ///
    /// # Errors
    ///
    /// If the folder is no backup, or one of another version.
    pub fn open(folder: &Path) -> Result<Self, BackupError> {
        Ok(Self { manifest: Manifest::read(folder)?, folder: folder.to_path_buf() })
    }

    /// Returns what it says of itself.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads all of it: each checksum, each count, and the order of the keys. `told` is called with the bytes that were
    /// read.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn verify(&self, told: &mut dyn FnMut(u64)) -> Result<(), BackupError> {
        let mut rows = self.rows();
        let mut count = 0;
        while let Some(row) = rows.next() {
            row?;
            count += 1;
            if count % 1_024 == 0 {
                told(rows.bytes);
            }
        }
        if count == self.manifest.row_count {
            return Ok(());
        }
        let why = format!("it says `{}` rows, and there are `{count}`", self.manifest.row_count);
        Err(BackupError::Damaged { path: self.folder.join(super::MANIFEST), why })
    }

    /// Returns the rows, in order. Each checksum is verified on the way; those of a whole file at its end.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows { folder: &self.folder, files: self.manifest.files.iter(), open: None, bytes: 0 }
    }
}

/// The rows of a backup.
#[derive(Debug)]
pub struct Rows<'a> {
    folder: &'a Path,
    files: std::slice::Iter<'a, FileEntry>,
    open: Option<Open<'a>>,
    bytes: u64,
}

#[derive(Debug)]
struct Open<'a> {
    entry: &'a FileEntry,
    path: PathBuf,
    file: BufReader<File>,
    hasher: crc32fast::Hasher,
    rows: u64,
    bytes: u64,
    last_key: Bytes,
}

impl Rows<'_> {
    /// Returns how many bytes were read.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.open.is_none() {
                let entry = self.files.next()?;
                match Open::new(self.folder, entry) {
                    Ok(open) => self.open = Some(open),
                    Err(error) => return Some(Err(error)),
                }
            }
            let open = self.open.as_mut()?;
            let before = open.bytes;
            match open.next() {
                Ok(Some(row)) => {
                    self.bytes += open.bytes - before;
                    return Some(Ok(row));
                }
                Ok(None) => self.open = None,
                Err(error) => {
                    // Nothing that follows can be trusted.
                    (self.open, self.files) = (None, [].iter());
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<'a> Open<'a> {
    fn new(folder: &Path, entry: &'a FileEntry) -> Result<Self, BackupError> {
        let path = folder.join(&entry.name);
        let file = BufReader::new(File::open(&path).map_err(io_error(&path))?);
        let hasher = crc32fast::Hasher::new();
        Ok(Self { entry, path, file, hasher, rows: 0, bytes: 0, last_key: Bytes::new() })
    }

    fn damaged(&self, why: impl Into<String>) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), why: why.into() }
    }

    fn read(&mut self, len: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = vec![0; len];
        let read = self.file.read_exact(&mut bytes);
        if read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof) {
            return Err(self.damaged("it is cut off"));
        }
        read.map_err(io_error(&self.path))?;
        self.hasher.update(&bytes);
        self.bytes += u64::try_from(len).unwrap_or(u64::MAX);
        Ok(bytes)
    }

    fn next(&mut self) -> Result<Option<Row>, BackupError> {
        if self.bytes == self.entry.bytes {
            return self.end().map(|()| None);
        }
        let header = self.read(HEADER_BYTES)?;
        let number = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let (len, checksum) = (number(header.first_chunk()), number(header.last_chunk()));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if RECORD_BYTES_MAX < len {
            return Err(self.damaged(format!("a record of `{len}` bytes")));
        }
        let message = self.read(len)?;
        let number = self.rows + 1;
        if crc32fast::hash(&message) != checksum {
            return Err(self.damaged(format!("record `{number}` fails its checksum")));
        }
        let row = BackupRow::decode(Bytes::from(message))
            .map_err(|error| self.damaged(format!("record `{number}`: {error}")))?;
        if row.key <= self.last_key {
            return Err(self.damaged(format!("record `{number}` is out of order")));
        }
        self.last_key = row.key.clone();
        self.rows = number;
        Ok(Some(Row { key: row.key, content: row.content }))
    }

    /// Compares the file with what is said of it.
    fn end(&mut self) -> Result<(), BackupError> {
        let mut more = [0];
        if self.file.read(&mut more).map_err(io_error(&self.path))? > 0 {
            return Err(self.damaged("it is longer than it was written"));
        }
        if self.rows != self.entry.rows {
            let (rows, said) = (self.rows, self.entry.rows);
            return Err(self.damaged(format!("it has `{rows}` rows instead of `{said}`")));
        }
        let checksum = format!("{:08x}", self.hasher.clone().finalize());
        if checksum != self.entry.crc32 {
            return Err(self.damaged("it fails its checksum"));
        }
        Ok(())
    }
}
