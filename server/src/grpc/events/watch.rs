//! `WatchEvents`: the log as it grows, for looking. It reads at the watcher's pace and holds nothing up.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{Stream, stream};
use hookline_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::trial::Trial;
use crate::{
    broker::Sight,
    grpc::{Shared, convert, fields, fields::View, pending::Peer, status},
    limits::{LIST_WORK_MAX, WATCH_READ_BYTES, WATCH_READ_ENTRIES},
    store::{
        Entry, EventLog, ReadLimit,
        select::{Direction, Walk},
    },
};

/// How much of the log one read takes.
const READ: ReadLimit = ReadLimit { count: WATCH_READ_ENTRIES, bytes: WATCH_READ_BYTES };

/// One watcher's place in the log.
struct Watcher {
    log: Arc<dyn EventLog>,
    head: watch::Receiver<u64>,
    stop: CancellationToken,
    trial: Trial,
    view: View,
    /// Everything up to here was looked at, or is ahead.
    after: u64,
    ahead: VecDeque<Arc<Entry>>,
    /// Few calls of a connection read at a time.
    peer: Peer,
}

pub(super) async fn watch(
    shared: &Shared,
    sight: Sight,
    peer: Peer,
    request: v1::WatchEventsRequest,
) -> Result<impl Stream<Item = Result<v1::WatchEventsResponse, Status>> + use<>, Status> {
    let start = fields::start(request.start.as_ref())?;
    let broker = &shared.broker;
    let after = broker.resolve(start).await.map_err(|error| status::create_failed(&error))?;
    let mut trial = Trial::read(&request.patterns, &request.filter)?;
    trial.show(broker, sight);
    let watcher = Watcher {
        log: Arc::clone(broker.log()),
        head: broker.log().head(),
        stop: shared.stop.clone(),
        trial,
        view: fields::view(request.payload_view, request.max_payload_bytes)?,
        after,
        ahead: VecDeque::new(),
        peer,
    };
    Ok(stream::try_unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Ok(Some((v1::WatchEventsResponse { event: Some(event) }, watcher)))
    }))
}

impl Watcher {
    async fn next(&mut self) -> Result<v1::Event, Status> {
        loop {
            if !self.ahead.is_empty() {
                // Until the event that is found is handed on.
                let _loading = self.peer.load().await;
                while let Some(entry) = self.ahead.pop_front() {
                    if self.trial.takes(&*self.log, &entry).await? {
                        let event = convert::event(&*self.log, &entry, self.view).await;
                        return event.map_err(|error| status::read_failed(&error));
                    }
                }
            }
            self.wait().await?;
            let _loading = self.peer.load().await;
            let walk = Walk {
                range: self.after + 1..u64::MAX,
                direction: Direction::Forward,
                selection: Arc::clone(&self.trial.selection),
                limit: READ,
                work: LIST_WORK_MAX,
            };
            let found = self.log.select(walk).await;
            let found = found.map_err(|error| status::read_failed(&error))?;
            // What is skipped is not wanted, or was trimmed in the meantime.
            if found.rest.start <= self.after + 1 {
                return Err(status::unavailable("the log can't be read here yet"));
            }
            self.after = found.rest.start - 1;
            self.ahead.extend(found.entries);
        }
    }

    /// Waits until the log has more.
    async fn wait(&mut self) -> Result<(), Status> {
        let after = self.after;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(status::unavailable("the hub is stopping")),
            grown = self.head.wait_for(|head| after < *head) => match grown {
                Ok(_) => Ok(()),
                Err(_) => Err(status::unavailable("the store is closed")),
            },
        }
    }
}
