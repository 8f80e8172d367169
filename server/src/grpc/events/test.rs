//! `TestFilter`: patterns and a filter, tried against the log.

use hookline_core::{event::EventId, filter::Filter, pattern::PatternSet};
use hookline_proto::v1;
use tonic::Status;

use crate::{
    broker::{Judge, Judgement, Rule, Start},
    grpc::{Shared, convert, fields, status},
    limits::{
        LIST_LOOKED_AT_MAX, LIST_READ_BYTES, LIST_READ_ENTRIES, SAMPLES_DEFAULT, SAMPLES_MAX,
    },
    store::{Entry, EventLog, ReadError, ReadLimit, ReadRange},
};

/// How much of the log one read takes.
const READ: ReadLimit = ReadLimit { count: LIST_READ_ENTRIES, bytes: LIST_READ_BYTES };

/// What is tried: patterns (none: all events) and a filter (none: all that they take).
pub(super) struct Trial {
    patterns: Option<PatternSet>,
    filter: Option<Filter>,
}

impl Trial {
    pub(super) fn read(patterns: &[String], filter: &str) -> Result<Self, Status> {
        let patterns = fields::patterns("patterns", patterns)?;
        Ok(Self { patterns, filter: fields::filter("filter", filter)? })
    }

    pub(super) async fn judge(
        &self,
        log: &dyn EventLog,
        entry: &Entry,
        explains: bool,
    ) -> Result<Judgement, ReadError> {
        let mut judge = Judge::of(log, entry);
        match (&self.patterns, &self.filter) {
            (Some(patterns), filter) => {
                let rule = Rule { patterns: patterns.clone(), filter: filter.clone() };
                if explains { judge.explain(&rule).await } else { judge.judge_by(&rule).await }
            }
            (None, Some(filter)) => judge.judge_by_filter(filter, explains).await,
            (None, None) => Ok(Judgement::Taken),
        }
    }
}

pub(super) async fn test(
    shared: &Shared,
    request: v1::TestFilterRequest,
) -> Result<v1::TestFilterResponse, Status> {
    let log = &**shared.broker.log();
    let read_failed = |error: ReadError| status::read_failed(&error);
    let trial = Trial::read(&request.patterns, &request.filter)?;
    let samples_max = request.sample_size.map_or(SAMPLES_DEFAULT, |size| {
        usize::try_from(size).unwrap_or(usize::MAX).min(SAMPLES_MAX)
    });
    let start = match request.start.as_ref().and_then(|start| start.position.as_ref()) {
        None => Start::Earliest,
        Some(_) => fields::start(request.start.as_ref())?,
    };
    let after = shared.broker.resolve(start).await;
    let mut after = after.map_err(|error| status::create_failed(&error))?;
    let mut answer = v1::TestFilterResponse::default();
    if !request.event_id.is_empty() {
        answer.mismatch_reason = reason(shared, &trial, &request.event_id).await?;
    }
    let most = u64::try_from(LIST_LOOKED_AT_MAX).unwrap_or(u64::MAX);
    while answer.scanned_count < most {
        let entries = log.read(ReadRange { after, limit: READ }).await.map_err(read_failed)?;
        let Some(last) = entries.last() else { break };
        after = last.event.sequence.get();
        for entry in entries {
            answer.scanned_count += 1;
            match trial.judge(log, &entry, false).await.map_err(read_failed)? {
                Judgement::Taken => {
                    answer.matched_count += 1;
                    if answer.samples.len() < samples_max {
                        answer.samples.push(convert::bare_event(&entry));
                    }
                }
                Judgement::Failed(why) => {
                    answer.failed_count += 1;
                    if answer.failed_count == 1 {
                        answer.failure = format!("event {}: {why}", entry.event.id);
                    }
                }
                Judgement::Skipped(_) => {}
            }
        }
    }
    answer.scanned_through = after;
    Ok(answer)
}

/// Says why a named event does not match; empty if it does.
async fn reason(shared: &Shared, trial: &Trial, event_id: &str) -> Result<String, Status> {
    let log = &**shared.broker.log();
    let id = EventId::parse(event_id)
        .ok_or_else(|| status::invalid("event_id", "not the id of an event: a UUID"))?;
    let found = log.find(id).await.map_err(|error| status::read_failed(&error))?;
    let entry =
        found.ok_or_else(|| Status::not_found(format!("there is no event `{event_id}`")))?;
    let judged = trial.judge(log, &entry, true).await;
    Ok(match judged.map_err(|error| status::read_failed(&error))? {
        Judgement::Taken => String::new(),
        Judgement::Skipped(why) => why.unwrap_or_default(),
        Judgement::Failed(why) => format!("the filter fails: {why}"),
    })
}
