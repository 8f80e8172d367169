//! The tasks that keep leases alive and that send acks and nacks, as long as there are any.

use std::{future::Future, sync::Arc};

use hookline_proto::v1::{self, subscriber_service_client::SubscriberServiceClient};
use tokio::sync::Notify;
use tonic::Status;

use crate::{
    LeaseError, Transport,
    backoff::Backoff,
    book::Book,
    clock, error, limits,
    outbox::{Outbox, Settlement, Waiting, outcome_of},
    shared::{Shared, in_time},
};

/// Extends each lease at a third of its duration, until none is left after a close.
pub(crate) async fn extend(shared: Arc<Shared>) {
    loop {
        let due = shared.book.lock().next_wake();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.all_done.cancelled() => return,
            () = shared.leases.notified() => {}
            () = wait => {}
        }
        let extensions = shared.book.lock().take_due(clock::now());
        if let Err(status) = shared.extend(extensions).await {
            tracing::debug!(%status, "could not extend leases, will try again");
        }
    }
}

/// A kind of settlement: where it waits, who is woken, how it is sent.
pub(crate) trait Kind: Settlement + Send + Sync + 'static {
    fn outbox(book: &mut Book) -> &mut Outbox<Self>;
    fn notify(shared: &Shared) -> &Notify;
    fn send(
        hub: SubscriberServiceClient<Transport>,
        batch: Vec<Self>,
    ) -> impl Future<Output = Result<Vec<v1::SettleResult>, Status>> + Send;
}

impl Kind for String {
    fn outbox(book: &mut Book) -> &mut Outbox<Self> {
        &mut book.acks
    }

    fn notify(shared: &Shared) -> &Notify {
        &shared.acks
    }

    async fn send(
        mut hub: SubscriberServiceClient<Transport>,
        batch: Vec<Self>,
    ) -> Result<Vec<v1::SettleResult>, Status> {
        let request = v1::AckRequest { lease_ids: batch };
        Ok(hub.ack(request).await?.into_inner().results)
    }
}

impl Kind for v1::Nack {
    fn outbox(book: &mut Book) -> &mut Outbox<Self> {
        &mut book.nacks
    }

    fn notify(shared: &Shared) -> &Notify {
        &shared.nacks
    }

    async fn send(
        mut hub: SubscriberServiceClient<Transport>,
        batch: Vec<Self>,
    ) -> Result<Vec<v1::SettleResult>, Status> {
        let request = v1::NackRequest { nacks: batch };
        Ok(hub.nack(request).await?.into_inner().results)
    }
}

/// Sends what waits, in batches, one call at a time: what comes meanwhile makes the next batch. What
/// got no answer is sent again under the same lease ids, which is safe.
pub(crate) async fn settle<K: Kind>(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(limits::RETRY_DELAY_MIN, limits::RETRY_DELAY_MAX);
    loop {
        // Workers that are ready to run may have something for the same batch.
        tokio::task::yield_now().await;
        let batch = K::outbox(&mut shared.book.lock()).take_batch();
        if batch.is_empty() {
            tokio::select! {
                biased;
                () = shared.all_done.cancelled() => return,
                () = K::notify(&shared).notified() => {}
            }
            continue;
        }
        let request = batch.iter().map(|waiting| waiting.what.clone()).collect();
        let answer = in_time(K::send(shared.hub.clone(), request)).await;
        if conclude(&shared, batch, answer) {
            backoff.reset();
        } else {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Tells each waiter its outcome and puts back what has to be sent again; returns whether there is
/// nothing of that.
fn conclude<K: Kind>(
    shared: &Shared,
    batch: Vec<Waiting<K>>,
    answer: Result<Vec<v1::SettleResult>, Status>,
) -> bool {
    let mut told = Vec::with_capacity(batch.len());
    let mut again = Vec::new();
    match answer {
        Ok(results) => {
            // An answer that is too short tells nothing about the rest.
            let mut results = results.into_iter();
            for waiting in batch {
                match results.next().and_then(outcome_of) {
                    Some(outcome) => told.push((waiting, outcome)),
                    None => again.push(waiting),
                }
            }
        }
        Err(status) if error::is_passing(status.code()) => {
            tracing::debug!(%status, count = batch.len(), "could not settle, will try again");
            again = batch;
            again.iter_mut().for_each(|waiting| waiting.failed(&status));
        }
        Err(status) => {
            let source = Box::new(status);
            let refused = || Err(LeaseError::Refused { source: source.clone() });
            told.extend(batch.into_iter().map(|waiting| (waiting, refused())));
        }
    }
    let (all_well, now) = (again.is_empty(), clock::now());
    let late = shared.change(|book| {
        let late = K::outbox(book).put_back(again, now);
        let over = told.iter().map(|(waiting, _)| waiting).chain(&late);
        over.for_each(|waiting| {
            book.settling.remove(waiting.what.lease_id());
        });
        late
    });
    told.into_iter().for_each(|(waiting, outcome)| waiting.answer(outcome));
    late.into_iter().for_each(|waiting| waiting.give_up(now));
    all_well
}
