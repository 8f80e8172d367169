//! What operators do to subscriptions, and look at; and events about resources for them to look at.

use std::time::Duration;

use hookline_proto::v1::{
    CreateSubscriptionRequest, DeliveryState, DeliveryStatus, ListDeliveriesRequest,
    PauseSubscriptionRequest, PublishEventRequest, PublishEventResponse, ReplayEventsRequest,
    ReplayEventsResponse, ResumeSubscriptionRequest, SeekSubscriptionRequest,
    SeekSubscriptionResponse, StartPosition, SubscribeRequest, Subscription, SubscriptionPolicy,
    UpdateSubscriptionRequest, start_position::Position,
};
use tonic::{Code, Status};

use crate::{
    agent::{Agent, everything},
    hub::soon,
};

/// Returns a time of the wire, since the epoch.
pub(crate) fn time(since: Duration) -> prost_types::Timestamp {
    let seconds = i64::try_from(since.as_secs()).unwrap();
    prost_types::Timestamp { seconds, nanos: i32::try_from(since.subsec_nanos()).unwrap() }
}

/// Returns a place in the log.
pub(crate) const fn place(position: Position) -> StartPosition {
    StartPosition { position: Some(position) }
}

/// Subscribes the consumer `one` to everything under this policy, with room for many.
pub(crate) fn working(subscription: &str, policy: SubscriptionPolicy) -> SubscribeRequest {
    SubscribeRequest { policy: Some(policy), max_in_flight: Some(100), ..everything(subscription) }
}

/// Subscribes the consumer `one` to what exists, with room for one.
pub(crate) fn again(subscription: &str) -> SubscribeRequest {
    SubscribeRequest {
        subscription: subscription.to_owned(),
        consumer: "one".to_owned(),
        ..Default::default()
    }
}

/// Creates a subscription as the request to subscribe would.
pub(crate) fn creating(request: SubscribeRequest) -> CreateSubscriptionRequest {
    CreateSubscriptionRequest {
        name: request.subscription,
        patterns: request.patterns,
        filter: request.filter,
        start: request.start,
        policy: request.policy,
    }
}

impl Agent {
    /// Publishes an event about a resource; empty: about none.
    pub(crate) async fn publish_about(&self, resource: &str) -> PublishEventResponse {
        self.publish_with(resource, r#"{"pages": 12}"#).await
    }

    /// As [`Agent::publish_about`], with this payload.
    pub(crate) async fn publish_with(&self, resource: &str, payload: &str) -> PublishEventResponse {
        let request = PublishEventRequest {
            event_type: "page.changed".to_owned(),
            resource_type: if resource.is_empty() { String::new() } else { "page".to_owned() },
            resource_id: resource.to_owned(),
            payload: payload.as_bytes().to_vec().into(),
            ..Default::default()
        };
        self.try_publish(request).await.unwrap()
    }

    /// Publishes an event for each resource, in order.
    pub(crate) async fn publish_each<'a>(
        &self,
        resources: impl IntoIterator<Item = &'a str>,
    ) -> Vec<PublishEventResponse> {
        let mut published = Vec::new();
        for resource in resources {
            published.push(self.publish_about(resource).await);
        }
        published
    }

    pub(crate) async fn try_create(
        &self,
        request: CreateSubscriptionRequest,
    ) -> Result<Subscription, Status> {
        let mut subscriptions = self.subscriptions.clone();
        let created = soon("an answer", subscriptions.create_subscription(request)).await?;
        Ok(created.into_inner().subscription.unwrap())
    }

    pub(crate) async fn pause(&self, name: &str, until: Option<Duration>) {
        let request = PauseSubscriptionRequest { name: name.to_owned(), until: until.map(time) };
        let mut subscriptions = self.subscriptions.clone();
        soon("an answer", subscriptions.pause_subscription(request)).await.unwrap();
    }

    pub(crate) async fn resume(&self, name: &str) {
        let request = ResumeSubscriptionRequest { name: name.to_owned() };
        let mut subscriptions = self.subscriptions.clone();
        soon("an answer", subscriptions.resume_subscription(request)).await.unwrap();
    }

    /// Changes the fields that are named to the values of the subscription.
    pub(crate) async fn try_update(
        &self,
        subscription: Subscription,
        paths: &[&str],
        from: Option<Position>,
    ) -> Result<Subscription, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = UpdateSubscriptionRequest {
            subscription: Some(subscription),
            update_mask: Some(prost_types::FieldMask { paths }),
            filter_from: from.map(place),
        };
        let mut subscriptions = self.subscriptions.clone();
        let updated = soon("an answer", subscriptions.update_subscription(request)).await?;
        Ok(updated.into_inner().subscription.unwrap())
    }

    /// Changes the filter; waits for what an earlier change has still to look at again.
    pub(crate) async fn filter(&self, name: &str, filter: &str, from: Option<Position>) {
        let (name, filter) = (name.to_owned(), filter.to_owned());
        let subscription = Subscription { name, filter, ..Default::default() };
        let changed = async {
            loop {
                let update = self.try_update(subscription.clone(), &["filter"], from);
                match Box::pin(update).await {
                    Ok(_) => return,
                    Err(busy) => assert_eq!(busy.code(), Code::FailedPrecondition, "{busy}"),
                }
            }
        };
        soon("the change", changed).await;
    }

    /// Changes fields of the policy.
    pub(crate) async fn change_policy(
        &self,
        name: &str,
        policy: SubscriptionPolicy,
        paths: &[&str],
    ) -> Subscription {
        let policy = Some(policy);
        let subscription = Subscription { name: name.to_owned(), policy, ..Default::default() };
        self.try_update(subscription, paths, None).await.unwrap()
    }

    async fn ask_seek(&self, request: SeekSubscriptionRequest) -> (u64, u64) {
        let mut subscriptions = self.subscriptions.clone();
        let sought = soon("an answer", subscriptions.seek_subscription(request)).await.unwrap();
        let SeekSubscriptionResponse { redelivered_count, skipped_count } = sought.into_inner();
        (redelivered_count, skipped_count)
    }

    /// Moves the position; returns how many come again and how many are skipped.
    pub(crate) async fn seek(&self, name: &str, to: Position) -> (u64, u64) {
        let (name, to) = (name.to_owned(), Some(place(to)));
        self.ask_seek(SeekSubscriptionRequest { name, to, dry_run: false }).await
    }

    /// As [`Agent::seek`], only counted.
    pub(crate) async fn would_seek(&self, name: &str, to: Position) -> (u64, u64) {
        let (name, to) = (name.to_owned(), Some(place(to)));
        self.ask_seek(SeekSubscriptionRequest { name, to, dry_run: true }).await
    }

    /// Hands events out once more.
    pub(crate) async fn replay(&self, request: ReplayEventsRequest) -> ReplayEventsResponse {
        let mut subscriptions = self.subscriptions.clone();
        soon("an answer", subscriptions.replay_events(request)).await.unwrap().into_inner()
    }

    /// Lists all deliveries in these states, in pages of two.
    pub(crate) async fn deliveries(
        &self,
        subscription: &str,
        states: &[DeliveryState],
    ) -> Vec<DeliveryStatus> {
        let mut request = ListDeliveriesRequest {
            subscription: subscription.to_owned(),
            states: states.iter().map(|state| i32::from(*state)).collect(),
            page_size: Some(2),
            ..Default::default()
        };
        let mut subscriptions = self.subscriptions.clone();
        let mut all = Vec::new();
        loop {
            let page = soon("a page", subscriptions.list_deliveries(request.clone())).await;
            let page = page.unwrap().into_inner();
            assert!(page.deliveries.len() <= 2, "{page:?}");
            all.extend(page.deliveries);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Asks for a subscription until it is as it must become.
    pub(crate) async fn subscription_once(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&Subscription) -> bool,
    ) -> Subscription {
        let coming = async {
            loop {
                let subscription = self.subscription(name).await;
                if is_so(&subscription) {
                    return subscription;
                }
            }
        };
        soon(what, coming).await
    }

    /// Waits until a subscription has looked at all of the log.
    pub(crate) async fn scanned(&self, name: &str) -> Subscription {
        self.subscription_once(name, "the scan", |subscription| {
            let position = subscription.position.unwrap();
            position.scanned == position.log_end
        })
        .await
    }
}
