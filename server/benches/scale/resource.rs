//! Many events behind one resource, beside none.

use hookline_client::Policy;

use crate::{
    Outcome,
    latency::{Probe, compare, ping, publisher},
    load,
    servers::Server,
};

/// How many events wait behind the resource that is busy.
const BEHIND: usize = 30_000;
/// How many are published at once.
const AT_ONCE: usize = 64;

pub(crate) async fn run(rounds: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let hub = Server::hub(&folder.path().join("busy"), load::SECRET)?;
    let idle_hub = Server::hub(&folder.path().join("idle"), load::SECRET)?;
    let mut idle = Probe::of(&idle_hub, "fresh", Policy::new().ordered()).await?;
    let mut busy = Probe::of(&hub, "fresh", Policy::new().ordered()).await?;
    println!("publishing {BEHIND} events about one resource");
    let _held = busy.hold("busy").await?;
    let events = publisher(&hub).await?;
    for _ in 0..BEHIND.div_ceil(AT_ONCE) {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let mut events = events.clone();
            calls.spawn(async move { events.publish_event(ping("busy")).await.map(drop) });
        }
        while let Some(call) = calls.join_next().await {
            call??;
        }
    }
    compare(rounds, &mut idle, &mut busy).await
}
