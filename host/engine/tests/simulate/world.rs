//! Stands for everything outside: what plugins do with attempts, remembered across crashes of the host.

use std::collections::HashMap;

use engine::{NodeIdx, Report};
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::rng::Rng;
use crate::scenario::Scenario;

/// How an attempt ends by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    Success,
    Failure { kind: ErrorKind, recoverable: bool, cleanup: bool },
    Never,
}

#[derive(Clone, Debug, Default)]
struct Attempt {
    started: bool,
    cleaned: bool,
}

/// The outside.
#[derive(Clone, Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    attempts: HashMap<(NodeIdx, u32), Attempt>,
}

/// Position of the first task node: start and end come before.
pub const FIRST_TASK: usize = 2;

/// How an attempt of a task ends; the same whenever it is asked.
pub fn ending(scenario: &Scenario, task: usize, attempt: u32) -> Ending {
    let rng = &mut Rng::of(&[scenario.seed, task as u64, u64::from(attempt)]);
    if scenario.tasks[task].timeout > 0 && rng.chance(scenario.hanging) {
        return Ending::Never;
    }
    if !rng.chance(scenario.failing) {
        return Ending::Success;
    }
    let kind = if rng.chance(scenario.by_system) {
        ErrorKind::System
    } else {
        *rng.pick(&[ErrorKind::User, ErrorKind::User, ErrorKind::Unknown])
    };
    Ending::Failure { kind, recoverable: !rng.chance(scenario.permanent), cleanup: rng.chance(30) }
}

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario) -> Self {
        Self { scenario, attempts: HashMap::new() }
    }

    /// Starts an attempt, or goes on with it, and answers what will be reported about it.
    pub fn start(&mut self, node: NodeIdx, attempt: u32, recovered: bool) -> Vec<Report> {
        for earlier in 0..attempt {
            assert!(
                self.attempts[&(node, earlier)].cleaned,
                "node {node}: {attempt} starts before {earlier} is gone"
            );
        }
        let state = self.attempts.entry((node, attempt)).or_default();
        assert!(!state.cleaned, "node {node} attempt {attempt} starts after its clean-up");
        assert!(recovered || !state.started, "node {node} attempt {attempt} starts twice");
        state.started = true;
        let task = node as usize - FIRST_TASK;
        let rng = &mut Rng::of(&[self.scenario.seed, 1, u64::from(node), u64::from(attempt)]);
        let mut reports = Vec::new();
        if rng.chance(50) {
            reports.push(Report::Waiting);
        }
        let ending = ending(self.scenario, task, attempt);
        if ending == Ending::Never || rng.chance(80) {
            reports.push(Report::Running);
        }
        match ending {
            Ending::Success => reports.push(Report::Succeeded {
                output_uri: format!("out/{node}/{attempt}"),
                deck_uri: String::new(),
            }),
            Ending::Failure { kind, recoverable, cleanup } => {
                let error = core::ExecutionError {
                    code: "Boom".into(),
                    message: format!("{node}/{attempt}"),
                    kind: kind as i32,
                    ..Default::default()
                };
                reports.push(Report::Failed { error, recoverable, cleanup });
            }
            Ending::Never => {}
        }
        reports
    }

    /// Cleans up an attempt, started or not.
    pub fn clean(&mut self, node: NodeIdx, attempt: u32) {
        self.attempts.entry((node, attempt)).or_default().cleaned = true;
    }

    /// Whether an attempt was started and is not cleaned up.
    pub fn is_live(&self) -> impl Iterator<Item = (NodeIdx, u32)> + '_ {
        self.attempts.iter().filter(|(_, state)| state.started && !state.cleaned).map(|(key, _)| *key)
    }
}
