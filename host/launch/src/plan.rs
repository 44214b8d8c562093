//! Reads what a target says about its executions, and remembers it: registered things never change.

use std::sync::Arc;

use model::EntityId;
use moka::sync::Cache;
use prost::Message;
use proto::flyteidl::admin::{LaunchPlanClosure, LaunchPlanSpec};
use proto::flyteidl::core::{LiteralMap, ParameterMap, QualityOfService};
use store::Store;

use crate::{Error, Target, arrived::PlanBytes, inputs, launcher::decode, single_task};

/// Encoded bytes of plans that are remembered.
const CACHE_BYTES: u64 = 32 << 20;

/// What the target says about an execution of it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The workflow that runs.
    pub(crate) workflow: EntityId,
    /// The launch plan's spec; none for a single task.
    pub(crate) spec: Option<LaunchPlanSpec>,
    pub(crate) expected: ParameterMap,
    pub(crate) fixed: LiteralMap,
    /// Defaults and fixed inputs as they were registered.
    pub(crate) bytes: PlanBytes,
    /// Quality of service that the workflow asks for.
    pub(crate) quality: Option<QualityOfService>,
}

/// As much of a workflow's closure as says its quality of service; the rest is skipped.
mod skimmed {
    use proto::flyteidl::core::WorkflowMetadata;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WorkflowClosure {
        #[prost(message, optional, tag = "1")]
        pub(super) compiled_workflow: Option<CompiledWorkflowClosure>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct CompiledWorkflowClosure {
        #[prost(message, optional, tag = "1")]
        pub(super) primary: Option<CompiledWorkflow>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct CompiledWorkflow {
        #[prost(message, optional, tag = "1")]
        pub(super) template: Option<WorkflowTemplate>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WorkflowTemplate {
        #[prost(message, optional, tag = "2")]
        pub(super) metadata: Option<WorkflowMetadata>,
    }
}

impl Plan {
    fn weight(&self) -> u32 {
        let n_bytes = self.spec.as_ref().map_or(0, Message::encoded_len)
            + self.expected.encoded_len()
            + self.fixed.encoded_len()
            + self.bytes.len();
        u32::try_from(n_bytes + 512).unwrap_or(u32::MAX)
    }
}

/// The plans of launch plans and tasks.
#[derive(Clone, Debug)]
pub(crate) struct Plans(Cache<EntityId, Arc<Plan>>);

impl Plans {
    pub(crate) fn new() -> Self {
        let weigher = |_: &EntityId, plan: &Arc<Plan>| plan.weight();
        Self(Cache::builder().weigher(weigher).max_capacity(CACHE_BYTES).build())
    }

    /// Reads a target's plan. Only what exists is remembered.
    ///
    /// # Errors
    /// [`Error::NotRegistered`], or the store.
    pub(crate) async fn get(&self, store: &Store, target: &Target) -> Result<Arc<Plan>, Error> {
        if let Some(plan) = self.0.get(target.id()) {
            return Ok(plan);
        }
        let plan = Arc::new(match target {
            Target::LaunchPlan(id) => of_launch_plan(store, id).await?,
            Target::Task(id) => of_task(store, id).await?,
        });
        self.0.insert(target.id().clone(), Arc::clone(&plan));
        Ok(plan)
    }
}

async fn of_launch_plan(store: &Store, id: &EntityId) -> Result<Plan, Error> {
    let row = store.launch_plan_get(id).await?.ok_or_else(|| Error::NotRegistered(id.clone()))?;
    let spec: LaunchPlanSpec = decode(&row.spec, "spec", id)?;
    let closure: LaunchPlanClosure = decode(&row.closure, "closure", id)?;
    Ok(Plan {
        quality: quality_of(store, &row.workflow).await?,
        workflow: row.workflow,
        bytes: PlanBytes::new(&row.spec, &row.closure),
        expected: closure.expected_inputs.unwrap_or_default(),
        fixed: spec.fixed_inputs.clone().unwrap_or_default(),
        spec: Some(spec),
    })
}

async fn of_task(store: &Store, id: &EntityId) -> Result<Plan, Error> {
    let interface = single_task::prepare(store, id).await?;
    Ok(Plan {
        workflow: single_task::workflow_id(id),
        spec: None,
        expected: inputs::all_required(&interface.inputs.unwrap_or_default()),
        fixed: LiteralMap::default(),
        bytes: PlanBytes::default(),
        quality: None,
    })
}

async fn quality_of(store: &Store, workflow: &EntityId) -> Result<Option<QualityOfService>, Error> {
    let Some(row) = store.entity_get(workflow).await? else { return Ok(None) };
    let closure: skimmed::WorkflowClosure = decode(&row.closure, "closure", workflow)?;
    let template = closure.compiled_workflow.and_then(|compiled| compiled.primary?.template);
    Ok(template.and_then(|template| template.metadata?.quality_of_service))
}
