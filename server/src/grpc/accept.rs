//! Connections as they come in: one that can't be accepted does not keep the hub busy, one that is slow to begin keeps no
//! other and is sent away, and there are not too many.

use std::{
    fmt::Display,
    future::ready,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use super::{
    meter::Meter,
    pending::{Peer, Total},
    preface::Preface,
};
use crate::{
    limits::{ACCEPT_PAUSE, GRPC_CONNECTIONS_MAX},
    tls::Tls,
    transport::{self, Transport},
};

/// Returns the connections that were accepted, each after its handshake and its first bytes. What comes when there is no
/// room is closed.
pub(super) fn connections<E>(
    accepted: impl Stream<Item = Result<TcpStream, E>> + Send,
    room: Arc<Semaphore>,
    tls: Option<Arc<Tls>>,
) -> impl Stream<Item = Result<Connection, E>> + Send
where
    E: Send,
{
    let admitted = accepted.filter_map(move |stream| {
        let permit = Arc::clone(&room).try_acquire_owned();
        if permit.is_err() {
            tracing::warn!(
                max = GRPC_CONNECTIONS_MAX,
                "too many connections for gRPC: one is closed"
            );
        }
        ready(permit.ok().map(|permit| (stream, permit)))
    });
    let total = Total::default();
    let opening = admitted.map(move |(stream, permit)| {
        let (tls, total) = (tls.clone(), Arc::clone(&total));
        async move {
            let mut transport = match stream {
                Ok(stream) => transport::open(stream, tls.as_deref()).await?,
                Err(error) => return Some(Err(error)),
            };
            let preface = Preface::read(&mut transport).await?;
            let peer = Peer::new(transport::tcp(&transport).connect_info(), total);
            let meter = Meter::new();
            Some(Ok(Connection { transport, preface, meter, peer, _permit: permit }))
        }
    });
    // As many as there may be connections: it never waits for those that are slow.
    opening.buffer_unordered(GRPC_CONNECTIONS_MAX).filter_map(ready)
}

/// A connection, which takes room until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    preface: Preface,
    meter: Meter,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { transport, preface, meter, .. } = self.get_mut();
        std::task::ready!(meter.poll_ready(cx));
        let before = buf.filled().len();
        let read = preface.poll_read(transport, cx, buf);
        meter.take(buf.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}

/// A stream that pauses after an error, and goes on. Where no file descriptors are free, an accept fails at once, and so
/// does the next one.
#[derive(Debug)]
pub(super) struct Patient<S> {
    connections: S,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(connections: S) -> Self {
        Self { connections, pause: None }
    }
}

impl<S, C, E> Stream for Patient<S>
where
    S: Stream<Item = Result<C, E>> + Unpin,
    E: Display,
{
    type Item = Result<C, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match std::task::ready!(Pin::new(&mut self.connections).poll_next(cx)) {
                Some(Err(error)) => {
                    tracing::warn!(%error, "accepting a connection for gRPC");
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
                connection @ (Some(Ok(_)) | None) => return Poll::Ready(connection),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_accept_that_fails_is_tried_again_after_a_pause() {
        let accepted = stream::iter([Ok(1), Err("no file"), Err("no file"), Ok(2)]);
        let mut patient = Patient::new(accepted);
        assert_eq!(patient.next().await, Some(Ok(1)));
        let soon = timeout(ACCEPT_PAUSE - Duration::from_millis(1), patient.next()).await;
        assert!(soon.is_err(), "{soon:?}");
        assert_eq!(patient.next().await, Some(Ok(2)));
        assert_eq!(patient.next().await, None);
    }
}
