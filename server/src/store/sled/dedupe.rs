//! Which delivery keys the log has, and which bodies of sources that look for replays: fingerprints in memory, packed rows
//! on disk to build them from.
//!
//! A fingerprint only says where to look: whether two events are the same delivery is decided by comparing them.

use std::collections::{HashMap, VecDeque};

use hookline_core::{
    event::{NewEvent, Sequence},
    time::Timestamp,
};

use super::{
    super::{ReadError, codec},
    draft::Draft,
    keys::{self, Kind},
};

/// How long a delivery key is remembered (DESIGN: section 6).
pub(super) const DEDUPE_DAYS: u32 = 7;
/// How many delivery keys are remembered: about 110 MB of memory at the most.
pub(super) const DEDUPE_KEYS_MAX: usize = 10_000_000;
/// How many one table holds: as many as fit before it would grow to 16 MiB. The oldest table is forgotten as a whole.
const TABLE_KEYS_MAX: usize = (1 << 20) / 4 * 3;
const SLOTS_MIN: usize = 1_024;
/// How many bodies are remembered, of sources that look for replays: about 50 MB of memory at the most.
const BODIES_MAX: usize = 1_000_000;
const DAY_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// Returns the fingerprint of an event's delivery key; `None` if it has none. Stored: it never changes.
pub(super) fn fingerprint(event: &NewEvent) -> Option<u64> {
    (!event.delivery_key.is_empty()).then(|| fingerprint_of(event, &[0], &event.delivery_key))
}

/// Returns the fingerprint of an event's body, of a source that looks for replays. Stored: it never changes.
pub(super) fn body_fingerprint(event: &NewEvent) -> Option<u64> {
    event.replay_window.and_then(|_| fingerprint_of_body(event))
}

/// As [`body_fingerprint`], of an event of which it is not known whether its source looked for replays.
pub(super) fn fingerprint_of_body(event: &NewEvent) -> Option<u64> {
    event.body_hash().map(|hash| fingerprint_of(event, &[0, 0], hash))
}

fn fingerprint_of(event: &NewEvent, separator: &[u8], key: &str) -> u64 {
    // A source's name has no zero byte.
    hash(event.source.as_str().bytes().chain(separator.iter().copied()).chain(key.bytes()))
}

/// Returns a hash of 64 bits, all of them spread. Stored: it never changes.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    // FNV-1a, then the finalizer of MurmurHash3, which spreads its high bits.
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Reads the content of a row: fingerprints, each with its event.
pub(super) fn pairs(mut content: &[u8]) -> Result<Vec<(u64, Sequence)>, ReadError> {
    let mut found = Vec::new();
    while !content.is_empty() {
        let fingerprint = keys::take_u64(&mut content)?;
        found.push((fingerprint, codec::sequence(keys::take_u64(&mut content)?)?));
    }
    Ok(found)
}

/// Returns the number of the day since the Unix epoch.
pub(super) fn day(time: Timestamp) -> u32 {
    u32::try_from(time.as_micros().div_euclid(DAY_MICROS)).unwrap_or(0)
}

/// Whether an event of `then` is still remembered at `now`.
pub(super) fn is_remembered(then: Timestamp, now: Timestamp) -> bool {
    now.as_micros() - then.as_micros() < i64::from(DEDUPE_DAYS) * DAY_MICROS
}

/// The fingerprints of one kind that have no row yet: those of the newest events, fewer than a block of the index has. What
/// of them a kill loses is made again of the events.
#[derive(Debug)]
pub(super) struct Unwritten {
    kind: Kind,
    /// Encoded, as the row will be.
    row: Vec<u8>,
    /// The day and the first of these events.
    first: Option<(u32, u64)>,
}

impl Unwritten {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, row: Vec::new(), first: None }
    }

    /// Takes in the fingerprint of an event that was received on `day`. A row has those of one day.
    pub(super) fn push(&mut self, day: u32, sequence: u64, fingerprint: u64, draft: &mut Draft) {
        if self.first.is_some_and(|(of, _)| of != day) {
            self.seal(draft);
        }
        self.first.get_or_insert((day, sequence));
        self.row.extend(fingerprint.to_be_bytes());
        self.row.extend(sequence.to_be_bytes());
    }

    /// Puts the row into the draft, if there is one.
    pub(super) fn seal(&mut self, draft: &mut Draft) {
        if let Some((day, first)) = self.first.take() {
            let row = std::mem::take(&mut self.row);
            draft.put(keys::fingerprints(self.kind, day, first), &[&row]);
        }
    }
}

/// Where events with a fingerprint stand, oldest table first.
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    tables: VecDeque<Table>,
    count: usize,
    bodies: Bodies,
}

/// Where the newest event with each body stands. Of events with the same body only the newest can be within a window: a
/// body has one place here, and in `order` as many as it was said among the last of all.
#[derive(Debug, Default)]
struct Bodies {
    newest: HashMap<u64, u64>,
    /// In order; those that were said again since stand here once for each time.
    order: VecDeque<(u64, u64)>,
}

impl Bodies {
    fn insert(&mut self, fingerprint: u64, sequence: u64) {
        self.newest.insert(fingerprint, sequence);
        self.order.push_back((fingerprint, sequence));
        while BODIES_MAX < self.order.len() {
            self.forget_oldest();
        }
    }

    fn forget_before(&mut self, first: u64) {
        while self.order.front().is_some_and(|(_, sequence)| *sequence < first) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((fingerprint, sequence)) = self.order.pop_front() else { return };
        if self.newest.get(&fingerprint) == Some(&sequence) {
            self.newest.remove(&fingerprint);
        }
    }
}

impl Dedupe {
    /// Remembers where an event stands. Sequences are put in in order.
    pub(super) fn insert(&mut self, fingerprint: u64, sequence: Sequence, day: u32) {
        let fits = |table: &Table| {
            table.day == day
                && table.count < TABLE_KEYS_MAX
                && u32::try_from(sequence.get() - table.base).is_ok_and(|place| place < u32::MAX)
        };
        if !self.tables.back().is_some_and(fits) {
            self.tables.push_back(Table::new(sequence.get(), day));
        }
        let table = self.tables.back_mut().expect("one was put there if there was none");
        table.insert(fingerprint, sequence.get());
        self.count += 1;
        let forgotten =
            |table: &Table| table.day + DEDUPE_DAYS < day || self.count > DEDUPE_KEYS_MAX;
        if self.tables.len() > 1 && self.tables.front().is_some_and(forgotten) {
            let oldest = self.tables.pop_front().expect("there are several");
            self.count -= oldest.count;
        }
    }

    /// Remembers where the event with a body stands. Sequences are put in in order.
    pub(super) fn insert_body(&mut self, fingerprint: u64, sequence: Sequence) {
        self.bodies.insert(fingerprint, sequence.get());
    }

    /// Forgets what stands before a place, as far as whole tables do: what was trimmed is compared with nothing.
    pub(super) fn forget_before(&mut self, first: u64) {
        while self.tables.get(1).is_some_and(|next| next.base <= first)
            && let Some(oldest) = self.tables.pop_front()
        {
            self.count -= oldest.count;
        }
        self.bodies.forget_before(first);
    }

    /// Returns where the newest event with this body may stand.
    pub(super) fn body(&self, fingerprint: u64) -> Option<u64> {
        self.bodies.newest.get(&fingerprint).copied()
    }

    /// Returns where events with this fingerprint may stand, newest table first; now and then one too many.
    pub(super) fn candidates(&self, fingerprint: u64) -> impl Iterator<Item = u64> + '_ {
        self.tables.iter().rev().flat_map(move |table| table.candidates(fingerprint))
    }
}

/// Open addressing with linear probing, 8 bytes a slot: half a fingerprint, and the place as the distance from the
/// first of the table plus one, so that an empty slot is 0.
#[derive(Debug)]
struct Table {
    base: u64,
    day: u32,
    count: usize,
    slots: Vec<u64>,
}

impl Table {
    fn new(base: u64, day: u32) -> Self {
        Self { base, day, count: 0, slots: vec![0; SLOTS_MIN] }
    }

    fn insert(&mut self, fingerprint: u64, sequence: u64) {
        if self.count * 4 >= self.slots.len() * 3 {
            let larger = vec![0; self.slots.len() * 2];
            for slot in std::mem::replace(&mut self.slots, larger) {
                if slot != 0 {
                    self.put(slot);
                }
            }
        }
        self.put((fingerprint & TAG) | (sequence - self.base + 1));
        self.count += 1;
    }

    fn put(&mut self, slot: u64) {
        let mut place = self.place(slot);
        while let Some(taken) = self.slots.get_mut(place) {
            if *taken == 0 {
                *taken = slot;
                return;
            }
            place = self.after(place);
        }
    }

    fn candidates(&self, fingerprint: u64) -> impl Iterator<Item = u64> + '_ {
        let slot_at = |place: usize| self.slots.get(place).copied().unwrap_or(0);
        let first = self.place(fingerprint);
        let places = std::iter::successors(Some(first), move |place| Some(self.after(*place)));
        let slots = places.map(slot_at).take_while(|slot| *slot != 0);
        let same = slots.filter(move |slot| slot & TAG == fingerprint & TAG);
        same.map(|slot| self.base + (slot & !TAG) - 1)
    }

    /// By the high half alone, which is what a slot keeps.
    fn place(&self, fingerprint: u64) -> usize {
        let mask = self.slots.len() - 1;
        usize::try_from(fingerprint >> 32).expect("32 bits fit") & mask
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.slots.len() - 1)
    }
}

const TAG: u64 = 0xffff_ffff_0000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn sequence(n: u64) -> Sequence {
        Sequence::new(n).unwrap()
    }

    #[test]
    fn every_key_is_found_where_it_was_put() {
        let mut dedupe = Dedupe::default();
        for n in 1..50_000 {
            dedupe.insert(spread(n), sequence(n), u32::try_from(n / 20_000).unwrap());
        }
        for n in 1..50_000 {
            assert!(dedupe.candidates(spread(n)).any(|found| found == n), "{n}");
        }
        let strangers = (100_000..150_000).filter(|n| dedupe.candidates(spread(*n)).count() > 0);
        assert!(strangers.count() < 10, "half a fingerprint tells nearly all apart");
    }

    #[test]
    fn whole_days_are_forgotten() {
        let mut dedupe = Dedupe::default();
        dedupe.insert(spread(1), sequence(1), 100);
        dedupe.insert(spread(2), sequence(2), 107);
        assert_eq!(dedupe.candidates(spread(1)).count(), 1, "it may be less than 7 days old");
        dedupe.insert(spread(3), sequence(3), 108);
        assert_eq!(dedupe.candidates(spread(1)).count(), 0);
        assert_eq!(dedupe.candidates(spread(2)).count(), 1);
    }

    #[test]
    fn a_body_that_is_said_again_and_again_stands_where_it_was_said_last() {
        let mut dedupe = Dedupe::default();
        dedupe.insert_body(7, sequence(1));
        for n in 2..3_000_000 {
            dedupe.insert_body(8, sequence(n));
        }
        assert_eq!(dedupe.body(8), Some(2_999_999));
        assert_eq!(dedupe.body(7), None, "it was the oldest of too many");
        assert_eq!((dedupe.bodies.newest.len(), dedupe.bodies.order.len()), (1, BODIES_MAX));
    }

    #[test]
    fn the_newest_ten_million_are_remembered() {
        let mut dedupe = Dedupe::default();
        for n in 1..=10_500_000 {
            dedupe.insert(spread(n), sequence(n), 1);
        }
        assert!(dedupe.count <= DEDUPE_KEYS_MAX);
        assert!(!dedupe.candidates(spread(1)).any(|found| found == 1));
        assert!(dedupe.candidates(spread(1_000_001)).any(|found| found == 1_000_001));
    }

    #[test]
    fn a_full_table_takes_eight_mebibytes() {
        let mut table = Table::new(1, 1);
        for n in 1..=u64::try_from(TABLE_KEYS_MAX).unwrap() {
            table.insert(spread(n), n);
        }
        assert_eq!((table.count, table.slots.len()), (TABLE_KEYS_MAX, 1 << 20));
    }

    #[test]
    fn what_was_trimmed_takes_no_memory() {
        let mut dedupe = Dedupe::default();
        for n in 1..=3_000_000 {
            dedupe.insert(spread(n), sequence(n), 1);
            dedupe.insert_body(n, sequence(n));
            if n % 100_000 == 0 {
                dedupe.forget_before(n.saturating_sub(200_000));
            }
        }
        assert!(dedupe.tables.len() <= 2 && dedupe.count <= 2 * TABLE_KEYS_MAX);
        assert!(dedupe.bodies.order.len() <= 300_000 && dedupe.bodies.newest.len() <= 300_000);
        for kept in [2_800_000, 2_900_000, 3_000_000] {
            assert!(dedupe.candidates(spread(kept)).any(|found| found == kept));
            assert_eq!(dedupe.body(kept), Some(kept));
        }
        assert_eq!((dedupe.body(1), dedupe.candidates(spread(1)).count()), (None, 0));
    }
}
