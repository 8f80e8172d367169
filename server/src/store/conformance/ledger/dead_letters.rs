//! Dead letters: what they keep, who is told, and how they go.

use std::sync::Arc;

use hookline_core::delivery::{Change, DeadLetter, Death, Reason};
use hookline_core::event::Sequence;

use super::{
    super::{
        super::{Commit, CommitError, DeadRow, Entry, Packed, ReadLimit, ReadRange},
        ALL, Bench, noise, on_every_store, sequence,
    },
    attempt, dead, done, letter, purged, record, redriven,
};

on_every_store! {
    g1_a_dead_letter_keeps_its_event_and_its_history,
    g7_a_dead_letter_outlives_the_trimmed_log,
    i6_of_what_is_given_up_as_too_old_the_last_is_announced,
    dead_letters_are_paged_in_the_order_of_the_log,
    a_redriven_dead_letter_is_hidden_and_goes_with_its_ack,
    g5_a_redriven_delivery_that_dies_again_is_one_dead_letter,
    g8_a_purged_dead_letter_is_gone_with_its_event,
    g8_what_was_purged_may_die_again_after_a_seek,
    a_dead_letter_is_announced_once_per_generation,
    a_dead_letter_without_its_event_is_refused,
}

async fn g1_a_dead_letter_keeps_its_event_and_its_history(mut bench: Bench) {
    let entries = bench.entries(&[100, 300_000]).await;
    let mut owner = bench.own("prs").await;
    bench.commit(&owner, vec![Change::Open { sequence: sequence(1), record: record() }]).await;
    bench.step().await;
    for (entry, number) in entries.iter().zip(1..) {
        let events = vec![(sequence(number), Arc::clone(entry))];
        bench.commit_with(&owner, vec![dead(number, 0)], events).await;
        bench.step().await;
    }
    let snapshot = bench.snapshot(&mut owner).await;
    assert!(snapshot.records.is_empty());
    assert_eq!(snapshot.dead.count(), 2);
    for (row, entry) in bench.dead_letters(&owner).await.iter().zip(&entries) {
        assert_eq!(row.creation, owner.creation);
        assert_eq!(row.letter, letter(0));
        assert_eq!(row.entry.event, entry.event);
        assert!(!row.redriven && !row.announced);
        let kept = bench.log().payload(&row.entry).await.unwrap();
        assert!(kept == bench.log().payload(entry).await.unwrap());
        let one = bench.ledger().dead_letter(owner.creation, entry.event.sequence).await.unwrap();
        assert_eq!(one.as_ref(), Some(row));
    }
}

async fn g7_a_dead_letter_outlives_the_trimmed_log(mut bench: Bench) {
    let entries = bench.entries(&[100, 300_000, 5]).await;
    let owner = bench.own("prs").await;
    let events = entries.iter().take(2).map(|e| (e.event.sequence, Arc::clone(e))).collect();
    bench.commit_with(&owner, vec![dead(1, 0), dead(2, 0)], events).await;
    bench.step().await;
    bench.log().trim(sequence(4)).await.unwrap();
    // Appends give the store occasion to clean up.
    bench.entries(&[1]).await;
    bench.step().await;
    let rows = bench.dead_letters(&owner).await;
    assert_eq!(rows.len(), 2);
    for (row, len) in rows.iter().zip([100, 300_000]) {
        assert!(bench.log().payload(&row.entry).await.unwrap() == noise(len, len as u64));
    }
}

async fn i6_of_what_is_given_up_as_too_old_the_last_is_announced(mut bench: Bench) {
    let entries = bench.entries(&[300_000, 10, 10, 10]).await;
    let mut owner = bench.own("prs").await;
    let too_old = |number| {
        let death = dead(number, 0).death().unwrap().1.clone();
        let death = Death { reason: Reason::Retention, ..death };
        Change::Dead { sequence: sequence(number), death, attempt: None }
    };
    let event = |place: usize| {
        let entry: &Arc<Entry> = &entries[place];
        (entry.event.sequence, Arc::new(entry.without_payload()))
    };
    let changes = vec![too_old(1), too_old(2), dead(3, 0)];
    bench.commit_with(&owner, changes, vec![event(0), event(1), event(2)]).await;
    bench.commit_with(&owner, vec![too_old(4)], vec![event(3)]).await;
    bench.step().await;
    bench.log().trim(sequence(5)).await.unwrap();
    bench.step().await;
    let rows = bench.dead_letters(&owner).await;
    let announced: Vec<_> = rows.iter().map(|row| row.announced).collect();
    assert_eq!(announced, [true, false, false, false]);
    assert_eq!(bench.ledger().unannounced(10).await.unwrap().len(), 3);
    assert_eq!((rows[0].entry.payload_size, rows[0].letter.reason), (300_000, Reason::Retention));
    assert!(bench.log().payload(&rows[0].entry).await.unwrap().is_empty());
    assert_eq!(bench.snapshot(&mut owner).await.dead.count(), 4);
}

async fn dead_letters_are_paged_in_the_order_of_the_log(mut bench: Bench) {
    let entries = bench.entries(&[50; 30]).await;
    let (owner, other) = (bench.own("prs").await, bench.own("other").await);
    for number in [20, 3, 11, 7, 29] {
        let place = usize::try_from(number).unwrap() - 1;
        let events = vec![(sequence(number), Arc::clone(&entries[place]))];
        bench.commit_with(&owner, vec![dead(number, 0)], events.clone()).await;
        bench.commit_with(&other, vec![dead(number, 0)], events).await;
    }
    bench.commit(&owner, vec![redriven(11)]).await;
    bench.step().await;
    let two = ReadRange { after: 0, limit: ReadLimit { count: 2, ..ALL } };
    let rows = bench.ledger().dead_letters(owner.creation, two).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.entry.event.sequence.get()).collect::<Vec<_>>(), [3, 7]);
    let rest = ReadRange { after: 7, limit: ALL };
    let rows = bench.ledger().dead_letters(owner.creation, rest).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.entry.event.sequence.get()).collect::<Vec<_>>(), [20, 29]);
    let tiny = ReadRange { after: 0, limit: ReadLimit { bytes: 0, ..ALL } };
    assert_eq!(bench.ledger().dead_letters(other.creation, tiny).await.unwrap().len(), 1);
}

async fn a_redriven_dead_letter_is_hidden_and_goes_with_its_ack(mut bench: Bench) {
    let entries = bench.entries(&[200_000]).await;
    let mut owner = bench.own("prs").await;
    let events = vec![(sequence(1), Arc::clone(&entries[0]))];
    bench.commit_with(&owner, vec![dead(1, 0)], events).await;
    bench.step().await;
    bench.commit(&owner, vec![redriven(1)]).await;
    bench.step().await;
    let snapshot = bench.snapshot(&mut owner).await;
    assert!(snapshot.dead.is_empty());
    assert!(snapshot.records[&sequence(1)].redriven);
    assert!(bench.dead_letters(&owner).await.is_empty());
    let row = bench.ledger().dead_letter(owner.creation, sequence(1)).await.unwrap().unwrap();
    assert!(row.redriven, "its row keeps the event");
    assert_eq!(bench.log().payload(&row.entry).await.unwrap().len(), 200_000);

    bench.commit(&owner, vec![done(1, "agent")]).await;
    bench.step().await;
    assert_eq!(bench.ledger().dead_letter(owner.creation, sequence(1)).await.unwrap(), None);
    assert!(bench.ledger().unannounced(10).await.unwrap().is_empty());
    assert!(bench.log().payload(&row.entry).await.is_err() || !chunked(&row));
    assert!(bench.snapshot(&mut owner).await.records.is_empty());
}

fn chunked(row: &DeadRow) -> bool {
    matches!(row.entry.packed, Packed::Chunked { .. })
}

async fn g5_a_redriven_delivery_that_dies_again_is_one_dead_letter(mut bench: Bench) {
    let entries = bench.entries(&[70_000]).await;
    let mut owner = bench.own("prs").await;
    let events = vec![(sequence(1), Arc::clone(&entries[0]))];
    bench.commit_with(&owner, vec![dead(1, 0)], events).await;
    bench.commit(&owner, vec![redriven(1)]).await;
    bench.step().await;
    // The row has its event.
    bench.commit(&owner, vec![dead(1, 1)]).await;
    bench.step().await;
    let rows = bench.dead_letters(&owner).await;
    assert_eq!(rows.len(), 1);
    let history = vec![attempt(2), attempt(2)];
    assert_eq!(rows[0].letter, DeadLetter { history, ..letter(1) });
    assert!(!rows[0].announced);
    assert!(bench.log().payload(&rows[0].entry).await.unwrap() == noise(70_000, 70_000));
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!((snapshot.dead.count(), snapshot.records.len()), (1, 0));
}

async fn g8_a_purged_dead_letter_is_gone_with_its_event(mut bench: Bench) {
    let entries = bench.entries(&[100, 300_000, 5]).await;
    let mut owner = bench.own("prs").await;
    let events = entries.iter().map(|entry| (entry.event.sequence, Arc::clone(entry))).collect();
    bench.commit_with(&owner, vec![dead(1, 0), dead(2, 0), dead(3, 0)], events).await;
    let rows = bench.dead_letters(&owner).await;
    bench.step().await;
    bench.commit(&owner, vec![purged(&[1, 2])]).await;
    bench.step().await;
    let left = bench.dead_letters(&owner).await;
    assert_eq!(left.iter().map(|row| row.entry.event.sequence.get()).collect::<Vec<_>>(), [3]);
    for (number, row) in [1, 2].into_iter().zip(&rows) {
        let gone = bench.ledger().dead_letter(owner.creation, sequence(number)).await.unwrap();
        assert_eq!(gone, None);
        assert!(bench.log().payload(&row.entry).await.is_err() || !chunked(row));
    }
    // What was not announced is not any more, and a mark that comes too late changes nothing.
    assert_eq!(bench.ledger().unannounced(10).await.unwrap().len(), 1);
    bench.ledger().mark_announced(vec![(owner.creation, sequence(1), 0)]).await.unwrap();
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!(snapshot.dead.iter().collect::<Vec<_>>(), [sequence(3)]);
    assert_eq!(snapshot.purged.iter().collect::<Vec<_>>(), [sequence(1), sequence(2)]);
    assert_eq!(snapshot.finished.count(), 3, "they stay given up");
}

async fn g8_what_was_purged_may_die_again_after_a_seek(mut bench: Bench) {
    let entries = bench.entries(&[100, 70_000]).await;
    let mut owner = bench.own("prs").await;
    let events: Vec<_> = entries.iter().map(|of| (of.event.sequence, Arc::clone(of))).collect();
    bench.commit_with(&owner, vec![dead(1, 0), dead(2, 0)], events.clone()).await;
    bench.commit(&owner, vec![purged(&[1, 2])]).await;
    bench.step().await;
    let sought = Change::Sought { position: 1, generation: 1, fence: None };
    bench.commit(&owner, vec![sought]).await;
    bench.step().await;
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!(snapshot.purged.iter().collect::<Vec<_>>(), [sequence(1)]);
    // Its event went with the letter, and comes again.
    bench.commit_with(&owner, vec![dead(2, 1)], events).await;
    bench.step().await;
    let rows = bench.dead_letters(&owner).await;
    assert_eq!(rows.iter().map(|row| row.letter.clone()).collect::<Vec<_>>(), [letter(1)]);
    assert!(bench.log().payload(&rows[0].entry).await.unwrap() == noise(70_000, 70_000));
}

async fn a_dead_letter_is_announced_once_per_generation(mut bench: Bench) {
    let entries = bench.entries(&[1, 2, 3]).await;
    let owner = bench.own("prs").await;
    let events: Vec<_> = entries.iter().map(|e| (e.event.sequence, Arc::clone(e))).collect();
    bench.commit_with(&owner, vec![dead(1, 0), dead(2, 0), dead(3, 0)], events).await;
    bench.step().await;
    assert_eq!(bench.ledger().unannounced(2).await.unwrap().len(), 2);
    let marks = [1, 2].map(|n| (owner.creation, sequence(n), 0)).to_vec();
    bench.ledger().mark_announced(marks).await.unwrap();
    bench.step().await;
    let left = |rows: Vec<DeadRow>| -> Vec<_> {
        rows.iter().map(|row| (row.entry.event.sequence.get(), row.letter.generation)).collect()
    };
    assert_eq!(left(bench.ledger().unannounced(10).await.unwrap()), [(3, 0)]);
    let announced: Vec<_> = bench.dead_letters(&owner).await.iter().map(|r| r.announced).collect();
    assert_eq!(announced, [true, true, false]);

    bench.commit(&owner, vec![redriven(1)]).await;
    bench.commit(&owner, vec![dead(1, 1)]).await;
    bench.step().await;
    assert_eq!(left(bench.ledger().unannounced(10).await.unwrap()), [(1, 1), (3, 0)]);
    // A mark for a generation that is gone changes nothing.
    bench.ledger().mark_announced(vec![(owner.creation, sequence(1), 0)]).await.unwrap();
    bench.step().await;
    assert_eq!(left(bench.ledger().unannounced(10).await.unwrap()), [(1, 1), (3, 0)]);
}

async fn a_dead_letter_without_its_event_is_refused(mut bench: Bench) {
    let mut owner = bench.own("prs").await;
    bench.commit(&owner, vec![done(1, "a")]).await;
    let commit = Commit { changes: vec![done(2, "a"), dead(3, 0)], ..Commit::default() };
    let refused = bench.ledger().commit(owner.creation, owner.epoch, commit).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))));
    bench.step().await;
    bench.commit(&owner, vec![done(5, "a")]).await;
    let snapshot = bench.snapshot(&mut owner).await;
    assert_eq!(snapshot.finished.iter().map(Sequence::get).collect::<Vec<_>>(), [1, 5]);
    assert!(snapshot.dead.is_empty());
}
