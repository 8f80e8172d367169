//! Opening sled's database such that what it says is written is on the disk (DESIGN: section 7).

use std::{
    cell::Cell,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use parking_lot::{Condvar, Mutex};

use super::{Options, disk::Free, runway::Runway};

/// A page above a quarter of a segment becomes a file of its own, which sled does not sync: so segments are large
/// enough that none is. Can't be changed once a store was made.
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// How often sled moves what is left in a segment of which most was removed, so that it can be used again: 160 MB a second
/// at most, eight times what comes in at full speed.
const CLEAN_EVERY_MS: u64 = 50;
/// sled's threads give the lock back a moment after the database was dropped: how often it is tried again.
const LOCK_ATTEMPTS: u32 = 40;
/// How long to wait between two attempts.
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// What sled's snapshots of its page table are called.
const SNAPSHOT_PREFIX: &str = "snap.";
/// One that was not finished, after a kill: sled would not open with it.
const UNFINISHED_SUFFIX: &str = ".generating";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder could not be used.
    #[error("could not use `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none, and none was to be made.
    #[error("there is no store in `{path}`")]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Another process, or another store of this one, has it open.
    #[error("the store `{path}` is open elsewhere: only one hub can use it at a time")]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("the store has layout version `{found}`, this hub reads versions up to `{known}`")]
    Version {
        /// The store's version.
        found: u32,
        /// The newest that this hub reads.
        known: u32,
    },
    /// The folder holds a database that is not a store of Hookline.
    #[error("`{path}` holds a database that is not a store of Hookline")]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error("the store `{path}` is damaged: {why}")]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What was found.
        why: String,
    },
}

/// The files of a database, by handles of our own: an fsync of an inode covers what was written through any handle.
#[derive(Debug)]
pub(super) struct Disk {
    /// To read and to append.
    db: File,
    blobs: Blobs,
    runway: Runway,
}

impl Disk {
    /// Waits until everything that sled has handed to the kernel is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.db.sync_data()?;
        let blobs = self.blobs.list(&self.db)?;
        for blob in &blobs {
            File::open(blob)?.sync_all()?;
        }
        if blobs.is_empty() { Ok(()) } else { self.blobs.folder.sync_all() }
    }

    /// Sees to it that small commits find blocks to be written over.
    pub(super) fn extend_runway(&self) -> io::Result<()> {
        self.runway.extend(&self.db)
    }
}

/// The folder of the values that sled finds too large for its log. Ours are not, so that it is empty; but listing it costs a
/// twentieth of a commit of one event.
#[derive(Debug)]
struct Blobs {
    path: PathBuf,
    folder: File,
    /// When the folder was changed last, if it was empty then and is so until it is changed again.
    empty_since: Cell<Option<SystemTime>>,
}

impl Blobs {
    fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { folder: File::open(&path)?, path, empty_since: Cell::default() })
    }

    /// Lists the files. `db` is written to with each commit, so that it has the time of the disk.
    fn list(&self, db: &File) -> io::Result<Vec<PathBuf>> {
        let changed_at = self.folder.metadata()?.modified()?;
        if self.empty_since.get() == Some(changed_at) {
            return Ok(Vec::new());
        }
        // A change that comes in the same tick of the disk's clock could not be told from this one: it has to have gone on.
        let has_gone_on = changed_at < db.metadata()?.modified()?;
        let found: Vec<_> = fs::read_dir(&self.path)?
            .map(|blob| blob.map(|blob| blob.path()))
            .collect::<io::Result<_>>()?;
        self.empty_since.set((found.is_empty() && has_gone_on).then_some(changed_at));
        Ok(found)
    }
}

/// Returns how much of a folder's disk is free.
pub(super) fn free(folder: &Path) -> io::Result<Free> {
    let disk = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Free { bytes: bytes(disk.f_bavail), of: bytes(disk.f_blocks) })
}

/// Opens or makes the database in `path`.
pub(super) fn open(path: &Path, options: &Options) -> Result<(::sled::Db, Disk), OpenError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { path, source }
    };
    fs::create_dir_all(path).map_err(io(path))?;
    for snapshot in snapshots(path).map_err(io(path))? {
        if snapshot.to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
            fs::remove_file(&snapshot).map_err(io(&snapshot))?;
        }
    }
    let db = match open_unlocked(path, options) {
        Err(Failure::Corruption(_)) => {
            // The log has everything that a snapshot has: a damaged one is only in the way.
            for snapshot in snapshots(path).map_err(io(path))? {
                let name = snapshot.file_name().unwrap_or_default().to_string_lossy();
                let aside = snapshot.with_file_name(format!("aside.{name}"));
                fs::rename(&snapshot, aside).map_err(io(&snapshot))?;
            }
            open_unlocked(path, options)
        }
        opened => opened,
    };
    let db = db.map_err(|failure| failure.into_error(path))?;

    let (file, blobs) = (path.join("db"), path.join("blobs"));
    for folder in [&blobs, path, path.parent().unwrap_or(path)] {
        // The parent of a relative path of one part is "".
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))?;
    }
    for name in ["conf", "db"] {
        let file = path.join(name);
        File::open(&file).and_then(|file| file.sync_all()).map_err(io(&file))?;
    }
    let handle = File::options().read(true).append(true).open(&file).map_err(io(&file))?;
    let blobs = Blobs::open(blobs.clone()).map_err(io(&blobs))?;
    Ok((db, Disk { db: handle, blobs, runway: Runway::default() }))
}

/// Has the kernel forget what it keeps of the database's file in memory, after a failed write or sync: what it could not
/// write it may still show as if it had, and says so only once. What is read afterwards is what the disk has.
#[cfg(target_os = "linux")]
pub(super) fn forget_cached(path: &Path) -> io::Result<()> {
    let db = File::open(path.join("db"))?;
    Ok(rustix::fs::fadvise(&db, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Where there is no such call, what is read afterwards is what the kernel says.
#[cfg(not(target_os = "linux"))]
pub(super) fn forget_cached(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Opens the database in `path` to look at it: none is made where there is none.
pub(super) fn open_existing(path: &Path) -> Result<::sled::Db, OpenError> {
    if !path.join("db").is_file() {
        return Err(OpenError::Missing { path: path.to_path_buf() });
    }
    open(path, &Options::default()).map(|(db, _)| db)
}

fn snapshots(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SNAPSHOT_PREFIX) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

enum Failure {
    Locked,
    Corruption(String),
    Io(io::Error),
    Panic(String),
}

impl Failure {
    fn into_error(self, path: &Path) -> OpenError {
        let path = path.to_path_buf();
        match self {
            Self::Locked => OpenError::Locked { path },
            Self::Io(source) => OpenError::Io { path, source },
            Self::Corruption(why) | Self::Panic(why) => OpenError::Damaged { path, why },
        }
    }
}

fn open_unlocked(path: &Path, options: &Options) -> Result<::sled::Db, Failure> {
    for _ in 1..LOCK_ATTEMPTS {
        match open_once(path, options) {
            Err(Failure::Locked) => pause(LOCK_WAIT),
            opened => return opened,
        }
    }
    open_once(path, options)
}

/// Lets time pass. Nothing tells when the lock of a file is free.
fn pause(duration: Duration) {
    let nobody = Mutex::new(());
    Condvar::new().wait_for(&mut nobody.lock(), duration);
}

fn open_once(path: &Path, options: &Options) -> Result<::sled::Db, Failure> {
    let config = ::sled::Config::new()
        .path(path)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(options.cache_bytes)
        // The writer flushes, and waits for it. But sled frees the space of what was removed only here, a segment each
        // time: without it the disk grew as if nothing were trimmed.
        .flush_every_ms(Some(CLEAN_EVERY_MS));
    // Damaged files make sled panic here now and then.
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(::sled::Error::Io(error))) if error.to_string().contains("acquire lock") => {
            Err(Failure::Locked)
        }
        Ok(Err(::sled::Error::Io(error))) => Err(Failure::Io(error)),
        Ok(Err(error)) => Err(Failure::Corruption(error.to_string())),
        Err(panic) => Err(Failure::Panic(panic_text(panic.as_ref()))),
    }
}

/// Returns the message of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the database failed with `{}`", text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_listed_whenever_it_comes() {
        let data = tempfile::tempdir().unwrap();
        let (path, file) = (data.path().join("blobs"), data.path().join("db"));
        fs::create_dir(&path).unwrap();
        let db = File::create(file).unwrap();
        let blobs = Blobs::open(path.clone()).unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let blob = path.join("1");

        // In the same tick as the folder itself.
        blobs.folder.set_modified(at(1_000)).unwrap();
        db.set_modified(at(1_000)).unwrap();
        assert!(blobs.list(&db).unwrap().is_empty());
        File::create(&blob).unwrap();
        blobs.folder.set_modified(at(1_000)).unwrap();
        assert_eq!(blobs.list(&db).unwrap(), std::slice::from_ref(&blob));
        fs::remove_file(&blob).unwrap();

        blobs.folder.set_modified(at(1_000)).unwrap();
        db.set_modified(at(1_001)).unwrap();
        for _ in 0..2 {
            assert!(blobs.list(&db).unwrap().is_empty());
            assert_eq!(blobs.empty_since.get(), Some(at(1_000)));
        }
        File::create(&blob).unwrap();
        assert_eq!(blobs.list(&db).unwrap(), [blob]);
        assert_eq!(blobs.empty_since.get(), None);
    }
}
