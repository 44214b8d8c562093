//! Stands for everything outside: what plugins and child executions do with attempts, remembered across crashes of
//! the host; and what inputs decide.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Detail, Expansion, Graph, Report};
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::rng::Rng;
use crate::scenario::{Array, Scenario, Spec, TaskKind, What};

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
    /// Whether it leaves nothing behind when it ends by itself: it is no task.
    ended: bool,
}

/// The outside.
#[derive(Clone, Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    graphs: &'a HashMap<&'a str, Arc<Graph>>,
    attempts: HashMap<(Arc<str>, u32), Attempt>,
}

fn key(uid: &str) -> u64 {
    model::name::fnv64a(uid.as_bytes())
}

/// A stream that depends on the node alone.
fn of_node(scenario: &Scenario, uid: &str, purpose: u64) -> Rng {
    Rng::of(&[scenario.seed, key(uid), purpose])
}

/// How an attempt of a node ends; the same whenever it is asked.
pub fn ending(scenario: &Scenario, spec: &Spec, uid: &str, attempt: u32) -> Ending {
    let rng = &mut Rng::of(&[scenario.seed, key(uid), u64::from(attempt), scenario.salt]);
    if spec.timeout > 0 && rng.chance(scenario.hanging) {
        return Ending::Never;
    }
    if !rng.chance(scenario.failing) {
        return Ending::Success;
    }
    // A child execution that failed, or an approval that was refused, is not tried again.
    let is_task = matches!(spec.what, What::Task { .. } | What::Dynamic(_));
    let kind = if rng.chance(scenario.by_system) {
        ErrorKind::System
    } else {
        *rng.pick(&[ErrorKind::User, ErrorKind::User, ErrorKind::Unknown])
    };
    let recoverable = is_task && !rng.chance(scenario.permanent);
    Ending::Failure { kind, recoverable, cleanup: rng.chance(30) }
}

/// What the inputs of a node decide; nothing when they cannot be made.
pub fn inputs(scenario: &Scenario, spec: Option<&Spec>, uid: &str) -> Option<Detail> {
    let rng = &mut of_node(scenario, uid, 11);
    let what = spec.map(|spec| &spec.what);
    // As an element of an array such a task reads the array's inputs, whatever becomes of its own.
    let may_read_others = matches!(what, Some(What::Task { kind: TaskKind::Container } | What::Dynamic(_)));
    if !may_read_others && rng.chance(1) {
        return None;
    }
    match what {
        Some(What::Branch { arms, has_default }) => {
            let choice = rng.below(arms.len() as u64 + u64::from(!has_default)) as u32;
            ((choice as usize) < arms.len()).then_some(Detail::Arm(choice))
        }
        Some(What::Array(array)) => Some(Detail::Size(size(array, rng))),
        Some(What::Task { kind: TaskKind::Cached }) if rng.chance(30) => {
            Some(Detail::CacheHit { output_uri: format!("cached/{uid}") })
        }
        _ => Some(Detail::Plain),
    }
}

/// Whether a node waits for the catalog before its inputs decide.
pub fn waits(scenario: &Scenario, spec: Option<&Spec>, uid: &str) -> bool {
    let cached = matches!(spec.map(|spec| &spec.what), Some(What::Task { kind: TaskKind::Cached }));
    cached && of_node(scenario, uid, 12).chance(30)
}

fn size(array: &Array, rng: &mut Rng) -> u32 {
    rng.below(u64::from(array.max_size) + 1) as u32
}

/// Whether the outputs of what a node holds can be gathered.
pub fn gathers(scenario: &Scenario, uid: &str) -> bool {
    !Rng::of(&[scenario.seed, key(uid), 13, scenario.salt]).chance(2)
}

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario, graphs: &'a HashMap<&'a str, Arc<Graph>>) -> Self {
        Self { scenario, graphs, attempts: HashMap::new() }
    }

    /// Starts an attempt, or goes on with it, and answers what will be reported about it.
    pub fn start(&mut self, spec: &Spec, uid: &Arc<str>, attempt: u32, recovered: bool) -> Vec<Report> {
        for earlier in 0..attempt {
            let before = self.attempts.get(&(Arc::clone(uid), earlier));
            assert!(before.is_none_or(|a| a.cleaned), "{uid}: {attempt} starts before {earlier} is gone");
        }
        let state = self.attempts.entry((Arc::clone(uid), attempt)).or_default();
        assert!(!state.cleaned, "{uid} attempt {attempt} starts after its clean-up");
        assert!(recovered || !state.started, "{uid} attempt {attempt} starts twice");
        state.started = true;
        let rng = &mut Rng::of(&[self.scenario.seed, 1, key(uid), u64::from(attempt)]);
        let mut reports = Vec::new();
        if rng.chance(50) {
            reports.push(Report::Waiting);
        }
        let ending = ending(self.scenario, spec, uid, attempt);
        if ending == Ending::Never || rng.chance(80) {
            reports.push(Report::Running);
        }
        let is_task = matches!(spec.what, What::Task { .. } | What::Dynamic(_));
        state.ended |= !is_task && ending != Ending::Never;
        match ending {
            Ending::Success => reports.push(match &spec.what {
                What::Dynamic(flow) => {
                    let spec_uri = format!("spec/{uid}/{attempt}");
                    let graph = Arc::clone(&self.graphs[flow.name.as_str()]);
                    let deck_uri = String::new();
                    Report::Expanded { expansion: Expansion { graph, spec_uri }, deck_uri }
                }
                _ => {
                    Report::Succeeded { output_uri: format!("out/{uid}/{attempt}"), deck_uri: String::new() }
                }
            }),
            Ending::Failure { kind, recoverable, cleanup } => {
                let error = core::ExecutionError {
                    code: "Boom".into(),
                    message: format!("{uid}/{attempt}"),
                    kind: kind as i32,
                    ..Default::default()
                };
                reports.push(Report::Failed { error, recoverable, cleanup: cleanup && is_task });
            }
            Ending::Never => {}
        }
        reports
    }

    /// What the task of a dynamic node made.
    pub fn expansion(&self, spec: &Spec, spec_uri: &str) -> Expansion {
        let What::Dynamic(flow) = &spec.what else { panic!("{} is not dynamic", spec.id) };
        Expansion { graph: Arc::clone(&self.graphs[flow.name.as_str()]), spec_uri: spec_uri.to_owned() }
    }

    /// Cleans up an attempt, started or not.
    pub fn clean(&mut self, uid: &Arc<str>, attempt: u32) {
        self.attempts.entry((Arc::clone(uid), attempt)).or_default().cleaned = true;
    }

    /// Attempts that were started and are neither cleaned up nor gone by themselves.
    pub fn live(&self) -> impl Iterator<Item = &Arc<str>> + '_ {
        let live = |state: &Attempt| state.started && !state.cleaned && !state.ended;
        self.attempts.iter().filter(move |(_, state)| live(state)).map(|((uid, _), _)| uid)
    }

    /// All that was ever started.
    pub fn started(&self) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.attempts.iter().filter(|(_, state)| state.started).map(|((uid, _), _)| uid)
    }
}
