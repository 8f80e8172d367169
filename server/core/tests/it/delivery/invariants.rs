//! The ten invariants of a subscription, each by its number. They are asserted after every step; (9) is a test of its own,
//! and (10) is asserted when faults have stopped.

use hookline_core::delivery::{Record, Status};

use super::{
    harness::{Hub, sequence},
    reference::{Delivery, Due, End, Reference},
};

/// What is compared with the step before.
#[derive(Debug, Default)]
pub(super) struct Before {
    epoch: u64,
    floor: u64,
    written_floor: u64,
}

pub(super) fn after_every_step(
    hub: &Hub,
    reference: &Reference,
    before: &mut Before,
    timed_out: bool,
) {
    i01_every_matched_sequence_is_in_one_state(hub, reference);
    i02_one_lease_per_delivery_is_honoured(hub, reference);
    i03_enough_failures_make_one_dead_letter(hub, reference);
    i04_nothing_is_confirmed_before_it_is_durable(hub, reference);
    i06_the_floor_never_goes_back(hub, reference, before);
    i07_nothing_due_remains(hub, reference, timed_out);
    i08_the_written_changes_add_up_to_the_state(hub, reference);
    no_resource_has_more_leases_than_it_may(reference);
    nobody_with_room_waits_for_what_is_ready(hub, reference);
}

/// Whether a delivery should be in this state.
fn is(delivery: &Delivery, state: &str) -> bool {
    let expected = match (delivery.live.end, &delivery.run, delivery.waiting) {
        (End::Done | End::Superseded(_), ..) => "done",
        (End::Dead, ..) => "dead",
        (End::Purged, ..) => "purged",
        (End::Open, Some(_), _) => "leased",
        (End::Open, None, true) => "waiting",
        (End::Open, None, false) => "ready",
    };
    // As long as it is not written when it is due, it may be either.
    let perhaps =
        matches!(delivery.live.due, Due::Between(low, _) if Some(low) <= delivery.looked_at);
    expected == state || (expected == "waiting" && perhaps && state == "ready")
}

fn name_of(status: &Status) -> &'static str {
    match status {
        Status::Unscanned => "unscanned",
        Status::Ready(_) => "ready",
        Status::Leased { .. } => "leased",
        Status::Waiting { .. } => "waiting",
        Status::Done => "done",
        Status::Dead => "dead",
        Status::Purged => "purged",
    }
}

fn i01_every_matched_sequence_is_in_one_state(hub: &Hub, reference: &Reference) {
    let matching = (1..=hub.log.len() as u64).filter(|n| hub.matches(*n));
    assert!(matching.eq(reference.deliveries.keys().copied()));
    let mut counted = std::collections::BTreeMap::new();
    for (n, delivery) in &reference.deliveries {
        let state = name_of(&hub.status(*n));
        assert!(is(delivery, state), "{n} is {state}: {delivery:?}");
        *counted.entry(state).or_insert(0) += 1;
    }
    let counts = hub.subscription.counts();
    let count = |state| counted.get(state).copied().unwrap_or(0);
    assert_eq!(counts.ready, count("ready"));
    assert_eq!(counts.leased, count("leased"));
    assert_eq!(counts.waiting, count("waiting"));
    assert_eq!(counts.dead, count("dead"));
    let open: Vec<_> = hub.subscription.open().map(|(sequence, _)| sequence.get()).collect();
    assert_eq!(open.len() as u64, counts.ready + counts.leased + counts.waiting);
    assert!(open.iter().all(|n| hub.matches(*n)));
}

/// That no second ack is confirmed is asserted with each answer, also over restarts.
fn i02_one_lease_per_delivery_is_honoured(hub: &Hub, reference: &Reference) {
    for (n, delivery) in &reference.deliveries {
        let Some(run) = &delivery.run else { continue };
        let Status::Leased { consumer, started_at, expires_at, .. } = hub.status(*n) else {
            panic!("{n} is leased")
        };
        assert_eq!(
            (consumer, started_at, expires_at),
            (run.consumer.clone(), run.started, run.expires)
        );
    }
    for (name, held) in hub.subscription.consumers() {
        assert_eq!(reference.held_by(&name).count(), held, "{name}");
    }
}

fn i03_enough_failures_make_one_dead_letter(hub: &Hub, reference: &Reference) {
    for (n, delivery) in &reference.deliveries {
        let allowed = reference.max_attempts;
        assert!(delivery.live.end != End::Open || delivery.live.attempts < allowed, "{n}");
        let row = hub.ledger.letters.contains_key(&sequence(*n));
        let facts = &delivery.durable;
        let wanted = match facts.end {
            End::Dead => true,
            End::Open => facts.redriven,
            End::Done | End::Purged | End::Superseded(_) => false,
        };
        assert_eq!(row, wanted, "{n}: {facts:?}");
    }
    assert_eq!(hub.ledger.deaths, reference.deaths);
}

fn i04_nothing_is_confirmed_before_it_is_durable(hub: &Hub, reference: &Reference) {
    for (n, delivery) in &reference.deliveries {
        assert!(delivery.confirmed <= delivery.durable.version, "{n}: {delivery:?}");
    }
    for (n, (generation, _)) in &reference.acked {
        let facts = &reference.deliveries[n].durable;
        assert!(facts.end == End::Done || *generation < facts.generation, "{n}: {facts:?}");
    }
    if hub.out.is_none() {
        assert!(reference.expected.is_empty(), "unanswered: {:?}", reference.expected);
    }
    assert!(reference.lost.is_empty(), "untold: {:?}", reference.lost);
}

/// What a stale lease may not touch: asserted around each settle that is answered so.
pub(super) fn i05_state(hub: &Hub) -> impl PartialEq + std::fmt::Debug + use<> {
    let open: Vec<_> = hub.subscription.open().collect();
    (open, hub.subscription.counts(), hub.subscription.position(), hub.commits)
}

fn i06_the_floor_never_goes_back(hub: &Hub, reference: &Reference, before: &mut Before) {
    let (floor, scanned) = hub.subscription.position();
    let written = &hub.ledger.snapshot;
    assert!(floor <= scanned && scanned <= hub.log.len() as u64);
    assert!(written.floor <= floor && before.written_floor <= written.floor);
    if before.epoch == hub.epoch {
        assert!(before.floor <= floor, "{before:?}, then {floor}");
    }
    let finished = |n: &u64, durable: bool| {
        let delivery = &reference.deliveries[n];
        let facts = if durable { &delivery.durable } else { &delivery.live };
        facts.end != End::Open || facts.redriven || facts.replayed
    };
    let mut open = reference.deliveries.keys().filter(|n| !finished(n, false));
    let expected = open.next().map_or(scanned, |n| n - 1);
    assert_eq!(floor, expected);
    assert!(reference.deliveries.range(..=written.floor).all(|(n, _)| finished(n, true)));
    *before = Before { epoch: hub.epoch, floor, written_floor: written.floor };
}

fn i07_nothing_due_remains(hub: &Hub, reference: &Reference, timed_out: bool) {
    let next = hub.subscription.poll_timeout();
    if timed_out {
        assert!(next.is_none_or(|next| hub.now < next), "due {next:?} at {}", hub.now);
    }
    if let Some((end, ..)) = reference.next_end() {
        assert!(next.is_some_and(|next| next <= end), "nobody wakes for {end}: {next:?}");
    }
}

fn i08_the_written_changes_add_up_to_the_state(hub: &Hub, reference: &Reference) {
    let snapshot = &hub.ledger.snapshot;
    for (n, delivery) in &reference.deliveries {
        let facts = &delivery.durable;
        let record = snapshot.records.get(&sequence(*n));
        assert_eq!(snapshot.dead.contains(sequence(*n)), facts.end == End::Dead, "{n}");
        let is_purged = facts.end == End::Purged || (facts.end == End::Open && facts.was_purged);
        assert_eq!(snapshot.purged.contains(sequence(*n)), is_purged, "{n}");
        let done = *n <= snapshot.floor || snapshot.finished.contains(sequence(*n));
        assert_eq!(done && record.is_none(), facts.end != End::Open, "{n}: {facts:?}");
        let attempts = record.map_or(0, |record| record.attempts);
        assert!(facts.end != End::Open || attempts == facts.attempts, "{n}");
    }
    if hub.out.is_some() {
        return;
    }
    for (sequence, status) in hub.subscription.open() {
        let (live, leased) = match status {
            Status::Ready(record) | Status::Waiting { record, .. } => (record, None),
            Status::Leased { record, consumer, started_at, .. } => {
                (record, Some((consumer, started_at)))
            }
            Status::Unscanned | Status::Done | Status::Dead | Status::Purged => panic!("not open"),
        };
        // What nothing has happened to needs no record.
        let untouched = Record { resource: live.resource, ..Record::default() };
        let written = snapshot.records.get(&sequence).cloned().unwrap_or(untouched);
        if let Some(lease) = &written.lease {
            assert_eq!(leased, Some((lease.consumer.clone(), lease.started_at)), "{sequence}");
        }
        // That a transport did not take a lease is not worth a write.
        let durable =
            |record: Record| Record { lease: None, fence: None, late_ack: None, ..record };
        assert_eq!(durable(live), durable(written), "{sequence}");
    }
}

/// With an order, at most so many leases of a resource as may be: part of (2). A lease that a crash made the hub forget was
/// given after another had ended whose end the crash undid: taken up again, it runs beside that.
fn no_resource_has_more_leases_than_it_may(reference: &Reference) {
    let Some(at_once) = reference.policy.leases_per_resource() else { return };
    let mut running = std::collections::BTreeMap::new();
    for delivery in reference.deliveries.values() {
        let since = delivery.run.as_ref().is_some_and(|run| run.stamp.epoch.0 == reference.epoch);
        if let Some(resource) = delivery.resource.filter(|_| since) {
            *running.entry(resource).or_insert(0) += 1;
        }
    }
    assert!(running.values().all(|count| *count <= at_once), "{running:?}");
}

/// Nothing is stuck: part of (10), at any time.
fn nobody_with_room_waits_for_what_is_ready(hub: &Hub, reference: &Reference) {
    if !reference.gate.clone().is_wide_open(&reference.policy, hub.now) {
        return;
    }
    let roomy = reference.consumers.iter().filter(|(name, who)| reference.has_room(name, who));
    let roomy: Vec<_> = roomy.map(|(name, _)| name).collect();
    let ready = reference.deliveries.iter();
    let ready = ready.filter(|(n, delivery)| delivery.is_ready() && reference.admits(**n));
    for (n, delivery) in ready {
        let by = delivery.shunned.as_ref().map(|(by, _)| by);
        let waits = roomy.iter().find(|name| Some(**name) != by);
        assert_eq!(waits, None, "{n} is ready at {}: {delivery:?}", hub.now);
    }
}

/// When faults have stopped and consumers ack.
pub(super) fn i10_every_event_has_ended(hub: &Hub, reference: &Reference) {
    for (n, delivery) in &reference.deliveries {
        assert_ne!(delivery.live.end, End::Open, "{n}: {delivery:?}");
        assert_eq!(delivery.durable.end, delivery.live.end, "{n}");
    }
    let counts = hub.subscription.counts();
    assert_eq!((counts.ready, counts.leased, counts.waiting), (0, 0, 0));
    let end = hub.log.len() as u64;
    assert_eq!(hub.subscription.position(), (end, end));
    assert_eq!((hub.ledger.snapshot.floor, hub.ledger.snapshot.scanned), (end, end));
    assert!(hub.ledger.snapshot.records.is_empty());
}
