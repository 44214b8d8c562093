//! Checks that notifications wait for an end and reach someone, and takes those of the launch plan over. Pure.

use proto::flyteidl::admin::{
    ExecutionSpec, LaunchPlanSpec, Notification, NotificationList, execution_spec::NotificationOverrides,
    notification,
};
use proto::flyteidl::core::workflow_execution::Phase;

/// Why a notification was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// It waits for nothing.
    #[error("notification {idx} names no phase")]
    NoPhase {
        /// Its position.
        idx: usize,
    },
    /// It waits for a phase in which nothing has ended.
    #[error("phase {phase} of notification {idx} is not terminal")]
    Phase {
        /// Its position.
        idx: usize,
        /// The phase's name, or its number when it has none.
        phase: String,
    },
    /// It is of no type, or reaches nobody.
    #[error("notification {idx} has no recipient, or an empty one")]
    NoRecipient {
        /// Its position.
        idx: usize,
    },
}

/// Checks all notifications of a launch plan or execution.
///
/// # Errors
/// The first that can't work.
pub fn check(notifications: &[Notification]) -> Result<(), NotificationError> {
    notifications.iter().enumerate().try_for_each(|(idx, notification)| check_one(idx, notification))
}

fn check_one(idx: usize, notification: &Notification) -> Result<(), NotificationError> {
    if notification.phases.is_empty() {
        return Err(NotificationError::NoPhase { idx });
    }
    for number in &notification.phases {
        let phase = match Phase::try_from(*number) {
            Ok(Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::TimedOut) => continue,
            Ok(other) => other.as_str_name().to_owned(),
            Err(_) => number.to_string(),
        };
        return Err(NotificationError::Phase { idx, phase });
    }
    let recipients = match &notification.r#type {
        Some(notification::Type::Email(email)) => email.recipients_email.as_slice(),
        Some(notification::Type::PagerDuty(pager)) => pager.recipients_email.as_slice(),
        Some(notification::Type::Slack(slack)) => slack.recipients_email.as_slice(),
        None => &[],
    };
    if recipients.is_empty() || recipients.iter().any(String::is_empty) {
        return Err(NotificationError::NoRecipient { idx });
    }
    Ok(())
}

/// Takes over what the launch plan asks for, unless the request names notifications of its own or wants none. An empty
/// list, which stock clients send when nobody said anything, is neither.
pub(crate) fn fill(spec: &mut ExecutionSpec, plan: &LaunchPlanSpec) {
    let is_open = match &spec.notification_overrides {
        None => true,
        Some(NotificationOverrides::Notifications(list)) => list.notifications.is_empty(),
        Some(NotificationOverrides::DisableAll(disable)) => !disable,
    };
    let theirs =
        plan.entity_metadata.as_ref().map(|metadata| metadata.notifications.clone()).unwrap_or_default();
    if is_open && !theirs.is_empty() {
        let list = NotificationList { notifications: theirs };
        spec.notification_overrides = Some(NotificationOverrides::Notifications(list));
    }
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::admin::{EmailNotification, LaunchPlanMetadata};

    use super::*;

    fn email(recipients: &[&str], phases: &[i32]) -> Notification {
        let recipients_email = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
        let email = EmailNotification { recipients_email, ..EmailNotification::default() };
        Notification { phases: phases.to_vec(), r#type: Some(notification::Type::Email(email)) }
    }

    #[test]
    fn notifications_wait_for_an_end_and_reach_someone() {
        let good = || email(&["a@b"], &[Phase::Failed as i32, Phase::Succeeded as i32]);
        assert_eq!(check(&[good(), good()]), Ok(()));
        for (broken, want) in [
            (email(&["a@b"], &[]), NotificationError::NoPhase { idx: 1 }),
            (email(&["a@b"], &[2]), NotificationError::Phase { idx: 1, phase: "RUNNING".to_owned() }),
            (email(&["a@b"], &[99]), NotificationError::Phase { idx: 1, phase: "99".to_owned() }),
            (email(&[], &[4]), NotificationError::NoRecipient { idx: 1 }),
            (email(&[""], &[4]), NotificationError::NoRecipient { idx: 1 }),
            (Notification { phases: vec![4], r#type: None }, NotificationError::NoRecipient { idx: 1 }),
        ] {
            assert_eq!(check(&[good(), broken]), Err(want));
        }
    }

    #[test]
    fn the_plan_is_asked_unless_the_request_says_otherwise() {
        let list = |addresses: &[&str]| {
            let notifications = addresses.iter().map(|address| email(&[*address], &[4])).collect();
            Some(NotificationOverrides::Notifications(NotificationList { notifications }))
        };
        let metadata = LaunchPlanMetadata {
            notifications: vec![email(&["plan@x"], &[4])],
            ..LaunchPlanMetadata::default()
        };
        let plan = LaunchPlanSpec { entity_metadata: Some(metadata), ..LaunchPlanSpec::default() };
        for (given, want) in [
            (None, list(&["plan@x"])),
            // What flytekit sends when nothing was said.
            (list(&[]), list(&["plan@x"])),
            (Some(NotificationOverrides::DisableAll(false)), list(&["plan@x"])),
            (list(&["own@x"]), list(&["own@x"])),
            (Some(NotificationOverrides::DisableAll(true)), Some(NotificationOverrides::DisableAll(true))),
        ] {
            let mut spec =
                ExecutionSpec { notification_overrides: given.clone(), ..ExecutionSpec::default() };
            fill(&mut spec, &plan);
            assert_eq!(spec.notification_overrides, want, "{given:?}");
        }
        let mut spec = ExecutionSpec { notification_overrides: list(&[]), ..ExecutionSpec::default() };
        fill(&mut spec, &LaunchPlanSpec::default());
        assert_eq!(spec.notification_overrides, list(&[]));
    }
}
