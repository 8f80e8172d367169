//! Giving up what is too old to be kept in the log.

use super::{
    Subscription,
    board::{Delivery, State},
};
use crate::{
    delivery::{Change, Death, Effect, Reason, RequestId},
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

impl Subscription {
    /// Gives up, oldest first, what lies before `before` and is not leased; then says from where on the log is needed.
    pub(super) fn retire(&mut self, request: RequestId, before: u64, count: usize, now: Timestamp) {
        let open = self.board.open_after(0).take_while(|sequence| sequence.get() < before);
        let old: Vec<_> = open.filter(|of| self.may_retire(*of)).take(count).collect();
        let total = old.len();
        for (sequence, place) in old.into_iter().zip(1..) {
            let is_last = place == total;
            // The announcement of the last one stands for all.
            let detail = if is_last { detail(total) } else { String::new() };
            self.retire_one(sequence, detail, now);
        }
        let retired = Effect::Retired {
            request,
            count: total,
            needed_from: self.needed_from(),
            reads_on: self.scanned.saturating_add(1) < before,
        };
        // What is said to be needed no more must not be needed after a crash either.
        match self.journal.last_unwritten() {
            Some(ticket) if !is_planted(Bug::TrimmedBeforeWrite) => {
                self.journal.then(ticket, retired);
            }
            Some(_) | None => self.effects.push_back(retired),
        }
    }

    /// What was redriven needs the log no more: its dead letter has its bytes.
    fn may_retire(&self, sequence: Sequence) -> bool {
        self.board.get(sequence).is_none_or(|delivery| match delivery.state {
            State::Ready(_) | State::Waiting { .. } => !delivery.record.redriven,
            State::Leased(_) => false,
        })
    }

    fn retire_one(&mut self, sequence: Sequence, detail: String, now: Timestamp) {
        let record = self.close(sequence).map(|delivery| delivery.record);
        let (generation, attempts) =
            record.map_or((self.generation, 0), |record| (record.generation, record.attempts));
        let death = Death {
            generation,
            reason: Reason::Retention,
            attempts,
            died_at: now,
            detail,
            redriven: false,
        };
        self.note_dead(sequence);
        self.journal.write(Change::Dead { sequence, death, attempt: None });
    }

    /// Returns the first sequence whose event is still to be delivered out of the log.
    fn needed_from(&self) -> u64 {
        let looked_back =
            |(_, open): &(Sequence, &Delivery)| open.record.looked_back && !open.record.redriven;
        let first = self.board.with_facts().find(looked_back);
        let first = first.map_or(u64::MAX, |(sequence, _)| sequence.get());
        first.min(self.position().0.saturating_add(1))
    }
}

fn detail(count: usize) -> String {
    match count {
        1 => "too old to be kept in the log".to_owned(),
        _ => format!("too old to be kept in the log, with {} before it", count - 1),
    }
}
