//! Gives the elements of array nodes their inputs, and collects their outputs (execution.md A13).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use engine::{Detail, Graph, GraphIdx, NodeIdx, NodeKind, NodePhase, Observation, Resolved};
use futures::StreamExt;
use model::{EntityId, EntityKind, Timestamp};
use prost::Message;
use proto::flyteidl::admin::LaunchPlanClosure;
use proto::flyteidl::core::{
    ExecutionError, Identifier, Literal, LiteralCollection, LiteralMap, LiteralOffloadedMetadata,
    execution_error::ErrorKind, literal,
};

use crate::cache::Populated;
use crate::call::retried;
use crate::clusters::with_causes;
use crate::driver::{Done, Driver};
use crate::inputs::Fetched;
use crate::offload;
use crate::outcome::execution_error;
use crate::place::Place;
use crate::shared::Shared;

/// Outputs of elements read at once.
const READS_AT_ONCE: usize = 64;
/// Elements collected in one go.
const CHUNK: usize = 1024;

/// Where the inputs of a task are, and how they are made of that.
#[derive(Clone, Debug)]
pub(crate) enum InputsOf {
    /// In a file of its own.
    Own(String),
    /// One item of each list in the file of its array.
    Element { array_uri: String, graph: Arc<Graph>, array: GraphIdx, index: u32 },
}

impl InputsOf {
    /// Reads them.
    pub(crate) async fn read(&self, shared: &Shared) -> Result<LiteralMap, Box<ExecutionError>> {
        match self {
            Self::Own(uri) => Ok(LiteralMap::clone(&*read(shared, uri).await?)),
            Self::Element { array_uri, graph, array, index } => {
                let lists = read_lists(shared, array_uri).await?;
                engine::inputs::element_inputs(graph, *array, &lists, *index).map_err(Box::new)
            }
        }
    }
}

async fn read(shared: &Shared, uri: &str) -> Result<Arc<LiteralMap>, Box<ExecutionError>> {
    retried(shared, || shared.files.map(uri)).await.map_err(|error| {
        let message = format!("cannot read the inputs: {}", with_causes(&error));
        Box::new(execution_error(ErrorKind::System, engine::inputs::BINDING_RESOLUTION_FAILURE, message))
    })
}

/// The inputs of an array node, lists that were written elsewhere read.
async fn read_lists(shared: &Shared, uri: &str) -> Result<Arc<LiteralMap>, Box<ExecutionError>> {
    let mut inputs = read(shared, uri).await?;
    if offload::has_any(&inputs) {
        offload::fetch_lists(shared, Arc::make_mut(&mut inputs)).await?;
    }
    Ok(inputs)
}

/// Inputs of arrays whose elements have inputs of their own, while they begin.
#[derive(Debug, Default)]
pub(crate) struct Arrays {
    lists: HashMap<NodeIdx, Lists>,
}

#[derive(Debug)]
enum Lists {
    /// They are being read for these elements.
    Reading(Vec<NodeIdx>),
    There(Arc<LiteralMap>),
}

impl Arrays {
    /// Whether anything is kept of an array.
    pub(crate) fn knows(&self, array: NodeIdx) -> bool {
        self.lists.contains_key(&array)
    }

    /// Forgets the inputs of an array that has ended.
    pub(crate) fn forget(&mut self, array: NodeIdx) {
        self.lists.remove(&array);
    }
}

impl Driver {
    /// Where a node's inputs are.
    pub(crate) fn inputs_of(&self, node: NodeIdx) -> InputsOf {
        match (self.shared_inputs_uri(node), self.element_inputs(node)) {
            (Some(_), Some(element)) => element,
            _ => InputsOf::Own(self.engine.node(node).input_uri.to_string()),
        }
    }

    /// How the inputs of an element are made of those of its array.
    pub(crate) fn element_inputs(&self, node: NodeIdx) -> Option<InputsOf> {
        let (index, array) = (self.engine.element(node)?, self.engine.parent(node)?);
        Some(InputsOf::Element {
            array_uri: self.engine.node(array).input_uri.to_string(),
            graph: Arc::clone(self.engine.graph_of(array)),
            array: self.engine.graph_idx(array),
            index,
        })
    }

    /// Where the inputs of a node are when they are those of its array, of which it picks its part.
    pub(crate) fn shared_inputs_uri(&self, node: NodeIdx) -> Option<String> {
        self.engine.element(node)?;
        let array = self.engine.parent(node)?;
        match self.engine.graph_node(array).kind {
            NodeKind::Array { individual_inputs: false, .. } => {
                Some(self.engine.node(array).input_uri.to_string())
            }
            _ => None,
        }
    }

    /// The inputs of an array are made: finds out how many elements it has.
    pub(crate) async fn settle_array(&mut self, node: NodeIdx, inputs: LiteralMap, now: Timestamp) {
        let (graph, idx) = (Arc::clone(self.engine.graph_of(node)), self.engine.graph_idx(node));
        let uri = self.own_inputs_uri(node);
        let shared = Arc::clone(&self.shared);
        let work = async move {
            match size_and_write(&shared, &graph, idx, inputs, &uri).await {
                Ok(size) => Fetched::Written(Resolved { uri, detail: Detail::Size(size) }),
                Err(error) => Fetched::Failed(*error),
            }
        };
        self.go_on(node, work, now).await;
    }

    /// Resolves an element that has inputs of its own, or may be cached.
    pub(crate) async fn resolve_element(&mut self, node: NodeIdx, index: u32, now: Timestamp) {
        let Some(array) = self.engine.parent(node) else { return };
        match self.arrays.lists.get_mut(&array) {
            Some(Lists::There(lists)) => {
                let lists = Arc::clone(lists);
                self.make_element(node, array, index, &lists, now).await;
            }
            Some(Lists::Reading(waiting)) => waiting.push(node),
            None => {
                self.arrays.lists.insert(array, Lists::Reading(vec![node]));
                let (shared, uri) = (Arc::clone(&self.shared), self.engine.node(array).input_uri.to_string());
                self.work.spawn(async move {
                    let lists = read_lists(&shared, &uri).await;
                    Done::Lists { array, lists }
                });
            }
        }
    }

    /// Takes in the inputs of an array.
    pub(crate) async fn lists_read(
        &mut self,
        array: NodeIdx,
        lists: Result<Arc<LiteralMap>, Box<ExecutionError>>,
        now: Timestamp,
    ) {
        let Some(Lists::Reading(waiting)) = self.arrays.lists.remove(&array) else { return };
        match lists {
            Ok(lists) => {
                self.arrays.lists.insert(array, Lists::There(Arc::clone(&lists)));
                for node in waiting.into_iter().filter(|node| self.engine.knows(*node)).collect::<Vec<_>>() {
                    let index = self.engine.element(node).unwrap_or_default();
                    self.make_element(node, array, index, &lists, now).await;
                }
            }
            Err(error) => {
                for node in waiting {
                    self.resolved(node, Err(ExecutionError::clone(&error)), now);
                }
            }
        }
    }

    async fn make_element(
        &mut self,
        node: NodeIdx,
        array: NodeIdx,
        index: u32,
        lists: &LiteralMap,
        now: Timestamp,
    ) {
        let (graph, idx) = (self.engine.graph_of(array), self.engine.graph_idx(array));
        match engine::inputs::element_inputs(graph, idx, lists, index) {
            Ok(inputs) => self.settle(node, inputs, now).await,
            Err(error) => self.resolved(node, Err(error), now),
        }
    }

    /// Collects the outputs of an array's elements.
    pub(crate) fn gather_elements(&mut self, array: NodeIdx) {
        let uri = |node: NodeIdx| {
            let state = self.engine.node(node);
            let succeeded = matches!(state.phase, NodePhase::Succeeded | NodePhase::Recovered);
            succeeded.then(|| state.output_uri.clone())
        };
        let uris: Vec<Option<Arc<str>>> =
            self.engine.elements(array).into_iter().flatten().map(uri).collect();
        let names = self.output_names(array);
        let place = Place::of(&self.info, &self.engine, array);
        let prefix = place.output_prefix(&self.info, self.engine.node(array).attempt);
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let result = gather(&shared, names, uris, &prefix).await;
            Done::Gathered { node: array, result, populated: None }
        });
    }

    fn output_names(&self, array: NodeIdx) -> Names {
        if let Some(task) = self.programs.task_of_elements(&self.engine, array) {
            let outputs = task.outputs.as_ref();
            return Names::Known(outputs.into_iter().flat_map(|o| o.variables.keys().cloned()).collect());
        }
        let NodeKind::Array { inner, .. } = self.engine.graph_node(array).kind else {
            return Names::Known(Vec::new());
        };
        let graph = self.engine.graph_of(array);
        match graph.node(inner).map(|node| &node.kind) {
            Some(NodeKind::LaunchPlan { id, .. }) => Names::OfLaunchPlan(Arc::clone(id)),
            Some(NodeKind::SubWorkflow { graph: sub }) => {
                let outputs = graph.subs.get(*sub).and_then(|sub| sub.interface.outputs.as_ref());
                Names::Known(outputs.into_iter().flat_map(|o| o.variables.keys().cloned()).collect())
            }
            _ => Names::OfElements,
        }
    }

    /// Takes in outputs that were collected.
    pub(crate) fn gathered(
        &mut self,
        node: NodeIdx,
        result: Result<String, ExecutionError>,
        populated: Option<Populated>,
        now: Timestamp,
    ) {
        if let Some(populated) = populated {
            self.cache.note_populated(node, populated);
        }
        self.apply(Observation::OutputsWritten { node, result }, now);
    }
}

/// Which outputs an array has.
enum Names {
    Known(Vec<String>),
    OfLaunchPlan(Arc<Identifier>),
    /// Those that its elements gave.
    OfElements,
}

async fn size_and_write(
    shared: &Shared,
    graph: &Graph,
    idx: GraphIdx,
    inputs: LiteralMap,
    uri: &str,
) -> Result<u32, Box<ExecutionError>> {
    let bytes = Bytes::from(inputs.encode_to_vec());
    let mut lists = inputs;
    if offload::has_any(&lists) {
        offload::fetch_lists(shared, &mut lists).await?;
    }
    let size = engine::inputs::array_size(graph, idx, &lists).map_err(Box::new)?;
    let allowed = shared.config.max_array_elements;
    if size > allowed {
        let message = format!(
            "the array has {size} elements, more than the limit of {allowed} (worker.max-array-elements)"
        );
        return Err(Box::new(execution_error(ErrorKind::User, "ArrayTooLarge", message)));
    }
    retried(shared, || shared.files.write(uri, bytes.clone())).await.map_err(|error| {
        let message = format!("cannot write {uri}: {}", with_causes(&error));
        Box::new(execution_error(ErrorKind::System, "ValuesWriteFailure", message))
    })?;
    shared.files.remember_bytes(uri, bytes);
    Ok(size)
}

type Gathering<T> = Result<T, ExecutionError>;

async fn gather(
    shared: &Shared,
    names: Names,
    uris: Vec<Option<Arc<str>>>,
    prefix: &str,
) -> Gathering<String> {
    let names = match names {
        Names::Known(names) => Some(names),
        Names::OfLaunchPlan(id) => Some(launch_plan_outputs(shared, &id).await?),
        Names::OfElements => None,
    };
    let lists = collect(shared, names, uris).await?;
    if lists.is_empty() {
        return Ok(String::new());
    }
    let mut outputs = LiteralMap::default();
    for (name, literals) in lists {
        let list = LiteralCollection { literals };
        let literal = Literal { value: Some(literal::Value::Collection(list)), ..Literal::default() };
        let literal = offload_if_large(shared, &name, literal, prefix).await?;
        outputs.literals.insert(name, literal);
    }
    let (actual, allowed) = (outputs.encoded_len() as u64, shared.config.tasks.max_output_size.bytes());
    if actual > allowed {
        return Err(too_large(format!(
            "the outputs have {actual} bytes, more than the limit of {allowed} (worker.tasks.max-output-size)"
        )));
    }
    let uri = format!("{prefix}/outputs.pb");
    write(shared, &uri, outputs.encode_to_vec().into()).await?;
    Ok(uri)
}

fn too_large(message: String) -> ExecutionError {
    execution_error(ErrorKind::User, "OutputSizeExceeded", message)
}

async fn write(shared: &Shared, uri: &str, bytes: Bytes) -> Gathering<()> {
    retried(shared, || shared.files.write(uri, bytes.clone())).await.map_err(|error| {
        let message = format!("cannot write {uri}: {}", with_causes(&error));
        execution_error(ErrorKind::System, "OutputsWriteFailure", message)
    })
}

/// One list for each output, in the order of the elements. Without names, of the outputs that elements gave.
async fn collect(
    shared: &Shared,
    names: Option<Vec<String>>,
    uris: Vec<Option<Arc<str>>>,
) -> Gathering<BTreeMap<String, Vec<Literal>>> {
    let n_elements = uris.len();
    let names = match names {
        Some(names) => names,
        None => match uris.iter().flatten().next() {
            Some(uri) => read_once(shared, uri).await?.literals.into_keys().collect(),
            None => Vec::new(),
        },
    };
    let mut lists: BTreeMap<String, Vec<Literal>> =
        names.iter().map(|name| (name.clone(), Vec::with_capacity(n_elements))).collect();
    if names.is_empty() {
        return Ok(lists);
    }
    let reads = futures::stream::iter(uris).map(|uri| async move {
        match uri {
            Some(uri) => read_once(shared, &uri).await.map(Some),
            None => Ok(None),
        }
    });
    let mut chunks = reads.buffered(READS_AT_ONCE).chunks(CHUNK);
    while let Some(chunk) = chunks.next().await {
        let maps: Vec<Option<LiteralMap>> = chunk.into_iter().collect::<Gathering<_>>()?;
        let gathered = engine::inputs::gather(names.iter().map(String::as_str), maps.into_iter());
        for (name, literal) in gathered.literals {
            if let (Some(list), Some(literal::Value::Collection(more))) =
                (lists.get_mut(&name), literal.value)
            {
                list.extend(more.literals);
            }
        }
    }
    Ok(lists)
}

async fn read_once(shared: &Shared, uri: &str) -> Gathering<LiteralMap> {
    retried(shared, || shared.files.map_once(uri)).await.map_err(|error| {
        let message = format!("cannot read the outputs of an element: {}", with_causes(&error));
        execution_error(ErrorKind::System, "OutputsUnavailable", message)
    })
}

async fn launch_plan_outputs(shared: &Shared, id: &Identifier) -> Gathering<Vec<String>> {
    let failed = |what: String| {
        let message = format!("cannot find the outputs of launch plan {}: {what}", id.name);
        execution_error(ErrorKind::System, "OutputsUnavailable", message)
    };
    let id = EntityId::from_proto(EntityKind::LaunchPlan, id).map_err(|error| failed(error.to_string()))?;
    let row = shared.store.launch_plan_get(&id).await.map_err(|error| failed(with_causes(&error)))?;
    let row = row.ok_or_else(|| failed("it is not registered".to_owned()))?;
    let closure =
        LaunchPlanClosure::decode(row.closure.as_slice()).map_err(|error| failed(error.to_string()))?;
    Ok(closure.expected_outputs.unwrap_or_default().variables.into_keys().collect())
}

/// Writes a large list beside the outputs, if the configuration wants that.
async fn offload_if_large(shared: &Shared, var: &str, literal: Literal, prefix: &str) -> Gathering<Literal> {
    let config = &shared.config.literal_offloading;
    let n_bytes = literal.encoded_len() as u64;
    if !config.enabled || n_bytes < config.min_size.bytes() {
        return Ok(literal);
    }
    if n_bytes > config.max_size.bytes() {
        return Err(too_large(format!(
            "output {var} has {n_bytes} bytes, more than the limit of {} (worker.literal-offloading.max-size)",
            config.max_size.bytes()
        )));
    }
    let uri = format!("{prefix}/{var}_offloaded_metadata.pb");
    let hash = catalog::literal_hash(&literal).unwrap_or_default();
    let metadata = LiteralOffloadedMetadata {
        uri: uri.clone(),
        size_bytes: n_bytes,
        inferred_type: compiler::typing::literal_type(&literal),
    };
    write(shared, &uri, literal.encode_to_vec().into()).await?;
    Ok(Literal { value: Some(literal::Value::OffloadedMetadata(metadata)), hash, ..Literal::default() })
}
