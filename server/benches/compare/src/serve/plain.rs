//! What a durable ingest costs without a store: the same verifying, normalizing and compressing as the hub's, then an
//! append to a plain file and `fdatasync`. No dedupe, no index, no reader.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::SystemTime,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    routing::post,
};
use clap::ValueEnum;
use hookline_core::{
    event::{NewEvent, SourceName},
    metadata::Metadata,
    normalize::{Received, receive},
    source::{Kind, Secret, Source},
    time::Timestamp,
    verify::Request,
};
use hookline_proto::v1::Event;
use prost::Message as _;
use tokio::{net::TcpListener, sync::oneshot};
use uuid::Uuid;
use zstd::bulk::Compressor;

use crate::{
    Outcome,
    bodies::{PATH, SECRET},
};

/// As many requests as the hub takes at once.
const WAITING_MAX: usize = 1_024;

/// Where a request's event is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Writer {
    /// On the request's own task: one append and one sync each, nothing in between. The least for one connection.
    Inline,
    /// On a thread that writes and syncs what waits together: the least for many connections.
    Thread,
}

struct Handler {
    source: Source,
    sink: Sink,
}

enum Sink {
    Inline(Mutex<File>),
    Thread(mpsc::SyncSender<(Vec<u8>, oneshot::Sender<bool>)>),
}

pub(super) async fn run(listener: TcpListener, file: &Path, writer: Writer) -> Outcome {
    let file = OpenOptions::new().create(true).append(true).open(file)?;
    let sink = match writer {
        Writer::Inline => Sink::Inline(Mutex::new(file)),
        Writer::Thread => {
            let (sender, waiting) = mpsc::sync_channel(WAITING_MAX);
            thread::spawn(move || write(file, &waiting));
            Sink::Thread(sender)
        }
    };
    let secret = Secret::new(SECRET)?;
    let source = Source::signed(SourceName::parse("github")?, Kind::GITHUB, vec![secret])?;
    let app = Router::new().route(PATH, post(take)).with_state(Arc::new(Handler { source, sink }));
    Ok(axum::serve(listener, app).await?)
}

async fn take(
    State(handler): State<Arc<Handler>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let now = wall();
    let request = Request { method: &Method::POST, target: PATH, headers: &headers, body: &body };
    let Ok(Received::Events { events, .. }) = receive(&handler.source, request, now) else {
        return (StatusCode::UNAUTHORIZED, String::new());
    };
    let id = Uuid::now_v7().to_string();
    let Ok(bytes) = encode(events, &id, now) else {
        return (StatusCode::INTERNAL_SERVER_ERROR, String::new());
    };
    if keep(&handler.sink, bytes).await {
        (StatusCode::OK, format!(r#"{{"status":"accepted","event_id":"{id}"}}"#))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, String::new())
    }
}

/// Returns the events as the hub's log has them: messages, each with its payload compressed.
fn encode(events: Vec<NewEvent>, id: &str, now: Timestamp) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for event in events {
        let payload_size = u64::try_from(event.payload.len()).unwrap_or(u64::MAX);
        let event = Event {
            id: id.to_owned(),
            source: event.source.as_str().to_owned(),
            event_type: event.event_type.as_str().to_owned(),
            timestamp: Some(wire_time(event.timestamp)),
            actor: event.actor.into(),
            resource_type: event.resource_type.into(),
            resource_id: event.resource_id.into(),
            payload: compress(&event.payload)?.into(),
            metadata: wire_metadata(&event.metadata),
            received_at: Some(wire_time(now)),
            delivery_key: event.delivery_key.into(),
            payload_size,
            ..Event::default()
        };
        bytes.extend(event.encode_length_delimited_to_vec());
    }
    Ok(bytes)
}

thread_local! {
    /// A context costs more to make than what it does for one body.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses at the level that the hub takes.
fn compress(payload: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = kept.take().map_or_else(|| Compressor::new(1), Ok)?;
        let compressed = compressor.compress(payload);
        *kept = Some(compressor);
        compressed
    })
}

/// Returns whether the bytes are durable.
async fn keep(sink: &Sink, bytes: Vec<u8>) -> bool {
    match sink {
        Sink::Inline(file) => {
            let mut file = file.lock().expect("a writer does not panic");
            file.write_all(&bytes).and_then(|()| file.sync_data()).is_ok()
        }
        Sink::Thread(sender) => {
            let (done, durable) = oneshot::channel();
            // There is room for as many as there are connections.
            sender.try_send((bytes, done)).is_ok() && durable.await.unwrap_or(false)
        }
    }
}

/// Writes and syncs what waits together, until nobody can wait any more.
fn write(mut file: File, waiting: &mpsc::Receiver<(Vec<u8>, oneshot::Sender<bool>)>) {
    while let Ok(first) = waiting.recv() {
        let (mut all, mut done) = (Vec::new(), Vec::new());
        for (bytes, one) in std::iter::once(first).chain(waiting.try_iter()) {
            all.extend(bytes);
            done.push(one);
        }
        let durable = file.write_all(&all).and_then(|()| file.sync_data()).is_ok();
        for one in done {
            // Whose connection broke does not wait.
            one.send(durable).ok();
        }
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + since
}

pub(super) fn wire_metadata(metadata: &Metadata) -> BTreeMap<String, String> {
    metadata.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
}

pub(super) fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}
