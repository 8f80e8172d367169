//! `SubscriptionService`: subscriptions as things of their own.

use hookline_proto::v1::{self, subscription_service_server::SubscriptionService};
use tonic::{Request, Response, Status};

use super::{Shared, convert, fields, page, status};
use crate::broker::{CreateError, NewSubscription};

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

impl Service {
    async fn view(
        &self,
        name: &hookline_core::event::SubscriptionName,
    ) -> Result<v1::Subscription, Status> {
        let broker = &self.0.broker;
        let view = broker.view(name).await.map_err(status::lookup_failed)?;
        let view = view.ok_or_else(|| status::unknown_subscription(name.as_str()))?;
        Ok(convert::subscription(&view, broker.clock().wall()))
    }
}

#[tonic::async_trait]
impl SubscriptionService for Service {
    async fn create_subscription(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        let request = request.into_inner();
        fields::no_filter(&request.filter)?;
        let name = fields::subscription_name("name", &request.name)?;
        let patterns = fields::patterns("patterns", &request.patterns)?;
        let patterns =
            patterns.ok_or_else(|| status::invalid("patterns", "at least one is needed"))?;
        let start = fields::start(request.start.as_ref())?;
        let policy = fields::policy(request.policy.as_ref())?;
        let new = NewSubscription { name: name.clone(), patterns, start, policy };
        match self.0.broker.create(new.clone()).await {
            Ok(_) => {}
            // A second copy of the same request is answered as the first.
            Err(CreateError::Exists(identity))
                if identity.patterns == new.patterns && identity.policy == new.policy => {}
            Err(error) => return Err(status::create_failed(&error)),
        }
        let subscription = Some(self.view(&name).await?);
        Ok(Response::new(v1::CreateSubscriptionResponse { subscription }))
    }

    async fn get_subscription(
        &self,
        request: Request<v1::GetSubscriptionRequest>,
    ) -> Result<Response<v1::GetSubscriptionResponse>, Status> {
        let name = fields::subscription_name("name", &request.get_ref().name)?;
        let subscription = Some(self.view(&name).await?);
        Ok(Response::new(v1::GetSubscriptionResponse { subscription }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size);
        let after = page::place(&request.page_token, "subscriptions")?;
        let broker = &self.0.broker;
        // One more than the page holds tells whether there is another.
        let views = broker.views(after.as_deref(), size + 1).await;
        let is_last = views.len() <= size;
        let now = broker.clock().wall();
        let subscriptions: Vec<_> =
            views.iter().take(size).map(|view| convert::subscription(view, now)).collect();
        let next_page_token = match subscriptions.last() {
            Some(last) if !is_last => page::token(&last.name, "subscriptions"),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(v1::ListSubscriptionsResponse { subscriptions, next_page_token }))
    }

    async fn update_subscription(
        &self,
        _: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        Err(status::unimplemented("UpdateSubscription"))
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
        _: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        Err(status::unimplemented("PauseSubscription"))
    }

    async fn resume_subscription(
        &self,
        _: Request<v1::ResumeSubscriptionRequest>,
    ) -> Result<Response<v1::ResumeSubscriptionResponse>, Status> {
        Err(status::unimplemented("ResumeSubscription"))
    }

    async fn seek_subscription(
        &self,
        _: Request<v1::SeekSubscriptionRequest>,
    ) -> Result<Response<v1::SeekSubscriptionResponse>, Status> {
        Err(status::unimplemented("SeekSubscription"))
    }

    async fn list_deliveries(
        &self,
        _: Request<v1::ListDeliveriesRequest>,
    ) -> Result<Response<v1::ListDeliveriesResponse>, Status> {
        Err(status::unimplemented("ListDeliveries"))
    }
}
