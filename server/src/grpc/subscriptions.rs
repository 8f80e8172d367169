//! `SubscriptionService`: subscriptions as things of their own.

mod deliveries;

mod replay;

mod update;

use hookline_core::{delivery::Pause, event::SubscriptionName};
use hookline_proto::v1::{self, subscription_service_server::SubscriptionService};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{Shared, auth, convert, fields, page, policy, status};
use crate::{
    broker::{Change, CreateError, Identity, LookupError, NewSubscription, Rule, SeekMode, Sight},
    limits::PAGE_BYTES_MAX,
};

/// What a token of ListSubscriptions belongs to.
const QUERY: &str = "subscriptions";

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

impl Service {
    async fn view(&self, name: &SubscriptionName) -> Result<Option<v1::Subscription>, LookupError> {
        let broker = &self.0.broker;
        let view = broker.view(name).await?;
        Ok(view.map(|view| convert::subscription(&view, broker.clock().wall())))
    }

    /// As [`Service::shown`], for who may see only this.
    async fn in_sight(
        &self,
        name: &SubscriptionName,
        sight: &Sight,
    ) -> Result<v1::Subscription, Status> {
        let broker = &self.0.broker;
        if !broker.identity(name).is_some_and(|identity| broker.shows(sight, &identity)) {
            return Err(status::unknown_subscription(name.as_str()));
        }
        self.shown(name).await
    }

    async fn shown(&self, name: &SubscriptionName) -> Result<v1::Subscription, Status> {
        let subscription = self.view(name).await.map_err(status::lookup_failed)?;
        subscription.ok_or_else(|| status::unknown_subscription(name.as_str()))
    }

    async fn set_pause(&self, name: &str, pause: Pause) -> Result<(), Status> {
        let name = fields::subscription_name("name", name)?;
        let change = |_: &Identity| Ok(Change { pause: Some(pause), ..Change::default() });
        let changed = self.0.broker.update(&name, change).await;
        changed.map_err(|error| status::update_failed(name.as_str(), error))
    }
}

#[tonic::async_trait]
impl SubscriptionService for Service {
    async fn create_subscription(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let name = fields::subscription_name("name", &request.name)?;
        let patterns = fields::patterns("patterns", &request.patterns)?;
        let patterns =
            patterns.ok_or_else(|| status::invalid("patterns", "at least one is needed"))?;
        let rule = Rule { patterns, filter: fields::filter("filter", &request.filter)? };
        let start = fields::start(request.start.as_ref())?;
        let policy = policy::read(request.policy.as_ref())?;
        let new = NewSubscription { name: name.clone(), rule, start, policy };
        let broker = &self.0.broker;
        match broker.create(new.clone()).await {
            Ok(_) => {}
            // A second copy of the same request is answered as the first.
            Err(CreateError::Exists(identity))
                if identity.rule == new.rule && identity.policy == new.policy =>
            {
                let begins = fields::begins(broker, &identity, new.start).await;
                if !begins.map_err(|error| status::create_failed(&error))? {
                    return Err(status::create_failed(&CreateError::Exists(identity)));
                }
            }
            Err(error) => return Err(status::create_failed(&error)),
        }
        let subscription = self.view(&name).await.map_err(|error| status::unseen(&error))?;
        if subscription.is_none() {
            return Err(status::unknown_subscription(name.as_str()));
        }
        Ok(Response::new(v1::CreateSubscriptionResponse { subscription }))
    }

    async fn get_subscription(
        &self,
        request: Request<v1::GetSubscriptionRequest>,
    ) -> Result<Response<v1::GetSubscriptionResponse>, Status> {
        let sight = auth::caller(&request)?.looks_at();
        let name = fields::subscription_name("name", &request.get_ref().name)?;
        let subscription = Some(self.in_sight(&name, &sight).await?);
        Ok(Response::new(v1::GetSubscriptionResponse { subscription }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let sight = auth::caller(&request)?.looks_at();
        let request = request.into_inner();
        let size = page::size(request.page_size);
        let after = page::place(&request.page_token, QUERY)?;
        let broker = &self.0.broker;
        // One more than the page holds tells whether there is another.
        let views = broker.views(after.as_deref(), size + 1, &sight).await;
        let now = broker.clock().wall();
        let subscriptions = views.iter().map(|view| convert::subscription(view, now));
        Ok(Response::new(page_of(subscriptions, size, PAGE_BYTES_MAX)))
    }

    async fn update_subscription(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        let update = update::Update::read(request.into_inner())?;
        let from_after = update.holds_after(&self.0.broker).await?;
        let name = update.name.clone();
        let change = |identity: &Identity| update.change(identity, from_after);
        let updated = self.0.broker.update(&name, change).await;
        updated.map_err(|error| status::update_failed(name.as_str(), error))?;
        let subscription = self.shown(&name).await?;
        Ok(Response::new(v1::UpdateSubscriptionResponse { subscription: Some(subscription) }))
    }

    async fn delete_subscription(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        let name = fields::subscription_name("name", &request.get_ref().name)?;
        let deleted = self.0.broker.delete(&name).await;
        if !deleted.map_err(|error| status::commit_failed(&error))? {
            return Err(status::unknown_subscription(name.as_str()));
        }
        Ok(Response::new(v1::DeleteSubscriptionResponse {}))
    }

    async fn pause_subscription(
        &self,
        request: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let pause = match &request.until {
            None => Pause::On,
            Some(until) => {
                let until = fields::timestamp("until", until)?;
                if until <= self.0.broker.clock().wall() {
                    return Err(status::invalid("until", "has passed already"));
                }
                Pause::Until(until)
            }
        };
        self.set_pause(&request.name, pause).await?;
        Ok(Response::new(v1::PauseSubscriptionResponse {}))
    }

    async fn resume_subscription(
        &self,
        request: Request<v1::ResumeSubscriptionRequest>,
    ) -> Result<Response<v1::ResumeSubscriptionResponse>, Status> {
        self.set_pause(&request.get_ref().name, Pause::Off).await?;
        Ok(Response::new(v1::ResumeSubscriptionResponse {}))
    }

    async fn seek_subscription(
        &self,
        request: Request<v1::SeekSubscriptionRequest>,
    ) -> Result<Response<v1::SeekSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let name = fields::subscription_name("name", &request.name)?;
        if request.to.as_ref().and_then(|to| to.position.as_ref()).is_none() {
            return Err(status::invalid("to", "a position is needed"));
        }
        let to = fields::place("to", request.to.as_ref())?;
        let mode = if request.dry_run { SeekMode::DryRun } else { SeekMode::Seek };
        let sought = self.0.broker.seek(&name, to, mode).await;
        let sought = sought.map_err(|error| status::seek_failed(name.as_str(), error))?;
        Ok(Response::new(v1::SeekSubscriptionResponse {
            redelivered_count: sought.redelivered,
            skipped_count: sought.skipped,
        }))
    }

    async fn replay_events(
        &self,
        request: Request<v1::ReplayEventsRequest>,
    ) -> Result<Response<v1::ReplayEventsResponse>, Status> {
        replay::replay(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_deliveries(
        &self,
        request: Request<v1::ListDeliveriesRequest>,
    ) -> Result<Response<v1::ListDeliveriesResponse>, Status> {
        let sight = auth::caller(&request)?.looks_at();
        deliveries::list(&self.0, request.into_inner(), &sight).await.map(Response::new)
    }
}

/// Returns the page that holds the first of these, as many as fit; with a token if there are more.
fn page_of(
    subscriptions: impl IntoIterator<Item = v1::Subscription>,
    size: usize,
    bytes_max: usize,
) -> v1::ListSubscriptionsResponse {
    let mut page = v1::ListSubscriptionsResponse::default();
    let mut bytes = 0;
    for subscription in subscriptions {
        bytes += subscription.encoded_len();
        let has_room = page.subscriptions.len() < size && bytes <= bytes_max;
        if !has_room && let Some(last) = page.subscriptions.last() {
            page.next_page_token = page::token(&last.name, QUERY);
            break;
        }
        page.subscriptions.push(subscription);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_subscriptions_ends_by_its_size_or_its_bytes_and_leads_on() {
        let named = |name: &str| v1::Subscription {
            name: name.to_owned(),
            consumers: vec!["x".repeat(100); 10],
            ..v1::Subscription::default()
        };
        let one = named("a").encoded_len();
        let names = |size, bytes_max| {
            let page = page_of(["a", "b", "c"].map(named), size, bytes_max);
            let after = page::place(&page.next_page_token, QUERY).unwrap();
            (page.subscriptions.into_iter().map(|one| one.name).collect::<String>(), after)
        };
        assert_eq!(names(3, 3 * one), ("abc".to_owned(), None));
        assert_eq!(names(2, 3 * one), ("ab".to_owned(), Some("b".to_owned())));
        assert_eq!(names(3, 3 * one - 1), ("ab".to_owned(), Some("b".to_owned())));
        // One that is too large by itself is listed all the same.
        assert_eq!(names(3, 1), ("a".to_owned(), Some("a".to_owned())));
    }
}
