//! What the next commit will write, and reading through it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{super::ReadError, db_error, keys};

/// Writes that are to become one commit, readable before they are.
///
/// A row either belongs to the others of its commit, or stands alone: what it says is right also if nothing that was put later is
/// ever there. Of rows that stand alone the first may be written without the last, never the last without the first.
#[derive(Debug, Default)]
pub(super) struct Draft {
    writes: BTreeMap<Vec<u8>, Write>,
    /// How many were put: the place of the next.
    count: usize,
    bytes: usize,
    is_whole: bool,
}

#[derive(Debug)]
struct Write {
    /// Sealed; `None`: the row is removed.
    value: Option<Vec<u8>>,
    /// When it was put, among the others.
    place: usize,
}

impl Draft {
    /// Writes a row, sealed, together with all others.
    pub(super) fn put(&mut self, key: Vec<u8>, parts: &[&[u8]]) {
        self.put_sealed(key, keys::seal(parts));
    }

    /// As [`Self::put`], a row that is sealed already.
    pub(super) fn put_sealed(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.is_whole = true;
        self.write(key, Some(value));
    }

    /// Removes a row, together with what is done to all others.
    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.is_whole = true;
        self.write(key, None);
    }

    /// Writes a row that is sealed already, and stands alone: after those that were put before, and whether or not those are there
    /// that are put later.
    pub(super) fn put_alone(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.write(key, Some(value));
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.writes.insert(key, Write { value, place: self.count });
        self.count += 1;
    }

    /// Takes in what another has, as written after its own.
    pub(super) fn merge(&mut self, later: Self) {
        let places = self.count;
        let moved = |(key, Write { value, place })| (key, Write { value, place: places + place });
        self.writes.extend(later.writes.into_iter().map(moved));
        self.count += later.count;
        self.bytes += later.bytes;
        self.is_whole |= later.is_whole;
    }

    /// Asks for all rows to be written or none, also those that stand alone: packs of events that were appended together.
    pub(super) fn keep_whole(&mut self) {
        self.is_whole = true;
    }

    /// Whether it has rows that are there together or not at all.
    pub(super) fn is_batch(&self) -> bool {
        self.is_whole && self.writes.len() > 1
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
        let Some(value) = &write.value else { return Ok(Some(None)) };
        Ok(Some(Some(Bytes::copy_from_slice(keys::unseal(key, value)?))))
    }

    /// Writes it: all of it or nothing; or, of rows that all stand alone, the first of them. sled recovers what it was given in
    /// order, up to some point. A batch costs another write, and waits for it (`server/docs/performance.md`), so a commit of
    /// one row, and one of rows that stand alone, does without.
    pub(super) fn apply_to(self, db: &::sled::Db) -> ::sled::Result<()> {
        if self.is_batch() {
            let mut batch = ::sled::Batch::default();
            for (key, write) in self.writes {
                match write.value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            return db.apply_batch(batch);
        }
        for (key, value) in self.into_order() {
            match value {
                Some(value) => drop(db.insert(key, value)?),
                None => drop(db.remove(key)?),
            }
        }
        Ok(())
    }

    /// Returns the rows in the order in which they were put.
    fn into_order(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        let mut writes: Vec<_> = self.writes.into_iter().collect();
        writes.sort_unstable_by_key(|(_, write)| write.place);
        writes.into_iter().map(|(key, write)| (key, write.value))
    }
}

/// How often a row is asked for after it was written. sled looks at a part of its cache once it was asked for something
/// of it 64 times, and a page holds 16 rows or more.
const GETS_PER_ROW: usize = 4;

/// Asks for rows that were written or removed. sled collects its garbage, and looks at what its cache holds, by how often it is
/// asked for something: a batch asks once, so that memory would grow far above the cache. Asking page by page keeps it flat.
pub(super) fn ask(
    db: &::sled::Db,
    keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> ::sled::Result<()> {
    for key in keys {
        for _ in 0..GETS_PER_ROW {
            db.get(&key)?;
        }
    }
    Ok(())
}

/// Returns the content of a row.
pub(super) fn get(db: &::sled::Db, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
    let Some(value) = db.get(key).map_err(db_error)? else { return Ok(None) };
    Ok(Some(Bytes::copy_from_slice(keys::unseal(key, &value)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stand_alone_are_written_as_they_were_put() {
        let mut draft = Draft::default();
        draft.put_alone(vec![25, 9], keys::seal(&[b"ack"]));
        let mut later = Draft::default();
        later.put_alone(vec![25, 1], keys::seal(&[b"ack"]));
        later.put_alone(vec![25, 9], keys::seal(&[b"again"]));
        draft.merge(later);
        draft.put_alone(vec![1, 7], keys::seal(&[b"pack"]));
        assert!(!draft.is_batch());
        assert_eq!(draft.get(&[25, 9]).unwrap().unwrap().unwrap(), "again");
        let order: Vec<_> = draft.into_order().map(|(key, _)| key).collect();
        assert_eq!(order, [[25, 1], [25, 9], [1, 7]]);
    }

    #[test]
    fn one_row_that_belongs_to_others_makes_a_batch_of_all() {
        let mut draft = Draft::default();
        draft.put_alone(vec![1], Vec::new());
        draft.put_alone(vec![2], Vec::new());
        assert!(!draft.is_batch());
        let mut whole = Draft::default();
        whole.put(vec![3], &[]);
        assert!(!whole.is_batch(), "one row is whole in itself");
        draft.merge(whole);
        assert!(draft.is_batch());
        let mut removing = Draft::default();
        removing.put_alone(vec![1], Vec::new());
        removing.remove(vec![2]);
        assert!(removing.is_batch());
    }
}
