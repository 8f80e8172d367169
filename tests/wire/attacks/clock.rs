//! A wall clock that jumps while events are delivered, by Debian's `libfaketime`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hookline_proto::v1::{ListEventsRequest, SubscribeRequest, SubscriptionPolicy};
use tempfile::NamedTempFile;

use crate::{
    agent::{Stream, at, event_id, everything, lasts, retrying_at_once},
    http::{SECRET, Webhook},
    hub::{Hub, Settings, wall},
};

const HOUR: u64 = 3_600;

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    found.find(|path| path.exists()).expect("the library of Debian's package `libfaketime`")
}

/// Moves the hub's wall clock away from the machine's.
fn jump(file: &Path, hours: i64) {
    let changed = file.with_extension("new");
    fs::write(&changed, format!("{hours:+}h\n")).unwrap();
    // At once, so that no half of it is read.
    fs::rename(changed, file).unwrap();
}

async fn expires(stream: &mut Stream) -> (String, Duration) {
    let delivery = stream.delivery().await;
    assert_eq!(delivery.attempt, 1, "no jump ends a lease");
    (delivery.lease_id.clone(), at(delivery.lease_expires_at))
}

#[tokio::test]
#[ignore = "needs libfaketime"]
async fn a_wall_clock_that_jumps_by_hours_ends_no_lease_early_and_none_never() {
    let file = NamedTempFile::new().unwrap();
    jump(file.path(), 0);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let variables = [
        ("LD_PRELOAD", text(&library())),
        ("FAKETIME_TIMESTAMP_FILE", text(file.path())),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let hub = Hub::start_with(Settings { variables, ..Settings::default() }).await;
    let agent = hub.agent().await;
    let policy = SubscriptionPolicy {
        lease_duration: lasts(Duration::from_secs(2)),
        max_attempts: Some(2),
        ..retrying_at_once()
    };
    let work = SubscribeRequest { max_in_flight: Some(10), ..everything("work") };
    let mut stream = agent.subscribe(work).await;
    let short = SubscribeRequest {
        patterns: vec!["stripe".to_owned()],
        policy: Some(policy),
        ..everything("short")
    };
    let mut short = agent.subscribe(short).await;

    let mut held = Vec::new();
    for (number, hours) in [0, 5, -5, 0, 30, -30].into_iter().enumerate() {
        jump(file.path(), hours);
        // The time of a signature is that of the wall clock, wherever it is.
        let shift = hours.unsigned_abs() * HOUR;
        let now = wall().as_secs();
        let there = if hours < 0 { now - shift } else { now + shift };
        let body = format!(r#"{{"id": "evt_{number}", "object": "event", "type": "x.y"}}"#);
        // Stripe's own libraries take times that are ahead, whatever the distance.
        if 0 < hours {
            assert_eq!(hub.post(&Webhook::stripe(body.clone())).await.status, 401, "{hours}");
        }
        let id = hub.take(&Webhook::stripe(body).signed_with(SECRET, there)).await;
        let (lease, until) = expires(&mut stream).await;
        held.push((lease, until));
        // A lease that is let go ends by the steady clock: after two seconds, whatever the wall clock does.
        let first = short.delivery().await;
        assert_eq!((event_id(&first), first.attempt), (id.as_str(), 1));
        let began = super::range::now();
        let second = loop {
            if let hookline_proto::v1::subscribe_response::Message::Delivery(delivery) =
                short.message().await.unwrap()
            {
                break delivery;
            }
        };
        let took = began.elapsed();
        assert_eq!((event_id(&second), second.attempt), (id.as_str(), 2));
        assert!((1..=4).contains(&took.as_secs()), "{hours} h: {took:?}");
        agent.ack(&[&second.lease_id]).await;
    }
    // None has expired: each can be acked, though it was held over jumps.
    let leases: Vec<_> = held.iter().map(|(lease, _)| lease.as_str()).collect();
    for outcome in agent.ack(&leases).await {
        assert_eq!(outcome, hookline_proto::v1::Outcome::Applied);
    }
    for pair in held.windows(2) {
        assert!(pair[0].1 <= pair[1].1, "leases end by a clock that does not go back");
    }
    let events = agent.list(ListEventsRequest::default()).await;
    let received: Vec<_> = events.iter().map(|event| at(event.received_at)).collect();
    assert!(received.is_sorted(), "{received:?}");
    println!(
        "attack: clock jumps | by 5 and 30 hours forwards and back | {} leases held, none lost; those let go \
         ended after 2 s; received_at does not go back",
        held.len()
    );
}
