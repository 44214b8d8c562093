//! Makes the inputs of nodes: reads what their bindings name, and has the result written.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use engine::{NodeIdx, Observation};
use model::{NodeExecutionId, Timestamp, layout};
use prost::Message;
use proto::flyteidl::core::{ExecutionError, LiteralMap, execution_error::ErrorKind};

use crate::call::retried;
use crate::clusters::with_causes;
use crate::driver::{Done, Driver};
use crate::outcome::execution_error;
use crate::program::Program;
use crate::shared::Shared;

/// Outputs of upstream nodes, by node id.
type Sources = HashMap<Arc<str>, Arc<LiteralMap>>;

/// Nodes whose outputs are needed, and where these are.
pub(crate) type Wanted = Vec<(Arc<str>, String)>;

/// Inputs that needed a read or a write.
pub(crate) enum Fetched {
    /// The sources are there; the inputs can be made.
    Sources(Sources),
    /// The inputs are written; this is the answer.
    Written(String),
    /// Storage has no answer.
    Failed(ExecutionError),
}

impl Driver {
    /// Resolves a node's inputs now if everything is in memory, else as soon as it is read.
    pub(crate) async fn resolve(&mut self, node: NodeIdx, now: Timestamp) {
        let wanted = self.wanted_sources(node);
        let cached: Option<Sources> =
            wanted.iter().map(|(id, uri)| Some((id.clone(), self.shared.files.cached_map(uri)?))).collect();
        match cached {
            Some(sources) => self.make(node, &sources, now).await,
            None => self.fetch(node, wanted, now).await,
        }
    }

    /// Goes on once sources are read or outputs are written.
    pub(crate) async fn fetched(&mut self, node: NodeIdx, fetched: Fetched, now: Timestamp) {
        match fetched {
            Fetched::Sources(sources) => self.make(node, &sources, now).await,
            Fetched::Written(uri) => self.resolved(node, Ok(uri), now),
            Fetched::Failed(error) => self.resolved(node, Err(error), now),
        }
    }

    fn resolved(&mut self, node: NodeIdx, result: Result<String, ExecutionError>, now: Timestamp) {
        self.apply(Observation::InputsResolved { node, result }, now);
    }

    /// Ids of the nodes the bindings name, and where their outputs are.
    pub(crate) fn wanted_sources(&self, node: NodeIdx) -> Wanted {
        let graph = &self.program.graph;
        let bindings = graph.node(node).map(|node| node.bindings.as_slice()).unwrap_or_default();
        let needed = engine::inputs::needed_nodes(graph, bindings).into_iter();
        needed.map(|idx| (self.program.node_id(idx), self.engine.node(idx).output_uri.to_string())).collect()
    }

    /// Reads what is not in memory. What a local store has at once is used in this round.
    async fn fetch(&mut self, node: NodeIdx, wanted: Wanted, now: Timestamp) {
        let shared = Arc::clone(&self.shared);
        let mut reading = Box::pin(async move { read(&shared, wanted).await });
        match futures::poll!(&mut reading) {
            Poll::Ready(Ok(sources)) => self.make(node, &sources, now).await,
            Poll::Ready(Err(error)) => self.resolved(node, Err(*error), now),
            Poll::Pending => {
                self.work.spawn(async move {
                    let fetched = match reading.await {
                        Ok(sources) => Fetched::Sources(sources),
                        Err(error) => Fetched::Failed(*error),
                    };
                    Done::Fetched { node, fetched }
                });
            }
        }
    }

    async fn make(&mut self, node: NodeIdx, sources: &Sources, now: Timestamp) {
        let inputs = match bind(&self.program, node, sources) {
            Ok(inputs) => inputs,
            Err(error) => return self.resolved(node, Err(*error), now),
        };
        if node == self.program.graph.end {
            return self.write_outputs(node, inputs, now).await;
        }
        // Written even when there are none: a container's entrypoint reads the file whatever is in it.
        let id = NodeExecutionId { execution: self.info.id.clone(), node: self.program.node_id(node) };
        let uri = self.info.metadata_uri(&layout::node_inputs(&id));
        let bytes = Bytes::from(inputs.encode_to_vec());
        self.shared.files.remember_bytes(&uri, bytes.clone());
        self.writes.push((node, uri.clone(), bytes));
        self.resolved(node, Ok(uri), now);
    }

    /// The inputs of the end node are the workflow's outputs: whoever reads that it succeeded can read them.
    async fn write_outputs(&mut self, node: NodeIdx, outputs: LiteralMap, now: Timestamp) {
        if outputs.literals.is_empty() {
            return self.resolved(node, Ok(String::new()), now);
        }
        let uri = self.info.outputs_uri();
        let bytes = Bytes::from(outputs.encode_to_vec());
        match self.shared.files.write(&uri, bytes.clone()).await {
            Ok(()) => self.resolved(node, Ok(uri), now),
            Err(_) => {
                let shared = Arc::clone(&self.shared);
                self.work.spawn(async move {
                    let fetched = match retried(&shared, || shared.files.write(&uri, bytes.clone())).await {
                        Ok(()) => Fetched::Written(uri),
                        Err(error) => {
                            let message = format!("cannot write the outputs: {}", with_causes(&error));
                            Fetched::Failed(execution_error(
                                ErrorKind::System,
                                "OutputsWriteFailure",
                                message,
                            ))
                        }
                    };
                    Done::Fetched { node, fetched }
                });
            }
        }
    }
}

async fn read(shared: &Shared, wanted: Wanted) -> Result<Sources, Box<ExecutionError>> {
    let mut sources = Sources::new();
    for (id, uri) in wanted {
        let map = retried(shared, || shared.files.map(&uri)).await.map_err(|error| {
            let message = format!("cannot read the outputs of node {id:?}: {}", with_causes(&error));
            Box::new(execution_error(ErrorKind::System, engine::inputs::BINDING_RESOLUTION_FAILURE, message))
        })?;
        sources.insert(id, map);
    }
    Ok(sources)
}

fn bind(program: &Program, node: NodeIdx, sources: &Sources) -> Result<LiteralMap, Box<ExecutionError>> {
    let graph = &program.graph;
    let bindings = graph.node(node).map(|node| node.bindings.as_slice()).unwrap_or_default();
    let mut fetch = |id: &str| sources.get(id).cloned().ok_or("its outputs were not read");
    engine::inputs::resolve(graph, bindings, &mut fetch).map_err(Box::new)
}

/// Writes the inputs of a task that an earlier life resolved and may not have written.
pub(crate) async fn restore(
    shared: &Shared,
    program: &Program,
    node: NodeIdx,
    uri: &str,
    wanted: Wanted,
) -> Result<(), Box<ExecutionError>> {
    if uri.is_empty() || shared.files.exists(uri).await.unwrap_or(false) {
        return Ok(());
    }
    let inputs = bind(program, node, &read(shared, wanted).await?)?;
    let bytes = Bytes::from(inputs.encode_to_vec());
    retried(shared, || shared.files.write(uri, bytes.clone())).await.map_err(|error| {
        let message = format!("cannot write the inputs: {}", with_causes(&error));
        Box::new(execution_error(ErrorKind::System, "InputsUnavailable", message))
    })
}
