//! Where attacks are measured: a hub, a healthy client, and an attacker on a thread of its own.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hookline_proto::v1::{ListEventsRequest, Outcome, PayloadView, SubscribeRequest};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{Agent, Stream, event_id, everything},
    http::{Connection, Webhook},
    hub::{Hub, Settings, soon},
};

/// How much memory the hub may have at most, in whichever attack: a cache of 64 MiB, 64 MiB each of bodies, of their parts
/// that are not counted, of what connections buffer and of what subscriptions read ahead, and some.
pub(super) const MEMORY_MIB_MAX: u64 = 512;

/// How many times slower one of a hundred rounds may be than one of a hundred was before and after.
const SLOWER_MAX: u32 = 5;

/// What no round is blamed for: the machine is shared, with the attacker among others, and a sync of its disk may take this
/// long at any time.
const NOISE: Duration = Duration::from_millis(100);

/// How many rounds are measured before an attack, and after it.
const ROUNDS: usize = 200;

/// What an attacker is given.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    /// The attacker says by it that the attack is in force; from then on it is measured.
    pub(super) on: CancellationToken,
    /// Tells the attacker that it was measured long enough.
    pub(super) over: CancellationToken,
}

/// A hub with a healthy client.
pub(super) struct Range {
    pub(super) hub: Hub,
    pub(super) agent: Agent,
    stream: Stream,
    confirmed: BTreeSet<String>,
}

impl Range {
    pub(super) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(super) async fn start_with(settings: Settings) -> Self {
        let hub = Hub::start_with(settings).await;
        let agent = hub.agent().await;
        let patterns = vec!["github/push".to_owned()];
        let healthy = SubscribeRequest { patterns, ..everything("healthy") };
        let stream = agent.subscribe(healthy).await;
        Self { hub, agent, stream, confirmed: BTreeSet::new() }
    }

    /// Posts a webhook over a new connection, as most providers do, and acks its delivery; how long that took.
    async fn round(&mut self) -> Duration {
        let webhook = Webhook::push(&format!("healthy-{}", self.confirmed.len()));
        let began = now();
        let mut http =
            soon("a connection", Connection::open(self.hub.http_address())).await.unwrap();
        let answer = http.post(&webhook).await.unwrap();
        assert_eq!(answer.status, 200, "to a healthy client: {answer:?}");
        let id = answer.json()["event_id"].as_str().unwrap().to_owned();
        let delivery = self.stream.delivery().await;
        assert_eq!(event_id(&delivery), id);
        assert_eq!(self.agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
        let took = began.elapsed();
        assert!(self.confirmed.insert(id));
        took
    }

    async fn rounds(&mut self, count: usize) -> Times {
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(self.round().await);
        }
        Times::of(times)
    }

    /// Has an attacker attack for as long as this, and sees that the hub withstands it. Returns what the attacker saw.
    pub(super) async fn withstand<F>(
        &mut self,
        name: &str,
        lasting: Duration,
        attack: impl FnOnce(Target) -> F + Send + 'static,
    ) -> String
    where
        F: Future<Output = String>,
    {
        let before = self.rounds(ROUNDS).await;
        let (files_before, resident_before) = (self.files(), self.hub.reset_peak_mib());
        let target = Target {
            http: self.hub.http_address(),
            grpc: self.hub.grpc_address(),
            on: CancellationToken::new(),
            over: CancellationToken::new(),
        };
        let (on, over) = (target.on.clone(), target.over.clone());
        let attacking = on_a_thread(target, attack);
        soon("the attack to be in force", on.cancelled()).await;
        let (began, mut times) = (now(), Vec::new());
        while times.len() < ROUNDS / 2 || began.elapsed() < lasting {
            times.push(self.round().await);
        }
        let during = Times::of(times);
        let files = self.files();
        over.cancel();
        let seen = soon("the end of the attack", attacking).await.expect("the attacker ended");
        let after = self.rounds(ROUNDS).await;
        let peak = self.hub.memory_mib("VmHWM");
        self.check_log().await;

        // What else runs on the machine comes and goes.
        let quiet = before.p99.max(after.p99);
        let bound = NOISE.max(quiet * SLOWER_MAX);
        let ratio = during.p99.as_secs_f64() / quiet.as_secs_f64();
        println!(
            "attack: {name} | p50 {} to {} ms | p99 {} (after: {}) to {} ms (x{ratio:.1}, bound {} ms) | \
             memory {resident_before} to {peak} MiB (bound {MEMORY_MIB_MAX}) | files {files_before} to \
             {files} | {} rounds | {seen}",
            millis(before.p50),
            millis(during.p50),
            millis(before.p99),
            millis(after.p99),
            millis(during.p99),
            millis(bound),
            during.count,
        );
        assert!(during.p99 <= bound, "{name}: a healthy client waits");
        assert!(peak <= MEMORY_MIB_MAX, "{name}: the hub has {peak} MiB");
        seen
    }

    /// Sees that all that was confirmed is in the log.
    async fn check_log(&self) {
        let request = ListEventsRequest {
            patterns: vec!["github/push".to_owned()],
            payload_view: PayloadView::None.into(),
            page_size: Some(1_000),
            ..Default::default()
        };
        let logged = self.agent.list(request).await;
        let logged: BTreeSet<_> = logged.into_iter().map(|event| event.id).collect();
        assert!(self.confirmed.is_subset(&logged), "what was confirmed is in the log");
    }

    /// Returns how many files the hub has open.
    pub(super) fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.hub.pid())).unwrap().count()
    }
}

/// What rounds took.
struct Times {
    count: usize,
    p50: Duration,
    p99: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let count = times.len();
        Self { count, p50: times[count / 2], p99: times[(count * 99).div_ceil(100) - 1] }
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1_000.0)
}

pub(super) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what is measured is how long the hub takes")]
    let now = Instant::now();
    now
}

/// Runs an attack beside the healthy client, not in its turns.
fn on_a_thread<F>(
    target: Target,
    attack: impl FnOnce(Target) -> F + Send + 'static,
) -> oneshot::Receiver<String>
where
    F: Future<Output = String>,
{
    let (send, seen) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Nobody waits any more if the test has failed.
        drop(send.send(runtime.block_on(attack(target))));
    });
    seen
}
