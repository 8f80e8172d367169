//! Who may post: the sources, which may be others from one request to the next.

use std::{collections::BTreeMap, sync::Arc};

use hookline_core::{event::SourceName, source::Source};
use parking_lot::RwLock;

type ByName = BTreeMap<SourceName, Arc<Source>>;

/// The configured sources, by name. Cheap to clone: all clones show the same.
#[derive(Clone, Debug)]
pub struct Directory(Arc<RwLock<Arc<ByName>>>);

impl Directory {
    /// Makes one of these.
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(by_name(sources)))))
    }

    /// Returns the source of this name, as it is now: a request keeps what it has begun with.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Source>> {
        self.0.read().get(name).cloned()
    }

    /// Returns all sources as they are now, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Source>> {
        self.0.read().values().cloned().collect()
    }

    /// Shows these from now on.
    pub fn replace(&self, sources: impl IntoIterator<Item = Source>) {
        let sources = Arc::new(by_name(sources));
        *self.0.write() = sources;
    }
}

fn by_name(sources: impl IntoIterator<Item = Source>) -> ByName {
    sources.into_iter().map(|source| (source.name().clone(), Arc::new(source))).collect()
}
