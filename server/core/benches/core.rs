//! How long the core's pieces of work take, by criterion. What CI watches are their counts, in `counts`: time depends on
//! what else the machine does.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that panics has failed"
)]

#[path = "../tests/it/ingest_support.rs"]
#[expect(dead_code, reason = "most of it is for tests")]
mod ingest_support;

#[expect(dead_code, reason = "some of it is for the counts")]
mod units;

use std::time::{Duration, Instant};

use criterion::Criterion;

use crate::units::Unit;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(400))
        .without_plots()
        .configure_from_args();
    for unit in units::all() {
        criterion.bench_function(&unit.name, |bencher| {
            bencher.iter_custom(|rounds| timed(&unit, rounds));
        });
    }
    criterion.final_summary();
}

/// Returns how long so many rounds take, without what is prepared for them and the first rounds, which find everything
/// cold. When what was prepared is used up, it is prepared anew.
fn timed(unit: &Unit, rounds: u64) -> Duration {
    let (mut left, mut total) = (rounds, Duration::ZERO);
    while left > 0 {
        let at_once = u32::try_from(left).unwrap_or(u32::MAX).min(unit.rounds_max / 2);
        let warm = at_once.min(unit.counted_rounds);
        let mut work = unit.prepare(at_once + warm);
        assert_eq!(work(warm), warm, "`{}` did not come to its end", unit.name);
        #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
        let began = Instant::now();
        let done = work(at_once);
        total += began.elapsed();
        assert_eq!(done, at_once, "`{}` did not come to its end", unit.name);
        left -= u64::from(at_once);
    }
    total
}
