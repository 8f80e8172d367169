//! `SubscriberService`: streams of deliveries, and what agents say about them.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use hookline_core::{
    delivery::{self, LossReason, NackAction},
    event::SubscriptionName,
    pattern::PatternSet,
};
use hookline_proto::v1::{self, subscribe_response, subscriber_service_server::SubscriberService};
use tonic::{Request, Response, Status};

use super::{Shared, convert, fields, fields::View, status};
use crate::{
    broker::{
        Broker, CreateError, End, Extension, Identity, Inbox, Item, LeaseOutcome, NewSubscription,
        Settle, Start,
    },
    limits::{HELD_BYTES_MAX, SETTLE_BATCH_MAX},
};

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

/// A Subscribe request that was read.
struct Subscribe {
    name: Option<SubscriptionName>,
    consumer: Arc<str>,
    max_in_flight: u32,
    view: View,
    patterns: Option<PatternSet>,
    start: Start,
    start_is_given: bool,
    policy: delivery::Policy,
    given_policy: Option<v1::SubscriptionPolicy>,
}

impl Subscribe {
    fn read(request: v1::SubscribeRequest) -> Result<Self, Status> {
        fields::no_filter(&request.filter)?;
        let name = match request.subscription.as_str() {
            "" => None,
            name => Some(fields::subscription_name("subscription", name)?),
        };
        let patterns = fields::patterns("patterns", &request.patterns)?;
        if name.is_none() && patterns.is_none() {
            let problem = "an ephemeral subscription needs at least one pattern";
            return Err(status::invalid("patterns", problem));
        }
        Ok(Self {
            name,
            consumer: fields::consumer(&request.consumer)?,
            max_in_flight: fields::max_in_flight(request.max_in_flight)?,
            view: fields::view(request.payload_view, request.max_payload_bytes)?,
            patterns,
            start: fields::start(request.start.as_ref())?,
            start_is_given: request.start.is_some_and(|start| start.position.is_some()),
            policy: fields::policy(request.policy.as_ref())?,
            given_policy: request.policy,
        })
    }

    /// Refuses patterns that differ from those of the subscription that exists.
    fn compare(&self, identity: &Identity) -> Result<(), Status> {
        match &self.patterns {
            Some(given) if *given != identity.patterns => {
                Err(Status::failed_precondition(format!(
                    "`patterns`: subscription `{}` takes {}, the request says {given}",
                    identity.name, identity.patterns
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the fields that hold at creation only, and differ from the subscription.
    async fn ignored(&self, broker: &Broker, identity: &Identity) -> Vec<String> {
        let mut ignored = fields::differing(self.given_policy.as_ref(), &identity.policy);
        let start = if self.start_is_given { broker.resolve(self.start).await.ok() } else { None };
        if start.is_some_and(|start| start != identity.start_after) {
            ignored.insert(0, "start".to_owned());
        }
        ignored
    }

    /// Opens the stream; makes the subscription where it does not exist and the request says what it takes.
    async fn open(&self, broker: &Broker) -> Result<(Arc<Identity>, Inbox, Vec<String>), Status> {
        let Some(name) = &self.name else {
            let patterns = self.patterns.clone().expect("an ephemeral one has patterns");
            let consumer = Arc::clone(&self.consumer);
            let opened = broker
                .subscribe_ephemeral(
                    patterns,
                    self.start,
                    self.policy.clone(),
                    consumer,
                    self.max_in_flight,
                )
                .await;
            let (identity, inbox) = opened.map_err(|error| status::create_failed(&error))?;
            return Ok((identity, inbox, Vec::new()));
        };
        let mut made = false;
        if broker.identity(name).is_none() {
            made = self.create(broker, name).await?;
        }
        if let Some(identity) = broker.identity(name) {
            self.compare(&identity)?;
        }
        let opened = broker.subscribe(name, Arc::clone(&self.consumer), self.max_in_flight).await;
        let opened = opened.map_err(status::no_answer)?;
        // Deleted since it was looked up.
        let (identity, inbox) =
            opened.ok_or_else(|| status::unknown_subscription(name.as_str()))?;
        let ignored = if made { Vec::new() } else { self.ignored(broker, &identity).await };
        Ok((identity, inbox, ignored))
    }

    /// Makes the subscription; false if another request did so in the meantime.
    async fn create(&self, broker: &Broker, name: &SubscriptionName) -> Result<bool, Status> {
        let Some(patterns) = self.patterns.clone() else {
            return Err(status::unknown_subscription(name.as_str()));
        };
        let new = NewSubscription {
            name: name.clone(),
            patterns,
            start: self.start,
            policy: self.policy.clone(),
        };
        match broker.create(new).await {
            Ok(_) => Ok(true),
            Err(CreateError::Exists(_)) => Ok(false),
            Err(error) => Err(status::create_failed(&error)),
        }
    }
}

/// What turns items into messages.
struct Opened {
    broker: Broker,
    identity: Arc<Identity>,
    consumer: Arc<str>,
    view: View,
    ignored_fields: Vec<String>,
}

impl Opened {
    async fn message(&self, item: Result<Item, End>) -> Result<v1::SubscribeResponse, Status> {
        use subscribe_response::Message;
        let message = match item.map_err(|end| self.ended(end))? {
            Item::Ready { position, held } => Message::Ready(v1::Ready {
                subscription: self.identity.name.to_string(),
                consumer: self.consumer.as_ref().into(),
                policy: Some(convert::policy(&self.identity.policy)),
                position: Some(convert::position(position)),
                held: convert::held(self.broker.seal(), &self.identity, &held, HELD_BYTES_MAX),
                ignored_fields: self.ignored_fields.clone(),
            }),
            Item::Delivery { grant, entry } => {
                let event = convert::event(&**self.broker.log(), &entry, self.view).await;
                let event = event.map_err(|error| status::read_failed(&error))?;
                let seal = self.broker.seal();
                Message::Delivery(convert::delivery(seal, &self.identity, &grant, event))
            }
            Item::Heartbeat { position, counts } => Message::Heartbeat(v1::Heartbeat {
                position: Some(convert::position(position)),
                counts: Some(convert::counts(counts, position)),
            }),
            Item::LeaseLost { lease, event_id, reason } => Message::LeaseLost(v1::LeaseLost {
                lease_id: self.broker.seal().seal(&lease),
                event_id,
                reason: match reason {
                    LossReason::Expired => "the lease ran out".to_owned(),
                    LossReason::MaxLeaseReached => "the lease reached `max_lease`".to_owned(),
                },
            }),
            Item::Draining { grace } => {
                Message::Draining(v1::Draining { grace: Some(convert::duration(grace)) })
            }
        };
        Ok(v1::SubscribeResponse { message: Some(message) })
    }

    fn ended(&self, end: End) -> Status {
        match end {
            End::TakenOver => {
                Status::aborted(format!("a newer stream took over consumer `{}`", self.consumer))
            }
            End::Deleted => status::unknown_subscription(self.identity.name.as_str()),
            End::Unavailable => {
                status::unavailable("the hub is stopping or recovering; leases stay valid")
            }
        }
    }
}

#[tonic::async_trait]
impl SubscriberService for Service {
    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let broker = self.0.broker.clone();
        if broker.is_draining() {
            return Err(status::stopping());
        }
        let subscribe = Subscribe::read(request.into_inner())?;
        let (identity, inbox, ignored_fields) = subscribe.open(&broker).await?;
        tracing::info!(
            subscription = %identity.name, consumer = %subscribe.consumer,
            max_in_flight = subscribe.max_in_flight, "stream opened",
        );
        let (consumer, view) = (subscribe.consumer, subscribe.view);
        let opened = Arc::new(Opened { broker, identity, consumer, view, ignored_fields });
        let messages = inbox.then(move |item| {
            let opened = Arc::clone(&opened);
            async move { opened.message(item).await }
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn ack(
        &self,
        request: Request<v1::AckRequest>,
    ) -> Result<Response<v1::AckResponse>, Status> {
        let lease_ids = request.into_inner().lease_ids;
        check_batch("lease_ids", lease_ids.len())?;
        let items = lease_ids.iter().map(|id| (id.clone(), Settle::Ack)).collect();
        let outcomes = self.0.broker.settle(items).await;
        Ok(Response::new(v1::AckResponse { results: results(lease_ids, outcomes, "acked") }))
    }

    async fn nack(
        &self,
        request: Request<v1::NackRequest>,
    ) -> Result<Response<v1::NackResponse>, Status> {
        let nacks = request.into_inner().nacks;
        check_batch("nacks", nacks.len())?;
        let lease_ids = nacks.iter().map(|nack| nack.lease_id.clone()).collect();
        let mut items = Vec::with_capacity(nacks.len());
        for (index, nack) in nacks.into_iter().enumerate() {
            items.push((nack.lease_id.clone(), Settle::Nack(read_nack(index, nack)?)));
        }
        let outcomes = self.0.broker.settle(items).await;
        Ok(Response::new(v1::NackResponse { results: results(lease_ids, outcomes, "nacked") }))
    }

    async fn extend_lease(
        &self,
        request: Request<v1::ExtendLeaseRequest>,
    ) -> Result<Response<v1::ExtendLeaseResponse>, Status> {
        let extensions = request.into_inner().extensions;
        check_batch("extensions", extensions.len())?;
        let lease_ids: Vec<_> = extensions.iter().map(|item| item.lease_id.clone()).collect();
        let mut items = Vec::with_capacity(extensions.len());
        for (index, extension) in extensions.into_iter().enumerate() {
            let field = format!("extensions[{index}].duration");
            let duration = extension.duration.as_ref();
            let duration = duration.map(|value| fields::duration(&field, value)).transpose()?;
            let v1::LeaseExtension { lease_id, progress, .. } = extension;
            items.push(Extension { lease_id, duration, progress });
        }
        let outcomes = self.0.broker.extend(items).await;
        let results =
            lease_ids.into_iter().zip(outcomes).map(|(id, outcome)| extended(id, outcome));
        Ok(Response::new(v1::ExtendLeaseResponse { results: results.collect() }))
    }
}

fn check_batch(field: &str, count: usize) -> Result<(), Status> {
    if (1..=SETTLE_BATCH_MAX).contains(&count) {
        return Ok(());
    }
    Err(status::invalid(field, format!("has {count} items, 1 to {SETTLE_BATCH_MAX} are allowed")))
}

fn read_nack(index: usize, nack: v1::Nack) -> Result<delivery::Nack, Status> {
    let action = match v1::NackAction::try_from(nack.action) {
        Ok(v1::NackAction::Unspecified | v1::NackAction::Retry) => NackAction::Retry,
        Ok(v1::NackAction::DeadLetter) => NackAction::DeadLetter,
        Ok(v1::NackAction::Release) => NackAction::Release,
        Err(_) => {
            let problem = format!("{} is no action", nack.action);
            return Err(status::invalid(format!("nacks[{index}].action"), problem));
        }
    };
    let field = format!("nacks[{index}].retry_after");
    let retry_after = nack.retry_after.as_ref().map(|value| fields::duration(&field, value));
    Ok(delivery::Nack {
        action,
        reason: nack.reason,
        error_type: nack.error_type,
        retry_after: retry_after.transpose()?,
    })
}

fn results(
    lease_ids: Vec<String>,
    outcomes: Vec<LeaseOutcome<delivery::Outcome>>,
    what: &'static str,
) -> Vec<v1::SettleResult> {
    let result = |(lease_id, outcome): (String, LeaseOutcome<delivery::Outcome>)| {
        let (outcome, message) = explain(outcome);
        tracing::debug!(outcome = outcome.as_str_name(), "{what}");
        v1::SettleResult { lease_id, outcome: outcome.into(), message: message.to_owned() }
    };
    lease_ids.into_iter().zip(outcomes).map(result).collect()
}

fn extended(
    lease_id: String,
    outcome: LeaseOutcome<Result<hookline_core::time::Timestamp, delivery::Outcome>>,
) -> v1::ExtendResult {
    let (outcome, message, until) = match outcome {
        LeaseOutcome::Answered(Ok(until)) => (v1::Outcome::Applied, "", Some(until)),
        LeaseOutcome::Answered(Err(outcome)) => {
            let (outcome, message) = explain(LeaseOutcome::Answered(outcome));
            (outcome, message, None)
        }
        LeaseOutcome::Invalid => with_no_deadline(LeaseOutcome::Invalid),
        LeaseOutcome::Gone => with_no_deadline(LeaseOutcome::Gone),
        LeaseOutcome::Retry => with_no_deadline(LeaseOutcome::Retry),
    };
    v1::ExtendResult {
        lease_id,
        outcome: outcome.into(),
        message: message.to_owned(),
        lease_expires_at: until.map(convert::timestamp),
    }
}

fn with_no_deadline(
    outcome: LeaseOutcome<delivery::Outcome>,
) -> (v1::Outcome, &'static str, Option<hookline_core::time::Timestamp>) {
    let (outcome, message) = explain(outcome);
    (outcome, message, None)
}

fn explain(outcome: LeaseOutcome<delivery::Outcome>) -> (v1::Outcome, &'static str) {
    match outcome {
        LeaseOutcome::Answered(delivery::Outcome::Applied) => (v1::Outcome::Applied, ""),
        LeaseOutcome::Answered(delivery::Outcome::AlreadyApplied) => {
            (v1::Outcome::AlreadyApplied, "")
        }
        LeaseOutcome::Answered(delivery::Outcome::Conflict) => {
            (v1::Outcome::Conflict, "this lease said something else before, and that stands")
        }
        LeaseOutcome::Answered(delivery::Outcome::Stale) => {
            (v1::Outcome::Stale, "the lease had ended; nothing was changed")
        }
        LeaseOutcome::Gone => {
            (v1::Outcome::Stale, "the subscription was deleted; nothing was changed")
        }
        LeaseOutcome::Invalid => (v1::Outcome::Invalid, "not a lease id of this hub"),
        LeaseOutcome::Retry => (v1::Outcome::Retry, "not known to be written; send it again"),
    }
}
