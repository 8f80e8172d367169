//! Bodies with many events.

use serde_json::value::RawValue;

use super::{EVENTS_MAX, Item, Outcome, Post, Reading, json, lenient::List};

/// Makes an event of each item of a body, with its own bytes; `None` if it is neither an array nor an object, or has too
/// many. An item that can't be read is an event still.
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
    match text.trim_ascii_start().as_bytes().first()? {
        b'{' => json::parse(text).map(|item| vec![item]),
        b'[' => json::parse(text).map(|List(items): List<_>| items),
        _ => None,
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
