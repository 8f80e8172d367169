//! A connection as it is spoken over: plain, or secured by TLS.

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::{limits, tls::Tls};

/// A connection as it is spoken over: as it came, or within TLS.
pub(crate) type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Makes the handshake, where there is one; `None` if it failed or took too long, which is a matter of the client.
pub(crate) async fn open(stream: TcpStream, tls: Option<&Tls>) -> Option<Transport> {
    let Some(tls) = tls else { return Some(Either::Left(stream)) };
    let peer = stream.peer_addr().ok();
    match timeout(limits::HANDSHAKE_TIME_MAX, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => Some(Either::Right(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(?peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(?peer, "a TLS handshake took too long");
            None
        }
    }
}

/// Returns the connection below.
pub(crate) fn tcp(transport: &Transport) -> &TcpStream {
    match transport {
        Either::Left(stream) => stream,
        Either::Right(stream) => stream.get_ref().0,
    }
}
