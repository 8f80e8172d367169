//! One connection: HTTP/1 with limits on its headers, answers that reach a sender who still sends, and an end.

use std::{future::poll_fn, net::IpAddr};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{answer, repoll::Repoll, stall::Guarded};
use crate::limits;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// This machine, which may be a proxy on it.
    Local,
    /// Another one.
    Remote,
}

impl Peer {
    /// Tells whose an address is; one that is not known is another machine's.
    pub(super) fn at(address: Option<IpAddr>) -> Self {
        let is_local = address.is_some_and(|address| address.to_canonical().is_loopback());
        if is_local { Self::Local } else { Self::Remote }
    }
}

/// Serves a connection until either side ends it, or shortly after `closing`. Each request is told whose it is.
pub(super) async fn serve<I>(io: I, peer: Peer, router: Router, closing: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        Box::pin(router.clone().oneshot(request.map(Body::new)))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_TIME_MAX)
        .max_header_size(limits::HEADER_BYTES_MAX)
        .max_buf_size(limits::CONNECTION_BUFFER_BYTES)
        .serve_connection(TokioIo::new(Guarded::new(io)), service);

    let repoll = Repoll::new();
    let ended = tokio::select! {
        biased;
        ended = poll_fn(|cx| repoll.poll(cx, |cx| connection.poll_without_shutdown(cx))) => ended,
        () = closing.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            let ending = poll_fn(|cx| connection.poll_without_shutdown(cx));
            match timeout(limits::CLOSE_TIME_MAX, ending).await {
                Ok(ended) => ended,
                // Nothing was asked on it.
                Err(_) => return,
            }
        }
    };
    let parts = connection.into_parts();
    let mut io = parts.io.into_inner();
    if let Err(error) = &ended {
        tracing::debug!(%error, "a connection for webhooks ended");
        if error.is_timeout() {
            if parts.read_buf.is_empty() {
                // It was idle.
                return;
            }
            if io.write_all(answer::HEADERS_TIMED_OUT).await.is_err() {
                return;
            }
        }
    }
    tokio::select! {
        () = linger(&mut io) => {}
        () = async { closing.cancelled().await; tokio::time::sleep(limits::CLOSE_TIME_MAX).await } => {}
    }
}

/// Reads and drops, at a pace, what the sender still sends: closing a connection with unread bytes resets it, and the answer, which
/// may be on its way, is lost.
async fn linger(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let drain = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let mut scratch = [0; 8 << 10];
        loop {
            let mut read = 0;
            while read < limits::LINGER_STEP_BYTES {
                match io.read(&mut scratch).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => read += count,
                }
            }
            tokio::time::sleep(limits::LINGER_PAUSE).await;
        }
    };
    // At the limit the connection is closed all the same.
    drop(timeout(limits::LINGER_TIME_MAX, drain).await);
}
