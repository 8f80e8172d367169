//! What is to be written, and what is said only after that.

use std::collections::BTreeMap;

use crate::{
    delivery::{Change, Effect, Ticket},
    event::Sequence,
};

/// The changes that no commit has taken yet, and what waits for commits. One commit is out at a time, so what comes
/// up meanwhile goes into the next one together.
#[derive(Debug)]
pub(super) struct Journal {
    pending: Vec<Change>,
    /// The ticket that the pending changes will have.
    ticket: Ticket,
    out: Option<Ticket>,
    effects: BTreeMap<Ticket, Vec<Effect>>,
    blocked: BTreeMap<Ticket, Vec<Sequence>>,
    /// The position that was last put into a commit, or recovered.
    floor: u64,
    scanned: u64,
    position_is_due: bool,
}

impl Journal {
    pub(super) fn new(floor: u64, scanned: u64) -> Self {
        Self {
            pending: Vec::new(),
            ticket: Ticket(1),
            out: None,
            effects: BTreeMap::new(),
            blocked: BTreeMap::new(),
            floor,
            scanned,
            position_is_due: false,
        }
    }

    /// Returns the position that was last put into a commit, or recovered.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.floor, self.scanned)
    }

    /// Takes in that the position is moved by a change of its own.
    pub(super) fn seek(&mut self, position: u64) {
        (self.floor, self.scanned) = (position, position);
    }

    pub(super) fn position_is_news(&self, floor: u64, scanned: u64) -> bool {
        (floor, scanned) != (self.floor, self.scanned)
    }

    /// Asks for the position to be written even if nothing else is.
    pub(super) fn write_position(&mut self) {
        self.position_is_due = true;
    }

    /// Returns the ticket of what is written next.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(super) fn write(&mut self, change: Change) {
        self.pending.push(change);
    }

    /// Returns how many changes wait for the next commit.
    pub(super) const fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the last ticket that is not durable, if any.
    pub(super) fn last_unwritten(&self) -> Option<Ticket> {
        if self.pending.is_empty() { self.out } else { Some(self.ticket) }
    }

    /// Whether this ticket is durable.
    pub(super) fn is_durable(&self, ticket: Ticket) -> bool {
        ticket < self.out.unwrap_or(self.ticket)
    }

    /// Says something once a ticket is durable.
    pub(super) fn then(&mut self, ticket: Ticket, effect: Effect) {
        self.effects.entry(ticket).or_default().push(effect);
    }

    /// Remembers a delivery that waits for a ticket.
    pub(super) fn block(&mut self, ticket: Ticket, sequence: Sequence) {
        self.blocked.entry(ticket).or_default().push(sequence);
    }

    /// Whether there is something to write and no commit is out.
    pub(super) fn has_commit(&self, floor: u64, scanned: u64) -> bool {
        let due = self.position_is_due && self.position_is_news(floor, scanned);
        self.out.is_none() && (due || !self.pending.is_empty())
    }

    /// Makes the next commit, if there is something to write and no commit is out.
    pub(super) fn commit(&mut self, floor: u64, scanned: u64) -> Option<Effect> {
        if self.out.is_some() || (self.pending.is_empty() && !self.position_is_due) {
            return None;
        }
        self.position_is_due = false;
        let mut changes = std::mem::take(&mut self.pending);
        if self.position_is_news(floor, scanned) {
            assert!(self.floor <= floor && floor <= scanned, "the floor only rises, below scanned");
            (self.floor, self.scanned) = (floor, scanned);
            changes.push(Change::Position { floor, scanned });
        }
        if changes.is_empty() {
            return None;
        }
        let ticket = self.ticket;
        self.out = Some(ticket);
        self.ticket = Ticket(ticket.0 + 1);
        Some(Effect::Persist { ticket, changes })
    }

    /// Takes in that a commit is durable; returns what may be said now and which deliveries no longer wait.
    pub(super) fn persisted(&mut self, ticket: Ticket) -> (Vec<Effect>, Vec<Sequence>) {
        assert_eq!(self.out, Some(ticket), "one commit is out at a time");
        self.out = None;
        (
            self.effects.remove(&ticket).unwrap_or_default(),
            self.blocked.remove(&ticket).unwrap_or_default(),
        )
    }
}
