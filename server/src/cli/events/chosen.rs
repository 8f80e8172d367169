//! Which events of the log are meant, beside their patterns.

use hookline_client::proto::{ListEventsRequest, start_position::Position};
use hookline_core::time::Timestamp;

use crate::cli::{CommandError, place::Place};

/// Conditions that all have to hold.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Chosen {
    /// A CEL expression that events must make true
    #[arg(long, value_name = "EXPRESSION", default_value = "", hide_default_value = true)]
    pub(super) filter: String,
    /// Only about this thing: its type and id, such as `pull_request/octo/hello#42`
    #[arg(long, value_name = "TYPE/ID", value_parser = read_resource,
        conflicts_with_all = ["resource_type", "resource_id"])]
    resource: Option<(String, String)>,
    /// Only about this kind of thing, such as `pull_request`
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    resource_type: String,
    /// Only about the thing with this id, such as `octo/hello#42`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    resource_id: String,
    /// Only what this actor did
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    actor: String,
    /// Only from here on: a sequence, a time (2026-11-23T09:00:00Z), or so long ago (10m)
    #[arg(long, visible_alias = "since", value_name = "POSITION", default_value = "earliest",
        value_parser = Place::parse)]
    from: Place,
    /// Only what is before: a sequence, a time, or so long ago
    #[arg(long, visible_alias = "until", value_name = "POSITION", default_value = "latest",
        value_parser = Place::parse)]
    to: Place,
}

impl Chosen {
    /// Returns the request that lists them.
    pub(super) fn request(
        &self,
        patterns: &[String],
        now: Timestamp,
    ) -> Result<ListEventsRequest, CommandError> {
        let usage = |told: &str| Err(CommandError::Usage(told.to_owned()));
        let (resource_type, resource_id) = match &self.resource {
            Some((kind, id)) => (kind.clone(), id.clone()),
            None => (self.resource_type.clone(), self.resource_id.clone()),
        };
        let mut request = ListEventsRequest {
            patterns: patterns.to_vec(),
            filter: self.filter.clone(),
            resource_type,
            resource_id,
            actor: self.actor.clone(),
            ..ListEventsRequest::default()
        };
        match self.from.position(now) {
            Position::Earliest(()) => {}
            Position::Latest(()) => return usage("nothing is after `latest`: see `hookline tail`"),
            Position::Sequence(sequence) => request.start_sequence = Some(sequence),
            Position::Time(time) => request.start_time = Some(time),
        }
        match self.to.position(now) {
            Position::Latest(()) => {}
            Position::Earliest(()) => return usage("nothing is before `earliest`"),
            Position::Sequence(sequence) => request.end_sequence = Some(sequence),
            Position::Time(time) => request.end_time = Some(time),
        }
        Ok(request)
    }
}

/// Reads a resource: ids may have slashes, types have none.
fn read_resource(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((kind, id)) if !kind.is_empty() && !id.is_empty() => {
            Ok((kind.to_owned(), id.to_owned()))
        }
        Some(_) | None => Err("write the type and the id, such as `issue/octo/hello#42`; or use \
                               --resource-type or --resource-id"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_a_type_and_an_id_that_may_have_slashes() {
        let read = read_resource("pull_request/octo/hello#42").unwrap();
        assert_eq!(read, ("pull_request".to_owned(), "octo/hello#42".to_owned()));
        for wrong in ["", "issue", "/x", "issue/"] {
            assert!(read_resource(wrong).is_err(), "{wrong}");
        }
    }
}
