//! Patterns: which subjects a subscription takes.
//!
//! A pattern is `source/type`. `*` alone as source is any source; in the type `*` stands for any run of characters,
//! dots included, also none. A missing or empty type is `*`. A leading `!` takes away. The source `dead-letter` is
//! reserved: only a pattern that names it matches it, so that `*` does not hand an agent its own failures.

use std::fmt;

mod matcher;

pub use matcher::{Matcher, MatcherError};

use crate::event::{DEAD_LETTER_SOURCE, EventType, NameError, SOURCE_BYTES_MAX, SourceName};

/// The most bytes of a pattern.
pub const PATTERN_BYTES_MAX: usize = 256;
/// The most patterns of a set.
pub const PATTERNS_MAX: usize = 100;

/// One valid pattern in normal form. Ordered: what takes before what takes away, any source before named ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    negative: bool,
    source: SourcePattern,
    /// Of `[a-z0-9_.-]` and `*`, never empty, never two `*` in a row.
    event_type: Box<str>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SourcePattern {
    Any,
    Named(SourceName),
}

/// Why a pattern was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {position}: {problem}")]
pub struct PatternError {
    /// Where the problem begins, in bytes from 0 of the pattern as given.
    pub position: usize,
    /// What is wrong there.
    pub problem: PatternProblem,
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// There is nothing before the `/`, or nothing at all.
    #[error("the source is empty; `*` stands for any source")]
    NoSource,
    /// `*` stands beside other characters in the source.
    #[error("`*` must stand alone as source")]
    PartialSource,
    /// The source is longer than a name may be.
    #[error("the source has more than {SOURCE_BYTES_MAX} bytes")]
    LongSource,
    /// The pattern has a third part.
    #[error("a second `/`; a pattern is `source/type`")]
    SecondSlash,
    /// A character outside the alphabet of the source.
    #[error("`{0}` in the source, outside [a-z0-9_-]")]
    SourceCharacter(char),
    /// A character outside the alphabet of the type.
    #[error("`{0}` in the type, outside [a-z0-9_.-] and `*`")]
    TypeCharacter(char),
    /// The pattern has too many bytes.
    #[error("the pattern has more than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
}

impl Pattern {
    /// Parses a pattern and brings it into normal form.
    ///
    /// # Errors
    ///
    /// If the text is not a pattern; says where and why.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let fail = |position, problem| Err(PatternError { position, problem });
        if text.len() > PATTERN_BYTES_MAX {
            return fail(PATTERN_BYTES_MAX, PatternProblem::TooLong);
        }
        let (negative, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let source_at = usize::from(negative);
        let (source, event_type) = rest.split_once('/').unwrap_or((rest, ""));
        let source = match source {
            "*" => SourcePattern::Any,
            "" => return fail(source_at, PatternProblem::NoSource),
            name => match SourceName::parse(name) {
                Ok(name) => SourcePattern::Named(name),
                Err(error) => {
                    let (position, problem) = source_problem(&error);
                    return fail(source_at + position, problem);
                }
            },
        };
        let type_at = text.len() - event_type.len();
        let is_allowed = |c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-' | '*');
        match event_type.char_indices().find(|&(_, c)| !is_allowed(c)) {
            Some((at, '/')) => return fail(type_at + at, PatternProblem::SecondSlash),
            Some((at, c)) => return fail(type_at + at, PatternProblem::TypeCharacter(c)),
            None => {}
        }
        Ok(Self { negative, source, event_type: collapse(event_type) })
    }

    /// Whether the pattern takes away, i.e. begins with `!`.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether the subject is one of those that the pattern speaks of, be it to take or to take away.
    #[must_use]
    pub fn covers(&self, source: &SourceName, event_type: &EventType) -> bool {
        let of_source = match &self.source {
            SourcePattern::Any => source.as_str() != DEAD_LETTER_SOURCE,
            SourcePattern::Named(name) => name == source,
        };
        of_source && matches_wildcard(&self.event_type, event_type.as_str())
    }

    /// Whether every subject that `inner` speaks of is one that this pattern speaks of too, be it to take or to take away.
    fn includes(&self, inner: &Self) -> bool {
        let of_source = match (&self.source, &inner.source) {
            (SourcePattern::Any, SourcePattern::Any) => true,
            (SourcePattern::Any, SourcePattern::Named(name)) => name.as_str() != DEAD_LETTER_SOURCE,
            (SourcePattern::Named(_), SourcePattern::Any) => false,
            (SourcePattern::Named(one), SourcePattern::Named(other)) => one == other,
        };
        // No literal holds a `*`, so those of the inner pattern can only be taken by the stars of this one. Then so can
        // whatever they stand for.
        of_source && matches_wildcard(&self.event_type, &inner.event_type)
    }

    /// Whether no subject is one that both patterns speak of, as far as can be told by where they begin and end.
    fn is_apart_from(&self, other: &Self) -> bool {
        let of_source = match (&self.source, &other.source) {
            (SourcePattern::Any, SourcePattern::Any) => false,
            (SourcePattern::Any, SourcePattern::Named(name))
            | (SourcePattern::Named(name), SourcePattern::Any) => {
                name.as_str() == DEAD_LETTER_SOURCE
            }
            (SourcePattern::Named(one), SourcePattern::Named(other)) => one != other,
        };
        of_source || are_apart(&self.event_type, &other.event_type)
    }

    /// Returns the type, with its stars, of a pattern that takes dead letters: which subscriptions' they are.
    #[must_use]
    pub fn dead_letters_of(&self) -> Option<&str> {
        let SourcePattern::Named(name) = &self.source else { return None };
        let is_of_them = name.as_str() == DEAD_LETTER_SOURCE && !self.negative;
        is_of_them.then_some(&*self.event_type)
    }

    /// Returns the part that is matched against `source/type`: the pattern without its `!`.
    fn glob(&self) -> String {
        let source = match &self.source {
            SourcePattern::Any => "*",
            SourcePattern::Named(name) => name.as_str(),
        };
        format!("{source}/{}", self.event_type)
    }
}

/// The normal form: `github`, `github/` and `github/*` are `github/*`; `*` is `*/*`; `**` is `*`.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "!" } else { "" };
        write!(f, "{sign}{}", self.glob())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

fn source_problem(error: &NameError) -> (usize, PatternProblem) {
    match *error {
        NameError::Empty { .. } => (0, PatternProblem::NoSource),
        NameError::TooLong { max, .. } => (max, PatternProblem::LongSource),
        NameError::Character { found: '*', position, .. } => {
            (position, PatternProblem::PartialSource)
        }
        NameError::Character { found, position, .. } => {
            (position, PatternProblem::SourceCharacter(found))
        }
    }
}

/// Returns the normal form of a type: runs of `*` mean what one `*` means, and nothing means everything.
fn collapse(event_type: &str) -> Box<str> {
    if event_type.is_empty() {
        return "*".into();
    }
    let mut text = String::with_capacity(event_type.len());
    for c in event_type.chars() {
        if c != '*' || !text.ends_with('*') {
            text.push(c);
        }
    }
    text.into()
}

/// Matches text against literals with `*` between them, in one pass: the first literal is where the text begins, the
/// last where it ends, and each one between is taken where it is found first.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut between) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last))
    else {
        return false;
    };
    for literal in middle.split('*') {
        match between.split_once(literal) {
            Some((_, after)) => between = after,
            None => return false,
        }
    }
    true
}

/// Whether no text matches both; false where it takes more than a look at both ends to tell.
fn are_apart(one: &str, other: &str) -> bool {
    match (one.contains('*'), other.contains('*')) {
        (false, _) => return !matches_wildcard(other, one),
        (_, false) => return !matches_wildcard(one, other),
        (true, true) => {}
    }
    let differs = |(a, b): (char, char)| a != '*' && b != '*' && a != b;
    let differ = |ends: &mut dyn Iterator<Item = (char, char)>| {
        ends.take_while(|(a, b)| *a != '*' && *b != '*').any(differs)
    };
    differ(&mut one.chars().zip(other.chars()))
        || differ(&mut one.chars().rev().zip(other.chars().rev()))
}

/// The patterns of a subscription: 1 to 100, at least one without `!`, sorted, each once.
#[derive(Clone, PartialEq, Eq)]
pub struct PatternSet(Box<[Pattern]>);

/// Why a set of patterns was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternSetError {
    /// There are no patterns.
    #[error("at least one pattern is needed")]
    Empty,
    /// There are too many patterns.
    #[error("more than {PATTERNS_MAX} patterns")]
    TooMany,
    /// All patterns take away.
    #[error("at least one pattern without `!` is needed")]
    NothingTaken,
    /// One of the patterns is not valid.
    #[error("pattern {index} is not valid")]
    Invalid {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        source: PatternError,
    },
}

impl PatternSet {
    /// Parses a set of patterns, in any order; repeated ones count once, but against the limit each time.
    ///
    /// # Errors
    ///
    /// If a pattern is not valid, all of them take away, there are none, or more than [`PATTERNS_MAX`].
    pub fn parse<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, PatternSetError> {
        let mut patterns = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            if index == PATTERNS_MAX {
                return Err(PatternSetError::TooMany);
            }
            let pattern = Pattern::parse(text.as_ref())
                .map_err(|source| PatternSetError::Invalid { index, source })?;
            patterns.push(pattern);
        }
        if patterns.is_empty() {
            return Err(PatternSetError::Empty);
        }
        if patterns.iter().all(Pattern::is_negative) {
            return Err(PatternSetError::NothingTaken);
        }
        patterns.sort();
        patterns.dedup();
        Ok(Self(patterns.into()))
    }

    /// Returns the patterns in normal form, sorted: what takes first, then what takes away.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// Whether an event with this subject is taken: one pattern covers it, and none with `!` does.
    #[must_use]
    pub fn matches(&self, source: &SourceName, event_type: &EventType) -> bool {
        let covers = |pattern: &&Pattern| pattern.covers(source, event_type);
        let taken = self.0.iter().filter(|pattern| !pattern.negative).any(|p| covers(&p));
        taken && !self.0.iter().filter(|pattern| pattern.negative).any(|p| covers(&p))
    }

    /// Whether every subject that this set takes is taken by `outer` too.
    ///
    /// Yes is always right. No may be wrong where several patterns of `outer` together take what one of this set does, or
    /// where patterns with stars have nothing in common that a look at both their ends could tell apart: each pattern must
    /// lie within a single one, and what `outer` takes away must be taken away by a single one, or be out of reach.
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        let (takes, away): (Vec<_>, Vec<_>) = self.0.iter().partition(|one| !one.negative);
        let (outer_takes, outer_away): (Vec<_>, Vec<_>) =
            outer.0.iter().partition(|one| !one.negative);
        takes.iter().all(|one| {
            let excluded = |never: &&Pattern| {
                one.is_apart_from(never) || away.iter().any(|away| away.includes(never))
            };
            outer_takes.iter().any(|outer| outer.includes(one)) && outer_away.iter().all(excluded)
        })
    }
}

impl fmt::Display for PatternSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{pattern}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PatternSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}
