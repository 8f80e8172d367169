//! JetStream by its Rust client: one stream on files, one subject.

use async_nats::jetstream::{
    self, Context,
    consumer::{Consumer, pull},
    stream,
};
use bytes::Bytes;

use crate::{Outcome, servers::Server};

const SUBJECT: &str = "events.github";

/// Makes the stream.
pub(super) async fn create(server: &Server) -> Outcome<(Context, stream::Stream)> {
    let client = async_nats::connect(&server.url).await?;
    let context = jetstream::new(client);
    let config = stream::Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["events.>".to_owned()],
        storage: stream::StorageType::File,
        ..stream::Config::default()
    };
    let stream = context.create_stream(config).await?;
    Ok((context, stream))
}

/// Publishes, and waits until the server confirms it.
pub(super) async fn publish(context: &Context, body: Bytes) -> Outcome {
    context.publish(SUBJECT, body).await?.await?;
    Ok(())
}

/// Makes a durable consumer that may have as many unacknowledged messages as one of Hookline.
pub(super) async fn consumer(
    stream: &stream::Stream,
    name: &str,
) -> Outcome<Consumer<pull::Config>> {
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        max_ack_pending: super::consume::IN_FLIGHT.into(),
        ..pull::Config::default()
    };
    Ok(stream.create_consumer(config).await?)
}
