//! Keeps a launch plan's executions below the number its concurrency policy allows.

use model::EntityId;
use proto::flyteidl::admin::LaunchPlanSpec;
use proto::flyteidl::core::workflow_execution::Phase;
use store::{Filter, FilterFunction, ListQuery, Store};

use crate::Error;

/// Phases of executions that count.
const OPEN: [Phase; 6] =
    [Phase::Undefined, Phase::Queued, Phase::Running, Phase::Succeeding, Phase::Failing, Phase::Aborting];

/// How many executions may run at once; `None` is any number.
pub(crate) fn limit(plan: &LaunchPlanSpec) -> Option<u32> {
    let max = plan.concurrency_policy.as_ref()?.max;
    u32::try_from(max).ok().filter(|max| *max > 0)
}

/// Refuses one more execution of a launch plan, whatever its versions, when as many as allowed are open.
///
/// # Errors
/// [`Error::AtLimit`], or the store.
pub(crate) async fn check(store: &Store, plan: &EntityId, limit: u32) -> Result<(), Error> {
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
        limit,
        ..ListQuery::default()
    };
    let open = store.execution_list("", "", &query).await?;
    if open.len() < limit as usize {
        return Ok(());
    }
    Err(Error::AtLimit { launch_plan: Box::new(plan.clone()), limit })
}

fn filter(entity: Option<&str>, field: &str, values: Vec<String>) -> Filter {
    Filter {
        entity: entity.map(str::to_owned),
        field: field.to_owned(),
        function: FilterFunction::ValueIn,
        values,
    }
}
