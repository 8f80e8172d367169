//! Traces: a receiver of OTLP in the test, and the tree that the hub sends it.

use std::net::SocketAddr;

use hookline_proto::v1::{Delivery, NackAction, Outcome, PublishEventRequest, SubscribeRequest};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::{
    agent::{event_id, everything, retrying_at_once},
    http::{SECRET, Webhook},
    hub::{Hub, Settings, soon},
};

/// A span context of somebody else: trace, span.
const SENDER: (&str, &str) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
/// Stands in the body of webhooks and must be in no span.
const CANARY: &str = "canary-5f2c";

/// A receiver of spans on a free port.
struct Receiver {
    address: SocketAddr,
    spans: watch::Receiver<Vec<Span>>,
    serving: JoinHandle<()>,
}

struct Keep(watch::Sender<Vec<Span>>);

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.unwrap().attributes;
            assert!(attributes.iter().any(|attribute| attribute.key == "service.name"));
            for of_scope in of_resource.scope_spans {
                self.0.send_modify(|spans| spans.extend(of_scope.spans));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (keep, spans) = watch::channel(Vec::new());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Keep(keep)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        #[expect(clippy::disallowed_methods, reason = "tests have no groups of tasks")]
        let serving = tokio::spawn(async move { server.await.unwrap() });
        Self { address, spans, serving }
    }

    fn settings(&self, ratio: &str) -> Settings {
        let otlp = format!("http://{}", self.address);
        let variables = [("OTLP", otlp.as_str()), ("RATIO", ratio)];
        let variables =
            variables.map(|(key, value)| (format!("HOOKLINE_TRACES__{key}"), value.to_owned()));
        Settings { variables: variables.into(), ..Default::default() }
    }

    /// Waits until there are as many spans, and returns all.
    async fn spans(&mut self, count: usize) -> Vec<Span> {
        let coming = self.spans.wait_for(|spans| count <= spans.len());
        let spans = soon("spans", coming).await.unwrap().clone();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn hex_of(id: &[u8]) -> String {
    hex::encode(id)
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("`{key}` is {other:?} in {span:#?}"),
    }
}

fn number(span: &Span, key: &str) -> i64 {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::IntValue(number)) => *number,
        other => panic!("`{key}` is {other:?} in {span:#?}"),
    }
}

/// Returns the only span of this name.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "`{name}` in {spans:#?}");
    found[0]
}

/// Returns the attempts of a subscription, in order.
fn attempts<'a>(spans: &'a [Span], subscription: &str) -> Vec<&'a Span> {
    let name = format!("process {subscription}");
    let mut found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    found.sort_by_key(|span| number(span, "hookline.attempt"));
    found
}

fn traceparent_of(span: &Span) -> String {
    format!("00-{}-{}-01", hex_of(&span.trace_id), hex_of(&span.span_id))
}

fn retrying(subscription: &str) -> SubscribeRequest {
    SubscribeRequest { policy: Some(retrying_at_once()), ..everything(subscription) }
}

fn webhook(key: &str) -> Webhook {
    let body = format!(r#"{{"action":"opened","sender":{{"login":"{CANARY}"}}}}"#);
    Webhook::github("pull_request", key, body)
}

#[tokio::test]
async fn one_webhook_through_two_subscriptions_is_one_tree() {
    let mut receiver = Receiver::start().await;
    let hub = Hub::start_with(receiver.settings("1")).await;
    let agent = hub.agent().await;
    let mut quick = agent.subscribe(retrying("quick")).await;
    let mut slow = agent.subscribe(retrying("slow")).await;
    let id = hub.take(&webhook("a")).await;

    let of_quick = quick.ack_next(&agent).await;
    let first = slow.delivery().await;
    agent.nack(&first.lease_id, CANARY, NackAction::Retry).await;
    let second = slow.ack_next(&agent).await;
    let forged = webhook("b").signed_with("another secret", 0);
    assert_eq!(hub.post(&forged).await.status, 401);

    // The answer, three steps in it, and three attempts. Nothing of the forged one.
    let spans = receiver.spans(7).await;
    let root = only(&spans, "POST /webhooks/{source}");
    assert_eq!((root.kind(), root.parent_span_id.len()), (SpanKind::Server, 0));
    assert_eq!(text(root, "hookline.source"), "github");
    assert_eq!(text(root, "http.route"), "/webhooks/{source}");
    assert_eq!(number(root, "http.response.status_code"), 200);
    let send = only(&spans, "send github");
    assert_eq!(send.kind(), SpanKind::Producer);
    assert_eq!(text(send, "messaging.message.id"), id);
    for step in [only(&spans, "read body"), only(&spans, "verify and normalize"), send] {
        assert_eq!(step.parent_span_id, root.span_id, "{step:#?}");
        assert!(root.start_time_unix_nano <= step.start_time_unix_nano, "{step:#?}");
        assert!(step.end_time_unix_nano <= root.end_time_unix_nano, "{step:#?}");
    }

    let told = |spans: &[&Span]| -> Vec<_> {
        let told = spans.iter().map(|span| {
            let failed = span.status.as_ref().is_some_and(|of| of.code() == StatusCode::Error);
            (number(span, "hookline.attempt"), text(span, "hookline.outcome").to_owned(), failed)
        });
        told.collect()
    };
    let (quick_attempts, slow_attempts) = (attempts(&spans, "quick"), attempts(&spans, "slow"));
    assert_eq!(told(&quick_attempts), [(1, "acked".to_owned(), false)]);
    assert_eq!(
        told(&slow_attempts),
        [(1, "nacked".to_owned(), true), (2, "acked".to_owned(), false)]
    );
    for span in quick_attempts.iter().chain(&slow_attempts) {
        assert_eq!((span.kind(), &span.parent_span_id), (SpanKind::Consumer, &send.span_id));
        assert_eq!(text(span, "messaging.system"), "hookline");
        assert_eq!(text(span, "messaging.message.id"), id);
        assert_eq!(text(span, "hookline.subject"), "github/pull_request.opened");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id));
    // What agents are given to hang their own spans below.
    let given = |delivery: &Delivery| delivery.traceparent.clone();
    assert_eq!(given(&of_quick), traceparent_of(quick_attempts[0]));
    assert_eq!(given(&first), traceparent_of(slow_attempts[0]));
    assert_eq!(given(&second), traceparent_of(slow_attempts[1]));
    let event = agent.event(&id).await.event.unwrap();
    assert_eq!(event.metadata["traceparent"], traceparent_of(send));
    assert_eq!(event_id(&second), id);

    let all = format!("{spans:?}");
    for secret in [CANARY, SECRET, "sha256="] {
        assert!(!all.contains(secret), "{secret} in {spans:#?}");
    }
}

#[tokio::test]
async fn a_webhook_within_a_trace_goes_on_in_it_and_its_senders_decision_holds() {
    let mut receiver = Receiver::start().await;
    // Of what the senders do not decide, nothing.
    let hub = Hub::start_with(receiver.settings("0")).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let (trace, span) = SENDER;
    hub.take(&webhook("undecided")).await;
    assert_eq!(stream.ack_next(&agent).await.traceparent, "");
    let unsampled = format!("00-{trace}-{span}-00");
    hub.take(&webhook("no").with("traceparent", &unsampled)).await;
    assert_eq!(stream.ack_next(&agent).await.traceparent, unsampled);
    hub.take(&webhook("yes").with("traceparent", &format!("00-{trace}-{span}-01"))).await;
    let delivery = stream.ack_next(&agent).await;

    let spans = receiver.spans(5).await;
    let root = only(&spans, "POST /webhooks/{source}");
    assert_eq!(hex_of(&root.parent_span_id), span);
    assert!(spans.iter().all(|span| hex_of(&span.trace_id) == trace), "{spans:#?}");
    assert_eq!(delivery.traceparent, traceparent_of(attempts(&spans, "work")[0]));
}

#[tokio::test]
async fn a_trace_outlives_a_restart_and_the_end_sends_what_waits() {
    let mut receiver = Receiver::start().await;
    let mut hub = Hub::start_with(receiver.settings("1")).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    hub.take(&webhook("a")).await;
    let delivery = stream.delivery().await;
    // The lease is written down, and lives on; four spans were sent at the end at the latest.
    hub.restart().await;
    let before = receiver.spans(4).await;
    // By another connection, and without a stream: the event is read for it.
    let agent = hub.agent().await;
    assert_eq!(agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
    let spans = receiver.spans(5).await;
    let attempt = attempts(&spans, "work")[0];
    assert_eq!(traceparent_of(attempt), delivery.traceparent);
    assert_eq!(attempt.parent_span_id, only(&before, "send github").span_id);
}

#[tokio::test]
async fn a_dead_letter_is_told_by_its_last_attempt_and_its_announcement_is_in_the_trace() {
    let mut receiver = Receiver::start().await;
    let hub = Hub::start_with(receiver.settings("1")).await;
    let agent = hub.agent().await;
    let github = |subscription: &str, pattern: &str| SubscribeRequest {
        patterns: vec![pattern.to_owned()],
        ..everything(subscription)
    };
    let mut failures = agent.subscribe(github("failures", "dead-letter/*")).await;
    let mut stream = agent.subscribe(github("work", "github")).await;
    hub.take(&webhook("a")).await;
    let delivery = stream.delivery().await;
    agent.nack(&delivery.lease_id, "never", NackAction::DeadLetter).await;
    failures.ack_next(&agent).await;

    let spans = receiver.spans(6).await;
    let given_up = attempts(&spans, "work")[0];
    assert_eq!(text(given_up, "hookline.outcome"), "rejected");
    assert_eq!(given_up.events[0].name, "dead_letter");
    let announced = attempts(&spans, "failures")[0];
    assert_eq!(announced.trace_id, given_up.trace_id);
    assert_eq!(text(announced, "hookline.subject"), "dead-letter/work");
}

#[tokio::test]
async fn a_receiver_that_is_not_there_holds_nothing_up_and_what_is_lost_is_counted() {
    let receiver = Receiver::start().await;
    let settings = receiver.settings("1");
    drop(receiver);
    let hub = Hub::start_with(settings).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    hub.take(&webhook("a")).await;
    stream.ack_next(&agent).await;
    let lost = "hookline_trace_spans_dropped_total{cause=\"export_failed\"} 5";
    let coming = async {
        loop {
            let answer = hub.http().await.get("/metrics").await.unwrap();
            if String::from_utf8_lossy(&answer.body).contains(lost) {
                return;
            }
        }
    };
    soon(lost, coming).await;
}

#[tokio::test]
async fn a_published_event_is_traced_as_a_webhook_is() {
    let mut receiver = Receiver::start().await;
    let hub = Hub::start_with(receiver.settings("0")).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let (trace, span) = SENDER;
    let publish = async |key: &str, sampled: &str, in_metadata: bool| {
        let traceparent = format!("00-{trace}-{span}-{sampled}");
        let mut event = PublishEventRequest {
            event_type: "page.changed".to_owned(),
            delivery_key: key.to_owned(),
            ..Default::default()
        };
        if in_metadata {
            event.metadata.insert("traceparent".to_owned(), traceparent.clone());
        }
        let mut request = Request::new(event);
        if !in_metadata {
            request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        }
        agent.events.clone().publish_event(request).await.unwrap().into_inner().event_id
    };
    agent.publish("undecided").await;
    assert_eq!(stream.ack_next(&agent).await.traceparent, "");
    publish("no", "00", false).await;
    let unsampled = format!("00-{trace}-{span}-00");
    assert_eq!(stream.ack_next(&agent).await.traceparent, unsampled);
    let id = publish("yes", "01", false).await;
    let delivery = stream.ack_next(&agent).await;

    let spans = receiver.spans(3).await;
    let root = only(&spans, "hookline.v1.EventService/PublishEvent");
    assert_eq!((root.kind(), hex_of(&root.parent_span_id).as_str()), (SpanKind::Server, span));
    assert_eq!(
        (text(root, "rpc.method"), text(root, "hookline.source")),
        ("PublishEvent", "agent")
    );
    let send = only(&spans, "send agent");
    assert_eq!((send.kind(), &send.parent_span_id), (SpanKind::Producer, &root.span_id));
    assert_eq!(text(send, "messaging.message.id"), id);
    assert!(root.start_time_unix_nano <= send.start_time_unix_nano);
    let attempt = attempts(&spans, "work")[0];
    assert_eq!(attempt.parent_span_id, send.span_id);
    assert_eq!(delivery.traceparent, traceparent_of(attempt));
    assert!(spans.iter().all(|span| hex_of(&span.trace_id) == trace), "{spans:#?}");
    // Also where the event itself says in which trace it is.
    publish("in the event", "01", true).await;
    stream.ack_next(&agent).await;
    receiver.spans(6).await;
}
