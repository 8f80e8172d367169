//! For what a commit waits before it is made: what it costs is shared by what is in it, but who brought that waits too.
//!
//! Measured: `server/docs/performance.md`.

use std::time::{Duration, Instant};

/// After a commit of so many commands the next one waits a moment for more: fewer come one by one, and would only wait.
const GATHER_FROM: usize = 8;
/// With how many commands a commit does not wait for more.
pub(super) const GATHER_COUNT: usize = 64;
/// How long it waits at the most, about as long as a commit takes.
pub(super) const GATHER_TIME: Duration = Duration::from_millis(1);
/// For so long after events came, more of them are awaited.
const EVENTS_AWAITED: Duration = Duration::from_millis(10);
/// After waits in vain, at most so many commits of acks are made without another try.
const HASTY_MAX: u32 = 64;

/// What a commit waits for, at most [`GATHER_TIME`] and until there are [`GATHER_COUNT`] commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Nothing,
    /// More of whatever comes.
    More,
    /// While there are only acks: events, or many acks.
    Company,
}

/// How a wait for company ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// There was no need for it.
    Not,
    /// Nothing came.
    InVain,
    /// Something came.
    Paid,
}

/// What the last commits had, by which the next one waits or not.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// How many commands the last commit had.
    last_count: usize,
    /// How many changes of ledgers the last commit had.
    last_changes: usize,
    /// When the last events came.
    events_at: Option<Instant>,
    /// How many turns of the writer go on without a wait for events, since the last wait for company was in vain.
    hasty: u32,
    /// How many these were at first.
    hasty_before: u32,
}

impl Gathering {
    /// Returns what the next commit is to wait for.
    pub(super) fn awaited(&mut self, now: Instant) -> Awaited {
        if GATHER_FROM <= self.last_count {
            return Awaited::More;
        }
        if GATHER_FROM <= self.last_changes {
            return Awaited::Company;
        }
        let awaits_events =
            self.events_at.is_some_and(|at| now.duration_since(at) < EVENTS_AWAITED);
        if !awaits_events {
            return Awaited::Nothing;
        }
        // Where each event comes after the ack of the one before, a wait only makes it come later.
        if 0 < self.hasty {
            self.hasty -= 1;
            return Awaited::Nothing;
        }
        Awaited::Company
    }

    /// Learns how a wait for company ended: after one in vain the next commits go on without, twice as many each time.
    pub(super) fn waited(&mut self, waited: Waited) {
        self.hasty_before = match waited {
            Waited::Not => return,
            Waited::Paid => 0,
            Waited::InVain => (self.hasty_before * 2).clamp(1, HASTY_MAX),
        };
        self.hasty = self.hasty_before;
    }

    /// Learns what was committed: so many commands, with so many changes of ledgers.
    pub(super) fn committed(&mut self, count: usize, changes: usize) {
        (self.last_count, self.last_changes) = (count, changes);
    }

    /// Learns that events came.
    pub(super) fn events_came(&mut self, now: Instant) {
        self.events_at = Some(now);
    }

    /// Whether the last commit had few commands, as where they come one by one.
    pub(super) fn was_small(&self) -> bool {
        self.last_count < GATHER_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "some instant, to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn after_a_large_commit_more_is_awaited_and_after_many_acks_company() {
        let mut gathering = Gathering::default();
        let now = start();
        assert_eq!(gathering.awaited(now), Awaited::Nothing);
        gathering.committed(GATHER_FROM - 1, GATHER_FROM - 1);
        assert_eq!(gathering.awaited(now), Awaited::Nothing);
        gathering.committed(1, GATHER_FROM);
        assert_eq!(gathering.awaited(now), Awaited::Company);
        assert!(gathering.was_small());
        gathering.committed(GATHER_FROM, 0);
        assert_eq!(gathering.awaited(now), Awaited::More);
        assert!(!gathering.was_small());
    }

    #[test]
    fn where_events_came_company_is_awaited_for_a_while() {
        let mut gathering = Gathering::default();
        let now = start();
        gathering.events_came(now);
        gathering.committed(1, 0);
        let after = |time| now + time;
        assert_eq!(gathering.awaited(now), Awaited::Company);
        let last = EVENTS_AWAITED.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(gathering.awaited(after(last)), Awaited::Company);
        assert_eq!(gathering.awaited(after(EVENTS_AWAITED)), Awaited::Nothing);
    }

    /// Returns how many commits are made until one waits.
    fn hasty(gathering: &mut Gathering, now: Instant) -> usize {
        std::iter::from_fn(|| (gathering.awaited(now) == Awaited::Nothing).then_some(())).count()
    }

    #[test]
    fn each_wait_in_vain_is_tried_again_later_and_one_that_paid_at_once() {
        let mut gathering = Gathering::default();
        let now = start();
        gathering.events_came(now);
        let mut tries = Vec::new();
        for _ in 0..8 {
            gathering.waited(Waited::InVain);
            tries.push(hasty(&mut gathering, now));
        }
        assert_eq!(tries, [1, 2, 4, 8, 16, 32, 64, 64]);
        // An event alone does not wait, and tells nothing.
        gathering.waited(Waited::Not);
        assert_eq!(hasty(&mut gathering, now), 0);
        gathering.waited(Waited::InVain);
        gathering.waited(Waited::Paid);
        assert_eq!(hasty(&mut gathering, now), 0);
        gathering.waited(Waited::InVain);
        assert_eq!(hasty(&mut gathering, now), 1);
    }
}
