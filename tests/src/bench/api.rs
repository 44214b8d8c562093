//! Talks to a server: registers flows, launches executions, waits for their end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use proto::flyteidl::admin::{
    Execution, ExecutionCreateRequest, ExecutionMetadata, ExecutionRecoverRequest, ExecutionSpec,
    ExecutionTerminateRequest, GetVersionRequest, LaunchPlanCreateRequest, LaunchPlanSpec,
    NodeExecutionListRequest, ResourceListRequest, TaskCreateRequest, TaskSpec, WorkflowCreateRequest,
    WorkflowExecutionGetDataRequest, WorkflowExecutionGetDataResponse, WorkflowExecutionGetRequest,
    WorkflowSpec, execution_closure,
};
use proto::flyteidl::core::{
    Identifier, LiteralMap, Parameter, ParameterMap, ResourceType, WorkflowExecutionIdentifier, parameter,
    workflow_execution,
};
use proto::flyteidl::service::admin_service_client::AdminServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use super::flow::{self, DOMAIN, Flow, PROJECT};

/// Longest an execution may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Nodes that may run at once: all. The default of the platform is Flyte's, 25.
const PARALLELISM: i32 = 1_000_000;

/// A connection. Cheap to clone.
#[derive(Clone)]
pub struct Api(AdminServiceClient<Channel>);

impl Api {
    /// Connects to a server.
    pub async fn connect(server: &tests::Server) -> Result<Self> {
        Ok(Self(tests::client::admin(server.port).await?))
    }

    /// Registers a flow and its launch plan, and returns the launch plan.
    pub async fn register(&mut self, flow: Flow) -> Result<Identifier> {
        Box::pin(self.create_all(flow)).await
    }

    async fn create_all(&mut self, flow: Flow) -> Result<Identifier> {
        for template in flow.tasks {
            let id = template.id.clone();
            let spec = Some(TaskSpec { template: Some(template), description: None });
            match self.0.create_task(TaskCreateRequest { id, spec }).await {
                Err(status) if status.code() != Code::AlreadyExists => {
                    return Err(status).context("CreateTask");
                }
                Ok(_) | Err(_) => {}
            }
        }
        let workflow_id = flow.workflow.id.clone().context("a flow has an id")?;
        let has_input = flow
            .workflow
            .interface
            .as_ref()
            .and_then(|interface| interface.inputs.as_ref())
            .is_some_and(|inputs| !inputs.variables.is_empty());
        let interface = flow.workflow.interface.clone().unwrap_or_default();
        let default_input = flow.default;
        let spec = Some(WorkflowSpec {
            template: Some(flow.workflow),
            sub_workflows: flow.subs,
            ..WorkflowSpec::default()
        });
        let request = WorkflowCreateRequest { id: Some(workflow_id.clone()), spec };
        self.0
            .create_workflow(request)
            .await
            .with_context(|| format!("CreateWorkflow {}", workflow_id.name))?;
        let plan = flow::id(ResourceType::LaunchPlan, &workflow_id.name);
        let default = |(name, var): (String, _)| {
            let behavior = Some(parameter::Behavior::Default(default_input.clone()));
            (name, Parameter { var: Some(var), behavior })
        };
        let variables = interface.inputs.unwrap_or_default().variables;
        let parameters: BTreeMap<_, _> =
            if has_input { variables.into_iter().map(default).collect() } else { BTreeMap::new() };
        let spec = LaunchPlanSpec {
            workflow_id: Some(workflow_id),
            default_inputs: Some(ParameterMap { parameters }),
            fixed_inputs: Some(LiteralMap::default()),
            max_parallelism: PARALLELISM,
            ..LaunchPlanSpec::default()
        };
        let request = LaunchPlanCreateRequest { id: Some(plan.clone()), spec: Some(spec) };
        self.0.create_launch_plan(request).await.context("CreateLaunchPlan")?;
        Ok(plan)
    }

    /// Creates an execution and returns its id.
    pub async fn launch(&mut self, plan: &Identifier) -> Result<WorkflowExecutionIdentifier> {
        let request = ExecutionCreateRequest {
            project: PROJECT.to_owned(),
            domain: DOMAIN.to_owned(),
            spec: Some(ExecutionSpec {
                launch_plan: Some(plan.clone()),
                metadata: Some(ExecutionMetadata::default()),
                max_parallelism: PARALLELISM,
                ..ExecutionSpec::default()
            }),
            inputs: Some(LiteralMap::default()),
            ..ExecutionCreateRequest::default()
        };
        let reply = self.0.create_execution(request).await.context("CreateExecution")?;
        reply.into_inner().id.context("CreateExecution answered without an id")
    }

    /// Reads an execution.
    pub async fn get(&mut self, id: &WorkflowExecutionIdentifier) -> Result<Execution> {
        let request = WorkflowExecutionGetRequest { id: Some(id.clone()) };
        Ok(self.0.get_execution(request).await.context("GetExecution")?.into_inner())
    }

    /// Waits until an execution succeeded; any other end is an error.
    pub async fn wait(&mut self, id: &WorkflowExecutionIdentifier) -> Result<Execution> {
        let start = Instant::now();
        loop {
            let execution = self.get(id).await?;
            let closure = execution.closure.clone().unwrap_or_default();
            match workflow_execution::Phase::try_from(closure.phase) {
                Ok(workflow_execution::Phase::Succeeded) => return Ok(execution),
                Ok(
                    workflow_execution::Phase::Failed
                    | workflow_execution::Phase::Aborted
                    | workflow_execution::Phase::TimedOut,
                ) => {
                    let error = match closure.output_result {
                        Some(execution_closure::OutputResult::Error(error)) => error.message,
                        _ => "no error message".to_owned(),
                    };
                    bail!("execution {} ended in phase {}: {error}", id.name, closure.phase);
                }
                _ if start.elapsed() > LIMIT => bail!("execution {} takes more than {LIMIT:?}", id.name),
                // Polls cost the server time, so they are rarer the longer an execution takes.
                _ => {
                    let pause = start.elapsed() / 40;
                    tokio::time::sleep(pause.clamp(Duration::from_millis(1), Duration::from_millis(200)))
                        .await;
                }
            }
        }
    }

    /// Time from the request that creates an execution until a client sees its success.
    pub async fn run(&mut self, plan: &Identifier) -> Result<Duration> {
        let start = Instant::now();
        let id = self.launch(plan).await?;
        self.wait(&id).await?;
        Ok(start.elapsed())
    }

    /// Starts an execution again with what succeeded in an earlier one.
    pub async fn recover(&mut self, id: &WorkflowExecutionIdentifier) -> Result<WorkflowExecutionIdentifier> {
        let request = ExecutionRecoverRequest { id: Some(id.clone()), ..ExecutionRecoverRequest::default() };
        let reply = self.0.recover_execution(request).await.context("RecoverExecution")?;
        reply.into_inner().id.context("RecoverExecution answered without an id")
    }

    /// Waits until an execution failed; any other end is an error.
    pub async fn wait_failed(&mut self, id: &WorkflowExecutionIdentifier) -> Result<()> {
        match self.wait(id).await {
            Ok(_) => bail!("execution {} succeeded", id.name),
            Err(_) if self.phase(id).await? == workflow_execution::Phase::Failed => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many nodes of an execution stand in a phase.
    pub async fn count_nodes(&mut self, id: &WorkflowExecutionIdentifier, phase: &str) -> Result<usize> {
        self.count(id, phase, "").await
    }

    /// Registers a flow and runs it.
    pub async fn run_all(&mut self, flow: Flow) -> Result<Duration> {
        let plan = self.register(flow).await?;
        self.run(&plan).await
    }

    /// How many elements of a map are shown as recovered.
    pub async fn elements(&mut self, id: &WorkflowExecutionIdentifier, map: &str) -> Result<usize> {
        self.count(id, "RECOVERED", map).await
    }

    async fn count(&mut self, id: &WorkflowExecutionIdentifier, phase: &str, parent: &str) -> Result<usize> {
        let mut request = NodeExecutionListRequest {
            workflow_execution_id: Some(id.clone()),
            limit: 10_000,
            filters: format!("eq(phase,{phase})"),
            unique_parent_id: parent.to_owned(),
            ..NodeExecutionListRequest::default()
        };
        let mut n_nodes = 0;
        loop {
            let page = self.0.list_node_executions(request.clone()).await.context("ListNodeExecutions")?;
            let page = page.into_inner();
            n_nodes += page.node_executions.len();
            if page.token.is_empty() {
                return Ok(n_nodes);
            }
            request.token = page.token;
        }
    }

    /// Every node of an execution, page by page: how many there are, and the slowest page.
    pub async fn read_nodes(&mut self, id: &WorkflowExecutionIdentifier) -> Result<(usize, Duration)> {
        let mut request = NodeExecutionListRequest {
            workflow_execution_id: Some(id.clone()),
            limit: 1_000,
            ..NodeExecutionListRequest::default()
        };
        let (mut n_nodes, mut slowest) = (0, Duration::ZERO);
        loop {
            let start = Instant::now();
            let page = self.0.list_node_executions(request.clone()).await.context("ListNodeExecutions")?;
            slowest = slowest.max(start.elapsed());
            let page = page.into_inner();
            n_nodes += page.node_executions.len();
            if page.token.is_empty() {
                return Ok((n_nodes, slowest));
            }
            request.token = page.token;
        }
    }

    /// Reads inputs and outputs of an execution, as far as they are told inline.
    pub async fn data(
        &mut self,
        id: &WorkflowExecutionIdentifier,
    ) -> Result<WorkflowExecutionGetDataResponse> {
        let request = WorkflowExecutionGetDataRequest { id: Some(id.clone()) };
        Ok(self.0.get_execution_data(request).await.context("GetExecutionData")?.into_inner())
    }

    /// Ends an execution and waits until it has.
    pub async fn abort(&mut self, id: &WorkflowExecutionIdentifier) -> Result<Duration> {
        let start = Instant::now();
        let request = ExecutionTerminateRequest { id: Some(id.clone()), cause: "bench".to_owned() };
        self.0.terminate_execution(request).await.context("TerminateExecution")?;
        while self.phase(id).await? != workflow_execution::Phase::Aborted {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if start.elapsed() > LIMIT {
                bail!("execution {} is not aborted after {LIMIT:?}", id.name);
            }
        }
        Ok(start.elapsed())
    }

    /// A page of executions: how many there are on it, and how long the answer took.
    pub async fn list(&mut self, request: ResourceListRequest) -> Result<(usize, Duration)> {
        let start = Instant::now();
        let page = self.0.list_executions(request).await.context("ListExecutions")?.into_inner();
        Ok((page.executions.len(), start.elapsed()))
    }

    async fn phase(&mut self, id: &WorkflowExecutionIdentifier) -> Result<workflow_execution::Phase> {
        let phase = self.get(id).await?.closure.unwrap_or_default().phase;
        Ok(workflow_execution::Phase::try_from(phase).unwrap_or_default())
    }

    /// Median time of the smallest request there is.
    pub async fn round_trip(&mut self) -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..50 {
            let start = Instant::now();
            self.0.get_version(GetVersionRequest {}).await.context("GetVersion")?;
            times.push(start.elapsed());
        }
        times.sort();
        Ok(times.get(times.len() / 2).copied().unwrap_or_default())
    }
}

/// Seconds from a moment until the execution's last change, by the clock both sides share.
pub fn ended_after(execution: &Execution, start: SystemTime) -> f64 {
    let updated = execution.closure.as_ref().and_then(|closure| closure.updated_at).unwrap_or_default();
    let start = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    updated.seconds as f64 - start.as_secs() as f64
        + f64::from(updated.nanos - start.subsec_nanos().cast_signed()) / 1e9
}
