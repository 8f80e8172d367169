//! Moving the position, and looking again at what was skipped.

use super::{
    Subscription,
    board::{Board, Delivery, Queue, State},
};
use crate::{
    delivery::{Change, Effect, LossReason, Matched, Record, RequestId, SequenceSet, Stamp},
    planted::{Bug, is_planted},
    time::Timestamp,
};

impl Subscription {
    /// Moves the position: what is open is gone, what lies up to `position` counts as done.
    pub(super) fn seek(&mut self, request: RequestId, position: u64, now: Timestamp) {
        for sequence in self.consumers.all_leases() {
            let Some(lease) = self.board.get(sequence).and_then(Delivery::lease).cloned() else {
                continue;
            };
            self.tell_lost(sequence, lease.consumer, LossReason::Sought);
            self.consumers.give(lease.consumer, sequence);
            self.gate.ended(sequence);
        }
        let skipped = self.skipped_by_seek(position);
        for (sequence, _) in self.board.with_facts().filter(|(_, open)| open.record.redriven) {
            self.dead.insert(sequence);
        }
        self.timers.disarm_deliveries();
        self.board = Board::new(self.config.policy.leases_per_resource());
        self.finished = SequenceSet::new();
        self.purged.remove_after(position);
        self.scanned = position;
        // What the fetch that is out brings is from before.
        self.ignores_fetch = self.fetching;
        if !is_planted(Bug::SeekForgetsToFence) {
            self.top_generation = self.top_generation.saturating_add(1);
            self.generation = self.top_generation;
            self.fence = Some(Stamp { epoch: self.epoch, counter: self.lease_counter });
        }
        self.journal.seek(position);
        self.journal.write(Change::Sought {
            position,
            generation: self.generation,
            fence: self.fence,
        });
        self.last_used = now;
        let ticket = self.journal.ticket();
        self.journal.then(ticket, Effect::Sought { request, skipped });
    }

    /// Opens what was skipped before, each with a record of its own, since the floor has passed it.
    pub(super) fn looked_back(&mut self, through: u64, matched: Vec<Matched>, now: Timestamp) {
        for Matched { sequence, resource, failure, .. } in matched {
            // What has just ended, the ledger may not have told yet.
            let has_ended = (self.finished.contains(sequence) || self.memory.knows_end(sequence))
                && !is_planted(Bug::LookBackTwice);
            let is_dead = self.dead.contains(sequence) || self.purged.contains(sequence);
            if self.board.is_open(sequence) || is_dead || has_ended {
                continue;
            }
            if let Some(failure) = failure {
                self.die_of_filter(sequence, failure, now);
                continue;
            }
            let record = Record {
                generation: self.generation,
                looked_back: true,
                resource,
                ..Record::default()
            };
            self.board.insert(
                sequence,
                Delivery::new(record, State::Ready(Queue::Unwritten { since: now })),
            );
            self.write_open(sequence);
        }
        self.journal.write(Change::LookedBack { through });
    }
}
