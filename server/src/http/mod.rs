//! The HTTP front: takes webhooks, and answers once they are durable (DESIGN: section 8).
//!
//! A request meets, in this order: its source (404), its method (405), the source's rate (429), its declared size (413), the
//! hub's end (503), the number of posts at once (429), its part of the memory for bodies (429), the body itself (413, 408), its signature
//! (401), the normalizer, and the log (503). Nothing of a body is used before its signature is right, but for what stands
//! in the body to prove it, and for the handshakes that a provider does not sign, which bring no event.

mod answer;
mod body;
mod connection;
mod counts;
mod directory;
mod health;
mod ingest;
mod metrics;
mod rates;
mod repoll;
mod stall;
mod traced;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    routing::{any, get},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use self::{connection::Peer, rates::Rates};
pub use self::{
    counts::{Cause, Counts, Outcome},
    directory::Directory,
    health::Readiness,
};
use crate::{
    auth::Tokens,
    clock::Clock,
    limits,
    metrics::Measured,
    store::EventLog,
    tasks::{Group, Kind},
    tls::Tls,
    traces::Traces,
    transport,
};

/// What the front works with.
#[derive(Clone, Debug)]
pub struct State {
    /// Who may post.
    pub sources: Directory,
    /// Where events go.
    pub log: Arc<dyn EventLog>,
    /// The wall clock dates signatures and receipts.
    pub clock: Arc<dyn Clock>,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// Where it is counted what came of requests.
    pub counts: Arc<Counts>,
    /// Where spans go.
    pub traces: Traces,
    /// What else `/metrics` shows.
    pub measured: Vec<Arc<dyn Measured>>,
    /// Who may see figures from afar.
    pub tokens: Tokens,
    /// The most bytes of a body, at most [`limits::BODY_BYTES_MOST`]; it may change.
    pub body_bytes_max: Arc<AtomicUsize>,
}

/// What all handlers share.
#[derive(Debug)]
struct Front {
    sources: Directory,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    readiness: Readiness,
    counts: Arc<Counts>,
    traces: Traces,
    /// What `/metrics` shows, in this order.
    measured: Vec<Arc<dyn Measured>>,
    tokens: Tokens,
    body_bytes_max: Arc<AtomicUsize>,
    rates: Rates,
    /// A permit for each post in work.
    posts: Arc<Semaphore>,
    /// A permit for each byte of a body in memory.
    budget: Arc<Semaphore>,
    /// Cancelled once no more posts are taken.
    draining: CancellationToken,
}

impl Front {
    fn new(state: State) -> Self {
        let counts = Arc::clone(&state.counts) as Arc<dyn Measured>;
        Self {
            sources: state.sources,
            rates: Rates::default(),
            log: state.log,
            clock: state.clock,
            readiness: state.readiness,
            counts: state.counts,
            traces: state.traces,
            measured: std::iter::once(counts).chain(state.measured).collect(),
            tokens: state.tokens,
            body_bytes_max: state.body_bytes_max,
            posts: Arc::new(Semaphore::new(limits::POSTS_MAX)),
            budget: Arc::new(Semaphore::new(limits::BODY_BUDGET_BYTES)),
            draining: CancellationToken::new(),
        }
    }

    /// Returns the most bytes of a body, as it is now.
    fn body_bytes_max(&self) -> usize {
        self.body_bytes_max.load(Ordering::Acquire).min(limits::BODY_BYTES_MOST)
    }
}

/// Who may ask for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Who signs as the source's senders do.
    Signed,
    /// Anybody.
    Open,
    /// Who asks this machine directly, or has a token that sees all.
    Figures,
}

/// The routes, all of them, and who may ask for each. `server/docs/security.md` has the same table for people.
pub const ROUTES: [(&str, Access); 5] = [
    ("/webhooks/{source}", Access::Signed),
    // Some senders add a slash, and a redirect would lose the body of a post.
    ("/webhooks/{source}/", Access::Signed),
    ("/healthz", Access::Open),
    ("/readyz", Access::Open),
    ("/metrics", Access::Figures),
];

fn router(front: Arc<Front>) -> Router {
    let handler = |(path, access): (&'static str, Access)| {
        let handler = match (access, path) {
            (Access::Signed, _) => any(ingest::post),
            (Access::Open, "/healthz") => get(health::healthz),
            (Access::Open, _) => get(health::readyz),
            (Access::Figures, _) => get(metrics::metrics),
        };
        (path, handler)
    };
    let routes = ROUTES.into_iter().map(handler);
    routes
        .fold(Router::new(), |router, (path, handler)| router.route(path, handler))
        .method_not_allowed_fallback(answer::method_not_allowed)
        .fallback(answer::not_found)
        .with_state(front)
}

/// The address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listening for webhooks on `{address}`")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// The front, listening. Connections wait in the listener's queue until [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    front: Arc<Front>,
}

impl Server {
    /// Listens, with TLS or without.
    ///
    /// # Errors
    ///
    /// If the address is taken or not this machine's.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        state: State,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = transport::listen(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address: bound, tls, front: Arc::new(Front::new(state)) })
    }

    /// Returns the address, with the port that was chosen.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the group is told to stop, each connection as a task of the group, and returns when all are done.
    ///
    /// From then on: nothing is accepted; what comes over connections that are open is answered 503; posts in work are
    /// finished, bodies that still come in within 2 s; then the connections are closed. Posts stay as long as the log
    /// takes: the deadline of all is the group's.
    pub async fn run(self, group: Group) {
        let Self { listener, tls, front, .. } = self;
        let open = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
        let closing = CancellationToken::new();
        let router = router(Arc::clone(&front));
        loop {
            let accepted = tokio::select! {
                biased;
                () = group.stopping().cancelled() => break,
                accepted = accept(&listener, &open) => accepted,
            };
            let (stream, permit) = accepted;
            let (router, closing, tls) = (router.clone(), closing.clone(), tls.clone());
            let peer = Peer::at(stream.peer_addr().ok().map(|address| address.ip()));
            group.spawn(Kind::Contained, "http connection", async move {
                let opening = transport::open(stream, tls.as_deref());
                if let Some(Some(io)) = closing.run_until_cancelled(opening).await {
                    connection::serve(io, peer, router, closing).await;
                }
                drop(permit);
            });
        }
        drop(listener);
        front.draining.cancel();
        wait_for_all(&front.posts, limits::POSTS_MAX).await;
        closing.cancel();
        wait_for_all(&open, limits::CONNECTIONS_MAX).await;
    }
}

/// Accepts one connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    open: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = Arc::clone(open).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it an answer may wait for the sender's delayed acknowledgement of the one before.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "setting TCP_NODELAY");
                }
                return (stream, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection for webhooks");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits until nobody holds one of the permits.
async fn wait_for_all(permits: &Semaphore, count: usize) {
    let count = u32::try_from(count).expect("the limits are far below 2^32");
    drop(permits.acquire_many(count).await.expect("the semaphore is never closed"));
}
