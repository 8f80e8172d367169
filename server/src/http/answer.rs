//! What senders are told: short JSON, and never why a signature was refused.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use hookline_core::{
    event::EventId,
    normalize::{Answer, Reply},
    source::Kind,
};
use serde::Serialize;

use super::counts::Cause;
use crate::{limits, store::Appended};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Makes an answer of a status and a JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).expect("maps with text keys are always JSON");
    (status, [(header::CONTENT_TYPE, JSON)], text).into_response()
}

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
}

fn error(status: StatusCode, error: &'static str) -> Response {
    json(status, &ErrorBody { error })
}

/// The answer to paths that are not there, unknown sources among them: the two can't be told apart.
pub(super) async fn not_found() -> Response {
    unknown()
}

/// As [`not_found`].
pub(super) fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, "not found")
}

/// The answer to who needs a token and has none that counts.
pub(super) fn unauthorized() -> Response {
    let refused = error(StatusCode::UNAUTHORIZED, "unauthorized");
    ([(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], refused).into_response()
}

/// The answer to who has a token that is not for this.
pub(super) fn forbidden() -> Response {
    error(StatusCode::FORBIDDEN, "forbidden")
}

/// The answer to another method; the router adds which are allowed.
pub(super) async fn method_not_allowed() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
}

/// The answer to a method that the kind does not come with, or that is not a handshake this time.
pub(super) fn not_allowed(kind: Kind, refused: &Method) -> Response {
    let methods = kind.provider().handshake.methods.iter().filter(|method| *method != refused);
    let allowed: Vec<_> = std::iter::once("POST").chain(methods.map(Method::as_str)).collect();
    let allow = HeaderValue::try_from(allowed.join(", ")).expect("methods are header text");
    let refused = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    ([(header::ALLOW, allow)], refused).into_response()
}

/// The answer that a provider asked for.
pub(super) fn handshake(answer: Answer) -> Response {
    let headers: HeaderMap = answer.headers.into_iter().collect();
    (answer.status, headers, answer.body).into_response()
}

/// The answer to a request that was refused.
pub(super) fn refused(cause: Cause) -> Response {
    let close: (HeaderName, _) = (header::CONNECTION, HeaderValue::from_static("close"));
    match cause {
        Cause::SignatureMissing
        | Cause::SignatureAmbiguous
        | Cause::SignatureMalformed
        | Cause::SignatureWrong
        | Cause::SignatureStale => error(StatusCode::UNAUTHORIZED, "unauthorized"),
        Cause::BodyTooLarge => error(StatusCode::PAYLOAD_TOO_LARGE, "body too large"),
        Cause::BodyBroken => error(StatusCode::BAD_REQUEST, "body incomplete"),
        Cause::BodyStalled => {
            ([close], error(StatusCode::REQUEST_TIMEOUT, "body timed out")).into_response()
        }
        Cause::RateLimited => too_often(Duration::ZERO),
        Cause::Overload => retry_after(
            limits::RETRY_AFTER_OVERLOAD,
            error(StatusCode::TOO_MANY_REQUESTS, "overloaded, try again"),
        ),
        Cause::Store => retry_after(
            limits::RETRY_AFTER_UNAVAILABLE,
            error(StatusCode::SERVICE_UNAVAILABLE, "unavailable, try again"),
        ),
        Cause::Draining => {
            let response = error(StatusCode::SERVICE_UNAVAILABLE, "stopping, try again");
            ([close], retry_after(limits::RETRY_AFTER_UNAVAILABLE, response)).into_response()
        }
    }
}

/// The answer to a source that posts more often than it may; the time is that until it may again.
pub(super) fn too_often(wait: Duration) -> Response {
    let after = Duration::from_secs(wait.as_secs().saturating_add(1));
    retry_after(
        after.min(limits::RETRY_AFTER_RATE_MOST),
        error(StatusCode::TOO_MANY_REQUESTS, "too many requests, try again"),
    )
}

fn retry_after(after: Duration, response: Response) -> Response {
    ([(header::RETRY_AFTER, HeaderValue::from(after.as_secs()))], response).into_response()
}

/// The body of an answer to what is in the log.
#[derive(Serialize)]
#[serde(untagged)]
enum TakenBody<'t> {
    One { status: &'static str, event_id: &'t str },
    Many { status: &'static str, event_ids: Vec<String> },
}

/// The answer to a request whose events are durable; `duplicate` if the log had all of them before.
pub(super) fn taken(events: &[Appended], reply: Reply) -> Response {
    let status = match reply {
        Reply::Ids => StatusCode::OK,
        Reply::IdsWith(status) => status,
        Reply::Empty(status) => return status.into_response(),
        Reply::Json(text) => return ([(header::CONTENT_TYPE, JSON)], text).into_response(),
    };
    json(status, &ids(events, &mut [0; EventId::TEXT_BYTES]))
}

fn ids<'t>(events: &[Appended], text: &'t mut [u8; EventId::TEXT_BYTES]) -> TakenBody<'t> {
    let all_seen = !events.is_empty() && events.iter().all(|event| event.duplicate);
    let status = if all_seen { "duplicate" } else { "accepted" };
    match events {
        [event] => TakenBody::One { status, event_id: event.id.write(text) },
        events => {
            let event_ids = events.iter().map(|event| event.id.to_string()).collect();
            TakenBody::Many { status, event_ids }
        }
    }
}

/// The answer, as bytes, to a request whose headers were not complete in time: there is no request to answer yet, so
/// the HTTP library has none.
pub(super) const HEADERS_TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/json\r\nconnection: close\r\ncontent-length: 29\r\n\r\n\
    {\"error\":\"headers timed out\"}";
