//! Writes a message that was changed with the unknown fields of the one that arrived.

use std::{borrow::Cow, collections::HashMap};

use super::{
    field,
    schema::{Schema, Shape},
    wire::{Fields, Value, put},
};

/// One occurrence of a field.
#[derive(Clone, Copy)]
struct Occurrence<'a> {
    number: u32,
    /// With its key and length.
    whole: &'a [u8],
    /// Empty for what is not length-delimited.
    body: &'a [u8],
}

pub(super) fn message(schema: &Schema, ty: usize, arrived: &[u8], before: &[u8], after: &[u8]) -> Vec<u8> {
    if before == after {
        return arrived.to_vec();
    }
    let arrived = split(arrived);
    let sources = Sources::new(&arrived, &split(before));
    let mut out = Vec::with_capacity(after.len());
    let mut n_seen: HashMap<u32, usize> = HashMap::new();
    let mut entries: HashMap<u32, Entries<'_>> = HashMap::new();
    for occurrence in split(after) {
        let number = occurrence.number;
        let shape = schema.field(ty, number).map_or(Shape::Scalar, |field| field.shape);
        let source = match shape {
            Shape::Scalar => None,
            Shape::Message(_) => sources.merged(number),
            Shape::Repeated(_) => {
                let n = n_seen.entry(number).or_default();
                *n += 1;
                sources.nth(number, *n - 1)
            }
            Shape::Map(_) => {
                let of_field = entries.entry(number).or_insert_with(|| sources.entries(number));
                of_field.get(&*field(occurrence.body, 1)).cloned()
            }
        };
        match (shape, source) {
            (Shape::Message(inner) | Shape::Repeated(inner) | Shape::Map(inner), Some((arrived, before))) => {
                put(number, &message(schema, inner, &arrived, &before, occurrence.body), &mut out);
            }
            _ => out.extend_from_slice(occurrence.whole),
        }
    }
    let unknown = arrived.iter().filter(|found| schema.field(ty, found.number).is_none());
    unknown.for_each(|found| out.extend_from_slice(found.whole));
    out
}

fn split(bytes: &[u8]) -> Vec<Occurrence<'_>> {
    let mut fields = Fields(bytes);
    let mut found = Vec::new();
    let mut rest = bytes;
    // Broken bytes end it; they were decoded before.
    while let Some(Ok((number, value))) = fields.next() {
        let Some((whole, tail)) = rest.split_at_checked(rest.len() - fields.0.len()) else { break };
        rest = tail;
        let body = match value {
            Value::Bytes(body) => body,
            Value::Varint(_) | Value::Fixed32(_) | Value::Fixed64(_) | Value::Group(_) => &[],
        };
        found.push(Occurrence { number, whole, body });
    }
    found
}

/// The bodies of a part as it arrived and as it was read.
type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);
type Entries<'a> = HashMap<Vec<u8>, Pair<'a>>;

/// Where the parts of a message come from: the bodies of each field.
struct Sources<'a> {
    arrived: HashMap<u32, Vec<&'a [u8]>>,
    before: HashMap<u32, Vec<&'a [u8]>>,
}

impl<'a> Sources<'a> {
    fn new(arrived: &[Occurrence<'a>], before: &[Occurrence<'a>]) -> Self {
        let group = |side: &[Occurrence<'a>]| {
            let mut bodies: HashMap<u32, Vec<&'a [u8]>> = HashMap::new();
            side.iter().for_each(|found| bodies.entry(found.number).or_default().push(found.body));
            bodies
        };
        Self { arrived: group(arrived), before: group(before) }
    }

    /// A message that may have come in parts.
    fn merged(&self, number: u32) -> Option<Pair<'a>> {
        let merge = |side: &HashMap<u32, Vec<&'a [u8]>>| match side.get(&number)?.as_slice() {
            [] => None,
            [body] => Some(Cow::Borrowed(*body)),
            bodies => Some(Cow::Owned(bodies.concat())),
        };
        Some((merge(&self.arrived)?, merge(&self.before)?))
    }

    fn nth(&self, number: u32, n: usize) -> Option<Pair<'a>> {
        let nth = |side: &HashMap<u32, Vec<&'a [u8]>>| Some(Cow::Borrowed(*side.get(&number)?.get(n)?));
        Some((nth(&self.arrived)?, nth(&self.before)?))
    }

    /// The entries of a map by their keys; of several with one key the last.
    fn entries(&self, number: u32) -> Entries<'a> {
        let of = |side: &HashMap<u32, Vec<&'a [u8]>>| {
            let bodies = side.get(&number).into_iter().flatten();
            bodies.map(|body| (field(body, 1).into_owned(), *body)).collect::<HashMap<_, _>>()
        };
        let before = of(&self.before);
        let pair = |(key, arrived): (Vec<u8>, &'a [u8])| {
            let before = before.get(&key).copied()?;
            Some((key, (Cow::Borrowed(arrived), Cow::Borrowed(before))))
        };
        of(&self.arrived).into_iter().filter_map(pair).collect()
    }
}
