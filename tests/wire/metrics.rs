//! What the hub tells to Prometheus about what happened to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hookline_proto::v1::{CreateSubscriptionRequest, DeliveryState, NackAction};

use crate::{
    agent::{Agent, Stream, everything, retrying_at_once},
    agents::tool,
    http::Webhook,
    hub::{Hub, soon},
};

const DOCS: &str = include_str!("../../server/docs/metrics.md");

/// One answer of `/metrics`.
struct Scrape {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(hub: &Hub) -> Self {
        let answer = hub.http().await.get("/metrics").await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self { samples: samples.collect(), text }
    }

    /// Returns a sample by its name and labels.
    fn get(&self, sample: &str) -> f64 {
        let value = self.samples.get(sample);
        *value.unwrap_or_else(|| panic!("no `{sample}` in\n{}", self.text))
    }

    /// Asks until a sample has a value: a task leaves word of how it stands after it has answered.
    async fn until(hub: &Hub, sample: &str, value: f64) -> Self {
        let coming = async {
            loop {
                let scrape = Self::of(hub).await;
                if (scrape.get(sample) - value).abs() < f64::EPSILON {
                    return scrape;
                }
            }
        };
        soon(&format!("{sample} {value}"), coming).await
    }
}

fn create(name: &str) -> CreateSubscriptionRequest {
    let patterns = vec!["*".to_owned()];
    CreateSubscriptionRequest { name: name.to_owned(), patterns, ..Default::default() }
}

/// Makes of an event an ack, of the next a dead letter after a nack, and leaves one in flight, and one unread since there is no room.
async fn work(hub: &Hub, agent: &Agent) -> Stream {
    let mut request = everything("work");
    request.policy = Some(retrying_at_once());
    let mut stream = agent.subscribe(request).await;
    hub.take_each(["a", "b"]).await;
    stream.ack_next(agent).await;
    let second = stream.delivery().await;
    agent.nack(&second.lease_id, "not now", NackAction::Retry).await;
    let again = stream.delivery().await;
    agent.nack(&again.lease_id, "never", NackAction::DeadLetter).await;
    agent.event_once(&again.event.unwrap().id, DeliveryState::Dead).await;
    // Its announcement is in the log, and no pattern of `work` names it.
    Scrape::until(hub, "hookline_log_head_sequence", 3.0).await;
    hub.take_each(["c"]).await;
    stream.delivery().await;
    // Only now: two that come at once may be looked at together.
    hub.take_each(["d"]).await;
    stream
}

#[tokio::test]
async fn metrics_tell_what_became_of_webhooks_and_deliveries() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let _stream = work(&hub, &agent).await;
    let forged = Webhook::push("forged").signed_with("another secret", 0);
    assert_eq!(hub.post(&forged).await.status, 401);

    // Without room for more the subscription does not look at the last event.
    let unscanned = "hookline_subscription_unscanned_events{subscription=\"work\"}";
    let scrape = Scrape::until(&hub, unscanned, 1.0).await;
    for (sample, value) in [
        ("hookline_webhook_answers_total{source=\"github\",status=\"200\"}", 4.0),
        ("hookline_webhook_answers_total{source=\"github\",status=\"401\"}", 1.0),
        ("hookline_webhook_events_total{source=\"github\",outcome=\"accepted\"}", 4.0),
        ("hookline_webhooks_refused_total{source=\"github\",cause=\"signature_wrong\"}", 1.0),
        ("hookline_webhook_duration_seconds_count", 5.0),
        ("hookline_log_first_sequence", 1.0),
        ("hookline_log_head_sequence", 5.0),
        ("hookline_log_events", 5.0),
        ("hookline_store_full", 0.0),
        ("hookline_subscriptions{kind=\"durable\"}", 1.0),
        ("hookline_subscription_lag_events{subscription=\"work\"}", 2.0),
        ("hookline_subscription_deliveries{subscription=\"work\",state=\"leased\"}", 1.0),
        ("hookline_subscription_deliveries{subscription=\"work\",state=\"parked\"}", 0.0),
        ("hookline_subscription_dead_letters{subscription=\"work\"}", 1.0),
        ("hookline_subscription_consumers{subscription=\"work\"}", 1.0),
        ("hookline_subscription_paused{subscription=\"work\"}", 0.0),
        ("hookline_deliveries_started_total{subscription=\"work\"}", 4.0),
        ("hookline_redeliveries_total{subscription=\"work\"}", 1.0),
        ("hookline_deliveries_ended_total{subscription=\"work\",outcome=\"acked\"}", 1.0),
        ("hookline_deliveries_ended_total{subscription=\"work\",outcome=\"nacked\"}", 1.0),
        ("hookline_deliveries_ended_total{subscription=\"work\",outcome=\"rejected\"}", 1.0),
        ("hookline_dead_letters_total{subscription=\"work\",reason=\"rejected\"}", 1.0),
        ("hookline_dead_letters_total{subscription=\"work\",reason=\"max_attempts\"}", 0.0),
        ("hookline_grpc_open_calls{method=\"hookline.v1.SubscriberService/Subscribe\"}", 1.0),
        (
            "hookline_grpc_calls_total{method=\"hookline.v1.SubscriberService/Ack\",code=\"OK\"}",
            1.0,
        ),
    ] {
        let found = scrape.get(sample);
        assert!((found - value).abs() < f64::EPSILON, "{sample} is {found}");
    }
    // Appended: three webhooks and an announcement. Each was synced before it was answered.
    assert!(4.0 <= scrape.get("hookline_log_append_duration_seconds_count"), "{}", scrape.text);
    assert!(4.0 <= scrape.get("hookline_store_sync_duration_seconds_count"), "{}", scrape.text);
    let age = scrape.get("hookline_subscription_oldest_age_seconds{subscription=\"work\"}");
    assert!(0.0 < age && age < 60.0, "{age}");
    let (used, free) =
        (scrape.get("hookline_store_bytes"), scrape.get("hookline_store_disk_free_bytes"));
    assert!(0.0 < used && free <= scrape.get("hookline_store_disk_size_bytes"));
    assert!(1e6 < scrape.get("process_resident_memory_bytes"));
    assert!(10.0 < scrape.get("process_open_fds"));
}

#[tokio::test]
async fn streams_are_open_calls_until_they_end() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let open = "hookline_grpc_open_calls{method=\"hookline.v1.SubscriberService/Subscribe\"}";
    let stream = agent.subscribe(everything("work")).await;
    let scrape = Scrape::until(&hub, open, 1.0).await;
    let consumers = "hookline_subscription_consumers{subscription=\"work\"}";
    assert!((scrape.get(consumers) - 1.0).abs() < f64::EPSILON, "{}", scrape.text);
    drop(stream);
    let scrape = Scrape::until(&hub, open, 0.0).await;
    let gone = "hookline_grpc_calls_total{method=\"hookline.v1.SubscriberService/Subscribe\",code=\"CANCELLED\"}";
    assert!((scrape.get(gone) - 1.0).abs() < f64::EPSILON, "{}", scrape.text);
    Scrape::until(&hub, consumers, 0.0).await;
}

#[tokio::test]
async fn what_ephemeral_subscriptions_did_stays_counted_when_they_are_gone() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    for key in ["a", "b"] {
        let mut stream = agent.subscribe(everything("")).await;
        hub.take_each([key]).await;
        stream.ack_next(&agent).await;
    }
    let scrape = Scrape::until(&hub, "hookline_subscriptions{kind=\"ephemeral\"}", 0.0).await;
    // The second one takes the first one's event again: it asks for all from the first on.
    let acked = "hookline_deliveries_ended_total{subscription=\"(ephemeral)\",outcome=\"acked\"}";
    assert!((scrape.get(acked) - 2.0).abs() < f64::EPSILON, "{}", scrape.text);
    assert!(!scrape.text.contains("subscription=\"ephemeral-"), "{}", scrape.text);
}

#[tokio::test]
async fn the_documentation_lists_what_a_hub_tells_and_nothing_else() {
    let hub = Hub::start().await;
    let scrape = Scrape::of(&hub).await;
    let told = scrape.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeSet<_> = told.map(|line| line.split_once(' ').unwrap().0).collect();
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<_> = rows.map(|(name, _)| name).collect();
    assert_eq!(told, documented);
}

#[tokio::test]
#[ignore = "needs promtool: of Debian's package prometheus, or HOOKLINE_PROMTOOL"]
async fn promtool_finds_no_fault_with_the_metrics() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let _stream = work(&hub, &agent).await;
    let scrape = Scrape::of(&hub).await;
    let mut check = Command::new(tool("HOOKLINE_PROMTOOL", "promtool"));
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut check = check.stderr(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(scrape.text.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(checked.status.success() && said.iter().all(String::is_empty), "{said:?}");
}

#[tokio::test]
#[ignore = "makes more than a thousand subscriptions"]
async fn a_scrape_is_quick_and_bounded_with_more_subscriptions_than_have_series() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let creating = (0..1_003).map(|number| {
        let mut subscriptions = agent.subscriptions.clone();
        async move { subscriptions.create_subscription(create(&format!("s-{number:04}"))).await }
    });
    for created in creating.collect::<Vec<_>>() {
        soon("a subscription", created).await.unwrap();
    }
    hub.take_each(["a"]).await;
    let lag = "hookline_subscription_lag_events{subscription=\"s-0999\"}";
    let scrape = Scrape::until(&hub, lag, 1.0).await;
    let others = "hookline_subscription_lag_events{subscription=\"(others)\"}";
    assert!((scrape.get(others) - 3.0).abs() < f64::EPSILON);
    assert!(!scrape.text.contains("subscription=\"s-1000\""));
    let mut http = hub.http().await;
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..21 {
        #[expect(clippy::disallowed_methods, reason = "tests have no clock of their own")]
        let began = Instant::now();
        http.get("/metrics").await.unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let (bytes, series) = (scrape.text.len(), scrape.samples.len());
    println!("{series} series, {bytes} bytes, median {:?}, most {:?}", took[10], took[20]);
    // Of a debug build on a busy machine; Prometheus waits for ten.
    assert!(took[10] < Duration::from_secs(2), "{took:?}");
}
