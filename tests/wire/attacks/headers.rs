//! Headers without end.

use std::{fmt::Write as _, io, net::SocketAddr, time::Duration};

use tokio::task::JoinSet;

use super::{
    range::{Range, Target},
    raw::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Raw, call, frame, header, text},
};
use crate::http::Webhook;

const EACH: usize = 8;

/// How an attacker begins, and what it goes on with.
#[derive(Clone)]
struct Flood {
    is_http2: bool,
    beginning: Vec<u8>,
    part: Vec<u8>,
}

impl Flood {
    /// Sends all of it until the hub closes, whether or not it was answered.
    async fn once(&self, address: SocketAddr) -> io::Result<()> {
        let mut raw =
            if self.is_http2 { Raw::open(address).await? } else { Raw::silent(address).await? };
        raw.send(&self.beginning).await?;
        loop {
            raw.send(&self.part).await?;
        }
    }

    async fn again_and_again(self, address: SocketAddr, target: Target) -> u64 {
        let mut ended = 0;
        loop {
            tokio::select! {
                biased;
                () = target.over.cancelled() => return ended,
                // An error is the hub's end of it.
                _ = self.once(address) => ended += 1,
            }
        }
    }
}

fn http1() -> Vec<Flood> {
    let head = Webhook::push("headers").head().into_bytes();
    let mut many = String::new();
    for number in 0..1_000 {
        write!(many, "x-{number}: y\r\n").unwrap();
    }
    let large = [&head[..], b"x-large: "].concat();
    let flood = |beginning, part| Flood { is_http2: false, beginning, part };
    vec![flood(head, many.into_bytes()), flood(large, vec![b'x'; 64 << 10])]
}

fn http2() -> Vec<Flood> {
    let method = "EventService/ListEvents";
    let many: Vec<u8> = (0..1_000).flat_map(|number| header(&format!("x-{number}"), "y")).collect();
    let parts = |block: &[u8]| -> Vec<u8> {
        block.chunks(16_000).flat_map(|part| frame(CONTINUATION, 0, 1, part)).collect()
    };
    // One header of 4,000 bytes that goes into the table, and is named again by a byte each time: 64 MB in 16 KB.
    let mut bomb = call(method);
    bomb.push(0x40);
    bomb.extend(text("x-bomb"));
    bomb.extend(text(&"x".repeat(4_000)));
    let named = vec![0xbe; 16_000];
    let again = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &named);
    let bombs: Vec<_> = (1..50).flat_map(|number| again(2 * number + 1)).collect();
    let flood = |beginning, part| Flood { is_http2: true, beginning, part };
    vec![
        // Headers that do not end.
        flood(frame(HEADERS, 0, 1, &call(method)), parts(&many)),
        // Continuations without anything in them (CVE-2024-27316 and others).
        flood(frame(HEADERS, 0, 1, &call(method)), frame(CONTINUATION, 0, 1, &[]).repeat(1_000)),
        flood(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb), bombs),
    ]
}

/// Has some flood the hub in each of these ways at once.
async fn withstand(name: &str, floods: Vec<Flood>) {
    let mut range = Range::start().await;
    let attack = |target: Target| async move {
        let mut flooding = JoinSet::new();
        for flood in floods {
            let address = if flood.is_http2 { target.grpc } else { target.http };
            for _ in 0..EACH {
                flooding.spawn(flood.clone().again_and_again(address, target.clone()));
            }
        }
        target.on.cancel();
        let ended: u64 = flooding.join_all().await.into_iter().sum();
        format!("{ended} connections were ended by the hub")
    };
    range.withstand(name, Duration::from_secs(4), attack).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn headers_by_the_thousand_and_by_the_megabyte_for_http() {
    withstand("header floods on HTTP", http1()).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn headers_by_the_thousand_and_by_the_megabyte_for_grpc() {
    withstand("header floods on gRPC", http2()).await;
}
