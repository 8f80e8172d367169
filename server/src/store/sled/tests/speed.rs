//! Measurements, and the bound on memory. Run by hand or by CI, in release.

use std::{fs, sync::Arc, time::Instant};

use bytes::Bytes;
use hookline_core::{
    delivery::{Change, Settlement},
    event::Sequence,
};

use super::{
    super::{
        super::{Commit, EventLog as _, Ledger as _, conformance::copy},
        Options, SledStore,
    },
    OPTIONS, at, config, event, noise, runtime, setting,
};

const APPENDERS: u64 = 128;

#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
fn now() -> Instant {
    Instant::now()
}

/// The bodies of the folder that `HOOKLINE_BENCH_BODIES` names; without it, made ones of the same size.
fn bodies() -> Vec<Bytes> {
    let Some(folder) = setting("HOOKLINE_BENCH_BODIES") else {
        let line =
            |n: u64| format!(r#"{{"id":{},"title":"event {n}","#, n.wrapping_mul(0x9e37_79b9));
        return (0..100).map(|n| (n..n + 250).map(line).collect::<String>().into()).collect();
    };
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Bytes::from(fs::read(path).unwrap())).collect()
}

async fn append_in_turn(store: Arc<SledStore>, bodies: Arc<Vec<Bytes>>, appender: u64, each: u64) {
    for n in 0..each {
        let number = appender * each + n;
        let place = usize::try_from(number).unwrap() % bodies.len();
        let new = event(&format!("delivery-{number:020}"), bodies[place].clone());
        store.append(vec![new], at(0)).await.unwrap();
    }
}

#[test]
#[ignore = "a measurement, in release: says how many events a second are durable"]
fn appends_per_second_with_128_appenders() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { free_percent_min: 0, ..Options::default() };
    let store = SledStore::open(folder.path(), options).unwrap();
    let bodies = Arc::new(bodies());
    let mean = bodies.iter().map(Bytes::len).sum::<usize>() / bodies.len();
    let each: u64 = setting("HOOKLINE_BENCH_EACH").map_or(2_000, |each| each.parse().unwrap());
    runtime().block_on(async {
        let start = now();
        let mut tasks = tokio::task::JoinSet::new();
        for appender in 0..APPENDERS {
            tasks.spawn(append_in_turn(Arc::clone(&store), Arc::clone(&bodies), appender, each));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        let (count, secs) = (APPENDERS * each, start.elapsed().as_secs_f64());
        println!(
            "{count} events of {mean} B: {:.0} events/s, resident {} MB",
            count as f64 / secs,
            resident() / 1_000_000
        );
        assert_eq!(*store.head().borrow(), count);
        store.close().await;
    });
}

#[test]
#[ignore = "a measurement, in release: says how long a commit of an ack takes, and a recovery of such"]
fn commits_of_acks_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { free_percent_min: 0, ..Options::default() };
    let store = SledStore::open(folder.path(), options.clone()).unwrap();
    let count: u64 = setting("HOOKLINE_BENCH_EACH").map_or(2_000, |each| each.parse().unwrap());
    let left = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let creation = store.create(config("prs")).await.unwrap();
        let (epoch, _) = store.open(creation).await.unwrap();
        let mut times = Vec::new();
        for n in 1..=count {
            let settlement = Settlement {
                consumer: "agent".to_owned(),
                attempt: 1,
                leased_at: at(0),
                done_at: at(1),
            };
            let done = Change::Done { sequence: Sequence::new(n).unwrap(), settlement };
            let changes = vec![done, Change::Position { floor: n, scanned: n }];
            let secs = i64::try_from(n).unwrap();
            let commit = Commit { changes, at: at(secs), ..Commit::default() };
            let start = now();
            store.commit(creation, epoch, commit).await.unwrap();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let of_1000 = |n: usize| times[times.len() * n / 1_000];
        println!("{count} commits: p50 {:?}, p99 {:?}", of_1000(500), of_1000(990));
        copy(folder.path(), left.path());
        store.close().await;
    });
    let start = now();
    drop(SledStore::open(left.path(), options).unwrap());
    println!("opened in {:?}", start.elapsed());
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_000
}

#[test]
#[ignore = "takes a minute; CI runs it alone, since it looks at the memory of its process"]
fn i9_memory_stays_flat_over_300_000_events_in_the_largest_batches() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path(), OPTIONS).unwrap();
    runtime().block_on(async {
        let mut after_a_third = 0;
        for batch in 0..150_u64 {
            let events =
                (0..2_000).map(|n| event(&format!("{batch}-{n}"), noise(1_000, n))).collect();
            store.append(events, at(0)).await.unwrap();
            if batch == 50 {
                after_a_third = resident();
            }
        }
        let end = resident();
        println!("resident: {after_a_third} B after 100,000 events, {end} B after 300,000");
        // The tail, sled's cache and 8 bytes a key of dedupe are full or small by then.
        assert!(end < after_a_third + 60_000_000, "{after_a_third} -> {end}");
        assert!(end < 300_000_000);
        store.close().await;
    });
}
