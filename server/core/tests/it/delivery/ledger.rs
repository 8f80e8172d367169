//! What consumers say and are told, and what durable changes add up to.

use std::{collections::BTreeMap, time::Duration};

use hookline_core::{
    delivery::{Change, DeadLetter, Nack, NackAction, Outcome, Settlement, Snapshot},
    event::Sequence,
    time::Timestamp,
};

pub(super) fn retry(reason: &str) -> Nack {
    nack(NackAction::Retry, reason, None)
}

pub(super) fn release() -> Nack {
    nack(NackAction::Release, "", None)
}

pub(super) fn nack(action: NackAction, reason: &str, retry_after: Option<Duration>) -> Nack {
    Nack { action, reason: reason.into(), error_type: "Error".into(), retry_after }
}

/// What a question was answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Settled(Outcome),
    Extended(Result<Timestamp, Outcome>),
    Redriven(Vec<Sequence>),
}

/// What durable changes add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ledger {
    pub(super) snapshot: Snapshot,
    pub(super) letters: BTreeMap<Sequence, DeadLetter>,
    pub(super) settlements: Vec<(Sequence, Settlement)>,
    /// How often a dead letter was written.
    pub(super) deaths: usize,
}

impl Ledger {
    pub(super) fn apply(&mut self, change: &Change) {
        self.snapshot.apply(change);
        match change {
            Change::Dead { sequence, letter } => {
                self.letters.insert(*sequence, letter.clone());
                self.deaths += 1;
            }
            Change::Done { sequence, settlement } => {
                self.letters.remove(sequence);
                self.settlements.push((*sequence, settlement.clone()));
            }
            Change::Position { .. } | Change::Open { .. } | Change::Redriven { .. } => {}
        }
    }
}
