//! Says of each message type which fields it has and which of them are messages: all that walking bytes needs.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};

/// All message types.
#[derive(Debug)]
pub(super) struct Schema {
    /// The fields of each type, sorted by number.
    types: Vec<Vec<(u32, Field)>>,
    by_name: HashMap<String, usize>,
}

/// One known field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) shape: Shape,
}

/// What lies inside a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No message.
    Scalar,
    /// One message of that type.
    Message(usize),
    /// Messages of that type, in order.
    Repeated(usize),
    /// Entries of that type, by their keys.
    Map(usize),
}

impl Schema {
    pub(super) fn new() -> Self {
        // A test reads the descriptors; without them every field would count as unknown, which keeps it.
        let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap_or_default();
        let by_name: HashMap<_, _> =
            pool.all_messages().enumerate().map(|(at, found)| (found.full_name().to_owned(), at)).collect();
        let shape = |field: &FieldDescriptor| match field.kind() {
            Kind::Message(inner) => match by_name.get(inner.full_name()) {
                Some(ty) if field.is_map() => Shape::Map(*ty),
                Some(ty) if field.is_list() => Shape::Repeated(*ty),
                Some(ty) => Shape::Message(*ty),
                None => Shape::Scalar,
            },
            _ => Shape::Scalar,
        };
        let fields = |found: prost_reflect::MessageDescriptor| {
            let mut fields: Vec<_> = found
                .fields()
                .map(|field| (field.number(), Field { name: field.name().into(), shape: shape(&field) }))
                .collect();
            fields.sort_by_key(|(number, _)| *number);
            fields
        };
        Self { types: pool.all_messages().map(fields).collect(), by_name }
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn field(&self, ty: usize, number: u32) -> Option<&Field> {
        let fields = self.types.get(ty)?;
        let at = fields.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        fields.get(at).map(|(_, field)| field)
    }
}
