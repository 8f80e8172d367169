//! All patterns of all subscriptions in one matcher, asked once per event.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Pattern, PatternSet, SourcePattern};
use crate::event::{DEAD_LETTER_SOURCE, EventType, SourceName};

/// The most bytes of patterns that are compiled together: globset compiles them into one automaton, whose size it
/// limits to 10 MiB, and a byte of a pattern costs it up to about 100.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Ends globs and subjects. globset takes both for paths of files: without it, it would look for the extension of
/// `x/*.`, and find none in `x/a.`, whose last part it does not take for a file's name.
const END: char = '/';

/// The pattern sets of many readers, compiled. `K` names a reader; keys are given back in ascending order.
#[derive(Debug)]
pub struct Matcher<K> {
    keys: Vec<K>,
    chunks: Vec<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    globs: GlobSet,
    /// For each glob of `globs`, in its order.
    uses: Vec<Uses>,
}

/// Who uses a glob: positions in `Matcher::keys`.
#[derive(Debug, Default)]
struct Uses {
    is_any_source: bool,
    taken_by: Vec<usize>,
    taken_away_by: Vec<usize>,
}

/// The patterns together are more than the matcher can hold.
#[derive(Debug, thiserror::Error)]
#[error("could not compile the patterns")]
pub struct MatcherError(#[from] globset::Error);

impl<K: Ord + Clone> Matcher<K> {
    /// Compiles the sets. Of several sets with one key any may take an event; the key is given back once.
    ///
    /// # Errors
    ///
    /// If the compiled patterns would take more memory than globset allows.
    pub fn new<'a>(
        sets: impl IntoIterator<Item = (K, &'a PatternSet)>,
    ) -> Result<Self, MatcherError> {
        let mut sets: Vec<_> = sets.into_iter().collect();
        sets.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut globs: BTreeMap<String, Uses> = BTreeMap::new();
        for (index, (_, set)) in sets.iter().enumerate() {
            for pattern in set.patterns() {
                globs.entry(pattern.glob()).or_default().add(pattern, index);
            }
        }
        let mut chunks = Vec::new();
        let mut open = (GlobSetBuilder::new(), Vec::new(), 0);
        for (glob, uses) in globs {
            if open.2 + glob.len() > CHUNK_BYTES_MAX {
                chunks.push(Chunk { globs: open.0.build()?, uses: open.1 });
                open = (GlobSetBuilder::new(), Vec::new(), 0);
            }
            // `*` must not cross the `/`; within the alphabet of patterns nothing but `*` is special.
            let closed = format!("{glob}{END}");
            open.0.add(GlobBuilder::new(&closed).literal_separator(true).build()?);
            open.1.push(uses);
            open.2 += glob.len();
        }
        chunks.push(Chunk { globs: open.0.build()?, uses: open.1 });
        Ok(Self { keys: sets.into_iter().map(|(key, _)| key).collect(), chunks })
    }

    /// Returns the keys of the sets that take an event with this subject, each once, ascending.
    #[must_use]
    pub fn matches(&self, source: &SourceName, event_type: &EventType) -> Vec<K> {
        let is_reserved = source.as_str() == DEAD_LETTER_SOURCE;
        let subject = format!("{source}/{event_type}{END}");
        let (mut taken, mut taken_away) = (Vec::new(), Vec::new());
        for chunk in &self.chunks {
            for glob in chunk.globs.matches(&subject) {
                let Some(uses) = chunk.uses.get(glob) else { continue };
                if is_reserved && uses.is_any_source {
                    continue;
                }
                taken.extend_from_slice(&uses.taken_by);
                taken_away.extend_from_slice(&uses.taken_away_by);
            }
        }
        taken.sort_unstable();
        taken.dedup();
        taken_away.sort_unstable();
        taken.retain(|index| taken_away.binary_search(index).is_err());
        let mut keys: Vec<K> =
            taken.into_iter().filter_map(|index| self.keys.get(index).cloned()).collect();
        keys.dedup();
        keys
    }
}

impl Uses {
    fn add(&mut self, pattern: &Pattern, user: usize) {
        self.is_any_source = matches!(pattern.source, SourcePattern::Any);
        if pattern.negative {
            self.taken_away_by.push(user);
        } else {
            self.taken_by.push(user);
        }
    }
}
