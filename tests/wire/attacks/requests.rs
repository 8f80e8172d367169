//! Requests that are large, and do not end.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::{Request, body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use super::range::{Range, Target};

const CONNECTIONS: usize = 3;
const CALLS: usize = 100;
const METHOD: &str = "http://hub/hookline.v1.EventService/PublishEvent";
/// The length of a message as it is said before it.
const LENGTH: u32 = 26_000_000;
const PART: usize = 64 << 10;

/// Calls whose requests end a byte before they are whole; returns how many the hub answered.
async fn publish(address: SocketAddr, target: Target) -> usize {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut calls, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move {
        // Its end is the hub's, or this test's.
        drop(connection.await);
        false
    });
    for _ in 0..CALLS {
        let mut prefix = vec![0];
        prefix.extend(LENGTH.to_be_bytes());
        let parts = std::iter::repeat_n(Bytes::from(vec![0; PART]), LENGTH as usize / PART);
        let parts = std::iter::once(Bytes::from(prefix)).chain(parts);
        let parts = parts.map(|part| Ok::<_, Infallible>(Frame::data(part)));
        let body = StreamBody::new(stream::iter(parts).chain(stream::pending()));
        let request = Request::post(METHOD).header("content-type", "application/grpc");
        calls.ready().await.unwrap();
        let answer = calls.send_request(request.header("te", "trailers").body(body).unwrap());
        running.spawn(async move { answer.await.is_ok() });
    }
    target.on.cancel();
    let mut answered = 0;
    loop {
        tokio::select! {
            biased;
            () = target.over.cancelled() => return answered,
            Some(ended) = running.join_next() => answered += usize::from(ended.unwrap()),
        }
    }
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn large_requests_that_do_not_end() {
    let mut range = Range::start().await;
    let attack = |target: Target| async move {
        let mut publishing = JoinSet::new();
        for _ in 0..CONNECTIONS {
            publishing.spawn(publish(target.grpc, target.clone()));
        }
        let answered: usize = publishing.join_all().await.into_iter().sum();
        let all = CONNECTIONS * CALLS;
        format!("{answered} of {all} calls were refused after 5 s for want of memory")
    };
    let seen = range.withstand("large requests without end", Duration::from_secs(7), attack).await;
    assert!(!seen.starts_with("0 of"), "{seen}");
}
