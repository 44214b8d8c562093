//! Draws a workflow and how the world around it behaves.

use std::sync::Arc;

use engine::{Graph, Settings};
use proto::flyteidl::core;

use crate::rng::Rng;

/// How wild a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// Timeouts, aborts, lost answers, crashes.
    Everything,
    /// Answers depend on node and attempt alone: no timeouts, no aborts. Delays and crashes still vary.
    Deterministic,
}

/// A task node to run.
#[derive(Clone, Debug)]
pub struct Task {
    /// Task nodes before it that it depends on.
    pub upstream: Vec<usize>,
    pub retries: u32,
    /// In microseconds; 0 = none.
    pub timeout: i64,
    pub unresolvable: bool,
}

/// A workflow, its settings and its world.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub chaos: Chaos,
    pub tasks: Vec<Task>,
    pub continue_on_failure: bool,
    pub settings: Settings,
    /// Percent of attempts that fail, of failures by the system's fault, of failures that are final.
    pub failing: u64,
    pub by_system: u64,
    pub permanent: u64,
    /// Percent of attempts that never end by themselves; only of those with a timeout.
    pub hanging: u64,
    /// Percent of commits around which the host crashes.
    pub crashing: u64,
    /// Percent of answers that never arrive.
    pub losing: u64,
    /// Percent of rounds after which an old observation is repeated.
    pub repeating: u64,
    /// Longest delay of an answer.
    pub delay: u64,
    /// When an abort is asked for.
    pub abort_at: Option<i64>,
}

impl Scenario {
    pub fn random(seed: u64, chaos: Chaos) -> Self {
        let rng = &mut Rng::new(seed);
        let wild = chaos == Chaos::Everything;
        let n_tasks = match rng.below(100) {
            0..70 => 1 + rng.below(10),
            70..95 => 1 + rng.below(25),
            _ => 1 + rng.below(60),
        } as usize;
        let density = *rng.pick(&[0, 1, 1, 2, 3]);
        let timeouts = wild && rng.chance(30);
        let tasks = (0..n_tasks).map(|i| task(rng, i, density, timeouts)).collect();
        Self {
            seed,
            chaos,
            tasks,
            continue_on_failure: rng.chance(50),
            settings: Settings {
                max_parallelism: *rng.pick(&[0, 0, 1, 2, 3, 5]),
                interruptible: rng.chance(50),
                default_max_attempts: 1 + rng.below(2) as u32,
                ignore_retry_cause: rng.chance(10),
                ..Settings::default()
            },
            failing: *rng.pick(&[0, 10, 30, 60]),
            by_system: *rng.pick(&[0, 30, 50, 100]),
            permanent: *rng.pick(&[0, 10, 50]),
            hanging: if timeouts { *rng.pick(&[0, 20]) } else { 0 },
            crashing: *rng.pick(&[0, 0, 2, 10]),
            losing: if wild { *rng.pick(&[0, 0, 0, 3]) } else { 0 },
            repeating: *rng.pick(&[0, 10, 30]),
            delay: *rng.pick(&[1, 10, 100]),
            abort_at: (wild && rng.chance(25)).then(|| rng.below(400) as i64),
        }
    }

    /// Keeps the first tasks only.
    pub fn shrink_to(&mut self, n_tasks: usize) {
        self.tasks.truncate(n_tasks);
    }

    /// All attempts that failures by the user's fault may take.
    pub fn max_attempts(&self, task: usize) -> u32 {
        match self.tasks[task].retries {
            0 => self.settings.default_max_attempts,
            retries => retries + 1,
        }
    }

    pub fn has_timeouts(&self) -> bool {
        self.tasks.iter().any(|task| task.timeout > 0)
    }

    pub fn graph(&self) -> Arc<Graph> {
        Arc::new(Graph::build(&self.closure()).unwrap())
    }

    fn closure(&self) -> core::CompiledWorkflowClosure {
        let policy = if self.continue_on_failure {
            core::workflow_metadata::OnFailurePolicy::FailAfterExecutableNodesComplete
        } else {
            core::workflow_metadata::OnFailurePolicy::FailImmediately
        };
        let fixed = ["start-node", "end-node"].map(|id| core::Node { id: id.into(), ..Default::default() });
        let tasks = self.tasks.iter().enumerate().map(|(i, task)| node(i, task));
        let template = core::WorkflowTemplate {
            metadata: Some(core::WorkflowMetadata { on_failure: policy as i32, ..Default::default() }),
            nodes: fixed.into_iter().chain(tasks).collect(),
            ..Default::default()
        };
        let task = core::TaskTemplate { id: Some(task_id()), ..Default::default() };
        core::CompiledWorkflowClosure {
            primary: Some(core::CompiledWorkflow { template: Some(template), connections: None }),
            tasks: vec![core::CompiledTask { template: Some(task) }],
            ..Default::default()
        }
    }
}

fn task(rng: &mut Rng, position: usize, density: u64, timeouts: bool) -> Task {
    let n_upstream = if position == 0 { 0 } else { rng.below(density + 1) };
    let mut upstream: Vec<_> = (0..n_upstream).map(|_| rng.below(position as u64) as usize).collect();
    upstream.sort_unstable();
    upstream.dedup();
    Task {
        upstream,
        retries: *rng.pick(&[0, 0, 1, 2, 4]),
        timeout: if timeouts && rng.chance(60) { 1 + rng.below(150) as i64 } else { 0 },
        unresolvable: rng.chance(1),
    }
}

fn task_id() -> core::Identifier {
    core::Identifier { name: "task".into(), ..Default::default() }
}

fn node(position: usize, task: &Task) -> core::Node {
    // Half of the edges are bindings, half are plain order.
    let (bound, named): (Vec<usize>, Vec<usize>) = task.upstream.iter().partition(|up| *up % 2 == 0);
    let promise = |up: usize| core::OutputReference {
        node_id: format!("n{up}"),
        var: "o".into(),
        ..Default::default()
    };
    let binding = |up: usize| core::Binding {
        var: format!("x{up}"),
        binding: Some(core::BindingData {
            value: Some(core::binding_data::Value::Promise(promise(up))),
            ..Default::default()
        }),
    };
    let target = core::TaskNode {
        reference: Some(core::task_node::Reference::ReferenceId(task_id())),
        ..Default::default()
    };
    core::Node {
        id: format!("n{position}"),
        metadata: Some(core::NodeMetadata {
            retries: Some(core::RetryStrategy { retries: task.retries }),
            timeout: Some(model::time::duration_to_proto(task.timeout)),
            ..Default::default()
        }),
        inputs: bound.into_iter().map(binding).collect(),
        upstream_node_ids: named.into_iter().map(|up| format!("n{up}")).collect(),
        target: Some(core::node::Target::TaskNode(target)),
        ..Default::default()
    }
}
