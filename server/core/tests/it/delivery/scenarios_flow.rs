//! How the subscription talks with its shell: commits and reads of the log.

use hookline_core::{
    delivery::{
        Config, Creation, Effect, Epoch, Input, Matched, Outcome, Pause, Record, RequestId,
        Snapshot, StreamId, Subscription,
    },
    time::Timestamp,
};

use super::{
    harness::{Hub, MINUTE, exact, sequence},
    ledger::retry,
};

fn effects(subscription: &mut Subscription) -> Vec<Effect> {
    std::iter::from_fn(|| subscription.poll_effect()).collect()
}

/// An event about nothing.
fn plain(n: u64) -> Matched {
    let received_at = Timestamp::EPOCH;
    Matched { sequence: sequence(n), resource: None, received_at, failure: None }
}

fn subscription(snapshot: Snapshot, now: Timestamp) -> Subscription {
    let config = Config { creation: Creation(1), policy: exact(), pause: Pause::Off };
    Subscription::recover(config, Epoch(1), snapshot, now, 7)
}

#[test]
fn several_inputs_before_the_effects_are_polled_make_one_commit() {
    let mut hub = Hub::new(exact());
    hub.append_count(20);
    let a = hub.join("a", 10);
    for (grant, n) in hub.taken(a).into_iter().zip(1_000..) {
        let request = RequestId(n);
        hub.subscription.handle(Input::Ack { request, lease: grant.lease }, hub.now);
    }
    hub.carry_out();
    assert_eq!(hub.commits, 1);
    assert!((1_000..1_010).all(|n| hub.outcome(RequestId(n)) == Some(Outcome::Applied)));
}

#[test]
fn what_comes_up_while_a_commit_is_out_goes_into_the_next_one_together() {
    let mut hub = Hub::new(exact());
    hub.append_count(5);
    let a = hub.join("a", 5);
    let leases: Vec<_> = hub.taken(a).into_iter().map(|grant| grant.lease).collect();
    hub.hold_commits = true;
    let first = hub.ask_ack(&leases[0]);
    let others = [hub.ask_ack(&leases[1]), hub.ask_nack(&leases[2], retry("no"))];
    let conflict = hub.ask_ack(&leases[2]);
    assert_eq!((hub.commits, hub.outcome(conflict)), (1, Some(Outcome::Conflict)));
    hub.let_one_commit_through();
    assert_eq!((hub.commits, hub.outcome(first)), (2, Some(Outcome::Applied)));
    assert!(others.iter().all(|request| hub.outcome(*request).is_none()));
    hub.let_one_commit_through();
    assert!(others.iter().all(|request| hub.outcome(*request) == Some(Outcome::Applied)));
    assert_eq!(hub.commits, 2);
}

#[test]
fn one_read_of_the_log_is_out_at_a_time_and_brings_what_there_is_room_for() {
    let now = Timestamp::from_secs(1_700_000_000).unwrap();
    let mut subscription = subscription(Snapshot::default(), now);
    subscription.handle(Input::Head { head: 5_000 }, now);
    let first = Effect::Fetch { after: 0, through: 5_000, count: 1_024 };
    assert_eq!(effects(&mut subscription), [first]);
    subscription.handle(Input::Head { head: 6_000 }, now);
    assert_eq!(effects(&mut subscription), []);
    let matched = (1..=1_024).map(|n| plain(n * 2)).collect();
    subscription.handle(Input::Fetched { through: 2_048, matched }, now);
    assert_eq!(effects(&mut subscription), []);
    let (stream, consumer) = (StreamId(1), "a".into());
    subscription.handle(Input::Joined { stream, consumer, max_in_flight: 600 }, now);
    let effects = effects(&mut subscription);
    let given = effects.iter().filter(|effect| matches!(effect, Effect::Deliver { .. }));
    assert_eq!(given.count(), 600);
    let next = Effect::Fetch { after: 2_048, through: 6_000, count: 600 };
    assert_eq!(effects.last(), Some(&next));
    assert_eq!(subscription.position(), (1, 2_048));
}

#[test]
#[ignore = "a million deliveries take seconds in a build for tests; CI runs it"]
fn with_a_million_deliveries_waiting_fresh_ones_wait_too() {
    const COUNT: u64 = 1_000_000;
    let now = Timestamp::from_secs(1_700_000_000).unwrap();
    let due = |n| now + if n == 1 { MINUTE } else { MINUTE * 60 };
    let record = |n| Record { attempts: 1, due_at: Some(due(n)), ..Record::default() };
    let records = (1..=COUNT).map(|n| (sequence(n), record(n))).collect();
    let snapshot = Snapshot { scanned: COUNT, records, ..Snapshot::default() };
    let mut subscription = subscription(snapshot, now);
    let fresh = sequence(COUNT + 1);
    subscription.handle(Input::Head { head: fresh.get() }, now);
    effects(&mut subscription);
    let fetched = Input::Fetched { through: fresh.get(), matched: vec![plain(fresh.get())] };
    subscription.handle(fetched, now);
    let (stream, consumer) = (StreamId(1), "a".into());
    subscription.handle(Input::Joined { stream, consumer, max_in_flight: 10 }, now);
    assert_eq!(effects(&mut subscription).len(), 1, "it is ready, and given nothing");
    subscription.handle_timeout(now + MINUTE);
    let mut given = Vec::new();
    for effect in effects(&mut subscription) {
        if let Effect::Deliver { grant, .. } = effect {
            given.push(grant.lease.sequence);
        }
    }
    assert_eq!(given, [sequence(1), fresh]);
}
