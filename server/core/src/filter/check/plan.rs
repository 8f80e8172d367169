//! What the check finds out about an expression, for its evaluations.

use std::sync::Arc;

use cel::common::types::CelInt;

use super::super::guard::Pattern;

/// What an evaluation has to know of its expression.
#[derive(Debug, Default)]
pub(in crate::filter) struct Plan {
    pub(in crate::filter) reads_payload: bool,
    pub(in crate::filter) patterns: Vec<Pattern>,
    /// The most elements that a comprehension may go through.
    pub(in crate::filter) elements_max: CelInt,
    /// The last key of each path with the whole path; `None` where several paths end in that key. Sorted.
    paths: Vec<(String, Option<Arc<str>>)>,
}

impl Plan {
    /// Returns the path that ends in a key.
    pub(in crate::filter) fn path_of(&self, key: &str) -> Arc<str> {
        let at = self.paths.binary_search_by(|(name, _)| name.as_str().cmp(key)).ok();
        let path = at.and_then(|at| self.paths.get(at)).and_then(|(_, path)| path.clone());
        path.unwrap_or_else(|| key.into())
    }

    /// Notes that the expression reads a path, which ends in a key.
    pub(super) fn add_path(&mut self, key: &str, path: &str) {
        match self.paths.binary_search_by(|(name, _)| name.as_str().cmp(key)) {
            Err(at) => self.paths.insert(at, (key.to_owned(), Some(path.into()))),
            Ok(at) => {
                if let Some((_, known)) = self.paths.get_mut(at)
                    && known.as_deref() != Some(path)
                {
                    *known = None;
                }
            }
        }
    }
}
