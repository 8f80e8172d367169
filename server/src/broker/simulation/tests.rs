//! How many runs, and what they must show.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hookline_core::planted::Bug;

use super::run::run;

/// So many seeds a normal test run has.
const SEEDS: u64 = 100;
/// A planted bug is found within so many.
const SEEDS_OF_BUG: u64 = 200;

/// Seeds that failed once; they run first.
const REPLAYS: [u64; 8] = [
    13,    // what was appended before the router ran was never delivered
    67,    // a look back passed over what a rule before the last had skipped
    424,   // a generation was used twice, and so a lease was honoured twice
    482,   // after a restart two leases of a resource ran where one may
    6_737, // what had never been sent to a stream was said to be held by its consumer
    779,   // what no transport had taken counted as an attempt
    3_589, // the same, where it was taken at the end of the lease
    8_422, // the same, after a change of the order
];

/// Every bug that is found, or the simulation proves nothing.
const BUGS: [Bug; 27] = [
    Bug::TrimmedBeforeWrite,
    Bug::AckBeforeWrite,
    Bug::StaleSettle,
    Bug::LateAckAfterAnotherLease,
    Bug::AttemptNotCounted,
    Bug::FloorTooFar,
    Bug::DeadWithoutLastAttempt,
    Bug::LeaseNotRestored,
    Bug::LeaseNotCheckpointed,
    Bug::RedriveKeepsAttempts,
    Bug::ResourceFreedTooEarly,
    Bug::ResourceNotFreedAfterDeath,
    Bug::SupersededNotWritten,
    Bug::OlderNotSuperseded,
    Bug::RetryIgnoresBackoff,
    Bug::RateNotCounted,
    Bug::PauseIgnoredForRetries,
    Bug::SeekForgetsToFence,
    Bug::LookBackTwice,
    Bug::FeedDropsOne,
    Bug::FilterFailureSkipped,
    Bug::RoomExceeded,
    Bug::ReleaseCounts,
    Bug::AnnouncedTwice,
    Bug::PurgedNotWritten,
    Bug::ReplayKeepsGeneration,
    Bug::ReplayLosesOne,
];

/// What the runs together must have gone through.
const WAYS: [&str; 22] = [
    "trimmed",
    "too old",
    "acked",
    "already applied",
    "another rule",
    "appended",
    "conflict",
    "delivered",
    "duplicate",
    "extended",
    "failed on its filter",
    "gone",
    "lease lost",
    "nacked",
    "purged",
    "rejected",
    "released",
    "replayed",
    "sought",
    "stale",
    "supersedes",
    "told to retry",
];

#[expect(clippy::disallowed_methods, reason = "only tests ask for it, and no hub")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long to try is no matter of the code under test"
)]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn random_runs_keep_the_promises() {
    let mut ways = BTreeMap::new();
    for seed in REPLAYS.iter().copied().chain(0..SEEDS) {
        let ran = run(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        for (way, count) in ran.ways {
            *ways.entry(way).or_insert(0_u64) += count;
        }
    }
    // Runs that never get somewhere prove nothing.
    for way in WAYS {
        assert!(ways.get(way) >= Some(&20), "`{way}`: {ways:?}");
    }
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    for seed in 0..20 {
        let [one, other] = [run(seed, None), run(seed, None)].map(|ran| match ran {
            Ok(ran) => ran.seen,
            Err(failure) => panic!("{failure}"),
        });
        let first = one.iter().zip(&other).position(|(one, other)| one != other);
        assert_eq!(first.map(|at| (&one[at], &other[at])), None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

/// One seed: `HOOKLINE_SIM_SEED`.
#[test]
fn replay() {
    let Some(seed) = number("HOOKLINE_SIM_SEED") else { return };
    match run(seed, None) {
        Ok(ran) => println!("seed {seed}: {} things were seen, {:#?}", ran.seen.len(), ran.ways),
        Err(failure) => panic!("{failure}"),
    }
}

/// The seeds that follow, two at a time: for as many seconds as `HOOKLINE_SIM_SECONDS` says, or as many as
/// `HOOKLINE_SIM_SEEDS` says.
#[test]
fn more_random_runs_keep_the_promises_for_as_long_as_asked() {
    let time = number("HOOKLINE_SIM_SECONDS").map(Duration::from_secs);
    let seeds = number("HOOKLINE_SIM_SEEDS");
    let seeds = seeds.unwrap_or_else(|| if time.is_some() { u64::MAX - SEEDS } else { 0 });
    let (began, until) = (now(), time.unwrap_or(Duration::MAX));
    let count = |first: u64| {
        let (mut ran, mut failed) = (0_u64, Vec::new());
        for seed in (SEEDS + first..SEEDS + seeds).step_by(2) {
            if began.elapsed() > until {
                break;
            }
            if let Err(failure) = run(seed, None) {
                println!("{failure}");
                failed.push(seed);
            }
            ran += 1;
        }
        (ran, failed)
    };
    let ran: [_; 2] = std::thread::scope(|scope| {
        let threads = [0, 1].map(|first| scope.spawn(move || count(first)));
        threads.map(|thread| thread.join().unwrap())
    });
    let count: u64 = ran.iter().map(|(count, _)| count).sum();
    let failed: Vec<_> = ran.into_iter().flat_map(|(_, failed)| failed).collect();
    println!("{count} seeds in {:?}", began.elapsed());
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

#[test]
fn every_planted_bug_is_found() {
    let find = |bugs: &[Bug]| {
        for bug in bugs {
            let found = (0..SEEDS_OF_BUG).find_map(|seed| run(seed, Some(*bug)).err());
            match found {
                Some(failure) => {
                    let seed = failure.seed;
                    assert!(run(seed, None).is_ok(), "{bug:?}: seed {seed} fails without it too");
                    println!("{bug:?}: seed {seed}: {}", failure.why);
                }
                None => panic!("{bug:?} is not found within {SEEDS_OF_BUG} seeds"),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = BUGS.chunks(12).map(|bugs| scope.spawn(move || find(bugs)));
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
    });
}
