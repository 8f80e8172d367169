//! A JSON payload as a `google.protobuf.Value`: for people and grpcurl.

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;

use crate::limits::STRUCT_DEPTH_MAX;

/// Returns a payload as a value; `None` if it is not JSON, or nests deeper than [`STRUCT_DEPTH_MAX`].
pub(in crate::grpc) fn to_value(payload: &[u8]) -> Option<Value> {
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

    #[test]
    fn an_object_keeps_its_fields() {
        let value = to_value(br#"{"a":[1.5,true,null,"x"]}"#).unwrap();
        let Some(Kind::StructValue(object)) = value.kind else { panic!("{value:?}") };
        let Some(Kind::ListValue(list)) = object.fields["a"].kind.clone() else { panic!() };
        assert_eq!(list.values.len(), 4);
        assert_eq!(list.values[0].kind, Some(Kind::NumberValue(1.5)));
    }
}
