//! Scenarios of events that are handed out once more.

use hookline_core::delivery::{
    Coalesce, Ended, NackAction, Ordering, Outcome, Policy, Reason, Replayed, Status,
};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, sequence},
    ledger::{Answer, nack, retry},
};

const ROOM: usize = 1_000;

fn replay(hub: &mut Hub, sequences: &[u64]) -> Replayed {
    replay_with(hub, sequences, ROOM)
}

fn replay_with(hub: &mut Hub, sequences: &[u64], ready_max: usize) -> Replayed {
    let request = hub.ask_replay(sequences, ready_max);
    let Answer::Replayed(replayed) = hub.answers[&request].clone() else { panic!("not replayed") };
    replayed
}

fn opened(sequences: &[u64]) -> Replayed {
    let opened = sequences.iter().map(|n| sequence(*n)).collect();
    Replayed { opened, ..Replayed::default() }
}

/// A hub whose consumer has acked this many events.
fn acked(policy: Policy, count: usize) -> (Hub, hookline_core::delivery::StreamId) {
    let mut hub = Hub::new(policy);
    let a = hub.join("a", 10);
    hub.append_count(count);
    loop {
        let taken = hub.taken(a);
        if taken.is_empty() {
            return (hub, a);
        }
        for grant in taken {
            assert_eq!(hub.ack(&grant.lease), Outcome::Applied);
        }
    }
}

#[test]
fn j8_what_was_acked_comes_again_once_that_is_durable_and_the_position_stays() {
    let (mut hub, a) = acked(exact(), 3);
    hub.hold_commits = true;
    let request = hub.ask_replay(&[1, 3], ROOM);
    assert_eq!((hub.taken(a), hub.answers.get(&request)), (vec![], None), "not before");
    hub.let_commits_through();
    assert_eq!(hub.answers[&request], Answer::Replayed(opened(&[1, 3])));
    let again = hub.taken(a);
    let leases: Vec<_> = again
        .iter()
        .map(|grant| (grant.lease.sequence.get(), grant.lease.generation, grant.lease.attempt))
        .collect();
    assert_eq!(leases, [(1, 1, 1), (3, 1, 1)]);
    assert_eq!(hub.subscription.position(), (3, 3));
    assert_eq!(hub.background(&again[0]).attempts, []);
    for grant in again {
        assert_eq!(hub.ack(&grant.lease), Outcome::Applied);
    }
    hub.advance(SECOND * 10);
    assert_eq!((hub.status(1), hub.subscription.counts().ready), (Status::Done, 0));
    assert!(hub.ledger.snapshot.records.is_empty());
    let past = hub.ledger.pasts.get(sequence(1));
    assert!(matches!(past.ended[..], [Ended::Acked(_), Ended::Acked(_)]), "{past:?}");
}

#[test]
fn j8_a_replayed_delivery_outlives_a_crash_and_keeps_its_attempts() {
    let (mut hub, a) = acked(exact(), 2);
    replay(&mut hub, &[1]);
    let first = hub.take(a);
    hub.nack(&first.lease, retry("no"));
    hub.crash();
    assert!(matches!(hub.status(1), Status::Waiting { .. }));
    let a = hub.join("a", 1);
    hub.advance(SECOND);
    let second = hub.take(a);
    assert_eq!((second.lease.generation, second.lease.attempt), (1, 2));
    assert_eq!(hub.background(&second).attempts.len(), 1);
    assert_eq!(hub.ack(&second.lease), Outcome::Applied);
    // What failed before that ack is kept with it.
    assert_eq!(hub.ledger.pasts.get(sequence(1)).background.attempts.len(), 1);
}

#[test]
fn j8_no_lease_of_before_settles_what_is_replayed() {
    let mut hub = Hub::new(exact());
    let a = hub.join("a", 1);
    hub.append_count(1);
    let late = hub.take(a);
    hub.advance(MINUTE + SECOND);
    let acked = hub.take(a);
    assert_eq!(hub.ack(&acked.lease), Outcome::Applied);
    replay(&mut hub, &[1]);
    let again = hub.take(a);
    assert_eq!(hub.ack(&late.lease), Outcome::Stale);
    assert_eq!(hub.nack(&acked.lease, retry("no")), Outcome::Conflict);
    // It did just that: a safe retry, as long as it is remembered.
    assert_eq!(hub.ack(&acked.lease), Outcome::AlreadyApplied);
    assert!(matches!(hub.status(1), Status::Leased { .. }));
    hub.crash();
    assert_eq!(hub.ack(&acked.lease), Outcome::Stale);
    assert_eq!(hub.nack(&late.lease, retry("no")), Outcome::Stale);
    assert_eq!(hub.ack(&again.lease), Outcome::Applied);
}

/// What becomes of an event is counted by how it stands.
#[test]
fn j8_only_what_has_ended_without_a_letter_comes_again() {
    let mut hub = Hub::new(exact());
    let a = hub.join("a", 10);
    hub.append(&[true, true, true, true, false, true]);
    let grants = hub.taken(a);
    hub.ack(&grants[0].lease);
    for dead in &grants[1..3] {
        hub.nack(&dead.lease, nack(NackAction::DeadLetter, "bad", None));
    }
    hub.ask_purge(&[3]);
    // 1 is acked, 2 dead, 3 purged, 4 and 6 are leased, 5 was skipped.
    let expected = Replayed {
        opened: [1, 3, 5].map(sequence).to_vec(),
        already_open: 2,
        dead: 1,
        ..Replayed::default()
    };
    assert_eq!(replay(&mut hub, &[1, 2, 3, 4, 5, 6]), expected);
    let again: Vec<_> = hub.taken(a).iter().map(|grant| grant.lease.sequence.get()).collect();
    assert_eq!(again, [1, 3, 5]);
    let again = replay(&mut hub, &[1, 2, 3]);
    assert_eq!((again.opened, again.already_open, again.dead), (vec![], 2, 1));
}

#[test]
fn j8_what_the_subscription_has_not_come_to_is_left_to_it() {
    let (mut hub, _) = acked(exact(), 2);
    // As a shell that has read no further: the log is ahead.
    hub.log.extend(hub.log.clone());
    let replayed = replay(&mut hub, &[2, 3, 4]);
    assert_eq!((replayed.opened, replayed.ahead), (vec![sequence(2)], 2));
}

#[test]
fn j8_what_is_finished_above_the_floor_comes_again_also_before_a_restart_has_read_on() {
    let mut hub = Hub::new(exact());
    let a = hub.join("a", 2);
    hub.append_count(2);
    let grants = hub.taken(a);
    hub.ack(&grants[1].lease);
    hub.crash();
    assert_eq!(hub.subscription.position().0, 0, "the first is open");
    assert_eq!(replay(&mut hub, &[1, 2]).opened, [sequence(2)]);
    let a = hub.join("a", 2);
    let mut again: Vec<_> = hub.taken(a).iter().map(|grant| grant.lease.sequence.get()).collect();
    again.sort_unstable();
    assert_eq!(again, [1, 2]);
}

#[test]
fn j8_each_death_after_a_replay_has_an_id_of_its_own() {
    let (mut hub, mut a) = acked(exact(), 1);
    let mut generations = Vec::new();
    for round in 0..3 {
        if round == 1 {
            hub.ask_redrive(&[1]);
            let redriven = hub.take(a);
            assert_eq!(hub.ack(&redriven.lease), Outcome::Applied);
        }
        if round < 2 {
            assert_eq!(replay(&mut hub, &[1]).opened, [sequence(1)]);
        } else {
            assert_eq!(replay(&mut hub, &[1]).dead, 1, "a redrive is for this");
            hub.ask_purge(&[1]);
            assert_eq!(replay(&mut hub, &[1]).opened, [sequence(1)]);
        }
        let grant = hub.take(a);
        hub.nack(&grant.lease, nack(NackAction::DeadLetter, "bad", None));
        assert_eq!(hub.status(1), Status::Dead);
        generations.push(hub.ledger.letters[&sequence(1)].generation);
        hub.crash();
        a = hub.join("a", 10);
    }
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
}

#[test]
fn j8_what_there_is_no_room_for_is_left_from_a_place_on() {
    let mut hub = Hub::new(exact());
    let a = hub.join("a", 10);
    hub.append_count(6);
    for grant in hub.taken(a) {
        hub.ack(&grant.lease);
    }
    hub.leave(a);
    let some = replay_with(&mut hub, &[1, 2, 3, 4], 2);
    assert_eq!(some, Replayed { full_at: Some(sequence(3)), ..opened(&[1, 2]) });
    let none = replay_with(&mut hub, &[2, 3, 4], 2);
    let expected = Replayed { already_open: 1, full_at: Some(sequence(3)), ..Replayed::default() };
    assert_eq!(none, expected);
    assert_eq!(
        replay_with(&mut hub, &[3, 4], 3),
        Replayed { full_at: Some(sequence(4)), ..opened(&[3]) }
    );
}

#[test]
fn j8_an_older_event_of_a_resource_waits_for_the_running_one_and_goes_before_what_waits() {
    let mut hub = Hub::new(Policy { ordering: Ordering::Resource { at_once: 1 }, ..exact() });
    let a = hub.join("a", 10);
    hub.append_about(&[7, 7, 7]);
    let first = hub.take(a);
    hub.ack(&first.lease);
    let second = hub.take(a);
    replay(&mut hub, &[1]);
    assert_eq!(hub.taken(a), [], "the second runs");
    hub.ack(&second.lease);
    let again = hub.take(a);
    assert_eq!(again.lease.sequence, sequence(1));
    hub.ack(&again.lease);
    assert_eq!(hub.take(a).lease.sequence, sequence(3));
}

#[test]
fn j8_a_replayed_event_is_coalesced_like_any_other() {
    let mut hub = Hub::new(Policy { coalesce: Coalesce::Latest, ..exact() });
    let a = hub.join("a", 1);
    hub.append_about(&[7]);
    let first = hub.take(a);
    hub.append_about(&[7, 7]);
    hub.ack(&first.lease);
    let third = hub.take(a);
    assert_eq!(hub.background(&third).superseded, [sequence(2)]);
    // Into the newer one that runs; one that was in it already counts once.
    assert_eq!(replay(&mut hub, &[1, 2]).opened.len(), 2);
    assert_eq!((hub.status(1), hub.status(2)), (Status::Done, Status::Done));
    hub.nack(&third.lease, retry("no"));
    hub.advance(SECOND);
    let third = hub.take(a);
    let background = hub.background(&third);
    assert_eq!(background.superseded, [1, 2].map(sequence));
    assert_eq!(background.superseded_count, 2);
    hub.ack(&third.lease);
    // And of several the newest.
    replay(&mut hub, &[1, 2]);
    assert_eq!(hub.take(a).lease.sequence, sequence(2));
    assert_eq!(hub.status(1), Status::Done);
}

#[test]
fn j8_what_is_replayed_needs_the_log_and_may_become_too_old() {
    let (mut hub, a) = acked(exact(), 4);
    hub.leave(a);
    replay(&mut hub, &[2]);
    let request = hub.ask_retire(2, 10);
    assert_eq!(hub.answers[&request], Answer::Retired(0, 2, false));
    let request = hub.ask_retire(4, 10);
    assert_eq!(hub.answers[&request], Answer::Retired(1, 5, false));
    assert_eq!(hub.ledger.letters[&sequence(2)].reason, Reason::Retention);
}

#[test]
fn j8_a_seek_ends_what_is_replayed() {
    let (mut hub, a) = acked(exact(), 3);
    replay(&mut hub, &[1, 3]);
    let again = hub.taken(a);
    let request = hookline_core::delivery::RequestId(hub.number());
    hub.tell(hookline_core::delivery::Input::Seek { request, position: 2 });
    assert_eq!(hub.answers[&request], Answer::Sought(1));
    assert_eq!(hub.ack(&again[0].lease), Outcome::Stale);
    let third = hub.take(a);
    assert_eq!((third.lease.sequence, third.lease.generation), (sequence(3), 2));
    assert_eq!(hub.status(1), Status::Done);
}
