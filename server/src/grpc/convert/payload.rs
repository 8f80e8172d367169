//! A JSON payload as a `google.protobuf.Value`: for people and grpcurl.

use bytes::Bytes;
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;

use crate::limits::{STRUCT_BYTES_MAX, STRUCT_DEPTH_MAX, STRUCT_INLINE_BYTES_MAX};

/// Returns a payload as a value of at most `bytes_max` bytes in a message; `None` if it has none: then people get the
/// bytes. A large one is read on a thread of its own.
pub(super) async fn value(payload: &Bytes, bytes_max: u64) -> Option<Value> {
    if STRUCT_BYTES_MAX < payload.len() {
        return None;
    }
    if payload.len() <= STRUCT_INLINE_BYTES_MAX {
        return fitting(payload, bytes_max);
    }
    let payload = payload.clone();
    // It can't be cancelled, and a panic in it leaves the bytes.
    tokio::task::spawn_blocking(move || fitting(&payload, bytes_max)).await.ok().flatten()
}

/// A value costs up to eleven times its JSON: an array of small numbers takes two bytes each there, and eleven here.
fn fitting(payload: &[u8], bytes_max: u64) -> Option<Value> {
    let value = to_value(payload)?;
    let encoded = u64::try_from(value.encoded_len()).unwrap_or(u64::MAX);
    (encoded <= bytes_max).then_some(value)
}

/// Returns a payload as a value; `None` if it is not JSON, or nests deeper than [`STRUCT_DEPTH_MAX`].
fn to_value(payload: &[u8]) -> Option<Value> {
    convert(serde_json::from_slice(payload).ok()?, STRUCT_DEPTH_MAX)
}

fn convert(json: Json, depth: usize) -> Option<Value> {
    let inner = |json| convert(json, depth.checked_sub(1)?);
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64()?),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => {
            let values: Option<_> = values.into_iter().map(inner).collect();
            Kind::ListValue(ListValue { values: values? })
        }
        Json::Object(fields) => {
            let fields = fields.into_iter().map(|(name, json)| Some((name, inner(json)?)));
            let fields: Option<_> = fields.collect();
            Kind::StructValue(Struct { fields: fields? })
        }
    };
    Some(Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_nests_too_deep_or_is_not_json_has_no_value() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(to_value(nested(25).as_bytes()).is_some());
        assert!(to_value(nested(26).as_bytes()).is_none());
        assert!(to_value(b"{\"a\":").is_none());
        assert!(to_value(b"").is_none());
    }

    #[tokio::test]
    async fn a_value_that_costs_more_than_may_be_sent_is_none() {
        // 200 KB of JSON are 1.1 MB of values; 600 KB are read on another thread.
        for count in [100_000, 300_000] {
            let json = Bytes::from(format!("[{}1]", "1,".repeat(count)));
            let size = u64::try_from(json.len()).unwrap();
            assert_eq!(value(&json, size).await, None);
            let value = value(&json, 6 * size).await.unwrap();
            assert!(size < u64::try_from(value.encoded_len()).unwrap());
        }
    }

    #[tokio::test]
    async fn a_payload_above_the_limit_of_its_own_has_no_value() {
        let json = |size: usize| Bytes::from(format!("\"{}\"", "x".repeat(size - 2)));
        assert!(value(&json(STRUCT_BYTES_MAX), u64::MAX).await.is_some());
        assert!(value(&json(STRUCT_BYTES_MAX + 1), u64::MAX).await.is_none());
    }

    #[test]
    fn an_object_keeps_its_fields() {
        let value = to_value(br#"{"a":[1.5,true,null,"x"]}"#).unwrap();
        let Some(Kind::StructValue(object)) = value.kind else { panic!("{value:?}") };
        let Some(Kind::ListValue(list)) = object.fields["a"].kind.clone() else { panic!() };
        assert_eq!(list.values.len(), 4);
        assert_eq!(list.values[0].kind, Some(Kind::NumberValue(1.5)));
    }
}
