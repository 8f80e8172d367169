//! The composition root: puts the parts together, starts them in order and stops them in order.
//!
//! What a test replaces is an argument: the store and the clock; ports are 0 where none is wanted.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tonic_health::server::HealthReporter;

use crate::{
    auth::{FileError, Tokens},
    broker::{Broker, Retention, StartError},
    clock::Clock,
    config::Config,
    grpc, http,
    metrics::{Measured, Process},
    reload::Reload,
    store::{EventLog, Export, Ledger, OfLog},
    tasks::{Failure, Group, Kind, Tasks, Unfinished},
    tls::{self, Protocol, Tls, TlsError},
    traces::{ExportError, Traces},
};

/// The part of the shutdown's grace that is left for closing what is still open after the agents' share.
const CLOSING_PART: u32 = 4;

/// A running hub.
#[derive(Debug)]
pub struct App {
    http_address: SocketAddr,
    grpc_address: SocketAddr,
    auth: Tokens,
    tasks: Tasks,
    groups: Groups,
    broker: Broker,
    clock: Arc<dyn Clock>,
    readiness: http::Readiness,
    counts: Arc<http::Counts>,
    health: HealthReporter,
    grace: Duration,
    reload: Reload,
}

fn retention(config: &Config) -> Retention {
    Retention {
        max_age: config.retention.max_age,
        open_max_age: config.retention.open_max_age,
        dead_letters_max_age: config.retention.dead_letters_max_age,
        max_bytes: config.retention.max_bytes.map(|bytes| bytes as u64),
    }
}

/// Says what of a configuration can be taken while the hub runs: for requests from then on.
fn add_parts(
    reload: &Reload,
    directory: &http::Directory,
    counts: &Arc<http::Counts>,
    body_bytes_max: &Arc<AtomicUsize>,
    bounds: watch::Sender<Retention>,
    tokens: &Tokens,
) {
    let (directory, counts) = (directory.clone(), Arc::clone(counts));
    reload.add("sources", move |config| {
        let (directory, counts) = (directory.clone(), Arc::clone(&counts));
        let sources = config.sources.clone();
        Ok(Box::new(move || {
            // Counters first: a post may come at once.
            counts.add_sources(&sources);
            directory.replace(sources);
        }))
    });
    let body_bytes_max = Arc::clone(body_bytes_max);
    reload.add("http.max_body", move |config| {
        let (body_bytes_max, most) = (Arc::clone(&body_bytes_max), config.http.max_body);
        Ok(Box::new(move || body_bytes_max.store(most, Ordering::Release)))
    });
    reload.add("retention", move |config| {
        let (bounds, new) = (bounds.clone(), retention(config));
        Ok(Box::new(move || {
            bounds.send_if_modified(|old| std::mem::replace(old, new.clone()) != new);
        }))
    });
    let tokens = tokens.clone();
    reload.add("auth.tokens", move |_| {
        let tokens = tokens.clone();
        Ok(Box::new(move || tokens.reload()))
    });
}

/// Returns all that `/metrics` shows beside what came of webhooks.
fn measured(
    log: &Arc<dyn EventLog>,
    broker: &Broker,
    calls: &Arc<grpc::Calls>,
    traces: &Traces,
    clock: &dyn Clock,
) -> Vec<Arc<dyn Measured>> {
    vec![
        Arc::new(OfLog(Arc::clone(log))),
        Arc::new(broker.clone()),
        Arc::clone(calls) as _,
        Arc::new(traces.clone()),
        Arc::new(Process { started_at: clock.wall() }),
    ]
}

fn open_tls(files: Option<&tls::Files>, protocol: Protocol) -> Result<Option<Arc<Tls>>, TlsError> {
    files.map(|files| Tls::open(files.clone(), protocol).map(Arc::new)).transpose()
}

/// The parts of the hub that run, and stop one after the other.
#[derive(Clone, Debug)]
struct Groups {
    http: Group,
    subscriptions: Group,
    grpc: Group,
    traces: Group,
}

impl Groups {
    /// First nothing more comes in, then agents are let go, then nothing more is answered; what was traced of all that is
    /// sent at last.
    fn in_order(&self) -> [&Group; 4] {
        [&self.http, &self.subscriptions, &self.grpc, &self.traces]
    }
}

/// What the hub stands on.
#[derive(Clone, Debug)]
pub struct Foundation {
    /// The log of events.
    pub log: Arc<dyn EventLog>,
    /// The facts of subscriptions.
    pub ledger: Arc<dyn Ledger>,
    /// What copies both.
    pub export: Arc<dyn Export>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
}

/// Why the hub did not start. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The subscriptions could not be opened.
    #[error("could not start the subscriptions")]
    Broker(#[from] StartError),
    /// The tokens could not be read.
    #[error("could not read the tokens")]
    Tokens(#[from] FileError),
    /// The HTTP port could not be bound.
    #[error("could not start the HTTP front")]
    Http(#[from] http::BindError),
    /// The export of traces could not be set up.
    #[error("could not start the traces")]
    Traces(#[from] ExportError),
    /// The gRPC port could not be bound.
    #[error("could not start the gRPC services")]
    Grpc(#[from] grpc::BindError),
    /// The files of TLS could not be used.
    #[error("could not set up TLS")]
    Tls(#[from] TlsError),
}

impl App {
    /// Starts the hub: subscriptions first, then the ports; ready when it returns.
    ///
    /// # Errors
    ///
    /// If a subscription can't be opened or a port can't be bound.
    pub async fn start(config: &Config, foundation: Foundation) -> Result<Self, AppError> {
        let tasks = Tasks::new();
        let groups = Groups {
            http: tasks.group("http"),
            subscriptions: tasks.group("subscriptions"),
            grpc: tasks.group("grpc"),
            traces: tasks.group("traces"),
        };
        let started = Self::build(config, foundation, &tasks, &groups).await;
        if started.is_err() {
            tasks.shutdown(&groups.in_order(), Duration::ZERO).await;
        }
        started
    }

    async fn build(
        config: &Config,
        foundation: Foundation,
        tasks: &Tasks,
        groups: &Groups,
    ) -> Result<Self, AppError> {
        let Foundation { log, ledger, export, clock } = foundation;
        let auth = Tokens::open(&config.auth, Arc::clone(&clock))?;
        let traces = Traces::start(&config.traces, &groups.traces)?;
        let parts = (Arc::clone(&log), ledger, Arc::clone(&clock));
        let broker =
            Broker::start(parts.0, parts.1, parts.2, groups.subscriptions.clone(), traces.clone())
                .await?;
        let (retention, bounds) = watch::channel(retention(config));
        broker.start_retention(bounds);
        let (readiness, counts) =
            (http::Readiness::default(), Arc::new(http::Counts::new(&config.sources)));
        let calls = Arc::new(grpc::Calls::default());
        let measured = measured(&log, &broker, &calls, &traces, &*clock);
        let directory = http::Directory::new(config.sources.clone());
        let body_bytes_max = Arc::new(AtomicUsize::new(config.http.max_body));
        let reload = Reload::new(config.clone());
        add_parts(&reload, &directory, &counts, &body_bytes_max, retention, &auth);
        let state = http::State {
            sources: directory.clone(),
            log,
            traces,
            measured,
            clock: Arc::clone(&clock),
            readiness: readiness.clone(),
            counts: Arc::clone(&counts),
            tokens: auth.clone(),
            body_bytes_max: Arc::clone(&body_bytes_max),
        };
        let http_tls = open_tls(config.http.tls.as_ref(), Protocol::Http1)?;
        let grpc_tls = open_tls(config.grpc.tls.as_ref(), Protocol::Http2)?;
        let listeners: Vec<_> = http_tls.iter().chain(&grpc_tls).cloned().collect();
        let front = http::Server::bind(config.http.listen, http_tls, state)?;
        let sources = grpc::Sources { configured: directory, counts: Arc::clone(&counts) };
        let stop = groups.grpc.stopping().clone();
        let (broker_of, tokens) = (broker.clone(), auth.clone());
        let state = grpc::State { broker: broker_of, sources, export, tokens, calls };
        let services = grpc::Server::bind(config.grpc.listen, grpc_tls, state, stop)?;
        if !listeners.is_empty() {
            let keeping =
                tls::keep_fresh(listeners, Arc::clone(&clock), groups.http.stopping().clone());
            groups.http.spawn(Kind::Contained, "certificates", keeping);
        }
        let app = Self {
            http_address: front.local_addr(),
            grpc_address: services.local_addr(),
            health: services.health(),
            grace: config.shutdown.grace,
            auth,
            tasks: tasks.clone(),
            groups: groups.clone(),
            broker,
            clock,
            readiness,
            counts,
            reload,
        };
        app.serve(front, services);
        Ok(app)
    }

    fn serve(&self, front: http::Server, services: grpc::Server) {
        let group = self.groups.http.clone();
        self.groups.http.spawn(Kind::Essential, "http listener", front.run(group));
        self.groups.grpc.spawn(Kind::Essential, "grpc listener", async move {
            if let Err(error) = services.run().await {
                tracing::error!(%error, "the gRPC listener failed");
            }
        });
        let stop = self.groups.grpc.stopping().clone();
        self.groups.grpc.spawn(Kind::Essential, "tokens", self.auth.clone().run(stop));
        self.readiness.set_ready();
    }

    /// Returns where webhooks are posted, with the port that was bound.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Returns where agents connect, with the port that was bound.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Returns the subscriptions.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Returns what takes a new configuration while the hub runs.
    #[must_use]
    pub fn reload(&self) -> &Reload {
        &self.reload
    }

    /// Returns who may call: to be read anew where the hub is told to.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.auth
    }

    /// Returns what came of webhooks since the start, by source.
    #[must_use]
    pub fn counts(&self) -> &http::Counts {
        &self.counts
    }

    /// Waits until a part has failed without which the hub can't work.
    pub async fn failed(&self) -> Failure {
        self.tasks.failed().await
    }

    /// Stops the hub within the grace period: takes nothing in, lets agents settle, writes down what they hold, ends
    /// the streams. `hurry` ends the agents' time early. Returns what did not end in time. The store is the caller's
    /// to close.
    pub async fn shutdown(self, hurry: impl Future<Output = ()>) -> Vec<Unfinished> {
        let for_closing = self.grace / CLOSING_PART;
        let started = self.clock.steady();
        let agents_until = started + (self.grace - for_closing);
        self.readiness.set_unready();
        grpc::stop_serving(&self.health).await;
        self.groups.http.stop();
        let time_is_up = async {
            tokio::select! {
                () = self.clock.sleep_until(agents_until) => {}
                () = hurry => {}
            }
        };
        self.broker.drain(self.grace - for_closing, time_is_up).await;
        self.groups.subscriptions.stop();
        self.groups.grpc.stop();
        let left = self.grace.saturating_sub(self.clock.steady().since(started));
        self.tasks.shutdown(&self.groups.in_order(), left).await
    }
}
