//! `DeadLetterService`: what was given up.

use hookline_core::{
    delivery::{Creation, Reason},
    event::{Sequence, SubscriptionName},
};
use hookline_proto::v1::{self, dead_letter_service_server::DeadLetterService};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{Shared, auth, convert, fields, page, status};
use crate::{
    broker::{DeadLetterId, DeadLetterMode, Selector, Sight},
    limits::{
        DEAD_LETTERS_LOOKED_AT_MAX, PAGE_BYTES_MAX, REDRIVE_DEFAULT, REDRIVE_MAX,
        REDRIVE_READ_ENTRIES, SETTLE_BATCH_MAX,
    },
    store::ReadLimit,
};

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

#[tonic::async_trait]
impl DeadLetterService for Service {
    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let sight = auth::caller(&request)?.looks_at();
        let request = request.into_inner();
        let broker = &self.0.broker;
        let view = fields::view(request.payload_view, request.max_payload_bytes)?;
        let size = page::size(request.page_size);
        let query = format!("dead letters {} {:?}", request.subscription, request.selector);
        let is_narrow = request.selector.as_ref().is_some_and(is_narrow);
        let selector = selector_of_list(&request.subscription, request.selector)?;
        let selector = Selector { sight, ..selector };
        let mut after = place(&request.page_token, &query)?;
        let mut page = v1::ListDeadLettersResponse::default();
        let (mut bytes, mut looked_at) = (0, 0);
        loop {
            // One more than the page still holds tells whether there is another.
            let count = match is_narrow || !selector.sight.is_all() {
                true => REDRIVE_READ_ENTRIES,
                false => size + 1 - page.dead_letters.len(),
            };
            let limit = ReadLimit { count, bytes: PAGE_BYTES_MAX };
            let rows = broker.dead_letters(&selector, after, limit).await;
            let rows = rows.map_err(|error| status::dead_letters_failed(error, "changed"))?;
            if rows.is_empty() {
                return Ok(Response::new(page));
            }
            for (identity, row) in rows {
                looked_at += 1;
                let is_shown = broker.shows_event(&selector.sight, &row.entry.event.content);
                if !is_shown || !selector.takes(&row) {
                    after = Some((row.creation, row.entry.event.sequence));
                    if looked_at >= DEAD_LETTERS_LOOKED_AT_MAX {
                        page.next_page_token =
                            page::token(&DeadLetterId::of(&row).to_string(), &query);
                        return Ok(Response::new(page));
                    }
                    continue;
                }
                let letter = convert::dead_letter(&**broker.log(), &identity, &row, view).await;
                let letter = letter.map_err(|error| status::read_failed(&error))?;
                bytes += letter.encoded_len();
                let has_room = page.dead_letters.len() < size && bytes <= PAGE_BYTES_MAX;
                if !has_room && let Some(last) = page.dead_letters.last() {
                    page.next_page_token = page::token(&last.id, &query);
                    return Ok(Response::new(page));
                }
                after = Some((row.creation, row.entry.event.sequence));
                page.dead_letters.push(letter);
            }
        }
    }

    async fn get_dead_letter(
        &self,
        request: Request<v1::GetDeadLetterRequest>,
    ) -> Result<Response<v1::GetDeadLetterResponse>, Status> {
        let sight = auth::caller(&request)?.looks_at();
        let request = request.into_inner();
        let view = fields::whole_view(request.payload_view)?;
        let broker = &self.0.broker;
        let not_found = || Status::not_found(format!("there is no dead letter `{}`", request.id));
        let id = dead_letter_id("id", &request.id)?;
        let found = broker.dead_letter(id).await.map_err(|error| status::read_failed(&error))?;
        let found = found.filter(|(identity, row)| {
            broker.shows(&sight, identity) && broker.shows_event(&sight, &row.entry.event.content)
        });
        let (identity, row) = found.ok_or_else(not_found)?;
        let letter = convert::dead_letter(&**broker.log(), &identity, &row, view).await;
        let dead_letter = Some(letter.map_err(|error| status::read_failed(&error))?);
        Ok(Response::new(v1::GetDeadLetterResponse { dead_letter }))
    }

    async fn summarize_dead_letters(
        &self,
        request: Request<v1::SummarizeDeadLettersRequest>,
    ) -> Result<Response<v1::SummarizeDeadLettersResponse>, Status> {
        let sight = auth::caller(&request)?.looks_at();
        let selector = Selector { sight, ..selector(request.into_inner().selector)? };
        let summary = self.0.broker.summarize(&selector).await;
        let summary = summary.map_err(|error| status::dead_letters_failed(error, "changed"))?;
        Ok(Response::new(v1::SummarizeDeadLettersResponse {
            total_count: summary.groups.iter().map(|group| group.count).sum(),
            groups: summary.groups.into_iter().map(convert::cause_group).collect(),
            is_partial: summary.is_partial,
        }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<v1::RedriveDeadLettersRequest>,
    ) -> Result<Response<v1::RedriveDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let selector = narrow_selector(request.selector)?;
        let (limit, mode) = (limit(request.limit)?, mode(request.dry_run));
        let redriven = self.0.broker.redrive(&selector, limit, mode).await;
        let redriven = redriven.map_err(|error| status::dead_letters_failed(error, "redriven"))?;
        Ok(Response::new(v1::RedriveDeadLettersResponse {
            redriven_count: redriven.redriven,
            remaining_count: redriven.remaining,
        }))
    }

    async fn purge_dead_letters(
        &self,
        request: Request<v1::PurgeDeadLettersRequest>,
    ) -> Result<Response<v1::PurgeDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let selector = narrow_selector(request.selector)?;
        let (limit, mode) = (limit(request.limit)?, mode(request.dry_run));
        let purged = self.0.broker.purge(&selector, limit, mode).await;
        let purged = purged.map_err(|error| status::dead_letters_failed(error, "purged"))?;
        if mode == DeadLetterMode::Do && purged.purged > 0 {
            let subscription = selector.subscription.as_ref().map_or("", SubscriptionName::as_str);
            tracing::info!(subscription, count = purged.purged, "dead letters purged");
        }
        Ok(Response::new(v1::PurgeDeadLettersResponse {
            purged_count: purged.purged,
            remaining_count: purged.remaining,
        }))
    }
}

/// Whether a selector takes some of a subscription's dead letters only.
fn is_narrow(selector: &v1::DeadLetterSelector) -> bool {
    let subscription = selector.subscription.clone();
    *selector != v1::DeadLetterSelector { subscription, ..v1::DeadLetterSelector::default() }
}

/// Reads which dead letters a list is about.
fn selector_of_list(
    subscription: &str,
    proto: Option<v1::DeadLetterSelector>,
) -> Result<Selector, Status> {
    let name = match subscription {
        "" => None,
        name => Some(fields::subscription_name("subscription", name)?),
    };
    let selector = selector(proto)?;
    if let (Some(name), Some(other)) = (&name, &selector.subscription)
        && name != other
    {
        let problem = format!("is `{other}`, and `subscription` is `{name}`");
        return Err(status::invalid("selector.subscription", problem));
    }
    Ok(Selector { subscription: name.or(selector.subscription), ..selector })
}

/// Reads the token of a page: the place behind which it begins.
fn place(token: &str, query: &str) -> Result<Option<(Creation, Sequence)>, Status> {
    let Some(place) = page::place(token, query)? else { return Ok(None) };
    let id = DeadLetterId::parse(&place);
    let id = id.ok_or_else(|| status::invalid("page_token", "not a token of this hub"))?;
    Ok(Some((id.creation, id.sequence)))
}

fn dead_letter_id(field: &str, text: &str) -> Result<DeadLetterId, Status> {
    DeadLetterId::parse(text)
        .ok_or_else(|| status::invalid(field, "not the id of a dead letter: `dl-...`"))
}

/// Reads a selector that says whose dead letters are meant: what changes them must not be about all by mistake.
fn narrow_selector(proto: Option<v1::DeadLetterSelector>) -> Result<Selector, Status> {
    let proto = proto.unwrap_or_default();
    if proto.subscription.is_empty() && proto.ids.is_empty() {
        let problem = "a subscription, or ids, must say which dead letters are meant";
        return Err(status::invalid("selector.subscription", problem));
    }
    selector(Some(proto))
}

/// Returns how many a call may change.
fn limit(limit: Option<u32>) -> Result<u64, Status> {
    match limit {
        None => Ok(REDRIVE_DEFAULT.into()),
        Some(limit) if (1..=REDRIVE_MAX).contains(&limit) => Ok(limit.into()),
        Some(_) => {
            let problem = format!("must be between 1 and {REDRIVE_MAX}");
            Err(status::invalid("limit", problem))
        }
    }
}

const fn mode(dry_run: bool) -> DeadLetterMode {
    if dry_run { DeadLetterMode::DryRun } else { DeadLetterMode::Do }
}

fn selector(selector: Option<v1::DeadLetterSelector>) -> Result<Selector, Status> {
    let selector = selector.unwrap_or_default();
    if SETTLE_BATCH_MAX < selector.ids.len() {
        let problem =
            format!("has {} ids, at most {SETTLE_BATCH_MAX} are allowed", selector.ids.len());
        return Err(status::invalid("selector.ids", problem));
    }
    let subscription = match selector.subscription.as_str() {
        "" => None,
        name => Some(fields::subscription_name("selector.subscription", name)?),
    };
    let mut ids = Vec::with_capacity(selector.ids.len());
    for (index, id) in selector.ids.iter().enumerate() {
        ids.push(dead_letter_id(&format!("selector.ids[{index}]"), id)?);
    }
    let time = |field, time: Option<prost_types::Timestamp>| {
        time.map(|time| fields::timestamp(field, &time)).transpose()
    };
    Ok(Selector {
        subscription,
        ids,
        reason: reason(selector.reason)?,
        patterns: fields::patterns("selector.patterns", &selector.patterns)?,
        died_from: time("selector.start_time", selector.start_time)?,
        died_before: time("selector.end_time", selector.end_time)?,
        cause: fields::text("selector.cause", &selector.cause)?,
        error_type: fields::text("selector.error_type", &selector.error_type)?,
        sight: Sight::All,
    })
}

fn reason(reason: i32) -> Result<Option<Reason>, Status> {
    match v1::DeadLetterReason::try_from(reason) {
        Ok(v1::DeadLetterReason::Unspecified) => Ok(None),
        Ok(v1::DeadLetterReason::MaxAttempts) => Ok(Some(Reason::MaxAttempts)),
        Ok(v1::DeadLetterReason::Rejected) => Ok(Some(Reason::Rejected)),
        Ok(v1::DeadLetterReason::FilterError) => Ok(Some(Reason::FilterError)),
        Ok(v1::DeadLetterReason::Retention) => Ok(Some(Reason::Retention)),
        Err(_) => Err(status::invalid("selector.reason", format!("{reason} is no reason"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_this_list_that_names_no_dead_letter_is_refused() {
        let query = "dead letters work";
        let id = DeadLetterId { creation: Creation(3), sequence: Sequence::FIRST, generation: 7 };
        let found = place(&page::token(&id.to_string(), query), query).unwrap();
        assert_eq!(found, Some((Creation(3), Sequence::FIRST)));
        assert_eq!(place("", query).unwrap(), None);
        let refused = place(&page::token("17", query), query).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().starts_with("`page_token`: "), "{refused}");
    }
}
