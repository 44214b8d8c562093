//! Keeps a launch plan's executions below the number its concurrency policy allows.

use model::EntityId;
use proto::flyteidl::admin::{ConcurrencyLimitBehavior, LaunchPlanSpec};
use proto::flyteidl::core::workflow_execution::Phase;
use store::{Filter, FilterFunction, ListQuery, Store};

use crate::Error;

/// Phases of executions that count.
const OPEN: [Phase; 6] =
    [Phase::Undefined, Phase::Queued, Phase::Running, Phase::Succeeding, Phase::Failing, Phase::Aborting];

/// What a concurrency policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// How many executions may run at once.
    max: u32,
    /// Whether a launch beyond it is left out rather than tried again.
    skip: bool,
}

/// The limit of a launch plan; `None` is any number of executions.
pub(crate) fn limit(plan: &LaunchPlanSpec) -> Option<Limit> {
    let policy = plan.concurrency_policy.as_ref()?;
    let max = u32::try_from(policy.max).ok().filter(|max| *max > 0)?;
    Some(Limit { max, skip: policy.behavior() == ConcurrencyLimitBehavior::Skip })
}

/// Refuses one more execution of a launch plan, whatever its versions, when as many as allowed are open.
///
/// # Errors
/// [`Error::AtLimit`], or the store.
pub(crate) async fn check(store: &Store, plan: &EntityId, limit: Limit) -> Result<(), Error> {
    let of_plan = |field: &str, value: &str| filter(Some("launch_plan"), field, vec![value.to_owned()]);
    let phases = OPEN.iter().map(|phase| phase.as_str_name().to_owned()).collect();
    let query = ListQuery {
        filters: vec![
            of_plan("project", &plan.project),
            of_plan("domain", &plan.domain),
            of_plan("name", &plan.name),
            filter(None, "phase", phases),
            // Archived executions may be open as well.
            filter(None, "state", vec!["0".to_owned(), "1".to_owned()]),
        ],
        limit: limit.max,
        ..ListQuery::default()
    };
    let open = store.execution_list("", "", &query).await?;
    if open.len() < limit.max as usize {
        return Ok(());
    }
    Err(Error::AtLimit { launch_plan: Box::new(plan.clone()), limit: limit.max, skip: limit.skip })
}

fn filter(entity: Option<&str>, field: &str, values: Vec<String>) -> Filter {
    Filter {
        entity: entity.map(str::to_owned),
        field: field.to_owned(),
        function: FilterFunction::ValueIn,
        values,
    }
}
