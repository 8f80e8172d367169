//! What providers do: they sign a body and post it. Written from the providers' documentation, and knowing nothing of
//! the hub's own code.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
};

use crate::hub::{soon, wall};

/// The secret of all sources.
pub(crate) const SECRET: &str = "It's a Secret to Everybody";

fn hmac_hex(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// GitHub docs, "Validating webhook deliveries".
pub(crate) fn github_signature(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hmac_hex(secret, &[body]))
}

/// Stripe docs, "Verify webhook signatures manually". `at` is in seconds since the epoch.
pub(crate) fn stripe_signature(secret: &str, at: u64, body: &[u8]) -> String {
    let time = at.to_string();
    format!("t={time},v1={}", hmac_hex(secret, &[time.as_bytes(), b".", body]))
}

/// A post that is ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    pub(crate) method: &'static str,
    pub(crate) source: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Webhook {
    fn new(source: &str, body: impl Into<Bytes>) -> Self {
        Self { method: "POST", source: source.to_owned(), headers: Vec::new(), body: body.into() }
    }

    /// Signs a body as GitHub does.
    pub(crate) fn github(event: &str, delivery: &str, body: impl Into<Bytes>) -> Self {
        Self::new("github", body)
            .with("content-type", "application/json")
            .with("x-github-event", event)
            .with("x-github-delivery", delivery)
            .signed()
    }

    /// Signs a body as Stripe does.
    pub(crate) fn stripe(body: impl Into<Bytes>) -> Self {
        Self::new("stripe", body).with("content-type", "application/json; charset=utf-8").signed()
    }

    /// A small push, with this id of its delivery.
    pub(crate) fn push(delivery: &str) -> Self {
        let body = json!({
            "ref": "refs/heads/main",
            "repository": {"full_name": "octo/hello"},
            "sender": {"login": "octocat"},
            "delivery": delivery,
        });
        Self::github("push", delivery, body.to_string())
    }

    /// Puts a header in the place of all that have its name.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a header away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// Signs with the secret, now.
    pub(crate) fn signed(self) -> Self {
        self.signed_with(SECRET, wall().as_secs())
    }

    /// Signs with a secret at a time, in seconds since the epoch.
    pub(crate) fn signed_with(self, secret: &str, at: u64) -> Self {
        let body = self.body.clone();
        match self.source.as_str() {
            "stripe" => self.with("stripe-signature", &stripe_signature(secret, at, &body)),
            _ => self.with("x-hub-signature-256", &github_signature(secret, &body)),
        }
    }

    /// Returns request line and headers, but for those of the body's framing and the empty line.
    pub(crate) fn head(&self) -> String {
        let mut head =
            format!("{} /webhooks/{} HTTP/1.1\r\nhost: hub\r\n", self.method, self.source);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }
}

/// What the hub answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A connection that is kept alive.
pub(crate) struct Connection {
    stream: BufStream<TcpStream>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufStream::new(stream) })
    }

    /// Posts a webhook with its length, and reads the answer.
    pub(crate) async fn post(&mut self, webhook: &Webhook) -> io::Result<Answer> {
        let head = format!("{}content-length: {}\r\n\r\n", webhook.head(), webhook.body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&webhook.body);
        self.send(&bytes).await?;
        self.answer().await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        soon("the hub to read", async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: hub\r\n\r\n").as_bytes()).await?;
        self.answer().await
    }

    /// Reads an answer with a length.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        soon("an answer", self.read()).await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    async fn read(&mut self) -> io::Result<Answer> {
        let status = self.line().await?;
        let code = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = code.and_then(|code| code.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: Bytes::new() };
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        answer.body = body.into();
        Ok(answer)
    }
}
