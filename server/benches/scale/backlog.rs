//! A long backlog and many retries, beside short ones.

use std::path::Path;

use bytes::Bytes;
use hookline_client::{Client, Policy};
use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, Change, Creation, Epoch, Pause, Policy as CorePolicy, Record, Stamp,
    },
    event::{EventType, NewEvent, Sequence, SourceName, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};
use hookline_server::store::{
    Commit, EventLog as _, Ledger as _, Rule, SubscriptionConfig,
    sled::{Options, SledStore},
};

use crate::{
    Outcome,
    latency::{Probe, compare, now, pause},
    load, median,
    servers::Server,
};

/// The store's cache of both hubs: as small as it may be, so that what is compared is not the cache.
const CACHE: &str = "8MiB";
/// How many events wait at the other hubs, and how many retries at the smaller one.
const FEW: (usize, usize) = (10_000, 1_000);

/// Compares a hub where so many events and retries wait with one where fewer events do, and one with few of both.
pub(crate) async fn run(rounds: usize, many: (usize, usize)) -> Outcome {
    let folder = tempfile::tempdir()?;
    let fewer = (FEW.0, many.1);
    println!("preparing events and retries: {many:?}, {fewer:?} and {FEW:?}");
    for (name, of) in [("many", many), ("fewer", fewer), ("few", FEW)] {
        prepare(&folder.path().join(name), of).await?;
    }
    let (mut of_fewer, mut of_few) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let few = first_delivery(&folder.path().join("few"), round).await?;
        let fewer = first_delivery(&folder.path().join("fewer"), round).await?;
        let many = first_delivery(&folder.path().join("many"), round).await?;
        println!(
            "round {round}: first delivery {:.2} s after the start (at most 2); resident {} MB, with fewer events {} MB, \
             with few of both {} MB",
            many.0,
            many.1 / 1_024,
            fewer.1 / 1_024,
            few.1 / 1_024,
        );
        of_fewer.push(ratio(many.1, fewer.1));
        of_few.push(ratio(many.1, few.1));
    }
    println!(
        "median of the ratios of memory: {:.2} with fewer events (at most 1.3), {:.2} with few of both",
        median(of_fewer),
        median(of_few)
    );
    // With the cache that a hub has by itself.
    let hub = start(&folder.path().join("many"), "64MiB")?;
    let mut busy = Probe::of(&hub, "fresh", Policy::new()).await?;
    let idle_hub = start(&folder.path().join("idle"), "64MiB")?;
    let mut idle = Probe::of(&idle_hub, "fresh", Policy::new()).await?;
    compare(rounds, &mut idle, &mut busy).await?;
    println!(
        "peak resident memory with the default cache: {} MB (at most 350)",
        hub.peak_resident_kib()? / 1_024
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "kibibytes of memory are few")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

fn start(data: &Path, cache: &str) -> Outcome<Server> {
    Server::hub_with(data, load::SECRET, &[("HOOKLINE_STORE__CACHE", cache)])
}

/// Starts a hub; returns how many seconds it took until its first delivery, and how much memory is resident a while later.
async fn first_delivery(data: &Path, round: usize) -> Outcome<(f64, u64)> {
    let began = now();
    let hub = start(data, CACHE)?;
    let client = Client::connect(hub.grpc())?;
    let consumer = format!("bench-{round}");
    let waiting = client.subscription("waiting").consumer(consumer).max_in_flight(100);
    let mut deliveries = waiting.subscribe().await?;
    let first = deliveries.next().await.ok_or("no delivery")??;
    let took = began.elapsed().as_secs_f64();
    // Some hundreds are worked off, so that the hub has done what it does; the rest waits.
    first.ack().await?;
    for _ in 0..500 {
        deliveries.next().await.ok_or("no delivery")??.ack().await?;
    }
    pause(3).await;
    Ok((took, hub.resident_kib()?))
}

/// Makes a store with events that wait on one subscription and retries on another.
async fn prepare(data: &Path, (waiting, failed): (usize, usize)) -> Outcome {
    let store = SledStore::open(data, Options::default())?;
    let at = Timestamp::from_secs(1_790_000_000).ok_or("a time")?;
    let batch: Vec<_> = (0..500).map(event).collect();
    let all = waiting.max(failed);
    for _ in 0..all / batch.len() {
        store.append(batch.clone(), at).await?;
    }
    store.create(subscription("waiting", at, all - waiting)?).await?;
    let creation = store.create(subscription("retries", at, 0)?).await?;
    let (epoch, _) = store.open(creation).await?;
    retries(&store, creation, epoch, failed).await?;
    store.close().await;
    Ok(())
}

/// Fails each of the first events of a subscription once; all are due in a year.
async fn retries(store: &SledStore, creation: Creation, epoch: Epoch, count: usize) -> Outcome {
    let at = Timestamp::from_secs(1_790_000_000).ok_or("a time")?;
    let due = Timestamp::from_secs(1_890_000_000);
    let all: Vec<u64> = (1..=u64::try_from(count)?).collect();
    for some in all.chunks(1_000) {
        let failed = some.iter().filter_map(|n| Sequence::new(*n)).map(|sequence| Change::Failed {
            sequence,
            record: Record {
                attempts: 1,
                due_at: due,
                fence: Some(Stamp { epoch, counter: sequence.get() }),
                ..Record::default()
            },
            attempt: Attempt {
                number: 1,
                consumer: "bench".to_owned(),
                started_at: at,
                ended_at: at,
                end: AttemptEnd::Nacked,
                reason: "the service that the agent asked was not there".to_owned(),
                error_type: "Unavailable".to_owned(),
            },
        });
        let scanned = some.last().copied().unwrap_or_default();
        let position = Change::Position { floor: 0, scanned };
        let changes = failed.chain([position]).collect();
        store.commit(creation, epoch, Commit { changes, at, ..Commit::default() }).await?;
    }
    Ok(())
}

fn subscription(
    name: &str,
    created_at: Timestamp,
    start_after: usize,
) -> Outcome<SubscriptionConfig> {
    Ok(SubscriptionConfig {
        name: SubscriptionName::parse(name)?,
        rule: Rule { patterns: PatternSet::parse(["github"])?, filter: String::new() },
        earlier: Vec::new(),
        look_back: None,
        policy: CorePolicy::default(),
        pause: Pause::Off,
        created_at,
        start_after: u64::try_from(start_after)?,
    })
}

fn event(number: usize) -> NewEvent {
    NewEvent {
        source: SourceName::parse("github").unwrap(),
        event_type: EventType::parse("push").unwrap(),
        timestamp: Timestamp::EPOCH,
        actor: "octocat".into(),
        resource_type: "repository".into(),
        resource_id: format!("octo/hello-{}", number % 50).into(),
        payload: Bytes::from(format!(r#"{{"ref":"refs/heads/{number}","forced":false}}"#)),
        metadata: [].into(),
        delivery_key: "".into(),
        replay_window: None,
    }
}
