//! Scenarios E and H: order, and coalescing, per resource.

use std::time::Duration;

use hookline_core::delivery::{
    Change, Coalesce, Effect, NackAction, Ordering, Outcome, Policy, Status,
};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, sequence},
    ledger::{nack, release, retry},
};

fn ordered(at_once: u32) -> Policy {
    Policy { ordering: Ordering::Resource { at_once }, ..exact() }
}

fn latest() -> Policy {
    Policy { coalesce: Coalesce::Latest, ..exact() }
}

fn debounced(quiet: Duration, max_wait: Duration) -> Policy {
    Policy { coalesce: Coalesce::Debounce { quiet, max_wait }, ..exact() }
}

/// Returns the sequences of what a stream was handed.
fn sequences(grants: &[hookline_core::delivery::Grant]) -> Vec<u64> {
    grants.iter().map(|grant| grant.lease.sequence.get()).collect()
}

#[test]
fn e1_events_of_a_resource_come_in_order_to_however_many_consumers() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut hub = Hub::new(ordered(1));
    let streams: Vec<_> = (0..8).map(|n| hub.join(&format!("c{n}"), 2)).collect();
    let mut held = Vec::new();
    let mut done: std::collections::BTreeMap<u64, Vec<u64>> = std::collections::BTreeMap::new();
    for round in 0..200 {
        hub.append_about(&[1 + round % 3, 1 + round % 2]);
        for stream in &streams {
            held.extend(hub.taken(*stream));
        }
        while held.len() > random.usize(..4) {
            let grant = held.swap_remove(random.usize(..held.len()));
            let n = grant.lease.sequence.get();
            done.entry(hub.logged(n).unwrap().resource.unwrap()).or_default().push(n);
            assert_eq!(hub.ack(&grant.lease), Outcome::Applied);
            for stream in &streams {
                held.extend(hub.taken(*stream));
            }
        }
    }
    assert!(done.values().map(Vec::len).sum::<usize>() > 300);
    for (resource, order) in done {
        assert!(order.is_sorted(), "{resource}: {order:?}");
    }
}

#[test]
fn e2_a_failure_holds_its_resource_and_no_other() {
    let mut hub = Hub::new(ordered(1));
    hub.append_about(&[1, 1, 1, 2, 0, 0]);
    let a = hub.join("a", 10);
    let grants = hub.taken(a);
    assert_eq!(sequences(&grants), [1, 4, 5, 6], "what is about nothing is never held back");
    hub.nack(&grants[0].lease, retry("no"));
    assert_eq!(hub.taken(a), []);
    hub.advance(SECOND);
    let again = hub.take(a);
    assert_eq!((again.lease.sequence, again.lease.attempt), (sequence(1), 2));
    hub.ack(&again.lease);
    assert_eq!(sequences(&hub.taken(a)), [2]);
}

#[test]
fn e3_what_died_lets_the_next_of_its_resource_go() {
    let mut hub = Hub::new(ordered(1));
    hub.append_about(&[1, 1]);
    let a = hub.join("a", 10);
    let first = hub.take(a);
    hub.nack(&first.lease, nack(NackAction::DeadLetter, "bad", None));
    assert_eq!(sequences(&hub.taken(a)), [2]);
}

#[test]
fn e3_what_is_redriven_waits_for_what_runs_of_its_resource() {
    let mut hub = Hub::new(ordered(1));
    hub.append_about(&[1, 1, 1]);
    let a = hub.join("a", 10);
    let first = hub.take(a);
    hub.nack(&first.lease, nack(NackAction::DeadLetter, "bad", None));
    let second = hub.take(a);
    hub.ask_redrive(&[1]);
    assert_eq!(hub.taken(a), []);
    hub.ack(&second.lease);
    let again = hub.take(a);
    assert_eq!((again.lease.sequence, again.redriven), (sequence(1), true));
    hub.ack(&again.lease);
    assert_eq!(sequences(&hub.taken(a)), [3]);
}

#[test]
fn e1_a_resource_may_have_several_of_its_oldest_at_once() {
    let mut hub = Hub::new(ordered(2));
    hub.append_about(&[1, 1, 1, 1]);
    let a = hub.join("a", 10);
    let grants = hub.taken(a);
    assert_eq!(sequences(&grants), [1, 2]);
    // A failure is still one of the two oldest.
    hub.nack(&grants[0].lease, retry("no"));
    assert_eq!(hub.taken(a), []);
    hub.ack(&grants[1].lease);
    assert_eq!(sequences(&hub.taken(a)), [3]);
    hub.advance(SECOND);
    assert_eq!(sequences(&hub.taken(a)), [1]);
}

#[test]
fn e1_order_holds_over_restarts() {
    let mut hub = Hub::new(ordered(1));
    hub.append_about(&[1, 1, 2]);
    let a = hub.join("a", 10);
    let grants = hub.taken(a);
    hub.advance(SECOND * 2);
    hub.crash();
    let b = hub.join("b", 10);
    assert_eq!(hub.taken(b), [], "the leases live on, and the second waits for the first");
    assert_eq!(hub.ack(&grants[0].lease), Outcome::Applied);
    assert_eq!(sequences(&hub.taken(b)), [2]);
}

#[test]
fn e4_joining_and_leaving_a_thousand_times_leaves_nothing_stuck() {
    let mut hub = Hub::new(ordered(1));
    let mut random = fastrand::Rng::with_seed(3);
    hub.append_about(&[1, 2, 3].repeat(20));
    for round in 0..1_000 {
        let name = ["a", "b", "c"][round % 3];
        let stream = hub.join(name, 1 + random.u32(..3));
        for grant in hub.taken(stream) {
            if random.u32(..40) == 0 {
                hub.ack(&grant.lease);
            }
        }
        if random.bool() {
            hub.leave(stream);
        }
        hub.advance(Duration::from_millis(random.u64(..100)));
    }
    let stream = hub.join("last", 100);
    for _ in 0..500 {
        for grant in hub.taken(stream) {
            hub.ack(&grant.lease);
        }
        hub.advance(SECOND * 30);
    }
    let counts = hub.subscription.counts();
    assert_eq!((counts.ready, counts.leased, counts.waiting), (0, 0, 0));
}

#[test]
fn e5_thirty_thousand_behind_one_resource_do_not_hold_up_another() {
    let mut hub = Hub::new(ordered(1));
    hub.append_about(&[1; 30_000]);
    let a = hub.join("a", 2);
    assert_eq!(sequences(&hub.taken(a)), [1]);
    hub.append_about(&[2]);
    assert_eq!(sequences(&hub.taken(a)), [30_001]);
    assert_eq!(hub.subscription.position(), (0, 30_001));
    assert_eq!(hub.subscription.counts().ready, 29_999);
}

#[test]
fn h1_five_events_that_nobody_began_are_one_lease_for_the_newest() {
    let mut hub = Hub::new(latest());
    hub.append_about(&[1, 1, 1, 1, 1]);
    let a = hub.join("a", 10);
    let grant = hub.take(a);
    assert_eq!(grant.lease.sequence, sequence(5));
    let background = hub.background(&grant);
    assert_eq!(background.superseded, [1, 2, 3, 4].map(sequence));
    assert_eq!(background.superseded_count, 4);
    hub.ack(&grant.lease);
    hub.advance(SECOND * 10);
    assert_eq!(hub.ledger.snapshot.floor, 5);
    assert_eq!(hub.ledger.pasts.iter().count(), 5);
    assert_eq!(hub.ledger.pasts.get(sequence(5)).background.superseded_count, 4);
}

#[test]
fn h1_what_is_superseded_is_listed_only_once_that_is_durable() {
    let mut hub = Hub::new(latest());
    let a = hub.join("a", 1);
    hub.append_about(&[2]);
    let other = hub.take(a);
    hub.hold_commits = true;
    hub.append_about(&[1]);
    hub.append_about(&[1]);
    hub.ask_ack(&other.lease);
    assert_eq!(hub.taken(a), []);
    hub.let_commits_through();
    let grant = hub.take(a);
    assert_eq!(hub.background(&grant).superseded, [sequence(2)]);
    hub.crash();
    assert_eq!(hub.status(2), Status::Done);
}

#[test]
fn h2_what_comes_while_a_lease_runs_is_one_more_lease_and_the_runner_is_told() {
    let mut hub = Hub::new(latest());
    hub.append_about(&[1]);
    let a = hub.join("a", 10);
    let first = hub.take(a);
    hub.append_about(&[1]);
    hub.append_about(&[2, 1, 1]);
    let other = hub.take(a);
    assert_eq!(other.lease.sequence, sequence(3));
    let told: Vec<_> = hub.newer.iter().map(|(_, newest, count)| (*newest, *count)).collect();
    assert_eq!(told, [(2, 1), (5, 2)]);
    assert!(hub.newer.iter().all(|(lease, ..)| *lease == first.lease));
    hub.ack(&first.lease);
    let next = hub.take(a);
    assert_eq!(next.lease.sequence, sequence(5));
    assert_eq!(hub.background(&next).superseded, [2, 4].map(sequence));
}

#[test]
fn h2_an_ordered_runner_is_told_of_what_waits_behind_it() {
    let mut hub = Hub::new(ordered(1));
    hub.append_about(&[1]);
    let a = hub.join("a", 10);
    hub.take(a);
    hub.append_about(&[1, 0, 2]);
    assert_eq!(hub.newer.len(), 1);
    // Without an order nobody is told.
    let mut hub = Hub::new(exact());
    hub.append_about(&[1]);
    let a = hub.join("a", 10);
    hub.take(a);
    hub.append_about(&[1]);
    assert_eq!(hub.newer, []);
}

#[test]
fn h3_other_resources_and_events_about_nothing_never_coalesce() {
    let mut hub = Hub::new(latest());
    hub.append_about(&[1, 2, 0, 0, 3]);
    let a = hub.join("a", 10);
    assert_eq!(sequences(&hub.taken(a)), [1, 2, 3, 4, 5]);
}

#[test]
fn h3_a_waiting_retry_is_superseded_by_a_newer_event() {
    let mut hub = Hub::new(latest());
    hub.append_about(&[1]);
    let a = hub.join("a", 10);
    let first = hub.take(a);
    hub.nack(&first.lease, retry("no"));
    hub.append_about(&[1]);
    let newer = hub.take(a);
    assert_eq!((newer.lease.sequence, newer.lease.attempt), (sequence(2), 1));
    assert_eq!(hub.ack(&first.lease), Outcome::Conflict);
    hub.advance(SECOND * 50);
    assert_eq!(hub.ack(&newer.lease), Outcome::Applied);
    assert_eq!(hub.status(1), Status::Done);
}

#[test]
fn h3_an_ack_of_what_was_superseded_meanwhile_is_stale() {
    let mut hub = Hub::new(latest());
    hub.append_about(&[1]);
    let a = hub.join("a", 1);
    let first = hub.take(a);
    hub.leave(a);
    hub.advance(MINUTE);
    hub.append_about(&[1]);
    assert_eq!(hub.ack(&first.lease), Outcome::Stale);
    assert_eq!(hub.nack(&first.lease, retry("no")), Outcome::Stale);
}

#[test]
fn h3_what_begins_to_wait_or_is_given_back_is_superseded_by_what_was_there() {
    for gives_back in [false, true] {
        let mut hub = Hub::new(latest());
        hub.append_about(&[1]);
        let a = hub.join("a", 10);
        let first = hub.take(a);
        hub.append_about(&[1]);
        assert_eq!(hub.taken(a), []);
        hub.nack(&first.lease, if gives_back { release() } else { retry("no") });
        assert_eq!(sequences(&hub.taken(a)), [2], "given back: {gives_back}");
        assert_eq!(hub.status(1), Status::Done);
    }
}

#[test]
fn h3_the_last_failure_is_a_dead_letter_also_where_newer_events_wait() {
    let mut hub = Hub::new(Policy { max_attempts: 1, ..latest() });
    hub.append_about(&[1]);
    let a = hub.join("a", 10);
    let first = hub.take(a);
    hub.append_about(&[1]);
    hub.nack(&first.lease, retry("no"));
    assert_eq!(hub.status(1), Status::Dead);
    assert_eq!(sequences(&hub.taken(a)), [2]);
}

#[test]
fn h1_the_whole_backlog_is_coalesced_however_long() {
    let mut hub = Hub::new(latest());
    hub.append_about(&(0..20_000).map(|n| 1 + n % 7).collect::<Vec<_>>());
    let a = hub.join("a", 100);
    let grants = hub.taken(a);
    assert_eq!(grants.len(), 7);
    assert!(grants.iter().all(|grant| grant.lease.sequence.get() > 19_993));
    let counts = grants.iter().map(|grant| hub.background(grant).superseded_count);
    assert_eq!(counts.sum::<u64>(), 20_000 - 7);
    assert!(grants.iter().all(|grant| hub.background(grant).superseded.len() == 100));
}

#[test]
fn h1_a_crash_forgets_no_supersession_that_a_lease_has_listed() {
    let mut hub = Hub::new(latest());
    hub.append_about(&[1, 1, 1]);
    hub.crash();
    hub.append_about(&[1]);
    let a = hub.join("a", 1);
    let grant = hub.take(a);
    assert_eq!(grant.lease.sequence, sequence(4));
    assert_eq!(hub.background(&grant).superseded, [1, 2, 3].map(sequence));
}

#[test]
fn h1_debounced_events_wait_until_their_resource_is_quiet() {
    let mut hub = Hub::new(debounced(SECOND * 5, SECOND * 60));
    let a = hub.join("a", 10);
    hub.append_about(&[1, 2]);
    assert_eq!(hub.taken(a), []);
    hub.advance(SECOND * 4);
    hub.append_about(&[1]);
    hub.advance(SECOND);
    assert_eq!(sequences(&hub.taken(a)), [2]);
    hub.advance(SECOND * 3);
    assert_eq!(hub.taken(a), []);
    hub.advance(SECOND);
    let grant = hub.take(a);
    assert_eq!(grant.lease.sequence, sequence(3));
    assert_eq!(hub.background(&grant).superseded, [sequence(1)]);
}

#[test]
fn h1_a_resource_that_is_never_quiet_is_handed_out_after_the_longest_wait() {
    let mut hub = Hub::new(debounced(SECOND * 5, SECOND * 12));
    let a = hub.join("a", 10);
    for _ in 0..12 {
        hub.append_about(&[1]);
        assert_eq!(hub.taken(a), []);
        hub.advance(SECOND);
    }
    let grant = hub.take(a);
    assert_eq!(grant.lease.sequence, sequence(12));
    // A backlog has been quiet for long.
    hub.ack(&grant.lease);
    hub.leave(a);
    hub.append_about(&[1, 1]);
    hub.advance(MINUTE * 5);
    hub.crash();
    let b = hub.join("b", 10);
    assert_eq!(sequences(&hub.taken(b)), [14]);
}

#[test]
fn a_superseded_event_is_written_with_what_replaced_it() {
    let mut hub = Hub::new(latest());
    hub.append_about(&[1, 1]);
    let superseded = hub.effects.iter().flat_map(|effect| {
        let Effect::Persist { changes, .. } = effect else { return Vec::new() };
        changes.clone()
    });
    let superseded = superseded.filter_map(|change| {
        let Change::Superseded { sequences, by, at } = change else { return None };
        Some((sequences, by, at))
    });
    let superseded: Vec<_> = superseded.collect();
    assert_eq!(superseded, [(vec![sequence(1)], sequence(2), hub.now)]);
}
