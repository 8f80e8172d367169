//! How many webhooks a second become durable, beside the ceiling: an axum handler that only reads the body.
//!
//! Both take the same signed bodies from the same `wrk` with 128 connections, in turns, on the same machine, so the
//! ratio of the medians means something where the figures alone do not. Needs `wrk` (`apt-get install wrk`) and bodies:
//! a folder of JSON files, `HOOKLINE_BENCH_BODIES` (default `../shared/payloads/github` beside the checkout).
//!
//! `cargo bench -p hookline-server --bench ingest -- [--rounds N] [--seconds N] [--connections N]`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and may fail loudly"
)]

mod load;
#[expect(dead_code, reason = "some of it is for the bench `scale`")]
mod servers;

use std::{env, error::Error, path::PathBuf};

use load::Load;
use servers::Server;

/// What is measured, and how long.
struct Plan {
    rounds: usize,
    seconds: u64,
    connections: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == servers::BARE) {
        return servers::serve_bare();
    }
    let number = |name: &str, default: usize| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let plan = Plan {
        rounds: number("--rounds", 5),
        seconds: u64::try_from(number("--seconds", 8))?,
        connections: number("--connections", 128),
    };
    run(&plan)
}

fn run(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let load = Load::prepare(folder.path(), &bodies()?)?;
    println!(
        "{} bodies, mean {} bytes, {} connections",
        load.count, load.mean_bytes, plan.connections
    );
    let (mut bare_rates, mut hub_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak_kib = 0;
    for round in 1..=plan.rounds {
        let bare = Server::bare()?;
        let bare_rate = load.run(&bare, plan.connections, plan.seconds)?;
        drop(bare);
        let hub = Server::hub(&folder.path().join(format!("data-{round}")), load::SECRET)?;
        let hub_rate = load.run(&hub, plan.connections, plan.seconds)?;
        peak_kib = hub.peak_resident_kib()?.max(peak_kib);
        drop(hub);
        let ratio = hub_rate / bare_rate;
        println!(
            "round {round}: bare axum {bare_rate:>8.0}/s  hookline {hub_rate:>8.0}/s  ratio {ratio:.3}"
        );
        bare_rates.push(bare_rate);
        hub_rates.push(hub_rate);
        ratios.push(ratio);
    }
    println!(
        "median: bare axum {:.0}/s, hookline {:.0}/s, ratio {:.3}; peak resident memory {} MB",
        median(bare_rates),
        median(hub_rates),
        median(ratios),
        peak_kib / 1_024,
    );
    Ok(())
}

fn bodies() -> Result<PathBuf, Box<dyn Error>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/payloads/github");
    #[expect(clippy::disallowed_methods, reason = "a bench has no config.rs")]
    let folder = env::var("HOOKLINE_BENCH_BODIES").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(format!("no bodies in `{}`: set HOOKLINE_BENCH_BODIES", folder.display()).into())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
