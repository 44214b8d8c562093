//! Checks a launch plan's spec against its workflow and completes it: what an execution of it must be given. Pure.

use proto::flyteidl::admin::{ConcurrencyLimitBehavior, LaunchPlanClosure, LaunchPlanSpec, Notification, notification};
use proto::flyteidl::core::{ParameterMap, TypedInterface, workflow_execution::Phase};

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
    let Some(metadata) = &spec.entity_metadata else { return Ok(ScheduleType::None) };
    if metadata.launch_conditions.is_some() {
        let field = "spec.entity_metadata.launch_conditions";
        return Err(Error::invalid(field, "launch conditions are not supported"));
    }
    for (idx, notification) in metadata.notifications.iter().enumerate() {
        check_notification(notification).map_err(|reason| {
            Error::invalid(format!("spec.entity_metadata.notifications[{idx}]"), reason)
        })?;
    }
    schedule::check(metadata.schedule.as_ref(), expected)
}

fn check_notification(notification: &Notification) -> Result<(), String> {
    if notification.phases.is_empty() {
        return Err("names no phase".to_owned());
    }
    for phase in &notification.phases {
        match Phase::try_from(*phase) {
            Ok(Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::TimedOut) => {}
            Ok(other) => return Err(format!("phase {} is not terminal", other.as_str_name())),
            Err(_) => return Err(format!("{phase} is no phase")),
        }
    }
    let recipients = match &notification.r#type {
        Some(notification::Type::Email(email)) => &email.recipients_email,
        Some(notification::Type::PagerDuty(pager)) => &pager.recipients_email,
        Some(notification::Type::Slack(slack)) => &slack.recipients_email,
        None => return Err("has no type".to_owned()),
    };
    if recipients.is_empty() || recipients.iter().any(String::is_empty) {
        return Err("has an empty recipient list, or an empty recipient".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::admin::{EmailNotification, LaunchPlanMetadata};

    use super::*;

    fn with(notification: Notification) -> LaunchPlanSpec {
        let metadata = LaunchPlanMetadata { notifications: vec![notification], ..Default::default() };
        LaunchPlanSpec { entity_metadata: Some(metadata), ..LaunchPlanSpec::default() }
    }

    #[test]
    fn notifications_wait_for_an_end_and_reach_someone() {
        let email = |recipients: &[&str], phase: Phase| {
            let email = EmailNotification {
                recipients_email: recipients.iter().map(|r| (*r).to_owned()).collect(),
                ..EmailNotification::default()
            };
            with(Notification {
                phases: vec![phase as i32],
                r#type: Some(notification::Type::Email(email)),
            })
        };
        let check = |spec| complete(spec, &TypedInterface::default()).is_ok();
        assert!(check(email(&["a@b"], Phase::Failed)));
        assert!(!check(email(&["a@b"], Phase::Running)));
        assert!(!check(email(&[], Phase::Failed)));
        assert!(!check(with(Notification::default())));
    }

    #[test]
    fn completed_spec_and_closure_agree() {
        let done = complete(LaunchPlanSpec::default(), &TypedInterface::default()).unwrap();
        assert_eq!(done.spec.default_inputs, done.closure.expected_inputs);
        assert_eq!(done.schedule_type, ScheduleType::None);
    }
}
