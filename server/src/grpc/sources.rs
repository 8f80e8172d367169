//! `SourceService`: who may post, and what came of it. No secret is ever part of an answer.

use hookline_core::{pattern::PatternSet, source::Source, verify::Scheme};
use hookline_proto::v1::{self, source_service_server::SourceService};
use tonic::{Request, Response, Status};

use super::{Shared, auth, convert};
use crate::http::{Cause, Counts, Outcome};

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

#[tonic::async_trait]
impl SourceService for Service {
    async fn list_sources(
        &self,
        request: Request<v1::ListSourcesRequest>,
    ) -> Result<Response<v1::ListSourcesResponse>, Status> {
        let caller = auth::caller(&request)?;
        let sight = caller.reads();
        let sources = &self.0.sources;
        // What is counted of a source is of all its events.
        let configured = sources.configured.all();
        let shown = configured.iter().filter(|source| {
            PatternSet::parse([source.name().as_str()]).is_ok_and(|all| sight.takes(&all))
        });
        let told = shown.map(|source| source_told(source, &sources.counts));
        let sees_all = caller.sees_all();
        Ok(Response::new(v1::ListSourcesResponse {
            sources: told.collect(),
            unknown_source_count: if sees_all { sources.counts.unknown_source_count() } else { 0 },
        }))
    }
}

fn source_told(source: &Source, counts: &Counts) -> v1::Source {
    let name = source.name();
    let path = source.path();
    let taken = |outcome| counts.taken(name, outcome);
    let refusals = Cause::ALL.into_iter().map(|cause| v1::SourceRefusal {
        cause: cause.as_str().to_owned(),
        count: counts.refused(name, cause),
    });
    let schemes = if source.is_unsigned() { &[] } else { source.schemes() };
    let schemes = schemes.iter().filter(|scheme| source.takes(scheme));
    v1::Source {
        name: name.to_string(),
        kind: source.kind().to_string(),
        url: source.url_of(&path).unwrap_or_default(),
        path,
        schemes: schemes.map(Scheme::to_string).collect(),
        unsigned: source.is_unsigned(),
        replay_window: source.settings().replay_window.map(convert::duration),
        last_event_at: counts.last_event_at(name).map(convert::timestamp),
        accepted_count: taken(Outcome::Accepted),
        duplicate_count: taken(Outcome::Duplicate),
        replayed_count: taken(Outcome::Replayed),
        handshake_count: taken(Outcome::Handshake),
        refusals: refusals.filter(|refusal| 0 < refusal.count).collect(),
    }
}

#[cfg(test)]
mod tests {
    use hookline_core::{
        event::SourceName,
        source::{Kind, LiveSecret, PublicUrl, Secret, Settings},
    };

    use super::*;

    #[test]
    fn a_source_is_told_with_its_address_and_without_its_secret() {
        let name = SourceName::parse("forge").unwrap();
        let base = |url: &str| Some(PublicUrl::Base(url.into()));
        let exact = |url: &str| Some(PublicUrl::Exact(url.into()));
        for (url, want) in [
            (None, ""),
            (base("https://hooks.example.com/"), "https://hooks.example.com/webhooks/forge"),
            (exact("https://example.com/in?a=1"), "https://example.com/in?a=1"),
        ] {
            let secret = LiveSecret::from(Secret::new("hunter2").unwrap());
            let settings = Settings { url, ..Settings::default() };
            let source = Source::new(name.clone(), Kind::GITHUB, vec![secret], settings).unwrap();
            let told = source_told(&source, &Counts::new([&source]));
            assert_eq!((told.url.as_str(), told.path.as_str()), (want, "/webhooks/forge"));
            assert_eq!(told.schemes, ["HMAC-SHA256 hex in x-hub-signature-256"]);
            assert!(!told.unsigned && told.refusals.is_empty() && told.last_event_at.is_none());
            assert!(!format!("{told:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_source_that_is_not_signed_has_no_schemes() {
        let name = SourceName::parse("forge").unwrap();
        let source = Source::unsigned(name, Kind::GITHUB, Settings::default()).unwrap();
        let told = source_told(&source, &Counts::new([&source]));
        assert!(told.unsigned && told.schemes.is_empty());
    }
}
