//! What holds for every [`Ledger`](super::super::Ledger).

mod dead_letters;

use std::sync::Arc;

use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, Background, Backgrounds, Change, Creation, DeadLetter, Death, Ended,
        Epoch, HISTORY_MAX, LeaseRecord, Past, Pasts, Pause, Reason, Record, ResourceKey,
        Settlement, Snapshot, Stamp,
    },
    event::{Sequence, SubscriptionName},
};

use super::{
    super::{Commit, CommitError, CreateError, DeadRow, Entry, SubscriptionConfig},
    Bench, after, at, config, event, noise, on_every_store, sequence,
};

on_every_store! {
    a_subscription_is_listed_as_it_was_created,
    a_name_is_taken_until_its_subscription_is_deleted,
    a_new_ledger_begins_where_its_config_says,
    an_opening_fences_earlier_owners,
    b5_what_was_committed_is_there_when_opened_again,
    a2_an_acked_delivery_stays_done,
    j8_an_acked_delivery_may_be_open_once_more,
    a_settlement_says_who_acked,
    a_config_is_changed_with_a_commit,
    settlements_go_with_the_events,
    what_failed_before_an_ack_is_kept_with_it,
    what_a_replaced_event_stood_for_is_kept,
    f9_what_failed_before_a_seek_is_kept,
    what_had_happened_to_many_is_kept_in_several_rows,
    i8_a_deleted_subscription_leaves_nothing,
    i7_the_floor_passes_what_is_finished,
    the_seal_key_stays_and_time_does_not_go_back,
}

/// A subscription with an owner.
struct Owner {
    creation: Creation,
    epoch: Epoch,
}

impl Bench {
    async fn own(&self, name: &str) -> Owner {
        let creation = self.ledger().create(config(name)).await.unwrap();
        let (epoch, _) = self.ledger().open(creation).await.unwrap();
        Owner { creation, epoch }
    }

    async fn commit(&self, owner: &Owner, changes: Vec<Change>) {
        self.commit_with(owner, changes, Vec::new()).await;
    }

    async fn commit_with(
        &self,
        owner: &Owner,
        changes: Vec<Change>,
        dead_events: Vec<(Sequence, Arc<Entry>)>,
    ) {
        let commit = Commit { changes, dead_events, config: None, at: at(3) };
        self.ledger().commit(owner.creation, owner.epoch, commit).await.unwrap();
    }

    /// What a new owner finds.
    async fn snapshot(&self, owner: &mut Owner) -> Snapshot {
        let (epoch, snapshot) = self.ledger().open(owner.creation).await.unwrap();
        owner.epoch = epoch;
        snapshot
    }

    /// How a delivery ended last.
    async fn ended(&self, owner: &Owner, number: u64) -> Option<Ended> {
        self.past(owner, number).await.ended.pop()
    }

    async fn past(&self, owner: &Owner, number: u64) -> Past {
        self.ledger().past(owner.creation, sequence(number)).await.unwrap()
    }

    /// Appends events and returns their entries.
    async fn entries(&self, payload_bytes: &[usize]) -> Vec<Arc<Entry>> {
        let head = *self.log().head().borrow();
        let events = payload_bytes.iter().map(|len| event("", noise(*len, *len as u64))).collect();
        self.append(events, at(0)).await;
        self.log().read(after(head)).await.unwrap()
    }

    async fn dead_letters(&self, owner: &Owner) -> Vec<DeadRow> {
        self.ledger().dead_letters(owner.creation, after(0)).await.unwrap()
    }
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        number,
        consumer: format!("agent-{number}"),
        started_at: at(10),
        ended_at: at(20),
        end: AttemptEnd::Nacked,
        reason: "the model said \u{201c}no\u{201d}".to_owned(),
        error_type: "Refused".to_owned(),
    }
}

fn letter(generation: u32) -> DeadLetter {
    DeadLetter {
        generation,
        reason: Reason::MaxAttempts,
        history: vec![attempt(2)],
        attempts: 2,
        died_at: at(30),
        detail: "no such overload".to_owned(),
    }
}

fn record() -> Record {
    let stamp = Stamp { epoch: Epoch(3), counter: 9 };
    Record {
        generation: 1,
        attempts: 2,
        give_backs: 3,
        due_at: Some(at(40)),
        fence: Some(stamp),
        late_ack: Some(at(31)),
        lease: Some(Box::new(LeaseRecord {
            stamp: Stamp { counter: 10, ..stamp },
            consumer: "agent".to_owned(),
            started_at: at(41),
            expires_at: at(101),
        })),
        redriven: false,
        looked_back: true,
        resource: Some(ResourceKey::from_bytes([7; 16])),
    }
}

fn settlement(consumer: &str) -> Settlement {
    Settlement { consumer: consumer.to_owned(), attempt: 2, leased_at: at(50), done_at: at(55) }
}

fn done(number: u64, consumer: &str) -> Change {
    Change::Done { sequence: sequence(number), settlement: settlement(consumer) }
}

fn dead(number: u64, generation: u32) -> Change {
    let DeadLetter { reason, attempts, died_at, detail, .. } = letter(generation);
    let death = Death { generation, reason, attempts, died_at, detail, redriven: false };
    Change::Dead { sequence: sequence(number), death, attempt: Some(attempt(2)) }
}

fn redriven(number: u64) -> Change {
    let record = Record { redriven: true, ..record() };
    Change::Redriven { sequence: sequence(number), record }
}

fn purged(numbers: &[u64]) -> Change {
    Change::Purged { sequences: numbers.iter().map(|number| sequence(*number)).collect() }
}

async fn a_subscription_is_listed_as_it_was_created(mut bench: Bench) {
    assert!(bench.ledger().subscriptions().await.unwrap().is_empty());
    let prs = bench.ledger().create(config("prs")).await.unwrap();
    let bills = SubscriptionConfig { start_after: 7, ..config("bills") };
    let second = bench.ledger().create(bills.clone()).await.unwrap();
    assert!(second > prs);
    bench.step().await;
    let listed = bench.ledger().subscriptions().await.unwrap();
    assert_eq!(listed, [(second, bills), (prs, config("prs"))]);
}

async fn a_name_is_taken_until_its_subscription_is_deleted(mut bench: Bench) {
    let first = bench.ledger().create(config("prs")).await.unwrap();
    bench.step().await;
    let taken = bench.ledger().create(config("prs")).await.unwrap_err();
    assert!(matches!(taken, CreateError::Exists(by) if by == first));
    bench.ledger().delete(first).await.unwrap();
    bench.step().await;
    bench.ledger().delete(first).await.unwrap();
    let again = bench.ledger().create(config("prs")).await.unwrap();
    assert_ne!(again, first, "a creation is never used twice");
    let missing = bench.ledger().open(first).await.unwrap_err();
    assert!(matches!(missing, CommitError::Missing));
}

async fn a_new_ledger_begins_where_its_config_says(mut bench: Bench) {
    let config = SubscriptionConfig { start_after: 41, ..config("prs") };
    let creation = bench.ledger().create(config).await.unwrap();
    bench.step().await;
    let (_, snapshot) = bench.ledger().open(creation).await.unwrap();
    assert_eq!(snapshot, Snapshot::starting_after(41));
}

async fn an_opening_fences_earlier_owners(mut bench: Bench) {
    let mut owner = bench.own("prs").await;
    let old = Owner { ..owner };
    bench.step().await;
    bench.commit(&owner, vec![Change::Position { floor: 1, scanned: 1 }]).await;
    bench.step().await;
    assert_eq!(bench.snapshot(&mut owner).await.floor, 1);
    assert!(owner.epoch > old.epoch);
    bench.step().await;
    let commit = Commit { changes: vec![done(2, "a")], ..Commit::default() };
    let fenced = bench.ledger().commit(old.creation, old.epoch, commit.clone()).await;
    assert!(matches!(fenced, Err(CommitError::Fenced)));
    assert!(bench.snapshot(&mut owner).await.finished.is_empty(), "nothing was written");
    let unknown = bench.ledger().commit(Creation(99), owner.epoch, commit).await;
    assert!(matches!(unknown, Err(CommitError::Missing)));
}

async fn b5_what_was_committed_is_there_when_opened_again(mut bench: Bench) {
    let mut owner = bench.own("prs").await;
    let plain = Record { attempts: 1, ..Record::default() };
    bench
        .commit(
            &owner,
            vec![
                Change::Open { sequence: sequence(5), record: record() },
                Change::Open { sequence: sequence(9_000), record: Record::default() },
                Change::Position { floor: 4, scanned: 9_500 },
            ],
        )
        .await;
    bench.step().await;
    bench
        .commit(&owner, vec![Change::Open { sequence: sequence(9_000), record: plain.clone() }])
        .await;
    bench.step().await;
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!((snapshot.floor, snapshot.scanned), (4, 9_500));
    let records: Vec<_> = snapshot.records.into_iter().collect();
    assert_eq!(records, [(sequence(5), record()), (sequence(9_000), plain)]);
}

async fn a2_an_acked_delivery_stays_done(mut bench: Bench) {
    let mut owner = bench.own("prs").await;
    bench.commit(&owner, vec![Change::Open { sequence: sequence(3), record: record() }]).await;
    bench.step().await;
    bench.commit(&owner, vec![done(3, "agent"), done(8_200, "agent")]).await;
    bench.step().await;
    let snapshot = bench.snapshot(&mut owner).await;
    assert!(snapshot.records.is_empty());
    assert_eq!(snapshot.finished.iter().map(Sequence::get).collect::<Vec<_>>(), [3, 8_200]);
}

/// Wherever the floor is; acked and opened by one commit or by two.
async fn j8_an_acked_delivery_may_be_open_once_more(mut bench: Bench) {
    bench.entries(&[0; 9]).await;
    let mut owner = bench.own("prs").await;
    let record = Record { generation: 7, looked_back: true, ..Record::default() };
    let open = |number| Change::Open { sequence: sequence(number), record: record.clone() };
    bench.commit(&owner, vec![failed(3, attempt(1)), done(3, "a"), done(5, "a")]).await;
    bench.commit(&owner, vec![Change::Position { floor: 3, scanned: 9 }]).await;
    bench.step().await;
    bench.commit(&owner, vec![done(6, "a"), open(6), open(3), open(5)]).await;
    bench.step().await;
    let snapshot = bench.snapshot(&mut owner).await;
    let records: Vec<_> = snapshot.records.into_iter().collect();
    assert_eq!(records, [3, 5, 6].map(|number| (sequence(number), record.clone())));
    assert_eq!((snapshot.floor, snapshot.generation, snapshot.top_generation), (3, 0, 7));
    // It begins anew, and what was before is kept with its ack.
    let background = bench.ledger().background(owner.creation, sequence(3)).await.unwrap();
    assert_eq!(background, Background::default());
    bench.commit(&owner, vec![failed(3, attempt(2)), done(3, "b"), done(6, "b")]).await;
    bench.step().await;
    for number in [3, 6] {
        let past = bench.past(&owner, number).await;
        assert_eq!(past.ended, ["a", "b"].map(|name| Ended::Acked(settlement(name))), "{number}");
    }
    let past = bench.past(&owner, 3).await;
    assert_eq!(past.background.attempts, [attempt(1), attempt(2)]);
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!(snapshot.records.into_keys().collect::<Vec<_>>(), [sequence(5)]);
}

async fn a_settlement_says_who_acked(mut bench: Bench) {
    bench.entries(&[10; 10]).await;
    let owner = bench.own("prs").await;
    bench.commit(&owner, vec![done(1, "a"), done(2, "b"), done(5_000, "a")]).await;
    bench.step().await;
    bench.commit(&owner, vec![done(3, "c"), done(1, "again")]).await;
    bench.step().await;
    for (number, consumer) in [(1, "again"), (2, "b"), (3, "c"), (5_000, "a")] {
        let found = bench.ended(&owner, number).await;
        assert_eq!(found, Some(Ended::Acked(settlement(consumer))), "{number}");
    }
    assert_eq!(bench.ended(&owner, 4).await, None);
    assert_eq!(bench.ledger().past(Creation(99), sequence(1)).await.unwrap(), Past::default());
}

async fn a_config_is_changed_with_a_commit(mut bench: Bench) {
    let mut owner = bench.own("prs").await;
    let config = SubscriptionConfig { pause: Pause::On, look_back: Some((1, 4)), ..config("prs") };
    let changes = vec![Change::Reconfigured { look_back_after: Some(1) }, done(3, "a")];
    let commit = Commit { changes, config: Some(config.clone()), ..Commit::default() };
    bench.ledger().commit(owner.creation, owner.epoch, commit).await.unwrap();
    bench.step().await;
    let listed = bench.ledger().subscriptions().await.unwrap();
    assert_eq!(listed, [(owner.creation, config)]);
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!((snapshot.looked_back, snapshot.finished.count()), (1, 1));
}

async fn settlements_go_with_the_events(mut bench: Bench) {
    bench.entries(&[0; 9]).await;
    let owner = bench.own("prs").await;
    bench.commit(&owner, vec![done(1, "a"), done(9, "b")]).await;
    bench.log().trim(sequence(9)).await.unwrap();
    bench.step().await;
    assert_eq!(bench.ended(&owner, 1).await, None);
    assert!(bench.ended(&owner, 9).await.is_some());
}

fn failed(number: u64, attempt: Attempt) -> Change {
    Change::Failed { sequence: sequence(number), record: record(), attempt }
}

async fn what_failed_before_an_ack_is_kept_with_it(mut bench: Bench) {
    bench.entries(&[0; 9]).await;
    let owner = bench.own("prs").await;
    bench.commit(&owner, vec![failed(3, attempt(1)), failed(4, attempt(1))]).await;
    bench.step().await;
    bench.commit(&owner, vec![failed(3, attempt(2)), done(3, "a"), done(2, "a")]).await;
    bench.step().await;
    let past = bench.past(&owner, 3).await;
    assert_eq!(past.ended, [Ended::Acked(settlement("a"))]);
    assert_eq!(past.background.attempts, [attempt(1), attempt(2)]);
    assert!(bench.past(&owner, 2).await.background.is_forgettable());
    assert_eq!(bench.past(&owner, 4).await, Past::default(), "it is open");
    // Delivered again, after a seek: both times are told, the newest attempts are kept.
    let again: Vec<_> = (0..19).map(|n| failed(3, attempt(10 + n))).collect();
    bench.commit(&owner, again).await;
    bench.commit(&owner, vec![done(3, "b")]).await;
    bench.step().await;
    let past = bench.past(&owner, 3).await;
    assert_eq!(past.ended, ["a", "b"].map(|name| Ended::Acked(settlement(name))));
    let numbers: Vec<_> = past.background.attempts.iter().map(|of| of.number).collect();
    assert_eq!(numbers.len(), HISTORY_MAX);
    assert_eq!((numbers[0], numbers[1], numbers[19]), (2, 10, 28));
    bench.log().trim(sequence(4)).await.unwrap();
    bench.step().await;
    assert_eq!(bench.past(&owner, 3).await, Past::default(), "it goes with the event");
}

/// Of what was redriven, what its dead letter does not tell.
async fn f9_what_failed_before_a_seek_is_kept(mut bench: Bench) {
    let entries = bench.entries(&[0; 9]).await;
    let owner = bench.own("prs").await;
    let event = (sequence(2), Arc::clone(&entries[1]));
    bench.commit(&owner, vec![failed(1, attempt(1)), failed(3, attempt(1))]).await;
    bench.commit_with(&owner, vec![dead(2, 0)], vec![event]).await;
    bench.step().await;
    let since = Change::Failed {
        sequence: sequence(2),
        record: Record { redriven: true, ..record() },
        attempt: attempt(7),
    };
    bench.commit(&owner, vec![redriven(2), since, done(3, "a")]).await;
    bench.step().await;
    let sought = Change::Sought { position: 1, generation: 5, fence: None };
    bench.commit(&owner, vec![failed(1, attempt(2)), sought]).await;
    bench.step().await;
    let numbers = |past: Past| -> (usize, Vec<u32>) {
        let attempts = past.background.attempts.iter().map(|of| of.number).collect();
        (past.ended.len(), attempts)
    };
    assert_eq!(numbers(bench.past(&owner, 1).await), (0, vec![1, 2]));
    assert_eq!(numbers(bench.past(&owner, 2).await), (0, vec![7]));
    assert_eq!(numbers(bench.past(&owner, 3).await), (1, vec![1]));
    let ended = bench.ledger().ended_between(owner.creation, 0, 9).await.unwrap();
    assert_eq!(ended.iter().collect::<Vec<_>>(), [sequence(3)], "what a seek ended is owed");
    assert_eq!(bench.dead_letters(&owner).await[0].letter.history, [attempt(2)]);
    // And what fails after it, with it.
    bench.commit(&owner, vec![failed(2, attempt(8)), done(2, "b")]).await;
    bench.step().await;
    assert_eq!(numbers(bench.past(&owner, 2).await), (1, vec![7, 8]));
}

async fn what_a_replaced_event_stood_for_is_kept(mut bench: Bench) {
    bench.entries(&[0; 9]).await;
    let owner = bench.own("prs").await;
    let replaced = |numbers: &[u64], by| Change::Superseded {
        sequences: numbers.iter().map(|number| sequence(*number)).collect(),
        by: sequence(by),
        at: at(4),
    };
    bench.commit(&owner, vec![failed(1, attempt(1)), replaced(&[1, 2], 3)]).await;
    bench.step().await;
    bench.commit(&owner, vec![replaced(&[3], 5), done(5, "a")]).await;
    bench.step().await;
    let ended = Ended::Superseded { by: sequence(3), at: at(4) };
    let past = bench.past(&owner, 1).await;
    assert_eq!((past.ended, past.background.attempts), (vec![ended], vec![attempt(1)]));
    let past = bench.past(&owner, 5).await;
    let stood_for: Vec<_> = past.background.superseded.iter().map(|of| of.get()).collect();
    assert_eq!((stood_for, past.background.superseded_count), (vec![1, 2, 3], 3));
}

async fn what_had_happened_to_many_is_kept_in_several_rows(mut bench: Bench) {
    bench.entries(&[0; 200]).await;
    let owner = bench.own("prs").await;
    let long = |number: u64| Attempt {
        reason: "no ".repeat(1_000),
        ..attempt(u32::try_from(number).unwrap())
    };
    bench.commit(&owner, (1..=200).map(|number| failed(number, long(number))).collect()).await;
    bench.commit(&owner, (1..=200).map(|number| done(number, "a")).collect()).await;
    bench.step().await;
    for number in [1, 2, 77, 199, 200] {
        assert_eq!(bench.past(&owner, number).await.background.attempts, [long(number)]);
    }
}

async fn i8_a_deleted_subscription_leaves_nothing(mut bench: Bench) {
    let entries = bench.entries(&[10, 200_000]).await;
    let (gone, mut stays) = (bench.own("gone").await, bench.own("stays").await);
    for owner in [&gone, &stays] {
        let events = entries.iter().map(|e| (e.event.sequence, Arc::clone(e))).collect();
        bench.commit_with(owner, vec![dead(1, 0), dead(2, 0), done(3, "a")], events).await;
        let open = (10..1_500).map(|n| Change::Open { sequence: sequence(n), record: record() });
        bench.commit(owner, open.collect()).await;
    }
    bench.step().await;
    bench.ledger().delete(gone.creation).await.unwrap();
    for _ in 0..3 {
        assert!(bench.dead_letters(&gone).await.is_empty());
        assert_eq!(bench.ledger().dead_letter(gone.creation, sequence(1)).await.unwrap(), None);
        assert_eq!(bench.ended(&gone, 3).await, None);
        assert_eq!(bench.ledger().unannounced(10).await.unwrap().len(), 2);
        let commit = bench.ledger().commit(gone.creation, gone.epoch, Commit::default()).await;
        assert!(matches!(commit, Err(CommitError::Missing)));
        bench.step().await;
    }
    let names: Vec<_> = bench.ledger().subscriptions().await.unwrap();
    let names: Vec<_> = names.into_iter().map(|(_, config)| config.name).collect();
    assert_eq!(names, [SubscriptionName::parse("stays").unwrap()]);
    assert_eq!(bench.snapshot(&mut stays).await.records.len(), 1_490);
    assert_eq!(bench.dead_letters(&stays).await.len(), 2);
}

async fn i7_the_floor_passes_what_is_finished(mut bench: Bench) {
    let mut owner = bench.own("prs").await;
    let finished: Vec<_> = (2..=10_000).step_by(2).map(|n| done(n, "a")).collect();
    for changes in finished.chunks(700) {
        bench.commit(&owner, changes.to_vec()).await;
    }
    bench.step().await;
    bench.commit(&owner, vec![Change::Position { floor: 8_191, scanned: 10_000 }]).await;
    bench.step().await;
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!(snapshot.finished.iter().next(), Some(sequence(8_192)));
    assert_eq!(snapshot.finished.count(), (10_000 - 8_192) / 2 + 1);
    bench.commit(&owner, vec![Change::Position { floor: 10_000, scanned: 10_000 }]).await;
    bench.step().await;
    assert!(bench.snapshot(&mut owner).await.finished.is_empty());
}

async fn the_seal_key_stays_and_time_does_not_go_back(mut bench: Bench) {
    let key = bench.ledger().seal_key();
    assert_ne!(key, [0; 32]);
    let owner = bench.own("prs").await;
    let commit = |secs| Commit { at: at(secs), ..Commit::default() };
    bench.ledger().commit(owner.creation, owner.epoch, commit(500)).await.unwrap();
    bench.ledger().commit(owner.creation, owner.epoch, commit(400)).await.unwrap();
    bench.append(vec![event("", "x")], at(450)).await;
    bench.step().await;
    assert_eq!(bench.ledger().last_written_at(), at(500));
    assert_eq!(bench.ledger().seal_key(), key);
}

/// Random changes: what is opened again is the fold of what was committed.
mod fold {
    use proptest::prelude::*;

    use super::{super::Kind, *};

    /// Sequences on three pages, few enough that they meet.
    fn sequences() -> impl Strategy<Value = u64> {
        prop_oneof![1..12_u64, 4_090..4_100_u64, 8_191..8_195_u64]
    }

    fn changes() -> impl Strategy<Value = Change> {
        let open = |attempts| Record { attempts, looked_back: false, ..record() };
        prop_oneof![
            4 => (0..9_000_u64, 0..100_u64)
                .prop_map(|(floor, ahead)| Change::Position { floor, scanned: floor + ahead }),
            4 => (sequences(), 0..4_u32).prop_map(move |(n, attempts)| Change::Open {
                sequence: sequence(n),
                record: open(attempts),
            }),
            4 => (sequences(), 1..4_u32).prop_map(move |(n, attempts)| Change::Failed {
                sequence: sequence(n),
                record: open(attempts),
                attempt: attempt(attempts),
            }),
            2 => (sequences(), 1..9_usize).prop_map(|(n, len)| Change::Checkpointed {
                sequence: sequence(n),
                checkpoint: vec![b'x'; len].into(),
            }),
            4 => sequences().prop_map(|n| done(n, "agent")),
            4 => (sequences(), 0..3_u32).prop_map(|(n, generation)| dead(n, generation)),
            3 => (prop::collection::btree_set(sequences(), 1..4)).prop_map(|set| {
                let by = sequence(9_000 + set.len() as u64);
                let sequences = set.into_iter().map(sequence).collect();
                Change::Superseded { sequences, by, at: at(60) }
            }),
            3 => sequences().prop_map(redriven),
            2 => prop::collection::btree_set(sequences(), 1..6)
                .prop_map(|set| purged(&set.into_iter().collect::<Vec<_>>())),
            1 => (0..9_000_u64).prop_map(|through| Change::LookedBack { through }),
            1 => prop::option::of(0..9_000_u64)
                .prop_map(|look_back_after| Change::Reconfigured { look_back_after }),
            1 => (0..9_000_u64, 1..9_u32, 1..9_u64).prop_map(|(position, generation, counter)| {
                let fence = Some(Stamp { epoch: Epoch(1), counter });
                Change::Sought { position, generation, fence }
            }),
        ]
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a new change is made possible and applied by what it is; only some need more here"
    )]
    mod model {
        use super::*;

        /// What changes add up to, written down with the folds of the core.
        #[derive(Default)]
        pub(super) struct Model {
            pub(super) snapshot: Snapshot,
            pub(super) backgrounds: Backgrounds,
            pub(super) letters: std::collections::BTreeMap<Sequence, DeadLetter>,
            pub(super) redriven: std::collections::BTreeSet<Sequence>,
            pub(super) pasts: Pasts,
        }

        impl Model {
            /// Makes a change one that a subscription may ask for; false if it can't be.
            pub(super) fn make_possible(&self, change: &mut Change) -> bool {
                match change {
                    Change::Redriven { sequence, .. } => {
                        self.letters.contains_key(sequence) && !self.redriven.contains(sequence)
                    }
                    Change::Purged { sequences } => {
                        sequences.retain(|of| {
                            self.letters.contains_key(of) && !self.redriven.contains(of)
                        });
                        !sequences.is_empty()
                    }
                    Change::Open { sequence, record } | Change::Failed { sequence, record, .. } => {
                        record.redriven = self.redriven.contains(sequence);
                        true
                    }
                    _ => true,
                }
            }

            pub(super) fn apply(&mut self, change: &Change) {
                let finished = match change {
                    Change::Done { sequence, .. } => vec![*sequence],
                    Change::Superseded { sequences, .. } => sequences.clone(),
                    _ => Vec::new(),
                };
                for sequence in finished {
                    if self.redriven.remove(&sequence) {
                        self.letters.remove(&sequence);
                    }
                }
                if let Change::Redriven { sequence, .. } = change
                    && let Some(letter) = self.letters.get(sequence)
                {
                    self.backgrounds.redrive(*sequence, letter);
                    self.redriven.insert(*sequence);
                }
                if let Change::Purged { sequences } = change {
                    self.letters.retain(|of, _| !sequences.contains(of));
                }
                if let Change::Sought { .. } = change {
                    let records = &self.snapshot.records;
                    self.redriven.retain(|sequence| !records.contains_key(sequence));
                }
                let letters = &self.letters;
                self.pasts.apply(change, &self.backgrounds, |of| letters.get(&of));
                self.snapshot.apply(change);
                if let (Some(letter), Change::Dead { sequence, .. }) =
                    (self.backgrounds.apply(change), change)
                {
                    self.letters.insert(*sequence, letter);
                    self.redriven.remove(sequence);
                }
            }
        }
    }

    use model::Model;

    /// Commits these changes, each with whether the store is opened anew after it.
    fn check(kind: Kind, commits: Vec<(bool, Vec<Change>)>) {
        super::super::run(kind, |mut bench| async move {
            let entry = bench.entries(&[9]).await.remove(0);
            let mut owner = bench.own("prs").await;
            let mut model = Model::default();
            for (is_step, mut changes) in commits {
                let mut floor = model.snapshot.floor;
                changes.retain_mut(|change| {
                    if !model.make_possible(change) {
                        return false;
                    }
                    // The floor never goes back, but by a seek.
                    if let Change::Position { floor: new, scanned } = change {
                        floor = floor.max(*new);
                        (*new, *scanned) = (floor, floor + (*scanned - *new));
                    } else if let Change::Sought { position, .. } = change {
                        floor = *position;
                    }
                    model.apply(change);
                    true
                });
                let dead = changes.iter().filter_map(Change::death);
                let events = dead.map(|(of, _)| (of, Arc::clone(&entry)));
                let events = events.collect();
                bench.commit_with(&owner, changes, events).await;
                if is_step {
                    bench.step().await;
                }
            }
            bench.step().await;
            assert_eq!(bench.snapshot(&mut owner).await, model.snapshot);
            let (ledger, creation) = (bench.ledger(), owner.creation);
            let letters: Vec<_> =
                bench.dead_letters(&owner).await.into_iter().map(|row| row.letter).collect();
            let dead = model.letters.iter().filter(|(of, _)| !model.redriven.contains(of));
            assert_eq!(letters, dead.map(|(_, letter)| letter.clone()).collect::<Vec<_>>());
            for n in (1..12).chain(4_090..4_100).chain(8_191..8_195).chain(9_000..9_005) {
                let background = ledger.background(creation, sequence(n)).await.unwrap();
                assert_eq!(background, model.backgrounds.get(sequence(n)), "{n}");
            }
            let past = ledger.past(creation, sequence(1)).await.unwrap();
            assert_eq!(past, model.pasts.get(sequence(1)));
        });
    }

    /// What most commits are: acks that are next to each other, and where that leaves the position.
    fn acks() -> impl Strategy<Value = Vec<Change>> {
        let firsts = prop_oneof![1..12_u64, 4_090..4_092_u64, 4_096..4_100_u64, 8_192..8_195_u64];
        (firsts, 1..5_u64, prop::option::of((0..4_098_u64, 0..9_000_u64))).prop_map(
            |(first, count, position)| {
                let mut changes: Vec<_> =
                    (first..first + count).map(|n| done(n, "agent")).collect();
                changes.extend(position.map(|(floor, ahead)| {
                    let floor = if floor < 4_080 { floor % 12 } else { floor };
                    Change::Position { floor, scanned: floor + ahead }
                }));
                changes
            },
        )
    }

    fn commits() -> impl Strategy<Value = Vec<(bool, Vec<Change>)>> {
        let commit = prop_oneof![3 => acks(), 2 => prop::collection::vec(changes(), 0..12)];
        prop::collection::vec((any::<bool>(), commit), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn of_memory(commits in commits()) {
            check(Kind::MemoryCrashing, commits);
        }

        #[test]
        fn of_sled(commits in commits()) {
            check(Kind::Sled, commits);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn of_sled_reopened(commits in commits()) {
            check(Kind::SledReopened, commits);
        }

        #[test]
        fn of_sled_killed(commits in commits()) {
            check(Kind::SledKilled, commits);
        }
    }
}
