//! Parts of a body that may be of another type than hoped for: what is not an array reads as an empty one, what is not
//! an object as one without members. So a body is taken apart in one go, and one odd member does not cost the rest.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::EVENTS_MAX;

/// The elements of an array; beyond `MAX` one more, which tells that there are too many.
#[derive(Debug)]
pub(crate) struct List<T, const MAX: usize = EVENTS_MAX>(pub(crate) Vec<T>);

/// The members of an object.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any::<Self>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any::<Self>(PhantomData))
    }
}

/// Makes a part of the type that it should have; of another one what stands for nothing.
trait Part<'de>: Default {
    fn of_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Part<'de> for List<T, MAX> {
    fn of_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut elements = Vec::new();
        while elements.len() <= MAX {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(Self(elements)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self(elements))
    }
}

impl<'de, T: Deserialize<'de> + Default> Part<'de> for Object<T> {
    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Self)
    }
}

struct Any<P>(PhantomData<P>);

impl<'de, P: Part<'de>> Visitor<'de> for Any<P> {
    type Value = P;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<P, A::Error> {
        P::of_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<P, A::Error> {
        P::of_map(map)
    }

    fn visit_unit<E: Error>(self) -> Result<P, E> {
        Ok(P::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<P, E> {
        Ok(P::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<P, E> {
        Ok(P::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<P, E> {
        Ok(P::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<P, E> {
        Ok(P::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<P, E> {
        Ok(P::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        list: List<u8>,
        #[serde(default)]
        object: Object<Inner>,
    }

    #[derive(Default, Deserialize)]
    struct Inner {
        n: Option<u8>,
    }

    #[test]
    fn what_has_another_type_reads_as_nothing() {
        for odd in ["null", "1", "-1", "1.5", "true", "\"x\"", "{}", "{\"n\":null}", "[]"] {
            let text = format!("{{\"list\":{odd},\"object\":{odd}}}");
            let body: Body = serde_json::from_str(&text).unwrap();
            assert!(body.list.0.is_empty() && body.object.0.n.is_none(), "{odd}");
        }
        let body: Body = serde_json::from_str(r#"{"list":[1,2],"object":{"n":3}}"#).unwrap();
        assert_eq!((body.list.0, body.object.0.n), (vec![1, 2], Some(3)));
        let body: Body = serde_json::from_str("{}").unwrap();
        assert!(body.list.0.is_empty());
    }

    #[test]
    fn of_a_list_that_is_too_long_one_more_is_kept() {
        let text = format!("{{\"list\":[{}1]}}", "1,".repeat(EVENTS_MAX * 3));
        let body: Body = serde_json::from_str(&text).unwrap();
        assert_eq!(body.list.0.len(), EVENTS_MAX + 1);
    }
}
