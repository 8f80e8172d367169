//! JSON as values of the expression language, made in one pass over the bytes.
//!
//! Arrays are the language's own lists. Objects are ours: the language's map iterates in an order that differs from run
//! to run, this one in the order of its keys, and it is cheap to clone, as each element of an array is for a comprehension.

use std::{any::Any, fmt, sync::Arc};

use cel::{
    ExecutionError,
    common::{
        traits::{self, Container, Indexer, Iterable, Sizer},
        types::{CelBool, CelDouble, CelInt, CelList, CelNull, CelString, CelUInt, MAP_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, SeqAccess, Visitor},
};

use crate::normalize::json;

/// Any value.
pub(super) type Boxed = Box<dyn Val>;

static TYPE: Type = MAP_TYPE;

/// Parses JSON, as normalizers do; `None` if it is none, or nested deeper than 127.
pub(super) fn parse(bytes: &[u8]) -> Option<Boxed> {
    let text = json::text(bytes)?;
    json::parse::<Parsed>(text).map(|Parsed(value)| value)
}

/// Returns a string as a value.
pub(super) fn string(text: impl Into<String>) -> Boxed {
    Box::new(CelString::from(text.into()))
}

/// Returns a count as a value: an int, as literals are, where that has room.
pub(super) fn count(count: u64) -> Boxed {
    match i64::try_from(count) {
        Ok(int) => Box::new(CelInt::from(int)),
        Err(_) => Box::new(CelUInt::from(count)),
    }
}

/// An object: its entries in the order of their keys, each key once.
#[derive(Clone)]
pub(super) struct Object(Arc<[(CelString<'static>, Boxed)]>);

impl Object {
    /// Makes an object; of several entries with one key the last one counts.
    pub(super) fn new(mut entries: Vec<(CelString<'static>, Boxed)>) -> Self {
        entries.reverse();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(a, _), (b, _)| a == b);
        Self(entries.into())
    }

    fn find(&self, key: &str) -> Option<&Boxed> {
        let at = self.0.binary_search_by(|(name, _)| name.inner().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }
}

/// Names the keys only: a payload does not belong into a log.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(key, _)| key.inner())).finish()
    }
}

impl Val for Object {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| {
            let mut pairs = self.0.iter().zip(other.0.iter());
            let equal = |((a, x), (b, y)): (&(_, Boxed), &(_, Boxed))| a == b && x.equals(&**y);
            self.0.len() == other.0.len() && pairs.all(equal)
        })
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Object {}

impl Indexer for Object {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(key) = key.downcast_ref::<CelString<'_>>() else {
            let got = key.get_type().name().to_owned();
            return Err(ExecutionError::UnexpectedType { got, want: "string".to_owned() });
        };
        match self.find(key.inner()) {
            Some(value) => Ok(CowVal::Borrowed(&**value)),
            None => Err(ExecutionError::no_such_key(key.inner())),
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Container for Object {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        // A key of another type is in no object, as 1 is in no list of strings.
        let key = key.downcast_ref::<CelString<'_>>();
        Ok(key.is_some_and(|key| self.find(key.inner()).is_some()))
    }
}

impl Sizer for Object {
    fn size(&self) -> CelInt {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX).into()
    }
}

impl Iterable for Object {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Keys(self.0.iter()))
    }
}

struct Keys<'b>(std::slice::Iter<'b, (CelString<'static>, Boxed)>);

impl<'b, 'v> traits::Iterator<'b, 'v> for Keys<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|(key, _)| key as &dyn Val)
    }
}

struct Parsed(Boxed);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Boxed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Boxed, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Boxed, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Boxed, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Boxed, E> {
        Ok(count(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Boxed, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Boxed, E> {
        Ok(string(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Boxed, A::Error> {
        let mut elements = Vec::new();
        while let Some(Parsed(element)) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Box::new(CelList::from(elements)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Boxed, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, Parsed(value))) = map.next_entry::<String, _>()? {
            entries.push((CelString::from(key), value));
        }
        Ok(Box::new(Object::new(entries)))
    }
}
