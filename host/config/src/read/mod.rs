//! Fills a type from a stack of layers, steered by the type.
//!
//! Serde tells at each place what the type wants there, and that decides how the layers meet: a struct takes each
//! field from the strongest layer that has it, under any spelling of its name, and knows which keys it does not
//! have; a map takes keys as they are; an enum and a list come whole from the strongest layer. So no schema has to
//! be written next to the type.

mod access;
mod fault;
mod scalar;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

pub(crate) use fault::Fault;
use serde::de::DeserializeOwned;

use crate::{
    Errors, Origin, Problem, key,
    tree::{Entry, Kind, Node},
};

/// More attempts than anyone makes mistakes.
const MAX_FAULTS: usize = 100;

/// What a reading found out.
pub(crate) struct Reading<T> {
    pub(crate) value: T,
    pub(crate) origins: BTreeMap<String, Origin>,
}

/// Reads a value from layers, the weakest first. `problems` are those found before.
///
/// Serde stops at the first wrong value; that value is then left out, so that the next attempt finds the next one.
pub(crate) fn read<T: DeserializeOwned>(
    layers: &[Node],
    mut problems: Vec<Problem>,
) -> Result<Reading<T>, Errors> {
    let mut excluded = BTreeSet::new();
    loop {
        let context = Context { excluded, ..Context::default() };
        let root = Stack::new(&context, String::new(), layers.iter().collect());
        let result = T::deserialize(root);
        let (unknown, origins) = (context.unknown.into_inner(), context.origins.into_inner());
        excluded = context.excluded;
        match result {
            Ok(value) if problems.is_empty() && unknown.is_empty() => return Ok(Reading { value, origins }),
            Ok(_) => problems.extend(unknown),
            Err(fault) => {
                let is_new = fault.node.is_some_and(|node| excluded.insert(node));
                if is_new && problems.len() < MAX_FAULTS {
                    problems.push(fault.into_problem());
                    continue;
                }
                problems.extend(unknown);
                // What is missing may be missing because it was left out.
                if problems.is_empty() || excluded.is_empty() {
                    problems.push(fault.into_problem());
                }
            }
        }
        return Err(Errors(problems));
    }
}

#[derive(Default)]
struct Context {
    /// Nodes that were found wrong, by address.
    excluded: BTreeSet<usize>,
    unknown: RefCell<Vec<Problem>>,
    origins: RefCell<BTreeMap<String, Origin>>,
}

/// What all layers have at one place, the weakest first.
struct Stack<'a> {
    context: &'a Context,
    path: String,
    layers: Vec<&'a Node>,
}

/// The nodes of one field.
struct Field<'a> {
    name: &'a str,
    layers: Vec<&'a Node>,
}

/// What identifies a node while the layers are borrowed.
fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

impl<'a> Stack<'a> {
    fn new(context: &'a Context, path: String, mut layers: Vec<&'a Node>) -> Self {
        layers.retain(|node| !context.excluded.contains(&address(node)));
        Self { context, path, layers }
    }

    fn below(&self, name: &str, layers: Vec<&'a Node>) -> Self {
        Self::new(self.context, key::join(&self.path, name), layers)
    }

    /// The strongest layer that says something; a key without a value says nothing.
    fn top(&self) -> Option<&'a Node> {
        self.layers.iter().rev().find(|node| !matches!(node.kind, Kind::Null)).copied()
    }

    fn note_origin(&self) {
        if let Some(node) = self.top().or(self.layers.last().copied()) {
            self.context.origins.borrow_mut().insert(self.path.clone(), node.origin.clone());
        }
    }

    /// The entries of each layer. A layer that has something else here is a fault.
    fn sections(&self) -> Result<Vec<&'a [Entry]>, Fault> {
        let mut sections = Vec::new();
        for node in &self.layers {
            match &node.kind {
                Kind::Section(entries) => sections.push(entries.as_slice()),
                Kind::Null => {}
                _ => return Err(Fault::type_of("a section", node.describe()).at(&self.path, Some(node))),
            }
        }
        Ok(sections)
    }

    /// The layers of each field of a struct; notes the keys that are no field.
    fn fields(&self, known: &'static [&'static str]) -> Result<Vec<Field<'a>>, Fault> {
        let mut fields: Vec<Field<'a>> = Vec::new();
        for section in self.sections()? {
            let mut seen: BTreeMap<&str, &Origin> = BTreeMap::new();
            for entry in section {
                let folded = key::fold(&entry.key);
                let exact = known.iter().find(|name| **name == entry.key);
                let Some(name) = exact.or_else(|| known.iter().find(|name| key::fold(name) == folded)) else {
                    self.note_unknown(entry, known);
                    continue;
                };
                if let Some(first) = seen.insert(name, &entry.origin) {
                    self.context.unknown.borrow_mut().push(Problem::Twice {
                        key: key::join(&self.path, name),
                        first: first.clone(),
                        second: entry.origin.clone(),
                    });
                }
                match fields.iter_mut().find(|field| field.name == *name) {
                    Some(field) => field.layers.push(&entry.value),
                    None => fields.push(Field { name, layers: vec![&entry.value] }),
                }
            }
        }
        Ok(fields)
    }

    /// The layers of each key of a map. An environment variable can't spell every key: it means one that a weaker
    /// layer has, if there is one.
    fn keys(&self) -> Result<Vec<Field<'a>>, Fault> {
        let mut keys: Vec<Field<'a>> = Vec::new();
        for section in self.sections()? {
            for entry in section {
                let is_env = matches!(entry.origin, Origin::Env(_));
                let same = |field: &&mut Field<'a>| {
                    field.name == entry.key || (is_env && key::fold(field.name) == key::fold(&entry.key))
                };
                match keys.iter_mut().find(same) {
                    Some(field) => field.layers.push(&entry.value),
                    None => keys.push(Field { name: &entry.key, layers: vec![&entry.value] }),
                }
            }
        }
        Ok(keys)
    }

    fn note_unknown(&self, entry: &Entry, known: &[&'static str]) {
        let suggestion = key::nearest(&entry.key, known.iter().copied());
        self.context.unknown.borrow_mut().push(Problem::Unknown {
            key: key::join(&self.path, &entry.key),
            origin: entry.origin.clone(),
            suggestion: suggestion.map(|name| key::join(&self.path, name)),
        });
    }
}
