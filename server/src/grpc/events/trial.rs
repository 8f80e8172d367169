//! Patterns and a filter by which events are listed, watched or counted.

use hookline_core::{filter::Filter, pattern::PatternSet};
use tonic::Status;

use crate::{
    broker::{Judge, Judgement},
    grpc::{fields, status},
    store::{Entry, EventLog, ReadError},
};

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
        judge.try_out(self.patterns.as_ref(), self.filter.as_ref(), explains).await
    }

    /// Whether they take an event. One that the filter fails on they don't.
    pub(super) async fn takes(&self, log: &dyn EventLog, entry: &Entry) -> Result<bool, Status> {
        let judged = self.judge(log, entry, false).await;
        Ok(judged.map_err(|error| status::read_failed(&error))? == Judgement::Taken)
    }
}
