//! `ListEvents`: the log in pages, either way.

use std::ops::Range;

use hookline_core::time::Timestamp;
use hookline_proto::v1;
use prost::Message as _;
use tonic::Status;

use super::trial::Trial;
use crate::{
    broker::Sight,
    grpc::{Shared, convert, fields, fields::View, page, status},
    limits::{LIST_FILTER_WORK, LIST_READ_BYTES, LIST_READ_ENTRIES, LIST_WORK_MAX, PAGE_BYTES_MAX},
    store::{
        EventLog, ReadLimit,
        select::{Direction, Found, Walk},
    },
};

pub(super) async fn list(
    shared: &Shared,
    sight: Sight,
    mut request: v1::ListEventsRequest,
) -> Result<v1::ListEventsResponse, Status> {
    let log = &**shared.broker.log();
    let view = fields::view(request.payload_view, request.max_payload_bytes)?;
    let size = page::size(request.page_size);
    let token = std::mem::take(&mut request.page_token);
    // The rest of the request is what a token belongs to; a page may have another size.
    let query = format!("{:?}", v1::ListEventsRequest { page_size: None, ..request.clone() });
    let mut trial = Trial::of_list(&request)?;
    trial.show(&shared.broker, sight);
    let mut walk = walk(log, &request, &trial).await?;
    if let Some(place) = page::place(&token, &query)? {
        let last = place.parse().map_err(|_| status::invalid("page_token", "not a token"))?;
        walk.range = walk.rest_behind(last);
    }
    let mut page = Page { log, trial, view, size, events: Vec::new(), bytes: 0 };
    while !walk.range.is_empty() && 0 < walk.work && page.events.len() < size {
        walk.limit.count = page.wanted();
        let found = log.select(walk.clone()).await;
        let found = found.map_err(|error| status::read_failed(&error))?;
        page.take(&mut walk, found).await?;
        if PAGE_BYTES_MAX < page.bytes {
            break;
        }
    }
    let next_page_token = match walk.range.is_empty() {
        true => String::new(),
        false => page::token(&place_of(&walk).to_string(), &query),
    };
    Ok(v1::ListEventsResponse { events: page.events, next_page_token })
}

/// Returns the walk of the first page.
async fn walk(
    log: &dyn EventLog,
    request: &v1::ListEventsRequest,
    trial: &Trial,
) -> Result<Walk, Status> {
    let range = range(log, request).await?;
    let direction = if request.newest_first { Direction::Backward } else { Direction::Forward };
    let limit = ReadLimit { count: LIST_READ_ENTRIES, bytes: LIST_READ_BYTES };
    let selection = std::sync::Arc::clone(&trial.selection);
    Ok(Walk { range, direction, selection, limit, work: LIST_WORK_MAX })
}

/// Returns the range of a list. Both ends are found by index, and the end is fixed by the log as it is.
pub(in crate::grpc) async fn range(
    log: &dyn EventLog,
    request: &v1::ListEventsRequest,
) -> Result<Range<u64>, Status> {
    let head = *log.head().borrow();
    let mut from = request.start_sequence.unwrap_or(1).max(1);
    let mut before = request.end_sequence.unwrap_or(u64::MAX).min(head.saturating_add(1));
    if let Some(time) = &request.start_time {
        from = from.max(position(log, fields::timestamp("start_time", time)?).await?);
    }
    if let Some(time) = &request.end_time {
        before = before.min(position(log, fields::timestamp("end_time", time)?).await?);
    }
    Ok(from..before)
}

/// Returns the sequence behind which the rest of a walk lies.
fn place_of(walk: &Walk) -> u64 {
    match walk.direction {
        Direction::Forward => walk.range.start - 1,
        Direction::Backward => walk.range.end,
    }
}

async fn position(log: &dyn EventLog, time: Timestamp) -> Result<u64, Status> {
    let position = log.position_at(time).await.map_err(|error| status::read_failed(&error))?;
    Ok(position.get())
}

/// A page that is being filled.
struct Page<'a> {
    log: &'a dyn EventLog,
    trial: Trial,
    view: View,
    size: usize,
    events: Vec<v1::Event>,
    bytes: usize,
}

impl Page<'_> {
    /// Returns how many events to look for at once.
    fn wanted(&self) -> usize {
        let room = self.size - self.events.len();
        if self.trial.has_filter() { LIST_READ_ENTRIES } else { room.min(LIST_READ_ENTRIES) }
    }

    /// Takes what was found as far as there is room and work to be done, and moves the walk behind it.
    async fn take(&mut self, walk: &mut Walk, found: Found) -> Result<(), Status> {
        walk.work = walk.work.saturating_sub(found.work);
        for entry in found.entries {
            let is_taken = self.trial.takes(self.log, &entry).await?;
            if self.trial.has_filter() {
                walk.work = walk.work.saturating_sub(LIST_FILTER_WORK);
            }
            if is_taken {
                let event = convert::event(self.log, &entry, self.view).await;
                let event = event.map_err(|error| status::read_failed(&error))?;
                self.bytes += event.encoded_len();
                if PAGE_BYTES_MAX < self.bytes && !self.events.is_empty() {
                    return Ok(());
                }
                self.events.push(event);
            }
            walk.range = walk.rest_behind(entry.event.sequence.get());
            if self.events.len() == self.size || walk.work == 0 {
                return Ok(());
            }
        }
        walk.range = found.rest;
        Ok(())
    }
}
