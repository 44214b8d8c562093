//! Gathers what a message may say about an execution that ended.

use std::collections::BTreeMap;

use model::EntityId;
use prost::Message as _;
use proto::flyteidl::admin::{ExecutionSpec, execution_metadata::ExecutionMode};
use proto::flyteidl::core::{ExecutionError, execution_error::ErrorKind, workflow_execution::Phase};
use serde::{Deserialize, Serialize};
use store::{ExecutionRow, OutboxRow};

use crate::event::rfc3339;

/// Bytes of an error's text in messages.
const MAX_MESSAGE: usize = 8 * 1024;

/// What templates can use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) project: String,
    pub(crate) domain: String,
    pub(crate) name: String,
    /// `SUCCEEDED`, `FAILED`, `ABORTED` or `TIMED_OUT`.
    pub(crate) phase: String,
    /// The same as the end of a sentence.
    pub(crate) outcome: String,
    pub(crate) succeeded: bool,
    pub(crate) failed: bool,
    pub(crate) aborted: bool,
    /// Name of what was launched: launch plan, or task.
    pub(crate) title: String,
    pub(crate) workflow: Option<Entity>,
    pub(crate) launch_plan: Option<Entity>,
    pub(crate) task: Option<Entity>,
    pub(crate) error: Option<ErrorFacts>,
    /// Why it was aborted.
    pub(crate) cause: String,
    /// Who aborted it.
    pub(crate) aborted_by: String,
    /// Who launched it.
    pub(crate) principal: String,
    /// How: `MANUAL`, `SCHEDULED` and so on.
    pub(crate) mode: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_at: String,
    pub(crate) started_at: String,
    pub(crate) ended_at: String,
    /// For people, such as `1m 05s`.
    pub(crate) duration: String,
    pub(crate) duration_seconds: f64,
    /// Where to look.
    pub(crate) url: String,
}

/// A registered thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entity {
    pub(crate) project: String,
    pub(crate) domain: String,
    pub(crate) name: String,
    pub(crate) version: String,
}

/// Why it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorFacts {
    pub(crate) code: String,
    /// `USER`, `SYSTEM` or `UNKNOWN`.
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl From<&EntityId> for Entity {
    fn from(id: &EntityId) -> Self {
        Self {
            project: id.project.clone(),
            domain: id.domain.clone(),
            name: id.name.clone(),
            version: id.version.clone(),
        }
    }
}

/// Whether nothing follows this phase.
pub(crate) fn is_end(phase: i32) -> bool {
    matches!(Phase::try_from(phase), Ok(Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::TimedOut))
}

impl Facts {
    /// What is known about an execution that ended with this event.
    pub(crate) fn read(event: &OutboxRow, row: &ExecutionRow, spec: &ExecutionSpec, console: &str) -> Self {
        let phase = Phase::try_from(event.phase).unwrap_or_default();
        let error = ExecutionError::decode(row.error.as_slice()).ok().filter(|_| !row.error.is_empty());
        let id = &row.id;
        let named = row.task.as_ref().or(row.launch_plan.as_ref()).unwrap_or(&row.workflow);
        let metadata = spec.metadata.as_ref();
        let mode = metadata.map(|metadata| metadata.mode()).unwrap_or(ExecutionMode::Manual);
        let duration = row.duration.unwrap_or_default().max(0);
        Self {
            project: id.project.to_string(),
            domain: id.domain.to_string(),
            name: id.name.to_string(),
            phase: phase.as_str_name().to_owned(),
            outcome: outcome(phase).to_owned(),
            succeeded: phase == Phase::Succeeded,
            failed: matches!(phase, Phase::Failed | Phase::TimedOut),
            aborted: phase == Phase::Aborted,
            title: named.name.clone(),
            workflow: Some(Entity::from(&row.workflow)),
            launch_plan: row.launch_plan.as_ref().map(Entity::from),
            task: row.task.as_ref().map(Entity::from),
            error: error.map(|error| ErrorFacts {
                kind: match error.kind() {
                    ErrorKind::User => "USER",
                    ErrorKind::System => "SYSTEM",
                    ErrorKind::Unknown => "UNKNOWN",
                }
                .to_owned(),
                code: error.code,
                message: cut(error.message),
            }),
            cause: cut(row.abort_cause.clone()),
            aborted_by: row.aborted_by.clone().unwrap_or_default(),
            principal: row.principal.clone(),
            mode: mode.as_str_name().to_owned(),
            labels: spec.labels.as_ref().map(|labels| labels.values.clone()).unwrap_or_default(),
            created_at: rfc3339(row.created_at),
            started_at: row.started_at.map(rfc3339).unwrap_or_default(),
            ended_at: rfc3339(event.occurred_at),
            duration: spoken(duration),
            duration_seconds: duration as f64 / 1e6,
            url: format!("{console}/projects/{}/domains/{}/executions/{}", id.project, id.domain, id.name),
        }
    }

    /// An execution that never was, to try templates and channels with.
    pub(crate) fn sample(phase: Phase) -> Self {
        let entity = |name: &str| Entity {
            project: "flytesnacks".to_owned(),
            domain: "development".to_owned(),
            name: name.to_owned(),
            version: "v1".to_owned(),
        };
        let failed = phase == Phase::Failed;
        Self {
            project: "flytesnacks".to_owned(),
            domain: "development".to_owned(),
            name: "atestofthischannel".to_owned(),
            phase: phase.as_str_name().to_owned(),
            outcome: outcome(phase).to_owned(),
            succeeded: phase == Phase::Succeeded,
            failed,
            aborted: phase == Phase::Aborted,
            title: "a.test".to_owned(),
            workflow: Some(entity("a.test")),
            launch_plan: failed.then(|| entity("a.test")),
            task: None,
            error: failed.then(|| ErrorFacts {
                code: "Test".to_owned(),
                kind: "USER".to_owned(),
                message: "nothing failed: this is a test of the channel".to_owned(),
            }),
            mode: "MANUAL".to_owned(),
            created_at: "2026-01-01T00:00:00.000000Z".to_owned(),
            started_at: "2026-01-01T00:00:01.000000Z".to_owned(),
            ended_at: "2026-01-01T00:01:06.000000Z".to_owned(),
            duration: spoken(65_000_000),
            duration_seconds: 65.0,
            ..Self::default()
        }
    }
}

fn outcome(phase: Phase) -> &'static str {
    match phase {
        Phase::Succeeded => "succeeded",
        Phase::Failed => "failed",
        Phase::Aborted => "was aborted",
        Phase::TimedOut => "timed out",
        Phase::Undefined
        | Phase::Queued
        | Phase::Running
        | Phase::Succeeding
        | Phase::Failing
        | Phase::Aborting => "goes on",
    }
}

fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(MAX_MESSAGE);
    if end < text.len() {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A span for people: `0.4s`, `12s`, `1m 05s`, `2h 00m`, `3d 04h`.
fn spoken(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..10 => format!("{:.1}s", micros as f64 / 1e6),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        for (seconds, want) in
            [(0.44, "0.4s"), (12.9, "12s"), (65.0, "1m 05s"), (7205.0, "2h 00m"), (273_600.0, "3d 04h")]
        {
            assert_eq!(spoken((seconds * 1e6) as i64), want);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = cut("ä".repeat(MAX_MESSAGE));
        assert!(text.len() <= MAX_MESSAGE + 3 && text.ends_with("ä…"));
        assert_eq!(cut("short".to_owned()), "short");
    }
}
