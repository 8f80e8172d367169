//! kill -9 at random moments: nothing that was confirmed is missing or doubled, nothing is there by halves.
//!
//! The test runs its own binary as a child that prints a line for each thing the store has confirmed, and kills it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use hookline_core::{
    delivery::{Change, Creation, Ended, Record, Settlement},
    event::Sequence,
};

use super::{
    super::{
        super::{Commit, CreateError, EventLog as _, Ledger as _, ReadLimit, ReadRange},
        SledStore,
        check::Problem,
    },
    at, config, event, noise, open, rejected, runtime, setting,
};

const FOLDER: &str = "HOOKLINE_KILL_FOLDER";
const ROUND: &str = "HOOKLINE_KILL_ROUND";
const ALL: ReadLimit = ReadLimit { count: usize::MAX, bytes: usize::MAX };

#[test]
fn i2_what_was_confirmed_outlives_a_kill() {
    kill_rounds(4);
}

#[test]
#[ignore = "takes a minute: CI runs it, HOOKLINE_KILL_ROUNDS says how often (default 50)"]
fn g2_what_was_confirmed_outlives_many_kills() {
    kill_rounds(setting("HOOKLINE_KILL_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap()));
}

/// What the child has said.
#[derive(Default)]
struct Confirmed {
    /// By delivery key: sequence and id.
    events: BTreeMap<String, (u64, String)>,
    done: BTreeSet<u64>,
    dead: BTreeSet<u64>,
    open: BTreeMap<u64, u32>,
}

fn kill_rounds(rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut confirmed = Confirmed::default();
    for round in 0..rounds {
        let child = spawn(folder.path(), round);
        kill_at_random(child, &mut confirmed);
        runtime().block_on(check(folder.path(), &confirmed, round));
    }
    println!(
        "{} events, {} acks, {} dead letters",
        confirmed.events.len(),
        confirmed.done.len(),
        confirmed.dead.len()
    );
    assert!(!confirmed.events.is_empty(), "the child never came to confirm anything");
}

fn spawn(folder: &Path, round: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::sled::tests::kill::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child after a random number of lines, now and then before or while it opens the store.
fn kill_at_random(mut child: Child, confirmed: &mut Confirmed) {
    let [a, b, ..] = *uuid::Uuid::new_v4().as_bytes();
    let lines = if a < 40 { u16::from(a % 3) } else { u16::from_be_bytes([a % 8, b]) };
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..lines {
        if output.read_line(&mut text).unwrap() == 0 {
            break;
        }
    }
    child.kill().unwrap();
    // What it had said before, but for a line that was cut off.
    output.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "the child ended by itself: {text}");
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["appended", key, sequence, id] => {
                let place = (sequence.parse().unwrap(), id.to_owned());
                assert!(confirmed.events.insert(key.to_owned(), place).is_none());
            }
            ["settled", n] => {
                let n: u64 = n.parse().unwrap();
                confirmed.done.extend([3 * n + 1, 3 * n + 2]);
                confirmed.open.remove(&(3 * n + 1));
                confirmed.open.insert(3 * n + 3, u32::try_from(n).unwrap());
            }
            ["dead", n] => {
                confirmed.dead.insert(3 * n.parse::<u64>().unwrap() + 3);
            }
            _ => {}
        }
    }
}

async fn check(folder: &Path, confirmed: &Confirmed, round: u32) {
    let store = open(folder);
    check_log(&store, confirmed, round).await;
    check_ledger(&store, confirmed).await;
    assert_eq!(std::fs::read_dir(folder.join("blobs")).unwrap().count(), 0);
    store.close().await;
    // It reads everything twice: not after each of many kills.
    if round % 10 != 3 {
        return;
    }
    // The child settles what is not in the log yet, which no hub does.
    let ahead = [Problem::Position, Problem::Settled, Problem::State, Problem::RecordOrphan];
    let report = super::check::checked(folder);
    let other = report.findings.iter().find(|finding| !ahead.contains(&finding.problem));
    assert_eq!(other, None);
}

async fn check_log(store: &SledStore, confirmed: &Confirmed, round: u32) {
    let entries = store.read(ReadRange { after: 0, limit: ALL }).await.unwrap();
    let mut places = BTreeMap::new();
    for (entry, sequence) in entries.iter().zip(1..) {
        assert_eq!(entry.event.sequence.get(), sequence);
        let key = &entry.event.content.delivery_key;
        let place = (sequence, entry.event.id.to_string());
        assert_eq!(places.insert(key.clone(), place), None, "`{key}` is there twice");
        // Everything that is there is there in full, confirmed or not.
        if key.starts_with(&format!("{round}-")) || sequence % 10 == 0 {
            assert!(store.payload(entry).await.unwrap() == payload(key), "`{key}`");
        }
    }
    for (key, place) in &confirmed.events {
        assert_eq!(places.get(key.as_str()), Some(place), "`{key}` was confirmed");
    }
    // A sender that did not hear the answer sends again.
    for (key, (sequence, id)) in confirmed.events.iter().rev().take(20) {
        let again = store.append(vec![event(key, "again")], at(1)).await.unwrap();
        assert!(again[0].duplicate);
        assert_eq!((again[0].sequence.get(), again[0].id.to_string()), (*sequence, id.clone()));
    }
}

async fn check_ledger(store: &SledStore, confirmed: &Confirmed) {
    let Some((creation, _)) = store.subscriptions().await.unwrap().pop() else {
        assert!(confirmed.done.is_empty());
        return;
    };
    let (_, snapshot) = store.open(creation).await.unwrap();
    let is_done =
        |n: u64| n <= snapshot.floor || snapshot.finished.contains(Sequence::new(n).unwrap());
    assert!(confirmed.done.iter().all(|n| is_done(*n)));
    // A commit is there as a whole or not at all.
    for n in 0..=snapshot.scanned / 3 {
        assert_eq!(is_done(3 * n + 1), is_done(3 * n + 2), "of one commit");
    }
    for (n, attempts) in &confirmed.open {
        let sequence = Sequence::new(*n).unwrap();
        let record = snapshot.records.get(&sequence);
        let is_dead = snapshot.dead.contains(sequence);
        assert!(is_dead != record.is_some_and(|record| record.attempts == *attempts), "{n}");
    }
    let rows = store.dead_letters(creation, ReadRange { after: 0, limit: ALL }).await.unwrap();
    let there: BTreeSet<u64> = snapshot.dead.iter().map(Sequence::get).collect();
    assert_eq!(rows.len(), there.len());
    for row in &rows {
        assert!(there.contains(&row.entry.event.sequence.get()));
        let kept = store.payload(&row.entry).await.unwrap();
        assert!(kept == payload(&row.entry.event.content.delivery_key));
    }
    assert!(confirmed.dead.is_subset(&there));
    for n in confirmed.done.iter().rev().take(50) {
        let settled = store.past(creation, Sequence::new(*n).unwrap()).await.unwrap().ended.pop();
        assert!(matches!(settled, Some(Ended::Acked(settled)) if settled.attempt == 1));
    }
}

/// The payload of the event with this key: now and then one of several chunks.
fn payload(key: &str) -> bytes::Bytes {
    let number = u64::from(crc32fast::hash(key.as_bytes()));
    let len = if number.is_multiple_of(13) { 200_000 } else { 100 + number % 20_000 };
    noise(usize::try_from(len).unwrap(), number)
}

#[test]
#[ignore = "run by the tests above, as the child that is killed"]
fn child() {
    let Some(folder) = setting(FOLDER) else { return };
    let round = setting(ROUND).unwrap();
    println!("opening");
    let store = open(Path::new(&folder));
    println!("open");
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for appender in 0..6 {
            tasks.spawn(append_for_ever(Arc::clone(&store), format!("{round}-{appender}")));
        }
        tasks.spawn(settle_for_ever(store));
        tasks.join_next().await.unwrap().unwrap();
    });
}

async fn append_for_ever(store: Arc<SledStore>, prefix: String) {
    for n in 0_u64.. {
        let key = format!("{prefix}-{n}");
        let appended = store.append(vec![event(&key, payload(&key))], at(0)).await.unwrap();
        println!("appended {key} {} {}", appended[0].sequence, appended[0].id);
    }
}

/// Commit `n` acks deliveries `3n + 1` and `3n + 2` and fails `3n + 3`; every second one then dies. The acks of
/// those are a commit of their own.
async fn settle_for_ever(store: Arc<SledStore>) {
    let creation = match store.create(config("prs")).await {
        Ok(creation) | Err(CreateError::Exists(creation)) => creation,
        Err(CreateError::Commit(error)) => panic!("{error}"),
    };
    let (epoch, snapshot) = store.open(creation).await.unwrap();
    let commit = |changes, dead_events| {
        let commit = Commit { changes, dead_events, config: None, at: at(2) };
        store.commit(creation, epoch, commit)
    };
    // The floor stays below, so that the bitmaps are used; it moves up a page at a time.
    let mut floor = snapshot.floor;
    for n in snapshot.scanned / 3.. {
        let sequence = |k| Sequence::new(3 * n + k).unwrap();
        let settlement = Settlement {
            consumer: "agent".to_owned(),
            attempt: 1,
            leased_at: at(0),
            done_at: at(1),
        };
        let done = |k| Change::Done { sequence: sequence(k), settlement: settlement.clone() };
        let record = Record { attempts: u32::try_from(n).unwrap(), ..Record::default() };
        if 3 * n > floor + 200 {
            floor += 100;
        }
        let position = |scanned| Change::Position { floor, scanned };
        let acks = vec![done(1), done(2)];
        let mut rest = vec![Change::Open { sequence: sequence(3), record }, position(3 * n + 3)];
        if n % 2 == 0 {
            commit([acks, vec![position(3 * n)]].concat(), Vec::new()).await.unwrap();
        } else {
            rest.splice(0..0, acks);
        }
        commit(rest, Vec::new()).await.unwrap();
        println!("settled {n}");
        if n % 2 == 0 {
            give_up(&store, creation, epoch, sequence(3)).await;
            println!("dead {n}");
        }
    }
}

async fn give_up(
    store: &SledStore,
    creation: Creation,
    epoch: hookline_core::delivery::Epoch,
    sequence: Sequence,
) {
    let mut head = store.head();
    head.wait_for(|head| *head >= sequence.get()).await.unwrap();
    let limit = ReadLimit { count: 1, ..ALL };
    let entry = store.read(ReadRange { after: sequence.get() - 1, limit }).await.unwrap().remove(0);
    let death = rejected();
    let changes = vec![Change::Dead { sequence, death, attempt: None }];
    let dead_events = vec![(sequence, entry)];
    let commit = Commit { changes, dead_events, config: None, at: at(3) };
    store.commit(creation, epoch, commit).await.unwrap();
}
