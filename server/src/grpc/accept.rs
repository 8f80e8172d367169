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
    cork::Cork,
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
            let (meter, cork) = (Meter::new(), Cork::default());
            Some(Ok(Connection { transport, preface, meter, cork, peer, _permit: permit }))
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
    cork: Cork,
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
        let Self { transport, preface, meter, cork, .. } = self.get_mut();
        if let Transport::Left(stream) = transport {
            cork.push(stream)?;
        }
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
        self.cork.flush(cx);
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { transport, cork, .. } = self.get_mut();
        match transport {
            Transport::Left(stream) => cork.poll_write(stream, cx, bufs),
            secured => Pin::new(secured).poll_write_vectored(cx, bufs),
        }
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
    use std::{task::Waker, time::Duration};

    use futures_util::{StreamExt as _, stream};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::{super::woken::Woken, *};

    #[tokio::test]
    async fn a_full_frame_that_nothing_follows_is_sent_when_the_task_is_polled_next() {
        let listener = transport::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, (accepted, _)) = (client.unwrap(), accepted.unwrap());
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let incoming = stream::iter([Ok::<_, io::Error>(accepted)]);
        let room = Arc::new(Semaphore::new(1));
        let opened = connections(incoming, room, None).collect::<Vec<_>>().await.pop();
        let mut connection = opened.unwrap().unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        for (size, waits) in
            [(100, false), (16 * 1024 + 9, true), (100, false), (16 * 1024 + 9, true)]
        {
            let waits = waits && cfg!(target_os = "linux");
            let bytes = vec![7; size];
            let (head, rest) = bytes.split_at(9);
            let mut connection = Pin::new(&mut connection);
            let bufs = [IoSlice::new(head), IoSlice::new(rest)];
            let written = connection.as_mut().poll_write_vectored(&mut cx, &bufs);
            assert!(matches!(written, Poll::Ready(Ok(all)) if all == size), "{written:?}");
            woken.was_woken();
            assert!(matches!(connection.as_mut().poll_flush(&mut cx), Poll::Ready(Ok(()))));
            assert_eq!((woken.was_woken(), connection.cork.waits()), (waits, waits), "{size}");
        }
        let mut buffer = [0; 24];
        let polled = Pin::new(&mut connection).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer));
        assert!(matches!(polled, Poll::Ready(Ok(()))), "the preface: {polled:?}");
        assert!(!connection.cork.waits());
        let mut all = vec![0; 2 * (100 + 16 * 1024 + 9)];
        client.read_exact(&mut all).await.unwrap();
        assert!(all.iter().all(|byte| *byte == 7));
    }

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
