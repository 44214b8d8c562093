//! Names the phases of executions and nodes, with the numbers they are stored and shown under.

use proto::flyteidl::core;

use crate::error::Error;

/// Where an execution stands. Stored as its `core.WorkflowExecution.Phase` number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Accepted; nothing has happened.
    Queued,
    /// Nodes run.
    Running,
    /// Its end node succeeded and its outputs are readable.
    Succeeded,
    /// A failure decided it; live attempts are cleaned up.
    Failing,
    /// Ended badly.
    Failed,
    /// An abort was asked for; live attempts are cleaned up.
    Aborting,
    /// Ended because somebody asked for it.
    Aborted,
}

impl Phase {
    /// The `core.WorkflowExecution.Phase` number.
    pub fn wire(self) -> i32 {
        use core::workflow_execution::Phase as Wire;
        let wire = match self {
            Self::Queued => Wire::Queued,
            Self::Running => Wire::Running,
            Self::Succeeded => Wire::Succeeded,
            Self::Failing => Wire::Failing,
            Self::Failed => Wire::Failed,
            Self::Aborting => Wire::Aborting,
            Self::Aborted => Wire::Aborted,
        };
        wire as i32
    }

    /// Reads a stored number; one this engine never writes is an error, not a guess.
    pub fn from_wire(number: i32) -> Result<Self, Error> {
        const ALL: [Phase; 7] = [
            Phase::Queued,
            Phase::Running,
            Phase::Succeeded,
            Phase::Failing,
            Phase::Failed,
            Phase::Aborting,
            Phase::Aborted,
        ];
        ALL.into_iter().find(|phase| phase.wire() == number).ok_or(Error::UnknownPhase { number })
    }

    /// Whether it has ended.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Aborted => true,
            Self::Queued | Self::Running | Self::Failing | Self::Aborting => false,
        }
    }
}

/// Where a node stands. The numbers are Flyte's (13 and 14 are ours), are stored and never change meaning.
///
/// A node that holds others (sub-workflow, branch, array, expanded dynamic) is decided for its surroundings only when
/// its phase is terminal; any other also as soon as it is failing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum NodePhase {
    /// Its upstream nodes are not decided yet, or its inputs not written: it has no row.
    #[default]
    NotYetStarted = 0,
    /// Inputs are written, its attempt is open.
    Queued = 1,
    /// Its attempt runs, or a later attempt was opened.
    Running = 2,
    /// It failed for good; its last attempt, or what it holds, is cleaned up.
    Failing = 3,
    /// Everything in it succeeded; its outputs are being gathered.
    Succeeding = 4,
    /// Its outputs are readable.
    Succeeded = 5,
    /// It failed and everything is cleaned up.
    Failed = 6,
    /// A node it depends on did not succeed.
    Skipped = 7,
    /// An attempt failed, another will follow once that one is cleaned up.
    RetryableFailure = 8,
    /// Its active deadline passed; its attempt is cleaned up.
    TimingOut = 9,
    /// It took too long and everything is cleaned up.
    TimedOut = 10,
    /// Its task made a workflow, which runs.
    DynamicRunning = 11,
    /// It had succeeded in the execution this one recovers; its outputs are those.
    Recovered = 12,
    /// It is aborted; its attempt is cleaned up.
    Aborting = 13,
    /// It was aborted and everything is cleaned up.
    Aborted = 14,
}

impl NodePhase {
    /// All phases in the order of their numbers.
    pub const ALL: [NodePhase; 15] = [
        Self::NotYetStarted,
        Self::Queued,
        Self::Running,
        Self::Failing,
        Self::Succeeding,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::RetryableFailure,
        Self::TimingOut,
        Self::TimedOut,
        Self::DynamicRunning,
        Self::Recovered,
        Self::Aborting,
        Self::Aborted,
    ];

    /// The number it is stored under.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// Reads a stored number; an unknown one is an error, not a guess.
    pub fn from_number(number: i16) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|phase| phase.number() == number).ok_or(Error::UnknownNodePhase { number })
    }

    /// Whether nothing more happens to the node.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded
            | Self::Recovered
            | Self::Failed
            | Self::Skipped
            | Self::TimedOut
            | Self::Aborted => true,
            Self::NotYetStarted
            | Self::Queued
            | Self::Running
            | Self::DynamicRunning
            | Self::Succeeding
            | Self::Failing
            | Self::RetryableFailure
            | Self::TimingOut
            | Self::Aborting => false,
        }
    }

    /// Whether its outputs can be read.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Recovered)
    }

    /// Whether the node will never succeed any more, clean-up done or not.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Failing | Self::Failed | Self::TimingOut | Self::TimedOut => true,
            Self::NotYetStarted
            | Self::Queued
            | Self::Running
            | Self::DynamicRunning
            | Self::Succeeding
            | Self::Succeeded
            | Self::Recovered
            | Self::Skipped
            | Self::RetryableFailure
            | Self::Aborting
            | Self::Aborted => false,
        }
    }

    /// Whether an attempt of the node may still report something that counts.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// Whether the node has started and has not ended, clean-up included.
    pub fn is_in_flight(self) -> bool {
        match self {
            Self::Queued
            | Self::Running
            | Self::DynamicRunning
            | Self::Succeeding
            | Self::RetryableFailure
            | Self::Failing
            | Self::TimingOut
            | Self::Aborting => true,
            Self::NotYetStarted
            | Self::Succeeded
            | Self::Recovered
            | Self::Failed
            | Self::Skipped
            | Self::TimedOut
            | Self::Aborted => false,
        }
    }
}
