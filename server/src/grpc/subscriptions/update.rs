//! `UpdateSubscription`: which fields change, and from where a changed rule holds.

use hookline_core::{event::SubscriptionName, filter::Filter, pattern::PatternSet};
use hookline_proto::v1;
use tonic::Status;

use crate::{
    broker::{Broker, Change, CreateError, Identity, Rule, Start},
    grpc::{fields, policy, status},
};

/// An UpdateSubscription request that was read.
pub(super) struct Update {
    pub(super) name: SubscriptionName,
    /// The new patterns, if they change.
    patterns: Option<PatternSet>,
    /// The new filter, if it changes; the inner `None`: none.
    filter: Option<Option<Filter>>,
    policy: Option<v1::SubscriptionPolicy>,
    /// The paths of policies and their fields that change.
    policy_paths: Vec<String>,
    /// From where the rule holds; `None`: from now.
    from: Option<Start>,
}

impl Update {
    pub(super) fn read(request: v1::UpdateSubscriptionRequest) -> Result<Self, Status> {
        let subscription = request.subscription.unwrap_or_default();
        let name = fields::subscription_name("subscription.name", &subscription.name)?;
        let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        if paths.is_empty() {
            return Err(status::invalid("update_mask", "names no field"));
        }
        let (mut patterns, mut filter, mut policy_paths) = (None, None, Vec::new());
        for path in paths {
            match path.as_str() {
                "patterns" => {
                    let given = fields::patterns("subscription.patterns", &subscription.patterns)?;
                    patterns = Some(given.ok_or_else(|| {
                        status::invalid("subscription.patterns", "at least one is needed")
                    })?);
                }
                "filter" => {
                    filter = Some(fields::filter("subscription.filter", &subscription.filter)?);
                }
                path if policy::is_path(path) => policy_paths.push(path.to_owned()),
                path => {
                    let problem = format!("`{path}` can't be changed, or is no field");
                    return Err(status::invalid("update_mask", problem));
                }
            }
        }
        let from = match &request.filter_from {
            Some(_) if patterns.is_none() && filter.is_none() => {
                return Err(status::invalid("filter_from", "only with `patterns` or `filter`"));
            }
            Some(from) if from.position.is_some() => {
                match fields::place("filter_from", Some(from))? {
                    Start::Latest => None,
                    from @ (Start::Earliest | Start::Sequence(_) | Start::Time(_)) => Some(from),
                }
            }
            Some(_) | None => None,
        };
        Ok(Self { name, patterns, filter, policy: subscription.policy, policy_paths, from })
    }

    /// Returns the sequence after which the changed rule holds; `None`: from now.
    pub(super) async fn holds_after(&self, broker: &Broker) -> Result<Option<u64>, Status> {
        let Some(from) = self.from else { return Ok(None) };
        let after = broker.resolve(from).await;
        after.map(Some).map_err(|error| {
            if let CreateError::OutOfRange { .. } = error {
                return Status::out_of_range(format!("`filter_from`: {error}"));
            }
            status::create_failed(&error)
        })
    }

    /// Returns what changes of a subscription.
    pub(super) fn change(
        &self,
        identity: &Identity,
        from_after: Option<u64>,
    ) -> Result<Change, Status> {
        let mut change = Change { from_after, ..Change::default() };
        if self.patterns.is_some() || self.filter.is_some() {
            let now = &identity.rule;
            change.rule = Some(Rule {
                patterns: self.patterns.clone().unwrap_or_else(|| now.patterns.clone()),
                filter: self.filter.clone().unwrap_or_else(|| now.filter.clone()),
            });
        }
        if !self.policy_paths.is_empty() {
            let paths: Vec<_> = self.policy_paths.iter().map(String::as_str).collect();
            let given = self.policy.as_ref();
            change.policy = Some(policy::changed(&identity.policy, given, &paths)?);
        }
        Ok(change)
    }
}
