//! Bodies of type `application/x-www-form-urlencoded`.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde_json::Value;

/// Returns the JSON of a form: the exact bytes of its first field `payload`; without one, its fields as a JSON object,
/// where a repeated field is an array. `None` for a form without fields.
pub(super) fn json(body: &Bytes) -> Option<Bytes> {
    let payload = body.split(|&byte| byte == b'&').find_map(|field| {
        let (name, value) = field.split_at_checked(field.iter().position(|&byte| byte == b'=')?)?;
        (decode(name) == b"payload").then(|| decode(value.get(1..).unwrap_or_default()))
    });
    match payload {
        Some(payload) => Some(payload.into()),
        None => fields(body),
    }
}

fn fields(body: &[u8]) -> Option<Bytes> {
    let mut fields: BTreeMap<Cow<'_, str>, Value> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = Value::String(value.into_owned());
        match fields.get_mut(&name) {
            None => {
                fields.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    if fields.is_empty() {
        return None;
    }
    serde_json::to_vec(&fields).ok().map(Into::into)
}

/// Decodes `+` and `%XX` into bytes, which need not be UTF-8: the library's decoder would replace those that are not.
fn decode(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escaped = (byte == b'%').then(|| after.split_at_checked(2)).flatten();
        let mut unescaped = [0];
        match escaped {
            Some((digits, after)) if hex::decode_to_slice(digits, &mut unescaped).is_ok() => {
                decoded.extend_from_slice(&unescaped);
                rest = after;
            }
            Some(_) | None => decoded.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_form_is_its_payload_or_its_fields() {
        for (body, want) in [
            ("payload=%7B%22yo%22%3Atrue%7D", r#"{"yo":true}"#),
            ("a=1&payload=%7B%22a%22:+1%7D&payload=2", r#"{"a": 1}"#),
            ("p%61yload=%7b%7d", "{}"),
            ("a=1&b=%C3%A9&a=2&a=3&c", "{\"a\":[\"1\",\"2\",\"3\"],\"b\":\"\u{e9}\",\"c\":\"\"}"),
            ("payload=100%", "100%"),
        ] {
            let found = json(&Bytes::from_static(body.as_bytes())).unwrap();
            assert_eq!(str::from_utf8(&found).unwrap(), want, "{body}");
        }
        assert_eq!(json(&Bytes::from_static(b"payload=%ff")).unwrap(), &b"\xff"[..]);
        assert_eq!(json(&Bytes::new()), None);
    }
}
