//! The load: connections that post one request after the other, or at a fixed rate together.
//!
//! All of them are tasks of one thread, as those of `wrk -t1`: what is measured has the other processors to itself.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Uri;
use parking_lot::Mutex;
use tokio::{net::lookup_host, sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    BenchError,
    aside::aside,
    bodies::Template,
    connection::Connection,
    latencies::Latencies,
    pace::{self, Pace},
};
use crate::clock::Stopwatch;

/// A load in which nothing has been answered for so long is ended.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How often a connection that breaks is made again before it is given up.
const BREAK_COUNT_MAX: u32 = 10;

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    After(Duration),
    Count(u64),
}

/// What is posted where, and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) url: Uri,
    pub(super) templates: Arc<[Template]>,
    pub(super) connections: usize,
    pub(super) end: End,
    /// When requests are due; `None`: as fast as they are answered.
    pub(super) pace: Option<Pace>,
    /// What times count from; `None`: from when the load begins.
    pub(super) watch: Option<Stopwatch>,
    /// What the delivery ids begin with, `-` and a number after it, and the first of these numbers.
    pub(super) run: String,
    pub(super) first: u64,
}

/// Makes a start of delivery ids that was never used.
pub(super) fn new_run() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// How many were answered by each status.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// How many got no answer, by the cause.
    pub(super) unanswered: BTreeMap<String, u64>,
    /// How many were due and not sent any more.
    pub(super) unsent: u64,
    /// How long those answered with 200 took.
    pub(super) latencies: Latencies,
    /// From the start to the last answer.
    pub(super) elapsed: Duration,
    /// The bytes of the requests that were answered with 200.
    pub(super) bytes: u64,
}

impl Outcome {
    pub(super) fn accepted(&self) -> u64 {
        self.statuses.get(&200).copied().unwrap_or_default()
    }

    /// Returns what was not as it should be, in words.
    pub(super) fn problems(&self) -> Vec<String> {
        let others = self.statuses.iter().filter(|(status, _)| **status != 200);
        let mut problems: Vec<_> =
            others.map(|(status, count)| format!("{count} answered with {status}")).collect();
        problems.extend(
            self.unanswered.iter().map(|(why, count)| format!("{count} unanswered: {why}")),
        );
        if 0 < self.unsent {
            problems.push(format!("{} were due and not sent", self.unsent));
        }
        problems
    }
}

/// Runs a load on a thread of its own until it ends. Dropping the future ends it too.
///
/// # Errors
///
/// If the address can't be found, or no connection be made.
pub(super) async fn run(plan: Plan) -> Result<Outcome, BenchError> {
    let attempted = format!("put a load on `{}`", plan.url);
    let ran = aside(move || drive(plan)).await.flatten();
    ran.map_err(|source| BenchError::Machine { attempted, source })
}

async fn drive(plan: Plan) -> io::Result<Outcome> {
    let address = resolve(&plan.url).await?;
    // The first one tells whether there is a server at all.
    drop(timeout(SILENCE_MAX, Connection::open(address)).await??);
    let connections = plan.connections;
    let shared = Arc::new(Shared::new(plan, address));
    let _ends_with_this = Closing(Arc::clone(&shared));
    let mut tasks = JoinSet::new();
    if let Some(pace) = shared.pace {
        let shared = Arc::clone(&shared);
        tasks.spawn_blocking(move || release(&shared, pace));
    }
    for _ in 0..connections {
        tasks.spawn(connection(Arc::clone(&shared)));
    }
    let mut looks = tokio::time::interval(SILENCE_MAX);
    let mut done_before = None;
    loop {
        tokio::select! {
            biased;
            joined = tasks.join_next() => match joined {
                Some(joined) => joined.map_err(io::Error::other)?,
                None => break,
            },
            _ = looks.tick() => {
                let done = shared.answered.load(Ordering::Relaxed);
                if done_before == Some(done) && 0 < shared.on_their_way() {
                    shared.gave_up();
                    break;
                }
                done_before = Some(done);
            }
        }
    }
    Ok(shared.outcome())
}

/// Ends the thread that keeps the pace, also when the load is dropped.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.due.close();
    }
}

/// Returns where an address leads to.
pub(super) async fn resolve(url: &Uri) -> io::Result<SocketAddr> {
    let host = url.host().unwrap_or("127.0.0.1").trim_matches(['[', ']']);
    let mut found = lookup_host((host, url.port_u16().unwrap_or(80))).await?;
    found.next().ok_or_else(|| io::Error::other("the name has no address"))
}

/// What the connections have in common.
struct Shared {
    address: SocketAddr,
    templates: Arc<[Template]>,
    pace: Option<Pace>,
    /// How many requests there are at most, and until when they are begun.
    count_max: u64,
    time_max: Duration,
    watch: Stopwatch,
    run: String,
    first: u64,
    taken: AtomicU64,
    answered: AtomicU64,
    /// At a fixed rate: how many are due and not taken.
    due: Semaphore,
    outcome: Mutex<Outcome>,
}

impl Shared {
    fn new(plan: Plan, address: SocketAddr) -> Self {
        let (count_max, time_max) = match (plan.end, plan.pace) {
            (End::Count(count), _) => (count, Duration::MAX),
            // Those that are late are sent all the same: that they are late is what is measured.
            (End::After(time), Some(pace)) => {
                (pace.within(time), pace.due(pace.within(time)) + SILENCE_MAX)
            }
            (End::After(time), None) => (u64::MAX, time),
        };
        Self {
            address,
            templates: plan.templates,
            pace: plan.pace,
            count_max,
            time_max,
            watch: plan.watch.unwrap_or_else(Stopwatch::start),
            run: plan.run,
            first: plan.first,
            taken: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            due: Semaphore::new(0),
            outcome: Mutex::default(),
        }
    }

    /// Takes the next request, waiting until it is due; `None` when there are no more.
    async fn next(&self) -> Option<u64> {
        if self.pace.is_some() {
            self.due.acquire().await.ok()?.forget();
        }
        if self.time_max <= self.watch.elapsed() {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number < self.count_max {
            return Some(number);
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn answered(&self, number: u64, sent: Duration, status: u16, bytes: usize) {
        let now = self.watch.elapsed();
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut outcome = self.outcome.lock();
        *outcome.statuses.entry(status).or_default() += 1;
        outcome.elapsed = now;
        if status == 200 {
            outcome.bytes += u64::try_from(bytes).unwrap_or_default();
            let took = self
                .pace
                .map_or_else(|| now.saturating_sub(sent), |pace| pace.latency(number, now));
            outcome.latencies.record(took);
        }
    }

    fn broke(&self, error: &io::Error) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        *self.outcome.lock().unanswered.entry(error.to_string()).or_default() += 1;
    }

    fn on_their_way(&self) -> u64 {
        self.taken.load(Ordering::Relaxed).saturating_sub(self.answered.load(Ordering::Relaxed))
    }

    fn gave_up(&self) {
        let why = format!("no answer within {SILENCE_MAX:?}");
        self.outcome.lock().unanswered.insert(why, self.on_their_way());
    }

    fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.lock().clone();
        if self.count_max < u64::MAX {
            outcome.unsent = self.count_max.saturating_sub(self.taken.load(Ordering::Relaxed));
        }
        outcome
    }
}

/// Lets requests go as they are due, until there are no more or the load has ended.
fn release(shared: &Shared, pace: Pace) {
    let are_more = |number| number < shared.count_max && !shared.due.is_closed();
    pace::keep(pace, shared.watch, are_more, || shared.due.add_permits(1));
    // One more for each connection, which then finds that there are no more requests.
    shared.due.add_permits(MORE_THAN_CONNECTIONS);
}

/// There are never so many connections.
const MORE_THAN_CONNECTIONS: usize = 1 << 20;

/// Posts over one connection, which is made again when it breaks.
async fn connection(shared: Arc<Shared>) {
    let mut connection = None;
    let mut breaks = 0;
    while breaks < BREAK_COUNT_MAX
        && let Some(number) = shared.next().await
    {
        let index = usize::try_from(number).unwrap_or_default() % shared.templates.len();
        let Some(template) = shared.templates.get(index) else { return };
        let sent = shared.watch.elapsed();
        let id = format!("{}-{}", shared.run, shared.first + number);
        match post(&mut connection, shared.address, template, &id).await {
            Ok(status) => {
                breaks = 0;
                shared.answered(number, sent, status, template.tail.len());
            }
            Err(error) => {
                breaks += 1;
                connection = None;
                shared.broke(&error);
            }
        }
    }
}

async fn post(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    template: &Template,
    id: &str,
) -> io::Result<u16> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(address).await?),
    };
    let answer = open.exchange([&template.head, id.as_bytes(), &template.tail]).await?;
    if !answer.keeps {
        *connection = None;
    }
    Ok(answer.status)
}
