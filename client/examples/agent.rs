//! A small agent: prints each event that matches its patterns, and acks it.
//!
//! ```text
//! cargo run -p hookline-client --example agent -- 'github/pull_request.*'
//! HOOKLINE_ADDR=http://hub:4160 cargo run -p hookline-client --example agent -- --name prs 'github'
//! ```
//!
//! Without `--name` the subscription is ephemeral: it begins now, and is gone with this process.
//! Ctrl-C stops it in order.

use std::{env, error::Error, io::Write};

use hookline_client::{Client, Delivery};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { address, name, patterns } = options()?;
    let client = Client::connect(address)?;
    client
        .subscription(name)
        .patterns(patterns)
        .run_until(4, work, async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    Ok(())
}

/// What the agent does with one event. `Ok` acks it; an error nacks it with its text, and the hub
/// sends it again after a while.
async fn work(delivery: Delivery) -> Result<(), std::io::Error> {
    let event = delivery.event();
    let (attempt, max_attempts) = (delivery.attempt(), delivery.max_attempts());
    writeln!(
        std::io::stdout(),
        "{} {} {} by {} (attempt {attempt} of {max_attempts})",
        event.sequence,
        delivery.subject(),
        event.resource_id,
        event.actor,
    )?;
    // Long work goes here: the library extends the lease meanwhile.
    tokio::task::yield_now().await;
    Ok(())
}

struct Options {
    address: String,
    name: String,
    patterns: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "an example has no configuration file")]
fn options() -> Result<Options, &'static str> {
    let mut options = Options {
        address: env::var("HOOKLINE_ADDR").unwrap_or_else(|_| "http://127.0.0.1:4160".to_owned()),
        name: String::new(),
        patterns: Vec::new(),
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--address" => options.address = arguments.next().ok_or("--address needs a value")?,
            "--name" => options.name = arguments.next().ok_or("--name needs a value")?,
            _ => options.patterns.push(argument),
        }
    }
    if options.patterns.is_empty() && options.name.is_empty() {
        return Err("usage: agent [--address URL] [--name SUBSCRIPTION] PATTERN...");
    }
    Ok(options)
}
