//! A hub with tokens, and calls with any of them.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use hookline_client::Client;
use hookline_proto::v1::{
    CreateSubscriptionRequest, Delivery, NackAction, SubscribeRequest, SubscribeResponse,
    subscribe_response::Message,
};
use tempfile::TempDir;
use tonic::{
    Code, Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

use crate::hub::{Hub, Settings, soon};

/// A hub that asks for tokens.
pub(super) struct Guarded {
    pub(super) hub: Hub,
    tokens: Tokens,
}

/// A tokens file, changed by the command.
pub(super) struct Tokens {
    folder: TempDir,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("tokens.toml")
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        tokens(&[arguments, &["--file", self.path().to_str().unwrap()]].concat())
    }

    /// Makes a token by the command.
    pub(super) fn create(&self, name: &str, scopes: &[&str]) -> String {
        let output = self.run(&[&["create", name], scopes].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.strip_suffix('\n').unwrap().to_owned()
    }

    /// Makes a token whose time is long over.
    pub(super) fn create_expired(&self, name: &str, scopes: &[&str]) -> String {
        let token = self.create(name, scopes);
        // The newest is the last in the file.
        let mut file = fs::File::options().append(true).open(self.path()).unwrap();
        writeln!(file, "expires_at = \"2020-01-01T00:00:00Z\"").unwrap();
        token
    }

    pub(super) fn revoke(&self, name: &str) {
        let output = self.run(&["revoke", name]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Runs `hookline tokens`.
pub(super) fn tokens(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookline"));
    command.env_clear().arg("tokens").args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

impl Guarded {
    pub(super) async fn start(tokens: Tokens) -> Self {
        let path = tokens.path().to_str().unwrap().to_owned();
        let variables = vec![("HOOKLINE_AUTH__TOKENS".to_owned(), path)];
        let hub = Hub::start_with(Settings { variables, ..Settings::default() }).await;
        Self { hub, tokens }
    }

    pub(super) const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(super) fn client(&self, token: &str) -> Client {
        let builder = Client::builder(self.hub.grpc_address().to_string());
        builder.token(token).connect().unwrap()
    }

    pub(super) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.hub.grpc_address()));
        soon("a connection", endpoint.unwrap().connect()).await.unwrap()
    }

    /// What was logged since the hub was started first.
    pub(super) fn logged(&self) -> String {
        fs::read_to_string(self.hub.folder().join("log")).unwrap()
    }
}

/// Calls a method with the bytes of a request, and returns those of the first message of its answer.
pub(super) async fn call(
    channel: &Channel,
    path: &str,
    authorization: Option<&str>,
    request: Vec<u8>,
) -> Result<Bytes, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    soon("the connection", grpc.ready()).await.unwrap();
    let mut request = Request::new(tokio_stream::iter([request]));
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    let calling = grpc.streaming(request, path.parse().unwrap(), Raw);
    let mut answer = soon(path, calling).await?.into_inner();
    let first = soon(path, answer.message()).await?;
    first.ok_or_else(|| Status::new(Code::Ok, "no message"))
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Makes a subscription, from the first event on.
pub(super) async fn make(client: &Client, name: &str, patterns: &[&str]) {
    let request = CreateSubscriptionRequest {
        name: name.to_owned(),
        patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        start: crate::agent::earliest(),
        ..Default::default()
    };
    soon("an answer", client.subscriptions().create_subscription(request)).await.unwrap();
}

/// Subscribes to what there is, with room for many.
pub(super) fn joining(name: &str, consumer: &str) -> SubscribeRequest {
    SubscribeRequest {
        subscription: name.to_owned(),
        consumer: consumer.to_owned(),
        max_in_flight: Some(100),
        ..Default::default()
    }
}

/// Opens a stream, and waits for `ready`.
pub(super) async fn subscribe(
    client: &Client,
    request: SubscribeRequest,
) -> Result<Streaming<SubscribeResponse>, Status> {
    let mut subscriber = client.subscriber();
    let mut stream = soon("a stream", subscriber.subscribe(request)).await?.into_inner();
    let ready = soon("`ready`", stream.message()).await?.and_then(|message| message.message);
    assert!(matches!(ready, Some(Message::Ready(_))), "{ready:?}");
    Ok(stream)
}

/// Waits for the next delivery of a stream.
pub(super) async fn delivery(
    stream: &mut Streaming<SubscribeResponse>,
) -> Result<Delivery, Status> {
    let coming = async {
        loop {
            let Some(message) = stream.message().await? else {
                return Err(Status::new(Code::Ok, "the stream ended without a status"));
            };
            if let Some(Message::Delivery(delivery)) = message.message {
                return Ok(delivery);
            }
        }
    };
    soon("a delivery", coming).await
}

/// Rejects a delivery, so that it is a dead letter.
pub(super) async fn reject(client: &Client, delivery: &Delivery) {
    let nack = hookline_proto::v1::Nack {
        lease_id: delivery.lease_id.clone(),
        reason: "not for me".to_owned(),
        action: NackAction::DeadLetter.into(),
        ..Default::default()
    };
    let request = hookline_proto::v1::NackRequest { nacks: vec![nack] };
    let answer = soon("an answer", client.subscriber().nack(request)).await.unwrap();
    assert_eq!(answer.get_ref().results[0].outcome(), hookline_proto::v1::Outcome::Applied);
}
