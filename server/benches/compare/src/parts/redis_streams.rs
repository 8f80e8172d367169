//! Redis Streams by its Rust client.

use bytes::Bytes;
use redis::{AsyncCommands as _, AsyncConnectionConfig, aio::MultiplexedConnection};

use crate::{Outcome, servers::Server};

/// Where events are added.
pub(super) const STREAM: &str = "events";

/// Connects, without the client's own limit of half a second for an answer: a disk may take longer to sync.
pub(super) async fn connect(server: &Server) -> Outcome<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(server.url.as_str())?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// Adds a body, and waits until the server confirms it.
pub(super) async fn add(mut connection: MultiplexedConnection, body: Bytes) -> Outcome {
    let _id: String = connection.xadd(STREAM, "*", &[("payload", body.as_ref())]).await?;
    Ok(())
}
