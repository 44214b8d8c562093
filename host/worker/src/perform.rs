//! Starts what is due for attempts once their rows are durable: clean-ups, actions, plugin calls, in this order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use proto::pinion::plugin::v1::{HandleRequest, TaskExecutionContext, WakeReason};

use crate::actions::{self, Act, Acted};
use crate::attempt::{Attempt, Order, Stage};
use crate::brood::Brood;
use crate::call::{self, Answer, Call};
use crate::cleanup::{self, Cleaned, Cleanup};
use crate::driver::{Done, Driver};
use crate::expansion::Source;
use crate::mailbox::AttemptKey;
use crate::place::Place;
use crate::{context, metric};

const PANICKED: &str = "the host panicked while it worked for the task";

impl Driver {
    /// Starts what can be started, up to the number of things one execution may have under way.
    pub(crate) fn start_ready(&mut self) {
        let limit = self.shared.config.step_concurrency;
        while self.work.len() < limit
            && let Some(key) = self.ready.pop_first()
        {
            self.start(key);
        }
    }

    fn start(&mut self, key: AttemptKey) {
        if self.start_child(key) || self.start_gate(key) {
            return;
        }
        let now = self.shared.clock.now();
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        if attempt.busy || !attempt.record.row.open {
            return;
        }
        let due = !attempt.intent.is_empty() && attempt.intent_not_before <= now;
        match (&attempt.order, attempt.stage) {
            (Some(_), _) if due => self.start_actions(key),
            (Some(_), _) => self.start_cleanup(key),
            (None, Stage::Ended) if due => self.start_actions(key),
            (None, Stage::Driving) if due || attempt.refresh => self.start_actions(key),
            (None, Stage::Driving) if attempt.wanted.is_some() => self.start_call(key),
            (None, _) => {}
        }
    }

    /// What never changes about the attempt. It is made anew for each call: kept, it would be the largest part of a
    /// live node.
    fn context(&self, key: AttemptKey) -> Option<TaskExecutionContext> {
        context::build(&self.info, &self.engine, &self.programs, key)
    }

    fn act(&self, key: AttemptKey, context: TaskExecutionContext) -> Act {
        Act {
            execution: self.info.id.clone(),
            context: Arc::new(context),
            mailbox: Arc::clone(&self.mailbox),
            attempt: key,
            actions: Vec::new(),
            refresh: Vec::new(),
        }
    }

    fn start_actions(&mut self, key: AttemptKey) {
        let Some(context) = self.context(key) else { return };
        let mut act = self.act(key, context);
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        attempt.busy = true;
        act.actions = std::mem::take(&mut attempt.intent);
        if std::mem::take(&mut attempt.refresh) {
            act.refresh.clone_from(&attempt.record.objects);
        }
        // Before anything is applied, so that the first change finds its way.
        for object in &attempt.record.objects {
            self.shared.routes.add(object, &self.mailbox, key);
        }
        let broken =
            Acted { remaining: act.actions.clone(), obstacle: Some(PANICKED.to_owned()), ..Acted::default() };
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let _permit = shared.permits.acquire().await;
            Box::pin(actions::perform(&shared, act)).await
        };
        self.spawn(key, work, move |acted| Done::Acted { key, acted: Box::new(acted.unwrap_or(broken)) });
    }

    fn start_cleanup(&mut self, key: AttemptKey) {
        let Some(context) = self.context(key) else { return };
        let act = self.act(key, context);
        let is_eager = self.programs.task(&self.engine, key.node).is_some_and(|task| task.is_eager);
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let Some(order) = attempt.order.take() else { return };
        attempt.busy = true;
        let brood = match &order {
            Order::Abort(reason) if is_eager => Some(Brood {
                parent: self.info.id.clone(),
                reason: reason.clone(),
                principal: self.aborted_by.clone(),
                forced: self.abort_forced,
            }),
            _ => None,
        };
        let cleanup = Cleanup {
            act,
            task_type: attempt.record.row.task_type.clone(),
            pin: attempt.record.row.plugin.clone(),
            abort: match order {
                Order::Abort(reason) => Some(reason),
                Order::Finalize => None,
            },
            state: attempt.record.state(),
            observed: attempt.observations(),
            objects: attempt.record.objects.clone(),
        };
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let cleaned = Box::pin(cleanup::perform(&shared, cleanup)).await;
            if let Some(brood) = brood {
                brood.abort(&shared).await;
            }
            cleaned
        };
        self.spawn(key, work, move |cleaned| {
            let broken = || Cleaned { debt: Some(PANICKED.to_owned()), ..Cleaned::default() };
            Done::Cleaned { key, cleaned: Box::new(cleaned.unwrap_or_else(broken)) }
        });
    }

    pub(crate) fn start_call(&mut self, key: AttemptKey) {
        let Some(context) = self.context(key) else { return };
        let Some(task) = self.programs.task_ref(&self.engine, key.node) else { return };
        let unwritten = self.unwritten.get(&key.node).cloned();
        let recovered = self.attempts.get(&key).is_some_and(|attempt| attempt.recovered);
        let origin = recovered.then(|| self.origin(key.node));
        let populate = self.populate(key);
        let workflow_id = Source::workflow_id(&Place::of(&self.info, &self.engine, key.node), key.attempt);
        self.measure_start(key);
        let earlier_checkpoints = context::earlier_checkpoints(&self.info, &self.engine, key).collect();
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let (Some(plugin), Some(reason)) = (attempt.plugin.clone(), attempt.wanted.take()) else { return };
        attempt.busy = true;
        attempt.called = true;
        let call = Call {
            plugin,
            request: request(attempt, context, reason),
            standing: attempt.standing(),
            task,
            input_uri: self.engine.node(key.node).input_uri.to_string(),
            unwritten,
            origin,
            populate,
            workflow_id,
            migrate: attempt.migrate,
            earlier_checkpoints,
        };
        let shared = Arc::clone(&self.shared);
        let called = shared.clock.now();
        let work = async move {
            let _permit = shared.permits.acquire().await;
            Box::pin(call::perform(&shared, call)).await
        };
        self.spawn(key, work, move |answer| {
            let answer = Box::new(answer.unwrap_or_else(|| Answer::panicked(called, PANICKED)));
            Done::Answered { key, answer }
        });
    }

    /// How long the execution and the node waited for their first call.
    fn measure_start(&mut self, key: AttemptKey) {
        let now = self.shared.clock.now();
        if !std::mem::replace(&mut self.any_call, true) {
            metrics::histogram!(metric::FIRST_CALL_SECONDS)
                .record(metric::seconds(now.since(self.info.created_at)));
        }
        let first = self.attempts.get(&key).is_some_and(|a| !a.called && a.wanted == Some(WakeReason::Start));
        if first && key.attempt == 0 && self.engine.parent(key.node).is_none() {
            // At the top, positions in the graph are those in the execution.
            let graph = self.engine.graph();
            let upstream = graph.node(key.node).map(|node| node.upstream.as_slice()).unwrap_or_default();
            let ended = upstream.iter().filter(|up| **up != graph.start);
            if let Some(last) = ended.filter_map(|up| self.engine.node(*up).ended_at).max() {
                metrics::histogram!(metric::NODE_GAP_SECONDS).record(metric::seconds(now.since(last)));
            }
        }
    }

    /// Runs work beside the driver. A panic in it is an answer like any other.
    pub(crate) fn spawn<T: Send + 'static>(
        &mut self,
        key: AttemptKey,
        work: impl Future<Output = T> + Send + 'static,
        done: impl FnOnce(Option<T>) -> Done + Send + 'static,
    ) {
        self.work.spawn(async move {
            let output = AssertUnwindSafe(work).catch_unwind().await;
            if output.is_err() {
                tracing::error!(?key, PANICKED);
            }
            done(output.ok())
        });
    }
}

fn request(attempt: &Attempt, context: TaskExecutionContext, reason: WakeReason) -> HandleRequest {
    HandleRequest {
        context: Some(context),
        last: attempt.record.last(),
        state: attempt.record.state(),
        wake_reason: reason.into(),
        observed: attempt.observations(),
        tokens: attempt.tokens.values().map(|token| token.status.clone()).collect(),
        inputs: None,
        now: None,
    }
}
