//! What tools ask a gRPC server and an HTTP server about itself.

use std::collections::BTreeSet;

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::hub::{Hub, soon};

const SERVICES: [&str; 5] = [
    "hookline.v1.DeadLetterService",
    "hookline.v1.EventService",
    "hookline.v1.SourceService",
    "hookline.v1.SubscriberService",
    "hookline.v1.SubscriptionService",
];

#[tokio::test]
async fn health_is_served_for_each_service_and_as_a_whole() {
    let hub = Hub::start().await;
    let mut health = HealthClient::new(hub.agent().await.channel);
    for service in SERVICES.into_iter().chain([""]) {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = soon("health", health.check(request)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let mut http = hub.http().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http.get(path).await.unwrap().status, 200, "{path}");
    }
}

/// The two versions of the protocol have the same messages in different modules.
macro_rules! reflected {
    ($version:ident, $channel:expr, $asks:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some($asks(MessageRequest::ListServices, |symbol| {
                MessageRequest::FileContainingSymbol(symbol)
            })),
        };
        let mut reflection = ServerReflectionClient::new($channel);
        let asking = reflection.server_reflection_info(tokio_stream::iter([request]));
        let mut answers = soon("reflection", asking).await.unwrap().into_inner();
        let answer = soon("an answer", answers.message()).await.unwrap().unwrap();
        match answer.message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
            }
            MessageResponse::FileDescriptorResponse(files) => {
                assert!(!files.file_descriptor_proto.is_empty());
                BTreeSet::new()
            }
            other => panic!("expected a list or a file, got {other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_lists_and_describes_the_services_in_both_versions() {
    let hub = Hub::start().await;
    let channel = hub.agent().await.channel;
    let list = reflected!(v1, channel.clone(), |list: fn(String) -> _, _: fn(String) -> _| list(
        String::new()
    ));
    let older =
        reflected!(v1alpha, channel.clone(), |list: fn(String) -> _, _: fn(String) -> _| {
            list(String::new())
        });
    for service in SERVICES {
        assert!(list.contains(service), "v1 lists {list:?}");
        assert!(older.contains(service), "v1alpha lists {older:?}");
        let of = |_: fn(String) -> _, of: fn(String) -> _| of(service.to_owned());
        reflected!(v1, channel.clone(), of);
        let of = |_: fn(String) -> _, of: fn(String) -> _| of(service.to_owned());
        reflected!(v1alpha, channel.clone(), of);
    }
}
