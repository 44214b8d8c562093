//! Describes messages as JSON schemas, as they are written and read here.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comment::Comments;

/// The schemas of all messages that were asked for, and of those inside them.
pub(super) struct Schemas<'a> {
    comments: &'a Comments,
    found: BTreeMap<String, Value>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(comments: &'a Comments) -> Self {
        Self { comments, found: BTreeMap::new() }
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.found.into_iter().collect()
    }

    pub(super) fn comment(&self, field: &FieldDescriptor) -> Option<&'a str> {
        self.comments.find(&field.parent_file(), field.path())
    }

    /// A reference to a message, or its form if it is one of `google.protobuf`.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        if let Some(known) = known(name) {
            return known;
        }
        if !self.found.contains_key(name) {
            // Before its fields are looked at, as it may contain itself.
            self.found.insert(name.to_owned(), Value::Null);
            let schema = self.object(message);
            self.found.insert(name.to_owned(), schema);
        }
        reference(name)
    }

    fn object(&mut self, message: &MessageDescriptor) -> Value {
        let mut properties = Map::new();
        for field in message.fields() {
            let mut schema = self.field(&field);
            if let Some(text) = self.comment(&field) {
                schema = described(schema, text);
            }
            properties.insert(field.name().to_owned(), schema);
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if let (Some(text), Some(fields)) =
            (self.comments.find(&message.parent_file(), message.path()), schema.as_object_mut())
        {
            fields.insert("description".to_owned(), json!(text));
        }
        schema
    }

    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let values = self.kind(&entry.map_entry_value_field().kind());
                json!({"type": "object", "additionalProperties": values})
            }
            kind if field.is_list() => json!({"type": "array", "items": self.kind(&kind)}),
            kind @ Kind::Message(_) => nullable(self.kind(&kind)),
            kind => self.kind(&kind),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "int64", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "format": "int64"}),
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "format": "byte"}),
            Kind::Enum(found) => self.enumeration(found),
            Kind::Message(found) => self.message(found),
        }
    }

    fn enumeration(&mut self, found: &EnumDescriptor) -> Value {
        let name = found.full_name();
        let values = || found.values().map(|value| value.name().to_owned()).collect::<Vec<_>>();
        self.found.entry(name.to_owned()).or_insert_with(|| json!({"type": "string", "enum": values()}));
        reference(name)
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// What stands beside a reference is not read, so that it is wrapped.
fn with(schema: Value, key: &str, value: Value) -> Value {
    let mut schema = if schema.get("$ref").is_some() { json!({"allOf": [schema]}) } else { schema };
    if let Some(fields) = schema.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
    schema
}

fn nullable(schema: Value) -> Value {
    with(schema, "nullable", json!(true))
}

fn described(schema: Value, text: &str) -> Value {
    with(schema, "description", json!(text))
}

/// `google.protobuf.Any`.
pub(super) fn any() -> Value {
    json!({
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": true,
    })
}

fn known(name: &str) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Any" => any(),
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
        "Struct" => json!({"type": "object", "additionalProperties": true}),
        "Value" => json!({"description": "Any JSON value.", "nullable": true}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "FieldMask" | "StringValue" => json!({"type": "string"}),
        "BytesValue" => json!({"type": "string", "format": "byte"}),
        "BoolValue" => json!({"type": "boolean"}),
        "Int32Value" => json!({"type": "integer", "format": "int32"}),
        "UInt32Value" => json!({"type": "integer", "format": "int64", "minimum": 0}),
        "Int64Value" => json!({"type": "string", "format": "int64"}),
        "UInt64Value" => json!({"type": "string", "format": "uint64"}),
        "FloatValue" => json!({"type": "number", "format": "float"}),
        "DoubleValue" => json!({"type": "number", "format": "double"}),
        _ => return None,
    })
}
