//! `ListEvents`: the log in pages, either way.

use std::sync::Arc;

use hookline_core::{event::Sequence, time::Timestamp};
use hookline_proto::v1;
use prost::Message as _;
use tonic::Status;

use super::trial::Trial;
use crate::{
    grpc::{Shared, convert, fields, page, status},
    limits::{LIST_LOOKED_AT_MAX, LIST_READ_BYTES, LIST_READ_ENTRIES, PAGE_BYTES_MAX},
    store::{Entry, EventLog, ReadLimit, ReadRange},
};

/// How much of the log one read takes.
const READ: ReadLimit = ReadLimit { count: LIST_READ_ENTRIES, bytes: LIST_READ_BYTES };

/// Where a list stands, and where it ends.
struct Walk {
    newest_first: bool,
    /// Sequences at or above this.
    from: u64,
    /// Sequences below this.
    before: u64,
    received_before: Option<Timestamp>,
    trial: Trial,
}

impl Walk {
    async fn read(log: &dyn EventLog, request: &v1::ListEventsRequest) -> Result<Self, Status> {
        let head = *log.head().borrow();
        let mut from = request.start_sequence.unwrap_or(1).max(1);
        let mut before = request.end_sequence.unwrap_or(u64::MAX).min(head.saturating_add(1));
        if let Some(time) = &request.start_time {
            from = from.max(position(log, fields::timestamp("start_time", time)?).await?);
        }
        let end_time = request.end_time.as_ref();
        let received_before =
            end_time.map(|time| fields::timestamp("end_time", time)).transpose()?;
        if let Some(time) = received_before {
            before = before.min(position(log, time).await?);
        }
        let trial = Trial::read(&request.patterns, &request.filter)?;
        let newest_first = request.newest_first;
        Ok(Self { newest_first, from, before, received_before, trial })
    }

    /// Goes on behind an event that an earlier page ended with.
    fn resume(&mut self, last: u64) {
        if self.newest_first {
            self.before = self.before.min(last);
        } else {
            self.from = self.from.max(last.saturating_add(1));
        }
    }

    async fn next(&self, log: &dyn EventLog) -> Result<Vec<Arc<Entry>>, Status> {
        if self.before <= self.from {
            return Ok(Vec::new());
        }
        let entries = if self.newest_first {
            let before = Sequence::new(self.before).expect("above `from`, which is at least 1");
            log.read_back(before, READ).await
        } else {
            log.read(ReadRange { after: self.from - 1, limit: READ }).await
        };
        let mut entries = entries.map_err(|error| status::read_failed(&error))?;
        entries.retain(|entry| (self.from..self.before).contains(&entry.event.sequence.get()));
        Ok(entries)
    }

    async fn takes(&self, log: &dyn EventLog, entry: &Entry) -> Result<bool, Status> {
        if self.received_before.is_some_and(|before| before <= entry.event.received_at) {
            return Ok(false);
        }
        self.trial.takes(log, entry).await
    }
}

async fn position(log: &dyn EventLog, time: Timestamp) -> Result<u64, Status> {
    let position = log.position_at(time).await.map_err(|error| status::read_failed(&error))?;
    Ok(position.get())
}

pub(super) async fn list(
    shared: &Shared,
    mut request: v1::ListEventsRequest,
) -> Result<v1::ListEventsResponse, Status> {
    let log = &**shared.broker.log();
    let view = fields::view(request.payload_view, request.max_payload_bytes)?;
    let size = page::size(request.page_size);
    let token = std::mem::take(&mut request.page_token);
    // The rest of the request is what a token belongs to; a page may have another size.
    let query = format!("{:?}", v1::ListEventsRequest { page_size: None, ..request.clone() });
    let mut walk = Walk::read(log, &request).await?;
    if let Some(place) = page::place(&token, &query)? {
        let last = place.parse().map_err(|_| status::invalid("page_token", "not a token"))?;
        walk.resume(last);
    }
    let mut page = v1::ListEventsResponse::default();
    let (mut bytes, mut looked_at) = (0, 0);
    loop {
        let entries = walk.next(log).await?;
        if entries.is_empty() {
            return Ok(page);
        }
        for entry in entries {
            if walk.takes(log, &entry).await? {
                let event = convert::event(log, &entry, view).await;
                let event = event.map_err(|error| status::read_failed(&error))?;
                bytes += event.encoded_len();
                if !page.events.is_empty() && PAGE_BYTES_MAX < bytes {
                    page.next_page_token = token_behind(&page.events, &query);
                    return Ok(page);
                }
                page.events.push(event);
            }
            let sequence = entry.event.sequence.get();
            walk.resume(sequence);
            looked_at += 1;
            if page.events.len() == size || looked_at == LIST_LOOKED_AT_MAX {
                if walk.from < walk.before {
                    page.next_page_token = page::token(&sequence.to_string(), &query);
                }
                return Ok(page);
            }
        }
    }
}

fn token_behind(events: &[v1::Event], query: &str) -> String {
    let last = events.last().map_or(0, |event| event.sequence);
    page::token(&last.to_string(), query)
}
