//! A: lease, ack, fence.

use hookline_core::delivery::{NackAction, Outcome, Status};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, millis, sequence},
    ledger::{nack, release, retry},
};

#[test]
fn a1_an_acked_event_never_comes_again_also_after_a_restart() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 1);
    let grant = hub.take(a);
    assert_eq!((grant.lease.sequence, grant.lease.attempt), (sequence(1), 1));
    assert_eq!(hub.ack(&grant.lease), Outcome::Applied);
    assert_eq!(hub.take(a).lease.sequence, sequence(2));
    hub.advance(MINUTE);
    hub.crash();
    let a = hub.join("a", 10);
    hub.advance(MINUTE * 60);
    assert!(hub.taken(a).iter().all(|grant| grant.lease.sequence == sequence(2)));
    assert_eq!(hub.status(1), Status::Done);
}

#[test]
fn a2_a_crash_right_after_applied_does_not_undo_it() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 3);
    let grants = hub.taken(a);
    // Out of order, so that the floor can't tell.
    assert_eq!(hub.ack(&grants[2].lease), Outcome::Applied);
    assert_eq!(hub.ack(&grants[0].lease), Outcome::Applied);
    hub.crash();
    let b = hub.join("b", 3);
    assert_eq!(hub.take(b).lease.sequence, sequence(2));
}

#[test]
fn a2_an_ack_is_not_confirmed_before_it_is_durable() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.hold_commits = true;
    let first = hub.ask_ack(&lease);
    let again = hub.ask_ack(&lease);
    assert_eq!((hub.outcome(first), hub.outcome(again)), (None, None));
    hub.let_commits_through();
    assert_eq!(hub.outcome(first), Some(Outcome::Applied));
    assert_eq!(hub.outcome(again), Some(Outcome::AlreadyApplied));
}

#[test]
fn a2_an_ack_that_was_not_confirmed_is_forgotten_by_a_crash() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.hold_commits = true;
    hub.ask_ack(&lease);
    hub.crash();
    hub.let_commits_through();
    let a = hub.join("a", 1);
    assert_eq!(hub.take(a).lease.sequence, sequence(1));
}

#[test]
fn a3_a_stale_ack_after_expiry_leaves_the_second_attempt_unharmed() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let first = hub.take(a).lease;
    hub.advance(MINUTE);
    hub.leave(a);
    let b = hub.join("b", 1);
    hub.advance(SECOND);
    let second = hub.take(b).lease;
    assert_eq!(second.attempt, 2);
    assert_eq!(hub.ack(&first), Outcome::Stale);
    assert!(matches!(hub.status(1), Status::Leased { consumer, .. } if consumer == "b"));
    assert_eq!(hub.ack(&second), Outcome::Applied);
    // Another lease is known to have acked: the first did not.
    assert_eq!(hub.ack(&first), Outcome::Stale);
}

#[test]
fn a4_a_late_ack_is_applied_while_nobody_else_has_the_event() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 2);
    let leases: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    hub.leave(a);
    // One while it waits, one when it is ready again.
    hub.advance(SECOND * 15);
    assert!(matches!(hub.status(1), Status::Waiting { .. }));
    assert_eq!(hub.ack(&leases[0]), Outcome::Applied);
    hub.advance(MINUTE);
    assert!(matches!(hub.status(2), Status::Ready(_)));
    assert_eq!(hub.ack(&leases[1]), Outcome::Applied);
    let settlements = &hub.ledger.settlements;
    assert!(settlements.iter().all(|(_, s)| s.attempt == 1 && s.consumer == "a"));
    hub.crash();
    let a = hub.join("a", 2);
    assert_eq!(hub.taken(a), []);
}

#[test]
fn a4_a_late_ack_is_honoured_after_a_restart_too() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.leave(a);
    hub.advance(SECOND * 15);
    hub.crash();
    assert_eq!(hub.ack(&lease), Outcome::Applied);
}

#[test]
fn a4_a_late_lease_can_do_nothing_but_ack() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.leave(a);
    hub.advance(SECOND * 15);
    assert_eq!(hub.nack(&lease, retry("late")), Outcome::Stale);
    assert_eq!(hub.nack(&lease, release()), Outcome::Stale);
    assert_eq!(hub.extend(&lease, None), Err(Outcome::Stale));
    assert_eq!(hub.ack(&lease), Outcome::Applied);
}

#[test]
fn a5_a_stale_nack_requeues_nothing() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let first = hub.take(a).lease;
    hub.advance(MINUTE + SECOND);
    let second = hub.take(a).lease;
    for action in [NackAction::Retry, NackAction::DeadLetter, NackAction::Release] {
        assert_eq!(hub.nack(&first, nack(action, "stale", None)), Outcome::Stale);
    }
    assert!(matches!(hub.status(1), Status::Leased { record, .. } if record.attempts == 1));
    assert_eq!(hub.ack(&second), Outcome::Applied);
    assert_eq!(hub.nack(&first, retry("stale")), Outcome::Stale);
}

#[test]
fn a6_a_stale_extension_extends_nothing_and_says_so() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let first = hub.take(a).lease;
    hub.advance(MINUTE + SECOND);
    let second = hub.take(a);
    assert_eq!(hub.extend(&first, Some(MINUTE * 30)), Err(Outcome::Stale));
    let Status::Leased { expires_at, .. } = hub.status(1) else { panic!("it is leased") };
    assert_eq!(expires_at, second.expires_at);
}

#[test]
fn a7_an_ack_twice_is_already_applied_and_a_nack_after_it_a_conflict() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    assert_eq!(hub.ack(&lease), Outcome::Applied);
    assert_eq!(hub.ack(&lease), Outcome::AlreadyApplied);
    assert_eq!(hub.nack(&lease, retry("no")), Outcome::Conflict);
    assert_eq!(hub.extend(&lease, None), Err(Outcome::Conflict));
    hub.crash();
    assert_eq!(hub.ack(&lease), Outcome::AlreadyApplied);
    assert_eq!(hub.nack(&lease, retry("no")), Outcome::Stale);
}

#[test]
fn a7_a_nack_is_remembered_as_what_it_asked_for() {
    let actions = [NackAction::Retry, NackAction::DeadLetter, NackAction::Release];
    for first in actions {
        for second in actions {
            let mut hub = Hub::new(exact());
            hub.append_count(1);
            let a = hub.join("a", 1);
            let lease = hub.take(a).lease;
            assert_eq!(hub.nack(&lease, nack(first, "x", None)), Outcome::Applied);
            let same = if first == second { Outcome::AlreadyApplied } else { Outcome::Conflict };
            assert_eq!(hub.nack(&lease, nack(second, "x", None)), same);
            assert_eq!(hub.ack(&lease), Outcome::Conflict);
            // Also when another has the event by now.
            hub.advance(SECOND * 2);
            assert_eq!(hub.nack(&lease, nack(second, "x", None)), same);
        }
    }
}

#[test]
fn a7_who_settled_is_forgotten_after_a_while_then_an_ack_of_what_is_done_is_already_applied() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let first = hub.take(a).lease;
    hub.advance(MINUTE + SECOND);
    let second = hub.take(a).lease;
    assert_eq!(hub.ack(&second), Outcome::Applied);
    assert_eq!(hub.ack(&first), Outcome::Stale);
    hub.advance(MINUTE * 11);
    hub.append_count(1);
    let other = hub.take(a).lease;
    assert_eq!(hub.ack(&other), Outcome::Applied);
    assert_eq!(hub.ack(&first), Outcome::AlreadyApplied);
    assert_eq!(hub.nack(&first, retry("no")), Outcome::Stale);
}

#[test]
fn a8_any_connection_may_settle_a_lease() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.leave(a);
    assert!(hub.extend(&lease, None).is_ok());
    assert_eq!(hub.ack(&lease), Outcome::Applied);
}

#[test]
fn a9_a_lease_of_another_creation_is_stale_and_harms_none() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 2);
    let good: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    let mut other = good[0].clone();
    other.creation = hookline_core::delivery::Creation(9);
    assert_eq!(hub.ack(&other), Outcome::Stale);
    assert_eq!(hub.nack(&other, retry("no")), Outcome::Stale);
    assert_eq!(hub.extend(&other, None), Err(Outcome::Stale));
    for lease in &good {
        assert_eq!(hub.ack(lease), Outcome::Applied);
    }
    assert_eq!(hub.ack(&other), Outcome::Stale);
}

#[test]
fn a10_of_two_who_race_for_an_expired_lease_one_wins() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    hub.advance(MINUTE);
    hub.take(a);
    let b = hub.join("b", 1);
    hub.advance(millis(900));
    let c = hub.join("c", 1);
    hub.advance(SECOND);
    let given = [a, b, c].map(|stream| hub.taken(stream).len());
    assert_eq!(given.iter().sum::<usize>(), 1);
    assert_eq!(hub.subscription.counts().leased, 1);
}
