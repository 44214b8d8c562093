//! Writes random messages of every type and compares them with what other implementations write.

use std::{io::Write as _, process::Stdio};

use prost::Message;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, SerializeOptions, Value,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use super::*;
use crate::descriptors;

/// Random messages, from a seed that is printed with each failure.
struct Random(StdRng);

impl Random {
    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 10] = ["a", "Z", "_", " ", "\"", "\\", "\n", "\u{1}", "ä", "𝄞"];
        (0..self.0.random_range(0..6)).map(|_| PIECES[self.0.random_range(0..PIECES.len())]).collect()
    }

    fn number(&mut self) -> u64 {
        match self.0.random_range(0..4) {
            0 => self.0.random_range(0..3),
            1 => u64::MAX,
            2 => 1 << 63,
            _ => self.0.random(),
        }
    }

    fn float(&mut self) -> f64 {
        const SPECIAL: [f64; 7] = [0.0, 1.5, -2.25, 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        SPECIAL[self.0.random_range(0..SPECIAL.len())]
    }

    fn value(&mut self, kind: &Kind, depth: usize) -> Value {
        let bits = self.number();
        match kind {
            Kind::Bool => Value::Bool(bits % 2 == 1),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(bits as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(bits as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(bits as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(bits),
            Kind::Float => Value::F32(self.float() as f32),
            Kind::Double => Value::F64(self.float()),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Enum(found) if self.chance(80) => {
                let n = self.0.random_range(0..found.values().len());
                Value::EnumNumber(found.values().nth(n).unwrap().number())
            }
            Kind::Enum(_) => Value::EnumNumber(4242),
            Kind::Message(found) => Value::Message(self.message(found, depth + 1)),
        }
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match descriptor.full_name() {
            "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
                let nanos = [0, 1, 500_000_000, 123_456_000, 999_999_999][self.0.random_range(0..5)];
                message.set_field_by_name("seconds", Value::I64(self.0.random_range(0..4_000_000_000)));
                message.set_field_by_name("nanos", Value::I32(nanos));
                return message;
            }
            "google.protobuf.Any" => {
                let mut inside = descriptor.parent_pool().get_message_by_name("flyteidl.core.Identifier");
                if self.chance(30) {
                    inside = descriptor.parent_pool().get_message_by_name("google.protobuf.Duration");
                }
                let inside = self.message(&inside.unwrap(), depth);
                let url = format!("type.googleapis.com/{}", inside.descriptor().full_name());
                message.set_field_by_name("type_url", Value::String(url));
                message.set_field_by_name("value", Value::Bytes(inside.encode_to_vec().into()));
                return message;
            }
            "google.protobuf.Value" => {
                let text = json!([null, true, 1.5, self.text(), [1, "b"], {"c": {"d": null}}]);
                let chosen = text[self.0.random_range(0..6)].to_string();
                let mut reader = serde_json::Deserializer::from_str(&chosen);
                return DynamicMessage::deserialize(descriptor.clone(), &mut reader).unwrap();
            }
            _ => {}
        }
        for field in descriptor.fields() {
            if (depth > 4 && field.kind().as_message().is_some()) || !self.chance(60) {
                continue;
            }
            self.fill(&mut message, &field, depth);
        }
        message
    }

    fn fill(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, depth: usize) {
        let n = self.0.random_range(0..3);
        let value = if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            assert!(matches!(key, Kind::String), "{field:?}");
            Value::Map((0..n).map(|_| (MapKey::String(self.text()), self.value(&value, depth))).collect())
        } else if field.is_list() {
            Value::List((0..n).map(|_| self.value(&field.kind(), depth)).collect())
        } else {
            self.value(&field.kind(), depth)
        };
        message.set_field(field, value);
    }
}

fn types() -> Vec<MessageDescriptor> {
    let all = descriptors::pool().all_messages();
    all.filter(|found| {
        (found.full_name().starts_with("flyteidl.") || found.full_name().starts_with("datacatalog."))
            && !found.is_map_entry()
    })
    .collect()
}

fn written(descriptor: &MessageDescriptor, bytes: &[u8]) -> serde_json::Value {
    let mut out = Vec::new();
    write(type_of(descriptor).unwrap(), bytes, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

/// Removes the `null`s that `other` does not have: unset messages.
fn without_nulls(ours: &mut serde_json::Value, other: &serde_json::Value) {
    match (ours, other) {
        (serde_json::Value::Object(ours), serde_json::Value::Object(other)) => {
            ours.retain(|key, value| !value.is_null() || other.contains_key(key));
            for (key, value) in ours {
                if let Some(other) = other.get(key) {
                    without_nulls(value, other);
                }
            }
        }
        (serde_json::Value::Array(ours), serde_json::Value::Array(other)) => {
            ours.iter_mut().zip(other).for_each(|(ours, other)| without_nulls(ours, other));
        }
        _ => {}
    }
}

#[test]
fn random_messages_are_written_as_reflection_writes_them() {
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    for seed in 0..20 {
        let mut random = Random(StdRng::seed_from_u64(seed));
        for descriptor in types() {
            let message = random.message(&descriptor, 0);
            let mut ours = written(&descriptor, &message.encode_to_vec());
            let theirs = message.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
            without_nulls(&mut ours, &theirs);
            assert_eq!(ours, theirs, "{} with seed {seed}", descriptor.full_name());
        }
    }
}

#[test]
fn what_is_written_can_be_read() {
    for seed in 0..20 {
        let mut random = Random(StdRng::seed_from_u64(seed));
        for descriptor in types() {
            let bytes = random.message(&descriptor, 0).encode_to_vec();
            let mut out = Vec::new();
            write(type_of(&descriptor).unwrap(), &bytes, &mut out).unwrap();
            let back = read(&descriptor, &out).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(written(&descriptor, &back.encode_to_vec()), written(&descriptor, &bytes));
        }
    }
}

/// Python's `json_format` adds no `null`s, so that the script does, by the same rule.
#[test]
fn random_messages_are_written_as_python_writes_them() {
    let Ok(python) = std::env::var("PINION_TEST_PYTHON") else {
        eprintln!("skipped: PINION_TEST_PYTHON is not set");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/json_format.py");
    let mut child = std::process::Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for seed in 100..110 {
        let mut random = Random(StdRng::seed_from_u64(seed));
        for descriptor in types() {
            let bytes = random.message(&descriptor, 0).encode_to_vec();
            let mut json = Vec::new();
            write(type_of(&descriptor).unwrap(), &bytes, &mut json).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            lines.push(json!({"type": descriptor.full_name(), "bytes": hex, "json": json}).to_string());
        }
    }
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        for line in lines {
            writeln!(stdin, "{line}").unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    eprintln!("{text}");
    assert!(text.contains("all are the same"), "{text}");
}

#[test]
fn parts_and_repeats_are_merged_as_on_the_wire() {
    let pool = descriptors::pool();
    let execution = pool.get_message_by_name("flyteidl.core.TaskExecutionIdentifier").unwrap();
    // `task_id` twice: its parts are merged; `retry_attempt` twice: the last stays.
    let bytes = b"\x0a\x03\x12\x01p\x18\x01\x0a\x03\x1a\x01d\x18\x07";
    let found = written(&execution, bytes);
    assert_eq!((&found["task_id"]["project"], &found["task_id"]["domain"]), (&json!("p"), &json!("d")));
    assert_eq!(found["retry_attempt"], 7);
    // Members of a oneof: the last one wins, and what came before it is gone.
    let primitive = pool.get_message_by_name("flyteidl.core.Primitive").unwrap();
    assert_eq!(written(&primitive, b"\x08\x05\x20\x01"), json!({"boolean": true}));
    assert_eq!(written(&primitive, b"\x20\x01\x08\x05"), json!({"integer": "5"}));
    // An entry of a map twice: the last stays. Unknown fields are passed over.
    let labels = pool.get_message_by_name("flyteidl.admin.Labels").unwrap();
    let bytes = b"\x0a\x06\x0a\x01a\x12\x01b\x0a\x06\x0a\x01a\x12\x01c\xf8\x07\x01";
    assert_eq!(written(&labels, bytes), json!({"values": {"a": "c"}}));
}

#[test]
fn broken_bytes_are_told_not_guessed() {
    let identifier = descriptors::pool().get_message_by_name("flyteidl.core.Identifier").unwrap();
    for bytes in [&b"\x12\x7f"[..], b"\x12\x01\xff", b"\xff", b"\x0b"] {
        assert!(write(type_of(&identifier).unwrap(), bytes, &mut Vec::new()).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_broken_body_is_told_with_its_field() {
    let request = descriptors::pool().get_message_by_name("flyteidl.admin.TaskCreateRequest").unwrap();
    for (json, says) in [
        (r#"{"id": {"project": 5}}"#, "id.project"),
        (r#"{"spec": {"template": {"interface": {"inputs": {"variables": {"a": 1}}}}}}"#, "variables.a"),
        (r#"{"spec": {"templ": {}}}"#, "templ"),
        (r#"{"spec": {"template": {"container": {"args": ["a", {}]}}}}"#, "args[1]"),
        (r#"{"id": "#, "EOF"),
    ] {
        let error = read(&request, json.as_bytes()).unwrap_err();
        assert!(error.contains(says), "{json}: {error}");
    }
    assert!(read(&request, b"").is_ok());
    let camel = read(&request, br#"{"id": {"resourceType": 1}}"#).unwrap();
    assert_eq!(camel, read(&request, br#"{"id": {"resource_type": "TASK"}}"#).unwrap());
}
