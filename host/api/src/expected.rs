//! Checks a launch plan's spec against its workflow and completes it: what an execution of it must be given. Pure.

use proto::flyteidl::admin::{ConcurrencyLimitBehavior, LaunchPlanClosure, LaunchPlanSpec};
use proto::flyteidl::core::{ParameterMap, TypedInterface};

use crate::{
    Error,
    schedule::{self, ScheduleType},
};

/// A launch plan, checked and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// The spec; its default inputs name every input that is not fixed.
    pub spec: LaunchPlanSpec,
    /// What clients read beside it; state and times are added when it is read.
    pub closure: LaunchPlanClosure,
    /// What the list filter sees.
    pub schedule_type: ScheduleType,
}

/// Checks and completes.
///
/// # Errors
/// Inputs the workflow does not have or that do not fit, a schedule or notification that can't work.
pub fn complete(mut spec: LaunchPlanSpec, workflow: &TypedInterface) -> Result<Completed, Error> {
    let inputs = workflow.inputs.clone().unwrap_or_default();
    let defaults = spec.default_inputs.take().unwrap_or_default();
    let fixed = spec.fixed_inputs.clone().unwrap_or_default();
    let expected = compiler::expected_inputs(&inputs, &defaults, &fixed)
        .map_err(|errors| Error::invalid("spec", errors.to_string()))?;
    let schedule_type = check_metadata(&spec, &expected)?;
    if spec.max_parallelism < 0 {
        return Err(Error::invalid("spec.max_parallelism", format!("{} is negative", spec.max_parallelism)));
    }
    if let Some(policy) = &spec.concurrency_policy
        && (policy.max < 0 || ConcurrencyLimitBehavior::try_from(policy.behavior).is_err())
    {
        let reason = format!("max {} with behavior {} means nothing", policy.max, policy.behavior);
        return Err(Error::invalid("spec.concurrency_policy", reason));
    }
    spec.default_inputs = Some(expected.clone());
    let closure = LaunchPlanClosure {
        expected_inputs: Some(expected),
        expected_outputs: Some(workflow.outputs.clone().unwrap_or_default()),
        ..LaunchPlanClosure::default()
    };
    Ok(Completed { spec, closure, schedule_type })
}

fn check_metadata(spec: &LaunchPlanSpec, expected: &ParameterMap) -> Result<ScheduleType, Error> {
    if let Some(metadata) = &spec.entity_metadata {
        if metadata.launch_conditions.is_some() {
            let field = "spec.entity_metadata.launch_conditions";
            return Err(Error::invalid(field, "launch conditions are not supported"));
        }
        launch::notifications::check(&metadata.notifications)
            .map_err(|error| Error::invalid("spec.entity_metadata", error.to_string()))?;
    }
    schedule::check(spec, expected)
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::admin::{ConcurrencyPolicy, LaunchPlanMetadata, Notification};

    use super::*;

    #[test]
    fn what_can_not_work_is_refused() {
        let metadata = |metadata| LaunchPlanSpec { entity_metadata: Some(metadata), ..Default::default() };
        let notifications = vec![Notification::default()];
        for broken in [
            metadata(LaunchPlanMetadata { notifications, ..Default::default() }),
            metadata(LaunchPlanMetadata {
                launch_conditions: Some(Default::default()),
                ..Default::default()
            }),
            LaunchPlanSpec { max_parallelism: -1, ..Default::default() },
            LaunchPlanSpec {
                concurrency_policy: Some(ConcurrencyPolicy { max: -1, behavior: 1 }),
                ..Default::default()
            },
        ] {
            assert!(complete(broken.clone(), &TypedInterface::default()).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn completed_spec_and_closure_agree() {
        let done = complete(LaunchPlanSpec::default(), &TypedInterface::default()).unwrap();
        assert_eq!(done.spec.default_inputs, done.closure.expected_inputs);
        assert_eq!(done.schedule_type, ScheduleType::None);
    }
}
