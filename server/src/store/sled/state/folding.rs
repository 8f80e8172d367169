//! Commits of acks alone, which are one row each, and when what they say is folded into the rows that others are in: see
//! `ledger/acks.rs`.

use hookline_core::delivery::Creation;

use super::{
    super::{
        super::ReadError,
        draft::Draft,
        keys::{self, Meta},
        ledger::{self, Acks, RIPE_ROWS},
        writer::{Failure, Group},
    },
    Opened,
};

impl Opened {
    /// Writes a commit that is one row.
    pub(super) fn put_acks(&mut self, creation: Creation, acks: &Acks, group: &mut Group) {
        acks.put(creation, self.next_settled, &mut group.draft);
        self.next_settled.number += 1;
        self.committed_at = self.committed_at.max(acks.at());
        if self.ledgers.get(&creation).is_some_and(|facts| RIPE_ROWS <= facts.unfolded_rows()) {
            self.ripe.insert(creation);
        }
    }

    /// Folds what only rows of acks say of one ledger.
    pub(super) fn fold_one(&mut self, creation: Creation, draft: &mut Draft) {
        self.ripe.remove(&creation);
        if let Some(facts) = self.ledgers.get_mut(&creation) {
            facts.fold(creation, self.next_settled, draft);
            self.put_committed_at(draft);
        }
    }

    /// Folds what only rows of acks say of those ledgers of which there are many.
    pub(super) fn fold_ripe(&mut self, draft: &mut Draft) {
        for creation in std::mem::take(&mut self.ripe) {
            self.fold_one(creation, draft);
        }
    }

    /// Folds what only rows of acks say, of all ledgers.
    pub(super) fn fold_all(&mut self, draft: &mut Draft) {
        self.ripe.clear();
        for (creation, facts) in &mut self.ledgers {
            facts.fold(*creation, self.next_settled, draft);
        }
        self.put_committed_at(draft);
    }

    /// Writes when the latest commit to a ledger was made, if its row does not say so.
    pub(super) fn put_committed_at(&mut self, draft: &mut Draft) {
        if self.committed_at_written < self.committed_at {
            self.committed_at_written = self.committed_at;
            let micros = self.committed_at.as_micros().to_be_bytes();
            draft.put(keys::meta(Meta::CommittedAt), &[&micros]);
        }
    }

    /// Folds what a kill has left: then there is none but of ledgers that are in memory.
    pub(super) fn fold_what_is_left(&mut self, draft: &mut Draft) -> Result<(), ReadError> {
        let creations: Vec<_> = self.configs.keys().copied().collect();
        for creation in creations {
            self.fold_left(creation, draft)?;
        }
        Ok(())
    }

    /// Forgets a ledger of which a commit was taken in by halves: the next commit reads what there is.
    pub(super) fn forget_ledger(
        &mut self,
        creation: Creation,
        group: &mut Group,
    ) -> Result<(), Failure> {
        self.ledgers.remove(&creation);
        self.ripe.remove(&creation);
        // What earlier commands wrote of it is read.
        self.commit(group)?;
        let folded = self.fold_left(creation, &mut group.draft);
        folded.map_err(|error| Failure(error.to_string().into()))
    }

    /// The error says that the database could not be read now.
    fn fold_left(&mut self, creation: Creation, draft: &mut Draft) -> Result<(), ReadError> {
        match ledger::fold_left(&self.db, creation, self.next_settled, draft) {
            Ok(latest) => {
                self.committed_at =
                    latest.map_or(self.committed_at, |at| at.max(self.committed_at));
                self.put_committed_at(draft);
                Ok(())
            }
            Err(ReadError::Damaged(why)) => {
                // The others go on: this one can't be opened, and a check says why.
                tracing::warn!(creation = creation.0, %why, "the ledger of a subscription is damaged");
                Ok(())
            }
            Err(error @ ReadError::Unavailable(_)) => Err(error),
        }
    }
}
