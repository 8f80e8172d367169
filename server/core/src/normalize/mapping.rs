//! Where in a request things stand, as a table: simple providers have theirs built in, a custom source in the
//! configuration.

use std::borrow::Cow;

use smol_str::{SmolStr, StrExt as _};

use super::{Post, Reading, json, json::Fields, paths::Paths, times};
use crate::verify::scheme::{Text, TimePlace};

/// Where things stand. A thing that is not there is left out; without any part of the event type the request can't be
/// read.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The parts of the event type, joined by dots; a part that is not there is left out.
    pub event_type: Cow<'static, [Pick]>,
    /// What all of the provider's event types begin with, which is taken off.
    pub event_type_prefix: Text,
    /// The delivery's id, where it is not in one of the provider's headers.
    pub id: Pick,
    /// When it happened.
    pub time: Pick,
    /// Who did it.
    pub actor: Pick,
    /// What the actor is.
    pub actor_type: Pick,
    /// What kind of thing it happened to.
    pub resource_type: Pick,
    /// Which thing it happened to.
    pub resource_id: Pick,
    /// What else is kept, by its name in the metadata.
    pub metadata: Cow<'static, [(Text, Pick)]>,
}

/// Places of one thing: the first that has something counts.
pub type Pick = Cow<'static, [From]>;

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A header, named in lower case.
    Header(Text),
    /// A member of the JSON body: keys separated by dots, or as [`pointer()`] makes them; a number stands for a place in an
    /// array.
    Body(Text),
    /// This text.
    Text(Text),
    /// The event type up to the first of these separators, in lower case; nothing if it has none.
    TypeHead(Text),
    /// The event type up to the last of these separators, in lower case; nothing if it has none.
    TypeStem(Text),
}

impl From {
    /// Describes a member of the body.
    pub(crate) const fn body(path: &'static str) -> Self {
        Self::Body(Cow::Borrowed(path))
    }

    /// Describes fixed text.
    pub(crate) const fn text(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Describes the event type up to the first separator.
    pub(crate) const fn type_head(separator: &'static str) -> Self {
        Self::TypeHead(Cow::Borrowed(separator))
    }

    /// Describes the event type up to the last separator.
    pub(crate) const fn type_stem(separator: &'static str) -> Self {
        Self::TypeStem(Cow::Borrowed(separator))
    }
}

/// Makes a [`Pick`] of places that are built in: `pick![header "x-event", body "data.id", text "ticket"]`.
macro_rules! pick {
    ($($place:ident $text:literal),+) => {
        std::borrow::Cow::Borrowed(&[$($crate::normalize::From::$place($text)),+])
    };
}
pub(crate) use pick;

impl Mapping {
    /// Nothing stands anywhere: where a table begins.
    pub const EMPTY: Self = Self {
        event_type: Cow::Borrowed(&[]),
        event_type_prefix: Cow::Borrowed(""),
        id: Cow::Borrowed(&[]),
        time: Cow::Borrowed(&[]),
        actor: Cow::Borrowed(&[]),
        actor_type: Cow::Borrowed(&[]),
        resource_type: Cow::Borrowed(&[]),
        resource_id: Cow::Borrowed(&[]),
        metadata: Cow::Borrowed(&[]),
    };

    /// Reads a post; `None` if its body is no JSON object. Without a part of the event type only what it says of its
    /// sender is read.
    pub(crate) fn read(&self, post: &Post<'_>) -> Option<Reading> {
        let time_path = time_path(post);
        let mut paths = self.paths();
        if let Some(path) = time_path.filter(|path| !paths.contains(path)) {
            paths.push(path);
        }
        let paths = Paths::new(&paths);
        let fields = json::read(post.text()?, &paths)?;
        let mut reading = self.reading(post, &fields).unwrap_or_default();
        if let Some(path) = time_path {
            reading.in_body.time = times::parse(fields.at(path));
        }
        Some(reading)
    }

    fn reading(&self, post: &Post<'_>, fields: &Fields<'_, '_>) -> Option<Reading> {
        let find = |pick: &Pick, event_type: &str| {
            pick.iter().find_map(|place| place.find(post, fields, event_type))
        };
        let parts: Vec<_> = self.event_type.iter().filter_map(|pick| find(pick, "")).collect();
        let raw = SmolStr::from(parts.join("."));
        let event_type = raw.strip_prefix(self.event_type_prefix.as_ref()).unwrap_or(&raw);
        let found = |pick: &Pick| find(pick, event_type);
        let mut reading = Reading {
            event_type: event_type.into(),
            event_type_raw: Some(raw.clone()),
            delivery_id: found(&self.id),
            timestamp: found(&self.time).as_deref().and_then(times::parse_text),
            actor: found(&self.actor).unwrap_or_default(),
            resource_type: found(&self.resource_type).unwrap_or_default(),
            resource_id: found(&self.resource_id).unwrap_or_default(),
            ..Reading::default()
        };
        // What nobody is need not be told.
        let actor_type = if reading.actor.is_empty() { None } else { found(&self.actor_type) };
        reading.metadata.add("actor_type", actor_type);
        for (key, pick) in self.metadata.iter() {
            reading.metadata.add(key, found(pick));
        }
        (!reading.event_type.is_empty()).then_some(reading)
    }

    /// Returns the paths that are read, each once.
    fn paths(&self) -> Vec<&str> {
        let single = [
            &self.id,
            &self.time,
            &self.actor,
            &self.actor_type,
            &self.resource_type,
            &self.resource_id,
        ];
        let of_metadata = self.metadata.iter().map(|(_, pick)| pick);
        let picks = self.event_type.iter().chain(single).chain(of_metadata);
        let mut paths = Vec::new();
        for place in picks.flat_map(|pick| pick.iter()) {
            if let From::Body(path) = place
                && !paths.contains(&path.as_ref())
            {
                paths.push(path.as_ref());
            }
        }
        paths
    }

    /// Returns how many members of the body are read.
    #[must_use]
    pub fn path_count(&self) -> usize {
        self.paths().len()
    }
}

/// Returns the path of the time that a scheme of the source has in the body.
fn time_path<'a>(post: &Post<'a>) -> Option<&'a str> {
    let schemes = post.source().schemes().iter();
    schemes.filter_map(|scheme| scheme.time.as_ref()).find_map(|time| match &time.place {
        TimePlace::Body { path, .. } => Some(path.as_ref()),
        TimePlace::Header(_) | TimePlace::Item(_) => None,
    })
}

impl From {
    fn find(&self, post: &Post<'_>, fields: &Fields<'_, '_>, event_type: &str) -> Option<SmolStr> {
        let lower = |(part, _): (&str, &str)| part.to_ascii_lowercase_smolstr();
        match self {
            Self::Header(name) => post.header(name).map(SmolStr::new),
            Self::Body(path) => fields.id(path),
            Self::Text(text) => Some(text.as_ref().into()),
            Self::TypeHead(separator) => event_type.split_once(separator.as_ref()).map(lower),
            Self::TypeStem(separator) => event_type.rsplit_once(separator.as_ref()).map(lower),
        }
    }
}

/// Why a JSON pointer was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It is none.
    #[error("`{0}` is no JSON pointer: write one such as `/data/id`")]
    Form(String),
    /// It goes too deep.
    #[error("`{0}` has more than {max} keys", max = json::DEPTH_MAX)]
    Depth(String),
}

/// Makes the path of a JSON pointer (RFC 6901).
///
/// # Errors
///
/// If it is none, points to the whole body, or is too deep.
pub fn pointer(text: &str) -> Result<Text, PointerError> {
    let form = || PointerError::Form(text.to_owned());
    let keys = text.strip_prefix('/').ok_or_else(form)?;
    let mut path = String::new();
    for key in keys.split('/') {
        let escapes = key
            .match_indices('~')
            .all(|(at, _)| matches!(key.as_bytes().get(at + 1), Some(b'0' | b'1')));
        if key.is_empty() || key.contains('\0') || !escapes {
            return Err(form());
        }
        path.push('\0');
        path.push_str(&key.replace("~1", "/").replace("~0", "~"));
    }
    if json::DEPTH_MAX < keys.split('/').count() {
        return Err(PointerError::Depth(text.to_owned()));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_taken_apart_with_its_escapes() {
        assert_eq!(pointer("/a/b.c/~1d~0").unwrap(), "\0a\0b.c\0/d~");
        for text in ["", "a", "/", "/a//b", "/a~2", "/a~", "/a\0b"] {
            assert!(pointer(text).is_err(), "{text:?}");
        }
        assert!(matches!(pointer("/a/b/c/d/e/f/g/h/i"), Err(PointerError::Depth(_))));
    }
}
