//! Planned failures happen as planned.

use hookline_core::{
    delivery::{Change, Pause, Policy},
    event::{EventType, SourceName, SubscriptionName},
    pattern::PatternSet,
};

use super::{super::Rule, *};

const ALL: ReadRange =
    ReadRange { after: 0, limit: ReadLimit { count: usize::MAX, bytes: usize::MAX } };

fn event(key: &str) -> NewEvent {
    NewEvent {
        source: SourceName::parse("github").unwrap(),
        event_type: EventType::parse("push").unwrap(),
        timestamp: Timestamp::EPOCH,
        actor: "".into(),
        resource_type: "".into(),
        resource_id: "".into(),
        payload: Bytes::from_static(b"{}"),
        metadata: [].into(),
        delivery_key: key.into(),
        replay_window: None,
    }
}

async fn own(store: &MemoryStore) -> (Creation, Epoch) {
    let config = SubscriptionConfig {
        name: SubscriptionName::parse("prs").unwrap(),
        rule: Rule { patterns: PatternSet::parse(["github"]).unwrap(), filter: String::new() },
        earlier: Vec::new(),
        look_back: None,
        policy: Policy::default(),
        pause: Pause::Off,
        created_at: Timestamp::EPOCH,
        start_after: 0,
    };
    let creation = store.create(config).await.unwrap();
    (creation, store.open(creation).await.unwrap().0)
}

fn commit() -> Commit {
    Commit { changes: vec![Change::Position { floor: 1, scanned: 2 }], ..Commit::default() }
}

#[tokio::test]
async fn a_failed_append_is_written_or_not_as_planned() {
    let store = MemoryStore::new();
    for (fault, written) in [(Fault::BeforeWrite, false), (Fault::AfterWrite, true)] {
        store.faults().fail_append(fault);
        let key = format!("{fault:?}");
        let failed = store.append(vec![event(&key)], Timestamp::EPOCH).await;
        assert!(matches!(failed, Err(AppendError::Unavailable(_))));
        let again = store.append(vec![event(&key)], Timestamp::EPOCH).await.unwrap();
        assert_eq!(again[0].duplicate, written, "{fault:?}");
    }
    assert_eq!(*store.head().borrow(), 2);
}

#[tokio::test]
async fn a_failed_commit_is_written_or_not_as_planned() {
    let cases = [(Fault::BeforeWrite, 0), (Fault::AfterWrite, 1), (Fault::Fenced, 0)];
    for (fault, floor) in cases {
        let store = MemoryStore::new();
        let (creation, epoch) = own(&store).await;
        store.faults().fail_commit(fault);
        let error = store.commit(creation, epoch, commit()).await.unwrap_err();
        assert_eq!(matches!(error, CommitError::Fenced), fault == Fault::Fenced);
        assert_eq!(store.open(creation).await.unwrap().1.floor, floor, "{fault:?}");
    }
}

#[tokio::test]
async fn what_waits_at_a_crash_is_lost_and_the_rest_is_there() {
    let store = MemoryStore::new();
    store.append(vec![event("before")], Timestamp::EPOCH).await.unwrap();
    let (creation, epoch) = own(&store).await;
    store.faults().pause();
    let faults = store.faults();
    let (append, committed, after) = tokio::join!(
        store.append(vec![event("waiting")], Timestamp::EPOCH),
        store.commit(creation, epoch, commit()),
        async move { faults.crash() },
    );
    assert!(append.is_err() && committed.is_err());
    assert_eq!(after.read(ALL).await.unwrap().len(), 1);
    assert_eq!(after.open(creation).await.unwrap().1.floor, 0);
    assert!(store.read(ALL).await.is_err(), "what was there before the crash is over");
}

#[tokio::test]
async fn what_is_paused_goes_on_when_it_is_released() {
    let store = MemoryStore::new();
    store.faults().pause();
    let faults = store.faults();
    let (appended, ()) = tokio::join!(
        store.append(vec![event("k")], Timestamp::EPOCH),
        async move { faults.release() },
    );
    assert_eq!(appended.unwrap().len(), 1);
}
