//! Foretells how each node ends if nothing disturbs it, from the scenario alone.

use engine::{Detail, NodePhase, Recalled};
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::scenario::{Array, Flow, Scenario, Spec, What};
use crate::world::{self, Ending, ending, gathers};

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    pub phase: NodePhase,
    pub attempt: u32,
    pub system_failures: u32,
}

/// What fates depend on.
#[derive(Clone, Copy)]
pub struct Seer<'a> {
    pub scenario: &'a Scenario,
    pub recalled: Option<&'a Recalled>,
}

fn at_end(phase: NodePhase) -> Fate {
    Fate { phase, attempt: 0, system_failures: 0 }
}

/// What the unique ids of what a node holds begin with.
pub fn below(uid: &str, attempt: u32) -> String {
    format!("{uid}-{attempt}-")
}

/// The unique id of a node of a flow or branch.
pub fn uid(prefix: &str, id: &str) -> String {
    let plain = format!("{prefix}{id}");
    match prefix.is_empty() || plain.len() <= 20 {
        true => plain,
        false => model::name::fixed_length_unique_id(&plain, 20, model::name::HashWidth::Fnv64),
    }
}

impl Seer<'_> {
    /// How a node ends that runs by itself.
    pub fn fate(&self, spec: &Spec, uid: &str) -> Fate {
        if self.succeeded_before(uid) { at_end(NodePhase::Recovered) } else { self.fate_of_run(spec, uid) }
    }

    /// Whether a node succeeded in the execution that is recovered.
    pub fn succeeded_before(&self, uid: &str) -> bool {
        let before = self.recalled.and_then(|recalled| recalled.by_id.get(uid));
        before.is_some_and(|before| before.phase.is_success())
    }

    fn fate_of_run(&self, spec: &Spec, uid: &str) -> Fate {
        let Some(detail) = self.inputs(spec, uid) else { return at_end(NodePhase::Failed) };
        let ends = |succeeds: bool| at_end(if succeeds { NodePhase::Succeeded } else { NodePhase::Failed });
        match (&spec.what, detail) {
            (What::Task { .. }, Detail::CacheHit { .. }) => at_end(NodePhase::Succeeded),
            (What::Task { .. } | What::LaunchPlan | What::Signal | What::Approve, _) => {
                self.attempts(spec, uid)
            }
            (What::Dynamic(flow), _) => {
                let fate = match self.expanded_before(uid) {
                    Some(attempt) => Fate { attempt, ..at_end(NodePhase::Succeeded) },
                    None => self.attempts(spec, uid),
                };
                let runs = fate.phase == NodePhase::Succeeded;
                let holds = runs && self.flow(flow, &below(uid, fate.attempt)).1;
                let gathered = holds && gathers(self.scenario, uid);
                if runs && !gathered { Fate { phase: NodePhase::Failed, ..fate } } else { fate }
            }
            (What::Sub(flow), _) => ends(self.flow(flow, &below(uid, 0)).1),
            (What::Branch { arms, .. }, Detail::Arm(arm)) => {
                let arm = &arms[arm as usize];
                ends(self.fate(arm, &self::uid(&below(uid, 0), &arm.id)).phase.is_success())
            }
            (What::Array(array), Detail::Size(size)) => {
                let enough = self.succeeding(array, uid, size) >= min_successes(array, size);
                ends(enough && gathers(self.scenario, uid))
            }
            (What::Sleep { .. }, _) => at_end(NodePhase::Succeeded),
            (what, detail) => panic!("{what:?} with {detail:?}"),
        }
    }

    /// What a node's inputs decide.
    pub fn inputs(&self, spec: &Spec, uid: &str) -> Option<Detail> {
        world::inputs(self.scenario, Some(spec), uid)
    }

    /// The attempt in which a dynamic node expanded in the execution that is recovered.
    pub fn expanded_before(&self, uid: &str) -> Option<u32> {
        let before = self.recalled?.by_id.get(uid)?;
        before.spec_uri.as_ref().map(|_| before.attempt)
    }

    /// How many elements succeed when all run.
    pub fn succeeding(&self, array: &Array, uid: &str, size: u32) -> u32 {
        let prefix = below(uid, 0);
        let succeeds = |i: &u32| self.fate(&array.element, &format!("{prefix}n{i}")).phase.is_success();
        (0..size).filter(succeeds).count() as u32
    }

    /// How the nodes of a flow end when failures do not stop the rest, and whether all of it succeeds.
    pub fn flow(&self, flow: &Flow, prefix: &str) -> (Vec<Fate>, bool) {
        let mut fates: Vec<Fate> = Vec::new();
        for spec in &flow.nodes {
            let runs = spec.upstream.iter().all(|up| fates[*up].phase.is_success());
            let fate =
                if runs { self.fate(spec, &uid(prefix, &spec.id)) } else { at_end(NodePhase::Skipped) };
            fates.push(fate);
        }
        let end = world::inputs(self.scenario, None, &uid(prefix, "end-node"));
        let all = fates.iter().all(|fate| fate.phase.is_success()) && end.is_some();
        (fates, all)
    }

    /// Counts budgets as a person would: how many failures of each kind, how many are forgiven.
    fn attempts(&self, spec: &Spec, uid: &str) -> Fate {
        let mut user_failures = 0;
        let mut system_failures = 0;
        let mut attempt = 0;
        let scenario = self.scenario;
        let at_end = |phase, attempt, system_failures| Fate { phase, attempt, system_failures };
        loop {
            let (kind, recoverable) = match ending(scenario, spec, uid, attempt) {
                Ending::Success => return at_end(NodePhase::Succeeded, attempt, system_failures),
                Ending::Failure { kind, recoverable, cleanup: _ } => (kind, recoverable),
                Ending::Never => panic!("no fate for what never ends"),
            };
            let forgiven = if scenario.settings.ignore_retry_cause {
                attempt + 1 < scenario.max_attempts(spec)
            } else if kind == ErrorKind::System {
                system_failures < scenario.settings.max_system_failures
            } else {
                user_failures + 1 < scenario.max_attempts(spec)
            };
            match kind {
                ErrorKind::System => system_failures += 1,
                ErrorKind::User | ErrorKind::Unknown => user_failures += 1,
            }
            if !recoverable || !forgiven {
                return at_end(NodePhase::Failed, attempt, system_failures);
            }
            attempt += 1;
        }
    }
}

/// How many elements must succeed.
pub fn min_successes(array: &Array, size: u32) -> u32 {
    match (array.min_successes, array.ratio) {
        (Some(count), _) => count,
        (None, Some(ratio)) => (f64::from(size) * (f64::from(ratio) * 10.0).round() / 10.0).ceil() as u32,
        (None, None) => size,
    }
}
