//! `TestFilter`: patterns and a filter, tried against the log.

use hookline_core::event::EventId;
use hookline_proto::v1;
use prost::Message as _;
use tonic::Status;

use super::trial::Trial;
use crate::{
    broker::{Judgement, Sight, Start},
    grpc::{Shared, convert, fields, status},
    limits::{
        LIST_LOOKED_AT_MAX, LIST_READ_BYTES, LIST_READ_ENTRIES, PAGE_BYTES_MAX, SAMPLES_DEFAULT,
        SAMPLES_MAX,
    },
    store::{ReadError, ReadLimit, ReadRange},
};

/// How much of the log one read takes.
const READ: ReadLimit = ReadLimit { count: LIST_READ_ENTRIES, bytes: LIST_READ_BYTES };

pub(super) async fn test(
    shared: &Shared,
    sight: Sight,
    request: v1::TestFilterRequest,
) -> Result<v1::TestFilterResponse, Status> {
    let log = &**shared.broker.log();
    let read_failed = |error: ReadError| status::read_failed(&error);
    let mut trial = Trial::read(&request.patterns, &request.filter)?;
    trial.show(&shared.broker, sight);
    let mut samples_max = request.sample_size.map_or(SAMPLES_DEFAULT, |size| {
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
    let mut bytes = 0;
    let most = u64::try_from(LIST_LOOKED_AT_MAX).unwrap_or(u64::MAX);
    let mut looked_at = 0;
    while looked_at < most {
        let entries = log.read(ReadRange { after, limit: READ }).await.map_err(read_failed)?;
        let Some(last) = entries.last() else { break };
        after = last.event.sequence.get();
        looked_at += u64::try_from(entries.len()).unwrap_or(u64::MAX);
        for entry in entries.into_iter().filter(|entry| trial.sees(entry)) {
            answer.scanned_count += 1;
            match trial.judge(log, &entry, false).await.map_err(read_failed)? {
                Judgement::Taken => {
                    answer.matched_count += 1;
                    if answer.samples.len() < samples_max {
                        let sample = convert::bare_event(&entry);
                        bytes += sample.encoded_len();
                        if bytes <= PAGE_BYTES_MAX {
                            answer.samples.push(sample);
                        } else {
                            samples_max = 0;
                        }
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
    let entry = found
        .filter(|entry| trial.sees(entry))
        .ok_or_else(|| Status::not_found(format!("there is no event `{event_id}`")))?;
    let judged = trial.judge(log, &entry, true).await;
    Ok(match judged.map_err(|error| status::read_failed(&error))? {
        Judgement::Taken => String::new(),
        Judgement::Skipped(why) => why.unwrap_or_default(),
        Judgement::Failed(why) => format!("the filter fails: {why}"),
    })
}
