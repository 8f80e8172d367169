//! G: dead letters and redrive.

use hookline_core::delivery::{
    AttemptEnd, DeadLetter, LeaseId, NackAction, Outcome, Policy, Reason, Status,
};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, millis, sequence},
    ledger::{Answer, nack, retry},
};

/// Lets the first event fail until it is dead, at a consumer of this name.
fn kill(hub: &mut Hub, consumer: &str) -> LeaseId {
    let stream = hub.join(consumer, 1);
    for _ in 0..100 {
        for grant in hub.taken(stream) {
            hub.nack(&grant.lease, retry(&format!("failure {}", grant.lease.attempt)));
            if hub.status(1) == Status::Dead {
                hub.leave(stream);
                return grant.lease;
            }
        }
        hub.advance(SECOND);
    }
    panic!("it never dies");
}

#[test]
fn g1_a_dead_letter_has_every_attempt_with_consumer_times_end_and_reason() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    kill(&mut hub, "a");
    let DeadLetter { generation, reason, history, attempts, died_at, detail: _ } =
        hub.ledger.letters[&sequence(1)].clone();
    assert_eq!((generation, reason, attempts), (0, Reason::MaxAttempts, 5));
    assert_eq!(died_at, hub.now);
    assert_eq!(history.len(), 5);
    for (attempt, number) in history.iter().zip(1..) {
        assert_eq!((attempt.number, attempt.consumer.as_str()), (number, "a"));
        assert_eq!(attempt.end, AttemptEnd::Nacked);
        assert_eq!(attempt.reason, format!("failure {number}"));
        assert_eq!(attempt.error_type, "Error");
        assert!(attempt.started_at <= attempt.ended_at);
    }
    assert!(history.is_sorted_by_key(|attempt| attempt.started_at));
    assert_eq!(hub.subscription.position(), (1, 1));
}

#[test]
fn g2_a_crash_at_any_effect_leaves_a_delivery_open_or_dead_with_its_row() {
    let mut ends = std::collections::BTreeSet::new();
    for effects in 1..200 {
        let mut hub = Hub::new(Policy { max_attempts: 2, ..exact() });
        hub.append_count(2);
        hub.dies_after = Some(effects);
        let mut confirmed = None;
        let a = hub.join("a", 2);
        for _ in 0..3 {
            for grant in hub.taken(a) {
                let request = hub.ask_nack(&grant.lease, retry("no"));
                if hub.outcome(request).is_some() {
                    confirmed = confirmed.max(Some(grant.lease.attempt));
                }
            }
            hub.advance(SECOND);
        }
        let finished = !hub.dead();
        hub.crash();
        for n in [1, 2] {
            let row = hub.ledger.letters.contains_key(&sequence(n));
            let dead = hub.status(n) == Status::Dead;
            assert_eq!(dead, row, "after {effects} effects");
            let open = hub.subscription.open().any(|(open, _)| open == sequence(n));
            assert_ne!(open, dead, "after {effects} effects");
            ends.insert(dead);
        }
        // What was confirmed stays, and no more is lost than what was not.
        if confirmed == Some(2) {
            assert!(hub.ledger.deaths > 0);
        }
        kill_rest(&mut hub);
        assert_eq!(hub.ledger.deaths, 2, "after {effects} effects");
        if finished {
            assert_eq!(ends.len(), 2);
            return;
        }
    }
    panic!("the script never came to its end");
}

fn kill_rest(hub: &mut Hub) {
    let b = hub.join("b", 2);
    for _ in 0..80 {
        for grant in hub.taken(b) {
            hub.nack(&grant.lease, retry("no"));
        }
        hub.advance(SECOND);
    }
    assert_eq!(hub.subscription.counts().dead, 2);
}

#[test]
fn g3_a_dead_letter_needs_nobody_connected() {
    let mut hub = Hub::new(Policy { max_attempts: 1, ..exact() });
    hub.append_count(1);
    let a = hub.join("a", 1);
    hub.leave(a);
    hub.advance(SECOND * 15);
    assert_eq!(hub.ledger.letters[&sequence(1)].history[0].end, AttemptEnd::ConsumerLost);
}

#[test]
fn g4_a_redriven_event_begins_anew_and_keeps_its_history() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let old = kill(&mut hub, "a");
    let a = hub.join("a", 2);
    hub.hold_commits = true;
    let request = hub.ask_redrive(&[1]);
    assert_eq!(hub.answers.get(&request), None);
    assert_eq!(hub.taken(a), []);
    hub.let_commits_through();
    assert_eq!(hub.answers[&request], Answer::Redriven(vec![sequence(1)]));
    let grant = hub.take(a);
    assert_eq!((grant.lease.attempt, grant.lease.generation, grant.redriven), (1, 1, true));
    assert_eq!(hub.background(&grant).attempts.len(), 5);
    // It does not hold the floor.
    assert_eq!(hub.subscription.position(), (1, 1));
    assert_eq!(hub.nack(&old, retry("no")), Outcome::AlreadyApplied);
    assert_eq!(hub.ack(&old), Outcome::Conflict);
    hub.crash();
    let a = hub.join("a", 1);
    let grant = hub.take(a);
    assert_eq!((grant.lease.generation, grant.redriven), (1, true));
    assert_eq!(hub.background(&grant).attempts.len(), 5);
    assert_eq!(hub.ack(&old), Outcome::Stale);
    assert_eq!(hub.ack(&grant.lease), Outcome::Applied);
    assert_eq!(hub.status(1), Status::Done);
    assert_eq!(hub.ledger.letters.len(), 0);
    hub.crash();
    assert_eq!(hub.status(1), Status::Done);
}

#[test]
fn g4_of_what_is_redriven_only_the_dead_go_back() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 2);
    let grants = hub.taken(a);
    hub.nack(&grants[0].lease, nack(NackAction::DeadLetter, "bad", None));
    let letters = [1, 1, 2, 3, 9].map(|n| (sequence(n), 0, None)).to_vec();
    let request = hookline_core::delivery::RequestId(hub.number());
    hub.tell(hookline_core::delivery::Input::Redrive { request, letters: letters.clone() });
    assert_eq!(hub.answers[&request], Answer::Redriven(vec![sequence(1)]));
    let request = hookline_core::delivery::RequestId(hub.number());
    hub.tell(hookline_core::delivery::Input::Redrive { request, letters });
    assert_eq!(hub.answers[&request], Answer::Redriven(vec![]));
}

#[test]
fn g5_what_fails_again_is_one_dead_letter_of_the_next_generation() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    kill(&mut hub, "a");
    for generation in 1..=5 {
        hub.ask_redrive(&[1]);
        hub.crash();
        kill(&mut hub, "b");
        assert_eq!(hub.ledger.letters.len(), 1);
        let letter = &hub.ledger.letters[&sequence(1)];
        assert_eq!((letter.generation, letter.attempts), (generation, 5));
        let kept = usize::try_from(5 * (generation + 1)).unwrap().min(20);
        assert_eq!(letter.history.len(), kept);
        assert_eq!(hub.subscription.counts().dead, 1);
    }
    let history = &hub.ledger.letters[&sequence(1)].history;
    assert!(history.is_sorted_by_key(|attempt| attempt.ended_at));
}

#[test]
fn a_redriven_event_above_the_floor_is_finished_as_any_other() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 3);
    let grants = hub.taken(a);
    hub.nack(&grants[1].lease, nack(NackAction::DeadLetter, "bad", None));
    hub.ask_redrive(&[2]);
    let again = hub.take(a).lease;
    assert_eq!((again.sequence, again.generation), (sequence(2), 1));
    hub.crash();
    assert!(!matches!(hub.status(2), Status::Done));
    hub.advance(millis(10));
    assert_eq!(hub.ack(&grants[0].lease), Outcome::Applied);
    assert_eq!(hub.ack(&again), Outcome::Applied);
    assert_eq!(hub.ack(&grants[2].lease), Outcome::Applied);
    assert_eq!(hub.subscription.position(), (3, 3));
    hub.crash();
    hub.advance(MINUTE);
    let counts = hub.subscription.counts();
    assert_eq!((counts.ready, counts.waiting, counts.dead), (0, 0, 0));
}

#[test]
fn g8_what_is_purged_is_gone_also_after_a_crash_and_stays_given_up() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 3);
    let grants = hub.taken(a);
    for grant in &grants[..2] {
        hub.nack(&grant.lease, nack(NackAction::DeadLetter, "bad", None));
    }
    hub.hold_commits = true;
    let request = hub.ask_purge(&[1, 3, 9]);
    assert_eq!(hub.answers.get(&request), None);
    hub.let_commits_through();
    assert_eq!(hub.answers[&request], Answer::Purged(vec![sequence(1)]));
    for _ in 0..2 {
        assert_eq!((hub.status(1), hub.status(2)), (Status::Purged, Status::Dead));
        assert_eq!(hub.subscription.counts().dead, 1);
        assert_eq!(hub.ledger.letters.len(), 1);
        hub.crash();
    }
    // Neither a redrive nor a lease of before brings it back.
    let request = hookline_core::delivery::RequestId(hub.number());
    let letters = vec![(sequence(1), 0, None)];
    hub.tell(hookline_core::delivery::Input::Redrive { request, letters });
    assert_eq!(hub.answers[&request], Answer::Redriven(vec![]));
    assert_eq!(hub.ack(&grants[0].lease), Outcome::Stale);
    let request = hub.ask_purge(&[1]);
    assert_eq!(hub.answers[&request], Answer::Purged(vec![]));
}

#[test]
fn what_was_redriven_is_never_purged() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    kill(&mut hub, "a");
    let read = hub.subscription.edition();
    hub.ask_redrive(&[1]);
    let request = hub.ask_purge(&[1]);
    assert_eq!(hub.answers[&request], Answer::Purged(vec![]));
    // Nor is what has died again since its letter was read.
    kill(&mut hub, "b");
    let request = hub.ask_purge_of(read, &[1]);
    assert_eq!(hub.answers[&request], Answer::Purged(vec![]));
    assert_eq!(hub.ledger.letters[&sequence(1)].generation, 1);
    let request = hub.ask_purge(&[1]);
    assert_eq!(hub.answers[&request], Answer::Purged(vec![sequence(1)]));
}

#[test]
fn while_many_failures_of_a_filter_wait_to_be_written_no_more_is_taken_in() {
    let mut hub = Hub::new(exact());
    hub.hold_commits = true;
    for _ in 0..5_000 {
        hub.append_failing();
    }
    let looked_at = hub.subscription.looked_at();
    assert!((1_000..3_000).contains(&looked_at), "{looked_at}");
    hub.let_commits_through();
    assert_eq!(hub.subscription.looked_at(), 5_000);
    assert!((1..=5_000).all(|n| matches!(hub.status(n), Status::Dead)));
}
