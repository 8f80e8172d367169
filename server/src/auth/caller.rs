//! Who calls, and what they may do.

use std::sync::Arc;

use hookline_core::event::SourceName;

use super::{Entry, Scope};
use crate::broker::Sight;

/// Who calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Entry>>);

impl Caller {
    /// Somebody whom the hub does not ask for a token: who may do everything, but publish as a source of webhooks.
    pub const ANYONE: Self = Self(None);

    /// The holder of a token.
    pub(super) fn holding(entry: Arc<Entry>) -> Self {
        Self(Some(entry))
    }

    pub(super) fn entry(&self) -> Option<&Arc<Entry>> {
        self.0.as_ref()
    }

    /// Returns the name of the caller's token; `None` where no token is asked for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|entry| entry.name.as_str())
    }

    /// Whether the caller has a scope of this kind at all.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.0.as_ref().is_none_or(|entry| entry.scopes.has(scope))
    }

    /// Whether the caller may publish as this source; `is_configured`: webhooks are posted for it, so that only a token
    /// that names it will do.
    #[must_use]
    pub fn may_publish(&self, source: &SourceName, is_configured: bool) -> bool {
        match &self.0 {
            None => !is_configured,
            Some(entry) => entry.scopes.publish.contains(source),
        }
    }

    /// Returns which subscriptions the caller may work on: take their events, and settle them.
    #[must_use]
    pub fn works_on(&self) -> Sight {
        self.sight(&[Scope::Subscribe])
    }

    /// Returns what the caller may read of the log as it likes.
    #[must_use]
    pub fn reads(&self) -> Sight {
        self.sight(&[Scope::Operate, Scope::Read])
    }

    /// Returns what the caller may look at: what it reads, and what it works on.
    #[must_use]
    pub fn looks_at(&self) -> Sight {
        self.sight(&[Scope::Operate, Scope::Read, Scope::Subscribe])
    }

    /// Whether the caller may see figures of the whole hub.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        let all = hookline_core::pattern::PatternSet::parse(["*"]).expect("a pattern");
        self.reads().takes(&all)
    }

    fn sight(&self, by: &[Scope]) -> Sight {
        let Some(entry) = &self.0 else { return Sight::All };
        let scopes = &entry.scopes;
        if by.contains(&Scope::Operate) && scopes.operate {
            return Sight::All;
        }
        let sets = by.iter().filter_map(|scope| match scope {
            Scope::Subscribe => scopes.subscribe.clone(),
            Scope::Read => scopes.read.clone(),
            Scope::Publish | Scope::Operate => None,
        });
        Sight::within(sets)
    }
}
