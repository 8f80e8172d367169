//! Ingest beside many subscriptions, each with an agent at work.

use std::path::Path;

use hookline_client::proto::{
    ListEventsRequest, PayloadView, event_service_client::EventServiceClient,
};
use hookline_client::{Client, Deliveries, Start};
use tokio::runtime::Runtime;

use crate::{
    Outcome,
    load::{self, End},
    median,
    servers::Server,
};

/// Which part of the events each subscription takes, about.
const PART: f64 = 0.01;
/// Out of how many events it is found which subjects there are: a page.
const SAMPLE: u32 = 1_000;

pub(crate) fn run(runtime: &Runtime, rounds: usize, seconds: u64) -> Outcome {
    let folder = tempfile::tempdir()?;
    let subjects = subjects(runtime, &folder.path().join("subjects"))?;
    let (mut few_rates, mut many_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let rate_of = |count: usize| -> Outcome<f64> {
            let hub = Server::hub(&folder.path().join(format!("{round}-{count}")), load::SECRET)?;
            let agents = runtime.block_on(subscribe(&hub, count, &subjects))?;
            let rate = load::post(&hub, 128, End::AfterSeconds(seconds))?.rate;
            drop(agents);
            println!(
                "  {count} subscriptions: {rate:.0}/s, peak {} MB",
                hub.peak_resident_kib()? / 1_024
            );
            Ok(rate)
        };
        let (few, many) = (rate_of(10)?, rate_of(1_000)?);
        println!(
            "round {round}: {few:.0}/s with 10 subscriptions, {many:.0}/s with 1,000: ratio {:.2}",
            many / few
        );
        few_rates.push(few);
        many_rates.push(many);
        ratios.push(many / few);
    }
    println!(
        "median: {:.0}/s with 10, {:.0}/s with 1,000; ratio {:.2} (at least 0.8)",
        median(few_rates),
        median(many_rates),
        median(ratios)
    );
    Ok(())
}

/// Returns the subjects of the bodies, with the part of the events that each has.
fn subjects(runtime: &Runtime, data: &Path) -> Outcome<Vec<(String, f64)>> {
    let hub = Server::hub(data, load::SECRET)?;
    load::post(&hub, 1, End::AfterCount(SAMPLE.into()))?;
    runtime.block_on(async {
        let mut events = EventServiceClient::connect(hub.grpc().to_owned()).await?;
        let request = ListEventsRequest {
            page_size: Some(SAMPLE),
            payload_view: PayloadView::None.into(),
            ..ListEventsRequest::default()
        };
        let listed = events.list_events(request).await?.into_inner().events;
        let mut parts = std::collections::BTreeMap::new();
        for event in &listed {
            *parts.entry(hookline_client::subject(event)).or_insert(0.0) += 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a page has at most 1,000 events")]
        let all = listed.len() as f64;
        Ok(parts.into_iter().map(|(subject, count)| (subject, count / all)).collect())
    })
}

/// Makes subscriptions, each with some subjects that are about 1 % of the events, and an agent that works on the first.
async fn subscribe(
    hub: &Server,
    count: usize,
    subjects: &[(String, f64)],
) -> Outcome<Vec<Deliveries>> {
    let client = Client::connect(hub.grpc())?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut agents = Vec::with_capacity(count);
    for number in 0..count {
        let (mut patterns, mut part) = (Vec::new(), 0.0);
        while part < PART * 0.9 {
            let (subject, of_all) =
                subjects.get(random.usize(..subjects.len())).ok_or("no subject")?;
            if part + of_all < PART * 1.5 && !patterns.contains(subject) {
                patterns.push(subject.clone());
                part += of_all;
            }
        }
        let subscription = client.subscription(format!("s-{number}"));
        agents.push(subscription.patterns(patterns).start(Start::Latest).subscribe().await?);
    }
    Ok(agents)
}
