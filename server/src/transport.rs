//! How connections come in, and how they are spoken over: plain, or secured by TLS.

use std::{io, net::SocketAddr};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::{limits, tls::Tls};

/// A connection as it is spoken over: as it came, or within TLS.
pub(crate) type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Listens, with room for many connections that were not accepted yet.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart does not wait for the connections of before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::LISTEN_QUEUE_MAX)
}

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

#[cfg(test)]
mod tests {
    use std::{net::Ipv6Addr, time::Duration};

    use super::*;

    /// How many connections the machine lets wait at the most.
    fn waiting_max() -> usize {
        let known = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        known.ok().and_then(|most| most.trim().parse().ok()).unwrap_or(128)
    }

    #[tokio::test]
    async fn connections_that_come_at_once_need_not_be_accepted_at_once() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let count = waiting_max().min(400);
        let connecting = async {
            let mut open = Vec::new();
            for _ in 0..count {
                open.push(TcpStream::connect(address).await.unwrap());
            }
            open
        };
        // One that finds no room is tried again after 1 s, then after 2, and so on: nobody accepts.
        let open = timeout(Duration::from_secs(60), connecting).await.unwrap();
        assert_eq!(open.len(), count);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_is_taken_once_and_at_once_again_when_it_is_free() {
        // An address of loopback that nobody else takes a port of meanwhile.
        let listener = listen("127.83.14.7:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(listen(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        // The side that closes first is the one that remembers the connection.
        drop(accepted.unwrap());
        drop((client.unwrap(), listener));
        listen(address).unwrap();
    }

    #[tokio::test]
    async fn both_families_of_addresses_are_listened_on() {
        match listen((Ipv6Addr::LOCALHOST, 0).into()) {
            Ok(listener) => assert!(listener.local_addr().unwrap().is_ipv6()),
            // A machine without it says so.
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
                ) || error.raw_os_error() == Some(97),
                "{error}"
            ),
        }
    }
}
