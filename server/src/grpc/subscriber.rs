//! `SubscriberService`: streams of deliveries, and what agents say about them.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use hookline_core::{
    delivery::{
        self, LossReason, NackAction,
        record::{CHECKPOINT_BYTES_MAX, ERROR_TYPE_BYTES_MAX, REASON_BYTES_MAX},
    },
    event::SubscriptionName,
    filter::Filter,
    pattern::PatternSet,
    text::cut,
    time::Timestamp,
};
use hookline_proto::v1::{self, subscribe_response, subscriber_service_server::SubscriberService};
use tonic::{Request, Response, Status};

use super::{
    Shared, auth,
    codec::{Delivered, StreamMessage},
    convert, fields,
    fields::View,
    policy, status,
};
use crate::{
    auth::Scope,
    broker::{
        Background, Broker, CreateError, Current, End, Extension, Identity, Inbox, Item,
        LeaseOutcome, NewSubscription, Rule, Settle, Sight, Start,
    },
    limits::{HELD_BYTES_MAX, PROGRESS_BYTES_MAX, SETTLE_BATCH_MAX},
    store::Entry,
    traces::TRACEPARENT,
};

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

/// A Subscribe request that was read.
struct Subscribe {
    name: Option<SubscriptionName>,
    consumer: Arc<str>,
    /// 0 where the consumer only asks what it holds.
    max_in_flight: u32,
    held_only: bool,
    view: View,
    patterns: Option<PatternSet>,
    filter: Option<Filter>,
    start: Start,
    policy: delivery::Policy,
    given_policy: Option<v1::SubscriptionPolicy>,
}

impl Subscribe {
    fn read(request: v1::SubscribeRequest) -> Result<Self, Status> {
        let name = match request.subscription.as_str() {
            "" => None,
            name => Some(fields::subscription_name("subscription", name)?),
        };
        let patterns = fields::patterns("patterns", &request.patterns)?;
        if name.is_none() && patterns.is_none() {
            let problem = "an ephemeral subscription needs at least one pattern";
            return Err(status::invalid("patterns", problem));
        }
        if name.is_none() && request.held_only {
            return Err(status::invalid(
                "held_only",
                "an ephemeral subscription holds nothing yet",
            ));
        }
        let max_in_flight = fields::max_in_flight(request.max_in_flight)?;
        Ok(Self {
            name,
            consumer: fields::consumer(&request.consumer)?,
            max_in_flight: if request.held_only { 0 } else { max_in_flight },
            held_only: request.held_only,
            view: fields::view(request.payload_view, request.max_payload_bytes)?,
            patterns,
            filter: fields::filter("filter", &request.filter)?,
            start: fields::start(request.start.as_ref())?,
            policy: policy::read(request.policy.as_ref())?,
            given_policy: request.policy,
        })
    }

    /// Refuses patterns and a filter that differ from those of the subscription that exists.
    fn compare(&self, identity: &Identity) -> Result<(), Status> {
        let rule = &identity.rule;
        if let Some(given) = self.patterns.as_ref().filter(|given| **given != rule.patterns) {
            return Err(Status::failed_precondition(format!(
                "`patterns`: subscription `{}` takes {}, the request says {}",
                identity.name,
                status::shown(&rule.patterns),
                status::shown(given)
            )));
        }
        let given = self.filter.as_ref();
        match given.filter(|_| self.filter != rule.filter) {
            Some(given) => Err(Status::failed_precondition(format!(
                "`filter`: subscription `{}` has `{}`, the request says `{}`",
                identity.name,
                status::cut_short(rule.filter_text()),
                status::cut_short(given.text())
            ))),
            None => Ok(()),
        }
    }

    /// Returns the fields that hold at creation only, and differ from the subscription.
    async fn ignored(&self, broker: &Broker, identity: &Identity) -> Vec<String> {
        let mut ignored = policy::differing(self.given_policy.as_ref(), &identity.policy);
        // Where it can't be told, it is named: better once too often.
        if !fields::begins(broker, identity, self.start).await.unwrap_or(false) {
            ignored.insert(0, "start".to_owned());
        }
        ignored
    }

    /// Opens the stream; makes the subscription where it does not exist and the request says what it takes.
    async fn open(
        &self,
        broker: &Broker,
        sight: &Sight,
    ) -> Result<(Current, Inbox, Vec<String>), Status> {
        if let Some(patterns) = &self.patterns
            && !broker.shows_all_of(sight, patterns)
        {
            return Err(status::out_of_scope(Scope::Subscribe, patterns));
        }
        let Some(name) = &self.name else {
            let rule = self.rule().expect("an ephemeral one has patterns");
            let consumer = Arc::clone(&self.consumer);
            let opened = broker
                .subscribe_ephemeral(
                    rule,
                    self.start,
                    self.policy.clone(),
                    consumer,
                    self.max_in_flight,
                )
                .await;
            let (current, inbox) = opened.map_err(|error| status::create_failed(&error))?;
            return Ok((current, inbox, Vec::new()));
        };
        let mut made = false;
        if broker.identity(name).is_none() {
            made = self.create(broker, name).await?;
        }
        let is_shown = |identity: &Identity| {
            let unknown = || status::unknown_subscription(name.as_str());
            broker.shows(sight, identity).then_some(()).ok_or_else(unknown)
        };
        if let Some(identity) = broker.identity(name) {
            is_shown(&identity)?;
            self.compare(&identity)?;
        }
        let opened = broker.subscribe(name, Arc::clone(&self.consumer), self.max_in_flight).await;
        let opened = opened.map_err(status::no_stream)?;
        // Deleted since it was looked up.
        let (current, inbox) = opened.ok_or_else(|| status::unknown_subscription(name.as_str()))?;
        let identity = current.identity();
        // Or deleted and made anew: then this one was not compared. Without its inbox the stream is over.
        is_shown(&identity)?;
        self.compare(&identity)?;
        let ignored = if made { Vec::new() } else { self.ignored(broker, &identity).await };
        Ok((current, inbox, ignored))
    }

    /// Returns what a subscription takes that the request makes; `None` if it makes none.
    fn rule(&self) -> Option<Rule> {
        let patterns = self.patterns.clone()?;
        Some(Rule { patterns, filter: self.filter.clone() })
    }

    /// Makes the subscription; false if another request did so in the meantime.
    async fn create(&self, broker: &Broker, name: &SubscriptionName) -> Result<bool, Status> {
        let Some(rule) = self.rule() else {
            return Err(status::unknown_subscription(name.as_str()));
        };
        let new = NewSubscription {
            name: name.clone(),
            rule,
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
    current: Current,
    consumer: Arc<str>,
    view: View,
    ignored_fields: Vec<String>,
    sight: Sight,
}

impl Opened {
    /// Returns the message that an item becomes; `None` for what is out of the consumer's sight: a subscription may hold
    /// events of patterns that it has had and forgotten, by a redrive for one. Those are given back. A subscription that
    /// was changed so that it is out of sight itself is not there any more.
    async fn seen(&self, item: Result<Item, End>) -> Option<Result<StreamMessage, Status>> {
        let is_shown =
            |entry: &Arc<Entry>| self.broker.shows_event(&self.sight, &entry.event.content);
        let is_known = self.broker.shows(&self.sight, &self.current.identity());
        let item = match item {
            Ok(Item::Delivery { grant, entry, .. }) if !is_known || !is_shown(&entry) => {
                self.give_back(&grant).await;
                if is_known {
                    return None;
                }
                Err(End::Deleted)
            }
            Ok(_) if !is_known => Err(End::Deleted),
            Ok(Item::Ready { position, mut held }) => {
                held.retain(|(_, entry, _)| is_shown(entry));
                Ok(Item::Ready { position, held })
            }
            item @ (Ok(
                Item::Delivery { .. }
                | Item::Newer { .. }
                | Item::Heartbeat { .. }
                | Item::LeaseLost { .. }
                | Item::Draining { .. },
            )
            | Err(_)) => item,
        };
        Some(self.message(item).await)
    }

    async fn message(&self, item: Result<Item, End>) -> Result<StreamMessage, Status> {
        use subscribe_response::Message;
        // As it is now: a changed policy holds for what is handed out from then on.
        let identity = self.current.identity();
        let message = match item.map_err(|end| self.ended(end))? {
            Item::Ready { position, held } => Message::Ready(v1::Ready {
                subscription: identity.name.to_string(),
                consumer: self.consumer.as_ref().into(),
                policy: Some(convert::policy(&identity.policy)),
                position: Some(convert::position(position)),
                held: self.held(&identity, &held),
                ignored_fields: self.ignored_fields.clone(),
            }),
            Item::Delivery { grant, entry, background } => {
                let log = &**self.broker.log();
                let payload = match convert::payload(log, &entry, self.view).await {
                    Ok(payload) => payload,
                    Err(error) => {
                        self.give_back(&grant).await;
                        return Err(status::read_failed(&error));
                    }
                };
                let seal = self.broker.seal();
                let mut delivery = convert::delivery(seal, &identity, &grant, &background);
                delivery.traceparent = self.traceparent(&grant, &entry);
                return Ok(StreamMessage::Delivery(Box::new(Delivered {
                    delivery,
                    entry,
                    payload,
                })));
            }
            Item::Newer { lease, event_id, newest, count } => Message::Newer(v1::Newer {
                lease_id: self.broker.seal().seal(&lease),
                event_id,
                newest_sequence: newest.get(),
                count,
            }),
            Item::Heartbeat { position, counts, hold } => {
                let (hold, hold_until) = convert::hold(hold);
                Message::Heartbeat(v1::Heartbeat {
                    position: Some(convert::position(position)),
                    counts: Some(convert::counts(counts, position)),
                    hold: hold.into(),
                    hold_until,
                })
            }
            Item::LeaseLost { lease, event_id, reason } => Message::LeaseLost(v1::LeaseLost {
                lease_id: self.broker.seal().seal(&lease),
                event_id,
                reason: match reason {
                    LossReason::Expired => "the lease ran out".to_owned(),
                    LossReason::MaxLeaseReached => "the lease reached `max_lease`".to_owned(),
                    LossReason::Sought => "the subscription's position was moved".to_owned(),
                },
            }),
            Item::Draining { grace } => {
                Message::Draining(v1::Draining { grace: Some(convert::duration(grace)) })
            }
        };
        Ok(StreamMessage::Other(Box::new(v1::SubscribeResponse { message: Some(message) })))
    }

    fn held(
        &self,
        identity: &Identity,
        held: &[(delivery::Grant, Arc<Entry>, Background)],
    ) -> Vec<v1::Delivery> {
        let mut deliveries = convert::held(self.broker.seal(), identity, held, HELD_BYTES_MAX);
        for (delivery, (grant, entry, _)) in deliveries.iter_mut().zip(held) {
            delivery.traceparent = self.traceparent(grant, entry);
        }
        deliveries
    }

    /// Returns the place in a trace of what an agent does in an attempt.
    fn traceparent(&self, grant: &delivery::Grant, entry: &Entry) -> String {
        let of_event = entry.event.content.metadata.get(TRACEPARENT);
        self.broker.traces().of_attempt(of_event, &grant.lease)
    }

    /// Gives a delivery back that could not be made into a message: the consumer never saw it, so it counts nothing.
    async fn give_back(&self, grant: &delivery::Grant) {
        let release = Settle::Nack(delivery::Nack {
            action: NackAction::Release,
            reason: String::new(),
            error_type: String::new(),
            retry_after: None,
        });
        let lease = self.broker.seal().seal(&grant.lease);
        // If that fails too, the lease ends as any other that is not heard of.
        drop(self.broker.settle(vec![(lease, release)]).await);
    }

    fn ended(&self, end: End) -> Status {
        match end {
            End::TakenOver => {
                Status::aborted(format!("a newer stream took over consumer `{}`", self.consumer))
            }
            End::Deleted | End::Unused => {
                status::unknown_subscription(self.current.identity().name.as_str())
            }
            End::Unavailable => {
                status::unavailable("the hub is stopping or recovering; leases stay valid")
            }
        }
    }
}

/// The messages of a stream.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<StreamMessage, Status>> + Send>>;

impl Service {
    /// Opens a stream.
    pub(super) async fn open(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Messages>, Status> {
        let sight = auth::caller(&request)?.works_on();
        let broker = self.0.broker.clone();
        if broker.is_draining() {
            return Err(status::stopping());
        }
        let subscribe = Subscribe::read(request.into_inner())?;
        let (current, inbox, ignored_fields) = subscribe.open(&broker, &sight).await?;
        tracing::info!(
            subscription = %current.identity().name, consumer = %subscribe.consumer,
            max_in_flight = subscribe.max_in_flight, "stream opened",
        );
        // `ready` is the first of all messages.
        let count = if subscribe.held_only { 1 } else { usize::MAX };
        let (consumer, view) = (subscribe.consumer, subscribe.view);
        let opened = Arc::new(Opened { broker, current, consumer, view, ignored_fields, sight });
        let messages = inbox.take(count).filter_map(move |item| {
            let opened = Arc::clone(&opened);
            async move { opened.seen(item).await }
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

#[tonic::async_trait]
impl SubscriberService for Service {
    type SubscribeStream = stream::Empty<Result<v1::SubscribeResponse, Status>>;

    /// Not called: [`super::streams`] takes these calls, and has them answered by [`Service::open`].
    async fn subscribe(
        &self,
        _: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::internal("`Subscribe` came to the wrong place"))
    }

    async fn ack(
        &self,
        request: Request<v1::AckRequest>,
    ) -> Result<Response<v1::AckResponse>, Status> {
        let sight = auth::caller(&request)?.works_on();
        let lease_ids = request.into_inner().lease_ids;
        check_batch("lease_ids", lease_ids.len())?;
        let mut items: Vec<_> = lease_ids.iter().map(|id| (id.clone(), Settle::Ack)).collect();
        self.0.broker.mask(&sight, items.iter_mut().map(|(id, _)| id));
        let outcomes = self.0.broker.settle(items).await;
        Ok(Response::new(v1::AckResponse { results: results(lease_ids, outcomes, "acked") }))
    }

    async fn nack(
        &self,
        request: Request<v1::NackRequest>,
    ) -> Result<Response<v1::NackResponse>, Status> {
        let sight = auth::caller(&request)?.works_on();
        let nacks = request.into_inner().nacks;
        check_batch("nacks", nacks.len())?;
        let lease_ids = nacks.iter().map(|nack| nack.lease_id.clone()).collect();
        let mut items = Vec::with_capacity(nacks.len());
        for (index, nack) in nacks.into_iter().enumerate() {
            items.push((nack.lease_id.clone(), Settle::Nack(read_nack(index, nack)?)));
        }
        self.0.broker.mask(&sight, items.iter_mut().map(|(id, _)| id));
        let outcomes = self.0.broker.settle(items).await;
        Ok(Response::new(v1::NackResponse { results: results(lease_ids, outcomes, "nacked") }))
    }

    async fn extend_lease(
        &self,
        request: Request<v1::ExtendLeaseRequest>,
    ) -> Result<Response<v1::ExtendLeaseResponse>, Status> {
        let sight = auth::caller(&request)?.works_on();
        let extensions = request.into_inner().extensions;
        check_batch("extensions", extensions.len())?;
        let lease_ids: Vec<_> = extensions.iter().map(|item| item.lease_id.clone()).collect();
        let mut items = Vec::with_capacity(extensions.len());
        for (index, extension) in extensions.into_iter().enumerate() {
            let field = format!("extensions[{index}].duration");
            let duration = extension.duration.as_ref();
            let duration = duration.map(|value| fields::duration(&field, value)).transpose()?;
            let v1::LeaseExtension { lease_id, progress, checkpoint, .. } = extension;
            let progress = cut(progress, PROGRESS_BYTES_MAX);
            let len = checkpoint.as_ref().map_or(0, bytes::Bytes::len);
            if CHECKPOINT_BYTES_MAX < len {
                let problem = format!("has {len} bytes, at most {CHECKPOINT_BYTES_MAX} are kept");
                return Err(status::invalid(format!("extensions[{index}].checkpoint"), problem));
            }
            items.push(Extension { lease_id, duration, progress, checkpoint });
        }
        self.0.broker.mask(&sight, items.iter_mut().map(|item| &mut item.lease_id));
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
        reason: cut(nack.reason, REASON_BYTES_MAX),
        error_type: cut(nack.error_type, ERROR_TYPE_BYTES_MAX),
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
        // What was applied is told with its event, by the subscription.
        if outcome != v1::Outcome::Applied {
            tracing::debug!(lease_id, outcome = outcome.as_str_name(), what, "nothing was settled");
        }
        v1::SettleResult { lease_id, outcome: outcome.into(), message: message.to_owned() }
    };
    lease_ids.into_iter().zip(outcomes).map(result).collect()
}

fn extended(
    lease_id: String,
    outcome: LeaseOutcome<Result<Timestamp, delivery::Outcome>>,
) -> v1::ExtendResult {
    let until = match outcome {
        LeaseOutcome::Answered(answer) => answer.ok(),
        LeaseOutcome::Invalid | LeaseOutcome::Gone | LeaseOutcome::Retry => None,
    };
    let outcome = outcome.map(|answer| answer.err().unwrap_or(delivery::Outcome::Applied));
    let (outcome, message) = explain(outcome);
    v1::ExtendResult {
        lease_id,
        outcome: outcome.into(),
        message: message.to_owned(),
        lease_expires_at: until.map(convert::timestamp),
    }
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

#[cfg(test)]
mod tests {
    use hookline_core::delivery::Creation;

    use super::*;

    #[test]
    fn patterns_are_compared_as_sets_where_they_are_given() {
        let takes = |patterns: &[&str]| Identity {
            creation: Creation(1),
            name: SubscriptionName::parse("work").unwrap(),
            rule: Rule { patterns: PatternSet::parse(patterns).unwrap(), filter: None },
            earlier: Vec::new(),
            look_back: None,
            policy: delivery::Policy::default(),
            pause: delivery::Pause::Off,
            created_at: Timestamp::EPOCH,
            start_after: 0,
        };
        let asks = |patterns: &[&str]| {
            let request = v1::SubscribeRequest {
                subscription: "work".to_owned(),
                patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
                ..v1::SubscribeRequest::default()
            };
            Subscribe::read(request).unwrap()
        };
        asks(&[]).compare(&takes(&["github"])).unwrap();
        asks(&["stripe", "github/"]).compare(&takes(&["github", "stripe"])).unwrap();
        let other = asks(&["github"]).compare(&takes(&["stripe"])).unwrap_err();
        assert_eq!(other.code(), tonic::Code::FailedPrecondition);
        // It says both, and fits the headers that statuses travel in.
        let many: Vec<_> =
            (0..90).map(|number| format!("github/{}{number}", "x".repeat(200))).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let refused = asks(&many).compare(&takes(&["stripe/push"])).unwrap_err();
        assert!(refused.message().contains("takes stripe/push, "), "{refused}");
        assert!(refused.message().len() < 2 * 1_024 + 200, "{refused}");
    }

    #[test]
    fn a_nack_is_cut_to_what_is_kept_of_it() {
        let long = "x".repeat(10_000);
        let nack = v1::Nack { reason: long.clone(), error_type: long, ..v1::Nack::default() };
        let nack = read_nack(0, nack).unwrap();
        assert_eq!((nack.reason.len(), nack.error_type.len()), (4_096, 256));
    }

    #[test]
    fn an_extension_says_the_deadline_only_if_it_was_applied() {
        let result = |outcome| {
            let result = extended("lease".to_owned(), outcome);
            (result.outcome(), result.lease_expires_at.is_some())
        };
        let applied = LeaseOutcome::Answered(Ok(Timestamp::EPOCH));
        assert_eq!(result(applied), (v1::Outcome::Applied, true));
        let stale = LeaseOutcome::Answered(Err(delivery::Outcome::Stale));
        assert_eq!(result(stale), (v1::Outcome::Stale, false));
        assert_eq!(result(LeaseOutcome::Gone), (v1::Outcome::Stale, false));
        assert_eq!(result(LeaseOutcome::Invalid), (v1::Outcome::Invalid, false));
        assert_eq!(result(LeaseOutcome::Retry), (v1::Outcome::Retry, false));
    }
}
