//! Who may call what: one table, asked before a call reaches its service.
//!
//! The guard stands before all services. It finds the row of the method that is called (one without a row is let through
//! to nobody who needs a token), asks whose token came with the call, and whether that has one of the scopes of the row. What
//! a scope covers depends on what is asked for, so a service asks the [`Caller`] on; one that forgets to has its answer taken
//! away. A stream ends when the token that opened it does.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http::{HeaderMap, header};
use hyper::body::Frame;
use tonic::{Code, Status, service::Routes};

use super::status;
use crate::auth::{Caller, Refused, Scope, Tokens, Until};

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing: anybody may.
    Nothing,
    /// A token, whatever its scopes.
    Token,
    /// A token with one of these scopes; what it covers is for the service to ask.
    Within(&'static [Scope]),
    /// A token with this scope, which covers all.
    All(Scope),
}

/// What each method needs, by its path. `server/docs/security.md` has the same table for people.
const TABLE: &[(&str, Need)] = {
    use Need::{All, Nothing, Token, Within};
    use Scope::{Operate, Publish, Read, Subscribe};
    const WORK: Need = Within(&[Subscribe]);
    const LOOK: Need = Within(&[Subscribe, Read, Operate]);
    const READ: Need = Within(&[Read, Operate]);
    &[
        ("/grpc.health.v1.Health/Check", Nothing),
        ("/grpc.health.v1.Health/Watch", Nothing),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Token),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Token),
        ("/hookline.v1.SubscriberService/Subscribe", WORK),
        ("/hookline.v1.SubscriberService/Ack", WORK),
        ("/hookline.v1.SubscriberService/Nack", WORK),
        ("/hookline.v1.SubscriberService/ExtendLease", WORK),
        ("/hookline.v1.SubscriptionService/CreateSubscription", All(Operate)),
        ("/hookline.v1.SubscriptionService/GetSubscription", LOOK),
        ("/hookline.v1.SubscriptionService/ListSubscriptions", LOOK),
        ("/hookline.v1.SubscriptionService/UpdateSubscription", All(Operate)),
        ("/hookline.v1.SubscriptionService/DeleteSubscription", All(Operate)),
        ("/hookline.v1.SubscriptionService/PauseSubscription", All(Operate)),
        ("/hookline.v1.SubscriptionService/ResumeSubscription", All(Operate)),
        ("/hookline.v1.SubscriptionService/SeekSubscription", All(Operate)),
        ("/hookline.v1.SubscriptionService/ReplayEvents", All(Operate)),
        ("/hookline.v1.SubscriptionService/ListDeliveries", LOOK),
        ("/hookline.v1.EventService/PublishEvent", Within(&[Publish])),
        ("/hookline.v1.EventService/GetEvent", LOOK),
        ("/hookline.v1.EventService/ListEvents", READ),
        ("/hookline.v1.EventService/WatchEvents", READ),
        ("/hookline.v1.EventService/TestFilter", READ),
        ("/hookline.v1.DeadLetterService/ListDeadLetters", LOOK),
        ("/hookline.v1.DeadLetterService/GetDeadLetter", LOOK),
        ("/hookline.v1.DeadLetterService/SummarizeDeadLetters", LOOK),
        ("/hookline.v1.DeadLetterService/RedriveDeadLetters", All(Operate)),
        ("/hookline.v1.DeadLetterService/PurgeDeadLetters", All(Operate)),
        ("/hookline.v1.SourceService/ListSources", READ),
        ("/hookline.v1.AdminService/Backup", All(Operate)),
    ]
};

/// The methods whose answer is a stream: it must end when the token does.
const STREAMS: [&str; 5] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/hookline.v1.SubscriberService/Subscribe",
    "/hookline.v1.EventService/WatchEvents",
    "/hookline.v1.AdminService/Backup",
];

/// Returns whether a method, by its path, is answered with a stream.
pub(super) fn is_stream(path: &str) -> bool {
    STREAMS.contains(&path)
}

/// Who was let in, in the extensions of a request.
#[derive(Clone, Debug)]
struct Admitted {
    caller: Caller,
    /// Whether the service has asked who calls.
    is_asked: Arc<AtomicBool>,
}

/// Returns who calls. Each method that answers differently to different callers asks this first.
///
/// # Errors
///
/// If nobody was let in: a mistake in how the services are put together.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    let admitted = request.extensions().get::<Admitted>();
    let admitted = admitted.ok_or_else(|| Status::internal("nobody asked who calls"))?;
    admitted.is_asked.store(true, Ordering::Release);
    Ok(admitted.caller.clone())
}

/// Puts the guard before all services.
pub(super) fn guarded(routes: Routes, tokens: Tokens) -> Routes {
    Routes::from(routes.into_axum_router().layer(from_fn_with_state(tokens, guard)))
}

async fn guard(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let need = TABLE.iter().find(|(method, _)| *method == path).map(|(_, need)| *need);
    let is_stream = is_stream(path);
    if need == Some(Need::Nothing) {
        return next.run(request).await;
    }
    let caller = match admit(&tokens, request.headers(), need) {
        Ok(caller) => caller,
        Err(status) => {
            tracing::debug!(path, code = ?status.code(), "a call was not let in");
            return status.into_http();
        }
    };
    if let (Some(token), Some(Need::All(_))) = (caller.name(), need) {
        tracing::info!(token, path, "operates");
    }
    // Nothing behind this has use for it.
    request.headers_mut().remove(header::AUTHORIZATION);
    let admitted = Admitted { caller: caller.clone(), is_asked: Arc::default() };
    request.extensions_mut().insert(admitted.clone());
    let response = next.run(request).await;
    let is_forgotten = matches!(need, Some(Need::Within(_)))
        && caller.name().is_some()
        && !admitted.is_asked.load(Ordering::Acquire);
    if is_forgotten && is_good(&response) {
        tracing::error!("a service did not ask who calls: its answer is kept back");
        return Status::internal("the hub does not know what this call may answer").into_http();
    }
    if !is_stream {
        return response;
    }
    response.map(|body| {
        let ended = async move { tokens.until_ended(&caller).await };
        Body::new(Guarded { body: Some(body), ended: Box::pin(ended) })
    })
}

/// Says who calls, if they may call this.
fn admit(tokens: &Tokens, headers: &HeaderMap, need: Option<Need>) -> Result<Caller, Status> {
    let caller = tokens.caller(headers).map_err(refused)?;
    if caller.name().is_none() {
        return Ok(caller);
    }
    match need {
        Some(Need::Nothing | Need::Token) => Ok(caller),
        Some(Need::Within(scopes)) if scopes.iter().any(|scope| caller.has(*scope)) => Ok(caller),
        Some(Need::All(scope)) if caller.has(scope) => Ok(caller),
        Some(Need::Within(scopes)) => Err(status::no_scope(scopes)),
        Some(Need::All(scope)) => Err(status::no_scope(&[scope])),
        None => Err(Status::permission_denied("no token is for this method")),
    }
}

fn refused(refused: Refused) -> Status {
    Status::unauthenticated(refused.to_string())
}

/// Whether an answer says something: an error of before the service is none of it.
fn is_good(response: &Response) -> bool {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    code == Code::Ok
}

/// The body of a stream, which ends when its caller may not go on.
struct Guarded {
    /// `None` behind its end: what the stream held is let go then.
    body: Option<Body>,
    ended: Pin<Box<dyn Future<Output = Until> + Send>>,
}

impl hyper::body::Body for Guarded {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, ended } = &mut *self;
        let Some(open) = body else { return Poll::Ready(None) };
        let Poll::Ready(until) = ended.as_mut().poll(cx) else {
            return Pin::new(open).poll_frame(cx);
        };
        *body = None;
        let status = match until {
            Until::Gone => refused(Refused),
            Until::Changed => status::unavailable("the token's scopes were changed"),
        };
        let mut trailers = HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hookline_proto::FILE_DESCRIPTOR_SET;
    use prost::Message as _;

    use super::*;

    fn methods(set: &[u8]) -> Vec<(String, bool)> {
        let set = prost_types::FileDescriptorSet::decode(set).unwrap();
        let mut methods = Vec::new();
        for file in set.file {
            for service in &file.service {
                for method in &service.method {
                    let package = file.package();
                    let path = format!("/{package}.{}/{}", service.name(), method.name());
                    methods.push((path, method.server_streaming()));
                }
            }
        }
        methods
    }

    #[test]
    fn each_method_has_a_row_and_each_row_a_method() {
        let methods: Vec<_> = [
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]
        .into_iter()
        .flat_map(methods)
        .collect();
        let known: BTreeSet<_> = methods.iter().map(|(path, _)| path.as_str()).collect();
        let rows: BTreeSet<_> = TABLE.iter().map(|(path, _)| *path).collect();
        assert_eq!(rows, known);
        assert_eq!(rows.len(), TABLE.len(), "a row stands twice");
        let open = |path: &str| path.starts_with("/grpc.health.");
        for (path, is_stream) in &methods {
            let guarded = STREAMS.contains(&path.as_str());
            assert_eq!(guarded, *is_stream && !open(path), "{path}");
        }
    }
}
