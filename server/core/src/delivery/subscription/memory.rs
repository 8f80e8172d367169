//! Who said what about leases that have ended, for safe retries: 10 minutes, in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    delivery::{Stamp, Ticket},
    event::Sequence,
    time::Timestamp,
};

/// How long it is remembered.
const KEPT: Duration = Duration::from_secs(600);
/// How many are remembered.
const COUNT_MAX: usize = 100_000;

/// What a consumer said about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Ack,
    Retry,
    DeadLetter,
    Release,
    /// Nothing, before a newer event took its place.
    Superseded,
}

/// What is remembered of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) said: Said,
    /// The commit that wrote it.
    pub(super) ticket: Ticket,
}

/// What was said, by delivery and lease.
#[derive(Debug, Default)]
pub(super) struct Memory {
    words: BTreeMap<(Sequence, Stamp), Word>,
    oldest: VecDeque<(Timestamp, Sequence, Stamp)>,
}

impl Memory {
    pub(super) fn keep(&mut self, sequence: Sequence, stamp: Stamp, word: Word, now: Timestamp) {
        while let Some((at, sequence, stamp)) = self.oldest.front()
            && (self.oldest.len() >= COUNT_MAX || *at + KEPT <= now)
        {
            self.words.remove(&(*sequence, *stamp));
            self.oldest.pop_front();
        }
        self.words.insert((sequence, stamp), word);
        self.oldest.push_back((now, sequence, stamp));
    }

    /// Returns what a lease said.
    pub(super) fn word(&self, sequence: Sequence, stamp: Stamp) -> Option<Word> {
        self.words.get(&(sequence, stamp)).copied()
    }

    /// Remembers that a delivery was superseded that has been leased before.
    pub(super) fn keep_superseded(&mut self, sequence: Sequence, ticket: Ticket, now: Timestamp) {
        let of_all = Stamp { epoch: crate::delivery::Epoch(u64::MAX), counter: u64::MAX };
        self.keep(sequence, of_all, Word { said: Said::Superseded, ticket }, now);
    }

    /// Whether it is known how the delivery was finished: by the ack of some lease, or by a newer event.
    pub(super) fn knows_end(&self, sequence: Sequence) -> bool {
        let none = Stamp { epoch: crate::delivery::Epoch(0), counter: 0 };
        self.words
            .range((sequence, none)..)
            .take_while(|((of, _), _)| *of == sequence)
            .any(|(_, word)| matches!(word.said, Said::Ack | Said::Superseded))
    }
}
