//! Runs targets: a case for every number, made of the seed, the target's name and the number alone, so that one that
//! failed fails again.
//!
//! | variable | meaning |
//! |---|---|
//! | `HOOKLINE_FUZZ_CASES` | how many cases each target has |
//! | `HOOKLINE_FUZZ_SECONDS` | instead: how long all targets together may take |
//! | `HOOKLINE_FUZZ_SEED` | another seed than 1 |
//! | `HOOKLINE_FUZZ_ONLY` | the beginnings of targets' names, with commas between: the others are left out |

use std::{
    collections::BTreeMap,
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

/// What is run where nothing is said: little, since it is run with all other tests.
const CASES: u64 = 40;
/// The longest that one case may take.
const CASE_MAX: Duration = Duration::from_secs(1);
/// After this long a case is taken to never end, and the process is ended, which is all that helps.
const HANG: Duration = Duration::from_secs(30);
/// The most by which the process may grow.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Something that takes input from outside.
pub(crate) trait Target: Sync {
    /// Printed as a literal, it can be put into a test.
    type Input: fmt::Display;

    fn name(&self) -> String;

    fn make(&self, rng: &mut Rng) -> Self::Input;

    /// Panics if what comes of the input is wrong; returns what came of it, in a word.
    fn check(&self, input: &Self::Input) -> &'static str;
}

/// How much is run.
#[derive(Clone, Copy)]
enum Plan {
    Default,
    Cases(u64),
    Time(Duration),
}

impl Plan {
    /// Reads what is asked for, of which each of `targets` targets gets the same.
    fn read(targets: u32) -> Self {
        if let Some(seconds) = number("HOOKLINE_FUZZ_SECONDS") {
            return Self::Time(Duration::from_secs(seconds) / targets);
        }
        number("HOOKLINE_FUZZ_CASES").map_or(Self::Default, Self::Cases)
    }

    fn goes_on(self, case: u64, began: Instant) -> bool {
        match self {
            Self::Default => case < CASES,
            Self::Cases(cases) => case < cases,
            Self::Time(time) => began.elapsed() < time,
        }
    }
}

/// Runs a target, which is one of `targets`; returns how often what came of it.
pub(crate) fn run<T: Target>(target: &T, targets: u32) -> BTreeMap<&'static str, u64> {
    let name = target.name();
    if let Some(only) = variable("HOOKLINE_FUZZ_ONLY")
        && !only.split(',').any(|prefix| name.starts_with(prefix))
    {
        return BTreeMap::new();
    }
    let (plan, seed) = (Plan::read(targets), number("HOOKLINE_FUZZ_SEED").unwrap_or(1));
    let (began, case) = (now(), AtomicU64::new(0));
    let mut ways = BTreeMap::new();
    let mut resident_bytes = 0;
    watched(&format!("{name}, seed {seed}"), &case, || {
        while plan.goes_on(case.load(Ordering::Relaxed), began) {
            let number = case.load(Ordering::Relaxed);
            *ways.entry(run_case(target, &name, seed, number)).or_insert(0) += 1;
            // The first cases are what fills caches and the allocator's pools.
            if number == 1_000 {
                resident_bytes = resident();
            }
            case.fetch_add(1, Ordering::Relaxed);
        }
    });
    let cases = case.into_inner();
    let grown = resident().saturating_sub(resident_bytes);
    println!("{name}: {cases} cases in {:.1?}, +{} KiB, {ways:?}", began.elapsed(), grown >> 10);
    let is_alone = !matches!(plan, Plan::Default) && resident_bytes != 0;
    assert!(!is_alone || grown < GROWTH_BYTES_MAX, "{name} has left {grown} bytes behind");
    ways
}

fn run_case<T: Target>(target: &T, name: &str, seed: u64, case: u64) -> &'static str {
    let input = target.make(&mut rng(name, seed, case));
    let mut shortest = Duration::MAX;
    // A machine that is busy with something else makes one case long, hardly the same three times.
    for _ in 0..3 {
        let began = now();
        let way = catch_unwind(AssertUnwindSafe(|| target.check(&input))).unwrap_or_else(|panic| {
            println!("{name}, seed {seed}, case {case} failed with\n{input}");
            resume_unwind(panic)
        });
        shortest = shortest.min(began.elapsed());
        if shortest < CASE_MAX {
            return way;
        }
    }
    panic!("{name}, seed {seed}, case {case} took {shortest:?} with\n{input}");
}

fn rng(name: &str, seed: u64, case: u64) -> Rng {
    let mut hasher = DefaultHasher::new();
    (name, seed, case).hash(&mut hasher);
    Rng::with_seed(hasher.finish())
}

/// Runs something beside a thread that looks whether the case's number goes on.
fn watched(what: &str, case: &AtomicU64, run: impl FnOnce()) {
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut seen = None;
            while end.recv_timeout(HANG) == Err(mpsc::RecvTimeoutError::Timeout) {
                let number = case.load(Ordering::Relaxed);
                if seen == Some(number) {
                    // Not by `eprintln`, which a test's output is kept from.
                    let text = format!("{what}, case {number} does not end\n");
                    std::io::stderr().write_all(text.as_bytes()).unwrap();
                    std::process::abort();
                }
                seen = Some(number);
            }
        });
        let _ended = ended;
        run();
    });
}

/// Returns how many bytes of memory the process has; 0 where that can't be told.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

#[expect(clippy::disallowed_methods, reason = "how long a case takes is what is looked at")]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how much to try is no matter of the code under test"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    let text = variable(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{name}` must be a number, but is `{text}`")))
}
