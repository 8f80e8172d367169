//! A backup of a hub that works, and the hub that is made of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hookline_proto::v1::{
    BackupRequest, BackupSection, DeadLetterSelector, GetEventRequest, ListDeadLettersRequest,
    NackAction, Outcome, PublishEventRequest, RedriveDeadLettersRequest, SubscriptionPolicy,
    admin_service_client::AdminServiceClient, backup_response::Part,
};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    agent::{Agent, event_id, everything},
    http::{Connection, Webhook},
    hub::{Hub, Settings, soon, wall},
    operator::{again, working},
    retention::keeps,
};

const POSTERS: usize = 4;

/// What is confirmed, and what goes on.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// By id, the body.
    posted: Mutex<BTreeMap<String, Bytes>>,
    acked: Mutex<BTreeSet<String>>,
    changed: Notify,
}

impl Load {
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let becoming = async {
            while !is_so(self) {
                self.changed.notified().await;
            }
        };
        soon(what, becoming).await;
    }

    fn counts(&self) -> (usize, usize) {
        (self.posted.lock().len(), self.acked.lock().len())
    }
}

async fn post(address: SocketAddr, name: String, load: Arc<Load>) {
    let mut http = Connection::open(address).await.unwrap();
    for number in 0.. {
        if load.stop.load(Ordering::Acquire) {
            return;
        }
        let body = format!(r#"{{"from": "{name}", "number": {number}}}"#);
        let webhook = Webhook::github("push", &format!("{name}-{number}"), body);
        let answer = http.post(&webhook).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.json()["event_id"].as_str().unwrap().to_owned();
        load.posted.lock().insert(id, webhook.body);
        load.changed.notify_waiters();
    }
}

/// Acks what comes, and gives up every twentieth.
async fn work(address: SocketAddr, load: Arc<Load>) {
    let agent = Agent::connect(address).await;
    let mut stream = agent.subscribe(working("busy", SubscriptionPolicy::default())).await;
    for number in 1.. {
        if load.stop.load(Ordering::Acquire) {
            return;
        }
        let delivery = stream.delivery().await;
        if number % 20 == 0 {
            agent.nack(&delivery.lease_id, "no", NackAction::DeadLetter).await;
            continue;
        }
        assert_eq!(agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
        load.acked.lock().insert(event_id(&delivery).to_owned());
        load.changed.notify_waiters();
    }
}

/// The subscription `work`, of which something is in each state.
struct Work {
    acked: Vec<String>,
    dead: String,
    redriven: String,
    leased: Vec<(String, String)>,
}

async fn prepare(hub: &Hub, agent: &Agent) -> Work {
    let keys: Vec<_> = (1..=12).map(|n| format!("w{n}")).collect();
    hub.take_each(keys.iter().map(String::as_str)).await;
    let mut stream = agent.subscribe(working("work", SubscriptionPolicy::default())).await;
    let mut deliveries = Vec::new();
    for _ in 0..12 {
        deliveries.push(stream.delivery().await);
    }
    for delivery in &deliveries[..5] {
        assert_eq!(agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
    }
    for delivery in &deliveries[5..7] {
        agent.nack(&delivery.lease_id, "never", NackAction::DeadLetter).await;
    }
    let ids: Vec<_> = deliveries.iter().map(|delivery| event_id(delivery).to_owned()).collect();
    let letters = letters(agent, "work").await;
    let letter = letters.iter().find(|letter| letter.1 == ids[5]).unwrap();
    let selector = DeadLetterSelector { ids: vec![letter.0.clone()], ..Default::default() };
    let request = RedriveDeadLettersRequest { selector: Some(selector), ..Default::default() };
    agent.dead_letters.clone().redrive_dead_letters(request).await.unwrap();
    let again = stream.delivery().await;
    assert_eq!(event_id(&again), ids[5]);
    agent.pause("work", None).await;
    let leased = deliveries[7..].iter().map(|it| (event_id(it).to_owned(), it.lease_id.clone()));
    Work {
        acked: ids[..5].to_vec(),
        dead: ids[6].clone(),
        redriven: ids[5].clone(),
        leased: leased.collect(),
    }
}

/// Returns the ids of the dead letters of a subscription and of their events.
async fn letters(agent: &Agent, subscription: &str) -> Vec<(String, String)> {
    let request = ListDeadLettersRequest {
        subscription: subscription.to_owned(),
        page_size: Some(1_000),
        ..Default::default()
    };
    let letters = agent.dead_letters.clone().list_dead_letters(request).await.unwrap();
    let letters = letters.into_inner().dead_letters;
    letters.into_iter().map(|letter| (letter.id, letter.event.unwrap().id)).collect()
}

/// The size of what [`fill`] publishes.
const FILLED_BYTES: usize = 500_000;

/// Publishes what does not compress, 500 KB each: 40 of them, so that a backup takes a moment.
async fn fill(agent: &Agent, count: usize) {
    let mut noise = fastrand::Rng::with_seed(7);
    for _ in 0..count {
        let payload: Vec<u8> = std::iter::repeat_with(|| noise.u8(..)).take(FILLED_BYTES).collect();
        let request = PublishEventRequest {
            event_type: "noise".to_owned(),
            payload: payload.into(),
            ..Default::default()
        };
        agent.try_publish(request).await.unwrap();
    }
}

async fn backup(hub: &Hub, target: &Path) -> std::process::Output {
    let address = format!("http://{}", hub.grpc_address());
    hub.command(&["backup", target.to_str().unwrap(), "--address", &address, "--json"]).await
}

/// Ends the hub, and starts one on what a backup of it is restored to.
async fn restore(hub: &mut Hub, target: &Path) {
    hub.kill().await;
    let data = hub.folder().join("data");
    fs::rename(&data, hub.folder().join("lost")).unwrap();
    let (target, data) = (target.to_str().unwrap(), data.to_str().unwrap());
    let restored = hub.command(&["restore", target, "--data", data]).await;
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    hub.check().await;
    let again = hub.command(&["restore", target, "--data", data]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    hub.start_again().await;
}

#[tokio::test]
async fn a_backup_under_load_restores_to_a_hub_that_has_all_up_to_its_mark() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    let prepared = prepare(&hub, &agent).await;
    fill(&agent, 40).await;
    let (load, mut tasks) = (Arc::new(Load::default()), JoinSet::new());
    for number in 0..POSTERS {
        tasks.spawn(post(hub.http_address(), format!("p{number}"), Arc::clone(&load)));
    }
    tasks.spawn(work(hub.grpc_address(), Arc::clone(&load)));

    let begun = wall();
    load.until("posts and acks", |load| load.counts() >= (200, 0) && load.counts().1 >= 60).await;
    let (before, acked) = (load.posted.lock().clone(), load.acked.lock().clone());
    let rate_before = rate(before.len(), wall() - begun);
    let target = hub.folder().join("backup");
    let begun = wall();
    let made = backup(&hub, &target).await;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let (during, took) = (load.counts().0 - before.len(), wall() - begun);
    assert!(0 < during, "posts are taken while a backup is made");
    println!(
        "{during} posts while a backup was made in {took:?}: {:.0}/s, and {rate_before:.0}/s before",
        rate(during, took)
    );
    let count = load.counts().0;
    load.until("posts after the backup", |load| count + 20 <= load.counts().0).await;
    load.stop.store(true, Ordering::Release);
    while let Some(ended) = soon("the end of the load", tasks.join_next()).await {
        ended.unwrap();
    }
    let checked = hub.command(&["check", "--data", target.to_str().unwrap()]).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    restore(&mut hub, &target).await;

    let agent = hub.agent().await;
    for (id, body) in &before {
        assert_eq!(agent.event(id).await.event.unwrap().payload, body);
    }
    goes_on(&agent, &acked).await;
    is_as_it_was(&agent, prepared).await;
    hub.restart().await;
}

/// How much more memory a backup may take than the hub had: what is cached may be had twice for a while, since each thread
/// has memory of its own; 64 MiB are kept of rows that are written over; and some.
const BACKUP_MIB_MAX: u64 = 128 + 64 + 32;

#[tokio::test]
#[ignore = "writes 1.5 GB; run by CI"]
async fn backups_of_a_large_log_under_load_take_little_memory() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    fill(&agent, 1_000).await;
    let (load, mut tasks) = (Arc::new(Load::default()), JoinSet::new());
    for number in 0..POSTERS {
        tasks.spawn(post(hub.http_address(), format!("p{number}"), Arc::clone(&load)));
    }
    tasks.spawn(work(hub.grpc_address(), Arc::clone(&load)));
    load.until("posts and acks", |load| 200 <= load.counts().0 && 60 <= load.counts().1).await;
    let before = hub.reset_peak_mib();
    for number in 0..3 {
        let (counts, begun) = (load.counts(), wall());
        let made = backup(&hub, &hub.folder().join(format!("backup-{number}"))).await;
        let (took, peak) = (wall() - begun, hub.memory_mib("VmHWM"));
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        let (posts, acks) = (load.counts().0 - counts.0, load.counts().1 - counts.1);
        println!(
            "a backup of 500 MB took {took:?} beside {posts} posts and {acks} acks; {before} MiB of memory \
             before the first, {peak} at most"
        );
        assert!(0 < posts && 0 < acks);
        assert!(peak <= before + BACKUP_MIB_MAX, "{before} to {peak} MiB");
    }
    load.stop.store(true, Ordering::Release);
    while let Some(ended) = soon("the end of the load", tasks.join_next()).await {
        ended.unwrap();
    }
}

fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

/// What was acked before the backup began is not delivered again; the rest is.
async fn goes_on(agent: &Agent, acked: &BTreeSet<String>) {
    let mut stream = agent.subscribe(again("busy")).await;
    assert_eq!(stream.ready.held.len(), 0, "nothing is leased any more");
    let position = agent.subscription("busy").await.position.unwrap();
    let mut floor = position.done_floor;
    while floor < position.log_end {
        let delivery = stream.ack_next(agent).await;
        assert!(!acked.contains(event_id(&delivery)), "{delivery:?}");
        floor = agent.subscription("busy").await.position.unwrap().done_floor;
    }
}

async fn is_as_it_was(agent: &Agent, prepared: Work) {
    let Work { acked, dead, redriven, leased } = prepared;
    let letters = letters(agent, "work").await;
    assert_eq!(letters.iter().map(|(_, event)| event).collect::<Vec<_>>(), [&dead]);
    for (_, lease_id) in &leased {
        assert_eq!(agent.ack(&[lease_id]).await, [Outcome::Stale], "it was given before");
    }
    assert!(agent.subscription("work").await.paused, "as it was");
    agent.resume("work").await;
    let mut stream = agent.subscribe(again("work")).await;
    let mut wanted: BTreeSet<_> = leased.into_iter().map(|(id, _)| id).collect();
    wanted.insert(redriven);
    while !wanted.is_empty() {
        let delivery = stream.ack_next(agent).await;
        let id = event_id(&delivery);
        wanted.remove(id);
        assert!(!acked.iter().any(|acked| acked == id) && id != dead, "{delivery:?}");
    }
}

#[tokio::test]
async fn what_is_trimmed_while_a_backup_is_made_is_part_of_it_and_gone_after_it() {
    const COUNT: u64 = 40;
    let variables = vec![("HOOKLINE_RETENTION__MAX_AGE".to_owned(), "0s".to_owned())];
    let hub = Hub::start_with(Settings { variables, ..Settings::default() }).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    fill(&agent, 40).await;
    let mut parts = AdminServiceClient::new(agent.channel.clone())
        .backup(BackupRequest {})
        .await
        .unwrap()
        .into_inner();
    let Some(Part::Started(started)) = parts.message().await.unwrap().unwrap().part else {
        panic!("it begins with what it is of")
    };
    assert_eq!((started.first, started.mark), (1, COUNT));
    // It is read no further, and is far larger than what is on its way: all of the log is trimmed meanwhile.
    for _ in 0..COUNT {
        stream.ack_next(&agent).await;
    }
    keeps(&agent, &[]).await;
    let log_bytes = async {
        let mut bytes = 0;
        loop {
            match parts.message().await.unwrap().unwrap().part.unwrap() {
                Part::Records(part) if part.section() == BackupSection::Log => {
                    bytes += part.records.len();
                }
                Part::Records(_) => {}
                Part::Finished(_) => return bytes,
                Part::Started(_) => panic!("it begins once"),
            }
        }
    };
    let bytes = soon("the end of the backup", log_bytes).await;
    assert!(FILLED_BYTES * 40 <= bytes, "{bytes}");
    // Once it has ended what was trimmed is removed, and no part of another.
    let next = async {
        for number in 0.. {
            // What waits to be removed is, when something is written.
            hub.take(&Webhook::push(&format!("{number}"))).await;
            let target = hub.folder().join(format!("backup-{number}"));
            assert_eq!(backup(&hub, &target).await.status.code(), Some(0));
            let manifest = fs::read(target.join("manifest.json")).unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            if manifest["byte_count"].as_u64().unwrap() < 100_000 {
                return;
            }
        }
    };
    soon("a small backup", next).await;
}

#[tokio::test]
async fn after_a_restore_new_events_take_places_that_others_had_and_old_leases_settle_nothing() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    hub.take_each(["a"]).await;
    let mut stream = agent.subscribe(everything("work")).await;
    stream.ack_next(&agent).await;
    let target = hub.folder().join("backup");
    assert_eq!(backup(&hub, &target).await.status.code(), Some(0));
    // After the mark: an event, a lease of it, and a subscription with another.
    let lost = hub.take(&Webhook::push("b")).await;
    let lease = stream.delivery().await.lease_id;
    let other = agent.subscribe(everything("other")).await.delivery().await.lease_id;
    restore(&mut hub, &target).await;

    let agent = hub.agent().await;
    let found = agent.events.clone();
    let request = GetEventRequest { id: lost.clone(), ..Default::default() };
    assert_eq!(found.clone().get_event(request).await.unwrap_err().code(), tonic::Code::NotFound);
    // The provider sends it again: it is no duplicate here.
    let id = hub.take(&Webhook::push("b")).await;
    assert_ne!(id, lost);
    assert_eq!(agent.event(&id).await.event.unwrap().sequence, 2);
    let mut stream = agent.subscribe(again("work")).await;
    assert_eq!(agent.ack(&[&lease, &other]).await, [Outcome::Stale, Outcome::Stale]);
    assert_eq!(event_id(&stream.ack_next(&agent).await), id);
    agent.subscribe(everything("other")).await.delivery().await;
    assert_eq!(agent.ack(&[&other]).await, [Outcome::Stale]);
}

#[tokio::test]
async fn a_backup_that_is_cut_off_leaves_nothing_and_one_at_a_time_is_made() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    fill(&agent, 40).await;
    let mut admin = AdminServiceClient::new(agent.channel.clone());
    let mut parts = admin.backup(BackupRequest {}).await.unwrap().into_inner();
    parts.message().await.unwrap().unwrap();
    let target = hub.folder().join("backups").join("one");
    let busy = backup(&hub, &target).await;
    assert_eq!(busy.status.code(), Some(1));
    let said = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(said.contains("another backup is being made"), "{said}");
    drop(parts);
    // The hub notices that nobody reads any more.
    let made = async {
        while backup(&hub, &target).await.status.code() != Some(0) {
            assert!(!target.exists());
        }
    };
    soon("a backup", made).await;
    let there = backup(&hub, &target).await;
    assert_eq!(there.status.code(), Some(1), "{there:?}");
    let entries = fs::read_dir(target.parent().unwrap()).unwrap();
    assert_eq!(entries.count(), 1, "nothing unfinished is left");
    // Damage is told before anything is made of it.
    let file = target.join("log-0001.records");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    hub.kill().await;
    let data = hub.folder().join("other");
    let damaged =
        hub.command(&["restore", target.to_str().unwrap(), "--data", data.to_str().unwrap()]).await;
    assert_eq!(damaged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("is damaged"), "{damaged:?}");
    assert!(!data.exists());
}
