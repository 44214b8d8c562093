//! Performs a launch: reads what is needed, decides purely, keeps the inputs, inserts the one row.

use std::{fmt, sync::Arc};

use blob::Blob;
use model::{ExecutionId, NodeExecutionId, Timestamp, layout};
use prost::Message;
use proto::flyteidl::{
    admin::{ExecutionMetadata, ExecutionSpec, Labels},
    core::LiteralMap,
};
use store::{AttributePlace, ExecutionKey, ExecutionRow, Store};

use crate::{
    Config, Error, Parent, Request, Target,
    attributes::Attributes,
    concurrency, inputs,
    locks::Locks,
    place,
    plan::{Plan, Plans},
    settings::{self, Resolved, Sources},
};

/// Starts executions. Cheap to clone.
#[derive(Clone)]
pub struct Launcher {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    store: Store,
    blob: Blob,
    plans: Plans,
    /// Keep two creations of one name from writing the same input objects at once.
    name_locks: Locks,
    /// Keep two executions of a limited launch plan from not counting each other. Taken before a name's lock.
    plan_locks: Locks,
}

impl fmt::Debug for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launcher").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Launcher {
    /// Opens nothing and starts nothing.
    pub fn new(config: Config, store: Store, blob: Blob) -> Self {
        let inner = Inner {
            config,
            store,
            blob,
            plans: Plans::new(),
            name_locks: Locks::new(),
            plan_locks: Locks::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Starts an execution. On any error nothing is visible of it, and the same request may be sent again.
    ///
    /// # Errors
    /// A request that can't be run, a taken name ([`Error::Exists`]), or a store that does not answer.
    pub async fn create(&self, mut request: Request) -> Result<ExecutionId, Error> {
        let Inner { config, store, .. } = &*self.inner;
        let project = place::check(config, store, &request.project, &request.domain).await?;
        let parent = self.parent(&mut request).await?;
        let nesting = parent.as_ref().map_or(0, |parent| parent.nesting + 1);
        if nesting > config.max_nesting {
            return Err(Error::TooDeep { depth: nesting, allowed: config.max_nesting });
        }
        let plan = Box::pin(self.inner.plans.get(store, &request.target)).await?;
        let complete = inputs::merge(&request.inputs, &plan.fixed, &plan.expected)
            .map_err(|errors| Error::Inputs { target: Box::new(request.target.id().clone()), errors })?;
        check_size(&complete, config.max_inputs_size.bytes())?;

        let id = ExecutionId::new(&request.project, &request.domain, &self.name(&request));
        let attributes = self.attributes(&request, &plan.workflow.name).await?;
        let project_labels: Labels = decode(&project.labels, "labels", &project.id)?;
        let sources = Sources {
            plan: plan.spec.as_ref(),
            workflow_quality: plan.quality.as_ref(),
            attributes: &attributes,
            project_labels: &project_labels.values,
            place: (&request.project, &request.domain),
            name: &id.name,
            principal: &request.principal,
        };
        let resolved = resolve(&request, &sources, parent.as_ref(), nesting, config)?;
        let row = row(&request, &plan, parent, nesting, &id, &resolved, config);

        // Found out before the execution that has the name is counted, and before its objects would be touched.
        let _named = match &request.name {
            None => None,
            Some(_) => {
                let guard = self.inner.name_locks.lock(&id).await;
                if store.execution_get(&id).await?.is_some() {
                    return Err(Error::Exists(id));
                }
                Some(guard)
            }
        };
        // A limited launch plan starts its executions one by one, so that they are counted right.
        let _counted = match plan.spec.as_ref().and_then(concurrency::limit) {
            None => None,
            Some(limit) => {
                let guard = self.inner.plan_locks.lock(request.target.id()).await;
                concurrency::check(store, request.target.id(), limit).await?;
                Some(guard)
            }
        };
        let given = request.arrived.given(&request.inputs);
        // Most often nothing was added to what the caller gave; then one object is both.
        let complete = if request.inputs == complete {
            None
        } else {
            Some(request.arrived.complete(&request.inputs, &complete, &plan.bytes))
        };
        Box::pin(self.insert(row, given, complete)).await?;
        tracing::debug!(execution = %id, target = %request.target.id(), "execution created");
        Ok(id)
    }

    /// Attributes that hold for an execution of a workflow.
    async fn attributes(&self, request: &Request, workflow: &str) -> Result<Attributes, Error> {
        let place = AttributePlace {
            project: request.project.clone(),
            domain: request.domain.clone(),
            workflow: workflow.to_owned(),
        };
        Attributes::read(&self.inner.store.attribute_matching(&place).await?)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn blob(&self) -> &Blob {
        &self.inner.blob
    }

    fn name(&self, request: &Request) -> String {
        request.name.clone().unwrap_or_else(|| model::name::execution_name(&rand::random()))
    }

    /// The parent, as the caller knows it or as the request names it. In a request that names one, principal and
    /// cluster label become those of the parent.
    async fn parent(&self, request: &mut Request) -> Result<Option<Parent>, Error> {
        const FIELD: &str = "spec.metadata.parent_node_execution";
        let named = request.spec.metadata.as_ref().and_then(|m| m.parent_node_execution.as_ref());
        let (None, Some(named)) = (&request.parent, named) else {
            return Ok(request.parent.clone());
        };
        let execution = named.execution_id.as_ref().ok_or(Error::Missing(FIELD))?;
        let execution =
            ExecutionId::from_proto(execution).map_err(|source| Error::Id { field: FIELD, source })?;
        let store = &self.inner.store;
        let row = store.execution_get(&execution).await?;
        let row = row.ok_or_else(|| Error::UnknownExecution(execution.clone()))?;
        if store.node_execution_get(row.key, &named.node_id).await?.is_none() {
            return Err(Error::UnknownNode { execution, node: named.node_id.clone() });
        }
        let node = NodeExecutionId { execution, node: named.node_id.as_str().into() };
        let spec: ExecutionSpec = decode(&row.spec, "spec", &row.id)?;
        request.principal.clone_from(&row.principal);
        if let Some(label) = spec.execution_cluster_label {
            request.spec.execution_cluster_label = Some(label);
        }
        Ok(Some(Parent { execution: row.key, node, nesting: row.nesting }))
    }

    /// Writes the objects, then the row. Without `complete`, what was given is complete.
    async fn insert(
        &self,
        mut row: ExecutionRow,
        given: Vec<u8>,
        complete: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let Inner { store, blob, .. } = &*self.inner;
        let root = blob.metadata_root();
        let complete_at = root.join(&layout::workflow_inputs(&row.id));
        let given_at = match complete {
            None => {
                blob.put(&complete_at, given.into()).await?;
                complete_at.clone()
            }
            Some(complete) => {
                let given_at = root.join(&layout::user_inputs(&row.id));
                tokio::try_join!(blob.put(&given_at, given.into()), blob.put(&complete_at, complete.into()))?;
                given_at
            }
        };
        row.user_inputs_uri = given_at.as_str().to_owned();
        row.inputs_uri = complete_at.as_str().to_owned();
        match store.execution_insert(&row).await {
            Ok(_key) => Ok(()),
            Err(store::Error::Exists { .. }) => Err(Error::Exists(row.id)),
            Err(error) => Err(error.into()),
        }
    }
}

fn check_size(complete: &LiteralMap, allowed: u64) -> Result<(), Error> {
    match complete.encoded_len() {
        actual if actual as u64 > allowed => Err(Error::InputsTooLarge { actual, allowed }),
        _ => Ok(()),
    }
}

fn resolve(
    request: &Request,
    sources: &Sources<'_>,
    parent: Option<&Parent>,
    nesting: i32,
    config: &Config,
) -> Result<Resolved, Error> {
    settings::check(&request.spec, config)?;
    let mut resolved = settings::resolve(request.spec.clone(), &request.target, sources, config)?;
    let spec = &mut resolved.spec;
    let metadata =
        settings::metadata(spec.metadata.take(), &request.principal, &resolved.cluster, sources.place);
    spec.metadata = Some(ExecutionMetadata {
        mode: request.mode as i32,
        nesting: nesting.unsigned_abs(),
        parent_node_execution: parent.map(|parent| parent.node.to_proto()),
        ..metadata
    });
    Ok(resolved)
}

fn row(
    request: &Request,
    plan: &Plan,
    parent: Option<Parent>,
    nesting: i32,
    id: &ExecutionId,
    resolved: &Resolved,
    config: &Config,
) -> ExecutionRow {
    let now = Timestamp::now();
    let (launch_plan, task) = match &request.target {
        Target::LaunchPlan(id) => (Some(id.clone()), None),
        Target::Task(id) => (None, Some(id.clone())),
    };
    ExecutionRow {
        key: ExecutionKey(0),
        id: id.clone(),
        launch_plan,
        task,
        workflow: plan.workflow.clone(),
        phase: 0,
        mode: request.mode as i32,
        principal: request.principal.clone(),
        cluster: resolved.cluster.clone(),
        nesting,
        source: request.source.clone(),
        parent_node: parent.map(|parent| (parent.execution, parent.node.node.to_string())),
        spec: request.arrived.spec(&resolved.spec),
        inputs_uri: String::new(),
        user_inputs_uri: String::new(),
        outputs_uri: String::new(),
        error: Vec::new(),
        error_kind: String::new(),
        error_code: String::new(),
        abort_cause: String::new(),
        aborted_by: None,
        state: 0,
        created_at: now,
        updated_at: now,
        started_at: None,
        duration: None,
        // Where another engine drives executions, no worker of this one takes them up.
        live: !config.external_clusters.contains(&resolved.cluster),
        abort_forced: false,
        settings: resolved.settings.encode_to_vec(),
    }
}

pub(crate) fn decode<M: Message + Default>(
    bytes: &[u8],
    what: &'static str,
    id: &impl fmt::Display,
) -> Result<M, Error> {
    M::decode(bytes).map_err(|source| Error::Decode { what, id: id.to_string(), source })
}
