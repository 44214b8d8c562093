//! Holds the table of legal phase changes; nothing else moves a phase.

use crate::phase::{NodePhase, Phase};

/// Every legal change of a node, as [`next`] makes it.
pub const NODE_TABLE: &str = "\
NotYetStarted --(Passed)--> Succeeded
NotYetStarted --(Recalled)--> Recovered
NotYetStarted --(Resolved)--> Queued
NotYetStarted --(Unresolvable)--> Failed
NotYetStarted --(UpstreamLost)--> Skipped
Queued --(Running)--> Running
Queued --(Expanded)--> DynamicRunning
Queued --(Succeeded)--> Succeeded
Queued --(FailedRetryably)--> RetryableFailure
Queued --(Failed)--> Failing
Queued --(TimedOut)--> TimingOut
Queued --(Aborted)--> Aborting
Running --(Expanded)--> DynamicRunning
Running --(AllSucceeded)--> Succeeding
Running --(Succeeded)--> Succeeded
Running --(FailedRetryably)--> RetryableFailure
Running --(Failed)--> Failing
Running --(TimedOut)--> TimingOut
Running --(Aborted)--> Aborting
DynamicRunning --(AllSucceeded)--> Succeeding
DynamicRunning --(Failed)--> Failing
DynamicRunning --(TimedOut)--> TimingOut
DynamicRunning --(Aborted)--> Aborting
Succeeding --(Succeeded)--> Succeeded
Succeeding --(Failed)--> Failing
Succeeding --(Aborted)--> Aborting
Failing --(CutShort)--> Aborting
Failing --(Cleaned)--> Failed
RetryableFailure --(TimedOut)--> TimingOut
RetryableFailure --(Aborted)--> Aborting
RetryableFailure --(Cleaned)--> Running
TimingOut --(CutShort)--> Aborting
TimingOut --(Cleaned)--> TimedOut
Aborting --(Cleaned)--> Aborted
";

/// Every legal change of an execution, as [`next_of_execution`] makes it.
pub const EXECUTION_TABLE: &str = "\
Queued --(Started)--> Running
Queued --(AbortRequested)--> Aborting
Queued --(AbortForced)--> Aborted
Running --(EndReached)--> Succeeded
Running --(NodeFailed)--> Failing
Running --(AbortRequested)--> Aborting
Running --(AbortForced)--> Aborted
Failing --(AbortRequested)--> Aborting
Failing --(AbortForced)--> Aborted
Failing --(Cleaned)--> Failed
Aborting --(AbortForced)--> Aborted
Aborting --(Cleaned)--> Aborted
";

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// It had nothing to run: start, end, and what the catalog had.
    Passed,
    /// It had succeeded in the execution that is recovered.
    Recalled,
    /// Its inputs are written.
    Resolved,
    /// Its inputs cannot be made.
    Unresolvable,
    /// All its upstream nodes are decided and one did not succeed.
    UpstreamLost,
    /// Its attempt runs, or what it holds does.
    Running,
    /// Its task made a workflow.
    Expanded,
    /// All that it holds succeeded, and its outputs are to be gathered.
    AllSucceeded,
    /// Its outputs are there.
    Succeeded,
    /// Its attempt failed and another may follow.
    FailedRetryably,
    /// It failed for good.
    Failed,
    /// A deadline passed for good.
    TimedOut,
    /// It is to be aborted.
    Aborted,
    /// It holds nodes, was failing, and is aborted before that was done.
    CutShort,
    /// Its attempt and all that it holds are cleaned up.
    Cleaned,
}

impl NodeEvent {
    /// All events.
    pub const ALL: [NodeEvent; 15] = [
        Self::Passed,
        Self::Recalled,
        Self::Resolved,
        Self::Unresolvable,
        Self::UpstreamLost,
        Self::Running,
        Self::Expanded,
        Self::AllSucceeded,
        Self::Succeeded,
        Self::FailedRetryably,
        Self::Failed,
        Self::TimedOut,
        Self::Aborted,
        Self::CutShort,
        Self::Cleaned,
    ];
}

/// What happens to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionEvent {
    /// A host owns it.
    Started,
    /// Its outputs are readable.
    EndReached,
    /// A failure decided it.
    NodeFailed,
    /// Somebody asked for its end.
    AbortRequested,
    /// Somebody asked for its end without waiting for the clean-up.
    AbortForced,
    /// No attempt is open any more, and its failure node has run.
    Cleaned,
}

impl ExecutionEvent {
    /// All events.
    pub const ALL: [ExecutionEvent; 6] = [
        Self::Started,
        Self::EndReached,
        Self::NodeFailed,
        Self::AbortRequested,
        Self::AbortForced,
        Self::Cleaned,
    ];
}

/// The phase a node is in after the event; `None` when the event has no meaning in that phase.
pub fn next(phase: NodePhase, event: NodeEvent) -> Option<NodePhase> {
    use NodeEvent as E;
    use NodePhase as P;
    match (phase, event) {
        (P::NotYetStarted, E::Passed) => Some(P::Succeeded),
        (P::NotYetStarted, E::Recalled) => Some(P::Recovered),
        (P::NotYetStarted, E::Resolved) => Some(P::Queued),
        (P::NotYetStarted, E::Unresolvable) => Some(P::Failed),
        (P::NotYetStarted, E::UpstreamLost) => Some(P::Skipped),
        (P::Queued, E::Running) => Some(P::Running),
        (P::Queued | P::Running, E::Expanded) => Some(P::DynamicRunning),
        (P::Running | P::DynamicRunning, E::AllSucceeded) => Some(P::Succeeding),
        (P::Queued | P::Running | P::Succeeding, E::Succeeded) => Some(P::Succeeded),
        (P::Queued | P::Running, E::FailedRetryably) => Some(P::RetryableFailure),
        (P::Queued | P::Running | P::DynamicRunning | P::Succeeding, E::Failed) => Some(P::Failing),
        (P::Queued | P::Running | P::DynamicRunning | P::RetryableFailure, E::TimedOut) => Some(P::TimingOut),
        (P::Queued | P::Running | P::DynamicRunning | P::Succeeding | P::RetryableFailure, E::Aborted) => {
            Some(P::Aborting)
        }
        (P::Failing | P::TimingOut, E::CutShort) => Some(P::Aborting),
        (P::RetryableFailure, E::Cleaned) => Some(P::Running),
        (P::Failing, E::Cleaned) => Some(P::Failed),
        (P::TimingOut, E::Cleaned) => Some(P::TimedOut),
        (P::Aborting, E::Cleaned) => Some(P::Aborted),
        (
            P::NotYetStarted
            | P::Queued
            | P::Running
            | P::DynamicRunning
            | P::Succeeding
            | P::RetryableFailure
            | P::Failing
            | P::TimingOut
            | P::Aborting
            | P::Succeeded
            | P::Recovered
            | P::Failed
            | P::Skipped
            | P::TimedOut
            | P::Aborted,
            _,
        ) => None,
    }
}

/// The phase an execution is in after the event; `None` when the event has no meaning in that phase.
pub fn next_of_execution(phase: Phase, event: ExecutionEvent) -> Option<Phase> {
    use ExecutionEvent as E;
    use Phase as P;
    match (phase, event) {
        (P::Queued, E::Started) => Some(P::Running),
        (P::Running, E::EndReached) => Some(P::Succeeded),
        (P::Running, E::NodeFailed) => Some(P::Failing),
        (P::Queued | P::Running | P::Failing, E::AbortRequested) => Some(P::Aborting),
        (P::Queued | P::Running | P::Failing | P::Aborting, E::AbortForced) => Some(P::Aborted),
        (P::Failing, E::Cleaned) => Some(P::Failed),
        (P::Aborting, E::Cleaned) => Some(P::Aborted),
        (P::Queued | P::Running | P::Failing | P::Aborting | P::Succeeded | P::Failed | P::Aborted, _) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_table_prints_what_the_match_does() {
        let mut printed = String::new();
        for phase in NodePhase::ALL {
            for event in NodeEvent::ALL {
                if let Some(after) = next(phase, event) {
                    printed.push_str(&format!("{phase:?} --({event:?})--> {after:?}\n"));
                }
            }
        }
        let mut expected: Vec<_> = NODE_TABLE.lines().collect();
        let mut actual: Vec<_> = printed.lines().collect();
        expected.sort_unstable();
        actual.sort_unstable();
        assert_eq!(actual, expected);
    }

    #[test]
    fn execution_table_prints_what_the_match_does() {
        let phases = (0..10).filter_map(|number| Phase::from_wire(number).ok());
        let mut actual = Vec::new();
        for phase in phases {
            for event in ExecutionEvent::ALL {
                if let Some(after) = next_of_execution(phase, event) {
                    actual.push(format!("{phase:?} --({event:?})--> {after:?}"));
                }
            }
        }
        let mut expected: Vec<_> = EXECUTION_TABLE.lines().map(str::to_owned).collect();
        expected.sort_unstable();
        actual.sort_unstable();
        assert_eq!(actual, expected);
    }

    #[test]
    fn terminal_phases_never_change() {
        for phase in NodePhase::ALL.into_iter().filter(|phase| phase.is_terminal()) {
            for event in NodeEvent::ALL {
                assert_eq!(next(phase, event), None, "{phase:?} {event:?}");
            }
        }
    }

    #[test]
    fn stored_numbers_are_read_back() {
        for (number, phase) in NodePhase::ALL.into_iter().enumerate() {
            assert_eq!(phase.number(), number as i16);
            assert_eq!(NodePhase::from_number(phase.number()), Ok(phase));
        }
        for unknown in [-1, 15] {
            assert!(NodePhase::from_number(unknown).is_err(), "{unknown}");
        }
        for unknown in [0, 3, 8, 10] {
            assert!(Phase::from_wire(unknown).is_err(), "{unknown}");
        }
    }
}
