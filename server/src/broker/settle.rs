//! What consumers say about leases, taken to the subscriptions that gave them.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use hookline_core::{
    delivery::{Creation, LeaseId, Outcome},
    time::Timestamp,
};
use tokio::sync::oneshot;

use super::{Broker, Handle, Message, Settle, Sight};
use crate::limits::SUBSCRIPTION_ANSWER_TIME_MAX;

/// A lease that needs more time.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The lease id, as it came.
    pub lease_id: String,
    /// From now; `None`: the policy's lease duration.
    pub duration: Option<Duration>,
    /// How far the work is, for people, at most [`crate::limits::PROGRESS_BYTES_MAX`]; empty: nothing new.
    pub progress: String,
    /// What the attempt saves of its work, at most [`hookline_core::delivery::record::CHECKPOINT_BYTES_MAX`]; `None`:
    /// nothing new.
    pub checkpoint: Option<Bytes>,
}

/// What became of one item of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOutcome<T> {
    /// The subscription's answer.
    Answered(T),
    /// Not a lease id of this hub.
    Invalid,
    /// A lease of a subscription that was deleted.
    Gone,
    /// Not known to be written.
    Retry,
}

impl<T> LeaseOutcome<T> {
    /// Applies a function to the subscription's answer, if there is one.
    pub fn map<U>(self, function: impl FnOnce(T) -> U) -> LeaseOutcome<U> {
        match self {
            Self::Answered(answer) => LeaseOutcome::Answered(function(answer)),
            Self::Invalid => LeaseOutcome::Invalid,
            Self::Gone => LeaseOutcome::Gone,
            Self::Retry => LeaseOutcome::Retry,
        }
    }
}

impl Broker {
    /// Settles leases, each on its own; answers in their order.
    pub async fn settle(&self, items: Vec<(String, Settle)>) -> Vec<LeaseOutcome<Outcome>> {
        self.route(items, |settles, reply| Message::Settle { settles, reply }).await
    }

    /// Extends leases, each on its own; answers in their order.
    pub async fn extend(
        &self,
        extensions: Vec<Extension>,
    ) -> Vec<LeaseOutcome<Result<Timestamp, Outcome>>> {
        let item = |mut extension: Extension| (std::mem::take(&mut extension.lease_id), extension);
        self.route(extensions.into_iter().map(item).collect(), |extensions, reply| {
            Message::Extend { extensions, reply }
        })
        .await
    }

    /// Takes away the lease ids of subscriptions that are out of sight, and of those that are gone: what is left in their
    /// places is not a lease id of this hub.
    pub fn mask<'a>(&self, sight: &Sight, lease_ids: impl IntoIterator<Item = &'a mut String>) {
        if sight.is_all() {
            return;
        }
        let mut shown = BTreeMap::new();
        for text in lease_ids {
            let Some(lease) = self.inner.seal.open(text) else { continue };
            let is_shown = *shown.entry(lease.creation).or_insert_with(|| {
                let handle = self.by_creation(lease.creation);
                handle.is_some_and(|handle| self.shows(sight, &handle.identity()))
            });
            if !is_shown {
                text.clear();
            }
        }
    }

    /// Asks each subscription about its leases, all at once, and puts the answers into the order of the items.
    async fn route<Q, A>(
        &self,
        items: Vec<(String, Q)>,
        message: impl Fn(Vec<(LeaseId, Q)>, oneshot::Sender<Vec<A>>) -> Message,
    ) -> Vec<LeaseOutcome<A>> {
        let mut outcomes: Vec<LeaseOutcome<A>> = Vec::with_capacity(items.len());
        let mut routes: BTreeMap<Creation, Route<Q>> = BTreeMap::new();
        for (place, (text, question)) in items.into_iter().enumerate() {
            let Some(lease) = self.inner.seal.open(&text) else {
                outcomes.push(LeaseOutcome::Invalid);
                continue;
            };
            outcomes.push(LeaseOutcome::Gone);
            if let Some(handle) = self.by_creation(lease.creation) {
                let route = routes.entry(lease.creation).or_insert_with(|| Route::to(handle));
                route.places.push(place);
                route.questions.push((lease, question));
            }
        }
        // First all are asked, then all are waited for: one slow subscription holds up only this request.
        let mut asked = Vec::with_capacity(routes.len());
        for route in routes.into_values() {
            let (reply, answer) = oneshot::channel();
            // Where the task is gone, the answer is an error too.
            drop(route.handle.mailbox.send(message(route.questions, reply)).await);
            asked.push((route.places, answer));
        }
        for (places, answer) in asked {
            let answers = tokio::time::timeout(SUBSCRIPTION_ANSWER_TIME_MAX, answer).await;
            let answers = answers.ok().and_then(Result::ok);
            let mut answers = answers.into_iter().flatten();
            for place in places {
                if let Some(outcome) = outcomes.get_mut(place) {
                    *outcome = answers.next().map_or(LeaseOutcome::Retry, LeaseOutcome::Answered);
                }
            }
        }
        outcomes
    }
}

/// The part of a batch that one subscription answers.
struct Route<Q> {
    handle: Handle,
    places: Vec<usize>,
    questions: Vec<(LeaseId, Q)>,
}

impl<Q> Route<Q> {
    fn to(handle: Handle) -> Self {
        Self { handle, places: Vec::new(), questions: Vec::new() }
    }
}
