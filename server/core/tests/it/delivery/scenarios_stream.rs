//! D: streams, room, restarts of consumers; and who gets what.

use std::collections::BTreeMap;

use hookline_core::delivery::{Effect, Grant, Input, Outcome, Policy, Status};

use super::{
    harness::{Hub, MINUTE, SECOND, exact, millis, sequence},
    ledger::{release, retry},
};

#[test]
fn d1_never_more_than_max_in_flight_on_whatever_stream() {
    let mut hub = Hub::new(exact());
    hub.append_count(10);
    let a = hub.join("a", 3);
    let mut leases = hub.taken(a);
    assert_eq!(leases.len(), 3);
    let again = hub.join("a", 3);
    assert_eq!(hub.taken(again), []);
    let lease = leases.remove(0).lease;
    hub.ack(&lease);
    assert_eq!(hub.taken(again).len(), 1);
    // With less room than it holds, it is given nothing until it has settled enough.
    let small = hub.join("a", 1);
    for grant in leases {
        hub.ack(&grant.lease);
        assert_eq!(hub.taken(small), []);
    }
}

#[test]
fn d2_room_given_is_room_taken() {
    let mut hub = Hub::new(exact());
    hub.append_count(200);
    let mut streams = BTreeMap::new();
    for step in 0..400_u32 {
        let name = format!("c{}", step % 3);
        let mut stream = *streams.entry(name.clone()).or_insert_with(|| hub.join(&name, 4));
        match step % 11 {
            3 => {
                hub.leave(stream);
                stream = hub.join(&name, 1 + step % 5);
                streams.insert(name, stream);
            }
            7 => hub.advance(SECOND * 25),
            _ => hub.advance(millis(100)),
        }
        for (index, Grant { lease, .. }) in hub.taken(stream).into_iter().enumerate() {
            match (index + step as usize) % 4 {
                0 => drop(hub.ask_ack(&lease)),
                1 => drop(hub.ask_nack(&lease, retry("no"))),
                2 => drop(hub.ask_nack(&lease, release())),
                _ => {}
            }
        }
        let held: usize = hub.subscription.consumers().iter().map(|(_, held)| held).sum();
        assert_eq!(held as u64, hub.subscription.counts().leased);
    }
}

#[test]
fn d4_reconnect_within_the_grace_keeps_the_leases() {
    let mut hub = Hub::new(exact());
    hub.append_count(2);
    let a = hub.join("a", 2);
    let leases = hub.taken(a);
    hub.leave(a);
    hub.advance(SECOND * 15 - millis(1));
    let again = hub.join("a", 2);
    let held = hub.held[&again].iter().map(|grant| &grant.lease);
    assert!(held.eq(leases.iter().map(|grant| &grant.lease)));
    assert_eq!(hub.taken(again), []);
    hub.advance(SECOND * 20);
    for grant in leases {
        assert_eq!(hub.ack(&grant.lease), Outcome::Applied);
    }
}

#[test]
fn d4_the_newest_stream_takes_over() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let old = hub.join("a", 2);
    let lease = hub.take(old).lease;
    let new = hub.join("a", 2);
    assert!(hub.effects.contains(&Effect::TakenOver { stream: old }));
    assert_eq!(hub.held[&new].len(), 1);
    hub.leave(old);
    hub.advance(SECOND * 20);
    hub.append_count(1);
    assert_eq!(hub.take(new).lease.sequence, sequence(2));
    assert_eq!(hub.ack(&lease), Outcome::Applied);
}

#[test]
fn d5_an_ack_whose_answer_was_lost_is_already_applied() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    let lease = hub.take(a).lease;
    hub.ask_ack(&lease);
    hub.leave(a);
    hub.advance(SECOND);
    hub.join("a", 1);
    assert_eq!(hub.ack(&lease), Outcome::AlreadyApplied);
}

#[test]
fn d6_who_does_not_come_back_is_counted_and_the_event_waits() {
    let mut hub = Hub::new(exact());
    hub.append_count(1);
    let a = hub.join("a", 1);
    hub.leave(a);
    let b = hub.join("b", 1);
    hub.advance(SECOND * 16 - millis(1));
    assert_eq!(hub.taken(b), []);
    hub.advance(millis(1));
    assert_eq!(hub.take(b).lease.attempt, 2);
}

#[test]
fn d6_a_settle_or_an_extension_without_a_stream_is_heard_of() {
    let mut hub = Hub::new(exact());
    hub.append_count(5);
    let a = hub.join("a", 4);
    let leases: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    hub.leave(a);
    hub.advance(SECOND * 10);
    hub.extend(&leases[0], None).unwrap();
    hub.advance(SECOND * 10);
    hub.ack(&leases[1]);
    hub.advance(SECOND * 10);
    // Also one that changes nothing.
    assert_eq!(hub.ack(&leases[1]), Outcome::AlreadyApplied);
    hub.advance(SECOND * 15 - millis(1));
    assert!(matches!(hub.status(3), Status::Leased { .. }));
    hub.advance(millis(1));
    assert!(matches!(hub.status(3), Status::Waiting { .. }));
}

#[test]
fn d10_new_events_go_to_the_idle() {
    let mut hub = Hub::new(exact());
    let busy: Vec<_> = (0..5).map(|n| hub.join(&format!("busy{n}"), 10)).collect();
    hub.append_count(25);
    assert!(busy.iter().all(|stream| hub.taken(*stream).len() == 5));
    let idle: Vec<_> = (0..5).map(|n| hub.join(&format!("idle{n}"), 10)).collect();
    hub.append_count(20);
    assert!(idle.iter().all(|stream| hub.taken(*stream).len() == 4));
}

#[test]
fn the_one_with_most_room_is_first_and_of_equals_the_longest_idle() {
    let mut hub = Hub::new(exact());
    let a = hub.join("a", 2);
    let b = hub.join("b", 3);
    let mut order = Vec::new();
    for _ in 0..5 {
        hub.append_count(1);
        order.push([a, b].map(|stream| hub.taken(stream).len()));
    }
    // b has 3, then both have 2 and neither was served but b; then b has more again, and so on.
    assert_eq!(order, [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1]]);
}

#[test]
fn d3_who_stops_reading_is_tried_with_one_at_a_time_and_others_get_the_rest() {
    let mut hub = Hub::new(exact());
    hub.auto_write = false;
    hub.append_count(20);
    let stuck = hub.join("stuck", 1_000);
    let left = hub.taken(stuck);
    assert_eq!(left.len(), 20);
    let reader = hub.join("reader", 1);
    for grant in left {
        hub.tell(Input::Unwritten { lease: grant.lease });
    }
    let tried = hub.take(stuck).lease;
    hub.auto_write = true;
    let mut read = 0;
    while let [grant] = hub.taken(reader).as_slice() {
        read += 1;
        hub.ack(&grant.lease);
    }
    assert_eq!((read, hub.taken(stuck).len()), (19, 0));
    // It reads again, and has all its room again.
    hub.tell(Input::Written { lease: tried, at: hub.now });
    hub.append_count(10);
    assert_eq!((hub.taken(stuck).len(), hub.taken(reader).len()), (10, 0));
}

#[test]
fn what_the_transport_did_not_take_goes_back_uncounted_and_to_the_front() {
    let mut hub = Hub::new(exact());
    hub.auto_write = false;
    hub.append_count(3);
    let mut a = hub.join("a", 1);
    for wait in [millis(10), SECOND * 5] {
        let lease = hub.take(a).lease;
        hub.advance(wait);
        hub.leave(a);
        hub.tell(Input::Unwritten { lease: lease.clone() });
        assert!(matches!(hub.status(1), Status::Ready(record) if record.attempts == 0));
        assert_eq!(hub.ack(&lease), Outcome::Stale);
        let b = hub.join("b", 1);
        let again = hub.take(b).lease;
        assert_eq!((again.sequence, again.attempt), (sequence(1), 1));
        hub.leave(b);
        hub.tell(Input::Unwritten { lease: again });
        hub.crash();
        assert!(matches!(hub.status(1), Status::Ready(record) if record.attempts == 0));
        a = hub.join("a", 1);
    }
    // What never got to the stream of before is not said to be held.
    a = hub.join("a", 1);
    assert_eq!(hub.held[&a], []);
    assert_eq!(hub.ledger.deaths, 0);
}

#[test]
fn e6_fresh_events_get_at_least_half_of_the_dispatches() {
    let mut hub = Hub::new(Policy { max_attempts: 100, ..exact() });
    hub.append_count(1_000);
    let a = hub.join("a", 1_000);
    for grant in hub.taken(a) {
        hub.nack(&grant.lease, retry("poison"));
    }
    hub.leave(a);
    hub.advance(MINUTE);
    hub.append_count(1_000);
    assert_eq!(hub.subscription.counts().ready, 2_000);
    let b = hub.join("b", 1);
    let mut fresh = 0;
    for _ in 0..100 {
        let grant = hub.take(b);
        fresh += usize::from(grant.lease.attempt == 1);
        hub.ack(&grant.lease);
    }
    assert_eq!(fresh, 50);
}

#[test]
fn what_is_given_back_counts_as_no_fresh_dispatch_either() {
    let mut hub = Hub::new(exact());
    hub.append_count(400);
    let streams = [hub.join("a", 10), hub.join("b", 10)];
    let mut first = 0;
    let mut seen = std::collections::BTreeSet::new();
    let mut given = 0;
    while given < 200 {
        for stream in streams {
            for grant in hub.taken(stream) {
                given += 1;
                first += usize::from(seen.insert(grant.lease.sequence));
                hub.nack(&grant.lease, release());
            }
        }
    }
    assert!(first * 2 >= given, "{first} of {given}");
}

#[test]
fn of_a_hundred_thousand_waiting_events_a_thousand_are_read_ahead() {
    let mut hub = Hub::new(exact());
    hub.append_count(100_000);
    let a = hub.join("a", 100);
    let mut done = 0;
    for _ in 0..100 {
        for grant in hub.taken(a) {
            assert_eq!(grant.lease.sequence.get(), done + 1);
            hub.ack(&grant.lease);
            done += 1;
        }
        let counts = hub.subscription.counts();
        assert!(counts.ready <= 1_024 && counts.leased <= 100, "{counts:?}");
    }
    assert!(done >= 5_000);
    let fetches = hub.effects.iter().filter(|effect| matches!(effect, Effect::Fetch { .. }));
    assert!(fetches.count() as u64 <= done / 500 + 3);
}
