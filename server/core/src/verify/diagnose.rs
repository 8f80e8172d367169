//! Why a request is refused, for the operator who has it at hand: what would have to be otherwise for it to verify.
//!
//! Variants of the request and of the configuration are tried, the likeliest first, and the first that verifies is named.
//! Whatever is found is named by its place and its form: no secret and no signature is ever part of it. Nothing of this
//! is for senders, and nothing of it is reachable over HTTP: it would tell who guesses how near he is.

mod bodies;
mod finding;
mod rewrite;
mod schemes;
mod secrets;
mod urls;

pub use self::{
    finding::{BodyChange, Diagnosis, Finding, SecretChange, UrlChange},
    rewrite::{Escapes, Layout},
};
use super::{Request, VerifyError};
use crate::{
    normalize::receive,
    source::{LiveSecret, Secret, Settings, Source},
    time::Timestamp,
};

/// A request that is refused, and what it might have been meant for.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The source that it was posted to.
    pub source: &'a Source,
    /// All configured sources, whose secrets may have been mixed up.
    pub sources: &'a [Source],
    /// The request, a POST.
    pub request: Request<'a>,
    /// The address at which the sender posted, where that is known better than by the configuration.
    pub posted_url: Option<&'a str>,
    /// When it came.
    pub now: Timestamp,
}

/// Returns what is wrong with a request; `None` if it verifies, or if none of the variants does.
#[must_use]
pub fn diagnose(case: &Case<'_>) -> Option<Diagnosis> {
    let age = match receive(case.source, case.request, case.now) {
        Ok(_) => return None,
        Err(error) => age_of(error),
    };
    if age.is_some() {
        return Some(Diagnosis { finding: Finding::Age, age });
    }
    let tries = [secrets::find, bodies::find, urls::find, schemes::find];
    let mut found = tries.into_iter().filter_map(|find| find(case));
    found.next().or_else(|| schemes::other_kind(case))
}

/// Returns an error that says a genuine signature came at the wrong time.
fn age_of(error: VerifyError) -> Option<VerifyError> {
    match error {
        VerifyError::Stale { .. } | VerifyError::Early { .. } => Some(error),
        VerifyError::Missing(_)
        | VerifyError::Ambiguous(_)
        | VerifyError::Malformed(_)
        | VerifyError::Wrong(_) => None,
    }
}

impl Case<'_> {
    /// Returns the finding if this request to this source is genuine, whenever it came.
    fn judge(
        &self,
        source: &Source,
        request: Request<'_>,
        finding: impl FnOnce() -> Finding,
    ) -> Option<Diagnosis> {
        let age = match receive(source, request, self.now) {
            Ok(_) => None,
            Err(error) => Some(age_of(error)?),
        };
        Some(Diagnosis { finding: finding(), age })
    }

    /// Returns the source with another secret in place of its own; `None` if the secret is not of its kind.
    fn with_secret(&self, secret: Secret) -> Option<Source> {
        self.with(vec![secret.into()], self.source.settings().clone())
    }

    /// Returns the source with other secrets and settings; `None` if they do not fit its kind.
    fn with(&self, secrets: Vec<LiveSecret>, settings: Settings) -> Option<Source> {
        Source::new(self.source.name().clone(), self.source.kind(), secrets, settings).ok()
    }
}

#[cfg(test)]
mod tests;
