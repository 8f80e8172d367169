use hookline_core::{
    delivery::{BreakerState, Creation, Epoch, LeaseId, Stamp},
    event::{Event, EventId, EventType, NewEvent, Sequence, SourceName, SubscriptionName},
    pattern::PatternSet,
};

use super::*;
use crate::{
    broker::{Overview, Rule},
    limits::{CLIENT_MESSAGE_BYTES, HELD_BYTES_MAX, IN_FLIGHT_MAX},
    store::Packed,
};

fn identity() -> Identity {
    Identity {
        creation: Creation(1),
        name: SubscriptionName::parse("work").unwrap(),
        rule: Rule { patterns: PatternSet::parse(["*"]).unwrap(), filter: None },
        earlier: Vec::new(),
        look_back: None,
        policy: Policy::default(),
        pause: Pause::Off,
        created_at: Timestamp::EPOCH,
        start_after: 0,
    }
}

/// A lease whose history has `attempts`, and an event with texts of 1 KiB and as much metadata as is said.
fn lease(number: u64, attempts: u32, metadata: usize) -> (Grant, Arc<Entry>, Background) {
    let text = || "x".repeat(1_024);
    let sequence = Sequence::new(number).unwrap();
    let content = NewEvent {
        source: SourceName::parse("github").unwrap(),
        event_type: EventType::parse(&"x".repeat(128)).unwrap(),
        timestamp: Timestamp::EPOCH,
        actor: text().into(),
        resource_type: text().into(),
        resource_id: text().into(),
        payload: Bytes::new(),
        metadata: (0..metadata).map(|number| (number.to_string(), text())).collect(),
        delivery_key: text().into(),
        replay_window: None,
    };
    let id = EventId::new(Timestamp::EPOCH, [0; 10]);
    let event = Event { id, sequence, received_at: Timestamp::EPOCH, content };
    let history = (1..=attempts).map(|number| Attempt {
        number,
        consumer: "one".to_owned(),
        started_at: Timestamp::EPOCH,
        ended_at: Timestamp::EPOCH,
        end: AttemptEnd::Nacked,
        reason: "x".repeat(4_096),
        error_type: String::new(),
    });
    let grant = Grant {
        lease: LeaseId {
            creation: Creation(1),
            sequence,
            generation: 0,
            attempt: 1,
            stamp: Stamp { epoch: Epoch(1), counter: number },
            consumer: "x".repeat(128).into(),
        },
        expires_at: Timestamp::EPOCH,
        background: true,
        redriven: false,
    };
    let packed = Packed::Plain(Bytes::new());
    let background = Background { attempts: history.collect(), ..Background::default() };
    (grant, Arc::new(Entry { event, payload_size: 0, packed }), background)
}

#[test]
fn what_is_held_is_whole_where_it_fits_and_named_where_it_does_not() {
    let (seal, identity) = (Seal::new(&[7; 32]), identity());
    let of = |leases: &[_], budget| held(&seal, &identity, leases, budget);
    let leases: Vec<_> = (1..=3).map(|number| lease(number, 20, 4)).collect();
    let whole = of(&leases, HELD_BYTES_MAX);
    assert!(whole.iter().all(|one| one.previous_attempts.len() == 20));
    assert!(whole.iter().all(|one| one.event.as_ref().unwrap().metadata.len() == 4));
    // The first has all that it has, the second no attempts, the third no metadata either.
    let cut = of(&leases, whole[0].encoded_len() + 12 * 1_024);
    let attempts: Vec<_> = cut.iter().map(|one| one.previous_attempts.len()).collect();
    assert_eq!(attempts, [20, 0, 0]);
    let events: Vec<_> = cut.iter().map(|one| one.event.as_ref().unwrap()).collect();
    assert_eq!(events.iter().map(|event| event.metadata.len()).collect::<Vec<_>>(), [4, 4, 0]);
    let sealed = |one: &v1::Delivery| one.lease_id.clone();
    assert!(cut.iter().map(sealed).eq(whole.iter().map(sealed)));
}

#[test]
fn what_is_held_fits_a_message_at_its_largest() {
    let leases: Vec<_> =
        (1..=u64::from(IN_FLIGHT_MAX)).map(|number| lease(number, 5, 64)).collect();
    let deliveries = held(&Seal::new(&[7; 32]), &identity(), &leases, HELD_BYTES_MAX);
    assert_eq!(deliveries.len(), leases.len());
    let ready = v1::Ready { held: deliveries, ..v1::Ready::default() };
    assert!(ready.encoded_len() < HELD_BYTES_MAX + 16 * 1_024, "{}", ready.encoded_len());
    assert!(ready.encoded_len() < CLIENT_MESSAGE_BYTES);
}

#[test]
fn a_subscription_is_shown_with_so_many_consumers_and_no_more() {
    let consumers = (0..1_500).map(|number| (format!("{number:04}"), 1)).collect();
    let position = Position { log_end: 0, scanned: 0, done_floor: 0 };
    let counts = Counts::default();
    let (hold, breaker) = (None, BreakerState::Closed);
    let overview = Overview { position, counts, first_open: None, hold, breaker, consumers };
    let identity = Arc::new(identity());
    let view = SubscriptionView { identity, overview, oldest_received_at: None };
    let shown = subscription(&view, Timestamp::EPOCH);
    assert_eq!((shown.consumers.len(), shown.consumers[999].as_str()), (1_000, "0999"));
}
