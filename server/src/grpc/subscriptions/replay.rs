//! `ReplayEvents`: events of the log to a subscription once more.

use std::sync::Arc;

use hookline_core::event::EventId;
use hookline_proto::v1;
use tonic::Status;

use crate::{
    broker::{Replay, ReplayMode},
    grpc::{Shared, events::list, fields, status},
    limits::{REPLAY_DEFAULT, REPLAY_MAX, REPLAY_READY_MAX, SETTLE_BATCH_MAX},
    store::select::Selection,
};

pub(super) async fn replay(
    shared: &Shared,
    request: v1::ReplayEventsRequest,
) -> Result<v1::ReplayEventsResponse, Status> {
    let name = fields::subscription_name("subscription", &request.subscription)?;
    if !says_which(&request) {
        let problem = "ids, a condition, or a place to begin must say which events are meant";
        return Err(status::invalid("event_ids", problem));
    }
    let limit = limit(request.limit)?;
    let mode = if request.dry_run { ReplayMode::DryRun } else { ReplayMode::Replay };
    let ids = ids(&request.event_ids)?;
    let selection = Selection {
        patterns: fields::patterns("patterns", &request.patterns)?,
        resource_type: fields::text("resource_type", &request.resource_type)?,
        resource_id: fields::text("resource_id", &request.resource_id)?,
        actor: fields::text("actor", &request.actor)?,
    };
    let filter = fields::filter("filter", &request.filter)?;
    let bounds = v1::ListEventsRequest {
        start_time: request.start_time,
        end_time: request.end_time,
        start_sequence: request.start_sequence,
        end_sequence: request.end_sequence,
        ..v1::ListEventsRequest::default()
    };
    let range = list::range(&**shared.broker.log(), &bounds).await?;
    let end_sequence = range.end;
    let replay = Replay { ids, selection: Arc::new(selection), filter, range };
    let counts = shared.broker.replay(&name, &replay, limit, mode).await;
    let counts = counts.map_err(|error| status::replay_failed(name.as_str(), error))?;
    if counts.is_full && counts.replayed.is_empty() {
        return Err(Status::resource_exhausted(format!(
            "{REPLAY_READY_MAX} deliveries of `{name}` are ready, which is the most; nothing was changed"
        )));
    }
    Ok(v1::ReplayEventsResponse {
        replayed_count: u64::try_from(counts.replayed.len()).unwrap_or(u64::MAX),
        already_open_count: counts.already_open,
        dead_letter_count: counts.dead_letters,
        not_matching_count: counts.not_matching,
        not_reached_count: counts.not_reached,
        missing_count: counts.missing,
        next_sequence: counts.next,
        end_sequence,
    })
}

/// Whether something says which events are meant: all of the log must not be meant by mistake.
fn says_which(request: &v1::ReplayEventsRequest) -> bool {
    let v1::ReplayEventsRequest {
        event_ids,
        patterns,
        filter,
        start_time,
        start_sequence,
        resource_type,
        resource_id,
        actor,
        subscription: _,
        end_time: _,
        end_sequence: _,
        limit: _,
        dry_run: _,
    } = request;
    let conditions = [filter, resource_type, resource_id, actor];
    !event_ids.is_empty()
        || !patterns.is_empty()
        || conditions.into_iter().any(|condition| !condition.is_empty())
        || start_time.is_some()
        || start_sequence.is_some()
}

fn ids(texts: &[String]) -> Result<Vec<EventId>, Status> {
    if SETTLE_BATCH_MAX < texts.len() {
        let problem = format!("has {} ids, at most {SETTLE_BATCH_MAX} are allowed", texts.len());
        return Err(status::invalid("event_ids", problem));
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let id = EventId::parse(text).ok_or_else(|| {
            status::invalid(format!("event_ids[{index}]"), "not the id of an event: a UUID")
        })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Returns how many a call may replay.
fn limit(limit: Option<u32>) -> Result<u64, Status> {
    match limit {
        None => Ok(REPLAY_DEFAULT.into()),
        Some(limit) if (1..=REPLAY_MAX).contains(&limit) => Ok(limit.into()),
        Some(_) => Err(status::invalid("limit", format!("must be between 1 and {REPLAY_MAX}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_log_is_not_meant_unless_that_is_said() {
        let empty = v1::ReplayEventsRequest {
            subscription: "billing".to_owned(),
            end_sequence: Some(7),
            limit: Some(1),
            dry_run: true,
            ..v1::ReplayEventsRequest::default()
        };
        assert!(!says_which(&empty));
        let text = "x".to_owned();
        let cases = [
            v1::ReplayEventsRequest { event_ids: vec![text.clone()], ..empty.clone() },
            v1::ReplayEventsRequest { patterns: vec![text.clone()], ..empty.clone() },
            v1::ReplayEventsRequest { filter: text.clone(), ..empty.clone() },
            v1::ReplayEventsRequest { resource_type: text.clone(), ..empty.clone() },
            v1::ReplayEventsRequest { resource_id: text.clone(), ..empty.clone() },
            v1::ReplayEventsRequest { actor: text, ..empty.clone() },
            v1::ReplayEventsRequest { start_sequence: Some(1), ..empty.clone() },
            v1::ReplayEventsRequest {
                start_time: Some(prost_types::Timestamp::default()),
                ..empty
            },
        ];
        assert!(cases.iter().all(says_which));
    }

    #[test]
    fn ids_are_read_once_each_and_named_where_they_are_none() {
        let id = "0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a".to_owned();
        assert_eq!(ids(&[id.clone(), id.clone()]).unwrap().len(), 1);
        let refused = ids(&[id, "42".to_owned()]).unwrap_err();
        assert!(refused.message().starts_with("`event_ids[1]`: "), "{refused}");
        assert!(ids(&vec![String::new(); 1_001]).unwrap_err().message().contains("1001 ids"));
    }

    #[test]
    fn a_call_replays_a_bounded_number() {
        assert_eq!(limit(None).unwrap(), u64::from(REPLAY_DEFAULT));
        assert_eq!(limit(Some(REPLAY_MAX)).unwrap(), u64::from(REPLAY_MAX));
        assert!(limit(Some(0)).is_err() && limit(Some(REPLAY_MAX + 1)).is_err());
    }
}
