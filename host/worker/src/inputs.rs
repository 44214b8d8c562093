//! Makes the inputs of nodes: reads what their bindings name, decides what follows from them, has the result written.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use engine::{Detail, Graph, GraphNode, NodeIdx, NodeKind, Observation, Resolved};
use model::Timestamp;
use prost::Message;
use proto::flyteidl::core::{Binding, ExecutionError, LiteralMap, execution_error::ErrorKind};

use crate::array::InputsOf;
use crate::call::retried;
use crate::clusters::with_causes;
use crate::driver::{Done, Driver};
use crate::offload::{self, Sources};
use crate::outcome::execution_error;
use crate::place::Place;
use crate::shared::Shared;

/// What a node's inputs are made of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    graph: Arc<Graph>,
    /// Position of the node in the graph.
    node: engine::GraphIdx,
    /// Nodes whose outputs are needed, and where these are.
    sources: Vec<(Arc<str>, String)>,
    /// For a failure node: what failed, and which node.
    failure: Option<Box<(ExecutionError, String)>>,
}

/// Where inputs that may not have been written come from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Bindings(Wanted),
    Element(InputsOf),
}

impl Wanted {
    fn graph_node(&self) -> Option<&GraphNode> {
        self.graph.node(self.node)
    }

    fn bindings(&self) -> &[Binding] {
        self.graph_node().map(|node| node.bindings.as_slice()).unwrap_or_default()
    }
}

/// Inputs that needed a read or a write.
pub(crate) enum Fetched {
    /// The sources are there; the inputs can be made.
    Sources(Wanted, Sources),
    /// Everything is written; this is the answer.
    Written(Resolved),
    /// Storage has no answer.
    Failed(ExecutionError),
}

impl Driver {
    /// Resolves a node's inputs now if everything is in memory, else as soon as it is read.
    pub(crate) async fn resolve(&mut self, node: NodeIdx, now: Timestamp) {
        if let Some(index) = self.engine.element(node) {
            return self.resolve_element(node, index, now).await;
        }
        let wanted = self.wanted(node);
        let known = |(id, uri): &(Arc<str>, String)| Some((id.clone(), self.shared.files.cached_map(uri)?));
        let cached: Option<Sources> = wanted.sources.iter().map(known).collect();
        match cached {
            Some(sources) if !offload::is_wanted(wanted.bindings(), &sources) => {
                self.make(node, &wanted, &sources, now).await;
            }
            _ => self.fetch(node, wanted, now).await,
        }
    }

    /// Goes on once sources are read or outputs are written.
    pub(crate) async fn fetched(&mut self, node: NodeIdx, fetched: Fetched, now: Timestamp) {
        match fetched {
            Fetched::Sources(wanted, sources) => self.make(node, &wanted, &sources, now).await,
            Fetched::Written(resolved) => self.resolved(node, Ok(resolved), now),
            Fetched::Failed(error) => self.resolved(node, Err(error), now),
        }
    }

    pub(crate) fn resolved(
        &mut self,
        node: NodeIdx,
        result: Result<Resolved, ExecutionError>,
        now: Timestamp,
    ) {
        self.apply(Observation::InputsResolved { node, result }, now);
    }

    /// What a node's inputs are made of.
    pub(crate) fn wanted(&self, node: NodeIdx) -> Wanted {
        let source = |idx: NodeIdx| {
            (self.engine.graph_node(idx).id.clone(), self.engine.node(idx).output_uri.to_string())
        };
        Wanted {
            graph: Arc::clone(self.engine.graph_of(node)),
            node: self.engine.graph_idx(node),
            sources: self.engine.needed_nodes(node).into_iter().map(source).collect(),
            failure: self.engine.failure_for(node).map(|(error, failed)| Box::new((error.clone(), failed))),
        }
    }

    /// What to make a node's inputs of anew.
    pub(crate) fn origin(&self, node: NodeIdx) -> Origin {
        match self.element_inputs(node) {
            Some(element) => Origin::Element(element),
            None => Origin::Bindings(self.wanted(node)),
        }
    }

    /// Reads what is not in memory. What a local store has at once is used in this round.
    async fn fetch(&mut self, node: NodeIdx, wanted: Wanted, now: Timestamp) {
        let shared = Arc::clone(&self.shared);
        let reading = async move {
            match read(&shared, &wanted).await {
                Ok(sources) => Fetched::Sources(wanted, sources),
                Err(error) => Fetched::Failed(*error),
            }
        };
        self.go_on(node, reading, now).await;
    }

    /// Goes on with the outcome of some work in this round if it is there at once, else when it comes.
    pub(crate) async fn go_on(
        &mut self,
        node: NodeIdx,
        work: impl Future<Output = Fetched> + Send + 'static,
        now: Timestamp,
    ) {
        let mut work = Box::pin(work);
        match futures::poll!(&mut work) {
            Poll::Ready(fetched) => Box::pin(self.fetched(node, fetched, now)).await,
            Poll::Pending => {
                self.work.spawn(async move { Done::Fetched { node, fetched: work.await } });
            }
        }
    }

    async fn make(&mut self, node: NodeIdx, wanted: &Wanted, sources: &Sources, now: Timestamp) {
        match bind(wanted, sources) {
            Ok(inputs) => self.settle(node, inputs, now).await,
            Err(error) => self.resolved(node, Err(*error), now),
        }
    }

    /// Decides what follows from a node's inputs, and has them written.
    pub(crate) async fn settle(&mut self, node: NodeIdx, inputs: LiteralMap, now: Timestamp) {
        match self.engine.graph_node(node).kind {
            NodeKind::End => self.write_outputs(node, inputs, now).await,
            NodeKind::Task { .. } => {
                let uri = match self.shared_inputs_uri(node) {
                    Some(uri) => uri,
                    None => self.write_beside_commit(node, &inputs),
                };
                self.look_up_or_run(node, inputs, uri, now);
            }
            NodeKind::Branch { .. } => {
                let (graph, idx) = (self.engine.graph_of(node), self.engine.graph_idx(node));
                match engine::inputs::decide_branch(graph, idx, &inputs) {
                    Ok(arm) => {
                        let uri = self.write_beside_commit(node, &inputs);
                        self.resolved(node, Ok(Resolved { uri, detail: Detail::Arm(arm) }), now);
                    }
                    Err(error) => self.resolved(node, Err(error), now),
                }
            }
            NodeKind::Array { .. } => self.settle_array(node, inputs, now).await,
            NodeKind::Start
            | NodeKind::SubWorkflow { .. }
            | NodeKind::LaunchPlan { .. }
            | NodeKind::Gate(_) => self.write_first(node, inputs, Detail::Plain, now).await,
        }
    }

    /// Where a node's own inputs are.
    pub(crate) fn own_inputs_uri(&self, node: NodeIdx) -> String {
        Place::of(&self.info, &self.engine, node).inputs_uri(&self.info)
    }

    /// Has inputs written beside the next commit. Even when there are none: a container's entrypoint reads the file
    /// whatever is in it.
    pub(crate) fn write_beside_commit(&mut self, node: NodeIdx, inputs: &LiteralMap) -> String {
        let uri = self.own_inputs_uri(node);
        let bytes = Bytes::from(inputs.encode_to_vec());
        self.shared.files.remember_bytes(&uri, bytes.clone());
        self.writes.push((node, uri.clone(), bytes));
        uri
    }

    /// Writes inputs that other nodes read: they are there before anyone is told of them.
    pub(crate) async fn write_first(
        &mut self,
        node: NodeIdx,
        inputs: LiteralMap,
        detail: Detail,
        now: Timestamp,
    ) {
        let uri = self.own_inputs_uri(node);
        self.write_and_answer(node, uri, inputs, detail, now).await;
    }

    /// The inputs of an end node are the outputs of its workflow: whoever reads that it succeeded can read them.
    async fn write_outputs(&mut self, node: NodeIdx, outputs: LiteralMap, now: Timestamp) {
        if outputs.literals.is_empty() {
            let resolved = Resolved { uri: String::new(), detail: Detail::Plain };
            return self.resolved(node, Ok(resolved), now);
        }
        let place = Place::of(&self.info, &self.engine, node);
        let uri = format!("{}/outputs.pb", place.output_prefix(&self.info, 0));
        self.write_and_answer(node, uri, outputs, Detail::Plain, now).await;
    }

    async fn write_and_answer(
        &mut self,
        node: NodeIdx,
        uri: String,
        values: LiteralMap,
        detail: Detail,
        now: Timestamp,
    ) {
        let shared = Arc::clone(&self.shared);
        let writing = async move {
            let bytes = Bytes::from(values.encode_to_vec());
            match retried(&shared, || shared.files.write(&uri, bytes.clone())).await {
                Ok(()) => {
                    shared.files.remember_map(&uri, values.into());
                    Fetched::Written(Resolved { uri, detail })
                }
                Err(error) => {
                    let message = format!("cannot write {uri}: {}", with_causes(&error));
                    Fetched::Failed(execution_error(ErrorKind::System, "ValuesWriteFailure", message))
                }
            }
        };
        self.go_on(node, writing, now).await;
    }
}

async fn read(shared: &Shared, wanted: &Wanted) -> Result<Sources, Box<ExecutionError>> {
    let mut sources = HashMap::with_capacity(wanted.sources.len());
    for (id, uri) in &wanted.sources {
        let map = retried(shared, || shared.files.map(uri)).await.map_err(|error| {
            let message = format!("cannot read the outputs of node {id:?}: {}", with_causes(&error));
            Box::new(execution_error(ErrorKind::System, engine::inputs::BINDING_RESOLUTION_FAILURE, message))
        })?;
        sources.insert(id.clone(), map);
    }
    offload::fetch(shared, wanted.bindings(), &mut sources).await?;
    Ok(sources)
}

fn bind(wanted: &Wanted, sources: &Sources) -> Result<LiteralMap, Box<ExecutionError>> {
    let mut fetch = |id: &str| sources.get(id).cloned().ok_or("its outputs were not read");
    let mut inputs =
        engine::inputs::resolve(&wanted.graph, wanted.bindings(), &mut fetch).map_err(Box::new)?;
    if let Some(failure) = &wanted.failure {
        engine::inputs::inject_error(&mut inputs, &failure.0, &failure.1);
    }
    Ok(inputs)
}

/// Writes the inputs of a task that an earlier life resolved and may not have written.
pub(crate) async fn restore(shared: &Shared, uri: &str, origin: &Origin) -> Result<(), Box<ExecutionError>> {
    if uri.is_empty() || shared.files.exists(uri).await.unwrap_or(false) {
        return Ok(());
    }
    let inputs = match origin {
        Origin::Bindings(wanted) => bind(wanted, &read(shared, wanted).await?)?,
        Origin::Element(element) => element.read(shared).await?,
    };
    let bytes = Bytes::from(inputs.encode_to_vec());
    retried(shared, || shared.files.write(uri, bytes.clone())).await.map_err(|error| {
        let message = format!("cannot write the inputs: {}", with_causes(&error));
        Box::new(execution_error(ErrorKind::System, "InputsUnavailable", message))
    })
}
