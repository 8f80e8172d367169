//! Subscriptions: their creation and deletion, and the commits of their owners.

use hookline_core::{
    delivery::{Creation, Epoch},
    event::Sequence,
};

use super::{
    super::{
        super::{CommitError, CreateError, ReadError, SubscriptionConfig, codec},
        draft::{self, Draft},
        keys::{self, Kind, Meta},
        ledger::{self, PreparedCommit, Writing},
        log,
        writer::{Failure, Group},
    },
    Opened, chores,
};

impl Opened {
    pub(super) fn create(
        &mut self,
        config: SubscriptionConfig,
        draft: &mut Draft,
    ) -> Result<Creation, CreateError> {
        let taken = self.configs.iter().find(|(_, other)| other.name == config.name);
        if let Some((creation, _)) = taken {
            return Err(CreateError::Exists(*creation));
        }
        self.creations += 1;
        let creation = Creation(self.creations);
        let position = ledger::first_position(config.start_after, self.next_settled);
        let key = |kind| keys::key(kind, &[creation.0]);
        draft.put(keys::meta(Meta::Creations), &[&self.creations.to_be_bytes()]);
        draft.put(key(Kind::Config), &[&codec::encode_config(&config)]);
        draft.put(key(Kind::Epoch), &[&0_u64.to_be_bytes()]);
        draft.put(key(Kind::Position), &[&position]);
        self.configs.insert(creation, config);
        self.configs_changed = true;
        self.epochs.insert(creation, Epoch(0));
        Ok(creation)
    }

    pub(super) fn delete(&mut self, creation: Creation, group: &mut Group) {
        if self.configs.remove(&creation).is_none() {
            return;
        }
        self.configs_changed = true;
        self.epochs.remove(&creation);
        self.ledgers.remove(&creation);
        self.ripe.remove(&creation);
        group.draft.remove(keys::key(Kind::Config, &[creation.0]));
        group.draft.put(keys::key(Kind::Deleting, &[creation.0]), &[]);
        group.chores.extend(chores::chores_of_deletion(creation));
    }

    pub(super) fn open_ledger(
        &mut self,
        creation: Creation,
        draft: &mut Draft,
    ) -> Result<Epoch, CommitError> {
        let epoch = self.epochs.get_mut(&creation).ok_or(CommitError::Missing)?;
        epoch.0 += 1;
        let epoch = *epoch;
        draft.put(keys::key(Kind::Epoch, &[creation.0]), &[&epoch.0.to_be_bytes()]);
        self.fold_one(creation, draft);
        self.ledgers.remove(&creation);
        Ok(epoch)
    }

    pub(super) fn check(&self, creation: Creation, epoch: Epoch) -> Result<(), CommitError> {
        match self.epochs.get(&creation) {
            None => Err(CommitError::Missing),
            Some(newest) if *newest != epoch => Err(CommitError::Fenced),
            Some(_) => Ok(()),
        }
    }

    /// The outer error fails the whole group; the inner one this commit alone.
    pub(super) fn commit_ledger(
        &mut self,
        creation: Creation,
        epoch: Epoch,
        commit: PreparedCommit,
        group: &mut Group,
    ) -> Result<Result<(), CommitError>, Failure> {
        if let Err(error) = self.check(creation, epoch) {
            return Ok(Err(error));
        }
        let unavailable = |error: ReadError| CommitError::Unavailable(error.to_string().into());
        if !self.ledgers.contains_key(&creation) {
            // Its owner had opened it before the store was opened again, or a commit of this group failed.
            self.commit(group)?;
            match ledger::load(&self.db, creation) {
                Ok((_, facts)) => self.ledgers.insert(creation, facts),
                Err(error) => return Ok(Err(unavailable(error))),
            };
        }
        let facts = self.ledgers.entry(creation).or_default();
        if let Some(page) = facts.page_of_acks(&commit, self.first) {
            let acks = facts.take_acks(commit, page);
            self.put_acks(creation, &acks, group);
            return Ok(Ok(()));
        }
        if let Err(error) = self.copy_chunks(creation, &commit, group)? {
            return Ok(Err(unavailable(error)));
        }
        let facts = self.ledgers.entry(creation).or_default();
        let PreparedCommit { changes, dead_events, config, at } = commit;
        let mut writing = Writing::new(&self.db, &group.draft, creation, facts, dead_events);
        for change in changes {
            if let Err(error) = writing.apply(change) {
                self.forget_ledger(creation, group)?;
                return Ok(Err(unavailable(error)));
            }
        }
        let draft = writing.finish_commit(&mut self.next_settled);
        self.ripe.remove(&creation);
        group.draft.merge(draft);
        if let Some(config) = config {
            let key = keys::key(Kind::Config, &[creation.0]);
            group.draft.put(key, &[&codec::encode_config(&config)]);
            self.configs.insert(creation, config);
            self.configs_changed = true;
        }
        self.committed_at = self.committed_at.max(at);
        self.put_committed_at(&mut group.draft);
        Ok(Ok(()))
    }

    /// Copies the payloads of large events that are given up, before the rows that make them dead letters.
    pub(super) fn copy_chunks(
        &mut self,
        creation: Creation,
        commit: &PreparedCommit,
        group: &mut Group,
    ) -> Result<Result<(), ReadError>, Failure> {
        for event in &commit.dead_events {
            let held = self.ledgers.get(&creation).is_some_and(|f| f.has_letter(event.sequence));
            let Some((count, source)) = event.chunks.filter(|_| !held) else { continue };
            for number in 0..count {
                let chunk = match log::chunk(&self.db, source, event.sequence, number) {
                    Ok(chunk) => chunk,
                    Err(error) => return Ok(Err(error)),
                };
                let key = keys::chunk(Some(creation), event.sequence, number);
                group.draft.put(key, &[&chunk]);
                self.commit_when_large(group)?;
            }
        }
        Ok(Ok(()))
    }

    pub(super) fn mark_announced(
        &self,
        rows: &[(Creation, Sequence, u32)],
        draft: &mut Draft,
    ) -> Result<(), ReadError> {
        for (creation, sequence, generation) in rows {
            let key = keys::of_delivery(Kind::Unannounced, *creation, *sequence);
            let row = match draft.get(&key)? {
                Some(row) => row,
                None => draft::get(&self.db, &key)?,
            };
            let Some(row) = row else { continue };
            if keys::take_u32(&mut &row[..])? == *generation {
                draft.remove(key);
            }
        }
        Ok(())
    }
}
