//! Holds a store, files, plugins, a cluster and a clock, and any number of lives of a worker over them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use blob::Blob;
use catalog::Catalog;
use launch::Launcher;
use model::{AttemptId, EntityId, EntityKind, ExecutionId, NodeExecutionId, layout};
use plugins::pools::Pools;
use prost::Message;
use proto::flyteidl::admin::{
    ExecutionSpec, LaunchPlanClosure, LaunchPlanSpec, TaskExecutionClosure, execution_metadata::ExecutionMode,
};
use proto::flyteidl::core::{
    ExecutionError, LiteralMap, Parameter, ParameterMap, Variable, parameter, workflow_execution::Phase,
};
use proto::pinion::plugin::v1::ResourcePool;
use store::row::{
    Batch, EntityRow, ExecutionKey, ExecutionRow, LaunchPlanRow, NodeExecutionRow, TaskExecutionRow,
};
use store::{ListQuery, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Clock, Clusters, Config, Deps, Error, Fate, Registry, Seam, StoreTokens, Worker};

use crate::clock::{ManualClock, START};
use crate::cluster::FakeCluster;
use crate::flow::{self, Flow};
use crate::plugins::FakePlugins;

/// Longest real time a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Real time without any change after which the clock moves on.
const IDLE: Duration = Duration::from_millis(30);

pub struct World {
    pub store: Store,
    pub blob: Blob,
    pub launcher: Launcher,
    pub catalog: Catalog,
    pub plugins: Arc<FakePlugins>,
    pub cluster: Arc<FakeCluster>,
    pub clock: Arc<ManualClock>,
    pub config: Config,
    pub registry: Registry,
    pub pools: Arc<Pools>,
    /// What the worker told of executions that cannot go on.
    pub troubles: Arc<Mutex<Vec<Option<String>>>>,
    n_launched: AtomicU64,
    _dir: TempDir,
}

/// One life of a worker.
pub struct Life {
    drain: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
    pub commits: Arc<AtomicU64>,
}

/// Counts commits, and crashes at one of them if told so.
struct Watcher {
    commits: Arc<AtomicU64>,
    crash: Option<Crash>,
}

/// Where to crash.
#[derive(Clone, Copy, Debug)]
pub enum Crash {
    Before(u64),
    After(u64),
}

#[async_trait]
impl Seam for Watcher {
    async fn before_commit(&self, n: u64, _: &Batch) -> Fate {
        match self.crash {
            Some(Crash::Before(at)) if at == n => Fate::Crash,
            _ => Fate::Live,
        }
    }

    async fn after_commit(&self, n: u64) -> Fate {
        self.commits.fetch_add(1, Ordering::SeqCst);
        match self.crash {
            Some(Crash::After(at)) if at == n => Fate::Crash,
            _ => Fate::Live,
        }
    }
}

impl Life {
    /// Ends it as SIGTERM does.
    pub async fn drain(self) -> Result<(), Error> {
        self.drain.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker drains").unwrap()
    }

    /// Ends it as SIGKILL does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it ends by itself.
    pub async fn end(self) -> Result<(), Error> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker ends").unwrap()
    }
}

/// All rows of an execution.
#[derive(Debug)]
pub struct Rows {
    pub execution: ExecutionRow,
    pub nodes: Vec<NodeExecutionRow>,
    pub tasks: Vec<TaskExecutionRow>,
}

impl Rows {
    pub fn phase(&self) -> Phase {
        Phase::try_from(self.execution.phase).unwrap()
    }

    pub fn node(&self, id: &str) -> &NodeExecutionRow {
        self.nodes.iter().find(|node| node.node_id == id).unwrap_or_else(|| panic!("no row for node {id}"))
    }

    /// Attempts of a node, in order.
    pub fn attempts(&self, id: &str) -> Vec<&TaskExecutionRow> {
        let mut attempts: Vec<_> = self.tasks.iter().filter(|task| task.node_id == id).collect();
        attempts.sort_by_key(|task| task.attempt);
        attempts
    }

    pub fn error(&self) -> ExecutionError {
        ExecutionError::decode(self.execution.error.as_slice()).unwrap()
    }

    /// What must be the same however often the worker crashed.
    pub fn digest(&self) -> Vec<String> {
        let mut lines = vec![format!("execution {} {}", self.execution.phase, self.execution.outputs_uri)];
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        lines.extend(nodes.iter().map(|n| {
            format!("node {} {} {} {} {}", n.node_id, n.phase, n.engine_phase, n.attempt, n.output_uri)
        }));
        let mut tasks: Vec<_> = self.tasks.iter().collect();
        tasks.sort_by(|a, b| (&a.node_id, a.attempt).cmp(&(&b.node_id, b.attempt)));
        lines.extend(
            tasks.iter().map(|t| format!("task {} {} {} {}", t.node_id, t.attempt, t.phase, t.output_uri)),
        );
        lines
    }
}

pub fn closure(task: &TaskExecutionRow) -> TaskExecutionClosure {
    TaskExecutionClosure::decode(task.closure.as_slice()).unwrap()
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store::Config {
            synchronous: store::Synchronous::Normal,
            ..store::Config::sqlite(dir.path().join("pinion.db"))
        };
        let store = Store::open(&store).await.unwrap();
        let blob = Blob::new(blob::Config::local(dir.path().join("blob"))).unwrap();
        let pools = Pools::new(Arc::new(StoreTokens::new(store.clone())));
        let pool = ResourcePool { resource_namespace: "pool".into(), size: 1, ..ResourcePool::default() };
        pools.declare("fake", &pool).unwrap();
        let launching = launch::Config { domains: vec!["d".into()], ..launch::Config::default() };
        let project = store::row::ProjectRow {
            id: "p".into(),
            name: "p".into(),
            description: String::new(),
            labels: Vec::new(),
            state: 0,
            created_at: START,
        };
        store.project_insert(&project).await.unwrap();
        let mut config = Config::default();
        // The clock leaps in tests; the lease is not what they are about.
        config.lease_ttl = config::Duration::from_hours(100_000);
        config.plugin_calls.cleanup_tries = 3;
        Self {
            cluster: Arc::new(FakeCluster::new(blob.clone())),
            launcher: Launcher::new(launching, store.clone(), blob.clone()),
            catalog: Catalog::new(store.clone(), blob.clone()),
            plugins: Arc::new(FakePlugins::new(blob.clone())),
            store,
            blob,
            clock: Arc::new(ManualClock::new()),
            config,
            registry: Registry::default(),
            pools: Arc::new(pools),
            troubles: Arc::default(),
            n_launched: AtomicU64::new(0),
            _dir: dir,
        }
    }

    pub fn start(&self) -> Life {
        self.start_as("host", None)
    }

    pub fn start_as(&self, host: &str, crash: Option<Crash>) -> Life {
        let commits = Arc::new(AtomicU64::new(0));
        let deps = Deps {
            host: host.to_owned(),
            store: self.store.clone(),
            blob: self.blob.clone(),
            launcher: self.launcher.clone(),
            catalog: self.catalog.clone(),
            plugins: self.plugins.clone(),
            pools: self.pools.clone(),
            clusters: Clusters::new([self.cluster.clone() as Arc<dyn cluster::Cluster>]),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
            heartbeat: Arc::new(|_| ()),
            on_trouble: {
                let told = self.troubles.clone();
                Arc::new(move |text: Option<&str>| told.lock().unwrap().push(text.map(str::to_owned)))
            },
            seam: Arc::new(Watcher { commits: commits.clone(), crash }),
        };
        let drain = CancellationToken::new();
        let task = tokio::spawn(Box::pin(Worker::new(self.config.clone(), deps).run(drain.clone())));
        Life { drain, task, commits }
    }

    /// Registers a workflow and starts an execution of it with input `n` = 0.
    pub async fn launch(&self, flow: &Flow) -> ExecutionId {
        self.launch_with(flow, ExecutionSpec::default()).await
    }

    pub async fn launch_with(&self, flow: &Flow, spec: ExecutionSpec) -> ExecutionId {
        let n = self.n_launched.fetch_add(1, Ordering::SeqCst);
        let id = ExecutionId::new("p", "d", &format!("e{n}"));
        let workflow = self.register(&format!("w{n}"), flow).await;
        self.start_execution(id, workflow, spec, None).await
    }

    /// Registers a workflow.
    pub async fn register(&self, name: &str, flow: &Flow) -> EntityId {
        let workflow = Flow::id(name);
        let entity = EntityRow {
            id: workflow.clone(),
            digest: name.as_bytes().to_vec(),
            task_type: String::new(),
            short_description: String::new(),
            closure: flow.closure(&workflow.name).encode_to_vec(),
            interface: Vec::new(),
            created_at: START,
        };
        self.store.entity_insert(&entity, None).await.unwrap();
        workflow
    }

    /// Registers a workflow and a launch plan of the same name.
    pub async fn plan(&self, name: &str, flow: &Flow) {
        let workflow = self.register(name, flow).await;
        let id = EntityId { kind: EntityKind::LaunchPlan, ..workflow.clone() };
        let n = Variable { r#type: Some(flow::integer_type()), ..Variable::default() };
        let n = Parameter { var: Some(n), behavior: Some(parameter::Behavior::Required(true)) };
        let expected = ParameterMap { parameters: [("n".to_owned(), n)].into() };
        let closure = LaunchPlanClosure {
            expected_inputs: Some(expected.clone()),
            expected_outputs: Some(flow::variables(&["o0".to_owned()])),
            ..LaunchPlanClosure::default()
        };
        let spec = LaunchPlanSpec {
            workflow_id: Some(workflow.to_proto()),
            default_inputs: Some(expected),
            ..LaunchPlanSpec::default()
        };
        let row = LaunchPlanRow {
            id,
            workflow,
            digest: name.as_bytes().to_vec(),
            spec: spec.encode_to_vec(),
            closure: closure.encode_to_vec(),
            state: 0,
            schedule_type: "NONE".into(),
            created_at: START,
            updated_at: START,
        };
        self.store.launch_plan_insert(&row).await.unwrap();
    }

    /// Recovers an execution: the same workflow, taking over what succeeded.
    pub async fn recover(&self, original: &ExecutionId) -> ExecutionId {
        let row = self.store.execution_get(original).await.unwrap().unwrap();
        let n = self.n_launched.fetch_add(1, Ordering::SeqCst);
        let id = ExecutionId::new("p", "d", &format!("e{n}"));
        self.start_execution(id, row.workflow, ExecutionSpec::default(), Some(original.clone())).await
    }

    pub async fn start_execution(
        &self,
        id: ExecutionId,
        workflow: EntityId,
        spec: ExecutionSpec,
        recovers: Option<ExecutionId>,
    ) -> ExecutionId {
        let inputs = self.blob.metadata_root().join(&layout::workflow_inputs(&id));
        self.blob.put(&inputs, flow::map(&[("n", 0)]).encode_to_vec().into()).await.unwrap();
        let row = ExecutionRow {
            key: ExecutionKey(0),
            id: id.clone(),
            launch_plan: None,
            task: None,
            workflow,
            phase: Phase::Queued.into(),
            mode: if recovers.is_some() { ExecutionMode::Recovered.into() } else { 0 },
            principal: String::new(),
            cluster: String::new(),
            nesting: 0,
            source: recovers,
            parent_node: None,
            spec: spec.encode_to_vec(),
            inputs_uri: inputs.as_str().to_owned(),
            user_inputs_uri: String::new(),
            outputs_uri: String::new(),
            error: Vec::new(),
            error_kind: String::new(),
            error_code: String::new(),
            abort_cause: String::new(),
            aborted_by: None,
            state: 0,
            created_at: self.clock.now(),
            updated_at: self.clock.now(),
            started_at: None,
            duration: None,
            live: true,
            abort_forced: false,
            settings: Vec::new(),
        };
        self.store.execution_insert(&row).await.unwrap();
        id
    }

    pub async fn abort(&self, id: &ExecutionId) {
        self.store.execution_request_abort(id, "enough", "me", self.clock.now()).await.unwrap();
    }

    pub async fn rows(&self, id: &ExecutionId) -> Rows {
        let execution = self.store.execution_get(id).await.unwrap().unwrap();
        let (nodes, _) = self.store.execution_load(execution.key).await.unwrap();
        let mut tasks = Vec::new();
        for node in &nodes {
            let query = ListQuery::default();
            tasks.extend(self.store.task_execution_list(execution.key, &node.node_id, &query).await.unwrap());
        }
        Rows { execution, nodes, tasks }
    }

    /// Waits until the rows are as wanted; the clock moves on when nothing else does.
    pub async fn until(&self, id: &ExecutionId, mut wanted: impl FnMut(&Rows) -> bool) -> Rows {
        let mut wakes = self.store.subscribe();
        let search = async {
            loop {
                let rows = self.rows(id).await;
                if wanted(&rows) {
                    return rows;
                }
                if tokio::time::timeout(IDLE, wakes.recv()).await.is_err() {
                    self.clock.skip();
                }
                while wakes.try_recv().is_ok() {}
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(rows) => rows,
            Err(_) => panic!("not reached: {:#?}", self.rows(id).await.digest()),
        }
    }

    /// Waits until nothing is left to do for the execution, and checks what must hold then.
    pub async fn until_over(&self, id: &ExecutionId) -> Rows {
        let rows = self.until(id, |rows| !rows.execution.live).await;
        self.check(&rows);
        rows
    }

    /// What must hold whenever an execution is over.
    pub fn check(&self, rows: &Rows) {
        for task in &rows.tasks {
            assert!(!task.open, "attempt {} of {} is left open", task.attempt, task.node_id);
            assert!(matches!(task.phase, 3..=5), "attempt {} of {} did not end", task.attempt, task.node_id);
        }
        assert_eq!(
            self.plugins.journal.overlaps.lock().unwrap().as_slice(),
            [""; 0],
            "calls of one attempt overlap"
        );
        for (name, times) in self.cluster.created.lock().unwrap().iter() {
            assert_eq!(*times, 1, "{name} ran more than once");
        }
    }

    /// Leaves a checkpoint as an attempt would, and says where.
    pub async fn write_checkpoint(&self, execution: &str, node: &str, attempt: u32) -> String {
        let execution = ExecutionId::new("p", "d", execution);
        let id = AttemptId { node: NodeExecutionId { execution, node: node.into() }, attempt };
        let dir = self.blob.raw_root().join(&layout::raw_output_dir(&id)).join(layout::CHECKPOINT_DIR);
        self.blob.put(&dir.join("tmp"), b"5".as_slice().into()).await.unwrap();
        dir.as_str().to_owned()
    }

    pub async fn outputs(&self, uri: &str) -> LiteralMap {
        let bytes = self.blob.get(&blob::DataReference::parse(uri).unwrap()).await.unwrap();
        LiteralMap::decode(bytes).unwrap()
    }

    pub async fn output(&self, rows: &Rows) -> Option<i64> {
        let outputs = self.outputs(&rows.execution.outputs_uri).await;
        flow::read_integer(outputs.literals.get("o0")?)
    }
}
