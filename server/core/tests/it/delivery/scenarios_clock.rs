//! C: long handlers; and the clock of a lease.

use hookline_core::delivery::{AttemptEnd, Input, LossReason, Outcome, Policy, Status};

use super::harness::{Hub, MINUTE, SECOND, exact, millis, sequence};

#[test]
fn c1_thirty_minutes_with_extensions_are_one_attempt() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    for _ in 0..90 {
        hub.advance(SECOND * 20);
        assert_eq!(hub.extend(&lease, None), Ok(hub.now + MINUTE));
    }
    assert_eq!(hub.ack(&lease), Outcome::Applied);
    assert_eq!(hub.ledger.settlements[0].1.attempt, 1);
    assert_eq!((hub.taken(a), hub.lost.len()), (vec![], 0));
}

#[test]
fn c2_without_extensions_a_lease_ends_at_its_deadline() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.advance(SECOND * 40);
    hub.extend(&lease, None).unwrap();
    hub.advance(MINUTE - millis(1));
    assert!(matches!(hub.status(1), Status::Leased { .. }));
    hub.advance(millis(1));
    assert!(matches!(hub.status(1), Status::Waiting { .. }));
    assert_eq!(hub.last_attempt(1).end, AttemptEnd::LeaseExpired);
    assert_eq!(hub.last_attempt(1).ended_at, hub.now);
    assert_eq!(hub.lost, [(a, lease, LossReason::Expired)]);
}

#[test]
fn c3_a_shorter_extension_never_shortens() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let grant = hub.take(a);
    assert_eq!(hub.extend(&grant.lease, Some(SECOND)), Ok(grant.expires_at));
    assert_eq!(hub.extend(&grant.lease, Some(std::time::Duration::ZERO)), Ok(grant.expires_at));
    hub.advance(MINUTE - millis(1));
    assert!(matches!(hub.status(1), Status::Leased { .. }));
}

#[test]
fn c4_max_lease_ends_it() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    let end = hub.now + MINUTE * 60;
    assert_eq!(hub.extend(&lease, Some(std::time::Duration::MAX)), Ok(end));
    hub.advance(MINUTE * 60 - millis(1));
    assert_eq!(hub.extend(&lease, None), Ok(end));
    hub.advance(millis(1));
    assert!(matches!(hub.status(1), Status::Waiting { .. }));
    assert_eq!(hub.last_attempt(1).end, AttemptEnd::MaxLeaseReached);
    assert_eq!(hub.lost, [(a, lease.clone(), LossReason::MaxLeaseReached)]);
    assert_eq!(hub.extend(&lease, None), Err(Outcome::Stale));
    assert_eq!(hub.ack(&lease), Outcome::Applied);
}

#[test]
fn c5_two_lost_extensions_of_three_end_nothing() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    for _ in 0..20 {
        hub.advance(MINUTE - millis(1));
        hub.extend(&lease, None).unwrap();
    }
    assert_eq!(hub.ack(&lease), Outcome::Applied);
    assert_eq!(hub.ledger.settlements[0].1.attempt, 1);
}

#[test]
fn an_extension_beyond_the_restart_grace_is_durable_before_its_answer() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.hold_commits = true;
    let request = hub.ask_extend(&lease, Some(MINUTE * 30));
    assert_eq!(hub.answers.get(&request), None);
    hub.let_commits_through();
    assert!(hub.answers.contains_key(&request));
    let until = hub.now + MINUTE * 30;
    hub.crash();
    hub.join("a", 1);
    hub.advance(MINUTE * 30 - millis(1));
    assert!(matches!(hub.status(1), Status::Leased { expires_at, .. } if expires_at == until));
    hub.advance(millis(1));
    assert!(matches!(hub.status(1), Status::Waiting { .. }));
}

#[test]
fn the_clock_of_a_lease_starts_when_the_transport_takes_it_however_late() {
    for wait in [millis(300), SECOND * 50] {
        for lease_duration in [MINUTE, MINUTE * 10] {
            let mut hub = Hub::new(Policy { lease_duration, ..exact() });
            hub.auto_write = false;
            hub.append_count(1);
            let a = hub.join("a", 1);
            let lease = hub.take(a).lease;
            hub.advance(wait);
            hub.tell(Input::Written { lease: lease.clone(), at: hub.now });
            let ends = hub.now + lease_duration;
            assert!(matches!(hub.status(1), Status::Leased { expires_at, started_at, .. }
                if expires_at == ends && started_at == hub.now));
            hub.advance(SECOND * 2);
            hub.crash();
            let Status::Leased { expires_at, .. } = hub.status(1) else { panic!("it is leased") };
            assert_eq!(expires_at, ends.max(hub.now + MINUTE));
        }
    }
}

#[test]
fn b10_a_loop_that_was_late_gives_the_time_back() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 1);
    let b = hub.join("b", 1);
    let lease = hub.take(a).lease;
    hub.advance(SECOND * 30);
    hub.leave(b);
    // It stood still over the end of the grace and of the lease.
    hub.jump(MINUTE);
    assert!(matches!(hub.status(1), Status::Leased { record, .. } if record.attempts == 0));
    assert!(matches!(hub.status(2), Status::Leased { record, .. } if record.attempts == 0));
    assert_eq!(hub.extend(&lease, None).map(|_| ()), Ok(()));
    hub.advance(SECOND * 10);
    assert!(matches!(hub.status(2), Status::Ready(record) if record.attempts == 1));
}

#[test]
fn b10_a_loop_that_was_two_seconds_late_gives_nothing_back() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    hub.join("a", 1);
    hub.advance(SECOND * 59);
    hub.jump(SECOND * 3);
    assert!(matches!(hub.status(1), Status::Waiting { .. }));
}

#[test]
fn a_lease_that_ends_is_told_to_its_stream_only() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 1);
    let b = hub.join("b", 1);
    let lease = hub.take(b).lease;
    let of_a = hub.take(a).lease;
    hub.advance(SECOND * 30);
    hub.extend(&of_a, Some(MINUTE)).unwrap();
    hub.advance(SECOND * 30);
    assert_eq!(lease.sequence, sequence(2));
    assert_eq!(hub.lost, [(b, lease, LossReason::Expired)]);
}
