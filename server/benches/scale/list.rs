//! First pages of a log of 50,000 events, beside reading all of it.

use std::{fs, ops::RangeInclusive, path::Path};

use bytes::Bytes;
use hookline_client::{Client, proto::ListEventsRequest};
use hookline_core::{
    event::{EventType, NewEvent, SourceName},
    time::Timestamp,
};
use hookline_server::store::{
    EventLog as _,
    sled::{Options, SledStore},
};

use crate::{Outcome, latency::now, load, servers::Server};

/// How many events there are; two appended a second.
const EVENTS: usize = 50_000;
/// How many things they are about, and how many actors there are.
const RESOURCES: usize = 2_000;
const ACTORS: usize = 300;
/// What a first page may take at p99, in milliseconds.
const MOST_MILLIS: f64 = 50.0;
/// When the first event was received.
const BEGINNING: i64 = 1_790_000_000;

pub(crate) async fn run(rounds: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let bodies = bodies()?;
    println!("preparing {EVENTS} events of {} bodies", bodies.len());
    prepare(&data, &bodies).await?;
    // The events are as old as their times say, and are to stay.
    let kept =
        [("HOOKLINE_RETENTION__MAX_AGE", "3650d"), ("HOOKLINE_RETENTION__OPEN_MAX_AGE", "3650d")];
    let hub = Server::hub_with(&data, load::SECRET, &kept)?;
    let client = Client::connect(hub.grpc())?;
    let (pages, scan) = scan(&client).await?;
    println!("full scan by a filter that nothing matches: {scan:.1} ms in {pages} calls");
    for (name, expected, request) in questions() {
        let mut millis = Vec::with_capacity(rounds * 20);
        let mut found = 0;
        for _ in 0..rounds * 20 {
            let began = now();
            let page = client.events().list_events(request.clone()).await?.into_inner();
            millis.push(began.elapsed().as_secs_f64() * 1e3);
            found = page.events.len();
        }
        if !expected.contains(&found) {
            return Err(format!("{name}: {found} found, not {expected:?}").into());
        }
        // The very first reads what no list has read yet.
        let first = millis.first().copied().unwrap_or(f64::NAN);
        millis.sort_by(f64::total_cmp);
        let at = |part: usize| millis.get(millis.len() * part / 100).copied().unwrap_or(f64::NAN);
        let (half, most) = (at(50), at(99));
        println!(
            "{name:<34} {found:>3} found  first {first:>6.2} ms  p50 {half:>6.2} ms  p99 {most:>6.2} ms (at most \
             {MOST_MILLIS:.0})  p50 is 1/{:.0} of a scan",
            scan / half
        );
    }
    Ok(())
}

/// Reads the whole log, page by page; returns how many calls that were, and how many milliseconds they took.
async fn scan(client: &Client) -> Outcome<(usize, f64)> {
    let filter = "event.actor == 'nobody at all'".to_owned();
    let mut request = ListEventsRequest { filter, ..ListEventsRequest::default() };
    let (began, mut pages) = (now(), 0);
    loop {
        let page = client.events().list_events(request.clone()).await?.into_inner();
        pages += 1;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok((pages, began.elapsed().as_secs_f64() * 1e3));
        }
    }
}

/// Returns what is asked, with how many events the first page must have.
fn questions() -> Vec<(&'static str, RangeInclusive<usize>, ListEventsRequest)> {
    let all = ListEventsRequest { newest_first: true, ..ListEventsRequest::default() };
    let pattern = |text: &str| ListEventsRequest { patterns: vec![text.to_owned()], ..all.clone() };
    let about = |id: &str| ListEventsRequest {
        resource_type: "pull_request".to_owned(),
        resource_id: id.to_owned(),
        ..all.clone()
    };
    let by = |actor: &str| ListEventsRequest { actor: actor.to_owned(), ..all.clone() };
    let time = |secs: i64| Some(prost_types::Timestamp { seconds: BEGINNING + secs, nanos: 0 });
    let minute =
        ListEventsRequest { start_time: time(9_000), end_time: time(9_060), ..all.clone() };
    vec![
        ("newest", 100..=100, all.clone()),
        ("oldest", 100..=100, ListEventsRequest { newest_first: false, ..all.clone() }),
        ("common pattern", 100..=100, pattern("github/*")),
        ("rare pattern (10 of 50,000)", 10..=10, pattern("*/deployment.failed")),
        ("absent pattern", 0..=0, pattern("gitlab/*")),
        ("resource (25)", 10..=50, about("octo/hello#77")),
        ("absent resource", 0..=0, about("octo/hello#99999")),
        ("actor (167)", 100..=100, by("actor-77")),
        ("absent actor", 0..=0, by("nobody")),
        ("a minute in the midst", 50..=100, minute),
        (
            "pattern, resource and time",
            1..=25,
            ListEventsRequest {
                patterns: vec!["github/*".to_owned()],
                start_time: time(5_000),
                ..about("octo/hello#77")
            },
        ),
    ]
}

/// Returns the bodies of the bench `ingest`; without them, one that is made up.
fn bodies() -> Outcome<Vec<Bytes>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/payloads/github");
    if !folder.is_dir() {
        let text = "a line of a description, as people write them; ".repeat(40);
        return Ok(vec![format!(r#"{{"action":"opened","body":"{text}"}}"#).into()]);
    }
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    files.sort();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    Ok(files.iter().map(|file| fs::read(file).map(Bytes::from)).collect::<Result<_, _>>()?)
}

async fn prepare(data: &Path, bodies: &[Bytes]) -> Outcome {
    let store = SledStore::open(data, Options::default())?;
    let numbers: Vec<_> = (0..EVENTS).collect();
    for some in numbers.chunks(64) {
        let first = some.first().copied().unwrap_or_default();
        let at = Timestamp::from_secs(BEGINNING + i64::try_from(first / 2)?).ok_or("a time")?;
        let events = some.iter().map(|number| event(*number, bodies)).collect();
        store.append(events, at).await?;
    }
    store.close().await;
    Ok(())
}

fn event(number: usize, bodies: &[Bytes]) -> NewEvent {
    let sources = ["github", "stripe", "jira", "slack", "custom"];
    let types = ["pull_request.opened", "push", "issues.closed", "invoice.paid", "message"];
    let kind = if number % 5_000 == 17 {
        "deployment.failed"
    } else {
        types.get(number / 5 % types.len()).copied().unwrap_or("push")
    };
    // Spread, so that no block holds all that is asked for.
    let spread = number.wrapping_mul(2_654_435_761) >> 8;
    NewEvent {
        source: SourceName::parse(sources.get(number % 5).copied().unwrap_or("github")).unwrap(),
        event_type: EventType::parse(kind).unwrap(),
        timestamp: Timestamp::EPOCH,
        actor: format!("actor-{}", spread % ACTORS).into(),
        resource_type: "pull_request".into(),
        resource_id: format!("octo/hello#{}", spread / ACTORS % RESOURCES).into(),
        payload: bodies.get(number % bodies.len()).cloned().unwrap_or_default(),
        metadata: [("content_type", "application/json")].into(),
        delivery_key: format!("key-{number}").into(),
        replay_window: None,
    }
}
