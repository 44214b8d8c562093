//! Judges how an execution ended.

use engine::{NodePhase, NodeSnapshot, Phase, Recalled};

use crate::fate::{Fate, Seer, below, min_successes, uid};
use crate::scenario::{Array, Chaos, Flow, Scenario, Spec, What};
use crate::shell::Outcome;
use crate::world::gathers;

/// How whoever holds some nodes came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Well,
    Badly,
    /// It was aborted or took too long: anything may have been cut short.
    Off,
}

struct Judge<'a> {
    scenario: &'a Scenario,
    outcome: &'a Outcome,
    seer: Seer<'a>,
}

/// Judges any history; what is not disturbed has ended as foretold.
pub fn check(scenario: &Scenario, recalled: Option<&Recalled>, outcome: &Outcome) {
    let judge = Judge { scenario, outcome, seer: Seer { scenario, recalled } };
    assert!(outcome.phase.is_terminal());
    assert_eq!(outcome.phase == Phase::Aborted, outcome.must_abort, "aborted exactly when asked in time");
    let went = match outcome.phase {
        Phase::Succeeded => Went::Well,
        Phase::Failed => Went::Badly,
        _ => Went::Off,
    };
    if scenario.chaos == Chaos::Deterministic {
        let (fates, all) = judge.seer.flow(&scenario.flow, "");
        let lost: Vec<_> = fates.iter().enumerate().filter(|(_, fate)| !fate.phase.is_success()).collect();
        assert_eq!(went, if all { Went::Well } else { Went::Badly }, "{lost:?}");
    }
    for (id, row) in &outcome.nodes {
        judge.check_row(id, row);
    }
    if scenario.settings.max_nodes < Scenario::MANY {
        // Which node meets the limit depends on the order of things.
        return;
    }
    judge.check_flow(&scenario.flow, "", "", went);
    match went {
        Went::Badly => judge.check_error(&scenario.flow, "", "", outcome.error.as_ref().unwrap()),
        Went::Well | Went::Off => assert_eq!(outcome.error, None),
    }
}

impl Judge<'_> {
    fn row(&self, id: &str) -> Option<&NodeSnapshot> {
        self.outcome.nodes.get(id)
    }

    /// What holds for every row.
    fn check_row(&self, id: &str, row: &NodeSnapshot) {
        assert!(row.phase.is_terminal(), "{id} is left {:?}", row.phase);
        let code = row.error.as_ref().map(|error| error.code.as_str());
        match row.phase {
            NodePhase::Failed | NodePhase::TimedOut => assert!(row.error.is_some(), "{id}"),
            NodePhase::Aborted => assert_eq!(code, Some("NodeAborted"), "{id}"),
            _ => assert_eq!(code, None, "{id}"),
        }
        assert!(row.ended_at.is_some() || row.started_at.is_none(), "{id}");
        if !row.parent.is_empty() {
            let parent = &self.outcome.nodes[row.parent.as_str()];
            let shown = parent.phase == NodePhase::Recovered && parent.detail > 0;
            assert!(!shown || row.phase == NodePhase::Recovered, "{id} in {parent:?}");
            let empty = matches!(parent.phase, NodePhase::Skipped | NodePhase::Recovered);
            assert!(shown || !empty, "{id} in {parent:?}");
        }
    }

    /// A recovered array shows the elements that had succeeded, unless the execution was aborted meanwhile.
    fn check_shown(&self, spec: &Spec, id: &str, row: &NodeSnapshot) {
        let Some(recalled) = self.seer.recalled else { return };
        let before = |i: u32| recalled.by_id.get(format!("{}n{i}", below(id, 0)).as_str());
        let before: Vec<_> = (0..).map_while(before).collect();
        if before.is_empty() || !matches!(spec.what, What::Array(_)) || self.outcome.phase == Phase::Aborted {
            return;
        }
        assert_eq!(row.detail as usize, before.len() + 1, "{id}");
        for (i, old) in before.iter().enumerate() {
            let shown = self.row(&format!("{}n{i}", below(id, 0)));
            assert_eq!(shown.is_some(), old.phase.is_success(), "{id}: element {i}");
            assert!(shown.is_none_or(|new| *new.output_uri == *old.output_uri), "{id}: element {i}");
        }
    }

    /// The nodes of a workflow that is held by `holder` (empty: the execution itself) and went so.
    fn check_flow(&self, flow: &Flow, prefix: &str, holder: &str, went: Went) {
        let timeouts = flow.has_timeouts();
        let (fates, all) =
            if timeouts { (Vec::new(), went == Went::Well) } else { self.seer.flow(flow, prefix) };
        if went != Went::Off && !timeouts {
            assert_eq!(went == Went::Well, all, "{holder}: {fates:?}");
        }
        let exact = went == Went::Well || (went == Went::Badly && flow.continue_on_failure && !timeouts);
        for (position, spec) in flow.nodes.iter().enumerate() {
            let fate = fates.get(position).copied();
            self.check_node(spec, &uid(prefix, &spec.id), fate, exact);
            let row = self.row(&uid(prefix, &spec.id));
            let skipped = row.is_some_and(|row| row.phase == NodePhase::Skipped);
            assert!(!skipped || flow.continue_on_failure, "{} is skipped", spec.id);
        }
        let end = self.row(&uid(prefix, "end-node"));
        let start = self.row(&uid(prefix, "start-node"));
        assert!(start.is_some() || went == Went::Off, "{holder} has no start");
        let ended = end.is_some_and(|row| row.phase == NodePhase::Succeeded);
        assert!(went == Went::Off || ended == (went == Went::Well), "{holder}: {end:?}");
        self.check_failure_node(flow, prefix, holder, went);
        let n_below = self.outcome.nodes.values().filter(|row| row.parent == holder).count();
        let most = flow.nodes.len() + 2 + usize::from(flow.failure_node.is_some());
        assert!(n_below <= most, "{holder} holds {n_below} rows");
    }

    /// It runs exactly when the workflow failed by itself.
    fn check_failure_node(&self, flow: &Flow, prefix: &str, holder: &str, went: Went) {
        let Some(spec) = flow.failure_node.as_deref() else { return };
        let id = uid(prefix, &spec.id);
        let fresh = Judge { seer: Seer { recalled: None, ..self.seer }, ..*self };
        match went {
            Went::Well => assert_eq!(self.row(&id), None, "{holder} succeeded and handled a failure"),
            Went::Badly => {
                let fate = (!spec.has_timeouts()).then(|| fresh.seer.fate(spec, &id));
                fresh.check_node(spec, &id, fate, true);
            }
            Went::Off => fresh.check_node(spec, &id, None, false),
        }
    }

    /// A node that ends like this if nothing disturbs it; `exact`: nothing did.
    fn check_node(&self, spec: &Spec, id: &str, fate: Option<Fate>, exact: bool) {
        let Some(row) = self.row(id) else { return assert!(!exact, "{id} never ran") };
        self.check_budget(spec, row);
        let timeouts = spec.has_timeouts();
        let own = Fate { phase: row.phase, attempt: row.attempt, system_failures: row.system_failures };
        let went = match row.phase {
            NodePhase::Aborted => {
                assert!(!exact, "{id} is aborted");
                Went::Off
            }
            NodePhase::TimedOut => {
                assert!(timeouts, "{id} took too long");
                Went::Off
            }
            NodePhase::Skipped => return,
            NodePhase::Recovered => {
                assert!(self.seer.succeeded_before(id), "{id} is recovered");
                return self.check_shown(spec, id, row);
            }
            NodePhase::Succeeded => Went::Well,
            _ => Went::Badly,
        };
        let undisturbed = went != Went::Off && !timeouts;
        if let Some(fate) = fate.filter(|_| undisturbed) {
            assert_eq!(own, fate, "{id}");
        } else if undisturbed && !exact {
            assert_eq!(own, self.seer.fate(spec, id), "{id}");
        }
        let code = row.error.as_ref().map(|error| error.code.as_str()).unwrap_or_default();
        if code != "Unresolvable" {
            self.check_content(spec, id, row, went);
        }
    }

    /// What a node holds, and what it takes from that.
    fn check_content(&self, spec: &Spec, id: &str, row: &NodeSnapshot, went: Went) {
        let prefix = below(id, row.attempt);
        let gathered = row.error.as_ref().is_none_or(|e| e.code != "GatherFailed" || e.message != id);
        let inner_went = if gathered { went } else { Went::Well };
        match &spec.what {
            What::Sub(flow) => {
                self.check_flow(flow, &prefix, id, went);
                if went == Went::Badly {
                    self.check_error(flow, &prefix, id, row.error.as_ref().unwrap());
                }
                if went == Went::Well {
                    assert_eq!(row.output_uri, self.row(&uid(&prefix, "end-node")).unwrap().output_uri);
                    assert_eq!(row.input_uri, self.row(&uid(&prefix, "start-node")).unwrap().output_uri);
                }
            }
            What::Dynamic(flow) if row.expansion.is_some() => {
                self.check_flow(flow, &prefix, id, inner_went);
                if inner_went == Went::Badly {
                    self.check_error(flow, &prefix, id, row.error.as_ref().unwrap());
                }
                assert!(gathered || !gathers(self.scenario, id), "{id}");
            }
            What::Branch { arms, .. } if row.detail > 0 => {
                let arm = &arms[row.detail as usize - 1];
                let arm_id = uid(&prefix, &arm.id);
                self.check_node(arm, &arm_id, None, went != Went::Off);
                if let Some(arm) = self.row(&arm_id) {
                    assert_eq!(went == Went::Well, arm.phase.is_success() && went != Went::Off, "{id}");
                    assert!(went != Went::Well || row.output_uri == arm.output_uri, "{id}");
                }
            }
            What::Array(array) if row.detail > 0 => {
                self.check_elements(array, id, row, inner_went);
            }
            What::Approve if went == Went::Well => assert_eq!(row.output_uri, row.input_uri, "{id}"),
            _ => {}
        }
    }

    fn check_elements(&self, array: &Array, id: &str, row: &NodeSnapshot, went: Went) {
        let size = row.detail as u32 - 1;
        let min = min_successes(array, size);
        let rows = (0..size).map(|i| self.row(&format!("{}n{i}", below(id, 0))));
        let succeeded = rows.clone().flatten().filter(|row| row.phase.is_success()).count() as u32;
        let failed = |row: &&NodeSnapshot| matches!(row.phase, NodePhase::Failed | NodePhase::TimedOut);
        let failed = rows.clone().flatten().filter(failed).count() as u32;
        match went {
            Went::Well => assert!(succeeded >= min, "{id} succeeded with {succeeded} of {min}"),
            Went::Badly => {
                assert!(size - failed < min, "{id} failed with {failed} of {size} failed, {min} needed");
                let error = row.error.as_ref().unwrap();
                let some = rows.clone().flatten().find(|row| row.phase == NodePhase::Failed);
                let message = some.and_then(|row| row.error.as_ref()).map(|error| error.message.as_str());
                assert!(error.message.contains(message.unwrap_or_default()), "{id}: {error:?}");
            }
            Went::Off => {}
        }
        let exact = went == Went::Well || (went == Went::Badly && array.run_all);
        for i in 0..size {
            let element = format!("{}n{i}", below(id, 0));
            self.check_node(&array.element, &element, None, exact);
        }
    }

    fn check_budget(&self, spec: &Spec, row: &NodeSnapshot) {
        let max = self.scenario.max_attempts(spec);
        let id = &row.id;
        let is_task = matches!(spec.what, What::Task { .. });
        if !is_task || row.phase == NodePhase::Recovered {
            return;
        }
        let spent = match self.scenario.settings.ignore_retry_cause {
            true => row.attempt,
            false => row.attempt.saturating_sub(row.system_failures),
        };
        assert!(spent < max, "{id}: attempt {} of {max}", row.attempt);
        let forgiven = self.scenario.settings.max_system_failures + u32::from(row.phase == NodePhase::Failed);
        let one_budget = self.scenario.settings.ignore_retry_cause;
        let n = row.system_failures;
        assert!(one_budget || n <= forgiven, "{id}: {n} system failures");
    }

    /// A workflow that failed did so with the error of a node that failed, or that of its failure node.
    fn check_error(
        &self,
        flow: &Flow,
        prefix: &str,
        holder: &str,
        error: &proto::flyteidl::core::ExecutionError,
    ) {
        let failure_id = flow.failure_node.as_ref().map(|spec| uid(prefix, &spec.id)).unwrap_or_default();
        if let Some(row) = self.row(&failure_id) {
            match row.phase {
                NodePhase::Failed => return assert_eq!(row.error.as_ref(), Some(error), "{holder}"),
                NodePhase::TimedOut => return assert_eq!(error.code, "TimedOut", "{holder}"),
                _ => {}
            }
        }
        let failed = |row: &&NodeSnapshot| {
            let counts = matches!(row.phase, NodePhase::Failed | NodePhase::TimedOut);
            counts && row.parent == holder && row.id != failure_id
        };
        let reported = |row: &&NodeSnapshot| match row.phase {
            NodePhase::TimedOut => error.code == "Timeout" && error.message == "Timeout in node",
            _ => row.error.as_ref() == Some(error),
        };
        let last = self.outcome.nodes.values().filter(failed).map(|row| row.ended_at).max().unwrap();
        let mut candidates = self
            .outcome
            .nodes
            .values()
            .filter(failed)
            .filter(|row| !flow.continue_on_failure || row.ended_at == last);
        assert!(candidates.any(|row| reported(&row)), "{holder}: {error:?} is no node's error");
    }
}

/// Two histories of one deterministic scenario end alike, wherever one of them crashed. What was cut short by a
/// failure depends on the moment; all else does not.
pub fn check_same_end(calm: &Outcome, crashed: &Outcome) {
    assert_eq!(calm.phase, crashed.phase);
    let failed = |row: &NodeSnapshot| matches!(row.phase, NodePhase::Failed | NodePhase::Aborted);
    if !calm.nodes.values().any(failed) {
        let ids = |outcome: &Outcome| outcome.nodes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(ids(calm), ids(crashed), "after {} crashes", crashed.crashes);
    }
    let end = |row: &NodeSnapshot| {
        let uris = (row.input_uri.clone(), row.output_uri.clone());
        (row.phase, row.attempt, row.system_failures, row.detail, uris)
    };
    for (id, row) in &calm.nodes {
        let Some(other) = crashed.nodes.get(id) else { continue };
        if row.phase != NodePhase::Aborted && other.phase != NodePhase::Aborted {
            assert_eq!(end(row), end(other), "{id} after {} crashes", crashed.crashes);
        }
    }
}
