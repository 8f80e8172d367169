//! `SubscriberService`, whose streams have a codec of their own.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hookline_proto::v1::{self, subscriber_service_server::SubscriberServiceServer};
use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
};
use tower::Service;

use super::{
    codec::{StreamCodec, StreamMessage},
    subscriber::{self, Messages},
};
use crate::limits::CALL_BYTES_MAX;

const SUBSCRIBE: &str = "/hookline.v1.SubscriberService/Subscribe";

/// The service: `Subscribe` by [`StreamCodec`], the rest as it is generated. What the generated one is told about sizes and
/// compression has to be told for `Subscribe` too.
#[derive(Clone, Debug)]
pub(super) struct SubscriberServer {
    service: Arc<subscriber::Service>,
    generated: SubscriberServiceServer<subscriber::Service>,
}

impl SubscriberServer {
    pub(super) fn new(service: subscriber::Service) -> Self {
        let service = Arc::new(service);
        let generated = SubscriberServiceServer::from_arc(Arc::clone(&service))
            .max_decoding_message_size(CALL_BYTES_MAX);
        Self { service, generated }
    }
}

impl NamedService for SubscriberServer {
    const NAME: &'static str = <SubscriberServiceServer<subscriber::Service>>::NAME;
}

impl Service<Request<Body>> for SubscriberServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != SUBSCRIBE {
            return self.generated.call(request);
        }
        let open = Open(Arc::clone(&self.service));
        Box::pin(async move {
            let mut grpc = Grpc::new(StreamCodec).max_decoding_message_size(CALL_BYTES_MAX);
            Ok(grpc.server_streaming(open, request).await)
        })
    }
}

struct Open(Arc<subscriber::Service>);

impl ServerStreamingService<v1::SubscribeRequest> for Open {
    type Response = StreamMessage;
    type ResponseStream = Messages;
    type Future = BoxFuture<'static, Result<tonic::Response<Messages>, Status>>;

    fn call(&mut self, request: tonic::Request<v1::SubscribeRequest>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move { service.open(request).await })
    }
}
