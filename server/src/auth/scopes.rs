//! What a token may do.

use std::{collections::BTreeSet, fmt};

use hookline_core::{
    event::{DEAD_LETTER_SOURCE, NameError, SourceName},
    pattern::{PatternSet, PatternSetError},
};

use crate::limits::TOKEN_SOURCES_MAX;

/// A kind of scope, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Work on subscriptions whose patterns lie within the token's.
    Subscribe,
    /// Publish events as certain sources.
    Publish,
    /// Look at events within the token's patterns, and at what became of them.
    Read,
    /// Change subscriptions and dead letters, and look at everything.
    Operate,
}

impl Scope {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Subscribe, Self::Publish, Self::Read, Self::Operate];

    /// Returns its name, as it stands in the file and in errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The scopes of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Whose events it may work on.
    pub subscribe: Option<PatternSet>,
    /// As whom it may publish; never `dead-letter`.
    pub publish: BTreeSet<SourceName>,
    /// Whose events it may look at.
    pub read: Option<PatternSet>,
    /// Whether it may change what others work on.
    pub operate: bool,
}

/// Why scopes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopesError {
    /// A set of patterns is not valid.
    #[error("`{scope}`")]
    Patterns {
        /// Of this scope.
        scope: Scope,
        /// What is wrong.
        source: PatternSetError,
    },
    /// A name is not one of a source.
    #[error("`publish`")]
    Source(#[from] NameError),
    /// Nobody publishes as the source of dead letters.
    #[error("`publish`: `dead-letter` is reserved for dead letters")]
    DeadLetter,
    /// There are too many sources.
    #[error("`publish`: more than {TOKEN_SOURCES_MAX} sources")]
    TooManySources,
}

impl Scopes {
    /// Reads scopes; an empty list is a scope that the token does not have.
    ///
    /// # Errors
    ///
    /// If a pattern or a name is not valid.
    pub fn parse(
        subscribe: &[String],
        publish: &[String],
        read: &[String],
        operate: bool,
    ) -> Result<Self, ScopesError> {
        let patterns = |scope, texts: &[String]| {
            let set = (!texts.is_empty()).then(|| PatternSet::parse(texts)).transpose();
            set.map_err(|source| ScopesError::Patterns { scope, source })
        };
        if TOKEN_SOURCES_MAX < publish.len() {
            return Err(ScopesError::TooManySources);
        }
        let publish = publish.iter().map(|name| {
            let source = SourceName::parse(name)?;
            if source.as_str() == DEAD_LETTER_SOURCE {
                Err(ScopesError::DeadLetter)
            } else {
                Ok(source)
            }
        });
        Ok(Self {
            subscribe: patterns(Scope::Subscribe, subscribe)?,
            publish: publish.collect::<Result<_, _>>()?,
            read: patterns(Scope::Read, read)?,
            operate,
        })
    }

    /// Whether it has a scope of this kind at all.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        match scope {
            Scope::Subscribe => self.subscribe.is_some(),
            Scope::Publish => !self.publish.is_empty(),
            Scope::Read => self.read.is_some(),
            Scope::Operate => self.operate,
        }
    }

    /// Whether it may do nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !Scope::ALL.into_iter().any(|scope| self.has(scope))
    }
}

/// What it may do, for people: `subscribe github/*; publish agent`.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(patterns) = &self.subscribe {
            parts.push(format!("subscribe {patterns}"));
        }
        if !self.publish.is_empty() {
            let names: Vec<_> = self.publish.iter().map(SourceName::as_str).collect();
            parts.push(format!("publish {}", names.join(", ")));
        }
        if let Some(patterns) = &self.read {
            parts.push(format!("read {patterns}"));
        }
        if self.operate {
            parts.push("operate".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn an_empty_list_is_no_scope() {
        let none = Scopes::parse(&[], &[], &[], false).unwrap();
        assert!(none.is_empty() && none == Scopes::default());
        let some = Scopes::parse(&texts(&["github"]), &texts(&["agent"]), &[], true).unwrap();
        let has: Vec<_> = Scope::ALL.into_iter().filter(|scope| some.has(*scope)).collect();
        assert_eq!(has, [Scope::Subscribe, Scope::Publish, Scope::Operate]);
        assert_eq!(some.to_string(), "subscribe github/*; publish agent; operate");
    }

    #[test]
    fn what_is_not_valid_is_refused_with_its_scope() {
        let refused = Scopes::parse(&[], &[], &texts(&["!github"]), false).unwrap_err();
        assert!(matches!(refused, ScopesError::Patterns { scope: Scope::Read, .. }), "{refused}");
        let refused = Scopes::parse(&[], &texts(&["dead-letter"]), &[], false).unwrap_err();
        assert_eq!(refused, ScopesError::DeadLetter);
        assert!(Scopes::parse(&[], &texts(&["*"]), &[], false).is_err());
        let many = vec!["a".to_owned(); TOKEN_SOURCES_MAX + 1];
        assert_eq!(Scopes::parse(&[], &many, &[], false), Err(ScopesError::TooManySources));
    }
}
