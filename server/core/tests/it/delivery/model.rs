//! Random runs against the reference, with the invariants after every step.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::run::Run;

const CASES: u64 = 200;
const STEPS: usize = 300;

/// Seeds that failed once; they run first.
const REPLAYS: &[u64] = &[
    // A delivery that died while its due time lay ahead was taken for waiting after a crash.
    40_935_333_299_835,
    // A consumer that settles a lease that a crash made the hub forget was taken for one that reads.
    371,
];

/// What the runs together must have gone through.
const WAYS: [&str; 32] = [
    "retired",
    "retired while it waited",
    "two of a resource at once",
    "past a failure of its resource",
    "applied at once",
    "already applied",
    "conflict",
    "stale",
    "late ack",
    "forgotten lease settles",
    "forgotten lease extends",
    "nacked",
    "rejected",
    "released",
    "released too often",
    "lease expired",
    "max lease reached",
    "consumer lost",
    "redriven",
    "purged",
    "replayed after an ack",
    "replayed after a newer event",
    "replayed after a purge",
    "superseded",
    "told of newer events",
    "the filter failed",
    "reconfigured",
    "late loop",
    "let go after a restart",
    "lease lives on after a restart",
    "written after its checkpoint",
    "unwritten after its checkpoint",
];

/// Makes the run of a seed. What went wrong is printed as it panics; then where, and what happened just before.
fn run(seed: u64) -> Run {
    let mut run = Run::new(seed);
    for step in 0..STEPS {
        if catch_unwind(AssertUnwindSafe(|| run.step())).is_err() {
            let before = run.hub.trace.len().saturating_sub(12);
            panic!("seed {seed} failed at step {step}, after {:#?}", &run.hub.trace[before..]);
        }
    }
    if catch_unwind(AssertUnwindSafe(|| run.come_to_rest())).is_err() {
        panic!("seed {seed} did not come to rest");
    }
    run
}

#[test]
fn random_runs_agree_with_the_reference() {
    let mut ways = BTreeMap::new();
    for seed in REPLAYS.iter().copied().chain(0..CASES) {
        for (way, count) in run(seed).reference.ways {
            *ways.entry(way).or_insert(0) += count;
        }
    }
    // Runs that never get somewhere prove nothing.
    for way in WAYS {
        assert!(ways.get(way) >= Some(&10), "`{way}`: {ways:?}");
    }
}

#[test]
fn i09_the_same_seed_twice_gives_the_same_effects() {
    for seed in 0..20 {
        assert!(run(seed).hub.trace == run(seed).hub.trace, "seed {seed}");
    }
}

/// More of the same, for as many seconds as `HOOKLINE_MODEL_SECONDS` says: the seeds that follow, or those from
/// `HOOKLINE_MODEL_SEED`, for who looks for new ones. So a run on the same commit fails where it failed before.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long to try is no matter of the code under test"
)]
fn more_random_runs_agree_with_the_reference_for_as_long_as_asked() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_secs(number("HOOKLINE_MODEL_SECONDS").unwrap_or(0));
    let began = std::time::Instant::now();
    let mut seed = number("HOOKLINE_MODEL_SEED").unwrap_or(CASES);
    while began.elapsed() < time {
        run(seed);
        seed += 1;
    }
}
