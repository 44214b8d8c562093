//! Makes launch plans of their rows, for those here who read them; clients get the stored bytes.

use proto::flyteidl::admin::{LaunchPlan, LaunchPlanClosure, LaunchPlanSpec};
use store::LaunchPlanRow;

use crate::{context::decode, error::Result};

pub(crate) fn launch_plan(row: &LaunchPlanRow) -> Result<LaunchPlan> {
    let spec: LaunchPlanSpec = decode(&row.spec, "spec", &row.id)?;
    let closure: LaunchPlanClosure = decode(&row.closure, "closure", &row.id)?;
    Ok(LaunchPlan {
        id: Some(row.id.to_proto()),
        spec: Some(spec),
        closure: Some(LaunchPlanClosure {
            state: row.state,
            created_at: Some(row.created_at.to_proto()),
            updated_at: Some(row.updated_at.to_proto()),
            ..closure
        }),
    })
}
