//! Takes in what happened to an execution and what the engine makes of it.

use std::cmp::Reverse;

use engine::{AttemptChange, AttemptChangeKind, Changes, NodeIdx, NodeKind, Observation, Step};
use model::Timestamp;
use proto::flyteidl::core::{execution_error::ErrorKind, task_execution};
use proto::pinion::plugin::v1::WakeReason;

use crate::attempt::{Attempt, Order, Stage};
use crate::clock::after;
use crate::dirty::Haste;
use crate::driver::{Alarm, Driver};
use crate::mailbox::{Abort, AttemptKey, Mail, News};
use crate::outcome::execution_error;
use crate::place::Place;
use crate::plugin;
use crate::plugin::Unavailable;
use crate::record::{Opening, Record};

impl Driver {
    /// Tells the engine what was seen and notes which rows that changed.
    pub(crate) fn apply(&mut self, observation: Observation, now: Timestamp) {
        // That an attempt is closed may wait: a crash only repeats its clean-up.
        let may_wait = matches!(observation, Observation::Cleaned { .. });
        let changes = self.engine.apply(observation, now);
        self.note(changes, may_wait, now);
    }

    pub(crate) fn note(&mut self, changes: Changes, may_wait: bool, now: Timestamp) {
        if !changes.execution && changes.nodes.is_empty() && changes.attempts.is_empty() {
            return;
        }
        let only_closes = changes.attempts.iter().all(|change| change.kind == AttemptChangeKind::Closed);
        let lazy = may_wait && only_closes && !changes.execution;
        self.dirty.note(if lazy { Haste::Lazy } else { Haste::Urgent }, now);
        self.dirty.execution |= changes.execution;
        for node in changes.nodes {
            self.note_node(node);
        }
        for change in changes.attempts {
            self.note_attempt(change);
        }
    }

    fn note_node(&mut self, node: NodeIdx) {
        self.dirty.nodes.insert(node);
        let is_kept = self.cache.knows(node) || self.arrays.knows(node);
        if is_kept && self.engine.node(node).phase.is_terminal() {
            self.cache.node_ended(node);
            self.ended.push(node);
        }
    }

    fn note_attempt(&mut self, change: AttemptChange) {
        let key = AttemptKey { node: change.node, attempt: change.attempt };
        if !self.runs_task(key.node) {
            return self.note_taskless(key, &change);
        }
        self.dirty.attempts.insert(key);
        match change.kind {
            AttemptChangeKind::Opened => self.open(key, change.at),
            AttemptChangeKind::Ended { phase, reason } => {
                let of_node = self.engine.node(key.node).error.as_deref().cloned();
                let failed = phase == i32::from(task_execution::Phase::Failed);
                let error = failed.then(|| {
                    of_node
                        .unwrap_or_else(|| execution_error(ErrorKind::User, "TimeoutExpired", reason.clone()))
                });
                if let Some(attempt) = self.attempts.get_mut(&key) {
                    attempt.stage = Stage::Ended;
                    // What it still wanted to start is not to be started any more.
                    attempt.intent.clear();
                    attempt.record.end(phase, &reason, error.as_ref(), change.at);
                }
            }
            AttemptChangeKind::Closed => {
                if let Some(attempt) = self.attempts.get_mut(&key) {
                    attempt.record.close(change.at);
                    self.closed.push(key);
                }
            }
        }
    }

    /// A launch plan node or a gate has no row of its attempt.
    fn note_taskless(&mut self, key: AttemptKey, change: &AttemptChange) {
        match change.kind {
            AttemptChangeKind::Opened => self.signals.extend(self.signal_row(key, change.at)),
            AttemptChangeKind::Closed => {
                self.forget_child(key);
                self.gates.forget(key);
            }
            AttemptChangeKind::Ended { .. } => {}
        }
    }

    pub(crate) fn runs_task(&self, node: NodeIdx) -> bool {
        matches!(self.engine.graph_node(node).kind, NodeKind::Task { .. })
    }

    fn open(&mut self, key: AttemptKey, at: Timestamp) {
        let Some(task) = self.programs.task(&self.engine, key.node) else { return };
        let id = Place::of(&self.info, &self.engine, key.node).attempt(key.attempt);
        let mut record = Record::open(Opening {
            execution: self.info.key,
            node_id: &id.node.node,
            attempt: key.attempt,
            task: &task.id,
            task_type: &task.task_type,
            generated_name: id.generated_name(),
            interruptible: self.engine.node(key.node).interruptible_now,
            at,
        });
        if let Some(explanation) = self.cache.explain(key.node) {
            record.explain(&explanation, at);
        }
        self.names.insert(record.row.node_id.as_str().into(), key.node);
        self.attempts.insert(key, Box::new(Attempt::new(record)));
    }

    /// Asks the engine what is due until it has nothing more, doing at once what may be done before the commit.
    pub(crate) async fn plan(&mut self, now: Timestamp) {
        loop {
            for (node, fetched) in std::mem::take(&mut self.arrived) {
                if !self.engine.knows(node) {
                    continue;
                }
                self.fetched(node, fetched, now).await;
            }
            let steps = self.engine.plan(now);
            if steps.is_empty() {
                break;
            }
            for step in steps {
                self.take_step(step, now).await;
            }
        }
        self.start_lookups();
    }

    async fn take_step(&mut self, step: Step, now: Timestamp) {
        match step {
            Step::ResolveInputs { node } => self.resolve(node, now).await,
            Step::StartAttempt { node, attempt, recovered } => {
                let key = AttemptKey { node, attempt };
                match self.engine.graph_node(node).kind {
                    NodeKind::LaunchPlan { .. } => self.want_child(key, recovered),
                    NodeKind::Gate(_) => self.want_signal(key),
                    _ => self.arm(key, recovered, now),
                }
            }
            Step::Abort { node, attempt, reason } => {
                let key = AttemptKey { node, attempt };
                match self.engine.graph_node(node).kind {
                    NodeKind::LaunchPlan { .. } => self.abort_child(key, reason),
                    NodeKind::Gate(_) => self.abort_gate(key, now),
                    _ => self.order(key, Order::Abort(reason)),
                }
            }
            Step::Finalize { node, attempt } => self.order(AttemptKey { node, attempt }, Order::Finalize),
            Step::GatherOutputs { node } => match self.engine.graph_node(node).kind {
                NodeKind::Array { .. } => self.gather_elements(node),
                _ => self.gather_expansion(node),
            },
            Step::LoadExpansion { node, spec_uri } => self.load_expansion(node, spec_uri),
        }
    }

    /// The attempt is to be driven from the next commit on.
    fn arm(&mut self, key: AttemptKey, recovered: bool, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else {
            tracing::error!(execution = %self.info.id, ?key, "an attempt is to be started that has no row");
            return;
        };
        attempt.want(if recovered { WakeReason::Recovered } else { WakeReason::Start });
        attempt.refresh = recovered && !attempt.record.objects.is_empty();
        attempt.recovered = recovered;
        if recovered {
            self.hold_again(key.node);
        }
        self.assign(key, now);
    }

    /// Finds the plugin of an attempt; without one it waits, visibly.
    pub(crate) fn assign(&mut self, key: AttemptKey, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let row = &attempt.record.row;
        let wish = self.info.launch.plugin_override(&row.task_type);
        match plugin::choose(&*self.shared.plugins, wish, &row.task_type, &row.plugin) {
            Ok(plugin) => {
                if row.plugin != plugin.identity() {
                    attempt.migrate = !row.plugin.is_empty() && attempt.record.state().is_some();
                    attempt.record.set_plugin(plugin.id(), plugin.identity());
                    self.dirty.attempt(key, Haste::Urgent, now);
                }
                attempt.plugin = Some(plugin);
                attempt.stage = Stage::Driving;
                self.ready.insert(key);
            }
            Err(unavailable) => self.park(key, &unavailable, now),
        }
    }

    /// Has an attempt wait for a plugin.
    pub(crate) fn park(&mut self, key: AttemptKey, unavailable: &Unavailable, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let Unavailable { reason, again_in, .. } = unavailable;
        attempt.stage = Stage::Parked;
        attempt.plugin = None;
        if attempt.record.wait(reason, now) {
            tracing::warn!(execution = %self.info.id, node = %attempt.record.row.node_id, reason, "a task waits");
            self.dirty.attempt(key, Haste::Urgent, now);
        }
        // Where no time is known, one is told when the plugin comes, or comes back.
        attempt.parked_until = Timestamp(i64::MAX);
        if let Some(wait) = *again_in {
            attempt.parked_until = after(now, wait);
            let until = attempt.parked_until;
            self.alarm(until, Alarm::Attempt(key));
        }
    }

    fn order(&mut self, key: AttemptKey, order: Order) {
        let Some(attempt) = self.attempts.get_mut(&key) else {
            tracing::error!(execution = %self.info.id, ?key, "an attempt is to be cleaned up that has no row");
            return;
        };
        if let Order::Abort(_) = order
            && attempt.stage != Stage::Ended
        {
            // What it still wanted to start is not to be started any more.
            attempt.intent.clear();
        }
        attempt.stage = Stage::Ended;
        attempt.order = Some(order);
        self.ready.insert(key);
    }

    /// Takes what was left in the mailbox.
    pub(crate) fn take_mail(&mut self, mail: Mail, now: Timestamp) {
        if let Some(Abort { cause, principal, forced }) = mail.abort {
            self.aborted_by.clone_from(&principal);
            self.abort_forced |= forced;
            self.apply(Observation::AbortRequested { cause, principal, force: forced }, now);
        }
        for (key, news) in mail.attempts {
            self.take_news(key, news, now);
        }
        for ((node_id, attempt), news) in mail.named {
            if let Some(node) = self.names.get(node_id.as_str()).copied() {
                self.take_news(AttemptKey { node, attempt }, news, now);
            }
        }
        if mail.plugins_changed || mail.sweep {
            let parked = self.attempts.iter().filter(|(_, attempt)| attempt.stage == Stage::Parked);
            for key in parked.map(|(key, _)| *key).collect::<Vec<_>>() {
                self.assign(key, now);
            }
        }
        if mail.lagged {
            for (key, attempt) in &mut self.attempts {
                attempt.refresh = true;
                self.ready.insert(*key);
            }
        }
        if mail.child_ended {
            self.some_child_ended(mail.children);
        }
        if mail.signalled {
            self.look_at_signals();
        }
        if mail.nudged {
            self.look_again();
        }
        if mail.sweep {
            self.look_at_all_children();
            self.look_at_signals();
            self.look_again();
        }
        self.draining |= mail.drain;
    }

    fn take_news(&mut self, key: AttemptKey, news: News, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        for (object, sighting) in news.observed {
            attempt.sight(object, sighting);
        }
        if news.woken {
            attempt.want(WakeReason::Woken);
        }
        for report in news.reports {
            if attempt.takes_report(&report) && attempt.record.report(&report, now) {
                self.dirty.attempt(key, Haste::Lazy, now);
            }
        }
        if news.token_released {
            attempt.ask_again(None);
        }
        self.ready.insert(key);
    }

    /// Looks at what has its time come.
    pub(crate) fn ring_alarms(&mut self, now: Timestamp) {
        while let Some(Reverse((at, alarm))) = self.alarms.peek().copied()
            && at <= now
        {
            self.alarms.pop();
            match alarm {
                Alarm::Attempt(key) => self.ring(key, now),
                Alarm::Child(key) => self.retry_child(key),
                Alarm::Children => self.retry_look(),
                Alarm::Signals => self.retry_signals(),
                Alarm::Cache => self.look_again(),
                Alarm::Beat => self.beat(now),
            }
        }
    }

    fn ring(&mut self, key: AttemptKey, now: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        if attempt.record.row.wake_at.is_some_and(|wake_at| wake_at <= now) {
            attempt.record.row.wake_at = None;
            attempt.want(WakeReason::Timer);
        }
        attempt.ask_again(Some(now));
        let parked = attempt.stage == Stage::Parked && attempt.parked_until <= now;
        self.ready.insert(key);
        if parked {
            self.assign(key, now);
        }
    }
}
