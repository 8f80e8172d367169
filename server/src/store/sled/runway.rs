//! Zeros after what sled has written, for the next commits to be written over: `fdatasync` has less to do where a
//! file does not grow (`server/docs/performance.md`).
//!
//! sled makes the same of its file by itself: when it is opened it writes zeros over the rest of the segment that it goes
//! on with, and over those that are free (0.34: `advance_snapshot`, `initialize_from_snapshot`). So it reads zeros after
//! its last row, and segments of zeros at the end, as what they are: nothing.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
};

/// How much is added at a time: some hundreds of small commits for each that waits for it.
const PIECE_BYTES: usize = 1 << 20;
/// More is added once less than this is left.
const LEFT_BYTES: u64 = 256 << 10;
/// How many small commits may come until it is looked again at what is left: they do not fill it.
const COMMITS_PER_LOOK: u32 = 16;
/// What of it is looked at: no row has so many zeros.
const LOOK_BYTES: usize = 4 << 10;

/// Sees to it that there are zeros.
#[derive(Debug, Default)]
pub(super) struct Runway {
    /// How many commits came since it was looked at what is left.
    unseen: Cell<u32>,
    /// Whether zeros could not be added: then they would only be in the way.
    is_over: Cell<bool>,
}

impl Runway {
    /// Adds zeros to the file of the database if few are left, after a small commit. `db` must be open to read and to append:
    /// then they come after whatever sled writes at the same moment, and never over it.
    ///
    /// # Errors
    ///
    /// If a sync fails: that may be about what sled has written meanwhile, and is said only once. Where zeros just can't be
    /// added, it goes on without.
    pub(super) fn extend(&self, db: &File) -> io::Result<()> {
        let unseen = self.unseen.get();
        self.unseen.set((unseen + 1) % COMMITS_PER_LOOK);
        if unseen > 0 || self.is_over.get() {
            return Ok(());
        }
        match add_where_short(db) {
            Ok(true) => db.sync_data(),
            Ok(false) => Ok(()),
            Err(error) => {
                tracing::debug!(error = %error, "the file of the log is not made longer ahead of its commits");
                self.is_over.set(true);
                Ok(())
            }
        }
    }
}

/// Says whether it was short.
fn add_where_short(mut db: &File) -> io::Result<bool> {
    let is_short = is_short(db)?;
    if is_short {
        db.write_all(&vec![0; PIECE_BYTES])?;
    }
    Ok(is_short)
}

fn is_short(mut db: &File) -> io::Result<bool> {
    // Not by its metadata: once its times were asked for, Linux (6.13 and later, multigrain timestamps) gives the next write
    // a time of its own, and the inode is written after all.
    let length = db.seek(SeekFrom::End(0))?;
    let Some(at) = length.checked_sub(LEFT_BYTES) else { return Ok(true) };
    let mut found = [0; LOOK_BYTES];
    match db.read_exact_at(&mut found, at) {
        Ok(()) => Ok(found != [0; LOOK_BYTES]),
        // sled gives free segments at the end back to the disk.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bytes: usize) -> Vec<u8> {
        vec![7; bytes]
    }

    #[test]
    fn zeros_come_after_what_is_written_and_more_of_them_once_few_are_left() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let db = File::options().read(true).append(true).open(path.path()).unwrap();
        let writer = File::options().write(true).open(path.path()).unwrap();
        let length = || usize::try_from(db.metadata().unwrap().len()).unwrap();
        let extend = || Runway::default().extend(&db).unwrap();

        writer.write_all_at(&rows(1_000), 0).unwrap();
        extend();
        assert_eq!(length(), 1_000 + PIECE_BYTES);
        extend();
        assert_eq!(length(), 1_000 + PIECE_BYTES, "there are enough");

        let most = length() - usize::try_from(LEFT_BYTES).unwrap();
        writer.write_all_at(&rows(most), 0).unwrap();
        extend();
        assert_eq!(length(), 1_000 + PIECE_BYTES, "just enough");
        writer.write_all_at(&rows(1), u64::try_from(most).unwrap()).unwrap();
        extend();
        assert_eq!(length(), 1_000 + 2 * PIECE_BYTES);

        let mut found = vec![1; length()];
        db.read_exact_at(&mut found, 0).unwrap();
        assert!(found[..=most].iter().all(|byte| *byte == 7), "nothing is overwritten");
        assert!(found[most + 1..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn it_is_looked_once_in_a_while_and_not_again_after_a_failure() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let db = File::options().read(true).append(true).open(path.path()).unwrap();
        let length = || usize::try_from(db.metadata().unwrap().len()).unwrap();
        let runway = Runway::default();
        runway.extend(&db).unwrap();
        db.set_len(0).unwrap();
        for _ in 1..COMMITS_PER_LOOK {
            runway.extend(&db).unwrap();
        }
        assert_eq!(length(), 0);
        runway.extend(&db).unwrap();
        assert_eq!(length(), PIECE_BYTES);

        let cannot_be_written = File::open(path.path()).unwrap();
        db.set_len(0).unwrap();
        let runway = Runway::default();
        runway.extend(&cannot_be_written).unwrap();
        for _ in 0..COMMITS_PER_LOOK {
            runway.extend(&db).unwrap();
        }
        assert_eq!(length(), 0);
    }
}
