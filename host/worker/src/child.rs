//! Starts executions for launch plan nodes, and brings back how they end (execution.md A11).
//!
//! The child's name follows from the attempt that starts it, so that a life that does not know whether an earlier one
//! came to it asks again and finds it. It is told apart from a stranger's execution of the same name by its parent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use engine::{NodeKind, Observation, Report};
use launch::{Parent, Request};
use model::{EntityId, EntityKind, ExecutionId, Timestamp, name};
use prost::Message;
use proto::flyteidl::admin::ExecutionSpec;
use proto::flyteidl::core::{
    ExecutionError, Identifier, LiteralMap, execution_error::ErrorKind, workflow_execution::Phase,
};
use store::AbortOutcome;
use store::row::{ExecutionKey, ExecutionRow};

use crate::clusters::with_causes;
use crate::driver::{Alarm, Done, Driver};
use crate::mailbox::AttemptKey;
use crate::outcome::execution_error;
use crate::place::Place;
use crate::shared::Shared;
use crate::{backoff, clock};

/// The executions that nodes started and that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Children {
    by_attempt: HashMap<AttemptKey, Child>,
    by_key: HashMap<ExecutionKey, AttemptKey>,
    /// How many are being started.
    n_starting: usize,
    /// A child ended while others were being started: those may be meant.
    unsure: bool,
    /// A look is under way.
    looking: bool,
    /// What is to be looked at after it.
    next_look: BTreeSet<ExecutionKey>,
}

/// An execution that a node starts or has started.
#[derive(Debug, Default)]
struct Child {
    /// Once it is there.
    key: Option<ExecutionKey>,
    /// Something is done for it.
    busy: bool,
    /// An earlier life may have started it.
    recovered: bool,
    /// It is to be aborted, for this reason.
    abort: Option<String>,
}

/// What came of the start of a child.
#[derive(Debug)]
pub(crate) enum Started {
    /// It is there; its row as it was read last.
    There(Box<ExecutionRow>),
    /// It can't be started.
    Refused(ExecutionError),
    /// Neither is known yet.
    Unknown(String),
}

/// All that is needed to start a child.
struct Start {
    id: ExecutionId,
    parent: Parent,
    launch_plan: Identifier,
    inputs_uri: String,
    spec: Vec<u8>,
    recovers: Option<ExecutionId>,
    look_first: bool,
}

impl Driver {
    /// The execution that this attempt of a launch plan node starts.
    pub(crate) fn child_id(&self, key: AttemptKey) -> ExecutionId {
        child_id(&self.info.id, &self.engine.unique_id(key.node), key.attempt)
    }

    /// The child is to be started from the next commit on.
    pub(crate) fn want_child(&mut self, key: AttemptKey, recovered: bool) {
        self.children.by_attempt.insert(key, Child { recovered, ..Child::default() });
        self.ready.insert(key);
    }

    /// The child is to end, if it is there.
    pub(crate) fn abort_child(&mut self, key: AttemptKey, reason: String) {
        self.children.by_attempt.entry(key).or_default().abort = Some(reason);
        self.ready.insert(key);
    }

    /// Forgets a child whose end is known.
    pub(crate) fn forget_child(&mut self, key: AttemptKey) {
        if let Some(child) = self.children.by_attempt.remove(&key)
            && let Some(execution) = child.key
        {
            self.children.by_key.remove(&execution);
            self.shared.registry.disown(execution);
        }
    }

    /// Starts what is to be done for the child of an attempt, if it has one. Says whether the attempt is one of these.
    pub(crate) fn start_child(&mut self, key: AttemptKey) -> bool {
        let Some(child) = self.children.by_attempt.get_mut(&key) else { return false };
        if child.busy {
            return true;
        }
        if let Some(reason) = child.abort.take() {
            child.busy = true;
            self.spawn_abort(key, &reason);
        } else if child.key.is_none() {
            child.busy = true;
            let look_first = child.recovered;
            self.children.n_starting += 1;
            self.spawn_start(key, look_first);
        }
        true
    }

    fn spawn_start(&mut self, key: AttemptKey, look_first: bool) {
        let NodeKind::LaunchPlan { id: launch_plan, .. } = &self.engine.graph_node(key.node).kind else {
            return;
        };
        let node = Place::of(&self.info, &self.engine, key.node).id;
        let start = Start {
            id: self.child_id(key),
            launch_plan: Identifier::clone(launch_plan),
            parent: Parent { execution: self.info.key, node, nesting: self.info.nesting },
            inputs_uri: self.engine.node(key.node).input_uri.to_string(),
            spec: self.info.spec.clone(),
            recovers: self.info.recovers.clone(),
            look_first,
        };
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let _permit = shared.permits.acquire().await;
            Box::pin(start_or_find(&shared, start)).await
        };
        self.spawn(key, work, move |started| Done::Started {
            key,
            started: started.unwrap_or_else(|| Started::Unknown("the host panicked".to_owned())),
        });
    }

    /// Takes in what came of a start.
    pub(crate) fn child_started(&mut self, key: AttemptKey, started: Started, now: Timestamp) {
        self.children.n_starting = self.children.n_starting.saturating_sub(1);
        let unsure = self.children.unsure;
        if self.children.n_starting == 0 {
            self.children.unsure = false;
        }
        let Some(child) = self.children.by_attempt.get_mut(&key) else { return };
        child.busy = false;
        child.recovered = true;
        self.ready.insert(key);
        match started {
            Started::Unknown(reason) => {
                tracing::warn!(execution = %self.info.id, ?key, reason, "cannot start an execution, trying again");
                child.busy = true;
                let pause = backoff::pause(&self.shared.config.plugin_calls, 3);
                self.alarm(clock::after(now, pause), Alarm::Child(key));
            }
            Started::Refused(error) => {
                let report = Report::Failed { error, recoverable: false, cleanup: false };
                self.report_child(key, report, now);
            }
            Started::There(row) => {
                child.key = Some(row.key);
                self.children.by_key.insert(row.key, key);
                self.shared.registry.adopt(row.key, &self.mailbox);
                if !self.child_ended(&row, now) {
                    self.report_child(key, Report::Running, now);
                    if unsure {
                        self.look_at([row.key]);
                    }
                }
            }
        }
    }

    /// Another try to start a child.
    pub(crate) fn retry_child(&mut self, key: AttemptKey) {
        if let Some(child) = self.children.by_attempt.get_mut(&key) {
            child.busy = false;
            self.ready.insert(key);
        }
    }

    fn report_child(&mut self, key: AttemptKey, report: Report, now: Timestamp) {
        self.apply(Observation::TaskReported { node: key.node, attempt: key.attempt, report }, now);
    }

    /// Reports a child that has ended; says whether it has.
    fn child_ended(&mut self, row: &ExecutionRow, now: Timestamp) -> bool {
        let Some(report) = report_of(row) else { return false };
        let Some(key) = self.children.by_key.get(&row.key).copied() else { return true };
        if self.engine.node(key.node).attempt_started_at.is_none() {
            // So that its row names the child.
            self.report_child(key, Report::Running, now);
        }
        self.report_child(key, report, now);
        true
    }

    /// Notes that some child has ended, and looks which.
    pub(crate) fn some_child_ended(&mut self, changed: BTreeSet<ExecutionKey>) {
        self.children.unsure |= self.children.n_starting > 0;
        let known: Vec<_> =
            changed.into_iter().filter(|key| self.children.by_key.contains_key(key)).collect();
        if known.is_empty() {
            self.look_at_all_children();
        } else {
            self.look_at(known);
        }
    }

    /// Looks at every child: notifications may have been lost.
    pub(crate) fn look_at_all_children(&mut self) {
        let all: Vec<_> = self.children.by_key.keys().copied().collect();
        self.look_at(all);
    }

    /// Asks the store which of these have ended.
    fn look_at(&mut self, keys: impl IntoIterator<Item = ExecutionKey>) {
        self.children.next_look.extend(keys);
        if self.children.looking || self.children.next_look.is_empty() {
            return;
        }
        self.children.looking = true;
        let keys: Vec<_> = std::mem::take(&mut self.children.next_look).into_iter().collect();
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let ended = shared.store.executions_ended(&keys).await;
            Done::Ended { keys, ended: ended.map_err(|error| with_causes(&error)) }
        });
    }

    /// Takes in which children have ended.
    pub(crate) fn children_ended(
        &mut self,
        keys: Vec<ExecutionKey>,
        ended: Result<Vec<ExecutionRow>, String>,
        now: Timestamp,
    ) {
        match ended {
            Ok(rows) => {
                self.children.looking = false;
                for row in rows {
                    self.child_ended(&row, now);
                }
                self.look_at([]);
            }
            Err(error) => {
                tracing::warn!(execution = %self.info.id, error, "cannot read child executions, trying again");
                self.children.next_look.extend(keys);
                let pause = backoff::pause(&self.shared.config.plugin_calls, 3);
                self.alarm(clock::after(now, pause), Alarm::Children);
            }
        }
    }

    /// Another try to look at children.
    pub(crate) fn retry_look(&mut self) {
        self.children.looking = false;
        self.look_at([]);
    }

    fn spawn_abort(&mut self, key: AttemptKey, reason: &str) {
        let id = self.child_id(key);
        let parent = (self.info.key, self.engine.unique_id(key.node).to_string());
        let cause = format!(
            "cascading abort as parent execution id [{}] aborted, reason [{reason}]",
            self.info.id.name
        );
        let (shared, forced) = (Arc::clone(&self.shared), self.abort_forced);
        let principal = self.aborted_by.clone();
        self.work.spawn(async move {
            abort(&shared, &id, &parent, (&cause, &principal), forced).await;
            Done::ChildAborted { key }
        });
    }

    /// The child was told to end.
    pub(crate) fn child_aborted(&mut self, key: AttemptKey, now: Timestamp) {
        self.forget_child(key);
        self.apply(Observation::Cleaned { node: key.node, attempt: key.attempt }, now);
    }

    /// Forgets all children: nobody drives the parent any more.
    pub(crate) fn disown_children(&self) {
        for key in self.children.by_key.keys() {
            self.shared.registry.disown(*key);
        }
    }
}

/// The execution that an attempt of a launch plan node starts.
pub(crate) fn child_id(parent: &ExecutionId, node: &str, attempt: u32) -> ExecutionId {
    let name = name::child_execution_name(&parent.name, node, attempt);
    ExecutionId { name: name.into(), ..parent.clone() }
}

/// What an execution that has ended means for the node that started it.
fn report_of(row: &ExecutionRow) -> Option<Report> {
    let failed = |error| Some(Report::Failed { error, recoverable: false, cleanup: false });
    match Phase::try_from(row.phase).unwrap_or_default() {
        Phase::Succeeded => {
            Some(Report::Succeeded { output_uri: row.outputs_uri.clone(), deck_uri: String::new() })
        }
        Phase::Failed | Phase::TimedOut => failed(error_of(row)),
        Phase::Aborted => failed(execution_error(
            ErrorKind::User,
            "RemoteChildWorkflowExecutionFailed",
            format!("launch plan execution [{}] was aborted: {}", row.id.name, row.abort_cause),
        )),
        Phase::Undefined
        | Phase::Queued
        | Phase::Running
        | Phase::Succeeding
        | Phase::Failing
        | Phase::Aborting => None,
    }
}

/// The child's own error, word for word.
fn error_of(row: &ExecutionRow) -> ExecutionError {
    ExecutionError::decode(row.error.as_slice())
        .ok()
        .filter(|error| !error.message.is_empty())
        .unwrap_or_else(|| {
            let message = format!("launch plan execution [{}] failed without a word", row.id.name);
            execution_error(ErrorKind::System, "RemoteChildWorkflowExecutionFailed", message)
        })
}

async fn start_or_find(shared: &Shared, start: Start) -> Started {
    if start.look_first {
        match find(shared, &start).await {
            Ok(Some(started)) => return started,
            Ok(None) => {}
            Err(error) => return Started::Unknown(with_causes(&error)),
        }
    }
    match launch_child(shared, &start).await {
        Ok(()) => {}
        Err(Failure::Refused(error)) => return Started::Refused(error),
        Err(Failure::Unknown(reason)) => return Started::Unknown(reason),
    }
    match find(shared, &start).await {
        Ok(Some(started)) => started,
        Ok(None) => Started::Unknown(format!("execution {} was started and is not there", start.id)),
        Err(error) => Started::Unknown(with_causes(&error)),
    }
}

/// The execution of that name: the child, or a stranger's that is in its way.
async fn find(shared: &Shared, start: &Start) -> Result<Option<Started>, store::Error> {
    let Some(row) = shared.store.execution_get(&start.id).await? else { return Ok(None) };
    let ours = row
        .parent_node
        .as_ref()
        .is_some_and(|(key, node)| *key == start.parent.execution && **node == *start.parent.node.node);
    if ours {
        return Ok(Some(Started::There(Box::new(row))));
    }
    let message = format!(
        "execution {} exists already and was not started by node {}: end it and delete its name from what starts it, \
         or run this workflow under another name",
        start.id, start.parent.node.node
    );
    Ok(Some(Started::Refused(execution_error(ErrorKind::User, "ExecutionNameTaken", message))))
}

enum Failure {
    Refused(ExecutionError),
    Unknown(String),
}

impl From<launch::Error> for Failure {
    fn from(error: launch::Error) -> Self {
        let text = with_causes(&error);
        if error.is_transient() {
            return Self::Unknown(text);
        }
        Self::Refused(execution_error(ErrorKind::User, "RuntimeExecutionError", text))
    }
}

async fn launch_child(shared: &Shared, start: &Start) -> Result<(), Failure> {
    let bad =
        |text: String| Failure::Refused(execution_error(ErrorKind::System, "BadSpecificationError", text));
    let inputs = shared.files.map(&start.inputs_uri).await.map_err(|error| {
        let text = format!("cannot read the inputs: {}", with_causes(&error));
        if error.is_transient() { Failure::Unknown(text) } else { bad(text) }
    })?;
    if let Some(old) = recovered_child(shared, start).await? {
        return recover(shared, start, &old).await;
    }
    create(shared, start, LiteralMap::clone(&inputs)).await
}

async fn create(shared: &Shared, start: &Start, inputs: LiteralMap) -> Result<(), Failure> {
    let bad =
        |text: String| Failure::Refused(execution_error(ErrorKind::System, "BadSpecificationError", text));
    let spec = ExecutionSpec::decode(start.spec.as_slice()).map_err(|error| bad(error.to_string()))?;
    let launch_plan = EntityId::from_proto(EntityKind::LaunchPlan, &start.launch_plan)
        .map_err(|error| bad(error.to_string()))?;
    let request =
        Request::child(start.parent.clone(), &spec, launch_plan, start.id.name.to_string(), inputs)?;
    created(shared.launcher.create(request).await)
}

/// A name that is taken is looked at next.
fn created(result: Result<ExecutionId, launch::Error>) -> Result<(), Failure> {
    match result {
        Ok(_) | Err(launch::Error::Exists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The child of the same node in the execution that this one recovers.
async fn recovered_child(shared: &Shared, start: &Start) -> Result<Option<ExecutionRow>, Failure> {
    let Some(source) = &start.recovers else { return Ok(None) };
    let unknown = |error: store::Error| Failure::Unknown(with_causes(&error));
    let Some(parent) = shared.store.execution_get(source).await.map_err(unknown)? else { return Ok(None) };
    let children = shared.store.children_of(parent.key, &start.parent.node.node).await.map_err(unknown)?;
    Ok(children.into_iter().next_back())
}

async fn recover(shared: &Shared, start: &Start, old: &ExecutionRow) -> Result<(), Failure> {
    let name = start.id.name.to_string();
    created(shared.launcher.recover_child(&old.id, name, start.parent.clone(), &old.principal).await)
}

/// Asks for the end of a child, until the wish is stored or there is nothing to end.
async fn abort(
    shared: &Shared,
    id: &ExecutionId,
    parent: &(ExecutionKey, String),
    (cause, principal): (&str, &str),
    forced: bool,
) {
    let mut n_tried = 0;
    loop {
        let asked = async {
            let Some(row) = shared.store.execution_get(id).await? else { return Ok(AbortOutcome::NotFound) };
            if row.parent_node.as_ref() != Some(parent) {
                return Ok(AbortOutcome::NotFound);
            }
            let now = shared.clock.now();
            if forced {
                shared.store.execution_force_abort(id, cause, principal, now).await
            } else {
                shared.store.execution_request_abort(id, cause, principal, now).await
            }
        };
        match asked.await {
            Ok(AbortOutcome::NotFound | AbortOutcome::AlreadyTerminal(_) | AbortOutcome::Requested) => return,
            Err(error) => {
                let error: store::Error = error;
                tracing::warn!(execution = %id, error = %with_causes(&error), "cannot abort a child, trying again");
            }
        }
        let pause = backoff::pause(&shared.config.plugin_calls, n_tried);
        shared.clock.sleep_until(clock::after(shared.clock.now(), pause)).await;
        n_tried = n_tried.saturating_add(1);
    }
}
