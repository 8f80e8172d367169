//! What was given up: it goes back, or its letter is deleted.

use super::{
    Subscription,
    board::{Delivery, Queue, State},
};
use crate::{
    delivery::{Change, Edition, Effect, Record, RequestId, ResourceKey},
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

impl Subscription {
    pub(super) fn redrive(
        &mut self,
        request: RequestId,
        letters: Vec<(Sequence, u32, Option<ResourceKey>)>,
        now: Timestamp,
    ) {
        let mut sequences = Vec::with_capacity(letters.len());
        for (sequence, generation, resource) in letters {
            // After a seek it is open again, or will be.
            let comes_anyway = self.board.is_open(sequence) || sequence.get() > self.scanned;
            if comes_anyway || !self.dead.remove(sequence) {
                continue;
            }
            let record = Record {
                // Above that of what it was redriven as before, should a seek have ended that.
                generation: generation.max(self.generation).saturating_add(1),
                attempts: u32::from(is_planted(Bug::RedriveKeepsAttempts)),
                redriven: true,
                resource,
                ..Record::default()
            };
            self.letter_changes += 1;
            self.top_generation = self.top_generation.max(record.generation);
            self.journal.write(Change::Redriven { sequence, record: record.clone() });
            let state = State::Ready(Queue::Unwritten { since: now });
            self.board.insert(sequence, Delivery::new(record, state));
            self.block(sequence);
            sequences.push(sequence);
        }
        let is_empty = sequences.is_empty();
        let answer = Effect::Redriven { request, sequences };
        if is_empty {
            self.effects.push_back(answer);
        } else {
            self.journal.then(self.journal.ticket(), answer);
        }
    }

    /// Deletes dead letters. What was redriven is open and has none, so it can't be among them.
    pub(super) fn purge(
        &mut self,
        request: RequestId,
        mut sequences: Vec<Sequence>,
        edition: Edition,
    ) {
        let is_of_now = edition == self.edition();
        sequences.retain(|sequence| is_of_now && self.dead.remove(*sequence));
        if !sequences.is_empty() {
            self.letter_changes += 1;
            for sequence in &sequences {
                self.purged.insert(*sequence);
            }
            let lost = usize::from(is_planted(Bug::PurgedNotWritten));
            let written = sequences.iter().skip(lost).copied().collect();
            self.journal.write(Change::Purged { sequences: written });
        }
        let answer = Effect::Purged { request, sequences, edition: self.edition() };
        // What this edition counts must be what the ledger holds when it is read.
        match self.journal.last_unwritten() {
            Some(ticket) => self.journal.then(ticket, answer),
            None => self.effects.push_back(answer),
        }
    }

    /// Returns the edition of the dead letters: what was changed last may not be durable.
    #[must_use]
    pub fn edition(&self) -> Edition {
        Edition { epoch: self.epoch, changes: self.letter_changes }
    }

    /// Notes that a delivery was given up.
    pub(super) fn note_dead(&mut self, sequence: Sequence) {
        let is_replaced = !self.dead.insert(sequence);
        self.letter_changes += u64::from(is_replaced);
    }
}
