//! Choosing entries of the log by what can be asked of an index: subject, resource and actor.
//!
//! What is chosen here is chosen the same way everywhere: lists, watches and tries all ask [`Selection::takes`].

use std::{ops::Range, sync::Arc};

use hookline_core::{
    event::{EventType, NewEvent, Sequence, SourceName},
    pattern::PatternSet,
};

use super::{Entry, EventLog, ReadError, ReadLimit, ReadRange};

/// Which events are wanted: those that meet every condition that is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// One of these must take the subject.
    pub patterns: Option<PatternSet>,
    /// The kind of thing that it happened to.
    pub resource_type: Option<String>,
    /// The thing that it happened to.
    pub resource_id: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
}

impl Selection {
    /// Whether an event is wanted.
    #[must_use]
    pub fn takes(&self, event: &NewEvent) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        self.takes_subject(&event.source, &event.event_type)
            && is(&self.resource_type, &event.resource_type)
            && is(&self.resource_id, &event.resource_id)
            && is(&self.actor, &event.actor)
    }

    /// Whether events of this subject may be wanted: all conditions that need no more to be judged.
    #[must_use]
    pub fn takes_subject(&self, source: &SourceName, event_type: &EventType) -> bool {
        self.patterns.as_ref().is_none_or(|set| set.matches(source, event_type))
    }

    /// Whether every event is wanted.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// Which way a range is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the oldest on.
    Forward,
    /// From the newest on.
    Backward,
}

/// A walk through a range of the log, for what is wanted of it.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The sequences to look at.
    pub range: Range<u64>,
    /// From which end.
    pub direction: Direction,
    /// What is wanted.
    pub selection: Arc<Selection>,
    /// How much to take at most. At least one entry is taken, if one is found in time.
    pub limit: ReadLimit,
    /// How much work may be done: an entry that is read costs 1, and what an index says of many at once costs
    /// [`INDEX_WORK`]. A little more may be done than was allowed.
    pub work: usize,
}

/// The work of asking an index about a block of the log, in entries that would be read in that time.
pub const INDEX_WORK: usize = 4;

/// What a walk has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is wanted, in the order of the walk.
    pub entries: Vec<Arc<Entry>>,
    /// What was not looked at: empty at the end of the range, or of the log.
    pub rest: Range<u64>,
    /// How much work was done.
    pub work: usize,
}

impl Walk {
    /// Returns what is not looked at once everything up to `sequence` was.
    #[must_use]
    pub fn rest_behind(&self, sequence: u64) -> Range<u64> {
        match self.direction {
            Direction::Forward => self.range.start.max(sequence.saturating_add(1))..self.range.end,
            Direction::Backward => self.range.start..self.range.end.min(sequence),
        }
    }
}

/// Walks by reading everything: what a log does that has no index.
///
/// # Errors
///
/// If the log can't be read.
pub async fn scan<L: EventLog + ?Sized>(log: &L, mut walk: Walk) -> Result<Found, ReadError> {
    let (mut found, mut bytes, mut work) = (Vec::new(), 0_usize, 0);
    loop {
        let head = *log.head().borrow();
        walk.range.start = walk.range.start.max(log.first().get());
        walk.range.end = walk.range.end.min(head.saturating_add(1));
        if walk.range.is_empty() || walk.work <= work {
            return Ok(Found { entries: found, rest: walk.range, work });
        }
        let count = walk.limit.count.clamp(SCAN_ENTRIES_LEAST, SCAN_ENTRIES_MOST);
        let limit = ReadLimit { count, ..walk.limit };
        let entries = match (walk.direction, Sequence::new(walk.range.end)) {
            (Direction::Backward, Some(before)) => log.read_back(before, limit).await?,
            (Direction::Backward, None) => Vec::new(),
            (Direction::Forward, _) => {
                log.read(ReadRange { after: walk.range.start - 1, limit }).await?
            }
        };
        let is_end = entries.is_empty();
        for entry in entries {
            let sequence = entry.event.sequence.get();
            if !walk.range.contains(&sequence) {
                walk.range.end = walk.range.start;
                break;
            }
            walk.range = walk.rest_behind(sequence);
            work += 1;
            if walk.selection.takes(&entry.event.content) {
                bytes = bytes.saturating_add(entry.stored_bytes());
                found.push(entry);
                if walk.limit.count <= found.len() || walk.limit.bytes < bytes {
                    return Ok(Found { entries: found, rest: walk.range, work });
                }
            }
        }
        if is_end {
            walk.range.end = walk.range.start;
        }
    }
}

/// How many entries a scan reads at a time at least, however few are wanted.
const SCAN_ENTRIES_LEAST: usize = 64;
/// How many it reads at a time at most: work is counted between two reads.
const SCAN_ENTRIES_MOST: usize = 256;
