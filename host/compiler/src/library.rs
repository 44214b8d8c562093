//! Holds what a workflow may refer to, by name.

use std::collections::HashMap;
use std::fmt;

use proto::flyteidl::core::{CompiledTask, Identifier, TypedInterface};

use crate::launch_plan::LaunchPlanInterface;

/// The name of a registered thing within its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key<'a> {
    project: &'a str,
    domain: &'a str,
    name: &'a str,
    version: &'a str,
}

impl<'a> Key<'a> {
    pub(crate) fn of(id: &'a Identifier) -> Self {
        Self { project: &id.project, domain: &id.domain, name: &id.name, version: &id.version }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.project, self.domain, self.name, self.version)
    }
}

/// Everything that nodes may refer to.
pub(crate) struct Library<'a> {
    tasks: HashMap<Key<'a>, &'a CompiledTask>,
    launch_plans: HashMap<Key<'a>, &'a LaunchPlanInterface>,
    workflows: HashMap<Key<'a>, &'a TypedInterface>,
}

impl<'a> Library<'a> {
    pub(crate) fn new(
        tasks: &'a [CompiledTask],
        launch_plans: &'a [LaunchPlanInterface],
        workflows: impl Iterator<Item = (&'a Identifier, &'a TypedInterface)>,
    ) -> Self {
        let task_id = |task: &'a CompiledTask| task.template.as_ref()?.id.as_ref();
        Self {
            tasks: tasks.iter().filter_map(|task| Some((Key::of(task_id(task)?), task))).collect(),
            launch_plans: launch_plans.iter().map(|plan| (Key::of(&plan.id), plan)).collect(),
            workflows: workflows.map(|(id, interface)| (Key::of(id), interface)).collect(),
        }
    }

    pub(crate) fn task(&self, id: &Identifier) -> Option<&'a CompiledTask> {
        self.tasks.get(&Key::of(id)).copied()
    }

    pub(crate) fn launch_plan(&self, id: &Identifier) -> Option<&'a LaunchPlanInterface> {
        self.launch_plans.get(&Key::of(id)).copied()
    }

    pub(crate) fn workflow(&self, id: &Identifier) -> Option<&'a TypedInterface> {
        self.workflows.get(&Key::of(id)).copied()
    }
}
