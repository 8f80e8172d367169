//! The dictionaries of payloads: each in two rows, far from each other, and gone once no event needs it.
//!
//! A dictionary has parts of the payloads that it was trained of. When the last of those is trimmed it is retired: new
//! payloads are compressed without it, until their source has a new one; and when the last event that needs it is
//! trimmed, it is removed. Dead letters need none (`ledger::prepare`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use hookline_core::event::{Sequence, SourceName};

use super::{
    super::{
        super::{
            ReadError,
            codec::{self, DictionaryRow},
            dictionary::{DICTIONARIES_MAX, Dictionary},
        },
        db_error,
        draft::Draft,
        keys::{self, Kind},
    },
    Opened,
};

/// Where a dictionary stands, and its copy.
pub(in super::super) const KINDS: [Kind; 2] = [Kind::Dictionary, Kind::DictionaryCopy];

/// A dictionary that some events need, or may come to need.
#[derive(Debug)]
pub(super) struct Kept {
    dictionary: Arc<Dictionary>,
    /// The newest event when it was made.
    made_after: u64,
    /// The newest event that needs it, once it is retired.
    needed_until: Option<u64>,
}

impl Kept {
    fn put(&self, draft: &mut Draft) {
        let row = DictionaryRow {
            source: self.dictionary.source.as_str().to_owned(),
            bytes: self.dictionary.bytes.clone(),
            made_after: self.made_after,
            needed_until: self.needed_until,
        };
        let row = prost::Message::encode_to_vec(&row);
        for kind in KINDS {
            draft.put(keys::dictionary(kind, self.dictionary.id.get()), &[&row]);
        }
    }

    fn remove(&self, draft: &mut Draft) {
        for kind in KINDS {
            draft.remove(keys::dictionary(kind, self.dictionary.id.get()));
        }
    }
}

/// Reads the rows of one of [`KINDS`], by id; `None`: what is there can't be read.
pub(in super::super) fn rows(
    db: &::sled::Db,
    kind: Kind,
) -> Result<BTreeMap<u32, Option<DictionaryRow>>, ReadError> {
    let mut rows = BTreeMap::new();
    for row in db.range(keys::under(kind, &[])) {
        let (key, value) = row.map_err(db_error)?;
        let Ok(id) = keys::take_u32(&mut key.get(1..).unwrap_or_default()) else { continue };
        let content = keys::unseal(&key, &value).map(Bytes::copy_from_slice);
        rows.insert(id, content.and_then(codec::decode_dictionary).ok());
    }
    Ok(rows)
}

/// Returns the dictionary of a row.
pub(in super::super) fn ready(row: &DictionaryRow) -> Option<Dictionary> {
    let source = SourceName::parse(&row.source).ok()?;
    Dictionary::new(source, row.bytes.clone())
}

impl Opened {
    /// What lacks one of its two rows gets it again.
    pub(super) fn read_dictionaries(&mut self, draft: &mut Draft) -> Result<(), ReadError> {
        let [first, second] = KINDS.map(|kind| rows(&self.db, kind));
        let (mut first, mut second) = (first?, second?);
        let ids: BTreeSet<_> = first.keys().chain(second.keys()).copied().collect();
        for id in ids {
            let of_both = [first.remove(&id).flatten(), second.remove(&id).flatten()];
            let is_whole = of_both.iter().all(Option::is_some);
            let found = of_both.into_iter().flatten().find_map(|row| Some((ready(&row)?, row)));
            let Some((dictionary, row)) = found else {
                tracing::error!(
                    id,
                    "a dictionary is damaged: the payloads that need it can't be read"
                );
                continue;
            };
            let DictionaryRow { made_after, needed_until, .. } = row;
            let kept = Kept { dictionary: Arc::new(dictionary), made_after, needed_until };
            if !is_whole {
                tracing::warn!(
                    id,
                    "one of two copies of a dictionary was damaged: it is made again"
                );
                kept.put(draft);
            }
            self.dictionaries.push(kept);
        }
        self.dictionaries_changed = true;
        Ok(())
    }

    /// Returns all dictionaries, and whether new payloads are compressed with each.
    pub(in super::super) fn dictionaries(
        &self,
    ) -> impl Iterator<Item = (Arc<Dictionary>, bool)> + '_ {
        let each = self.dictionaries.iter();
        each.map(|kept| (Arc::clone(&kept.dictionary), kept.needed_until.is_none()))
    }

    /// Keeps a new dictionary, unless there is one for its source.
    pub(super) fn keep_dictionary(&mut self, dictionary: Arc<Dictionary>, draft: &mut Draft) {
        let is_taken = self.dictionaries.iter().any(|kept| {
            let is_of_source = kept.dictionary.source == dictionary.source;
            kept.dictionary.id == dictionary.id || is_of_source && kept.needed_until.is_none()
        });
        if is_taken || self.dictionaries.len() >= DICTIONARIES_MAX {
            return;
        }
        tracing::info!(source = %dictionary.source, "payloads are compressed with a dictionary from now on");
        let kept = Kept { dictionary, made_after: self.next - 1, needed_until: None };
        kept.put(draft);
        self.dictionaries.push(kept);
        self.dictionaries_changed = true;
    }

    /// Notes that an event needs a dictionary: it may have been retired, or even removed, after the event was compressed.
    pub(super) fn need_dictionary(
        &mut self,
        dictionary: &Arc<Dictionary>,
        sequence: Sequence,
        draft: &mut Draft,
    ) {
        let sequence = sequence.get();
        match self.dictionaries.iter_mut().find(|kept| kept.dictionary.id == dictionary.id) {
            Some(Kept { needed_until: None, .. }) => {}
            Some(kept) => {
                kept.needed_until = Some(sequence);
                kept.put(draft);
            }
            None => {
                let dictionary = Arc::clone(dictionary);
                let (made_after, needed_until) = (self.next - 1, Some(sequence));
                let kept = Kept { dictionary, made_after, needed_until };
                kept.put(draft);
                self.dictionaries.push(kept);
                self.dictionaries_changed = true;
            }
        }
    }

    /// Retires and removes dictionaries before the log is trimmed up to `before`. What was trimmed this time may still be
    /// being read: what that needs is removed by the next trim.
    pub(super) fn retire_dictionaries(&mut self, before: u64, draft: &mut Draft) {
        let (head, first) = (self.next - 1, self.first);
        for kept in &mut self.dictionaries {
            if kept.needed_until.is_none() && kept.made_after < before {
                kept.needed_until = Some(head);
                kept.put(draft);
                self.dictionaries_changed = true;
            }
        }
        let is_gone = |kept: &mut Kept| kept.needed_until.is_some_and(|until| until < first);
        for removed in self.dictionaries.extract_if(.., is_gone) {
            removed.remove(draft);
            self.dictionaries_changed = true;
        }
    }
}
