//! The first bytes of a connection: every client of HTTP/2 begins with the same 24. Who does not bring them in time is
//! sent away, since the HTTP library waits for them for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, ReadBuf},
    time::timeout,
};

use crate::limits::PREFACE_TIME_MAX;

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes that were read ahead: they are read again by whom the connection is handed to.
#[derive(Debug, Default)]
pub(super) struct Preface {
    bytes: [u8; PREFACE.len()],
    length: usize,
    taken: usize,
}

impl Preface {
    /// Reads the first bytes of a connection, until there are 24 or they are no preface: what is wrong with them the HTTP
    /// library tells the client. `None` if the client went away, or took too long.
    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut preface = Self::default();
        match timeout(PREFACE_TIME_MAX, preface.fill(io)).await {
            Ok(Ok(())) => Some(preface),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection for gRPC ended before it began");
                None
            }
            Err(_) => {
                tracing::debug!(bytes = preface.length, "a connection for gRPC did not begin");
                None
            }
        }
    }

    async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        while let Some(rest) = self.bytes.get_mut(self.length..).filter(|rest| !rest.is_empty()) {
            match io.read(rest).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.length += count,
            }
            if self.bytes.get(..self.length) != PREFACE.get(..self.length) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads what was read ahead, and then the connection.
    pub(super) fn poll_read<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ahead = self.bytes.get(self.taken..self.length).unwrap_or_default();
        if ahead.is_empty() {
            return Pin::new(io).poll_read(cx, buffer);
        }
        let (now, _) = ahead.split_at(ahead.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.taken += now.len();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::{
        io::{AsyncWriteExt as _, duplex},
        time::sleep,
    };

    use super::*;

    /// Returns what is read of a connection, beginning with what was read ahead.
    async fn read_all(mut preface: Preface, mut io: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            // Smaller than a preface, so that it is read in parts.
            let mut bytes = [0; 10];
            let mut buffer = ReadBuf::new(&mut bytes);
            poll_fn(|cx| preface.poll_read(&mut io, cx, &mut buffer)).await.unwrap();
            if buffer.filled().is_empty() {
                return all;
            }
            all.extend_from_slice(buffer.filled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_preface_or_half_of_it_is_sent_away_after_ten_seconds() {
        for sent in [0, 1, 12, 23] {
            let (mut client, mut hub) = duplex(64);
            client.write_all(&PREFACE[..sent]).await.unwrap();
            let reading = Preface::read(&mut hub);
            tokio::pin!(reading);
            let soon = PREFACE_TIME_MAX - Duration::from_millis(1);
            assert!(timeout(soon, &mut reading).await.is_err(), "{sent}");
            let late = timeout(Duration::from_millis(2), reading).await.unwrap();
            assert!(late.is_none(), "{sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_put_the_deadline_off() {
        let (mut client, mut hub) = duplex(64);
        let drip = async {
            for byte in PREFACE {
                sleep(PREFACE_TIME_MAX / 20).await;
                client.write_all(&[*byte]).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = Preface::read(&mut hub) => assert!(read.is_none()),
            () = drip => {}
        }
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again_whatever_it_is() {
        let http1 = b"GET / HTTP/1.1\r\nhost: hub\r\n\r\n".to_vec();
        let http2 = [&PREFACE[..], b"and what follows"].concat();
        let nearly = [&PREFACE[..20], b"no preface"].concat();
        for sent in [http1, http2, nearly] {
            let (mut client, mut hub) = duplex(64);
            client.write_all(&sent).await.unwrap();
            drop(client);
            let preface = Preface::read(&mut hub).await.unwrap();
            assert_eq!(read_all(preface, hub).await, sent);
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_none() {
        let (mut client, mut hub) = duplex(64);
        client.write_all(&PREFACE[..10]).await.unwrap();
        drop(client);
        assert!(Preface::read(&mut hub).await.is_none());
    }
}
