//! A front with clocks and a log that tests hold in their hands, and a sender that writes bytes.

use std::{collections::BTreeMap, time::Duration};

use axum::{body::Body, http::Request, response::Response};
use bytes::Bytes;
use hookline_core::{event::SourceName, source::Source};
use hookline_core::{
    event::{EventId, NewEvent, Sequence},
    source::{Kind, Secret, Settings},
    time::Timestamp,
    verify::{self, Draft},
};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    sync::watch,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tower::ServiceExt;

use super::super::*;
use crate::{
    clock::ManualClock,
    store::{AppendError, Appended, BoxFuture, Entry, ReadError, ReadLimit, ReadRange},
    tasks,
};

pub(super) const SECRET: &str = "It's a Secret to Everybody";
pub(super) const BODY: &str = r#"{"action":"opened","sender":{"login":"octocat"}}"#;

/// A log that tests open, close and break. It dedupes as the real ones do, and keeps what it took.
#[derive(Debug)]
pub(super) struct FakeLog {
    pub(super) events: Mutex<Vec<NewEvent>>,
    pub(super) broken: Mutex<Option<AppendError>>,
    /// Appends wait while it is false.
    pub(super) open: watch::Sender<bool>,
    /// How many appends have begun.
    pub(super) begun: watch::Sender<usize>,
    head: watch::Sender<u64>,
}

impl FakeLog {
    fn take(&self, event: NewEvent) -> Appended {
        let mut events = self.events.lock();
        let seen = events.iter().position(|old| {
            !old.delivery_key.is_empty()
                && (&old.source, &old.delivery_key) == (&event.source, &event.delivery_key)
        });
        let index = seen.unwrap_or(events.len());
        if seen.is_none() {
            events.push(event);
        }
        let sequence = u64::try_from(index).unwrap() + 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&sequence.to_be_bytes());
        Appended {
            id: EventId::new(Timestamp::EPOCH, random),
            sequence: Sequence::new(sequence).unwrap(),
            duplicate: seen.is_some(),
            replayed: false,
        }
    }
}

impl EventLog for FakeLog {
    fn append(
        &self,
        events: Vec<NewEvent>,
        _received_at: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async move {
            self.begun.send_modify(|count| *count += 1);
            self.open.subscribe().wait_for(|open| *open).await.unwrap();
            match self.broken.lock().clone() {
                Some(error) => Err(error),
                None => Ok(events.into_iter().map(|event| self.take(event)).collect()),
            }
        })
    }

    fn read(&self, _: ReadRange) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        unread()
    }

    fn read_back(
        &self,
        _: Sequence,
        _: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        unread()
    }

    fn payload(&self, _: &Entry) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        unread()
    }

    fn find(&self, _: EventId) -> BoxFuture<'_, Result<Option<Arc<Entry>>, ReadError>> {
        unread()
    }

    fn position_at(&self, _: Timestamp) -> BoxFuture<'_, Result<Sequence, ReadError>> {
        unread()
    }

    fn position_of_newest(&self, _: u64) -> BoxFuture<'_, Result<Sequence, ReadError>> {
        unread()
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    fn first(&self) -> Sequence {
        Sequence::FIRST
    }

    fn trim(&self, _: Sequence) -> BoxFuture<'_, Result<(), AppendError>> {
        unread()
    }
}

/// The front writes only.
fn unread<T>() -> T {
    panic!("the HTTP front only appends")
}

/// A front with the sources `github`, `stripe` and `open` (GitHub's, unsigned).
pub(super) struct Hub {
    pub(super) front: Arc<Front>,
    pub(super) log: Arc<FakeLog>,
    pub(super) clock: ManualClock,
}

/// What the front of a test works with, and the parts that the test keeps.
pub(super) fn state() -> (State, Arc<FakeLog>, ManualClock) {
    state_of(sources())
}

fn sources() -> Vec<Source> {
    let name = |name| SourceName::parse(name).unwrap();
    let signed = |source, kind| {
        Source::signed(name(source), kind, vec![Secret::new(SECRET).unwrap()]).unwrap()
    };
    vec![
        signed("github", Kind::GITHUB),
        signed("stripe", Kind::STRIPE),
        Source::unsigned(name("open"), Kind::GITHUB, Settings::default()).unwrap(),
    ]
}

fn state_of(sources: Vec<Source>) -> (State, Arc<FakeLog>, ManualClock) {
    let log = Arc::new(FakeLog {
        events: Mutex::default(),
        broken: Mutex::default(),
        open: watch::Sender::new(true),
        begun: watch::Sender::new(0),
        head: watch::Sender::new(0),
    });
    let clock = ManualClock::at(Timestamp::from_secs(1_763_900_000).unwrap());
    let state = State {
        tokens: Tokens::off(Arc::new(ManualClock::at(Timestamp::EPOCH))),
        counts: Arc::new(Counts::new(&sources)),
        sources: Directory::new(sources),
        log: Arc::clone(&log) as Arc<dyn EventLog>,
        clock: Arc::new(clock.clone()),
        readiness: Readiness::default(),
        traces: Traces::default(),
        measured: Vec::new(),
        body_bytes_max: Arc::new(AtomicUsize::new(limits::BODY_BYTES_DEFAULT)),
    };
    (state, log, clock)
}

impl Hub {
    pub(super) fn new() -> Self {
        Self::with(sources())
    }

    pub(super) fn with(sources: Vec<Source>) -> Self {
        let (state, log, clock) = state_of(sources);
        Self { front: Arc::new(Front::new(state)), log, clock }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(router(Arc::clone(&self.front)).oneshot(request).await.unwrap()).await
    }

    /// Posts what GitHub would.
    pub(super) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        self.send(self.github("/webhooks/github", body)).await
    }

    pub(super) fn github(&self, path: &str, body: impl Into<Bytes>) -> Request<Body> {
        let body = body.into();
        let mut request = Request::post(path).body(Body::from(body.clone())).unwrap();
        *request.headers_mut() = self.headers(Kind::GITHUB, &body);
        request
    }

    /// The headers that a provider would sign this body with now.
    pub(super) fn headers(&self, kind: Kind, body: &[u8]) -> HeaderMap {
        let (secret, body) = (Secret::new(SECRET).unwrap(), &Bytes::copy_from_slice(body));
        let draft = Draft { url: "", headers: &HeaderMap::new(), body };
        let signed = verify::sign(kind.provider().schemes, &secret, draft, self.clock.wall());
        let mut headers: HeaderMap = signed.unwrap().into_iter().collect();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        if kind == Kind::GITHUB {
            headers.insert("x-github-event", "issues".parse().unwrap());
            headers.insert("x-github-delivery", "d-1".parse().unwrap());
        }
        headers
    }

    /// The same as bytes, but for the framing of the body.
    pub(super) fn head(&self, body: &[u8], framing: &str) -> String {
        let mut head = "POST /webhooks/github HTTP/1.1\r\nhost: hub\r\n".to_owned();
        for (name, value) in &self.headers(Kind::GITHUB, body) {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        format!("{head}{framing}\r\n\r\n")
    }

    /// Opens a connection without a network.
    pub(super) fn connect(&self) -> (DuplexStream, impl Future<Output = ()> + use<>) {
        let (client, server) = tokio::io::duplex(1 << 20);
        let router = router(Arc::clone(&self.front));
        (client, connection::serve(server, Peer::Local, router, CancellationToken::new()))
    }

    pub(super) fn refused(&self, cause: Cause) -> u64 {
        self.front.counts.refused(&SourceName::parse("github").unwrap(), cause)
    }

    pub(super) fn event_types(&self) -> Vec<String> {
        self.log.events.lock().iter().map(|event| event.event_type.to_string()).collect()
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = parts.headers.iter();
        Self {
            status: parts.status,
            headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        }
    }

    /// Reads an answer from a connection.
    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.expect("the answer has a whole head"));
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        io.read_exact(&mut body).await.unwrap();
        Self { status, headers, body: String::from_utf8(body).unwrap() }
    }

    pub(super) fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.body).unwrap()
    }

    /// Asserts a status with an error in JSON.
    pub(super) fn assert_error(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert!(self.json()["error"].is_string(), "{self:?}");
    }

    /// Asserts a status that asks to try again.
    pub(super) fn assert_retry(&self, status: u16) {
        self.assert_error(status);
        let after: u64 = self.headers["retry-after"].parse().unwrap();
        assert!((1..=60).contains(&after));
    }
}

/// Posts over a connection that stays open.
pub(super) async fn write_post(hub: &Hub, io: &mut (impl AsyncWrite + Unpin), body: &str) {
    let framing = format!("content-length: {}", body.len());
    let request = hub.head(body.as_bytes(), &framing) + body;
    io.write_all(request.as_bytes()).await.unwrap();
}

/// Returns whether the other side has closed.
pub(super) async fn is_closed(io: &mut (impl AsyncRead + Unpin)) -> bool {
    matches!(io.read(&mut [0]).await, Ok(0) | Err(_))
}

/// A body of unknown length that brings `chunks`, each after `pause`, and then ends, or never does.
pub(super) fn slow_body(chunks: Vec<Bytes>, pause: Duration, end: End) -> Body {
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, io::Error>>(1);
    let body = Body::from_stream(ReceiverStream::new(receive));
    let tasks = tasks::Tasks::new();
    tasks.group("test").spawn(tasks::Kind::Contained, "slow body", async move {
        for chunk in chunks {
            tokio::time::sleep(pause).await;
            if send.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
        if end == End::Never {
            send.closed().await;
        }
    });
    body
}

/// How a slow body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Never,
}

/// A body that fails the test when it is read.
pub(super) fn never_read() -> Body {
    let read = |()| -> Result<Bytes, io::Error> { panic!("the body was read") };
    Body::from_stream(tokio_stream::once(()).map(read))
}
