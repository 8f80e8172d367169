//! What grows with the number of what waits, and what must not: memory, the first delivery after a restart, the time
//! that fresh events take, and how many webhooks become durable beside a thousand subscriptions.
//!
//! Each part compares two hubs of the same build, in turns, on the same machine: the ratio means something where the
//! figures alone do not.
//!
//! - `backlog`: a million events wait on one subscription and 100,000 retries on another, beside a hub with 10,000 and as
//!   many retries, and one with 10,000 and 1,000;
//! - `list`: first pages of a log of 50,000 events, beside reading all of it;
//! - `resource`: 30,000 events wait behind one resource of an ordered subscription, beside one with none;
//! - `retention`: disk and memory while many times as much is sent as may be kept. Needs the same as `subscriptions`;
//! - `subscriptions`: 1,000 subscriptions that each take about 1 % of the events, beside 10. Needs bodies in
//!   `../shared/payloads/github` beside the checkout.
//!
//! `cargo bench -p hookline-server --bench scale -- backlog|list|resource|retention|subscriptions [--rounds N]`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and may fail loudly"
)]

mod backlog;
mod latency;
mod list;
mod load;
mod resource;
mod retention;
mod servers;
mod subscriptions;

use std::{env, error::Error};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let rounds = number("--rounds", 5);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let named = |part: &str| args.iter().any(|arg| arg == part);
    let all = !["backlog", "list", "resource", "retention", "subscriptions"]
        .iter()
        .any(|part| named(part));
    if all || named("backlog") {
        let (waiting, retries) = (number("--waiting", 1_000_000), number("--retries", 100_000));
        runtime.block_on(backlog::run(rounds, (waiting, retries)))?;
    }
    if all || named("list") {
        runtime.block_on(list::run(rounds))?;
    }
    if all || named("resource") {
        runtime.block_on(resource::run(rounds))?;
    }
    if all || named("retention") {
        retention::run(number("--slices", 20))?;
    }
    if all || named("subscriptions") {
        subscriptions::run(&runtime, rounds, u64::try_from(number("--seconds", 15))?)?;
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
