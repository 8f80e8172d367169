//! Appending: dedupe, places in the log, packs.

use std::{collections::HashMap, sync::Arc};

use hookline_core::{
    event::{EventId, Sequence},
    time::Timestamp,
};

use super::{
    super::{
        super::{AppendError, Appended, Entry, ReadError, codec},
        Shared, dedupe,
        draft::Draft,
        index,
        keys::{self, Kind},
        log::{self, Prepared, Reader},
        pack::Filling,
        writer::{Failure, Group, is_same_body, is_same_delivery},
    },
    Chore, Opened,
};
use crate::encoding;

/// After how many bytes of events it is written again how many there were: the bytes of the log are known so closely.
pub(in super::super) const WEIGHED_EVERY: u64 = 1024 * 1024;

impl Opened {
    /// The outer error fails the whole group; the inner one this call alone.
    pub(super) fn append(
        &mut self,
        mut events: Vec<Prepared>,
        received_at: Timestamp,
        group: &mut Group,
        shared: &Shared,
    ) -> Result<Result<Vec<Appended>, AppendError>, Failure> {
        let received_at = received_at.max(self.last_received);
        let mut answers: Vec<Appended> = Vec::with_capacity(events.len());
        let mut next = self.next_sequence();
        // By source and key: of several in one call, the first stays.
        let mut keys_of_call = HashMap::new();
        let has_several = 1 < events.len();
        for event in &events {
            let (source, key) = (&event.content.source, &event.content.delivery_key);
            let key = event.fingerprint.filter(|_| has_several).map(|_| (source, key));
            let first = match key.as_ref().and_then(|key| keys_of_call.get(key)) {
                Some((id, sequence)) => Some(Appended {
                    id: *id,
                    sequence: *sequence,
                    duplicate: true,
                    replayed: false,
                }),
                None => match self.first_of(event, received_at, group, shared) {
                    Ok(first) => first,
                    Err(error) => {
                        return Ok(Err(AppendError::Unavailable(error.to_string().into())));
                    }
                },
            };
            if let Some(first) = first {
                answers.push(first);
                continue;
            }
            let sequence = next;
            next = next.next();
            let id = EventId::new(received_at, event.random);
            if let Some(key) = key {
                keys_of_call.insert(key, (id, sequence));
            }
            answers.push(Appended { id, sequence, duplicate: false, replayed: false });
        }
        for (event, answer) in events.iter_mut().zip(&answers) {
            if answer.duplicate {
                continue;
            }
            for (chunk, number) in std::mem::take(&mut event.chunks).into_iter().zip(0..) {
                group.draft.put_sealed(keys::chunk(None, answer.sequence, number), chunk);
                self.commit_when_large(group)?;
            }
        }
        if 1 < answers.iter().filter(|answer| !answer.duplicate).count() {
            group.draft.keep_whole();
        }
        for (event, answer) in events.into_iter().zip(&answers) {
            if !answer.duplicate {
                self.place(event, answer.id, answer.sequence, received_at, group);
            }
        }
        Ok(Ok(answers))
    }

    fn next_sequence(&self) -> Sequence {
        Sequence::new(self.next).expect("sequences begin with 1")
    }

    /// Returns the event that this one is a copy of: the same delivery, else a replay of its body.
    pub(super) fn first_of(
        &self,
        event: &Prepared,
        received_at: Timestamp,
        group: &Group,
        shared: &Shared,
    ) -> Result<Option<Appended>, ReadError> {
        let is_same = |kept: &Entry| {
            is_same_delivery(&kept.event.content, &event.content)
                && dedupe::is_remembered(kept.event.received_at, received_at)
        };
        let of_key = event.fingerprint.map(|it| self.dedupe.candidates(it));
        let found = self.find(of_key.into_iter().flatten(), is_same, group, shared)?;
        if let Some((id, sequence)) = found {
            return Ok(Some(Appended { id, sequence, duplicate: true, replayed: false }));
        }
        let window = event.content.replay_window.unwrap_or_default();
        let is_replayed = |kept: &Entry| {
            is_same_body(&kept.event.content, &event.content)
                && received_at.since(kept.event.received_at) <= window
        };
        let of_body = event.body_fingerprint.and_then(|it| self.dedupe.body(it));
        let found = self.find(of_body.into_iter(), is_replayed, group, shared)?;
        Ok(found.map(|(id, sequence)| Appended { id, sequence, duplicate: true, replayed: true }))
    }

    fn find(
        &self,
        candidates: impl Iterator<Item = u64>,
        is_it: impl Fn(&Entry) -> bool,
        group: &Group,
        shared: &Shared,
    ) -> Result<Option<(EventId, Sequence)>, ReadError> {
        for sequence in candidates {
            let kept = match self.kept(sequence, group, shared) {
                Ok(kept) => kept,
                // What can't be read can't be called the same: twice is allowed, lost is not.
                Err(ReadError::Damaged(_)) => None,
                Err(error @ ReadError::Unavailable(_)) => return Err(error),
            };
            if let Some(same) = kept.filter(|kept| is_it(kept)) {
                return Ok(Some((same.event.id, same.event.sequence)));
            }
        }
        Ok(None)
    }

    pub(super) fn kept(
        &self,
        sequence: u64,
        group: &Group,
        shared: &Shared,
    ) -> Result<Option<Arc<Entry>>, ReadError> {
        if sequence < self.first {
            return Ok(None);
        }
        let of_group = group.entries.first().map(|(entry, _)| entry.event.sequence.get());
        if let Some(place) = of_group.and_then(|first| sequence.checked_sub(first)) {
            let place = usize::try_from(place).ok();
            let kept = place.and_then(|place| group.entries.get(place));
            return Ok(kept.map(|(entry, _)| Arc::clone(entry)));
        }
        if let Some(entry) = shared.tail.entry(sequence) {
            return Ok(Some(entry));
        }
        let first = codec::sequence(self.first)?;
        Reader { db: &self.db, first, head: self.next - 1 }.entry(sequence)
    }

    /// Gives an event its place in the log.
    pub(super) fn place(
        &mut self,
        mut event: Prepared,
        id: EventId,
        sequence: Sequence,
        received_at: Timestamp,
        group: &mut Group,
    ) {
        let bytes = event.bytes_in_pack();
        if group.pack.as_ref().is_some_and(|pack| pack.is_full_for(bytes)) {
            seal_pack(group);
        }
        self.weigh(sequence, &event, group);
        if let Some(dictionary) = &event.dictionary {
            self.need_dictionary(dictionary, sequence, &mut group.draft);
        }
        let pack = group.pack.get_or_insert_with(|| Filling::new(sequence, received_at));
        encoding::push_place(&mut event.encoded, id, sequence, received_at);
        pack.push(&event.encoded, &event.packed, sequence, received_at);
        let row = self.index.push(sequence.get(), &event.content, event.marks);
        if let Some(row) = row {
            let block = index::block_of(sequence.get());
            group.draft.put(keys::key(Kind::Index, &[block]), &[&row]);
        }
        let day = dedupe::day(received_at);
        if event.fingerprint.is_some() || event.body_fingerprint.is_some() {
            self.sweep_fingerprints(day, group);
        }
        let fingerprints = (event.fingerprint, event.body_fingerprint);
        self.remember(day, sequence, fingerprints, &mut group.draft);
        if index::is_last_of_block(sequence.get()) {
            self.seal_fingerprints(&mut group.draft);
        }
        let fresh = event.fresh.take();
        let entry = Arc::new(log::entry(event, id, sequence, received_at));
        group.entries.push((entry, fresh));
        self.next = sequence.get() + 1;
        self.last_received = received_at;
    }

    /// Notes what an event adds to the log, and from time to time how much came before it.
    fn weigh(&mut self, sequence: Sequence, event: &Prepared, group: &mut Group) {
        if self.weighed_bytes + WEIGHED_EVERY <= self.appended_bytes {
            let row = self.appended_bytes.to_be_bytes();
            group.draft.put(keys::key(Kind::Weight, &[sequence.get()]), &[&row]);
            self.weighed_bytes = self.appended_bytes;
        }
        self.appended_bytes = self.appended_bytes.saturating_add(event.weight);
    }

    /// Remembers the fingerprints of an event's delivery key and of its body. They get rows with the last event of each
    /// block of the index, so that few commits have more to write than events.
    pub(super) fn remember(
        &mut self,
        day: u32,
        sequence: Sequence,
        (key, body): (Option<u64>, Option<u64>),
        draft: &mut Draft,
    ) {
        if let Some(fingerprint) = key {
            self.unwritten_keys.push(day, sequence.get(), fingerprint, draft);
            self.dedupe.insert(fingerprint, sequence, day);
        }
        if let Some(fingerprint) = body {
            self.unwritten_bodies.push(day, sequence.get(), fingerprint, draft);
            self.dedupe.insert_body(fingerprint, sequence);
        }
    }

    /// Gives rows to all fingerprints that have none yet.
    pub(super) fn seal_fingerprints(&mut self, draft: &mut Draft) {
        self.unwritten_keys.seal(draft);
        self.unwritten_bodies.seal(draft);
    }

    pub(super) fn sweep_fingerprints(&mut self, day: u32, group: &mut Group) {
        if day <= self.swept_day {
            return;
        }
        self.swept_day = day;
        for kind in [Kind::Fingerprints, Kind::Bodies] {
            let end = keys::fingerprints(kind, day.saturating_sub(dedupe::DEDUPE_DAYS), 0);
            group.chores.push(Chore { range: keys::fingerprints(kind, 0, 0)..end, last: None });
        }
    }
}

/// Puts the pack that is being filled into the draft.
pub(super) fn seal_pack(group: &mut Group) {
    if let Some(pack) = group.pack.take() {
        let key = keys::key(Kind::Pack, &[pack.first.get()]);
        group.draft.put_alone(key, pack.seal());
    }
}
