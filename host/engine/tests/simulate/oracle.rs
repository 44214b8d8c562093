//! Foretells how each node ends, from the scenario alone, and judges how it ended.

use engine::{NodeIdx, NodePhase, NodeSnapshot, Phase};
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::scenario::Scenario;
use crate::shell::Outcome;
use crate::world::{Ending, FIRST_TASK, ending};

/// How a task node ends if it runs undisturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    phase: NodePhase,
    attempt: u32,
    system_failures: u32,
}

impl Fate {
    fn of_row(row: &NodeSnapshot) -> Self {
        Self { phase: row.phase, attempt: row.attempt, system_failures: row.system_failures }
    }
}

/// Counts budgets as a person would: how many failures of each kind, how many are forgiven.
fn fate(scenario: &Scenario, task: usize) -> Fate {
    let mut user_failures = 0;
    let mut system_failures = 0;
    let mut attempt = 0;
    let at_end = |phase, attempt, system_failures| Fate { phase, attempt, system_failures };
    if scenario.tasks[task].unresolvable {
        return at_end(NodePhase::Failed, 0, 0);
    }
    loop {
        let (kind, recoverable) = match ending(scenario, task, attempt) {
            Ending::Success => return at_end(NodePhase::Succeeded, attempt, system_failures),
            Ending::Failure { kind, recoverable, cleanup: _ } => (kind, recoverable),
            Ending::Never => panic!("no fate for what never ends"),
        };
        let forgiven = if scenario.settings.ignore_retry_cause {
            attempt + 1 < scenario.max_attempts(task)
        } else if kind == ErrorKind::System {
            system_failures < scenario.settings.max_system_failures
        } else {
            user_failures + 1 < scenario.max_attempts(task)
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

/// All fates when failures do not stop the rest.
fn fates(scenario: &Scenario) -> Vec<Fate> {
    let mut fates: Vec<Fate> = Vec::new();
    for (task, spec) in scenario.tasks.iter().enumerate() {
        let runs = spec.upstream.iter().all(|up| fates[*up].phase == NodePhase::Succeeded);
        let skipped = Fate { phase: NodePhase::Skipped, attempt: 0, system_failures: 0 };
        fates.push(if runs { fate(scenario, task) } else { skipped });
    }
    fates
}

fn row(outcome: &Outcome, task: usize) -> Option<&NodeSnapshot> {
    outcome.nodes.get(&((task + FIRST_TASK) as NodeIdx))
}

/// Judges a history whose answers depend on node and attempt alone.
pub fn check_exact(scenario: &Scenario, outcome: &Outcome) {
    check_legal(scenario, outcome);
    let fates = fates(scenario);
    let all_succeed = fates.iter().all(|fate| fate.phase == NodePhase::Succeeded);
    let expected = if all_succeed { Phase::Succeeded } else { Phase::Failed };
    assert_eq!(outcome.phase, expected, "{fates:?}");
    for (task, fate) in fates.iter().enumerate() {
        let actual = row(outcome, task).map(Fate::of_row);
        if scenario.continue_on_failure || all_succeed {
            assert_eq!(actual, Some(*fate), "task {task}");
        } else if let Some(actual) = actual.filter(|actual| actual.phase != NodePhase::Aborted) {
            assert_eq!(actual, *fate, "task {task}");
        }
    }
}

/// Judges any history.
pub fn check_legal(scenario: &Scenario, outcome: &Outcome) {
    assert!(outcome.phase.is_terminal());
    assert_eq!(outcome.phase == Phase::Aborted, outcome.must_abort, "aborted exactly when asked in time");
    for (task, spec) in scenario.tasks.iter().enumerate() {
        let Some(row) = row(outcome, task) else {
            assert_ne!(outcome.phase, Phase::Succeeded, "task {task} never ran");
            continue;
        };
        assert!(row.phase.is_terminal(), "task {task} is left {:?}", row.phase);
        check_budget(scenario, task, row);
        let undisturbed = spec.timeout == 0 && matches!(row.phase, NodePhase::Succeeded | NodePhase::Failed);
        if undisturbed {
            assert_eq!(Fate::of_row(row), fate(scenario, task), "task {task}");
        }
        match row.phase {
            NodePhase::Succeeded => {
                assert_eq!(*row.output_uri, format!("out/{}/{}", task + FIRST_TASK, row.attempt));
                assert_eq!(row.error, None);
            }
            NodePhase::Failed | NodePhase::TimedOut => assert!(row.error.is_some(), "task {task}"),
            NodePhase::Skipped => assert!(scenario.continue_on_failure, "task {task}"),
            NodePhase::Aborted => {
                assert!(outcome.phase == Phase::Aborted || !scenario.continue_on_failure, "task {task}");
                assert_eq!(row.error.as_ref().map(|error| error.code.as_str()), Some("NodeAborted"));
            }
            _ => unreachable!(),
        }
        assert!(row.ended_at.is_some() || row.started_at.is_none(), "task {task}");
    }
    check_execution(scenario, outcome);
}

fn check_budget(scenario: &Scenario, task: usize, row: &NodeSnapshot) {
    let max = scenario.max_attempts(task);
    let spent = match scenario.settings.ignore_retry_cause {
        true => row.attempt,
        false => row.attempt.saturating_sub(row.system_failures),
    };
    assert!(spent < max, "task {task}: attempt {} of {max}", row.attempt);
    let forgiven = scenario.settings.max_system_failures + u32::from(row.phase == NodePhase::Failed);
    let one_budget = scenario.settings.ignore_retry_cause;
    assert!(
        one_budget || row.system_failures <= forgiven,
        "task {task}: {} system failures",
        row.system_failures
    );
}

fn check_execution(scenario: &Scenario, outcome: &Outcome) {
    let failed = |row: &&NodeSnapshot| matches!(row.phase, NodePhase::Failed | NodePhase::TimedOut);
    match outcome.phase {
        Phase::Succeeded => {
            assert_eq!(outcome.nodes.len(), scenario.tasks.len() + FIRST_TASK);
            assert!(outcome.nodes.values().all(|row| row.phase == NodePhase::Succeeded));
            assert_eq!(outcome.error, None);
        }
        Phase::Failed => {
            let error = outcome.error.as_ref().unwrap();
            let reported = |row: &&NodeSnapshot| match row.phase {
                NodePhase::TimedOut => error.code == "Timeout" && error.message == "Timeout in node",
                _ => row.error.as_ref() == Some(error),
            };
            let last = outcome.nodes.values().filter(failed).map(|row| row.ended_at).max().unwrap();
            let mut candidates = outcome
                .nodes
                .values()
                .filter(failed)
                .filter(|row| !scenario.continue_on_failure || row.ended_at == last);
            assert!(candidates.any(|row| reported(&row)), "{error:?} is no node's error");
        }
        Phase::Aborted => assert_eq!(outcome.error, None),
        Phase::Queued | Phase::Running | Phase::Failing | Phase::Aborting => unreachable!(),
    }
}

/// Two histories of one deterministic scenario end alike, wherever one of them crashed.
pub fn check_same_end(scenario: &Scenario, calm: &Outcome, crashed: &Outcome) {
    assert_eq!(calm.phase, crashed.phase);
    if !scenario.continue_on_failure && calm.phase == Phase::Failed {
        return;
    }
    let ends = |outcome: &Outcome| -> Vec<_> {
        let end = |(node, row): (&NodeIdx, &NodeSnapshot)| {
            (*node, Fate::of_row(row), row.input_uri.clone(), row.output_uri.clone())
        };
        outcome.nodes.iter().map(end).collect()
    };
    assert_eq!(ends(calm), ends(crashed), "after {} crashes", crashed.crashes);
}
