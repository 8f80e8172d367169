//! Restarts, positions, and the end.

use hookline_core::delivery::{Change, Effect, Outcome, Policy, Status};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, millis, sequence},
    ledger::{release, retry},
};

#[test]
fn a_checkpointed_lease_lives_on_for_at_least_the_restart_grace() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.advance(SECOND * 59);
    hub.crash();
    hub.advance(SECOND * 30);
    let again = hub.join("a", 1);
    assert_eq!(hub.held[&again][0].lease, lease);
    assert_eq!(hub.taken(again), []);
    hub.advance(SECOND * 30 - millis(1));
    assert!(matches!(hub.status(1), Status::Leased { record, .. } if record.attempts == 0));
    assert_eq!(hub.ack(&lease), Outcome::Applied);
}

#[test]
fn a_checkpointed_lease_of_a_consumer_that_stays_away_goes_back_uncounted() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 2);
    let leases: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    hub.advance(SECOND);
    hub.crash();
    hub.advance(MINUTE - millis(1));
    assert!(matches!(hub.status(1), Status::Leased { .. }));
    hub.advance(millis(1));
    assert!(matches!(hub.status(1), Status::Ready(record) if record.attempts == 0));
    assert_eq!(hub.nack(&leases[0], retry("late")), Outcome::Stale);
    // It may still ack, as long as nobody else has it.
    assert_eq!(hub.ack(&leases[0]), Outcome::Applied);
    let b = hub.join("b", 2);
    assert_eq!(hub.take(b).lease.attempt, 1);
    assert_eq!(hub.ack(&leases[1]), Outcome::Stale);
}

#[test]
fn who_is_heard_of_after_a_restart_is_given_up_as_any_other() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.advance(SECOND);
    hub.crash();
    hub.advance(SECOND * 10);
    hub.extend(&lease, None).unwrap();
    hub.advance(SECOND * 15);
    assert!(matches!(hub.status(1), Status::Waiting { record, .. } if record.attempts == 1));
}

#[test]
fn a_lease_younger_than_a_second_is_taken_up_by_an_ack_a_nack_or_an_extension() {
    for say in 0..4 {
        let mut hub = Hub::new(exact());
        hub.append_count(1);
        let a = hub.join("a", 1);
        let lease = hub.take(a).lease;
        hub.advance(millis(999));
        hub.crash();
        assert!(matches!(hub.status(1), Status::Ready(_)));
        match say {
            0 => {
                assert_eq!(hub.ack(&lease), Outcome::Applied);
                assert_eq!(hub.status(1), Status::Done);
            }
            1 => {
                assert_eq!(hub.nack(&lease, retry("no")), Outcome::Applied);
                let Status::Waiting { record, .. } = hub.status(1) else { panic!("it waits") };
                assert_eq!((record.attempts, hub.last_attempt(1).consumer.as_str()), (1, "a"));
            }
            2 => {
                assert_eq!(hub.extend(&lease, None), Ok(hub.now + MINUTE));
                let again = hub.join("a", 1);
                assert_eq!(hub.held[&again][0].lease, lease);
                assert_eq!(hub.ack(&lease), Outcome::Applied);
            }
            _ => {
                // Whoever takes it up and is not heard of again is lost as any other.
                hub.extend(&lease, None).unwrap();
                hub.advance(SECOND * 15);
                assert!(matches!(hub.status(1), Status::Waiting { .. }));
                assert_eq!(hub.ack(&lease), Outcome::Applied);
            }
        }
    }
}

#[test]
fn a_forgotten_lease_is_stale_once_another_has_the_event() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.crash();
    let b = hub.join("b", 1);
    let other = hub.take(b).lease;
    assert_eq!(hub.ack(&lease), Outcome::Stale);
    assert_eq!(hub.nack(&lease, retry("no")), Outcome::Stale);
    assert_eq!(hub.extend(&lease, None), Err(Outcome::Stale));
    assert_eq!(hub.nack(&other, release()), Outcome::Applied);
    assert_eq!(hub.ack(&lease), Outcome::Stale);
}

#[test]
fn a_forgotten_lease_on_an_event_that_was_not_read_yet_is_taken_up() {
    let mut hub = Hub::new(exact());
    hub.append_count(3_000);
    let a = hub.join("a", 1_000);
    let mut leases = hub.taken(a);
    while leases.len() < 2_500 {
        for grant in leases.clone() {
            hub.ask_nack(&grant.lease, retry("no"));
        }
        leases.extend(hub.taken(a));
    }
    hub.hold_commits = true;
    let last = leases.pop().unwrap().lease;
    hub.ledger.snapshot = hookline_core::delivery::Snapshot::default();
    hub.crash();
    hub.let_commits_through();
    assert_eq!(hub.status(last.sequence.get()), Status::Unscanned);
    assert_eq!(hub.ack(&last), Outcome::Applied);
    assert_eq!(hub.status(last.sequence.get()), Status::Done);
    assert!(hub.subscription.position().0 < last.sequence.get());
}

#[test]
fn positions_never_go_back_and_tell_what_is_done_from_what_was_looked_at() {
    let mut hub = Hub::new(exact());
    hub.append(&[false, true, false, true, true, false]);
    assert_eq!(hub.subscription.position(), (1, 6));
    let a = hub.join("a", 3);
    let leases = hub.taken(a);
    hub.ack(&leases[1].lease);
    assert_eq!(hub.subscription.position(), (1, 6));
    hub.ack(&leases[0].lease);
    assert_eq!(hub.subscription.position(), (4, 6));
    hub.crash();
    assert_eq!(hub.subscription.position(), (4, 6));
    hub.ack(&leases[2].lease);
    assert_eq!(hub.subscription.position(), (6, 6));
    let written: Vec<_> = positions(&hub).collect();
    assert!(written.is_sorted(), "{written:?}");
}

fn positions(hub: &Hub) -> impl Iterator<Item = (u64, u64)> {
    hub.effects.iter().flat_map(|effect| {
        let Effect::Persist { changes, .. } = effect else { return vec![] };
        let positions = changes.iter().filter_map(|change| match change {
            Change::Position { floor, scanned } => Some((*floor, *scanned)),
            Change::Open { .. }
            | Change::Failed { .. }
            | Change::Checkpointed { .. }
            | Change::Done { .. }
            | Change::Dead { .. }
            | Change::Superseded { .. }
            | Change::Redriven { .. }
            | Change::Purged { .. }
            | Change::LookedBack { .. }
            | Change::Reconfigured { .. }
            | Change::Sought { .. } => None,
        });
        positions.collect()
    })
}

#[test]
fn f2_what_does_not_match_is_looked_at_once_and_the_position_is_written_by_itself() {
    let mut hub = Hub::new(exact());
    hub.append(&[false; 10_000]);
    assert_eq!(hub.ledger.snapshot.scanned, 0);
    hub.advance(SECOND * 5);
    assert_eq!((hub.ledger.snapshot.floor, hub.ledger.snapshot.scanned), (10_000, 10_000));
    hub.crash();
    let again = hub.effects.iter().filter(|effect| matches!(effect, Effect::Fetch { .. }));
    assert_eq!(again.count(), 1);
    let commits = positions(&hub).count();
    hub.advance(MINUTE * 60);
    assert_eq!(positions(&hub).count(), commits, "nothing is written where nothing is new");
}

#[test]
fn i7_acks_in_order_write_only_the_floor_and_out_of_order_it_catches_up() {
    let mut hub = Hub::new(exact());
    hub.append_count(100);
    let a = hub.join("a", 100);
    let mut leases: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    let first = leases.remove(0);
    for lease in leases.iter().rev() {
        assert_eq!(hub.ack(lease), Outcome::Applied);
    }
    assert_eq!(hub.ledger.snapshot.finished.count(), 99);
    hub.ack(&first);
    assert_eq!(hub.ledger.snapshot.floor, 100);
    assert!(hub.ledger.snapshot.finished.is_empty());
    assert!(hub.ledger.snapshot.records.is_empty());
}

#[test]
fn a_drain_writes_every_lease_down_and_ends_with_drained() {
    let mut hub = Hub::new(exact());
    hub.append_count(5);
    let a = hub.join("a", 3);
    let leases: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    hub.hold_commits = true;
    hub.ask_nack(&leases[2], release());
    assert_eq!(hub.take(a).lease.sequence, sequence(4));
    hub.tell(hookline_core::delivery::Input::Drain);
    assert!(!hub.drained);
    hub.let_one_commit_through();
    assert!(!hub.drained);
    hub.let_commits_through();
    assert!(hub.drained);
    // No new leases, but settles are served.
    assert_eq!(hub.ack(&leases[0]), Outcome::Applied);
    hub.append_count(1);
    assert_eq!(hub.taken(a), []);
    hub.crash();
    assert_eq!(hub.status(1), Status::Done);
    assert!(matches!(hub.status(2), Status::Leased { record, .. } if record.attempts == 0));
    let again = hub.join("a", 2);
    assert_eq!(hub.held[&again][0].lease, leases[1]);
    assert_eq!(hub.ack(&leases[1]), Outcome::Applied);
}

#[test]
fn a_drain_with_nothing_to_write_is_drained_at_once() {
    let mut hub = Hub::new(exact());
    hub.tell(hookline_core::delivery::Input::Drain);
    assert!(hub.drained);
}

#[test]
fn a_rolling_restart_counts_nothing() {
    let mut hub = Hub::new(Policy { max_attempts: 2, ..exact() });
    hub.append_count(30);
    for _ in 0..20 {
        let a = hub.join("a", 3);
        let held: Vec<_> = hub.held[&a].clone();
        for grant in held.into_iter().chain(hub.taken(a)) {
            assert_eq!(grant.lease.attempt, 1);
            hub.nack(&grant.lease, release());
        }
        hub.advance(SECOND * 3);
        hub.tell(hookline_core::delivery::Input::Drain);
        assert!(hub.drained);
        hub.leave(a);
        hub.crash();
        hub.advance(SECOND * 2);
        assert!(hub.subscription.open().all(|(_, status)| match status {
            Status::Ready(record)
            | Status::Leased { record, .. }
            | Status::Waiting { record, .. } => record.attempts == 0,
            Status::Unscanned | Status::Done | Status::Dead | Status::Purged => false,
        }));
    }
    assert_eq!(hub.ledger.deaths, 0);
    assert_eq!(hub.subscription.first_open(), Some(sequence(1)));
}
