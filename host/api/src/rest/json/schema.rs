//! Turns descriptors into a table that says, for each message type, which fields to write and how.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as ProtoKind, MessageDescriptor};

/// All message and enum types.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Enum>,
    by_name: HashMap<String, usize>,
}

/// One message type.
#[derive(Debug)]
pub(super) struct Message {
    /// A type with a JSON form of its own.
    pub(super) known: Option<Known>,
    /// In the order they are written.
    pub(super) fields: Vec<Field>,
    /// How many oneofs there are.
    pub(super) n_oneofs: usize,
    /// Field numbers, sorted, with their place in `fields`.
    by_number: Vec<(u32, usize)>,
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    /// Its quoted name and a colon.
    pub(super) key: Box<[u8]>,
    pub(super) shape: Shape,
    pub(super) kind: Kind,
    /// Which oneof it is a member of.
    pub(super) oneof: Option<usize>,
}

/// How often a field occurs, and what is written when it does not.
#[derive(Debug)]
pub(super) enum Shape {
    Singular(Absent),
    Repeated,
    /// A map; `Field::kind` is the kind of its values.
    Map(Scalar),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// The field is left out: members of oneofs, optional scalars.
    Nothing,
    /// `null`: messages.
    Null,
    /// The default value: scalars and enums.
    Default,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    Enum(usize),
    Message(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Int32,
    Sint32,
    Uint32,
    Int64,
    Sint64,
    Uint64,
    Fixed32,
    Sfixed32,
    Fixed64,
    Sfixed64,
    Float,
    Double,
    String,
    Bytes,
}

/// One enum type.
#[derive(Debug)]
pub(super) struct Enum {
    /// `google.protobuf.NullValue` is written as `null`.
    pub(super) is_null: bool,
    names: HashMap<i32, Box<str>>,
}

/// Types of `google.protobuf` with a JSON form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Any,
    Timestamp,
    Duration,
    Struct,
    Value,
    List,
    FieldMask,
    /// A scalar that may be absent.
    Wrapper(Scalar),
}

impl Schema {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let by_name: HashMap<_, _> =
            pool.all_messages().enumerate().map(|(idx, found)| (found.full_name().to_owned(), idx)).collect();
        let enum_by_name: HashMap<_, _> =
            pool.all_enums().enumerate().map(|(idx, found)| (found.full_name().to_owned(), idx)).collect();
        let kind = |kind: &ProtoKind| match kind {
            ProtoKind::Message(found) => {
                Kind::Message(by_name.get(found.full_name()).copied().unwrap_or_default())
            }
            ProtoKind::Enum(found) => {
                Kind::Enum(enum_by_name.get(found.full_name()).copied().unwrap_or_default())
            }
            other => Kind::Scalar(scalar(other)),
        };
        Self {
            messages: pool.all_messages().map(|found| Message::new(&found, &kind)).collect(),
            enums: pool.all_enums().map(|found| Enum::new(&found)).collect(),
            by_name,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Message {
    fn new(descriptor: &MessageDescriptor, kind: &dyn Fn(&ProtoKind) -> Kind) -> Self {
        let known = known(descriptor.full_name());
        let oneofs: HashMap<_, _> =
            descriptor.oneofs().enumerate().map(|(idx, found)| (found.full_name().to_owned(), idx)).collect();
        let mut numbers: Vec<u32> = Vec::new();
        let mut fields = Vec::new();
        let declared = descriptor.descriptor_proto().field.iter();
        for field in declared.filter_map(|field| descriptor.get_field(field.number().unsigned_abs())) {
            numbers.push(field.number());
            fields.push(Field {
                key: format!("\"{}\":", field.name()).into_bytes().into(),
                shape: shape(&field),
                kind: kind(&if field.is_map() { map_value(&field) } else { field.kind() }),
                oneof: field.containing_oneof().and_then(|found| oneofs.get(found.full_name()).copied()),
            });
        }
        let mut by_number: Vec<_> =
            numbers.into_iter().enumerate().map(|(place, number)| (number, place)).collect();
        by_number.sort_unstable();
        Self { known, fields, n_oneofs: oneofs.len(), by_number }
    }

    /// The place in `fields` of the field with that number.
    pub(super) fn place(&self, number: u32) -> Option<usize> {
        let found = self.by_number.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.by_number.get(found).map(|(_, place)| *place)
    }
}

impl Enum {
    fn new(descriptor: &EnumDescriptor) -> Self {
        let mut names = HashMap::new();
        for value in descriptor.values() {
            names.entry(value.number()).or_insert_with(|| value.name().into());
        }
        Self { is_null: descriptor.full_name() == "google.protobuf.NullValue", names }
    }

    pub(super) fn name(&self, number: i32) -> Option<&str> {
        self.names.get(&number).map(|name| &**name)
    }
}

fn map_value(field: &FieldDescriptor) -> ProtoKind {
    match field.kind() {
        ProtoKind::Message(entry) => entry.map_entry_value_field().kind(),
        other => other,
    }
}

fn shape(field: &FieldDescriptor) -> Shape {
    if let (true, ProtoKind::Message(entry)) = (field.is_map(), field.kind()) {
        return Shape::Map(scalar(&entry.map_entry_key_field().kind()));
    }
    if field.is_list() {
        return Shape::Repeated;
    }
    Shape::Singular(match field.kind() {
        _ if field.containing_oneof().is_some() => Absent::Nothing,
        ProtoKind::Message(_) => Absent::Null,
        _ if field.supports_presence() => Absent::Nothing,
        _ => Absent::Default,
    })
}

fn scalar(kind: &ProtoKind) -> Scalar {
    match kind {
        ProtoKind::Bool => Scalar::Bool,
        ProtoKind::Int32 => Scalar::Int32,
        ProtoKind::Sint32 => Scalar::Sint32,
        ProtoKind::Uint32 => Scalar::Uint32,
        ProtoKind::Int64 => Scalar::Int64,
        ProtoKind::Sint64 => Scalar::Sint64,
        ProtoKind::Uint64 => Scalar::Uint64,
        ProtoKind::Fixed32 => Scalar::Fixed32,
        ProtoKind::Sfixed32 => Scalar::Sfixed32,
        ProtoKind::Fixed64 => Scalar::Fixed64,
        ProtoKind::Sfixed64 => Scalar::Sfixed64,
        ProtoKind::Float => Scalar::Float,
        ProtoKind::Double => Scalar::Double,
        ProtoKind::String => Scalar::String,
        ProtoKind::Bytes | ProtoKind::Message(_) | ProtoKind::Enum(_) => Scalar::Bytes,
    }
}

fn known(name: &str) -> Option<Known> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Any" => Known::Any,
        "Timestamp" => Known::Timestamp,
        "Duration" => Known::Duration,
        "Struct" => Known::Struct,
        "Value" => Known::Value,
        "ListValue" => Known::List,
        "FieldMask" => Known::FieldMask,
        "DoubleValue" => Known::Wrapper(Scalar::Double),
        "FloatValue" => Known::Wrapper(Scalar::Float),
        "Int64Value" => Known::Wrapper(Scalar::Int64),
        "UInt64Value" => Known::Wrapper(Scalar::Uint64),
        "Int32Value" => Known::Wrapper(Scalar::Int32),
        "UInt32Value" => Known::Wrapper(Scalar::Uint32),
        "BoolValue" => Known::Wrapper(Scalar::Bool),
        "StringValue" => Known::Wrapper(Scalar::String),
        "BytesValue" => Known::Wrapper(Scalar::Bytes),
        _ => return None,
    })
}
