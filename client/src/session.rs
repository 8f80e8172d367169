//! The task that keeps the stream of one subscription open, and comes back when it breaks.

use std::sync::Arc;

use hookline_proto::v1::{
    NackAction, Ready, StartPosition, SubscribeRequest, SubscribeResponse,
    start_position::Position, subscribe_response::Message,
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::{
    Error,
    backoff::Backoff,
    book::Closing,
    clock,
    convert::duration_of,
    error, limits,
    shared::{Shared, Verdict, in_time, nack},
};

/// The stream of one subscription.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    request: SubscribeRequest,
    ephemeral: bool,
    closing: Closing,
}

impl Session {
    pub(crate) const fn new(shared: Arc<Shared>, request: SubscribeRequest) -> Self {
        let ephemeral = request.subscription.is_empty();
        Self { shared, request, ephemeral, closing: Closing::Late }
    }

    /// Opens the stream for the first time; comes back, with growing waits, for as long as
    /// `patience` if the hub can't be reached.
    pub(crate) async fn begin(
        &mut self,
        patience: std::time::Duration,
    ) -> Result<(Ready, Streaming<SubscribeResponse>), Error> {
        let started = clock::now();
        let mut backoff = Backoff::new(limits::RECONNECT_DELAY_MIN, limits::RECONNECT_DELAY_MAX);
        loop {
            let status = match self.open().await {
                Ok((ready, stream)) => {
                    let scanned = ready.position.as_ref().map_or(0, |position| position.scanned);
                    let mut book = self.shared.book.lock();
                    book.resume_at(scanned.saturating_add(1));
                    if self.ephemeral {
                        book.note_unfinished();
                    }
                    drop(book);
                    return Ok((ready, stream));
                }
                Err(status) => status,
            };
            let waited = clock::now().saturating_duration_since(started);
            if !error::is_passing(status.code()) || waited >= patience {
                return Err(self.error(status));
            }
            tracing::info!(%status, "could not subscribe yet, will try again");
            tokio::time::sleep(backoff.next_delay().min(patience.saturating_sub(waited))).await;
        }
    }

    /// Returns how this subscription is best closed while leases are still worked on.
    pub(crate) const fn closing(&self) -> Closing {
        self.closing
    }

    /// Takes what comes until the stream is to be closed, or ends for good.
    pub(crate) async fn run(mut self, stream: Streaming<SubscribeResponse>) {
        let done = self.shared.stream_done.clone();
        let error = done.run_until_cancelled(self.keep(stream)).await;
        if error.is_none() && !self.ephemeral {
            self.look_back().await;
        }
        self.shared.end(error, self.closing);
    }

    /// Asks once more what this consumer holds, and gives back what was on its way when the stream
    /// was closed: otherwise each stop would cost some events an attempt, when the hub takes the
    /// consumer for lost.
    async fn look_back(&mut self) {
        self.request.held_only = true;
        if let Err(status) = in_time(self.open()).await {
            tracing::debug!(%status, "could not ask what is still held");
        }
    }

    /// Returns why there is no coming back.
    async fn keep(&mut self, mut stream: Streaming<SubscribeResponse>) -> Error {
        let mut backoff = Backoff::new(limits::RECONNECT_DELAY_MIN, limits::RECONNECT_DELAY_MAX);
        loop {
            let mut status = self.pump(stream, &mut backoff).await;
            stream = loop {
                if !error::is_passing(status.code()) {
                    return self.error(status);
                }
                let delay = backoff.next_delay();
                tracing::info!(%status, ?delay, "the stream of deliveries broke, will reconnect");
                tokio::time::sleep(delay).await;
                match self.reopen().await {
                    Ok(stream) => break stream,
                    Err(failure) => status = failure,
                }
            };
        }
    }

    /// Takes messages until the stream breaks, and closes it; returns why it did.
    async fn pump(
        &self,
        mut stream: Streaming<SubscribeResponse>,
        backoff: &mut Backoff,
    ) -> Status {
        loop {
            let message = match timeout(limits::SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Status::unavailable("the hub closed the stream"),
                Ok(Err(status)) => return status,
                Err(_) => return Status::unavailable("the stream was silent for too long"),
            };
            // Not after `ready` alone: a hub that fails right after it would be called in a loop.
            backoff.reset();
            self.take(message.message);
        }
    }

    fn take(&self, message: Option<Message>) {
        match message {
            Some(Message::Delivery(delivery)) => {
                if self.shared.change(|book| book.receive(delivery, clock::now())) {
                    self.shared.leases.notify_one();
                }
            }
            Some(Message::LeaseLost(lost)) => {
                self.shared.change(|book| book.lose(&lost.lease_id, &lost.reason));
            }
            Some(Message::Newer(newer)) => {
                let (count, newest) = (newer.count, newer.newest_sequence);
                self.shared.book.lock().tell_newer(&newer.lease_id, count, newest);
            }
            Some(Message::Draining(_)) => {
                tracing::info!("the hub is stopping, will reconnect when it has closed the stream");
            }
            Some(Message::Heartbeat(heartbeat)) => {
                if let Some(position) = heartbeat.position {
                    self.shared.book.lock().finished_through(position.done_floor);
                }
            }
            // A second `ready`, or a message of a later version: a sign of life all the same.
            Some(Message::Ready(_)) | None => {}
        }
    }

    /// Extends what is held, so that the hub keeps it, and only then subscribes again.
    async fn reopen(&mut self) -> Result<Streaming<SubscribeResponse>, Status> {
        let held = self.shared.book.lock().take_all(clock::now());
        if let Err(status) = self.shared.extend(held).await {
            if error::is_passing(status.code()) {
                return Err(status);
            }
            tracing::warn!(%status, "could not extend leases before subscribing again");
        }
        if !self.ephemeral {
            return Ok(self.open().await?.1);
        }
        // The hub has forgotten the subscription with its stream: a new one goes on at the first
        // event that is not finished.
        let next = self.shared.book.lock().resume_sequence();
        self.request.start = Some(StartPosition { position: Some(Position::Sequence(next)) });
        let (_, stream) = self.open().await?;
        self.shared.book.lock().resume_at(next);
        Ok(stream)
    }

    /// Subscribes and takes `ready`.
    async fn open(&mut self) -> Result<(Ready, Streaming<SubscribeResponse>), Status> {
        let request = self.request.clone();
        let mut hub = self.shared.hub.clone();
        let opening = async {
            let mut stream = hub.subscribe(request).await?.into_inner();
            match stream.message().await?.and_then(|message| message.message) {
                Some(Message::Ready(ready)) => Ok((ready, stream)),
                Some(_) => Err(Status::internal("the first message was not `ready`")),
                None => Err(Status::unavailable("the hub closed the stream before `ready`")),
            }
        };
        let late = |_| Status::deadline_exceeded("the hub was not ready in time");
        let (ready, stream) = timeout(limits::READY_TIMEOUT, opening).await.map_err(late)??;
        self.note_ready(&ready);
        Ok((ready, stream))
    }

    fn note_ready(&mut self, ready: &Ready) {
        if !self.ephemeral {
            // The subscription exists. If it is deleted it is not for us to bring it back.
            self.request.patterns.clear();
            self.request.filter.clear();
            self.request.start = None;
            self.request.policy = None;
        }
        self.request.consumer.clone_from(&ready.consumer);
        self.closing = self.closing_under(ready);
        let unknown = self.shared.change(|book| book.reconcile(&ready.held));
        if self.shared.book.lock().is_closing() {
            return self.shared.release(unknown);
        }
        for lease_id in unknown {
            let reason = "the process that held this lease is gone: its successor under the same \
                          consumer name does not know it";
            let nack = nack(&lease_id, NackAction::Retry, reason.into(), "process_lost".into());
            self.shared.settle_unheard(&lease_id, Verdict::Nack(nack));
        }
    }

    fn closing_under(&self, ready: &Ready) -> Closing {
        let grace = ready.policy.as_ref().and_then(|policy| policy.reconnect_grace.as_ref());
        match grace.and_then(duration_of) {
            Some(grace) if !self.ephemeral && grace >= limits::RECONNECT_GRACE_MIN => {
                Closing::Early { interval_max: grace / 3 }
            }
            _ => Closing::Late,
        }
    }

    fn error(&self, status: Status) -> Error {
        Error::of_stream(&self.request.subscription, &self.request.consumer, status)
    }
}
