//! Bodies of type `application/x-www-form-urlencoded`.

use bytes::Bytes;
use serde::ser::{SerializeMap as _, Serializer as _};

use super::Form;
use crate::verify::{Fields, parse_form};

/// Returns the JSON of a form: the exact bytes of its first field `payload`; without one, its fields as a JSON object,
/// where a repeated field is an array. `None` for a form without fields, or with too many. They are taken apart here
/// unless they were before.
pub(super) fn json(body: &Bytes, fields: Option<Fields<'_>>) -> Option<(Bytes, Form)> {
    let payload = body.split(|&byte| byte == b'&').find_map(|field| {
        let (name, value) = field.split_at_checked(field.iter().position(|&byte| byte == b'=')?)?;
        is_payload(name).then(|| decode(value.get(1..).unwrap_or_default(), true))
    });
    match payload {
        Some(payload) => Some((payload.into(), Form::Payload)),
        None => {
            let fields = fields.or_else(|| parse_form(body))?;
            write(fields, body.len()).map(|json| (json, Form::Fields))
        }
    }
}

fn is_payload(name: &[u8]) -> bool {
    name == b"payload" || (name.contains(&b'%') && decode(name, true) == b"payload")
}

fn write(mut fields: Fields<'_>, size: usize) -> Option<Bytes> {
    if fields.is_empty() {
        return None;
    }
    // Fields of one name stay in their order.
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut json = Vec::with_capacity(size + 16 * fields.len());
    let mut serializer = serde_json::Serializer::new(&mut json);
    let mut map = serializer.serialize_map(None).ok()?;
    for group in fields.chunk_by(|(a, _), (b, _)| a == b) {
        let written = match group {
            [(name, value)] => map.serialize_entry(name, value),
            group => {
                let name = group.first().map_or("", |(name, _)| name);
                let values: Vec<_> = group.iter().map(|(_, value)| value).collect();
                map.serialize_entry(name, &values)
            }
        };
        written.ok()?;
    }
    map.end().ok()?;
    Some(json.into())
}

/// Decodes `%XX`, and in a form `+`, into bytes, which need not be UTF-8: the library's decoder would replace those that
/// are not.
pub(crate) fn decode(encoded: &[u8], is_form: bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    let is_marked = |&byte: &u8| byte == b'%' || (is_form && byte == b'+');
    while let Some(at) = rest.iter().position(is_marked) {
        let (plain, marked) = rest.split_at(at);
        decoded.extend_from_slice(plain);
        let mut unescaped = [0];
        let is_escape = matches!(marked, [b'%', high, low, ..]
            if hex::decode_to_slice([*high, *low], &mut unescaped).is_ok());
        let (byte, length) = match marked.first() {
            _ if is_escape => (unescaped, 3),
            Some(b'+') => ([b' '], 1),
            // What is no escape stands for itself.
            Some(_) | None => ([b'%'], 1),
        };
        decoded.extend_from_slice(&byte);
        rest = marked.get(length..).unwrap_or_default();
    }
    decoded.extend_from_slice(rest);
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
            let (found, _) = json(&Bytes::from_static(body.as_bytes()), None).unwrap();
            assert_eq!(str::from_utf8(&found).unwrap(), want, "{body}");
        }
        let (found, form) = json(&Bytes::from_static(b"payload=%ff"), None).unwrap();
        assert_eq!((&found[..], form), (&b"\xff"[..], Form::Payload));
        assert_eq!(json(&Bytes::new(), None), None);
    }
}
