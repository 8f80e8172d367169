//! Calls, counted by method and status code.
//!
//! A layer around all services: what it counts is what a client is told, whoever makes the answer. Methods are those of
//! the descriptors; what else is asked for is counted as one, since its name is a stranger's text.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hookline_proto::FILE_DESCRIPTOR_SET;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;

use crate::{
    metrics::{Measured, Text, family},
    store,
};

/// Stands for the methods that there are not.
const UNKNOWN: &str = "(unknown)";
/// The codes by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// How many calls there were since the start, and are.
#[derive(Debug)]
pub struct Calls {
    methods: BTreeMap<String, Arc<OfMethod>>,
    unknown: Arc<OfMethod>,
}

#[derive(Debug, Default)]
struct OfMethod {
    open: AtomicI64,
    ended: [AtomicU64; CODES.len()],
}

impl Default for Calls {
    fn default() -> Self {
        let health = tonic_health::pb::FILE_DESCRIPTOR_SET;
        let reflection = [
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let sets = [FILE_DESCRIPTOR_SET, health].into_iter().chain(reflection);
        let methods = sets.flat_map(methods).map(|name| (name, Arc::default())).collect();
        Self { methods, unknown: Arc::default() }
    }
}

/// Returns the methods of a descriptor set, as `package.Service/Method`.
fn methods(descriptors: &[u8]) -> Vec<String> {
    let set = FileDescriptorSet::decode(descriptors).expect("it was built in");
    let of_file = |file: prost_types::FileDescriptorProto| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let service_name = format!("{package}.{}", service.name());
            let methods = service.method.into_iter();
            methods
                .map(move |method| format!("{service_name}/{}", method.name()))
                .collect::<Vec<_>>()
        })
    };
    set.file.into_iter().flat_map(of_file).collect()
}

impl Calls {
    fn begin(&self, path: &str) -> Call {
        let name = path.strip_prefix('/').unwrap_or(path);
        let method = Arc::clone(self.methods.get(name).unwrap_or(&self.unknown));
        method.open.fetch_add(1, Relaxed);
        Call { method, code: Code::Cancelled }
    }
}

impl Measured for Calls {
    fn measure<'a>(&'a self, text: &'a mut Text) -> store::BoxFuture<'a, ()> {
        let unknown = std::iter::once((UNKNOWN, &self.unknown));
        let known = self.methods.iter().map(|(name, of)| (name.as_str(), of));
        let all: Vec<_> = known.chain(unknown).collect();
        let mut ended = text.family(&family::GRPC_CALLS);
        for (name, of) in &all {
            for (code, count) in CODES.iter().zip(&of.ended) {
                let count = count.load(Relaxed);
                // Most methods never answer with most codes.
                if count != 0 || *code == "OK" {
                    ended.add(&[name, code], count);
                }
            }
        }
        let mut open = text.family(&family::GRPC_OPEN);
        for (name, of) in &all {
            open.add(&[name], of.open.load(Relaxed));
        }
        Box::pin(std::future::ready(()))
    }
}

/// A call until its end: counted when it is dropped, as cancelled if no status was seen.
#[derive(Debug)]
struct Call {
    method: Arc<OfMethod>,
    code: Code,
}

impl Call {
    /// Takes in headers or trailers, which may have the status.
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.method.open.fetch_sub(1, Relaxed);
        let place = usize::try_from(i32::from(self.code)).ok();
        if let Some(counter) = place.and_then(|place| self.method.ended.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

/// Puts the counting around services.
#[derive(Clone, Debug)]
pub(super) struct Layer(pub(super) Arc<Calls>);

impl<S> tower::Layer<S> for Layer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted { inner, calls: Arc::clone(&self.0) }
    }
}

/// Services whose calls are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S, A, B> tower::Service<Request<A>> for Counted<S>
where
    S: tower::Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let mut call = self.calls.begin(request.uri().path());
        let answering = self.inner.call(request);
        Box::pin(async move {
            let (head, body) = answering.await?.into_parts();
            // A call that failed at once has its status here, and no body.
            call.hear(&head.headers);
            Ok(Response::from_parts(head, CountedBody { body, call }))
        })
    }
}

/// The body of an answer, whose trailers have the status.
#[derive(Debug)]
pub(super) struct CountedBody<B> {
    body: B,
    call: Call,
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            this.call.hear(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_methods_of_the_contract_are_known() {
        let calls = Calls::default();
        for method in [
            "hookline.v1.SubscriberService/Subscribe",
            "hookline.v1.EventService/GetEvent",
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(calls.methods.contains_key(method), "{method}: {:?}", calls.methods.keys());
        }
    }

    #[test]
    fn a_call_is_open_until_it_ends_and_cancelled_if_nobody_said_how() {
        let calls = Calls::default();
        let of = &calls.methods["hookline.v1.SubscriberService/Ack"];
        let mut call = calls.begin("/hookline.v1.SubscriberService/Ack");
        assert_eq!(of.open.load(Relaxed), 1);
        call.hear(&HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("5"),
        )]));
        drop(call);
        drop(calls.begin("/hookline.v1.SubscriberService/Ack"));
        drop(calls.begin("/a.Stranger/Asks"));
        let count = |of: &OfMethod, code: Code| of.ended[code as usize].load(Relaxed);
        assert_eq!((count(of, Code::NotFound), count(of, Code::Cancelled)), (1, 1));
        assert_eq!(count(&calls.unknown, Code::Cancelled), 1);
        assert_eq!(of.open.load(Relaxed), 0);
    }
}
