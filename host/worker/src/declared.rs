//! Knows which secrets the tasks of an execution declare: what none declares no plugin is given for it.

use std::collections::HashMap;
use std::sync::Arc;

use model::EntityId;
use proto::flyteidl::core::{Secret, SecurityContext};

use crate::program::Program;

/// What is declared in one execution.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// For all its tasks.
    of_all: Vec<Secret>,
    /// The workflows whose tasks it runs, by address, and how many of its nodes do.
    programs: HashMap<usize, (Arc<Program>, usize)>,
}

impl Declared {
    /// What is declared at the launch of the execution.
    pub(crate) fn of_execution(context: SecurityContext) -> Self {
        Self { of_all: context.secrets, programs: HashMap::new() }
    }

    /// Adds a workflow.
    pub(crate) fn add(&mut self, program: &Arc<Program>) {
        let known = self.programs.entry(address(program)).or_insert_with(|| (Arc::clone(program), 0));
        known.1 += 1;
    }

    /// Takes one away that was added.
    pub(crate) fn remove(&mut self, program: &Arc<Program>) {
        if let Some((_, users)) = self.programs.get_mut(&address(program)) {
            *users -= 1;
            if *users == 0 {
                self.programs.remove(&address(program));
            }
        }
    }

    /// Whether a task may read a secret.
    pub(crate) fn allows(&self, task: &EntityId, group: &str, key: &str) -> bool {
        let of_task = self.programs.values().filter_map(|(program, _)| program.task_by_id(task));
        self.of_all
            .iter()
            .chain(of_task.flat_map(|task| &task.secrets))
            // Without a key the whole group is meant.
            .any(|secret| secret.group == group && (secret.key == key || secret.key.is_empty()))
    }
}

fn address(program: &Arc<Program>) -> usize {
    Arc::as_ptr(program).addr()
}
