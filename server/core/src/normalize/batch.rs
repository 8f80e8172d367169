//! Bodies with many events.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{EVENTS_MAX, Item, Outcome, Post, Reading, json};

/// Makes an event of each item of a body, with its own bytes; `None` if it has no items, or too many. An item that can't
/// be read is an event still.
pub(crate) fn read(post: &Post<'_>, read: impl Fn(&str) -> Option<Reading>) -> Option<Outcome> {
    let items = items(post.text()?).filter(|items| items.len() <= EVENTS_MAX)?;
    let item = |raw: &RawValue| Item { payload: post.slice(raw.get()), reading: read(raw.get()) };
    Some(Outcome::Batch(items.into_iter().map(item).collect()))
}

/// Returns the items of an array, each as the text that it is in the body; of a single object, that one. `None` if the
/// text is neither.
///
/// Items beyond [`EVENTS_MAX`] are not gathered, but for one: so many are too many.
pub(crate) fn items(text: &str) -> Option<Vec<&RawValue>> {
    if text.trim_ascii_start().starts_with('{') {
        return json::parse(text).map(|item| vec![item]);
    }
    json::parse(text).map(|Items(items)| items)
}

/// The elements of an array.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements).map(Self)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if items.len() <= EVENTS_MAX {
                items.push(item);
            }
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_told_apart_byte_for_byte() {
        let texts = |text| items(text).map(|items| items.iter().map(|it| it.get()).collect());
        assert_eq!(
            texts(r#" [ {"a": 1} ,[2], null,"x" ] "#),
            Some(vec![r#"{"a": 1}"#, "[2]", "null", "\"x\""])
        );
        assert_eq!(texts(" {\"a\":\n1} "), Some(vec!["{\"a\":\n1}"]));
        assert_eq!(texts("[]"), Some(vec![]));
        for text in ["", "1", "null", "\"a\"", "[1", "[1]x", "{", "{}{}", "{\"a\":}"] {
            assert_eq!(texts(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_more_items_are_gathered_than_show_that_they_are_too_many() {
        let text = format!("[{}0]", "0,".repeat(3 * EVENTS_MAX));
        assert_eq!(items(&text).map(|items| items.len()), Some(EVENTS_MAX + 1));
    }
}
