//! B: retry; and what is given back.

use std::time::Duration;

use hookline_core::delivery::{
    AttemptEnd, Backgrounds, NackAction, Outcome, Policy, Reason, Status,
};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, millis, sequence},
    ledger::{nack, release, retry},
};

#[test]
fn b1_a_nack_waits_one_two_and_four_seconds() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let mut lease = hub.take(a).lease;
    for (attempt, wait) in [(2, 1_000), (3, 2_000), (4, 4_000)] {
        assert_eq!(hub.nack(&lease, retry("no")), Outcome::Applied);
        hub.advance(millis(wait - 1));
        assert_eq!(hub.taken(a), []);
        hub.advance(millis(1));
        lease = hub.take(a).lease;
        assert_eq!(lease.attempt, attempt);
    }
}

#[test]
fn b1_what_failed_before_an_ack_is_kept_with_it() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 2);
    let [first, other] = hub.taken(a).try_into().unwrap();
    let other = other.lease;
    hub.nack(&first.lease, retry("no luck"));
    hub.advance(SECOND);
    let again = hub.take(a).lease;
    hub.ack(&again);
    hub.ack(&other);
    let past = hub.ledger.pasts.get(sequence(1));
    let reasons: Vec<_> = past.background.attempts.iter().map(|of| of.reason.as_str()).collect();
    assert_eq!((past.ended.len(), reasons), (1, vec!["no luck"]));
    assert!(hub.ledger.pasts.get(sequence(2)).background.is_forgettable());
    assert_eq!(hub.ledger.backgrounds, Backgrounds::default(), "nothing is open");
}

#[test]
fn b1_waits_differ_by_up_to_a_fifth() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut hub = Hub::with_seed(Policy::default(), seed);
        hub.append_count(1);
        let a = hub.join("a", 1);
        let lease = hub.take(a).lease;
        hub.nack(&lease, retry("no"));
        let Status::Waiting { due_at, .. } = hub.status(1) else { panic!("it waits") };
        let wait = due_at.since(hub.now);
        assert!((millis(800)..=millis(1_200)).contains(&wait), "{wait:?}");
        seen.insert(wait);
    }
    assert!(seen.len() > 40, "{seen:?}");
}

#[test]
fn b2_retry_after_overrides_the_backoff_up_to_a_day() {
    for (asked, waits) in [
        (Duration::ZERO, Duration::ZERO),
        (MINUTE * 5, MINUTE * 5),
        (MINUTE * 60 * 48, MINUTE * 60 * 24),
        (Duration::MAX, MINUTE * 60 * 24),
    ] {
        let mut hub = Hub::new(exact());
        hub.append_count(1);
        let a = hub.join("a", 1);
        let lease = hub.take(a).lease;
        hub.nack(&lease, nack(NackAction::Retry, "later", Some(asked)));
        let Status::Waiting { due_at, record } = hub.status(1) else { panic!("it waits") };
        assert_eq!((due_at.since(hub.now), record.attempts), (waits, 1));
        hub.advance(waits);
        assert_eq!(hub.take(a).lease.attempt, 2);
    }
}

#[test]
fn b3_expiry_and_a_lost_consumer_wait_as_a_nack_does() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 1);
    let b = hub.join("b", 1);
    hub.leave(b);
    hub.advance(SECOND * 15);
    let Status::Waiting { due_at, .. } = hub.status(2) else { panic!("it waits") };
    assert_eq!(due_at.since(hub.now), SECOND);
    assert_eq!(hub.last_attempt(2).end, AttemptEnd::ConsumerLost);
    hub.leave(a);
    hub.join("a", 1);
    hub.advance(SECOND * 45);
    let Status::Waiting { due_at, .. } = hub.status(1) else { panic!("it waits") };
    assert_eq!(due_at.since(hub.now), SECOND);
    assert_eq!(hub.last_attempt(1).end, AttemptEnd::LeaseExpired);
}

#[test]
fn b4_several_waiting_deliveries_keep_their_own_times() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 3);
    let waits = [30, 10, 20];
    for (grant, wait) in hub.taken(a).into_iter().zip(waits) {
        hub.nack(&grant.lease, nack(NackAction::Retry, "", Some(SECOND * wait)));
    }
    for (second, n) in [(10, 2), (20, 3), (30, 1)] {
        hub.advance(millis(9_999));
        assert_eq!(hub.taken(a), []);
        hub.advance(millis(1));
        assert_eq!(hub.take(a).lease.sequence, sequence(n), "after {second} s");
    }
}

#[test]
fn b5_attempts_survive_a_restart_and_it_is_dead_exactly_after_the_last() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    for attempt in 1..=5 {
        let a = hub.join("a", 1);
        let (_, got) = wait_for_next(&mut hub, a);
        assert_eq!(got.attempt, attempt);
        assert_eq!(hub.ledger.deaths, 0);
        assert_eq!(hub.nack(&got, retry("no")), Outcome::Applied);
        hub.crash();
    }
    assert_eq!(hub.status(1), Status::Dead);
    assert_eq!(hub.ledger.deaths, 1);
    let letter = &hub.ledger.letters[&sequence(1)];
    assert_eq!((letter.reason, letter.attempts), (Reason::MaxAttempts, 5));
    hub.advance(MINUTE * 60);
    assert_eq!(hub.subscription.counts().ready, 0);
}

fn wait_for_next(
    hub: &mut Hub,
    stream: hookline_core::delivery::StreamId,
) -> (Duration, hookline_core::delivery::LeaseId) {
    for second in 0..100 {
        if let Some(grant) = hub.taken(stream).pop() {
            return (SECOND * second, grant.lease);
        }
        hub.advance(SECOND);
    }
    panic!("nothing comes any more");
}

#[test]
fn b5_the_next_attempt_is_not_given_before_the_failure_is_durable() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.hold_commits = true;
    let request = hub.ask_nack(&lease, retry("no"));
    hub.advance(SECOND * 20);
    assert_eq!((hub.taken(a), hub.outcome(request)), (vec![], None));
    hub.let_commits_through();
    assert_eq!(hub.outcome(request), Some(Outcome::Applied));
    assert_eq!(hub.take(a).lease.attempt, 2);
}

#[test]
fn b6_fewer_attempts_allowed_than_failed_is_dead_at_the_next_failure() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    for _ in 0..3 {
        let (_, lease) = wait_for_next(&mut hub, a);
        hub.nack(&lease, retry("no"));
    }
    hub.config.policy.max_attempts = 2;
    hub.crash();
    let a = hub.join("a", 1);
    let (_, lease) = wait_for_next(&mut hub, a);
    assert_eq!(hub.ledger.deaths, 0);
    hub.nack(&lease, retry("no"));
    assert_eq!(hub.ledger.letters[&sequence(1)].attempts, 4);
}

#[test]
fn b7_ten_releases_leave_the_attempt_at_one_and_the_room_as_it_is() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 2);
    let mut first = hub.taken(a).remove(0).lease;
    for _ in 0..10 {
        assert_eq!((first.sequence, first.attempt), (sequence(1), 1));
        assert_eq!(hub.nack(&first, release()), Outcome::Applied);
        assert_eq!(hub.subscription.counts().leased, 2);
        let other = hub.take(a).lease;
        assert_eq!(other.sequence, sequence(3));
        hub.advance(SECOND);
        assert_eq!(hub.taken(a), []);
        hub.nack(&other, nack(NackAction::Release, "", Some(SECOND)));
        first = hub.take(a).lease;
        hub.advance(SECOND);
    }
    assert!(matches!(hub.status(1), Status::Leased { record, .. } if record.attempts == 0));
}

#[test]
fn a_release_with_retry_after_waits_uncounted() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.nack(&lease, nack(NackAction::Release, "", Some(MINUTE)));
    assert!(matches!(hub.status(1), Status::Waiting { record, .. } if record.attempts == 0));
    hub.crash();
    assert!(matches!(hub.status(1), Status::Waiting { .. }), "the wait is durable");
    let a = hub.join("a", 1);
    hub.advance(MINUTE - millis(1));
    assert_eq!(hub.taken(a), []);
    hub.advance(millis(1));
    assert_eq!(hub.take(a).lease.attempt, 1);
}

#[test]
fn what_is_released_goes_to_others_first_and_to_the_same_one_after_the_initial_backoff() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.nack(&lease, release());
    hub.advance(millis(999));
    assert_eq!(hub.taken(a), []);
    hub.advance(millis(1));
    let lease = hub.take(a).lease;
    assert_eq!(lease.attempt, 1);
    let b = hub.join("b", 1);
    hub.nack(&lease, release());
    assert_eq!(hub.take(b).lease.sequence, sequence(1));
}

#[test]
fn what_one_released_and_another_did_not_take_does_not_go_back_before_the_initial_backoff() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.auto_write = false;
    let b = hub.join("b", 1);
    hub.nack(&lease, release());
    let untaken = hub.take(b).lease;
    hub.leave(b);
    hub.tell(hookline_core::delivery::Input::Unwritten { lease: untaken });
    assert_eq!(hub.taken(a), []);
    hub.advance(SECOND);
    assert_eq!(hub.take(a).lease.attempt, 1);
}

#[test]
fn what_many_gave_back_does_not_hide_what_another_may_have() {
    let mut hub = Hub::new(Policy { initial_backoff: MINUTE, ..exact() });
    hub.append_count(101);
    let a = hub.join("a", 100);
    let of_a = hub.taken(a);
    let b = hub.join("b", 1);
    let of_b = hub.take(b).lease;
    hub.leave(b);
    for grant in of_a {
        hub.nack(&grant.lease, release());
    }
    hub.nack(&of_b, release());
    // `b` gave the last one back: only it is for `a` now.
    assert_eq!(hub.take(a).lease.sequence, sequence(101));
}

#[test]
fn the_twentieth_give_back_in_a_row_counts_as_one_attempt() {
    let mut hub = Hub::new(Policy { max_attempts: 2, ..exact() });
    hub.append_count(1);
    let mut a = hub.join("a", 1);
    for round in 1..=2 {
        for give_back in 1..=20 {
            let (_, lease) = wait_for_next(&mut hub, a);
            assert_eq!(lease.attempt, round, "give-back {give_back}");
            assert_eq!(hub.nack(&lease, release()), Outcome::Applied);
            // The count is durable.
            hub.crash();
            a = hub.join("a", 1);
        }
    }
    let letter = &hub.ledger.letters[&sequence(1)];
    assert!(letter.history.iter().all(|attempt| attempt.end == AttemptEnd::ReleasedTooOften));
    assert_eq!(letter.history.len(), 2);
}

#[test]
fn b8_a_consumer_that_dies_every_time_makes_a_dead_letter() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    for round in 0..5 {
        let a = hub.join(&format!("a{round}"), 1);
        wait_for_next(&mut hub, a);
        hub.leave(a);
        hub.advance(SECOND * 15);
    }
    let letter = &hub.ledger.letters[&sequence(1)];
    assert_eq!((letter.reason, letter.attempts), (Reason::MaxAttempts, 5));
    assert!(letter.history.iter().all(|attempt| attempt.end == AttemptEnd::ConsumerLost));
}

#[test]
fn b9_huge_multipliers_zero_backoff_and_one_attempt() {
    let huge = Policy {
        backoff_multiplier: 1_000.0,
        initial_backoff: MINUTE * 60 * 24,
        max_backoff: MINUTE * 60 * 24,
        max_attempts: 100,
        ..exact()
    };
    let zero = Policy { initial_backoff: Duration::ZERO, max_attempts: 100, ..exact() };
    for (policy, wait) in [(huge, MINUTE * 60 * 24), (zero, Duration::ZERO)] {
        let mut hub = Hub::new(policy);
        hub.append_count(1);
        let a = hub.join("a", 1);
        for attempt in 1..100 {
            let lease = hub.take(a).lease;
            assert_eq!(lease.attempt, attempt);
            hub.nack(&lease, retry("no"));
            hub.advance(wait);
        }
        let lease = hub.take(a).lease;
        hub.nack(&lease, retry("no"));
        assert_eq!(hub.status(1), Status::Dead);
        // The history keeps the newest.
        let numbers: Vec<_> =
            hub.ledger.letters[&sequence(1)].history.iter().map(|a| a.number).collect();
        assert_eq!(numbers, (81..=100).collect::<Vec<_>>());
    }
    let mut hub = Hub::new(Policy { max_attempts: 1, ..exact() });
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.nack(&lease, retry("no"));
    assert_eq!(hub.status(1), Status::Dead);
}

#[test]
fn b9_a_release_with_no_backoff_is_offered_again_at_once() {
    let mut hub = Hub::new(Policy { initial_backoff: Duration::ZERO, ..exact() });
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.nack(&lease, release());
    hub.timeout();
    assert_eq!(hub.take(a).lease.attempt, 1);
}

#[test]
fn b11_a_nack_with_dead_letter_is_dead_at_once_and_keeps_its_reason() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    assert_eq!(hub.nack(&lease, nack(NackAction::DeadLetter, "bad", None)), Outcome::Applied);
    let letter = &hub.ledger.letters[&sequence(1)];
    assert_eq!((letter.reason, letter.attempts), (Reason::Rejected, 1));
    assert_eq!((letter.history[0].reason.as_str(), letter.history.len()), ("bad", 1));
    assert_eq!(hub.ack(&lease), Outcome::Conflict);
}

#[test]
fn a_reason_is_cut_at_4_kib_on_the_boundary_of_a_character() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    let mut long = nack(NackAction::Retry, &format!("x{}", "\u{20ac}".repeat(2_000)), None);
    long.error_type = "\u{e9}".repeat(200);
    hub.nack(&lease, long);
    assert_eq!(hub.last_attempt(1).reason, format!("x{}", "\u{20ac}".repeat(1_365)));
    assert_eq!(hub.last_attempt(1).error_type, "\u{e9}".repeat(128));
}
