//! A few fields out of a JSON body, without building the rest of it in memory.
//!
//! The caller names paths, and the body is read once: what no path leads to is checked for being JSON and skipped.
//! Nothing about the shape is taken for granted: a field that is absent, null, or of another type than hoped for reads
//! as nothing, and of a repeated key the last counts, as in JavaScript and Python.

use std::{borrow::Cow, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// The most paths of one reading: one bit each.
pub(super) const PATHS_MAX: usize = 32;
/// The most keys of a path.
const DEPTH_MAX: usize = 4;

/// What a path leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Field<'a> {
    /// Nothing, null, or an array.
    #[default]
    Absent,
    /// An object; its members have paths of their own.
    Object,
    Text(Cow<'a, str>),
    /// A number, as JSON text: ids above 2^53 stay what they are.
    Number(String),
    Bool(bool),
}

impl Field<'_> {
    /// Returns non-empty text, or a number as text: what an id, a name or a type may be.
    pub(super) fn id(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Borrowed(number)),
            Self::Absent | Self::Object | Self::Text(_) | Self::Bool(_) => None,
        }
    }

    /// Returns non-empty text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Absent | Self::Object | Self::Text(_) | Self::Number(_) | Self::Bool(_) => None,
        }
    }
}

/// The fields of a body, by path.
#[derive(Debug)]
pub(super) struct Fields<'p, 'a> {
    paths: &'p [&'p str],
    found: Vec<Field<'a>>,
}

impl<'a> Fields<'_, 'a> {
    /// Returns the field at a path; absent if the path was not asked for.
    pub(super) fn at(&self, path: &str) -> &Field<'a> {
        let index = self.paths.iter().position(|known| *known == path);
        debug_assert!(index.is_some(), "the path `{path}` is not read");
        index.and_then(|index| self.found.get(index)).unwrap_or(&Field::Absent)
    }

    /// Returns [`Field::id`] of the field at a path, as a string of its own.
    pub(super) fn id(&self, path: &str) -> Option<String> {
        self.at(path).id().map(Cow::into_owned)
    }

    /// Returns [`Field::text`] of the field at a path.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.at(path).text()
    }
}

/// Returns a body as text, without a byte order mark; `None` if it is not UTF-8, which JSON has to be.
pub(super) fn text(body: &[u8]) -> Option<&str> {
    let text = str::from_utf8(body).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads the fields at `paths` (`a.b` is member `b` of member `a`); `None` if the text is not one JSON object.
///
/// Paths must differ, have at most [`DEPTH_MAX`] keys, and be at most [`PATHS_MAX`]; further ones are not read.
pub(super) fn read<'p, 'a>(text: &'a str, paths: &'p [&'p str]) -> Option<Fields<'p, 'a>> {
    debug_assert!(paths.len() <= PATHS_MAX, "at most {PATHS_MAX} paths");
    let paths_by_keys: Vec<_> = paths.iter().take(PATHS_MAX).map(|path| keys(path)).collect();
    let mut found = vec![Field::Absent; paths_by_keys.len()];
    let all = (0..paths_by_keys.len()).fold(0, |paths, index| paths | bit(index));
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let root = Level { keys: &paths_by_keys, found: &mut found, paths: all, depth: 0 };
    root.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(Fields { paths, found })
}

/// Returns the keys of a path, padded with empty ones.
fn keys(path: &str) -> [&str; DEPTH_MAX] {
    debug_assert!(path.split('.').count() <= DEPTH_MAX, "`{path}` has too many keys");
    let mut keys = [""; DEPTH_MAX];
    for (key, part) in keys.iter_mut().zip(path.split('.')) {
        *key = part;
    }
    keys
}

fn bit(index: usize) -> u32 {
    u32::try_from(index).ok().and_then(|index| 1_u32.checked_shl(index)).unwrap_or(0)
}

/// Returns the places of the bits that are set.
fn indexes(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = usize::try_from(bits.trailing_zeros()).ok().filter(|_| bits != 0)?;
        bits &= bits - 1;
        Some(index)
    })
}

/// A value that some paths lead to or through.
struct Level<'s, 'a> {
    /// Of all paths, padded with empty ones.
    keys: &'s [[&'s str; DEPTH_MAX]],
    found: &'s mut [Field<'a>],
    /// Those paths, as bits.
    paths: u32,
    /// How many keys lead here.
    depth: usize,
}

impl<'s, 'a> Level<'s, 'a> {
    /// Returns the paths that go on with `key`.
    fn through(&self, key: &str) -> u32 {
        let goes_on = |index: &usize| !key.is_empty() && self.key_after(*index) == key;
        indexes(self.paths).filter(goes_on).fold(0, |paths, index| paths | bit(index))
    }

    /// Returns the key with which a path goes on from here; empty if it ends here.
    fn key_after(&self, index: usize) -> &'s str {
        self.keys.get(index).and_then(|keys| keys.get(self.depth)).copied().unwrap_or("")
    }

    /// Notes what the paths that end here have found, and forgets what a repeated key had brought before.
    fn set(&mut self, field: &Field<'a>) {
        for index in indexes(self.paths) {
            let is_end = self.key_after(index).is_empty();
            if let Some(found) = self.found.get_mut(index) {
                *found = if is_end { field.clone() } else { Field::Absent };
            }
        }
    }

    /// Notes a value that is not an object, which the root has to be.
    fn scalar<E: serde::de::Error>(mut self, field: &Field<'a>) -> Result<(), E> {
        if self.depth == 0 {
            return Err(E::custom("the body is not an object"));
        }
        self.set(field);
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Level<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Level<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.set(&Field::Object);
        while let Some(paths) = map.next_key_seed(Key(&self))? {
            if paths == 0 {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let depth = self.depth + 1;
            map.next_value_seed(Level { keys: self.keys, found: self.found, paths, depth })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == 0 {
            return Err(A::Error::custom("the body is not an object"));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.scalar(&Field::Absent)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar(&Field::Absent)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(&Field::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(&Field::Number(value.to_string()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(&Field::Number(value.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(&Field::Number(value.to_string()))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'a str) -> Result<(), E> {
        self.scalar(&Field::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.scalar(&Field::Text(Cow::Owned(value.to_owned())))
    }
}

/// A key, read as the paths that go through it.
struct Key<'l, 's, 'a>(&'l Level<'s, 'a>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_, '_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_, '_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<u32, E> {
        Ok(self.0.through(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 5] = ["a", "a.b", "a.c", "d", "e.f.g"];

    #[test]
    fn fields_are_found_at_their_paths_and_nowhere_else() {
        let fields = read(r#"{"b":0,"a":{"b":1,"x":{"c":2},"c":"t"},"e":{"f":{"g":-3}}}"#, &PATHS);
        let fields = fields.unwrap();
        assert_eq!(fields.at("a"), &Field::Object);
        assert_eq!(fields.at("a.b"), &Field::Number("1".into()));
        assert_eq!(fields.at("a.c"), &Field::Text("t".into()));
        assert_eq!(fields.at("d"), &Field::Absent);
        assert_eq!(fields.at("e.f.g"), &Field::Number("-3".into()));
    }

    #[test]
    fn of_a_repeated_key_the_last_counts_with_all_its_members() {
        let fields = read(r#"{"a":{"b":1,"c":2},"a":{"c":3},"d":1,"d":null}"#, &PATHS).unwrap();
        assert_eq!(fields.at("a.b"), &Field::Absent);
        assert_eq!(fields.at("a.c"), &Field::Number("3".into()));
        assert_eq!(fields.at("d"), &Field::Absent);
    }

    #[test]
    fn a_large_integer_stays_what_it_is() {
        let fields = read(r#"{"d":18446744073709551615}"#, &PATHS).unwrap();
        assert_eq!(fields.id("d").as_deref(), Some("18446744073709551615"));
    }

    #[test]
    fn only_one_json_object_can_be_read() {
        for text in ["", "[]", "1", "null", "\"a\"", "{", "{}{}", "{\"a\":}", "{\"x\":\"\u{1}\"}"] {
            assert!(read(text, &PATHS).is_none(), "{text:?}");
        }
        assert!(read(" {} \n", &PATHS).is_some());
    }

    #[test]
    fn depth_is_no_limit_where_nothing_is_looked_for() {
        let deep = format!(r#"{{"x":{}{},"d":"found"}}"#, "[".repeat(9_999), "]".repeat(9_999));
        assert_eq!(read(&deep, &PATHS).unwrap().text("d"), Some("found"));
        let deep = format!(r#"{{"d":{}{}}}"#, "[".repeat(9_999), "]".repeat(9_999));
        assert_eq!(read(&deep, &PATHS).unwrap().at("d"), &Field::Absent);
    }
}
