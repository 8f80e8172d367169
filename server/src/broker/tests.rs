//! The broker over the store in memory, whose failures are planned.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use hookline_core::{
    delivery::{Ended, Grant, Nack, NackAction, Outcome, Policy},
    event::{EventType, NewEvent, Sequence, SourceName, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};

use super::{
    Broker, CreateError, End, Inbox, Item, LeaseOutcome, NewSubscription, Rule, Settle, Sight,
    Start, retention::Bounds,
};
use crate::{
    clock::SystemClock,
    store::{
        EventLog as _, Ledger as _, ReadLimit, ReadRange,
        memory::{Fault, MemoryStore},
    },
    tasks::Tasks,
    traces::Traces,
};

const ALL: ReadRange =
    ReadRange { after: 0, limit: ReadLimit { count: usize::MAX, bytes: usize::MAX } };

/// A wait that is in vain fails after this.
const PATIENCE: Duration = Duration::from_secs(20);

struct Hub {
    store: Arc<MemoryStore>,
    broker: Broker,
    _tasks: Tasks,
}

impl Hub {
    async fn start(store: Arc<MemoryStore>) -> Self {
        let tasks = Tasks::new();
        let clock = SystemClock::start(store.last_written_at());
        let group = tasks.group("subscriptions");
        let broker = Broker::start(
            Arc::clone(&store) as _,
            Arc::clone(&store) as _,
            clock,
            group,
            Traces::default(),
        );
        Self { broker: broker.await.unwrap(), store, _tasks: tasks }
    }

    async fn create(&self, name: &str, patterns: &[&str], policy: Policy) {
        let new = NewSubscription {
            name: named(name),
            rule: rule(patterns),
            start: Start::Earliest,
            policy,
        };
        self.broker.create(new).await.unwrap();
    }

    async fn join(&self, name: &str, consumer: &str) -> Inbox {
        let opened = self.broker.subscribe(&named(name), consumer.into(), 10).await;
        let (_, mut inbox) = opened.unwrap().unwrap();
        let Item::Ready { .. } = next(&mut inbox).await.unwrap() else { panic!("no ready") };
        inbox
    }

    async fn append(&self, event_type: &str) {
        let now = self.broker.clock().wall();
        self.store.append(vec![event(event_type)], now).await.unwrap();
    }

    async fn settle(&self, grant: &Grant, settle: Settle) -> LeaseOutcome<Outcome> {
        let lease = self.broker.seal().seal(&grant.lease);
        let settled = self.broker.settle(vec![(lease, settle)]);
        *tokio::time::timeout(PATIENCE, settled).await.unwrap().first().unwrap()
    }

    async fn subjects(&self) -> Vec<String> {
        let limit = ReadLimit { count: 100, bytes: usize::MAX };
        let entries = self.store.read(ReadRange { after: 0, limit }).await.unwrap();
        entries.iter().map(|entry| entry.event.subject()).collect()
    }
}

fn named(name: &str) -> SubscriptionName {
    SubscriptionName::parse(name).unwrap()
}

fn rule(patterns: &[&str]) -> Rule {
    Rule { patterns: PatternSet::parse(patterns).unwrap(), filter: None }
}

/// Returns an event of GitHub's, which is about nothing.
pub(super) fn event(event_type: &str) -> NewEvent {
    NewEvent {
        source: SourceName::parse("github").unwrap(),
        event_type: EventType::parse(event_type).unwrap(),
        timestamp: Timestamp::EPOCH,
        actor: "octocat".into(),
        resource_type: "".into(),
        resource_id: "".into(),
        payload: Bytes::from_static(br#"{"zen":"Anything added dilutes everything else."}"#),
        metadata: [].into(),
        delivery_key: "".into(),
        replay_window: None,
    }
}

async fn next(inbox: &mut Inbox) -> Result<Item, End> {
    let item = tokio::time::timeout(PATIENCE, inbox.next()).await.expect("nothing came");
    item.expect("the stream ended without a word")
}

async fn delivery(inbox: &mut Inbox) -> Grant {
    let item = next(inbox).await.unwrap();
    let Item::Delivery { grant, .. } = item else { panic!("not a delivery: {item:?}") };
    grant
}

/// Returns a hub whose subscription `all` has handed out its only event, the consumer's stream, and the grant.
async fn working() -> (Hub, Inbox, Grant) {
    let hub = Hub::start(MemoryStore::new()).await;
    hub.create("all", &["github"], Policy::default()).await;
    let mut inbox = hub.join("all", "a").await;
    hub.append("push").await;
    let grant = delivery(&mut inbox).await;
    (hub, inbox, grant)
}

fn reject() -> Settle {
    Settle::Nack(Nack {
        action: NackAction::DeadLetter,
        reason: "no such repository".to_owned(),
        error_type: String::new(),
        retry_after: None,
    })
}

#[tokio::test]
async fn an_ack_is_answered_only_after_its_commit() {
    let (hub, _inbox, grant) = working().await;
    hub.store.faults().pause();
    let lease = hub.broker.seal().seal(&grant.lease);
    let mut ack = Box::pin(hub.broker.settle(vec![(lease, Settle::Ack)]));
    // The task has taken the ack in once it has told how it stands; its commit is out, and paused.
    let asked = async {
        let view = hub.broker.view(&named("all")).await.unwrap().unwrap();
        assert_eq!(view.overview.counts.leased, 0);
    };
    tokio::select! {
        biased;
        answer = &mut ack => panic!("answered before it was written: {answer:?}"),
        () = asked => {}
    }
    hub.store.faults().release();
    assert_eq!(ack.await, [LeaseOutcome::Answered(Outcome::Applied)]);
}

#[tokio::test]
async fn how_a_delivery_ended_is_told_once_it_is_written() {
    let (hub, _inbox, grant) = working().await;
    let entry = hub.store.read(ALL).await.unwrap().remove(0);
    hub.store.faults().pause();
    let lease = hub.broker.seal().seal(&grant.lease);
    let ack = hub.broker.settle(vec![(lease, Settle::Ack)]);
    let told = async {
        // The ack was taken in, and is not written.
        while hub.broker.view(&named("all")).await.unwrap().unwrap().overview.counts.leased > 0 {
            tokio::task::yield_now().await;
        }
        let mut told = Box::pin(hub.broker.deliveries_of(&Sight::All, &entry));
        for _ in 0..100 {
            tokio::select! {
                biased;
                told = &mut told => panic!("told before it was written: {told:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        hub.store.faults().release();
        told.await.unwrap().remove(0)
    };
    let (_, told) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(ack, told) }).await.unwrap();
    assert!(matches!(told.past.ended[..], [Ended::Acked(_)]), "{told:?}");
}

#[tokio::test]
async fn a_commit_that_fails_is_answered_retry_and_the_event_comes_again() {
    let (hub, mut inbox, grant) = working().await;
    hub.store.faults().fail_commit(Fault::BeforeWrite);
    assert_eq!(hub.settle(&grant, Settle::Ack).await, LeaseOutcome::Retry);
    assert_eq!(next(&mut inbox).await.unwrap_err(), End::Unavailable);
    // The lease was forgotten, and nobody else has been given the event: it may be taken up.
    let applied = LeaseOutcome::Answered(Outcome::Applied);
    assert_eq!(hub.settle(&grant, Settle::Ack).await, applied);
}

#[tokio::test]
async fn a_commit_that_was_written_and_answered_as_failed_is_already_applied() {
    let (hub, _inbox, grant) = working().await;
    hub.store.faults().fail_commit(Fault::AfterWrite);
    assert_eq!(hub.settle(&grant, Settle::Ack).await, LeaseOutcome::Retry);
    let already = LeaseOutcome::Answered(Outcome::AlreadyApplied);
    assert_eq!(hub.settle(&grant, Settle::Ack).await, already);
}

#[tokio::test]
async fn another_owner_of_the_ledger_ends_the_streams() {
    let (hub, mut inbox, grant) = working().await;
    hub.store.faults().fail_commit(Fault::Fenced);
    assert_eq!(hub.settle(&grant, Settle::Ack).await, LeaseOutcome::Retry);
    assert_eq!(next(&mut inbox).await.unwrap_err(), End::Unavailable);
}

/// Waits until no dead letter is left to be announced.
async fn all_announced(hub: &Hub) {
    let announced = async {
        while !hub.store.unannounced(1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, announced).await.unwrap();
}

#[tokio::test]
async fn g9_a_dead_letter_is_announced_once_though_the_hub_has_to_try_twice() {
    let hub = Hub::start(MemoryStore::new()).await;
    hub.create("prs", &["github"], Policy::default()).await;
    hub.create("watch", &["dead-letter/*"], Policy::default()).await;
    let mut watch = hub.join("watch", "w").await;
    let mut inbox = hub.join("prs", "a").await;
    hub.append("push").await;
    let grant = delivery(&mut inbox).await;
    // The announcement is written, and the hub does not learn it: as by a crash before the row is marked.
    hub.store.faults().fail_append(Fault::AfterWrite);
    let applied = LeaseOutcome::Answered(Outcome::Applied);
    assert_eq!(hub.settle(&grant, reject()).await, applied);
    let announced = delivery(&mut watch).await;
    all_announced(&hub).await;
    // A failure of who looks after failures is a dead letter too, and is announced no further.
    assert_eq!(hub.settle(&announced, reject()).await, applied);
    all_announced(&hub).await;
    assert_eq!(hub.subjects().await, ["github/push", "dead-letter/prs"]);
}

#[tokio::test]
async fn the_newest_stream_of_a_consumer_takes_over_with_what_it_holds() {
    let hub = Hub::start(MemoryStore::new()).await;
    hub.create("all", &["github"], Policy::default()).await;
    let mut older = hub.join("all", "a").await;
    hub.append("push").await;
    let grant = delivery(&mut older).await;
    let opened = hub.broker.subscribe(&named("all"), "a".into(), 10).await.unwrap();
    let (_, mut newer) = opened.unwrap();
    let Item::Ready { held, .. } = next(&mut newer).await.unwrap() else { panic!("no ready") };
    assert_eq!(held.iter().map(|(held, ..)| &held.lease).collect::<Vec<_>>(), [&grant.lease]);
    assert_eq!(next(&mut older).await.unwrap_err(), End::TakenOver);
}

#[tokio::test]
async fn d8_a_stream_that_is_opened_as_the_hub_stops_is_ready_before_it_is_told() {
    let hub = Hub::start(MemoryStore::new()).await;
    hub.create("all", &["github"], Policy::default()).await;
    let name = named("all");
    // The task takes in both at once.
    let subscribe = hub.broker.subscribe(&name, "a".into(), 10);
    let drain = hub.broker.drain(Duration::from_secs(1), std::future::pending());
    let (opened, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(subscribe, drain) })
        .await
        .expect("the hub drains");
    let (_, mut inbox) = opened.unwrap().unwrap();
    assert!(matches!(next(&mut inbox).await, Ok(Item::Ready { .. })));
    assert!(matches!(next(&mut inbox).await, Ok(Item::Draining { .. })));
}

#[tokio::test]
async fn what_a_stream_was_never_asked_for_goes_to_the_next_uncounted() {
    let hub = Hub::start(MemoryStore::new()).await;
    hub.create("all", &["github"], Policy::default()).await;
    let unread = hub.join("all", "a").await;
    hub.append("push").await;
    // The task has put the delivery into the queue once it says that it is leased.
    let leased = async {
        loop {
            let view = hub.broker.view(&named("all")).await.unwrap().unwrap();
            if view.overview.counts.leased == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, leased).await.unwrap();
    drop(unread);
    let mut inbox = hub.join("all", "b").await;
    let grant = delivery(&mut inbox).await;
    assert_eq!(grant.lease.attempt, 1);
}

#[tokio::test]
async fn a_subscription_whose_creation_was_answered_as_failed_is_adopted() {
    let hub = Hub::start(MemoryStore::new()).await;
    let new = NewSubscription {
        name: named("all"),
        rule: rule(&["github"]),
        start: Start::Earliest,
        policy: Policy::default(),
    };
    hub.store.faults().fail_commit(Fault::AfterWrite);
    assert!(matches!(hub.broker.create(new.clone()).await, Err(CreateError::Commit(_))));
    assert!(matches!(hub.broker.create(new).await, Err(CreateError::Exists(_))));
    let mut inbox = hub.join("all", "a").await;
    hub.append("push").await;
    drop(delivery(&mut inbox).await);
}

#[tokio::test]
async fn a_name_is_free_again_once_its_subscription_is_deleted() {
    let (hub, mut inbox, grant) = working().await;
    assert!(hub.broker.delete(&named("all")).await.unwrap());
    assert_eq!(next(&mut inbox).await.unwrap_err(), End::Deleted);
    assert_eq!(hub.settle(&grant, Settle::Ack).await, LeaseOutcome::Gone);
    hub.create("all", &["github"], Policy::default()).await;
    let mut inbox = hub.join("all", "a").await;
    let again = delivery(&mut inbox).await;
    assert_ne!(again.lease.creation, grant.lease.creation);
    assert_eq!(hub.settle(&grant, Settle::Ack).await, LeaseOutcome::Gone);
}

#[tokio::test]
async fn an_ephemeral_subscription_is_gone_with_its_stream() {
    let hub = Hub::start(MemoryStore::new()).await;
    let opened = hub
        .broker
        .subscribe_ephemeral(rule(&["github"]), Start::Latest, Policy::default(), "a".into(), 1)
        .await;
    let (_, mut inbox) = opened.unwrap();
    let Item::Ready { .. } = next(&mut inbox).await.unwrap() else { panic!("no ready") };
    hub.append("push").await;
    let grant = delivery(&mut inbox).await;
    drop(inbox);
    let gone = async {
        while hub.settle(&grant, Settle::Ack).await != LeaseOutcome::Gone {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert!(hub.store.subscriptions().await.unwrap().is_empty());
}

/// Trims up to a place, hard from `hard` on; returns where the log begins then.
async fn trimmed(hub: &Hub, soft: u64, hard: u64) -> u64 {
    let sequence = |n| Sequence::new(n).unwrap();
    let bounds = Bounds { soft: sequence(soft), hard: sequence(hard) };
    hub.broker.trim(bounds).await.unwrap();
    hub.store.first().get()
}

#[tokio::test]
async fn i6_the_log_is_trimmed_as_far_as_every_durable_subscription_lets_it_go() {
    let hub = Hub::start(MemoryStore::new()).await;
    for _ in 0..5 {
        hub.append("push").await;
    }
    assert_eq!(trimmed(&hub, 2, 1).await, 2, "nobody is there");
    hub.create("slow", &["github"], Policy::default()).await;
    hub.create("fast", &["github"], Policy::default()).await;
    hub.create("other", &["stripe"], Policy::default()).await;
    let mut inbox = hub.join("fast", "a").await;
    for _ in 2..=5 {
        let grant = delivery(&mut inbox).await;
        hub.settle(&grant, Settle::Ack).await;
    }
    assert_eq!(trimmed(&hub, 6, 1).await, 2, "`slow` has done nothing");
    let mut inbox = hub.join("slow", "a").await;
    let grant = delivery(&mut inbox).await;
    hub.settle(&grant, Settle::Ack).await;
    assert_eq!(trimmed(&hub, 6, 1).await, 3);
    assert!(hub.store.dead_letters(grant.lease.creation, ALL).await.unwrap().is_empty());
}

#[tokio::test]
async fn i6_what_is_given_up_is_durable_before_the_log_is_trimmed() {
    let hub = Hub::start(MemoryStore::new()).await;
    hub.create("paused", &["github"], Policy::default()).await;
    for _ in 0..3_000 {
        hub.append("push").await;
    }
    assert_eq!(trimmed(&hub, 2_501, 2_501).await, 2_501);
    // As after a crash: another hub on what was durable.
    let hub = Hub::start(hub.store.faults().crash()).await;
    let view = hub.broker.view(&named("paused")).await.unwrap().unwrap();
    assert_eq!(view.overview.counts.dead, 2_500);
    all_announced(&hub).await;
    let announced = hub.store.read(ReadRange { after: 3_000, limit: ALL.limit }).await.unwrap();
    let announced = announced.len();
    assert!((3..=10).contains(&announced), "{announced} announcements of 2,500 at 1,000 a commit");
    let mut inbox = hub.join("paused", "a").await;
    assert_eq!(delivery(&mut inbox).await.lease.sequence.get(), 2_501);
}

#[tokio::test]
async fn i6_a_failed_commit_keeps_the_log() {
    let hub = Hub::start(MemoryStore::new()).await;
    hub.create("work", &["github"], Policy::default()).await;
    hub.append("push").await;
    let two = Sequence::new(2).unwrap();
    let bounds = Bounds { soft: two, hard: two };
    hub.store.faults().fail_commit(Fault::BeforeWrite);
    assert!(hub.broker.trim(bounds).await.is_err());
    assert_eq!(hub.store.first().get(), 1);
    // The next time.
    assert_eq!(trimmed(&hub, 2, 2).await, 2);
}

#[tokio::test]
async fn i6_what_follows_no_stored_position_holds_nothing() {
    let hub = Hub::start(MemoryStore::new()).await;
    let new = (rule(&["github"]), Start::Earliest, Policy::default());
    let opened = hub.broker.subscribe_ephemeral(new.0, new.1, new.2, "a".into(), 1).await.unwrap();
    let (_, mut inbox) = opened;
    let Item::Ready { .. } = next(&mut inbox).await.unwrap() else { panic!("no ready") };
    for _ in 0..3 {
        hub.append("push").await;
    }
    let first = delivery(&mut inbox).await;
    assert_eq!(trimmed(&hub, 3, 1).await, 3);
    hub.settle(&first, Settle::Ack).await;
    assert_eq!(delivery(&mut inbox).await.lease.sequence.get(), 3, "what is gone is passed over");
}
