//! Decides who is told that an execution ended. Pure.

use model::Timestamp;
use proto::flyteidl::admin::{
    ExecutionSpec, Notification, execution_spec::NotificationOverrides, notification,
};
use proto::flyteidl::core::workflow_execution::Phase;
use store::{DeliveryRow, ExecutionRow, OutboxRow};

use crate::channel::Channels;
use crate::config::{Config, Rule};
use crate::facts::Facts;
use crate::letter::{ended, notification_row};
use crate::pattern;

/// Stands for the e-mail channel in the log while none is configured.
pub(crate) const EMAIL: &str = "e-mail";

/// Phases of rules that name none.
const DEFAULT_PHASES: [Phase; 2] = [Phase::Failed, Phase::TimedOut];

/// The phases that rules may name, with their words.
pub(crate) const PHASES: [(&str, Phase); 4] = [
    ("succeeded", Phase::Succeeded),
    ("failed", Phase::Failed),
    ("aborted", Phase::Aborted),
    ("timed-out", Phase::TimedOut),
];

/// The deliveries that follow from the end of an execution: those its spec asks for, then those of the rules.
pub(crate) fn deliveries(
    config: &Config,
    channels: &Channels,
    event: &OutboxRow,
    (row, spec): (&ExecutionRow, &ExecutionSpec),
    now: Timestamp,
) -> Vec<DeliveryRow> {
    let phase = Phase::try_from(event.phase).unwrap_or_default();
    let facts = Facts::read(event, row, spec, &config.console_url);
    let mut out = Vec::new();
    for address in asked(spec, event.phase) {
        out.push(match config.email() {
            Some(channel) => notification_row(&event.id, channel, address, &facts, now),
            None => {
                let reason = "no channel of type `smtp` is configured under `notify.channels`";
                ended(notification_row(&event.id, EMAIL, address, &facts, now), 0, Some(reason), now)
            }
        });
    }
    for rule in config.rules.iter().filter(|rule| applies(rule, phase, row)) {
        let Some(channel) = channels.get(&rule.channel) else { continue };
        for recipient in channel.recipients(&rule.to) {
            out.push(notification_row(&event.id, &rule.channel, &recipient, &facts, now));
        }
    }
    out
}

/// The addresses that launch plan or execution name for this phase. Flyte reaches all three kinds by e-mail.
fn asked(spec: &ExecutionSpec, phase: i32) -> Vec<&str> {
    let Some(NotificationOverrides::Notifications(list)) = &spec.notification_overrides else {
        return Vec::new();
    };
    let waiting = list.notifications.iter().filter(|notification| notification.phases.contains(&phase));
    let mut addresses: Vec<&str> = waiting
        .flat_map(recipients)
        .map(|address| address.trim())
        .filter(|address| !address.is_empty())
        .collect();
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    addresses
}

fn recipients(notification: &Notification) -> &[String] {
    match &notification.r#type {
        Some(notification::Type::Email(email)) => &email.recipients_email,
        Some(notification::Type::PagerDuty(pager)) => &pager.recipients_email,
        Some(notification::Type::Slack(slack)) => &slack.recipients_email,
        None => &[],
    }
}

fn applies(rule: &Rule, phase: Phase, row: &ExecutionRow) -> bool {
    let word = PHASES.iter().find(|(_, known)| *known == phase).map_or("", |(word, _)| *word);
    let in_phase = if rule.phases.is_empty() {
        DEFAULT_PHASES.contains(&phase)
    } else {
        rule.phases.iter().any(|wanted| wanted.eq_ignore_ascii_case(word))
    };
    let plan = row.launch_plan.as_ref().map_or("", |id| id.name.as_str());
    in_phase
        && pattern::any(&rule.projects, &row.id.project)
        && pattern::any(&rule.domains, &row.id.domain)
        && pattern::any(&rule.launch_plans, plan)
        && pattern::any(&rule.workflows, &row.workflow.name)
}
