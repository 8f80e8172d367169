//! Who is slow to say what it wants, by the thousand.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

use super::{
    range::{Range, Target, now},
    raw::{PREFACE, Raw},
};
use crate::{http::Webhook, hub::soon};

/// How often something is sent by those that send something.
const NOW_AND_THEN: Duration = Duration::from_secs(2);

/// A connection that is sent a beginning, and then a byte now and then, until the hub closes it; how long that took.
async fn drip(mut raw: Raw, beginning: Vec<u8>, byte: Option<u8>) -> Duration {
    let began = now();
    if raw.send(&beginning).await.is_err() {
        return began.elapsed();
    }
    let Some(byte) = byte else {
        raw.closed().await;
        return began.elapsed();
    };
    // It waits for the hub to close, and lets no more than so much time go by without a byte.
    while timeout(NOW_AND_THEN, raw.closed()).await.is_err() {
        if raw.send(&[byte]).await.is_err() {
            break;
        }
    }
    began.elapsed()
}

/// Opens all, and returns how many of each kind were closed, and after what times.
async fn all_slow(
    target: Target,
    address: std::net::SocketAddr,
    kinds: Vec<(&'static str, usize, Vec<u8>, Option<u8>)>,
) -> String {
    let mut slow = JoinSet::new();
    for (kind, count, beginning, byte) in &kinds {
        for _ in 0..*count {
            let raw = soon("a connection", Raw::silent(address)).await.unwrap();
            let (kind, drip) = (*kind, drip(raw, beginning.clone(), *byte));
            slow.spawn(async move { (kind, drip.await) });
        }
    }
    target.on.cancel();
    let mut closed = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = target.over.cancelled() => break,
            Some(ended) = slow.join_next() => closed.push(ended.unwrap()),
        }
    }
    let told = kinds.iter().map(|(kind, count, ..)| {
        let times = closed.iter().filter(|(closed, _)| closed == kind).map(|(_, time)| *time);
        let times: Vec<_> = times.collect();
        let (least, most) = (times.iter().min(), times.iter().max());
        let secs = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
        format!(
            "{kind}: {} of {count} closed after {:.1} to {:.1} s",
            times.len(),
            secs(least),
            secs(most)
        )
    });
    told.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn a_thousand_slow_headers_and_a_thousand_bodies_that_never_end() {
    let mut range = Range::start().await;
    let webhook = Webhook::push("slow");
    let head = |framing: &str| format!("{}{framing}\r\n\r\n{{", webhook.head()).into_bytes();
    let chunked = format!("{}transfer-encoding: chunked\r\n\r\n1\r\n{{\r\n", webhook.head());
    let chunked = chunked.into_bytes();
    let kinds = vec![
        ("headers", 1_000, webhook.head().into_bytes(), Some(b'x')),
        ("small bodies", 400, head("content-length: 1000"), Some(b' ')),
        ("large bodies", 400, head("content-length: 25000000"), Some(b' ')),
        ("chunked bodies", 200, chunked, None),
    ];
    let lasting = Duration::from_secs(12);
    let attack = move |target: Target| {
        let http = target.http;
        all_slow(target, http, kinds)
    };
    let seen = range.withstand("slowloris on HTTP", lasting, attack).await;
    assert!(seen.contains("headers: 1000 of 1000 closed"), "{seen}");
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn a_thousand_connections_to_grpc_that_do_not_begin() {
    let mut range = Range::start().await;
    let kinds = vec![
        ("silent", 400, Vec::new(), None),
        ("half a preface", 300, PREFACE[..12].to_vec(), None),
        ("a preface byte by byte", 300, PREFACE[..1].to_vec(), Some(PREFACE[1])),
        // They may stay: they are idle, until they do not answer a ping.
        ("idle", 1_000, PREFACE.to_vec(), None),
    ];
    let lasting = Duration::from_secs(12);
    let attack = move |target: Target| {
        let grpc = target.grpc;
        all_slow(target, grpc, kinds)
    };
    let seen = range.withstand("slowloris on gRPC", lasting, attack).await;
    for kind in ["silent: 400 of 400", "half a preface: 300 of 300", "byte by byte: 300 of 300"] {
        assert!(seen.contains(kind), "{seen}");
    }
}
