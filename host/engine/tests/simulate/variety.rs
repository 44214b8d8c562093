//! Counts what histories are about and how they end, so that a change of the generator cannot make them tame unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::scenario::{Scenario, Spec, What};
use crate::shell::Outcome;

/// Histories by what is in them.
#[derive(Default)]
pub struct Variety {
    n_histories: Mutex<u64>,
    found: Mutex<BTreeMap<String, u64>>,
}

impl Variety {
    pub fn count(&self, scenario: &Scenario, outcome: &Outcome) {
        let mut names = BTreeSet::from([format!("execution {:?}", outcome.phase)]);
        names.extend(outcome.nodes.values().map(|row| format!("node {:?}", row.phase)));
        if outcome.crashes > 0 {
            names.insert("crashed".to_owned());
        }
        let code = |row: &engine::NodeSnapshot| row.error.as_ref().map(|error| error.code.clone());
        if outcome.nodes.values().any(|row| code(row).is_some_and(|code| code == "WorkflowTooLarge")) {
            names.insert("too large".to_owned());
        }
        if outcome.n_released > 0 {
            names.insert("nodes released".to_owned());
        }
        if outcome.nodes.values().any(|row| row.attempt > 2) {
            names.insert("many attempts".to_owned());
        }
        for flow in scenario.flow.flows() {
            let mut left: Vec<&Spec> = flow.nodes.iter().collect();
            while let Some(spec) = left.pop() {
                names.insert(kind(&spec.what).to_owned());
                match &spec.what {
                    What::Branch { arms, .. } => left.extend(arms),
                    What::Array(array) => left.push(&array.element),
                    _ => {}
                }
            }
            if outcome.nodes.values().any(|row| row.id.ends_with("efn")) {
                names.insert("failure node ran".to_owned());
            }
        }
        *self.n_histories.lock().unwrap() += 1;
        let mut found = self.found.lock().unwrap();
        names.into_iter().for_each(|name| *found.entry(name).or_default() += 1);
    }

    /// Everything there is occurs in at least one of 100 histories.
    pub fn check(&self) {
        let (found, total) = (self.found.lock().unwrap(), *self.n_histories.lock().unwrap());
        let rare: Vec<_> = found.iter().filter(|(_, n)| **n < total / 100).collect();
        let (ends, phases, kinds, others) = (3, 5, 9, 5);
        let expected = ends + phases + kinds + others;
        assert!(total < 1_000 || (rare.is_empty() && found.len() == expected), "{found:?}");
    }
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Task { .. } => "task",
        What::Dynamic(_) => "dynamic",
        What::Sub(_) => "sub-workflow",
        What::LaunchPlan => "launch plan",
        What::Branch { .. } => "branch",
        What::Array(_) => "array",
        What::Sleep { .. } => "sleep",
        What::Signal => "signal",
        What::Approve => "approve",
    }
}
