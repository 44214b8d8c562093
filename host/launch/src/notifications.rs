//! Checks that notifications wait for an end and reach someone. Pure.

use proto::flyteidl::admin::{Notification, notification};
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

#[cfg(test)]
mod tests {
    use proto::flyteidl::admin::EmailNotification;

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
}
