//! Writing a backup: under a temporary name, until all of it is on the disk.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use super::{
    BackupError, FILE_BYTES_MAX, io_error,
    manifest::{FORMAT, FileEntry, MANIFEST, Manifest},
};

/// A backup that is being written. Dropped before it was finished, nothing is left of it.
#[derive(Debug)]
pub struct Writing {
    target: PathBuf,
    /// Beside the target, on the same disk.
    folder: tempfile::TempDir,
    manifest: Manifest,
    open: Option<Open>,
}

/// The file that is being written.
#[derive(Debug)]
struct Open {
    /// What its name begins with, and its number.
    of: (&'static str, u32),
    path: PathBuf,
    file: BufWriter<File>,
    hasher: crc32fast::Hasher,
    entry: FileEntry,
}

impl Writing {
    /// Begins. The manifest says what the backup is of; its files and counts are filled in here.
    ///
    /// # Errors
    ///
    /// If the target is there, or the folder that it is to be in can't be used.
    pub fn begin(target: &Path, manifest: Manifest) -> Result<Self, BackupError> {
        if target.exists() {
            return Err(BackupError::Exists(target.to_path_buf()));
        }
        let parent = parent(target);
        fs::create_dir_all(parent).map_err(io_error(parent))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let prefix = format!(".{name}.unfinished-");
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
        let folder = folder.map_err(io_error(parent))?;
        let manifest =
            Manifest { format: FORMAT, row_count: 0, byte_count: 0, files: Vec::new(), ..manifest };
        Ok(Self { target: target.to_path_buf(), folder, manifest, open: None })
    }

    /// Writes records to the files of a section, a new one where the last has grown large.
    ///
    /// # Errors
    ///
    /// If they can't be written.
    pub fn put(
        &mut self,
        section: &'static str,
        count: u64,
        records: &[u8],
    ) -> Result<(), BackupError> {
        let number = match &self.open {
            Some(open) if open.of.0 == section && open.entry.bytes < FILE_BYTES_MAX => open.of.1,
            Some(open) if open.of.0 == section => open.of.1 + 1,
            Some(_) | None => 1,
        };
        if self.open.as_ref().is_none_or(|open| open.of != (section, number)) {
            self.close()?;
            let name = format!("{section}-{number:04}.records");
            let path = self.folder.path().join(&name);
            let file = BufWriter::new(File::create_new(&path).map_err(io_error(&path))?);
            let entry = FileEntry { name, rows: 0, bytes: 0, crc32: String::new() };
            let hasher = crc32fast::Hasher::new();
            self.open = Some(Open { of: (section, number), path, file, hasher, entry });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.write_all(records).map_err(io_error(&open.path))?;
        open.hasher.update(records);
        open.entry.rows += count;
        open.entry.bytes += u64::try_from(records.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Returns how many rows and bytes were written.
    #[must_use]
    pub fn written(&self) -> (u64, u64) {
        let open = self.open.as_ref().map_or((0, 0), |open| (open.entry.rows, open.entry.bytes));
        (self.manifest.row_count + open.0, self.manifest.byte_count + open.1)
    }

    fn close(&mut self) -> Result<(), BackupError> {
        let Some(Open { path, file, hasher, mut entry, .. }) = self.open.take() else {
            return Ok(());
        };
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let synced = file.and_then(|file| file.sync_all());
        synced.map_err(io_error(&path))?;
        entry.crc32 = format!("{:08x}", hasher.finalize());
        self.manifest.row_count += entry.rows;
        self.manifest.byte_count += entry.bytes;
        self.manifest.files.push(entry);
        Ok(())
    }

    /// Gives the backup its name, once all of it is on the disk. `sent` is how many rows the hub says that it has sent.
    ///
    /// # Errors
    ///
    /// If some are missing, or something can't be written: then there is no backup.
    pub fn finish(mut self, sent: u64) -> Result<Manifest, BackupError> {
        self.close()?;
        let came = self.manifest.row_count;
        if came != sent {
            return Err(BackupError::Incomplete { came, sent });
        }
        let path = self.folder.path().join(MANIFEST);
        let text = self.manifest.text();
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            File::open(self.folder.path())?.sync_all()
        };
        write().map_err(io_error(&path))?;
        if self.target.exists() {
            return Err(BackupError::Exists(self.target));
        }
        let folder = self.folder.keep();
        let named = fs::rename(&folder, &self.target)
            .and_then(|()| File::open(parent(&self.target))?.sync_all());
        named.map_err(io_error(&self.target))?;
        Ok(self.manifest)
    }
}

/// Returns the folder that a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        // The parent of a relative path of one part is "".
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
