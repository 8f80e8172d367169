//! The ledgers: each folds to a state that its subscription can begin with, and that agrees with the log.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use hookline_core::{
    delivery::{
        Config, Creation, Epoch, Record, Snapshot, Subscription, sequence_set::PAGE_SEQUENCES,
    },
    event::Sequence,
    filter::Filter,
    time::Timestamp,
};

use super::{
    super::{
        super::{
            Packed, ReadError, SubscriptionConfig, codec, codec::Standing, dictionary::Dictionaries,
        },
        db_error,
        keys::{self, Kind},
        ledger,
        open::panic_text,
    },
    Problem, Report, Stage, Told,
    log::{self, Bounds},
};

/// Checks all ledgers.
pub(super) fn check(
    db: &::sled::Db,
    bounds: Bounds,
    dictionaries: &Dictionaries,
    report: &mut Report,
    told: &mut Told<'_>,
) -> Result<(), ReadError> {
    let configs = configs(db)?;
    let mut names = BTreeMap::new();
    let total = u64::try_from(configs.len()).unwrap_or(u64::MAX);
    for ((creation, config), done) in configs.iter().zip(1..) {
        let key = keys::key(Kind::Config, &[creation.0]);
        report.subscriptions += 1;
        if let Some(other) = names.insert(config.name.clone(), creation.0) {
            let detail = format!("the name `{}` is also that of `{other}`", config.name);
            report.find(Problem::DuplicateName, &key, detail);
        }
        let rules = config.earlier.iter().map(|(_, rule)| rule).chain([&config.rule]);
        for rule in rules.filter(|rule| !rule.filter.is_empty()) {
            if let Err(error) = Filter::compile(&rule.filter) {
                report.find(Problem::Filter, &key, error.to_string());
            }
        }
        Ledger { db, bounds, dictionaries, creation: *creation, report }.check(config)?;
        told(Stage::Subscriptions, done, total);
    }
    Ok(())
}

fn configs(db: &::sled::Db) -> Result<BTreeMap<Creation, SubscriptionConfig>, ReadError> {
    let mut configs = BTreeMap::new();
    for row in db.range(keys::under(Kind::Config, &[])) {
        let (key, _) = row.map_err(db_error)?;
        let (Ok(creation), Some(content)) = (keys::number(&key, 0), log::content(db, &key)) else {
            continue;
        };
        if let Ok(config) = codec::decode_config(content) {
            configs.insert(Creation(creation), config);
        }
    }
    Ok(configs)
}

struct Ledger<'a> {
    db: &'a ::sled::Db,
    bounds: Bounds,
    dictionaries: &'a Dictionaries,
    creation: Creation,
    report: &'a mut Report,
}

impl Ledger<'_> {
    fn key(&self, kind: Kind, sequence: Sequence) -> Vec<u8> {
        keys::of_delivery(kind, self.creation, sequence)
    }

    fn check(&mut self, config: &SubscriptionConfig) -> Result<(), ReadError> {
        let epoch_key = keys::key(Kind::Epoch, &[self.creation.0]);
        let epoch = log::content(self.db, &epoch_key);
        let epoch = epoch.and_then(|row| keys::take_u64(&mut &row[..]).ok());
        if epoch.is_none() && !self.db.contains_key(&epoch_key).map_err(db_error)? {
            let detail = "the subscription has no epoch";
            self.report.find(Problem::LedgerIncomplete, &epoch_key, detail);
        }
        let snapshot = match ledger::load(self.db, self.creation) {
            Ok((snapshot, _)) => snapshot,
            Err(error) => {
                let key = keys::key(Kind::Position, &[self.creation.0]);
                self.report.find(Problem::LedgerIncomplete, &key, error.to_string());
                return Ok(());
            }
        };
        self.position(&snapshot);
        self.acks()?;
        for (sequence, record) in &snapshot.records {
            self.record(*sequence, record, &snapshot)?;
        }
        self.finished(&snapshot);
        self.letters(&snapshot)?;
        self.backgrounds(&snapshot)?;
        self.settled()?;
        self.recover(config, epoch.unwrap_or_default(), snapshot);
        Ok(())
    }

    fn position(&mut self, snapshot: &Snapshot) {
        let Snapshot { floor, scanned, generation, top_generation, .. } = snapshot;
        let head = self.bounds.head;
        let key = keys::key(Kind::Position, &[self.creation.0]);
        if head < *floor || head < *scanned {
            let detail =
                format!("floor `{floor}`, scanned `{scanned}`, and the log ends at `{head}`");
            self.report.find(Problem::Position, &key, detail);
        }
        if scanned < floor || top_generation < generation {
            let detail = format!(
                "floor `{floor}`, scanned `{scanned}`, generations `{generation}` of \
                 `{top_generation}`"
            );
            self.report.find(Problem::State, &key, detail);
        }
    }

    /// What only rows of acks say of the position goes on from row to row.
    fn acks(&mut self) -> Result<(), ReadError> {
        let (mut floor, mut scanned, rows) = ledger::unfolded_of(self.db, self.creation)?;
        for row in rows {
            let Standing { floor: next, scanned: seen, at: _ } = row.standing;
            if next < floor || seen < scanned || seen < next {
                let detail = format!(
                    "floor `{next}` and scanned `{seen}` after floor `{floor}` and scanned `{scanned}`"
                );
                self.report.find(Problem::State, &row.key, detail);
            }
            (floor, scanned) = (next, seen);
        }
        Ok(())
    }

    fn record(
        &mut self,
        sequence: Sequence,
        record: &Record,
        snapshot: &Snapshot,
    ) -> Result<(), ReadError> {
        let key = self.key(Kind::Record, sequence);
        let has_letter = self.has(Kind::Letter, sequence)?;
        let is_kept = log::has(self.bounds, sequence) || (record.redriven && has_letter);
        if !is_kept {
            let detail = format!("neither the log nor a dead letter has event `{sequence}`");
            self.report.find(Problem::RecordOrphan, &key, detail);
        }
        let is_passed = sequence.get() <= snapshot.floor || snapshot.finished.contains(sequence);
        if is_passed && !record.stands_alone() {
            let detail = format!("delivery `{sequence}` is open, and counted as finished");
            self.report.find(Problem::State, &key, detail);
        }
        if snapshot.top_generation < record.generation {
            let detail = format!("generation `{}` was never given", record.generation);
            self.report.find(Problem::State, &key, detail);
        }
        Ok(())
    }

    fn has(&self, kind: Kind, sequence: Sequence) -> Result<bool, ReadError> {
        self.db.contains_key(self.key(kind, sequence)).map_err(db_error)
    }

    /// What is finished lies above the floor and in the log. (What is dead may be open again, after a seek.)
    fn finished(&mut self, snapshot: &Snapshot) {
        let wrong = snapshot
            .finished
            .iter()
            .find(|sequence| sequence.get() <= snapshot.floor || self.bounds.head < sequence.get());
        if let Some(sequence) = wrong {
            let page = sequence.get() / PAGE_SEQUENCES;
            let key = keys::key(Kind::Finished, &[self.creation.0, page]);
            let detail =
                format!("delivery `{sequence}` is finished below the floor, or beyond the log");
            self.report.find(Problem::State, &key, detail);
        }
    }

    /// Dead letters are whole, and what belongs to them belongs to one that is there.
    fn letters(&mut self, snapshot: &Snapshot) -> Result<(), ReadError> {
        for key in self.keys(Kind::Letter)? {
            let Ok(sequence) = keys::number(&key, 1).and_then(codec::sequence) else { continue };
            let Some(row) = log::content(self.db, &key) else { continue };
            let Ok((letter, redriven)) = codec::decode_letter(row) else { continue };
            // One that was not redriven may be delivered again all the same, after a seek.
            let record = snapshot.records.get(&sequence);
            if redriven != record.is_some_and(|record| record.redriven) {
                let detail = "it is redriven without an open delivery that says so, or the reverse";
                self.report.find(Problem::State, &key, detail);
            }
            if snapshot.purged.contains(sequence) {
                self.report.find(Problem::State, &key, "it counts as purged");
            }
            self.letter_event(sequence, &key)?;
            let mark = self.key(Kind::Unannounced, sequence);
            let marked = log::content(self.db, &mark);
            let marked = marked.and_then(|row| keys::take_u32(&mut &row[..]).ok());
            if marked.is_some_and(|generation| letter.generation < generation) {
                let detail = "its generation is not that of the dead letter";
                self.report.find(Problem::UnannouncedOrphan, &mark, detail);
            }
        }
        for (kind, problem) in [
            (Kind::Unannounced, Problem::UnannouncedOrphan),
            (Kind::LetterEvent, Problem::LetterIncomplete),
        ] {
            for key in self.keys(kind)? {
                let Ok(sequence) = keys::number(&key, 1).and_then(codec::sequence) else {
                    continue;
                };
                if !self.has(Kind::Letter, sequence)? {
                    let detail = format!("there is no dead letter `{sequence}`");
                    self.report.find(problem, &key, detail);
                }
            }
        }
        for key in self.keys(Kind::LetterChunk)? {
            let Ok(sequence) = keys::number(&key, 1).and_then(codec::sequence) else { continue };
            if !self.has(Kind::Letter, sequence)? {
                // A kill came between them and the dead letter: the next attempt writes them again.
                self.report.left_over += 1;
            }
        }
        Ok(())
    }

    fn letter_event(&mut self, sequence: Sequence, letter: &[u8]) -> Result<(), ReadError> {
        let key = self.key(Kind::LetterEvent, sequence);
        let Some(row) = log::content(self.db, &key) else {
            if !self.db.contains_key(&key).map_err(db_error)? {
                self.report.find(Problem::LetterIncomplete, letter, "its event is missing");
            }
            return Ok(());
        };
        let entry = codec::decode_entry(row).and_then(|row| codec::entry(row, Some(self.creation)));
        // What can't be read is found by the pass over all rows.
        let Ok(entry) = entry else { return Ok(()) };
        if entry.event.sequence != sequence {
            let detail = format!("it holds event `{}`", entry.event.sequence);
            self.report.find(Problem::LetterIncomplete, &key, detail);
        }
        // Retention keeps the event without its payload.
        if matches!(&entry.packed, Packed::Plain(bytes) if bytes.is_empty()) {
            return Ok(());
        }
        let mut missing = |chunk: Vec<u8>, detail| {
            self.report.find(Problem::LetterIncomplete, &chunk, detail);
        };
        if let Err(error) = log::whole_payload(self.db, &entry, self.dictionaries, &mut missing) {
            self.report.find(Problem::Payload, &key, error.to_string());
        }
        Ok(())
    }

    /// Only what is open has a background or a checkpoint.
    fn backgrounds(&mut self, snapshot: &Snapshot) -> Result<(), ReadError> {
        for kind in [Kind::Background, Kind::Checkpoint] {
            for key in self.keys(kind)? {
                let Ok(sequence) = keys::number(&key, 1).and_then(codec::sequence) else {
                    continue;
                };
                let is_ahead = snapshot.floor < sequence.get()
                    && sequence.get() <= self.bounds.head
                    && !snapshot.finished.contains(sequence);
                if !is_ahead && !snapshot.records.contains_key(&sequence) {
                    let detail = format!("delivery `{sequence}` is not open");
                    self.report.find(Problem::BackgroundOrphan, &key, detail);
                }
            }
        }
        Ok(())
    }

    fn settled(&mut self) -> Result<(), ReadError> {
        for key in self.keys(Kind::Settled)? {
            let Ok(page) = keys::number(&key, 1) else { continue };
            let Some(content) = log::content(self.db, &key) else { continue };
            let Ok(sequences) = codec::decode_settled_sequences(content) else { continue };
            let is_misplaced = |sequence: &&Sequence| {
                sequence.get() / PAGE_SEQUENCES != page || self.bounds.head < sequence.get()
            };
            if let Some(sequence) = sequences.iter().find(is_misplaced) {
                let detail = format!("delivery `{sequence}` does not belong here");
                self.report.find(Problem::Settled, &key, detail);
            }
        }
        Ok(())
    }

    /// Makes the state that a hub would begin with.
    fn recover(&mut self, config: &SubscriptionConfig, epoch: u64, snapshot: Snapshot) {
        let (policy, pause) = (config.policy.clone(), config.pause);
        let config = Config { creation: self.creation, policy, pause };
        let begin = || {
            drop(Subscription::recover(config, Epoch(epoch), snapshot, Timestamp::EPOCH, 0));
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(begin)) {
            let key = keys::key(Kind::Position, &[self.creation.0]);
            self.report.find(Problem::Recovery, &key, panic_text(panic.as_ref()));
        }
    }

    fn keys(&self, kind: Kind) -> Result<Vec<::sled::IVec>, ReadError> {
        let rows = self.db.range(keys::under(kind, &[self.creation.0])).keys();
        rows.collect::<Result<_, _>>().map_err(db_error)
    }
}
