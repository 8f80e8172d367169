//! Commits of acks alone, which are one row each. What they say of the position, and of what is finished, is in their rows until it
//! is folded into the rows of those: by the next commit that writes more, before a trim or a copy, and when the store is
//! opened or closed.
//!
//! A position holds a [`Marker`]: the rows of acks before it are folded, those from it on are not. They are read in the order of
//! their numbers, which is that of their commits, so that what a power loss leaves of them is how the ledger stood after one
//! of them.

use std::collections::BTreeSet;

use hookline_core::{
    delivery::{Change, Creation, Ended, sequence_set::PAGE_SEQUENCES},
    event::Sequence,
    time::Timestamp,
};

use super::{
    super::{
        super::{ReadError, codec, codec::Standing, codec::damaged},
        db_error,
        draft::{self, Draft},
        keys::{self, Kind},
    },
    Facts, Position, PreparedCommit, bitmap, read_finished,
};

/// After how many commits of one row the next one folds them: so many rows, of each subscription, are read when the store is
/// opened after a kill.
pub(in super::super) const UNFOLDED_ROWS_MAX: usize = 1_024;
/// After how many acks in them.
const UNFOLDED_ACKS_MAX: usize = 16 * 1024;
/// From how many on a commit that is a batch anyway folds them: it costs two rows more then, and no wait.
pub(in super::super) const RIPE_ROWS: usize = 64;

/// The number of a row of settlements: of which opening of the store, and the how many-th in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Marker {
    pub(in super::super) opening: u64,
    pub(in super::super) number: u64,
}

/// What the rows of a position and of what is finished do not have yet.
#[derive(Debug, Default)]
pub(super) struct Unfolded {
    rows: usize,
    acks: usize,
    /// The pages of what is finished that differ from their rows.
    pages: BTreeSet<u64>,
}

impl Unfolded {
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the pages, all of which are written now.
    pub(super) fn take_pages(&mut self) -> BTreeSet<u64> {
        std::mem::take(self).pages
    }
}

/// A commit that is one row.
#[derive(Debug)]
pub(in super::super) struct Acks {
    page: u64,
    settled: Vec<(Sequence, Ended)>,
    standing: Standing,
}

impl Acks {
    /// Returns when the commit was made.
    pub(in super::super) fn at(&self) -> Timestamp {
        self.standing.at
    }

    /// Returns the commit's row; `place` is the first number that no row has.
    pub(in super::super) fn put(&self, creation: Creation, place: Marker, draft: &mut Draft) {
        let numbers = [creation.0, self.page, place.opening, place.number];
        let row = codec::encode_settled(&self.settled, Some(self.standing));
        draft.put_alone(keys::key(Kind::Settled, &numbers), keys::seal(&[&row]));
    }
}

impl Facts {
    /// Returns the page of all that a commit acks, if it can be one row; the log begins with `first`.
    ///
    /// It can if it only acks deliveries of which no row tells anything, all on one page, and moves the position. On a page from
    /// which rows are being removed it can't, nor below the floor, where nobody would look for it.
    pub(in super::super) fn page_of_acks(
        &self,
        commit: &PreparedCommit,
        first: u64,
    ) -> Option<u64> {
        let is_room =
            self.unfolded.rows < UNFOLDED_ROWS_MAX && self.unfolded.acks < UNFOLDED_ACKS_MAX;
        if !is_room || self.position.marker.is_none() {
            return None;
        }
        self.page_of_all(commit).filter(|page| first / PAGE_SEQUENCES <= *page)
    }

    /// Takes in a commit that is one row, in this page.
    pub(in super::super) fn take_acks(&mut self, commit: PreparedCommit, page: u64) -> Acks {
        let (floor, scanned) = (self.position.floor, self.position.scanned);
        let mut standing = Standing { floor, scanned, at: commit.at };
        let mut settled = Vec::with_capacity(commit.changes.len());
        for change in commit.changes {
            if let Change::Done { sequence, settlement } = change {
                settled.push((sequence, Ended::Acked(settlement)));
            } else if let Change::Position { floor, scanned } = change {
                (standing.floor, standing.scanned) = (floor, scanned);
            }
        }
        self.take_in(settled.iter().map(|(sequence, _)| *sequence), standing);
        Acks { page, settled, standing }
    }

    fn page_of_all(&self, commit: &PreparedCommit) -> Option<u64> {
        if commit.config.is_some() || !commit.dead_events.is_empty() {
            return None;
        }
        let (mut page, mut is_placed) = (None, false);
        for change in &commit.changes {
            match change {
                Change::Done { sequence, .. } if self.knows_nothing_of(*sequence) => {
                    let of_it = sequence.get() / PAGE_SEQUENCES;
                    if *page.get_or_insert(of_it) != of_it {
                        return None;
                    }
                }
                Change::Position { floor, scanned } if !is_placed => {
                    let Position { floor: old, scanned: seen, .. } = &self.position;
                    if floor < old || scanned < seen {
                        return None;
                    }
                    is_placed = true;
                }
                Change::Done { .. }
                | Change::Position { .. }
                | Change::Open { .. }
                | Change::Failed { .. }
                | Change::Checkpointed { .. }
                | Change::Dead { .. }
                | Change::Superseded { .. }
                | Change::Redriven { .. }
                | Change::Purged { .. }
                | Change::LookedBack { .. }
                | Change::Reconfigured { .. }
                | Change::Sought { .. } => return None,
            }
        }
        page
    }

    /// Whether a delivery lies above the floor and has no row.
    fn knows_nothing_of(&self, sequence: Sequence) -> bool {
        let sets = [
            &self.records,
            &self.backgrounds,
            &self.checkpoints,
            &self.old_records,
            &self.letters,
            &self.redriven,
            &self.purged,
        ];
        self.position.floor < sequence.get() && !sets.iter().any(|set| set.contains(sequence))
    }

    /// Takes in what a commit of one row says: when it is made, and when its row is read.
    fn take_in(&mut self, acked: impl Iterator<Item = Sequence>, standing: Standing) {
        let mut pages = std::mem::take(&mut self.unfolded.pages);
        for sequence in acked {
            self.unfolded.acks += 1;
            if self.position.floor < sequence.get() {
                self.finished.insert(sequence);
                pages.insert(sequence.get() / PAGE_SEQUENCES);
            }
        }
        self.move_to(standing.floor, standing.scanned, &mut pages);
        self.unfolded.pages = pages;
        self.unfolded.rows += 1;
    }

    /// Moves the position; `touched` takes the pages of what is finished that are other ones since.
    pub(super) fn move_to(&mut self, floor: u64, scanned: u64, touched: &mut BTreeSet<u64>) {
        let pages = self.position.floor / PAGE_SEQUENCES..=floor / PAGE_SEQUENCES;
        touched.extend(pages.filter(|page| self.finished.page(*page).is_some()));
        self.position.floor = floor;
        self.position.scanned = scanned;
        self.finished.remove_through(floor);
    }

    /// Returns how many commits are not in the rows of the position and of what is finished.
    pub(in super::super) fn unfolded_rows(&self) -> usize {
        self.unfolded.rows()
    }

    /// Writes what only rows of acks say so far; `place` is the first number that no row has.
    pub(in super::super) fn fold(&mut self, creation: Creation, place: Marker, draft: &mut Draft) {
        if self.unfolded.is_empty() {
            return;
        }
        let pages = self.unfolded.take_pages();
        self.put_finished(creation, pages, draft);
        self.put_position(creation, place, draft);
    }

    /// Writes these pages of what is finished.
    pub(super) fn put_finished(
        &mut self,
        creation: Creation,
        pages: BTreeSet<u64>,
        draft: &mut Draft,
    ) {
        for page in pages {
            let key = keys::key(Kind::Finished, &[creation.0, page]);
            if let Some(words) = self.finished.page(page) {
                draft.put(key, &[&bitmap(words)]);
                self.stored_pages.insert(page);
            } else if self.stored_pages.remove(&page) {
                draft.remove(key);
            }
        }
    }

    /// Writes the position, which says that all rows with lower numbers than `place` are folded.
    pub(super) fn put_position(&mut self, creation: Creation, place: Marker, draft: &mut Draft) {
        self.position.marker = Some(place);
        let key = keys::key(Kind::Position, &[creation.0]);
        draft.put(key, &[&self.position.encode()]);
    }

    /// Takes in the rows of acks that are not folded; those of the position and of what is finished were read before. Returns
    /// when the latest of those commits was made.
    pub(super) fn take_in_unfolded(&mut self, rows: Vec<UnfoldedRow>) -> Option<Timestamp> {
        let latest = rows.iter().map(|row| row.standing.at).max();
        for row in rows {
            self.take_in(row.acked.into_iter(), row.standing);
        }
        latest
    }
}

/// A row that is not folded.
#[derive(Debug)]
pub(in super::super) struct UnfoldedRow {
    pub(in super::super) key: ::sled::IVec,
    place: Marker,
    acked: Vec<Sequence>,
    pub(in super::super) standing: Standing,
}

/// Reads the rows of acks that are not folded, in the order of their commits. None lies below the page of the floor.
pub(super) fn unfolded(
    db: &::sled::Db,
    creation: Creation,
    position: &Position,
) -> Result<Vec<UnfoldedRow>, ReadError> {
    let Some(marker) = position.marker else { return Ok(Vec::new()) };
    let end = keys::under(Kind::Settled, &[creation.0]).end;
    let mut page = position.floor / PAGE_SEQUENCES;
    let mut found = Vec::new();
    'pages: loop {
        let from = [creation.0, page, marker.opening, marker.number];
        for row in db.range(keys::key(Kind::Settled, &from)..end.clone()) {
            let (key, value) = row.map_err(db_error)?;
            page = keys::number(&key, 1)?;
            let place = Marker { opening: keys::number(&key, 2)?, number: keys::number(&key, 3)? };
            if place < marker {
                // The first row of the next page: what is folded there may be much, and is passed over.
                continue 'pages;
            }
            let content = bytes::Bytes::copy_from_slice(keys::unseal(&key, &value)?);
            if let Some((acked, standing)) = codec::decode_acks(content)? {
                found.push(UnfoldedRow { key, place, acked, standing });
            }
        }
        break;
    }
    found.sort_unstable_by_key(|row| row.place);
    Ok(found)
}

/// Reads how a ledger's position stands without the rows that are not folded, and those rows.
pub(in super::super) fn unfolded_of(
    db: &::sled::Db,
    creation: Creation,
) -> Result<(u64, u64, Vec<UnfoldedRow>), ReadError> {
    let position = read_position(db, creation)?;
    let rows = unfolded(db, creation, &position)?;
    Ok((position.floor, position.scanned, rows))
}

/// Folds what a kill has left of rows that are not folded, when nothing of the ledger is in memory; returns when the latest of
/// those commits was made.
pub(in super::super) fn fold_left(
    db: &::sled::Db,
    creation: Creation,
    place: Marker,
    draft: &mut Draft,
) -> Result<Option<Timestamp>, ReadError> {
    let position = read_position(db, creation)?;
    let rows = unfolded(db, creation, &position)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut facts = Facts { position, ..Facts::default() };
    read_finished(db, creation, &mut facts)?;
    let latest = facts.take_in_unfolded(rows);
    facts.fold(creation, place, draft);
    Ok(latest)
}

/// Reads the row of a position.
pub(super) fn read_position(db: &::sled::Db, creation: Creation) -> Result<Position, ReadError> {
    let row = draft::get(db, &keys::key(Kind::Position, &[creation.0]))?;
    Position::decode(&row.ok_or_else(|| damaged("a subscription without a position"))?)
}
