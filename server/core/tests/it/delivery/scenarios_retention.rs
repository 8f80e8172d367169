//! I6: what is too old to be kept in the log.

use hookline_core::delivery::{Coalesce, NackAction, Ordering, Outcome, Policy, Reason, Status};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, sequence},
    ledger::{Answer, nack, retry},
};

fn retired(hub: &mut Hub, before: u64, count: usize) -> (usize, u64, bool) {
    let request = hub.ask_retire(before, count);
    match hub.answers.get(&request) {
        Some(Answer::Retired(count, needed_from, reads_on)) => (*count, *needed_from, *reads_on),
        other => panic!("not the answer to a retirement: {other:?}"),
    }
}

#[test]
fn i6_what_is_open_holds_the_log() {
    let mut hub = Hub::new(exact());
    hub.append_count(5);
    assert_eq!(retired(&mut hub, 1, 10), (0, 1, false));
    let a = hub.join("a", 2);
    let grants = hub.taken(a);
    hub.ack(&grants[0].lease);
    assert_eq!(retired(&mut hub, 1, 10), (0, 2, false), "1 is done, 2 is leased");
    hub.ack(&grants[1].lease);
    let grants = hub.taken(a);
    hub.nack(&grants[0].lease, retry("no"));
    assert_eq!(retired(&mut hub, 1, 10), (0, 3, false), "3 waits");
}

#[test]
fn i6_at_the_hard_cap_what_is_ready_or_waits_is_a_dead_letter_with_its_attempts() {
    let mut hub = Hub::new(exact());
    hub.append_count(6);
    let a = hub.join("a", 2);
    let grants = hub.taken(a);
    hub.nack(&grants[0].lease, retry("no"));
    // 1 waits, 2 and 3 are leased, the others are ready.
    let third = hub.take(a);
    assert_eq!(retired(&mut hub, 6, 10), (3, 2, false), "what is leased stays, and holds the log");
    for n in [1, 4, 5] {
        assert_eq!(hub.status(n), Status::Dead, "{n}");
        let letter = &hub.ledger.letters[&sequence(n)];
        assert_eq!((letter.reason, letter.died_at), (Reason::Retention, hub.now));
    }
    assert_eq!(hub.ledger.letters[&sequence(1)].history.len(), 1);
    assert_eq!(hub.ledger.letters[&sequence(1)].attempts, 1);
    let details = [1, 4, 5].map(|n| hub.ledger.letters[&sequence(n)].detail.clone());
    assert_eq!(details[..2], [String::new(), String::new()]);
    assert_eq!(details[2], "too old to be kept in the log, with 2 before it");
    // What is leased can still be acked; or it fails, and is given up the next time.
    assert_eq!(hub.ack(&grants[1].lease), Outcome::Applied);
    hub.nack(&third.lease, retry("no"));
    assert_eq!(retired(&mut hub, 6, 10).0, 1);
    assert!(matches!(hub.status(6), Status::Leased { .. }));
    // A late word of a lease that was over is one of a dead delivery.
    assert_eq!(hub.ack(&grants[0].lease), Outcome::Conflict);
    hub.crash();
    assert_eq!(hub.subscription.counts().dead, 4);
}

#[test]
fn i6_a_part_at_a_time_oldest_first() {
    let mut hub = Hub::new(exact());
    hub.append_count(5_000);
    let (mut rounds, mut total) = (0, 0);
    loop {
        let (count, needed_from, reads_on) = retired(&mut hub, 4_001, 700);
        assert!(count <= 700);
        (rounds, total) = (rounds + 1, total + count);
        if 4_001 <= needed_from {
            assert_eq!((total, needed_from), (4_000, 4_001));
            break;
        }
        assert!(count > 0 || reads_on, "{needed_from}");
        assert!(rounds < 20, "{total}");
    }
    assert_eq!(hub.ledger.letters.len(), 4_000);
    assert!(matches!(hub.status(4_001), Status::Ready(_)));
}

#[test]
fn i6_the_log_is_said_to_be_needed_no_more_only_once_that_is_durable() {
    let mut hub = Hub::new(exact());
    hub.append_count(3);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.hold_commits = true;
    let ack = hub.ask_ack(&lease);
    let request = hub.ask_retire(1, 10);
    assert_eq!((hub.answers.get(&ack), hub.answers.get(&request)), (None, None));
    hub.let_commits_through();
    assert_eq!(hub.answers[&request], Answer::Retired(0, 2, false));
}

#[test]
fn i6_what_was_redriven_needs_the_log_no_more() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 2);
    let grants = hub.taken(a);
    hub.nack(&grants[0].lease, nack(NackAction::DeadLetter, "bad", None));
    hub.ack(&grants[1].lease);
    hub.leave(a);
    hub.ask_redrive(&[1]);
    assert_eq!(retired(&mut hub, 3, 10), (0, 3, false));
    let a = hub.join("a", 1);
    assert!(hub.take(a).redriven);
}

#[test]
fn i6_what_is_redriven_after_retention_is_delivered_once_more() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    assert_eq!(retired(&mut hub, 2, 10), (1, 2, false));
    hub.ask_redrive(&[1]);
    assert_eq!(retired(&mut hub, 2, 10), (0, 2, false));
    let a = hub.join("a", 1);
    let grant = hub.take(a);
    assert_eq!((grant.lease.attempt, grant.redriven), (1, true));
    assert_eq!(hub.ack(&grant.lease), Outcome::Applied);
    assert_eq!(hub.ledger.letters.len(), 0);
}

#[test]
fn i6_a_retired_event_frees_its_resource() {
    for policy in [
        Policy { ordering: Ordering::Resource { at_once: 1 }, ..exact() },
        Policy { coalesce: Coalesce::Latest, ..exact() },
    ] {
        let mut hub = Hub::new(policy);
        hub.append_about(&[1]);
        let a = hub.join("a", 1);
        let lease = hub.take(a).lease;
        hub.nack(&lease, nack(NackAction::Retry, "no", Some(MINUTE)));
        assert_eq!(retired(&mut hub, 2, 10), (1, 2, false));
        hub.append_about(&[1]);
        let second = hub.take(a).lease;
        assert_eq!(second.sequence, sequence(2));
        hub.ack(&second);
        hub.advance(MINUTE + SECOND);
        assert_eq!(hub.taken(a), []);
    }
}
