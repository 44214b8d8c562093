//! Knows which secrets the tasks of an execution declare: what none declares no plugin is given for it.

use std::sync::Arc;

use model::EntityId;
use proto::flyteidl::core::{Secret, SecurityContext};

use crate::program::Program;

/// What is declared in one execution.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// For all its tasks.
    of_all: Vec<Secret>,
    /// The workflows whose tasks it runs.
    programs: Vec<Arc<Program>>,
}

impl Declared {
    /// What is declared at the launch of the execution.
    pub(crate) fn of_execution(context: SecurityContext) -> Self {
        Self { of_all: context.secrets, programs: Vec::new() }
    }

    /// Adds a workflow.
    pub(crate) fn add(&mut self, program: &Arc<Program>) {
        if !self.programs.iter().any(|known| Arc::ptr_eq(known, program)) {
            self.programs.push(Arc::clone(program));
        }
    }

    /// Whether a task may read a secret.
    pub(crate) fn allows(&self, task: &EntityId, group: &str, key: &str) -> bool {
        let of_task = self.programs.iter().filter_map(|program| program.task_by_id(task));
        self.of_all
            .iter()
            .chain(of_task.flat_map(|task| &task.secrets))
            // Without a key the whole group is meant.
            .any(|secret| secret.group == group && (secret.key == key || secret.key.is_empty()))
    }
}
