//! The conditions by which events are listed, watched or counted.

use std::sync::Arc;

use hookline_core::filter::Filter;
use hookline_proto::v1;
use tonic::Status;

use crate::{
    broker::{Broker, Judge, Judgement, Sight},
    grpc::{fields, status},
    store::{Entry, EventLog, ReadError, select::Selection},
};

/// What is tried: what an index can tell, and a filter (none: all that is selected).
pub(super) struct Trial {
    pub(super) selection: Arc<Selection>,
    filter: Option<Filter>,
    /// What is out of sight is not there; `None`: everything is in sight.
    sight: Option<(Broker, Sight)>,
}

impl Trial {
    pub(super) fn read(patterns: &[String], filter: &str) -> Result<Self, Status> {
        let patterns = fields::patterns("patterns", patterns)?;
        let selection = Selection { patterns, ..Selection::default() };
        Self::new(selection, filter)
    }

    /// Leaves out what is out of sight.
    pub(super) fn show(&mut self, broker: &Broker, sight: Sight) {
        self.sight = (!sight.is_all()).then(|| (broker.clone(), sight));
    }

    /// Whether an entry is in sight.
    pub(super) fn sees(&self, entry: &Entry) -> bool {
        let sight = self.sight.as_ref();
        sight.is_none_or(|(broker, sight)| broker.shows_event(sight, &entry.event.content))
    }

    /// Reads the conditions of a list.
    pub(super) fn of_list(request: &v1::ListEventsRequest) -> Result<Self, Status> {
        let selection = Selection {
            patterns: fields::patterns("patterns", &request.patterns)?,
            resource_type: fields::text("resource_type", &request.resource_type)?,
            resource_id: fields::text("resource_id", &request.resource_id)?,
            actor: fields::text("actor", &request.actor)?,
        };
        Self::new(selection, &request.filter)
    }

    fn new(selection: Selection, filter: &str) -> Result<Self, Status> {
        let filter = fields::filter("filter", filter)?;
        Ok(Self { selection: Arc::new(selection), filter, sight: None })
    }

    /// Whether an event that is selected may still be refused.
    pub(super) fn has_filter(&self) -> bool {
        self.filter.is_some() || self.sight.is_some()
    }

    /// Judges an event by all conditions, with the reason for which it is not taken if that is asked for.
    pub(super) async fn judge(
        &self,
        log: &dyn EventLog,
        entry: &Entry,
        explains: bool,
    ) -> Result<Judgement, ReadError> {
        if !self.sees(entry) {
            return Ok(Judgement::Skipped(None));
        }
        if !self.selection.takes(&entry.event.content) {
            return Ok(Judgement::Skipped(explains.then(|| self.why_not_selected(entry))));
        }
        Judge::of(log, entry).try_out(None, self.filter.as_ref(), explains).await
    }

    fn why_not_selected(&self, entry: &Entry) -> String {
        let content = &entry.event.content;
        if self.selection.takes_subject(&content.source, &content.event_type) {
            return "its resource or its actor is another".to_owned();
        }
        format!("no pattern takes its subject `{}`", entry.event.subject())
    }

    /// Whether they take an event. One that the filter fails on they don't.
    pub(super) async fn takes(&self, log: &dyn EventLog, entry: &Entry) -> Result<bool, Status> {
        let judged = self.judge(log, entry, false).await;
        Ok(judged.map_err(|error| status::read_failed(&error))? == Judgement::Taken)
    }
}
