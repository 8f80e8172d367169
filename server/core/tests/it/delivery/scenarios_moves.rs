//! Scenarios F, and what an operator does: pauses, limits, changes and moves.

use std::time::Duration;

use bytes::Bytes;
use hookline_core::delivery::{
    Breaker, BreakerState, Hold, Input, LossReason, NackAction, Outcome, Pause, Policy, Rate,
    Reason, RequestId, Status,
};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, millis, sequence},
    ledger::{Answer, nack, retry},
};

fn reconfigure(hub: &mut Hub, policy: Policy, pause: Pause) {
    let request = hub.ask_reconfigure(policy, pause);
    assert_eq!(hub.answers[&request], Answer::Reconfigured);
}

fn seek(hub: &mut Hub, position: u64) -> u64 {
    let request = RequestId(hub.number());
    hub.tell(Input::Seek { request, position });
    let Answer::Sought(skipped) = hub.answers[&request] else { panic!("not sought") };
    skipped
}

#[test]
fn j1_a_paused_subscription_leases_nothing_and_lets_run_what_runs() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 1);
    let running = hub.take(a);
    reconfigure(&mut hub, exact(), Pause::On);
    hub.extend(&running.lease, None).unwrap();
    assert_eq!(hub.ack(&running.lease), Outcome::Applied);
    hub.advance(MINUTE * 10);
    assert_eq!(hub.taken(a), []);
    let hold = hub.subscription.hold(sequence(2), hub.now);
    assert_eq!(hold, Some(Hold::Paused { until: None }));
    hub.crash();
    let a = hub.join("a", 1);
    assert_eq!(hub.taken(a), []);
    reconfigure(&mut hub, exact(), Pause::Off);
    assert_eq!(hub.take(a).lease.sequence, sequence(2));
}

#[test]
fn j2_a_pause_ends_by_itself_at_its_time() {
    let mut hub = Hub::new(exact());
    let until = hub.now + MINUTE;
    reconfigure(&mut hub, exact(), Pause::Until(until));
    hub.append_count(1);
    let a = hub.join("a", 1);
    hub.advance(MINUTE - millis(1));
    assert_eq!(hub.taken(a), []);
    hub.advance(millis(1));
    hub.take(a);
}

#[test]
fn j3_leases_are_given_at_the_rate_and_in_the_bursts_that_the_policy_allows() {
    let rate = Some(Rate { per_second: 2.0, burst: 3 });
    let mut hub = Hub::new(Policy { rate, ..exact() });
    hub.append_count(100);
    let a = hub.join("a", 100);
    assert_eq!(hub.taken(a).len(), 3);
    let hold = hub.subscription.hold_of_all(hub.now);
    assert!(matches!(hold, Some(Hold::Rate { .. })), "{hold:?}");
    hub.advance(millis(499));
    assert_eq!(hub.taken(a).len(), 0);
    hub.advance(millis(2));
    assert_eq!(hub.taken(a).len(), 1);
    let mut given = 0;
    for _ in 0..100 {
        hub.advance(millis(100));
        let now = hub.taken(a).len();
        assert!(now <= 1);
        given += now;
    }
    assert!((19..=20).contains(&given), "{given}");
    // What is not used is saved, up to a burst.
    hub.leave(a);
    hub.advance(SECOND * 10);
    let b = hub.join("b", 100);
    assert_eq!(hub.taken(b).len(), 3);
}

#[test]
fn j4_failures_in_a_row_open_the_breaker_and_a_probe_closes_it() {
    let breaker = Some(Breaker { failures: 3, pause: MINUTE });
    let mut hub = Hub::new(Policy { breaker, max_attempts: 50, ..exact() });
    hub.append_count(10);
    let a = hub.join("a", 3);
    let grants = hub.taken(a);
    // A rejection is a decision of a consumer that works.
    hub.nack(&grants[0].lease, retry("no"));
    hub.nack(&grants[1].lease, nack(NackAction::DeadLetter, "bad", None));
    let mut held = vec![grants[2].clone()];
    held.extend(hub.taken(a));
    for grant in held.drain(..3) {
        assert_eq!(hub.subscription.breaker(), BreakerState::Closed);
        hub.nack(&grant.lease, retry("no"));
    }
    let until = hub.now + MINUTE;
    assert_eq!(hub.subscription.breaker(), BreakerState::Open { until });
    hub.taken(a);
    hub.advance(MINUTE - millis(1));
    assert_eq!(hub.taken(a), []);
    hub.advance(millis(1));
    let probe = hub.take(a);
    assert_eq!(hub.subscription.breaker(), BreakerState::Probing);
    hub.nack(&probe.lease, retry("no"));
    assert_eq!(hub.subscription.breaker(), BreakerState::Open { until: hub.now + MINUTE });
    hub.advance(MINUTE);
    let probe = hub.take(a);
    hub.ack(&probe.lease);
    assert_eq!(hub.subscription.breaker(), BreakerState::Closed);
    assert_eq!(hub.taken(a).len(), 3);
}

#[test]
fn j5_a_probe_that_is_given_back_is_followed_by_another() {
    let breaker = Some(Breaker { failures: 1, pause: MINUTE });
    let mut hub = Hub::new(Policy { breaker, ..exact() });
    hub.append_count(2);
    let a = hub.join("a", 1);
    let b = hub.join("b", 1);
    let first = hub.take(a);
    let second = hub.take(b);
    hub.ack(&second.lease);
    hub.nack(&first.lease, retry("no"));
    hub.append_count(3);
    hub.advance(MINUTE);
    let probes: Vec<_> = [hub.taken(a), hub.taken(b)].concat();
    assert_eq!(probes.len(), 1);
    hub.nack(&probes[0].lease, super::ledger::release());
    assert_eq!(hub.subscription.breaker(), BreakerState::Probing);
    assert_eq!([hub.taken(a), hub.taken(b)].concat().len(), 1);
}

#[test]
fn b6_a_changed_policy_holds_for_leases_and_failures_from_then_on() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 1);
    let running = hub.take(a);
    let long = Policy { lease_duration: MINUTE * 10, max_attempts: 1, ..exact() };
    reconfigure(&mut hub, long, Pause::Off);
    assert_eq!(running.expires_at, hub.now + MINUTE, "a running lease keeps its deadline");
    hub.nack(&running.lease, retry("no"));
    assert_eq!(hub.status(1), Status::Dead);
    assert_eq!(hub.take(a).expires_at, hub.now + MINUTE * 10);
}

#[test]
fn f9_a_seek_delivers_again_what_lies_after_it_and_ends_what_is_open() {
    let mut hub = Hub::new(exact());
    hub.append_count(6);
    let a = hub.join("a", 4);
    let grants = hub.taken(a);
    hub.ack(&grants[0].lease);
    hub.nack(&grants[1].lease, retry("no"));
    hub.nack(&grants[2].lease, nack(NackAction::DeadLetter, "bad", None));
    hub.taken(a);
    assert_eq!(hub.subscription.skipped_by_seek(2), 1);
    assert_eq!(seek(&mut hub, 2), 1);
    let lost: Vec<_> =
        hub.lost.iter().map(|(_, lease, why)| (lease.sequence.get(), *why)).collect();
    assert!(lost.iter().all(|(_, why)| *why == LossReason::Sought), "{lost:?}");
    assert_eq!(lost.len(), 3);
    let again = hub.taken(a);
    let given: Vec<_> = again.iter().map(|grant| grant.lease.sequence.get()).collect();
    assert_eq!(given, [3, 4, 5, 6], "also what had died");
    assert!(again.iter().all(|grant| (grant.lease.generation, grant.lease.attempt) == (1, 1)));
    // An old lease says nothing about what is delivered again, after a restart neither.
    assert_eq!(hub.ack(&grants[3].lease), Outcome::Stale);
    hub.crash();
    assert_eq!(hub.ack(&grants[3].lease), Outcome::Stale);
    assert_eq!(hub.status(2), Status::Done);
    assert_eq!(hub.subscription.position(), (2, 6));
    assert!(hub.ledger.letters.contains_key(&sequence(3)), "dead letters stay");
    assert_eq!(hub.ack(&again[0].lease), Outcome::Applied);
    assert!(hub.ledger.letters.contains_key(&sequence(3)));
    // What failed of what was open then is told all the same.
    let past = hub.ledger.pasts.get(sequence(2));
    assert_eq!((past.ended.len(), past.background.attempts.len()), (0, 1));
}

#[test]
fn f9_a_seek_forward_counts_what_lies_before_it_as_done() {
    let mut hub = Hub::new(exact());
    hub.append_count(8);
    let a = hub.join("a", 2);
    hub.taken(a);
    assert_eq!(seek(&mut hub, 6), 6);
    let given: Vec<_> = hub.taken(a).iter().map(|grant| grant.lease.sequence.get()).collect();
    assert_eq!(given, [7, 8]);
    assert_eq!(hub.subscription.position(), (6, 8));
    assert_eq!(hub.ledger.snapshot.records.len(), 0);
}

#[test]
fn f9_what_had_been_redriven_is_a_dead_letter_again_after_a_seek() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 1);
    let first = hub.take(a);
    hub.nack(&first.lease, nack(NackAction::DeadLetter, "bad", None));
    hub.taken(a);
    hub.ask_redrive(&[1]);
    assert_eq!(seek(&mut hub, 2), 1);
    assert_eq!((hub.status(1), hub.ledger.snapshot.dead.count()), (Status::Dead, 1));
    hub.ask_redrive(&[1]);
    let again = hub.take(a);
    assert_eq!((again.lease.sequence, again.lease.generation), (sequence(1), 3));
}

#[test]
fn f9_a_seek_to_before_it_delivers_what_was_purged_again() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 3);
    for grant in hub.taken(a) {
        hub.nack(&grant.lease, nack(NackAction::DeadLetter, "bad", None));
    }
    let read = hub.subscription.edition();
    hub.ask_purge(&[1, 2]);
    seek(&mut hub, 1);
    let again: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    assert_eq!(again.iter().map(|lease| lease.sequence.get()).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(hub.ack(&again[0]), Outcome::Applied);
    hub.nack(&again[1], nack(NackAction::DeadLetter, "worse", None));
    // The letter of before the seek was replaced: who has read that one does not mean this one.
    let request = hub.ask_purge_of(read, &[3]);
    assert_eq!(hub.answers[&request], Answer::Purged(vec![]));
    for _ in 0..2 {
        let statuses = [hub.status(1), hub.status(2), hub.status(3)];
        assert_eq!(statuses, [Status::Purged, Status::Done, Status::Dead]);
        hub.crash();
    }
    // A letter goes also while its event is delivered once more, and that ends as it ends.
    seek(&mut hub, 2);
    let a = hub.join("a", 1);
    let third = hub.take(a);
    let request = hub.ask_purge(&[3]);
    assert_eq!(hub.answers[&request], Answer::Purged(vec![sequence(3)]));
    assert_eq!(hub.ack(&third.lease), Outcome::Applied);
    hub.crash();
    assert_eq!(hub.status(3), Status::Done);
}

#[test]
fn f9_what_a_fetch_brings_that_was_asked_before_a_seek_is_not_taken() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    // As a shell that reads slowly: the fetch is still out when the position is moved.
    let now = hub.now;
    hub.log.extend(hub.log.clone());
    hub.subscription.handle(Input::Head { head: 6 }, now);
    let request = RequestId(hub.number());
    hub.subscription.handle(Input::Seek { request, position: 1 }, now);
    hub.carry_out();
    let a = hub.join("a", 10);
    let given: Vec<_> = hub.taken(a).iter().map(|grant| grant.lease.sequence.get()).collect();
    assert_eq!(given, [2, 3, 4, 5, 6]);
}

#[test]
fn f4_what_is_looked_back_at_is_delivered_once_and_does_not_hold_the_floor() {
    let mut hub = Hub::new(exact());
    hub.append(&[false, true, false]);
    let a = hub.join("a", 1);
    let second = hub.take(a);
    hub.ack(&second.lease);
    hub.hold_commits = true;
    let matched = vec![hub.matched(1), hub.matched(3)];
    hub.tell(Input::LookedBack { through: 3, matched });
    assert_eq!(hub.taken(a), [], "not before it is durable");
    hub.let_commits_through();
    assert_eq!(hub.ledger.snapshot.looked_back, 3);
    let first = hub.take(a);
    assert_eq!(first.lease.sequence, sequence(1));
    assert_eq!(hub.subscription.position(), (3, 3));
    hub.nack(&first.lease, retry("no"));
    let third = hub.take(a);
    hub.crash();
    let a = hub.join("a", 10);
    hub.advance(SECOND * 2);
    let again = hub.taken(a);
    let given: Vec<_> = again.iter().map(|grant| grant.lease.sequence.get()).collect();
    assert_eq!(given, [3, 1]);
    assert_eq!(hub.ack(&third.lease), Outcome::Stale);
    again.iter().for_each(|grant| assert_eq!(hub.ack(&grant.lease), Outcome::Applied));
    assert_eq!((hub.status(1), hub.status(3)), (Status::Done, Status::Done));
    assert!(hub.ledger.snapshot.records.is_empty());
}

#[test]
fn f6_an_event_that_the_filter_fails_on_is_a_dead_letter_and_others_flow() {
    let mut hub = Hub::new(exact());
    let a = hub.join("a", 10);
    hub.append(&[true, true]);
    hub.taken(a);
    hub.append_failing();
    hub.append(&[true]);
    assert_eq!(hub.take(a).lease.sequence, sequence(4));
    let letter = hub.ledger.letters[&sequence(3)].clone();
    assert_eq!((letter.reason, letter.attempts), (Reason::FilterError, 0));
    assert_eq!(letter.detail, "no such overload");
    assert_eq!(hub.status(3), Status::Dead);
    // Redriven, it is delivered: the filter is not asked again.
    hub.ask_redrive(&[3]);
    assert_eq!(hub.take(a).lease.sequence, sequence(3));
}

#[test]
fn j6_a_checkpoint_is_durable_before_its_answer_and_comes_with_the_next_attempt() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.hold_commits = true;
    let request = RequestId(hub.number());
    let checkpoint = Some(Bytes::from_static(b"half of it"));
    hub.tell(Input::Extend { request, lease: lease.clone(), duration: None, checkpoint });
    assert_eq!(hub.answers.get(&request), None);
    hub.let_commits_through();
    assert!(matches!(hub.answers[&request], Answer::Extended(Ok(_))));
    hub.crash();
    let a = hub.join("a", 1);
    assert_eq!(hub.nack(&lease, retry("no")), Outcome::Applied);
    hub.advance(SECOND);
    let next = hub.take(a);
    let background = hub.background(&next);
    assert_eq!((&background.checkpoint[..], background.attempts.len()), (&b"half of it"[..], 1));
    hub.ack(&next.lease);
    assert_eq!(hub.ledger.backgrounds.get(sequence(1)).checkpoint, Bytes::new());
}

#[test]
fn j7_what_is_unused_for_long_enough_and_holds_nothing_is_to_be_deleted() {
    let policy = Policy { expire_after: Some(MINUTE * 60), ..exact() };
    let mut hub = Hub::new(policy);
    hub.append_count(2);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.nack(&lease, nack(NackAction::Retry, "no", Some(Duration::from_secs(3 * 3_600))));
    hub.taken(a);
    hub.advance(MINUTE * 300);
    assert!(!hub.unused, "a consumer is connected");
    hub.leave(a);
    hub.advance(MINUTE * 59);
    assert!(!hub.unused);
    hub.advance(MINUTE * 600);
    assert!(hub.unused);
    let mut hub = Hub::new(exact());
    hub.advance(MINUTE * 60 * 24 * 365);
    assert!(!hub.unused, "unless told otherwise, never");
}

#[test]
fn j7_a_retry_in_a_day_keeps_an_unused_subscription() {
    let mut hub = Hub::new(Policy { expire_after: Some(MINUTE), ..exact() });
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    let day = Duration::from_secs(24 * 3_600);
    hub.nack(&lease, nack(NackAction::Retry, "no", Some(day)));
    hub.leave(a);
    hub.advance(day - SECOND);
    assert!(!hub.unused);
    hub.advance(MINUTE * 2);
    assert!(hub.unused, "it is ready now, and nobody takes it");
}

#[test]
fn the_tail_is_taken_only_where_the_subscription_stands() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 10);
    hub.taken(a);
    hub.log.extend(hub.log.clone());
    let matched = vec![hub.matched(4)];
    hub.tell(Input::Followed { after: 3, through: 4, matched: matched.clone() });
    assert_eq!(hub.taken(a), []);
    hub.tell(Input::Followed { after: 2, through: 4, matched });
    assert_eq!(hub.take(a).lease.sequence, sequence(4));
    assert_eq!(hub.subscription.looked_at(), 4);
}
