//! A few fields out of a JSON body, without building the rest of it in memory.
//!
//! The caller names paths, and the body is read once: what no path leads to is checked for being JSON and skipped. A
//! number in a path is the place of an array's element.
//! Nothing about the shape is taken for granted: a field that is absent, null, or of another type than hoped for reads
//! as nothing, and of a repeated key the last counts, as in JavaScript and Python.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use smol_str::{SmolStr, ToSmolStr as _};

use super::paths::{self, Paths, ROOT, paths};

/// The most paths of one reading: one bit each.
pub const PATHS_MAX: usize = 64;
/// The most keys of a path.
pub(crate) const DEPTH_MAX: usize = 8;
/// The most elements of an array that a path can lead to.
const ELEMENTS_MAX: usize = 10;

/// What a path leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Field<'a> {
    /// Nothing, null, or an array; its elements have paths of their own.
    #[default]
    Absent,
    /// An object; its members have paths of their own.
    Object,
    Text(Cow<'a, str>),
    /// A number, as JSON text: ids above 2^53 stay what they are.
    Number(SmolStr),
    Bool(bool),
}

impl Field<'_> {
    /// Returns non-empty text, or a number as text: what an id, a name or a type may be.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Number(number) => Some(number),
            Self::Absent | Self::Object | Self::Text(_) | Self::Bool(_) => None,
        }
    }

    /// Returns non-empty text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Absent | Self::Object | Self::Text(_) | Self::Number(_) | Self::Bool(_) => None,
        }
    }
}

/// A value of any type is a field: for the parts of a body that are read into types.
impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut found = [Field::<'de>::Absent];
        let node = ALONE.child(ROOT, "*").unwrap_or(ROOT);
        Level { paths: &ALONE, node, found: &mut found }.deserialize(deserializer)?;
        let [field] = found;
        Ok(field)
    }
}

/// The fields of a body, by path.
#[derive(Debug)]
pub(crate) struct Fields<'p, 'a> {
    paths: &'p Paths<'p>,
    found: Vec<Field<'a>>,
}

impl<'a> Fields<'_, 'a> {
    /// Returns the field at a path; absent if the path was not asked for.
    pub(crate) fn at(&self, path: &str) -> &Field<'a> {
        let index = self.paths.place(path);
        debug_assert!(index.is_some(), "the path `{path}` is not read");
        index.and_then(|index| self.found.get(index)).unwrap_or(&Field::Absent)
    }

    /// Returns [`Field::id`] of the field at a path, as a text of its own.
    pub(crate) fn id(&self, path: &str) -> Option<SmolStr> {
        self.at(path).id().map(SmolStr::new)
    }

    /// Returns [`Fields::id`] of the first of the paths that has one.
    pub(crate) fn first_id(&self, paths: &[&str]) -> Option<SmolStr> {
        paths.iter().find_map(|path| self.id(path))
    }

    /// Returns [`Field::text`] of the field at a path.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.at(path).text()
    }
}

/// Returns a body as text, without a byte order mark; `None` if it is not UTF-8, which JSON has to be.
pub(crate) fn text(body: &[u8]) -> Option<&str> {
    let text = str::from_utf8(body).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads a body, or a part of it, into a type; `None` if it is not one. All that is parsed is parsed here, or below.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    #[cfg(test)]
    super::reads::note(text);
    serde_json::from_str(text).ok()
}

/// Reads the fields at `paths` (`a.b` is member `b` of member `a`); `None` if the text is not one JSON object.
pub(crate) fn read<'p, 'a>(text: &'a str, paths: &'p Paths<'p>) -> Option<Fields<'p, 'a>> {
    #[cfg(test)]
    super::reads::note(text);
    let mut found = vec![Field::Absent; paths.len()];
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Level { paths, node: ROOT, found: &mut found }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(Fields { paths, found })
}

/// The one member of an object that is an object, by its name, and a scalar beside it.
#[derive(Debug)]
pub(crate) struct Member<'p, 'a> {
    pub(crate) name: String,
    pub(crate) fields: Fields<'p, 'a>,
    pub(crate) beside: Field<'a>,
}

/// Reads the first member that is an object, whatever its name, and the member `beside`; `None` if the text is not one
/// JSON object with such a member. In the paths `*` stands for the member's name.
pub(crate) fn read_member<'p, 'a>(
    text: &'a str,
    beside: &str,
    paths: &'p Paths<'p>,
) -> Option<Member<'p, 'a>> {
    #[cfg(test)]
    super::reads::note(text);
    let mut found = vec![Field::Absent; paths.len()];
    let node = paths.child(ROOT, "*")?;
    let members = Members { paths, node, found: &mut found, beside };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let (name, beside) = Deserializer::deserialize_map(&mut deserializer, members).ok()?;
    deserializer.end().ok()?;
    Some(Member { name: name?, fields: Fields { paths, found }, beside })
}

/// The members of the root, of which one is read and one beside it.
struct Members<'s, 'a> {
    paths: &'s Paths<'s>,
    /// Where the paths within the member begin.
    node: usize,
    found: &'s mut [Field<'a>],
    beside: &'s str,
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = (Option<String>, Field<'a>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut name, mut beside) = (None, Field::Absent);
        while let Some(key) = map.next_key::<String>()? {
            if key == self.beside {
                beside = map.next_value()?;
            } else if name.is_none() {
                let (paths, node) = (self.paths, self.node);
                let is_object = map.next_value_seed(Level { paths, node, found: self.found })?;
                name = is_object.then_some(key);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((name, beside))
    }
}

/// Returns the key of an element.
fn itoa(element: usize) -> &'static str {
    const KEYS: [&str; ELEMENTS_MAX] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    KEYS.get(element).copied().unwrap_or_default()
}

/// The only path of a value that is read for itself.
static ALONE: paths::Static = paths!["*"];

/// A value that some paths lead to or through. Tells whether it is an object.
struct Level<'s, 'a> {
    paths: &'s Paths<'s>,
    /// Where it stands.
    node: usize,
    found: &'s mut [Field<'a>],
}

impl<'a> Level<'_, 'a> {
    /// Notes what the path that ends here has found, and forgets what a repeated key had brought before.
    fn set(&mut self, field: Field<'a>) {
        for index in self.paths.below(self.node) {
            if let Some(found) = self.found.get_mut(index) {
                *found = Field::Absent;
            }
        }
        let leaf = self.paths.leaf(self.node);
        if let Some(found) = leaf.and_then(|index| self.found.get_mut(index)) {
            *found = field;
        }
    }

    /// Notes a value that is not an object, which the root has to be.
    fn scalar<E: serde::de::Error>(mut self, field: Field<'a>) -> Result<bool, E> {
        if self.node == ROOT {
            return Err(E::custom("the body is not an object"));
        }
        self.set(field);
        Ok(false)
    }
}

impl<'a> DeserializeSeed<'a> for Level<'_, 'a> {
    type Value = bool;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Level<'_, 'a> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<bool, A::Error> {
        self.set(Field::Object);
        let (paths, parent) = (self.paths, self.node);
        while let Some(child) = map.next_key_seed(Key { paths, parent })? {
            match child {
                Some(node) => {
                    map.next_value_seed(Level { paths, node, found: self.found })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<bool, A::Error> {
        if self.node == ROOT {
            return Err(A::Error::custom("the body is not an object"));
        }
        self.set(Field::Absent);
        let elements = if self.paths.goes_on(self.node) { ELEMENTS_MAX } else { 0 };
        for element in 0..elements {
            let is_there = match self.paths.child(self.node, itoa(element)) {
                Some(node) => {
                    let level = Level { paths: self.paths, node, found: self.found };
                    seq.next_element_seed(level)?.is_some()
                }
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !is_there {
                return Ok(false);
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        self.scalar(Field::Absent)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<bool, E> {
        self.scalar(Field::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<bool, E> {
        self.scalar(Field::Number(value.to_smolstr()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<bool, E> {
        self.scalar(Field::Number(value.to_smolstr()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<bool, E> {
        self.scalar(Field::Number(value.to_smolstr()))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'a str) -> Result<bool, E> {
        self.scalar(Field::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<bool, E> {
        self.scalar(Field::Text(Cow::Owned(value.to_owned())))
    }
}

/// A key, read as the node that it leads to.
#[derive(Clone, Copy)]
struct Key<'s> {
    paths: &'s Paths<'s>,
    parent: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.paths.child(self.parent, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PATHS: paths::Static = paths!["a", "a.b", "a.c", "d", "e.f.g"];

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
    fn the_member_that_is_an_object_is_read_under_its_name() {
        let paths = Paths::new(&["*.a", "*.b.c"]);
        let text = r#"{"x":[{"a":0}],"id":7,"y":{"a":1,"b":{"c":"t"}},"z":{"a":2}}"#;
        let member = read_member(text, "id", &paths).unwrap();
        assert_eq!((member.name.as_str(), member.beside), ("y", Field::Number("7".into())));
        assert_eq!(member.fields.at("*.a"), &Field::Number("1".into()));
        assert_eq!(member.fields.text("*.b.c"), Some("t"));
        for text in ["{}", "[]", r#"{"id":{}}"#, r#"{"x":1}"#, r#"{"y":{}}{}"#, r#"{"y":{}"#] {
            assert!(read_member(text, "id", &paths).is_none(), "{text}");
        }
    }

    #[test]
    fn a_large_integer_stays_what_it_is() {
        let fields = read(r#"{"d":18446744073709551615}"#, &PATHS).unwrap();
        assert_eq!(fields.id("d").as_deref(), Some("18446744073709551615"));
    }

    #[test]
    fn as_many_paths_as_are_allowed_are_all_found() {
        let names: Vec<_> = (0..PATHS_MAX).map(|index| format!("a{index}.b")).collect();
        let members: Vec<_> =
            (0..PATHS_MAX).map(|index| format!(r#""a{index}":{{"b":{index}}}"#)).collect();
        let paths: Vec<_> = names.iter().map(String::as_str).collect();
        let text = format!("{{{}}}", members.join(","));
        let tree = Paths::new(&paths);
        let fields = read(&text, &tree).unwrap();
        for (index, path) in paths.iter().enumerate() {
            assert_eq!(fields.id(path), Some(index.to_smolstr()));
        }
        assert_eq!(fields.first_id(&["a9.b", "a1.b"]).as_deref(), Some("9"));
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
