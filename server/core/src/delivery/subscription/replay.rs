//! Events of the log that are handed out once more, wherever the position is.

use super::{
    Subscription,
    board::{Delivery, Queue, State},
};
use crate::{
    delivery::{Effect, Record, Replayed, RequestId, ResourceKey},
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

/// What a replay makes of an event.
enum Fate {
    Opens,
    IsOpen,
    IsDead,
    IsAhead,
}

impl Subscription {
    /// Opens deliveries anew, each with a record of its own, since the floor has mostly passed it. All of one replay have a
    /// generation that no delivery had before: so no lease that was given before settles them, and what dies again has an
    /// id of its own.
    pub(super) fn replay(
        &mut self,
        request: RequestId,
        events: Vec<(Sequence, Option<ResourceKey>)>,
        ready_max: usize,
        now: Timestamp,
    ) {
        let generation = match is_planted(Bug::ReplayKeepsGeneration) {
            true => self.generation,
            false => self.top_generation.saturating_add(1),
        };
        let mut replayed = Replayed::default();
        for (sequence, resource) in events {
            if !self.note_fate(sequence, ready_max, 0, &mut replayed) {
                continue;
            }
            if is_planted(Bug::ReplayLosesOne) && replayed.opened.len() == 1 {
                continue;
            }
            let record = Record { generation, looked_back: true, resource, ..Record::default() };
            let state = State::Ready(Queue::Unwritten { since: now });
            self.board.insert(sequence, Delivery::new(record, state));
            self.write_open(sequence);
        }
        if replayed.opened.is_empty() {
            return self.effects.push_back(Effect::Replayed { request, replayed });
        }
        self.top_generation = self.top_generation.max(generation);
        self.journal.then(self.journal.ticket(), Effect::Replayed { request, replayed });
    }

    /// Returns what [`Input::Replay`](crate::delivery::Input::Replay) would do now, of events in order and each once.
    #[must_use]
    pub fn would_replay(
        &self,
        events: &[(Sequence, Option<ResourceKey>)],
        ready_max: usize,
    ) -> Replayed {
        let mut replayed = Replayed::default();
        for (sequence, _) in events {
            let opened = replayed.opened.len();
            self.note_fate(*sequence, ready_max, opened, &mut replayed);
        }
        replayed
    }

    /// Counts what becomes of an event, where `more` are ready than the board has; whether it is to be opened.
    fn note_fate(
        &self,
        sequence: Sequence,
        ready_max: usize,
        more: usize,
        replayed: &mut Replayed,
    ) -> bool {
        if replayed.full_at.is_some() {
            return false;
        }
        match self.fate(sequence) {
            Fate::IsOpen => replayed.already_open += 1,
            Fate::IsDead => replayed.dead += 1,
            Fate::IsAhead => replayed.ahead += 1,
            Fate::Opens if ready_max <= self.board.ready() + more => {
                replayed.full_at = Some(sequence);
            }
            Fate::Opens => {
                replayed.opened.push(sequence);
                return true;
            }
        }
        false
    }

    fn fate(&self, sequence: Sequence) -> Fate {
        if self.board.is_open(sequence) {
            return Fate::IsOpen;
        }
        // What is read again after a recovery, up to where it had been before, may be finished.
        if sequence.get() > self.scanned && !self.finished.contains(sequence) {
            return Fate::IsAhead;
        }
        // What was purged has no letter to go back from.
        if self.dead.contains(sequence) { Fate::IsDead } else { Fate::Opens }
    }
}
