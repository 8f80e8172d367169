//! What the next commit will write, and reading through it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{super::ReadError, db_error, keys};

/// Writes that are to become one commit, readable before they are.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Keys to values, sealed; `None`: the row is removed.
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    is_whole: bool,
}

impl Draft {
    /// Writes a row, sealed.
    pub(super) fn put(&mut self, key: Vec<u8>, parts: &[&[u8]]) {
        self.put_sealed(key, keys::seal(parts));
    }

    /// Writes a row that is sealed already.
    pub(super) fn put_sealed(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.writes.insert(key, Some(value));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.bytes += key.len();
        self.writes.insert(key, None);
    }

    /// Takes in what another has, as written after its own.
    pub(super) fn merge(&mut self, later: Self) {
        self.bytes += later.bytes;
        self.is_whole |= later.is_whole;
        self.writes.extend(later.writes);
    }

    /// Asks for all packs to be written or none: they have events that were appended together.
    pub(super) fn keep_whole(&mut self) {
        self.is_whole = true;
    }

    /// Returns about how many bytes are to be written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the keys of the rows that are to be written or removed.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.writes.keys().cloned().collect()
    }

    /// Returns the content of a row as this draft leaves it; the outer `None`: it leaves it as it was.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Option<Bytes>>, ReadError> {
        let Some(write) = self.writes.get(key) else { return Ok(None) };
        let Some(value) = write else { return Ok(Some(None)) };
        Ok(Some(Some(Bytes::copy_from_slice(keys::unseal(key, value)?))))
    }

    /// Writes it: all of it or nothing, or, of packs that need not be there together, the first of them. sled recovers what it
    /// was given in order, up to some point. A batch costs another write, and waits for it
    /// (`server/docs/performance.md`), so a commit of one row, and one of single events, does without.
    pub(super) fn apply_to(self, db: &::sled::Db) -> ::sled::Result<()> {
        if self.writes.len() > 1 && (self.is_whole || !self.has_only_packs()) {
            let mut batch = ::sled::Batch::default();
            for (key, value) in self.writes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            return db.apply_batch(batch);
        }
        for (key, value) in self.writes {
            match value {
                Some(value) => drop(db.insert(key, value)?),
                None => drop(db.remove(key)?),
            }
        }
        Ok(())
    }

    /// Whether it has nothing but packs, which are here in the order of their events.
    fn has_only_packs(&self) -> bool {
        let is_pack = |key: &Vec<u8>| key.first() == Some(&(keys::Kind::Pack as u8));
        self.writes.iter().all(|(key, value)| is_pack(key) && value.is_some())
    }
}

/// Returns the content of a row.
pub(super) fn get(db: &::sled::Db, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
    let Some(value) = db.get(key).map_err(db_error)? else { return Ok(None) };
    Ok(Some(Bytes::copy_from_slice(keys::unseal(key, &value)?)))
}
