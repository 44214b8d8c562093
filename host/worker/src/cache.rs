//! Uses the catalog for tasks whose outputs may be cached (execution.md A17).
//!
//! ```text
//!   inputs made -> look-up -> hit: the node succeeds, nothing runs
//!                          -> miss -> (serialised: reserve -> held by another: wait, look again when released)
//!                                  -> run -> outputs put -> reservation released, whatever the end
//! ```
//!
//! Look-ups of one round go together, puts of all executions go together. A catalog that has no answer never fails a
//! task: it runs, and the row says what went wrong.

mod lookup;
mod populate;
mod reservation;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use catalog::{KeyError, Signature, TaskKey};
use engine::{Execution, NodeIdx};
use model::Timestamp;
use prost::Message;
use proto::flyteidl::admin::{NodeExecutionClosure, node_execution_closure::TargetMetadata};
use proto::flyteidl::core::node_metadata::{CacheSerializableValue, CacheVersionValue, CacheableValue};
use proto::flyteidl::core::{
    CatalogCacheStatus, CatalogMetadata, ExecutionError, NodeMetadata, TaskExecutionIdentifier, TaskTemplate,
    execution_error::ErrorKind,
};

use crate::driver::Driver;
use crate::mailbox::AttemptKey;
use crate::outcome::execution_error;
use crate::place::Place;
use crate::unwrapped;

pub(crate) use lookup::Found;
use lookup::Lookup;
pub(crate) use populate::{Populate, Populated, Populator, populate_all};
use reservation::owner;

/// How a task's outputs are cached.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The part of the key that all calls share.
    pub(crate) signature: Arc<Signature>,
    /// Equal calls run one after the other.
    pub(crate) is_serialized: bool,
}

/// The policy of a node; `None` when its outputs are not cached.
pub(crate) fn policy(engine: &Execution, node: NodeIdx) -> Result<Option<Policy>, Box<ExecutionError>> {
    let Some(template) = engine.task(node) else { return Ok(None) };
    let own = &engine.graph_node(node).template_metadata;
    let metadata = template.metadata.as_ref();
    let cacheable = match own.cacheable_value {
        Some(CacheableValue::Cacheable(own)) => own,
        None => metadata.is_some_and(|metadata| metadata.discoverable),
    };
    let outputs = template.interface.as_ref().and_then(|interface| interface.outputs.as_ref());
    if !cacheable || outputs.is_none_or(|outputs| outputs.variables.is_empty()) {
        return Ok(None);
    }
    let is_serialized = match own.cache_serializable_value {
        Some(CacheSerializableValue::CacheSerializable(own)) => own,
        None => metadata.is_some_and(|metadata| metadata.cache_serializable),
    };
    let signature = signature(engine, node, template, own).map_err(|error| refused(&error))?;
    Ok(Some(Policy { signature: Arc::new(signature), is_serialized }))
}

fn signature(
    engine: &Execution,
    node: NodeIdx,
    template: &TaskTemplate,
    own: &NodeMetadata,
) -> Result<Signature, KeyError> {
    let element = unwrapped::of_element(engine, node, template);
    let template = element.as_ref().unwrap_or(template);
    match &own.cache_version_value {
        Some(CacheVersionValue::CacheVersion(version)) if !version.is_empty() => {
            Signature::of_version(template, version)
        }
        _ => Signature::of(template),
    }
}

/// What a task without a key fails with: its author is to mend it.
fn refused(error: &KeyError) -> Box<ExecutionError> {
    Box::new(execution_error(ErrorKind::User, "CacheKeyFailure", crate::clusters::with_causes(error)))
}

/// What is known about the cache and one live node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    pub(crate) status: CatalogCacheStatus,
    /// What clients read of the entry.
    pub(crate) metadata: Option<Box<CatalogMetadata>>,
    /// How it is cached, and under which key its outputs will be put. Absent in a later life, which finds out anew.
    pub(crate) target: Option<Box<(Policy, TaskKey)>>,
    /// Whether its outputs take the place of an entry that is there.
    pub(crate) overwrite: bool,
    /// Why it was found or not; for the first row of an attempt.
    pub(crate) explanation: Option<Box<str>>,
}

impl Note {
    /// What a stored row says; nothing when its node is not cached.
    pub(crate) fn restored(extra: &[u8]) -> Option<Self> {
        let closure = NodeExecutionClosure::decode(extra).ok()?;
        let Some(TargetMetadata::TaskNodeMetadata(task)) = closure.target_metadata else { return None };
        let status = task.cache_status();
        let metadata = task.catalog_key.map(Box::new);
        (status != CatalogCacheStatus::CacheDisabled).then(|| Self { status, metadata, ..Self::default() })
    }
}

/// What an execution has to do with the catalog.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Live nodes that may be cached.
    pub(crate) notes: HashMap<NodeIdx, Note>,
    /// Look-ups to make at the end of this round.
    lookups: Vec<Lookup>,
    /// Nodes that wait for another execution's outputs.
    waiting: HashMap<NodeIdx, Lookup>,
    /// Reservations held, with the key.
    held: HashMap<NodeIdx, TaskKey>,
    /// Those to release after the next commit.
    ended: BTreeSet<NodeIdx>,
    /// When the next sign of life is due.
    beat_at: Option<Timestamp>,
    /// Releases under way; the driver stays for them.
    n_releasing: usize,
}

impl Cache {
    /// Whether releases are under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.n_releasing > 0
    }

    /// Whether anything is kept of a node.
    pub(crate) fn knows(&self, node: NodeIdx) -> bool {
        self.notes.contains_key(&node) || self.held.contains_key(&node) || self.waiting.contains_key(&node)
    }

    /// Why a node's outputs were not found; once.
    pub(crate) fn explain(&mut self, node: NodeIdx) -> Option<Box<str>> {
        self.notes.get_mut(&node)?.explanation.take()
    }

    /// Notes that a node has ended: what it reserved is released once that is durable.
    pub(crate) fn node_ended(&mut self, node: NodeIdx) {
        self.waiting.remove(&node);
        if self.held.contains_key(&node) {
            self.ended.insert(node);
        }
    }

    /// Notes what became of a node's outputs.
    pub(crate) fn note_populated(&mut self, node: NodeIdx, populated: Populated) {
        if let Some(note) = self.notes.get_mut(&node) {
            note.status = populated.status;
            if populated.metadata.is_some() {
                note.metadata = populated.metadata;
            }
        }
    }

    /// Forgets a node whose end is durable.
    pub(crate) fn forget(&mut self, node: NodeIdx) {
        self.notes.remove(&node);
    }
}

impl Driver {
    /// How the outputs of an attempt are to be put, if its node is cached.
    pub(crate) fn populate(&self, key: AttemptKey) -> Option<Populate> {
        let note = self.cache.notes.get(&key.node)?;
        let (policy, known) = match &note.target {
            Some(target) => (target.0.clone(), Some(Box::new(target.1.clone()))),
            None => (policy(&self.engine, key.node).ok()??, None),
        };
        let task = self.programs.task(&self.engine, key.node)?;
        let node = Place::of(&self.info, &self.engine, key.node).id;
        let source = TaskExecutionIdentifier {
            task_id: Some(task.id.to_proto()),
            node_execution_id: Some(node.to_proto()),
            retry_attempt: key.attempt,
        };
        Some(Populate {
            policy,
            key: known,
            inputs: self.inputs_of(key.node),
            source: Box::new(source),
            overwrite: note.overwrite || self.info.overwrite_cache,
        })
    }
}
