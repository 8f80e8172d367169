//! `POST /webhooks/{source}`: from a request to an event that is durable.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{self, RawPathParams, Request, rejection::RawPathParamsRejection},
    response::Response,
};
use bytes::Bytes;
use hookline_core::{
    event::{EventType, NewEvent, SOURCE_BYTES_MAX},
    normalize::{Answer, Received, Reply, probe, receive},
    source::Source,
    text::SmolStr,
    time::Timestamp,
    verify::{self, VerifyError},
};
use http::{Method, request::Parts, uri::PathAndQuery};
use tokio::time::sleep;
use tracing::Level;

use super::{Front, answer, body, counts::Cause, traced::Traced};
use crate::{
    clock::Stopwatch,
    limits,
    store::{Appended, Condition},
};

/// Takes a post, whatever its method and source.
pub(super) async fn post(
    extract::State(front): extract::State<Arc<Front>>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    // A name that is not UTF-8 is the name of no source.
    let named = path.as_ref().ok().and_then(|path| path.iter().find(|(key, _)| *key == "source"));
    let name = named.map(|(_, name)| name);
    let Some(source) = name.and_then(|name| front.sources.get(name)) else {
        front.counts.add_unknown();
        // A stranger's text: cut, and with what is not text escaped.
        let name: Option<String> = name.map(|name| name.chars().take(SOURCE_BYTES_MAX).collect());
        tracing::debug!(source = ?name, "webhook to an unknown source");
        return answer::unknown();
    };
    let watch = Stopwatch::start();
    let answer = handle(&front, &source, request).await;
    front.counts.add_answer(source.name(), answer.status().as_u16(), watch.elapsed());
    answer
}

/// Takes a request to a source.
async fn handle(front: &Front, source: &Arc<Source>, request: Request) -> Response {
    if !source.kind().takes(request.method()) {
        return answer::not_allowed(source.kind(), request.method());
    }
    if let Err(wait) = front.rates.take(source, front.clock.steady()) {
        note(front, source, &Cause::RateLimited.into());
        return answer::too_often(wait);
    }
    let method = request.method().clone();
    let mut traced = Traced::begin(front, request.headers());
    let answer = match take(front, source, request, traced.as_mut()).await {
        Ok(Taken::Events(appended, reply)) => answer::taken(&appended, reply),
        Ok(Taken::Handshake(answer)) => {
            front.counts.add_handshake(source.name());
            answer::handshake(answer)
        }
        Ok(Taken::NoHandshake) => answer::not_allowed(source.kind(), &method),
        Err(refusal) => {
            note(front, source, &refusal);
            answer::refused(refusal.cause)
        }
    };
    if let Some(traced) = traced {
        traced.answered(front, source, method.as_str(), answer.status().as_u16());
    }
    answer
}

/// A refusal, with what an operator may want to know and a sender must not.
struct Refusal {
    cause: Cause,
    detail: Option<String>,
}

impl From<&VerifyError> for Refusal {
    fn from(error: &VerifyError) -> Self {
        Self { cause: Cause::from(error), detail: Some(error.to_string()) }
    }
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self { cause, detail: None }
    }
}

/// What became of a request that was not refused.
enum Taken {
    /// Its events are durable.
    Events(Vec<Appended>, Reply),
    /// It was a handshake.
    Handshake(Answer),
    /// It came with a handshake's method, and is none.
    NoHandshake,
}

async fn take(
    front: &Front,
    source: &Arc<Source>,
    request: Request,
    mut traced: Option<&mut Traced>,
) -> Result<Taken, Refusal> {
    let body_bytes_max = front.body_bytes_max();
    if body::is_declared_above(body_bytes_max, request.headers()) {
        return Err(Cause::BodyTooLarge.into());
    }
    let post = front.posts.try_acquire();
    // Asked with the permit in hand: the end of the hub waits for all permits, so it either waits for this post or has
    // begun before.
    if front.draining.is_cancelled() {
        return Err(Cause::Draining.into());
    }
    let _post = post.map_err(|_| Cause::Overload)?;
    // Before the body is read: what can't be kept need not be sent.
    let closed = match front.log.condition() {
        Condition::Open => None,
        Condition::Full => Some("the disk is almost full"),
        Condition::Failed => Some("the store has failed"),
    };
    if let Some(detail) = closed {
        return Err(Refusal { cause: Cause::Store, detail: Some(detail.to_owned()) });
    }
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return shake_hands(source, &parts);
    }
    let watch = Stopwatch::start();
    let held = read(front, body, body_bytes_max).await?;
    let read = watch.elapsed();
    let received_at = front.clock.wall();
    let judged = judge(source, parts, held.bytes.clone(), received_at).await?;
    if let Some(traced) = &mut traced {
        traced.verified(front, (read, watch.elapsed().saturating_sub(read)));
    }
    let (mut events, reply) = match judged {
        Received::Events { events, reply } => (events, reply),
        Received::Answer(answer) => return Ok(Taken::Handshake(answer)),
    };
    let told = tracing::enabled!(Level::DEBUG).then(|| labels(&events));
    let context = traced.as_ref().map(|traced| traced.mark(&mut events));
    let watch = Stopwatch::start();
    let appended = front.log.append(events, received_at).await;
    if let (Some(traced), Some(context)) = (traced, context) {
        let durable = appended.as_deref().unwrap_or_default();
        traced.appended(front, source, (context, watch.elapsed()), durable);
    }
    let appended = appended
        .map_err(|error| Refusal { cause: Cause::Store, detail: Some(error.to_string()) })?;
    front.counts.add_taken(source.name(), &appended, received_at);
    tell(source, &appended, told.unwrap_or_default());
    Ok(Taken::Events(appended, reply))
}

/// Answers what comes with a handshake's own method, whatever its body.
fn shake_hands(source: &Source, parts: &Parts) -> Result<Taken, Refusal> {
    let body = &Bytes::new();
    match probe(source, verify_request(parts, body)) {
        Some(Ok(answer)) => Ok(Taken::Handshake(answer)),
        Some(Err(error)) => Err(Refusal::from(&error)),
        None => Ok(Taken::NoHandshake),
    }
}

/// Reads the body; when the hub stops only a moment longer.
async fn read(front: &Front, body: Body, bytes_max: usize) -> Result<body::Held, Cause> {
    let stopped = async {
        front.draining.cancelled().await;
        sleep(limits::DRAIN_BODY_TIME_MAX).await;
    };
    tokio::select! {
        biased;
        held = body::read(body, bytes_max, &front.budget) => held,
        () = stopped => Err(Cause::Draining),
    }
}

/// Verifies a request and makes events of it, away from the workers of the runtime if it is large.
async fn judge(
    source: &Arc<Source>,
    parts: Parts,
    body: Bytes,
    received_at: Timestamp,
) -> Result<Received, Refusal> {
    if body.len() <= limits::BODY_INLINE_BYTES_MAX {
        return judge_now(source, &parts, &body, received_at);
    }
    let source = Arc::clone(source);
    let judging =
        tokio::task::spawn_blocking(move || judge_now(&source, &parts, &body, received_at));
    match judging.await {
        Ok(judged) => judged,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Cause::Draining.into()),
        },
    }
}

fn judge_now(
    source: &Source,
    parts: &Parts,
    body: &Bytes,
    received_at: Timestamp,
) -> Result<Received, Refusal> {
    receive(source, verify_request(parts, body), received_at).map_err(|error| Refusal::from(&error))
}

fn verify_request<'a>(parts: &'a Parts, body: &'a Bytes) -> verify::Request<'a> {
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    verify::Request { method: &parts.method, target, headers: &parts.headers, body }
}

/// Returns what the log lines will say of the events.
fn labels(events: &[NewEvent]) -> Vec<(EventType, SmolStr)> {
    let label = |event: &NewEvent| (event.event_type.clone(), event.delivery_key.clone());
    events.iter().map(label).collect()
}

/// Logs events that are durable.
fn tell(source: &Source, appended: &[Appended], labels: Vec<(EventType, SmolStr)>) {
    for (event, (event_type, delivery_key)) in appended.iter().zip(labels) {
        tracing::debug!(
            event_id = %event.id,
            sequence = event.sequence.get(),
            source = %source.name(),
            subject = %format_args!("{}/{event_type}", source.name()),
            delivery_key = delivery_key.as_str(),
            duplicate = event.duplicate,
            replayed = event.replayed,
            "webhook taken"
        );
    }
}

/// Counts and logs a refusal.
fn note(front: &Front, source: &Source, refusal: &Refusal) {
    let (name, cause) = (source.name(), refusal.cause.as_str());
    let detail = refusal.detail.as_deref();
    match front.counts.add_refused(name, refusal.cause, front.clock.steady()) {
        Some(count) => {
            tracing::warn!(source = %name, cause, detail, count, "webhook refused");
        }
        None => tracing::debug!(source = %name, cause, detail, "webhook refused"),
    }
}
