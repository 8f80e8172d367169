//! What consumers say and are told, and what durable changes add up to.

use std::{collections::BTreeMap, time::Duration};

use hookline_core::{
    delivery::{
        Backgrounds, Change, DeadLetter, Nack, NackAction, Outcome, Pasts, Replayed, Settlement,
        Snapshot,
    },
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
    Purged(Vec<Sequence>),
    Replayed(Replayed),
    Reconfigured,
    /// How many were given up, from where on the log is needed, and whether the log is being read on.
    Retired(usize, u64, bool),
    /// How many were skipped.
    Sought(u64),
}

/// What durable changes add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ledger {
    pub(super) snapshot: Snapshot,
    pub(super) backgrounds: Backgrounds,
    pub(super) letters: BTreeMap<Sequence, DeadLetter>,
    pub(super) settlements: Vec<(Sequence, Settlement)>,
    /// How each finished delivery ended, but for the dead, and what had happened to it before.
    pub(super) pasts: Pasts,
    /// How often a dead letter was written.
    pub(super) deaths: usize,
}

impl Ledger {
    pub(super) fn apply(&mut self, change: &Change) {
        let was_redriven = |ledger: &Self, sequence: &Sequence| {
            ledger.snapshot.records.get(sequence).is_some_and(|record| record.redriven)
        };
        match change {
            Change::Done { sequence, settlement } => {
                if was_redriven(self, sequence) {
                    self.letters.remove(sequence);
                }
                self.settlements.push((*sequence, settlement.clone()));
            }
            Change::Superseded { sequences, .. } => {
                for sequence in sequences {
                    if was_redriven(self, sequence) {
                        self.letters.remove(sequence);
                    }
                }
            }
            Change::Redriven { sequence, .. } => {
                self.backgrounds.redrive(*sequence, &self.letters[sequence]);
            }
            Change::Purged { sequences } => {
                for sequence in sequences {
                    assert!(self.letters.remove(sequence).is_some(), "{sequence} has a letter");
                }
            }
            Change::Position { .. }
            | Change::Open { .. }
            | Change::Failed { .. }
            | Change::Checkpointed { .. }
            | Change::Dead { .. }
            | Change::LookedBack { .. }
            | Change::Reconfigured { .. }
            | Change::Sought { .. } => {}
        }
        let letters = &self.letters;
        self.pasts.apply(change, &self.backgrounds, |of| letters.get(&of));
        self.snapshot.apply(change);
        if let (Some(letter), Change::Dead { sequence, .. }) =
            (self.backgrounds.apply(change), change)
        {
            self.letters.insert(*sequence, letter);
            self.deaths += 1;
        }
    }
}
