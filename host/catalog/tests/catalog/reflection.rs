//! Hashes of random literals against those of their JSON, which another library writes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use catalog::literal_hash;
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use proto::flyteidl::core::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap());

fn json(message: &Literal) -> Value {
    let descriptor = POOL.get_message_by_name("flyteidl.core.Literal").unwrap();
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap();
    serde_json::to_value(&dynamic).unwrap()
}

fn sha(tag: &str, payload: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(tag).chain_update(payload).finalize().to_vec()
}

fn objecthash(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => sha("n", b""),
        Value::Bool(value) => sha("b", if *value { b"1" } else { b"0" }),
        Value::String(text) => sha("u", text.as_bytes()),
        Value::Number(number) => sha("f", normal(number.as_f64().unwrap()).as_bytes()),
        Value::Array(items) => sha("l", &items.iter().flat_map(objecthash).collect::<Vec<u8>>()),
        Value::Object(members) => {
            let text = |key: &String| objecthash(&Value::String(key.clone()));
            let mut pairs: Vec<Vec<u8>> =
                members.iter().map(|(key, value)| [text(key), objecthash(value)].concat()).collect();
            pairs.sort();
            sha("d", &pairs.concat())
        }
    }
}

/// Of the bits of the number, and not by halving and doubling as the code under test does.
fn normal(value: f64) -> String {
    if value == 0.0 {
        return "+0:".to_owned();
    }
    let bits = value.abs().to_bits();
    let (mantissa, exponent) = match (bits >> 52) as i32 {
        0 => (bits, -1074),
        exponent => ((bits & ((1 << 52) - 1)) | (1 << 52), exponent - 1075),
    };
    let digits = format!("{mantissa:b}");
    let digits = digits.trim_end_matches('0');
    let magnitude = exponent + format!("{mantissa:b}").len() as i32;
    let sign = if value < 0.0 { '-' } else { '+' };
    if digits == "1" { format!("{sign}{}:1", magnitude - 1) } else { format!("{sign}{magnitude}:0{digits}") }
}

fn structure() -> impl Strategy<Value = prost_types::Struct> {
    use prost_types::value::Kind;
    let value = |kind| prost_types::Value { kind: Some(kind) };
    let leaf = prop_oneof![
        Just(value(Kind::NullValue(0))),
        any::<bool>().prop_map(move |it| value(Kind::BoolValue(it))),
        any::<f64>()
            .prop_filter("JSON has no other numbers", |it| it.is_finite())
            .prop_map(move |it| value(Kind::NumberValue(it))),
        any::<String>().prop_map(move |it| value(Kind::StringValue(it))),
    ];
    let any_value = leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(move |values| value(Kind::ListValue(prost_types::ListValue { values }))),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(move |fields| value(Kind::StructValue(prost_types::Struct { fields }))),
        ]
    });
    prop::collection::btree_map(any::<String>(), any_value, 0..4)
        .prop_map(|fields| prost_types::Struct { fields })
}

fn primitive_value() -> impl Strategy<Value = primitive::Value> {
    prop_oneof![
        any::<i64>().prop_map(primitive::Value::Integer),
        any::<f64>().prop_map(primitive::Value::FloatValue),
        any::<String>().prop_map(primitive::Value::StringValue),
        any::<bool>().prop_map(primitive::Value::Boolean),
        (-62_135_596_800i64..=253_402_300_799, 0..1_000_000_000i32).prop_map(|(seconds, nanos)| {
            primitive::Value::Datetime(prost_types::Timestamp { seconds, nanos })
        }),
        (0..315_576_000_000i64, 0..1_000_000_000i32, any::<bool>()).prop_map(|(seconds, nanos, negative)| {
            let sign = if negative { -1 } else { 1 };
            let (seconds, nanos) = (seconds * i64::from(sign), nanos * sign);
            primitive::Value::Duration(prost_types::Duration { seconds, nanos })
        }),
    ]
}

fn scalar_value() -> impl Strategy<Value = scalar::Value> {
    let blob_type =
        (any::<String>(), 0..4i32).prop_map(|(format, dimensionality)| BlobType { format, dimensionality });
    prop_oneof![
        4 => prop::option::of(primitive_value())
            .prop_map(|value| scalar::Value::Primitive(Primitive { value })),
        1 => (any::<String>(), prop::option::of(prop::option::of(blob_type))).prop_map(|(uri, metadata)| {
            scalar::Value::Blob(Blob { uri, metadata: metadata.map(|ty| BlobMetadata { r#type: ty }) })
        }),
        1 => (prop::collection::vec(any::<u8>(), 0..9), any::<String>())
            .prop_map(|(value, tag)| scalar::Value::Binary(Binary { value, tag })),
        1 => Just(scalar::Value::NoneType(Void {})),
        1 => structure().prop_map(scalar::Value::Generic),
    ]
}

fn literal_value() -> impl Strategy<Value = Literal> {
    let scalar =
        prop::option::of(scalar_value()).prop_map(|value| literal::Value::Scalar(Box::new(Scalar { value })));
    let offloaded = (any::<String>(), any::<u64>()).prop_map(|(uri, size_bytes)| {
        let inferred_type = None;
        literal::Value::OffloadedMetadata(LiteralOffloadedMetadata { uri, size_bytes, inferred_type })
    });
    let texts = prop::collection::btree_map(any::<String>(), any::<String>(), 0..3);
    let leaf = (prop::option::of(prop_oneof![4 => scalar, 1 => offloaded]), any::<String>(), texts)
        .prop_map(|(value, hash, metadata)| Literal { value, hash, metadata });
    leaf.prop_recursive(4, 32, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5)
            .prop_map(|literals| literal::Value::Collection(LiteralCollection { literals }));
        let map = prop::collection::btree_map(any::<String>(), inner, 0..5)
            .prop_map(|literals: BTreeMap<String, Literal>| literal::Value::Map(LiteralMap { literals }));
        prop_oneof![list, map].prop_map(|value| Literal { value: Some(value), ..Literal::default() })
    })
}

proptest! {
    #[test]
    fn hashes_are_those_of_the_json(literal in literal_value()) {
        let want = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(objecthash(&json(&literal)));
        prop_assert_eq!(literal_hash(&literal).unwrap(), want);
    }
}
